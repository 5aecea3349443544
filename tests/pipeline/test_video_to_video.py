"""The parts together: a clip through fake steps into a video and its NDJSON."""

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from engine.errors import UserError
from engine.structures import Instances
from pipeline.frames import FrameResult, Rendered
from pipeline.overlays import OverlayStyle
from pipeline.render import draw
from pipeline.runner import Pipeline
from pipeline.sinks import NdjsonWriter, PictureWriter, VideoWriter
from pipeline.sources import open_source

NOBODY = Instances(
    keypoints_xy=np.zeros((0, 17, 2), np.float32),
    keypoint_scores=np.zeros((0, 17), np.float32),
    scores=np.zeros(0, np.float32),
    mask_scores=np.zeros(0, np.float32),
    label_map=np.zeros((64, 96), np.uint8),
)


@pytest.fixture
def run(tmp_path, make_heads, make_instances):
    """Run a clip through steps that find two people in every frame."""

    def run(clip, name):
        source = open_source(str(clip))
        style = OverlayStyle()

        def decode(heads):
            return make_instances(2, source.info.height, source.info.width)

        def render(result):
            return draw(result.frame.image, result.instances, style)

        pipeline = Pipeline(source, lambda image: make_heads(), decode, render)
        video, lines = tmp_path / f"{name}.mp4", tmp_path / f"{name}.ndjson"
        with VideoWriter(video, source.info) as video_sink, NdjsonWriter(lines) as line_sink, pipeline:
            for rendered in pipeline:
                video_sink.write(rendered)
                line_sink.write(rendered)
        return video, lines, source.warnings

    return run


def test_times_and_frames_match_between_clip_video_and_lines(make_clip, run) -> None:
    times_s = [0.0, 0.05, 0.1, 0.3, 0.32, 0.7]
    video, lines, warnings = run(make_clip("clip.mkv", count=6, times_s=times_s), "out")
    with av.open(str(video)) as container:
        written_s = [float(f.pts * f.time_base) for f in container.decode(video=0)]
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    assert written_s == pytest.approx(times_s)
    assert [r["time_s"] for r in records] == times_s
    assert [r["frame"] for r in records] == list(range(6))
    assert all(len(r["instances"]) == 2 for r in records)
    assert warnings == []


def test_two_runs_give_the_same_lines(make_clip, run) -> None:
    clip = make_clip("clip.mp4", count=6)
    assert run(clip, "first")[1].read_bytes() == run(clip, "second")[1].read_bytes()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads by Linux's /proc")
def test_frames_start_no_threads_of_their_own(make_clip, tmp_path) -> None:
    """PyAV gives every frame a scaler; on its defaults each of them starts threads that live as long as the frame."""

    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    source = open_source(str(make_clip("clip.mp4", count=24)))
    with source, VideoWriter(tmp_path / "out.mp4", source.info) as sink:
        counts = []
        for frame in source:
            sink.write(Rendered(FrameResult(frame, NOBODY, None, {}), frame.image))
            counts.append(threads())
    assert max(counts[4:]) <= counts[4]


def test_a_turned_clip_is_written_upright(make_clip, run) -> None:
    video, _, _ = run(make_clip("clip.mp4", count=2, rotation=90), "out")
    with av.open(str(video)) as container:
        frame = next(container.decode(video=0))
    assert (frame.width, frame.height, frame.rotation) == (64, 96, 0)


def test_a_cut_clip_is_worked_through_and_reported(make_clip, run) -> None:
    clip = make_clip("clip.mp4", count=30, faststart=True)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 3 // 4])
    _, lines, warnings = run(clip, "out")
    assert len(warnings) == 1
    assert f"ends early after {len(lines.read_text().splitlines())} frames" in warnings[0]


def test_a_failing_step_leaves_no_output(tmp_path, make_clip, make_heads) -> None:
    def fail(heads):
        raise UserError("the model does not fit")

    source = open_source(str(make_clip("clip.mp4", count=4)))
    pipeline = Pipeline(source, lambda image: make_heads(), fail)
    sink = NdjsonWriter(tmp_path / "out.ndjson")
    with pytest.raises(UserError, match="does not fit"), sink, pipeline:
        sink.write(next(pipeline))
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_picture_goes_through_as_one_frame(tmp_path, make_heads, make_instances) -> None:
    path = tmp_path / "still.png"
    image = np.random.default_rng(0).integers(0, 256, (63, 95, 3), dtype=np.uint8)
    with PictureWriter(path) as sink:
        source = open_source(str(_png(tmp_path / "in.png", image)))
        with Pipeline(source, lambda image: make_heads(), lambda heads: make_instances(1, 63, 95)) as pipeline:
            for rendered in pipeline:
                sink.write(rendered)
    source = open_source(str(path))
    with source:
        np.testing.assert_array_equal(next(iter(source)).image, image)


def _png(path, image):
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return path
