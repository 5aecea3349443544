"""Pictures as sources: one file, or all of a folder in the order that a person would count them."""

import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from engine.errors import UserError
from engine.structures import ByteArray
from pipeline.animations import AnimationSource
from pipeline.frames import Frame
from pipeline.picture_files import frame_count, is_animated, opened, read_picture, upright_bgr
from pipeline.source_base import SourceInfo

SECONDS_PER_PICTURE: Final = 1.0  # of a folder
FOLDER_SUFFIXES: Final = (
    ".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".jp2", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip


def open_picture(path: Path, max_frames: int | None = None) -> "ImageSource | AnimationSource":
    """The source for a picture file, animated or not. Raises UserError if it cannot be read."""
    with opened(path) as image:
        animated = is_animated(image)
    return AnimationSource(path, max_frames) if animated else ImageSource(path)


class ImageSource:
    """A picture file as a clip of one frame."""

    live: Literal[False] = False
    duration_s: float | None = 0.0

    def __init__(self, path: Path) -> None:
        """Decodes the picture. Raises UserError if that fails."""
        with opened(path) as image:
            pages = frame_count(image) if image.format == "TIFF" else 1  # JPEGs hold smaller copies of themselves
            self._image = upright_bgr(image)
        self.warnings = [f"{path}: only the first of its {pages} pages is read"] if pages > 1 else []
        height, width = self._image.shape[:2]
        self.info = SourceInfo(path.name, width, height, fps=None, frame_count=1)

    def stop(self) -> None:
        pass  # never waits

    def seek(self, seconds: float) -> None:
        pass  # any time is that of the only frame

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def __iter__(self) -> Iterator[Frame]:
        yield Frame.of(self._image, index=0, t_capture_s=time.perf_counter(), t_media_s=0.0)


class FolderSource:
    """The pictures of a folder, img2 before img10, a second each. Other files and folders in it are left alone.

    A picture that cannot be read is left out and gets a line in `warnings`.
    """

    live: Literal[False] = False

    def __init__(self, folder: Path, max_frames: int | None = None) -> None:
        """Lists the folder and decodes the first picture. Raises UserError if there is none."""
        self.warnings: list[str] = []
        self._paths = picture_paths(folder)
        if not self._paths:
            kinds = ", ".join(FOLDER_SUFFIXES)
            raise UserError(
                f"{folder}: is a folder, expected a video or picture file or a folder of pictures ({kinds})"
            )
        self._max_frames = max_frames
        self._place = 0  # in _paths, of the picture that comes next
        first = next(self._pictures(), None)
        if first is None:
            raise UserError(f"{folder}: no picture in this folder can be read; {self.warnings[0]}")
        height, width = first[1].shape[:2]
        count = len(self._paths) if max_frames is None else min(max_frames, len(self._paths))
        self.info = SourceInfo(folder.resolve().name, width, height, 1 / SECONDS_PER_PICTURE, count)

    @property
    def duration_s(self) -> float | None:
        """The last picture's time and how long it stands."""
        return len(self._paths) * SECONDS_PER_PICTURE

    def stop(self) -> None:
        pass  # never waits

    def seek(self, seconds: float) -> None:
        self._place = min(max(0, int(seconds / SECONDS_PER_PICTURE)), len(self._paths) - 1)

    def __enter__(self) -> Self:
        self.warnings.clear()
        self._place = 0
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def __iter__(self) -> Iterator[Frame]:
        for index, (place, image) in enumerate(itertools.islice(self._pictures(), self._max_frames)):
            yield Frame.of(image, index, time.perf_counter(), place * SECONDS_PER_PICTURE)

    def _pictures(self) -> Iterator[tuple[int, ByteArray]]:
        """Each readable picture from `_place` on, with its place."""
        while self._place < len(self._paths):
            place = self._place
            self._place = place + 1
            try:
                yield place, read_picture(self._paths[place])
            except UserError as error:
                line = f"{error}; left out"
                if line not in self.warnings:  # played in a loop, it comes by again
                    self.warnings.append(line)


def picture_paths(folder: Path) -> list[Path]:
    """The picture files in `folder` itself, in natural order. Raises UserError if it cannot be read."""
    try:
        return sorted((path for path in folder.iterdir() if _is_shown(path)), key=lambda path: natural_key(path.name))
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}") from error


def natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sorts names by the numbers in them: img2, img10, Img10b; equal but for case or zeros, by the name itself."""
    parts = re.findall(r"\d+|\D+", name.casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name


def _is_shown(path: Path) -> bool:
    return path.suffix.lower() in FOLDER_SUFFIXES and not path.name.startswith(".") and path.is_file()
