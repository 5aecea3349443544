"""What a batch shows while it runs: a table that stays in its place, lines, or lines of JSON."""

import dataclasses
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from app.batching.jobs import Outcome, Progress
from app.batching.manifest import Status, Unit
from app.batching.report import ClipSummary, counted
from app.batching.slices import part_name
from app.messages import one_line

Counts = dict[Status, int]
PROGRESS_EVERY_S: Final = 1.0  # between two JSON events


class Lines:
    """A line on stdout for each unit that has ended, and a summary; what is wrong goes to stderr."""

    def begins_again(self, count: int) -> None:
        """So many clips that the manifest knew are done once more."""
        print(f"begun again, because clip, results or settings have changed: {count}", file=sys.stderr)

    def settled(self, unit: Unit, status: Status, outcome: Outcome, counts: Counts) -> None:
        """See `Observer`."""
        print(line(unit, status, outcome, counts), flush=True)

    def tick(self, progress: list[Progress | None], counts: Counts) -> None:
        """See `Observer`; lines say nothing in between."""

    def closed(self, clips: Sequence[ClipSummary], reports: Sequence[Path], interrupted: bool) -> None:
        """All is over."""
        if interrupted:
            print(f"interrupted: {standing(clips)}; the same command with --resume goes on", file=sys.stderr)
            return
        print(standing(clips))
        for clip in clips:
            if clip.status == "quarantined":
                print(f"  quarantined: {one_line(clip.clip)}: {one_line(clip.reason)}")
        for path in reports:
            print(f"  {one_line(path)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass


class JsonLines(Lines):
    """A line of JSON on stderr for each event, for programs; stdout stays empty.

    Keys: event (again, progress, done, failed, quarantined, error, end) and time (seconds since 1970).
    """

    def __init__(self) -> None:
        self._next_s = 0.0

    def begins_again(self, count: int) -> None:
        self._tell("again", clips=count)

    def settled(self, unit: Unit, status: Status, outcome: Outcome, counts: Counts) -> None:
        self._tell(
            status,
            clip=unit.clip,
            kind=unit.kind,
            part=unit.part,
            attempt=unit.attempts + 1,
            error=outcome.error,
            frames=outcome.frames,
            seconds=round(outcome.seconds, 3),
            host=outcome.host,
            worker=outcome.worker,
            units=counts,
        )

    def tick(self, progress: list[Progress | None], counts: Counts) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + PROGRESS_EVERY_S
            workers = [None if state is None else dataclasses.asdict(state) for state in progress]
            self._tell("progress", workers=workers, units=counts)

    def closed(self, clips: Sequence[ClipSummary], reports: Sequence[Path], interrupted: bool) -> None:
        self._tell("end", clips=counted(clips), reports=[str(path) for path in reports], interrupted=interrupted)

    def failed(self, error: object) -> None:
        """Nothing can be done, or nothing more."""
        self._tell("error", message=str(error))

    def _tell(self, event: str, **values: Any) -> None:
        print(json.dumps({"event": event, "time": round(time.time(), 3), **values}), file=sys.stderr, flush=True)


class Screen(Lines):
    """A table of the workers that is kept up to date, with the totals and the time left; failures scroll by above."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._begin_s = time.monotonic()
        self._settled = 0  # by this run, to estimate the time left

    def settled(self, unit: Unit, status: Status, outcome: Outcome, counts: Counts) -> None:
        self._settled += status in ("done", "quarantined")
        if status != "done":
            self._live.console.print(Text(line(unit, status, outcome, counts)))

    def tick(self, progress: list[Progress | None], counts: Counts) -> None:
        elapsed_s = time.monotonic() - self._begin_s
        self._live.update(screen(progress, counts, self._settled, elapsed_s), refresh=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.__exit__(exc_type, exc, traceback)


def choose_display(as_json: bool) -> Lines:
    """JSON if it is wanted, else whatever suits the place that stdout goes to."""
    if as_json:
        return JsonLines()
    console = Console()
    return Screen(console) if console.is_terminal else Lines()


def standing(clips: Iterable[ClipSummary]) -> str:
    """How many clips are done, in words."""
    counts = counted(clips)
    quarantined = f", {counts['quarantined']} in quarantine" if counts["quarantined"] else ""
    return f"{counts['done']} of {sum(counts.values())} clips are done{quarantined}"


def line(unit: Unit, status: Status, outcome: Outcome, counts: Counts) -> str:
    """How an attempt ended, in one line."""
    ended = counts.get("done", 0) + counts.get("quarantined", 0)
    what = {"plan": f"{unit.clip} (cut into slices)", "join": f"{unit.clip} (slices joined)"}.get(unit.kind, unit.clip)
    if unit.kind == "part":
        what = f"{unit.clip} ({part_name('', unit.part)[1:]})"
    head = f"[{ended}/{sum(counts.values())}] {status}: {one_line(what)}"
    if outcome.error is not None:
        return f"{head}: attempt {unit.attempts + 1}: {one_line(outcome.error)}"
    return f"{head}: {outcome.frames} frames, {outcome.fps:.1f} frames/s" if outcome.fps else head


def screen(progress: list[Progress | None], counts: Counts, settled: int, elapsed_s: float) -> Group:
    """The table and the totals; `settled` units in `elapsed_s` tell how long the others will take."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("worker", justify="right", no_wrap=True)
    table.add_column("clip", overflow="ellipsis", no_wrap=True, ratio=1)
    for column in ("frames", "frames/s"):
        table.add_column(column, justify="right", no_wrap=True)
    for number, state in enumerate(progress, 1):
        if state is None:
            table.add_row(str(number), "-", "", "")
            continue
        frames = f"{state.frames}" if state.total is None else f"{state.frames}/{state.total}"
        rate = f"{state.frames / state.seconds:.1f}" if state.frames and state.seconds > 0 else "-"
        table.add_row(str(number), Text(one_line(Path(state.source).name)), frames, rate)
    left = sum(count for status, count in counts.items() if status not in ("done", "quarantined"))
    parts = [f"{count} {status}" for status, count in sorted(counts.items())]
    if settled:
        parts.append(f"{_clock(left * elapsed_s / settled)} left")
    return Group(table, Text(f"{', '.join(parts)}, {_clock(elapsed_s)} so far"))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
