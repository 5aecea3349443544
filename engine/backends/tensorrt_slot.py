"""One of the places in which TensorRT works on pictures: buffers, stream, execution context and CUDA graphs of its own.

A backend keeps two, so that one copies while the other computes; nothing orders them but the GPU.

    picture -> pinned -> GPU -> letterbox kernel -> planes -> TensorRT -> heads -> pinned -> float32
               '------------------- queued in one go; from its second time on as one CUDA graph ---'
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from engine.backends.tensorrt_build import PLANES, PlanShape
from engine.cuda.driver import CudaDriver, CudaError, OutOfGpuMemoryError
from engine.cuda.letterbox import LetterboxKernel
from engine.structures import ByteArray, FloatArray, Letterbox

_GRAPHS_KEPT: Final = 8  # one for each size of pictures and number of them

GraphKey = tuple[int, tuple[int, int], tuple[int, int], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Machine:
    """What the slots of a back end share; `trt` is TensorRT's module."""

    trt: Any
    driver: CudaDriver
    kernel: LetterboxKernel
    engine: Any
    shape: PlanShape
    mean_rgb: tuple[float, float, float]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Output:
    """A head's memory on both sides, large enough for the largest input."""

    name: str
    dtype: np.dtype[Any]
    buffer: int
    pinned: ByteArray


class Slot:
    """See the module. Every call belongs inside `driver.active()`."""

    def __init__(self, machine: Machine) -> None:
        """Raises CudaError; OutOfGpuMemoryError above all."""
        self._machine, driver = machine, machine.driver
        self._stream = driver.new_stream()
        self._event = driver.new_event()
        self._context = machine.engine.create_execution_context()
        if self._context is None:
            raise OutOfGpuMemoryError("no execution context")
        _, _, largest = machine.shape.ranges()
        self._planes = driver.new_buffer(4 * int(np.prod(largest)))
        self._bind(PLANES, self._planes)
        self._set_shape(largest)
        self._outputs = [self._make_output(name) for name in machine.outputs]
        self._source, self._pinned = 0, np.empty(0, dtype=np.uint8)
        self._graphs: OrderedDict[GraphKey, int] = OrderedDict()
        self._last: GraphKey | None = None
        self._under_way: tuple[int, tuple[int, int]] | None = None  # pictures, their input_hw

    def start(self, pictures: Sequence[ByteArray], letterbox: Letterbox) -> None:
        """Queue everything for uint8 (H, W, 3) pictures of one size and return; they are copied."""
        driver, count = self._machine.driver, len(pictures)
        height, width = letterbox.source_hw
        self._grow(count * height * width * 3)
        staged = self._pinned[: count * height * width * 3].reshape(count, height, width, 3)
        for place, picture in zip(staged, pictures, strict=True):
            np.copyto(place, picture)
        key = (count, letterbox.source_hw, letterbox.input_hw, letterbox.scale_xy)
        graph = self._graph(key, count, letterbox)
        if graph is None:
            self._queue(count, letterbox)
        else:
            driver.replay(graph, self._stream)
        driver.record(self._event, self._stream)
        self._last = key
        self._under_way = count, letterbox.input_hw

    def finish(self) -> list[dict[str, FloatArray]]:
        """Wait for what `start` queued: for each picture its outputs by name, float32 (1, channels, h, w), new."""
        if self._under_way is None:
            raise RuntimeError("nothing is under way")
        (count, input_hw), self._under_way = self._under_way, None
        self._machine.driver.wait(self._event)
        self._set_shape((count, 3, *input_hw))
        heads: list[dict[str, FloatArray]] = [{} for _ in range(count)]
        for output in self._outputs:
            shape, size = self._size(output)
            values = output.pinned[:size].view(output.dtype).reshape(shape)
            for index in range(count):
                heads[index][output.name] = values[index : index + 1].astype(np.float32)
        return heads

    def close(self) -> None:
        """Give the execution context and the graphs back; the driver's own things go with the driver."""
        for graph in self._graphs.values():
            self._machine.driver.drop_graph(graph)
        self._graphs.clear()
        self._context = None

    def _graph(self, key: GraphKey, count: int, letterbox: Letterbox) -> int | None:
        """The graph of such pictures, recorded when they come a second time in a row; None where there is none."""
        if key in self._graphs:
            self._graphs.move_to_end(key)
            return self._graphs[key]
        # The first run of a shape does what cannot be recorded; and a folder of photographs needs no graphs.
        if key != self._last or not self._can_record():
            return None
        graph = self._machine.driver.capture(self._stream, lambda: self._queue(count, letterbox))
        if graph is not None:
            self._graphs[key] = graph
            if len(self._graphs) > _GRAPHS_KEPT:
                self._machine.driver.drop_graph(self._graphs.popitem(last=False)[1])
        return graph

    def _can_record(self) -> bool:
        """TensorRT-RTX compiles kernels while it runs, and says when it is done; TensorRT has no such question."""
        ask = getattr(self._context, "is_stream_capturable", None)
        return ask is None or bool(ask(self._stream))

    def _queue(self, count: int, letterbox: Letterbox) -> None:
        machine, driver = self._machine, self._machine.driver
        height, width = letterbox.source_hw
        driver.copy_in(self._source, self._pinned[: count * height * width * 3], self._stream)
        machine.kernel.queue(self._source, self._planes, count, letterbox, machine.mean_rgb, self._stream)
        self._set_shape((count, 3, *letterbox.input_hw))
        if not self._context.execute_async_v3(self._stream):
            raise CudaError("TensorRT could not queue the network")
        for output in self._outputs:
            _, size = self._size(output)
            driver.copy_out(output.pinned[:size], output.buffer, self._stream)

    def _grow(self, size: int) -> None:
        """Room for source pictures of so many bytes. Graphs know the old addresses, so they go."""
        if size <= self._pinned.size:
            return
        driver = self._machine.driver
        for graph in self._graphs.values():
            driver.drop_graph(graph)
        self._graphs.clear()
        if self._source:
            driver.free(self._source)
            self._source = 0
        self._source = driver.new_buffer(size)
        self._pinned = driver.new_pinned(size)

    def _make_output(self, name: str) -> _Output:
        trt, driver = self._machine.trt, self._machine.driver
        half = self._machine.engine.get_tensor_dtype(name) == trt.DataType.HALF
        dtype = np.dtype(np.float16 if half else np.float32)
        size = int(np.prod(tuple(self._context.get_tensor_shape(name)))) * dtype.itemsize
        output = _Output(name, dtype, driver.new_buffer(size), driver.new_pinned(size))
        self._bind(name, output.buffer)
        return output

    def _size(self, output: _Output) -> tuple[tuple[int, ...], int]:
        """Shape and bytes of a head for the shape that is set."""
        shape = tuple(self._context.get_tensor_shape(output.name))
        return shape, int(np.prod(shape)) * output.dtype.itemsize

    def _set_shape(self, shape: tuple[int, ...]) -> None:
        if not self._context.set_input_shape(PLANES, shape):
            raise CudaError(f"TensorRT does not take an input of {shape}")

    def _bind(self, name: str, buffer: int) -> None:
        if not self._context.set_tensor_address(name, buffer):
            raise CudaError(f"TensorRT knows no tensor {name!r}")
