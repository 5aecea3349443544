"""Every odd input through the real sources: it works, works in part and says so, or ends with one line."""

import pytest

from engine.errors import UserError
from pipeline.sources import open_source
from tests.odd_inputs.case import OddInput
from tests.odd_inputs.table import odd_inputs

MOST_FRAMES = 100  # more than any of them has


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("odd", odd_inputs(), ids=lambda odd: odd.name.encode("ascii", "backslashreplace").decode())
def test_odd_input(odd: OddInput, tmp_path) -> None:
    path = tmp_path / odd.name
    odd.make(path)
    if odd.expected == "error":
        with pytest.raises(UserError) as caught:
            open_source(str(path))
        line = str(caught.value).removeprefix(f"{path}: ")
        assert odd.says in line
        assert "\n" not in line
        return
    with open_source(str(path)) as source:
        frames = list(source)
    assert 0 < len(frames) <= MOST_FRAMES
    assert frames[0].image.shape[:2] == (source.info.height, source.info.width)
    assert len(source.warnings) == (odd.expected == "partial"), source.warnings
    assert all(odd.says in line for line in source.warnings)
    if odd.check is not None:
        odd.check(frames, source.info)


def test_there_are_many_and_their_names_differ() -> None:
    names = [odd.name.casefold() for odd in odd_inputs()]
    assert len(names) >= 60
    assert len(set(names)) == len(names)
