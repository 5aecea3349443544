"""What a back end is, and how one is opened: the place where `auto`, `onnx` and `torch` become an object.

A back end turns one letterboxed picture into `Heads` and nothing else; letterboxing and decoding are the estimator's.
Its heavy package is imported by the class that uses it, so that a machine needs only the packages of one of them.
"""

import abc
import importlib.util
import os
from types import TracebackType
from typing import Final, Self

import numpy as np

from engine.errors import UserError
from engine.models import ModelEntry
from engine.skeleton import NUM_EDGES, NUM_KEYPOINTS
from engine.structures import ByteArray, FloatArray, Heads, Letterbox

BACKENDS: Final = ("onnx", "torch")
BACKEND_NAMES: Final = ("auto", *BACKENDS)
# The packages each of them imports, and what the user installs to get them.
_PACKAGES: Final = {"onnx": ("onnxruntime",), "torch": ("torch", "safetensors")}
_INSTALL: Final = {
    "onnx": "pip install -r requirements.txt",
    "torch": "pip install torch safetensors (or pip install -r requirements-train.txt)",
}


class Backend(abc.ABC):
    """Runs one network. Used by one thread at a time; a context manager, closed by the thread that opened it.

    Attributes:
        name: what runs the network and where, for the user: "onnx cpu", "torch cuda", …
        stride: input pixels per cell of the outputs; the person map may be finer, see `Heads.person_stride`.
        multiple: both sides of an input are n * multiple + 1.
    """

    name: str
    stride: int
    multiple: int

    def infer(self, image: ByteArray, letterbox: Letterbox) -> Heads:
        """The network's outputs for a BGR uint8 (h, w, 3) picture that `letterbox` already placed.

        The arrays belong to the caller: no later call writes to them.

        Raises:
            ValueError: wrong dtype or shape, or sides that are not n * multiple + 1.
            RuntimeError: the back end is closed.
        """
        check_input(image, letterbox, self.multiple)
        return make_heads(self._run(image), self.stride, letterbox)

    def warmup(self, input_hw: tuple[int, int]) -> None:
        """Run once at (height, width), so that the first picture does not pay for what happens only once."""
        self.infer(np.zeros((*input_hw, 3), dtype=np.uint8), whole_input(input_hw))

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


def choose_backend() -> tuple[str, str]:
    """The back end that "auto" takes, and the reason in words.

    ONNX Runtime comes first: on a CPU it is faster than torch and suffers far less from the threads beside it.

    Raises:
        UserError: neither can be imported.
    """
    missing = {name: _missing(name) for name in BACKENDS}
    if not missing["onnx"]:
        return "onnx", "ONNX Runtime is installed"
    if not missing["torch"]:
        return "torch", "ONNX Runtime is not installed, PyTorch is"
    raise UserError(f"no back end: neither onnxruntime nor torch is installed; {_INSTALL['onnx']}")


def open_backend(name: str, entry: ModelEntry, mode: str = "joint") -> Backend:
    """Open `entry`'s network in the back end called `name`, one of `BACKEND_NAMES`, for the heads of `mode` alone.

    Raises:
        UserError: unknown name, a package that is not installed, a file that is missing, damaged or not ours.
    """
    if name not in BACKEND_NAMES:
        raise UserError(f"unknown back end {name!r}: expected one of {', '.join(BACKEND_NAMES)}")
    if name == "auto":
        name, _ = choose_backend()
    if missing := _missing(name):
        raise UserError(f"back end {name!r} needs {' and '.join(missing)}, not installed here: {_INSTALL[name]}")
    if name == "onnx":
        from engine.backends.onnx_backend import OnnxBackend

        return OnnxBackend.open(entry, mode)
    from engine.backends.torch_backend import TorchBackend

    return TorchBackend.open(entry, mode)


def _missing(name: str) -> list[str]:
    return [package for package in _PACKAGES[name] if importlib.util.find_spec(package) is None]


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
    if any(side <= 1 or (side - 1) % multiple for side in letterbox.input_hw):
        height, width = letterbox.input_hw
        raise ValueError(f"image: expected sides of n * {multiple} + 1 px, got {height}x{width}")


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
