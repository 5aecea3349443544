"""The table of odd inputs: how a run is classed, and how it is shown. The inputs themselves: tests/pipeline."""

import pytest

from tests.odd_inputs.case import OddInput
from tools.odd_inputs import Row, happened, shown, table


@pytest.mark.parametrize(
    ("status", "lines", "has_results", "kind"),
    [
        (0, [], True, "works"),
        (1, ["warning: a.mp4: the clip ends early"], True, "partial"),
        (2, ["error: a.mp4: the file is empty"], False, "error"),
        (2, [], False, "status 2"),
        (2, ["error: a.mp4: no"], True, "status 2"),
        (0, [], False, "status 0"),
        (0, ["warning: a.mp4: odd"], True, "status 0"),
        (1, ["Traceback (most recent call last):", "ValueError"], False, "traceback"),
        (2, ["error: a", "b.mp4: no such file"], False, "2 lines"),
        (-11, [], False, "crash"),
    ],
)
def test_what_happened(status: int, lines: list[str], has_results: bool, kind: str) -> None:
    assert happened(status, lines, has_results) == kind


def test_the_table_survives_any_name() -> None:
    odd = OddInput("a|b`c\n\udce9.mp4", lambda path: None, about="name")
    text = table([Row(odd, "works", 0, ""), Row(odd, "hang", None, "x" * 500)])
    lines = text.splitlines()
    assert len(lines) == 6
    assert lines[2].startswith(r"| `a\|b'c\n\udce9.mp4` | name | works | works | 0 |")
    assert len(lines[3]) < 200
    assert lines[5] == "1 of 2 as expected."
    assert shown("plain.mp4") == "`plain.mp4`"
