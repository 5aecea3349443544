"""Workers on a Ray cluster: the same results as here, also when they or Ray's own processes are killed."""

import importlib.util
import random
import signal
import time
from pathlib import Path

import psutil
import pytest

from engine.errors import UserError
from tests.app.batching.conftest import Batch
from tests.app.batching.test_faults import end, fill, hashes, undisturbed

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="needs ray (pip install ray), an optional package")
KILLS = 4


@pytest.mark.skipif(HAS_RAY, reason="ray is installed")
def test_without_ray(batch: Batch) -> None:
    batch.add("a.txt", "frames 1")
    with pytest.raises(UserError, match=r"ray is not installed: pip install -r requirements-ray\.txt"):
        batch.run(ray="local")


@needs_ray
@pytest.mark.slow
def test_killed_at_random(batch: Batch) -> None:
    fill(batch, 40)
    expected = undisturbed(batch)
    chance = random.Random(3)
    process = batch.start({"frame_s": 0.02}, workers=2, ray="local", attempts=1000)
    kills = 0
    while kills < KILLS and process.poll() is None:
        time.sleep(0.05)
        if batch.working() and (victims := _victims(process.pid)):
            time.sleep(chance.uniform(0.0, 0.1))
            chance.choice(victims).send_signal(signal.SIGKILL)
            kills += 1
            time.sleep(0.5)
    status, _, err = end(process)
    assert status == 0, err
    assert kills == KILLS
    assert hashes(batch) == expected
    assert batch.names() == set(expected)


@needs_ray
@pytest.mark.slow
def test_driver_killed_then_resumed(batch: Batch) -> None:
    fill(batch, 12)
    expected = undisturbed(batch)
    process = batch.start({"frame_s": 0.05}, workers=2, ray="local")
    while len(batch.results()) < 3:
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.communicate()
    done = {Path(unit.clip).stem for unit in batch.units() if unit.status == "done"}
    before = {name: value for name, value in batch.results().items() if Path(name).stem in done}
    assert batch.run({"frame_s": 0.05}, resume=True, workers=2) == 0  # on plain processes: the manifest is the same
    assert {name: batch.results()[name] for name in before} == before
    assert hashes(batch) == expected


@needs_ray
@pytest.mark.slow
def test_errors_of_the_settings_are_told(batch: Batch) -> None:
    batch.add("a.txt", "frames 1")
    process = batch.start({"unusable": "no such network"}, ray="local")
    status, _, err = end(process)
    assert status == 2
    assert err.startswith("error: no such network; 0 of 1 clips are done")


def _victims(pid: int) -> list[psutil.Process]:
    """Workers' processes, and the Ray processes that watch them."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        try:
            if "app.batching.child" in process.cmdline() or "RemoteWorker" in process.name():
                found.append(process)
        except psutil.Error:
            continue
    return found
