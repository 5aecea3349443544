"""The kernel's arithmetic, on the processor by a C compiler, against the letterbox it stands for; that it compiles."""

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine import letterbox as letterboxes
from engine.cuda.driver import CudaError
from engine.cuda.letterbox import NAME, SOURCE, sizes
from engine.cuda.python_driver import compile_kernel
from engine.structures import ByteArray, FloatArray, Letterbox

MEAN = (123.675, 116.28, 103.53)
Place = Callable[[ByteArray, Letterbox], FloatArray]
# Averages are exact. Of interpolated pixels at most 0.5 % differed, by one grey level: cv2 rounds its shares once more.
DIFFERENT_SHARE = 0.01


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The kernel's own source as a function: picture to float32 (3, h, w)."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    library = tmp_path_factory.mktemp("kernel") / "letterbox.so"
    options = ["-x", "c", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([compiler, *options, "-o", library, SOURCE, "-lm"], check=True)
    function = getattr(ctypes.CDLL(str(library)), NAME)

    def run(picture: ByteArray, letterbox: Letterbox) -> FloatArray:
        planes = np.full((3, *letterbox.input_hw), np.nan, dtype=np.float32)
        numbers = [
            ctypes.c_int(int(value)) if value.dtype == np.int32 else ctypes.c_float(float(value))
            for value in sizes(letterbox, MEAN)
        ]
        function(ctypes.c_void_p(picture.ctypes.data), ctypes.c_void_p(planes.ctypes.data), *numbers)
        return planes

    return run


def difference(place: Place, source_hw: tuple[int, int], letterbox: Letterbox) -> FloatArray:
    """Grey levels by which the kernel and engine.letterbox differ, (3, h, w)."""
    picture = np.random.default_rng(source_hw).integers(0, 256, (*source_hw, 3), dtype=np.uint8)
    expected = letterboxes.apply(picture, letterbox)[..., ::-1].astype(np.float32) - np.float32(MEAN)
    actual: FloatArray = place(picture, letterbox) - expected.transpose(2, 0, 1)
    return actual


SHRINKING = [
    ((720, 1280), 401),
    ((1080, 1920), 641),
    ((576, 768), 401),
    ((403, 400), 401),
    ((802, 802), 401),
    ((1203, 999), 257),
]


@pytest.mark.parametrize(("source_hw", "size"), SHRINKING)
def test_shrinking_is_exact(place: Place, source_hw: tuple[int, int], size: int) -> None:
    assert np.abs(difference(place, source_hw, letterboxes.fit(source_hw, size, 16))).max() < 1e-4


@pytest.mark.parametrize(
    ("source_hw", "size"), [((480, 640), 801), ((100, 120), 401), ((17, 9), 65), ((1, 700), 401), ((700, 1), 257)]
)
def test_enlarging_is_exact_but_for_rounding(place: Place, source_hw: tuple[int, int], size: int) -> None:
    off = np.abs(difference(place, source_hw, letterboxes.fit(source_hw, size, 16)))
    assert off.max() < 1 + 1e-4
    assert (off > 1e-4).mean() < DIFFERENT_SHARE


def test_a_picture_that_is_the_input_passes_through(place: Place) -> None:
    letterbox = Letterbox((65, 81), (65, 81), (1.0, 1.0))
    assert np.abs(difference(place, (65, 81), letterbox)).max() < 1e-4


def test_what_lies_outside_is_padded(place: Place) -> None:
    letterbox = letterboxes.fit((100, 300), 97, 16)
    planes = place(np.zeros((100, 300, 3), np.uint8), letterbox)
    below = round(100 * letterbox.scale_xy[1])
    assert below < letterbox.input_hw[0]
    padding = (letterboxes.PAD_VALUE - np.float32(MEAN))[:, None, None]
    np.testing.assert_allclose(planes[:, below:] - padding, 0, atol=1e-6)
    np.testing.assert_allclose(planes[:, 0, 0], -np.float32(MEAN))


def test_nvcc_compiles_it(tmp_path: Path) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("needs nvcc")
    target = tmp_path / "letterbox.ptx"
    done = subprocess.run(
        [nvcc, "-ptx", "-arch=compute_75", "-fmad=false", "-o", target, SOURCE],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f".visible .entry {NAME}(" in target.read_text()


@pytest.mark.parametrize("capability", ["7.5", "9.0"])
def test_nvrtc_compiles_it(capability: str) -> None:
    try:
        code = compile_kernel(SOURCE.read_text(encoding="utf-8"), capability)
    except CudaError as error:
        if "no NVRTC" in str(error):
            pytest.skip("needs cuda-python and NVRTC (requirements-tensorrt.txt)")
        raise
    assert code.startswith(b"\x7fELF")
    with pytest.raises(CudaError, match=r"NVRTC: kernel\.cu\(1\): error"):
        compile_kernel("rubbish", capability)
