"""`eval`: both tables, both kinds of files, and bad data or targets noticed before the long work."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from app import evaluate as command
from engine.backends.onnx_backend import OnnxBackend
from engine.skeleton import KEYPOINT_NAMES
from engine.structures import ByteArray, Heads, Letterbox

Call = Callable[..., Any]
KEYPOINT_FIGURES = ["AP", "AP50", "AP75", "APm", "APl", "AR", "ARm", "ARl"]
SEGM_FIGURES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR", "ARs", "ARm", "ARl"]
SMALL = ("--input-size", 129)


@pytest.fixture
def arguments(coco_set: Path) -> tuple[object, ...]:
    return ("eval", "--images", coco_set / "pictures", "--annotations", coco_set / "labels.json", *SMALL)


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The evaluation must not begin."""

    def evaluate(*arguments: object) -> None:
        raise AssertionError

    monkeypatch.setattr(command, "evaluate", evaluate)


def test_tables_and_files(arguments: tuple[object, ...], coco_set: Path, call: Call, tmp_path: Path) -> None:
    figures_file, results = tmp_path / "figures.json", tmp_path / "new" / "results"
    ended = call(*arguments, "--json", figures_file, "--results", results)
    assert (ended.status, ended.err) == (0, "")

    figures = json.loads(figures_file.read_text(encoding="utf-8"))
    assert list(figures) == ["images", "keypoints", "segm", "ms_per_image", "protocol", "conditions"]
    assert figures["images"] == 1
    assert (figures["protocol"], figures["conditions"]) == ("full", "mobile on onnx cpu int8, input 129 px")
    assert list(figures["keypoints"]) == KEYPOINT_FIGURES
    assert list(figures["segm"]) == SEGM_FIGURES
    assert figures["ms_per_image"] > 0
    assert figures["segm"]["AP50"] == pytest.approx(1)  # the one person is found
    assert figures["segm"]["APs"] == -1  # and is not small

    lines = ended.out.splitlines()
    assert lines[0].startswith("mobile on onnx cpu int8, input 129 px, 1 picture, ")
    assert lines[1].strip() == "keypoints"
    assert lines[2].split() == KEYPOINT_FIGURES
    assert lines[3].split() == [shown(value) for value in figures["keypoints"].values()]
    assert lines[4].strip() == "person masks"
    assert lines[5].split() == SEGM_FIGURES
    assert lines[6].split() == [shown(value) for value in figures["segm"].values()]

    truth = COCO(coco_set / "labels.json")
    poses = truth.loadRes(str(results / "keypoints.json"))
    masks = truth.loadRes(str(results / "segm.json"))
    assert len(poses.anns) == 1
    assert len(masks.anns) >= 1  # somebody found by the mask alone may come on top
    assert masks.annToMask(masks.anns[1]).shape == (512, 512)
    assert sorted(path.name for path in results.iterdir()) == ["keypoints.json", "segm.json"]


def shown(value: float) -> str:
    return "-" if value < 0 else f"{value:.3f}"


def test_max_images(arguments: tuple[object, ...], coco_set: Path, call: Call, tmp_path: Path) -> None:
    labels = json.loads((coco_set / "labels.json").read_text(encoding="utf-8"))
    labels["images"].append({"id": 3, "file_name": "a.jpg", "width": 512, "height": 512})
    both = tmp_path / "both.json"
    both.write_text(json.dumps(labels))
    out = tmp_path / "figures.json"
    changed = ["--annotations", both, "--max-images", 1, "--json", out]
    assert call(*arguments, *changed).status == 0
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert figures["images"] == 1
    assert figures["segm"]["AP"] == -1  # picture 3 comes first and has nobody


def test_nobody_found(arguments: tuple[object, ...], call: Call, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), np.full((512, 512, 3), 128, dtype=np.uint8))
    ended = call(*arguments, "--images", tmp_path, "--results", tmp_path)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.splitlines()[3].split() == ["0.000", "0.000", "0.000", "-", "0.000", "0.000", "-", "0.000"]
    assert (tmp_path / "segm.json").read_text() == "[]"


def labels_with(**changes: Any) -> str:
    """An annotation file of one person; ... takes a value away."""
    person = {
        "id": 5,
        "image_id": 1,
        "category_id": 1,
        "bbox": [1, 1, 9, 9],
        "area": 9,
        "keypoints": [0] * 51,
        "num_keypoints": 0,
        "segmentation": [[1, 1, 9, 1, 9, 9]],
    } | changes
    image = {"id": 1, "file_name": "a.jpg", "width": 64, "height": 64}
    return json.dumps({"images": [image], "annotations": [{k: v for k, v in person.items() if v is not ...}]})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not valid JSON: "),
        ("[]", "not a COCO annotation file: "),
        ('{"images": [], "annotations": []}', "lists no pictures"),
        (labels_with(keypoints=[1]), "annotation 5: expected 51 keypoint numbers, got 1"),
        (labels_with(keypoints=None), "annotation 5: keypoints: expected 51 numbers"),
        (labels_with(segmentation=[]), "annotation 5: segmentation: expected polygons or run lengths"),
        (labels_with(area=...), "annotation 5: has no 'area', which the evaluation needs"),
    ],
)
@pytest.mark.usefixtures("no_work")
def test_bad_annotations(text: str, reason: str, arguments: tuple[object, ...], call: Call, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(text)
    ended = call(*arguments, "--annotations", path)
    assert ended.status == 2
    assert ended.error_line().startswith(f"{path}: {reason}")


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("option", "reason"), [("--images", "no such folder"), ("--annotations", "cannot read: No su")]
)
def test_missing_data(option: str, reason: str, arguments: tuple[object, ...], call: Call, tmp_path: Path) -> None:
    ended = call(*arguments, option, tmp_path / "gone")
    assert ended.status == 2
    assert ended.error_line().startswith(f"{tmp_path / 'gone'}: {reason}")


@pytest.mark.usefixtures("no_work")
def test_missing_picture(arguments: tuple[object, ...], call: Call, tmp_path: Path) -> None:
    ended = call(*arguments, "--images", tmp_path)
    assert ended.status == 2
    labels = arguments[arguments.index("--annotations") + 1]
    reason = f"{tmp_path / 'a.jpg'}: cannot read: No such file or directory"
    assert ended.error_line() == f"{labels}: 1 of 1 pictures cannot be used, the first: {reason}"


def test_damaged_picture(arguments: tuple[object, ...], call: Call, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no picture")
    out = tmp_path / "figures.json"
    ended = call(*arguments, "--images", tmp_path, "--json", out, "--results", tmp_path / "r")
    assert ended.status == 2
    labels = arguments[arguments.index("--annotations") + 1]
    reason = f"{tmp_path / 'a.jpg'}: not a picture that OpenCV can read"
    assert ended.error_line() == f"{labels}: 1 of 1 pictures cannot be used, the first: {reason}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "r"]
    assert list((tmp_path / "r").iterdir()) == []


@pytest.fixture
def hundred(arguments: tuple[object, ...], coco_set: Path, tmp_path: Path) -> tuple[object, ...]:
    """A hundred small grey pictures without people beside the one, of which 99 are looked at."""
    folder = tmp_path / "pictures"
    shutil.copytree(coco_set / "pictures", folder)
    labels = json.loads((coco_set / "labels.json").read_text(encoding="utf-8"))
    for n in range(100, 200):
        labels["images"].append({"id": n, "file_name": f"{n}.png", "width": 32, "height": 32})
        cv2.imwrite(str(folder / f"{n}.png"), np.full((32, 32, 3), 127, np.uint8))
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(labels), encoding="utf-8")
    return (*arguments, "--images", folder, "--annotations", path, "--json", tmp_path / "figures.json")


@pytest.mark.parametrize("damage", ["missing", "broken", "resized"])
def test_one_bad_picture_of_a_hundred_is_left_out(
    damage: str, hundred: tuple[object, ...], call: Call, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = tmp_path / "pictures" / "150.png"
    if damage == "missing":
        bad.unlink()
    elif damage == "broken":
        bad.write_text("no picture")
    else:
        cv2.imwrite(str(bad), np.zeros((16, 16, 3), np.uint8))
    assert call(*hundred).status == 0
    assert json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))["images"] == 100
    (warning,) = caplog.messages
    assert str(bad) in warning
    (tmp_path / "pictures" / "151.png").write_text("no picture")
    ended = call(*hundred)
    assert ended.status == 2
    assert "2 of 101 pictures cannot be used, the first: " in ended.error_line()


def test_cocopersons(arguments: tuple[object, ...], coco_set: Path, call: Call, tmp_path: Path) -> None:
    """Who has no keypoints does not count, nor does a picture without people."""
    labels = json.loads((coco_set / "labels.json").read_text(encoding="utf-8"))
    labels["images"].append({"id": 3, "file_name": "gone.jpg", "width": 512, "height": 512})
    labels["annotations"].append(
        {
            **labels["annotations"][0],
            "id": 2,
            "num_keypoints": 0,
            "keypoints": [0] * 51,
            "segmentation": [[480, 20, 500, 20, 500, 60, 480, 60]],
            "area": 800,
        }
    )
    path, out = tmp_path / "both.json", tmp_path / "figures.json"
    path.write_text(json.dumps(labels), encoding="utf-8")
    ended = call(*arguments, "--annotations", path, "--protocol", "cocopersons", "--json", out)
    assert (ended.status, ended.err) == (0, "")
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert (figures["images"], figures["protocol"]) == (1, "cocopersons")
    assert figures["segm"]["AP50"] == pytest.approx(1)
    assert (figures["segm"]["APs"], figures["segm"]["ARs"]) == (-1, -1)
    assert ended.out.splitlines()[1].strip() == "keypoints, cocopersons protocol"
    labels["images"].pop()
    path.write_text(json.dumps(labels), encoding="utf-8")
    assert call(*arguments, "--annotations", path, "--json", out).status == 0
    assert json.loads(out.read_text(encoding="utf-8"))["segm"]["ARs"] == 0


def test_per_keypoint(arguments: tuple[object, ...], call: Call, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    ended = call(*arguments, "--per-keypoint", "--json", out)
    confidence = json.loads(out.read_text(encoding="utf-8"))["confidence"]
    assert list(confidence) == list(KEYPOINT_NAMES)
    assert confidence["nose"]["count"] == 1
    assert 0 < confidence["nose"]["score"] < confidence["nose"]["probability"] <= 1
    lines = [line.split() for line in ended.out.splitlines()]
    nose = next(line for line in lines if line and line[0] == "nose")
    assert nose == ["nose", "1", *(f"{confidence['nose'][key]:.3f}" for key in ("score", "probability"))]
    assert ["left", "ankle"] in [line[:2] for line in lines]
    assert call(*arguments, "--per-keypoint", "--min-score", 1, "--json", out).status == 0
    assert json.loads(out.read_text(encoding="utf-8"))["confidence"]["nose"]["count"] == 0


def test_flip_and_scales_see_each_picture_several_times(
    arguments: tuple[object, ...], call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[tuple[int, int], ByteArray]] = []
    infer = OnnxBackend.infer

    def watched(backend: OnnxBackend, image: ByteArray, letterbox: Letterbox) -> Heads:
        seen.append((letterbox.input_hw, image))
        return infer(backend, image, letterbox)

    monkeypatch.setattr(OnnxBackend, "infer", watched)
    out = tmp_path / "figures.json"
    ended = call(*arguments, "--flip", "--scales", "1", "2", "--json", out)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("mobile on onnx cpu int8, input 129 px, scales 1 2, plain and mirrored, 1 picture, ")
    assert [hw for hw, _ in seen] == [(129, 129), (129, 129), (257, 257), (257, 257)]
    for plain, mirrored in (seen[:2], seen[2:]):
        assert cv2.absdiff(plain[1], mirrored[1]).mean() > 10
        assert cv2.absdiff(plain[1], mirrored[1][:, ::-1].copy()).mean() < 3
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert figures["conditions"] == "mobile on onnx cpu int8, input 129 px, scales 1 2, plain and mirrored"
    assert figures["segm"]["AP50"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("mode", "kept", "title"), [("pose", "keypoints", "keypoints"), ("seg", "segm", "person masks")]
)
def test_a_mode_has_its_own_table_alone(
    mode: str, kept: str, title: str, arguments: tuple[object, ...], call: Call, tmp_path: Path
) -> None:
    out = tmp_path / "figures.json"
    ended = call(*arguments, "--mode", mode, "--flip", "--json", out)
    assert (ended.status, ended.err) == (0, "")
    assert list(json.loads(out.read_text(encoding="utf-8"))) == [
        "images", kept, "ms_per_image", "protocol", "conditions"
    ]  # fmt: skip
    lines = ended.out.splitlines()
    assert len(lines) == 4
    assert lines[1].strip() == title


@pytest.mark.parametrize("scale", ["0", "0.2", "5", "-1", "nan", "big"])
def test_bad_scales(scale: str, arguments: tuple[object, ...], call: Call) -> None:
    ended = call(*arguments, f"--scales={scale}")
    assert ended.status == 2
    assert "argument --scales: expected " in ended.err


def test_report(arguments: tuple[object, ...], call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "report"
    ended = call(*arguments, "--report", folder)
    assert (ended.status, ended.err) == (0, "")
    assert sorted(path.name for path in folder.iterdir()) == ["001-found.jpg", "001-labelled.jpg", "index.html"]
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "labels.json: the worst pictures" in page
    assert "a.jpg, picture 7: error " in page
    assert "mobile on onnx cpu int8, input 129 px, 1 picture, " in page


def test_report_on_a_full_disk(
    arguments: tuple[object, ...], call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_bytes(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    ended = call(*arguments, "--report", tmp_path / "report")
    assert ended.status == 2
    assert ended.error_line() == f"{tmp_path / 'report'}: cannot be written: {os.strerror(errno.ENOSPC)}"
    assert "person masks" in ended.out
    assert list((tmp_path / "report").iterdir()) == []


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("option", "target", "reason"),
    [
        ("--report", "file", "is a file, expected a folder for the results"),
        ("--results", "file", "is a file, expected a folder for the results"),
        ("--results", "file/sub", "cannot make the folder: "),
        ("--json", "file/figures.json", "cannot be written: "),
        ("--json", "gone/figures.json", "cannot be written: No such file or directory"),
        ("--json", "folder", "is a folder or a device, expected the name of a file to write"),
    ],
)
def test_bad_target(
    option: str, target: str, reason: str, arguments: tuple[object, ...], call: Call, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    ended = call(*arguments, option, tmp_path / target)
    assert ended.status == 2
    assert ended.error_line().startswith(f"{tmp_path / target}: {reason}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_full_disk(arguments: tuple[object, ...], call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures are shown all the same, and the older file stays."""

    def write(*values: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "figures.json"
    out.write_text("older")
    monkeypatch.setattr(Path, "write_text", write)
    ended = call(*arguments, "--json", out)
    assert ended.status == 2
    assert ended.error_line() == f"{out}: cannot be written: {os.strerror(errno.ENOSPC)}"
    assert "person masks" in ended.out
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]


def test_ctrl_c(arguments: tuple[object, ...], call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*values: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "evaluate", interrupt)
    ended = call(*arguments, "--json", tmp_path / "figures.json")
    assert (ended.status, ended.err) == (130, "interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_missing_options(call: Call) -> None:
    ended = call("eval")
    assert ended.status == 2
    assert ended.err.splitlines()[-1].endswith("required: --images, --annotations")


def test_network_of_training(arguments: tuple[object, ...], root: Path, call: Call, tmp_path: Path) -> None:
    """A .safetensors file by its path, on the torch back end."""
    weights = Path(shutil.copy(root / "assets" / "mobile.safetensors", tmp_path))
    ended = call(*arguments, "--model", weights)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith(f"{weights} on torch c")
