"""Recording a live view: what a kill, a full disk and a slow disk leave behind."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import av
import numpy as np
import pytest

from engine.errors import UserError
from pipeline import recorder as recorders
from pipeline.frames import Frame, FrameResult, Rendered
from pipeline.h264 import VIDEO_FORMATS, H264File
from pipeline.recorder import Recorder
from pipeline.runner import Pipeline
from pipeline.source_base import SourceInfo
from pipeline.sources import open_source

CAMERA = SourceInfo("camera", 96, 64, None, None)
WAIT_S = 20.0  # a bound for what must happen anyway; never a measurement
FPS = 15

# A process that records noise (so that the file grows quickly), frame after frame, none faster than it is written.
RECORDING = f"""
import os, resource, signal, sys, time
import numpy as np
from engine.structures import Instances
from pipeline.frames import Frame, FrameResult, Rendered
from pipeline.recorder import Recorder
from pipeline.source_base import SourceInfo

nobody = Instances(np.zeros((0, 17, 2), "f4"), np.zeros((0, 17), "f4"), np.zeros(0, "f4"), np.zeros(0, "f4"),
                   np.zeros((120, 160), "u1"))
noise = np.random.default_rng(0).integers(0, 256, (8, 120, 160, 3), dtype=np.uint8)

def start(path):
    recorder = Recorder(path, SourceInfo("camera", 160, 120, {FPS}.0, None))
    recorder.start()
    return recorder

def record(recorder, count):
    for index in range(count):
        frame = Frame.of(noise[index % 8], index, index / {FPS}, None)
        recorder.write(Rendered(FrameResult(frame, nobody, None, {{}}), frame.image))
        while recorder.state.written <= index and recorder.state.phase == "recording":
            time.sleep(0.001)
"""
KILLED = """
if sys.argv[3] == "still":
    noise[:] = 90  # so few bytes that no buffer fills up by itself
recorder = start(sys.argv[1])
record(recorder, int(sys.argv[2]))
os.kill(os.getpid(), signal.SIGKILL)
"""
# A limit to the size of files is as good as a full disk, and needs no disk.
LIMITED = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for path, count, limit in zip(sys.argv[1::3], sys.argv[2::3], sys.argv[3::3]):
    recorder = start(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    record(recorder, int(count))
    recorder.stop()
    recorder.join()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(recorder.state.phase, recorder.state.written, recorder.state.message)
"""
needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="uses POSIX signals and limits")


def process(root: Path, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RECORDING + code, *map(str, arguments)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)


def frame_times_s(path: Path) -> list[float]:
    """Times of all frames that can be decoded, as a player would show them."""
    times_s = []
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            try:
                times_s += [float(frame.time) for frame in packet.decode()]
            except av.FFmpegError:  # the last one of a file that was cut off
                break
    return times_s


def camera_frame(make_rendered, index: int, t_capture_s: float, t_media_s: float | None = None) -> Rendered:
    plain = make_rendered(index)
    frame = Frame.of(plain.canvas, index, t_capture_s, t_media_s)
    return Rendered(FrameResult(frame, plain.result.instances, None, {}), plain.canvas)


class Stuck:
    """A disk that takes nothing until `release` is set."""

    def __init__(self) -> None:
        self.reached, self.release = threading.Event(), threading.Event()

    def wait(self) -> None:
        self.reached.set()
        assert self.release.wait(WAIT_S)


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Stuck:
    disk, write = Stuck(), H264File.write

    def waiting(self: H264File, canvas: np.ndarray, time_s: float) -> None:
        disk.wait()
        write(self, canvas, time_s)

    monkeypatch.setattr(H264File, "write", waiting)
    return disk


# ---- an orderly recording


@pytest.mark.parametrize("suffix", VIDEO_FORMATS)
def test_a_finished_recording_has_its_name_all_frames_and_their_times(tmp_path, make_rendered, suffix) -> None:
    path = tmp_path / f"out{suffix}"
    times_s = [0.0, 0.07, 0.1, 0.5, 3.0]
    with Recorder(path, CAMERA) as recorder:
        assert [p.name for p in tmp_path.iterdir()] == [f"out.partial{suffix}"]
        for index, time_s in enumerate(times_s):
            recorder.write(camera_frame(make_rendered, index, 1000 + time_s))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert frame_times_s(path) == pytest.approx(times_s, abs=2e-3)
    state = recorder.state
    assert (state.phase, state.written, state.lost, state.message) == ("saved", 5, 0, "")
    assert state.seconds == pytest.approx(3.04)


def test_a_finished_mp4_is_an_ordinary_one(tmp_path, make_rendered) -> None:
    path = tmp_path / "out.mp4"
    with Recorder(path, CAMERA) as recorder:
        for index in range(40):
            recorder.write(camera_frame(make_rendered, index, index / 10))
    assert b"moof" not in path.read_bytes()[:200]
    source = open_source(str(path))
    with source:
        assert len(list(source)) == 40
    assert source.warnings == []


def test_a_pipeline_records_through_its_tap(tmp_path, fake_source, make_heads, make_instances) -> None:
    path = tmp_path / "out.mkv"
    pipeline = Pipeline(fake_source(12), lambda image: make_heads(), lambda heads: make_instances(1))
    with Recorder(path, CAMERA) as recorder:
        pipeline.tap = recorder.write
        with pipeline:
            assert len(list(pipeline)) == 12
    assert frame_times_s(path) == pytest.approx([index / 25 for index in range(12)], abs=1e-3)


def test_jumps_of_a_clip_that_is_played_are_left_out(tmp_path, make_rendered) -> None:
    path = tmp_path / "out.mp4"
    media_s = [5.0, 5.1, 90.0, 90.1, 2.0, 2.1]  # two seeks
    with Recorder(path, SourceInfo("clip", 96, 64, 10.0, None)) as recorder:
        for index, time_s in enumerate(media_s):
            recorder.write(camera_frame(make_rendered, index, 0.0, time_s))
    assert frame_times_s(path) == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5], abs=1e-3)


def test_without_a_frame_there_is_no_file(tmp_path) -> None:
    with Recorder(tmp_path / "out.mp4", CAMERA) as recorder:
        pass
    assert recorder.state.phase == "saved"
    assert list(tmp_path.iterdir()) == []


def test_stop_returns_at_once_and_what_waits_is_still_written(tmp_path, make_rendered, stuck) -> None:
    recorder = Recorder(tmp_path / "out.mp4", CAMERA)
    recorder.start()
    for index in range(5):
        recorder.write(camera_frame(make_rendered, index, index / 10))
    recorder.stop()
    recorder.stop()
    assert recorder.state.phase == "finishing"
    assert not recorder.join(0.0)
    recorder.write(camera_frame(make_rendered, 5, 0.5))  # after the end: not wanted, no error
    stuck.release.set()
    assert recorder.join(WAIT_S)
    assert (recorder.state.phase, recorder.state.written) == ("saved", 5)


# ---- nothing is replaced


@pytest.mark.parametrize("taken", ["out.mp4", "out.partial.mp4"])
def test_a_recording_replaces_nothing(tmp_path, taken) -> None:
    (tmp_path / taken).write_bytes(b"older")
    with pytest.raises(UserError, match="is there already"):
        Recorder(tmp_path / "out.mp4", CAMERA).start()
    assert (tmp_path / taken).read_bytes() == b"older"


def test_a_folder_that_is_not_there_is_told_before_anything_runs(tmp_path) -> None:
    with pytest.raises(UserError, match="cannot be recorded: No such file or directory"):
        Recorder(tmp_path / "nowhere" / "out.mp4", CAMERA).start()


def test_other_formats_are_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="videos are written as"):
        Recorder(tmp_path / "out.avi", CAMERA)


# ---- a disk that is slow or full


def test_a_slow_disk_never_slows_the_view_and_what_is_lost_is_counted(tmp_path, make_rendered, stuck, monkeypatch):
    monkeypatch.setattr(recorders, "QUEUE_BYTES", 8 * 96 * 64 * 3)
    recorder = Recorder(tmp_path / "out.mp4", CAMERA)
    recorder.start()
    recorder.write(camera_frame(make_rendered, 0, 0.0))
    assert stuck.reached.wait(WAIT_S)  # the thread has taken the first one and is stuck with it
    for index in range(1, 21):
        recorder.write(camera_frame(make_rendered, index, index / 10))  # would hang here
    assert recorder.state.lost == 20 - 8
    stuck.release.set()
    recorder.stop()
    assert recorder.join(WAIT_S)
    assert (recorder.state.phase, recorder.state.written, recorder.state.lost) == ("saved", 9, 12)
    assert "12 frames were lost" in recorder.state.message
    assert frame_times_s(recorder.path) == pytest.approx([0.0, *(index / 10 for index in range(13, 21))], abs=1e-3)


@needs_posix
def test_a_full_disk_keeps_what_was_written(root, tmp_path) -> None:
    paths = [tmp_path / name for name in ("early.mp4", "late.mp4", "early.mkv", "late.mkv")]
    limits = (150_000, 400_000, 150_000, 400_000)
    jobs = [argument for path, limit in zip(paths, limits, strict=True) for argument in (path, 200, limit)]
    ended = process(root, LIMITED, *jobs)
    assert ended.stderr == ""
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    for path, line in zip(paths, ended.stdout.splitlines(), strict=True):
        phase, written, message = line.split(" ", 2)
        assert phase == "failed"
        assert message.startswith("the recording has ended early: File too large; about ")
        assert message.endswith(f"s are kept in {path}")
        assert len(frame_times_s(path)) >= max(2, int(written) - FPS)  # the piece without room is half a second


@needs_posix
def test_a_disk_that_is_full_at_the_very_end_keeps_every_frame(root, tmp_path) -> None:
    """An MP4's index is written last; where it finds no room, the file must stay what it was before."""
    whole = tmp_path / "whole.mp4"
    assert process(root, LIMITED, whole, 40, 10**9).stdout.startswith("saved 40")
    size = whole.stat().st_size
    paths = {missing: tmp_path / f"{missing}.mp4" for missing in (1, 100, 300, 700)}
    jobs = [argument for missing, path in paths.items() for argument in (path, 40, size - missing)]
    lines = process(root, LIMITED, *jobs).stdout.splitlines()
    assert [line[:9] for line in lines] == ["failed 40"] * len(paths)
    assert [len(frame_times_s(path)) for path in paths.values()] == [40] * len(paths)


def test_a_full_disk_ends_the_recording_and_not_the_view(tmp_path, make_rendered, monkeypatch) -> None:
    def full(self: H264File, canvas: np.ndarray, time_s: float) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(H264File, "write", full)
    recorder = Recorder(tmp_path / "out.mp4", CAMERA)
    recorder.start()
    recorder.write(camera_frame(make_rendered, 0, 0.0))
    assert recorder.join(WAIT_S)  # by itself
    recorder.write(camera_frame(make_rendered, 1, 0.1))  # the view goes on and does not notice
    assert recorder.state.phase == "failed"
    assert recorder.state.message == ("the recording has ended early: No space left on device; nothing was recorded")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_was_taken_away_leaves_the_video_where_it_is(tmp_path, make_rendered, monkeypatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with Recorder(tmp_path / "out.mp4", CAMERA) as recorder:
        recorder.write(camera_frame(make_rendered, 0, 0.0))
    assert recorder.state.phase == "failed"
    assert str(recorder.growing_path) in recorder.state.message
    assert len(frame_times_s(recorder.growing_path)) == 1


# ---- a program that is killed


@needs_posix
@pytest.mark.parametrize(("suffix", "content"), [(".mp4", "noise"), (".mp4", "still"), (".mkv", "still")])
def test_a_kill_loses_less_than_two_seconds_and_the_file_plays(root, tmp_path, suffix, content) -> None:
    count = 4 * FPS - 1
    ended = process(root, KILLED, tmp_path / f"out{suffix}", count, content)
    assert ended.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name == f"out.partial{suffix}"
    times_s = frame_times_s(left)
    assert times_s[0] == 0.0
    assert times_s[-1] >= (count - 1) / FPS - 0.7  # promised are two seconds
    source = open_source(str(left))  # and this program opens it, too
    with source:
        assert len(list(source)) == len(times_s)
