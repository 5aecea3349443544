"""What a source is: something that delivers frames. `pipeline.sources.open_source` makes all of them.

A source is a recipe until it is entered: `with` opens it for reading. So the thread that enters it is the one that
closes it, and a source can be played again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Final, Literal, Protocol, Self

from pipeline.frames import Frame

FALLBACK_FPS: Final = 25.0  # where a file names neither timestamps nor a rate


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known before the first frame is read.

    Attributes:
        name: for people: a file's name, a camera's name and number, an address without its password.
        width, height: of the first frame as delivered (turned upright), pixels; of a live source's latest frame, 0
            before there is one.
        fps: the average frame rate the file or camera claims, or None.
        frame_count: how many frames to expect, or None; a hint for a progress bar, not a promise.
        sample_aspect: how wide a pixel is to be shown over how high; 1 but for old camcorders, DVDs and some CCTV.
            Frames, keypoints and masks are in stored pixels: only what shows or stores a picture stretches it.
    """

    name: str
    width: int
    height: int
    fps: float | None
    frame_count: int | None
    sample_aspect: Fraction = Fraction(1)


class Source(Protocol):
    """Anything that delivers frames: enter it, iterate it, leave it, all in one thread."""

    @property
    def live(self) -> bool:
        """Whether frames come at their own pace (a camera), so that late ones are better dropped."""
        ...

    @property
    def info(self) -> SourceInfo:
        """What is known before the first frame."""
        ...

    @property
    def warnings(self) -> list[str]:
        """One line for each thing the user should know after the last frame; complete once iteration has ended."""
        ...

    def stop(self) -> None:
        """End an iteration that waits for its next frame, from any thread; entering the source again undoes it."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def __iter__(self) -> Iterator[Frame]: ...


class RecordedSource(Source, Protocol):
    """A source that nothing is lost of: clips and pictures. `pipeline.playback` plays it in time."""

    @property
    def live(self) -> Literal[False]: ...

    @property
    def duration_s(self) -> float | None:
        """How long it plays, seconds; None if unknown."""
        ...

    def seek(self, seconds: float) -> None:
        """Let the frame that is shown at this time (`t_media_s`) come next; also after the last one, for a new `iter`.

        Before the beginning is the beginning; behind the end, the last frame follows. Only for the thread that
        iterates, between two frames.
        """
        ...
