"""Pictures: kinds, depths, turns, animations, bombs."""

import io
import struct
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from engine.structures import ByteArray
from pipeline.turns import TURN_OF_EXIF
from tests.odd_inputs.case import COUNT, OddInput, both, has, images, shows, still

ORIENTATION = 0x0112


def inputs() -> list[OddInput]:
    """All of them."""
    return [*_kinds(), *_turned(), *_animated(), *_too_large(), *_damaged()]


def pillow(image: ByteArray | None = None) -> Image.Image:
    """A BGR picture (by default `still`) for Pillow."""
    return Image.fromarray(np.ascontiguousarray((still() if image is None else image)[:, :, ::-1]))


def _save(path: Path, mode: str = "RGB", **options: Any) -> None:
    pillow().convert(mode).save(path, **options)


def _deep(path: Path, grey: bool = False, floating: bool = False) -> None:
    """More than 8 bits: each level at the middle of its 256."""
    picture = cv2.cvtColor(still(), cv2.COLOR_BGR2GRAY) if grey else still()
    deep = picture.astype(np.float32) / 255 if floating else picture.astype(np.uint16) * 256 + 128
    path.write_bytes(cv2.imencode(path.suffix, deep)[1].tobytes())


def _transparent(path: Path) -> None:
    picture = pillow().convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save(path)


def _pages(path: Path) -> None:
    pillow().save(path, save_all=True, append_images=[pillow(images()[1])])


def _views(path: Path) -> None:
    """As stereo cameras and many telephones write them."""
    pillow().save(path, "MPO", save_all=True, append_images=[pillow().resize((40, 30))], quality=95)


def _kinds() -> list[OddInput]:
    one, grey = shows([still()]), shows([still()], grey=True)
    rows: list[tuple[str, Any, Any, str]] = [
        ("plain.jpg", partial(_save, quality=95), one, "picture"),
        ("progressive.jpg", partial(_save, quality=95, progressive=True), one, "picture"),
        ("grey.jpg", partial(_save, mode="L", quality=95), grey, "grey"),
        ("cmyk.jpg", partial(_save, mode="CMYK", quality=95), one, "CMYK"),
        ("cmyk.tiff", partial(_save, mode="CMYK"), one, "CMYK"),
        ("colour-16bit.png", _deep, shows([still()], 1), "16 bit"),
        ("colour-16bit.tiff", _deep, shows([still()], 1), "16 bit"),
        ("grey-16bit.png", partial(_deep, grey=True), shows([still()], 1.5, grey=True), "16 bit, grey"),
        ("grey-16bit.tiff", partial(_deep, grey=True), shows([still()], 1.5, grey=True), "16 bit, grey"),
        (
            "grey-float.tiff",
            partial(_deep, grey=True, floating=True),
            shows([still()], 1.5, grey=True),
            "floating point",
        ),
        ("transparent.png", _transparent, shows([still()], 1), "alpha"),
        ("transparent-grey.png", partial(_save, mode="LA"), grey, "grey, alpha"),
        ("palette.png", partial(_save, mode="P"), shows([still()], 25), "palette"),
        ("palette.gif", partial(_save, mode="P"), shows([still()], 25), "palette"),
        ("one-bit.tiff", partial(_save, mode="1"), has(1), "1 bit"),
        ("lossy.webp", partial(_save, quality=95), one, "picture"),
        ("plain.avif", partial(_save, quality=95), one, "picture"),
        ("plain.jp2", partial(_save), one, "picture"),
        ("plain.bmp", partial(_save), one, "picture"),
        ("plain.ppm", partial(_save), one, "picture"),
    ]
    cases = [OddInput(name, make, check=check, about=about) for name, make, check, about in rows]
    views = OddInput("two-views.jpg", _views, check=shows([still()]), about="a second, smaller copy inside")
    pages = OddInput("pages.tiff", _pages, "partial", "only the first of its 2 pages", shows([still()], 1), "two pages")
    return [*cases, views, pages]


def _with_orientation(path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    pillow().save(path, exif=exif, **({"quality": 95} if path.suffix == ".jpg" else {}))


def _turned() -> list[OddInput]:
    rows = [(f"exif-{number}.jpg", number) for number in range(2, 9)]
    rows += [("exif-6.png", 6), ("exif-6.webp", 6), ("exif-6.tiff", 6), ("exif-nonsense.jpg", 99)]
    upright = still()
    return [
        OddInput(
            name,
            partial(_with_orientation, orientation=number),
            check=shows([TURN_OF_EXIF[number](upright) if number in TURN_OF_EXIF else upright]),
            about=f"orientation {number}",
        )
        for name, number in rows
    ]


def _animate(path: Path, **options: Any) -> None:
    first, *others = map(pillow, images())
    first.save(path, save_all=True, append_images=others, duration=[40, 90, 400, 10, 100, 100], **options)


def _animated() -> list[OddInput]:
    uneven_s = [0, 0.04, 0.13, 0.53, 0.63, 0.73]
    return [
        OddInput("moving.gif", _animate, check=both(shows(within=25), has(COUNT, uneven_s)), about="animation"),
        OddInput(
            "moving.webp",
            partial(_animate, quality=95),
            check=both(shows(within=8), has(COUNT, uneven_s)),
            about="animation",
        ),
        OddInput("moving.png", _animate, check=both(shows(within=1), has(COUNT, uneven_s)), about="animation"),
        OddInput("moving.avif", partial(_animate, quality=95), check=shows(within=8), about="animation"),
        OddInput("cut-moving.gif", partial(_cut, make=_animate), "partial", "ends early", about="animation, cut off"),
    ]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_bomb(path: Path, width: int = 40_000, height: int = 40_000) -> None:
    """White, 1 bit a pixel: 200 kB that would become 5 GB."""
    line = zlib.compressobj(9)
    data = b"".join(line.compress(bytes(width // 8 + 1)) for _ in range(height)) + line.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b""))


def _gif_bomb(path: Path) -> None:
    pillow().convert("P").save(path)
    path.write_bytes(path.read_bytes()[:6] + struct.pack("<HH", 65_535, 65_535) + path.read_bytes()[10:])


def _bmp_bomb(path: Path) -> None:
    pillow().save(path)
    data = bytearray(path.read_bytes())
    data[18:26] = struct.pack("<ii", 100_000, 100_000)
    path.write_bytes(data)


def _heavy(path: Path) -> None:
    """A hole of more bytes than a picture may have."""
    pillow().save(path)
    with path.open("r+b") as file:
        file.truncate((1 << 29) + 1)


def _sized(path: Path, width: int, height: int) -> None:
    pillow().resize((width, height)).save(path)


def _too_large() -> list[OddInput]:
    limit = "more than the limit of 268435456 pixels"
    return [
        OddInput("bomb.png", _png_bomb, "error", limit, about="promises 1.6 gigapixels"),
        OddInput("bomb.gif", _gif_bomb, "error", limit, about="promises 4.3 gigapixels"),
        OddInput("bomb.bmp", _bmp_bomb, "error", limit, about="promises 10 gigapixels"),
        OddInput("heavy.bmp", _heavy, "error", "more than the limit of 536870912", about="512 MiB"),
        OddInput("huge-40mp.png", partial(_png_bomb, width=8000, height=5000), check=has(1, width=8000), about="size"),
        OddInput("tiny-1x1.png", partial(_sized, width=1, height=1), check=has(1, width=1, height=1), about="size"),
        OddInput(
            "strip-20000x1.png", partial(_sized, width=20_000, height=1), check=has(1, width=20_000), about="size"
        ),
        OddInput(
            "strip-1x20000.png", partial(_sized, width=1, height=20_000), check=has(1, height=20_000), about="size"
        ),
    ]


def _cut(path: Path, make: Any = _save, share: float = 0.6) -> None:
    make(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def _broken_exif(path: Path) -> None:
    with io.BytesIO() as file:
        pillow().save(file, "JPEG", quality=95, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(range(60)))
        path.write_bytes(file.getvalue())


def _flipped(path: Path) -> None:
    _save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)


def _heic(path: Path) -> None:
    path.write_bytes(struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(400))


def _damaged() -> list[OddInput]:
    return [
        OddInput("cut.jpg", _cut, "error", "the picture is damaged", about="cut off"),
        OddInput("cut.png", _cut, "error", "the picture is damaged", about="cut off"),
        OddInput("cut.webp", _cut, "error", "the picture is damaged", about="cut off"),
        OddInput("flipped.png", _flipped, "error", "the picture is damaged", about="a wrong byte"),
        OddInput("broken-notes.jpg", _broken_exif, check=shows([still()]), about="EXIF data of nonsense"),
        OddInput("telephone.heic", _heic, "error", "HEIC pictures cannot be read", about="HEIC"),
    ]
