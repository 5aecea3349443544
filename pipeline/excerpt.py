"""A part of a recording: from one moment to another, and of that every so many frames or seconds."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, Self

from pipeline.clips import FileSource
from pipeline.frames import Frame
from pipeline.source_base import RecordedSource, SourceInfo

_SAME_TIME_S: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Cut:
    """Which part of a recording; by default all of it.

    Attributes:
        start_s: leave out the frames before this time (`t_media_s`).
        end_s: leave out those at this time and after it.
        every_frames: of the rest keep the first and each so-manieth after it.
        every_s: of the rest keep the first frame at or after each multiple of this from `start_s` on.
        max_frames: end after so many.
    """

    start_s: float = 0.0
    end_s: float = math.inf
    every_frames: int = 1
    every_s: float = 0.0
    max_frames: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < self.end_s:
            raise ValueError(f"expected 0 <= start_s < end_s, got {self.start_s} and {self.end_s}")
        if self.every_frames < 1 or not 0 <= self.every_s < math.inf:
            raise ValueError(f"expected every_frames >= 1 and every_s >= 0, got {self.every_frames}, {self.every_s}")
        if self.max_frames is not None and self.max_frames < 1:
            raise ValueError(f"max_frames: expected at least 1, got {self.max_frames}")


class Excerpt:
    """Part of a recording as a source: frames are numbered anew from 0 and keep their times.

    The frames before the start are not decoded where the file lets one seek, but for those since the last key frame.
    """

    live: Literal[False] = False

    def __init__(self, source: RecordedSource, cut: Cut, passed: Callable[[], None] = lambda: None) -> None:
        """Wraps `source`, which nobody else may use any more.

        Args:
            source: the recording.
            cut: which part of it.
            passed: called for each frame that is read but left out, by whoever iterates: nothing else shows that it
                goes on, for hours where a long recording lets nobody seek.
        """
        self._source = source
        self._cut = cut
        self._passed = passed
        if isinstance(source, FileSource):  # the others are anywhere at once
            source.passed = passed
        self.info = _info(source, cut)

    @property
    def warnings(self) -> list[str]:
        """The recording's."""
        return self._source.warnings

    def stop(self) -> None:
        self._source.stop()

    def __enter__(self) -> Self:
        self._source.__enter__()
        if self._cut.start_s > 0:
            self._source.seek(self._cut.start_s)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._source.__exit__(exc_type, exc, traceback)

    def __iter__(self) -> Iterator[Frame]:
        for index, frame in enumerate(self._chosen()):
            yield dataclasses.replace(frame, index=index)
            if index + 1 == self._cut.max_frames:
                return

    def _chosen(self) -> Iterator[Frame]:
        cut = self._cut
        inside, due_s = 0, cut.start_s
        for frame in self._source:
            time_s = frame.time_s
            if time_s >= cut.end_s - _SAME_TIME_S:
                return
            if time_s < cut.start_s - _SAME_TIME_S:  # the frame that is still shown at the start, and a file's run-up
                self._passed()
                continue
            inside += 1
            if (inside - 1) % cut.every_frames or time_s < due_s - _SAME_TIME_S:
                self._passed()
                continue
            if cut.every_s:
                steps = math.floor((time_s - cut.start_s + _SAME_TIME_S) / cut.every_s) + 1
                due_s = cut.start_s + steps * cut.every_s
            yield frame


def _info(source: RecordedSource, cut: Cut) -> SourceInfo:
    """The recording's, with the rate and the number of frames to expect after the cut."""
    info = source.info
    fps, count = info.fps, info.frame_count
    if source.duration_s is not None and fps and (cut.start_s > 0 or cut.end_s < math.inf):
        seconds = max(0.0, min(cut.end_s, source.duration_s) - cut.start_s)
        count = round(seconds * fps)
    if fps:
        kept_fps = min(fps / cut.every_frames, 1 / cut.every_s if cut.every_s else math.inf)
        count = None if count is None else math.ceil(count * kept_fps / fps)
        fps = kept_fps
    if cut.max_frames is not None and count is not None:
        count = min(count, cut.max_frames)
    return dataclasses.replace(info, fps=fps, frame_count=count)
