"""CUDA through pycuda: compiled on the user's machine, and kernels by the nvcc that this took."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from engine.cuda.driver import CudaError, Gpu, OutOfGpuMemoryError, version_text
from engine.cuda.nvidia_driver import NvidiaDriver
from engine.structures import ByteArray


class PycudaDriver(NvidiaDriver):
    """A `CudaDriver` on pycuda."""

    name = "pycuda"

    def __init__(self) -> None:
        """Open the first GPU. Raises CudaError where there is no driver, it is too old, or no GPU."""
        try:
            import pycuda.driver as cuda
        except (ImportError, OSError) as error:
            raise CudaError(f"does not load: {error}") from error
        self._cuda: Any = cuda
        with self._errors():
            cuda.init()
            device = cuda.Device(0)
            self.gpu = Gpu(
                name=device.name(),
                capability="{}.{}".format(*device.compute_capability()),
                driver=version_text(cuda.get_driver_version()),
                memory=device.total_memory(),
            )
            super().__init__()
            self._context = device.retain_primary_context()
        self._streams: dict[int, Any] = {}
        self._events: dict[int, Any] = {}
        self._buffers: dict[int, Any] = {}
        self._pinned: list[Any] = []
        self._modules: list[Any] = []

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        with self._errors():
            self._context.push()
            try:
                yield
            finally:
                self._cuda.Context.pop()

    def new_stream(self) -> int:
        stream = self._cuda.Stream(1)  # non-blocking
        self._streams[stream.handle] = stream
        return int(stream.handle)

    def new_event(self) -> int:
        self._events[len(self._events)] = self._cuda.Event(self._cuda.event_flags.DISABLE_TIMING)
        return len(self._events) - 1

    def new_buffer(self, size: int) -> int:
        with self._errors():
            allocation = self._cuda.mem_alloc(size)
        self._buffers[int(allocation)] = allocation
        return int(allocation)

    def free(self, buffer: int) -> None:
        self._buffers.pop(buffer).free()

    def new_pinned(self, size: int) -> ByteArray:
        with self._errors():
            array: ByteArray = self._cuda.pagelocked_empty(size, np.uint8)
        self._pinned.append(array)
        return array

    def copy_in(self, buffer: int, host: ByteArray, stream: int) -> None:
        with self._errors():
            self._cuda.memcpy_htod_async(buffer, host, self._streams[stream])

    def copy_out(self, host: ByteArray, buffer: int, stream: int) -> None:
        with self._errors():
            self._cuda.memcpy_dtoh_async(host, buffer, self._streams[stream])

    def record(self, event: int, stream: int) -> None:
        self._events[event].record(self._streams[stream])

    def wait(self, event: int) -> None:
        with self._errors():
            self._events[event].synchronize()

    def load_kernel(self, source: str, name: str) -> Any:
        from pycuda.compiler import SourceModule

        with self._errors():
            try:
                module = SourceModule(source, options=["-fmad=false"], no_extern_c=True)
            except Exception as error:  # what pytools raises for a missing nvcc has no name of its own
                raise CudaError(f"nvcc: {str(error).splitlines()[0]}") from error
        self._modules.append(module)
        return module.get_function(name)

    def launch(
        self,
        kernel: Any,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[np.generic],
        stream: int,
    ) -> None:
        with self._errors():
            kernel(*arguments, grid=grid, block=block, stream=self._streams[stream])

    def _give_back(self) -> None:
        self._context.synchronize()
        for buffer in self._buffers.values():
            buffer.free()
        for array in self._pinned:
            array.base.free()

    def _release(self) -> None:
        for held in (self._buffers, self._events, self._streams, self._pinned, self._modules):
            held.clear()
        self._context.detach()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._cuda.MemoryError as error:
            raise OutOfGpuMemoryError("out of GPU memory") from error
        except self._cuda.Error as error:
            raise CudaError(str(error)) from error
