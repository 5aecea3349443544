"""Slices cover a clip without gaps, and join to what it would have been in one."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.batching.slices import MOST_SLICES, join, part_name, spans


@pytest.mark.parametrize(
    ("duration_s", "expected"),
    [
        (None, [(0, None)]),
        (0.5, [(0, None)]),
        (29.0, [(0, 10.0), (10.0, 20.0), (20.0, None)]),  # no slice is much shorter than the others
        (31.0, [(0, 10.0), (10.0, 20.0), (20.0, None)]),
    ],
)
def test_spans(duration_s: float | None, expected: list[tuple[float, float | None]]) -> None:
    assert spans(duration_s, 10.0, 0.0, None) == expected


def test_spans_of_an_excerpt() -> None:
    assert spans(100.0, 10.0, 5.0, 25.0) == [(5.0, 15.0), (15.0, 25.0)]
    assert spans(12.0, 10.0, 5.0, 25.0) == [(5.0, 25.0)]


def test_a_header_may_claim_any_length() -> None:
    found = spans(1e6, 1.0, 0.0, None)
    assert len(found) == MOST_SLICES
    assert found[-1] == (MOST_SLICES - 1.0, None)


@given(st.floats(0.1, 5000), st.floats(0.5, 600), st.floats(0, 100))
def test_spans_have_no_gaps(duration_s: float, slice_s: float, begin_s: float) -> None:
    found = spans(duration_s, slice_s, begin_s, None)
    assert found[0][0] == begin_s
    assert found[-1][1] is None
    assert [end for _, end in found[:-1]] == [begin for begin, _ in found[1:]]
    assert all(end is None or end > begin for begin, end in found)


def test_join_counts_frames_and_people_through(tmp_path: Path) -> None:
    parts = []
    for number, lines in enumerate(([[1], [1, 2]], [], [[1], []]), 1):
        path = tmp_path / f"{part_name('x', number)}.ndjson"
        records = [{"frame": i, "instances": [{"id": one} for one in ids]} for i, ids in enumerate(lines)]
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        parts.append(path)
    told: list[int] = []
    assert join(parts, tmp_path / "x.ndjson", lambda frames, total: told.append(frames)) == 4
    assert told == [1, 2, 3, 4]
    records = [json.loads(line) for line in (tmp_path / "x.ndjson").read_text(encoding="utf-8").splitlines()]
    assert [record["frame"] for record in records] == [0, 1, 2, 3]
    assert [[one["id"] for one in record["instances"]] for record in records] == [[1], [1, 2], [3], []]
