"""Copy-paste of people: who is cut out, where they land, and what becomes of those beneath."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engine.coco import Picture
from engine.encode import Person, encode
from engine.training.augmentation import Augmentation
from engine.training.paste import LEAST_VISIBLE, can_be_pasted, hide, paste_people

Annotate = Callable[..., dict[str, Any]]
SIDE = 193
SHOWN = np.ones((SIDE, SIDE), bool)
NOBODY: list[Person] = []


@pytest.fixture
def donor(annotate: Annotate, tmp_path: Path) -> Picture:
    """Blue, with a red ellipse that is somebody and whose middle is green."""
    image = np.full((220, 300, 3), (255, 0, 0), np.uint8)
    cv2.ellipse(image, (150, 110), (50, 40), 0, 0, 360, (0, 0, 255), -1)
    cv2.circle(image, (150, 110), 8, (0, 255, 0), -1)
    cv2.imwrite(str(tmp_path / "donor.png"), image)
    outline = cv2.ellipse2Poly((150, 110), (50, 40), 0, 0, 360, 5).ravel().tolist()
    keypoints = np.zeros((17, 3))
    keypoints[[0, 5, 6, 11, 12]] = [(150, 110, 2), (130, 100, 2), (170, 100, 2), (135, 125, 1), (165, 125, 2)]
    one = annotate(bbox=[100, 70, 100, 80], segmentation=[outline], keypoints=keypoints.ravel().tolist())
    return Picture(1, tmp_path / "donor.png", 300, 220, (one,))


def somebody(mask: tuple[slice, slice] | None, *places: tuple[float, float], **flags: Any) -> Person:
    """A person in a 100 x 100 input: mask (rows, columns) or a box of the whole input, and keypoints from 0 on."""
    keypoints = np.zeros((17, 3), np.float32)
    for k, place in enumerate(places):
        keypoints[k] = (*place, 2)
    if mask is None:
        return Person(keypoints, (0.0, 0.0, 100.0, 100.0), None, **flags)
    pixels = np.zeros((100, 100), bool)
    pixels[mask] = True
    x, y, width, height = cv2.boundingRect(pixels.astype(np.uint8))
    return Person(keypoints, (float(x), float(y), float(width), float(height)), pixels, **flags)


def cover(*slices: slice) -> np.ndarray:
    plane = np.zeros((100, 100), bool)
    plane[slices] = True
    return plane


def paste(
    donor: Picture, people: list[Person], seed: int, shown: np.ndarray = SHOWN
) -> tuple[np.ndarray, list[Person]]:
    image = np.full((SIDE, SIDE, 3), 50, np.uint8)
    return paste_people(image, people, shown, donor, Augmentation(), np.random.default_rng(seed))


# --- who is pasted, and where -----------------------------------------------------------------------------------------


def test_pasted_pixels_mask_and_keypoints_move_alike(donor: Picture) -> None:
    """The nose lies in the green middle, the mask is where the picture is no longer grey."""
    flips, places = set(), []
    for seed in range(12):
        image, (person,) = paste(donor, NOBODY, seed)
        assert (image.shape, image.dtype) == ((SIDE, SIDE, 3), np.uint8)
        assert person.pasted
        assert person.mask is not None
        changed = np.abs(image.astype(int) - 50).max(axis=2) > 90
        np.testing.assert_array_less((changed != person.mask).sum(), 0.1 * person.mask.sum() + 20)
        # Nothing of the blue ground comes along, apart from the soft edge.
        inner = cv2.erode(person.mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        assert (image[inner][:, 0] < 60).all()
        x, y = np.round(person.keypoints[0, :2]).astype(int)
        if 3 <= x < SIDE - 3 and 3 <= y < SIDE - 3:
            assert image[y, x, 1] > 200
            places.append((x, y))
        # The figure is the same on both sides but for the occluded hip, so left stays left of right.
        assert person.keypoints[5, 0] < person.keypoints[6, 0]
        assert person.keypoints[[11, 12], 2].tolist() in ([1, 2], [2, 1])
        flips.add(person.keypoints[11, 2] == 2)
    assert len(places) > 6
    assert np.ptp(places, axis=0).min() > 50
    assert flips == {True, False}


def test_one_or_more_people_of_the_donor_are_pasted(donor: Picture, annotate: Annotate) -> None:
    crowd = replace(donor, annotations=donor.annotations * 3 + (annotate(iscrowd=1),))
    counts = {sum(p.pasted for p in paste(crowd, NOBODY, seed)[1]) for seed in range(12)}
    assert counts <= {1, 2}
    assert 2 in counts


def test_their_size_is_that_of_somebody_there(donor: Picture) -> None:
    small = Person(np.zeros((17, 3), np.float32), (80.0, 80.0, 30.0, 40.0), None)
    sizes = []
    for seed in range(30):
        pasted = paste(donor, [small], seed)[1][-1]
        sizes.append(math.sqrt(pasted.box_xywh[2] * pasted.box_xywh[3]) / math.sqrt(30 * 40))
    assert 0.5 <= min(sizes) < 0.75
    assert 1.4 < max(sizes) <= 2.0


def test_nobody_stands_in_the_padding(donor: Picture) -> None:
    shown = np.zeros((SIDE, SIDE), bool)
    shown[60:130, :100] = True
    lost = 0
    for seed in range(10):
        image, people = paste(donor, NOBODY, seed, shown)
        assert (image[:56] == 50).all()
        assert (image[:, 104:] == 50).all()
        for person in people:
            assert person.mask is not None
            assert not person.mask[~shown].any()
            x, y = np.round(person.keypoints[:, :2]).astype(int).T
            within = (x >= 0) & (y >= 0) & (x < SIDE) & (y < SIDE)
            beyond = within & ~shown[np.where(within, y, 0), np.where(within, x, 0)]
            assert not person.keypoints[beyond, 2].any()
            lost += (beyond & (x + y > 0)).sum()
    assert lost > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"iscrowd": 1},
        {"is_semantic": True},
        {"mask_labeled": False},
        {"kp_labeled": False},
        {"face_unlabeled": True},
        {"segmentation": []},
        {"keypoints": None},
        {"keypoints": [1.0, 1.0, 2.0] * 4 + [0.0] * 39},
        {"bbox": [90, 60, 20, 60]},
        {"bbox": [90, 60, 0, 0]},
        {"bbox": [0, 60, 120, 100]},
        {"bbox": [90, 60, 120, 160]},
    ],
)
def test_only_whole_people_with_both_labels_are_cut_out(annotate: Annotate, changes: dict[str, Any]) -> None:
    picture = Picture(1, Path("never_read.jpg"), 300, 220, ())
    assert can_be_pasted(annotate(), picture)
    assert not can_be_pasted(annotate(**changes), picture)


# --- those beneath ----------------------------------------------------------------------------------------------------


def test_whoever_is_not_covered_stays_as_he_is() -> None:
    people = [somebody((slice(0, 20), slice(0, 20)), (5, 5)), somebody(None, (5, 5), is_crowd=True)]
    assert hide(people, cover(slice(50, 60), slice(50, 60)))[0] is people[0]


def test_covered_keypoints_are_occluded_and_the_mask_loses_the_pixels() -> None:
    one = somebody((slice(0, 40), slice(0, 40)), (10, 10), (30, 30), (-5, 30), (30, 300))
    (left,) = hide([one], cover(slice(20, 100)))
    assert left.keypoints[:5, 2].tolist() == [2, 1, 2, 2, 0]
    np.testing.assert_array_equal(left.keypoints[:, :2], one.keypoints[:, :2])
    assert left.mask is not None
    assert left.mask[:20, :40].all()
    assert left.mask.sum() == 20 * 40
    assert one.keypoints[1, 2] == 2  # the one given is not changed


@pytest.mark.parametrize("mask", [True, False])
def test_whoever_shows_too_little_has_unknown_keypoints(mask: bool) -> None:
    one = somebody((slice(0, 100), slice(0, 100)), (10, 10), (50, 90)) if mask else somebody(None, (10, 10), (50, 90))
    row = round(100 * LEAST_VISIBLE)
    (enough,) = hide([one], cover(slice(row, 100)))
    assert enough.keypoints[:2, 2].tolist() == [2, 1]
    assert enough.keypoints_known
    (little,) = hide([one], cover(slice(row - 1, 100)))
    assert not little.has_keypoints
    assert not little.keypoints_known
    assert (little.mask is None) == (not mask)
    assert hide([one], cover(slice(0, 100))) == []


def test_crowds_and_people_without_keypoints_stay_what_they_are() -> None:
    region = (slice(0, 100), slice(0, 100))
    for one in (somebody(region, is_crowd=True), somebody(region), somebody(region, is_semantic=True)):
        (left,) = hide([one], cover(slice(10, 100)))
        assert left.keypoints_known
        assert (left.is_crowd, left.is_semantic) == (one.is_crowd, one.is_semantic)
        assert left.mask is not None
        assert left.mask.sum() == 1000


def test_a_core_loses_the_covered_pixels() -> None:
    one = replace(somebody(None, (10, 10)), core=cover(slice(0, 100), slice(40, 60)))
    (left,) = hide([one], cover(slice(50, 100)))
    assert left.core is not None
    assert left.core.sum() == 50 * 20


# --- what they teach --------------------------------------------------------------------------------------------------


def test_where_others_may_stand_unlabelled_the_surroundings_of_a_pasted_person_stay_unknown() -> None:
    ellipse = np.zeros((65, 65), np.uint8)
    cv2.ellipse(ellipse, (32, 32), (24, 12), 45, 0, 360, 1, -1)
    own = Person(np.zeros((17, 3), np.float32), (8.0, 8.0, 48.0, 48.0), ellipse > 0)
    own.keypoints[0] = (32, 32, 2)
    pasted = replace(own, pasted=True)
    known = encode([pasted], (65, 65), 8, 4, 8.0, all_people_listed=False).person_weight > 0
    np.testing.assert_array_equal(known, (ellipse > 0)[::4, ::4])
    beside = encode([own], (65, 65), 8, 4, 8.0, all_people_listed=False).person_weight > 0
    assert beside.sum() > known.sum()
    assert (encode([pasted], (65, 65), 8, 4, 8.0).person_weight > 0).all()
