import dataclasses
import json
import os
from fractions import Fraction

import av
import cv2
import numpy as np
import pycocotools.mask
import pytest

from engine.errors import UserError
from engine.skeleton import NUM_KEYPOINTS
from engine.structures import Instances
from pipeline.h264 import TICKS_PER_S, VIDEO_FORMATS
from pipeline.records import frame_record
from pipeline.sinks import NdjsonWriter, PictureWriter, VideoWriter
from pipeline.sources import SourceInfo, open_source

INFO = SourceInfo("clip.mp4", 96, 64, 25.0, None)
SINKS = [
    pytest.param("out.mp4", "out.partial.mp4", lambda path: VideoWriter(path, INFO), id="video"),
    pytest.param("out.ndjson", "out.partial.ndjson", NdjsonWriter, id="ndjson"),
    pytest.param("out.png", "out.partial.png", PictureWriter, id="picture"),
]


def read_back(path):
    """The frames of a written video and its container's duration in seconds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return frames, container.duration / av.time_base


def write_and_raise(sink, frames):
    """Leave the sink's block by Ctrl-C after some frames."""
    with sink:
        for rendered in frames:
            sink.write(rendered)
        raise KeyboardInterrupt


# ---- what all sinks promise


@pytest.mark.parametrize(("name", "partial", "make_sink"), SINKS)
def test_the_target_appears_only_when_the_block_ends_well(tmp_path, make_rendered, name, partial, make_sink) -> None:
    with make_sink(tmp_path / name) as sink:
        sink.write(make_rendered())
        assert [p.name for p in tmp_path.iterdir()] == [partial]
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert sink.count == 1


@pytest.mark.parametrize(("name", "partial", "make_sink"), SINKS)
def test_an_exception_leaves_what_was_done_under_the_partial_name(
    tmp_path, make_rendered, name, partial, make_sink
) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_and_raise(make_sink(tmp_path / name), [make_rendered()])
    kept = [p.name for p in tmp_path.iterdir()]
    assert kept == ([] if name == "out.png" else [partial])  # half a picture is of no use


@pytest.mark.parametrize(("name", "partial", "make_sink"), SINKS)
def test_an_exception_before_the_first_frame_leaves_nothing(tmp_path, name, partial, make_sink) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_and_raise(make_sink(tmp_path / name), [])
    assert list(tmp_path.iterdir()) == []


def test_a_partial_video_plays_and_partial_lines_are_whole(tmp_path, make_rendered) -> None:
    frames = [make_rendered(index, index / 25) for index in range(7)]
    for sink in (VideoWriter(tmp_path / "out.mp4", INFO), NdjsonWriter(tmp_path / "out.ndjson")):
        with pytest.raises(KeyboardInterrupt):
            write_and_raise(sink, frames)
    assert len(read_back(tmp_path / "out.partial.mp4")[0]) == 7
    lines = (tmp_path / "out.partial.ndjson").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["frame"] for line in lines] == list(range(7))


def test_lines_are_in_the_file_at_once(tmp_path, make_rendered) -> None:
    with NdjsonWriter(tmp_path / "out.ndjson") as sink:
        for index in range(3):
            sink.write(make_rendered(index))
            assert sink.growing_path.read_bytes().count(b"\n") == index + 1


def test_what_a_killed_run_left_is_replaced(tmp_path, make_rendered) -> None:
    (tmp_path / "out.partial.ndjson").write_text("old\n")
    with NdjsonWriter(tmp_path / "out.ndjson") as sink:
        sink.write(make_rendered())
    assert [p.name for p in tmp_path.iterdir()] == ["out.ndjson"]
    assert "old" not in (tmp_path / "out.ndjson").read_text()


def test_a_file_that_another_run_has_begun_is_never_taken_for_the_own(tmp_path, make_rendered) -> None:
    sink = NdjsonWriter(tmp_path / "out.ndjson").__enter__()
    sink.write(make_rendered())
    (tmp_path / "other").write_text("half a li")
    (tmp_path / "other").replace(sink.growing_path)
    with pytest.raises(UserError, match="another run has taken this name"):
        sink.__exit__(None, None, None)
    assert [p.name for p in tmp_path.iterdir()] == ["out.partial.ndjson"]


@pytest.mark.parametrize(("name", "partial", "make_sink"), SINKS)
def test_the_second_of_two_runs_at_once_is_whole_and_the_first_is_told(
    tmp_path, make_rendered, name, partial, make_sink
):
    told = []

    def act(function, *arguments) -> None:
        try:
            function(*arguments)
        except UserError as error:
            told.append(str(error))

    first, second = make_sink(tmp_path / name).__enter__(), make_sink(tmp_path / name).__enter__()
    for sink in (second, first):
        act(sink.write, make_rendered())
    act(first.__exit__, None, None, None)
    assert all("another run has taken this name" in text for text in told)
    assert told
    second.__exit__(None, None, None)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    with make_sink(tmp_path / name) as alone:
        alone.write(make_rendered())
    assert whole == (tmp_path / name).read_bytes()


def test_a_result_is_on_the_disk_before_it_has_its_name(tmp_path, make_rendered, monkeypatch) -> None:
    sync, seen = os.fsync, []

    def noted(descriptor: int) -> None:
        seen.append(sorted(path.name for path in tmp_path.iterdir()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    with NdjsonWriter(tmp_path / "out.ndjson") as sink:
        sink.write(make_rendered())
    assert seen[0] == ["out.partial.ndjson"]
    assert seen[1:] == [["out.ndjson"]] * (os.name == "posix")  # the folder, with the new name


@pytest.mark.parametrize(("name", "partial", "make_sink"), SINKS)
def test_no_frame_no_file(tmp_path, name, partial, make_sink) -> None:
    with make_sink(tmp_path / name):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "partial", "make_sink"), SINKS)
def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path, make_rendered, name, partial, make_sink) -> None:
    path = tmp_path / name
    path.write_bytes(b"older")
    with pytest.raises(KeyboardInterrupt):
        write_and_raise(make_sink(path), [make_rendered()])
    assert path.read_bytes() == b"older"
    with make_sink(path) as sink:
        sink.write(make_rendered())
        assert path.read_bytes() == b"older"
    assert path.read_bytes() != b"older"


@pytest.mark.parametrize(("name", "partial", "make_sink"), SINKS)
def test_a_folder_that_takes_no_file_is_named_before_any_work(tmp_path, name, partial, make_sink) -> None:
    folder = tmp_path / "nowhere"
    with pytest.raises(UserError, match="No such file or directory") as caught:
        make_sink(folder / name).__enter__()
    assert str(caught.value).startswith(f"{folder}: cannot write {name} there")


def test_a_folder_without_permission_is_named(tmp_path, monkeypatch) -> None:
    def refuse(path, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.open", refuse)  # root may write anywhere, so no real folder refuses
    with pytest.raises(UserError, match="there: Permission denied"):
        NdjsonWriter(tmp_path / "out.ndjson").__enter__()


@pytest.mark.parametrize(("name", "partial", "make_sink"), SINKS)
def test_a_folder_of_the_targets_name_is_refused(tmp_path, name, partial, make_sink) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="is a folder"):
        make_sink(tmp_path / name).__enter__()


def test_a_full_disk_is_told_in_one_line(tmp_path, make_rendered, monkeypatch) -> None:
    def full(self, rendered):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(NdjsonWriter, "_write", full)
    path = tmp_path / "out.ndjson"
    with pytest.raises(UserError) as caught, NdjsonWriter(path) as sink:
        sink.write(make_rendered())
    assert str(caught.value) == f"{path}: cannot be written: No space left on device"
    assert isinstance(caught.value.__cause__, OSError)
    assert list(tmp_path.iterdir()) == []  # not one frame was written


def test_a_disk_that_fills_up_at_the_very_end_keeps_the_part(tmp_path, make_rendered, monkeypatch) -> None:
    def full(self):
        self._file.close()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(NdjsonWriter, "_finish", full)
    with pytest.raises(UserError, match="No space left"), NdjsonWriter(tmp_path / "out.ndjson") as sink:
        sink.write(make_rendered())
    assert [p.name for p in tmp_path.iterdir()] == ["out.partial.ndjson"]


def test_a_folder_that_is_taken_away_is_told(tmp_path, make_rendered) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    path = folder / "out.ndjson"
    sink = NdjsonWriter(path).__enter__()
    sink.write(make_rendered())
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError) as caught:
        sink.__exit__(None, None, None)
    assert str(caught.value) == f"{path}: cannot be written: No such file or directory"
    assert [p.name for p in (tmp_path / "elsewhere").iterdir()] == ["out.partial.ndjson"]


# ---- video


@pytest.mark.parametrize("suffix", VIDEO_FORMATS)
def test_uneven_timestamps_survive(tmp_path, make_rendered, suffix) -> None:
    path = tmp_path / f"out{suffix}"
    times_s = [0.0, 0.04, 0.09, 0.4, 0.41, 1.0]
    with VideoWriter(path, INFO) as sink:
        for index, time_s in enumerate(times_s):
            sink.write(make_rendered(index, time_s))
    frames, duration_s = read_back(path)
    assert [float(f.pts * f.time_base) for f in frames] == pytest.approx(times_s, abs=1e-3)
    assert duration_s == pytest.approx(1.04, abs=2e-3)  # the last frame is shown, too


def test_ntsc_timestamps_are_exact(tmp_path, make_rendered) -> None:
    path = tmp_path / "out.mp4"
    with VideoWriter(path, SourceInfo("ntsc", 96, 64, 30_000 / 1001, None)) as sink:
        for index in range(4):
            sink.write(make_rendered(index, index * 1001 / 30_000))
    frames, _ = read_back(path)
    assert [f.pts * f.time_base * TICKS_PER_S for f in frames] == [0, 3003, 6006, 9009]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_times_that_stand_still_or_go_back_are_pushed_on(tmp_path, make_rendered, suffix) -> None:
    path = tmp_path / f"out{suffix}"
    with VideoWriter(path, INFO) as sink:
        for index, time_s in enumerate([0.0, 0.0, 0.2, 0.1, 0.3]):
            sink.write(make_rendered(index, time_s))
    frames, _ = read_back(path)
    written_s = [float(f.pts * f.time_base) for f in frames]
    assert len(written_s) == 5
    assert written_s == sorted(set(written_s))
    assert written_s[-1] == pytest.approx(0.3)


def test_frames_without_a_time_follow_the_sources_rate(tmp_path, make_rendered) -> None:
    path = tmp_path / "out.mp4"
    with VideoWriter(path, SourceInfo("camera", 96, 64, 10.0, None)) as sink:
        for index in (0, 1, 3):
            sink.write(make_rendered(index, None))
    frames, _ = read_back(path)
    assert [float(f.pts * f.time_base) for f in frames] == pytest.approx([0.0, 0.1, 0.3])


@pytest.mark.parametrize(("width", "height"), [(95, 63), (96, 63), (95, 64), (96, 64), (2, 2)])
def test_odd_sizes_grow_by_one_pixel(tmp_path, make_rendered, width, height) -> None:
    path = tmp_path / "out.mp4"
    image = np.full((height, width, 3), (40, 80, 200), np.uint8)
    with VideoWriter(path, INFO) as sink:
        sink.write(make_rendered(0, 0.0, image))
    (frame,), _ = read_back(path)
    assert (frame.width, frame.height) == (width + width % 2, height + height % 2)
    written = frame.to_ndarray(format="bgr24").astype(int)
    np.testing.assert_allclose(written[-1, -1], (40, 80, 200), atol=12)  # the new edge repeats the old one


def test_colours_come_back_and_are_declared(tmp_path, make_rendered) -> None:
    path = tmp_path / "out.mp4"
    image = np.full((64, 96, 3), (30, 60, 220), np.uint8)
    with VideoWriter(path, INFO) as sink:
        sink.write(make_rendered(0, 0.0, image))
    (frame,), _ = read_back(path)
    assert frame.colorspace == av.video.reformatter.Colorspace.ITU709
    np.testing.assert_allclose(frame.to_ndarray(format="bgr24")[32, 48].astype(int), (30, 60, 220), atol=6)


def test_another_size_is_fitted_into_the_first(tmp_path, make_rendered) -> None:
    path = tmp_path / "out.mp4"
    white = np.full((96, 48, 3), 255, np.uint8)
    with VideoWriter(path, INFO) as sink:
        sink.write(make_rendered(0, 0.0))
        sink.write(make_rendered(1, 0.1, white))
    frames, _ = read_back(path)
    second = frames[1].to_ndarray(format="bgr24")
    assert second.shape == (64, 96, 3)
    assert second[32, 48].min() > 230  # 32x64 in the middle
    assert second[32, 10].max() < 30
    assert second[32, 86].max() < 30


def test_the_first_frame_is_at_0_wherever_it_was_in_the_clip(tmp_path, make_rendered) -> None:
    path = tmp_path / "out.mp4"
    with VideoWriter(path, INFO) as sink:
        for index, time_s in enumerate([10.0, 10.04, 10.5]):
            sink.write(make_rendered(index, time_s))
    frames, _ = read_back(path)
    assert [float(f.pts * f.time_base) for f in frames] == pytest.approx([0.0, 0.04, 0.5])


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_shape_of_the_pixels_goes_along(tmp_path, make_rendered, suffix) -> None:
    path = tmp_path / f"out{suffix}"
    with VideoWriter(path, dataclasses.replace(INFO, sample_aspect=Fraction(16, 11))) as sink:
        sink.write(make_rendered())
    with av.open(str(path)) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 11)
    assert open_source(str(path)).info.sample_aspect == Fraction(16, 11)


def test_a_written_video_can_be_a_source(tmp_path, make_rendered, number_in) -> None:
    path = tmp_path / "out.mkv"
    with VideoWriter(path, INFO) as sink:
        for index in range(8):
            sink.write(make_rendered(index, index / 25))
    source = open_source(str(path))
    with source:
        assert [number_in(f.image) for f in source] == list(range(8))
    assert source.warnings == []


@pytest.mark.parametrize("name", ["out.avi", "out", "out.txt"])
def test_other_video_formats_are_refused(tmp_path, name) -> None:
    with pytest.raises(UserError, match=r"written as \.mp4, \.m4v, \.mov, \.mkv"):
        VideoWriter(tmp_path / name, INFO)


# ---- NDJSON


@pytest.fixture
def two_people(make_instances):
    """Two people; the first lacks a keypoint, the second owns no pixel, all numbers need rounding."""
    plain = make_instances(2)
    keypoints_xy = plain.keypoints_xy + np.float32(1 / 3)
    keypoint_scores = plain.keypoint_scores - np.float32(0.012345)
    keypoints_xy[0, 4], keypoint_scores[0, 4] = (-0.0, 0.0), 0.0
    labels = np.where(plain.label_map == 1, plain.label_map, 0).astype(np.uint8)
    return Instances(keypoints_xy, keypoint_scores, plain.scores, plain.mask_scores, labels)


def test_a_line_has_the_promised_keys_and_values(tmp_path, make_rendered, two_people) -> None:
    path = tmp_path / "out.ndjson"
    with NdjsonWriter(path) as sink:
        sink.write(make_rendered(7, 0.28, instances=two_people))
    (line,) = path.read_text(encoding="utf-8").splitlines()
    record = json.loads(line)
    assert list(record) == ["frame", "time_s", "width", "height", "instances"]
    assert (record["frame"], record["time_s"], record["width"], record["height"]) == (7, 0.28, 96, 64)
    assert len(record["instances"]) == 2
    for instance, score in zip(record["instances"], (0.9, 0.5), strict=True):
        assert list(instance) == ["score", "mask_score", "bbox_xywh", "keypoints", "mask"]
        assert instance["score"] == score
        assert len(instance["keypoints"]) == NUM_KEYPOINTS
        assert all(len(row) == 3 for row in instance["keypoints"])
        assert instance["mask"]["size"] == [64, 96]
    first, second = record["instances"]
    assert first["keypoints"][0] == [4.33, 8.33, 0.7377]
    assert first["keypoints"][4] == [0.0, 0.0, 0.0]
    assert first["bbox_xywh"] == [4.0, 8.0, 40.0, 48.0]
    assert second["bbox_xywh"] == [52.33, 8.33, 40.0, 48.0]  # around its keypoints
    assert "-0.0" not in line


def test_ids_come_first_where_people_were_followed(make_rendered, two_people) -> None:
    rendered = make_rendered(0, 0.0, instances=two_people)
    result = dataclasses.replace(rendered.result, identities=np.array([12, 3]))
    people = frame_record(dataclasses.replace(rendered, result=result))["instances"]
    assert [person["id"] for person in people] == [12, 3]
    assert list(people[0]) == ["id", "score", "mask_score", "bbox_xywh", "keypoints", "mask"]


def test_the_run_lengths_decode_to_the_same_masks(make_rendered) -> None:
    labels = np.random.default_rng(0).integers(0, 4, (37, 53), dtype=np.uint8)
    keypoints = np.zeros((3, NUM_KEYPOINTS, 2), np.float32)
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    instances = Instances(keypoints, keypoints[:, :, 0], scores, scores, labels)
    image = np.zeros((37, 53, 3), np.uint8)
    record = frame_record(make_rendered(0, 0.0, image, instances))
    for index, instance in enumerate(record["instances"]):
        np.testing.assert_array_equal(pycocotools.mask.decode(instance["mask"]), instances.mask(index))


def test_the_same_results_give_the_same_bytes(tmp_path, make_rendered, two_people) -> None:
    contents = []
    for name in ("first.ndjson", "second.ndjson"):
        with NdjsonWriter(tmp_path / name) as sink:
            for index in range(3):
                sink.write(make_rendered(index, index / 30, instances=two_people))
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]
    assert contents[0].count(b"\n") == 3
    assert contents[0].endswith(b"}\n")


def test_nobody_and_no_time_are_written_too(make_rendered) -> None:
    record = frame_record(make_rendered(3, None))
    assert record == {"frame": 3, "time_s": None, "width": 96, "height": 64, "instances": []}


# ---- picture


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".bmp", ".tiff"])
def test_a_picture_is_written_without_loss_to_any_name(tmp_path, make_rendered, suffix) -> None:
    path = tmp_path / f"Bild ü 散歩{suffix}"
    rendered = make_rendered()
    with PictureWriter(path) as sink:
        sink.write(rendered)
    stored = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(stored, rendered.canvas)


def test_a_picture_holds_one_frame(tmp_path, make_rendered) -> None:
    sink = PictureWriter(tmp_path / "out.png")
    with pytest.raises(ValueError, match="one frame"):
        write_and_raise(sink, [make_rendered(0), make_rendered(1)])
    assert list(tmp_path.iterdir()) == []


def test_other_picture_formats_are_refused(tmp_path) -> None:
    with pytest.raises(UserError, match=r"written as \.png"):
        PictureWriter(tmp_path / "out.gif")
