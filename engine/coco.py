"""COCO annotation files: read, checked, one record a picture. Used for training and for evaluation."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as rle

from engine.errors import UserError
from engine.skeleton import NUM_KEYPOINTS
from engine.structures import ByteArray

PERSON_CATEGORY = 1


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a data set with the raw annotations of its people, in the file's own pixels."""

    id: int
    path: Path
    width: int
    height: int
    annotations: tuple[dict[str, Any], ...]


def read_json(path: Path) -> Any:
    """A JSON file, or one clear line."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON: {error}") from error


def read_pictures(images: Path, annotations: Path) -> list[Picture]:
    """The pictures of a COCO person_keypoints file, by id.

    Raises:
        UserError: a missing folder or file, not a COCO file, or a bad annotation (file, id and reason).
    """
    if not images.is_dir():
        raise UserError(f"{images}: no such folder")
    data = read_json(annotations)
    if not isinstance(data, dict) or "images" not in data or "annotations" not in data:
        raise UserError(f"{annotations}: not a COCO annotation file: 'images' or 'annotations' is missing")
    try:
        return _parse_pictures(images, annotations, data)
    except KeyError as error:
        raise UserError(f"{annotations}: not a COCO annotation file: an entry has no {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{annotations}: not a COCO annotation file: {error}") from error


def _parse_pictures(images: Path, annotations: Path, data: dict[str, Any]) -> list[Picture]:
    people: dict[int, list[dict[str, Any]]] = {}
    for annotation in data["annotations"]:
        if annotation.get("category_id") != PERSON_CATEGORY:
            continue
        reason = _wrong(annotation)
        if reason:
            raise UserError(f"{annotations}: annotation {annotation.get('id')}: {reason}")
        people.setdefault(annotation["image_id"], []).append(annotation)
    return [
        Picture(i["id"], images / i["file_name"], i["width"], i["height"], tuple(people.get(i["id"], ())))
        for i in sorted(data["images"], key=lambda i: int(i["id"]))
    ]


def _wrong(annotation: dict[str, Any]) -> str:
    keypoints, box = annotation.get("keypoints"), annotation.get("bbox")
    if keypoints is not None and len(keypoints) != 3 * NUM_KEYPOINTS:
        return f"expected {3 * NUM_KEYPOINTS} keypoint numbers, got {len(keypoints)}"
    if not isinstance(box, list) or len(box) != 4:
        return "bbox: expected 4 numbers"
    if not all(math.isfinite(v) for v in [*box, *(keypoints or ())]):
        return "a number is not finite"
    if box[2] < 0 or box[3] < 0:
        return f"bbox: negative size {box[2]} x {box[3]}"
    polygons = annotation.get("segmentation")
    if isinstance(polygons, list) and any(len(polygon) < 6 or len(polygon) % 2 for polygon in polygons):
        return "segmentation: a polygon needs at least 3 points of 2 numbers"
    return ""


def read_image(path: Path) -> ByteArray:
    """A picture as uint8 (H, W, 3) BGR.

    Raises:
        UserError: missing, unreadable or not a picture.
    """
    try:
        data = np.fromfile(path, dtype=np.uint8)  # imread fails on non-ASCII names on Windows
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}") from error
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except cv2.error as error:  # a header that promises more pixels than OpenCV takes
        raise UserError(f"{path}: cannot be decoded: {error.err}") from error
    if image is None:
        raise UserError(f"{path}: not a picture that OpenCV can read")
    return image.astype(np.uint8, copy=False)


def read_picture(picture: Picture) -> ByteArray:
    """The image of a data set's picture, uint8 (height, width, 3) BGR.

    Raises:
        UserError: see `read_image`, or the image has another size than its labels.
    """
    image = read_image(picture.path)
    height, width = image.shape[:2]
    if (height, width) != (picture.height, picture.width):
        raise UserError(f"{picture.path}: is {width}x{height}, its labels are for {picture.width}x{picture.height}")
    return image


def decode_mask(segmentation: Any, height: int, width: int) -> npt.NDArray[np.bool_] | None:
    """Polygons or RLE (compressed or not) to bool (height, width); None where there is no segmentation."""
    if not segmentation:
        return None
    if isinstance(segmentation, list):
        encoded = rle.merge(rle.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        encoded = rle.frPyObjects(segmentation, height, width)
    else:
        encoded = segmentation
    return np.asarray(rle.decode(encoded), dtype=bool)


def encode_mask(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """bool (H, W) to a COCO RLE with a text `counts`, ready for JSON."""
    encoded = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(v) for v in encoded["size"]], "counts": encoded["counts"].decode("ascii")}
