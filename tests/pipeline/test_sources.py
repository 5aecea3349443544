import av
import cv2
import numpy as np
import pytest

from engine.errors import UserError
from pipeline.sources import FileSource, ImageSource, SourceInfo, open_source

H264_MKV, MJPEG_AVI = ("clip.mkv", "libx264"), ("clip.avi", "mjpeg")


def read(path, **options):
    """All frames of a file and the source's warnings afterwards."""
    source = open_source(str(path), **options)
    with source:
        frames = list(source)
    return frames, source.warnings


def write_sound(path, cover=None):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le" if cover is None else "mp3", rate=8000, layout="mono")
        picture = None
        if cover is not None:
            picture = container.add_stream("png")
            picture.width, picture.height, picture.pix_fmt = cover.shape[1], cover.shape[0], "rgb24"
            picture.disposition = av.stream.Disposition.attached_pic
            container.mux(picture.encode(av.VideoFrame.from_ndarray(cover, format="rgb24")))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    return path


# ---- whole clips


def test_frames_come_in_order_read_only_with_index_and_time(make_clip, number_in) -> None:
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


def test_frames_are_bgr_and_upright(make_clip) -> None:
    frames, _ = read(make_clip("clip.mp4", count=1))
    blue, green, red = frames[0].image[4, 4].astype(int)
    assert blue > 200
    assert green < 60
    assert red < 60


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_uneven_timestamps_are_kept(make_clip, name) -> None:
    times_s = [0.0, 0.04, 0.09, 0.4, 0.41, 1.0]
    frames, warnings = read(make_clip(name, count=6, times_s=times_s))
    assert [f.t_media_s for f in frames] == pytest.approx(times_s, abs=1e-3)
    assert warnings == []


def test_time_starts_at_zero_where_the_stream_starts_later(make_clip) -> None:
    frames, _ = read(make_clip("clip.ts", count=5))
    assert [f.t_media_s for f in frames] == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.16])


def test_clips_joined_end_to_end_keep_time_running_and_frames_their_own_size(make_clip) -> None:
    first, second = make_clip("a.ts", count=4), make_clip("b.ts", count=3, size=(64, 96))
    first.write_bytes(first.read_bytes() + second.read_bytes())
    frames, _ = read(first)
    assert [f.image.shape for f in frames] == [(64, 96, 3)] * 4 + [(96, 64, 3)] * 3
    assert [f.t_media_s for f in frames] == pytest.approx([n / 25 for n in range(7)])


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_turned_clip_comes_out_upright(make_clip, rotation) -> None:
    path = make_clip("clip.mp4", count=2, rotation=rotation)
    frames, _ = read(path)
    capture = cv2.VideoCapture(str(path))  # turns by itself: an independent opinion
    reference = capture.read()[1]
    capture.release()
    np.testing.assert_array_equal(frames[0].image, reference)
    info = open_source(str(path)).info
    assert (info.width, info.height) == ((96, 64) if rotation == 180 else (64, 96))


def test_a_mirrored_clip_is_mirrored_back(make_clip) -> None:
    plain, _ = read(make_clip("plain.mp4", count=1))
    mirrored, _ = read(make_clip("mirrored.mp4", count=1, mirrored=True))
    np.testing.assert_array_equal(mirrored[0].image, plain[0].image[:, ::-1])


def test_max_frames_ends_early_without_a_warning(make_clip) -> None:
    path = make_clip("clip.mp4", count=12)
    frames, warnings = read(path, max_frames=5)
    assert [f.index for f in frames] == [0, 1, 2, 3, 4]
    assert warnings == []
    assert open_source(str(path), max_frames=5).info.frame_count == 5


def test_max_frames_of_the_whole_clip_or_more(make_clip) -> None:
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
def test_odd_names_are_no_obstacle(make_clip, name) -> None:
    frames, _ = read(make_clip(name, count=2))
    assert len(frames) == 2


# ---- damaged clips


def test_a_cut_mp4_with_its_index_in_front_gives_what_is_there(make_clip, number_in) -> None:
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
def test_a_cut_mkv_or_avi_gives_what_is_there(make_clip, number_in, name, codec, share) -> None:
    path = make_clip(name, count=30, codec=codec)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    frames, warnings = read(path)
    numbers = [number_in(f.image) for f in frames]
    assert 5 < len(numbers) <= 30
    assert numbers == sorted(set(numbers))
    assert numbers[:-3] == list(range(len(numbers) - 3))  # the last ones may lean on frames that are gone
    assert len(warnings) == 1
    assert f"ends early after {len(frames)} frames" in warnings[0]


def test_a_damaged_frame_in_the_middle_costs_itself_only(make_clip, number_in) -> None:
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
def test_a_download_that_never_got_its_second_half_is_reported(make_clip, number_in, name) -> None:
    path = make_clip(name, count=40, faststart=True)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))  # as long as it should be
    frames, warnings = read(path)
    assert 5 < len(frames) < 40
    numbers = [number_in(f.image) for f in frames]
    assert numbers == sorted(set(numbers))  # no half picture at the end
    assert len(warnings) == 1
    assert f"ends early after {len(frames)} frames" in warnings[0]


def test_a_clip_shorter_than_its_header_says_is_reported(make_clip) -> None:
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


def test_sound_longer_than_the_picture_is_no_damage(tmp_path) -> None:
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


# ---- what is no clip


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.mp4", b"", "the file is empty"),
        ("notes.txt", b"hello world\n" * 100, "neither a video nor a picture"),
        ("notes.mp4", b"hello world\n" * 100, "neither a video nor a picture"),
        ("noise.mkv", bytes(range(256)) * 20, "neither a video nor a picture"),
        ("cut.png", b"\x89PNG\r\n\x1a\n" + bytes(20), "the picture is damaged"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, name, content, reason) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        open_source(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_folder_and_address_are_refused(tmp_path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.mp4: no such file"):
        open_source(str(tmp_path / "nowhere.mp4"))
    with pytest.raises(UserError, match="is a folder"):
        open_source(str(tmp_path))
    with pytest.raises(UserError, match="only video and picture files"):
        open_source("rtsp://192.0.2.1/stream")


def test_sound_without_a_video_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="has no video stream"):
        open_source(str(write_sound(tmp_path / "sound.wav")))


def test_a_songs_cover_picture_is_no_video(tmp_path) -> None:
    path = write_sound(tmp_path / "song.mp3", cover=np.zeros((16, 16, 3), np.uint8))
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1  # what must not be taken for a clip
    with pytest.raises(UserError, match="has no video stream"):
        open_source(str(path))


def test_an_unknown_codec_is_refused(make_clip) -> None:
    path = make_clip("clip.avi", count=3, codec="mjpeg")
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"?!#0"))
    with pytest.raises(UserError, match=r"a format \(codec\) that cannot be decoded"):
        open_source(str(path))


def test_an_unfinished_mp4_is_refused(make_clip) -> None:
    path = make_clip("clip.mp4", count=20)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"clip\.mp4: the recording was cut off, its index \(moov atom\) is missing"):
        open_source(str(path))


def test_a_clip_without_a_readable_frame_is_refused(make_clip) -> None:
    path = make_clip("clip.mp4", count=20, faststart=True)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + 4])
    with pytest.raises(UserError, match="no frame can be read: the file is cut off"):
        open_source(str(path))


# ---- pictures


@pytest.mark.parametrize("name", ["still.png", "Bild ü 散歩.png", "without-suffix", "wrong.mp4"])
def test_a_picture_is_a_clip_of_one_frame(tmp_path, name) -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8)
    path = tmp_path / name
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    source = open_source(str(path))
    assert isinstance(source, ImageSource)
    assert source.info == SourceInfo(name, 41, 30, None, 1)
    frames, warnings = read(path)
    assert [(f.index, f.t_media_s) for f in frames] == [(0, 0.0)]
    np.testing.assert_array_equal(frames[0].image, image)
    assert warnings == []


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.full((4, 5), 77, np.uint8), (77, 77, 77)),
        (np.full((4, 5), 40_000, np.uint16), (156, 156, 156)),
        (np.full((4, 5, 4), (10, 20, 30, 200), np.uint8), (10, 20, 30)),
        (np.full((4, 5, 3), (256, 512, 65_535), np.uint16), (1, 2, 255)),
    ],
    ids=["grey", "grey16", "alpha", "colour16"],
)
def test_other_kinds_of_pictures_become_bgr8(tmp_path, stored, expected) -> None:
    path = tmp_path / "still.png"
    path.write_bytes(cv2.imencode(".png", stored)[1].tobytes())
    (frame,), _ = read(path)
    assert frame.image.shape == (4, 5, 3)
    assert frame.image.dtype == np.uint8
    assert np.all(frame.image == expected)


def test_a_motion_jpeg_stream_is_a_video(make_clip) -> None:
    path = make_clip("clip.mjpeg", count=3, codec="mjpeg")
    assert isinstance(open_source(str(path)), FileSource)
    assert len(read(path)[0]) == 3
