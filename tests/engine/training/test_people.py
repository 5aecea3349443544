"""Annotations to people: what moves, what is left out, which flags arrive."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as rle

from engine.coco import BadPictureError, Picture
from engine.encode import Person, encode
from engine.skeleton import FLIP_KEYPOINTS
from engine.training.people import draw_core, warp_people

Annotate = Callable[..., dict[str, Any]]
HW = (220, 300)


def picture_of(*annotations: dict[str, Any]) -> Picture:
    return Picture(1, Path("never_read.jpg"), HW[1], HW[0], annotations)


def warped(*annotations: dict[str, Any], flip: bool = False, matrix: np.ndarray | None = None) -> list[Person]:
    return warp_people(picture_of(*annotations), np.eye(2, 3) if matrix is None else matrix, HW, flip=flip)


def test_a_flip_swaps_left_and_right(annotate: Annotate) -> None:
    raw = np.reshape(annotate()["keypoints"], (17, 3))
    (person,) = warped(annotate(), matrix=np.array([[-1.0, 0, 299], [0, 1, 0]]), flip=True)
    for k in np.flatnonzero(raw[:, 2]):
        x, y, _ = raw[k]
        np.testing.assert_allclose(person.keypoints[FLIP_KEYPOINTS[k]], (299 - x, y, 2))
    assert (person.keypoints[:, 2] > 0).sum() == (raw[:, 2] > 0).sum()
    assert person.mask is not None
    x, y, width, height = annotate()["bbox"]
    ys, xs = np.nonzero(person.mask)
    np.testing.assert_allclose((xs.min(), xs.max()), (299 - (x + width - 1), 299 - x), atol=1)
    np.testing.assert_allclose((ys.min(), ys.max()), (y, y + height - 1), atol=1)


def test_people_outside_the_crop_are_left_out(annotate: Annotate) -> None:
    assert warped(annotate(), matrix=np.array([[1.0, 0, -211], [0, 1, 0]])) == []
    assert len(warped(annotate(), matrix=np.array([[1.0, 0, -205], [0, 1, 0]]))) == 1


def star() -> np.ndarray:
    angles = np.linspace(0, 2 * math.pi, 20, endpoint=False)
    radii = np.where(np.arange(20) % 2, 60, 35)
    return np.column_stack([150 + radii * np.cos(angles), 110 + radii * np.sin(angles)])


@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_polygons_and_both_rles_give_the_same_mask(annotate: Annotate, scale: float) -> None:
    """Apart from the outline: a polygon is filled with the pixels that its edge passes through."""
    polygon = star().ravel().tolist()
    compressed = rle.merge(rle.frPyObjects([polygon], *HW))
    counts, value = [], 0
    flat = rle.decode(compressed).ravel(order="F")
    while len(flat):
        run = int(np.argmax(flat != value)) if (flat != value).any() else len(flat)
        counts.append(run)
        flat, value = flat[run:], 1 - value
    matrix = np.array([[scale, 0, -40.3], [0, scale, -20.6]])
    masks = []
    for segmentation in ([polygon], compressed, {"size": list(HW), "counts": counts}):
        mask = warped(annotate(segmentation=segmentation), matrix=matrix)[0].mask
        assert mask is not None
        assert (mask.dtype, mask.shape) == (np.bool_, HW)
        masks.append(mask.astype(np.uint8))
    np.testing.assert_array_equal(masks[1], masks[2])
    outline = cv2.morphologyEx(masks[1], cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0
    assert masks[1].sum() > 3000
    np.testing.assert_array_equal(masks[0][~outline], masks[1][~outline])


def test_several_polygons_are_one_mask_and_may_overlap(annotate: Annotate) -> None:
    squares = [[10, 10, 40, 10, 40, 40, 10, 40], [30, 30, 60, 30, 60, 60, 30, 60]]
    mask = warped(annotate(segmentation=squares))[0].mask
    # The person's box is elsewhere, which does not matter here.
    assert mask is not None
    assert mask[12:39, 12:39].all()
    assert mask[32:59, 32:59].all()
    assert not mask[45:, :25].any()


def test_a_damaged_mask_names_picture_annotation_and_reason(annotate: Annotate) -> None:
    damaged = {"size": list(HW), "counts": "ZZZZ"}
    with pytest.raises(BadPictureError, match=r"never_read\.jpg: annotation 1: segmentation: Invalid RLE") as caught:
        warped(annotate(segmentation=damaged))
    assert caught.value.path == Path("never_read.jpg")


@pytest.mark.parametrize("changes", [{"mask_labeled": False}, {"segmentation": []}, {"segmentation": None}])
def test_without_a_labelled_mask_there_is_a_core(annotate: Annotate, changes: dict[str, Any]) -> None:
    (person,) = warped(annotate(**changes))
    assert person.mask is None
    assert person.core is not None
    assert person.core.any()


def test_flags_of_the_annotation_arrive(annotate: Annotate) -> None:
    flags = {"kp_labeled": False, "face_unlabeled": True, "iscrowd": 1, "is_semantic": True}
    plain, flagged = warped(annotate(), annotate(**flags))
    assert (plain.keypoints_known, plain.face_known, plain.is_crowd, plain.is_semantic) == (True, True, False, False)
    assert (flagged.keypoints_known, flagged.face_known) == (False, False)
    assert (flagged.is_crowd, flagged.is_semantic) == (True, True)


@pytest.mark.parametrize("missing", [{"keypoints": None}, {"keypoints": []}])
def test_an_annotation_without_keypoints_is_a_person_without_keypoints(
    annotate: Annotate, missing: dict[str, Any]
) -> None:
    (person,) = warp_people(picture_of(annotate(**missing)), np.eye(2, 3), (217, 297), flip=True)
    assert not person.has_keypoints
    assert not encode([person], (217, 297), 8, 4, 32.0).keypoint_maps.any()


def test_draw_core_stays_within_the_person(annotate: Annotate) -> None:
    """Limbs and torso lie inside the outline of the same limbs drawn thick."""
    keypoints = np.reshape(annotate()["keypoints"], (17, 3)).astype(np.float32)
    core = draw_core(keypoints, HW)
    places = keypoints[:, :2].astype(np.int32)
    body = np.zeros(HW, np.uint8)
    for a, b in ((5, 11), (6, 12), (5, 6), (11, 12)):
        cv2.line(body, places[a].tolist(), places[b].tolist(), 1, 12)
    cv2.fillConvexPoly(body, places[[5, 6, 12, 11]], 1)
    assert core.sum() > 2000
    assert not core[body == 0].any()
    assert core[110, 150]  # the middle of the torso
    assert not core[75, 150]  # the nose: no line leads there


def test_draw_core_uses_visible_keypoints_alone() -> None:
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[[5, 7, 9]] = [(20, 20, 2), (60, 20, 2), (60, 70, 1)]
    core = draw_core(keypoints, (100, 100))
    assert core[20, 40]
    assert not core[40:].any()
    keypoints[7, 2] = 1
    assert not draw_core(keypoints, (100, 100)).any()
