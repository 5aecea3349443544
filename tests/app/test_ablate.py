"""`ablate`: both files, the short form, and bad input noticed before the long work."""

import csv
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app import ablate as command
from engine.ablation import GROUPS
from engine.skeleton import KEYPOINT_NAMES

Call = Callable[..., Any]


@pytest.fixture
def arguments(coco_set: Path) -> tuple[object, ...]:
    data = ("--images", coco_set / "pictures", "--annotations", coco_set / "labels.json")
    return ("ablate", *data, "--input-size", 129)


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network must not run."""

    def decode_all(*arguments: object) -> None:
        raise AssertionError

    monkeypatch.setattr(command, "decode_all", decode_all)


def test_tables(arguments: tuple[object, ...], call: Call, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    ended = call(*arguments, "--rows", "mode", "bhm", "mode", "--out", out)
    assert (ended.status, ended.err) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == ["ablation.csv", "ablation.md"]

    with (out / "ablation.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    modes, bhm = [row for row in rows if row["group"] == "mode"], [row for row in rows if row["group"] == "bhm"]
    assert len(modes) + len(bhm) == len(rows)
    assert [row["row"] for row in modes] == ["joint", "pose", "seg"]
    assert [row["baseline"] for row in modes] == ["1", "0", "0"]
    assert [row["changes"] for row in modes] == ["", "mode=pose", "mode=seg"]
    assert bhm[1]["changes"].startswith("bhm_beta=")
    joint, pose, seg = modes
    assert float(joint["segm_AP50"]) == pytest.approx(1)  # the one person is found
    assert (joint["segm_APs"], pose["segm_AP"], seg["keypoints_AP"]) == ("", "", "")
    assert float(pose["keypoints_AP_difference"]) == pytest.approx(
        float(pose["keypoints_AP"]) - float(joint["keypoints_AP"]), abs=1e-5
    )
    assert pose["keypoints_AP_difference_error"] == ""  # one picture says nothing about that
    assert 0 < float(joint["score_nose"]) <= 1
    assert float(joint["decode_ms"]) > 0

    text = (out / "ablation.md").read_text(encoding="utf-8")
    assert text.splitlines()[2].startswith("mobile on onnx cpu int8, input 129 px; 1 picture of labels.json. ")
    tables = [[line.strip("| ").split(" | ") for line in block.splitlines()] for block in text.split("\n\n")]
    tables = [table for table in tables if len(table) > 1]
    assert [table[2][0] for table in tables] == ["joint", bhm[0]["row"], "nose"]
    assert all(len({len(line) for line in table[1:]}) == 1 for table in tables)
    shown = dict(zip(["", *tables[0][0]], tables[0][2], strict=True))
    assert shown["keypoint AP"] == f"{float(joint['keypoints_AP']):.3f}"
    assert tables[0][2].count("baseline") == 2
    masks = tables[0][0].index("mask AP") + 1
    assert tables[0][3][masks : masks + 8] == ["–"] * 8  # seven figures and a difference: they were not looked for
    assert [line[0] for line in tables[2][2:]] == [name.replace("_", " ") for name in KEYPOINT_NAMES]
    assert [line[1] for line in tables[2][2:]] == [
        f"{float(bhm[0][f'score_{name}']):.3f}" if bhm[0][f"score_{name}"] else "–" for name in KEYPOINT_NAMES
    ]

    lines = ended.out.splitlines()
    assert lines[0] == "mobile on onnx cpu int8, input 129 px; 1 picture of labels.json"
    short = next(line.split() for line in lines if line.startswith("joint"))
    assert short[:5] == ["joint", shown["keypoint AP"], "baseline", shown["mask AP"], "baseline"]


def test_rows_start_from_the_settings(arguments: tuple[object, ...], call: Call, tmp_path: Path) -> None:
    ended = call(*arguments, "--rows", "mid-steps", "--set", "mid_steps=7", "--out", tmp_path)
    assert ended.status == 0
    assert ended.out.splitlines()[0].endswith("; mid_steps=7")
    with (tmp_path / "ablation.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["row"] for row in rows] == ["mid_steps = 7", "0", "1", "2", "3", "4"]
    assert [row["baseline"] for row in rows] == ["1", *"00000"]
    assert rows[1]["changes"] == "mid_steps=0"


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--rows", "bmh", f"--rows bmh: no such group of rows, expected some of {GROUPS[0].name}, "),
        ("--mode", "pose", "--mode pose: the rows want every output"),
        ("--images", "gone", "gone: no such folder"),
        ("--annotations", "gone.json", "gone.json: cannot read: "),
        ("--model", "worst", "unknown model 'worst'"),
        ("--out", "file", "file: is a file, expected a folder for the results"),
        ("--out", "file/sub", "file/sub: cannot make the folder: "),
    ],
)
def test_bad_input(
    option: str,
    value: str,
    reason: str,
    arguments: tuple[object, ...],
    call: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    ended = call(*arguments, "--out", "out", option, value)
    assert (ended.status, ended.out) == (2, "")
    assert ended.error_line().startswith(reason)


@pytest.mark.usefixtures("no_work")
def test_no_pictures(arguments: tuple[object, ...], call: Call, tmp_path: Path) -> None:
    empty = tmp_path / "empty.json"
    empty.write_text('{"images": [], "annotations": []}')
    ended = call(*arguments, "--annotations", empty, "--out", tmp_path / "out")
    assert ended.status == 2
    assert ended.error_line() == f"{empty}: lists no pictures"
    assert not (tmp_path / "out").exists()


def test_full_disk(arguments: tuple[object, ...], call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures are shown all the same, and the older file stays."""

    def write(*values: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "ablation.md").write_text("older")
    monkeypatch.setattr(Path, "write_text", write)
    ended = call(*arguments, "--rows", "density", "--out", tmp_path)
    assert ended.status == 2
    assert ended.error_line() == f"{tmp_path / 'ablation.md'}: cannot be written: {os.strerror(errno.ENOSPC)}"
    assert "baseline" in ended.out
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]


def test_ctrl_c(arguments: tuple[object, ...], call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*values: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "score_all", interrupt)
    ended = call(*arguments, "--rows", "density", "--out", tmp_path)
    assert (ended.status, ended.err) == (130, "interrupted\n")
    assert list(tmp_path.iterdir()) == []
