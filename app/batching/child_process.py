"""A worker's process, from outside: started, talked to, listened to and ended."""

import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Final

from app.batching.jobs import Setup

_ROOT: Final = Path(__file__).resolve().parents[2]
_TAIL_BYTES: Final = 4096
# Each clip has new threads, and glibc gives each thread a heap that it hardly shrinks: measured over 600 clips, 650 MB
# and growing against 550 MB, at the same speed.
_MEMORY: Final = {"MALLOC_ARENA_MAX": "2"}
_EXIT_GRACE_S: Final = 5.0  # between a process's last word and its end


class ChildProcess:
    """`app.batching.child` with a thread that reads what it says, so that waiting for it has a time limit.

    Attributes:
        pid: its process id.
    """

    def __init__(self, setup: Setup) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        paths = (str(_ROOT), os.environ.get("PYTHONPATH", ""))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "app.batching.child"],  # -P: nothing is imported from the user's folder
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**_MEMORY, **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C in the terminal is for the coordinator alone
        )
        self.pid = self._process.pid
        self._hung_s: float | None = None
        self._over = False
        self._events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name=f"worker-{self.pid}", daemon=True)
        self._reader.start()
        self.send(dataclasses.asdict(setup))

    def send(self, values: dict[str, Any]) -> None:
        """Write a line; if the process has ended, `next_event` tells."""
        assert self._process.stdin is not None
        self._said = os.fstat(self._errors.fileno()).st_size  # its last words are to be about this job
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(values) + "\n")
            self._process.stdin.flush()

    def next_event(self, timeout_s: float) -> dict[str, Any] | None:
        """What it says next; None if it has ended. If it says nothing for so long, it is ended."""
        if self._over:
            return None
        try:
            event = self._events.get(timeout=timeout_s)
        except queue.Empty:
            self._hung_s = timeout_s
            self.kill()
            event = None
        self._over = event is None
        return event

    def kill(self) -> None:
        """End the process at once; `end` must still be called."""
        self._process.kill()

    def end(self) -> str:
        """Leave nothing of it behind; how it ended and the last line it wrote to stderr, in words."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            code = self._process.wait(_EXIT_GRACE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.wait()
        self._reader.join()
        self._process.stdout.close()
        with self._errors as file:
            file.seek(max(self._said, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            said = file.read().decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(said) if line.strip()), "")
        if self._hung_s is not None:
            how = f"no progress for {self._hung_s:g} s"
        else:
            how = f"killed by {_signal_name(-code)}" if code < 0 else f"ended with status {code}"
        return f"{how}: {last}" if last else how

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError):  # the process was killed in the middle of a line
            for line in self._process.stdout:
                self._events.put(json.loads(line))
        self._events.put(None)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
