"""Whatever is killed, full, removed or forbidden: finished clips are never touched, and --resume does the rest."""

import contextlib
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.batching.folder import OutputFolder
from engine.errors import UserError
from tests.app.batching.conftest import Batch, posix

FRAMES = 12
SLOW = {"frame_s": 0.01}
LONG_S = 60.0


def fill(batch: Batch, count: int) -> None:
    for number in range(count):
        batch.add(f"{number:02}.txt", f"frames {FRAMES}")


def undisturbed(batch: Batch) -> dict[str, str]:
    """The hashes that the results should have."""
    other = Batch(batch.source, batch.out.with_name("undisturbed"), batch.clips)
    assert other.run() == 0
    return {name: digest for name, (_, digest) in other.results().items()}


def hashes(batch: Batch) -> dict[str, str]:
    return {name: digest for name, (_, digest) in batch.results().items()}


def end(process: Any) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=LONG_S)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def wait_for(condition: Callable[[], Any], process: Any) -> Any:
    deadline_s = time.monotonic() + LONG_S
    while not (value := condition()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
    return value


def gone(pids: list[int]) -> None:
    """Wait for processes that nobody here can reap."""
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], LONG_S)
    assert not alive


@posix
def test_workers_killed_at_random(batch: Batch, workers_of: Callable[[int], list[int]]) -> None:
    fill(batch, 40)
    expected = undisturbed(batch)
    chance = random.Random(5)
    process = batch.start(SLOW, workers=2, attempts=1000)
    kills = 0
    while kills < 20 and process.poll() is None:
        if batch.working() and (workers := workers_of(process.pid)):
            time.sleep(chance.uniform(0.0, 0.1))
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
                kills += 1
    status, _, err = end(process)
    assert (status, err) == (0, "")
    assert kills >= 10
    assert hashes(batch) == expected
    assert batch.names() == set(expected)
    assert sum(unit.attempts for unit in batch.units()) >= 40


@posix
def test_coordinator_killed_at_random(batch: Batch, workers_of: Callable[[int], list[int]]) -> None:
    fill(batch, 10)
    expected = undisturbed(batch)
    chance = random.Random(7)
    finished: dict[str, tuple[int, str]] = {}
    for kill in range(5):
        process = batch.start(SLOW, workers=2, resume=True)
        if kill < 4:
            seen = len(finished)
            wait_for(lambda: len(batch.results()) > seen, process)  # noqa: B023 - called at once
            time.sleep(chance.uniform(0.0, 0.2))
            workers = workers_of(process.pid)
            process.kill()
            process.communicate()
            gone(workers)
        else:
            assert end(process)[0] == 0
        done = {Path(unit.clip).stem for unit in batch.units() if unit.status == "done"}
        assert done >= {Path(name).stem for name in finished}
        results = batch.results()
        assert {name: results[name] for name in finished} == finished  # neither time nor content has changed
        assert {digest for _, digest in results.values()} <= set(expected.values())  # and nothing is half there
        finished = {name: value for name, value in results.items() if Path(name).stem in done}
    assert hashes(batch) == expected
    assert batch.names() == set(expected)


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(batch: Batch, number: signal.Signals, workers_of: Callable[[int], list[int]]) -> None:
    fill(batch, 8)
    process = batch.start({"frame_s": 0.05}, workers=2)
    wait_for(lambda: len(batch.results()) >= 2, process)
    workers = workers_of(process.pid)
    process.send_signal(number)
    status, _, err = end(process)
    assert status == 130
    assert err.startswith("interrupted: ")
    assert err.rstrip().endswith("of 8 clips are done; the same command with --resume goes on")
    gone(workers)
    done = sum(unit.status == "done" for unit in batch.units())
    assert done < 8
    assert {unit.status for unit in batch.units()} == {"done", "pending"}
    assert all(name.endswith(".ndjson") for name in batch.names())
    before = batch.results()
    assert batch.run({"frame_s": 0.05}, workers=2, resume=True) == 0
    assert {name: batch.results()[name] for name in before} == before


def test_disk_full_in_a_worker(batch: Batch) -> None:
    batch.add("a.txt", "frames 1")
    batch.add("b.txt", "full once")
    with pytest.raises(UserError, match=r"disk full; 1 of 2 clips are done and stay so: --resume goes on"):
        batch.run()
    assert batch.statuses() == {"a.txt": "done", "b.txt": "pending"}  # that was no attempt of the clip's
    assert batch.run(resume=True) == 0
    assert batch.names() == {"a.ndjson", "b.ndjson"}


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_disk_full(batch: Batch, root: Path, tmp_path: Path) -> None:
    mount = "mount -t tmpfs -o size=512k none out && exec"
    names = ["unshare", "--map-root-user", "--mount"]
    batch.out.mkdir()
    if subprocess.run([*names, "sh", "-c", f"{mount} true"], cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be mounted here")
    for number in range(40):
        batch.add(f"{number:02}.txt", "frames 600")
    code = (
        "import sys; from pathlib import Path; from app.batching.session import BatchOptions, run_batch\n"
        "from engine.errors import UserError\n"
        "clips = sorted(map(str, Path(sys.argv[1]).iterdir()))\n"
        "try:\n"
        "    run_batch(clips, {}, 'tests.app.batching.fake_work:open_fake_work', BatchOptions(Path(sys.argv[2])))\n"
        "except UserError as error:\n"
        "    sys.exit(str(error))"
    )
    script = f"{mount} {sys.executable} -c '{code.replace(chr(39), chr(34))}' {batch.source} {batch.out}"
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [*names, "sh", "-c", script]
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=LONG_S, check=False
    )
    assert "Traceback" not in ended.stderr
    [line] = ended.stderr.splitlines()
    assert str(batch.out) in line
    assert ended.returncode == 1


def test_output_folder_removed(batch: Batch) -> None:
    fill(batch, 20)
    process = batch.start(SLOW)
    wait_for(lambda: len(batch.results()) >= 1, process)
    batch.out.rename(batch.out.with_name("away"))
    status, _, err = end(process)
    assert status == 2
    assert err.startswith(f"error: {batch.out}: the output folder")
    batch.out.with_name("away").rename(batch.out)
    before = batch.results()
    assert batch.run(SLOW, resume=True) == 0
    assert len(batch.results()) == 20
    assert {name: batch.results()[name] for name in before} == before


def test_permission_lost(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(batch, 4)
    real = OutputFolder.new_attempt

    def forbid(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    def new_attempt(folder: OutputFolder, unit: int) -> Path:
        attempt = real(folder, unit)
        if unit == 3:
            monkeypatch.setattr(Path, "replace", forbid)
        return attempt

    monkeypatch.setattr(OutputFolder, "new_attempt", new_attempt)
    with pytest.raises(UserError, match="the output folder cannot be written: Permission denied; 2 of 4 clips"):
        batch.run()
    monkeypatch.undo()
    assert batch.names() == {"00.ndjson", "01.ndjson"}
    assert batch.run(resume=True) == 0
    assert len(batch.names()) == 4


def test_a_clip_that_grows_meanwhile(batch: Batch) -> None:
    path = batch.add("a.txt", "frames 40")
    process = batch.start({"frame_s": 0.02}, attempts=2)
    wait_for(batch.working, process)
    path.write_text("frames 2", encoding="utf-8")
    assert end(process)[0] == 0
    [unit] = batch.units()
    assert (unit.status, unit.attempts, unit.frames) == ("done", 2, 2)
