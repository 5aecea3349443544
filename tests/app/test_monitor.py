"""`monitor`: the figures it writes and shows, and how it ends."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from app import monitor
from app.writing import CsvLog
from engine.errors import UserError
from pipeline.gpu import GpuFigures
from pipeline.sources import open_source
from pipeline.statistics import Snapshot, StageFigures
from tests.pipeline.misbehaving_camera import MisbehavingCamera

Call = Callable[..., Any]
SMALL = ("--input-size", 129)  # finds nobody, but quickly
DEADLINE_S = 60.0


def columns(path: Path) -> dict[str, list[str]]:
    """The columns of a CSV file by name."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows] for name in rows[0]}


def snapshot(**changes: Any) -> Snapshot:
    """Of a pipeline that infers too slowly for its camera."""
    figures = {
        "seconds": 12.0,
        "stages": {
            "capture": StageFigures(30.0, 33.0, 34.0, 35.0, 1.0),
            "infer": StageFigures(15.2, 64.1, 70.0, 80.0, 0.98),
            "decode": StageFigures(15.1, 9.0, 10.0, 11.0, 0.14),
            "render": StageFigures(0.0, None, None, None, 0.0),
        },
        "displayed": 180,
        "displayed_fps": 15.1,
        "age_p50_ms": 101.2,
        "age_p95_ms": 150.0,
        "age_p99_ms": 160.0,
        "drops": {"infer": 175, "decode": 0, "render": 0, "reader": 2},
        "drops_per_s": {"infer": 14.9, "decode": 0.0, "render": 0.0, "reader": 0.0},
        "bottleneck": "infer",
        "cpu_percent": 152.4,
        "rss_mb": 321.4,
        "threads": 14,
        "gpu": None,
    }
    return Snapshot(**{**figures, **changes})


# ---- a whole run


def test_a_clip_runs_to_its_end_and_its_figures_are_written(call: Call, sample_clip: Path, tmp_path: Path) -> None:
    ended = call("monitor", sample_clip, "--json", tmp_path / "a.json", "--csv", tmp_path / "a.csv", *SMALL)
    assert (ended.status, ended.err) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.json"]
    figures = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert (figures["source"], figures["live"], figures["displayed"]) == ("sample.mp4", False, 80)
    assert figures["network"] == "mobile on onnx cpu int8, input 129 px"
    assert list(figures["stages"]) == ["capture", "infer", "decode", "render"]
    assert all(stage["fps"] > 0 and stage["p50_ms"] <= stage["p95_ms"] for stage in figures["stages"].values())
    assert figures["drops"] == {"infer": 0, "decode": 0, "render": 0, "reader": 0}
    assert 0 < figures["age_p50_ms"] <= figures["age_p99_ms"]
    rows = columns(tmp_path / "a.csv")
    assert rows["displayed"][-1] == "80"
    assert {"seconds", "infer_p95_ms", "drops_infer", "rss_mb", "threads"} < set(rows)
    lines = ended.out.splitlines()
    assert lines[0] == "sample.mp4: mobile on onnx cpu int8, input 129 px"
    assert " fps  age " in lines[1]
    assert any(line.startswith("displayed ") and "80 frames" in line for line in lines)
    assert ended.out.isascii()


def test_of_a_camera_every_frame_is_shown_or_counted_as_dropped(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "open_source", lambda uri: open_source(uri, max_frames=12))  # else it never ends
    with MisbehavingCamera(fps=25.0) as camera:
        ended = call("monitor", camera.url, "--json", tmp_path / "a.json", *SMALL)
    assert (ended.status, ended.err) == (0, "")
    figures = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert figures["live"] is True
    assert figures["displayed"] + sum(figures["drops"].values()) == 12


def test_it_ends_when_the_time_is_over(call: Call, tmp_path: Path) -> None:
    with MisbehavingCamera(fps=25.0) as camera:
        ended = call("monitor", camera.url, "--duration", 0.5, "--json", tmp_path / "a.json", *SMALL)
    assert (ended.status, ended.err) == (0, "")
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["seconds"] >= 0.5


def test_what_is_wrong_with_a_camera_stands_beside_its_figures(call: Call) -> None:
    with MisbehavingCamera(mode="silent") as camera:
        ended = call("monitor", camera.url, "--duration", 0.2, *SMALL)
    assert ended.status == 0
    assert ended.out.splitlines()[1].endswith(": connecting")


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_ctrl_c_writes_everything(root: Path, sample_clip: Path, tmp_path: Path) -> None:
    command = [sys.executable, "main.py", "monitor", sample_clip, "--input-size", "1345"]
    command += ["--json", tmp_path / "a.json", "--csv", tmp_path / "a.csv"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(list(map(str, command)), cwd=root, **streams) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]  # the second comes when a second is over
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert err == "interrupted\n"
    assert " fps  age " in lines[1]
    assert "displayed " in out
    figures = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert figures["seconds"] > 0
    assert float(columns(tmp_path / "a.csv")["seconds"][0]) > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.json"]


# ---- bad input


def test_a_source_that_is_not_there(call: Call, tmp_path: Path) -> None:
    ended = call("monitor", tmp_path / "nothing.mp4", "--json", tmp_path / "a.json")
    assert ended.status == 2
    assert "no such file" in ended.error_line()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--json", "--csv"])
def test_a_file_that_cannot_be_written_is_told_before_the_work(call: Call, option: str, tmp_path: Path) -> None:
    ended = call("monitor", "nothing.mp4", option, tmp_path / "nowhere" / "a")
    assert ended.status == 2
    assert ended.error_line() == f"{tmp_path / 'nowhere' / 'a'}: cannot be written: No such file or directory"


@pytest.mark.parametrize("duration", ["0", "-3", "inf", "nan", "soon"])
def test_a_duration_that_is_none(call: Call, duration: str) -> None:
    ended = call("monitor", "clip.mp4", f"--duration={duration}")
    assert ended.status == 2
    assert "argument --duration: expected" in ended.err


def test_a_password_that_is_missing(call: Call, tmp_path: Path) -> None:
    with MisbehavingCamera(mode="password") as camera:
        ended = call("monitor", camera.url, "--json", tmp_path / "a.json", *SMALL)
    assert ended.status == 2
    assert "password" in ended.error_line()


def test_a_disk_that_fills_up_under_the_csv_costs_neither_message_nor_json(
    call: Call, sample_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: CsvLog, snapshot: Snapshot) -> None:
        raise UserError("a.csv: cannot be written: No space left on device")

    monkeypatch.setattr(CsvLog, "add", full)
    ended = call("monitor", sample_clip, "--json", tmp_path / "a.json", "--csv", tmp_path / "a.csv", *SMALL)
    assert ended.status == 2
    assert ended.error_line() == "a.csv: cannot be written: No space left on device"
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["displayed"] > 0


# ---- what is shown


def test_a_line_says_what_matters() -> None:
    assert monitor.line(snapshot()) == (
        "   12.0 s   15.1 fps  age 101/150/160 ms  drops 175 before infer, 2 before reader  limit: infer  "
        "cpu 152 %  321 MB  14 threads"
    )


def test_a_line_before_the_first_frame() -> None:
    empty = snapshot(age_p50_ms=None, age_p95_ms=None, age_p99_ms=None, bottleneck="", drops={"infer": 0})
    assert "age -/-/- ms  no drops  limit: -" in monitor.line(empty)


def test_the_table_shows_every_stage_and_the_gpu() -> None:
    out = io.StringIO()
    Console(file=out, width=100).print(monitor.table(snapshot(gpu=GpuFigures("GPU X", 37.0, 2500.0))))
    rows = {line.split()[0]: line.split()[1:] for line in out.getvalue().splitlines()}
    assert rows["infer"] == ["15.2", "64.1", "70.0", "80.0", "98%"]
    assert rows["render"] == ["0.0", "-", "-", "-", "0%"]
    assert rows["limited"] == ["by", "infer"]
    assert "GPU X 37 %, 2500 MB" in out.getvalue()


def test_a_terminal_gets_a_table_that_stays_in_its_place(
    call: Call, sample_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(monitor, "Console", lambda: Console(file=screen, force_terminal=True, width=100))
    ended = call("monitor", sample_clip, *SMALL)
    assert ended.status == 0
    assert len(ended.out.splitlines()) == 1  # no lines beside the table
    assert "\x1b[?25l" in screen.getvalue()  # drawn over itself
    assert screen.getvalue().count("displayed ") >= 2  # while it ran and at the end


# ---- CSV


def test_each_row_is_in_the_file_at_once_and_the_header_stands_there_once(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("older\n" * 10)
    with CsvLog(path) as log:
        for count in (1, 2, 3):
            log.add(snapshot(displayed=count))
            assert columns(path)["displayed"] == ["1", "2", "3"][:count]
    assert columns(path)["gpu_name"] == ["", "", ""]


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs the device /dev/full")
    with (
        pytest.raises(UserError, match=r"/dev/full: cannot be written: No space left on device"),
        CsvLog(Path("/dev/full")) as log,
    ):
        log.add(snapshot())
