"""What is drawn: a switch and an opacity for each layer, and the few numbers that the layers share."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Final

from engine.decode_config import DecodeConfig
from engine.skeleton import NUM_KEYPOINTS, RIGHT_SHOULDER

FIELD_LAYERS: Final = ("bhm", "person_map", "offset_field", "offset_arrows", "skhm")
PEOPLE_LAYERS: Final = ("masks", "pose")
LAYER_NAMES: Final = FIELD_LAYERS + PEOPLE_LAYERS
OVERLAY_NAMES: Final = ("pose", "masks", "pis")  # what can be drawn of instances alone


@dataclass(frozen=True, slots=True)
class OverlayStyle:
    """What is drawn, and how; replaced as a whole, never changed. Every opacity is in [0, 1].

    Attributes:
        bhm: the body heat map: bodies glow, the rest of the picture is darkened.
        person_map: SM, the pixels that show people, in one colour, not yet split.
        offset_field: MO as colours: the hue tells in which direction a pixel's offset leads, the brightness how far.
        offset_arrows: MO as arrows from pixels of people to where their offsets lead.
        offset_target: to which keypoint the offsets of both lead; None is the centroid of the mask.
        skhm: the keypoint heat maps: the disks p_k, and brighter where their votes meet.
        skhm_keypoint: which of them; None is all, coloured by part of the body.
        masks: ISM, each instance's pixels in its colour, with a contour that is twice as opaque.
        pose: PE, limbs and keypoints.
        show_scores: each instance's score in per cent above it.
        show_ids: each one's id above it, where people are followed.
        keypoint_threshold: a keypoint whose score is below is not drawn; one with score 0 is missing and never is.
        person_threshold: p; the person map and the offsets are shown where p_S reaches it.
    """

    bhm: bool = False
    bhm_opacity: float = 0.6
    person_map: bool = False
    person_map_opacity: float = 0.7
    offset_field: bool = False
    offset_field_opacity: float = 0.7
    offset_arrows: bool = False
    offset_arrows_opacity: float = 0.9
    offset_target: int | None = RIGHT_SHOULDER
    skhm: bool = False
    skhm_opacity: float = 0.9
    skhm_keypoint: int | None = None
    masks: bool = True
    masks_opacity: float = 0.45
    pose: bool = True
    pose_opacity: float = 1.0
    show_scores: bool = False
    show_ids: bool = True
    keypoint_threshold: float = 0.1
    person_threshold: float = DecodeConfig().person_threshold

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self) if field.name.endswith(("_opacity", "_threshold"))):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name}: expected a number in [0, 1], got {value}")
        for name in ("offset_target", "skhm_keypoint"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < NUM_KEYPOINTS:
                raise ValueError(f"{name}: expected a keypoint from 0 to {NUM_KEYPOINTS - 1} or None, got {value}")

    @property
    def needs_heads(self) -> bool:
        """Whether a layer is on that shows the network's own fields: `Heads` must be kept for it."""
        return any(getattr(self, name) for name in FIELD_LAYERS)

    @classmethod
    def of(cls, names: Iterable[str], show_scores: bool = False) -> "OverlayStyle":
        """The style that shows the named layers only; "pis" is masks and pose. Raises ValueError for other names."""
        chosen = set(names)
        if unknown := sorted(chosen.difference(LAYER_NAMES, {"pis"})):
            known = ", ".join((*LAYER_NAMES, "pis"))
            raise ValueError(f"unknown overlay {', '.join(unknown)}: expected some of {known}")
        if "pis" in chosen:
            chosen.update(("masks", "pose"))
        return cls(show_scores=show_scores, **{name: name in chosen for name in LAYER_NAMES})


def line_px(image_hw: tuple[int, int]) -> int:
    """Line thickness for a picture, pixels: 2 at 480p, 5 at 1080p, 10 at 2160p."""
    return max(1, round(min(image_hw) / 220))
