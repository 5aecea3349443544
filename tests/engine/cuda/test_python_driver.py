"""cuda-python itself, on a libcuda whose GPU is the processor: every call is made as the package wants it."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cuda.letterbox import SOURCE

STUB = Path(__file__).with_name("fake_libcuda.c")
PROGRAM = """
import numpy as np
from engine import letterbox as letterboxes
from engine.cuda import python_driver
from engine.cuda.driver import CudaError, OutOfGpuMemoryError
from engine.cuda.letterbox import LetterboxKernel

python_driver.compile_kernel = lambda source, capability: b"machine code"
driver = python_driver.PythonDriver()
assert str(driver.gpu) == "Processor, compute 8.9, driver for CUDA 13.0, 1 GiB", driver.gpu
pictures = np.random.default_rng(0).integers(0, 256, (2, 120, 200, 3), dtype=np.uint8)
placed = letterboxes.fit((120, 200), 81, 16)
shape = (2, 3, *placed.input_hw)
with driver.active():
    kernel, stream, event = LetterboxKernel(driver), driver.new_stream(), driver.new_event()
    source, planes = driver.new_buffer(pictures.nbytes), driver.new_buffer(4 * int(np.prod(shape)))
    staged, result = driver.new_pinned(pictures.nbytes), driver.new_pinned(4 * int(np.prod(shape)))
    staged[:] = pictures.reshape(-1)
    driver.copy_in(source, staged, stream)
    kernel.queue(source, planes, 2, placed, (1.0, 2.0, 3.0), stream)
    driver.copy_out(result, planes, stream)
    driver.record(event, stream)
    driver.wait(event)
    expected = np.stack([letterboxes.apply(p, placed)[..., ::-1].astype(np.float32) - (1, 2, 3) for p in pictures])
    np.testing.assert_allclose(result.view(np.float32).reshape(shape), expected.transpose(0, 3, 1, 2), atol=1e-4)
    driver.free(source)
    try:
        driver.new_buffer(1 << 32)
    except OutOfGpuMemoryError as error:
        print(error)
    assert driver.capture(stream, lambda: None) is None  # this one has no graphs
try:
    driver.new_stream()
except CudaError as error:
    print(error)
driver.close()
driver.close()
"""


def test_every_call_reaches_the_driver(tmp_path: Path, root: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler")
    try:
        found = importlib.util.find_spec("cuda.bindings")
    except ModuleNotFoundError:
        found = None
    if found is None:
        pytest.skip("needs cuda-python (requirements-dev.txt)")
    library = tmp_path / "libcuda.so.1"
    options = ["-x", "c", "-ffp-contract=off", "-shared", "-fPIC", "-I", SOURCE.parent, "-o", library]
    subprocess.run([compiler, *options, STUB, "-lm", "-ldl"], check=True)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["out of GPU memory", "cuStreamCreate: CUDA_ERROR_INVALID_CONTEXT"]
