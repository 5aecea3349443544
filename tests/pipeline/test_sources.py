import av
import numpy as np
import pytest

from engine.errors import UserError
from pipeline.sources import open_source


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


def test_a_missing_file_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.mp4: no such file$"):
        open_source(str(tmp_path / "nowhere.mp4"))


@pytest.mark.parametrize(
    "mistyped", ["rtsp:/anna:geheim@camera/live", "rtp://anna:geheim@camera", "clips?password=geheim"]
)
def test_a_mistyped_address_is_refused_without_its_password(mistyped) -> None:
    with pytest.raises(UserError) as caught:
        open_source(mistyped)
    assert "rtsp://" in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_a_name_that_no_system_takes_is_refused() -> None:
    with pytest.raises(UserError, match="cannot be read: File name too long"):
        open_source("x" * 5000)


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
