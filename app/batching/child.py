"""A worker's process, from within: loads the network once, then does jobs until its coordinator is gone.

`python -m app.batching.child` reads lines of JSON from stdin, the setup and then jobs, and writes lines of JSON to
stdout. Whatever happens here, a crash in a video library, a hang or too little memory, costs one clip.
"""

import contextlib
import dataclasses
import errno
import json
import os
import queue
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, Final, TextIO

from app.batching.contents import Stamp, content_hash, stamp
from app.batching.jobs import Job, Setup, Tell, Work, load_work
from engine.errors import UserError
from engine.files import to_disk

PROGRESS_EVERY_S: Final = 0.25
_MEMORY_PRIORITY: Final = 500  # of 1000: when memory runs out, Linux ends a worker before anything else of ours
_DISK_ERRORS: Final = (errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC))


class _Sender:
    """Writes lines of JSON to the real stdout; everything else that is printed in this process goes to stderr."""

    def __init__(self) -> None:
        self._file: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._lock = threading.Lock()  # progress comes from several threads

    def send(self, event: str, **values: Any) -> None:
        with self._lock:
            self._file.write(json.dumps({"event": event, **values}) + "\n")
            self._file.flush()


def main() -> None:
    """Serve until stdin ends."""
    sender = _Sender()
    setup = Setup(**json.loads(sys.stdin.readline()))
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
    threading.Thread(target=_read_jobs, args=(jobs,), name="jobs", daemon=True).start()
    _limit(setup)
    try:
        with load_work(setup) as work:
            sender.send("ready")
            digests: dict[tuple[str, Stamp], str] = {}
            while True:
                job = jobs.get()
                sender.send("begun", unit=job.unit)
                sender.send("ended", **_try(work, job, _Teller(sender), digests))
    except UserError as error:
        sender.send("unusable", error=str(error))


def _read_jobs(jobs: "queue.SimpleQueue[Job]") -> None:
    """Pass on the jobs. When the coordinator has ended, however it did, nobody wants the rest of this process."""
    for line in sys.stdin:
        jobs.put(Job(**json.loads(line)))
    os._exit(0)


def _limit(setup: Setup) -> None:
    """Keep to the worker's cores: the libraries size their thread pools by them."""
    if setup.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, setup.cores)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_MEMORY_PRIORITY), encoding="ascii")


class _Teller:
    """Sends the progress, but not more often than anybody can read it."""

    def __init__(self, sender: _Sender) -> None:
        self._sender = sender
        self._next_s = 0.0

    def __call__(self, frames: int, total: int | None) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._sender.send("progress", frames=frames, total=total)
            self._next_s = now_s + PROGRESS_EVERY_S


def _try(work: Work, job: Job, tell: Tell, digests: dict[tuple[str, Stamp], str]) -> dict[str, Any]:
    """Do a job; the values of its `Outcome`."""
    begin_s = time.monotonic()
    try:
        if job.kind == "join":
            done, digest = work.do(job, tell), ""
        else:
            before = stamp(job.source)
            if (job.source, before) not in digests:
                digests.clear()  # the slices of a clip come one after another
                digests[job.source, before] = content_hash(job.source, lambda: tell(0, None))
            done, digest = work.do(job, tell), digests[job.source, before]
            _check_unchanged(job.source, before)
        for name in done.files:
            to_disk(Path(job.folder) / name)
    except UserError as error:
        return {"error": _one_line(error).removeprefix(f"{job.source}: "), "fatal": _is_disk_error(error)}
    except Exception as error:  # noqa: BLE001 - told to the coordinator; the traceback is in the worker's stderr
        traceback.print_exc()
        return {"error": _one_line(f"{type(error).__name__}: {error}"), "fatal": _is_disk_error(error)}
    return {**dataclasses.asdict(done), "digest": digest, "seconds": time.monotonic() - begin_s}


def _check_unchanged(path: str, before: Stamp) -> None:
    if stamp(path) != before:
        raise UserError(f"{path}: changed while it was read")


def _one_line(error: object) -> str:
    return " ".join(str(error).split()) or "unknown error"


def _is_disk_error(error: BaseException | None) -> bool:
    while error is not None:
        if getattr(error, "errno", None) in _DISK_ERRORS:
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    main()
