import gc

import av
import cv2
import numpy as np
import pytest

from engine.errors import UserError
from pipeline.clips import FileSource
from pipeline.sources import SourceInfo, open_source

H264_MKV, MJPEG_AVI = ("clip.mkv", "libx264"), ("clip.avi", "mjpeg")


# ---- whole clips


def test_frames_come_in_order_read_only_with_index_and_time(read, make_clip, number_in) -> None:
    frames, warnings = read(make_clip("clip.mp4", count=12))
    assert [number_in(f.image) for f in frames] == list(range(12))
    assert [f.index for f in frames] == list(range(12))
    assert [f.t_media_s for f in frames] == pytest.approx([n / 25 for n in range(12)])
    assert all(f.image.flags.c_contiguous and not f.image.flags.writeable for f in frames)
    captures_s = [f.t_capture_s for f in frames]
    assert captures_s == sorted(captures_s)
    assert warnings == []


def test_info_is_known_before_entering(make_clip) -> None:
    source = open_source(str(make_clip("clip.mp4", count=12)))
    assert source.info == SourceInfo("clip.mp4", 96, 64, 25.0, 12)
    assert source.live is False


def test_frames_are_bgr_and_upright(read, make_clip) -> None:
    frames, _ = read(make_clip("clip.mp4", count=1))
    blue, green, red = frames[0].image[4, 4].astype(int)
    assert blue > 200
    assert green < 60
    assert red < 60


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_uneven_timestamps_are_kept(read, make_clip, name) -> None:
    times_s = [0.0, 0.04, 0.09, 0.4, 0.41, 1.0]
    frames, warnings = read(make_clip(name, count=6, times_s=times_s))
    assert [f.t_media_s for f in frames] == pytest.approx(times_s, abs=1e-3)
    assert warnings == []


def test_time_starts_at_zero_where_the_stream_starts_later(read, make_clip) -> None:
    frames, _ = read(make_clip("clip.ts", count=5))
    assert [f.t_media_s for f in frames] == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.16])


def test_clips_joined_end_to_end_keep_time_running_and_frames_their_own_size(read, make_clip) -> None:
    first, second = make_clip("a.ts", count=4), make_clip("b.ts", count=3, size=(64, 96))
    first.write_bytes(first.read_bytes() + second.read_bytes())
    frames, _ = read(first)
    assert [f.image.shape for f in frames] == [(64, 96, 3)] * 4 + [(96, 64, 3)] * 3
    assert [f.t_media_s for f in frames] == pytest.approx([n / 25 for n in range(7)])


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_turned_clip_comes_out_upright(read, make_clip, rotation) -> None:
    path = make_clip("clip.mp4", count=2, rotation=rotation)
    frames, _ = read(path)
    capture = cv2.VideoCapture(str(path))  # turns by itself: an independent opinion
    reference = capture.read()[1]
    capture.release()
    np.testing.assert_array_equal(frames[0].image, reference)
    info = open_source(str(path)).info
    assert (info.width, info.height) == ((96, 64) if rotation == 180 else (64, 96))


def test_a_mirrored_clip_is_mirrored_back(read, make_clip) -> None:
    plain, _ = read(make_clip("plain.mp4", count=1))
    mirrored, _ = read(make_clip("mirrored.mp4", count=1, mirrored=True))
    np.testing.assert_array_equal(mirrored[0].image, plain[0].image[:, ::-1])


def test_max_frames_ends_early_without_a_warning(read, make_clip) -> None:
    path = make_clip("clip.mp4", count=12)
    frames, warnings = read(path, max_frames=5)
    assert [f.index for f in frames] == [0, 1, 2, 3, 4]
    assert warnings == []
    assert open_source(str(path), max_frames=5).info.frame_count == 5


def test_max_frames_of_the_whole_clip_or_more(read, make_clip) -> None:
    path = make_clip("clip.mp4", count=4)
    assert len(read(path, max_frames=4)[0]) == 4
    assert read(path, max_frames=9)[1] == []
    assert open_source(str(path), max_frames=9).info.frame_count == 4
    with pytest.raises(ValueError, match="at least 1"):
        open_source(str(path), max_frames=0)


def test_a_source_can_be_played_again_and_left_in_the_middle(make_clip, number_in) -> None:
    source = open_source(str(make_clip("clip.mp4", count=4)))
    with source:
        assert number_in(next(iter(source)).image) == 0
    for _ in range(2):
        with source:
            assert [number_in(f.image) for f in source] == [0, 1, 2, 3]


def test_reading_outside_the_block_is_refused(make_clip) -> None:
    source = open_source(str(make_clip("clip.mp4", count=1)))
    with pytest.raises(RuntimeError, match="with"):
        next(iter(source))


@pytest.mark.parametrize("name", ["Straße 散歩.mp4", "12:30.mp4", "100%d.mp4", "-clip.mp4"])
def test_odd_names_are_no_obstacle(read, make_clip, name) -> None:
    frames, _ = read(make_clip(name, count=2))
    assert len(frames) == 2


def test_frames_leave_no_garbage_behind(make_clip) -> None:
    """A ring of references around each decoded frame would hold hundreds of megabytes until it is collected."""
    with open_source(str(make_clip("clip.mp4", count=60))) as source:
        frames = iter(source)
        next(frames)
        assert _garbage_of(lambda: sum(1 for _ in frames)) < 59


def test_beginning_again_leaves_no_garbage_behind(make_clip) -> None:
    """One frame a loop would add up as well."""
    source = open_source(str(make_clip("clip.mp4", count=3)))

    def play_again() -> None:
        for _ in range(30):
            source.seek(0.0)
            assert sum(1 for _ in source) == 3

    with source:
        assert sum(1 for _ in source) == 3
        assert _garbage_of(play_again) < 30


def _garbage_of(work) -> int:
    """How many objects `work` leaves to the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        work()
        return gc.collect()
    finally:
        gc.enable()


# ---- damaged clips


def test_a_cut_mp4_with_its_index_in_front_gives_what_is_there(read, make_clip, number_in) -> None:
    path = make_clip("clip.mp4", count=40, faststart=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    with av.open(str(path)) as container:
        whole = sum(packet.size > 0 and not packet.is_corrupt for packet in container.demux(video=0))
    frames, warnings = read(path)
    assert 5 < len(frames) < 40
    assert len(frames) == whole
    assert [number_in(f.image) for f in frames[:-3]] == list(range(len(frames) - 3))
    assert len(warnings) == 1
    assert f"clip.mp4: the clip ends early after {len(frames)} frames: the file is cut off" in warnings[0]


@pytest.mark.parametrize(("name", "codec"), [H264_MKV, MJPEG_AVI])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.97])
def test_a_cut_mkv_or_avi_gives_what_is_there(read, make_clip, number_in, name, codec, share) -> None:
    path = make_clip(name, count=30, codec=codec)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    frames, warnings = read(path)
    numbers = [number_in(f.image) for f in frames]
    assert 5 < len(numbers) <= 30
    assert numbers == sorted(set(numbers))
    assert numbers[:-3] == list(range(len(numbers) - 3))  # the last ones may lean on frames that are gone
    assert len(warnings) == 1
    assert f"ends early after {len(frames)} frames" in warnings[0]


def test_a_damaged_frame_in_the_middle_costs_itself_only(read, make_clip, number_in) -> None:
    path = make_clip("clip.avi", count=30, codec="mjpeg")
    data = bytearray(path.read_bytes())
    start = data.index(b"\xff\xd8", len(data) // 2)
    end = data.index(b"00dc", start)  # the next frame's header
    data[start:end] = bytes(end - start)
    path.write_bytes(bytes(data))
    frames, warnings = read(path)
    numbers = [number_in(f.image) for f in frames]
    assert len(numbers) == 29
    assert numbers[0] == 0
    assert numbers[-1] == 29
    assert numbers == sorted(numbers)
    assert len(warnings) == 1
    assert "29 frames were read, 1 damaged left out" in warnings[0]


@pytest.mark.parametrize("name", ["clip.mkv", "clip.mp4"])
def test_a_download_that_never_got_its_second_half_is_reported(read, make_clip, number_in, name) -> None:
    path = make_clip(name, count=40, faststart=True)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))  # as long as it should be
    frames, warnings = read(path)
    assert 5 < len(frames) < 40
    numbers = [number_in(f.image) for f in frames]
    assert numbers == sorted(set(numbers))  # no half picture at the end
    assert len(warnings) == 1
    assert f"ends early after {len(frames)} frames" in warnings[0]


def test_a_clip_shorter_than_its_header_says_is_reported(read, make_clip) -> None:
    path = make_clip("clip.avi", count=40, codec="mjpeg")
    data = path.read_bytes()
    end = data.index(b"00dc", len(data) // 2)  # between two frames, so that no frame itself is damaged
    path.write_bytes(data[:end] + bytes(len(data) - end))
    frames, warnings = read(path)
    assert 5 < len(frames) < 40
    assert len(warnings) == 1
    assert f"ends early after {len(frames)} frames: {len(frames) / 25:.1f} s of 1.6 s can be read" in warnings[0]


def test_warnings_do_not_pile_up_when_a_clip_is_played_again(make_clip) -> None:
    path = make_clip("clip.mkv", count=20)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = open_source(str(path))
    for _ in range(2):
        with source:
            list(source)
        assert len(source.warnings) == 1


def test_sound_longer_than_the_picture_is_no_damage(read, tmp_path) -> None:
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for _ in range(5):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((64, 96, 3), np.uint8), format="bgr24")))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000 * 4), np.int16), "s16", "mono")
        sound.sample_rate = 8000
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    frames, warnings = read(path)
    assert len(frames) == 5
    assert warnings == []


def test_a_motion_jpeg_stream_is_a_video(read, make_clip) -> None:
    path = make_clip("clip.mjpeg", count=3, codec="mjpeg")
    assert isinstance(open_source(str(path)), FileSource)
    assert len(read(path)[0]) == 3


# ---- any place in a clip

UNEVEN_S = [0.0, 0.04, 0.09, 0.4, 0.41, 1.0, 1.02, 1.5, 1.51, 1.52, 2.0, 2.5]


def sought(source, seconds):
    """The frames from there to the end, after the source has been read in another place."""
    with source:
        next(iter(source))
        source.seek(seconds)
        return list(source)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts", "clip.avi", "clip.mjpeg"])
@pytest.mark.parametrize("number", [0, 1, 5, 9, 19])
def test_the_frame_that_was_sought_comes_next(make_clip, number_in, name, number) -> None:
    codec = "mjpeg" if name in ("clip.avi", "clip.mjpeg") else "libx264"
    source = open_source(str(make_clip(name, count=20, codec=codec)))
    frames = sought(source, number / 25)
    assert source.warnings == []
    assert [number_in(frame.image) for frame in frames] == list(range(number, 20))
    assert [frame.t_media_s for frame in frames] == pytest.approx([n / 25 for n in range(number, 20)], abs=1e-3)
    assert [frame.index for frame in frames] == list(range(20 - number))


@pytest.mark.parametrize(
    ("seconds", "number"), [(0.05, 1), (0.39, 2), (0.4, 3), (0.9, 4), (1.515, 8), (99.0, 11), (-3, 0)]
)
def test_between_two_frames_the_one_that_is_shown_counts(make_clip, number_in, seconds, number) -> None:
    frames = sought(open_source(str(make_clip("clip.mp4", count=12, times_s=UNEVEN_S))), seconds)
    assert [number_in(frame.image) for frame in frames] == list(range(number, 12))
    assert frames[0].t_media_s == pytest.approx(UNEVEN_S[number], abs=1e-3)


def test_seeking_while_reading_and_behind_the_end(make_clip, number_in) -> None:
    source = open_source(str(make_clip("clip.mp4", count=12)))
    with source:
        frames = iter(source)
        shown = [number_in(next(frames).image) for _ in range(3)]
        source.seek(8 / 25)
        shown += [number_in(frame.image) for frame in frames]
        source.seek(0.0)
        shown += [number_in(frame.image) for frame in source]
    assert shown == [0, 1, 2, 8, 9, 10, 11, *range(12)]
    assert source.warnings == []


def test_a_clip_without_times_is_read_from_its_beginning(make_clip, number_in) -> None:
    """Raw H.264: nothing in the file says what time it is, so every place is counted from the start."""
    source = open_source(str(make_clip("clip.h264", count=20)))
    frames = sought(source, 6 / 25)
    assert [number_in(frame.image) for frame in frames] == list(range(6, 20))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_place_more_than_a_day_from_the_beginning(make_clip, name) -> None:
    times_s = [number * 1800.0 for number in range(60)]
    frames = sought(open_source(str(make_clip(name, count=60, times_s=times_s))), 90_000.0)
    assert [frame.t_media_s for frame in frames] == times_s[50:]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.ts"])
def test_an_interlaced_picture_is_the_same_from_anywhere(tmp_path, name) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        options = {"x264-params": "tff=1:keyint=5:scenecut=0", "preset": "ultrafast"}
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        still = np.kron(np.random.default_rng(0).integers(0, 256, (8, 12, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        for number in range(20):
            moving = np.roll(still, 4 * number, axis=1)
            moving[1::2] = np.roll(moving[1::2], 2, axis=1)  # the lower half picture comes later
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moving, format="bgr24")))
        container.mux(stream.encode(None))
    source = open_source(str(path))
    with source:
        whole = list(source)
    for number in (0, 1, 5, 6, 10, 15, 19):
        with source:
            source.seek(number / 25)
            found = list(source)
        assert len(found) == 20 - number
        for frame, expected in zip(found, whole[number:], strict=True):
            np.testing.assert_array_equal(frame.image, expected.image)


def test_how_long_a_clip_plays(make_clip) -> None:
    for name in ("clip.mp4", "clip.mkv", "clip.avi"):
        codec = "mjpeg" if name == "clip.avi" else "libx264"
        source = open_source(str(make_clip(name, count=20, codec=codec)))
        assert source.duration_s == pytest.approx(0.8, abs=0.05)


def test_a_cut_clip_that_is_played_twice_is_reported_once(make_clip) -> None:
    path = make_clip("clip.mkv", count=20)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = open_source(str(path))
    with source:
        list(source)
        source.seek(0.0)
        list(source)
        source.seek(0.1)
        list(source)
    assert len(source.warnings) == 1


@pytest.mark.parametrize("seconds", [0.2, 99.0])
def test_a_cut_clip_is_reported_from_any_place_on(make_clip, seconds) -> None:
    path = make_clip("clip.mkv", count=40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = open_source(str(path))
    with source:
        source.seek(seconds)
        list(source)
    (line,) = source.warnings
    assert "clip.mkv: the clip ends early: the file is cut off, at least" in line


@pytest.mark.parametrize(("number", "told"), [(5, 1), (25, 0)])
def test_damage_is_reported_if_it_lies_behind_the_place(make_clip, number, told) -> None:
    path = make_clip("clip.avi", count=30, codec="mjpeg")
    data = bytearray(path.read_bytes())
    start = data.index(b"\xff\xd8", len(data) // 2)
    end = data.index(b"00dc", start)
    data[start:end] = bytes(end - start)
    path.write_bytes(bytes(data))
    source = open_source(str(path))
    with source:
        source.seek(number / 25)
        assert len(list(source)) == 30 - number - told
    assert len(source.warnings) == told
    assert all("24 frames were read, 1 damaged left out" in line for line in source.warnings)


def test_a_clip_that_is_moved_away_while_it_is_read(make_clip) -> None:
    path = make_clip("clip.mkv", count=20)
    source = open_source(str(path))
    with source:
        frames = iter(source)
        next(frames)
        path.rename(path.with_name("elsewhere.mkv"))
        assert len(list(frames)) == 19
    (line,) = source.warnings
    assert "clip.mkv: the clip cannot be read any more after 20 frames: No such file or directory" in line
    with pytest.raises(UserError, match=r"clip\.mkv: neither a video nor a picture that can be read: No such file"):
        source.__enter__()


def test_a_clip_that_has_to_be_opened_again_and_is_gone(make_clip) -> None:
    path = make_clip("clip.h264", count=20)
    with open_source(str(path)) as source:
        next(iter(source))
        path.unlink()
        source.seek(0.4)
        with pytest.raises(UserError, match=r"clip\.h264: .*No such file"):
            list(source)


def test_a_clip_that_cannot_be_read_any_more_after_its_header(make_clip, monkeypatch) -> None:
    def lost(path):
        raise OSError(5, "Input/output error")

    path = make_clip("clip.mkv", count=1)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(UserError, match="no frame can be read: the file is cut off"):
        FileSource(path)
    monkeypatch.setattr("pipeline.containers.missing_bytes", lost)
    with pytest.raises(UserError, match=r"clip\.mkv: cannot be read any more: Input/output error"):
        FileSource(path)


def test_how_long_a_clip_was_is_said_of_whole_readings_only(make_clip) -> None:
    path = make_clip("clip.avi", count=40, codec="mjpeg")
    data = path.read_bytes()
    end = data.index(b"00dc", len(data) // 2)
    path.write_bytes(data[:end] + bytes(len(data) - end))
    with open_source(str(path)) as source:
        source.seek(0.2)
        assert list(source)
        assert source.warnings == []
        source.seek(0.0)
        assert list(source)
        assert len(source.warnings) == 1
