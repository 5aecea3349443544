"""Streams, events, graphs, device and pinned buffers: the little of CUDA that a back end needs, as one object.

Two libraries can stand behind it: pycuda, and cuda-python where pycuda is not installed (it has to be compiled). Both
use the device's primary context, which PyTorch and TensorRT use too. Handles and addresses are plain integers, as
TensorRT wants them.
"""

import abc
import contextlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from engine.structures import ByteArray

DRIVERS: Final = ("pycuda", "cuda-python")
_MODULES: Final = {"pycuda": "pycuda", "cuda-python": "cuda.bindings"}


class CudaError(Exception):
    """CUDA cannot do what was asked; one line."""


class OutOfGpuMemoryError(CudaError):
    """The GPU's memory does not hold this."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """What plans depend on.

    Attributes:
        name: as the driver calls it.
        capability: compute capability, "8.9".
        driver: the CUDA version that the driver knows, "13.0".
        memory: bytes.
    """

    name: str
    capability: str
    driver: str
    memory: int

    def __str__(self) -> str:
        return f"{self.name}, compute {self.capability}, driver for CUDA {self.driver}, {self.memory / 2**30:.0f} GiB"


class CudaDriver(abc.ABC):
    """The first GPU. Every call but `close` belongs inside `with driver.active()`, in whatever thread, one at a time.

    Whatever it makes lives until `close`, or until `free` for device buffers. Work on a stream runs in order; what two
    streams do has no order but that of events.

    Attributes:
        name: one of `DRIVERS`.
        gpu: see `Gpu`.
    """

    name: str
    gpu: Gpu

    @abc.abstractmethod
    def active(self) -> contextlib.AbstractContextManager[None]:
        """Make the GPU's context that of this thread."""

    @abc.abstractmethod
    def new_stream(self) -> int:
        """A stream that waits for no other."""

    @abc.abstractmethod
    def new_event(self) -> int:
        """An event without timing."""

    @abc.abstractmethod
    def new_buffer(self, size: int) -> int:
        """Address of `size` bytes on the GPU. Raises OutOfGpuMemoryError."""

    @abc.abstractmethod
    def free(self, buffer: int) -> None:
        """Give a buffer of `new_buffer` back."""

    @abc.abstractmethod
    def new_pinned(self, size: int) -> ByteArray:
        """`size` bytes of page-locked host memory, uint8 (size,), which copies do not wait for."""

    @abc.abstractmethod
    def copy_in(self, buffer: int, host: ByteArray, stream: int) -> None:
        """Queue a copy of a contiguous host array to the GPU."""

    @abc.abstractmethod
    def copy_out(self, host: ByteArray, buffer: int, stream: int) -> None:
        """Queue a copy from the GPU that fills a contiguous host array."""

    @abc.abstractmethod
    def record(self, event: int, stream: int) -> None:
        """Let the event stand for all that is queued on the stream."""

    @abc.abstractmethod
    def wait(self, event: int) -> None:
        """Wait until what the event stands for is done. Raises CudaError where it failed."""

    @abc.abstractmethod
    def load_kernel(self, source: str, name: str) -> Any:
        """Compile CUDA C for this GPU. Raises CudaError where there is no compiler, or it objects."""

    @abc.abstractmethod
    def launch(
        self,
        kernel: Any,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[np.generic],
        stream: int,
    ) -> None:
        """Queue a kernel; addresses are np.uintp among the arguments."""

    @abc.abstractmethod
    def capture(self, stream: int, work: Callable[[], None]) -> int | None:
        """A graph of what `work` queues on the stream, which is not run; None where CUDA cannot record it."""

    @abc.abstractmethod
    def replay(self, graph: int, stream: int) -> None:
        """Queue a whole graph."""

    @abc.abstractmethod
    def drop_graph(self, graph: int) -> None:
        """Give a graph back."""

    @abc.abstractmethod
    def close(self) -> None:
        """Wait for the GPU and give everything back; a second call does nothing."""


def installed_drivers() -> list[str]:
    """Those of `DRIVERS` whose package is installed, in order of preference; none is imported."""
    found = []
    for name, module in _MODULES.items():
        with contextlib.suppress(ModuleNotFoundError):  # a parent package is missing
            if importlib.util.find_spec(module) is not None:
                found.append(name)
    return found


def open_driver(needed: Callable[[CudaDriver], None]) -> CudaDriver:
    """The first of the installed drivers that works, and with which `needed`, called inside `active`, does too.

    Raises:
        CudaError: none does; the reasons, in one line.
    """
    reasons = []
    for name in installed_drivers():
        try:
            driver = _open(name)
        except CudaError as error:
            reasons.append(f"{name}: {error}")
            continue
        try:
            with driver.active():
                needed(driver)
        except CudaError as error:
            driver.close()
            reasons.append(f"{name}: {error}")
        else:
            return driver
    raise CudaError("; ".join(reasons) or "neither pycuda nor cuda-python is installed")


def _open(name: str) -> CudaDriver:
    if name == "pycuda":
        from engine.cuda.pycuda_driver import PycudaDriver

        return PycudaDriver()
    from engine.cuda.python_driver import PythonDriver

    return PythonDriver()


def version_text(version: int) -> str:
    """CUDA's version numbers in words: 13010 is "13.1"."""
    return f"{version // 1000}.{version % 1000 // 10}"
