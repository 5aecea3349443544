"""Names of results stay inside the output folder, whatever the clip is called."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.batching.naming import Names, safe_name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a/clip.mp4", "clip"),
        ("/a/two.parts.mp4", "two.parts"),
        ("/a/a.part-0001.mp4", "a_part-0001"),  # the first slice of a.mp4 is called so
        ("/a/a.part-1.mp4", "a.part-1"),
        ("/a/..", "clip"),
        ("/a/.hidden", "hidden"),
        ("/a/line\nbreak.mp4", "line_break"),
        ("/a/C:\\temp\\x.mp4", "C__temp_x"),
        ("/a/-rf.mp4", "_rf"),
        ("/a/con.mp4", "con_"),
        ("/a/ .mp4", "clip"),
        ("/a/Zoë.mp4", "Zoë"),
        ("/a/Zoe\u0308.mp4", "Zoë"),
        ("/a/\udcff.mp4", "_"),
        ("/a/\x80\u202e.mp4", "__"),
    ],
)
def test_safe_name(path: str, name: str) -> None:
    assert safe_name(path) == name


def test_long_names_are_cut_and_stay_distinct() -> None:
    names = {safe_name(f"/a/{'é' * 120}{number}.mp4") for number in range(3)}
    assert len(names) == 3
    assert all(len(name.encode()) <= 150 for name in names)


@given(st.lists(st.text(min_size=1, max_size=40), max_size=8))
def test_any_names_are_distinct_and_inside(texts: list[str]) -> None:
    paths = list(dict.fromkeys(f"/in/{index}/{text}" for index, text in enumerate(texts)))
    names = Names(())
    given_names = [names.name(path) for path in paths]
    assert len({name.casefold() for name in given_names}) == len(paths)
    for name in given_names:
        target = Path("/out") / f"{name}.ndjson"
        assert target.parent == Path("/out")
        assert name.isprintable()
        name.encode()


def test_one_stem_in_two_folders() -> None:
    names = Names(["taken"])
    first, second, third = (names.name(path) for path in ("/a/x.mp4", "/b/X.mp4", "/c/taken.mp4"))
    assert first == "x"
    assert second.startswith("X-")
    assert third.startswith("taken-")
    assert Names(["x"]).name("/b/X.mp4") == second  # it depends on the path alone


def test_a_clip_called_as_another_ones_second_name() -> None:
    second = Names(["x"]).name("/q/x.mp4")
    names = Names(())
    assert len({names.name(path) for path in (f"/p/{second}.mp4", "/p/x.mp4", "/q/x.mp4")}) == 3
