"""What `run` tells while it works: lines and a bar for people, or a line of JSON for each event for programs."""

import json
import sys
import time
from types import TracebackType
from typing import Any, Final, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from app.clip_run import ClipReport
from app.messages import one_line
from app.tables import print_table

PROGRESS_EVERY_S: Final = 1.0  # between two JSON events


class Events(Protocol):
    """Takes what happens; a context manager around all of it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def opened(self, network: str, sources: int) -> None:
        """The network is ready."""

    def started(self, source: str) -> None:
        """A source begins."""

    def progress(self, done: int, expected: int | None) -> None:
        """Frames of this source."""

    def ended(self, report: ClipReport) -> None:
        """A source has come to its end."""

    def failed(self, source: str | None, error: object) -> None:
        """A source could not be done, or, without one, nothing."""

    def closed(self, counts: dict[str, int], advice: str) -> None:
        """All is over; `advice` says how to go on if it was interrupted."""


class ForPeople:
    """Results on stdout, a bar, warnings and errors on stderr; if `quiet`, only the last two."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task("", visible=False, total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def opened(self, network: str, sources: int) -> None:
        self._print(network)

    def started(self, source: str) -> None:
        self._bar.reset(self._task, description=one_line(source), total=None, visible=True)

    def progress(self, done: int, expected: int | None) -> None:
        total = None if expected is None else max(expected, done)
        self._bar.update(self._task, completed=done, total=total)

    def ended(self, report: ClipReport) -> None:
        self._bar.update(self._task, visible=False)
        for warning in report.warnings:
            self._complain(f"warning: {one_line(warning)}")
        people = _counted(report.people, "person", "people")
        told = f"{_counted(report.frames, 'frame', 'frames')}, at most {people} at once" if report.clip else people
        if report.identities is not None:
            told += f", {report.identities} followed"
        if report.status == "interrupted":
            told += "; interrupted"
        self._print(f"{one_line(report.source)}: {told}")
        for path in report.files:
            self._print(f"  {one_line(path)}")
        if report.clip and not self._quiet:
            self._print_stages(report)

    def failed(self, source: str | None, error: object) -> None:
        self._bar.update(self._task, visible=False)
        self._complain(f"error: {one_line(error)}")

    def closed(self, counts: dict[str, int], advice: str) -> None:
        if sum(counts.values()) > 1:
            parts = [f"{number} {name}" for name, number in counts.items() if number]
            self._print(f"{_counted(sum(counts.values()), 'source', 'sources')}: {', '.join(parts)}")
        if advice:
            self._complain(f"interrupted: {one_line(advice)}")

    def _print(self, text: str) -> None:
        if not self._quiet:
            print(text, flush=True)

    def _complain(self, text: str) -> None:
        """On stderr, above the bar."""
        if self._bar.disable:
            print(text, file=sys.stderr, flush=True)
        else:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _print_stages(self, report: ClipReport) -> None:
        rows = [
            (stage, f"{f.fps:.1f}", _ms(f.p50_ms), _ms(f.p95_ms), f"{f.busy:.0%}") for stage, f in report.stages.items()
        ]
        print_table("", ("stage", "frames/s", "median ms", "p95 ms", "busy"), rows)
        limit = f", limited by {report.bottleneck}" if report.bottleneck else ""
        self._print(f"{report.fps:.1f} frames/s in all{limit}")


class ForPrograms:
    """A line of JSON on stderr for each event; stdout stays empty.

    Keys: event (open, start, progress, warning, done, error, end), time (seconds since 1970) and mostly source.
    """

    def __init__(self) -> None:
        self._source: str | None = None
        self._begin_s = self._next_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def opened(self, network: str, sources: int) -> None:
        self._tell("open", network=network, sources=sources)

    def started(self, source: str) -> None:
        self._source = source
        self._begin_s = time.monotonic()
        self._next_s = self._begin_s + PROGRESS_EVERY_S
        self._tell("start", source=source)

    def progress(self, done: int, expected: int | None) -> None:
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + PROGRESS_EVERY_S
        fps = done / max(now_s - self._begin_s, 1e-9)
        eta_s = None if expected is None else round(max(0, expected - done) / fps, 1)
        self._tell("progress", source=self._source, frames=done, expected=expected, fps=round(fps, 2), eta_s=eta_s)

    def ended(self, report: ClipReport) -> None:
        for warning in report.warnings:
            self._tell("warning", source=report.source, message=warning)
        self._tell("done", **report.record())

    def failed(self, source: str | None, error: object) -> None:
        self._tell("error", source=source, message=str(error))

    def closed(self, counts: dict[str, int], advice: str) -> None:
        self._tell("end", **counts, **({"message": advice} if advice else {}))

    def _tell(self, event: str, **values: Any) -> None:
        print(json.dumps({"event": event, "time": round(time.time(), 3), **values}), file=sys.stderr, flush=True)


class _RateColumn(ProgressColumn):
    """Frames a second."""

    def render(self, task: Task) -> Text:
        return Text("" if not task.speed else f"{task.speed:.1f} frames/s")


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _counted(number: int, singular: str, plural: str) -> str:
    return f"{number} {singular if number == 1 else plural}"
