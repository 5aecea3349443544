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
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream

from engine.coco import encode_mask
from engine.errors import UserError
from engine.structures import ByteArray, Instances
from pipeline.frames import Rendered
from pipeline.sources import FALLBACK_FPS, SourceInfo

# 1/90000 s holds the frames of 24, 25, 30, 30000/1001, 50 and 60 fps exactly, and any others to 6 microseconds.
TICKS_PER_S: Final = 90_000
VIDEO_FORMATS: Final = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
PICTURE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
# No B-frames: with uneven timestamps their decode times make MP4 claim a duration that cuts off the last frames.
_ENCODER_OPTIONS: Final = {"preset": "veryfast", "crf": "20", "bf": "0"}


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
    """The canvases as H.264 video (MP4, MOV or Matroska) with the source's timestamps.

    The first canvas sets the size; an odd side grows by one pixel, since 4:2:0 needs even ones. Canvases of other
    sizes are scaled to fit and padded with black.
    """

    def __init__(self, path: str | Path, info: SourceInfo) -> None:
        """`info` is the source's; its rate times the frames that carry no time. Raises UserError for other suffixes."""
        super().__init__(path)
        container_format = VIDEO_FORMATS.get(self.path.suffix.lower())
        if container_format is None:
            raise UserError(f"{self.path}: videos are written as {', '.join(VIDEO_FORMATS)}")
        self._format = container_format
        self._fps = info.fps or FALLBACK_FPS
        self._step_ticks = TICKS_PER_S // 1000 if container_format == "matroska" else 1  # it keeps milliseconds
        self._last_tick = -self._step_ticks
        self._output: tuple[OutputContainer, VideoStream] | None = None
        self._size_hw = (0, 0)

    def _write(self, rendered: Rendered) -> None:
        if self._output is None:
            self._size_hw = rendered.canvas.shape[0], rendered.canvas.shape[1]
            self._output = self._open()
        container, stream = self._output
        picture = av.VideoFrame.from_ndarray(_even(_fitted(rendered.canvas, self._size_hw)), format="bgr24")
        picture = picture.reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG, threads=1
        )
        picture.pts = self._tick(rendered)
        picture.time_base = Fraction(1, TICKS_PER_S)
        container.mux(stream.encode(picture))

    def _finish(self) -> None:
        if self._output is None:
            return
        container, stream = self._output
        self._output = None
        try:
            container.mux(stream.encode(None))
        finally:
            container.close()

    def _open(self) -> tuple[OutputContainer, VideoStream]:
        options = {"movflags": "+faststart"} if self._format in {"mp4", "mov"} else {}
        container = av.open(f"file:{self._partial}", "w", format=self._format, options=options)
        rate = Fraction(self._fps).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options=_ENCODER_OPTIONS)
        height, width = self._size_hw
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        _describe_colours(stream.codec_context)
        stream.codec_context.time_base = Fraction(1, TICKS_PER_S)
        return container, stream

    def _tick(self, rendered: Rendered) -> int:
        """The frame's time in ticks, always behind the frame before: encoders refuse two frames at one time."""
        frame = rendered.result.frame
        time_s = frame.index / self._fps if frame.t_media_s is None else frame.t_media_s
        self._last_tick = max(round(time_s * TICKS_PER_S), self._last_tick + self._step_ticks)
        return self._last_tick


def _describe_colours(codec: VideoCodecContext) -> None:
    """Say that the video is BT.709, limited range: players guess by the picture's size where nothing is said."""
    codec.colorspace = Colorspace.ITU709
    codec.color_range = ColorRange.MPEG
    codec.color_primaries = ColorPrimaries.BT709
    codec.color_trc = ColorTrc.BT709


def _even(canvas: ByteArray) -> ByteArray:
    """The canvas with its last column and row doubled where a side is odd."""
    height, width = canvas.shape[:2]
    return np.pad(canvas, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _fitted(canvas: ByteArray, size_hw: tuple[int, int]) -> ByteArray:
    """The canvas scaled into `size_hw` with its proportions kept, centred on black; itself if it fits already."""
    height, width = canvas.shape[:2]
    if (height, width) == size_hw:
        return canvas
    scale = min(size_hw[0] / height, size_hw[1] / width)
    fit_h, fit_w = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (size_hw[0] - fit_h) // 2, (size_hw[1] - fit_w) // 2
    fitted = np.zeros((*size_hw, 3), dtype=np.uint8)
    fitted[top : top + fit_h, left : left + fit_w] = cv2.resize(canvas, (fit_w, fit_h), interpolation=cv2.INTER_AREA)
    return fitted


class NdjsonWriter(FileSink):
    """A line of JSON for each frame: who was found, in source pixels.

    Keys: frame, time_s, width, height, instances; of each instance score, bbox_xywh, keypoints (17 rows of x, y,
    score; 0, 0, 0 where missing), mask (COCO RLE). Rounded, and without anything the machine or the hour could
    change: the same results give the same bytes.
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
    xy = np.round(instances.keypoints_xy.astype(np.float64), 2) + 0.0  # a negative zero becomes a plain one
    keypoints = np.concatenate((xy, np.round(instances.keypoint_scores.astype(np.float64), 4)[:, :, None]), axis=2)
    columns = np.ascontiguousarray(instances.label_map.T)  # COCO runs go down the columns
    return [
        {
            "score": scores[index],
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
