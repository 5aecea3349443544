"""A recording played in time, with the commands of a player: pause, step, seek, loop, speed.

Nothing is lost: where the pipeline is slower than the recording, it plays slower; it never runs ahead to make up for
that. Frames that were handed out before a command are still on their way when it takes effect.
"""

import math
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Final, Literal, Self

from pipeline.frames import Frame
from pipeline.source_base import FALLBACK_FPS, RecordedSource, SourceInfo

_CATCH_UP_S: Final = 0.1  # a frame that is later than this puts off all that follow


class Playback:
    """A recording as a source that keeps time. One thread iterates; any may call the methods and set the attributes.

    Frames are numbered through, over seeks and loops, and their `t_capture_s` is when they were due.
    """

    live: Literal[False] = False

    def __init__(
        self, source: RecordedSource, loop: bool = False, speed: float = 1.0, hold_at_end: bool = False
    ) -> None:
        """Wraps `source`, which nobody else may use any more.

        Args:
            source: the recording.
            loop: begin again at the end; a single picture is shown once.
            speed: 2.0 plays twice as fast, infinity as fast as the pipeline can.
            hold_at_end: do not end with the last frame but wait for a command: `resume` begins again.
        """
        self._source = source
        self._hold_at_end = hold_at_end
        self._changed = threading.Condition()
        self._loop = loop
        self._speed = _checked_speed(speed)
        self._paused = False
        self._at_end = False
        self._stopped = False
        self._singles = 0  # frames to let through while paused
        self._target_s: float | None = None  # where `seek` wants to go
        self._index = 0
        self._position_s: float | None = None
        self._due_s = 0.0  # when the last frame was due, time.perf_counter()
        self._due_media_s: float | None = None  # its place in the recording; None: the next frame is due at once

    @property
    def info(self) -> SourceInfo:
        """The recording's."""
        return self._source.info

    @property
    def warnings(self) -> list[str]:
        """The recording's."""
        return self._source.warnings

    @property
    def duration_s(self) -> float | None:
        """How long the recording plays at speed 1, seconds; None if unknown, 0 for a picture."""
        return self._source.duration_s

    @property
    def position_s(self) -> float | None:
        """`t_media_s` of the frame handed out last."""
        return self._position_s

    @property
    def paused(self) -> bool:
        """Whether it holds its frames."""
        return self._paused

    @property
    def at_end(self) -> bool:
        """Whether it waits behind the last frame; see `hold_at_end`."""
        return self._at_end

    @property
    def loop(self) -> bool:
        """Whether it begins again at the end."""
        return self._loop

    @loop.setter
    def loop(self, loop: bool) -> None:
        with self._changed:
            self._loop = loop
            self._changed.notify_all()

    @property
    def speed(self) -> float:
        """Seconds of the recording per second; above 0."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        with self._changed:
            self._speed = _checked_speed(speed)
            self._changed.notify_all()

    def pause(self) -> None:
        """Hold the next frame."""
        with self._changed:
            self._paused, self._singles = True, 0
            self._changed.notify_all()

    def resume(self) -> None:
        """Let the frames come in time again; from the beginning if it stands at the end."""
        with self._changed:
            self._paused, self._singles = False, 0
            if self._at_end and self._target_s is None:
                self._target_s = 0.0
            self._changed.notify_all()

    def step(self) -> None:
        """Pause, and let one more frame through."""
        with self._changed:
            self._singles = self._singles + 1 if self._paused else 1
            self._paused = True
            self._changed.notify_all()

    def seek(self, seconds: float) -> int:
        """Go on with the frame that is shown at this time; while paused, let that one through.

        Returns:
            The index of that frame. Those with a lower one are on their way from the old place.

        Raises:
            ValueError: not a finite number.
        """
        if not math.isfinite(seconds):
            raise ValueError(f"seconds: expected a finite number, got {seconds}")
        with self._changed:
            self._target_s = max(0.0, seconds)
            self._singles = 1 if self._paused else 0
            self._changed.notify_all()
            return self._index

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._source.stop()

    def __enter__(self) -> Self:
        with self._changed:
            self._stopped = self._at_end = False
            self._index, self._position_s, self._due_media_s = 0, None, None
        self._source.__enter__()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._source.__exit__(exc_type, exc, traceback)

    def __iter__(self) -> Iterator[Frame]:
        frames = iter(self._source)
        while True:
            frame = next(frames, None)
            released = self._release(frame) if frame is not None else None
            if released is not None:
                yield released
                continue
            target_s = self._next_target(ended=frame is None)
            if target_s is None:
                return
            self._source.seek(target_s)
            frames = iter(self._source)

    def _release(self, frame: Frame) -> Frame | None:
        """`frame` when its time has come; None if it was stopped or is to go on elsewhere."""
        media_s = frame.t_media_s or 0.0
        with self._changed:
            while not self._stopped and self._target_s is None:
                if self._paused and not self._singles:
                    self._due_media_s = None  # time stands still
                    self._changed.wait()
                    continue
                now_s = time.perf_counter()
                due_s = now_s if self._singles else self._due(media_s, now_s)
                if due_s <= now_s:
                    self._singles = max(0, self._singles - 1)
                    self._due_s = due_s if now_s - due_s < _CATCH_UP_S else now_s
                    self._due_media_s = self._position_s = media_s
                    self._index += 1
                    return Frame.of(frame.image, self._index - 1, now_s, media_s)
                self._changed.wait(due_s - now_s)
        return None

    def _due(self, media_s: float, now_s: float) -> float:
        """When a frame of this time is due, time.perf_counter()."""
        if self._due_media_s is None:
            return now_s
        return self._due_s + (media_s - self._due_media_s) / self._speed

    def _next_target(self, ended: bool) -> float | None:
        """Where to go on, waiting for a command at the end if need be; None: nowhere."""
        with self._changed:
            while not self._stopped and self._target_s is None and ended:
                if self._loop and self.duration_s != 0.0:
                    # The last frame stands for as long as one does; a pause meanwhile makes no difference.
                    self._due_media_s = -1 / (self.info.fps or FALLBACK_FPS)
                    return 0.0
                if not self._hold_at_end:
                    return None
                self._at_end, self._singles = True, 0
                self._changed.wait()
            self._at_end = False
            if self._stopped or self._target_s is None:
                return None
            target_s, self._target_s, self._due_media_s = self._target_s, None, None
            return target_s


def _checked_speed(speed: float) -> float:
    if not speed > 0:
        raise ValueError(f"speed: expected a number above 0, got {speed}")
    return speed
