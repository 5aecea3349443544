"""Records a live view: in a thread of its own, behind a deep queue, into a file that a crash cannot spoil.

While it grows the video is called `name.partial.mp4` and plays at any moment: if the program is killed, all but the
last second is in it. A recording that was ended in order, or cut short by a full disk, gets the name it was given.
"""

import contextlib
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, NamedTuple, Self

import av

from engine.errors import UserError
from engine.structures import ByteArray
from pipeline.channel import Channel, Closed
from pipeline.frames import Frame, Rendered
from pipeline.h264 import H264File, growing_path, video_format
from pipeline.source_base import FALLBACK_FPS, SourceInfo

QUEUE_BYTES: Final = 128_000_000  # three seconds of 1280x720 at 15 fps
UNKNOWN_PIXELS: Final = 1920 * 1080  # of a camera that has not delivered yet
LONGEST_STEP_S: Final = 1.0  # a clip whose time goes on by more, or back, was moved by hand

Phase = Literal["recording", "finishing", "saved", "failed"]


@dataclass(frozen=True, slots=True)
class RecorderState:
    """How a recording goes.

    Attributes:
        phase: "recording"; "finishing" what still waits; "saved"; "failed", and nothing more is recorded.
        written: frames in the file.
        lost: frames that found the queue full: encoder or disk were too slow.
        seconds: how long the recording is.
        message: one line for the user once it has failed, or was saved with frames lost; else "".
    """

    phase: Phase
    written: int
    lost: int
    seconds: float
    message: str


class _Picture(NamedTuple):
    canvas: ByteArray
    time_s: float


class Recorder:
    """Writes the canvases it is given to an H.264 video: `pipeline.tap = recorder.write`.

    `start`, then `write` from one thread, then `stop`; `state` from any thread at any time. As a context manager it
    starts and, at the end, waits until the file is whole.
    """

    def __init__(self, path: str | Path, info: SourceInfo) -> None:
        """Nothing is written yet.

        Args:
            path: of the finished video, with a suffix of `pipeline.h264.VIDEO_FORMATS`; no such file may exist.
            info: of the source that is shown.

        Raises:
            UserError: another suffix.
        """
        self.path = Path(path)
        self.growing_path = growing_path(self.path)
        self._fps = info.fps or FALLBACK_FPS
        self._file = H264File(self.growing_path, video_format(self.path), self._fps, live=True)
        depth = max(8, QUEUE_BYTES // (3 * (info.width * info.height or UNKNOWN_PIXELS)))
        self._queue: Channel[_Picture] = Channel(depth, lossy=True)
        self._thread = threading.Thread(target=self._run, name="recorder")
        self._lock = threading.Lock()
        self._phase: Phase = "recording"
        self._written = 0
        self._seconds = 0.0
        self._message = ""
        self._last: Frame | None = None
        self._time_s = 0.0

    @property
    def state(self) -> RecorderState:
        """How the recording goes; never waits for the disk."""
        with self._lock:
            return RecorderState(self._phase, self._written, self._queue.dropped, self._seconds, self._message)

    def start(self) -> None:
        """Begin. Raises UserError if there already is a file of one of its names, or none can be made there."""
        for taken in (self.path, self.growing_path):
            if taken.exists():
                raise UserError(f"{taken}: is there already; a recording replaces nothing")
        try:
            self.growing_path.touch(exist_ok=False)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be recorded: {error.strerror}") from error
        self._thread.start()

    def write(self, rendered: Rendered) -> None:
        """Add a frame. Never waits and never fails: what goes wrong stands in `state`."""
        with contextlib.suppress(Closed):
            self._queue.put(_Picture(rendered.canvas, self._time_of(rendered.result.frame)))

    def stop(self) -> None:
        """Take no more frames; what waits is still written, see `state`. Returns at once; idempotent."""
        with self._lock:
            if self._phase == "recording":
                self._phase = "finishing"
        self._queue.close()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until the file is whole or given up, after `stop`; whether it is."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self.join()

    def _time_of(self, frame: Frame) -> float:
        """Seconds since the first frame: by the camera's clock, or by the clip's own without a jump in it."""
        last, self._last = self._last, frame
        if last is None:
            return 0.0
        if frame.t_media_s is None or last.t_media_s is None:
            step_s = frame.t_capture_s - last.t_capture_s
        else:
            step_s = frame.t_media_s - last.t_media_s
            if not 0 < step_s <= LONGEST_STEP_S:
                step_s = 1 / self._fps
        self._time_s += max(0.0, step_s)
        return self._time_s

    def _run(self) -> None:
        problem = "an error in the program"
        try:
            with contextlib.suppress(Closed):
                while True:
                    self._add(self._queue.get())
            self._file.close()
            problem = ""
        except (OSError, av.FFmpegError) as error:
            problem = error.strerror or str(error)
        finally:
            self._queue.abort()
            if problem:
                with contextlib.suppress(OSError, av.FFmpegError):  # it would say the same once more
                    self._file.close()
            self._end(problem)

    def _add(self, picture: _Picture) -> None:
        self._file.write(picture.canvas, picture.time_s)
        with self._lock:
            self._written += 1
            self._seconds = picture.time_s + 1 / self._fps

    def _end(self, problem: str) -> None:
        """Give the file its name, or remove it if there is nothing in it, and say how it went."""
        kept = self.path
        try:
            if self._written:
                self.growing_path.rename(self.path)
            else:
                self.growing_path.unlink(missing_ok=True)
        except OSError as error:
            problem, kept = problem or error.strerror or str(error), self.growing_path
        part = f"about {self._seconds:.1f} s are kept in {kept}" if self._written else "nothing was recorded"
        with self._lock:
            self._phase = "failed" if problem else "saved"
            if problem:
                self._message = f"the recording has ended early: {problem}; {part}"
            elif self._queue.dropped:
                self._message = f"{kept}: {self._queue.dropped} frames were lost, the disk or the computer was too slow"
