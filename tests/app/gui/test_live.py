"""Cameras that misbehave, seen through the window."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytestqt.qtbot import QtBot

from app.gui.application import SAMPLE, Application
from pipeline.cameras import CameraInfo
from pipeline.reconnect import SourceState
from tests.pipeline.misbehaving_camera import PASSWORD, USER, MisbehavingCamera

DEADLINE_MS = 60_000
Start = Callable[..., Application]


def wait(qtbot: QtBot, condition: Callable[[], bool]) -> None:
    qtbot.waitUntil(condition, timeout=DEADLINE_MS)


def test_live_picture(start: Start, camera: MisbehavingCamera, qtbot: QtBot) -> None:
    app = start(camera.url)
    assert app.player.state.live
    assert not app.window.banner.isVisible()
    assert not app.window.transport.seek_bar.isEnabled()
    wait(qtbot, lambda: "frames/s" in app.window.status["rate"].text())


def test_camera_that_hangs_up_and_comes_back(start: Start, camera: MisbehavingCamera, qtbot: QtBot) -> None:
    app = start(camera.url)
    camera.mode = "refuse"
    wait(qtbot, lambda: app.window.banner.isVisible() and "attempt" in app.window.banner.text)
    assert app.window.view.canvas is not None
    camera.mode = "good"
    wait(qtbot, lambda: not app.window.banner.isVisible())
    with qtbot.waitSignal(app.player.shown, timeout=DEADLINE_MS):
        pass


def test_stall_is_told(start: Start, camera: MisbehavingCamera, qtbot: QtBot) -> None:
    app = start(camera.url)
    camera.mode = "stall"
    wait(qtbot, app.window.banner.isVisible)
    camera.mode = "good"
    wait(qtbot, lambda: not app.window.banner.isVisible())


def test_toggles_work_while_nothing_comes(start: Start, camera: MisbehavingCamera, qtbot: QtBot) -> None:
    app = start(camera.url)
    camera.mode = "stall"
    wait(qtbot, app.window.banner.isVisible)
    with qtbot.waitSignal(app.player.shown, timeout=DEADLINE_MS):
        app.overlays.switch("bhm", True)


def test_picture_of_another_size(start: Start, camera: MisbehavingCamera, qtbot: QtBot) -> None:
    app = start(camera.url)
    camera.mode = "resize"
    wait(qtbot, lambda: app.window.view.canvas.shape == (120, 160, 3))


def test_camera_that_asks_for_a_password(application: Application, camera: MisbehavingCamera, qtbot: QtBot) -> None:
    camera.mode = "password"
    application.start(camera.url)
    wait(qtbot, lambda: application.window.message.isVisible() and application.window.message.level == "error")
    assert "password" in application.window.message.text


def test_password_is_never_shown_or_kept(
    start: Start, camera: MisbehavingCamera, settings_path: Path, qtbot: QtBot, caplog: pytest.LogCaptureFixture
) -> None:
    camera.mode = "password"
    app = start(camera.url_with_password)
    window = app.window
    texts = [window.windowTitle(), window.source_bar.address, window.message.text, window.banner.text]
    texts += [action.text() for action in window.source_bar.recent.actions()]
    window.close()
    texts += [settings_path.read_text(encoding="utf-8"), caplog.text, repr(app._figures)]
    assert "***" in texts[1]
    for text in texts:
        assert PASSWORD not in text
        assert USER not in text


def test_recent_address_without_its_password_asks_for_it(start: Start, camera: MisbehavingCamera, qtbot: QtBot) -> None:
    camera.mode = "password"
    app = start(camera.url_with_password)
    calls = camera.connections
    app.window.source_bar.recent.actions()[0].trigger()
    assert "user name and the password" in app.window.message.text
    assert app.window.focusWidget().accessibleName() == "Address of the source"
    assert camera.connections == calls


def test_pause_and_step(start: Start, camera: MisbehavingCamera, qtbot: QtBot) -> None:
    app = start(camera.url)
    app.player.pause()
    shown = app.player.last
    qtbot.wait(300)
    assert app.player.last is shown
    app.player.step()
    wait(qtbot, lambda: app.player.last.result.frame is not shown.result.frame)
    app.player.play()
    with qtbot.waitSignal(app.player.shown, timeout=DEADLINE_MS):
        pass


def test_banner_says_what_the_source_says(application: Application) -> None:
    application.window.show()
    for phase, attempt, visible in (
        ("connecting", 0, True),
        ("playing", 0, False),
        ("stalled", 0, True),
        ("reconnecting", 2, True),
        ("ended", 0, False),
    ):
        application.player.source_changed.emit(SourceState(phase, f"camera: {phase}", attempt))
        banner = application.window.banner
        assert banner.isVisible() == visible, phase
        if visible:
            assert banner.text == f"camera: {phase}" + (" (attempt 3)" if attempt else "")


def test_no_camera_opens_the_sample_and_says_so(application: Application, qtbot: QtBot) -> None:
    application.start(None)
    wait(qtbot, lambda: application.player.last is not None)
    assert application.player.state.address == str(SAMPLE)
    assert "No camera" in application.window.message.text
    assert [action.text() for action in application.window.source_bar.cameras.actions()] == ["No camera found"]


def test_first_camera_is_opened(application: Application, monkeypatch: pytest.MonkeyPatch, qtbot: QtBot) -> None:
    found = [CameraInfo(2, "Eye", (), ()), CameraInfo(3, "Other", (), ())]
    opened: list[str] = []
    monkeypatch.setattr("app.gui.commands.list_cameras", lambda: found)
    monkeypatch.setattr(application.player, "open", opened.append)
    application.start(None)
    wait(qtbot, lambda: bool(opened))
    assert opened == ["camera:2"]
    cameras: Any = application.window.source_bar.cameras.actions()
    assert [action.text() for action in cameras] == ["camera 2 (Eye)", "camera 3 (Other)"]
    cameras[1].trigger()
    assert opened == ["camera:2", "camera:3"]
    wait(qtbot, lambda: application.network.loaded)
