"""What every test shares: where files are, a place for compiled kernels, and no thread left behind."""

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
THREAD_GRACE_S = 2.0

# The first example of a test may compile a kernel, so time says nothing; the same examples each time, so that a red
# test stays red until it is mended.
settings.register_profile("project", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("project")

# Numba keeps compiled kernels beside the source; where that is read-only, it needs another place before it is imported.
if not os.access(ROOT / "engine", os.W_OK):
    os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir()) / "poseplusseg-numba"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder that holds main.py."""
    return ROOT


@pytest.fixture(scope="session")
def sample_clip() -> Path:
    """The shipped clip: 80 frames, 768x576, 10 fps, five to seven people in each."""
    return ROOT / "assets" / "sample.mp4"


@pytest.fixture(scope="session")
def sample_still() -> Path:
    """The shipped picture: 512x512, one person from the waist up."""
    return ROOT / "assets" / "astronaut.jpg"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """A folder of larger test material beside the checkout; tests that want it are skipped where it is absent."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder ../shared with larger test material")
    return folder


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    """Whoever starts a thread must join it: a test that leaves one alive fails, by the thread's name."""
    before = set(threading.enumerate())
    yield
    deadline = time.perf_counter() + THREAD_GRACE_S
    for thread in set(threading.enumerate()) - before:
        thread.join(max(0.0, deadline - time.perf_counter()))
    left = sorted(thread.name for thread in set(threading.enumerate()) - before)
    if left:
        pytest.fail(f"threads left running: {', '.join(left)}")
