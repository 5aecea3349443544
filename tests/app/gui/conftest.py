"""The window for tests: without a screen, with settings of its own, and with one network for all tests.

Whatever a test leaves behind makes it fail: a top-level widget, a running timer, a thread, a dialog nobody expected.
"""

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
pytest.importorskip("PyQt6", reason="the window needs PyQt6: pip install -r requirements-gui.txt")
pytest.importorskip("pytestqt", reason="the tests of the window need pytest-qt: pip install -r requirements-dev.txt")

import av
import numpy as np
from PyQt6 import sip
from PyQt6.QtCore import QEvent, QThread, QTimer
from PyQt6.QtWidgets import QApplication, QDialog, QMessageBox
from pytestqt.qtbot import QtBot

from app.gui import network_switch
from app.gui.application import Application
from app.gui.network import NetworkChoice, Thresholds, open_network
from engine.estimator import Estimator
from tests.pipeline.misbehaving_camera import MisbehavingCamera

DEADLINE_MS = 30_000  # never waited for unless something is broken
INPUT_SIZE = 257


class SharedEstimator(Estimator):
    """An estimator on the back end that all tests share."""

    def close(self) -> None:
        """Leave the back end to the next test."""


@pytest.fixture(scope="session")
def shared_network() -> Iterator[Estimator]:
    estimator, _ = open_network(NetworkChoice(backend="onnx", input_size=INPUT_SIZE), Thresholds())
    yield estimator
    estimator.close()


class Networks:
    """Stands in for `open_network`: gives the shared one.

    Attributes:
        asked: the choices that were asked for.
        before: called with the choice in the background's thread, to wait or to fail.
    """

    def __init__(self, shared: Estimator) -> None:
        self.asked: list[NetworkChoice] = []
        self.before: Callable[[NetworkChoice], None] = lambda choice: None
        self._shared = shared

    def open(self, choice: NetworkChoice, thresholds: Thresholds) -> tuple[Estimator, str]:
        self.asked.append(choice)
        self.before(choice)
        estimator = SharedEstimator(self._shared.backend, INPUT_SIZE)
        estimator.config = thresholds.applied_to(estimator.config)
        return estimator, f"{choice.model} for tests"


@pytest.fixture
def networks(shared_network: Estimator, monkeypatch: pytest.MonkeyPatch) -> Networks:
    """Networks that open at once, unless told otherwise."""
    networks = Networks(shared_network)
    monkeypatch.setattr(network_switch, "open_network", networks.open)
    return networks


@pytest.fixture
def settings_path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "settings.toml"


@pytest.fixture
def application(
    qtbot: QtBot, networks: Networks, settings_path: Path, tmp_path: Path, no_camera: None
) -> Iterator[Application]:
    """The window and all behind it, not started yet."""
    made = Application(settings_path)
    made.keeping.folder = tmp_path / "kept"
    yield made
    made.window.close()
    assert made.finish()
    made.window.deleteLater()


@pytest.fixture
def start(application: Application, qtbot: QtBot) -> Callable[[Path | str], Application]:
    """Open the window on a source, and wait for its first picture."""

    def run(source: Path | str) -> Application:
        application.start(str(source))
        qtbot.waitUntil(lambda: application.player.last is not None, timeout=DEADLINE_MS)
        return application

    return run


@pytest.fixture
def still(start: Callable[..., Application], sample_still: Path, qtbot: QtBot) -> Application:
    """The window on a picture with one person in it, which stands."""
    application = start(sample_still)
    qtbot.waitUntil(lambda: application.player.state.phase == "ended", timeout=DEADLINE_MS)
    return application


@pytest.fixture
def no_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    """No camera is attached, whatever this machine has."""
    monkeypatch.setattr("app.gui.commands.list_cameras", list)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Two seconds at 10 frames a second whose grey tells the number of the frame: 10 times n."""
    return write_clip(tmp_path / "clip.mp4")


@pytest.fixture
def cut_clip(tmp_path: Path) -> Path:
    """The same as Matroska, without its last third."""
    path = write_clip(tmp_path / "cut.mkv")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    return path


def write_clip(path: Path) -> Path:
    with av.open(f"file:{path}", "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "4", "g": "5"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(20):
            image = np.full((64, 96, 3), 10 * number, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def camera() -> Iterator[MisbehavingCamera]:
    """A network camera on loopback that behaves until it is told otherwise."""
    with MisbehavingCamera() as camera:
        yield camera


@pytest.fixture(autouse=True)
def _no_dialog(monkeypatch: pytest.MonkeyPatch) -> None:
    """A box that waits for a click would hang a test, and annoy a user."""

    def refuse(*arguments: Any, **options: Any) -> int:
        raise AssertionError("a dialog that nobody expected")

    monkeypatch.setattr(QDialog, "exec", refuse)
    for name in ("about", "critical", "information", "question", "warning"):
        monkeypatch.setattr(QMessageBox, name, refuse)


@pytest.fixture(autouse=True)
def _nothing_left(qapp: QApplication) -> Iterator[None]:
    """No top-level widget, no running timer and no Qt thread may outlive the test that made it."""
    before = {id(thing) for thing in _alive()}
    yield
    for _ in range(3):  # what is deleted may delete more
        qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        qapp.processEvents()
    gc.collect()
    left = [repr(thing) for thing in _alive() if id(thing) not in before]
    assert not left, f"left behind: {', '.join(left)}"


def _alive() -> list[Any]:
    things: list[Any] = list(QApplication.topLevelWidgets())
    for thing in gc.get_objects():
        # Not isinstance: it asks each object for its __class__, and some of other packages' answer with a warning.
        if issubclass(type(thing), QTimer | QThread) and not sip.isdeleted(thing):
            active = thing.isActive() if isinstance(thing, QTimer) else thing.isRunning()
            things += [thing] * active
    return things
