"""Where results go: a video, a picture, or a line of JSON a frame.

A sink is a context manager with `write`. It fills a hidden file beside its target and renames that when the `with`
block ends well; after an exception, an `abort` or without any frame nothing is left. So a file with the target's name
is always whole.
"""

import abc
import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import av
import cv2
import numpy as np

from engine.coco import encode_mask
from engine.errors import UserError
from engine.structures import Instances
from pipeline.frames import Rendered
from pipeline.h264 import H264File, video_format
from pipeline.source_base import FALLBACK_FPS, SourceInfo

PICTURE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


class FileSink(abc.ABC):
    """A sink that writes one file, whole or not at all.

    Attributes:
        path: the target; an older file of that name stays until the new one is whole.
        count: frames written so far.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.count = 0
        self._partial = self.path.with_name(f".{self.path.name}.partial-{os.getpid()}")

    def __enter__(self) -> Self:
        """Raises UserError, before any work is done, if no file can be written there."""
        if self.path.is_dir():
            raise UserError(f"{self.path}: is a folder, expected the name of a file to write")
        try:
            self._partial.touch()
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
                    self._partial.replace(self.path)
            else:
                # Nothing of it is kept, so what goes wrong now has no consequence and must not hide the first error.
                with contextlib.suppress(OSError, av.FFmpegError):
                    self._finish()
        finally:
            with contextlib.suppress(OSError):
                self._partial.unlink(missing_ok=True)

    def write(self, rendered: Rendered) -> None:
        """Add one frame. Raises UserError if it cannot be written, as on a full disk."""
        with self._explained():
            self._write(rendered)
        self.count += 1

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
        """Complete and close the temporary file; called exactly once, also when it is thrown away."""


class VideoWriter(FileSink):
    """The canvases as H.264 video (MP4, MOV or Matroska) with the source's timestamps; sizes as in `H264File`."""

    def __init__(self, path: str | Path, info: SourceInfo) -> None:
        """`info` is the source's; its rate times the frames that carry no time. Raises UserError for other suffixes."""
        super().__init__(path)
        self._fps = info.fps or FALLBACK_FPS
        self._file = H264File(self._partial, video_format(self.path), self._fps)

    def _write(self, rendered: Rendered) -> None:
        frame = rendered.result.frame
        self._file.write(rendered.canvas, frame.index / self._fps if frame.t_media_s is None else frame.t_media_s)

    def _finish(self) -> None:
        self._file.close()


class NdjsonWriter(FileSink):
    """A line of JSON for each frame: who was found, in source pixels.

    Keys: frame, time_s, width, height, instances; of each instance score, mask_score, bbox_xywh, keypoints (17 rows of
    x, y, score; 0, 0, 0 where missing, and so all of them for somebody found by the mask alone), mask (COCO RLE).
    Rounded, and without anything the machine or the hour could change: the same results give the same bytes.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._file: Any = None

    def _write(self, rendered: Rendered) -> None:
        if self._file is None:
            self._file = self._partial.open("w", encoding="utf-8", newline="\n")
        self._file.write(json.dumps(frame_record(rendered), separators=(",", ":"), allow_nan=False) + "\n")

    def _finish(self) -> None:
        if self._file is not None:
            self._file.close()


def frame_record(rendered: Rendered) -> dict[str, Any]:
    """One frame's line of NDJSON as plain Python values; see `NdjsonWriter`."""
    frame, instances = rendered.result.frame, rendered.result.instances
    height, width = frame.image.shape[:2]
    return {
        "frame": frame.index,
        "time_s": None if frame.t_media_s is None else round(frame.t_media_s, 6),
        "width": width,
        "height": height,
        "instances": _instance_records(instances),
    }


def _instance_records(instances: Instances) -> list[dict[str, Any]]:
    boxes = (np.round(instances.boxes_xywh().astype(np.float64), 2) + 0.0).tolist()
    scores = np.round(instances.scores.astype(np.float64), 4).tolist()
    mask_scores = np.round(instances.mask_scores.astype(np.float64), 4).tolist()
    xy = np.round(instances.keypoints_xy.astype(np.float64), 2) + 0.0  # a negative zero becomes a plain one
    keypoints = np.concatenate((xy, np.round(instances.keypoint_scores.astype(np.float64), 4)[:, :, None]), axis=2)
    columns = np.ascontiguousarray(instances.label_map.T)  # COCO runs go down the columns
    return [
        {
            "score": scores[index],
            "mask_score": mask_scores[index],
            "bbox_xywh": boxes[index],
            "keypoints": keypoints[index].tolist(),
            "mask": encode_mask((columns == index + 1).T),
        }
        for index in range(len(instances))
    ]


class PictureWriter(FileSink):
    """The canvas of a picture's only frame as a picture file."""

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
        # By way of bytes: OpenCV writes to no path outside the system's code page on Windows.
        self._partial.write_bytes(encoded.tobytes())

    def _finish(self) -> None:
        pass
