"""One worker as its coordinator sees it: a child process that is watched, and replaced when it crashes or hangs."""

import dataclasses
import socket
import threading
import time
from typing import Any, Final

from app.batching.child_process import ChildProcess
from app.batching.jobs import Job, Outcome, Progress, Setup
from engine.errors import UserError

START_TIMEOUT_S: Final = 300.0  # to load the network and, the first time on a machine, compile the decode
JOBS_PER_PROCESS: Final = 500  # then a fresh one: whatever a library leaks with each clip has an end
_STARTS: Final = 5


class Worker:
    """Does jobs in a child process, one at a time. `run` belongs to one thread; `stop` and `progress` to anybody.

    Attributes:
        progress: of the job under way, or None.
    """

    def __init__(self, setup: Setup) -> None:
        self.progress: Progress | None = None
        self._setup = setup
        self._child: ChildProcess | None = None
        self._jobs = 0  # that the child has done
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, job: Job) -> Outcome:
        """Do a job; however it ends, there is an outcome.

        Raises:
            UserError: no child can be started with these settings.
        """
        self.progress = Progress(job.source)
        if self._child is not None and self._jobs >= JOBS_PER_PROCESS:
            self._drop(self._child)
        try:
            child = self._begin(job)
            if child is None:
                return Outcome(job.unit, error="stopped")
            values = self._finish(child)
        finally:
            self.progress = None
        for name in ("files", "warnings"):
            values[name] = tuple(values.get(name, ()))
        return Outcome(job.unit, host=socket.gethostname(), worker=child.pid, **values)

    def stop(self) -> None:
        """End the child at once, and with it a job under way; no other is started."""
        with self._lock:
            self._stopped = True
            if self._child is not None:
                self._child.kill()

    def close(self) -> None:
        """Leave nothing behind. For the thread that called `run`, after its last call, or when that thread is over."""
        self.stop()
        if self._child is not None:
            self._child.end()
            self._child = None

    def _begin(self, job: Job) -> ChildProcess | None:
        """A child that has begun with the job (what fails before that is not the job's fault); None once stopped."""
        reason = ""
        for _ in range(_STARTS):
            child = self._child or self._start()
            if child is None:
                return None
            child.send(dataclasses.asdict(job))
            event = child.next_event(START_TIMEOUT_S)
            while event is not None and event["event"] == "ready":
                event = child.next_event(START_TIMEOUT_S)
            if event is not None and event["event"] == "begun":
                return child
            reason = self._drop(child)
            if event is not None and event["event"] == "unusable":
                raise UserError(event["error"])
        raise UserError(f"the workers cannot be kept running: {reason}")

    def _start(self) -> ChildProcess | None:
        with self._lock:
            self._child = None if self._stopped else ChildProcess(self._setup)
            self._jobs = 0
            return self._child

    def _drop(self, child: ChildProcess) -> str:
        """Make sure that the child is gone; why it is, in words."""
        with self._lock:
            self._child = None
        return child.end()

    def _finish(self, child: ChildProcess) -> dict[str, Any]:
        """The values of the outcome, once the job has ended in `child`."""
        begin_s = time.monotonic()
        while (event := child.next_event(self._setup.timeout_s)) is not None:
            if event.pop("event") == "ended":
                self._jobs += 1
                return event
            seconds = time.monotonic() - begin_s
            self.progress = dataclasses.replace(self.progress or Progress(""), **event, seconds=seconds)
        return {"error": self._drop(child)}
