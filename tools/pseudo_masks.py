"""Masks for labelled people whose mask nobody drew, by this program's own network, prompted by keypoints and box.

    python tools/pseudo_masks.py --images DIR --annotations IN.json --out OUT.json --model mobile --input-size 801

The labelled keypoints take the place of found skeletons; the pixels that the mask offsets lead to one of them, that lie
in its box and that surely show a person become its `pseudo_mask` (COCO RLE). Training takes it for a sure core: it
teaches mask and centroid offsets and that a person is there, never where the outline runs. A mask that does not fill
its box is left out, and so is everybody without keypoints.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np
import numpy.typing as npt
from rich.progress import track

from app.options import add_model_arguments, open_estimator
from engine import coco, kernels
from engine.decode import assign
from engine.decode_config import DecodeConfig
from engine.files import written_whole
from engine.structures import FloatArray, Heads

SURE = 0.7  # least person probability of a pixel
BOX_FILLED = 0.6  # least IoU of the mask's box with the labelled one
GROWN = 0.05  # boxes are labelled a little tight


def main() -> None:
    """Write the annotations again, with pseudo masks where none was labelled."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    add_model_arguments(parser)
    options = parser.parse_args()
    data = coco.read_json(options.annotations)
    by_id = {a["id"]: a for a in data["annotations"]}
    given, wanted = 0, 0
    with open_estimator(options) as estimator:
        for picture in track(coco.read_pictures(options.images, options.annotations), "pictures"):
            asked = [a for a in picture.annotations if _asked(a)]
            if not asked:
                continue
            wanted += len(asked)
            masks = pseudo_masks(estimator.infer(coco.read_picture(picture)), picture.annotations, estimator.config)
            for annotation, mask in masks:
                by_id[annotation["id"]]["pseudo_mask"] = coco.encode_mask(mask)
                given += 1
    with written_whole(options.out) as temporary:
        temporary.write_text(json.dumps(data), encoding="utf-8")
    print(f"{given} of {wanted} people got a mask: {options.out}")


def _asked(annotation: dict[str, Any]) -> bool:
    return not annotation.get("mask_labeled", True) and annotation["num_keypoints"] > 0 and not annotation["iscrowd"]


def pseudo_masks(
    heads: Heads, annotations: tuple[dict[str, Any], ...], config: DecodeConfig
) -> list[tuple[dict[str, Any], npt.NDArray[np.bool_]]]:
    """The annotations without a labelled mask that got one, bool (H, W)."""
    posed = [a for a in annotations if a["num_keypoints"] > 0 and not a["iscrowd"]]
    labelled = np.array([a["keypoints"] for a in posed], dtype=np.float32).reshape(-1, 17, 3)
    points = heads.letterbox.to_input(labelled[..., :2])
    labels = assign(heads, points, (labelled[..., 2] > 0).astype(np.float32), config)
    height, width = heads.letterbox.source_hw
    label_map, _ = kernels.paint(
        labels, heads.person_map, float(heads.stride), float(heads.person_stride), SURE,
        height, width, *heads.letterbox.scale_xy,
    )  # fmt: skip
    known = np.zeros((height, width), dtype=bool)
    for annotation in annotations:
        if annotation.get("mask_labeled", True) and annotation.get("segmentation"):
            known |= _decoded(annotation, height, width)
    found = []
    for index, annotation in enumerate(posed):
        mask = (label_map == index + 1) & _box(annotation["bbox"], height, width) & ~known
        mask = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        if _asked(annotation) and _box_iou(mask, annotation["bbox"]) >= BOX_FILLED:
            found.append((annotation, mask))
    return found


def _decoded(annotation: dict[str, Any], height: int, width: int) -> npt.NDArray[np.bool_]:
    mask = coco.decode_mask(annotation["segmentation"], height, width)
    return np.zeros((height, width), dtype=bool) if mask is None else mask


def _box(xywh: list[float], height: int, width: int) -> npt.NDArray[np.bool_]:
    x, y, w, h = xywh
    inside = np.zeros((height, width), dtype=bool)
    rows = slice(max(0, round(y - GROWN * h)), round(y + h + GROWN * h) + 1)
    inside[rows, max(0, round(x - GROWN * w)) : round(x + w + GROWN * w) + 1] = True
    return inside


def _box_iou(mask: npt.NDArray[np.bool_], xywh: list[float]) -> float:
    ys, xs = np.nonzero(mask)
    if not len(xs):
        return 0.0
    own: FloatArray = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], dtype=np.float32)
    x, y, w, h = xywh
    wide = min(own[2], x + w) - max(own[0], x)
    high = min(own[3], y + h) - max(own[1], y)
    shared = max(0.0, wide) * max(0.0, high)
    return float(shared / ((own[2] - own[0]) * (own[3] - own[1]) + w * h - shared))


if __name__ == "__main__":
    main()
