"""Measuring: what is run how often, what is decoded, and the arithmetic of rates."""

import time
from dataclasses import replace

import numpy as np
import pytest

from engine.backends.base import Backend
from engine.estimator import Estimator
from engine.structures import ByteArray, FloatArray, Heads, Letterbox
from engine.synthetic import synthetic_heads
from pipeline import benchmark
from pipeline.benchmark import MemorySource, Timing
from pipeline.frames import FrameResult

HW = (96, 129)


class Blank(Backend):
    """Sees nobody and counts what it is asked for."""

    name, precision, stride, multiple = "blank", "fp32", 8, 16

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def infer(self, image: ByteArray, letterbox: Letterbox) -> Heads:
        self.shapes.append(image.shape)
        return replace(synthetic_heads(0, letterbox.input_hw, 0), letterbox=letterbox)

    def _run(self, image: ByteArray) -> dict[str, FloatArray]:
        raise AssertionError(image.shape)

    def close(self) -> None: ...


@pytest.fixture
def estimator() -> Estimator:
    return Estimator(Blank(), 129)


def picture(result: FrameResult) -> ByteArray:
    return result.frame.image


def test_synthetic_pictures_move_and_repeat() -> None:
    first, second = benchmark.synthetic_pictures(HW, 2)
    assert first.shape == (*HW, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first[:, :-4], second[:, 4:])
    assert not np.array_equal(first, second)
    assert np.array_equal(first, benchmark.synthetic_pictures(HW, 1)[0])


def test_a_memory_source_goes_round() -> None:
    images = benchmark.synthetic_pictures(HW, 2)
    with MemorySource(images, 5) as source:
        frames = list(source)
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert np.array_equal(frames[4].image, images[0])
    assert (source.info.width, source.info.height, source.info.frame_count) == (129, 96, 5)


def test_timed_calls_with_each_argument_in_turn() -> None:
    calls: list[int] = []
    timing, results = benchmark.timed(lambda value: calls.append(value) or 10 * value, [1, 2, 3], 7)
    assert calls[benchmark.WARM_UP :] == [1, 2, 3, 1, 2, 3, 1]
    assert timing.count == 7
    assert results == [10, 20, 30]


def test_timing_is_in_milliseconds() -> None:
    timing = Timing.of([0.001, 0.002, 0.003, 0.010])
    assert timing.mean_ms == pytest.approx(4)
    assert timing.p50_ms == pytest.approx(2.5)
    assert timing.p50_ms < timing.p95_ms < timing.p99_ms < 10


def test_every_stage_alone_runs_on_the_same_frames(estimator: Estimator) -> None:
    capture, frames = benchmark.read(MemorySource(benchmark.synthetic_pictures(HW, 3), 6), 6, 2)
    alone = benchmark.stages_alone(frames, estimator, None, picture, 4)
    assert capture is not None
    assert capture.count == 5
    assert len(frames) == 2
    assert list(alone) == ["letterbox", "network", "decode", "render"]
    assert {timing.count for timing in alone.values()} == {4}
    assert isinstance(estimator.backend, Blank)
    assert set(estimator.backend.shapes) == {(97, 129, 3)}
    assert len(estimator.backend.shapes) == 4 + benchmark.WARM_UP


def test_synthetic_heads_take_the_place_of_the_network(estimator: Estimator) -> None:
    _, frames = benchmark.read(MemorySource(benchmark.synthetic_pictures(HW, 1), 2), 2, 2)
    placed = estimator.fit(HW)
    heads = replace(synthetic_heads(2, placed.input_hw, 3), letterbox=placed)
    seen: list[int] = []

    def look(result: FrameResult) -> ByteArray:
        seen.append(len(result.instances))
        return result.frame.image

    benchmark.stages_alone(frames, estimator, heads, look, 2)
    assert min(seen) >= 1
    benchmark.stages_alone(frames, estimator, None, look, 2)
    assert seen[-1] == 0


def test_the_whole_and_one_thread_see_every_frame(estimator: Estimator) -> None:
    images, drawn = benchmark.synthetic_pictures(HW, 2), []

    def look(result: FrameResult) -> ByteArray:
        drawn.append(result.frame.index)
        return result.frame.image

    whole = benchmark.whole(MemorySource(images, 9), estimator.infer, estimator.decode, look)
    assert drawn == list(range(9))
    assert whole.fps > 0
    assert whole.figures.displayed == 9
    assert whole.figures.drops == dict.fromkeys(("infer", "decode", "render", "reader"), 0)
    assert benchmark.one_thread(MemorySource(images, 4), estimator.infer, estimator.decode, look) > 0
    assert drawn == [*range(9), *range(4)]


def test_the_slowest_thread_is_the_one_with_the_most_work() -> None:
    milliseconds = {"capture": 3.0, "letterbox": 2.0, "network": 2.5, "decode": 4.0, "render": 1.0}
    alone = {name: Timing.of([value / 1e3]) for name, value in milliseconds.items()}
    assert benchmark.slowest_fps(alone) == ("infer", pytest.approx(1e3 / 4.5))
    del alone["capture"]
    alone["render"] = Timing.of([0.01])
    assert benchmark.slowest_fps(alone) == ("render", pytest.approx(100))


def test_in_turns() -> None:
    calls: list[str] = []
    ways = {"a": lambda: calls.append("a"), "b": lambda: time.sleep(0.002)}
    timings = benchmark.in_turns(ways, 3)
    assert calls == ["a"] * 4
    assert {timing.count for timing in timings.values()} == {3}
    assert timings["b"].p50_ms >= 2 > timings["a"].p50_ms
