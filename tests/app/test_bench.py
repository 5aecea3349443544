"""`bench`: what it prints and writes, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
SMALL = ("--input-size", 129, "--frames", 10)


def test_synthetic_pictures_of_five_people(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    ended = call("bench", "--people", 5, "--size", "320x240", *SMALL, "--json", path)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("synthetic, 320x240, 5 people: mobile on onnx cpu")
    figures = json.loads(path.read_text(encoding="utf-8"))
    assert list(figures["alone"]) == ["capture", "letterbox", "network", "decode", "render"]
    assert all(timing["p50_ms"] <= timing["p99_ms"] for timing in figures["alone"].values())
    assert figures["pipeline"]["displayed"] == 10
    assert figures["slowest_stage"] in figures["pipeline"]["stages"]
    assert figures["share_of_slowest"] == pytest.approx(figures["pipeline"]["fps"] / figures["slowest_stage_fps"])
    parts = [figures["alone"][stage]["p50_ms"] for stage in ("letterbox", "network", "decode")]
    assert figures["picture_ms"] == pytest.approx(sum(parts))
    assert f"from decoded frame to instances: {figures['picture_ms']:.1f} ms" in ended.out
    assert set(figures["idle_shares"]) == {"capture", "infer", "decode", "render"}
    assert "compare" not in figures
    assert figures["conditions"]["load before"]


def test_a_clip_compared(call: Call, sample_clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    ended = call("bench", sample_clip, *SMALL, "--compare", "--json", path)
    assert (ended.status, ended.err) == (0, "")
    compared = json.loads(path.read_text(encoding="utf-8"))["compare"]
    assert {"decode", "whole run"} <= set(compared)
    for pair in compared.values():
        first, second, ratio = pair.values()
        assert ratio == pytest.approx(first["p50_ms"] / second["p50_ms"])
    assert compared["decode"]["ratio"] > 1
    assert "times faster" in ended.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--size", "big"), "expected WIDTHxHEIGHT"),
        (("--size", "8x8"), "expected WIDTHxHEIGHT"),
        (("--people", "-1"), "expected 0 to 500"),
        (("--frames", "1"), "expected at least 10"),
    ],
)
def test_wrong_options(call: Call, arguments: tuple[str, ...], words: str) -> None:
    ended = call("bench", *arguments)
    assert ended.status == 2
    assert words in ended.err


def test_what_cannot_be_measured(call: Call, sample_still: Path, tmp_path: Path) -> None:
    assert "one frame is too little" in call("bench", sample_still, *SMALL).error_line()
    assert "bench reads recordings" in call("bench", "http://127.0.0.1:9/video", *SMALL).error_line()
    assert "no such file" in call("bench", tmp_path / "no.mp4", *SMALL).error_line()
    assert "cannot be written" in call("bench", *SMALL, "--json", tmp_path / "no" / "b.json").error_line()
