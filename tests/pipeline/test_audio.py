"""The sound of a clip in the video that is written of it: there, in time, cut to the same part."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.excerpt import Cut, Excerpt
from pipeline.sinks import VideoWriter
from pipeline.sources import open_source

SECONDS = 3
FPS = 10
BLOCK = 1000  # samples encoded at once


@pytest.fixture
def make_talkie(tmp_path):
    """Write a clip of three seconds at 10 fps with a beep of 0.2 s at each full second of its own clock."""

    def make(name, codec="aac", rate=48000, begin_s=0.0, sound_from_s=0.0, sound_s=SECONDS, channels=2, container=None):
        path = tmp_path / name
        times = sound_from_s + np.arange(int(sound_s * rate)) / rate
        beeps = (0.5 * np.sin(2 * np.pi * 440 * times) * (times % 1 < 0.2)).astype(np.float32)
        layout = "mono" if channels == 1 else "stereo"
        with av.open(str(path), "w", format=container) as output:
            # H.264 has no times of its own in AVI.
            video = output.add_stream("mpeg4" if name.endswith("avi") else "libx264", rate=FPS, options={"g": "10"})
            video.width, video.height, video.pix_fmt, video.codec_context.max_b_frames = 96, 64, "yuv420p", 0
            audio = output.add_stream(codec, rate=rate)
            audio.codec_context.layout = layout
            for number in range(SECONDS * FPS):
                frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 5 * number, np.uint8), format="bgr24")
                frame.pts, frame.time_base = round(begin_s * FPS) + number, Fraction(1, FPS)
                output.mux(video.encode(frame))
            output.mux(video.encode(None))
            for start in range(0, len(beeps), BLOCK):
                samples = np.ascontiguousarray(np.stack([beeps[start : start + BLOCK]] * channels))
                frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = round(sound_from_s * rate) + start
                output.mux(audio.encode(frame))
            output.mux(audio.encode(None))
        return path

    return make


@pytest.fixture
def written(make_rendered, tmp_path):
    """Read a part of a clip and write it with its sound; the path of the video and the writer."""

    def write(clip, suffix=".mp4", **cut):
        part = Excerpt(open_source(str(clip)), Cut(**cut))
        path = tmp_path / f"written{suffix}"
        with VideoWriter(path, part.info, clip) as sink, part:
            for frame in part:
                sink.write(make_rendered(frame.index, frame.t_media_s, frame.image))
        return path, sink

    return write


def sound_of(path: Path) -> tuple[str, list[float], float]:
    """The codec, when each beep begins after a third of a second of silence (seconds), and when the sound ends."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        name = stream.codec_context.codec.canonical_name
        frames = list(container.decode(stream))
    end_s = float(frames[-1].pts * frames[-1].time_base) + frames[-1].samples / frames[-1].sample_rate
    loud_s = []
    for frame in frames:
        samples = frame.to_ndarray()[0, :: 1 if frame.format.is_planar else frame.layout.nb_channels]
        level = np.abs(samples.astype(np.float64)) / (1 if samples.dtype == np.float32 else np.iinfo(samples.dtype).max)
        loud_s.append(float(frame.pts * frame.time_base) + np.nonzero(level > 0.2)[0] / frame.sample_rate)
    times = np.concatenate(loud_s)
    return name, times[np.diff(times, prepend=-1.0) > 1 / 3].tolist(), end_s


def video_times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("name", "codec", "kept"),
    [
        ("a.mp4", "aac", "aac"),
        ("a.mkv", "libmp3lame", "mp3"),
        ("a.mkv", "libopus", "opus"),
        ("a.mkv", "flac", "flac"),
        ("a.ts", "aac", "aac"),  # without the header that MP4 needs: encoded anew
        ("a.mkv", "pcm_s16le", "aac"),
        ("a.avi", "mp2", "aac"),
    ],
)
def test_the_sound_goes_along(make_talkie, written, name, codec, kept) -> None:
    path, sink = written(make_talkie(name, codec))
    found, begins, end_s = sound_of(path)
    assert sink.warnings == []
    assert found == kept
    assert begins == pytest.approx([0.0, 1.0, 2.0], abs=0.06)
    assert end_s == pytest.approx(SECONDS, abs=0.1)
    assert video_times(path) == pytest.approx([number / FPS for number in range(SECONDS * FPS)], abs=2e-3)


def test_packets_that_can_be_moved_are_not_touched(make_talkie, written) -> None:
    clip = make_talkie("a.mp4")
    path, _ = written(clip)
    packets = []
    for name in (clip, path):
        with av.open(str(name)) as container:
            packets.append([bytes(p) for p in container.demux(audio=0) if p.size and p.pts >= 0])
    assert packets[1] == packets[0][: len(packets[1])]
    assert len(packets[0]) - len(packets[1]) <= 1


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("a.mkv", "pcm_s16le")])
def test_it_is_cut_with_the_pictures(make_talkie, written, name, codec) -> None:
    path, _ = written(make_talkie(name, codec), start_s=0.7, end_s=2.4)
    _, begins, end_s = sound_of(path)
    assert begins == pytest.approx([0.3, 1.3], abs=0.03)
    assert end_s == pytest.approx(1.7, abs=0.05)
    assert video_times(path)[-1] == pytest.approx(1.6, abs=2e-3)


def test_frames_left_out_do_not_shorten_it(make_talkie, written) -> None:
    path, _ = written(make_talkie("a.mp4"), every_frames=4)
    _, begins, end_s = sound_of(path)
    assert begins == pytest.approx([0.0, 1.0, 2.0], abs=0.05)
    assert end_s == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_pictures_that_begin_later_than_the_sound(make_talkie, written, codec) -> None:
    path, _ = written(make_talkie("a.mkv", codec, begin_s=0.6))
    _, begins, end_s = sound_of(path)
    assert begins == pytest.approx([0.4, 1.4], abs=0.03)
    assert end_s == pytest.approx(SECONDS - 0.6, abs=0.1)


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_sound_that_begins_later_than_the_pictures(make_talkie, written, codec) -> None:
    path, _ = written(make_talkie("a.mkv", codec, sound_from_s=0.5, sound_s=2.0))
    _, begins, end_s = sound_of(path)
    assert begins == pytest.approx([1.0, 2.0], abs=0.03)
    assert end_s == pytest.approx(2.5, abs=0.1)


def test_matroska_takes_it_too(make_talkie, written) -> None:
    path, _ = written(make_talkie("a.mp4"), suffix=".mkv")
    _, begins, _ = sound_of(path)
    assert begins == pytest.approx([0.0, 1.0, 2.0], abs=0.05)


def test_a_telephones_sound_is_encoded_anew(make_talkie, written) -> None:
    path, _ = written(make_talkie("a.mov", "pcm_mulaw", rate=8000, channels=1))
    with av.open(str(path)) as container:
        codec = container.streams.audio[0].codec_context
        assert (codec.sample_rate, codec.layout.name) == (8000, "mono")
    assert sound_of(path)[1] == pytest.approx([0.0, 1.0, 2.0], abs=0.15)  # a frame of AAC is an eighth of a second


def test_a_clip_without_sound(make_clip, written) -> None:
    path, sink = written(make_clip("silent.mp4"))
    with av.open(str(path)) as container:
        assert not container.streams.audio
    assert sink.warnings == []


def test_damaged_sound_costs_only_itself(make_talkie, written, monkeypatch) -> None:
    def broken(self, start_s):
        raise av.error.InvalidDataError(1094995529, "Invalid data found when processing input", str(self._clip))
        yield

    monkeypatch.setattr("pipeline.audio.AudioTrack._kept", broken)
    clip = make_talkie("a.mp4")
    path, sink = written(clip)
    assert len(video_times(path)) == SECONDS * FPS
    assert sink.warnings == [f"{clip}: the sound is missing or ends early: Invalid data found when processing input"]


@pytest.fixture
def overlapping(make_talkie):
    """Two clips in one file, one behind the other; the sound of the second begins before that of the first ends."""
    first = make_talkie("a.ts")
    second = make_talkie("b.ts", begin_s=SECONDS, sound_from_s=SECONDS - 0.03)
    first.write_bytes(first.read_bytes() + second.read_bytes())
    return first


def test_sound_that_overlaps_where_clips_were_joined(overlapping, written) -> None:
    path, sink = written(overlapping)
    _, begins, end_s = sound_of(path)
    assert sink.warnings == []
    assert len(video_times(path)) == 2 * SECONDS * FPS
    assert begins == pytest.approx([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], abs=0.06)
    assert end_s == pytest.approx(2 * SECONDS, abs=0.1)


def test_sound_that_the_file_does_not_take_ends_and_the_pictures_go_on(overlapping, written, monkeypatch) -> None:
    monkeypatch.setattr("pipeline.audio._rising", lambda packets: packets)
    path, sink = written(overlapping)
    assert len(video_times(path)) == 2 * SECONDS * FPS
    assert sink.warnings == [f"{overlapping}: the sound is missing or ends early: Invalid argument"]


def test_the_clip_is_let_go_of(make_talkie, written) -> None:
    _, sink = written(make_talkie("a.mp4"))
    assert sink._audio._input is None
