"""Playing: pause, step, seek, loop and speed; sources that cannot be read, that end badly, or come too fast."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PyQt6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from app.gui.application import Application
from engine.errors import UserError
from pipeline.frames import Rendered

DEADLINE_MS = 30_000
Start = Callable[..., Application]


def number(app: Application) -> int:
    """The number of the frame of `clip` that is on the screen."""
    assert app.window.view.canvas is not None
    return round(float(np.median(app.window.view.canvas)) / 10)


def wait(qtbot: QtBot, condition: Callable[[], bool]) -> None:
    qtbot.waitUntil(condition, timeout=DEADLINE_MS)


@pytest.fixture
def held(start: Start, clip: Path, qtbot: QtBot) -> Application:
    """The clip held at its frame 10, without overlays."""
    app = start(clip)
    app.overlays.clear()
    app.player.pause()
    app.player.seek(1.0)
    wait(qtbot, lambda: number(app) == 10)
    return app


def test_plays_to_the_end_and_holds_the_last_picture(start: Start, clip: Path, qtbot: QtBot) -> None:
    app = start(clip)
    app.overlays.clear()
    app.player.set_speed(4.0)
    seen: list[int] = []
    app.player.shown.connect(lambda rendered: seen.append(rendered.result.frame.index))
    wait(qtbot, lambda: app.player.state.phase == "ended" and number(app) == 19)
    assert seen == sorted(seen)
    assert seen[-1] == 19
    assert not app.window.commands["play"].isChecked()


def test_plays_again_after_the_end(start: Start, clip: Path, qtbot: QtBot) -> None:
    app = start(clip)
    app.player.set_speed(4.0)
    app.player.seek(1.8)
    wait(qtbot, lambda: app.player.state.phase == "ended")
    app.player.play()
    wait(qtbot, lambda: (app.player.position_s or 9) < 1.0)
    assert app.player.state.phase == "playing"


def test_seek_after_the_end_goes_on_from_there(start: Start, clip: Path, qtbot: QtBot) -> None:
    app = start(clip)
    app.player.set_speed(4.0)
    app.player.seek(1.8)
    wait(qtbot, lambda: app.player.state.phase == "ended")
    app.window.transport.sought.emit(0.5)
    wait(qtbot, lambda: app.player.state.phase == "playing")
    wait(qtbot, lambda: app.player.state.phase == "ended")


def test_paused_picture_stays(held: Application, qtbot: QtBot) -> None:
    shown: list[Rendered] = []
    held.player.shown.connect(shown.append)
    qtbot.wait(300)
    assert shown == []
    assert held.player.state.phase == "paused"


def test_pause_holds_the_picture_that_is_shown(start: Start, clip: Path, qtbot: QtBot) -> None:
    """Frames that are under way come only when the user steps on, each of them."""
    app = start(clip)
    app.overlays.clear()
    app.player.pause()
    first = app.player.last
    assert first is not None
    for step in range(1, 5):
        app.player.step()
        wait(qtbot, lambda step=step: app.player.last.result.frame.index == first.result.frame.index + step)


@pytest.mark.parametrize("also", ["pause", "step"])
def test_pause_right_after_a_seek_holds_what_was_sought(also: str, start: Start, clip: Path, qtbot: QtBot) -> None:
    """Though nothing of it has come through the pipeline yet."""
    app = start(clip)
    app.overlays.clear()
    app.player.seek(1.0)
    app.player.pause()
    expected = 10
    if also == "step":
        app.player.step()
        expected = 11
    wait(qtbot, lambda: number(app) == expected)
    qtbot.wait(200)
    assert number(app) == expected
    assert app.player.state.phase == "paused"


def test_monitor_says_that_it_stands_still(held: Application, qtbot: QtBot) -> None:
    """In place of how long the pause has been."""
    qtbot.waitUntil(lambda: held.window.status["rate"].text() == "paused", timeout=DEADLINE_MS)
    texts = [label.text() for label in held.window.statistics.findChildren(QLabel)]
    assert "Paused" in texts


def test_step_and_step_back(held: Application, qtbot: QtBot) -> None:
    for way, expected in ((held.player.step, 11), (held.player.step, 12), (held.player.step_back, 11)):
        way()
        wait(qtbot, lambda expected=expected: number(held) == expected)
    held.player.seek(0.0)
    wait(qtbot, lambda: number(held) == 0)
    held.player.step_back()
    qtbot.wait(100)
    assert number(held) == 0


def test_seek_bar(held: Application, qtbot: QtBot) -> None:
    """Moved by the user it seeks; moved by the picture it tells nobody."""
    bar = held.window.transport.seek_bar
    assert bar.value() == 100
    assert bar.maximum() == pytest.approx(200, abs=11)
    bar.setValue(150)
    wait(qtbot, lambda: number(held) == 15)
    held.player.seek(0.3)
    wait(qtbot, lambda: number(held) == 3)
    assert bar.value() == 30


def test_pausing_leaves_the_seek_bar_where_it_is(start: Start, clip: Path, qtbot: QtBot) -> None:
    app = start(clip)
    wait(qtbot, lambda: (app.player.position_s or 0.0) > 0.3)
    app.player.pause()
    assert app.window.transport.seek_bar.value() == pytest.approx(100 * app.player.position_s)


def test_loop(start: Start, clip: Path, qtbot: QtBot) -> None:
    app = start(clip)
    app.player.set_speed(4.0)
    app.player.set_loop(True)
    app.player.seek(1.6)
    wait(qtbot, lambda: (app.player.position_s or 0) > 1.5)
    wait(qtbot, lambda: (app.player.position_s or 9) < 0.5)
    assert app.player.state.phase == "playing"


def test_unreadable_file_leaves_the_picture(held: Application, tmp_path: Path, qtbot: QtBot) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video at all")
    held.window.dropped.emit(str(broken))
    wait(qtbot, held.window.message.isVisible)
    assert held.window.message.level == "error"
    assert "broken.mp4" in held.window.message.text
    assert "Ctrl+O" in held.window.message.text
    assert held.player.state.phase == "paused"
    held.player.step()
    wait(qtbot, lambda: number(held) == 11)


def test_nothing_but_an_unreadable_file(application: Application, tmp_path: Path, qtbot: QtBot) -> None:
    application.start(str(tmp_path / "none.mp4"))
    wait(qtbot, application.window.message.isVisible)
    assert "no such file" in application.window.message.text
    wait(qtbot, lambda: application.network.loaded)
    assert application.player.state.phase == "empty"
    assert application.window.view.canvas is None


def test_another_source_takes_over(held: Application, sample_still: Path, qtbot: QtBot) -> None:
    held.window.dropped.emit(str(sample_still))
    wait(qtbot, lambda: held.window.view.canvas.shape == (512, 512, 3))
    wait(qtbot, lambda: held.player.state.phase == "ended")
    assert held.window.windowTitle().startswith("astronaut.jpg")
    assert not held.window.transport.seek_bar.isEnabled()


def test_of_several_wishes_the_last_one_counts(
    held: Application, sample_still: Path, sample_clip: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the first one takes longer to open."""
    from app.gui import player

    second_is_open, opened = threading.Event(), player.open_for_window

    def slow_first(uri: str) -> object:
        if uri == str(sample_clip):
            assert second_is_open.wait(20)
        return opened(uri)

    monkeypatch.setattr(player, "open_for_window", slow_first)
    held.player.open(str(sample_clip))
    held.player.open(str(sample_still))
    wait(qtbot, lambda: held.player.state.address == str(sample_still))
    second_is_open.set()
    qtbot.wait(200)
    assert held.player.state.address == str(sample_still)


def test_folder_of_pictures(start: Start, tmp_path: Path, sample_still: Path, qtbot: QtBot) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.jpg").write_bytes(sample_still.read_bytes())
    app = start(folder)
    app.player.set_speed(100.0)
    wait(qtbot, lambda: app.player.state.phase == "ended" and app.player.last.result.frame.index == 1)


def test_error_in_the_pipeline(
    start: Start, clip: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake of the program ends the picture, not the window: it is told, logged, and can be tried again."""
    app = start(clip)

    def fail(heads: object) -> None:
        raise ZeroDivisionError("one in a million")

    with monkeypatch.context() as patch:
        patch.setattr(app.network._estimator, "decode", fail)
        wait(qtbot, lambda: app.player.state.phase == "ended")
    assert "one in a million" in app.window.message.text
    assert "ZeroDivisionError" in caplog.text
    app.player.play()
    wait(qtbot, lambda: app.player.state.phase == "playing")


def test_user_error_while_running(start: Start, clip: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    app = start(clip)

    def fail(heads: object) -> None:
        raise UserError("the network is out of memory")

    monkeypatch.setattr(app.network._estimator, "decode", fail)
    wait(qtbot, lambda: app.player.state.phase == "ended")
    assert app.window.message.text.startswith("the network is out of memory")
    assert "Space" in app.window.message.text


def test_damaged_clip_says_so_at_its_end(start: Start, cut_clip: Path, qtbot: QtBot) -> None:
    app = start(cut_clip)
    wait(qtbot, lambda: app.player.state.phase == "ended")
    assert app.window.message.level == "warning"
    assert "cut off" in app.window.message.text
