"""Clips: times, rates and counts; what lies beside the video in a file."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.odd_inputs.case import COUNT, OddInput, both, has, images, shows
from tests.odd_inputs.writing import add_sound, add_video, encode_all, joined, patched, resized, silence, write

LATE_S = tuple(5 + number / 10 for number in range(COUNT))
UNEVEN_S = (0.0, 0.04, 0.09, 0.4, 0.41, 1.0)
GAP_S = (0.0, 0.1, 0.2, 3600.0, 3600.1, 3600.2)


def inputs() -> list[OddInput]:
    """All of them."""
    return [*_times(), *_streams()]


def _times() -> list[OddInput]:
    def at(times_s: tuple[float, ...], shown_s: tuple[float, ...] | None = None) -> dict[str, Any]:
        wanted = tuple(time_s - times_s[0] for time_s in times_s) if shown_s is None else shown_s
        return {"make": partial(write, times_s=times_s), "check": both(shows(), has(times_s=wanted))}

    negative_s = tuple(time_s - 5.5 for time_s in LATE_S)
    broken_s = (0.0, 0.1, 0.2, 4e7, 4e7 + 0.1, 4e7 + 0.2)
    # Where the rate is absurd, the fallback of 25 frames a second stands in for it.
    unknown_s = tuple(number / 25 for number in range(COUNT))
    no_count = both(shows(within=7), has(frame_count=None))
    no_rate = both(shows(within=7), has(times_s=unknown_s, fps=None))
    return [
        OddInput("uneven.mkv", **at(UNEVEN_S), about="variable frame rate"),
        OddInput("uneven.mp4", **at(UNEVEN_S), about="variable frame rate"),
        OddInput("gap-1h.mkv", **at(GAP_S), about="an hour without a frame"),
        OddInput("late.mkv", **at(LATE_S), about="begins at 5 s"),
        OddInput("late.mp4", **at(LATE_S), about="begins at 5 s"),
        OddInput("late.ts", **at(LATE_S), about="begins at 5 s"),
        OddInput("negative.mkv", **at(negative_s), about="begins before 0"),
        OddInput("negative.mp4", partial(write, times_s=negative_s), check=has(1), about="all but one hidden before 0"),
        OddInput("years.mkv", partial(write, times_s=broken_s), check=shows(), about="jumps by a year"),
        OddInput(
            "restart.ts",
            _restart,
            "partial",
            "beside damage or a joint",
            has(2 * COUNT, [n / 10 for n in range(2 * COUNT)]),
            "clock restarts",
        ),
        OddInput("count-absurd.avi", _count(b"\xff\xff\xff\x7f"), check=no_count, about="promises 2 billion frames"),
        OddInput("count-negative.avi", _count(b"\xfe\xff\xff\xff"), check=no_count, about="promises -2 frames"),
        OddInput("rate-absurd.avi", _rate(2_000_000_000, 1), check=no_rate, about="2 billion frames a second"),
        OddInput("rate-zero.avi", _rate(0, 1), check=has(COUNT), about="0 frames a second"),
        OddInput("rate-undefined.avi", _rate(1, 0), check=has(COUNT), about="1/0 frames a second"),
    ]


def _restart(path: Path) -> None:
    joined(path, {}, {})


def _count(number: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        write(path, codec="mjpeg", pix_fmt="yuvj420p")
        data = path.read_bytes()
        # Of the file (avih) and of the stream (strh).
        patched(path, (data.index(b"avih") + 8 + 16, number), (data.index(b"strh") + 8 + 32, number))

    return make


def _rate(rate: int, scale: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        write(path, codec="mjpeg", pix_fmt="yuvj420p")
        place = path.read_bytes().index(b"strh") + 8 + 20
        patched(path, (place, scale.to_bytes(4, "little")), (place + 4, rate.to_bytes(4, "little")))

    return make


def _streams() -> list[OddInput]:
    return [
        OddInput("with-sound.mkv", _with_sound, check=shows(), about="sound that lasts longer"),
        OddInput("two-videos.mkv", _two_videos, check=shows(), about="a small video before the real one"),
        OddInput("video-and-cover.mp4", _with_cover, check=shows(), about="a large cover picture"),
        OddInput("song.mp3", _song, "error", "has no video stream", about="sound and a cover picture"),
        OddInput("sound.wav", _sound, "error", "has no video stream", about="sound alone"),
        OddInput("sound.m4a", _sound, "error", "has no video stream", about="sound alone"),
        OddInput("many-streams.mkv", _many_streams, check=has(1), about="80 streams, of which 64 are looked at"),
    ]


def _with_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream, sound = add_video(container, "libx264", "yuv420p", images()[0], {}), add_sound(container)
        encode_all(container, stream, images())
        silence(container, sound, 3.0)


def _two_videos(path: Path) -> None:
    small = resized(64, 48)
    with av.open(str(path), "w") as container:
        first = add_video(container, "libx264", "yuv420p", small[0], {})
        second = add_video(container, "libx264", "yuv420p", images()[0], {})
        encode_all(container, first, small)
        encode_all(container, second, images())


def _with_cover(path: Path) -> None:
    cover = np.full((600, 800, 3), 200, np.uint8)
    with av.open(str(path), "w") as container:
        video = add_video(container, "libx264", "yuv420p", images()[0], {})
        picture = add_video(container, "mjpeg", "yuvj420p", cover, {})
        picture.disposition = av.stream.Disposition.attached_pic
        encode_all(container, video, images())
        encode_all(container, picture, [cover])


def _song(path: Path) -> None:
    cover = np.full((60, 80, 3), 200, np.uint8)
    with av.open(str(path), "w") as container:
        sound, picture = add_sound(container, "mp3"), add_video(container, "mjpeg", "yuvj420p", cover, {})
        picture.disposition = av.stream.Disposition.attached_pic
        encode_all(container, picture, [cover])
        silence(container, sound)


def _sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        silence(container, add_sound(container, "aac" if path.suffix == ".m4a" else "pcm_s16le"))


def _many_streams(path: Path) -> None:
    with av.open(str(path), "w") as container:
        streams = [add_video(container, "mjpeg", "yuvj420p", images()[0], {}) for _ in range(80)]
        for stream in streams:
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(images()[0], format="bgr24").reformat(format="yuvj420p"))
            )
