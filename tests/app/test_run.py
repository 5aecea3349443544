"""`run`: what it writes and prints, and that bad input costs one clear line and leaves nothing behind."""

import contextlib
import dataclasses
import errno
import importlib.util
import io
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pycocotools.mask
import pytest

from app import cli
from app import options as app_options
from engine.models import find_model
from pipeline.h264 import H264File
from pipeline.runner import Pipeline
from pipeline.sinks import NdjsonWriter, VideoWriter
from pipeline.sources import FileSource

Call = Callable[..., Any]
SMALL = ("--input-size", 129)  # finds nobody in the clip, but quickly
FRAMES = 3


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def nobody(tmp_path: Path) -> Path:
    """A picture without people."""
    path = tmp_path / "wall.png"
    cv2.imwrite(str(path), np.full((90, 120, 3), 200, dtype=np.uint8))
    return path


# What a good run gives.


@pytest.fixture(scope="module")
def finished(sample_clip: Path, sample_still: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Folder, stdout and stderr of one run at full size over the clip's first frames and the picture."""
    folder = tmp_path_factory.mktemp("finished")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        arguments = ["run", sample_clip, sample_still, "--out", folder, "--max-frames", FRAMES]
        status = cli.main([str(argument) for argument in arguments])
    return SimpleNamespace(folder=folder, status=status, out=out.getvalue(), err=err.getvalue())


def test_files_and_streams(finished: Any) -> None:
    assert finished.status == 0
    assert names(finished.folder) == ["astronaut.ndjson", "astronaut.png", "sample.mp4", "sample.ndjson"]
    assert finished.err == ""  # no bar, not even an empty line, where nobody watches
    for name in names(finished.folder):
        assert f"  {finished.folder / name}\n" in finished.out
    entry = find_model("mobile")
    [network, *_] = finished.out.splitlines()
    assert network.startswith("mobile on onnx cpu")
    assert network.endswith(f", input {entry.input_size} px")
    assert "astronaut.jpg: 1 person\n" in finished.out


def test_table_of_stages(finished: Any) -> None:
    lines = finished.out.splitlines()
    start = lines.index(next(line for line in lines if line.startswith("stage ")))
    assert lines[start].split() == ["stage", "frames/s", "median", "ms", "p95", "ms", "busy"]
    stages = ("capture", "infer", "decode", "render", "write", "encode")
    for line, stage in zip(lines[start + 1 :], stages, strict=False):
        assert line.split()[0] == stage
        assert all(float(number.rstrip("%")) >= 0 for number in line.split()[1:])
    total, _, slowest = lines[start + 7].partition(", limited by ")  # which one, a busy machine decides
    assert total.endswith(" frames/s in all")
    assert slowest in stages
    assert finished.out.isascii()  # no box characters in a pipe
    assert lines.count(lines[start]) == 1  # none for the picture


def test_ndjson_schema(finished: Any) -> None:
    frames = records(finished.folder / "sample.ndjson")
    assert [frame["frame"] for frame in frames] == list(range(FRAMES))
    for frame in frames:
        assert list(frame) == ["frame", "time_s", "width", "height", "instances"]
        assert frame["time_s"] == pytest.approx(frame["frame"] / 10)  # the clip has 10 fps
        assert (frame["width"], frame["height"]) == (768, 576)
        assert 2 <= len(frame["instances"]) <= 12  # six people in each
        assert len({person["id"] for person in frame["instances"]}) == len(frame["instances"])
        for instance in frame["instances"]:
            assert instance.pop("id") >= 1
            check_instance(instance, 768, 576)
    first, second, _ = (
        {person["id"] for person in frame["instances"]} for frame in records(finished.folder / "sample.ndjson")
    )
    assert len(first & second) >= 4  # six people who hardly move in a tenth of a second
    [still] = records(finished.folder / "astronaut.ndjson")
    [person] = still["instances"]
    check_instance(person, 512, 512)


def check_instance(instance: dict[str, Any], width: int, height: int) -> None:
    assert list(instance) == ["score", "mask_score", "bbox_xywh", "keypoints", "mask"]
    assert isinstance(instance["score"], float)
    assert 0.15 <= instance["score"] <= 1
    x, y, box_width, box_height = instance["bbox_xywh"]
    assert 0 <= x < x + box_width <= width
    assert 0 <= y < y + box_height <= height
    keypoints = np.array(instance["keypoints"])
    assert keypoints.shape == (17, 3)
    present = keypoints[:, 2] > 0
    assert present.any()
    assert keypoints[:, 2].max() <= 1
    assert np.all(keypoints[~present] == 0)
    assert list(instance["mask"]) == ["size", "counts"]
    mask = pycocotools.mask.decode(instance["mask"])
    assert mask.shape == (height, width)
    assert mask.any()


def test_video(finished: Any) -> None:
    with av.open(finished.folder / "sample.mp4") as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (768, 576)
        pictures = [frame.to_ndarray(format="bgr24") for frame in container.decode(stream)]
    assert len(pictures) == FRAMES
    assert all(picture.std() > 20 for picture in pictures)


def test_picture(finished: Any, sample_still: Path) -> None:
    drawn, original = cv2.imread(str(finished.folder / "astronaut.png")), cv2.imread(str(sample_still))
    assert drawn is not None
    assert original is not None
    assert drawn.shape == original.shape
    assert (drawn != original).any(axis=2).mean() > 0.1  # the mask covers much of it


def test_second_run_gives_the_same_bytes(finished: Any, sample_clip: Path, call: Call, tmp_path: Path) -> None:
    ended = call("run", sample_clip, "--out", tmp_path, "--max-frames", FRAMES, "--save", "ndjson")
    assert ended.status == 0
    assert names(tmp_path) == ["sample.ndjson"]  # and no video
    assert (tmp_path / "sample.ndjson").read_bytes() == (finished.folder / "sample.ndjson").read_bytes()


def test_min_score(finished: Any, sample_clip: Path, call: Call, tmp_path: Path) -> None:
    before = [person["score"] for person in records(finished.folder / "sample.ndjson")[0]["instances"]]
    limit = float(np.median(before))
    arguments = ("--max-frames", 1, "--save", "ndjson", "--min-score", limit)
    assert call("run", sample_clip, "--out", tmp_path, *arguments).status == 0
    after = [person["score"] for person in records(tmp_path / "sample.ndjson")[0]["instances"]]
    assert after == [score for score in before if score >= limit]


def test_picture_without_people(nobody: Path, call: Call, tmp_path: Path) -> None:
    ended = call("run", nobody, "--out", tmp_path / "new" / "folder", *SMALL)
    assert ended.status == 0
    assert "wall.png: 0 people\n" in ended.out
    [record] = records(tmp_path / "new" / "folder" / "wall.ndjson")
    assert record["instances"] == []
    assert (record["width"], record["height"]) == (120, 90)


def test_save_video_only(nobody: Path, call: Call, tmp_path: Path) -> None:
    assert call("run", nobody, "--out", tmp_path / "o", "--save", "video", *SMALL).status == 0
    assert names(tmp_path / "o") == ["wall.png"]


def test_sources_of_one_name(nobody: Path, sample_clip: Path, call: Call, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    second = Path(shutil.copy(nobody, tmp_path / "other" / "WALL.png"))
    ended = call("run", nobody, tmp_path / "gone" / "wall.mp4", second, "--out", tmp_path / "o", *SMALL)
    assert ended.status == 1
    # A name is the place in the list, whatever becomes of the others: the same command gives the same names.
    assert names(tmp_path / "o") == ["WALL-3.ndjson", "WALL-3.png", "wall.ndjson", "wall.png"]


@pytest.mark.parametrize("listed_first", [True, False])
def test_results_never_replace_a_source(nobody: Path, call: Call, tmp_path: Path, listed_first: bool) -> None:
    """Of one name and in the results' folder: the source itself, or one that comes later in the list."""
    before = nobody.read_bytes()
    (tmp_path / "other").mkdir()
    other = Path(shutil.copy(nobody, tmp_path / "other" / "wall.png"))
    sources = [nobody] if listed_first else [other, nobody]
    ended = call("run", *sources, "--out", tmp_path, *SMALL)
    assert ended.status == (2 if listed_first else 1)
    assert ended.err.splitlines()[0] == f"error: {nobody}: the result would replace this source; choose another --out"
    assert nobody.read_bytes() == before
    assert "wall.ndjson" not in names(tmp_path)


# Bad input.


def test_cut_clip_gives_all_readable_frames(sample_clip: Path, call: Call, tmp_path: Path) -> None:
    data = sample_clip.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) // 4])
    ended = call("run", cut, "--out", tmp_path / "o", *SMALL)
    assert ended.status == 1
    assert len(ended.err.splitlines()) == 1
    assert ended.err.startswith(f"warning: {cut}: the clip ends early after ")
    count = len(records(tmp_path / "o" / "cut.ndjson"))
    assert 5 < count < 80
    assert f"after {count} frames" in ended.err
    with av.open(tmp_path / "o" / "cut.mp4") as container:
        assert sum(1 for _ in container.decode(video=0)) == count


def make_missing(path: Path) -> None:
    pass


def make_empty(path: Path) -> None:
    path.touch()


def make_text(path: Path) -> None:
    path.write_text("This is no video.\n" * 99)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_audio(path: Path) -> None:
    with av.open(path, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000)
        samples = np.zeros((1, 8192), dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux([*stream.encode(frame), *stream.encode(None)])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (make_missing, "no such file"),
        (make_empty, "the file is empty"),
        (make_text, ""),
        (make_folder, "is a folder, expected a video or picture file or a folder of pictures"),
        (make_audio, ""),
    ],
)
def test_bad_source(make: Callable[[Path], None], reason: str, call: Call, tmp_path: Path) -> None:
    path = tmp_path / "bad.mp4"
    make(path)
    ended = call("run", path, "--out", tmp_path / "o", *SMALL)
    assert ended.status == 2
    line = ended.error_line()
    assert line.startswith(f"{path}: {reason}")
    assert len(line) > len(f"{path}: ")
    assert names(tmp_path / "o") == []


def test_bad_source_among_good_ones(nobody: Path, sample_still: Path, call: Call, tmp_path: Path) -> None:
    ended = call("run", nobody, tmp_path / "gone.mp4", sample_still, "--out", tmp_path / "o", *SMALL)
    assert ended.status == 1
    assert ended.out.splitlines()[-1] == "3 sources: 2 done, 1 failed"
    assert ended.error_line() == f"{tmp_path / 'gone.mp4'}: no such file"
    assert names(tmp_path / "o") == ["astronaut.ndjson", "astronaut.png", "wall.ndjson", "wall.png"]


@pytest.mark.parametrize(
    ("out", "reason"), [("wall.png", "is a file, expected a folder"), ("wall.png/sub", "cannot make the folder: Not a")]
)
def test_out_that_cannot_be_a_folder(out: str, reason: str, nobody: Path, call: Call, tmp_path: Path) -> None:
    ended = call("run", nobody, nobody, "--out", tmp_path / out, *SMALL)
    assert ended.status == 2
    assert ended.error_line().startswith(f"{tmp_path / out}: {reason}")  # once, not for each source
    assert names(tmp_path) == ["wall.png"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_out_without_permission(nobody: Path, call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    ended = call("run", nobody, "--out", folder, *SMALL)
    assert ended.status == 2
    assert ended.error_line() == f"{folder}: cannot be written: Permission denied"


def test_result_that_is_a_folder(nobody: Path, call: Call, tmp_path: Path) -> None:
    (tmp_path / "o" / "wall.ndjson").mkdir(parents=True)
    ended = call("run", nobody, "--out", tmp_path / "o", *SMALL)
    assert ended.status == 2
    assert ended.error_line().startswith(f"{tmp_path / 'o' / 'wall.ndjson'}: is a folder")
    assert names(tmp_path / "o") == ["wall.ndjson"]


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--save", "gif", "expected some of video,ndjson,coco,csv,summary, got 'gif'"),
        ("--save", ",", "expected some of video,ndjson,coco,csv,summary, got ','"),
        ("--input-size", "3", "expected 65 to 4097, got 3"),
        ("--input-size", "big", "expected a whole number, got 'big'"),
        ("--max-frames", "0", "expected at least 1, got 0"),
        ("--min-score", "2", "expected 0 to 1, got 2"),
        ("--min-score", "nan", "expected 0 to 1, got nan"),
        ("--min-score", "x", "expected a number, got 'x'"),
        ("--overlay", "rainbow", "unknown overlay rainbow: expected some of "),
        ("--overlay", ",", "expected some of "),
        ("--start", "1:60", "expected fewer than 60 seconds after the minutes, got '1:60'"),
        ("--end", "soon", "expected seconds or HH:MM:SS.mmm, got 'soon'"),
        ("--every", "0", "expected more than 0, got '0'"),
        ("--every", "0s", "expected more than 0, got '0s'"),
        ("--every", "x", "expected a number of frames, or seconds as 0.5s, got 'x'"),
    ],
)
def test_bad_option(option: str, value: str, reason: str, call: Call, tmp_path: Path) -> None:
    ended = call("run", "a.mp4", "--out", tmp_path / "o", option, value)
    assert ended.status == 2
    assert ended.err.splitlines()[-1].startswith(f"main.py run: error: argument {option}: {reason}")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--model", "huge", "unknown model 'huge': expected one of mobile"),
        ("--model", "gone.safetensors", "gone.safetensors: no such file"),
        ("--backend", "tea", "unknown back end 'tea': expected one of auto, "),
    ],
)
def test_unknown_network(option: str, value: str, reason: str, nobody: Path, call: Call, tmp_path: Path) -> None:
    ended = call("run", nobody, "--out", tmp_path / "o", option, value)
    assert ended.status == 2
    assert ended.error_line().startswith(reason)
    assert names(tmp_path) == ["wall.png"]


def test_safetensors_file_on_another_backend(nobody: Path, call: Call, tmp_path: Path) -> None:
    ended = call("run", nobody, "--out", tmp_path / "o", "--model", "a.safetensors", "--backend", "onnx")
    assert ended.status == 2
    assert ended.error_line() == "--backend onnx: a .safetensors file runs on the torch back end only"


def test_damaged_weights(nobody: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = find_model("mobile")
    data = bytearray(shipped.onnx.read_bytes())
    data[len(data) // 2] ^= 1
    damaged = tmp_path / "mobile.onnx"
    damaged.write_bytes(data)
    entry = dataclasses.replace(shipped, onnx=damaged, onnx_int8=None, onnx_int8_sha256=None, onnx_int8_bytes=None)
    monkeypatch.setattr(app_options, "find_model", lambda name: entry)
    ended = call("run", nobody, "--out", tmp_path / "o", "--backend", "onnx")
    assert ended.status == 2
    assert ended.error_line().startswith(f"{damaged}: sha256 differs from models.toml")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("backend", ["onnx", "auto"])
def test_missing_onnxruntime(
    backend: str, nobody: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A named back end says what it needs; `auto` looks for another one, and here there is none."""
    find_spec = importlib.util.find_spec
    gone = ("onnxruntime", "torch")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in gone else find_spec(name, *a))
    ended = call("run", nobody, "--out", tmp_path / "o", "--backend", backend)
    assert ended.status == 2
    assert "onnxruntime" in ended.error_line()
    assert ended.error_line().endswith("pip install -r requirements.txt")


# What goes wrong on the way.


def failing_at(count: int, error: BaseException, write: Callable[..., None]) -> Callable[..., None]:
    """`write` that fails at the `count`-th frame."""
    calls = iter(range(1, count + 1))

    def fail(*arguments: object) -> None:
        if next(calls) == count:
            raise error
        write(*arguments)

    return fail


@pytest.mark.parametrize(("writer", "name"), [(H264File, "write"), (NdjsonWriter, "_write")])
def test_full_disk(
    writer: type,
    name: str,
    sample_clip: Path,
    nobody: Path,
    call: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(writer, name, failing_at(3, full, getattr(writer, name)))
    ended = call("run", sample_clip, "--out", tmp_path / "o", *SMALL)
    assert ended.status == 2
    suffix = "mp4" if writer is H264File else "ndjson"
    assert ended.error_line() == f"{tmp_path / 'o' / 'sample'}.{suffix}: cannot be written: {full.strerror}"
    assert names(tmp_path / "o") == ["sample.partial.mp4", "sample.partial.ndjson"]  # the two frames before


def test_folder_that_is_taken_away(
    sample_clip: Path, nobody: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    following = Pipeline.__next__

    def moving(self: Pipeline) -> Any:
        rendered = following(self)
        if rendered.result.frame.index == 2:
            (tmp_path / "o").rename(tmp_path / "elsewhere")
        return rendered

    monkeypatch.setattr(Pipeline, "__next__", moving)
    ended = call("run", sample_clip, nobody, "--out", tmp_path / "o", "--max-frames", 5, "--save", "ndjson", *SMALL)
    assert ended.status == 2
    first, second = ended.err.splitlines()
    assert first == f"error: {tmp_path / 'o' / 'sample.ndjson'}: cannot be written: No such file or directory"
    assert second == f"error: {tmp_path / 'o'}: cannot write wall.ndjson there: No such file or directory"
    assert len(records(tmp_path / "elsewhere" / "sample.partial.ndjson")) == 5


def test_ctrl_c_from_a_sink(sample_clip: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VideoWriter, "_write", failing_at(3, KeyboardInterrupt(), VideoWriter._write))
    ended = call("run", sample_clip, "--out", tmp_path, *SMALL)
    assert ended.status == 130
    assert ended.err == "interrupted\n"
    assert names(tmp_path) == ["sample.partial.mp4", "sample.partial.ndjson"]


def test_ctrl_c_while_waiting_for_a_frame(
    nobody: Path, sample_clip: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results of the sources before are whole and stay."""
    following = Pipeline.__next__

    def interrupted(self: Pipeline) -> Any:
        rendered = following(self)
        if rendered.result.frame.image.shape[0] == 576:
            raise KeyboardInterrupt
        return rendered

    monkeypatch.setattr(Pipeline, "__next__", interrupted)
    ended = call("run", nobody, sample_clip, "--out", tmp_path / "o", *SMALL)
    assert ended.status == 130
    assert names(tmp_path / "o") == ["wall.ndjson", "wall.png"]


def interrupting(monkeypatch: pytest.MonkeyPatch, at: int, number: signal.Signals, times: int = 1) -> None:
    """Send this process a signal after so many frames of the clip."""
    following = Pipeline.__next__

    def interrupted(self: Pipeline) -> Any:
        rendered = following(self)
        if rendered.result.frame.index == at - 1 and rendered.result.frame.image.shape[0] == 576:
            for _ in range(times):
                signal.raise_signal(number)
        return rendered

    monkeypatch.setattr(Pipeline, "__next__", interrupted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_in_order(
    number: signal.Signals, nobody: Path, sample_clip: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was whole stays, what was begun is whole up to there, and the line says how to go on."""
    interrupting(monkeypatch, 6, number)
    out = tmp_path / "o"
    arguments = ("--out", out, "--save", "video,ndjson,coco,csv,summary", *SMALL)
    (tmp_path / "more").mkdir()
    later = shutil.copy(nobody, tmp_path / "more" / "later.png")
    ended = call("run", nobody, sample_clip, later, *arguments)
    assert ended.status == 130
    assert ended.err == (
        f"interrupted: {sample_clip} is done up to 0.500 s, in files called partial; 1 more were not begun; "
        "the same command with --skip-done does the rest\n"
    )
    assert {name for name in names(out) if name.startswith("sample")} == {
        "sample.coco.partial.json",
        "sample.partial.csv",
        "sample.partial.html",
        "sample.partial.mp4",
        "sample.partial.ndjson",
        "sample.summary.partial.png",
    }
    assert len([name for name in names(out) if name.startswith("wall.")]) == 6
    assert len(records(out / "sample.partial.ndjson")) == 6
    assert len(json.loads((out / "sample.coco.partial.json").read_text())["images"]) == 6
    with av.open(out / "sample.partial.mp4") as container:
        assert sum(1 for _ in container.decode(video=0)) == 6

    before = (out / "wall.ndjson").stat().st_mtime_ns
    monkeypatch.undo()
    ended = call("run", nobody, sample_clip, later, *arguments, "--skip-done", "--max-frames", 8)
    assert ended.status == 0
    assert ended.out.splitlines()[-1] == "3 sources: 3 done"
    assert (out / "wall.ndjson").stat().st_mtime_ns == before
    assert not [name for name in names(out) if "partial" in name]
    assert len(records(out / "sample.ndjson")) == 8


def test_second_ctrl_c_does_not_wait(
    sample_clip: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT)
    interrupting(monkeypatch, 3, signal.SIGINT, times=2)
    ended = call("run", sample_clip, "--out", tmp_path, *SMALL)
    assert ended.status == 130
    assert ended.err == "interrupted\n"
    assert len(records(tmp_path / "sample.partial.ndjson")) == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_failure_of_a_stage(sample_clip: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own mistake: seen with its traceback, yet nothing half-written has a whole one's name."""
    iterate = FileSource.__iter__

    def broken(self: FileSource) -> Iterator[Any]:
        for frame in iterate(self):
            if frame.index == 2:
                raise ZeroDivisionError
            yield frame

    monkeypatch.setattr(FileSource, "__iter__", broken)
    with pytest.raises(ZeroDivisionError):
        call("run", sample_clip, "--out", tmp_path, *SMALL)
    assert not [name for name in names(tmp_path) if "partial" not in name]
