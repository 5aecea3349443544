"""What a back end is, and how one is opened: the place where a name such as `auto` or `onnx` becomes an object.

A back end turns pictures into `Heads`; where they lie in its input and what the heads mean is not its business.
Its heavy package is imported by the class that uses it, so that a machine needs only the packages of one of them.
"""

import abc
import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Final, Self

import numpy as np

from engine import letterbox as letterboxes
from engine.backends import survey
from engine.backends.tensorrt_build import (
    LIBRARIES,
    BuildCancelledError,
    PlanMissingError,
    PlanShape,
    Progress,
    go_on,
)
from engine.errors import UserError
from engine.models import PRECISION_NAMES, PRECISIONS, ModelEntry
from engine.skeleton import NUM_EDGES, NUM_KEYPOINTS
from engine.structures import ByteArray, FloatArray, Heads, Letterbox

BACKENDS: Final = ("tensorrt", "tensorrt_rtx", "onnx", "torch")
BACKEND_NAMES: Final = ("auto", *BACKENDS)
# What each of them can compute in; which of it "auto" takes is its own choice.
_PRECISIONS: Final = {
    "tensorrt": PRECISIONS,
    "tensorrt_rtx": PRECISIONS,
    "onnx": ("fp32", "int8"),
    "torch": ("fp32", "fp16"),
}
logger = logging.getLogger(__name__)


class Backend(abc.ABC):
    """Runs one network. Used by one thread at a time; a context manager, closed by the thread that opened it.

    Attributes:
        name: what runs the network, where and in which precision, for the user: "onnx cpu int8", "torch cuda fp32", …
        precision: one of `PRECISIONS`.
        stride: input pixels per cell of the outputs; the person map may be finer, see `Heads.person_stride`.
        multiple: both sides of an input are n * multiple + 1.
        batch: how many pictures it takes at once.
        depth: how many submissions can be under way: 2 where copying and computing overlap.
    """

    name: str
    precision: str
    stride: int
    multiple: int
    batch: int = 1
    depth: int = 1
    _collectable: list[Heads] | None = None

    def infer(self, image: ByteArray, letterbox: Letterbox) -> Heads:
        """The network's outputs for a BGR uint8 (h, w, 3) picture that `letterbox` already placed.

        The arrays belong to the caller: no later call writes to them.

        Raises:
            ValueError: wrong dtype or shape, or sides that are not n * multiple + 1.
            RuntimeError: the back end is closed.
        """
        check_input(image, letterbox, self.multiple)
        return make_heads(self._run(image), self.stride, letterbox)

    def submit(self, pictures: Sequence[ByteArray], letterbox: Letterbox) -> None:
        """Start on source pictures of one size, up to `batch` of them, BGR uint8 (H, W, 3); `letterbox` places them.

        Up to `depth` submissions may wait to be collected. The pictures are the caller's again when it returns.

        Raises:
            ValueError: wrong dtype, shape or number.
            RuntimeError: the back end is closed, or too much is under way.
        """
        check_submission(pictures, letterbox, self.batch, self.multiple)
        if self._collectable is not None:
            raise RuntimeError("submit: collect what was submitted first")
        placed = [letterboxes.apply(picture, letterbox) for picture in pictures]
        self._collectable = [self.infer(image, letterbox) for image in placed]

    def collect(self) -> list[Heads]:
        """The heads of the oldest submission, as `infer` gives them, in the order of its pictures."""
        if self._collectable is None:
            raise RuntimeError("collect: nothing was submitted")
        heads, self._collectable = self._collectable, None
        return heads

    @abc.abstractmethod
    def close(self) -> None:
        """Free the network; a second call does nothing."""

    @abc.abstractmethod
    def _run(self, image: ByteArray) -> dict[str, FloatArray]:
        """The outputs of `HEADS_OF_MODE` by name, float32 (1, channels, h, w), for a checked picture."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_backend(
    name: str,
    entry: ModelEntry,
    mode: str = "joint",
    precision: str = "auto",
    *,
    input_size: int | None = None,
    batch: int = 1,
    progress: Progress | None = None,
) -> Backend:
    """Open `entry`'s network in the back end called `name`, one of `BACKEND_NAMES`, for the heads of `mode` alone.

    "auto" is the fastest back end that works here: what fails is reported with a warning, and the next one is taken.
    Of the `PRECISION_NAMES`, "auto" is the fastest that a back end has for this network without losing accuracy.

    Args:
        input_size: the longest side of the inputs to come, px, for back ends that are built for a size; by default
            the network's own.
        batch: the most pictures that will be submitted at once.
        progress: told how far the build of a TensorRT plan is; it may cancel it. Without it, "auto" takes no back end
            that has to be built first.

    Raises:
        UserError: unknown name, a package that is not installed, a precision that the back end or the network does
            not have, a file that is missing, damaged or not ours.
        BuildCancelledError: `progress` said so, and it was not "auto" that chose TensorRT.
    """
    if name not in BACKEND_NAMES:
        raise UserError(f"unknown back end {name!r}: expected one of {', '.join(BACKEND_NAMES)}")
    shape = PlanShape.of(input_size or entry.input_size, batch)
    if name == "auto":
        return _open_best(entry, mode, precision, shape, progress)
    if missing := survey.missing(name):
        raise UserError(f"back end {name!r} needs {' and '.join(missing)}, not installed here: {survey.INSTALL[name]}")
    check_precision(name, precision)
    return _open(name, entry, mode, precision, shape, progress or go_on, build=True)


def missing_plan(
    entry: ModelEntry, mode: str, precision: str = "auto", *, input_size: int | None = None
) -> Callable[[Progress], None] | None:
    """What builds the plan with which "auto" would take TensorRT; None where it is there, or TensorRT is not.

    For whoever opened "auto" without `progress`: to be called in a thread of its own, it takes seconds to minutes and
    raises what `open_backend` raises.
    """
    library = next((item.name for item in survey.candidates() if item.usable and item.name in LIBRARIES), None)
    if library is None or (precision != "auto" and precision not in _PRECISIONS[library]):
        return None
    from engine.backends.tensorrt_backend import TensorRTBackend, build_plan_of
    from engine.backends.tensorrt_plan import Recipe

    recipe = Recipe.of(library, entry, mode, precision, PlanShape.of(input_size or entry.input_size))
    try:
        TensorRTBackend.open(recipe, build=False).close()
    except PlanMissingError:
        return partial(build_plan_of, recipe)
    return None


def _open_best(entry: ModelEntry, mode: str, precision: str, shape: PlanShape, progress: Progress | None) -> Backend:
    """The first candidate of the survey that opens; the last one's error is the caller's."""
    candidates = [item.name for item in survey.candidates() if item.usable]
    if precision != "auto":
        check_precision(None, precision)
        candidates = [name for name in candidates if precision in _PRECISIONS[name]]
    for name in candidates:
        try:
            return _open(name, entry, mode, precision, shape, progress or go_on, build=progress is not None)
        except BuildCancelledError:
            logger.warning("the build of the %s plan was cancelled: going on without it", name)
        except UserError as error:
            if name == candidates[-1]:
                raise
            logger.warning("%s; going on without %s", error, name)
    if precision != "auto":
        raise UserError(f"no back end here has {precision}: expected auto, or see `python main.py doctor`")
    raise UserError(f"no back end: neither onnxruntime nor torch is installed; {survey.INSTALL['onnx']}")


def _open(
    name: str, entry: ModelEntry, mode: str, precision: str, shape: PlanShape, progress: Progress, *, build: bool
) -> Backend:
    if name in LIBRARIES:
        from engine.backends.tensorrt_backend import TensorRTBackend
        from engine.backends.tensorrt_plan import Recipe

        return TensorRTBackend.open(Recipe.of(name, entry, mode, precision, shape), progress, build=build)
    if name == "onnx":
        from engine.backends.onnx_backend import OnnxBackend

        return OnnxBackend.open(entry, mode, precision)
    from engine.backends.torch_backend import TorchBackend

    return TorchBackend.open(entry, mode, precision)


def check_precision(name: str | None, precision: str) -> None:
    """Raise UserError unless the back end called `name`, one of `BACKENDS` or any for None, has this precision."""
    if precision not in PRECISION_NAMES:
        raise UserError(f"unknown precision {precision!r}: expected one of {', '.join(PRECISION_NAMES)}")
    if name is not None and precision != "auto" and precision not in _PRECISIONS[name]:
        raise UserError(f"back end {name!r} has no {precision}: expected {' or '.join(('auto', *_PRECISIONS[name]))}")


def inference_threads() -> int:
    """Threads for the network: the cores this process may use less one, at least one.

    Capture, decode and render need a core too. A thread pool as wide as the machine then waits at the end of every
    layer for its one delayed thread: measured on two busy cores, two threads gave no more pictures than one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - 1)


def check_input(image: ByteArray, letterbox: Letterbox, multiple: int) -> None:
    """Raise ValueError unless `image` is the uint8 (h, w, 3) input of `letterbox`, with sides n * multiple + 1."""
    expected = (*letterbox.input_hw, 3)
    if image.dtype != np.uint8 or image.shape != expected:
        raise ValueError(f"image: expected uint8 {expected}, got {image.dtype} {image.shape}")
    _check_sides(letterbox.input_hw, multiple)


def _check_sides(input_hw: tuple[int, int], multiple: int) -> None:
    if any(side <= 1 or (side - 1) % multiple for side in input_hw):
        height, width = input_hw
        raise ValueError(f"image: expected sides of n * {multiple} + 1 px, got {height}x{width}")


def check_submission(pictures: Sequence[ByteArray], letterbox: Letterbox, batch: int, multiple: int) -> None:
    """Raise ValueError unless these are up to `batch` source pictures of `letterbox`, whose input has proper sides."""
    expected = (*letterbox.source_hw, 3)
    for picture in pictures:
        if picture.dtype != np.uint8 or picture.shape != expected:
            raise ValueError(f"picture: expected uint8 {expected}, got {picture.dtype} {picture.shape}")
    if not 0 < len(pictures) <= batch:
        raise ValueError(f"pictures: expected 1 to {batch} at once, got {len(pictures)}")
    _check_sides(letterbox.input_hw, multiple)


def whole_input(input_hw: tuple[int, int]) -> Letterbox:
    """The letterbox of a picture that already is the input."""
    return Letterbox(source_hw=input_hw, input_hw=input_hw, scale_xy=(1.0, 1.0))


def make_heads(outputs: dict[str, FloatArray], stride: int, letterbox: Letterbox) -> Heads:
    """Network outputs, float32 (1, channels, h, w) by name, to Heads; those that a mode leaves out are zero.

    The person map may have a finer grid than the others.
    """
    h, w = ((side - 1) // stride + 1 for side in letterbox.input_hw)

    def planes(name: str, *shape: int) -> FloatArray:
        if name not in outputs:
            return np.broadcast_to(np.float32(0), (*shape, h, w))
        array = outputs[name]
        return array.reshape(*shape, *array.shape[-2:])

    return Heads(
        keypoint_maps=planes("keypoint_maps", NUM_KEYPOINTS),
        short_offsets=planes("short_offsets", NUM_KEYPOINTS, 2),
        mid_offsets=planes("mid_offsets", 2 * NUM_EDGES, 2),
        mask_offsets=planes("mask_offsets", NUM_KEYPOINTS, 2),
        centroid_offsets=planes("centroid_offsets", 2),
        person_map=planes("person_map"),
        stride=stride,
        letterbox=letterbox,
    )
