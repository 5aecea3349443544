"""A whole batch: folder, manifest, workers and report put together, and how it ends."""

import contextlib
import dataclasses
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from app.batching.coordinator import Coordinator
from app.batching.display import Lines, choose_display, standing
from app.batching.folder import OutputFolder
from app.batching.jobs import Kind, Setup
from app.batching.manifest import Manifest
from app.batching.pools import LocalPool, Pool, split_cores
from app.batching.preparing import check_clips, prepare
from app.batching.report import counted, summarize, write_report
from engine.errors import UserError

MANIFEST: Final = "manifest.sqlite"
DONE: Final = 0  # exit statuses
QUARANTINED: Final = 1
INTERRUPTED: Final = 130


@dataclass(frozen=True)  # without slots, so that the command can show the defaults
class BatchOptions:
    """How a batch is run; nothing of it changes the results but `slice_s`.

    Attributes:
        out: the folder for results and manifest.
        workers: clips at a time.
        ray: the address of a Ray cluster, "local" for one on this machine, None for plain processes.
        resume: go on with the batch that `out` holds.
        retry_quarantined: give what is in quarantine its attempts back.
        slice_s: the length of slices, seconds; None: clips are done in one.
        start_s, end_s: the part of each clip that is cut into slices.
        attempts: before a unit is put into quarantine.
        timeout_s: without progress, before a worker is replaced.
        log_json: lines of JSON on stderr instead of what people like to read.
    """

    out: Path
    workers: int = 1
    ray: str | None = None
    resume: bool = False
    retry_quarantined: bool = False
    slice_s: float | None = None
    start_s: float = 0.0
    end_s: float | None = None
    attempts: int = 3
    timeout_s: float = 60.0
    log_json: bool = False


def run_batch(clips: Sequence[str], settings: dict[str, Any], work: str, options: BatchOptions) -> int:
    """Let workers process `clips`, absolute paths; 0, or 1 if some are in quarantine, or 130 if it was interrupted.

    Args:
        settings: of the workers; all that decides what the results are.
        work: what the workers do, see `Setup`.

    Raises:
        UserError: bad input, a folder that cannot be written, workers that do not start.
    """
    folder = OutputFolder(options.out)
    check_clips(clips, folder)
    begin_s = time.monotonic()
    display = choose_display(options.log_json)
    try:
        with Manifest(folder.path / MANIFEST) as manifest:
            _prepare(manifest, folder, clips, settings, options, display)
            setup = Setup(work, settings, timeout_s=options.timeout_s)
            finished = _work(manifest, folder, setup, options, display)
            summaries = summarize(manifest.units())
    except sqlite3.Error as error:
        folder.check()  # which has more to say, as a rule
        raise UserError(f"{folder.path / MANIFEST}: cannot be used: {error}") from error
    reports = write_report(folder.path, summaries, time.monotonic() - begin_s)
    display.closed(summaries, reports, interrupted=not finished)
    if not finished:
        return INTERRUPTED
    return QUARANTINED if counted(summaries)["quarantined"] else DONE


def _prepare(
    manifest: Manifest,
    folder: OutputFolder,
    clips: Sequence[str],
    settings: dict[str, Any],
    options: BatchOptions,
    display: Lines,
) -> None:
    known = bool(manifest.units())
    if known and not options.resume:
        done = standing(summarize(manifest.units()))
        raise UserError(
            f"{options.out}: holds a batch already, {done}; add --resume to go on with it, or choose another --out"
        )
    if not known and not clips:
        raise UserError("no clips to process")
    folder.sweep()
    first: Kind = "clip" if options.slice_s is None else "plan"
    again = prepare(manifest, folder, clips, {**settings, "slice_s": options.slice_s}, first)
    if again:
        display.begins_again(again)
    if options.retry_quarantined:
        manifest.free_quarantined()


def _work(manifest: Manifest, folder: OutputFolder, setup: Setup, options: BatchOptions, display: Lines) -> bool:
    """Do what is left to do; False if it was interrupted."""
    slicing = None if options.slice_s is None else (options.slice_s, options.start_s, options.end_s)
    try:
        with display, _open_pool(setup, options) as pool, _interrupts() as interrupted:
            return Coordinator(manifest, pool, folder, display, options.attempts, slicing).run(interrupted)
    except KeyboardInterrupt:
        return False
    except UserError as error:
        done = standing(summarize(manifest.units()))
        raise UserError(f"{error}; {done} and stay so: --resume goes on") from error
    finally:
        with contextlib.suppress(sqlite3.Error):  # else the next coordinator does it
            manifest.free_running()
        folder.sweep()


def _open_pool(setup: Setup, options: BatchOptions) -> Pool:
    if options.ray is not None:
        from app.batching.ray_pool import RayPool

        return RayPool(options.ray, [setup] * options.workers)
    return LocalPool([dataclasses.replace(setup, cores=cores) for cores in split_cores(options.workers)])


@contextlib.contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM has come during the block: not an exception, which could come between any two steps.

    A second Ctrl-C is one, for those who do not want to wait.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(_number: int, _frame: FrameType | None) -> None:
        came.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield came.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
