"""Modes, grouping rules, score types, the body heat map's share and what stands for a person."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from engine.decode import decode
from engine.decode_config import DecodeConfig
from engine.encode import Person, encode
from engine.structures import Heads, Instances, Letterbox

HW = (193, 257)
BOX = np.array([[0.5, 0.05], [0.55, 0.03], [0.45, 0.03], [0.6, 0.05], [0.4, 0.05]])
BODY = np.array(
    [
        *[(0.75, 0.2), (0.25, 0.2), (0.9, 0.4), (0.1, 0.4), (0.9, 0.55), (0.1, 0.55)],
        *[(0.7, 0.55), (0.3, 0.55), (0.7, 0.75), (0.3, 0.75), (0.7, 0.95), (0.3, 0.95)],
    ]
)


def block(x: int, y: int, width: int, height: int, *, posed: bool = True) -> Person:
    """A person as wide and high as its box, with keypoints or without."""
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[:, :2] = np.concatenate([BOX, BODY]) * (width, height) + (x, y)
    keypoints[:, 2] = 2 * posed
    mask = np.zeros(HW, bool)
    mask[y : y + height, x : x + width] = True
    return Person(keypoints, (x, y, width, height), mask)


def fields(*people: Person) -> Heads:
    return encode(list(people), HW, 8, 4, 32.0).heads(8, Letterbox(HW, HW, (1.0, 1.0)))


def iou(found: Instances, index: int, person: Person) -> float:
    assert person.mask is not None
    mask = found.mask(index)
    return float((mask & person.mask).sum() / (mask | person.mask).sum())


POSED, SECOND = block(16, 20, 70, 150), block(110, 30, 60, 140)
UNPOSED = block(190, 60, 50, 100, posed=False)


def test_somebody_without_keypoints_is_found_by_density_alone() -> None:
    heads = fields(POSED, UNPOSED)
    without = decode(heads, DecodeConfig(density=False))
    assert len(without) == 1
    both = decode(heads, DecodeConfig())
    assert len(both) == 2
    posed, unposed = (0, 1) if both.keypoint_scores[0].any() else (1, 0)
    assert not both.keypoint_scores[unposed].any()
    assert not both.keypoints_xy[unposed].any()
    assert iou(both, posed, POSED) > 0.85
    assert iou(both, unposed, UNPOSED) > 0.85
    assert (both.mask_scores > 0).all()
    x, y, width, height = both.boxes_xywh()[unposed]
    np.testing.assert_allclose((x, y, width, height), UNPOSED.box_xywh, atol=6)


def test_pose_mode_reads_no_mask_heads() -> None:
    heads = fields(POSED, SECOND)
    nonsense = dataclasses.replace(
        heads,
        mask_offsets=np.full_like(heads.mask_offsets, np.nan),
        centroid_offsets=np.full_like(heads.centroid_offsets, np.nan),
        person_map=np.full_like(heads.person_map, np.nan),
    )
    found = decode(nonsense, DecodeConfig(mode="pose", bhm_beta=0.3))
    expected = decode(heads, DecodeConfig(mode="pose", bhm_beta=0.3))
    assert len(found) == 2
    np.testing.assert_array_equal(found.keypoints_xy, expected.keypoints_xy)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert not found.label_map.any()
    assert not found.mask_scores.any()


def test_seg_mode_reads_no_pose_heads() -> None:
    heads = fields(POSED, SECOND, UNPOSED)
    names = ("keypoint_maps", "short_offsets", "mid_offsets", "mask_offsets")
    nonsense = dataclasses.replace(heads, **{name: np.full_like(getattr(heads, name), np.nan) for name in names})
    found = decode(nonsense, DecodeConfig(mode="seg"))
    assert len(found) == 3
    assert not found.keypoint_scores.any()
    for person in (POSED, SECOND, UNPOSED):
        assert max(iou(found, index, person) for index in range(3)) > 0.85


@pytest.mark.parametrize("centroid", ["both", "keypoints", "shoulder", "mean"])
def test_every_stand_in_gives_the_masks(centroid: Any) -> None:
    people = (POSED, SECOND)
    found = decode(fields(*people), DecodeConfig(centroid=centroid, density=False))
    assert len(found) == 2
    for person in people:
        assert max(iou(found, index, person) for index in range(2)) > 0.8


def test_the_shoulder_alone_gives_nothing_to_somebody_without_it() -> None:
    hidden = block(16, 20, 70, 150)
    hidden.keypoints[6, 2] = 0
    heads = fields(hidden)
    # No peak and nothing filled: the right shoulder is missing.
    config = DecodeConfig(centroid="shoulder", fill_threshold=0.5, density=False)
    assert not decode(heads, config).label_map.any()
    assert decode(heads, dataclasses.replace(config, centroid="keypoints")).label_map.any()


def test_score_types() -> None:
    heads = fields(POSED, SECOND)
    weak = dataclasses.replace(heads, keypoint_maps=heads.keypoint_maps * np.float32(0.5))
    for kind in ("oks", "hough", "probability"):
        strong, half = (decode(h, DecodeConfig(score=kind)) for h in (heads, weak))
        assert (half.scores < 0.6 * strong.scores.min() + 1e-6).all()
        assert (strong.scores <= 1).all()
    probability = decode(weak, DecodeConfig(score="probability"))
    np.testing.assert_allclose(probability.keypoint_scores, 0.5, atol=1e-3)
    np.testing.assert_array_equal(decode(weak, DecodeConfig(score="constant")).scores, [1, 1])


def test_the_body_heat_map_raises_what_the_body_speaks_for() -> None:
    heads = fields(POSED)
    heads.keypoint_maps[9] *= np.float32(0.4)  # a doubtful wrist on a sure body
    off, on = (decode(heads, DecodeConfig(bhm_beta=beta)) for beta in (0.0, 0.5))
    assert on.keypoint_scores[0, 9] > 1.2 * off.keypoint_scores[0, 9]
    unseen = dataclasses.replace(heads, person_map=heads.person_map * np.float32(0.1))
    assert decode(unseen, DecodeConfig(bhm_beta=0.5)).scores[0] < on.scores[0]


def test_strict_grouping_leaves_hidden_keypoints_out() -> None:
    person = block(16, 20, 70, 150)
    person.keypoints[13, 2] = 0
    default, strict = (decode(fields(person), DecodeConfig(grouping=g)) for g in ("default", "strict"))
    assert (default.keypoint_scores[0] > 0).all()
    assert strict.keypoint_scores[0, 13] == 0


def test_the_released_rules_run() -> None:
    found = decode(fields(POSED, SECOND), DecodeConfig.released())
    assert len(found) == 2
    np.testing.assert_array_equal(found.scores, [1, 1])
    assert found.label_map.any()


def test_voters_are_averaged() -> None:
    heads = fields(POSED)
    empty = fields()
    alone, averaged = decode(heads, DecodeConfig(score="hough")), decode(heads, DecodeConfig(score="hough"), [empty])
    np.testing.assert_allclose(averaged.keypoint_scores, alone.keypoint_scores / 2, rtol=1e-4, atol=1e-4)
    twice = decode(heads, DecodeConfig(), [heads])
    np.testing.assert_allclose(twice.keypoints_xy, decode(heads, DecodeConfig()).keypoints_xy, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "both"}, "mode: expected one of joint, pose, seg, got 'both'"),
        ({"score": "soft"}, "score: expected one of oks, hough, probability, constant, got 'soft'"),
        ({"bhm_beta": -0.1}, "bhm_beta: expected a number of at least 0, got -0.1"),
        ({"person_threshold": float("nan")}, "person_threshold: expected a number of at least 0, got nan"),
        ({"bin_px": 0}, "bin_px: expected more than 0"),
    ],
)
def test_wrong_numbers_and_words_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DecodeConfig(**changes)
