"""Where frames come from: the one door to cameras, streams, clips and pictures.

`open_source` looks at a file once and says at once, and clearly, if it cannot be read. A camera or stream is only
looked up; it is connected to when the source is iterated, and again whenever it is lost.
"""

from pathlib import Path
from typing import Final

from engine.errors import UserError
from pipeline.addresses import SCHEMES, is_address, redacted
from pipeline.cameras import is_camera, open_camera
from pipeline.clips import FileSource
from pipeline.picture_files import HEAD_BYTES, is_picture
from pipeline.pictures import FolderSource, ImageSource, open_picture
from pipeline.reconnect import LiveSource, SourceState
from pipeline.source_base import FALLBACK_FPS, RecordedSource, Source, SourceInfo
from pipeline.streams import open_stream

__all__ = (
    "FALLBACK_FPS",
    "FileSource",
    "FolderSource",
    "ImageSource",
    "LiveSource",
    "RecordedSource",
    "Source",
    "SourceInfo",
    "SourceState",
    "open_source",
)

_MOTION_JPEG_SUFFIXES: Final = (".mjpeg", ".mjpg")


def open_source(uri: str, max_frames: int | None = None) -> RecordedSource | LiveSource:
    """The source behind `uri`; not entered yet.

    Args:
        uri: path of a video or picture file or of a folder of pictures; `camera:0`, `camera:NAME` or `0` for a camera,
            with a size if wanted (`camera:0@1280x720`); an rtsp:// or http:// address of a network camera.
        max_frames: deliver at most so many frames.

    Raises:
        UserError: there is no such file or camera, it cannot be read, holds no frame, or is nothing of the above. What
            is secret in an address is not in the message.
    """
    if max_frames is not None and max_frames < 1:
        raise ValueError(f"max_frames: expected at least 1, got {max_frames}")
    if is_address(uri):
        return open_stream(uri, max_frames)
    path = Path(uri)
    try:
        if path.exists():
            return _open_path(path, uri, max_frames)
    except OSError as error:
        # From None: the system's own text repeats `uri`, which may be a mistyped address with a password.
        raise UserError(f"{redacted(uri)}: cannot be read: {error.strerror}") from None
    if is_camera(uri):
        return open_camera(uri, max_frames)
    hint = f"; addresses begin with {SCHEMES[0]}:// or http://" if redacted(uri) != uri else ""
    raise UserError(f"{redacted(uri)}: no such file{hint}")


def _open_path(path: Path, uri: str, max_frames: int | None) -> RecordedSource:
    if path.is_dir():
        return FolderSource(path, max_frames)
    if not path.is_file():
        raise UserError(f"{uri}: is neither a file nor a folder")  # a pipe or a device: reading it could wait for ever
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise UserError(f"{uri}: the file is empty")
    if is_picture(head) and path.suffix.lower() not in _MOTION_JPEG_SUFFIXES:
        return open_picture(path, max_frames)
    return FileSource(path, max_frames)
