import dataclasses
import json
import sys
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline import statistics
from pipeline.durations import Durations
from pipeline.frames import Frame
from pipeline.gpu import GpuFigures, GpuMeter
from pipeline.runner import STAGES, TAKERS, Pipeline
from pipeline.statistics import Percentiles, Statistics, bottleneck

NONE = dict.fromkeys(TAKERS, 0.0)


class FakePipeline:
    """Counters that a test sets, and a clock that it moves."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.durations = {stage: Durations() for stage in STAGES}
        self.lost = 0  # in front of infer
        self.waited_s = dict.fromkeys(TAKERS, 0.0)

    @property
    def dropped(self) -> dict[str, int]:
        return dict.fromkeys(TAKERS, 0) | {"infer": self.lost}

    def run(self, seconds: float, fps: float, step_s: float, stages: tuple[str, ...] = STAGES) -> None:
        """Let the stages finish a frame every 1 / fps seconds, each after working for `step_s`."""
        for index in range(round(seconds * fps)):
            for stage in stages:
                self.durations[stage].add(self.now_s + (index + 1) / fps, step_s)
        self.now_s += seconds


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakePipeline:
    pipeline = FakePipeline()
    monkeypatch.setattr(statistics, "time", SimpleNamespace(perf_counter=lambda: pipeline.now_s))
    return pipeline


def frame(t_capture_s: float) -> Frame:
    return Frame.of(np.zeros((2, 2, 3), np.uint8), 0, t_capture_s, None)


# ---- one snapshot


def test_before_the_first_frame_there_are_no_figures_but_the_process_is_known(fake: FakePipeline) -> None:
    snapshot = Statistics(fake).snapshot()
    assert snapshot.seconds == 0
    assert all((f.fps, f.p50_ms, f.busy) == (0.0, None, 0.0) for f in snapshot.stages.values())
    assert (snapshot.displayed, snapshot.displayed_fps, snapshot.age_p95_ms) == (0, 0.0, None)
    assert snapshot.bottleneck == ""
    assert snapshot.rss_mb > 5
    assert snapshot.threads >= 1


def test_stages_have_rate_percentiles_and_busy_share(fake: FakePipeline) -> None:
    watched = Statistics(fake)
    fake.run(10.0, fps=20, step_s=0.03)
    infer = watched.snapshot().stages["infer"]
    assert infer.fps == pytest.approx(20.0, rel=0.01)
    assert (infer.p50_ms, infer.p99_ms) == (pytest.approx(30.0), pytest.approx(30.0))
    assert infer.busy == pytest.approx(0.6, rel=0.01)


def test_the_window_forgets_and_the_summary_does_not(fake: FakePipeline) -> None:
    watched = Statistics(fake, window_s=5.0)
    fake.run(10.0, fps=10, step_s=0.08)
    watched.snapshot()
    fake.run(10.0, fps=20, step_s=0.02)
    recent, whole = watched.snapshot().stages["decode"], watched.summary().stages["decode"]
    assert (recent.fps, recent.p99_ms) == (pytest.approx(20.0, rel=0.01), pytest.approx(20.0))
    assert (whole.fps, whole.p99_ms) == (pytest.approx(15.0, rel=0.01), pytest.approx(80.0))


def test_a_step_that_began_before_the_window_counts_in_part(fake: FakePipeline) -> None:
    watched = Statistics(fake, window_s=2.0)
    fake.durations["infer"].add(fake.now_s + 9.0, 8.0)
    fake.now_s += 10.0  # the window reaches from 8 to 10 s, the step from 1 to 9 s
    assert watched.snapshot().stages["infer"].busy == pytest.approx(0.5)


def test_percentiles_are_numpys() -> None:
    values_s = np.random.default_rng(0).random(77)
    expected = np.percentile(values_s, [50, 95, 99]) * 1e3
    np.testing.assert_allclose(dataclasses.astuple(Percentiles.of(values_s)), expected)


def test_age_and_rate_of_what_is_shown(fake: FakePipeline) -> None:
    watched = Statistics(fake)
    for index in range(30):
        fake.now_s = 100.0 + index / 15
        watched.shown(frame(fake.now_s - (0.1 if index < 20 else 0.3)))
    snapshot = watched.snapshot()
    assert snapshot.displayed == 30
    assert snapshot.displayed_fps == pytest.approx(15.0)
    assert (snapshot.age_p50_ms, snapshot.age_p99_ms) == (pytest.approx(100.0), pytest.approx(300.0))


def test_drops_are_totals_and_a_rate_of_the_window(fake: FakePipeline) -> None:
    watched = Statistics(fake, window_s=5.0)
    fake.now_s += 10.0
    fake.lost = 50
    watched.snapshot()
    fake.now_s += 5.0
    fake.lost = 90
    snapshot = watched.snapshot()
    assert snapshot.drops == {"infer": 90, "decode": 0, "render": 0, "reader": 0}
    assert snapshot.drops_per_s["infer"] == pytest.approx(8.0)
    assert watched.summary().drops_per_s["infer"] == pytest.approx(6.0)


def test_however_often_somebody_asks_few_samples_are_kept(fake: FakePipeline) -> None:
    watched = Statistics(fake, window_s=5.0)
    for _ in range(3000):
        fake.now_s += 0.01
        fake.lost += 1
        snapshot = watched.snapshot()
    assert len(watched._samples) <= 5.0 / statistics.SAMPLE_S + 2
    assert snapshot.drops_per_s["infer"] == pytest.approx(100.0, rel=0.01)


def test_cpu_is_per_core_and_of_the_window(fake: FakePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    used = SimpleNamespace(user=7.0, system=1.0)
    watched = Statistics(fake)
    monkeypatch.setattr(watched._process, "cpu_times", lambda: used)
    watched._first = watched._sample()
    watched._samples[0] = watched._first
    fake.now_s += 4.0
    used.user += 5.0
    used.system += 1.0
    assert watched.snapshot().cpu_percent == pytest.approx(150.0)


# ---- what the figures are written as


def test_a_record_is_plain_json_and_a_row_has_the_same_keys_at_any_time(fake: FakePipeline) -> None:
    watched = Statistics(fake)
    empty = watched.snapshot()
    fake.run(3.0, fps=10, step_s=1 / 30)
    snapshot = dataclasses.replace(watched.snapshot(), gpu=GpuFigures("GPU X", 50.0, 1000.0))
    record = json.loads(json.dumps(snapshot.record(), allow_nan=False))
    assert list(record) == [field.name for field in dataclasses.fields(snapshot)]
    assert record["stages"]["infer"]["p50_ms"] == 33.333
    assert record["gpu"] == {"name": "GPU X", "percent": 50.0, "memory_mb": 1000.0}
    assert list(empty.row()) == list(snapshot.row())
    assert {"seconds", "infer_p95_ms", "drops_reader", "drops_per_s_infer", "gpu_percent"} < set(snapshot.row())
    assert all(not isinstance(value, dict) for value in snapshot.row().values())


# ---- the bottleneck


def fps(**changes: float) -> dict[str, float]:
    return dict.fromkeys(STAGES, 30.0) | changes


def test_nothing_has_passed_yet() -> None:
    assert bottleneck(fps(capture=0.0), NONE, NONE) == ""


def test_without_loss_it_is_the_source() -> None:
    assert bottleneck(fps(), NONE, NONE) == "capture"


@pytest.mark.parametrize("taker", TAKERS)
def test_it_is_who_drops_and_who_is_waited_for(taker: str) -> None:
    assert bottleneck(fps(), NONE | {taker: 15.0}, NONE) == taker
    assert bottleneck(fps(), NONE, NONE | {taker: 0.5}) == taker


def test_of_several_it_is_the_last_one() -> None:
    slower_and_slower = fps(infer=20.0, decode=10.0, render=10.0)
    assert bottleneck(slower_and_slower, NONE | {"infer": 10.0, "decode": 10.0}, NONE) == "decode"
    assert bottleneck(fps(), NONE, NONE | {"infer": 0.7, "decode": 0.6}) == "decode"


def test_a_frame_lost_now_and_then_is_no_bottleneck() -> None:
    assert bottleneck(fps(), NONE | {"infer": 15.0, "reader": 1.0}, NONE) == "infer"
    assert bottleneck(fps(), NONE, NONE | {"infer": 0.6, "reader": 0.02}) == "infer"


# ---- a pipeline that runs


@pytest.mark.parametrize("slow", ["infer", "decode", "render"])
def test_a_recording_waits_in_front_of_its_slowest_stage(fake_source, make_heads, make_instances, slow) -> None:
    pace = threading.Event()

    def slowly(stage: str, value: Any) -> Any:
        pace.wait(0.02 if stage == slow else 0.0)
        return value

    pipeline = Pipeline(
        fake_source(20),
        lambda image: slowly("infer", make_heads()),
        lambda heads: slowly("decode", make_instances(1)),
        lambda result: slowly("render", result.frame.image),
    )
    watched = Statistics(pipeline)
    with pipeline:
        for rendered in pipeline:
            watched.shown(rendered.result.frame)
    summary = watched.summary()
    assert summary.bottleneck == slow
    assert summary.displayed == 20
    assert summary.drops == dict.fromkeys(TAKERS, 0)
    assert max(summary.stages, key=lambda stage: summary.stages[stage].busy) in (slow, "capture")


def test_snapshots_are_taken_from_several_threads_while_it_runs(fake_source, make_heads, make_instances) -> None:
    pipeline = Pipeline(fake_source(400, live=True), lambda i: make_heads(), lambda h: make_instances(1))
    watched = Statistics(pipeline)
    failed: list[Exception] = []

    def ask() -> None:
        try:
            while not pipeline.finished:
                watched.snapshot().row()
        except (RuntimeError, ValueError, KeyError, IndexError) as error:
            failed.append(error)

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    with pipeline:
        for rendered in pipeline:
            watched.shown(rendered.result.frame)
    for asker in askers:
        asker.join()
    assert failed == []
    summary = watched.summary()
    assert summary.displayed + sum(summary.drops.values()) == 400


# ---- GPU


class NvmlError(Exception):
    pass


def fake_nvml(**changes: Any) -> SimpleNamespace:
    """The module pynvml of a machine with one GPU."""
    functions = {
        "NVMLError": NvmlError,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByIndex": lambda index: f"device {index}",
        "nvmlDeviceGetName": lambda device: b"GPU X",
        "nvmlDeviceGetUtilizationRates": lambda device: SimpleNamespace(gpu=37, memory=5),
        "nvmlDeviceGetMemoryInfo": lambda device: SimpleNamespace(used=2_500_000_000),
    }
    return SimpleNamespace(**(functions | changes))


def gone(*arguments: object) -> None:
    raise NvmlError("GPU is lost")


def test_a_gpu_is_read_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())
    meter = GpuMeter.find()
    assert meter is not None
    assert meter.read() == GpuFigures("GPU X", 37.0, 2500.0)


@pytest.mark.parametrize("module", [None, fake_nvml(nvmlInit=gone), fake_nvml(nvmlDeviceGetHandleByIndex=gone)])
def test_without_package_driver_or_gpu_there_are_no_figures(monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", module)  # None: as if it were not installed
    assert GpuMeter.find() is None


def test_a_gpu_that_does_not_answer_any_more_is_left_out() -> None:
    assert GpuMeter(fake_nvml(nvmlDeviceGetMemoryInfo=gone)).read() is None
