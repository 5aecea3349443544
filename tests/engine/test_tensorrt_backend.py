"""The TensorRT back end on a fake GPU: its numbers against ONNX Runtime's, its buffers, and what can go wrong."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import letterbox as letterboxes
from engine.backends import survey, tensorrt_backend
from engine.backends.base import missing_plan, open_backend, whole_input
from engine.backends.onnx_backend import OnnxBackend
from engine.backends.plans import PlanCache
from engine.backends.survey import Candidate
from engine.backends.tensorrt_backend import TensorRTBackend
from engine.backends.tensorrt_build import BuildCancelledError, PlanMissingError, PlanShape
from engine.backends.tensorrt_plan import Recipe
from engine.cuda.driver import CudaError
from engine.errors import UserError
from engine.models import ModelEntry
from engine.modes import HEADS_OF_MODE
from engine.structures import ByteArray, Heads
from tests.engine.fake_gpu import GPU, FakeDriver, FakeTensorRT

PictureMaker = Callable[[int, int], ByteArray]
SHAPE = PlanShape(81)
# Half precision against float32, at most 4e-4 and 0.16 px measured on these networks, with a margin of two.
HALF_PROBABILITY, HALF_OFFSET_PX = 1e-3, 0.4


class Machine:
    """What is installed in a test: a GPU, a library, and a folder for plans."""

    def __init__(self, folder: Path) -> None:
        self.drivers: list[FakeDriver] = []
        self.budget = 2**30
        self.trt = FakeTensorRT(FakeDriver())
        self.cache = PlanCache(folder)

    def open_driver(self, needed: Callable[[Any], None]) -> FakeDriver:
        driver = FakeDriver(self.budget)
        with driver.active():
            needed(driver)
        self.drivers.append(driver)
        self.trt.driver = driver
        return driver

    @property
    def driver(self) -> FakeDriver:
        return self.drivers[-1]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setattr(tensorrt_backend, "open_driver", made.open_driver)
    monkeypatch.setattr(tensorrt_backend, "import_library", lambda library: made.trt)
    monkeypatch.setattr(tensorrt_backend, "PlanCache", lambda: made.cache)
    return made


def opened(
    entry: ModelEntry, precision: str = "fp32", mode: str = "joint", shape: PlanShape = SHAPE
) -> TensorRTBackend:
    return TensorRTBackend.open(Recipe.of("tensorrt", entry, mode, precision, shape))


def assert_same(actual: Heads, expected: Heads, probability: float = 0, offset_px: float = 0) -> None:
    for name in HEADS_OF_MODE["joint"]:
        bound = offset_px if "offset" in name else probability
        np.testing.assert_allclose(getattr(actual, name), getattr(expected, name), rtol=0, atol=bound, err_msg=name)


@pytest.mark.parametrize("mode", ["joint", "pose", "seg"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_it_says_what_onnx_runtime_says(
    machine: Machine, entry: ModelEntry, make_picture: PictureMaker, precision: str, mode: str
) -> None:
    bounds = (1e-5, 1e-3) if precision == "fp32" else (HALF_PROBABILITY, HALF_OFFSET_PX)
    with opened(entry, precision, mode) as backend, OnnxBackend(entry.onnx, mode=mode) as reference:
        for hw in ((65, 81), (33, 49), (81, 81)):
            image, placed = make_picture(*hw), whole_input(hw)
            assert_same(backend.infer(image, placed), reference.infer(image, placed), *bounds)
        assert (backend.stride, backend.multiple, backend.precision) == (8, 16, precision)
        assert backend.name == f"tensorrt Fake GPU {precision}"


def test_source_pictures_are_placed_on_the_gpu(machine: Machine, entry: ModelEntry, make_picture: PictureMaker) -> None:
    source = make_picture(120, 200)
    placed = letterboxes.fit((120, 200), 81, 16)
    with opened(entry) as backend, OnnxBackend(entry.onnx) as reference:
        backend.submit([source], placed)
        reference.submit([source], placed)
        (actual,), (expected,) = backend.collect(), reference.collect()
    assert_same(actual, expected, 1e-5, 1e-3)
    assert actual.letterbox is placed


def test_two_submissions_do_not_touch_each_other(
    machine: Machine, entry: ModelEntry, make_picture: PictureMaker
) -> None:
    """Every picture differs, two are always under way, and the GPU runs late: each must get its own heads."""
    pictures = [np.roll(make_picture(65, 81), 7 * index, axis=1) for index in range(7)]
    placed = whole_input((65, 81))
    found: list[Heads] = []
    with opened(entry) as backend, OnnxBackend(entry.onnx) as reference:
        expected = [reference.infer(picture, placed) for picture in pictures]
        scratch = np.empty_like(pictures[0])
        backend.submit([pictures[0]], placed)
        for picture in pictures[1:]:
            scratch[:] = picture
            backend.submit([scratch], placed)
            scratch[:] = 0  # it is the caller's again
            found += backend.collect()
        found += backend.collect()
        assert machine.driver.replays == 5  # all but each slot's first
    for actual, wanted in zip(found, expected, strict=True):
        assert_same(actual, wanted, 1e-5, 1e-3)


def test_a_batch_gives_each_picture_its_own_heads(
    machine: Machine, entry: ModelEntry, make_picture: PictureMaker
) -> None:
    pictures = [np.roll(make_picture(65, 81), 9 * index, axis=0) for index in range(3)]
    placed = whole_input((65, 81))
    with opened(entry, shape=PlanShape(81, 4)) as backend, OnnxBackend(entry.onnx) as reference:
        assert (backend.batch, backend.depth) == (4, 2)
        for count in (3, 1, 2):
            backend.submit(pictures[:count], placed)
            heads = backend.collect()
            assert len(heads) == count
            for actual, picture in zip(heads, pictures, strict=False):
                assert_same(actual, reference.infer(picture, placed), 1e-5, 1e-3)


def test_sizes_may_change_and_come_back(machine: Machine, entry: ModelEntry, make_picture: PictureMaker) -> None:
    """Also to larger pictures than before, whose buffers then move away from under the graphs."""
    sources = [make_picture(*hw) for hw in [(60, 80)] * 5 + [(200, 150)] * 5 + [(60, 80)] * 5]
    with opened(entry) as backend, OnnxBackend(entry.onnx) as reference:
        for source in sources:
            placed = letterboxes.fit((source.shape[0], source.shape[1]), 81, 16)
            backend.submit([source], placed)
            reference.submit([source], placed)
            assert_same(backend.collect()[0], reference.collect()[0], 1e-5, 1e-3)
        assert machine.driver.replays > 0


def test_without_graphs_it_runs_all_the_same(machine: Machine, entry: ModelEntry, make_picture: PictureMaker) -> None:
    with opened(entry) as backend, OnnxBackend(entry.onnx) as reference:
        machine.driver.records = False
        image, placed = make_picture(65, 81), whole_input((65, 81))
        for _ in range(4):
            assert_same(backend.infer(image, placed), reference.infer(image, placed), 1e-5, 1e-3)
        assert machine.driver.replays == 0


def test_results_stay_what_they_were(machine: Machine, entry: ModelEntry, make_picture: PictureMaker) -> None:
    with opened(entry) as backend:
        placed = whole_input((65, 81))
        first = backend.infer(make_picture(65, 81), placed)
        before = first.mid_offsets.copy()
        for _ in range(3):
            backend.infer(255 - make_picture(65, 81), placed)
    np.testing.assert_array_equal(first.mid_offsets, before)


def test_misuse_is_told(machine: Machine, entry: ModelEntry, make_picture: PictureMaker) -> None:
    image, placed = make_picture(65, 81), whole_input((65, 81))
    backend = opened(entry)
    with pytest.raises(RuntimeError, match="nothing was submitted"):
        backend.collect()
    with pytest.raises(ValueError, match="1 to 1 at once, got 2"):
        backend.submit([image, image], placed)
    with pytest.raises(ValueError, match=r"expected uint8 \(65, 81, 3\)"):
        backend.submit([image[:33]], placed)
    with pytest.raises(UserError, match="97x97 px: this plan takes up to 81 px"):
        backend.infer(make_picture(97, 97), whole_input((97, 97)))
    backend.submit([image], placed)
    backend.submit([image], placed)
    with pytest.raises(RuntimeError, match="at most 2"):
        backend.submit([image], placed)
    with pytest.raises(RuntimeError, match="collect what was submitted"):
        backend.infer(image, placed)
    backend.close()
    backend.close()
    assert machine.driver.closed
    assert not machine.driver.graphs
    with pytest.raises(RuntimeError, match="closed"):
        backend.infer(image, placed)


def test_a_plan_is_built_once_and_found_again(machine: Machine, entry: ModelEntry) -> None:
    for _ in range(2):
        opened(entry).close()
    assert machine.trt.builds == 1
    opened(entry, mode="pose").close()
    opened(entry, shape=PlanShape(65)).close()
    assert machine.trt.builds == 3


def test_a_plan_that_does_not_load_is_built_anew(
    machine: Machine, entry: ModelEntry, caplog: pytest.LogCaptureFixture
) -> None:
    """Its file is whole and its key is right, but the library does not take it."""
    opened(entry).close()
    key = Recipe.of("tensorrt", entry, "joint", "fp32", SHAPE).key(machine.trt, GPU)
    plan = machine.cache.load(key)
    assert plan is not None
    machine.cache.store(key, dataclasses.replace(plan, data=b"0.0.0" + plan.data[6:]))
    opened(entry).close()
    assert machine.trt.builds == 2
    assert "made by another version; it is built anew" in caplog.text


def test_a_build_can_be_cancelled_and_leaves_nothing(machine: Machine, entry: ModelEntry) -> None:
    seen: list[tuple[float, str]] = []

    def progress(fraction: float, phase: str) -> bool:
        seen.append((fraction, phase))
        return fraction < 0.5

    with pytest.raises(BuildCancelledError):
        TensorRTBackend.open(Recipe.of("tensorrt", entry, "joint", "fp32", SHAPE), progress)
    assert not list(machine.cache.folder.glob("*.plan"))
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert 0.5 <= fractions[-1] <= 0.7
    assert machine.driver.closed
    opened(entry).close()


def test_an_error_in_the_progress_function_is_not_lost(machine: Machine, entry: ModelEntry) -> None:
    def progress(fraction: float, phase: str) -> bool:
        if fraction > 0.3:
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        TensorRTBackend.open(Recipe.of("tensorrt", entry, "joint", "fp32", SHAPE), progress)
    assert machine.driver.closed


def test_what_cannot_be_built_is_one_line(machine: Machine, entry: ModelEntry, tmp_path: Path) -> None:
    machine.trt.build_error = "no implementation for this layer"
    with pytest.raises(UserError, match="tensorrt cannot build the network: no implementation"):
        opened(entry)
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"no ONNX")
    with pytest.raises(UserError, match=r"damaged\.onnx: not an ONNX model"):
        TensorRTBackend.open(Recipe("tensorrt", "x", damaged, "0", "fp16", "joint", SHAPE))
    with pytest.raises(UserError, match="has no int8 file"):
        opened(entry, "int8")


def test_too_little_memory_means_fewer_pictures_then_an_error(
    machine: Machine, entry: ModelEntry, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(entry) as backend:
        needed = sum(array.size for array in machine.driver.memory.values())
        assert backend.batch == 1
    machine.budget = round(2.5 * needed)
    with opened(entry, shape=PlanShape(81, 8)) as backend:
        assert backend.batch == 2
    assert "going on with 2 pictures at once" in caplog.text
    machine.budget = needed // 2
    with pytest.raises(UserError, match="out of GPU memory, even for one picture"):
        opened(entry, shape=PlanShape(81, 2))
    assert all(driver.closed for driver in machine.drivers)


def test_a_gpu_that_fails_while_it_works_is_one_line(
    machine: Machine, entry: ModelEntry, make_picture: PictureMaker
) -> None:
    with opened(entry) as backend:
        backend.submit([make_picture(65, 81)], whole_input((65, 81)))
        machine.driver.fails = CudaError("CUDA_ERROR_ECC_UNCORRECTABLE")
        with pytest.raises(UserError, match="Fake GPU fp32: CUDA_ERROR_ECC_UNCORRECTABLE"):
            backend.collect()


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which TensorRT and ONNX Runtime should both work."""
    found = [
        Candidate("tensorrt", "cuda", True, ""),
        Candidate("torch", "cuda", False, ""),
        Candidate("onnx", "cpu", True, ""),
    ]
    monkeypatch.setattr(survey, "candidates", lambda: found)
    monkeypatch.setattr(survey, "missing", lambda name: [])


@pytest.mark.usefixtures("with_gpu")
def test_auto_builds_only_for_somebody_who_watches(
    machine: Machine, entry: ModelEntry, caplog: pytest.LogCaptureFixture
) -> None:
    with open_backend("auto", entry, input_size=81) as backend:
        assert backend.name.startswith("onnx")
    assert "no plan of tiny for this GPU yet; going on without tensorrt" in caplog.text
    with open_backend("auto", entry, input_size=81, progress=lambda fraction, phase: True) as backend:
        assert backend.name == "tensorrt Fake GPU fp16"
    with open_backend("auto", entry, input_size=81) as backend:
        assert backend.name == "tensorrt Fake GPU fp16"


@pytest.mark.usefixtures("with_gpu")
def test_auto_goes_on_after_a_cancelled_build_and_after_too_little_memory(
    machine: Machine, entry: ModelEntry, caplog: pytest.LogCaptureFixture
) -> None:
    with open_backend("auto", entry, input_size=81, progress=lambda fraction, phase: False) as backend:
        assert backend.name.startswith("onnx")
    machine.budget = 1000
    with open_backend("auto", entry, input_size=81, batch=4, progress=lambda fraction, phase: True) as backend:
        assert backend.name.startswith("onnx")
    assert "was cancelled: going on without it" in caplog.text
    assert "out of GPU memory, even for one picture at once; going on without tensorrt" in caplog.text


@pytest.mark.usefixtures("with_gpu")
def test_auto_keeps_to_the_precision_asked_for(machine: Machine, entry: ModelEntry) -> None:
    with open_backend("auto", entry, "joint", "fp32", input_size=81, progress=lambda *_: True) as backend:
        assert backend.name == "tensorrt Fake GPU fp32"
    with pytest.raises(UserError, match="unknown precision 'bf16'"):
        open_backend("auto", entry, "joint", "bf16")


@pytest.mark.usefixtures("with_gpu")
def test_a_missing_plan_can_be_built_meanwhile(
    machine: Machine, entry: ModelEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = missing_plan(entry, "joint", input_size=81)
    assert build is not None
    with pytest.raises(BuildCancelledError):
        build(lambda fraction, phase: fraction < 0.5)
    build(lambda fraction, phase: True)
    assert missing_plan(entry, "joint", input_size=81) is None
    assert all(driver.closed for driver in machine.drivers)
    with open_backend("auto", entry, input_size=81) as backend:
        assert backend.name == "tensorrt Fake GPU fp16"
    monkeypatch.setattr(survey, "candidates", list)
    assert missing_plan(entry, "joint", input_size=97) is None


@pytest.mark.usefixtures("with_gpu")
def test_a_back_end_asked_for_by_name_is_never_replaced(machine: Machine, entry: ModelEntry) -> None:
    machine.budget = 1000
    with pytest.raises(UserError, match="out of GPU memory"):
        open_backend("tensorrt", entry, input_size=81)
    with pytest.raises(PlanMissingError):
        TensorRTBackend.open(Recipe.of("tensorrt", entry, "seg", "fp32", SHAPE), build=False)


def test_the_default_submission_is_one_picture_at_a_time(entry: ModelEntry, make_picture: PictureMaker) -> None:
    image, placed = make_picture(60, 80), letterboxes.fit((60, 80), 81, 16)
    with OnnxBackend(entry.onnx) as backend:
        assert (backend.batch, backend.depth) == (1, 1)
        backend.submit([image], placed)
        with pytest.raises(RuntimeError, match="collect what was submitted"):
            backend.submit([image], placed)
        (heads,) = backend.collect()
        assert_same(heads, backend.infer(letterboxes.apply(image, placed), placed))
        with pytest.raises(RuntimeError, match="nothing was submitted"):
            backend.collect()
