import itertools
import math

import numpy as np
import pytest
from PIL import Image

from pipeline.animations import AnimationSource
from pipeline.playback import Playback
from pipeline.sources import SourceInfo, open_source

DURATIONS_MS = [40, 90, 400, 10, 100]  # the fourth is shown for 100
TIMES_S = [0, 0.04, 0.13, 0.53, 0.63]


@pytest.fixture(params=["moving.gif", "moving.webp", "moving.png"])
def animation(request, tmp_path):
    """Five grey frames, each lighter than the one before."""
    path = tmp_path / request.param
    first, *others = (Image.new("RGB", (20, 10), (40 * number,) * 3) for number in range(5))
    first.save(path, save_all=True, append_images=others, duration=DURATIONS_MS, lossless=True)
    return path


def numbers(frames) -> list[int]:
    return [round(float(frame.image.mean()) / 40) for frame in frames]


def test_every_frame_stands_as_long_as_it_says(animation) -> None:
    source = open_source(str(animation))
    assert isinstance(source, AnimationSource)
    assert source.info == SourceInfo(animation.name, 20, 10, 25.0, 5)
    assert source.duration_s is None
    for _ in range(2):
        with source:
            frames = list(source)
        assert numbers(frames) == [0, 1, 2, 3, 4]
        assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
        np.testing.assert_allclose([frame.t_media_s for frame in frames], TIMES_S, atol=1e-6)
    assert source.warnings == []


@pytest.mark.parametrize(
    ("seconds", "number"), [(0.0, 0), (0.03, 0), (0.05, 1), (0.5, 2), (0.6, 3), (99.0, 4), (-1.0, 0)]
)
def test_any_place_can_be_sought(animation, seconds, number) -> None:
    with open_source(str(animation)) as source:
        frames = iter(source)
        next(frames)
        source.seek(seconds)
        assert numbers(frames) == list(range(number, 5))
        source.seek(seconds)  # after the end, for a new reading
        assert numbers(source) == list(range(number, 5))


def test_max_frames(animation) -> None:
    source = open_source(str(animation), max_frames=2)
    assert source.info.frame_count == 2
    with source:
        assert numbers(source) == [0, 1]


def test_a_cut_one_is_told_once_however_often_it_is_played(tmp_path) -> None:
    path = tmp_path / "cut.gif"
    rng = np.random.default_rng(0)
    first, *others = (Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)) for _ in range(5))
    first.save(path, save_all=True, append_images=others)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    with open_source(str(path)) as source:
        for _ in range(2):
            source.seek(0.0)
            assert 0 < len(list(source)) < 5
        assert len(source.warnings) == 1
        assert source.warnings[0].endswith("; it ends early")


def test_it_can_be_played_in_a_loop(animation) -> None:
    with Playback(open_source(str(animation)), loop=True, speed=math.inf) as playback:
        assert numbers(itertools.islice(playback, 8)) == [0, 1, 2, 3, 4, 0, 1, 2]
