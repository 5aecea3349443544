"""`info`: released networks and such as nobody trained; what does not go together."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app import info as command
from engine.modes import HEAD_CHANNELS

Call = Callable[..., Any]


def test_a_released_network(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    ended = call("info", "--input-size", 120, "--json", out)
    assert (ended.status, ended.err) == (0, "")
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert list(figures) == ["network", "input_hw", "parts", "total", "outputs"]
    assert figures["network"]["trunk"] == "mobile"
    assert figures["input_hw"] == [129, 129]
    assert figures["outputs"]["person_map"] == [1, 33, 33]

    lines = [line.split() for line in ended.out.splitlines()]
    assert ended.out.startswith("mobile: mobile, trunk stride 16, refined at width ")
    assert ended.out.splitlines()[0].endswith("; input 129x129 px (height x width)")
    assert lines[2] == ["part", "M", "parameters", "GMAC"]
    rows = [*figures["parts"], figures["total"]]
    assert lines[3 : 3 + len(rows)] == [
        [*part["name"].split(), f"{part['parameters'] / 1e6:.3f}", f"{part['macs'] / 1e9:.3f}"] for part in rows
    ]
    assert lines[-6:] == [[name, *map(str, shape)] for name, shape in figures["outputs"].items()]
    assert list(figures["outputs"]) == list(HEAD_CHANNELS)


def test_the_released_default_input(call: Call) -> None:
    assert "; input 641x641 px" in call("info").out


def test_a_network_of_training(root: Path, call: Call, tmp_path: Path) -> None:
    weights = Path(shutil.copy(root / "assets" / "mobile.safetensors", tmp_path))
    ended = call("info", "--model", weights, "--input-size", 65)
    assert ended.out.startswith(f"{weights}: mobile, trunk stride 16")


def test_a_network_that_nobody_trained(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    options = ("--trunk", "resnet50", "--trunk-stride", 8, "--no-refine", "--input-size", "256x192", "--json", out)
    ended = call("info", *options)
    assert ended.out.startswith("resnet50: resnet50, trunk stride 8, not refined; input 256x192 px")
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert [part["name"] for part in figures["parts"]] == ["trunk", "heads"]
    assert figures["outputs"]["person_map"] == [1, 32, 24]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--trunk", "resnet18"], "--trunk: expected one of mobile, resnet50, resnet101, resnet152, got 'resnet18'"),
        (["--trunk-stride", 8], "--trunk-stride: needs --trunk; mobile is what it is"),
        (["--model", "mobile", "--no-refine"], "--no-refine: needs --trunk; mobile is what it is"),
        (["--model", "best"], "unknown model 'best': expected one of "),
        (["--model", "gone.safetensors"], "gone.safetensors: no such file"),
        (["--json", "gone/figures.json"], "gone/figures.json: cannot be written: No such file or directory"),
    ],
)
def test_bad_input(options: list[object], reason: str, call: Call) -> None:
    ended = call("info", *options)
    assert (ended.status, ended.out) == (2, "")
    assert ended.error_line().startswith(reason)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--trunk", "mobile", "--model", "mobile"], "argument --model: not allowed with argument --trunk"),
        (["--trunk", "mobile", "--trunk-stride", 4], "argument --trunk-stride: invalid choice: 4"),
        (["--input-size", "641 px"], "argument --input-size: expected a whole number, got '641 px'"),
        (["--input-size", "641x"], "argument --input-size: expected a whole number, got '641x'"),
        (["--input-size", "641x481x3"], "argument --input-size: expected a whole number, got '641x481x3'"),
        (["--input-size", "32"], "argument --input-size: expected 65 to 4097, got 32"),
    ],
)
def test_wrong_options(options: list[object], reason: str, call: Call) -> None:
    ended = call("info", *options)
    assert ended.status == 2
    assert reason in ended.err.splitlines()[-1]


def test_full_disk(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*values: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(command.Path, "write_text", write)
    out = tmp_path / "figures.json"
    ended = call("info", "--input-size", 65, "--json", out)
    assert ended.status == 2
    assert ended.error_line() == f"{out}: cannot be written: {os.strerror(errno.ENOSPC)}"
    assert list(tmp_path.iterdir()) == []
