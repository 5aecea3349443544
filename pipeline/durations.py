"""The last few thousand "when it ended, how long it took" of one thing, in memory that never grows."""

import threading
from typing import Final

import numpy as np
import numpy.typing as npt

KEPT: Final = 20_000  # eleven minutes at 30 a second


class Durations:
    """Written by one thread, in the order of time; read by any."""

    def __init__(self, kept: int = KEPT) -> None:
        """Keep the last `kept` of them."""
        # Rows of numbers, allocated once: tuples in a list would look like a leak in the first minutes of a long run.
        self._rows = np.zeros((kept, 2), dtype=np.float64)
        self._count = 0
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """How many there were since the start, kept or not."""
        return self._count

    def add(self, end_s: float, duration_s: float) -> None:
        """One more; `end_s` is time.perf_counter(), not before the one added last."""
        with self._lock:
            self._rows[self._count % len(self._rows)] = end_s, duration_s
            self._count += 1

    def since(self, start_s: float = -np.inf) -> npt.NDArray[np.float64]:
        """Those that ended at or after `start_s`: float64 (n, 2), rows of end and duration in seconds, oldest first."""
        with self._lock:
            if self._count <= len(self._rows):
                rows = self._rows[: self._count].copy()
            else:
                rows = np.roll(self._rows, -(self._count % len(self._rows)), axis=0)
        return rows[np.searchsorted(rows[:, 0], start_s) :]

    def rate(self, start_s: float, now_s: float) -> float:
        """How many a second ended between the two moments; falls while none ends, 0 where fewer than two are known.

        N of them are N in the whole span if others came before, but only N - 1 since the first if it is the very first.
        """
        rows = self.since()
        before = int(np.searchsorted(rows[:, 0], start_s))
        count = len(rows) - before
        if not before:
            start_s, count = (rows[0, 0] if count else start_s), count - 1
        return max(0.0, count / (now_s - start_s)) if now_s > start_s else 0.0
