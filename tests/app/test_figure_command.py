"""`figure`: a sheet of a picture or of a clip's frame, and one clear line for bad input."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

Call = Callable[..., Any]
SMALL = ("--input-size", 129)


def test_a_picture_gives_a_sheet(call: Call, sample_still: Path, tmp_path: Path) -> None:
    ended = call("figure", sample_still, "--out", tmp_path / "sheet.png")
    assert ended.status == 0
    assert ended.out.splitlines()[-1] == str(tmp_path / "sheet.png")
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape == (2 * (640 + 56), 4 * 656 + 16, 3)
    first, last = sheet[16:656, 16:656].astype(int), sheet[712:1352, 1984:2624].astype(int)
    assert (np.abs(first - last).sum(axis=2) > 40).mean() > 0.2  # somebody has been found


def test_a_frame_of_a_clip_is_chosen_by_its_number(call: Call, sample_clip: Path, tmp_path: Path) -> None:
    for number in (0, 3):
        ended = call("figure", sample_clip, "--frame", number, "--out", tmp_path / f"{number}.jpg", *SMALL)
        assert ended.status == 0
    assert (tmp_path / "0.jpg").read_bytes() != (tmp_path / "3.jpg").read_bytes()


def test_bad_input_costs_one_line(call: Call, sample_still: Path, tmp_path: Path) -> None:
    picture = tmp_path / "a.jpg"
    shutil.copy(sample_still, picture)
    for arguments, message in (
        (("nothing.jpg", "--out", tmp_path / "s.png"), "nothing.jpg: no such file"),
        ((picture, "--frame", 1, "--out", tmp_path / "s.png"), "a.jpg: has no frame 1"),
        ((picture, "--out", tmp_path / "s.txt"), "pictures are written as .png"),
        ((picture, "--out", tmp_path / "no" / "s.png"), "cannot be written"),
        ((picture, "--out", picture), "the result would replace the source"),
    ):
        ended = call("figure", *arguments)
        assert ended.status == 2
        assert message in ended.error_line()
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


@pytest.mark.parametrize("number", ["-1", "x"])
def test_a_frame_is_a_whole_number(call: Call, sample_still: Path, tmp_path: Path, number: str) -> None:
    ended = call("figure", sample_still, f"--frame={number}", "--out", tmp_path / "s.png")
    assert ended.status == 2
    assert "--frame" in ended.err
