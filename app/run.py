"""`run`: clips and pictures in, annotated video and data out."""

import argparse
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from app.clip_run import ClipReport, Place, all_there, places, process_clip
from app.inputs import INPUTS_HELP, find_inputs, result_bases
from app.options import describe
from app.run_events import Events, ForPeople, ForPrograms
from app.run_settings import RunSettings, add_run_arguments
from app.writing import make_folder
from engine.errors import UserError
from engine.estimator import Estimator
from pipeline.addresses import redacted

DONE, WANTING, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.epilog = (
        "For each SOURCE, say clip.avi, it writes DIR/clip.mp4 (of a picture: DIR/clip.png), DIR/clip.ndjson, "
        "DIR/clip.coco.json, DIR/clip.csv, DIR/clip.html and DIR/clip.summary.png, as --save says. What is not whole "
        "is called partial. Exit status: 0 all done; 1 a source was only partly readable, or one of several failed; "
        "2 bad input, nothing done; 130 interrupted. docs/run.md tells more."
    )
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help=INPUTS_HELP.replace("%", "%%"))
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the results")
    parser.add_argument("--recursive", action="store_true", help="look into the folders of folders, too")
    parser.add_argument("--skip-done", action="store_true", help="leave out sources whose results are all there")
    parser.add_argument("--quiet", action="store_true", help="say nothing but warnings and errors")
    parser.add_argument(
        "--log-json", action="store_true", help="a line of JSON on stderr for each event, no other text"
    )
    add_run_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Process every source; a bad one is reported and the others still run."""
    events: Events = ForPrograms() if options.log_json else ForPeople(options.quiet)
    try:
        settings = RunSettings.of(options)
        sources = find_inputs(options.sources, options.recursive)
        originals = places(sources)
        todo = list(zip(sources, result_bases(sources, options.out), strict=True))
        if options.skip_done:
            todo = [(source, base) for source, base in todo if not all_there(base, settings)]
        with settings.open_estimator() as estimator:
            make_folder(options.out)
            with events, _asked_to_stop() as stopped:
                events.opened(describe(options, estimator), len(todo))
                return _Run(settings, estimator, events, stopped, originals).over(todo, len(sources))
    except UserError as error:
        events.failed(None, error)
        return BAD_INPUT


class _Run:
    """The way through all sources."""

    def __init__(
        self,
        settings: RunSettings,
        estimator: Estimator,
        events: Events,
        stopped: Callable[[], bool],
        originals: frozenset[Place],
    ) -> None:
        self._settings, self._estimator, self._events = settings, estimator, events
        self._stopped, self._originals = stopped, originals

    def over(self, todo: Sequence[tuple[str, Path]], known: int) -> int:
        """Process them and say how it went, `known` counting those done before; returns the exit status."""
        counts = {"done": known - len(todo), "partial": 0, "interrupted": 0, "failed": 0, "left": len(todo)}
        report: ClipReport | None = None
        for source, base in todo:
            if self._stopped():
                break
            report = self._one(source, base)
            counts[report.status if report is not None else "failed"] += 1
            counts["left"] -= 1
        if self._stopped() and (counts["interrupted"] or counts["left"]):
            self._events.closed(counts, self._advice(report, counts["left"]))
            return INTERRUPTED
        self._events.closed(counts, "")
        if counts["failed"] and not counts["done"] + counts["partial"]:
            return BAD_INPUT
        return WANTING if counts["failed"] or counts["partial"] else DONE

    def _one(self, source: str, base: Path) -> ClipReport | None:
        """One source; None if it failed, which has been told then."""
        # An address may hold a password; the name of a file is told as it is, for programs.
        shown = source if os.path.lexists(source) else redacted(source)
        self._events.started(shown)
        try:
            report = process_clip(
                source, base, self._settings, self._estimator, self._events.progress, self._stopped, self._originals
            )
        except UserError as error:
            self._events.failed(shown, error)
            return None
        self._events.ended(report)
        return report

    @staticmethod
    def _advice(report: ClipReport | None, left: int) -> str:
        """How to go on."""
        parts = []
        if report is not None and report.status == "interrupted":
            parts.append(f"{report.source} is done up to {report.end_s:.3f} s, in files called partial")
        if left:
            parts.append(f"{left} more were not begun")
        parts.append("the same command with --skip-done does the rest")
        return "; ".join(parts)


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed, or the system asked to end, inside the block; a second Ctrl-C ends at once."""
    asked = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread only
        yield asked.is_set
        return
    before = {number: signal.signal(number, note) for number in _STOP_SIGNALS}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
