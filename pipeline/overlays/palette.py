"""Every colour: of people, of parts of the body, of heat, of directions."""

import functools
from collections import deque
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from engine.skeleton import FACE_KEYPOINTS, KEYPOINT_NAMES, NUM_KEYPOINTS
from engine.structures import MAX_INSTANCES, ByteArray, FloatArray

Colour = tuple[int, int, int]  # BGR, 0-255

_SEEN_TOGETHER: Final = 10
_OLDER: Final = 4  # how many times nearer a colour may lie to one of longer ago

DARK: Final[Colour] = (24, 24, 24)
WHITE: Final[Colour] = (255, 255, 255)
PERSON: Final[Colour] = (62, 20, 196)  # of the person map: the paper's dark red, brighter, to be seen in the dark

LEFT: Final = tuple(name.startswith("left_") for name in KEYPOINT_NAMES)
RIGHT: Final = tuple(name.startswith("right_") for name in KEYPOINT_NAMES)
FACE, LEFT_ARM, RIGHT_ARM, LEFT_LEG, RIGHT_LEG = range(5)
PART_COLOURS: Final[tuple[Colour, ...]] = ((0, 215, 255), (255, 160, 40), (60, 80, 255), (230, 235, 60), (235, 70, 225))
_FIRST_LEG: Final = KEYPOINT_NAMES.index("left_hip")
# Which part of the body a keypoint belongs to.
PARTS: Final = tuple(
    FACE if k in FACE_KEYPOINTS else (LEFT_ARM if k < _FIRST_LEG else LEFT_LEG) + (0 if LEFT[k] else 1)
    for k in range(NUM_KEYPOINTS)
)


def instance_colour(identity: int) -> Colour:
    """The BGR colour of a person by number, the index or one that stays; after 254 they begin again.

    The same in every picture, and far from those of the numbers near it.
    """
    blue, green, red = colour_table()[identity % MAX_INSTANCES + 1]
    return int(blue), int(green), int(red)


@functools.cache
def colour_table() -> ByteArray:
    """Colours by label: uint8 (255, 3) BGR; row 0 (background) is black, row i + 1 belongs to instance i."""
    levels = np.linspace(0, 255, 11).round()
    rgb = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = _lab(rgb)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    vivid = (lab[:, 0] > 52) & (lab[:, 0] < 92) & (chroma > 45)  # seen on dark and bright clothes, unlike skin or wall
    rgb, lab = rgb[vivid], lab[vivid]
    # Each next colour is the one farthest from all before it, of which the last ones count most: their numbers are
    # seen together. Whole Lab units, so that no machine rounds differently.
    chosen = [int(np.argmin(np.abs(rgb - (0, 179, 255)).sum(axis=1)))]
    to_last: deque[npt.NDArray[np.int64]] = deque()
    to_older = np.full(len(rgb), np.iinfo(np.int32).max, dtype=np.int64)
    while len(chosen) < MAX_INSTANCES:
        to_last.append(((lab - lab[chosen[-1]]) ** 2).sum(axis=1))
        if len(to_last) > _SEEN_TOGETHER:
            to_older = np.minimum(to_older, to_last.popleft())
        chosen.append(int(np.argmax(np.minimum(np.minimum.reduce(to_last), _OLDER**2 * to_older))))
    table = np.zeros((MAX_INSTANCES + 1, 3), dtype=np.uint8)
    table[1:] = rgb[chosen][:, ::-1]
    table.setflags(write=False)
    return table


def _lab(rgb: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Standard RGB 0-255 (n, 3) to CIELAB under D65, rounded to whole units."""
    linear = np.where(rgb <= 10.31475, rgb / 3294.6, ((rgb / 255 + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ (to_xyz / np.array([[0.9505], [1.0], [1.089]])).T
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    lab: npt.NDArray[np.float64] = np.stack(
        (116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])), axis=1
    )
    return np.rint(lab).astype(np.int64)


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    """`colour` with a share in [0, 1] of `other`."""
    blue, green, red = (round(c + (o - c) * share) for c, o in zip(colour, other, strict=True))
    return blue, green, red


def heat_colours(values: ByteArray) -> ByteArray:
    """Values uint8 (h, w) as black, purple, orange, pale yellow: uint8 (h, w, 3)."""
    return np.asarray(cv2.applyColorMap(values, cv2.COLORMAP_INFERNO), dtype=np.uint8)


def direction_colours(offsets: FloatArray, half_px: float) -> ByteArray:
    """Offsets float32 (h, w, 2) as colours uint8 (h, w, 3): the hue is the direction, right is red, down is green.

    The brightness grows with the length, black at 0 and half at `half_px`, so that near and far people both show.
    """
    length, degrees = cv2.cartToPolar(offsets[..., 0], offsets[..., 1], angleInDegrees=True)
    hsv = np.empty((*length.shape, 3), dtype=np.uint8)
    hsv[..., 0] = degrees / 2  # OpenCV's hue goes to 180
    hsv[..., 1] = 225
    hsv[..., 2] = 255 * length / (length + half_px)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR), dtype=np.uint8)
