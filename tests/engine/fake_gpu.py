"""A GPU and a TensorRT that compute on the processor, late: what is queued on a stream runs only when somebody waits.

So whoever overwrites a buffer too early, reads one too soon or mixes two slots gets wrong numbers, as on a GPU.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime

from engine import letterbox as letterboxes
from engine.cuda.driver import CudaDriver, CudaError, Gpu, OutOfGpuMemoryError
from engine.structures import ByteArray, Letterbox

GPU = Gpu("Fake GPU", "8.9", "13.0", 2**30)
GARBAGE = 0xAB


class FakeDriver(CudaDriver):
    """See the module. `budget`: bytes of GPU memory."""

    name = "fake"

    def __init__(self, budget: int = 2**30) -> None:
        self.gpu = GPU
        self.budget = budget
        self.memory: dict[int, ByteArray] = {}
        self.queued: dict[int, list[Callable[[], None]]] = {}
        self.events: dict[int, tuple[int, int]] = {}
        self.ran: dict[int, int] = {}
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.recording: list[Callable[[], None]] | None = None
        self.replays = 0
        self.records = True
        self.depth = 0
        self.closed = False
        self.fails: CudaError | None = None
        self._next = 1 << 20

    def _new(self) -> int:
        assert self.depth, "outside of active()"
        self._next += 1 << 28
        return self._next

    def queue(self, stream: int, work: Callable[[], None]) -> None:
        assert self.depth, "outside of active()"
        (self.queued[stream] if self.recording is None else self.recording).append(work)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        assert not self.closed
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    def new_stream(self) -> int:
        stream = self._new()
        self.queued[stream], self.ran[stream] = [], 0
        return stream

    def new_event(self) -> int:
        return self._new()

    def new_buffer(self, size: int) -> int:
        if sum(array.size for array in self.memory.values()) + size > self.budget:
            raise OutOfGpuMemoryError("out of GPU memory")
        address = self._new()
        self.memory[address] = np.full(size, GARBAGE, dtype=np.uint8)
        return address

    def free(self, buffer: int) -> None:
        del self.memory[buffer]

    def new_pinned(self, size: int) -> ByteArray:
        assert self.depth
        return np.full(size, GARBAGE, dtype=np.uint8)

    def copy_in(self, buffer: int, host: ByteArray, stream: int) -> None:
        def work() -> None:
            self.memory[buffer][: host.size] = host

        self.queue(stream, work)

    def copy_out(self, host: ByteArray, buffer: int, stream: int) -> None:
        def work() -> None:
            host[:] = self.memory[buffer][: host.size]

        self.queue(stream, work)

    def record(self, event: int, stream: int) -> None:
        self.events[event] = (stream, self.ran[stream] + len(self.queued[stream]))

    def wait(self, event: int) -> None:
        if self.fails is not None:
            raise self.fails
        stream, until = self.events[event]
        while self.ran[stream] < until:
            self.queued[stream].pop(0)()
            self.ran[stream] += 1

    def load_kernel(self, source: str, name: str) -> Any:
        assert f"void {name}(" in source
        return name

    def launch(
        self,
        kernel: Any,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[np.generic],
        stream: int,
    ) -> None:
        sources, planes, source_h, source_w, input_h, input_w, resized_h, resized_w, *mean = arguments
        assert [a.dtype for a in arguments] == ["uint64", "uint64", *["int32"] * 6, *["float32"] * 3]
        assert grid[0] * block[0] >= input_w
        assert grid[1] * block[1] >= input_h
        source_hw, input_hw = (int(source_h), int(source_w)), (int(input_h), int(input_w))
        placed = Letterbox(source_hw, input_hw, (int(resized_w) / source_hw[1], int(resized_h) / source_hw[0]))

        def work() -> None:
            size = source_hw[0] * source_hw[1] * 3
            out = self.memory[int(planes)].view(np.float32)
            for index in range(grid[2]):
                picture = self.memory[int(sources)][index * size : (index + 1) * size].reshape(*source_hw, 3)
                rgb = letterboxes.apply(picture, placed)[..., ::-1].astype(np.float32) - np.array(mean)
                plane = rgb.transpose(2, 0, 1).ravel()
                out[index * plane.size : (index + 1) * plane.size] = plane

        self.queue(stream, work)

    def capture(self, stream: int, work: Callable[[], None]) -> int | None:
        if not self.records:
            return None
        self.recording = []
        try:
            work()
            recorded = self.recording
        finally:
            self.recording = None
        graph = self._new()
        self.graphs[graph] = recorded
        return graph

    def replay(self, graph: int, stream: int) -> None:
        self.replays += 1
        self.queued[stream].extend(self.graphs[graph])

    def drop_graph(self, graph: int) -> None:
        del self.graphs[graph]

    def close(self) -> None:
        self.closed = True
        self.memory.clear()


class FakeTensorRT(SimpleNamespace):
    """The part of TensorRT's module that the back end uses; a plan is the ONNX file with a header.

    `version`: plans of another one are not loaded. `builds` counts; `build_steps` is asked before each step.
    """

    def __init__(self, driver: FakeDriver, version: str = "11.4.0", name: str = "tensorrt") -> None:
        super().__init__(__version__=version, __name__=name)
        self.driver, self.builds, self.build_error = driver, 0, None
        fake = self

        class Severity:
            INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

        class ILogger:
            pass

        ILogger.Severity = Severity

        class IProgressMonitor:
            pass

        class OnnxParser:
            num_errors = 0

            def __init__(self, network: Any, log: Any) -> None:
                self.network = network

            def parse(self, data: bytes) -> bool:
                try:
                    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
                except Exception:  # noqa: BLE001
                    self.num_errors = 1
                    return False
                self.network.onnx = data
                return True

            def get_error(self, index: int) -> Any:
                return SimpleNamespace(desc=lambda: "a node that nobody knows")

        class Builder:
            def __init__(self, log: Any) -> None:
                self.log = log

            def create_network(self, flags: int) -> Any:
                assert flags == 1 << 1  # strongly typed
                return SimpleNamespace(onnx=b"")

            def create_builder_config(self) -> Any:
                config = SimpleNamespace(progress_monitor=None, profiles=[])
                config.add_optimization_profile = config.profiles.append
                return config

            def create_optimization_profile(self) -> Any:
                profile = SimpleNamespace(shapes={})
                profile.set_shape = lambda name, *shapes: profile.shapes.update({name: shapes})
                return profile

            def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
                monitor = config.progress_monitor
                monitor.phase_start("Building", None, 2)
                for outer in range(2):
                    monitor.phase_start("Timing", "Building", 5)
                    for inner in range(5):
                        if not monitor.step_complete("Timing", inner):
                            return None
                    monitor.phase_finish("Timing")
                    if not monitor.step_complete("Building", outer):
                        return None
                monitor.phase_finish("Building")
                if fake.build_error is not None:
                    self.log.log(Severity.ERROR, fake.build_error)
                    return None
                fake.builds += 1
                (profile,) = config.profiles
                return b"\0".join((fake.__version__.encode(), json.dumps(profile.shapes).encode(), network.onnx))

        class Runtime:
            def __init__(self, log: Any) -> None:
                self.log = log

            def deserialize_cuda_engine(self, data: bytes) -> Any:
                version, _, rest = data.partition(b"\0")
                shapes, _, model = rest.partition(b"\0")
                if version != fake.__version__.encode():
                    self.log.log(Severity.ERROR, "the plan was made by another version")
                    return None
                return FakeEngine(fake, model, json.loads(shapes)["planes"])

        self.ILogger, self.IProgressMonitor = ILogger, IProgressMonitor
        self.OnnxParser, self.Builder, self.Runtime = OnnxParser, Builder, Runtime
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
        self.DataType = SimpleNamespace(FLOAT="float", HALF="half")


class FakeEngine:
    """A deserialised plan."""

    def __init__(self, fake: FakeTensorRT, model: bytes, shapes: list[list[int]]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.fake, self.shapes = fake, shapes

    def get_tensor_dtype(self, name: str) -> str:
        (kind,) = [value.type for value in self.session.get_outputs() if value.name == name]
        return {"tensor(float)": "float", "tensor(float16)": "half"}[kind]

    def create_execution_context(self) -> "FakeContext":
        return FakeContext(self)


class FakeContext:
    """Runs the plan in ONNX Runtime, when its stream does."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine, self.addresses, self.shape = engine, {}, ()
        self.names = [value.name for value in engine.session.get_outputs()]
        self.known: dict[tuple[int, ...], dict[str, tuple[int, ...]]] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == "planes"
        least, _, most = self.engine.shapes
        if not all(low <= side <= high for low, side, high in zip(least, shape, most, strict=True)):
            return False
        self.shape = shape
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if self.shape not in self.known:
            said = self.engine.session.run(self.names, {"planes": np.zeros(self.shape, np.float32)})
            self.known[self.shape] = {n: array.shape for n, array in zip(self.names, said, strict=True)}
        return self.known[self.shape][name]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return name == "planes" or name in self.names

    def execute_async_v3(self, stream: int) -> bool:
        shape, addresses, driver = self.shape, dict(self.addresses), self.engine.fake.driver

        def work() -> None:
            planes = driver.memory[addresses["planes"]].view(np.float32)[: int(np.prod(shape))].reshape(shape)
            for name, array in zip(self.names, self.engine.session.run(self.names, {"planes": planes}), strict=True):
                raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
                driver.memory[addresses[name]][: raw.size] = raw

        driver.queue(stream, work)
        return True
