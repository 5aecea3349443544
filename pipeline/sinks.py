"""Where results go: a video, a picture, or lines of text for each frame.

A sink is a context manager with `write`. While it grows its file is called `name.partial.ext`; that is renamed when the
`with` block ends well. So a file with the target's name is always whole. After an exception, or if the program is
killed, the partial file stays and holds what was done; without any frame nothing is left.
"""

import abc
import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import av
import cv2

from engine.errors import UserError
from engine.files import names_to_disk, to_disk
from pipeline.audio import AudioTrack
from pipeline.encoding import EncodingThread
from pipeline.frames import Rendered
from pipeline.h264 import H264File, growing_path, video_format
from pipeline.records import frame_record
from pipeline.source_base import FALLBACK_FPS, SourceInfo

PICTURE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


class FileSink(abc.ABC):
    """A sink that writes one file.

    Attributes:
        path: the target; an older file of that name stays until the new one is whole.
        growing_path: what it is called before.
        count: frames written so far.
        warnings: one line for each thing the user should know; complete once the block has ended.
    """

    keeps_part = True  # whether half of it is of any use

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.growing_path = growing_path(self.path)
        self.count = 0
        self.warnings: list[str] = []
        self._place: tuple[int, int] | None = None  # of the growing file: another run may take its name
        self._begun: IO[bytes] | None = None  # that file, kept open: else another could come to the same place

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file that is there in the end."""
        return (self.path,)

    def __enter__(self) -> Self:
        """Raises UserError, before any work is done, if no file can be written there."""
        if os.path.isdir(self.path):
            raise UserError(f"{self.path}: is a folder, expected the name of a file to write")
        try:
            self.growing_path.unlink(missing_ok=True)  # of a run that was killed
            self._begun = self.growing_path.open("xb")
            self._place = _place(self._begun.fileno())
            if os.name != "posix":  # where open files keep their names to themselves
                self._begun.close()
        except OSError as error:
            raise UserError(f"{self.path.parent}: cannot write {self.path.name} there: {error.strerror}") from error
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if exc_type is None and self.count:
                with self._explained():
                    self._finish()
                    self._rename()
            else:
                with contextlib.suppress(UserError, OSError, av.FFmpegError):  # it must not hide the first error
                    self._finish()
        finally:
            if not (self.keeps_part and self.count):
                with contextlib.suppress(OSError):
                    if _place(self.growing_path) == self._place:
                        self.growing_path.unlink()
            if self._begun is not None:
                self._begun.close()

    def write(self, rendered: Rendered) -> None:
        """Add one frame. Raises UserError if it cannot be written, as on a full disk."""
        with self._explained():
            self._write(rendered)
        self.count += 1

    def _rename(self) -> None:
        self._check_own(self.growing_path)
        to_disk(self.growing_path)
        self.growing_path.replace(self.path)
        names_to_disk(self.path.parent)

    def _fill(self, content: bytes) -> None:
        """Make this the content of the growing file."""
        self._check_own(self.growing_path)
        self.growing_path.write_bytes(content)

    def _check_own(self, file: Path | int) -> None:
        """Raise UserError unless this, a path or a descriptor, is the file that was begun here."""
        if _place(file) != self._place:
            raise UserError(f"{self.growing_path}: another run has taken this name; its results are not known")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, av.FFmpegError) as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror or error}") from error

    @abc.abstractmethod
    def _write(self, rendered: Rendered) -> None: ...

    @abc.abstractmethod
    def _finish(self) -> None:
        """Complete and close the growing file; called exactly once, also when nothing was written."""


def _place(file: Path | int) -> tuple[int, int]:
    status = os.stat(file)
    return status.st_dev, status.st_ino


class VideoWriter(FileSink):
    """The canvases as H.264 video (MP4, MOV or Matroska), encoded in a thread of its own; sizes as in `H264File`.

    The first frame is at 0, the others as far behind it as in the source. Sound goes along where there is some. A full
    disk may be told with one of the next frames.

    Attributes:
        durations: how long it took to encode each frame.
    """

    def __init__(self, path: str | Path, info: SourceInfo, audio_of: Path | None = None) -> None:
        """Nothing is written yet.

        Args:
            path: see `FileSink`.
            info: the source's; its rate times the frames that carry no time.
            audio_of: the clip that the frames are of; None: no sound.

        Raises:
            UserError: another suffix.
        """
        super().__init__(path)
        self._fps = info.fps or FALLBACK_FPS
        self._first_s: float | None = None
        self._audio = AudioTrack(audio_of) if audio_of is not None else None
        video = video_format(self.path)
        file = H264File(self.growing_path, video, self._fps, sample_aspect=info.sample_aspect, audio=self._audio)
        self._file = EncodingThread(file)
        self.durations = self._file.durations

    @property
    def waited_s(self) -> float:
        """How long in all `write` has waited for the encoder."""
        return self._file.waited_s

    def _write(self, rendered: Rendered) -> None:
        frame = rendered.result.frame
        time_s = frame.index / self._fps if frame.t_media_s is None else frame.t_media_s
        if self._first_s is None:
            self._check_own(self.growing_path)
            self._first_s = time_s
            if self._audio is not None:
                self._audio.from_s = time_s
        self._file.write(rendered.canvas, time_s - self._first_s)

    def _finish(self) -> None:
        try:
            self._file.close()
        finally:
            self.count = self._file.written
        if self._audio is not None and self._audio.warning:
            self.warnings.append(self._audio.warning)


class TextWriter(FileSink):
    """A sink of lines; each is in the file at once, so that a kill costs none."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._file: IO[str] | None = None

    def _write(self, rendered: Rendered) -> None:
        if self._file is None:
            self._file = self.growing_path.open("r+", encoding="utf-8", newline="\n")
            self._check_own(self._file.fileno())
            self._file.write(self._head())
        self._file.write(self._lines(rendered))
        self._file.flush()

    def _finish(self) -> None:
        if self._file is not None:
            with self._file as file:
                file.writelines(self._tail())

    def _head(self) -> str:
        return ""

    @abc.abstractmethod
    def _lines(self, rendered: Rendered) -> str:
        """What one frame adds: no line or several, each with its end."""

    def _tail(self) -> Iterable[str]:
        return ()


class NdjsonWriter(TextWriter):
    """A line of JSON for each frame: who was found, in source pixels; see `pipeline.records.frame_record`."""

    def _lines(self, rendered: Rendered) -> str:
        return json.dumps(frame_record(rendered), separators=(",", ":"), allow_nan=False) + "\n"


class PictureWriter(FileSink):
    """The canvas of a picture's only frame as a picture file."""

    keeps_part = False

    def __init__(self, path: str | Path) -> None:
        """Raises UserError for a suffix that is no picture's."""
        super().__init__(path)
        if self.path.suffix.lower() not in PICTURE_SUFFIXES:
            raise UserError(f"{self.path}: pictures are written as {', '.join(PICTURE_SUFFIXES)}")

    def _write(self, rendered: Rendered) -> None:
        if self.count:
            raise ValueError(f"{self.path}: a picture file holds one frame")
        try:
            done, encoded = cv2.imencode(self.path.suffix.lower(), rendered.canvas)
        except cv2.error as error:
            raise UserError(f"{self.path}: cannot be written: {error.err}") from error
        if not done:
            raise UserError(f"{self.path}: cannot be written in this picture format")
        self._fill(encoded.tobytes())  # by way of bytes: OpenCV writes to no path outside the code page on Windows

    def _finish(self) -> None:
        pass
