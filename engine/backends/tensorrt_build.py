"""ONNX to a TensorRT plan: the parser with its errors, one optimisation profile, progress that can cancel.

Written to the API that TensorRT 10.12 to 11 and TensorRT-RTX share: networks are strongly typed, so precisions stand in
the ONNX file. The modules `tensorrt` and `tensorrt_rtx` have the same classes; which one is an argument everywhere.
"""

import importlib
import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self

from engine.errors import UserError
from engine.letterbox import input_side

# Module to import for each library, in order of preference: the packages of PyPI differ in what they install.
_MODULES: Final = {"tensorrt": ("tensorrt",), "tensorrt_rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}
LIBRARIES: Final = tuple(_MODULES)
PLANES: Final = "planes"  # the input of the networks that are built, float32 (n, 3, h, w): see gpu_graph
_LEAST_SIDE: Final = 17
_STEP: Final = 16  # the sides of our networks' inputs are multiples of it plus one

# Told how much is done, 0 to 1, and of what; returns whether to go on.
Progress = Callable[[float, str], bool]
logger = logging.getLogger(__name__)


class BuildCancelledError(Exception):
    """The progress function asked for the end of the build."""


class PlanMissingError(UserError):
    """There is no plan, and none was to be built."""


def go_on(fraction: float, phase: str) -> bool:
    """The progress function of whoever does not want to know."""
    return True


@dataclass(frozen=True, slots=True)
class PlanShape:
    """The inputs that one plan takes, and those it is made for.

    Attributes:
        side: the longest side of an input, px; any smaller one of n * multiple + 1 px is taken too.
        batch: the most pictures at once.
    """

    side: int
    batch: int = 1

    @classmethod
    def of(cls, input_size: int, batch: int = 1) -> Self:
        """For inputs whose longer side is `input_size` px, rounded up as the letterbox does."""
        return cls(input_side(input_size, _STEP), batch)

    def ranges(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Smallest, usual and largest planes (n, 3, h, w). Usual is a 16:9 picture, as video is."""
        usual = input_side(round(self.side * 9 / 16), _STEP)
        return (
            (1, 3, _LEAST_SIDE, _LEAST_SIDE),
            (self.batch, 3, usual, self.side),
            (self.batch, 3, self.side, self.side),
        )

    def takes(self, input_hw: tuple[int, int]) -> bool:
        """Whether a picture of this (height, width) can be run."""
        return min(input_hw) >= _LEAST_SIDE and max(input_hw) <= self.side


def find_module(library: str) -> str | None:
    """The module of "tensorrt" or "tensorrt_rtx" that is installed, or None; it is not imported."""
    return next((name for name in _MODULES[library] if importlib.util.find_spec(name) is not None), None)


def import_library(library: str) -> Any:
    """The module of "tensorrt" or "tensorrt_rtx".

    Raises:
        UserError: it is not installed, or does not load.
    """
    name = find_module(library)
    if name is None:
        raise UserError(f"{library} is not installed: pip install -r requirements-tensorrt.txt")
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        raise UserError(f"{library} does not load: {str(error).splitlines()[0]}") from error


def make_logger(trt: Any) -> Any:
    """A TensorRT logger that passes warnings and errors on to Python's logging, as debugging matter.

    What matters of them is raised by whoever calls the library: it also complains about what it then gets right.
    """

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)
            logger.debug("%s", message)

    return Logger()


def build_plan(trt: Any, onnx: bytes, shape: PlanShape, progress: Progress = go_on) -> bytes:
    """Parse and build a model of `gpu_graph.from_planes`; seconds to minutes, and no GPU is needed by TensorRT-RTX.

    Raises:
        UserError: the model cannot be parsed or built; the library's own words.
        BuildCancelledError: `progress` said so.
    """
    log = make_logger(trt)
    builder = trt.Builder(log)
    # Version 11 knows no other kind of network; 10 must be told.
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, log)
    if not progress(0.0, "parsing"):
        raise BuildCancelledError
    if not parser.parse(onnx):
        errors = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise UserError(f"{trt.__name__} cannot parse the network: {'; '.join(errors) or 'no reason given'}")
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    profile.set_shape(PLANES, *shape.ranges())
    config.add_optimization_profile(profile)
    monitor = _monitor(trt, progress)
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if monitor.error is not None:
        raise monitor.error
    if monitor.cancelled:
        raise BuildCancelledError
    if plan is None:
        raise UserError(f"{trt.__name__} cannot build the network: {(log.errors or ['no reason given'])[-1]}")
    progress(1.0, "done")
    return bytes(plan)


def _monitor(trt: Any, progress: Progress) -> Any:
    """TensorRT's progress as one fraction. Called from the library's own threads, one at a time for each phase."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.cancelled = False
            self.error: BaseException | None = None
            self._phases: dict[str, tuple[str | None, int, int]] = {}  # name: parent, steps, steps done
            self._shown = 0.0

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self._phases[name] = (parent or None, max(1, steps), 0)

        def step_complete(self, name: str, step: int) -> bool:
            if name in self._phases:
                parent, steps, _ = self._phases[name]
                self._phases[name] = (parent, steps, step + 1)
            if not self.cancelled:
                try:
                    self._shown = max(self._shown, self._fraction(name))
                    self.cancelled = not progress(self._shown, name)
                except BaseException as error:  # noqa: BLE001 - raised again by build_plan: not through C++
                    self.cancelled, self.error = True, error
            return not self.cancelled

        def phase_finish(self, name: str) -> None:
            self._phases.pop(name, None)

        def _fraction(self, name: str | None) -> float:
            """Each phase fills its share of the step of its parent that is under way."""
            inner = 0.0
            while name in self._phases:
                parent, steps, done = self._phases[name]
                inner = min(1.0, (done + inner) / steps)
                name = parent
            return inner

    return Monitor()
