"""How fast a running pipeline is, how old its pictures are, what it drops and what it costs.

Every figure is of a rolling window of a few seconds, so that it falls when the source stalls, or of the whole run.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import psutil

from pipeline.durations import Durations
from pipeline.frames import Frame
from pipeline.gpu import GpuFigures, GpuMeter
from pipeline.runner import STAGES, TAKERS

WINDOW_S: Final = 5.0
SAMPLE_S: Final = 0.25  # counters are kept this far apart, however often somebody asks
# A taker holds up those before it if this share of the frames is dropped in front of it, or of the time waited there.
HELD_UP: Final = 0.1


class Watched(Protocol):
    """What is read off a `Pipeline`."""

    @property
    def durations(self) -> dict[str, Durations]: ...

    @property
    def dropped(self) -> dict[str, int]: ...

    @property
    def waited_s(self) -> dict[str, float]: ...


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of the durations in a window, milliseconds; None where nothing happened in it."""

    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None

    @classmethod
    def of(cls, durations_s: npt.NDArray[np.float64]) -> "Percentiles":
        """Of float64 (n,), seconds."""
        if not len(durations_s):
            return cls(None, None, None)
        return cls(*(float(value) for value in np.percentile(durations_s, (50, 95, 99)) * 1e3))


@dataclass(frozen=True, slots=True)
class StageFigures:
    """One stage.

    Attributes:
        fps: frames finished a second.
        p50_ms, p95_ms, p99_ms: work on one frame; of capture, the wait for the source is part of it.
        busy: the part of the time in [0, 1] it worked.
    """

    fps: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    busy: float

    @classmethod
    def of(cls, log: Durations, start_s: float, now_s: float) -> "StageFigures":
        """Of the steps in `log` that ended between the two moments, time.perf_counter()."""
        rows = log.since(start_s)
        work_s = np.minimum(rows[:, 1], rows[:, 0] - start_s).sum()  # of the first, only what lies in the window
        busy = min(1.0, float(work_s) / (now_s - start_s)) if now_s > start_s else 0.0
        steps = Percentiles.of(rows[:, 1])
        return cls(log.rate(start_s, now_s), steps.p50_ms, steps.p95_ms, steps.p99_ms, busy)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the pipeline does at one moment.

    Attributes:
        seconds: since the start.
        stages: by the name of the stage, in order.
        displayed: frames shown since the start.
        displayed_fps: frames shown a second.
        age_p50_ms, age_p95_ms, age_p99_ms: from a frame's capture until it was shown.
        drops: frames replaced in front of each taker (infer, decode, render, reader) since the start.
        drops_per_s: the same a second.
        bottleneck: what limits the rate: "capture" (the source's own pace), another stage or "reader"; "" at first.
        cpu_percent: of this process; 100 is one core.
        rss_mb: memory of this process, 1e6 bytes.
        threads: of this process, also those of its libraries.
        gpu: the first GPU, None where none can be read.
    """

    seconds: float
    stages: Mapping[str, StageFigures]
    displayed: int
    displayed_fps: float
    age_p50_ms: float | None
    age_p95_ms: float | None
    age_p99_ms: float | None
    drops: Mapping[str, int]
    drops_per_s: Mapping[str, float]
    bottleneck: str
    cpu_percent: float
    rss_mb: float
    threads: int
    gpu: GpuFigures | None

    def record(self) -> dict[str, Any]:
        """All of it as plain values for JSON, numbers rounded to three decimals."""
        return _rounded(asdict(self))

    def row(self) -> dict[str, Any]:
        """All of it as one row of a table, such as infer_p95_ms, drops_infer; always with the same keys."""
        record = self.record()
        stages, gpu = record.pop("stages"), record.pop("gpu") or dict.fromkeys(GpuFigures.__slots__)
        for stage, figures in stages.items():
            record |= {f"{stage}_{name}": value for name, value in figures.items()}
        for name in ("drops", "drops_per_s"):
            record |= {f"{name}_{taker}": value for taker, value in record.pop(name).items()}
        return record | {f"gpu_{name}": value for name, value in gpu.items()}


class _Sample(NamedTuple):
    """Counters that only grow, at one moment."""

    at_s: float
    drops: dict[str, int]
    waited_s: dict[str, float]
    cpu_s: float


class Statistics:
    """Watches one pipeline from its start. Whoever shows the frames calls `shown`; any thread may ask for figures."""

    def __init__(self, pipeline: Watched, window_s: float = WINDOW_S) -> None:
        self._pipeline = pipeline
        self._window_s = window_s
        self._shown = Durations()
        self._process = psutil.Process()
        self._gpu = GpuMeter.find()
        self._lock = threading.Lock()
        self._first = self._sample()
        self._samples = deque([self._first])

    def shown(self, frame: Frame) -> None:
        """Count a frame that is on the screen from now on; called by one thread."""
        now_s = time.perf_counter()
        self._shown.add(now_s, now_s - frame.t_capture_s)

    def snapshot(self) -> Snapshot:
        """The figures of the last few seconds. Takes about a millisecond."""
        with self._lock:
            now = self._sample()
            while len(self._samples) > 1 and self._samples[1].at_s <= now.at_s - self._window_s:
                self._samples.popleft()
            before = self._samples[0]
            if now.at_s - self._samples[-1].at_s >= SAMPLE_S:
                self._samples.append(now)
        return self._figures(before, now, max(self._first.at_s, now.at_s - self._window_s))

    def summary(self) -> Snapshot:
        """The figures since the start, or of the last 20,000 frames if there were more."""
        return self._figures(self._first, self._sample(), self._first.at_s)

    def _sample(self) -> _Sample:
        cpu = self._process.cpu_times()
        now_s = time.perf_counter()
        return _Sample(now_s, self._pipeline.dropped, self._pipeline.waited_s, cpu.user + cpu.system)

    def _figures(self, before: _Sample, now: _Sample, start_s: float) -> Snapshot:
        span_s = max(now.at_s - before.at_s, 1e-9)
        stages = {stage: StageFigures.of(log, start_s, now.at_s) for stage, log in self._pipeline.durations.items()}
        drops_per_s = {taker: (now.drops[taker] - before.drops[taker]) / span_s for taker in TAKERS}
        waiting = {taker: (now.waited_s[taker] - before.waited_s[taker]) / span_s for taker in TAKERS}
        ages = Percentiles.of(self._shown.since(start_s)[:, 1])
        return Snapshot(
            seconds=now.at_s - self._first.at_s,
            stages=stages,
            displayed=self._shown.count,
            displayed_fps=self._shown.rate(start_s, now.at_s),
            age_p50_ms=ages.p50_ms,
            age_p95_ms=ages.p95_ms,
            age_p99_ms=ages.p99_ms,
            drops=now.drops,
            drops_per_s=drops_per_s,
            bottleneck=bottleneck({stage: figures.fps for stage, figures in stages.items()}, drops_per_s, waiting),
            cpu_percent=100 * (now.cpu_s - before.cpu_s) / span_s,
            rss_mb=self._process.memory_info().rss / 1e6,
            threads=self._process.num_threads(),
            gpu=self._gpu.read() if self._gpu is not None else None,
        )


def bottleneck(fps: Mapping[str, float], drops_per_s: Mapping[str, float], waiting: Mapping[str, float]) -> str:
    """The stage that limits the rate of what is shown.

    Frames are lost, or finished work waits, in front of each stage that is slower than the one before. Behind the last
    of these everything keeps up: so the last one is the bottleneck, and without any it is the source.

    Args:
        fps: frames a second that each stage finished.
        drops_per_s: frames a second replaced in front of each taker.
        waiting: the part of the time in [0, 1] in which finished work waited in front of each taker.
    """
    if not fps["capture"]:
        return ""
    held_up = "capture"
    for giver, taker in zip(STAGES, TAKERS, strict=True):
        if waiting[taker] >= HELD_UP or drops_per_s[taker] >= HELD_UP * max(fps[giver], 1e-9):
            held_up = taker
    return held_up


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    return {key: _rounded(item) for key, item in value.items()} if isinstance(value, dict) else value
