"""Which sources the words of a command line name, and what their results are called."""

import io
import os
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from app.inputs import find_inputs, result_bases
from engine.errors import UserError


def touch(folder: Path, *names: str) -> list[str]:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return [str(folder / name) for name in names]


def picture(path: Path) -> str:
    cv2.imwrite(str(path), np.zeros((4, 4, 3), np.uint8))
    return str(path)


@pytest.mark.parametrize(
    "name",
    ["a b.mp4", "-clip.mp4", "ü 散歩.mp4", "a\nb.mp4", "quote\"'.mp4", "[1].mp4", "what?.mp4", "a:b.mp4", "#.mp4"],
)
def test_files_of_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    touch(tmp_path, name)
    monkeypatch.chdir(tmp_path)
    assert find_inputs([name]) == [name]
    assert find_inputs([str(tmp_path)]) == [str(tmp_path / name)]
    (tmp_path / "list.txt").write_text(name.replace("\n", ""), encoding="utf-8")
    if "\n" not in name:
        assert find_inputs(["@list.txt"]) == [name]


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    touch(tmp_path, name)
    assert find_inputs([str(tmp_path / "*.mp4")]) == [str(tmp_path / name)]
    (tmp_path / "l").write_bytes(os.fsencode(str(tmp_path / name)) + b"\n")
    assert find_inputs([f"@{tmp_path / 'l'}"]) == [str(tmp_path / name)]


def test_files_that_are_not_there_are_left_to_who_opens_them() -> None:
    assert find_inputs(["gone.mp4", "camera:0", "rtsp://user:pw@host/x?y=[1]"]) == [
        "gone.mp4",
        "camera:0",
        "rtsp://user:pw@host/x?y=[1]",
    ]


def test_globs_that_the_shell_left_alone_in_the_order_people_count(tmp_path: Path) -> None:
    touch(tmp_path, "c10.mp4", "c2.mp4", "d.mp4", "sub/c3.mp4")
    assert find_inputs([str(tmp_path / "c*.mp4")]) == [str(tmp_path / "c2.mp4"), str(tmp_path / "c10.mp4")]
    deep = [Path(source).name for source in find_inputs([str(tmp_path / "**" / "c*.mp4")])]
    assert sorted(deep) == ["c10.mp4", "c2.mp4", "c3.mp4"]
    with pytest.raises(UserError, match=r"x\*\.mp4: nothing matches"):
        find_inputs([str(tmp_path / "x*.mp4")])


def test_a_folder_gives_its_clips_and_its_pictures_as_one(tmp_path: Path) -> None:
    touch(tmp_path, "b.MP4", "a.avi", "notes.txt", ".hidden.mp4", "sub/c.mkv")
    clips = [str(tmp_path / "a.avi"), str(tmp_path / "b.MP4")]
    assert find_inputs([str(tmp_path)]) == clips
    assert find_inputs([str(tmp_path)], recursive=True) == [*clips, str(tmp_path / "sub" / "c.mkv")]
    picture(tmp_path / "sub" / "p.png")
    sub = str(tmp_path / "sub")
    assert find_inputs([str(tmp_path)], recursive=True) == [*clips, str(tmp_path / "sub" / "c.mkv"), sub]


def test_an_empty_folder_is_left_to_who_opens_it(tmp_path: Path) -> None:
    assert find_inputs([str(tmp_path)]) == [str(tmp_path)]


def test_each_source_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    monkeypatch.chdir(tmp_path)
    assert find_inputs(["b.mp4", "./b.mp4", str(tmp_path), "*.mp4"]) == ["b.mp4", str(tmp_path / "a.mp4")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", ""])
def test_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    lines = ["a.mp4", " b.mp4", "ü.mp4"]
    data = "﻿".encode() + (end or "\n").join(lines).encode() + end.encode()
    (tmp_path / "list.txt").write_bytes(data)
    assert find_inputs([f"@{tmp_path / 'list.txt'}"]) == lines
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    assert find_inputs(["-"]) == lines


def test_a_file_whose_name_begins_with_an_at_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "@home.mp4")
    monkeypatch.chdir(tmp_path)
    assert find_inputs(["@home.mp4"]) == ["@home.mp4"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [(None, "the list cannot be read: No such file"), (b"\n \n", "the list is empty"), (b"a\0b", "is no list")],
)
def test_bad_lists(tmp_path: Path, data: bytes | None, reason: str) -> None:
    path = tmp_path / "list.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UserError, match=reason):
        find_inputs([f"@{path}"])


def test_result_names() -> None:
    out = Path("out")
    sources = ["x/a.mp4", "y/a.avi", "a-2.mp4", "A.mkv", "b.mp4"]
    assert result_bases(sources, out) == [out / name for name in ("a", "a-2", "a-2-2", "A-3", "b")]


def test_a_link_gives_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "real-0001.mp4").touch()
    (tmp_path / "door.mp4").symlink_to("real-0001.mp4")
    assert result_bases([str(tmp_path / "door.mp4")], Path("o")) == [Path("o/door")]


def test_results_stay_in_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for source in ("../../etc/passwd", "/", "..", ".", "a/../..", "/etc/..mp4"):
        [base] = result_bases([source], tmp_path / "out")
        assert base.parent == tmp_path / "out"
        assert base.with_name(f"{base.name}.mp4").resolve().parent == (tmp_path / "out").resolve()
