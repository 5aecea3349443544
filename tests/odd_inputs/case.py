"""What an odd input is, and the pictures that all of them show."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from engine.structures import ByteArray
from pipeline.clips import FileSource
from pipeline.frames import Frame
from pipeline.source_base import SourceInfo

SAMPLE = Path(__file__).resolve().parents[2] / "assets" / "sample.mp4"
STILL = SAMPLE.with_name("astronaut.jpg")
WIDTH, HEIGHT, COUNT = 192, 144, 6
MARK = 48  # side of the square at the top left whose grey tells the frame's number

Expected = Literal["works", "partial", "error"]
Check = Callable[[list[Frame], SourceInfo], None]


@dataclass(frozen=True)
class OddInput:
    """A file that a stranger might bring.

    Attributes:
        name: of the file or folder, as it lies on the disk; unique.
        make: writes it to the path it is given.
        expected: it works; works in part and says so in a warning; or ends with one line.
        says: part of the warning or of the line.
        check: looks at what was delivered; asserts.
        about: what is odd, for the table.
    """

    name: str
    make: Callable[[Path], None]
    expected: Expected = "works"
    says: str = ""
    check: Check | None = None
    about: str = ""


@cache
def images() -> tuple[ByteArray, ...]:
    """The frames of most clips: people who walk, and the mark; BGR uint8 (HEIGHT, WIDTH, 3)."""
    with FileSource(SAMPLE) as source:
        frames = [
            cv2.resize(frame.image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for frame in islice(source, COUNT)
        ]
    return tuple(marked(frame.astype(np.uint8), number) for number, frame in enumerate(frames))


@cache
def still() -> ByteArray:
    """The picture of most picture files."""
    picture = cv2.imread(str(STILL))
    assert picture is not None
    return marked(cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.uint8), 0)


def marked(image: ByteArray, number: int) -> ByteArray:
    """The image with the mark of its number."""
    image = image.copy()
    image[:MARK, :MARK] = 20 + 35 * number
    return image


def shows(wanted: Sequence[ByteArray] | None = None, within: float = 6.0, grey: bool = False) -> Check:
    """A check: the frames are these (by default `images`), each in its place, up to what a codec loses."""

    def check(frames: list[Frame], info: SourceInfo) -> None:
        expected = [_grey(image) if grey else image for image in (images() if wanted is None else wanted)]
        assert len(frames) == len(expected), f"{len(frames)} frames instead of {len(expected)}"
        assert (info.height, info.width) == expected[0].shape[:2]
        for number, (frame, image) in enumerate(zip(frames, expected, strict=True)):
            assert frame.image.shape == image.shape, f"frame {number}: {frame.image.shape} instead of {image.shape}"
            off = float(np.abs(frame.image.astype(int) - image).mean())
            assert off < within, f"frame {number} is off by {off:.1f} levels"
        assert frames[0].t_media_s == 0

    return check


def has(count: int | None = None, times_s: Sequence[float] | None = None, **info_fields: object) -> Check:
    """A check of how many frames there are, of their times, and of what is known beforehand."""

    def check(frames: list[Frame], info: SourceInfo) -> None:
        assert count is None or len(frames) == count, f"{len(frames)} frames instead of {count}"
        if times_s is not None:
            np.testing.assert_allclose([frame.t_media_s for frame in frames], times_s, atol=2e-3)
        for name, value in info_fields.items():
            assert getattr(info, name) == value, f"{name} is {getattr(info, name)!r}"

    return check


def both(*checks: Check) -> Check:
    """All of these checks."""

    def check(frames: list[Frame], info: SourceInfo) -> None:
        for one in checks:
            one(frames, info)

    return check


def _grey(image: ByteArray) -> ByteArray:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR).astype(np.uint8)
