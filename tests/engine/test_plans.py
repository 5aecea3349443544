"""The plan cache: what is found again, what is not, and what happens to files that are no good."""

import dataclasses
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.backends import plans
from engine.backends.plans import Plan, PlanCache, PlanKey
from engine.backends.tensorrt_build import BuildCancelledError, PlanShape

KEY = PlanKey(
    library="tensorrt",
    version="11.4.0",
    gpu="Some GPU",
    capability="8.9",
    driver="13.0",
    network="mobile",
    onnx_sha256="0" * 64,
    precision="fp16",
    mode="joint",
    shape=PlanShape(401),
)
PLAN = Plan(bytes(range(256)) * 40, {"mean_rgb": [1.0, 2.0, 3.5], "stride": 8})
OTHERS = {
    "library": "tensorrt_rtx",
    "version": "11.5.0",
    "gpu": "Another GPU",
    "capability": "9.0",
    "driver": "13.1",
    "network": "resnet50",
    "onnx_sha256": "1" * 64,
    "precision": "fp32",
    "mode": "pose",
    "shape": PlanShape(401, 2),
}


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    return PlanCache(tmp_path)


def test_a_plan_comes_back_as_it_was(cache: PlanCache) -> None:
    assert cache.load(KEY) is None
    cache.store(KEY, PLAN)
    assert cache.load(KEY) == PLAN
    assert [path.suffix for path in cache.folder.iterdir()] == [".plan"]


@pytest.mark.parametrize("field", list(OTHERS))
def test_whatever_differs_is_another_plan(cache: PlanCache, field: str) -> None:
    assert set(OTHERS) == {item.name for item in dataclasses.fields(PlanKey)}
    cache.store(KEY, PLAN)
    other = dataclasses.replace(KEY, **{field: OTHERS[field]})
    assert other.file_name() != KEY.file_name()
    assert cache.load(other) is None


Damage = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-9] + b"?" + data[-8:],
        lambda data: data + b"more",
        lambda data: b"not JSON\n" + data,
        lambda data: b"[1]\n" + data,
        lambda data: b"{}\n" + data,
        lambda data: b"\xff" + data,
        lambda data: data.replace(b"Some GPU", b"This GPU"),
    ],
)
def test_a_damaged_plan_is_deleted_with_a_warning(
    cache: PlanCache, damage: Damage, caplog: pytest.LogCaptureFixture
) -> None:
    cache.store(KEY, PLAN)
    path = cache.folder / KEY.file_name()
    path.write_bytes(damage(path.read_bytes()))
    assert cache.load(KEY) is None
    assert "it is built anew" in caplog.text
    assert not path.exists()
    assert cache.load_or_build(KEY, lambda: PLAN, lambda *_: True) == PLAN
    assert cache.load(KEY) == PLAN


def test_two_builders_build_once(cache: PlanCache) -> None:
    """Each with a cache object of its own, as two processes have; the second finds what the first has built."""
    building, may_end = threading.Event(), threading.Event()
    built: list[str] = []

    def build(name: str) -> Plan:
        built.append(name)
        building.set()
        assert may_end.wait(30)
        return PLAN

    found: list[Plan] = []
    waiting = threading.Event()

    def told(fraction: float, phase: str) -> bool:
        waiting.set()
        return True

    def second() -> None:
        found.append(PlanCache(cache.folder).load_or_build(KEY, lambda: build("second"), told))

    threads = [
        threading.Thread(target=lambda: found.append(cache.load_or_build(KEY, lambda: build("first"), told))),
        threading.Thread(target=second),
    ]
    threads[0].start()
    assert building.wait(30)
    threads[1].start()
    assert waiting.wait(30)  # the second knows that somebody builds
    may_end.set()
    for thread in threads:
        thread.join(30)
    assert built == ["first"]
    assert found == [PLAN, PLAN]


def test_a_lock_of_a_process_that_died_holds_nobody(cache: PlanCache, root: Path) -> None:
    code = (
        "import os, filelock, sys\n"
        f"filelock.FileLock({str(cache.folder / (KEY.file_name() + '.lock'))!r}).acquire()\n"
        "os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=root, check=False)
    assert cache.load_or_build(KEY, lambda: PLAN, lambda *_: False) == PLAN


def test_waiting_can_be_cancelled(cache: PlanCache) -> None:
    import filelock

    with filelock.FileLock(cache.folder / f"{KEY.file_name()}.lock"), pytest.raises(BuildCancelledError):
        cache.load_or_build(KEY, lambda: PLAN, lambda fraction, phase: "another process" not in phase)


def test_a_build_that_fails_leaves_nothing_and_frees_the_lock(cache: PlanCache) -> None:
    def fail() -> Plan:
        raise BuildCancelledError

    with pytest.raises(BuildCancelledError):
        cache.load_or_build(KEY, fail, lambda *_: True)
    assert not list(cache.folder.glob("*.plan*.partial*"))
    assert cache.load_or_build(KEY, lambda: PLAN, lambda *_: False) == PLAN


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path, limit_bytes=25_000)
    keys = [dataclasses.replace(KEY, shape=PlanShape(401, batch)) for batch in (1, 2, 3)]
    for age, key in enumerate(keys[:2]):
        cache.store(key, PLAN)
        os.utime(tmp_path / key.file_name(), (1000 + age, 1000 + age))
    assert cache.load(keys[0]) == PLAN  # used now
    cache.store(keys[2], PLAN)
    assert [cache.load(key) is not None for key in keys] == [True, False, True]
    large = Plan(b"x" * 100_000, {})
    cache.store(keys[1], large)
    assert [cache.load(key) is not None for key in keys] == [False, True, False]


def test_a_folder_that_takes_no_files_costs_only_the_cache(
    cache: PlanCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (cache.folder / "file").touch()
    unwritable = PlanCache(cache.folder / "file")
    assert unwritable.load_or_build(KEY, lambda: PLAN, lambda *_: True) == PLAN
    assert "the plan cannot be kept" in caplog.text


def test_the_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert plans.default_folder() == tmp_path / ".cache" / "poseplusseg" / "plans"

    def no_home() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(plans.tempfile, "mkdtemp", lambda prefix: str(tmp_path / prefix))
    assert plans.default_folder() == tmp_path / "poseplusseg-plans-"
