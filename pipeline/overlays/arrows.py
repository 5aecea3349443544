"""MO as arrows: from the pixels of people to the keypoint, or the centroid, that their offsets lead to."""

import functools
import math
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from engine.structures import ByteArray, FloatArray, Heads
from pipeline.overlays.fields import offsets_to
from pipeline.overlays.palette import DARK, WHITE, Colour, direction_colours, mix
from pipeline.overlays.style import OverlayStyle, line_px

_MOST: Final = 400  # arrows, about; where people fill more of the picture their arrows begin farther apart
_DIRECTIONS: Final = 24  # OpenCV draws many lines at once in one colour: so many directions have one of their own
_SUBPIXEL_BITS: Final = 4


def draw_offset_arrows(canvas: ByteArray, heads: Heads, style: OverlayStyle) -> None:
    """Draw arrows where p_S reaches the threshold into a BGR uint8 (H, W, 3) canvas in place, coloured by direction."""
    starts, ends = arrows(heads, style.offset_target, style.person_threshold)
    if not len(starts):
        return
    layer = canvas if style.offset_arrows_opacity == 1.0 else canvas.copy()
    width = max(1, line_px(canvas.shape[:2]) // 2)
    paths = np.rint(_paths(starts, ends, 6.0 * width) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.polylines(layer, list(paths), False, DARK, width + max(1, width // 2), cv2.LINE_AA, _SUBPIXEL_BITS)
    sectors = _sectors(ends - starts)
    for sector, colour in enumerate(_sector_colours()):
        cv2.polylines(layer, list(paths[sectors == sector]), False, colour, width, cv2.LINE_AA, _SUBPIXEL_BITS)
    if layer is not canvas:
        opacity = style.offset_arrows_opacity
        cv2.addWeighted(layer, opacity, canvas, 1.0 - opacity, 0.0, dst=canvas)


def arrows(heads: Heads, target: int | None, threshold: float) -> tuple[FloatArray, FloatArray]:
    """Where arrows begin and end, source px, float32 (N, 2) each: evenly spaced cells whose p_S reaches `threshold`.

    Cells whose offset is shorter than a source pixel have none.
    """
    finer = heads.stride // heads.person_stride
    shown = heads.person_map[::finer, ::finer] >= threshold
    step = max(1, round(math.sqrt(np.count_nonzero(shown) / _MOST)))
    first = step // 2
    i, j = np.nonzero(shown[first::step, first::step])
    i, j = i * step + first, j * step + first
    starts = (np.stack((j, i), axis=1) * heads.stride).astype(np.float32)
    ends = starts + offsets_to(heads, target)[:, i, j].T
    starts, ends = heads.letterbox.to_source(starts), heads.letterbox.to_source(ends)
    long = np.linalg.norm(ends - starts, axis=1) >= 1
    return starts[long], ends[long]


def _paths(starts: FloatArray, ends: FloatArray, head_px: float) -> FloatArray:
    """Arrows as strokes: shaft, one side of the head, the other; (N, 5, 2)."""
    vectors = ends - starts
    length = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-3)
    back = vectors * np.minimum(head_px / length, 0.5)
    aside = back[:, ::-1] * (-0.4, 0.4)
    return np.stack((starts, ends, ends - back + aside, ends, ends - back - aside), axis=1)


def _sectors(vectors: FloatArray) -> npt.NDArray[np.int64]:
    """Which of the directions is nearest to each vector's: (N,)."""
    turns = np.arctan2(vectors[:, 1], vectors[:, 0]) / (2 * math.pi)
    return np.rint(turns * _DIRECTIONS).astype(np.int64) % _DIRECTIONS


@functools.cache
def _sector_colours() -> list[Colour]:
    """The colour of each direction; lighter than in the field, for lines are thin."""
    angles = np.arange(_DIRECTIONS) * (2 * math.pi / _DIRECTIONS)
    units = np.stack((np.cos(angles), np.sin(angles)), axis=-1).astype(np.float32)
    colours = direction_colours(units[None], half_px=0.0)[0].tolist()
    return [mix((blue, green, red), WHITE, 0.25) for blue, green, red in colours]
