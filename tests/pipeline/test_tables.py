import csv
import dataclasses
import json
import tracemalloc

import numpy as np
import pycocotools.mask
import pytest
from pycocotools.coco import COCO

from engine.skeleton import EDGES, KEYPOINT_NAMES
from pipeline.tables import CSV_COLUMNS, CocoWriter, CsvWriter


@pytest.fixture
def followed(make_rendered, make_instances):
    """Four frames at 0.0, 0.04 ... with 2, 0, 1 and 2 people."""
    frames = []
    for index, count in enumerate((2, 0, 1, 2)):
        rendered = make_rendered(index, index / 25, instances=make_instances(count))
        result = dataclasses.replace(rendered.result, identities=np.arange(7, 7 + count))
        frames.append(dataclasses.replace(rendered, result=result))
    return frames


def written(sink, frames):
    with sink:
        for rendered in frames:
            sink.write(rendered)
    return sink.path


def test_csv_has_a_row_a_person_and_frame(tmp_path, followed) -> None:
    path = written(CsvWriter(tmp_path / "out.csv"), followed)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["frame"], row["time_s"], row["id"]) for row in rows] == [
        ("0", "0.0", "7"),
        ("0", "0.0", "8"),
        ("2", "0.08", "7"),
        ("3", "0.12", "7"),
        ("3", "0.12", "8"),
    ]
    assert list(rows[0]) == list(CSV_COLUMNS)
    assert len(CSV_COLUMNS) == 9 + 3 * 17
    first = rows[0]
    assert (first["score"], first["mask_score"]) == ("0.9", "0.75")
    assert [float(first[name]) for name in ("x", "y", "width", "height")] == [4, 8, 40, 48]
    assert [float(first[f"nose_{what}"]) for what in ("x", "y", "score")] == [4, 8, 0.75]
    assert [float(first[f"right_ankle_{what}"]) for what in ("x", "y", "score")] == [44, 56, 0.75]


def test_csv_of_people_without_ids(tmp_path, make_rendered, make_instances) -> None:
    path = written(CsvWriter(tmp_path / "out.csv"), [make_rendered(0, None, instances=make_instances(1))])
    head, row = path.read_text().splitlines()
    assert row.startswith("0,,,0.9,")
    assert row.count(",") == head.count(",")


def test_coco_is_read_by_pycocotools(tmp_path, followed, capsys) -> None:
    path = written(CocoWriter(tmp_path / "out.json", 'cl"ip ü.mp4'), followed)
    labels = COCO(str(path))
    assert labels.getImgIds() == [1, 2, 3, 4]
    assert [labels.imgs[i]["time_s"] for i in (1, 2, 3, 4)] == [0.0, 0.04, 0.08, 0.12]
    assert {image["file_name"] for image in labels.imgs.values()} == {'cl"ip ü.mp4'}
    assert [len(labels.getAnnIds(imgIds=[i])) for i in (1, 2, 3, 4)] == [2, 0, 1, 2]
    assert list(labels.anns) == [1, 2, 3, 4, 5]
    person = labels.anns[2]
    assert (person["image_id"], person["track_id"], person["category_id"]) == (1, 8, 1)
    mask = followed[0].result.instances.mask(1)
    np.testing.assert_array_equal(labels.annToMask(person), mask)
    assert person["area"] == mask.sum() == pycocotools.mask.area(person["segmentation"])
    assert person["num_keypoints"] == 17
    assert person["keypoints"][2::3] == [2] * 17
    category = labels.cats[1]
    assert category["keypoints"] == list(KEYPOINT_NAMES)
    assert len(category["skeleton"]) == len(EDGES)
    results = labels.loadRes(json.loads(path.read_text(encoding="utf-8"))["annotations"])
    assert len(results.anns) == 5
    capsys.readouterr()  # pycocotools prints


def test_missing_keypoints_in_coco(tmp_path, make_rendered, make_instances) -> None:
    people = make_instances(1)
    people.keypoint_scores[0, 3:] = 0
    people.keypoints_xy[0, 3:] = 0
    path = written(CocoWriter(tmp_path / "out.json", "a"), [make_rendered(0, 0.0, instances=people)])
    [person] = json.loads(path.read_text())["annotations"]
    assert person["num_keypoints"] == 3
    assert person["keypoints"][9:] == [0] * 42
    assert person["keypoints"][2:9:3] == [2, 2, 2]
    assert "track_id" not in person


def test_a_part_of_coco_is_whole_json(tmp_path, followed) -> None:
    sink = CocoWriter(tmp_path / "out.coco.json", "a")
    sink.__enter__()
    for rendered in followed[:2]:
        sink.write(rendered)
    sink.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    data = json.loads((tmp_path / "out.coco.partial.json").read_text())
    assert (len(data["images"]), len(data["annotations"])) == (2, 2)


def test_nobody_at_all(tmp_path, make_rendered) -> None:
    path = written(CocoWriter(tmp_path / "out.json", "a"), [make_rendered(0, 0.0)])
    data = json.loads(path.read_text())
    assert data["annotations"] == []
    assert len(data["images"]) == 1


def test_coco_keeps_little_of_each_frame(tmp_path, make_rendered) -> None:
    rendered, frames = make_rendered(0, 0.04), 1000
    with CocoWriter(tmp_path / "out.json", "a" * 50) as sink:
        sink.write(rendered)
        tracemalloc.start()
        try:
            for _ in range(frames):
                sink.write(rendered)
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert kept < 80 * frames
    assert len(json.loads(sink.path.read_text())["images"]) == frames + 1
