import itertools
import math

import pytest

from pipeline.excerpt import Cut, Excerpt
from pipeline.sources import open_source


@pytest.fixture
def part_of(number_in):
    """The numbers of the frames that a cut leaves, their times and indices, and how many frames were expected."""

    def read(path, **cut):
        part = Excerpt(open_source(str(path)), Cut(**cut))
        with part:
            frames = list(part)
        assert [frame.index for frame in frames] == list(range(len(frames)))
        return [number_in(f.image) for f in frames], [f.t_media_s for f in frames], part.info

    return read


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
@pytest.mark.parametrize(
    ("cut", "numbers"),
    [
        ({}, range(20)),
        ({"start_s": 0.2}, range(5, 20)),
        ({"start_s": 0.21}, range(6, 20)),  # not the frame that is still shown then
        ({"end_s": 0.2}, range(5)),
        ({"start_s": 0.2, "end_s": 0.4}, range(5, 10)),
        ({"every_frames": 3}, range(0, 20, 3)),
        ({"start_s": 0.2, "every_frames": 4}, range(5, 20, 4)),
        ({"every_s": 0.1}, (0, 3, 5, 8, 10, 13, 15, 18)),  # the first at or after 0, 0.1, 0.2 ...
        ({"every_s": 0.01}, range(20)),
        ({"max_frames": 4}, range(4)),
        ({"start_s": 0.4, "max_frames": 2}, (10, 11)),
        ({"start_s": 5.0}, ()),
    ],
)
def test_the_frames_wanted(make_clip, part_of, name, cut, numbers) -> None:
    codec = "mjpeg" if name.endswith("avi") else "libx264"
    found, times, info = part_of(make_clip(name, count=20, codec=codec), **cut)
    assert found == list(numbers)
    assert times == pytest.approx([number / 25 for number in numbers], abs=1e-3)
    assert info.frame_count is None or abs(info.frame_count - len(found)) <= 1


def test_parts_next_to_each_other_share_no_frame_and_lose_none(make_clip, part_of) -> None:
    clip = make_clip("a.mp4", count=20, times_s=[number * 0.05 + 0.013 * (number % 3) for number in range(20)])
    whole, times, _ = part_of(clip)
    borders = [0.0, 0.1, times[7], 0.5, 0.77, math.inf]
    pieces = [part_of(clip, start_s=a, end_s=b)[0] for a, b in itertools.pairwise(borders)]
    assert [number for piece in pieces for number in piece] == whole


def test_what_comes_before_the_start_is_not_decoded(make_clip, part_of, monkeypatch) -> None:
    """But for what was shown since the last key frame; they are four frames apart."""
    decoded = []
    clip = make_clip("a.mp4", count=40)
    source = open_source(str(clip))
    timed = type(source)._timed

    def counted(self):
        for item in timed(self):
            decoded.append(item.time_s)
            yield item

    monkeypatch.setattr(type(source), "_timed", counted)
    with Excerpt(source, Cut(start_s=1.2)) as part:
        assert len(list(part)) == 10
    assert min(decoded) >= 1.2 - 4 / 25
    assert len(decoded) <= 15


@pytest.mark.parametrize(
    ("name", "cut", "expected"),
    [
        ("a.mp4", {}, 0),
        ("a.mp4", {"every_frames": 4}, 15),
        ("a.mp4", {"every_s": 0.2}, 16),
        ("a.mp4", {"start_s": 0.22}, 3),  # 3 is a key frame, and 5 is what was still shown then
        ("a.h264", {"start_s": 0.4}, 10),  # without times: read from the beginning
        ("a.h264", {"start_s": 0.4, "every_frames": 2}, 15),
        ("a.h264", {"start_s": 5.0}, 20),
    ],
)
def test_whoever_waits_is_told_of_each_frame_left_out(make_clip, name, cut, expected) -> None:
    calls = []
    with Excerpt(open_source(str(make_clip(name, count=20))), Cut(**cut), lambda: calls.append(1)) as part:
        chosen = len(list(part))
    assert len(calls) == expected
    assert name == "a.mp4" or chosen + expected == 20


def test_the_rate_of_what_is_left(make_clip) -> None:
    clip = make_clip("a.mp4", count=50)
    rates = [Excerpt(open_source(str(clip)), cut).info.fps for cut in (Cut(), Cut(every_frames=5), Cut(every_s=0.5))]
    assert rates == [25.0, 5.0, 2.0]


def test_folders_have_times_too(tmp_path, part_of) -> None:
    import cv2
    import numpy as np

    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((64, 96, 3), 24 + 5 * number, np.uint8))
    assert part_of(tmp_path, start_s=2.0)[0] == [2, 3, 4]


@pytest.mark.parametrize(
    "cut",
    [
        {"start_s": -1.0},
        {"start_s": 2.0, "end_s": 2.0},
        {"start_s": math.nan},
        {"every_frames": 0},
        {"every_s": -0.5},
        {"every_s": math.inf},
        {"max_frames": 0},
    ],
)
def test_cuts_that_make_no_sense(cut) -> None:
    with pytest.raises(ValueError, match="expected"):
        Cut(**cut)
