"""What became of a batch: figures of each clip out of the manifest, as Markdown and JSON."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.batching.jobs import Kind
from app.batching.manifest import Status, Unit
from app.writing import write_json, write_text

SLOWEST: Final = 10
_WORST_FIRST: Final[tuple[Status, ...]] = ("quarantined", "failed", "running", "pending", "done")
_WORKING: Final[tuple[Kind, ...]] = ("clip", "part")  # the units that look at frames


@dataclass(frozen=True, slots=True)
class ClipSummary:
    """A clip's units taken together.

    Attributes:
        status: the worst of theirs.
        attempts: of the unit that needed most.
        frames, seconds: of all of them; seconds of work, however many workers shared it.
        reason: why it is in quarantine or has failed so far.
    """

    clip: str
    name: str
    status: Status
    attempts: int
    frames: int
    seconds: float
    files: tuple[str, ...]
    warnings: tuple[str, ...]
    reason: str | None

    @property
    def fps(self) -> float | None:
        """Frames in each second of work."""
        return self.frames / self.seconds if self.frames and self.seconds > 0 else None

    def record(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "clip": self.clip,
            "name": self.name,
            "status": self.status,
            "attempts": self.attempts,
            "frames": self.frames,
            "seconds": round(self.seconds, 3),
            "fps": None if self.fps is None else round(self.fps, 2),
            "files": list(self.files),
            "warnings": list(self.warnings),
            "reason": self.reason,
        }


def summarize(units: Iterable[Unit]) -> list[ClipSummary]:
    """The clips of a manifest, in its order."""
    clips: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        clips[unit.clip].append(unit)
    return [_summary(rows) for rows in clips.values()]


def _summary(units: Sequence[Unit]) -> ClipSummary:
    worst = min(units, key=lambda unit: _WORST_FIRST.index(unit.status))
    working = [unit for unit in units if unit.kind in _WORKING]
    return ClipSummary(
        clip=worst.clip,
        name=worst.name,
        status=worst.status,
        attempts=max(unit.attempts for unit in units),
        frames=sum(unit.frames or 0 for unit in working),
        seconds=sum(unit.seconds or 0.0 for unit in working),
        files=tuple(file for unit in units for file in unit.files),
        warnings=tuple(dict.fromkeys(warning for unit in units for warning in unit.warnings)),
        reason=worst.error,
    )


def counted(clips: Iterable[ClipSummary]) -> dict[Status, int]:
    """How many clips are in each state, all of them named."""
    counts: dict[Status, int] = dict.fromkeys(reversed(_WORST_FIRST), 0)
    for clip in clips:
        counts[clip.status] += 1
    return counts


def write_report(folder: Path, clips: Sequence[ClipSummary], wall_s: float) -> list[Path]:
    """Write report.json and report.md of a run of so many seconds. Raises UserError if that cannot be done."""
    paths = [folder / "report.json", folder / "report.md"]
    figures = {"counts": counted(clips), "wall_s": round(wall_s, 3), "clips": [clip.record() for clip in clips]}
    write_json(paths[0], figures)
    write_text(paths[1], as_markdown(clips, wall_s))
    return paths


def as_markdown(clips: Sequence[ClipSummary], wall_s: float) -> str:
    """The report for people."""
    counts = ", ".join(f"{count} {status}" for status, count in counted(clips).items() if count) or "none"
    frames = sum(clip.frames for clip in clips)
    lines = ["# Batch", "", f"Clips: {counts}. {frames} frames. This run took {wall_s:.1f} s.", ""]
    slow = sorted((clip for clip in clips if clip.fps), key=lambda clip: -clip.seconds)[:SLOWEST]
    lines += _table(
        "Slowest",
        ("clip", "frames", "seconds", "frames/s"),
        [(clip.clip, str(clip.frames), f"{clip.seconds:.1f}", f"{clip.fps:.1f}") for clip in slow],
    )
    for title, status in (("Quarantined", "quarantined"), ("Failed so far", "failed")):
        rows = [(clip.clip, str(clip.attempts), clip.reason or "") for clip in clips if clip.status == status]
        lines += _table(title, ("clip", "attempts", "reason"), rows)
    warned = [(clip.clip, warning) for clip in clips for warning in clip.warnings]
    lines += _table("Warnings", ("clip", "warning"), warned)
    return "\n".join(lines)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"## {title}", "", *("| " + " | ".join(map(_cell, line)) + " |" for line in lines), ""]


def _cell(text: str) -> str:
    """A text that stays inside its cell and is not taken for HTML."""
    for sign, harmless in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("\r", " "), ("\n", " ")):
        text = text.replace(sign, harmless)
    return text
