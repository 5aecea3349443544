"""Measuring: every stage alone on the same frames, the whole pipeline, and two ways of one thing in turns.

Nothing here decides whether a figure is good. Two things are always measured in turns, so that whatever else the
machine does meanwhile burdens both of them.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt

from engine import letterbox
from engine.estimator import Estimator
from engine.structures import ByteArray, Heads, Instances
from pipeline.frames import Frame, FrameResult
from pipeline.runner import Pipeline
from pipeline.source_base import Source, SourceInfo
from pipeline.statistics import Snapshot, Statistics

WARM_UP: Final = 3  # runs before those that count: caches, memory pools, clock rates
# What `Pipeline` runs in one thread; "encode" of `run` is its reader's.
THREADS: Final[Mapping[str, tuple[str, ...]]] = {
    "capture": ("capture",),
    "infer": ("letterbox", "network"),
    "decode": ("decode",),
    "render": ("render",),
}

Infer = Callable[[ByteArray], Heads]
Draw = Callable[[FrameResult], ByteArray]


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one thing took, milliseconds.

    Attributes:
        count: how often it was measured.
        mean_ms: the mean, whose inverse is the rate of a thread that does nothing else.
        p50_ms, p95_ms, p99_ms: the percentiles.
    """

    count: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self:
        """Of at least one duration."""
        durations_ms = np.asarray(seconds, dtype=np.float64) * 1e3
        return cls(
            len(durations_ms), float(durations_ms.mean()), *map(float, np.percentile(durations_ms, (50, 95, 99)))
        )


@dataclass(frozen=True, slots=True)
class Whole:
    """The pipeline over all frames.

    Attributes:
        fps: frames a second, from the first that was read to the last.
        figures: everything that `Statistics` knows of the run.
    """

    fps: float
    figures: Snapshot


class MemorySource:
    """Pictures that are in memory already, played round and round as a recording that costs nothing to read."""

    live: Literal[False] = False

    def __init__(self, images: Sequence[ByteArray], count: int) -> None:
        """Deliver `count` frames out of `images`, uint8 (H, W, 3) BGR, again from the first one when they end."""
        self._images, self._count = images, count
        height, width = images[0].shape[:2]
        self.info = SourceInfo("memory", width, height, None, count)
        self.warnings: list[str] = []

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self._count):
            yield Frame.of(self._images[index % len(self._images)], index, time.perf_counter(), None)

    def stop(self) -> None:
        """Nothing of it ever waits."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def synthetic_pictures(hw: tuple[int, int], count: int, seed: int = 0) -> list[ByteArray]:
    """`count` pictures uint8 (H, W, 3) of smooth noise that moves from one to the next; the same for the same seed."""
    height, width = hw
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), dtype=np.uint8)
    whole = coarse.repeat(16, axis=0).repeat(16, axis=1)
    return [np.ascontiguousarray(np.roll(whole, 4 * index, axis=1)[:height, :width]) for index in range(count)]


def timed(function: Callable[..., Any], arguments: Sequence[Any], count: int) -> tuple[Timing, list[Any]]:
    """`count` calls with one of `arguments` each, in turn; and what the last call with each of them returned."""
    results: list[Any] = [None] * min(len(arguments), count)
    for number in range(WARM_UP):
        function(arguments[number % len(arguments)])
    spent = []
    for index in range(count):
        begin_s = time.perf_counter()
        result = function(arguments[index % len(arguments)])
        spent.append(time.perf_counter() - begin_s)
        results[index % len(arguments)] = result
    return Timing.of(spent), results


def stages_alone(
    frames: Sequence[Frame], estimator: Estimator, heads: Heads | None, draw: Draw, count: int
) -> dict[str, Timing]:
    """Each stage by itself in this thread, with nothing running beside it, over the same frames.

    Args:
        frames: all of one size.
        heads: what is decoded instead of what the network says about the frames, or None.
        estimator, draw: the work. count: how often each stage is measured.

    Returns:
        By the names of `THREADS`: letterbox, network, decode and render; capture is `read`'s.
    """
    images = [frame.image for frame in frames]
    placed = estimator.fit((images[0].shape[0], images[0].shape[1]))
    letterboxing, inputs = timed(lambda image: letterbox.apply(image, placed), images, count)
    network, said = timed(lambda picture: estimator.backend.infer(picture, placed), inputs, count)
    decoding, found = timed(estimator.decode, said if heads is None else [heads] * len(said), count)
    results = [FrameResult(frame, instances, None, {}) for frame, instances in zip(frames, found, strict=False)]
    rendering, _ = timed(draw, results, count)
    return {"letterbox": letterboxing, "network": network, "decode": decoding, "render": rendering}


def read(source: Source, count: int, kept: int) -> tuple[Timing | None, list[Frame]]:
    """The source's next frames, at most `count` of them, and how long each took; the first one's wait is not counted.

    Returns:
        The times, None of a source of one frame; and the first `kept` frames.
    """
    frames: list[Frame] = []
    spent: list[float] = []
    with source:
        begin_s = time.perf_counter()
        for number, frame in zip(range(count), source, strict=False):
            spent.append(time.perf_counter() - begin_s)
            if number < kept:
                frames.append(frame)
            begin_s = time.perf_counter()
    return (Timing.of(spent[1:]) if len(spent) > 1 else None), frames


def whole(source: Source, infer: Infer | Estimator, decode: Callable[[Heads], Instances], draw: Draw) -> Whole:
    """Run a recording through the pipeline to its end."""
    pipeline = Pipeline(source, infer, decode, draw)
    ends_s: list[float] = []
    with pipeline:
        statistics = Statistics(pipeline)
        for rendered in pipeline:
            statistics.shown(rendered.result.frame)
            ends_s.append(time.perf_counter())
        figures = statistics.summary()
    return Whole(_rate(ends_s), figures)


def one_thread(source: Source, infer: Infer, decode: Callable[[Heads], Instances], draw: Draw) -> float:
    """The same work one step after the other in this thread: frames a second."""
    ends_s = []
    with source:
        for frame in source:
            draw(FrameResult(frame, decode(infer(frame.image)), None, {}))
            ends_s.append(time.perf_counter())
    return _rate(ends_s)


def in_turns(ways: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Timing]:
    """Each of `ways` once a round, after one round that does not count."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            begin_s = time.perf_counter()
            way()
            if number:
                spent[name].append(time.perf_counter() - begin_s)
    return {name: Timing.of(durations) for name, durations in spent.items()}


def slowest_fps(alone: Mapping[str, Timing]) -> tuple[str, float]:
    """The thread of `THREADS` that would take longest if each had a core to itself, and its frames a second."""
    spent_ms = {
        thread: sum(alone[stage].mean_ms for stage in stages if stage in alone) for thread, stages in THREADS.items()
    }
    slowest = max(spent_ms, key=lambda thread: spent_ms[thread])
    return slowest, 1e3 / spent_ms[slowest]


def _rate(ends_s: Sequence[float]) -> float:
    """Frames a second over the N - 1 intervals between the ends of N frames; 0 below two."""
    times: npt.NDArray[np.float64] = np.asarray(ends_s, dtype=np.float64)
    return float((len(times) - 1) / (times[-1] - times[0])) if len(times) > 1 else 0.0
