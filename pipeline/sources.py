"""Where frames come from. `open_source` looks at a file once and says at once, and clearly, if it cannot be read.

A source is a recipe until it is entered: `open_source` reads the header and the first frame for `info`, `with` opens
it for reading. So the thread that enters it is the one that closes it, and a source can be played again.
"""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import cv2
import numpy as np
from av.container import InputContainer

from engine.errors import UserError
from engine.structures import ByteArray
from pipeline import containers
from pipeline.frames import Frame
from pipeline.packets import MediaClock, PacketReader, declared_s, open_container, upright, video_stream

FALLBACK_FPS: Final = 25.0  # where a file names neither timestamps nor a rate
EARLY_END_S: Final = 0.5  # a clip may be this much shorter than its header says without a warning
_PICTURE_HEADS: Final = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP", b"#?RADIANCE")
_MOTION_JPEG_SUFFIXES: Final = (".mjpeg", ".mjpg")


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known before the first frame is read.

    Attributes:
        name: the file's name.
        width, height: of the first frame as delivered (turned upright), pixels.
        fps: the average frame rate the file claims, or None.
        frame_count: how many frames to expect, or None; a hint for a progress bar, not a promise.
    """

    name: str
    width: int
    height: int
    fps: float | None
    frame_count: int | None


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

    def __enter__(self) -> Self: ...

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def __iter__(self) -> Iterator[Frame]: ...


def open_source(uri: str, max_frames: int | None = None) -> Source:
    """The source behind a path to a video or picture file; not entered yet.

    Args:
        uri: path of the file.
        max_frames: deliver at most so many frames.

    Raises:
        UserError: the file is missing, empty, a folder, neither video nor picture, or has no readable frame.
    """
    if max_frames is not None and max_frames < 1:
        raise ValueError(f"max_frames: expected at least 1, got {max_frames}")
    path = Path(uri)
    try:
        if "://" in uri and not path.exists():
            raise UserError(f"{uri}: only video and picture files can be read")
        if path.is_dir():
            raise UserError(f"{uri}: is a folder, expected a video or picture file")
        if not path.exists():
            raise UserError(f"{uri}: no such file")
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise UserError(f"{uri}: cannot be read: {error.strerror}") from error
    if not head:
        raise UserError(f"{uri}: the file is empty")
    return ImageSource(path) if _is_picture(path, head) else FileSource(path, max_frames)


class ImageSource:
    """A picture file as a clip of one frame. Grey, 16-bit and transparent pictures become BGR with 8 bits."""

    live = False

    def __init__(self, path: Path) -> None:
        """Decodes the picture. Raises UserError if that fails."""
        self.warnings: list[str] = []
        try:
            # By way of bytes: OpenCV opens no path outside the system's code page on Windows.
            encoded = np.frombuffer(path.read_bytes(), dtype=np.uint8)
            picture = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        except cv2.error as error:
            raise UserError(f"{path}: the picture cannot be decoded: {error.err}") from error
        if picture is None:
            raise UserError(f"{path}: the picture is damaged or of a kind that cannot be read")
        self._image: ByteArray = picture.astype(np.uint8, copy=False)
        height, width = self._image.shape[:2]
        self.info = SourceInfo(path.name, width, height, fps=None, frame_count=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def __iter__(self) -> Iterator[Frame]:
        yield Frame.of(self._image, index=0, t_capture_s=time.perf_counter(), t_media_s=0.0)


class FileSource:
    """A video file: every frame in order, upright, with its own timestamp and size.

    A cut or damaged clip delivers all frames that can be read and leaves one line in `warnings`.
    """

    live = False

    def __init__(self, path: Path, max_frames: int | None = None) -> None:
        """Reads the header and the first frame. Raises UserError if there is none."""
        self.warnings: list[str] = []
        self._path = path
        self._max_frames = max_frames
        self._container: InputContainer | None = None
        self.info = self._probe()

    def _probe(self) -> SourceInfo:
        with open_container(self._path) as container:
            stream = video_stream(container, self._path)
            reader = PacketReader(container, stream)
            first = next(reader.frames(), None)
            if first is None:
                cut_off = containers.missing_bytes(self._path) > 0
                reason = "the file is cut off" if cut_off else reader.reason or "it holds none"
                raise UserError(f"{self._path}: no frame can be read: {reason}")
            height, width = upright(first).shape[:2]
            rate = stream.average_rate or stream.guessed_rate
            count: int | None = stream.frames or None
            if self._max_frames is not None:
                count = min(count, self._max_frames) if count else None
            return SourceInfo(self._path.name, width, height, float(rate) if rate else None, count)

    def __enter__(self) -> Self:
        self.warnings.clear()
        self._container = open_container(self._path)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    def __iter__(self) -> Iterator[Frame]:
        if self._container is None:
            raise RuntimeError("enter the source with `with` before reading it")
        stream = video_stream(self._container, self._path)
        reader = PacketReader(self._container, stream)
        clock = MediaClock(self.info.fps or FALLBACK_FPS)
        index = -1
        for index, decoded in enumerate(itertools.islice(reader.frames(), self._max_frames)):
            image = upright(decoded)
            yield Frame.of(image, index, time.perf_counter(), clock.seconds(decoded))
        if index + 1 != self._max_frames:
            self.warnings += self._damage(declared_s(self._container, stream), reader, clock, index + 1)

    def _damage(self, declared: float | None, reader: PacketReader, clock: MediaClock, count: int) -> list[str]:
        """What was wrong with a clip that was read to its end: no line or one."""
        missing = containers.missing_bytes(self._path)
        if missing:
            reason = f"the file is cut off, at least {missing} bytes are missing"
        elif reader.ended_badly:
            reason = reader.reason
        elif declared is not None and declared - clock.end_s > EARLY_END_S:
            reason = f"{clock.end_s:.1f} s of {declared:.1f} s can be read"
        elif reader.bad_count:
            return [f"{self._path}: {count} frames were read, {reader.bad_count} damaged left out: {reader.reason}"]
        else:
            return []
        return [f"{self._path}: the clip ends early after {count} frames: {reason}"]


def _is_picture(path: Path, head: bytes) -> bool:
    if path.suffix.lower() in _MOTION_JPEG_SUFFIXES:
        return False
    return head.startswith(_PICTURE_HEADS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or _is_netpbm(head)


def _is_netpbm(head: bytes) -> bool:
    return head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace()
