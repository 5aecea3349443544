"""`batch` with the real network: the same results as `run`, in one, in slices, by one worker or two."""

import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from app.batching.manifest import Manifest

Call = Callable[..., Any]
SMALL = ("--input-size", 65, "--save", "ndjson")


def write_clip(path: Path, times_s: Sequence[float]) -> Path:
    """A clip of noise whose frames are shown at these times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, time_s in enumerate(times_s):
            noise = np.random.default_rng(index).integers(0, 255, (48, 64, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(noise, format="bgr24")
            frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "in"
    folder.mkdir()
    even = write_clip(folder / "even.mkv", [index / 25 for index in range(30)])
    gap = write_clip(folder / "gap.mkv", [0.0, 0.1, 0.2, 4.0, 4.1])
    return [even, gap]


def test_same_results_as_run(call: Call, clips: list[Path], tmp_path: Path) -> None:
    assert call("run", *clips, "--out", tmp_path / "run", *SMALL).status == 0
    ways: dict[str, tuple[object, ...]] = {"one": (), "slices": ("--slice", 0.5, "--workers", 2)}
    for name, options in ways.items():
        ended = call("batch", *clips, "--out", tmp_path / name, *SMALL, *options)
        assert (ended.status, ended.err) == (0, "")
        assert "2 of 2 clips are done" in ended.out
        for clip in clips:
            results = [(tmp_path / folder / f"{clip.stem}.ndjson").read_bytes() for folder in ("run", name)]
            assert results[0] == results[1]
    with Manifest(tmp_path / "slices" / "manifest.sqlite") as manifest:
        parts = [unit for unit in manifest.units(str(clips[1])) if unit.kind == "part"]
    assert [unit.frames for unit in parts] == [3, *[0] * (len(parts) - 2), 2]  # a gap holds no frame, and is no error
    assert not list((tmp_path / "slices").glob("*part*"))


def test_bad_clips_do_not_cost_the_good_ones(call: Call, clips: list[Path], tmp_path: Path) -> None:
    bad = clips[0].with_name("bad.mp4")
    bad.write_bytes(b"no video" * 100)
    ended = call("batch", clips[0].parent, "--out", tmp_path / "out", *SMALL, "--log-json")
    assert (ended.status, ended.out) == (1, "")
    events = [json.loads(line) for line in ended.err.splitlines()]
    assert sum(event["event"] == "done" for event in events) == 2
    assert events[-1]["clips"]["quarantined"] == 1
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert {Path(clip["clip"]).name: clip["reason"] is None for clip in report["clips"]} == {
        "even.mkv": True,
        "gap.mkv": True,
        "bad.mp4": False,
    }


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["x.mp4", "--slice", 5, "--every", 2], "--slice goes with neither --every nor --max-frames: "),
        (["rtsp://me:secret@host/"], "rtsp://***@host/: batch reads files; "),
        (["x.mp4", "--model", "nothing"], "model 'nothing'"),
        ([], "no clips to process"),
    ],
)
def test_bad_input(arguments: list[object], line: str, call: Call, tmp_path: Path) -> None:
    ended = call("batch", *arguments, "--out", tmp_path / "out")
    assert ended.status == 2
    assert line in ended.error_line()
    ended = call("batch", *arguments, "--out", tmp_path / "out", "--log-json")
    assert ended.status == 2
    assert line in json.loads(ended.err)["message"]


def test_a_network_that_cannot_be_opened_is_told_once(call: Call, clips: list[Path], tmp_path: Path) -> None:
    ended = call("batch", *clips, "--out", tmp_path / "out", "--backend", "abacus", "--workers", 2)
    assert ended.status == 2
    assert "0 of 2 clips are done" in ended.error_line()
    assert "abacus" in ended.error_line()
