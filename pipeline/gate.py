"""Who holds the picture: a recording that is played waits by itself, the frames of a camera are let go by."""

import threading
from typing import Protocol, runtime_checkable


@runtime_checkable
class Pausable(Protocol):
    """Can hold its frames, and let single ones through; from any thread."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def step(self) -> None: ...


class Gate:
    """The `Pausable` of live sources: frames that come while it is closed are gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._singles = 0

    def pause(self) -> None:
        with self._lock:
            self._closed = True

    def resume(self) -> None:
        with self._lock:
            self._closed, self._singles = False, 0

    def step(self) -> None:
        with self._lock:
            if self._closed:
                self._singles += 1

    def passes(self) -> bool:
        """Whether the frame that has just come goes on; called once for each."""
        with self._lock:
            if self._closed and not self._singles:
                return False
            self._singles = max(0, self._singles - 1)
            return True
