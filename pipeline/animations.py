"""Animated pictures as clips: GIF, PNG, WebP, AVIF."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from PIL import Image

from engine.errors import UserError
from engine.structures import ByteArray
from pipeline.frames import Frame
from pipeline.picture_files import frame_count, opened, upright_bgr
from pipeline.source_base import SourceInfo

_SHORTEST_S: Final = 0.015  # a frame that asks for less time than this
_USUAL_S: Final = 0.1  # is shown for so long, as in browsers


class AnimationSource:
    """An animated picture as a clip, each frame for as long as it says.

    Of a damaged one the frames before the damage are delivered, with one line in `warnings`.

    Attributes:
        duration_s: None: it takes reading all of it to know.
    """

    live: Literal[False] = False
    duration_s: float | None = None

    def __init__(self, path: Path, max_frames: int | None = None) -> None:
        """Decodes the first frame. Raises UserError if that fails."""
        self.warnings: list[str] = []
        self._path = path
        self._max_frames = max_frames
        self._target_s: float | None = None  # where `seek` wants to go
        with opened(path) as image:
            height, width = upright_bgr(image).shape[:2]
            count, fps = frame_count(image), 1 / _shown_s(image)
        self.info = SourceInfo(path.name, width, height, fps, count if max_frames is None else min(count, max_frames))

    def stop(self) -> None:
        pass  # never waits

    def seek(self, seconds: float) -> None:
        self._target_s = max(0.0, seconds)

    def __enter__(self) -> Self:
        self.warnings.clear()
        self._target_s = None
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def __iter__(self) -> Iterator[Frame]:
        index, frames = 0, self._frames_from(0.0)
        while index != self._max_frames:
            if self._target_s is not None:
                frames, self._target_s = self._frames_from(self._target_s), None
            try:
                image, time_s = next(frames)
            except StopIteration:
                return
            except UserError as error:
                line = f"{error}; it ends early"
                if line not in self.warnings:  # played in a loop, it ends more than once
                    self.warnings.append(line)
                return
            yield Frame.of(image, index, time.perf_counter(), time_s)
            index += 1

    def _frames_from(self, target_s: float) -> Iterator[tuple[ByteArray, float]]:
        """The frame that is shown at `target_s`, or the last one, and those after it; BGR, and seconds."""
        with opened(self._path) as image:
            time_s, last = 0.0, frame_count(image) - 1
            for number in range(last + 1):
                image.seek(number)
                shown_s = _shown_s(image)
                if number == last or time_s + shown_s > target_s:
                    yield upright_bgr(image), time_s
                time_s += shown_s


def _shown_s(image: Image.Image) -> float:
    """How long the current frame stands, seconds."""
    image.load()  # some kinds know only then
    asked_s = float(image.info.get("duration") or 0) / 1000
    return asked_s if asked_s >= _SHORTEST_S else _USUAL_S
