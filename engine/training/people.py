"""Annotations to people in input pixels, moved by the affine map of their picture."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engine import coco
from engine.coco import BadPictureError, Picture
from engine.encode import Person
from engine.skeleton import EDGES, FACE_KEYPOINTS, FLIP_KEYPOINTS, NUM_KEYPOINTS, TORSO
from engine.training.augmentation import FloatMatrix

# Limbs whose straight line lies on the body; the line from the nose to a shoulder may leave it.
LIMBS = tuple(edge for edge in EDGES if not (edge[0] in FACE_KEYPOINTS and edge[1] not in FACE_KEYPOINTS))


def warp_people(picture: Picture, matrix: FloatMatrix, input_hw: tuple[int, int], *, flip: bool) -> list[Person]:
    """The labelled people of a picture in input pixels; those wholly outside the input are left out.

    Raises:
        BadPictureError: a mask that cannot be decoded.
    """
    people = []
    for annotation in picture.annotations:
        x, y, width, height = annotation["bbox"]
        corners = np.array([[x, y], [x + width, y], [x, y + height], [x + width, y + height]])
        moved = corners @ matrix[:, :2].T + matrix[:, 2]
        (x0, y0), (x1, y1) = moved.min(axis=0), moved.max(axis=0)
        if x1 < 0 or y1 < 0 or x0 > input_hw[1] - 1 or y0 > input_hw[0] - 1:
            continue
        keypoints = _warp_keypoints(annotation, matrix, flip=flip)
        mask = _warp_mask(annotation, picture, matrix, input_hw)
        pseudo = None if mask is not None else _warp_pseudo_mask(annotation, picture, matrix, input_hw)
        core = draw_core(keypoints, input_hw) if mask is None and pseudo is None else pseudo
        people.append(
            Person(
                keypoints=keypoints,
                box_xywh=(float(x0), float(y0), float(x1 - x0), float(y1 - y0)),
                mask=mask,
                core=core,
                core_is_whole=pseudo is not None,
                keypoints_known=bool(annotation.get("kp_labeled", True)),
                face_known=not annotation.get("face_unlabeled", False),
                is_crowd=bool(annotation.get("iscrowd", 0)),
                is_semantic=bool(annotation.get("is_semantic", False)),
            )
        )
    return people


def _warp_keypoints(annotation: dict[str, Any], matrix: FloatMatrix, *, flip: bool) -> npt.NDArray[np.float32]:
    raw = annotation.get("keypoints") or [0.0] * (3 * NUM_KEYPOINTS)
    keypoints = np.array(raw, dtype=np.float64).reshape(NUM_KEYPOINTS, 3)
    keypoints[:, :2] = keypoints[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    if flip:
        keypoints = keypoints[list(FLIP_KEYPOINTS)]
    return keypoints.astype(np.float32)


def _warp_mask(
    annotation: dict[str, Any], picture: Picture, matrix: FloatMatrix, input_hw: tuple[int, int]
) -> npt.NDArray[np.bool_] | None:
    if not annotation.get("mask_labeled", True) or not annotation.get("segmentation"):
        return None
    height, width = input_hw
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, list):
        # Polygon corners lie on pixel edges: pixel (0, 0) covers 0 to 1, its centre is at 0.5.
        corners = [np.array(polygon, dtype=np.float64).reshape(-1, 2) - 0.5 for polygon in segmentation]
        moved = [points @ matrix[:, :2].T + matrix[:, 2] + 0.5 for points in corners]
        return coco.decode_mask([points.ravel().tolist() for points in moved], height, width)
    return _warp_rle(annotation, "segmentation", picture, matrix, input_hw)


def _warp_pseudo_mask(
    annotation: dict[str, Any], picture: Picture, matrix: FloatMatrix, input_hw: tuple[int, int]
) -> npt.NDArray[np.bool_] | None:
    """What tools/pseudo_masks.py found of somebody whose mask nobody labelled."""
    if "pseudo_mask" not in annotation:
        return None
    return _warp_rle(annotation, "pseudo_mask", picture, matrix, input_hw)


def _warp_rle(
    annotation: dict[str, Any], key: str, picture: Picture, matrix: FloatMatrix, input_hw: tuple[int, int]
) -> npt.NDArray[np.bool_] | None:
    height, width = input_hw
    try:
        mask = coco.decode_mask(annotation[key], picture.height, picture.width)
    except ValueError as error:
        raise BadPictureError(picture.path, f"annotation {annotation.get('id')}: {key}: {error}") from error
    if mask is None:
        return None
    soft = cv2.warpAffine(mask.astype(np.uint8) * 255, matrix, (width, height), flags=cv2.INTER_LINEAR)
    return np.asarray(soft >= 128)


def draw_core(keypoints: npt.NDArray[np.float32], input_hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Pixels that surely show a person with visible keypoints: thin limbs, and the torso between four of them."""
    canvas = np.zeros(input_hw, dtype=np.uint8)
    visible = keypoints[:, 2] > 1
    points = np.round(np.clip(keypoints[:, :2], -9e3, 9e3)).astype(np.int32)
    if visible.sum() < 2:
        return canvas.astype(bool)
    shown = points[visible]
    width = max(3, round(0.04 * float(np.ptp(shown, axis=0).max())))
    for parent, child in LIMBS:
        if visible[parent] and visible[child]:
            cv2.line(canvas, points[parent].tolist(), points[child].tolist(), 1, width)
    if visible[list(TORSO)].all():
        cv2.fillConvexPoly(canvas, points[list(TORSO)], 1)
    return canvas.astype(bool)
