"""Targets and predictions as pictures for a person to look at. Pure: arrays in, arrays out."""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from engine.skeleton import NUM_KEYPOINTS
from engine.structures import ByteArray, FloatArray

# Offsets of this length and more, in input px, have their direction's full brightness; R of the default recipe, twice.
FULL_LENGTH_PX: Final = 64.0
_DARKEN: Final = 0.4


def draw_fields(
    image: ByteArray,
    keypoint_maps: FloatArray,
    person_map: FloatArray,
    mask_offsets: FloatArray,
    mask_weight: FloatArray,
) -> ByteArray:
    """Three panels of one sample side by side, on its darkened picture: uint8 (height, 3 * width, 3) RGB.

    SKHM, each keypoint in a hue of its own; the person map in white; the mask offsets, averaged over the keypoints,
    with the direction as hue (red is right, yellow-green is down) and the length as brightness.

    Args:
        image: uint8 (height, width, 3) BGR, sides n * 16 + 1.
        keypoint_maps: (17, h, w) in [0, 1].
        person_map: (h', w') in [0, 1].
        mask_offsets: (34, h, w) input px, (dx, dy) interleaved.
        mask_weight: (17, h, w), above 0 where an offset is to be shown.
    """
    backdrop = cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.float32) * _DARKEN
    hues = np.arange(NUM_KEYPOINTS, dtype=np.float32) * (360 / NUM_KEYPOINTS)
    keypoints = _hued(hues[keypoint_maps.argmax(axis=0)], np.ones(keypoint_maps.shape[1:], np.float32))
    directions, present = direction_colours(mask_offsets, mask_weight)
    white = np.full((*person_map.shape, 3), 255, np.float32)
    panels = [
        _laid_over(backdrop, keypoints, keypoint_maps.max(axis=0)),
        _laid_over(backdrop, white, person_map),
        _laid_over(backdrop, directions, present),
    ]
    return np.concatenate(panels, axis=1)


def direction_colours(offsets: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Colours (h, w, 3), 0 to 255 RGB, of the mean of several offset fields, and where there is one: 0 or 1 (h, w).

    Args:
        offsets: (2 N, h, w), (dx, dy) interleaved.
        weight: (N, h, w), above 0 where a field has a say.
    """
    has = (weight > 0).astype(np.float32)
    count = has.sum(axis=0)
    dx, dy = ((offsets[axis::2] * has).sum(axis=0) / np.maximum(count, 1) for axis in (0, 1))
    hue = np.degrees(np.arctan2(dy, dx)) % 360
    brightness = np.clip(np.hypot(dx, dy) / FULL_LENGTH_PX, 0.25, 1)
    return _hued(hue.astype(np.float32), brightness.astype(np.float32)), (count > 0).astype(np.float32)


def _hued(hue: FloatArray, brightness: FloatArray) -> FloatArray:
    """Full colours (h, w, 3), 0 to 255 RGB, from hues in degrees and brightnesses in [0, 1]."""
    colours = cv2.cvtColor(np.dstack([hue, np.ones_like(hue), brightness]), cv2.COLOR_HSV2RGB)
    return (colours * 255).astype(np.float32)


def _laid_over(backdrop: FloatArray, colours: FloatArray, opacity: FloatArray) -> ByteArray:
    """Cells (h, w) over a picture: cell (i, j) lies on pixel (i * stride, j * stride)."""
    height, width = backdrop.shape[:2]
    stride = (height - 1) / (opacity.shape[0] - 1)
    grow = np.array([[stride, 0, 0], [0, stride, 0]])
    cover, share = (
        cv2.warpAffine(plane.astype(np.float32), grow, (width, height), flags=cv2.INTER_LINEAR)
        for plane in (colours * opacity[..., None], opacity)
    )
    return np.round(cover + backdrop * (1 - share[..., None])).clip(0, 255).astype(np.uint8)


def stack(rows: list[ByteArray]) -> ByteArray:
    """Rows of equal width below one another, with a white line between them."""
    line = np.full((2, rows[0].shape[1], 3), 255, np.uint8)
    parts: list[npt.NDArray[np.uint8]] = [part for row in rows for part in (row, line)]
    return np.concatenate(parts[:-1])
