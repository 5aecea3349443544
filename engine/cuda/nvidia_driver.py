"""What a driver does in the same way whichever library calls CUDA: graphs, and the order in which it ends."""

import abc
import contextlib
from collections.abc import Callable
from typing import Any

from engine.cuda.driver import CudaDriver, CudaError
from engine.cuda.graphs import Graphs


class NvidiaDriver(CudaDriver):
    """A `CudaDriver` on a real GPU.

    Attributes:
        _context: the GPU's primary context, as the library has it; None once it is closed.
    """

    _context: Any

    def __init__(self) -> None:
        """Raises CudaError where the driver's own library cannot be loaded."""
        self._graphs = Graphs()

    def capture(self, stream: int, work: Callable[[], None]) -> int | None:
        return self._graphs.capture(stream, work)

    def replay(self, graph: int, stream: int) -> None:
        self._graphs.replay(graph, stream)

    def drop_graph(self, graph: int) -> None:
        self._graphs.drop(graph)

    def close(self) -> None:
        if self._context is None:
            return
        with contextlib.suppress(CudaError), self.active():  # a GPU that has failed takes nothing back
            self._give_back()
        try:
            self._release()
        finally:
            self._context = None

    @abc.abstractmethod
    def _give_back(self) -> None:
        """Wait for the GPU, and give back whatever was made there."""

    @abc.abstractmethod
    def _release(self) -> None:
        """Let go of the context, and of all that belongs to it."""
