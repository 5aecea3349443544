from typing import Any

import numpy as np
import pytest

from engine.structures import MAX_INSTANCES, Heads, Instances, Letterbox

LETTERBOX = Letterbox(source_hw=(40, 60), input_hw=(33, 49), scale_xy=(0.8, 0.8))


def heads_fields() -> dict[str, Any]:
    h, w = 3, 4
    return {
        "keypoint_maps": np.zeros((17, h, w), np.float32),
        "short_offsets": np.zeros((17, 2, h, w), np.float32),
        "mid_offsets": np.zeros((32, 2, h, w), np.float32),
        "mask_offsets": np.zeros((17, 2, h, w), np.float32),
        "centroid_offsets": np.zeros((2, h, w), np.float32),
        "person_map": np.zeros((h, w), np.float32),
        "stride": 16,
        "letterbox": LETTERBOX,
    }


def instances_fields(n: int = 2) -> dict[str, Any]:
    return {
        "keypoints_xy": np.zeros((n, 17, 2), np.float32),
        "keypoint_scores": np.zeros((n, 17), np.float32),
        "scores": np.zeros(n, np.float32),
        "mask_scores": np.zeros(n, np.float32),
        "label_map": np.zeros((40, 60), np.uint8),
    }


def test_right_shapes_are_accepted_and_the_repr_shows_sizes_only() -> None:
    assert repr(Heads(**heads_fields())).startswith("Heads(3x4 cells, stride 16")
    assert repr(Instances(**instances_fields())) == "Instances(2 in 60x40)"


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("keypoint_maps", np.zeros((17, 3, 4)), r"keypoint_maps: expected float32 \(17, 3, 4\), got float64"),
        ("keypoint_maps", np.zeros((16, 3, 4), np.float32), r"got float32 \(16, 3, 4\)"),
        ("short_offsets", np.zeros((34, 3, 4), np.float32), r"short_offsets: expected float32 \(17, 2, 3, 4\), got"),
        ("mid_offsets", np.zeros((16, 2, 3, 4), np.float32), r"mid_offsets: expected float32 \(32, 2, 3, 4\), got"),
        ("mask_offsets", np.zeros((17, 2, 4, 3), np.float32), r"mask_offsets: expected float32 \(17, 2, 3, 4\), got"),
        (
            "centroid_offsets",
            np.zeros((1, 2, 3, 4), np.float32),
            r"centroid_offsets: expected float32 \(2, 3, 4\), got",
        ),
        ("person_map", np.zeros((3, 4), np.float16), r"person_map: expected float32 \(3, 4\), got float16"),
        (
            "letterbox",
            Letterbox(source_hw=(40, 60), input_hw=(33, 65), scale_xy=(0.8, 0.8)),
            r"3x4 cells at stride 16 do not fit input 33x65",
        ),
    ],
)
def test_wrong_heads_are_refused_with_expected_and_got(name: str, wrong: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Heads(**{**heads_fields(), name: wrong})


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("keypoints_xy", np.zeros((2, 17, 3), np.float32), r"keypoints_xy: expected float32 \(2, 17, 2\), got"),
        ("keypoint_scores", np.zeros((3, 17), np.float32), r"keypoint_scores: expected float32 \(2, 17\), got"),
        ("mask_scores", np.zeros(3, np.float32), r"mask_scores: expected float32 \(2,\), got float32 \(3,\)"),
        ("scores", np.zeros(2), r"scores: expected float32 \(2,\), got float64"),
        ("label_map", np.zeros((40, 60), np.int32), r"label_map: expected uint8 \(40, 60\), got int32"),
        ("label_map", np.zeros((40, 60, 1), np.uint8), r"label_map: expected uint8 \(40, 60\), got"),
    ],
)
def test_wrong_instances_are_refused_with_expected_and_got(name: str, wrong: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Instances(**{**instances_fields(), name: wrong})


def test_a_label_map_holds_at_most_254() -> None:
    assert len(Instances(**instances_fields(MAX_INSTANCES))) == 254
    with pytest.raises(ValueError, match="at most 254 instances, got 255"):
        Instances(**instances_fields(255))


def test_nobody_has_no_boxes() -> None:
    nobody = Instances(**instances_fields(0))
    assert len(nobody) == 0
    assert nobody.boxes_xywh().shape == (0, 4)


def test_masks_and_boxes() -> None:
    values = instances_fields(3)
    values["label_map"][5:9, 10:20] = 1
    values["keypoints_xy"][1, 4] = (7, 8)
    values["keypoints_xy"][1, 5] = (17, 28)
    values["keypoint_scores"][1, 4:6] = 0.5
    people = Instances(**values)
    assert people.mask(0).sum() == 40
    assert not people.mask(1).any()
    # The second owns no pixel: its keypoints make the box. The third has nothing at all.
    np.testing.assert_array_equal(people.boxes_xywh(), [[10, 5, 10, 4], [7, 8, 10, 20], [0, 0, 0, 0]])


def test_the_person_map_may_be_finer() -> None:
    values = heads_fields()
    assert Heads(**values).person_stride == 16
    values["person_map"] = np.zeros((9, 13), np.float32)
    assert Heads(**values).person_stride == 4
    values["person_map"] = np.zeros((9, 12), np.float32)
    with pytest.raises(ValueError, match=r"person_map: expected float32 \(9, 13\), got float32 \(9, 12\)"):
        Heads(**values)


def test_values_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Heads(**heads_fields()).stride = 8  # type: ignore[misc]
