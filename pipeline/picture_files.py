"""Picture files of any kind as BGR, uint8: grey, palette, CMYK, 16 bit, transparent, lying on its side.

Pillow reads them: it knows a picture's size before it takes memory for it, says when a file is cut off, and goes
through an animation frame by frame.
"""

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from engine.errors import UserError
from engine.structures import ByteArray
from pipeline.limits import LIMITS
from pipeline.turns import TURN_OF_EXIF, UPRIGHT, Turn

# Cameras', phones' and browsers' kinds. Pillow knows more, but each is one more reader that takes files from strangers.
_KINDS: Final = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF")
_ANIMATED_KINDS: Final = ("GIF", "PNG", "WEBP", "AVIF")  # of others, several pictures are pages or previews
_HEADS: Final = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51")
_HEIC_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_EXIF_ERRORS: Final = (
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    OSError,
    ArithmeticError,
    EOFError,
    struct.error,
)
HEAD_BYTES: Final = 16

# Pillow only warns of a picture above this size; here it is an error. What it says of damaged notes is of no interest.
Image.MAX_IMAGE_PIXELS = LIMITS.picture_pixels
warnings.simplefilter("error", Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")


def is_picture(head: bytes) -> bool:
    """Whether a file that begins with these `HEAD_BYTES` bytes is a picture; an animated one counts."""
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    if head[4:8] == b"ftyp":
        return head[8:12] in (b"avif", b"avis", *_HEIC_BRANDS)
    return head.startswith(_HEADS) or (head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace())


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The picture in a file, its pixels not read yet; what Pillow says to it in the block becomes a UserError.

    Raises:
        UserError: it cannot be read, is damaged, or larger than `pipeline.limits` allows.
    """
    try:
        size = path.stat().st_size
        if size > LIMITS.picture_bytes:
            raise UserError(f"{path}: the picture file has {size} bytes, more than the limit of {LIMITS.picture_bytes}")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        with Image.open(io.BytesIO(data), formats=_KINDS) as image:
            yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: the picture has more than the limit of {LIMITS.picture_pixels} pixels") from error
    except UnidentifiedImageError as error:
        if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
            raise UserError(f"{path}: HEIC pictures cannot be read; save it as JPEG") from error
        raise UserError(f"{path}: the picture is damaged or of a kind that cannot be read") from error
    except MemoryError as error:
        raise UserError(f"{path}: there is not enough memory for the picture") from error
    except UserError:
        raise
    except Exception as error:  # its readers raise whatever they come across in a damaged file
        raise UserError(f"{path}: the picture is damaged: {_first_line(error)}") from error


def read_picture(path: Path) -> ByteArray:
    """A picture file as BGR, uint8 (H, W, 3), upright; of an animation or several pages the first.

    Transparency is left out: what a transparent pixel hides is shown.

    Raises:
        UserError: see `opened`.
    """
    with opened(path) as image:
        return upright_bgr(image)


def frame_count(image: Image.Image) -> int:
    """How many pictures an opened file holds: frames, pages, or copies in several sizes."""
    return int(getattr(image, "n_frames", 1))


def is_animated(image: Image.Image) -> bool:
    """Whether the pictures of an opened file are the frames of a clip."""
    return image.format in _ANIMATED_KINDS and frame_count(image) > 1


def upright_bgr(image: Image.Image) -> ByteArray:
    """An opened picture's current frame as BGR, uint8 (H, W, 3), turned as its EXIF data say."""
    image.load()
    if image.mode == "F" or image.mode.startswith("I"):
        bgr = cv2.cvtColor(_grey(np.asarray(image)), cv2.COLOR_GRAY2BGR)
    else:
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        bgr = cv2.cvtColor(np.asarray(rgb), cv2.COLOR_RGB2BGR)
    return _turn(image)(bgr.astype(np.uint8, copy=False))


def _grey(deep: npt.NDArray[Any]) -> ByteArray:
    """16-bit whole numbers, or floating-point ones from 0 to 1, (H, W), as uint8."""
    if deep.dtype.kind == "f":
        return (np.nan_to_num(deep).clip(0, 1) * 255).round().astype(np.uint8)
    return (deep.clip(0, 65_535) >> 8).astype(np.uint8)


def _turn(image: Image.Image) -> Turn:
    try:
        return TURN_OF_EXIF.get(image.getexif().get(ExifTags.Base.Orientation, 1), UPRIGHT)
    except _EXIF_ERRORS:  # a picture is none the worse for damaged notes about it
        return UPRIGHT


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
