"""A worker outlives whatever its jobs do to its process."""

import threading
from pathlib import Path
from typing import Any

import pytest

from app.batching.jobs import Job, Outcome, Setup
from app.batching.pools import split_cores
from app.batching.worker import Worker
from engine.errors import UserError
from tests.app.batching.fake_work import WORK

HANG_S = 0.7


class Bench:
    """A worker, and clips for it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.worker = Worker(Setup(WORK, settings, timeout_s=HANG_S))
        self.number = 0

    def job(self, text: str) -> Job:
        self.number += 1
        clip = self.folder / f"{self.number}.txt"
        clip.write_text(text, encoding="utf-8")
        results = self.folder / f"results-{self.number}"
        results.mkdir()
        return Job(self.number, "clip", str(clip), str(results), "x")

    def run(self, text: str) -> Outcome:
        return self.worker.run(self.job(text))


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    made = Bench(tmp_path)
    yield made
    made.worker.close()


def test_the_process_stays(bench: Bench) -> None:
    first, second = bench.run("frames 3 careful"), bench.run("frames 2")
    assert (first.error, first.frames, first.files, first.warnings) == (None, 3, ("x.ndjson",), ("careful",))
    assert first.seconds > 0
    assert len(first.digest) == 64
    assert first.worker == second.worker
    assert bench.worker.progress is None


def test_a_process_is_not_kept_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.batching.worker.JOBS_PER_PROCESS", 2)
    outcomes = [bench.run("frames 1") for _ in range(5)]
    assert [outcome.error for outcome in outcomes] == [None] * 5
    first, _, second, _, third = (outcome.worker for outcome in outcomes)
    assert len({first, second, third}) == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("bad", "cannot be read: second line"),
        ("bug", "RuntimeError: a bug"),
        ("SIGKILL", "killed by SIGKILL: a library complains"),
        ("SIGSEGV", "killed by SIGSEGV: a library complains"),
        ("exit", "ended with status 7: the last words"),
        ("hang", f"no progress for {HANG_S} s"),
    ],
)
def test_failures_have_a_reason_and_the_next_job_runs(bench: Bench, text: str, reason: str) -> None:
    bench.run("frames 1")
    failed = bench.run(text)
    assert failed.error is not None
    assert failed.error.startswith(reason)
    assert not failed.fatal
    assert bench.run("frames 1").error is None


def test_a_missing_clip(bench: Bench) -> None:
    job = bench.job("frames 1")
    Path(job.source).unlink()
    assert bench.worker.run(job).error == "cannot be read: No such file or directory"


def test_a_full_disk_is_told_apart(bench: Bench) -> None:
    assert bench.run("full").fatal


def test_settings_that_nobody_can_work_with(tmp_path: Path) -> None:
    bench = Bench(tmp_path, unusable="no such network")
    with pytest.raises(UserError, match="no such network"):
        bench.run("frames 1")
    bench.worker.close()


def test_processes_that_never_get_ready(tmp_path: Path) -> None:
    bench = Bench(tmp_path, die_at_start=True)
    with pytest.raises(UserError, match="the workers cannot be kept running: killed by SIGKILL"):
        bench.run("frames 1")
    bench.worker.close()


def test_a_slow_job_does_not_hang(tmp_path: Path) -> None:
    bench = Bench(tmp_path, frame_s=0.3)
    assert bench.run("frames 4").error is None  # longer than HANG_S, but with progress
    bench.worker.close()


def test_stop_ends_a_job(bench: Bench) -> None:
    outcomes: list[Outcome] = []
    job = bench.job("hang")
    thread = threading.Thread(target=lambda: outcomes.append(bench.worker.run(job)))
    thread.start()
    bench.worker.stop()
    thread.join(30)
    assert outcomes[0].error is not None
    assert bench.run("frames 1").error == "stopped"


def test_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {2, 3, 5, 7, 8}, raising=False)
    assert split_cores(1) == [()]
    assert split_cores(2) == [(2, 3), (5, 7, 8)]
    assert split_cores(7) == [(2,), (3,), (5,), (7,), (8,), (2,), (3,)]
