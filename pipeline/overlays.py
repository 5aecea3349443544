"""The switchable drawings: which there are, in which order they lie on each other, and how each one looks.

An overlay is one entry of `OVERLAYS`: a name, when it is on, and a function that draws it into a canvas. Sizes follow
the picture's short side and each person's own size, so a small person in a large picture stays visible under the lines.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from numba import njit

from engine.skeleton import EDGES, KEYPOINT_NAMES, NUM_KEYPOINTS
from engine.structures import MAX_INSTANCES, ByteArray, FloatArray, Instances

Colour = tuple[int, int, int]  # BGR, 0-255

OVERLAY_NAMES: Final = ("pose", "masks", "pis")
_SUBPIXEL_BITS: Final = 4  # OpenCV draws between pixels in fixed point
_OUTLINE_COLOUR: Final[Colour] = (24, 24, 24)
_WHITE: Final[Colour] = (255, 255, 255)
_LEFT = tuple(name.startswith("left_") for name in KEYPOINT_NAMES)
_RIGHT = tuple(name.startswith("right_") for name in KEYPOINT_NAMES)


@dataclass(frozen=True, slots=True)
class OverlayStyle:
    """What is drawn, and how; replaced as a whole, never changed.

    Attributes:
        pose: limbs and keypoints.
        pose_opacity: in [0, 1].
        masks: each instance's pixels in its colour, with a contour.
        masks_opacity: of the area, in [0, 1]; the contour is twice as opaque.
        show_scores: each instance's score in per cent above it.
        keypoint_threshold: a keypoint whose score is below is not drawn; one with score 0 is missing and never is.
    """

    pose: bool = True
    pose_opacity: float = 1.0
    masks: bool = True
    masks_opacity: float = 0.45
    show_scores: bool = False
    keypoint_threshold: float = 0.1

    def __post_init__(self) -> None:
        for name in ("pose_opacity", "masks_opacity", "keypoint_threshold"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name}: expected a number in [0, 1], got {value}")

    @classmethod
    def of(cls, names: Iterable[str], show_scores: bool = False) -> "OverlayStyle":
        """The style that shows the named overlays only; "pis" is masks and pose. Raises ValueError for other names."""
        chosen = set(names)
        unknown = sorted(chosen.difference(OVERLAY_NAMES))
        if unknown:
            raise ValueError(f"unknown overlay {', '.join(unknown)}: expected some of {', '.join(OVERLAY_NAMES)}")
        both = "pis" in chosen
        return cls(pose=both or "pose" in chosen, masks=both or "masks" in chosen, show_scores=show_scores)


def instance_colour(index: int) -> Colour:
    """The BGR colour of instance `index`: the same in every picture, and far from those of its neighbours."""
    blue, green, red = colour_table()[index + 1]
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
    # Each next colour is the one farthest from all before it; whole Lab units, so that no machine rounds differently.
    chosen = [int(np.argmin(np.abs(rgb - (0, 179, 255)).sum(axis=1)))]
    nearest = np.full(len(rgb), np.iinfo(np.int64).max)
    while len(chosen) < MAX_INSTANCES:
        nearest = np.minimum(nearest, ((lab - lab[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(np.argmax(nearest)))
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


def line_px(image_hw: tuple[int, int]) -> int:
    """Line thickness for a picture, pixels: 2 at 480p, 5 at 1080p, 10 at 2160p."""
    return max(1, round(min(image_hw) / 220))


def draw_masks(canvas: ByteArray, instances: Instances, style: OverlayStyle) -> None:
    """Tint each instance's pixels of a BGR uint8 (H, W, 3) canvas in place; other pixels keep their values."""
    labels = instances.label_map
    side = 2 * max(1, line_px(labels.shape) // 2) + 1
    kernel = np.ones((side, side), dtype=np.uint8)
    lowest = np.asarray(cv2.erode(labels, kernel), dtype=np.uint8)  # differs from the highest near a border of labels
    highest = np.asarray(cv2.dilate(labels, kernel), dtype=np.uint8)
    # Numba compiles a read-only array as another type: a copy that is always writable keeps it to one version.
    _tint(
        canvas,
        labels.copy(),
        highest != lowest,
        colour_table().copy(),
        round(256 * style.masks_opacity),
        round(256 * min(1.0, 2 * style.masks_opacity)),
    )


@njit(cache=True, nogil=True)
def _tint(canvas: Any, labels: Any, border: Any, colours: Any, area_alpha: int, border_alpha: int) -> None:
    """Blend colours[label] into canvas (H, W, 3) wherever labels (H, W) > 0; alphas are 0-256."""
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            label = labels[y, x]
            if label == 0:
                continue
            alpha = border_alpha if border[y, x] else area_alpha
            for channel in range(3):
                old, new = np.int64(canvas[y, x, channel]), np.int64(colours[label, channel])
                canvas[y, x, channel] = (old * (256 - alpha) + new * alpha + 128) >> 8


def draw_pose(canvas: ByteArray, instances: Instances, style: OverlayStyle) -> None:
    """Draw limbs and keypoints into a BGR uint8 (H, W, 3) canvas in place, the best instance on top.

    The person's left side is much lighter than the person's colour, the right side nearly has it.
    """
    layer = canvas if style.pose_opacity == 1.0 else canvas.copy()
    for index in reversed(range(len(instances))):
        scores = instances.keypoint_scores[index]
        drawn = (scores > 0) & (scores >= style.keypoint_threshold)
        if drawn.any():
            colours = _keypoint_colours(instance_colour(index))
            _draw_person(layer, instances.keypoints_xy[index], drawn.tolist(), colours)
    if layer is not canvas:
        cv2.addWeighted(layer, style.pose_opacity, canvas, 1.0 - style.pose_opacity, 0.0, dst=canvas)


def _keypoint_colours(base: Colour) -> list[Colour]:
    left, right = _mix(base, _WHITE, 0.6), _mix(base, _WHITE, 0.1)
    return [left if _LEFT[k] else right if _RIGHT[k] else base for k in range(NUM_KEYPOINTS)]


def _mix(colour: Colour, other: Colour, share: float) -> Colour:
    blue, green, red = (round(c + (o - c) * share) for c, o in zip(colour, other, strict=True))
    return blue, green, red


def _draw_person(canvas: ByteArray, xy: FloatArray, drawn: list[bool], colours: list[Colour]) -> None:
    extent_px = float(np.ptp(xy[drawn], axis=0).max())
    width = int(np.clip(round(extent_px / 60), 1, line_px(canvas.shape[:2])))
    limbs = [(a, b) for a, b in EDGES if drawn[a] and drawn[b]]
    points = [_fixed(point) for point in xy]
    # Outlines first, all of them: none may cut through a limb or keypoint of the same person.
    for a, b in limbs:
        cv2.line(canvas, points[a], points[b], _OUTLINE_COLOUR, width + 2, cv2.LINE_AA, _SUBPIXEL_BITS)
    for a, b in limbs:
        # The parent may be the nose, which has no side; the child always tells.
        cv2.line(canvas, points[a], points[b], colours[b], width, cv2.LINE_AA, _SUBPIXEL_BITS)
    for k in range(NUM_KEYPOINTS):
        if drawn[k]:
            _disc(canvas, points[k], width + 1.2, _OUTLINE_COLOUR)
            _disc(canvas, points[k], width + 0.4, _WHITE)
            _disc(canvas, points[k], 0.6 * width, colours[k])


def _fixed(point: FloatArray) -> tuple[int, int]:
    x, y = (round(float(value) * (1 << _SUBPIXEL_BITS)) for value in point)
    return x, y


def _disc(canvas: ByteArray, centre: tuple[int, int], radius_px: float, colour: Colour) -> None:
    radius = round(radius_px * (1 << _SUBPIXEL_BITS))
    cv2.circle(canvas, centre, radius, colour, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)


def draw_scores(canvas: ByteArray, instances: Instances, style: OverlayStyle) -> None:
    """Write each instance's score in per cent on a plate of its colour above its box, in place."""
    height, width = canvas.shape[:2]
    scale = max(0.4, min(height, width) / 1000)
    thickness = max(1, round(scale * 1.5))
    boxes = instances.boxes_xywh()
    for index in reversed(range(len(instances))):
        text = f"{100 * float(instances.scores[index]):.0f}%"
        (text_w, text_h), baseline = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
        x = int(np.clip(boxes[index, 0], 0, max(0, width - text_w - 4)))
        y = int(np.clip(boxes[index, 1], text_h + baseline + 2, max(text_h + baseline + 2, height - 1)))
        plate = (x, y - text_h - baseline - 2), (x + text_w + 4, y)
        cv2.rectangle(canvas, plate[0], plate[1], instance_colour(index), cv2.FILLED)
        origin = (x + 2, y - baseline)
        cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, _OUTLINE_COLOUR, thickness, cv2.LINE_AA)


class Overlay(NamedTuple):
    """One switchable drawing; `draw` changes the canvas in place."""

    name: str
    is_on: Callable[[OverlayStyle], bool]
    draw: Callable[[ByteArray, Instances, OverlayStyle], None]


# Drawn in this order: what comes later lies on top.
OVERLAYS: Final = (
    Overlay("masks", lambda style: style.masks, draw_masks),
    Overlay("pose", lambda style: style.pose, draw_pose),
    Overlay("scores", lambda style: style.show_scores, draw_scores),
)
