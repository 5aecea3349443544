"""The program as a process: opening, closing at any moment, its figures, and machines that cannot open a window."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from app.gui import startup
from app.gui.startup import Startup

DEADLINE_S = 60.0
DEADLINE_MS = 30_000


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Without a screen, and with folders of its own."""
    hidden = {"DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return kept | {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "QT_QPA_PLATFORM": "offscreen"}


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(root: Path, environment: dict[str, str]) -> Run:
    def call(*arguments: object, code: str = "", **changes: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code] if code else [sys.executable, "main.py", *map(str, arguments)]
        return subprocess.run(
            command,
            cwd=root,
            env={name: value for name, value in (environment | changes).items() if value},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    return call


def test_opens_plays_and_writes_its_figures(run: Run, sample_still: Path, tmp_path: Path) -> None:
    """Closed once the picture is there, however long that takes."""
    code = f"""
import sys
from PyQt6.QtCore import QTimer
from app.cli import main
from app.gui import application
first = application.Application._note_picture
def told(self, rendered):
    first(self, rendered)
    QTimer.singleShot(300, self.window.close)
application.Application._note_picture = told
sys.exit(main(["gui", {str(sample_still)!r}, "--stats", {str(tmp_path / "stats.json")!r}]))
"""
    done = run(code=code)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "stats.json").read_text(encoding="utf-8"))
    assert figures["displayed"] == 1
    assert figures["first_picture_s"] > 0
    assert figures["longest_gap_ms"] >= 0
    assert figures["network"].startswith("mobile on onnx")
    assert set(figures["stages"]) == {"capture", "infer", "decode", "render"}
    assert (tmp_path / "PosePlusSeg" / "settings.toml").is_file()


@pytest.mark.parametrize("seconds", [0.05, 0.6, 1.3])
def test_closing_during_start_up(seconds: float, run: Run, sample_still: Path, tmp_path: Path) -> None:
    """Whatever is being imported, compiled or opened then: no traceback, no crash, status 0."""
    done = run("gui", sample_still, "--quit-after", seconds, "--stats", tmp_path / "stats.json")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "Traceback" not in done.stderr
    assert "ERROR" not in done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a display")
@pytest.mark.parametrize("arguments", [(), ("gui",), ("gui", "assets/sample.mp4")])
def test_without_a_display(arguments: tuple[str, ...], run: Run) -> None:
    done = run(*arguments, QT_QPA_PLATFORM="")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no display")
    assert "python main.py run SOURCE --out DIR" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks an X server")
def test_display_that_does_not_answer(run: Run) -> None:
    done = run("gui", QT_QPA_PLATFORM="", DISPLAY=":9876")
    assert done.returncode == 2
    assert "the display :9876 does not answer" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("package", ["PyQt6", "pyqtgraph"])
def test_without_the_packages(package: str, run: Run) -> None:
    done = run(code=f"import sys; sys.modules[{package!r}] = None; from app.cli import main; sys.exit(main(['gui']))")
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if "propagateSizeHints" not in line]  # Qt, of no screen
    assert len(said) == 1
    assert said[0].startswith(f"error: {package}")
    assert said[0].endswith("is not installed: pip install -r requirements-gui.txt")


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "inf"])
def test_wrong_time(seconds: str, run: Run) -> None:
    done = run("gui", "--quit-after", seconds)
    assert done.returncode == 2
    assert "--quit-after" in done.stderr


def test_figures_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    """Said before the window opens."""
    done = run("gui", "--stats", tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_ctrl_c(root: Path, environment: dict[str, str], sample_still: Path, tmp_path: Path) -> None:
    """Ends the window in order: the settings are kept."""
    code = f"""
import sys
from app.cli import main
from app.gui import player
first = player.Session.__init__
def told(self, *arguments):
    first(self, *arguments)
    print("playing", flush=True)
player.Session.__init__ = told
sys.exit(main(["gui", {str(sample_still)!r}]))
"""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], cwd=root, env=environment, text=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "playing\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert (tmp_path / "PosePlusSeg" / "settings.toml").is_file()


@pytest.fixture
def begun(qtbot: QtBot, settings_path: Path, monkeypatch: pytest.MonkeyPatch, no_camera: None) -> Iterator[Startup]:
    """The start of a window, not shown yet."""
    made = Startup(settings_path, None, None)
    yield made
    made.close()
    made.splash.deleteLater()
    if made.application is not None:
        made.application.window.deleteLater()


def test_splash_gives_way_to_the_window(begun: Startup, networks: object, qtbot: QtBot) -> None:
    begun.start()
    assert begun.splash.isVisible()
    qtbot.waitUntil(lambda: begun.application is not None, timeout=DEADLINE_MS)
    assert begun.application.window.isVisible()
    assert not begun.splash.isVisible()
    with qtbot.waitSignal(begun.ended, timeout=DEADLINE_MS):
        begun.application.window.close()
    begun.finish(None)


def test_closing_the_splash_ends_the_program(begun: Startup, qtbot: QtBot) -> None:
    begun.start()
    with qtbot.waitSignal(begun.ended, timeout=DEADLINE_MS):
        begun.splash.close()
    begun.finish(None)
    assert begun.application is None


def test_import_that_fails(begun: Startup, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "PACKAGES", ("no_such_package",))
    with qtbot.waitSignal(begun.ended, timeout=DEADLINE_MS):
        begun.start()
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        begun.finish(None)


def test_mistake_in_a_slot_is_told_and_the_window_lives(
    begun: Startup, networks: object, qtbot: QtBot, caplog: pytest.LogCaptureFixture
) -> None:
    begun.start()
    qtbot.waitUntil(lambda: begun.application is not None, timeout=DEADLINE_MS)
    error = ZeroDivisionError("a mistake")
    begun.tell(ZeroDivisionError, error, None)
    assert "a mistake" in begun.application.window.message.text
    assert "ZeroDivisionError" in caplog.text
    assert begun.application.window.isVisible()
    begun.close()
    begun.finish(None)


def test_mistake_before_there_is_a_window(begun: Startup, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not leave a splash that stays for ever."""
    with qtbot.waitSignal(begun.ended, timeout=DEADLINE_MS):
        begun.tell(ZeroDivisionError, ZeroDivisionError("a mistake"), None)
    with pytest.raises(ZeroDivisionError):
        begun.finish(None)
