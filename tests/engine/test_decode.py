"""Ground truth encoded as a perfect network would say it must decode to the ground truth again."""

import json
import math
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from engine import evaluation, letterbox
from engine.coco import Picture
from engine.decode import decode
from engine.decode_config import DecodeConfig
from engine.encode import Person, encode
from engine.skeleton import EDGES, TORSO
from engine.structures import Instances, Letterbox
from engine.training.people import warp_people

Mask = npt.NDArray[np.bool_]
STRIDE, PERSON_STRIDE = 8, 4
# Measured on the scenes below: 0.44 px (a Hough bin is 4 px) and 0.872; the margins are about 0.5 px and 0.05.
KEYPOINT_PX, MASK_IOU = 1.0, 0.82
# Measured on the first twelve pictures: keypoint AP 1.000, mask AP 0.868; the margin is 0.05.
ORACLE_PICTURES, ORACLE_KEYPOINT_AP, ORACLE_MASK_AP = 12, 0.95, 0.82
VISIBLE_IOU = 0.75  # of a person partly hidden by another; measured 0.812

# A person facing the camera, arms a little out, in a box of 1 x 1.
POSE = np.array(
    [
        *[(0.50, 0.10), (0.57, 0.07), (0.43, 0.07), (0.64, 0.09), (0.36, 0.09)],
        *[(0.72, 0.24), (0.28, 0.24), (0.86, 0.38), (0.14, 0.38), (0.94, 0.52), (0.06, 0.52)],
        *[(0.64, 0.54), (0.36, 0.54), (0.66, 0.76), (0.34, 0.76), (0.68, 0.97), (0.32, 0.97)],
    ]
)


def stick_figure(x: float, y: float, height: float, input_hw: tuple[int, int]) -> Person:
    """A person of limbs, torso and an elliptical head, with its box's top left at (x, y), px."""
    width = 0.45 * height
    keypoints = np.ones((17, 3), np.float32) * 2
    keypoints[:, :2] = POSE * (width, height) + (x, y)
    at = [(round(float(px)), round(float(py))) for px, py in keypoints[:, :2]]
    canvas = np.zeros(input_hw, np.uint8)
    for parent, child in EDGES[4:]:
        cv2.line(canvas, at[parent], at[child], 1, max(3, round(0.07 * height)))
    cv2.fillConvexPoly(canvas, np.array([at[k] for k in TORSO]), 1)
    head = (round(0.18 * width), round(0.11 * height))
    cv2.ellipse(canvas, at[0], head, 0, 0, 360, 1, cv2.FILLED)
    return Person(keypoints, (x, y, width, height), canvas.astype(bool))


def there_and_back(people: list[Person], input_hw: tuple[int, int], config: DecodeConfig | None = None) -> Instances:
    config = config or DecodeConfig()
    targets = encode(people, input_hw, STRIDE, PERSON_STRIDE, config.radius_px)
    return decode(targets.heads(STRIDE, Letterbox(input_hw, input_hw, (1.0, 1.0))), config)


def match(found: Instances, people: list[Person]) -> list[int]:
    """For each person the instance whose keypoints are nearest."""
    return [
        int(np.argmin([np.abs(xy - p.keypoints[:, :2])[p.keypoints[:, 2] > 0].mean() for xy in found.keypoints_xy]))
        for p in people
    ]


def iou(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / (a | b).sum())


def keypoint_error_px(found: Instances, index: int, person: Person) -> float:
    """The largest distance of a labelled keypoint; infinite if one is missing."""
    labelled = person.keypoints[:, 2] > 0
    if not (found.keypoint_scores[index][labelled] > 0).all():
        return math.inf
    return float(np.linalg.norm((found.keypoints_xy[index] - person.keypoints[:, :2])[labelled], axis=1).max())


SCENES = {
    "large": ((257, 257), [(60, 10, 230)]),
    "two apart": ((257, 257), [(10, 20, 200), (140, 40, 180)]),
    "three sizes": ((401, 401), [(10, 10, 370), (190, 30, 180), (290, 200, 140)]),
    "half pixels": ((257, 321), [(20.5, 30.25, 190.7), (180.3, 50.9, 150.1)]),
}


@pytest.mark.parametrize("name", SCENES)
def test_people_come_back(name: str) -> None:
    input_hw, places = SCENES[name]
    people = [stick_figure(*place, input_hw) for place in places]
    found = there_and_back(people, input_hw)
    assert len(found) == len(people)
    order = match(found, people)
    assert sorted(order) == list(range(len(people)))
    for index, person in zip(order, people, strict=True):
        assert keypoint_error_px(found, index, person) < KEYPOINT_PX
        assert person.mask is not None
        assert iou(found.mask(index), person.mask) > MASK_IOU


def test_people_come_back_through_a_letterbox() -> None:
    """The same at half the size of the source: the errors in source pixels double at most."""
    placed = letterbox.fit((511, 401), 257, 16)
    person = stick_figure(40, 20, 220, placed.input_hw)
    targets = encode([person], placed.input_hw, STRIDE, PERSON_STRIDE, 32.0)
    found = decode(targets.heads(STRIDE, placed), DecodeConfig())
    assert found.label_map.shape == (511, 401)
    error = np.linalg.norm(found.keypoints_xy[0] - placed.to_source(person.keypoints[:, :2]), axis=1)
    assert error.max() < KEYPOINT_PX / min(placed.scale_xy)
    ys, xs = np.nonzero(found.mask(0))
    x, y, width, height = person.box_xywh
    top, bottom = placed.to_source(np.array([[x, y], [x + width, y + height]], np.float32))
    np.testing.assert_allclose((ys.min(), ys.max()), (top[1], bottom[1]), atol=12)
    assert top[0] - 6 < xs.min() < xs.max() < bottom[0] + 6


def test_nobody_comes_back_as_nobody() -> None:
    found = there_and_back([], (65, 81))
    assert len(found) == 0
    assert found.label_map.shape == (65, 81)
    assert not found.label_map.any()


@pytest.mark.parametrize("shift", [50, 30])
def test_overlapping_people_keep_their_keypoints_and_visible_pixels(shift: int) -> None:
    """The front one hides part of the other; half of every disk of the two belongs to the other (Voronoi)."""
    hw = (257, 257)
    back, front = stick_figure(50, 20, 220, hw), stick_figure(50 + shift, 24, 220, hw)
    assert back.mask is not None
    assert front.mask is not None
    back = replace(back, mask=back.mask & ~front.mask)
    found = there_and_back([back, front], hw)
    assert len(found) == 2
    order = match(found, [back, front])
    assert sorted(order) == [0, 1]
    for index, person in zip(order, (back, front), strict=True):
        assert keypoint_error_px(found, index, person) < KEYPOINT_PX
        assert iou(found.mask(index), np.asarray(person.mask)) > VISIBLE_IOU


def test_unlabelled_keypoints_cut_nobody_apart() -> None:
    hw = (257, 257)
    person = stick_figure(60, 10, 230, hw)
    person.keypoints[[7, 11, 12], 2] = 0
    found = there_and_back([person], hw)
    assert len(found) == 1
    assert keypoint_error_px(found, 0, person) < KEYPOINT_PX
    assert iou(found.mask(0), np.asarray(person.mask)) > MASK_IOU


def test_a_single_keypoint_comes_back_with_the_pixels_around_it() -> None:
    """One keypoint of 17 scores at most 1 / 17, so the two least scores are lowered."""
    hw = (129, 129)
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[11] = (60, 70, 2)
    mask = np.zeros(hw, bool)
    mask[58:83, 48:73] = True
    person = Person(keypoints, (48, 58, 24, 24), mask)
    found = there_and_back([person], hw, DecodeConfig(min_score=0.0, mask_min_score=0.0, fill_threshold=0.5))
    assert len(found) == 1
    assert np.flatnonzero(found.keypoint_scores[0]).tolist() == [11]
    assert keypoint_error_px(found, 0, person) < KEYPOINT_PX
    assert 0 < found.scores[0] <= 1 / 17
    assert iou(found.mask(0), mask) > MASK_IOU


def test_keypoints_at_the_border_come_back() -> None:
    """Half of such a disk and up to half of each vote lie outside, which pulls the peak inwards."""
    hw = (257, 257)
    person = stick_figure(77, 2, 250, hw)
    person.keypoints[0, :2] = (128, 0)
    person.keypoints[15:, 1] = 256
    found = there_and_back([person], hw)
    assert len(found) == 1
    assert keypoint_error_px(found, 0, person) < 2.5  # measured: 2.0


def test_a_person_half_outside_keeps_what_is_inside() -> None:
    hw = (257, 257)
    person = stick_figure(-40, 10, 220, hw)
    outside = person.keypoints[:, 0] < 0
    assert 5 <= outside.sum() <= 8
    found = there_and_back([person], hw)
    assert len(found) == 1
    error = np.linalg.norm(found.keypoints_xy[0] - person.keypoints[:, :2], axis=1)
    assert error[person.keypoints[:, 0] > 4].max() < KEYPOINT_PX
    assert iou(found.mask(0), np.asarray(person.mask)) > MASK_IOU


def test_a_person_without_a_mask_has_its_core() -> None:
    hw = (257, 257)
    person = stick_figure(60, 10, 230, hw)
    found = there_and_back([replace(person, mask=None, core=person.mask)], hw)
    assert len(found) == 1
    assert keypoint_error_px(found, 0, person) < KEYPOINT_PX
    # A core has no share of its cells, only whole ones; here it is the whole mask.
    assert iou(found.mask(0), np.asarray(person.mask)) > MASK_IOU


def test_decode_is_deterministic_and_takes_strided_fields() -> None:
    hw = (257, 257)
    people = [stick_figure(10, 20, 200, hw), stick_figure(140, 40, 180, hw)]
    heads = encode(people, hw, STRIDE, PERSON_STRIDE, 32.0).heads(STRIDE, Letterbox(hw, hw, (1.0, 1.0)))
    strided = replace(
        heads,
        keypoint_maps=np.asfortranarray(heads.keypoint_maps),
        mask_offsets=heads.mask_offsets[:, ::-1][:, ::-1],
        person_map=np.repeat(heads.person_map, 2, axis=1)[:, ::2],
    )
    first, *others = [decode(h, DecodeConfig()) for h in (heads, heads, strided)]
    for other in others:
        for name in ("keypoints_xy", "keypoint_scores", "scores", "label_map"):
            assert getattr(first, name).tobytes() == getattr(other, name).tobytes()


def test_limits_on_score_and_number_are_kept() -> None:
    hw = (257, 257)
    people = [stick_figure(10, 20, 200, hw), stick_figure(140, 40, 180, hw)]
    both = there_and_back(people, hw)
    assert (np.diff(both.scores) < 0).all()
    between = float(both.scores.mean())
    assert len(there_and_back(people, hw, DecodeConfig(max_instances=1))) == 1
    assert len(there_and_back(people, hw, DecodeConfig(min_score=between))) == 1
    maskless = there_and_back(people, hw, DecodeConfig(mask_min_score=between, density=False))
    assert len(maskless) == 2
    assert maskless.mask(0).any()
    assert not maskless.mask(1).any()


@pytest.mark.parametrize("count", [0, 255])
def test_as_many_instances_as_a_label_map_holds(count: int) -> None:
    with pytest.raises(ValueError, match=f"max_instances: expected 1 to 254, got {count}"):
        DecodeConfig(max_instances=count)


@pytest.fixture(scope="module")
def labelled(shared_dir: Path) -> dict[str, Any]:
    """COCO person labels of a few photographs; the photographs are not needed."""
    archive = shared_dir / "data" / "people_a.zip"
    if not archive.is_file():
        pytest.skip("needs shared/data/people_a.zip, labels of COCO photographs")
    with zipfile.ZipFile(archive) as files:
        truth: dict[str, Any] = json.loads(files.read("annotations/val2017_dev200.json"))
    images = sorted(truth["images"], key=lambda image: image["id"])[:ORACLE_PICTURES]
    ids = {image["id"] for image in images}
    return {"images": images, "annotations": [a for a in truth["annotations"] if a["image_id"] in ids]}


def test_the_truth_of_real_pictures_decodes_to_the_truth(labelled: dict[str, Any]) -> None:
    """What the fields and the decode lose by themselves, as AP; a person without keypoints cannot have a mask."""
    config, poses, masks = DecodeConfig(), [], []
    for image in labelled["images"]:
        own = tuple(a for a in labelled["annotations"] if a["image_id"] == image["id"])
        picture = Picture(image["id"], Path(image["file_name"]), image["width"], image["height"], own)
        placed = letterbox.fit((picture.height, picture.width), 1025, 16)
        sx, sy = placed.scale_xy
        matrix = np.array([[sx, 0, 0.5 * sx - 0.5], [0, sy, 0.5 * sy - 0.5]])
        people = warp_people(picture, matrix, placed.input_hw, flip=False)
        targets = encode(people, placed.input_hw, STRIDE, PERSON_STRIDE, config.radius_px)
        found_poses, found_masks = evaluation.to_results(picture.id, decode(targets.heads(STRIDE, placed), config))
        poses += found_poses
        masks += found_masks
    ids = [image["id"] for image in labelled["images"]]
    posed = [a | {"iscrowd": a["iscrowd"] or int(a["num_keypoints"] == 0)} for a in labelled["annotations"]]
    keypoints = evaluation.average_precision(labelled, poses, "keypoints", ids)
    segm = evaluation.average_precision({**labelled, "annotations": posed}, masks, "segm", ids)
    assert keypoints["AP"] > ORACLE_KEYPOINT_AP
    assert segm["AP"] > ORACLE_MASK_AP
