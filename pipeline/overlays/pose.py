"""PE: limbs and keypoints."""

from typing import Final

import cv2
import numpy as np

from engine.skeleton import EDGES, NUM_KEYPOINTS
from engine.structures import ByteArray, FloatArray, Instances
from pipeline.overlays.palette import DARK, LEFT, RIGHT, WHITE, Colour, mix
from pipeline.overlays.style import OverlayStyle, line_px

_SUBPIXEL_BITS: Final = 4  # OpenCV draws between pixels in fixed point


def draw_pose(canvas: ByteArray, instances: Instances, colours: list[Colour], style: OverlayStyle) -> None:
    """Draw limbs and keypoints into a BGR uint8 (H, W, 3) canvas in place, the best instance on top.

    The person's left side is much lighter than the person's colour, the right side nearly has it.
    """
    layer = canvas if style.pose_opacity == 1.0 else canvas.copy()
    for index in reversed(range(len(instances))):
        scores = instances.keypoint_scores[index]
        drawn = (scores > 0) & (scores >= style.keypoint_threshold)
        if drawn.any():
            _draw_person(layer, instances.keypoints_xy[index], drawn.tolist(), _keypoint_colours(colours[index]))
    if layer is not canvas:
        cv2.addWeighted(layer, style.pose_opacity, canvas, 1.0 - style.pose_opacity, 0.0, dst=canvas)


def _keypoint_colours(base: Colour) -> list[Colour]:
    left, right = mix(base, WHITE, 0.6), mix(base, WHITE, 0.1)
    return [left if LEFT[k] else right if RIGHT[k] else base for k in range(NUM_KEYPOINTS)]


def _draw_person(canvas: ByteArray, xy: FloatArray, drawn: list[bool], colours: list[Colour]) -> None:
    extent_px = float(np.ptp(xy[drawn], axis=0).max())
    width = int(np.clip(round(extent_px / 60), 1, line_px(canvas.shape[:2])))
    limbs = [(a, b) for a, b in EDGES if drawn[a] and drawn[b]]
    points = [_fixed(point) for point in xy]
    # Outlines first, all of them: none may cut through a limb or keypoint of the same person.
    for a, b in limbs:
        cv2.line(canvas, points[a], points[b], DARK, width + 2, cv2.LINE_AA, _SUBPIXEL_BITS)
    for a, b in limbs:
        # The parent may be the nose, which has no side; the child always tells.
        cv2.line(canvas, points[a], points[b], colours[b], width, cv2.LINE_AA, _SUBPIXEL_BITS)
    for k in range(NUM_KEYPOINTS):
        if drawn[k]:
            _disc(canvas, points[k], width + 1.2, DARK)
            _disc(canvas, points[k], width + 0.4, WHITE)
            _disc(canvas, points[k], 0.6 * width, colours[k])


def _fixed(point: FloatArray) -> tuple[int, int]:
    x, y = (round(float(value) * (1 << _SUBPIXEL_BITS)) for value in point)
    return x, y


def _disc(canvas: ByteArray, centre: tuple[int, int], radius_px: float, colour: Colour) -> None:
    radius = round(radius_px * (1 << _SUBPIXEL_BITS))
    cv2.circle(canvas, centre, radius, colour, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)
