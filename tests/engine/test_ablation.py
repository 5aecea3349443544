"""The table of rows holds only decodes that exist; figures are those of the evaluation, differences are paired."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engine import ablation, coco
from engine.ablation import GROUPS, PARTS, Accuracy, Group, decode_all, rows_of, score_all
from engine.decode import decode
from engine.decode_config import DecodeConfig
from engine.encode import Person, encode
from engine.evaluation import KEYPOINT_METRICS, SEGM_METRICS, average_precision, to_results
from engine.modes import HEADS_OF_MODE
from engine.skeleton import KEYPOINT_NAMES, NUM_KEYPOINTS
from engine.structures import ByteArray, Heads, Letterbox

SIDE = 129
PICTURES = 12
# A person facing the camera, in a box of 1 x 1: face, shoulders, elbows, wrists, hips, knees, ankles.
POSE = np.array(
    [
        *[(0.50, 0.10), (0.57, 0.07), (0.43, 0.07), (0.64, 0.09), (0.36, 0.09)],
        *[(0.72, 0.24), (0.28, 0.24), (0.86, 0.38), (0.14, 0.38), (0.94, 0.52), (0.06, 0.52)],
        *[(0.64, 0.54), (0.36, 0.54), (0.66, 0.76), (0.34, 0.76), (0.68, 0.97), (0.32, 0.97)],
    ]
)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_every_row_is_a_decode_of_its_own(group: Group) -> None:
    """An unknown field or value raises here."""
    rows = rows_of(group, DecodeConfig())
    assert len({row.config for row in rows}) == len(rows) >= 2
    assert len({row.label for row in rows}) == len(rows)
    assert [row.config for row in rows if row.baseline] == [DecodeConfig()]


def test_groups_have_names_of_their_own() -> None:
    assert len({group.name for group in GROUPS}) == len(GROUPS)


def test_every_choice_of_a_switch_has_its_row() -> None:
    rows = [row.config for group in GROUPS for row in rows_of(group, DecodeConfig())]
    for name, values in {
        "mode": set(HEADS_OF_MODE),
        "grouping": {"default", "strict"},
        "score": {"oks", "hough", "probability", "constant"},
        "centroid": {"both", "keypoints", "shoulder", "mean"},
        "density": {True, False},
        "radius_px": {8, 16, 32},
    }.items():
        assert {getattr(config, name) for config in rows} == values
    for name in ("mid_steps", "mask_self_steps", "mask_short_steps"):
        assert {getattr(config, name) for config in rows} >= {0, 1, 2, 3, 4}
    assert {config.bhm_beta == 0 for config in rows} == {True, False}
    assert 0.25 in {config.distance_threshold for config in rows}
    assert DecodeConfig.released() in rows


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"no_such_field": 1}, TypeError, "no_such_field"),
        ({"score": "best"}, ValueError, "score: expected one of"),
    ],
)
def test_a_row_that_does_not_exist_is_refused(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        rows_of(Group("wrong", "wrong", (("row", changes),)), DecodeConfig())


def test_rows_change_what_the_table_starts_from() -> None:
    group = Group("steps", "steps", (("none", {"mid_steps": 0}), ("one", {"mid_steps": 1})))
    start = DecodeConfig(mid_steps=1, bhm_beta=0.5)
    assert [(row.label, row.config, row.baseline) for row in rows_of(group, start)] == [
        ("none", DecodeConfig(mid_steps=0, bhm_beta=0.5), False),
        ("one", start, True),
    ]
    start = DecodeConfig(mid_steps=3)
    assert [(row.label, row.baseline) for row in rows_of(group, start)] == [
        ("mid_steps = 3", True),
        ("none", False),
        ("one", False),
    ]


def test_a_difference_is_paired() -> None:
    hard, easy = np.array([0.1, 0.2, np.nan, 0.3]), np.array([0.6, 0.7, 0.5, 0.8])
    better, worse = Accuracy({"AP": 0.75}, easy), Accuracy({"AP": 0.25}, hard)
    difference, error = better.minus(worse)
    assert difference == 0.5
    assert error == pytest.approx(0, abs=1e-9)  # every part says the same
    shaken = Accuracy({"AP": 0.7}, easy + np.array([0.1, 0, 0, -0.1]))
    assert shaken.minus(worse)[1] == pytest.approx(0.1 / 3**0.5)
    assert np.isnan(better.minus(Accuracy({"AP": 0.1}, np.array([0.1, np.nan, np.nan, np.nan])))[1])


@pytest.fixture
def scenes(tmp_path: Path) -> tuple[list[coco.Picture], dict[str, Any], list[Heads]]:
    """Pictures of one person each, their labels, and what a perfect network says; a picture's grey is its number."""
    images, annotations, heads = [], [], []
    placed = Letterbox((SIDE, SIDE), (SIDE, SIDE), (1.0, 1.0))
    for index in range(PICTURES):
        box = (10 + 2 * index, 8, 70, 110)
        keypoints = np.full((NUM_KEYPOINTS, 3), 2, dtype=np.float32)
        keypoints[:, :2] = POSE * box[2:] + box[:2]
        mask = np.zeros((SIDE, SIDE), bool)
        mask[box[1] : box[1] + box[3], box[0] : box[0] + box[2]] = True
        heads.append(encode([Person(keypoints, box, mask)], (SIDE, SIDE), 8, 4, 32.0).heads(8, placed))
        images.append({"id": index + 1, "file_name": f"{index}.png", "width": SIDE, "height": SIDE})
        annotations.append(
            {
                "id": index + 1,
                "image_id": index + 1,
                "category_id": 1,
                "iscrowd": 0,
                "num_keypoints": NUM_KEYPOINTS,
                "area": int(mask.sum()),
                "bbox": list(box),
                "keypoints": keypoints.ravel().tolist(),
                "segmentation": coco.encode_mask(mask),
            }
        )
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((SIDE, SIDE, 3), index, np.uint8))
    truth = {"images": images, "annotations": annotations}
    (tmp_path / "labels.json").write_text(json.dumps(truth))
    return coco.read_pictures(tmp_path, tmp_path / "labels.json"), truth, heads


def test_one_pass_of_the_network_for_all_rows(scenes: tuple[list[coco.Picture], dict[str, Any], list[Heads]]) -> None:
    pictures, truth, heads = scenes
    seen = []

    def infer(image: ByteArray) -> Heads:
        seen.append(int(image[0, 0, 0]))
        return heads[seen[-1]]

    start = DecodeConfig()
    configs = [start, *(dataclasses.replace(start, **changes) for changes in ({"mode": "pose"}, {"mode": "seg"}))]
    configs.append(dataclasses.replace(start, mask_min_score=2.0, density=False))  # nobody gets a pixel
    records, ids = decode_all(infer, pictures, configs, coco.BadPictures(Path("labels.json"), PICTURES))
    assert seen == list(range(PICTURES))
    assert list(records) == configs
    assert all(len(record.seconds) == PICTURES for record in records.values())

    assert ids == [picture.id for picture in pictures]
    joint, pose, seg, bare = score_all(records, truth, ids)
    expected = [to_results(picture.id, decode(h, start)) for picture, h in zip(pictures, heads, strict=True)]
    poses, masks = ([result for both in expected for result in both[kind]] for kind in (0, 1))
    for figures, results, kind in ((joint.keypoints, poses, "keypoints"), (joint.segm, masks, "segm")):
        assert figures.table == pytest.approx(
            {k: np.nan if v < 0 else v for k, v in average_precision(truth, results, kind, ids).items()}, nan_ok=True
        )
        first = [result for result in results if result["image_id"] in ids[::PARTS]]
        assert figures.parts[0] == pytest.approx(average_precision(truth, first, kind, ids[::PARTS])["AP"])
        assert figures.parts.shape == (PARTS,)
    assert joint.keypoints.table["AP"] > 0.9
    assert joint.segm.table["AP50"] > 0.9
    assert np.isnan(joint.segm.table["APs"])  # nobody is small

    assert list(pose.segm.table) == list(SEGM_METRICS)
    assert list(seg.keypoints.table) == list(KEYPOINT_METRICS)
    assert np.isnan([*pose.segm.table.values(), *seg.keypoints.table.values(), *pose.segm.parts]).all()
    assert pose.keypoints.table["AP"] > 0.9
    assert seg.segm.table["AP50"] > 0
    difference, error = bare.segm.minus(joint.segm)
    assert difference == -joint.segm.table["AP"]
    assert error == pytest.approx(np.nanstd(joint.segm.parts, ddof=1) / PARTS**0.5)

    scores = np.array([decode(h, start).keypoint_scores[0] for h in heads])
    means = [joint.confidence[name] for name in KEYPOINT_NAMES]
    np.testing.assert_allclose([mean["score"] for mean in means], scores.mean(axis=0), rtol=1e-5)
    assert [mean["count"] for mean in means] == [PICTURES] * NUM_KEYPOINTS
    assert {mean["count"] for mean in seg.confidence.values()} == {0}
    assert joint.decode_ms > 0


def test_few_pictures_a_bad_one_and_a_larger_annotation_file(
    scenes: tuple[list[coco.Picture], dict[str, Any], list[Heads]],
) -> None:
    """Labels of pictures that were not seen cost nothing, parts without a picture say nothing."""
    pictures, truth, heads = scenes
    pictures[1].path.write_bytes(b"no picture")
    bad = coco.BadPictures(Path("labels.json"), 1000)
    records, ids = decode_all(lambda image: heads[int(image[0, 0, 0])], pictures[:4], [DecodeConfig()], bad)
    assert (ids, len(bad)) == ([1, 3, 4], 1)
    (figures,) = score_all(records, truth, ids)
    assert figures.keypoints.table["AP"] > 0.9
    np.testing.assert_array_equal(np.isnan(figures.keypoints.parts), [False] * 3 + [True] * (PARTS - 3))


def test_first_calls_are_not_timed(
    scenes: tuple[list[coco.Picture], dict[str, Any], list[Heads]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may compile kernels, and find cold caches."""
    pictures, _, heads = scenes
    calls: list[DecodeConfig] = []

    def counted(heads: Heads, config: DecodeConfig) -> Any:
        calls.append(config)
        return decode(heads, config)

    monkeypatch.setattr(ablation, "decode", counted)
    bad = coco.BadPictures(Path("labels.json"), PICTURES)
    one, two = DecodeConfig(), DecodeConfig(mode="pose")
    decode_all(lambda image: heads[int(image[0, 0, 0])], pictures[:2], [one, two], bad)
    assert calls == [one, two, one, two, one, one, two]
