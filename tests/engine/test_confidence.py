import math
from pathlib import Path

import numpy as np
import pytest

from engine.coco import Picture
from engine.confidence import Confidence, probabilities
from engine.skeleton import KEYPOINT_NAMES
from engine.structures import Heads, Instances, Letterbox

PICTURE = Picture(1, Path("a.png"), 40, 32, ())


def heads() -> Heads:
    """p of the nose rises by 0.1 a cell to the right, p of the left eye is 0.5 everywhere; source px are half."""
    h, w = 5, 6
    maps = np.zeros((17, h, w), np.float32)
    maps[0], maps[1] = np.linspace(0, 0.5, w), 0.5
    return Heads(
        keypoint_maps=maps,
        short_offsets=np.zeros((17, 2, h, w), np.float32),
        mid_offsets=np.zeros((32, 2, h, w), np.float32),
        mask_offsets=np.zeros((17, 2, h, w), np.float32),
        centroid_offsets=np.zeros((2, h, w), np.float32),
        person_map=np.zeros((h, w), np.float32),
        stride=16,
        letterbox=Letterbox((32, 40), (65, 81), (2.0, 2.0)),
    )


def people(*scores: float) -> Instances:
    """Each has a nose at input pixel (40, 32), scoring 0.2, 0.4, ..., and the first alone a left eye, scoring 0.3."""
    n = len(scores)
    xy, keypoint_scores = np.zeros((n, 17, 2), np.float32), np.zeros((n, 17), np.float32)
    xy[:, :2] = 19.75, 15.75
    keypoint_scores[:, 0] = 0.2 * np.arange(1, n + 1)
    keypoint_scores[0, 1] = 0.3
    values = np.array(scores, np.float32)
    return Instances(xy, keypoint_scores, values, values, np.zeros((32, 40), np.uint8))


def test_probabilities_are_read_where_the_keypoints_are() -> None:
    found = probabilities(heads(), people(0.9).keypoints_xy)
    assert found.shape == (1, 17)
    assert found[0, :3] == pytest.approx([0.25, 0.5, 0])  # 40 px are 2.5 cells of 16
    assert probabilities(heads(), np.zeros((0, 17, 2), np.float32)).shape == (0, 17)


def test_means_are_over_the_keypoints_of_the_people_kept() -> None:
    confidence = Confidence(min_score=0.15)
    confidence(PICTURE, heads(), people(0.9, 0.5, 0.1))
    confidence(PICTURE, heads(), people(0.2))
    means = confidence.means()
    assert list(means) == list(KEYPOINT_NAMES)
    assert means["nose"] == pytest.approx({"score": (0.2 + 0.4 + 0.2) / 3, "probability": 0.25, "count": 3})
    assert means["left_eye"] == pytest.approx({"score": 0.3, "probability": 0.5, "count": 2})
    assert means["right_ankle"] == {"score": 0, "probability": 0, "count": 0}


def test_nobody_is_no_division_by_zero() -> None:
    confidence = Confidence(min_score=0.0)
    nobody = Instances(*(np.zeros(s, np.float32) for s in ((0, 17, 2), (0, 17), 0, 0)), np.zeros((32, 40), np.uint8))
    confidence(PICTURE, heads(), nobody)
    assert all(math.isfinite(v) for mean in confidence.means().values() for v in mean.values())
