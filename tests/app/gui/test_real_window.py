"""The real window on a virtual screen: what the X server shows, driven by mouse and keys."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.gui.overlay_panel import SWITCHES

DEADLINE_S = 100.0

pytestmark = pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs Xvfb, a screen in memory: apt install xvfb")


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment with a screen of its own."""
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1400x950x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=(writing,), stderr=subprocess.DEVNULL) as server:
        os.close(writing)
        with os.fdopen(reading) as pipe:
            number = pipe.readline().strip()
        try:
            hidden = {"QT_QPA_PLATFORM", "WAYLAND_DISPLAY"}
            kept = {name: value for name, value in os.environ.items() if name not in hidden}
            yield kept | {"DISPLAY": f":{number}", "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
        finally:
            server.terminate()
            server.wait(DEADLINE_S)


def test_mouse_and_keys(screen: dict[str, str], root: Path, sample_still: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, root / "tests" / "app" / "gui" / "real_window.py", sample_still, tmp_path],
        cwd=root,
        env=screen | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    skip_without_a_library(done)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["platform"] == "xcb"
    assert seen["changed by"] == dict.fromkeys(SWITCHES, True)
    assert seen["one to one"] == 1.0
    assert seen["light"]


def test_program_opens_and_closes(screen: dict[str, str], root: Path, sample_clip: Path, tmp_path: Path) -> None:
    command = [sys.executable, "main.py", "gui", str(sample_clip), "--quit-after", "5"]
    done = subprocess.run(
        command, cwd=root, env=screen, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    skip_without_a_library(done)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def skip_without_a_library(done: subprocess.CompletedProcess[str]) -> None:
    """`tools/setup.py dev` installs them where it may."""
    if "a library that windows need is missing" in done.stderr:
        pytest.skip("a library that Qt's windows need is missing: docs/window.md, What to do when")
