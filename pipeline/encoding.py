"""A video file that a thread of its own writes, so that whoever has the pictures need not wait for the encoder."""

import contextlib
import threading
import time
from typing import NamedTuple

from engine.structures import ByteArray
from pipeline.channel import Channel, Closed
from pipeline.durations import Durations
from pipeline.h264 import H264File
from pipeline.priority import let_the_network_go_first


class _Picture(NamedTuple):
    canvas: ByteArray
    time_s: float


class EncodingThread:
    """Writes to an `H264File` and loses nothing: `write` waits while the encoder has two pictures.

    What goes wrong there is raised by the next `write`, or by `close`; whatever was written until then is in the file.

    Attributes:
        durations: how long each picture took.
    """

    def __init__(self, file: H264File) -> None:
        """Nothing starts before the first picture; nobody else may use `file` any more."""
        self.durations = Durations()
        self._file = file
        self._queue: Channel[_Picture] = Channel(1)
        self._thread = threading.Thread(target=self._run, name="encoder")
        self._started = False
        self._error: BaseException | None = None

    @property
    def written(self) -> int:
        """How many pictures the file has taken."""
        return self.durations.count

    @property
    def waited_s(self) -> float:
        """How long in all `write` has waited for the encoder."""
        return self._queue.waited_s

    def write(self, canvas: ByteArray, time_s: float) -> None:
        """Hand over a picture, see `H264File.write`; the canvas must not change any more."""
        if not self._started:
            self._thread.start()
            self._started = True
        try:
            self._queue.put(_Picture(canvas, time_s))
        except Closed:
            self._raise_error()
            raise

    def close(self) -> None:
        """Write what waits, and complete and close the file; a second call does no more."""
        self._queue.close()
        if self._started:
            self._thread.join()
            self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        let_the_network_go_first()
        try:
            with contextlib.suppress(Closed):
                while True:
                    self._add(self._queue.get())
            self._file.close()
        except BaseException as error:  # noqa: BLE001 - raised again where the pictures come from
            self._error = error
            self._queue.abort()
            with contextlib.suppress(Exception):  # it would say the same once more
                self._file.close()

    def _add(self, picture: _Picture) -> None:
        begin_s = time.perf_counter()
        self._file.write(picture.canvas, picture.time_s)
        end_s = time.perf_counter()
        self.durations.add(end_s, end_s - begin_s)
