"""Which back ends this machine has, in the order in which "auto" tries them, each with the reason in words.

Nothing heavy is imported for a GPU that is not there.
"""

import ctypes
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from engine.backends.tensorrt_build import LIBRARIES, find_module
from engine.cuda.driver import CudaError, installed_drivers, open_driver

# The packages that each back end imports, and what the user installs to get them. TensorRT's have several names.
_PACKAGES: Final = {"onnx": ("onnxruntime",), "torch": ("torch", "safetensors")}
_TENSORRT: Final = "pip install -r requirements-tensorrt.txt"
INSTALL: Final = {
    "tensorrt": _TENSORRT,
    "tensorrt_rtx": _TENSORRT,
    "onnx": "pip install -r requirements.txt",
    "torch": "pip install torch safetensors (or pip install -r requirements-train.txt)",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A back end that "auto" looks at.

    Attributes:
        name: as in `open_backend`.
        place: "cuda" or "cpu".
        usable: whether it should open; it may still find too little memory, say.
        reason: what is there, or what is missing.
    """

    name: str
    place: str
    usable: bool
    reason: str


def candidates() -> list[Candidate]:
    """Fastest first.

    On a CPU, ONNX Runtime comes before PyTorch: it is faster, and suffers far less from the threads beside it.
    """
    return [*_on_gpu(), *_on_cpu()]


def missing(name: str) -> list[str]:
    """The packages that a back end needs and that are not installed."""
    if name in LIBRARIES:
        return [] if find_module(name) else [name]
    return [package for package in _PACKAGES[name] if importlib.util.find_spec(package) is None]


def has_cuda() -> bool:
    """Whether there is an NVIDIA driver and a GPU that it sees."""
    try:
        cuda = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def _on_gpu() -> Iterator[Candidate]:
    names = (*LIBRARIES, "torch")
    if not has_cuda():
        yield from (Candidate(name, "cuda", False, "no NVIDIA GPU with a working driver") for name in names)
        return
    problem = _driver_problem()
    for name in LIBRARIES:
        if absent := missing(name):
            yield Candidate(name, "cuda", False, f"{absent[0]} is not installed")
        else:
            yield Candidate(name, "cuda", problem is None, problem or "installed, and the GPU answers")
    yield _torch_on_gpu()


def _driver_problem() -> str | None:
    """Why TensorRT's buffers cannot be had, or None where they can."""
    if not installed_drivers():
        return "neither pycuda nor cuda-python is installed"
    try:
        open_driver(lambda _: None).close()
    except CudaError as error:
        return str(error)
    return None


def _torch_on_gpu() -> Candidate:
    if absent := missing("torch"):
        return Candidate("torch", "cuda", False, f"{' and '.join(absent)} not installed")
    from engine.backends.torch_backend import cuda_problem

    problem = cuda_problem()
    return Candidate("torch", "cuda", problem is None, problem or "PyTorch sees the GPU")


def _on_cpu() -> Iterator[Candidate]:
    for name, title in (("onnx", "ONNX Runtime"), ("torch", "PyTorch")):
        absent = missing(name)
        reason = f"{' and '.join(absent)} not installed" if absent else f"{title} is installed"
        yield Candidate(name, "cpu", not absent, reason)
