"""A picture, its instances and its heads to the picture that is shown or written; pure, for a paused GUI too."""

from collections.abc import Sequence

import numpy as np

from engine.structures import ByteArray, Heads, Instances
from pipeline.frames import IntArray
from pipeline.overlays import LAYERS, FieldLayer, OverlayStyle, draw_labels, instance_colour


def draw(
    image: ByteArray,
    instances: Instances,
    style: OverlayStyle,
    heads: Heads | None = None,
    identities: Sequence[int] | IntArray | None = None,
) -> ByteArray:
    """Draw the layers that are on over a copy of the picture.

    Args:
        image: uint8 (H, W, 3), BGR; never modified.
        instances: in pixels of that picture.
        style: which layers are on, and how they look.
        heads: what the network said about that picture; without them the field layers are left out. Only what a
            layer that is on shows is read of them.
        identities: the id of each instance (see `pipeline.tracking`), which its colour follows and its label shows; by
            default the colour follows the index.

    Returns:
        A new writable, C-contiguous uint8 (H, W, 3) BGR array.

    Raises:
        ValueError: the picture is no BGR picture or of another size than the label map or the heads' source, or
            there is not one identity for each instance.
    """
    hw = instances.label_map.shape
    if image.dtype != np.uint8 or image.shape != (*hw, 3):
        raise ValueError(f"image: expected uint8 {(*hw, 3)}, got {image.dtype} {image.shape}")
    if heads is not None and heads.letterbox.source_hw != hw:
        raise ValueError(f"heads: expected those of a picture of {hw}, got {heads.letterbox.source_hw}")
    if identities is not None and len(identities) != len(instances):
        raise ValueError(f"identities: expected {len(instances)} numbers, got {len(identities)}")
    colours = [instance_colour(number) for number in (range(len(instances)) if identities is None else identities)]
    canvas = np.array(image, order="C")
    for layer in LAYERS:
        if not getattr(style, layer.name):
            continue
        if isinstance(layer, FieldLayer):
            if heads is not None:
                layer.draw(canvas, heads, style)
        elif len(instances):
            layer.draw(canvas, instances, colours, style)
    draw_labels(canvas, instances, identities, colours, style)
    return canvas
