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

Call = Callable[..., Any]
KEYPOINT_FIGURES = ["AP", "AP50", "AP75", "APm", "APl", "AR"]
SEGM_FIGURES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR"]
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
    assert list(figures) == ["images", "keypoints", "segm", "ms_per_image"]
    assert figures["images"] == 1
    assert list(figures["keypoints"]) == KEYPOINT_FIGURES
    assert list(figures["segm"]) == SEGM_FIGURES
    assert figures["ms_per_image"] > 0
    assert figures["segm"]["AP50"] == pytest.approx(1)  # the one person is found
    assert figures["segm"]["APs"] == -1  # and is not small

    lines = ended.out.splitlines()
    assert lines[0].startswith("mobile on onnx cpu, input 129 px, 1 picture, ")
    assert lines[1].strip() == "keypoints"
    assert lines[2].split() == KEYPOINT_FIGURES
    assert lines[3].split() == [shown(value) for value in figures["keypoints"].values()]
    assert lines[4].strip() == "person masks"
    assert lines[5].split() == SEGM_FIGURES
    assert lines[6].split() == [shown(value) for value in figures["segm"].values()]

    truth = COCO(coco_set / "labels.json")
    poses = truth.loadRes(str(results / "keypoints.json"))
    masks = truth.loadRes(str(results / "segm.json"))
    assert len(poses.anns) == len(masks.anns) == 1
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
    assert ended.out.splitlines()[3].split() == ["0.000"] * len(KEYPOINT_FIGURES)
    assert (tmp_path / "segm.json").read_text() == "[]"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not valid JSON: "),
        ("[]", "not a COCO annotation file: "),
        ('{"images": [], "annotations": []}', "lists no pictures"),
        (
            '{"images": [], "annotations": [{"id": 5, "image_id": 1, "category_id": 1, "keypoints": [1]}]}',
            "annotation 5: expected 51 keypoint numbers, got 1",
        ),
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
    assert ended.error_line() == f"{tmp_path / 'a.jpg'}: no such file; 1 of 1 pictures are missing"


def test_damaged_picture(arguments: tuple[object, ...], call: Call, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no picture")
    out = tmp_path / "figures.json"
    ended = call(*arguments, "--images", tmp_path, "--json", out, "--results", tmp_path / "r")
    assert ended.status == 2
    assert ended.error_line().startswith(f"{tmp_path / 'a.jpg'}: not a picture")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "r"]
    assert list((tmp_path / "r").iterdir()) == []


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("option", "target", "reason"),
    [
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

    def dump(*values: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "figures.json"
    out.write_text("older")
    monkeypatch.setattr(json, "dump", dump)
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
