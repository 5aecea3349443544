"""ISM: whose pixel is whose."""

import cv2
import numpy as np

from engine.structures import ByteArray, Instances
from pipeline.overlays.kernels import tint_labels
from pipeline.overlays.palette import Colour
from pipeline.overlays.style import OverlayStyle, line_px


def draw_masks(canvas: ByteArray, instances: Instances, colours: list[Colour], style: OverlayStyle) -> None:
    """Tint each instance's pixels of a BGR uint8 (H, W, 3) canvas in place; other pixels keep their values."""
    labels = instances.label_map
    side = 2 * max(1, line_px(labels.shape) // 2) + 1
    kernel = np.ones((side, side), dtype=np.uint8)
    lowest = np.asarray(cv2.erode(labels, kernel), dtype=np.uint8)  # differs from the highest near a border of labels
    highest = np.asarray(cv2.dilate(labels, kernel), dtype=np.uint8)
    table = np.zeros((256, 3), dtype=np.uint8)
    table[1 : len(colours) + 1] = colours
    # Numba compiles a read-only array as another type: a copy that is always writable keeps it to one version.
    tint_labels(
        canvas,
        labels.copy(),
        highest != lowest,
        table,
        round(256 * style.masks_opacity),
        round(256 * min(1.0, 2 * style.masks_opacity)),
    )
