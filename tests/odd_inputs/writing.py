"""Writes the clips: any codec and container that PyAV has, with the times, sizes and marks that are asked for."""

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from engine.structures import ByteArray
from tests.odd_inputs.case import images

os.environ.setdefault("SVT_LOG", "0")  # the AV1 encoder talks much
FPS = 10
OPTIONS = {
    "libx264": {"crf": "10", "preset": "ultrafast", "g": "4"},
    "libx265": {"crf": "10", "preset": "ultrafast", "x265-params": "log-level=none"},
    "libsvtav1": {"crf": "15", "preset": "12"},
    "libvpx": {"crf": "8", "b": "2M", "cpu-used": "8"},
    "libvpx-vp9": {"crf": "10", "b": "0", "cpu-used": "8"},
}
INTRA = {
    "mjpeg": {"qmin": "2", "qmax": "3"},
    "mpeg2video": {"qmin": "2", "qmax": "3"},
    "mpeg4": {"qmin": "2", "qmax": "3"},
}


def write(
    path: Path,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    pictures: Sequence[ByteArray] | None = None,
    times_s: Sequence[float] | None = None,
    aspect: Fraction | None = None,
    rotation: int | None = None,
    mirrored: bool = False,
    container_format: str | None = None,
    muxer: dict[str, str] | None = None,
    tag: str | None = None,
    **options: str,
) -> None:
    """One video stream of these pictures (by default `images`), 10 a second or at these times."""
    shown = images() if pictures is None else pictures
    with av.open(f"file:{path}", "w", format=container_format, options=dict(muxer or {})) as container:
        stream = add_video(container, codec, pix_fmt, shown[0], options)
        if times_s is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation is not None or mirrored:
            stream.set_display_rotation(rotation or 0, mirrored)
        if tag is not None:
            stream.codec_context.codec_tag = tag
        for number, image in enumerate(shown):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format=pix_fmt)
            if times_s is not None:
                frame.pts, frame.time_base = round(times_s[number] * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def add_video(container: Any, codec: str, pix_fmt: str, like: ByteArray, options: dict[str, str]) -> Any:
    """A stream for pictures of this size, added to a container."""
    stream = container.add_stream(
        codec, rate=FPS, options={**OPTIONS.get(codec, {}), **INTRA.get(codec, {}), **options}
    )
    stream.height, stream.width = like.shape[:2]
    stream.pix_fmt = pix_fmt
    return stream


def encode_all(container: Any, stream: Any, pictures: Sequence[ByteArray]) -> None:
    """Put all pictures through a stream's encoder into its container."""
    for image in pictures:
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format=stream.pix_fmt)))
    container.mux(stream.encode(None))


def add_sound(container: Any, codec: str = "pcm_s16le") -> Any:
    """A stream for sound, added to a container."""
    return container.add_stream(codec, rate=8000, layout="mono")


def silence(container: Any, stream: Any, seconds: float = 0.6) -> None:
    """Put silence through a stream's encoder into its container."""
    sound = av.AudioFrame.from_ndarray(np.zeros((1, round(8000 * seconds)), np.int16), "s16", "mono")
    sound.sample_rate = 8000
    container.mux(stream.encode(sound))
    container.mux(stream.encode(None))


def joined(path: Path, *parts: dict[str, Any]) -> None:
    """One file of several clips, end to end; `parts` are the arguments of `write`."""
    data = b""
    for part in parts:
        write(path, **part)
        data += path.read_bytes()
    path.write_bytes(data)


def resized(width: int, height: int) -> list[ByteArray]:
    """The frames of most clips in another size."""
    return [cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8) for image in images()]


def patched(path: Path, *changes: tuple[int, bytes]) -> None:
    """Put these bytes at these places of a file."""
    data = bytearray(path.read_bytes())
    for place, new in changes:
        data[place : place + len(new)] = new
    path.write_bytes(data)
