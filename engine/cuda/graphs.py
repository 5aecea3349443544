"""CUDA graphs through the driver's own library: pycuda has none, and both ways to CUDA share its handles."""

import ctypes
import sys
from collections.abc import Callable
from typing import Final

from engine.cuda.driver import CudaError

_THREAD_LOCAL: Final = 1  # CU_STREAM_CAPTURE_MODE: other threads may do as they like meanwhile


class Graphs:
    """Records what is queued on a stream, and queues it again in one call."""

    def __init__(self) -> None:
        """Raises CudaError where the driver's library cannot be loaded."""
        try:
            self._cuda = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        except OSError as error:
            raise CudaError("no NVIDIA driver is installed") from error

    def capture(self, stream: int, work: Callable[[], None]) -> int | None:
        """See `CudaDriver.capture`."""
        self._check("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), ctypes.c_int(_THREAD_LOCAL))
        recorded, graph, ready = False, ctypes.c_void_p(), ctypes.c_void_p()
        try:
            work()
            recorded = True
        except CudaError:
            pass  # something in it cannot be recorded: the caller runs it without a graph, and sees real errors there
        finally:  # the stream must be left as it was, whatever happened
            ended = self._cuda.cuStreamEndCapture(ctypes.c_void_p(stream), ctypes.byref(graph))
        if ended != 0 or graph.value is None:
            return None
        if recorded:
            recorded = self._cuda.cuGraphInstantiateWithFlags(ctypes.byref(ready), graph, ctypes.c_ulonglong(0)) == 0
        self._cuda.cuGraphDestroy(graph)
        return ready.value if recorded else None

    def replay(self, graph: int, stream: int) -> None:
        """See `CudaDriver.replay`."""
        self._check("cuGraphLaunch", ctypes.c_void_p(graph), ctypes.c_void_p(stream))

    def drop(self, graph: int) -> None:
        """See `CudaDriver.drop_graph`."""
        self._check("cuGraphExecDestroy", ctypes.c_void_p(graph))

    def _check(self, function: str, *arguments: object) -> None:
        if status := getattr(self._cuda, function)(*arguments):
            raise CudaError(f"{function} failed with status {status}")
