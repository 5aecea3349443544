"""Work that would hold up the window: done in a thread of its own, its result handed back in the GUI's thread."""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from PyQt6.QtCore import QObject, pyqtSignal

Value = TypeVar("Value")


class Background(QObject):
    """Starts short-lived threads and knows which of them still work.

    The threads are daemons: a network that is being loaded or a camera that does not answer cannot be interrupted, and
    the program must be able to end all the same.
    """

    _delivered = pyqtSignal(object)

    def __init__(self) -> None:
        """Has no Qt parent: its threads keep it alive until the last of them has delivered."""
        super().__init__()
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._delivered.connect(self._deliver)  # queued, since it is emitted in other threads

    def run(
        self,
        name: str,
        work: Callable[[], Value],
        done: Callable[[Value], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Call `work` in a thread called `name`, then `done` with its value or `failed` with its exception, here."""
        if self._closed:
            return
        thread = threading.Thread(target=self._work, args=(work, done, failed), name=name, daemon=True)
        self._threads = [other for other in self._threads if other.is_alive()] + [thread]
        thread.start()

    def close(self, timeout_s: float) -> bool:
        """Deliver nothing any more and wait for the threads; whether all have ended in time."""
        self._closed = True
        deadline_s = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self, work: Callable[[], Any], done: Callable[[Any], None], failed: Callable[[Exception], None]) -> None:
        try:
            value = work()
        except Exception as error:  # noqa: BLE001 - handed to `failed`, which tells the user
            reason = error
            self._delivered.emit(lambda: failed(reason))
        else:
            self._delivered.emit(lambda: done(value))

    def _deliver(self, call: Callable[[], None]) -> None:
        if not self._closed:
            call()
