"""The layers in the order in which they are drawn: what comes later lies on top."""

from collections.abc import Callable
from typing import Final, NamedTuple

from engine.structures import ByteArray, Heads, Instances
from pipeline.overlays.arrows import draw_offset_arrows
from pipeline.overlays.fields import draw_bhm, draw_offset_field, draw_person_map, draw_skhm
from pipeline.overlays.masks import draw_masks
from pipeline.overlays.palette import Colour
from pipeline.overlays.pose import draw_pose
from pipeline.overlays.style import OverlayStyle


class FieldLayer(NamedTuple):
    """Shows what the network says; `draw` changes the canvas in place. `name` is its switch in `OverlayStyle`."""

    name: str
    draw: Callable[[ByteArray, Heads, OverlayStyle], None]


class PeopleLayer(NamedTuple):
    """Shows the people found, each in the colour given; `draw` changes the canvas in place."""

    name: str
    draw: Callable[[ByteArray, Instances, list[Colour], OverlayStyle], None]


LAYERS: Final[tuple[FieldLayer | PeopleLayer, ...]] = (
    FieldLayer("bhm", draw_bhm),
    FieldLayer("person_map", draw_person_map),
    FieldLayer("offset_field", draw_offset_field),
    PeopleLayer("masks", draw_masks),
    FieldLayer("skhm", draw_skhm),
    FieldLayer("offset_arrows", draw_offset_arrows),
    PeopleLayer("pose", draw_pose),
)
