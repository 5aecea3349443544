import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as rle

from engine.coco import Picture
from engine.errors import UserError
from engine.skeleton import FLIP_KEYPOINTS
from engine.training.dataset import (
    Augmentation,
    DataPart,
    TrainingSet,
    draw_core,
    make_sample,
    random_affine,
    recolour,
    warp_people,
)
from engine.training.encode import encode

GEOMETRY_ONLY = Augmentation(zoom=(0.8, 1.6), rotate_share=0.7, colour=0.0, grey_share=0.0)
BODY = (90, 60, 120, 100)  # x, y, width, height of the green mask
SHOWN = (0, 5, 6, 11, 12, 15)  # the keypoints that have a marker
PLACES = {0: (150, 75), 5: (180, 90), 6: (115, 85), 11: (190, 140), 12: (105, 135), 15: (150, 150)}
# Markers are told apart by their red; green is the mask's, blue says "marker".
RED = {k: 40 + 40 * n for n, k in enumerate(SHOWN)}


def annotation(**changes: Any) -> dict[str, Any]:
    x, y, width, height = BODY
    keypoints = np.zeros((17, 3))
    for k, place in PLACES.items():
        keypoints[k] = (*place, 2)
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    return {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": list(BODY),
        "area": width * height,
        "iscrowd": 0,
        "num_keypoints": len(PLACES),
        "keypoints": keypoints.ravel().tolist(),
        "segmentation": [corners],
    } | changes


@pytest.fixture
def picture(tmp_path: Path) -> Picture:
    """Black, the person green, a blue and red square of 7 px on each keypoint."""
    image = np.zeros((220, 300, 3), np.uint8)
    x, y, width, height = BODY
    image[y : y + height, x : x + width, 1] = 255
    for k, (px, py) in PLACES.items():
        image[py - 3 : py + 4, px - 3 : px + 4] = (255, 255, RED[k])
    cv2.imwrite(str(tmp_path / "markers.png"), image)
    return Picture(1, tmp_path / "markers.png", 300, 220, (annotation(),))


def test_picture_keypoints_and_masks_move_alike(picture: Picture) -> None:
    """Where the targets place a keypoint the picture shows its marker, and the person map is where it is green."""
    flips, seen = set(), 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        image, targets = make_sample(picture, 193, 8, 4, 32.0, GEOMETRY_ONLY, rng, all_people_listed=True)
        assert (image.shape, image.dtype) == ((193, 193, 3), np.uint8)
        colours = {}
        for k in range(17):
            disk = np.argwhere(targets.keypoint_maps[k] == 1)
            if len(disk):
                i, j = disk[0]
                x, y = np.round(targets.short_offsets[2 * k : 2 * k + 2, i, j] + (j * 8, i * 8)).astype(int)
                if 3 <= x < 190 and 3 <= y < 190:
                    colours[k] = image[y, x].astype(int)
        seen += len(colours)
        straight = all(k in RED and abs(c[2] - RED[k]) < 15 for k, c in colours.items())
        flipped = all(FLIP_KEYPOINTS[k] in RED and abs(c[2] - RED[FLIP_KEYPOINTS[k]]) < 15 for k, c in colours.items())
        assert straight or flipped
        assert all(c[0] > 230 for c in colours.values())
        if straight != flipped:
            flips.add(flipped)
        green = image[::4, ::4, 1].astype(float) / 255
        certain = (targets.person_map < 0.1) | (targets.person_map > 0.9)
        assert certain.mean() > 0.8
        assert np.abs(green - targets.person_map)[certain].max() < 0.5
    assert flips == {True, False}
    assert seen > 36


def test_a_flip_swaps_left_and_right(picture: Picture) -> None:
    matrix = np.array([[-1.0, 0, 299], [0, 1, 0]])
    (person,) = warp_people(picture, matrix, (220, 300), flip=True)
    for k, (x, y) in PLACES.items():
        np.testing.assert_allclose(person.keypoints[FLIP_KEYPOINTS[k]], (299 - x, y, 2))
    assert (person.keypoints[:, 2] > 0).sum() == len(PLACES)
    assert person.mask is not None
    x, y, width, height = BODY
    ys, xs = np.nonzero(person.mask)
    np.testing.assert_allclose((xs.min(), xs.max()), (299 - (x + width - 1), 299 - x), atol=1)
    np.testing.assert_allclose((ys.min(), ys.max()), (y, y + height - 1), atol=1)


@pytest.mark.parametrize("flip", [False, True])
def test_random_affine_is_a_similarity_within_its_limits(picture: Picture, flip: bool) -> None:
    rng = np.random.default_rng(0)
    turned = 0
    for _ in range(50):
        matrix = random_affine(picture, 193, Augmentation(), rng, flip=flip)
        linear = matrix[:, :2] @ np.diag([-1.0 if flip else 1.0, 1.0])
        zoom = math.sqrt(abs(np.linalg.det(linear)))
        assert 0.6 <= zoom <= 1.8
        assert (np.linalg.det(matrix[:, :2]) < 0) == flip
        np.testing.assert_allclose(linear.T @ linear, zoom**2 * np.eye(2), atol=1e-9)
        angle = math.degrees(math.atan2(matrix[1, 0], matrix[1, 1]))
        assert abs(angle) <= 30
        turned += abs(angle) > 0
        # The crop's middle shows the picture.
        x, y = np.linalg.solve(matrix[:, :2], np.array([96.0, 96.0]) - matrix[:, 2])
        assert 0 <= x <= 300
        assert 0 <= y <= 220
    assert 5 < turned < 40


def test_people_outside_the_crop_are_left_out(picture: Picture) -> None:
    away = np.array([[1.0, 0, -211], [0, 1, 0]])
    assert warp_people(picture, away, (220, 300), flip=False) == []
    touching = np.array([[1.0, 0, -205], [0, 1, 0]])
    assert len(warp_people(picture, touching, (220, 300), flip=False)) == 1


def star(height: int, width: int) -> np.ndarray:
    angles = np.linspace(0, 2 * math.pi, 20, endpoint=False)
    radii = np.where(np.arange(20) % 2, 60, 35)
    return np.column_stack([150 + radii * np.cos(angles), 110 + radii * np.sin(angles)])


@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_polygons_and_both_rles_give_the_same_mask(picture: Picture, scale: float) -> None:
    """Apart from the outline: a polygon is filled with the pixels that its edge passes through."""
    polygon = star(220, 300).ravel().tolist()
    compressed = rle.merge(rle.frPyObjects([polygon], 220, 300))
    counts, value = [], 0
    flat = rle.decode(compressed).ravel(order="F")
    while len(flat):
        run = int(np.argmax(flat != value)) if (flat != value).any() else len(flat)
        counts.append(run)
        flat, value = flat[run:], 1 - value
    matrix = np.array([[scale, 0, -40.3], [0, scale, -20.6]])
    masks = []
    for segmentation in ([polygon], compressed, {"size": [220, 300], "counts": counts}):
        one = Picture(1, picture.path, 300, 220, (annotation(segmentation=segmentation),))
        mask = warp_people(one, matrix, (220, 300), flip=False)[0].mask
        assert mask is not None
        assert (mask.dtype, mask.shape) == (np.bool_, (220, 300))
        masks.append(mask.astype(np.uint8))
    np.testing.assert_array_equal(masks[1], masks[2])
    outline = cv2.morphologyEx(masks[1], cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0
    assert masks[1].sum() > 3000
    np.testing.assert_array_equal(masks[0][~outline], masks[1][~outline])


def test_several_polygons_are_one_mask_and_may_overlap(picture: Picture) -> None:
    squares = [[10, 10, 40, 10, 40, 40, 10, 40], [30, 30, 60, 30, 60, 60, 30, 60]]
    one = Picture(1, picture.path, 300, 220, (annotation(segmentation=squares),))
    mask = warp_people(one, np.eye(2, 3), (220, 300), flip=False)
    # The person's box is elsewhere, which does not matter here.
    assert mask[0].mask is not None
    assert mask[0].mask[12:39, 12:39].all()
    assert mask[0].mask[32:59, 32:59].all()
    assert not mask[0].mask[45:, :25].any()


@pytest.mark.parametrize("changes", [{"mask_labeled": False}, {"segmentation": []}, {"segmentation": None}])
def test_without_a_labelled_mask_there_is_a_core(picture: Picture, changes: dict[str, Any]) -> None:
    one = Picture(1, picture.path, 300, 220, (annotation(**changes),))
    (person,) = warp_people(one, np.eye(2, 3), (220, 300), flip=False)
    assert person.mask is None
    assert person.core is not None
    assert person.core.any()


def test_flags_of_the_annotation_arrive(picture: Picture) -> None:
    flags = {"kp_labeled": False, "face_unlabeled": True, "iscrowd": 1, "is_semantic": True}
    plain = warp_people(picture, np.eye(2, 3), (220, 300), flip=False)[0]
    one = Picture(1, picture.path, 300, 220, (annotation(**flags),))
    (flagged,) = warp_people(one, np.eye(2, 3), (220, 300), flip=False)
    assert (plain.keypoints_known, plain.face_known, plain.is_crowd, plain.is_semantic) == (True, True, False, False)
    assert (flagged.keypoints_known, flagged.face_known, flagged.is_crowd, flagged.is_semantic) == (
        False,
        False,
        True,
        True,
    )


@pytest.mark.parametrize("missing", [{"keypoints": None}, {"keypoints": []}])
def test_an_annotation_without_keypoints_is_a_person_without_keypoints(
    picture: Picture, missing: dict[str, Any]
) -> None:
    one = Picture(1, picture.path, 300, 220, (annotation(**missing),))
    (person,) = warp_people(one, np.eye(2, 3), (217, 297), flip=True)
    assert not person.has_keypoints
    assert not encode([person], (217, 297), 8, 4, 32.0).keypoint_maps.any()


def test_draw_core_stays_within_the_person() -> None:
    """Limbs and torso lie inside the outline of the same limbs drawn thick."""
    keypoints = np.zeros((17, 3), np.float32)
    for k, place in PLACES.items():
        keypoints[k] = (*place, 2)
    core = draw_core(keypoints, (220, 300))
    body = np.zeros((220, 300), np.uint8)
    for a, b in ((5, 11), (6, 12), (5, 6), (11, 12)):
        cv2.line(body, PLACES[a], PLACES[b], 1, 12)
    cv2.fillConvexPoly(body, np.array([PLACES[k] for k in (5, 6, 12, 11)]), 1)
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


def test_recolour_keeps_dtype_shape_and_place() -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    image[5:9, 7:12] = (200, 100, 50)
    for seed in range(5):
        out = recolour(image, Augmentation(grey_share=0.5), np.random.default_rng(seed))
        assert (out.dtype, out.shape) == (np.uint8, image.shape)
        inside, outside = out[5:9, 7:12].reshape(-1, 3), np.delete(out, np.s_[5:9], axis=0).reshape(-1, 3)
        assert len(np.unique(inside, axis=0)) == len(np.unique(outside, axis=0)) == 1
        assert (inside[0] != outside[0]).any()
    same = recolour(image, Augmentation(colour=0, grey_share=0), np.random.default_rng(0))
    np.testing.assert_array_equal(same, image)
    grey = recolour(image, Augmentation(colour=0, grey_share=1), np.random.default_rng(0))
    assert (np.ptp(grey, axis=2) == 0).all()


# --- the training set -------------------------------------------------------------------------------------------------


@pytest.fixture
def make_part(picture: Picture, tmp_path: Path) -> Callable[..., DataPart]:
    def make(name: str, people: list[dict[str, Any]], **options: Any) -> DataPart:
        image = {"id": 1, "file_name": picture.path.name, "width": 300, "height": 220}
        path = tmp_path / name
        path.write_text(json.dumps({"images": [image], "annotations": people}), encoding="utf-8")
        return DataPart(picture.path.parent, path, **options)

    return make


def training_set(parts: list[DataPart], **changes: Any) -> TrainingSet:
    numbers = {"size": 97, "stride": 8, "person_stride": 4, "radius": 32.0, "seed": 3, "length": 8}
    return TrainingSet(parts, augmentation=Augmentation(), **(numbers | changes))


def equal(a: tuple[torch.Tensor, dict[str, torch.Tensor]], b: tuple[torch.Tensor, dict[str, torch.Tensor]]) -> bool:
    return torch.equal(a[0], b[0]) and all(torch.equal(a[1][name], b[1][name]) for name in a[1])


def test_a_sample_depends_on_seed_and_number_alone(make_part: Callable[..., DataPart]) -> None:
    parts = [make_part("a.json", [annotation()]), make_part("b.json", [annotation()], all_people_listed=False)]
    whole, rest = training_set(parts), training_set(parts, start=5)
    assert (len(whole), len(rest)) == (8, 3)
    later = rest[2]
    assert equal(whole[7], later)
    assert equal(whole[7], whole[7])
    assert not equal(whole[6], later)
    assert not equal(training_set(parts, seed=4)[7], later)
    image, targets = later
    assert (image.dtype, tuple(image.shape)) == (torch.uint8, (97, 97, 3))
    assert {t.dtype for t in targets.values()} == {torch.float32}


def test_a_part_without_share_is_never_drawn(make_part: Callable[..., DataPart]) -> None:
    """The parts differ in whether anything far from the labelled is known."""
    listed = make_part("a.json", [annotation()])
    partial = make_part("b.json", [annotation(bbox=[200, 150, 4, 4])], share=0.0, all_people_listed=False)
    known = [float((training_set([listed, partial])[n][1]["person_weight"] > 0).float().mean()) for n in range(8)]
    assert known == [1.0] * 8
    with pytest.raises(UserError, match="one must be above zero"):
        training_set([partial])


def test_a_file_without_people_is_refused(make_part: Callable[..., DataPart]) -> None:
    with pytest.raises(UserError, match=r"a\.json: no picture with a labelled person"):
        training_set([make_part("a.json", [])])
