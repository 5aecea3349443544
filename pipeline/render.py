"""A picture and its instances to the picture that is shown or written; pure, so a paused GUI calls it as well."""

import numpy as np

from engine.structures import ByteArray, Instances
from pipeline.overlays import OVERLAYS, OverlayStyle


def draw(image: ByteArray, instances: Instances, style: OverlayStyle) -> ByteArray:
    """Draw the overlays that are on over a copy of the picture.

    Args:
        image: uint8 (H, W, 3), BGR; never modified.
        instances: in pixels of that picture.
        style: which overlays are on, and how they look.

    Returns:
        A new writable, C-contiguous uint8 (H, W, 3) BGR array.

    Raises:
        ValueError: the picture is no BGR picture or of another size than the label map.
    """
    if image.dtype != np.uint8 or image.shape != (*instances.label_map.shape, 3):
        raise ValueError(f"image: expected uint8 {(*instances.label_map.shape, 3)}, got {image.dtype} {image.shape}")
    canvas = np.array(image, order="C")
    if len(instances):
        for overlay in OVERLAYS:
            if overlay.is_on(style):
                overlay.draw(canvas, instances, style)
    return canvas
