from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from engine.coco import Picture
from engine.matching import Match, error, match_people, object_keypoint_similarity
from engine.structures import Instances

WIDTH, HEIGHT = 160, 120
CROWD = {"iscrowd": 1, "num_keypoints": 0, "keypoints": [0] * 51}
NO_KEYPOINTS = {"num_keypoints": 0, "keypoints": [0] * 51}


def person(x: float, y: float, side: float = 40, **changes: Any) -> dict[str, Any]:
    """A square with seventeen keypoints in it."""
    keypoints = np.full((17, 3), 2.0)
    keypoints[:, :2] = np.random.default_rng(0).uniform(0, side, (17, 2)) + np.array([x, y])
    return {
        "area": side**2,
        "iscrowd": 0,
        "num_keypoints": 17,
        "bbox": [x, y, side, side],
        "keypoints": keypoints.ravel().tolist(),
        "segmentation": [[x, y, x + side, y, x + side, y + side, x, y + side]],
    } | changes


def found(*people: tuple[dict[str, Any], float], masks: bool = True, keypoints: bool = True) -> Instances:
    """Labelled people as if found, with these scores; a later one owns the pixels that two share."""
    n = len(people)
    xy, labels = np.zeros((n, 17, 2), np.float32), np.zeros((HEIGHT, WIDTH), np.uint8)
    for index, (annotation, _) in enumerate(people):
        if keypoints:
            xy[index] = np.array(annotation["keypoints"]).reshape(17, 3)[:, :2]
        if masks:
            x, y, width, height = (round(v) for v in annotation["bbox"])
            labels[y : y + height, x : x + width] = index + 1
    scores = np.array([score for _, score in people], np.float32)
    return Instances(xy, np.full((n, 17), float(keypoints), np.float32), scores, scores, labels)


def matched(truth: list[dict[str, Any]], people: Instances, min_score: float = 0.1) -> list[Match]:
    return match_people(Picture(1, Path("a.png"), WIDTH, HEIGHT, tuple(truth)), people, min_score)


def fates(matches: list[Match]) -> list[tuple[str, int | None, int | None]]:
    return [(match.fate, match.truth, match.found) for match in matches]


def test_oks_is_pycocotools_s() -> None:
    truth = person(20, 30)
    truth["keypoints"][2::3] = [2] * 9 + [1] * 4 + [0] * 4
    off = np.array(truth["keypoints"]).reshape(17, 3) + np.random.default_rng(1).normal(0, 3, (17, 3))
    ground = COCO()
    ground.dataset = {
        "info": {},
        "images": [{"id": 1, "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 1}],
        "annotations": [{**truth, "id": 1, "image_id": 1, "category_id": 1}],
    }
    ground.createIndex()
    result = {"image_id": 1, "category_id": 1, "score": 1.0, "keypoints": off.ravel().tolist()}
    run = COCOeval(ground, ground.loadRes([result]), "keypoints")
    run.evaluate()
    expected = float(run.ious[1, 1][0, 0])
    assert 0.2 < expected < 0.9
    assert object_keypoint_similarity(off[:, :2].astype(np.float32), truth) == pytest.approx(expected, abs=1e-5)


def test_the_truth_found_is_no_error() -> None:
    truth = [person(10, 10), person(80, 50)]
    matches = matched(truth, found((truth[1], 0.9), (truth[0], 0.8)))
    assert fates(matches) == [("found", 1, 0), ("found", 0, 1)]
    assert [m.oks for m in matches] == pytest.approx([1, 1])
    assert [m.iou for m in matches] == pytest.approx([1, 1], abs=0.06)
    assert [m.score for m in matches] == pytest.approx([0.9, 0.8])
    assert error(matches) < 0.03
    assert matched([], found()) == []
    assert error([]) == 0


def test_missed_duplicate_and_false_alarm() -> None:
    truth = [person(10, 10), person(100, 70)]
    doubled, wrong = person(12, 11), person(100, 5, 30)
    matches = matched(truth, found((truth[0], 0.9), (wrong, 0.6), (doubled, 0.5), (truth[1], 0.05)))
    assert fates(matches) == [("found", 0, 0), ("false", None, 1), ("duplicate", 0, 2), ("missed", 1, None)]
    assert matches[2].oks is not None
    assert matches[2].oks > 0.5
    assert matches[3] == Match("missed", 1)
    # One of four is right, although most of its pixels went to the duplicate.
    assert error(matches) == pytest.approx(1 - matches[0].quality / 4)
    assert 0.5 < matches[0].quality < 1


def test_either_the_keypoints_or_the_mask_must_agree() -> None:
    truth = [person(10, 10)]
    by_mask = found((truth[0], 0.9), keypoints=False)
    by_keypoints = found((truth[0], 0.9), masks=False)
    for people, known in ((by_mask, (None, 1)), (by_keypoints, (1, None))):
        (match,) = matched(truth, people)
        assert match.fate == "found"
        assert (match.oks, match.iou) == pytest.approx(known, abs=0.06)
    (match,) = matched([person(10, 10, **NO_KEYPOINTS)], found((truth[0], 0.9)))
    assert (match.fate, match.oks) == ("found", None)


def test_a_false_alarm_tells_whom_it_is_like() -> None:
    truth = [person(100, 70), person(10, 10)]
    near = person(30, 10)  # half of each square is the other's: IoU 1 / 3
    matches = matched(truth, found((near, 0.9)))
    assert fates(matches) == [("false", 1, 0), ("missed", 0, None), ("missed", 1, None)]
    assert matches[0].iou == pytest.approx(1 / 3, abs=0.05)
    assert error(matches) == 1


def test_who_stands_in_a_crowd_is_neither_right_nor_wrong() -> None:
    crowd = person(0, 0, 110, **CROWD)
    inside = person(50, 50)
    matches = matched([crowd], found((inside, 0.9), (person(30, 5), 0.8)))
    assert fates(matches) == [("ignored", 0, 0), ("ignored", 0, 1)]
    assert matches[0].iou == pytest.approx(1)  # all of the found mask lies inside
    assert error(matches) == 0
    # A false alarm beside a crowd is like nobody.
    assert fates(matched([crowd], found((person(100, 20), 0.9)))) == [("false", None, 0)]
    # Labelled people come before crowds.
    assert fates(matched([crowd, inside], found((inside, 0.9)))) == [("found", 1, 0)]
