"""Building a TensorRT plan: a bar in the terminal that Ctrl-C cancels, and a thread for whoever goes on meanwhile."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from rich.progress import TaskID

from app.tables import share_bar
from engine.backends.tensorrt_build import BuildCancelledError, Progress


@contextlib.contextmanager
def plan_progress(title: str) -> Iterator[Progress]:
    """A progress function that draws a bar from its first call on; the first Ctrl-C cancels the build alone.

    Raises:
        KeyboardInterrupt: the block let the cancelled build end it.
    """
    cancelled = threading.Event()
    with contextlib.ExitStack() as stack:
        bar = share_bar()
        tasks: list[TaskID] = []

        def interrupt(number: int, frame: FrameType | None) -> None:
            if cancelled.is_set():
                raise KeyboardInterrupt
            cancelled.set()

        def progress(fraction: float, phase: str) -> bool:
            if not tasks:
                stack.enter_context(bar)
                if threading.current_thread() is threading.main_thread():  # signals are its alone
                    before = signal.signal(signal.SIGINT, interrupt)
                    stack.callback(signal.signal, signal.SIGINT, before)
                tasks.append(bar.add_task(title, total=1.0))
            bar.update(tasks[0], completed=fraction, description=f"{title}: {phase}")
            return not cancelled.is_set()

        try:
            yield progress
        except BuildCancelledError:
            raise KeyboardInterrupt from None


class PlanBuild:
    """Builds in a thread while the program runs on another back end: `start`, look at the attributes, `close`.

    Attributes:
        fraction, phase: how far it is.
        done: whether it has ended, one way or another.
        error: why there is no plan: `BuildCancelledError` after `cancel`; None while it runs and where it went well.
    """

    def __init__(self, build: Callable[[Progress], None]) -> None:
        """`build` is called in the thread, with the progress function that it must pass on."""
        self.fraction, self.phase = 0.0, ""
        self.done = False
        self.error: Exception | None = None
        self._build = build
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="plan-build")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def cancel(self) -> None:
        """Ask for the end, which comes at TensorRT's next step; returns at once."""
        self._cancelled.set()

    def close(self) -> None:
        """Cancel, and wait for the thread."""
        self.cancel()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._build(self._tell)
        except Exception as error:  # noqa: BLE001 - for whoever looks at `error`
            self.error = error
        finally:
            self.done = True

    def _tell(self, fraction: float, phase: str) -> bool:
        self.fraction, self.phase = fraction, phase
        return not self._cancelled.is_set()
