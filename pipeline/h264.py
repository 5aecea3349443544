"""Pictures, and the sound that belongs to them, to an H.264 file with the times they are given; MP4, MOV or Matroska.

The file plays at any moment while it grows, also if the program is killed. Until it is whole it is called as
`growing_path` says.
"""

from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream

from engine.errors import UserError
from engine.structures import ByteArray
from pipeline.audio import AudioTrack

# 1/90000 s holds the frames of 24, 25, 30, 30000/1001, 50 and 60 fps exactly, and any others to 6 microseconds.
TICKS_PER_S: Final = 90_000
VIDEO_FORMATS: Final = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
# No B-frames: with uneven timestamps their decode times make MP4 claim a duration that cuts off the last frames.
_ENCODER_OPTIONS: Final = {"preset": "veryfast", "crf": "20", "bf": "0"}
# What a kill loses is what is still in the encoder: frames that it looks ahead and one for each thread.
_FILE_ENCODER: Final = {"rc-lookahead": "5", "sync-lookahead": "0"}
# The encoder's bytes depend on its threads, so their number does not depend on the machine. Each wants so many rows:
# crowded together, one clip in 300 came out with other bytes (64x48, four threads; none in 800 with one).
_ROWS_OF_A_THREAD: Final = 180
_MOST_THREADS: Final = 4
_LEAST_FPS: Final = 10.0  # below, nine frames last too long
# Each frame leaves the encoder at once.
_LIVE_ENCODER: Final = {"tune": "zerolatency", "g": "30"}
# It leaves the file within half a second, in pieces that play without the end. Sound that pauses holds nothing up.
_GROWING: Final = {"flush_packets": "1", "max_interleave_delta": "500000"}
_GROWING_MP4: Final = {"movflags": "+hybrid_fragmented", "frag_duration": "500000"}
_GROWING_MATROSKA: Final = {"cluster_time_limit": "500"}


def video_format(path: Path) -> str:
    """The container that `path` names by its suffix. Raises UserError for other suffixes."""
    container_format = VIDEO_FORMATS.get(path.suffix.lower())
    if container_format is None:
        raise UserError(f"{path}: videos are written as {', '.join(VIDEO_FORMATS)}")
    return container_format


def growing_path(path: Path) -> Path:
    """What a file is called until it is whole: clip.partial.mp4 of clip.mp4."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


class H264File:
    """A video file that is being written and plays at any moment; its orderly end turns an MP4 into an ordinary one.

    The first canvas sets the size; an odd side grows by one pixel, since 4:2:0 needs even ones. Canvases of other
    sizes are scaled to fit and padded with black. Methods raise OSError or av.FFmpegError where the disk is full.
    """

    def __init__(
        self,
        path: Path,
        container_format: str,
        fps: float,
        live: bool = False,
        sample_aspect: Fraction = Fraction(1),
        audio: AudioTrack | None = None,
    ) -> None:
        """Nothing is written yet.

        Args:
            path: of any name.
            container_format: one of the values of `VIDEO_FORMATS`.
            fps: the rate the file claims; the frames' own times decide.
            live: a kill loses half a second at most, and one core is enough; else two seconds, and the file is smaller.
            sample_aspect: width of a pixel by its height.
            audio: sound whose time 0 is that of the video; closed together with the file.
        """
        self._path = path
        self._format = container_format
        self._fps = fps
        self._live = live or fps < _LEAST_FPS
        self._sample_aspect = sample_aspect
        self._audio = audio
        self._step_ticks = TICKS_PER_S // 1000 if container_format == "matroska" else 1  # it keeps milliseconds
        self._last_tick = -self._step_ticks
        self._output: tuple[OutputContainer, VideoStream] | None = None
        self._size_hw = (0, 0)

    def write(self, canvas: ByteArray, time_s: float) -> None:
        """Add a BGR uint8 (H, W, 3) canvas; a time that does not lie behind the one before is pushed on."""
        if self._output is None:
            self._size_hw = canvas.shape[0], canvas.shape[1]
            self._output = self._open()
        container, stream = self._output
        picture = av.VideoFrame.from_numpy_buffer(_even(_fitted(canvas, self._size_hw)), format="bgr24")
        picture = picture.reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG, threads=1
        )
        # Always behind the frame before: encoders refuse two frames at one time.
        self._last_tick = max(round(time_s * TICKS_PER_S), self._last_tick + self._step_ticks)
        picture.pts = self._last_tick
        picture.time_base = Fraction(1, TICKS_PER_S)
        container.mux(stream.encode(picture))
        if self._audio is not None:
            self._audio.write_until(self._last_tick / TICKS_PER_S)

    def close(self) -> None:
        """Complete and close the file; a second call does nothing."""
        output, self._output = self._output, None
        try:
            if output is not None:
                container, stream = output
                try:
                    self._end(container, stream)
                finally:
                    container.close()
        finally:
            if self._audio is not None:
                self._audio.close()

    def _end(self, container: OutputContainer, stream: VideoStream) -> None:
        container.mux(stream.encode(None))
        if self._audio is not None:
            self._audio.finish(self._last_tick / TICKS_PER_S + 1 / self._fps)

    def _open(self) -> tuple[OutputContainer, VideoStream]:
        options = _GROWING | (_GROWING_MATROSKA if self._format == "matroska" else _GROWING_MP4)
        container = av.open(f"file:{self._path}", "w", format=self._format, options=options)
        rate = Fraction(self._fps).limit_denominator(1001)
        encoder_options = _ENCODER_OPTIONS | (_LIVE_ENCODER if self._live else _FILE_ENCODER)
        stream = container.add_stream("libx264", rate=rate, options=encoder_options)
        height, width = self._size_hw
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        codec = stream.codec_context
        _describe_colours(codec)
        codec.sample_aspect_ratio = self._sample_aspect
        codec.time_base = Fraction(1, TICKS_PER_S)
        codec.thread_count = 1 if self._live else min(_MOST_THREADS, max(1, height // _ROWS_OF_A_THREAD))
        if self._audio is not None:
            self._audio.begin(container)
        return container, stream


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
