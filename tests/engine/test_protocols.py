from typing import Any

import pytest

from engine.protocols import counted_people

POLYGON = [[0, 0, 4, 0, 4, 4]]


def person(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": number,
        "bbox": [1.0, 2.0, 10.0, 20.0],
        "num_keypoints": 3,
        "keypoints": [1, 2, 2] * 17,
        "segmentation": POLYGON,
        "iscrowd": 0,
    } | changes


PEOPLE = [
    person(1),
    person(2, num_keypoints=0, keypoints=[0] * 51),
    person(3, segmentation=[]),
    person(4, iscrowd=1),
    {"id": 5, "bbox": [0, 0, 3, 4]},
]


def test_the_full_protocol_counts_everybody() -> None:
    counted = counted_people(PEOPLE, "full")
    assert counted == PEOPLE
    assert all(a is b for a, b in zip(counted, PEOPLE, strict=True))


def test_cocopersons_counts_people_with_keypoints_and_a_mask() -> None:
    before = [dict(a) for a in PEOPLE]
    counted = counted_people(PEOPLE, "cocopersons")
    assert [a.get("iscrowd", 0) for a in counted] == [0, 1, 1, 1, 1]
    assert counted[0] is PEOPLE[0]
    assert before == PEOPLE  # nothing is changed in place


def test_who_does_not_count_can_still_be_matched() -> None:
    """What is labelled stays as it is; a box stands for a mask that is not."""
    counted = counted_people(PEOPLE, "cocopersons")
    assert counted[1]["segmentation"] == POLYGON
    assert counted[2]["keypoints"] == PEOPLE[2]["keypoints"]
    assert counted[2]["segmentation"] == [[1, 2, 11, 2, 11, 22, 1, 22]]
    assert counted[4]["segmentation"] == [[0, 0, 3, 0, 3, 4, 0, 4]]
    assert (counted[4]["keypoints"], counted[4]["num_keypoints"]) == ([0] * 51, 0)


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(ValueError, match="protocol: expected one of full, cocopersons, got 'coco'"):
        counted_people(PEOPLE, "coco")
