"""The switchable drawings: which there are, in which order they lie on each other, and how each one looks.

A layer is one entry of `LAYERS`: its name is its switch in `OverlayStyle`, its function draws it into a canvas. Field
layers show what the network says (`Heads`), people layers what was made of it (`Instances`). A layer that is off
computes nothing, and without a field layer the heads are not read at all. On top of all lie the labels, ids and scores.
"""

from pipeline.overlays.labels import draw_labels
from pipeline.overlays.layers import LAYERS, FieldLayer, PeopleLayer
from pipeline.overlays.palette import Colour, instance_colour
from pipeline.overlays.style import LAYER_NAMES, OVERLAY_NAMES, OverlayStyle

__all__ = [
    "LAYERS",
    "LAYER_NAMES",
    "OVERLAY_NAMES",
    "Colour",
    "FieldLayer",
    "OverlayStyle",
    "PeopleLayer",
    "draw_labels",
    "instance_colour",
]
