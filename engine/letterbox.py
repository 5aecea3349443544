"""Source picture to network input: resize, place at the top left, pad right and bottom.

The network's sides are multiples of its coarsest stride plus one, so that every head's cell lies exactly on an
input pixel (cell * stride) and the grids of all strides share their corners.
"""

import cv2
import numpy as np

from engine.structures import ByteArray, Letterbox

PAD_VALUE = 127  # mid grey: close to zero after normalisation


def input_side(size: int, multiple: int) -> int:
    """The smallest side of the form n * multiple + 1 that holds `size` pixels (at least one step)."""
    return max(1, -(-(size - 1) // multiple)) * multiple + 1


def _fitting_side(size: int, multiple: int) -> tuple[int, int]:
    """(resized size, input side): a size that is at most 1 % above n * multiple + 1 is squeezed onto it.

    A side of 226 px would otherwise be padded to 241 and cost 7 % more for nothing.
    """
    below = (size - 1) // multiple * multiple + 1
    if below > 1 and size - below <= 0.01 * size:
        return below, below
    return size, input_side(size, multiple)


def fit(source_hw: tuple[int, int], input_size: int, multiple: int) -> Letterbox:
    """The letterbox that fits the longer source side to `input_size` px and pads both sides to n * multiple + 1."""
    height, width = source_hw
    long_side = input_side(input_size, multiple)
    scale = long_side / max(height, width)
    resized_h, input_h = _fitting_side(max(1, round(height * scale)), multiple)
    resized_w, input_w = _fitting_side(max(1, round(width * scale)), multiple)
    return Letterbox(
        source_hw=source_hw,
        input_hw=(input_h, input_w),
        scale_xy=(resized_w / width, resized_h / height),
    )


def apply(image: ByteArray, letterbox: Letterbox) -> ByteArray:
    """Place a BGR uint8 (H, W, 3) source in the input: uint8 (height, width, 3), padded with mid grey."""
    if image.dtype != np.uint8 or image.shape != (*letterbox.source_hw, 3):
        raise ValueError(f"image: expected uint8 {(*letterbox.source_hw, 3)}, got {image.dtype} {image.shape}")
    scale_x, scale_y = letterbox.scale_xy
    width = round(letterbox.source_hw[1] * scale_x)
    height = round(letterbox.source_hw[0] * scale_y)
    canvas = np.full((*letterbox.input_hw, 3), PAD_VALUE, dtype=np.uint8)
    # Averaging keeps small people from aliasing when the source shrinks; enlarging wants interpolation.
    shrinks = scale_x < 1 and scale_y < 1
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    canvas[:height, :width] = resized
    return canvas
