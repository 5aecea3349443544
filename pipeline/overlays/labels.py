"""A small plate above each person: who it is, and with which score."""

from collections.abc import Sequence

import cv2
import numpy as np

from engine.structures import ByteArray, Instances
from pipeline.frames import IntArray
from pipeline.overlays.palette import DARK, Colour
from pipeline.overlays.style import OverlayStyle


def draw_labels(
    canvas: ByteArray,
    instances: Instances,
    identities: Sequence[int] | IntArray | None,
    colours: list[Colour],
    style: OverlayStyle,
) -> None:
    """Write each one's id and score in per cent, as far as they are shown and known, into a BGR canvas in place.

    The plate has the person's colour and stands on top of the box; the best instance's lies on the others'.
    """
    texts = [""] * len(instances)
    if style.show_ids and identities is not None:
        texts = [f"{identity} " if identity else "" for identity in identities]  # 0: not followed
    if style.show_scores:
        texts = [f"{text}{100 * float(score):.0f}%" for text, score in zip(texts, instances.scores, strict=True)]
    if not any(texts):
        return
    boxes = instances.boxes_xywh()
    for index in reversed(range(len(instances))):
        if texts[index]:
            x, y = boxes[index, :2].tolist()
            _plate(canvas, texts[index].strip(), x, y, colours[index])


def _plate(canvas: ByteArray, text: str, x: float, y: float, colour: Colour) -> None:
    """Write the text on a plate that ends at (x, y), left and below, or as near to it as the picture has room."""
    height, width = canvas.shape[:2]
    scale = max(0.4, min(height, width) / 1000)
    thickness = max(1, round(scale * 1.5))
    (text_w, text_h), baseline = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    left = int(np.clip(x, 0, max(0, width - text_w - 4)))
    bottom = int(np.clip(y, text_h + baseline + 2, max(text_h + baseline + 2, height - 1)))
    top_left, bottom_right = (left, bottom - text_h - baseline - 2), (left + text_w + 4, bottom)
    cv2.rectangle(canvas, top_left, bottom_right, colour, cv2.FILLED)
    origin = (left + 2, bottom - baseline)
    cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, DARK, thickness, cv2.LINE_AA)
