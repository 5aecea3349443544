"""What importing the program costs. Who may import whom is checked by import-linter (`make check`)."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "PyQt6", "tensorrt", "onnx", "onnxscript")


def run_python(code: str, root: Path) -> str:
    """What a fresh interpreter, started in the program's folder, prints for `code`."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["app.cli", "app.doctor", "engine.decode", "engine.backends.base"])
def test_import_loads_nothing_heavy(module: str, root: Path) -> None:
    """The command line answers at once, and runs on a machine that has only the run-time packages."""
    loaded = run_python(f"import sys, {module}; print(*(set({HEAVY!r}) & set(sys.modules)))", root)
    assert loaded == ""
