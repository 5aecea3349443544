"""How long the window was deaf: the longest time in which its event loop did not come round."""

import time
from typing import Final

from PyQt6.QtCore import QObject, Qt, QTimer

TICK_MS: Final = 10


class LoopGap(QObject):
    """A timer that measures its own lateness, from `start` on.

    Attributes:
        longest_ms: the longest time by which a tick was late, milliseconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.longest_ms = 0.0
        self._due_s = 0.0
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._tick)

    def start(self) -> None:
        """Begin to measure; what was before does not count."""
        if not self._timer.isActive():
            self._due_s = time.perf_counter() + TICK_MS / 1e3
            self._timer.start()

    def stop(self) -> None:
        """Measure no more."""
        self._timer.stop()

    def _tick(self) -> None:
        now_s = time.perf_counter()
        self.longest_ms = max(self.longest_ms, (now_s - self._due_s) * 1e3)
        self._due_s = now_s + TICK_MS / 1e3
