"""The paper's Figure 1 as a contact sheet: one picture, and every step from it to poses and instance masks."""

import dataclasses
from typing import Final

import cv2
import numpy as np

from engine.structures import ByteArray, Heads, Instances, Letterbox
from pipeline.overlays import OverlayStyle
from pipeline.render import draw

# Captions and what they show, in the paper's order, read line by line.
PANELS: Final = (
    ("(a) input", ()),
    ("(b) SKHM: keypoint heat maps", ("skhm",)),
    ("(c) BHM: body heat map", ("bhm",)),
    ("(d) PE: poses", ("pose",)),
    ("(e) MO: mask offsets, right shoulder", ("offset_arrows",)),
    ("(f) SM: person map", ("person_map",)),
    ("(g) ISM: instance masks", ("masks",)),
    ("(h) PIS: poses and instance masks", ("pis",)),
)
COLUMNS: Final = 4
PANEL_WIDTH, PANEL_MAX_HEIGHT = 640, 960
_GAP_PX: Final = 16
_CAPTION_PX: Final = 40
_PAPER: Final = 255
_INK: Final = (24, 24, 24)


def figure_sheet(image: ByteArray, instances: Instances, heads: Heads) -> ByteArray:
    """The eight panels with their captions on white, uint8 BGR; the same for the same input.

    Every panel is drawn at its own size, so lines are as sharp for a 4K frame as for a thumbnail.

    Args:
        image: uint8 (H, W, 3), BGR.
        instances: in pixels of that picture.
        heads: what the network said about it.

    Raises:
        ValueError: the three are not of one size.
    """
    if not image.shape[:2] == instances.label_map.shape == heads.letterbox.source_hw:
        raise ValueError(
            f"expected picture, instances and heads of one size, got {image.shape[:2]}, "
            f"{instances.label_map.shape} and {heads.letterbox.source_hw}"
        )
    image, instances, heads = _resized(image, instances, heads)
    height, width = image.shape[:2]
    line_height = _GAP_PX + height + _CAPTION_PX
    lines = -(-len(PANELS) // COLUMNS)
    sheet = np.full((lines * line_height, COLUMNS * (PANEL_WIDTH + _GAP_PX) + _GAP_PX, 3), _PAPER, dtype=np.uint8)
    for number, (caption, names) in enumerate(PANELS):
        line, column = divmod(number, COLUMNS)
        x, y = _GAP_PX + column * (PANEL_WIDTH + _GAP_PX), _GAP_PX + line * line_height
        left = x + (PANEL_WIDTH - width) // 2
        sheet[y : y + height, left : left + width] = draw(image, instances, OverlayStyle.of(names), heads)
        origin = (x + 2, y + height + _CAPTION_PX - 14)
        cv2.putText(sheet, caption, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.75, _INK, 1, cv2.LINE_AA)
    return sheet


def _resized(image: ByteArray, instances: Instances, heads: Heads) -> tuple[ByteArray, Instances, Heads]:
    """All three as if the source had been of a panel's size."""
    old_hw = np.array(image.shape[:2])
    fit = min(PANEL_WIDTH / old_hw[1], PANEL_MAX_HEIGHT / old_hw[0])
    height, width = (max(1, round(side * fit)) for side in old_hw.tolist())
    scale_y, scale_x = np.array([height, width]) / old_hw
    smooth = cv2.INTER_AREA if fit < 1 else cv2.INTER_CUBIC
    picture = cv2.resize(image, (width, height), interpolation=smooth)
    labels = cv2.resize(instances.label_map, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    box = heads.letterbox
    return (
        np.asarray(picture, dtype=np.uint8),
        dataclasses.replace(
            instances,
            keypoints_xy=((instances.keypoints_xy + 0.5) * (scale_x, scale_y) - 0.5).astype(np.float32),
            label_map=np.asarray(labels, dtype=np.uint8),
        ),
        dataclasses.replace(
            heads,
            letterbox=Letterbox(
                (height, width), box.input_hw, (float(box.scale_xy[0] / scale_x), float(box.scale_xy[1] / scale_y))
            ),
        ),
    )
