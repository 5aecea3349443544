"""A video file that a thread of its own writes, so that whoever has the pictures need not wait for the encoder."""

import time
from concurrent.futures import Future, ThreadPoolExecutor

from engine.structures import ByteArray
from pipeline.durations import Durations
from pipeline.h264 import H264File
from pipeline.priority import let_the_network_go_first


class EncodingThread:
    """Writes to an `H264File`, one picture at a time: `write` waits until the one before is done, and raises its error.

    More pictures under way would be more that a kill costs.

    Attributes:
        durations: how long each picture took.
        waited_s: how long in all `write` has waited.
    """

    def __init__(self, file: H264File) -> None:
        """Nothing starts before the first picture; nobody else may use `file` any more."""
        self.durations = Durations()
        self.waited_s = 0.0
        self._file = file
        self._pool = ThreadPoolExecutor(1, "encoder", initializer=let_the_network_go_first)
        self._last: Future[None] | None = None

    @property
    def written(self) -> int:
        """How many pictures the file has taken."""
        return self.durations.count

    def write(self, canvas: ByteArray, time_s: float) -> None:
        """Hand over a picture, see `H264File.write`; the canvas must not change any more."""
        begin_s = time.perf_counter()
        self._wait()
        self.waited_s += time.perf_counter() - begin_s
        self._last = self._pool.submit(self._add, canvas, time_s)

    def close(self) -> None:
        """Complete and close the file, once. Raises the error of the last picture, or of the end."""
        with self._pool:
            try:
                self._wait()
            finally:
                self._pool.submit(self._file.close).result()

    def _wait(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def _add(self, canvas: ByteArray, time_s: float) -> None:
        begin_s = time.perf_counter()
        self._file.write(canvas, time_s)
        end_s = time.perf_counter()
        self.durations.add(end_s, end_s - begin_s)
