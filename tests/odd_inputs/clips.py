"""Clips: codecs, half pictures, turns, sizes."""

from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np

from engine.structures import ByteArray
from pipeline.frames import Frame
from pipeline.source_base import SourceInfo
from tests.odd_inputs.case import COUNT, HEIGHT, WIDTH, Check, OddInput, both, has, images, shows
from tests.odd_inputs.writing import joined, patched, resized, write


def inputs() -> list[OddInput]:
    """All of them."""
    return [*_codecs(), *_interlaced(), *_turned(), *_sizes()]


def _codecs() -> list[OddInput]:
    rows = [
        ("h264.mp4", {}, 6.0),
        ("h264-10bit.mkv", {"pix_fmt": "yuv420p10le"}, 6.0),
        ("h264-444.mp4", {"pix_fmt": "yuv444p"}, 6.0),
        ("h264-raw.h264", {}, 6.0),
        ("hevc.mp4", {"codec": "libx265"}, 6.0),
        ("hevc-10bit.mkv", {"codec": "libx265", "pix_fmt": "yuv420p10le"}, 6.0),
        ("divx.avi", {"codec": "mpeg4", "tag": "DIVX"}, 7.0),
        ("msmpeg4.avi", {"codec": "msmpeg4v2"}, 8.0),
        ("mpeg2.mpg", {"codec": "mpeg2video"}, 7.0),
        ("mpeg2.ts", {"codec": "mpeg2video"}, 7.0),
        ("av1.mp4", {"codec": "libsvtav1"}, 6.0),
        ("vp8.webm", {"codec": "libvpx"}, 6.0),
        ("vp9.webm", {"codec": "libvpx-vp9"}, 6.0),
        ("vp9-alpha.webm", {"codec": "libvpx-vp9", "pix_fmt": "yuva420p"}, 6.0),
        ("prores.mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}, 6.0),
        ("prores-alpha.mov", {"codec": "prores_ks", "pix_fmt": "yuva444p10le"}, 6.0),
        ("mjpeg.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, 7.0),
        ("wmv.wmv", {"codec": "wmv2"}, 8.0),
        ("flash.flv", {"codec": "flv"}, 8.0),
        ("jpeg2000.mov", {"codec": "jpeg2000"}, 6.0),
        ("png.mov", {"codec": "png", "pix_fmt": "rgba"}, 1.0),
        ("animation.mov", {"codec": "qtrle", "pix_fmt": "rgb24"}, 1.0),
        ("huffyuv.avi", {"codec": "huffyuv", "pix_fmt": "yuv422p"}, 6.0),
        ("raw.avi", {"codec": "rawvideo", "pix_fmt": "bgr24"}, 1.0),
        ("grey-16bit.mkv", {"codec": "ffv1", "pix_fmt": "gray16le"}, 2.0),
    ]
    return [
        OddInput(name, partial(write, **how), check=shows(within=within, grey="grey" in name), about="codec")
        for name, how, within in rows
    ]


def woven(top_first: bool = True, count: int = COUNT, size: tuple[int, int] = (WIDTH, HEIGHT)) -> list[ByteArray]:
    """A bar that moves on from each half picture to the next, woven into whole pictures as a camera does."""
    pictures = []
    for number in range(count):
        halves = []
        for moment in (2 * number, 2 * number + 1):
            half = np.full((size[1], size[0], 3), 90, np.uint8)
            half[:, 10 + 8 * moment : 40 + 8 * moment] = 220
            halves.append(half)
        picture = halves[0].copy()
        picture[top_first::2] = halves[1][top_first::2]
        pictures.append(picture)
    return pictures


def comb(image: ByteArray) -> float:
    """How much each line differs from those around it, levels."""
    lines = image[:, :, 1].astype(float)
    return float(np.abs(lines[1:-1] - (lines[:-2] + lines[2:]) / 2).mean())


def _whole_and_moving(frames: list[Frame], _: SourceInfo) -> None:
    assert len(frames) == COUNT
    assert max(comb(frame.image) for frame in frames) < 1, "a comb is left"
    centres = [float((frame.image[:, :, 1] > 150).mean(axis=0).nonzero()[0].mean()) for frame in frames]
    steps = np.diff(centres)
    assert all(steps > 10), f"the bar moves by {steps.round(1)} instead of 16 pixels each time"
    assert abs(int(frames[0].image[5, 5, 1]) - 90) < 4, "the colours have changed"


def _interlaced() -> list[OddInput]:
    rows = [
        ("interlaced-mpeg2.ts", {"codec": "mpeg2video", "flags": "+ildct+ilme", "field_order": "tt"}, True),
        ("interlaced-h264.mp4", {"x264-params": "tff=1"}, True),
        ("interlaced-bottom-first.mkv", {"x264-params": "bff=1"}, False),
        ("interlaced-divx.avi", {"codec": "mpeg4", "flags": "+ildct+ilme"}, True),
    ]
    cases = []
    for name, how, top_first in rows:

        def make(path: Path, how: dict[str, str] = how, top_first: bool = top_first) -> None:
            write(path, pictures=woven(top_first), **how)
            with av.open(str(path)) as container:
                raw = next(container.decode(video=0))
                assert raw.interlaced_frame
                assert comb(raw.to_ndarray(format="bgr24")) > 5

        cases.append(OddInput(name, make, check=_whole_and_moving, about="interlaced"))
    return cases


def _turned() -> list[OddInput]:
    cases = [
        OddInput(
            f"turned-{degrees}.mp4",
            partial(write, rotation=degrees),
            # Both count against the clock.
            check=shows([np.ascontiguousarray(np.rot90(image, degrees // 90)) for image in images()]),
            about="display matrix",
        )
        for degrees in (90, 180, 270)
    ]
    mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in images()]
    wide, tall = Fraction(16, 11), Fraction(11, 16)
    return [
        *cases,
        OddInput("mirrored.mp4", partial(write, mirrored=True), check=shows(mirrored), about="display matrix"),
        OddInput("anamorphic.mp4", partial(write, aspect=wide), check=_stored(wide), about="pixels of 16:11"),
        OddInput(
            "anamorphic-turned.mp4",
            partial(write, aspect=wide, rotation=90),
            check=has(COUNT, width=HEIGHT, height=WIDTH, sample_aspect=tall),
            about="pixels of 16:11, on its side",
        ),
        OddInput(
            "anamorphic-absurd.mkv", partial(write, aspect=Fraction(1, 200)), check=_stored(Fraction(1)), about="1:200"
        ),
    ]


def _stored(aspect: Fraction) -> Check:
    return both(shows(), has(sample_aspect=aspect))


def _sizes() -> list[OddInput]:
    cases = []
    for name, (width, height) in {
        "odd-161x121.mkv": (161, 121),
        "tiny-1x1.mkv": (1, 1),
        "tiny-3x5.mkv": (3, 5),
        "strip-4000x2.mkv": (4000, 2),
        "strip-2x4000.mkv": (2, 4000),
    }.items():
        pictures = resized(width, height)
        how = partial(write, codec="ffv1", pix_fmt="yuv444p", pictures=pictures)
        cases.append(OddInput(name, how, check=shows(pictures, 3.0), about="size"))
    refused = "no frame can be read: Invalid data found when processing input; those of more than 67108864 pixels"
    huge = np.full((4320, 7680, 3), 120, np.uint8)
    huge[:2160] = 40
    return [
        *cases,
        OddInput(
            "tiny-1x1.mp4", partial(write, pictures=resized(1, 1), pix_fmt="yuv444p"), check=has(COUNT), about="size"
        ),
        OddInput(
            "huge-8k.avi",
            partial(write, codec="mjpeg", pix_fmt="yuvj420p", pictures=[huge]),
            check=shows([huge], 3.0),
            about="size",
        ),
        OddInput(
            "bomb-raw.avi", partial(_bomb, codec="rawvideo", pix_fmt="bgr24"), "error", refused, about="256 megapixels"
        ),
        OddInput("bomb-jpeg.avi", _bomb, "error", refused, about="256 megapixels"),
        OddInput(
            "two-sizes.ts",
            _two_sizes,
            "partial",
            "beside damage or a joint",
            _two_sizes_shown,
            "another size half way",
        ),
        OddInput("two-codecs.ts", _two_codecs, check=has(COUNT), about="another codec half way: one is read"),
    ]


def _bomb(path: Path, codec: str = "mjpeg", pix_fmt: str = "yuvj420p") -> None:
    """The size stands in the stream's header and at the beginning of each JPEG."""
    write(path, codec=codec, pix_fmt=pix_fmt)
    old = b"\x08" + HEIGHT.to_bytes(2, "big") + WIDTH.to_bytes(2, "big")
    data = path.read_bytes().replace(old, b"\x08" + 2 * (16_000).to_bytes(2, "big"))
    path.write_bytes(data)
    place, side = data.index(b"strf") + 12, (16_000).to_bytes(4, "little")
    patched(path, (place, side), (place + 4, side))


def _two_sizes(path: Path) -> None:
    joined(path, {"pictures": images()[:3]}, {"pictures": resized(128, 160)[3:]})


def _two_codecs(path: Path) -> None:
    joined(path, {}, {"codec": "mpeg2video"})


def _two_sizes_shown(frames: list[Frame], _: SourceInfo) -> None:
    assert [frame.image.shape[:2] for frame in frames] == [(HEIGHT, WIDTH)] * 3 + [(160, 128)] * 3
    np.testing.assert_allclose([frame.t_media_s for frame in frames], np.arange(6) / 10, atol=1e-3)
