import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as rle

from engine import coco, evaluation
from engine.evaluation import average_precision, evaluate, to_results, whole_file, write_results
from engine.structures import ByteArray, Instances

SIZE = 200


def truth(side: int = 50, **image: Any) -> dict[str, Any]:
    """Two pictures with one square person of `side` px each."""
    rng = np.random.default_rng(0)
    annotations = []
    for n in (1, 2):
        x, y = 20 * n, 30
        keypoints = np.full((17, 3), 2.0)
        keypoints[:, :2] = rng.uniform(0, side, (17, 2)) + np.array([x, y])
        annotations.append(
            {
                "id": n,
                "image_id": n,
                "category_id": 1,
                "iscrowd": 0,
                "num_keypoints": 17,
                "area": side**2,
                "bbox": [x, y, side, side],
                "keypoints": keypoints.ravel().tolist(),
                "segmentation": [[x, y, x + side, y, x + side, y + side, x, y + side]],
            }
        )
    images = [{"id": n, "file_name": f"{n}.png", "width": SIZE, "height": SIZE} | image for n in (1, 2)]
    return {"images": images, "annotations": annotations}


def as_results(data: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    results = []
    for a in data["annotations"]:
        common = {"image_id": a["image_id"], "category_id": 1, "score": 0.9}
        if kind == "keypoints":
            results.append({**common, "keypoints": a["keypoints"]})
        else:
            mask = coco.decode_mask(a["segmentation"], SIZE, SIZE)
            assert mask is not None
            results.append({**common, "segmentation": coco.encode_mask(mask)})
    return results


@pytest.mark.parametrize("kind", ["keypoints", "segm"])
def test_the_truth_given_back_scores_one(kind: str) -> None:
    data = truth()
    before = json.dumps(data)
    results = as_results(data, kind)
    scores = average_precision(data, results, kind, [1, 2])
    names = evaluation.KEYPOINT_METRICS if kind == "keypoints" else evaluation.SEGM_METRICS
    assert tuple(scores) == names
    assert [scores[name] for name in ("AP", "AP50", "AP75", "APm", "AR")] == pytest.approx([1] * 5)
    assert scores["APl"] == -1  # nobody large is labelled
    assert json.dumps(data) == before
    assert results == as_results(data, kind)  # neither is changed


@pytest.mark.parametrize("kind", ["keypoints", "segm"])
def test_no_results_score_zero(kind: str) -> None:
    assert set(average_precision(truth(), [], kind, [1, 2]).values()) == {0.0}


@pytest.mark.parametrize("kind", ["keypoints", "segm"])
def test_half_of_the_people_found_is_half_the_recall(kind: str) -> None:
    data = truth()
    scores = average_precision(data, as_results(data, kind)[:1], kind, [1, 2])
    assert scores["AR"] == pytest.approx(0.5)
    assert scores["AP"] == pytest.approx(0.5, abs=0.02)
    # Pictures that are not asked for do not count.
    assert average_precision(data, as_results(data, kind)[:1], kind, [1])["AP"] == pytest.approx(1)


def test_keypoints_far_off_score_zero_and_slightly_off_less_than_one() -> None:
    data = truth()
    off = as_results(data, "keypoints")
    for result in off:
        moved = np.array(result["keypoints"]).reshape(17, 3) + np.array([3.0, 0, 0])
        result["keypoints"] = moved.ravel().tolist()
    scores = average_precision(data, off, "keypoints", [1, 2])
    assert scores["AP50"] == pytest.approx(1)
    assert 0 < scores["AP"] < 0.95
    for result in off:
        result["keypoints"] = (np.array(result["keypoints"]) + 100).tolist()
    assert average_precision(data, off, "keypoints", [1, 2])["AP"] == 0


@pytest.mark.parametrize("kind", ["keypoints", "segm"])
def test_people_are_medium_or_large_at_their_original_size(kind: str) -> None:
    """50 px are medium; in a picture reduced to half they were 100 px, which is large."""
    reduced = truth(orig_width=2 * SIZE, orig_height=2 * SIZE)
    scores = average_precision(reduced, as_results(reduced, kind), kind, [1, 2])
    assert scores["AP"] == pytest.approx(1)
    assert (scores["APm"], scores["APl"]) == (-1, pytest.approx(1))


def test_a_false_alarm_s_size_counts_at_the_original_size_too() -> None:
    """A surer false alarm of 50 px, 100 px at the original size, costs precision among the large alone."""
    reduced = truth(orig_width=2 * SIZE)
    wrong = np.zeros((SIZE, SIZE), bool)
    wrong[100:150, 100:150] = True
    alarm = {"image_id": 1, "category_id": 1, "score": 0.99, "segmentation": coco.encode_mask(wrong)}
    results = [*as_results(reduced, "segm"), alarm]
    small = truth()
    assert average_precision(reduced, results, "segm", [1, 2])["APl"] < 0.9
    assert average_precision(small, results, "segm", [1, 2])["APm"] < 0.9
    # Medium at its own size, the same alarm says nothing about people who are large there.
    large = truth(side=100)
    assert average_precision(large, [*as_results(large, "segm"), alarm], "segm", [1, 2])["APl"] == pytest.approx(1)


def test_crowds_are_ignored() -> None:
    data = truth()
    crowd = np.zeros((SIZE, SIZE), bool)
    crowd[120:, :] = True
    data["annotations"].append(
        {
            **data["annotations"][0],
            "id": 3,
            "iscrowd": 1,
            "num_keypoints": 0,
            "keypoints": [0] * 51,
            "area": int(crowd.sum()),
            "bbox": [0, 120, SIZE, 80],
            "segmentation": coco.encode_mask(crowd),
        }
    )
    inside = np.zeros((SIZE, SIZE), bool)
    inside[130:180, 10:60] = True
    results = [
        {"image_id": 1, "category_id": 1, "score": 0.99, "segmentation": coco.encode_mask(inside)},
        *as_results(truth(), "segm"),
    ]
    assert average_precision(data, results, "segm", [1, 2])["AP"] == pytest.approx(1)


def instances() -> Instances:
    keypoints = np.zeros((2, 17, 2), np.float32)
    scores = np.zeros((2, 17), np.float32)
    keypoints[0], scores[0] = np.linspace(1, 9, 34).reshape(17, 2), 0.5
    keypoints[1, 3], scores[1, 3] = (2.345, 6.789), 0.25
    labels = np.zeros((10, 12), np.uint8)
    labels[2:5, 3:7] = 1
    return Instances(keypoints, scores, np.array([0.5, 0.125], np.float32), labels)


def test_results_are_coco_s_and_json() -> None:
    poses, masks = to_results(42, instances())
    assert len(poses) == 2
    assert len(masks) == 1  # the second has no pixel
    for result in poses + masks:
        assert (result["image_id"], result["category_id"]) == (42, 1)
        assert type(result["score"]) is float
    assert [len(pose["keypoints"]) for pose in poses] == [51, 51]
    assert poses[1]["keypoints"][9:12] == [2.35, 6.79, 1.0] or poses[1]["keypoints"][9:12] == [2.34, 6.79, 1.0]
    assert not any(poses[1]["keypoints"][:9] + poses[1]["keypoints"][12:])
    assert masks[0]["segmentation"]["size"] == [10, 12]
    again = json.loads(json.dumps([poses, masks], allow_nan=False))
    assert again == [poses, masks]
    np.testing.assert_array_equal(rle.decode(again[1][0]["segmentation"]), instances().mask(0))


def test_written_results_are_whole_files(tmp_path: Path) -> None:
    poses, masks = to_results(42, instances())
    write_results(tmp_path, poses, masks)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keypoints.json", "segm.json"]
    assert json.loads((tmp_path / "keypoints.json").read_text(encoding="utf-8")) == poses
    assert json.loads((tmp_path / "segm.json").read_text(encoding="utf-8")) == masks


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old", encoding="utf-8")

    def fail() -> None:
        with whole_file(path) as stream:
            stream.write("half of the n")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_evaluate_runs_every_picture(tmp_path: Path) -> None:
    """An estimator that knows the answer: pictures are told apart by their brightness."""
    data = truth()
    path = tmp_path / "people.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    for n in (1, 2):
        cv2.imwrite(str(tmp_path / f"{n}.png"), np.full((SIZE, SIZE, 3), n, np.uint8))

    def estimate(image: ByteArray) -> Instances:
        annotation = data["annotations"][int(image[0, 0, 0]) - 1]
        mask = coco.decode_mask(annotation["segmentation"], SIZE, SIZE)
        assert mask is not None
        return Instances(
            np.array(annotation["keypoints"], np.float32).reshape(1, 17, 3)[..., :2],
            np.ones((1, 17), np.float32),
            np.ones(1, np.float32),
            mask.astype(np.uint8),
        )

    scores, poses, masks = evaluate(estimate, coco.read_pictures(tmp_path, path), path)
    assert (scores.images, len(poses), len(masks)) == (2, 2, 2)
    assert scores.keypoints["AP"] == pytest.approx(1)
    assert scores.segm["AP"] == pytest.approx(1)
    assert scores.ms_per_image > 0
