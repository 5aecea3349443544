import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as rle

from engine import coco, evaluation
from engine.coco import BadPictures, Picture
from engine.errors import UserError
from engine.evaluation import average_precision, evaluate, to_results, whole_file, write_results
from engine.protocols import counted_people
from engine.structures import ByteArray, Heads, Instances, Letterbox

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
            image = next(image for image in data["images"] if image["id"] == a["image_id"])
            mask = coco.decode_mask(a["segmentation"], image["height"], image["width"])
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
    assert scores["ARm"] == pytest.approx(1)
    assert (scores["APl"], scores["ARl"]) == (-1, -1)  # nobody large is labelled
    assert json.dumps(data) == before
    assert results == as_results(data, kind)  # neither is changed


@pytest.mark.parametrize("kind", ["keypoints", "segm"])
def test_no_results_score_zero(kind: str) -> None:
    scores = average_precision(truth(), [], kind, [1, 2])
    names = evaluation.KEYPOINT_METRICS if kind == "keypoints" else evaluation.SEGM_METRICS
    nobody = {"APs", "ARs", "APl", "ARl"}
    assert scores == {name: -1 if name in nobody else 0 for name in names}


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
    assert (scores["ARm"], scores["ARl"]) == (-1, pytest.approx(1))


def moved(data: dict[str, Any], scale: float, shifts: list[tuple[float, float]]) -> dict[str, Any]:
    """People each shifted by (x, y) px, then everything `scale` times as large."""
    people = []
    for a, (x, y) in zip(data["annotations"], shifts, strict=True):
        keypoints = (np.array(a["keypoints"]).reshape(17, 3) + np.array([x, y, 0])) * np.array([scale, scale, 1])
        polygon = (np.array(a["segmentation"]).reshape(-1, 2) + np.array([x, y])) * scale
        box = [(a["bbox"][0] + x) * scale, (a["bbox"][1] + y) * scale, a["bbox"][2] * scale, a["bbox"][3] * scale]
        labels = {"keypoints": keypoints.ravel().tolist(), "segmentation": [polygon.ravel().tolist()], "bbox": box}
        people.append({**a, **labels, "area": a["area"] * scale**2})
    side = round(SIZE * scale)
    sizes = {"width": side, "height": side, "orig_width": SIZE, "orig_height": SIZE}
    return {"images": [image | sizes for image in data["images"]], "annotations": people}


@pytest.mark.parametrize("kind", ["keypoints", "segm"])
def test_reduced_pictures_score_as_the_original_ones(kind: str) -> None:
    """A medium and a large person in each picture; some found slightly off, and surer false alarms of both sizes."""
    data = truth()
    data["annotations"] += [{**a, "id": 2 + a["id"]} for a in truth(side=110)["annotations"]]
    unlabelled = {"num_keypoints": 0, "keypoints": [0] * 51, "bbox": [90, 120, 50, 50]}
    data["annotations"].append({**data["annotations"][0], **unlabelled, "id": 5})
    nowhere = [(0.0, 0.0)] * 5
    off = [(4.0, 2.0), (90.0, 90.0), (6.0, -4.0), (-150.0, 90.0), (120.0, 150.0)]

    def scored(scale: float) -> dict[str, float]:
        labelled, found = moved(data, scale, nowhere), moved(data, scale, off)
        results = as_results(found, kind)
        for result, score in zip(results, (0.5, 0.9, 0.6, 0.8, 0.95), strict=True):
            result["score"] = score
        return average_precision(labelled, results, kind, [1, 2])

    whole, half = scored(1), scored(0.5)
    assert 0.05 < whole["APm"] < 0.5
    assert 0.05 < whole["APl"] < 0.5
    assert whole["APm"] != pytest.approx(whole["APl"], abs=0.01)
    assert half == pytest.approx(whole, abs=1e-6)


def test_annotation_ids_mean_nothing() -> None:
    """Pycocotools takes an id of 0 for nobody, and of two equal ones it loses one."""
    data = truth()
    for a in data["annotations"]:
        a["id"] = 0
    assert average_precision(data, as_results(data, "keypoints"), "keypoints", [1, 2])["AP"] == pytest.approx(1)


def test_who_does_not_count_costs_nothing_when_found() -> None:
    data = truth()
    full = average_precision(data, as_results(data, "segm")[:1], "segm", [1, 2])
    data["annotations"][1]["num_keypoints"] = 0
    data["annotations"] = counted_people(data["annotations"], "cocopersons")
    for kind in ("keypoints", "segm"):
        for results in (as_results(truth(), kind), as_results(truth(), kind)[:1]):
            scores = average_precision(data, results, kind, [1, 2])
            assert [scores["AP"], scores["AR"]] == pytest.approx([1, 1])
    assert full["AR"] == pytest.approx(0.5)


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
    people, masks = np.array([0.5, 0.125], np.float32), np.array([0.75, 0], np.float32)
    return Instances(keypoints, scores, people, masks, labels)


def test_results_are_coco_s_and_json() -> None:
    poses, masks = to_results(42, instances())
    assert len(poses) == 2
    assert len(masks) == 1  # the second has no pixel
    assert [pose["score"] for pose in poses] == [0.5, 0.125]
    assert masks[0]["score"] == 0.75
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


def test_people_without_keypoints_are_masks_alone() -> None:
    people = instances()
    people.keypoint_scores[0] = 0
    people.keypoints_xy[0] = 0
    poses, masks = to_results(42, people)
    assert [pose["score"] for pose in poses] == [0.125]
    assert [mask["score"] for mask in masks] == [0.75]


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


class Oracle:
    """An estimator that knows the answer: pictures are told apart by their brightness."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    def observe(self, image: ByteArray) -> tuple[Heads, Instances]:
        annotation = self.data["annotations"][int(image[0, 0, 0]) - 1]
        mask = coco.decode_mask(annotation["segmentation"], SIZE, SIZE)
        assert mask is not None
        keypoints = np.array(annotation["keypoints"], np.float32).reshape(1, 17, 3)[..., :2]
        sure = np.ones(1, np.float32)
        return HEADS, Instances(keypoints, np.ones((1, 17), np.float32), sure, sure, mask.astype(np.uint8))


HEADS = Heads(
    *(np.zeros((*shape, 2, 2), np.float32) for shape in ((17,), (17, 2), (32, 2), (17, 2), (2,), ())),
    stride=16,
    letterbox=Letterbox((SIZE, SIZE), (17, 17), (0.085, 0.085)),
)


@pytest.fixture
def data_set(tmp_path: Path) -> tuple[list[Picture], dict[str, Any]]:
    data = truth()
    path = tmp_path / "people.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    for n in (1, 2):
        cv2.imwrite(str(tmp_path / f"{n}.png"), np.full((SIZE, SIZE, 3), n, np.uint8))
    return coco.read_pictures(tmp_path, path), data


def test_evaluate_looks_at_every_picture(data_set: tuple[list[Picture], dict[str, Any]]) -> None:
    pictures, data = data_set
    watched: list[tuple[int, bool, int]] = []
    scores, poses, masks = evaluate(
        Oracle(data),
        pictures,
        data,
        BadPictures(Path("people.json"), len(pictures)),
        [lambda picture, heads, people: watched.append((picture.id, heads is HEADS, len(people)))],
    )
    assert (scores.images, len(poses), len(masks)) == (2, 2, 2)
    assert scores.keypoints["AP"] == pytest.approx(1)
    assert scores.segm["AP"] == pytest.approx(1)
    assert scores.ms_per_image > 0
    assert watched == [(1, True, 1), (2, True, 1)]


def test_a_picture_that_cannot_be_read_is_counted_and_left_out(
    data_set: tuple[list[Picture], dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    pictures, data = data_set
    pictures[0].path.write_text("no picture")
    scores, poses, _ = evaluate(Oracle(data), pictures, data, BadPictures(Path("people.json"), 100))
    assert (scores.images, len(poses)) == (1, 1)
    assert scores.keypoints["AR"] == pytest.approx(1)  # who is in it cannot be missed
    assert str(pictures[0].path) in caplog.text
    with pytest.raises(UserError, match=r"people.json: 1 of 2 pictures cannot be used, the first: .*1\.png"):
        evaluate(Oracle(data), pictures, data, BadPictures(Path("people.json"), 2))
