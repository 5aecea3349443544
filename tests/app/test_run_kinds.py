"""`run`: outputs chosen, parts of clips, what is told to people and programs; a run that is killed."""

import json
import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from app import clip_run
from app.batching.clip_work import ClipWork
from app.batching.jobs import Job
from app.clip_run import process_clip
from app.run_settings import RunSettings
from engine.skeleton import NUM_KEYPOINTS
from engine.structures import Instances
from pipeline.tables import CsvWriter

Call = Any
SMALL = ("--input-size", 129)
EVERYTHING = "video,ndjson,coco,csv,summary"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def phone_clip(tmp_path: Path) -> Path:
    """As a phone writes them: turned by a quarter, at an uneven rate, with sound and pixels that are not square."""
    path = tmp_path / "phone ü.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10, options={"bf": "0", "g": "5"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        video.codec_context.sample_aspect_ratio = Fraction(4, 3)
        video.codec_context.time_base = Fraction(1, 1000)
        video.set_display_rotation(90)
        audio = container.add_stream("aac", rate=48000, layout="mono")
        for number in range(20):
            image = np.full((64, 96, 3), 100, np.uint8)
            image[:, :10] = (255, 0, 0)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = number * 100 + 33 * (number % 2), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for start in range(0, 96_000, 1000):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.float32), format="fltp", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = 48000, start, Fraction(1, 48000)
            container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    return path


def test_everything_of_a_phones_clip(phone_clip: Path, call: Call, tmp_path: Path) -> None:
    out = tmp_path / "o"
    ended = call("run", phone_clip, "--out", out, "--save", EVERYTHING, "--start", "0.5", "--end", "1.5", *SMALL)
    assert (ended.status, ended.err) == (0, "")
    stem = phone_clip.stem
    suffixes = (".coco.json", ".csv", ".html", ".mp4", ".ndjson", ".summary.png")
    assert names(out) == sorted(stem + suffix for suffix in suffixes)
    times = [number * 0.1 + 0.033 * (number % 2) for number in range(5, 15)]
    assert [frame["time_s"] for frame in records(out / f"{stem}.ndjson")] == pytest.approx(times, abs=1e-3)
    with av.open(str(out / f"{stem}.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (64, 96)
        assert stream.sample_aspect_ratio == Fraction(3, 4)  # the pixels are turned, too
        frames = list(container.decode(stream))
        assert [float(f.pts * f.time_base) for f in frames] == pytest.approx([t - times[0] for t in times], abs=1e-3)
        assert frames[0].rotation == 0
        assert container.streams.audio[0].codec_context.name == "aac"
        assert float(container.duration / av.time_base) == pytest.approx(1.0, abs=0.06)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collects a number for each picture that is drawn."""
    calls: list[int] = []
    original = clip_run.draw

    def draw(*arguments: Any) -> Any:
        calls.append(len(calls))
        return original(*arguments)

    monkeypatch.setattr(clip_run, "draw", draw)
    return calls


@pytest.mark.parametrize(("kinds", "count"), [("ndjson", 0), ("csv,coco", 0), ("video", 4), ("ndjson,video", 4)])
def test_nothing_is_drawn_without_a_video(
    sample_clip: Path, call: Call, tmp_path: Path, drawn: list[int], kinds: str, count: int
) -> None:
    assert call("run", sample_clip, "--out", tmp_path, "--save", kinds, "--max-frames", 4, *SMALL).status == 0
    assert len(drawn) == count


def test_field_layers_can_be_drawn(sample_clip: Path, call: Call, tmp_path: Path) -> None:
    pictures = []
    for layers in ("bhm", "skhm,person_map", "pose"):
        arguments = ("--save", "video", "--overlay", layers, "--max-frames", 1, "--input-size", 257)
        assert call("run", sample_clip, "--out", tmp_path / layers, *arguments).status == 0
        with av.open(str(tmp_path / layers / "sample.mp4")) as container:
            pictures.append(next(container.decode(video=0)).to_ndarray(format="bgr24").astype(int))
    assert np.abs(pictures[0] - pictures[2]).mean() > 10  # the heat map darkens the rest
    assert np.abs(pictures[1] - pictures[2]).mean() > 1


def test_without_ids(sample_clip: Path, call: Call, tmp_path: Path) -> None:
    arguments = ("--save", "ndjson", "--max-frames", 2, "--input-size", 401)
    assert call("run", sample_clip, "--out", tmp_path / "a", "--no-track", *arguments).status == 0
    assert call("run", sample_clip, "--out", tmp_path / "b", "--smooth", *arguments).status == 0
    plain, smooth = (records(tmp_path / name / "sample.ndjson") for name in "ab")
    assert "id" not in plain[0]["instances"][0]
    assert smooth[0]["instances"][0].pop("id") == 1
    assert plain[0]["instances"][0] == smooth[0]["instances"][0]  # there is nothing to smooth in the first frame
    assert [p["keypoints"] for p in plain[1]["instances"]] != [p["keypoints"] for p in smooth[1]["instances"]]


def test_a_part_without_a_frame(sample_clip: Path, call: Call, tmp_path: Path) -> None:
    ended = call("run", sample_clip, "--out", tmp_path / "o", "--start", "1:00", *SMALL)
    assert ended.status == 2
    assert ended.error_line() == f"{sample_clip}: no frame lies in the part wanted: it lasts 8.000 s"
    assert names(tmp_path / "o") == []


def test_options_that_contradict_each_other(call: Call, tmp_path: Path) -> None:
    ended = call("run", "a.mp4", "--out", tmp_path, "--start", "5", "--end", "4")
    assert (ended.status, ended.error_line()) == (2, "--end 4: lies before --start 5")


@pytest.mark.parametrize("name", ["-dash.png", "new\nline.png", "quo'te \".png", "日本語.png", "[1]*.png"])
def test_file_names(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(cv2.imencode(".png", np.full((90, 120, 3), 200, np.uint8))[1].tobytes())
    ended = call("run", "--out", "o", "--save", EVERYTHING, *SMALL, "--", name, "gone\nfile.mp4")
    assert ended.status == 1
    assert ended.err == "error: gone\\nfile.mp4: no such file\n"
    stem = Path(name).stem
    assert f"{stem}.html" in names(tmp_path / "o")
    assert len(names(tmp_path / "o")) == 6


def test_a_list_on_stdin_and_a_glob(
    sample_still: Path, sample_clip: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "list.txt").write_text(f"{sample_clip}\n")
    arguments = ("--save", "csv", "--max-frames", 1, *SMALL)
    ended = call(
        "run", f"@{tmp_path / 'list.txt'}", sample_still.parent / "astro*.jpg", "--out", tmp_path / "o", *arguments
    )
    assert ended.status == 0
    assert names(tmp_path / "o") == ["astronaut.csv", "sample.csv"]


# What is told.


def test_quiet(sample_clip: Path, call: Call, tmp_path: Path) -> None:
    arguments = ("--out", tmp_path, "--quiet", "--max-frames", 2, *SMALL)
    ended = call("run", sample_clip, tmp_path / "gone.mp4", *arguments)
    assert (ended.status, ended.out) == (1, "")
    assert ended.error_line() == f"{tmp_path / 'gone.mp4'}: no such file"


def test_events_for_programs(sample_clip: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.run_events.PROGRESS_EVERY_S", 0.0)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(sample_clip.read_bytes()[:200_000])
    ended = call("run", cut, tmp_path / "gone.mp4", "--out", tmp_path / "o", "--log-json", *SMALL)
    assert (ended.status, ended.out) == (1, "")
    told = events(ended.err)
    kinds = [event["event"] for event in told]
    frames = kinds.count("progress")
    assert kinds == ["open", "start", *["progress"] * frames, "warning", "done", "start", "error", "end"]
    assert told[0]["sources"] == 2
    progress = told[1 + frames]
    assert progress["source"] == str(cut)
    assert (progress["frames"], progress["expected"]) == (frames, 80)
    assert progress["fps"] > 0
    assert progress["eta_s"] >= 0
    done = next(event for event in told if event["event"] == "done")
    assert (done["status"], done["frames"]) == ("partial", frames)
    assert done["files"] == [str(tmp_path / "o" / name) for name in ("cut.mp4", "cut.ndjson")]
    assert set(done["stages"]) == {"capture", "infer", "decode", "render", "write", "encode"}
    assert told[-2]["message"].endswith("gone.mp4: no such file")
    end = {key: value for key, value in told[-1].items() if key not in ("event", "time")}
    assert end == {"done": 0, "partial": 1, "interrupted": 0, "failed": 1, "left": 0}


def test_errors_before_the_first_source_for_programs(call: Call, tmp_path: Path) -> None:
    ended = call("run", "a.mp4", "--out", tmp_path, "--model", "huge", "--log-json")
    assert (ended.status, ended.out) == (2, "")
    [event] = events(ended.err)
    assert event["event"] == "error"
    assert event["message"].startswith("unknown model 'huge'")


@pytest.mark.parametrize("status", ["all", "none"])
def test_exit_status_when_all_or_none_is_done(sample_still: Path, call: Call, tmp_path: Path, status: str) -> None:
    sources = [sample_still] if status == "all" else [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    assert call("run", *sources, "--out", tmp_path / "o", *SMALL).status == (0 if status == "all" else 2)


# A network that says nothing stands in for the real one from here on.


def nobody(height: int, width: int) -> Instances:
    none = np.zeros((0, NUM_KEYPOINTS), np.float32)
    scores = np.zeros(0, np.float32)
    return Instances(
        np.zeros((0, NUM_KEYPOINTS, 2), np.float32), none, scores, scores, np.zeros((height, width), np.uint8)
    )


class Idle:
    """An estimator that finds nobody, at once."""

    batch = depth = 1

    def warmup(self, source_hw: tuple[int, int]) -> None:
        pass

    def submit(self, images: Any) -> None:
        self.under_way = [image.shape[:2] for image in images]

    def collect(self) -> Any:
        return self.under_way

    def decode(self, heads: Any) -> Instances:
        return nobody(*heads)


def test_one_clip_for_other_commands(sample_clip: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    settings = RunSettings(save=("csv", "ndjson"), end_s=1.0)
    report = process_clip(str(sample_clip), tmp_path / "x.y", settings, Idle(), lambda *n: told.append(n))  # type: ignore[arg-type]
    assert told == [(number, 10) for number in range(1, 11)]
    assert (report.status, report.frames, report.people, report.identities) == ("done", 10, 0, 0)
    assert (report.begin_s, report.end_s) == pytest.approx((0.0, 0.9))
    assert report.files == (tmp_path / "x.y.csv", tmp_path / "x.y.ndjson")
    assert json.loads(json.dumps(report.record()))["files"] == [str(path) for path in report.files]
    assert names(tmp_path) == ["x.y.csv", "x.y.ndjson"]


def test_frames_that_are_left_out_show_that_it_goes_on(sample_clip: Path, tmp_path: Path) -> None:
    passed: list[None] = []
    settings = RunSettings(save=("csv",), every_frames=40)
    report = process_clip(str(sample_clip), tmp_path / "x", settings, Idle(), passed=lambda: passed.append(None))  # type: ignore[arg-type]
    assert report.frames == 2
    assert len(passed) == 78


def test_a_worker_tells_of_frames_that_are_left_out(sample_clip: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    work = ClipWork(RunSettings(save=("csv",), every_frames=40), Idle())  # type: ignore[arg-type]
    done = work.do(Job(1, "clip", str(sample_clip), str(tmp_path), "x"), lambda *progress: told.append(progress))
    assert done.frames == 2
    assert len(told) == 80


def test_stopped_by_another_command(sample_clip: Path, tmp_path: Path) -> None:
    done: list[int] = []
    report = process_clip(
        str(sample_clip),
        tmp_path / "x",
        RunSettings(),
        Idle(),  # type: ignore[arg-type]
        lambda frames, _: done.append(frames),
        stopped=lambda: len(done) == 7,
    )
    assert (report.status, report.frames) == ("interrupted", 7)
    assert report.files == (tmp_path / "x.partial.mp4", tmp_path / "x.partial.ndjson")


def test_results_of_a_source_that_looks_like_a_growing_file(sample_clip: Path, tmp_path: Path) -> None:
    from engine.errors import UserError

    original = tmp_path / "x.partial.mp4"
    original.write_bytes(sample_clip.read_bytes())
    with pytest.raises(UserError, match="would replace this source"):
        process_clip(
            str(sample_clip),
            tmp_path / "x",
            RunSettings(),
            Idle(),  # type: ignore[arg-type]
            originals=clip_run.places([str(original)]),
        )
    assert original.read_bytes() == sample_clip.read_bytes()


KILLED = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}, {root!r} + "/tests/app"]
from app.clip_run import process_clip
from app.run_settings import RunSettings
from engine.structures import Instances
import importlib.util
spec = importlib.util.spec_from_file_location("kinds", {here!r})
kinds = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kinds)

def progress(done, expected):
    if done == {frames}:
        print("there", flush=True)
        sys.stdin.read()  # for ever

process_clip({clip!r}, Path({out!r}), RunSettings(save=("video", "ndjson", "csv")), kinds.Idle(), progress)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no such signal here")
@pytest.mark.parametrize("sound", [True, False])
def test_a_kill_loses_less_than_two_seconds(root: Path, sample_clip: Path, tmp_path: Path, sound: bool) -> None:
    """The clip has ten frames a second; it is killed when 60 are done."""
    clip = sample_clip if not sound else with_sound(sample_clip, tmp_path / "talkie.mp4")
    script = KILLED.format(root=str(root), here=__file__, frames=60, clip=str(clip), out=str(tmp_path / "x"))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root, env=os.environ
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        process.kill()
    left = {name for name in names(tmp_path) if name.startswith("x")}
    assert left == {"x.partial.csv", "x.partial.mp4", "x.partial.ndjson"}
    with av.open(str(tmp_path / "x.partial.mp4")) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    assert times == pytest.approx([number / 10 for number in range(len(times))], abs=1e-3)
    assert 40 <= len(times) <= 60
    assert [frame["frame"] for frame in records(tmp_path / "x.partial.ndjson")] == list(range(60))


def with_sound(clip: Path, target: Path) -> Path:
    """The clip with one second of sound at its beginning: later there is none, which must not hold up the pictures."""
    with av.open(str(clip)) as source, av.open(str(target), "w") as output:
        video = output.add_stream_from_template(source.streams.video[0])
        audio = output.add_stream("aac", rate=48000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), format="fltp", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = 48000, 0, Fraction(1, 48000)
        output.mux([*audio.encode(sound), *audio.encode(None)])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = video
                output.mux(packet)
    return target


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_disk_that_is_really_full(sample_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The growing CSV file is a link to a device without room."""
    from engine.errors import UserError

    begin = CsvWriter.__enter__

    def begin_without_room(self: CsvWriter) -> CsvWriter:
        begin(self)
        self.growing_path.unlink()
        self.growing_path.symlink_to("/dev/full")
        status = os.stat("/dev/full")
        self._place = status.st_dev, status.st_ino
        return self

    monkeypatch.setattr(CsvWriter, "__enter__", begin_without_room)
    with pytest.raises(UserError) as caught:
        process_clip(str(sample_clip), tmp_path / "x", RunSettings(save=("video", "csv")), Idle())  # type: ignore[arg-type]
    assert str(caught.value) == f"{tmp_path / 'x.csv'}: cannot be written: No space left on device"
    with av.open(str(tmp_path / "x.partial.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 1
