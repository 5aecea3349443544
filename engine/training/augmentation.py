"""Random geometry and colour of a training sample, and the warp that applies the geometry."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from engine.coco import Picture
from engine.letterbox import PAD_VALUE
from engine.structures import ByteArray

FloatMatrix = npt.NDArray[np.float64]

# Rec. 601 weights of blue, green and red.
_LUMA = np.array([0.114, 0.587, 0.299])
_MIDDLE = 127.0


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How samples are varied: the [augmentation] table of a recipe. A share is a probability.

    Attributes:
        least_zoom, most_zoom: of the file's pixels, drawn log-uniformly between.
        rotate_degrees: largest rotation. rotate_share: how often one is applied. flip_share: mirrored left to right.
        person_share: how often the crop is centred near a random person instead of anywhere.
        person_offset: how far from the person, at most, in crop sides.
        paste_share: how often people from another picture are pasted in. paste_most: at most so many of them.
        paste_near_share: how often one of them is placed close to somebody there instead of anywhere.
        paste_ratio: their size is that of somebody there, at most so many times larger or smaller.
        colour: largest relative change of contrast and of brightness. tint: of each channel by itself.
        saturation: largest relative change of it. hue_degrees: largest turn of the colours.
        grey_share: how often colour is removed.
        blur_share: how often the picture is blurred. blur_px: largest standard deviation, input px.
        jpeg_share: how often the picture is compressed once more. jpeg_quality: least quality, 1 to 95.
    """

    least_zoom: float = 0.6
    most_zoom: float = 1.8
    rotate_degrees: float = 30.0
    rotate_share: float = 0.4
    flip_share: float = 0.5
    person_share: float = 0.8
    person_offset: float = 0.25
    paste_share: float = 0.3
    paste_most: int = 2
    paste_near_share: float = 0.5
    paste_ratio: float = 2.0
    colour: float = 0.3
    tint: float = 0.09
    saturation: float = 0.4
    hue_degrees: float = 10.0
    grey_share: float = 0.05
    blur_share: float = 0.1
    blur_px: float = 1.5
    jpeg_share: float = 0.1
    jpeg_quality: int = 40

    def __post_init__(self) -> None:
        shares = {name: (0, 1) for name in self.__slots__ if name.endswith("_share")}
        limits = shares | {
            "least_zoom": (0.05, 20),
            "most_zoom": (self.least_zoom, 20),
            "rotate_degrees": (0, 180),
            "person_offset": (0, 10),
            "paste_most": (1, 100),
            "paste_ratio": (1, 100),
            "colour": (0, 1),
            "tint": (0, 1),
            "saturation": (0, 1),
            "hue_degrees": (0, 180),
            "blur_px": (0, 100),
            "jpeg_quality": (1, 95),
        }
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"[augmentation] {name}: expected {least:g} to {most:g}, got {value}")


def random_affine(
    picture: Picture, size: int, augmentation: Augmentation, rng: np.random.Generator, *, flip: bool
) -> FloatMatrix:
    """A random map (2, 3) from the file's pixels to the input's: zoom, rotation, flip and translation."""
    zoom = math.exp(rng.uniform(math.log(augmentation.least_zoom), math.log(augmentation.most_zoom)))
    angle = 0.0
    if rng.random() < augmentation.rotate_share:
        angle = math.radians(rng.uniform(-augmentation.rotate_degrees, augmentation.rotate_degrees))
    centre = np.array([rng.uniform(0, picture.width), rng.uniform(0, picture.height)])
    if rng.random() < augmentation.person_share:
        x, y, width, height = picture.annotations[int(rng.integers(len(picture.annotations)))]["bbox"]
        offset = rng.uniform(-augmentation.person_offset, augmentation.person_offset, 2) * size / zoom
        centre = np.array([x + width / 2, y + height / 2]) + offset
    # Do not look further past the picture's edge than needed.
    half = size / zoom / 2
    for axis, extent in enumerate((picture.width, picture.height)):
        centre[axis] = extent / 2 if extent <= 2 * half else np.clip(centre[axis], half, extent - half)
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    mirror = -1.0 if flip else 1.0
    linear = np.array([[mirror * cos, -mirror * sin], [sin, cos]])
    shift = np.array([(size - 1) / 2, (size - 1) / 2]) - linear @ centre
    return np.concatenate([linear, shift[:, None]], axis=1)


def warp_image(image: ByteArray, matrix: FloatMatrix, side: int) -> ByteArray:
    """The picture under a map (2, 3) from its pixels to the input's: uint8 (side, side, 3); grey beside it."""
    zoom = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if zoom < 0.7:  # warpAffine does not average: blur first, or the shrunken picture aliases
        image = cv2.GaussianBlur(image, (0, 0), 0.45 / zoom).astype(np.uint8, copy=False)
    warped = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderValue=(PAD_VALUE,) * 3)
    return warped.astype(np.uint8, copy=False)


def recolour(image: ByteArray, augmentation: Augmentation, rng: np.random.Generator) -> ByteArray:
    """Random hue, saturation (none: grey), contrast, brightness and tint: one affine map of the colours."""
    saturation = 1 + rng.uniform(-1, 1) * augmentation.saturation
    if rng.random() < augmentation.grey_share:
        saturation = 0.0
    turn = _turn_about_grey(math.radians(rng.uniform(-1, 1) * augmentation.hue_degrees))
    grey = np.tile(_LUMA, (3, 1))
    contrast, brightness = rng.uniform(-1, 1, 2) * augmentation.colour
    tint = 1 + rng.uniform(-1, 1, 3) * augmentation.tint
    linear = (1 + contrast) * (grey + saturation * turn @ (np.eye(3) - grey))
    shift = _MIDDLE * (brightness - contrast)
    affine = tint[:, None] * np.column_stack([linear, np.full(3, shift)])
    return cv2.transform(image, affine).astype(np.uint8, copy=False)


def _turn_about_grey(angle: float) -> FloatMatrix:
    """Rotation (3, 3) of colours about the axis of the greys (Rodrigues)."""
    axis = np.full(3, 1 / math.sqrt(3))
    matrix, _ = cv2.Rodrigues(axis * angle)
    return np.asarray(matrix, dtype=np.float64)


def degrade(image: ByteArray, augmentation: Augmentation, rng: np.random.Generator) -> ByteArray:
    """Sometimes blurred, sometimes compressed, as pictures from cheap cameras and of moving people are."""
    if rng.random() < augmentation.blur_share:
        sigma = rng.uniform(0, augmentation.blur_px)
        if sigma > 0:
            image = cv2.GaussianBlur(image, (0, 0), sigma).astype(np.uint8, copy=False)
    if rng.random() < augmentation.jpeg_share:
        quality = int(rng.integers(augmentation.jpeg_quality, 96))
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
    return image
