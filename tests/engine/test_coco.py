import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as rle

from engine import coco
from engine.coco import BadPictureError, BadPictures
from engine.errors import UserError


def person(**changes: Any) -> dict[str, Any]:
    return {
        "id": 77,
        "image_id": 1,
        "category_id": 1,
        "bbox": [1.0, 2.0, 3.0, 4.0],
        "keypoints": [0.0] * 51,
        "num_keypoints": 0,
    } | changes


def write(folder: Path, *people: dict[str, Any], **changes: Any) -> Path:
    images = [{"id": n, "file_name": f"{n}.png", "width": 20 + n, "height": 10} for n in (2, 1)]
    path = folder / "people.json"
    path.write_text(json.dumps({"images": images, "annotations": list(people)} | changes), encoding="utf-8")
    return path


def test_pictures_come_by_id_with_their_people(tmp_path: Path) -> None:
    path = write(tmp_path, person(id=1), person(id=2, image_id=2), person(id=3), person(id=4, category_id=18))
    first, second = coco.read_pictures(tmp_path, path)
    assert (first.id, first.path, first.width, first.height) == (1, tmp_path / "1.png", 21, 10)
    assert [a["id"] for a in first.annotations] == [1, 3]
    assert [a["id"] for a in second.annotations] == [2]


def test_people_without_keypoints_are_allowed(tmp_path: Path) -> None:
    bare = person(bbox=[0, 0, 0, 0])
    del bare["keypoints"]
    assert len(coco.read_pictures(tmp_path, write(tmp_path, bare))[0].annotations) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"keypoints": [0.0] * 48}, "expected 51 keypoint numbers, got 48"),
        ({"keypoints": [0.0] * 50 + [float("nan")]}, "keypoints: a number is not finite"),
        ({"keypoints": [0.0] * 50 + ["2"]}, "a value that is not a number: "),
        ({"bbox": [float("nan"), 0, 1, 1]}, "bbox: a number is not finite"),
        ({"bbox": [0, 0, float("inf"), 1]}, "bbox: a number is not finite"),
        ({"bbox": [0, 0, -1.5, 2]}, "bbox: negative size -1.5 x 2"),
        ({"bbox": [0, 0, 1, -2]}, "bbox: negative size 1 x -2"),
        ({"bbox": [0, 0, 1]}, "bbox: expected 4 numbers"),
        ({"bbox": None}, "bbox: expected 4 numbers"),
        ({"bbox": [0, 0, 1e9, 1]}, "bbox: a number is more than 210 px from the picture"),
        ({"area": -1}, "area: expected a number from 0, got -1"),
        ({"area": float("nan")}, "area: expected a number from 0, got nan"),
        ({"segmentation": [[1, 2, 3, 4]]}, "segmentation: a polygon needs at least 3 points of 2 numbers"),
        ({"segmentation": [[1, 2, 3, 4, 5, float("nan")]]}, "segmentation: a number is not finite"),
        ({"segmentation": [[1, 2, 3, 4, 5, -1e6]]}, "segmentation: a number is more than 210 px from the picture"),
        ({"segmentation": "RLE"}, "segmentation: expected polygons, or an RLE with 'size' and 'counts'"),
        ({"segmentation": {"size": [10, 21]}}, "segmentation: expected polygons, or an RLE"),
        (
            {"segmentation": {"size": [21, 10], "counts": [210]}},
            "segmentation: an RLE of size [21, 10], the picture has [10, 21]",
        ),
        (
            {"segmentation": {"size": [10, 21], "counts": [100, 50]}},
            "segmentation: an RLE of 150 pixels, the picture has 210",
        ),
        (
            {"segmentation": {"size": [10, 21], "counts": [220, -10]}},
            "segmentation: an RLE of 210 pixels with negative runs",
        ),
    ],
)
def test_a_bad_annotation_is_named_with_its_file(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    path = write(tmp_path, person(id=1), person(**changes))
    with pytest.raises(UserError, match=re.escape(f"{path}: annotation 77: {reason}")):
        coco.read_pictures(tmp_path, path)


def test_a_picture_without_size_is_named(tmp_path: Path) -> None:
    images = [{"id": 3, "file_name": "3.png", "width": 0, "height": 10}]
    with pytest.raises(UserError, match=r"people\.json: picture 3: no size of 0x10"):
        coco.read_pictures(tmp_path, write(tmp_path, images=images))


def test_a_bad_annotation_of_another_category_does_not_matter(tmp_path: Path) -> None:
    assert coco.read_pictures(tmp_path, write(tmp_path, person(category_id=2, bbox=None)))


def test_missing_folders_and_files_are_named(tmp_path: Path) -> None:
    path = write(tmp_path)
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / 'nowhere'}: no such folder")):
        coco.read_pictures(tmp_path / "nowhere", path)
    with pytest.raises(UserError, match=r"none\.json: cannot read: No such file"):
        coco.read_pictures(tmp_path, tmp_path / "none.json")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no json", "not valid JSON"),
        ("", "not valid JSON"),
        ("\udcff", "not valid JSON"),
        ("[1, 2]", "not a COCO annotation file"),
        ('{"images": []}', "'images' or 'annotations' is missing"),
    ],
)
def test_files_that_are_not_annotations_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "people.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=rf"people\.json: .*{reason}"):
        coco.read_pictures(tmp_path, path)


def test_pictures_are_bgr_uint8_whatever_their_file(tmp_path: Path) -> None:
    colour = np.full((4, 6, 3), (10, 20, 30), np.uint8)
    grey, alpha, deep = colour[..., 0], np.dstack([colour, colour[..., :1]]), colour.astype(np.uint16) * 256
    for name, image in {"colour": colour, "grey": grey, "alpha": alpha, "déjà": deep}.items():
        (tmp_path / f"{name}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
        read = coco.read_image(tmp_path / f"{name}.png")
        assert (read.dtype, read.shape) == (np.uint8, (4, 6, 3))
        assert read[0, 0].tolist() == ([10] * 3 if name == "grey" else [10, 20, 30])


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not a picture", encoding="utf-8")
    for name in ("empty.jpg", "text.jpg"):
        with pytest.raises(UserError, match=rf"{name}: not a picture that OpenCV can read"):
            coco.read_image(tmp_path / name)
    with pytest.raises(UserError, match=r"none\.jpg: cannot read"):
        coco.read_image(tmp_path / "none.jpg")


@pytest.mark.parametrize("kept", [0.1, 0.9])
def test_half_a_jpeg_is_refused(kept: float, tmp_path: Path) -> None:
    """Some versions of OpenCV would fill it up with grey."""
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    data = cv2.imencode(".jpg", image)[1].tobytes()
    path = tmp_path / "half.jpg"
    path.write_bytes(data[: round(kept * len(data))])
    with pytest.raises(BadPictureError, match=rf"{re.escape(str(path))}: a JPEG that is cut off"):
        coco.read_image(path)
    path.write_bytes(data + b"what a camera adds")
    assert coco.read_image(path).shape == (40, 60, 3)


def test_a_picture_of_another_size_than_its_labels_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((4, 6, 3), np.uint8))
    with pytest.raises(BadPictureError, match=r"1\.png: is 6x4, its labels are for 4x6") as caught:
        coco.read_picture(coco.Picture(1, tmp_path / "1.png", 4, 6, ()))
    assert caught.value.path == tmp_path / "1.png"


def test_missing_and_empty_pictures_are_counted_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures = [coco.Picture(n, tmp_path / f"{n}.png", 20, 10, ()) for n in range(400)]
    for picture in pictures:
        picture.path.write_bytes(b"x")
    for n in (5, 7, 9):
        pictures[n].path.unlink()
    pictures[11].path.write_bytes(b"")
    bad = BadPictures(tmp_path / "people.json", 400)
    usable = coco.readable(pictures, bad)
    assert [picture.id for picture in usable] == [n for n in range(400) if n not in {5, 7, 9, 11}]
    assert len(bad) == 4
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith(f"{tmp_path / 'people.json'}: left out 4 of 400 pictures so far: ")
    assert message.count("cannot read: No such file") == 3
    assert message.endswith("; ...")
    pictures[13].path.unlink()
    with pytest.raises(UserError, match=r"people\.json: 5 of 400 pictures cannot be used, the first: .*5\.png: cannot"):
        coco.readable(pictures, BadPictures(tmp_path / "people.json", 400))


def test_a_bad_picture_is_counted_once_and_too_many_are_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = BadPictures(tmp_path / "people.json", 200)
    for n in (1, 2, 1, 2):
        bad.add(BadPictureError(tmp_path / f"{n}.png", "is empty"))
    assert len(bad) == len(caplog.records) == 2
    with pytest.raises(
        UserError, match=r"people\.json: 3 of 200 pictures cannot be used, the first: .*1\.png: is empty"
    ):
        bad.add(BadPictureError(tmp_path / "3.png", "is empty"))
    assert len(caplog.records) == 2


def test_polygons_and_both_rles_are_the_same_mask() -> None:
    expected = np.zeros((10, 12), bool)
    expected[2:6, 3:9] = True
    polygon = [[3, 2, 9, 2, 9, 6, 3, 6]]
    compressed = rle.encode(np.asfortranarray(expected.astype(np.uint8)))
    text = {**compressed, "counts": compressed["counts"].decode()}
    column = [4, 6]  # four rows of each column from 3 to 8, six rows between
    counts = [32, *(column * 5), 4, 34]
    for segmentation in (polygon, compressed, text, {"size": [10, 12], "counts": counts}):
        mask = coco.decode_mask(segmentation, 10, 12)
        assert mask is not None
        assert mask.dtype == np.bool_
        np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("nothing", [None, [], {}])
def test_no_segmentation_is_no_mask(nothing: Any) -> None:
    assert coco.decode_mask(nothing, 10, 12) is None
