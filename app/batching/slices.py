"""Clips in slices of time: where they begin and end, and how their results become one again."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from app.batching.jobs import Tell
from engine.files import written_whole

MOST_SLICES: Final = 10_000  # of a clip: a header may claim any length


def spans(
    duration_s: float | None, slice_s: float, begin_s: float, end_s: float | None
) -> list[tuple[float, float | None]]:
    """(begin, end) of each slice, seconds, of what lies between `begin_s` and `end_s`: half open, and without gaps.

    The last one has no end but `end_s`, for a clip may play longer than its header says. Of unknown length: one slice;
    never more than `MOST_SLICES`.
    """
    last_s = duration_s if end_s is None else min(end_s, duration_s or end_s)
    if last_s is None:
        return [(begin_s, end_s)]
    count = min(max(1, round((last_s - begin_s) / slice_s)), MOST_SLICES)
    bounds: list[float | None] = [begin_s + number * slice_s for number in range(count)]
    return [(float(begin or 0), end) for begin, end in zip(bounds, [*bounds[1:], end_s], strict=True)]


def part_name(name: str, part: int) -> str:
    """What the names of a part's results begin with."""
    return f"{name}.part-{part:04}"


def join(parts: Sequence[Path], target: Path, tell: Tell) -> int:
    """Put the NDJSON of consecutive slices together, as if the clip had been done in one; the number of frames.

    Frames are counted through. Ids go on behind those of the slice before, so that nobody shares one: who is seen on
    both sides of a border has two. `tell` hears of each.
    """
    frames = 0
    identities = 0
    with written_whole(target) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as output:
        for path in parts:
            before = identities
            with path.open(encoding="utf-8") as lines:
                for line in lines:
                    record: dict[str, Any] = json.loads(line)
                    record["frame"] = frames
                    for instance in record["instances"]:
                        if instance.get("id") is not None:
                            instance["id"] += before
                            identities = max(identities, instance["id"])
                    output.write(json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n")
                    frames += 1
                    tell(frames, None)
    return frames
