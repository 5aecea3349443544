"""Which way to CUDA is taken, and what each says without a GPU; pycuda against a stand-in for its module."""

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.backends import survey
from engine.cuda import driver as drivers
from engine.cuda.driver import CudaError, OutOfGpuMemoryError, installed_drivers, open_driver, version_text
from engine.cuda.graphs import Graphs
from engine.cuda.letterbox import LetterboxKernel
from engine.cuda.pycuda_driver import PycudaDriver
from engine.structures import Letterbox
from tests.engine.fake_gpu import FakeDriver


def test_version_text() -> None:
    assert (version_text(13010), version_text(12080)) == ("13.1", "12.8")


def test_pycuda_comes_first_and_the_next_one_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "installed_drivers", lambda: ["pycuda", "cuda-python"])
    good = FakeDriver()

    def opened(name: str) -> FakeDriver:
        if name == "pycuda":
            raise CudaError("does not load: libcurand.so.10 is missing")
        return good

    monkeypatch.setattr(drivers, "_open", opened)
    assert open_driver(LetterboxKernel) is good

    def no_compiler(driver: Any) -> None:
        raise CudaError("nvcc: not found")

    with pytest.raises(CudaError, match=r"pycuda: does not load: .*; cuda-python: nvcc: not found"):
        open_driver(no_compiler)
    assert good.closed
    monkeypatch.setattr(drivers, "installed_drivers", list)
    with pytest.raises(CudaError, match="neither pycuda nor cuda-python is installed"):
        open_driver(LetterboxKernel)


def test_a_machine_without_a_gpu_says_so_in_one_line() -> None:
    if survey.has_cuda():
        pytest.skip("this machine has a GPU")
    with pytest.raises(CudaError) as caught:
        open_driver(LetterboxKernel)
    assert len(str(caught.value).splitlines()) == 1
    assert all(name in str(caught.value) for name in installed_drivers())


class FakeCuda(ModuleType):
    """pycuda.driver as far as it is used; remembers its calls."""

    class Error(Exception):
        pass

    class MemoryError(Error):  # noqa: A001 - pycuda's name
        pass

    def __init__(self) -> None:
        super().__init__("pycuda.driver")
        self.calls: list[Any] = []
        self.stack = 0
        self.event_flags = SimpleNamespace(DISABLE_TIMING=2)
        self.handles = iter(range(100, 200))
        fake = self

        class Context:
            def push(self) -> None:
                fake.stack += 1

            @staticmethod
            def pop() -> None:
                fake.stack -= 1

            def synchronize(self) -> None:
                fake.calls.append("synchronize")

            def detach(self) -> None:
                fake.calls.append("detach")

        class Device:
            def __init__(self, index: int) -> None:
                assert index == 0

            def name(self) -> str:
                return "A GPU"

            def compute_capability(self) -> tuple[int, int]:
                return (8, 9)

            def total_memory(self) -> int:
                return 2**33

            def retain_primary_context(self) -> Context:
                return Context()

        self.Context, self.Device = Context, Device

    def init(self) -> None:
        self.calls.append("init")

    def get_driver_version(self) -> int:
        return 13000

    def Stream(self, flags: int) -> Any:  # noqa: N802 - pycuda's name
        return SimpleNamespace(handle=next(self.handles))

    def Event(self, flags: int) -> Any:  # noqa: N802 - pycuda's name
        assert flags == 2
        return SimpleNamespace(
            record=lambda stream: self.calls.append(("record", stream.handle)),
            synchronize=lambda: self.calls.append("waited"),
        )

    def mem_alloc(self, size: int) -> Any:
        if size > 1000:
            raise self.MemoryError("cuMemAlloc failed: out of memory")
        address, calls = next(self.handles), self.calls

        class Allocation:
            def __int__(self) -> int:
                return address

            def free(self) -> None:
                calls.append(("free", address))

        return Allocation()

    def pagelocked_empty(self, size: int, dtype: Any) -> Any:
        owner = SimpleNamespace(free=lambda: self.calls.append("unpinned"))

        class Pinned(np.ndarray):  # type: ignore[type-arg]
            base = owner  # type: ignore[assignment]

        return np.zeros(size, dtype).view(Pinned)

    def memcpy_htod_async(self, address: int, host: Any, stream: Any) -> None:
        self.calls.append(("in", address, host.size, stream.handle))

    def memcpy_dtoh_async(self, host: Any, address: int, stream: Any) -> None:
        self.calls.append(("out", address, host.size, stream.handle))


class FakeLibrary:
    """The driver's own library: records that a graph was captured and launched."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.end_status = 0

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if name in ("cuStreamEndCapture", "cuGraphInstantiateWithFlags"):
                pointer = arguments[1] if name == "cuStreamEndCapture" else arguments[0]
                pointer._obj.value = 77
            return self.end_status if name == "cuStreamEndCapture" else 0

        return call


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    package = ModuleType("pycuda")
    package.driver = fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", fake)
    monkeypatch.setattr("engine.cuda.graphs.ctypes.CDLL", lambda name: FakeLibrary())
    return fake


def test_pycuda_is_called_as_it_wants(cuda: FakeCuda) -> None:
    driver = PycudaDriver()
    assert str(driver.gpu) == "A GPU, compute 8.9, driver for CUDA 13.0, 8 GiB"
    with driver.active():
        assert cuda.stack == 1
        stream, event = driver.new_stream(), driver.new_event()
        buffer, other = driver.new_buffer(10), driver.new_buffer(10)
        pinned = driver.new_pinned(10)
        driver.copy_in(buffer, pinned, stream)
        driver.copy_out(pinned, buffer, stream)
        driver.record(event, stream)
        driver.wait(event)
        driver.free(other)
        with pytest.raises(OutOfGpuMemoryError):
            driver.new_buffer(2000)
    assert cuda.stack == 0
    driver.close()
    driver.close()
    moved = [("in", buffer, 10, stream), ("out", buffer, 10, stream), ("record", stream), "waited"]
    assert cuda.calls == ["init", *moved, ("free", other), "synchronize", ("free", buffer), "unpinned", "detach"]


def test_an_error_of_pycuda_is_ours(cuda: FakeCuda) -> None:
    def fail() -> None:
        raise cuda.Error("cuInit failed: no CUDA-capable device is detected")

    cuda.init = fail  # type: ignore[method-assign]
    with pytest.raises(CudaError, match="no CUDA-capable device"):
        PycudaDriver()


def test_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeLibrary()
    monkeypatch.setattr("engine.cuda.graphs.ctypes.CDLL", lambda name: library)
    graphs = Graphs()
    graph = graphs.capture(5, lambda: library.calls.append("work"))
    assert graph == 77
    begin, end = "cuStreamBeginCapture_v2", "cuStreamEndCapture"
    assert library.calls == [begin, "work", end, "cuGraphInstantiateWithFlags", "cuGraphDestroy"]
    graphs.replay(77, 5)
    graphs.drop(77)
    assert library.calls[-2:] == ["cuGraphLaunch", "cuGraphExecDestroy"]

    def impossible() -> None:
        raise CudaError("not while recording")

    library.calls.clear()
    assert graphs.capture(5, impossible) is None  # and the stream no longer records
    assert library.calls == [begin, end, "cuGraphDestroy"]
    library.end_status = 901
    assert graphs.capture(5, lambda: None) is None


def test_the_kernel_is_queued_over_the_whole_input() -> None:
    fake = FakeDriver()
    seen: list[Any] = []
    fake.launch = lambda *arguments: seen.append(arguments)  # type: ignore[method-assign]
    with fake.active():
        LetterboxKernel(fake).queue(7, 8, 3, Letterbox((10, 20), (33, 65), (2.0, 3.0)), (1.0, 2.0, 3.0), 9)
    ((_, grid, block, arguments, stream),) = seen
    assert grid == (-(-65 // block[0]), -(-33 // block[1]), 3)
    assert [float(value) for value in arguments] == [7, 8, 10, 20, 33, 65, 30, 40, 1, 2, 3]
    assert stream == 9
