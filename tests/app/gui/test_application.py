"""The window as a whole: what is dropped on it, what it remembers, and how it ends."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PyQt6.QtCore import QByteArray, QMimeData, QPointF, Qt, QUrl
from PyQt6.QtGui import QDragEnterEvent, QDropEvent
from PyQt6.QtWidgets import QMainWindow
from pytestqt.qtbot import QtBot

from app.gui.application import Application
from app.gui.main_window import MainWindow
from app.gui.settings import Settings, WindowPlaces, load, save

DEADLINE_MS = 30_000
Start = Callable[..., Application]


def drop(app: Application, data: QMimeData) -> bool:
    """Let go of something over the window; whether it was taken."""
    copy, left, none = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(QPointF(10, 10).toPoint(), copy, data, left, none)
    app.window.dragEnterEvent(enter)
    if not enter.isAccepted():
        return False
    app.window.dropEvent(QDropEvent(QPointF(10, 10), copy, data, left, none))
    return True


@pytest.mark.parametrize("name", ["film.mp4", "Müller & Söhne ☃ 100%.mp4"])
def test_dropped_file(name: str, still: Application, clip: Path, qtbot: QtBot) -> None:
    path = clip.rename(clip.with_name(name))
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    assert drop(still, data)
    qtbot.waitUntil(lambda: still.player.state.address == str(path), timeout=DEADLINE_MS)


def test_dropped_address(still: Application, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(still.player, "open", opened.append)
    data = QMimeData()
    data.setText(" rtsp://host/1 \n")
    assert drop(still, data)
    data.setUrls([QUrl("http://host/video")])
    assert drop(still, data)
    assert opened == ["rtsp://host/1", "http://host/video"]


def test_something_else_is_not_taken(still: Application) -> None:
    data = QMimeData()
    data.setColorData("red")
    assert not drop(still, data)


def test_typed_address(still: Application, clip: Path, qtbot: QtBot) -> None:
    still.window.source_bar.edit_address()
    field: Any = still.window.focusWidget()
    field.setText(clip.as_uri())
    qtbot.keyClick(field, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: still.player.state.address == str(clip), timeout=DEADLINE_MS)
    assert field.text() == str(clip)
    assert still.window.focusWidget() is still.window.view  # letters are commands again


def test_what_was_chosen_is_there_again(start: Start, clip: Path, settings_path: Path, tmp_path: Path) -> None:
    app = start(clip)
    app.overlays.set(skhm=True, pose=False, skhm_keypoint=5, masks_opacity=0.2)
    app.window.thresholds.sliders["score"].focusProxy().setValue(33)
    for name in ("theme", "monitor", "loop"):
        app.window.commands[name].trigger()
    app.window.close()
    assert app.finish()
    kept, problem = load(settings_path)
    assert problem == ""
    assert kept.overlays == app.overlays.style
    assert kept.thresholds.score == 0.33
    assert (kept.theme, kept.monitor, kept.controls, kept.loop) == ("light", False, True, True)
    assert kept.recent == (str(clip),)
    assert kept.folder == str(tmp_path / "kept")
    again = Application(settings_path)
    assert not again.window.statistics.isVisibleTo(again.window)
    assert again.window.overlay_panel.boxes["skhm"].isChecked()
    assert again.window.overlay_panel.choices["skhm_keypoint"].currentText() == "left shoulder"
    assert again.window.thresholds.sliders["score"].value == 0.33
    assert again.window.commands["theme"].isChecked()
    assert again.window.commands["loop"].isChecked()
    assert [action.text() for action in again.window.source_bar.recent.actions()] == [str(clip)]
    again.window.close()
    assert again.finish()
    again.window.deleteLater()


def test_damaged_settings_are_told_and_set_aside(
    settings_path: Path, request: pytest.FixtureRequest, sample_still: Path
) -> None:
    settings_path.parent.mkdir()
    settings_path.write_text("theme = [", encoding="utf-8")
    app = request.getfixturevalue("application")
    assert "damaged" in app.window.message.text
    assert (settings_path.parent / "settings.toml.damaged").read_text(encoding="utf-8") == "theme = ["


def test_settings_that_cannot_be_kept(
    start: Start, clip: Path, settings_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = start(clip)
    settings_path.parent.write_text("a file where the folder should be")
    app.window.close()
    assert "cannot be kept" in caplog.text


def test_places_that_make_no_sense(settings_path: Path, request: pytest.FixtureRequest) -> None:
    save(Settings(places=WindowPlaces("nonsense ☃", "☃", "AAAA")), settings_path)
    app = request.getfixturevalue("application")
    assert app.window.width() > 600


def test_places_of_window_and_panels_come_back(
    application: Application, settings_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = application.window
    window.show()
    window.resize(1300, 700)
    for splitter, sizes in zip(window.splitters.values(), ([900, 400], [430, 200]), strict=True):
        splitter.setSizes(sizes)
    chosen = [splitter.sizes() for splitter in window.splitters.values()]
    window.close()
    heights = []

    def restore(self: MainWindow, state: QByteArray) -> bool:
        restored = QMainWindow.restoreGeometry(self, state)
        heights.append(self.height())
        self.resize(1300, 700)  # Qt's screen for tests is not that wide
        return restored

    monkeypatch.setattr(MainWindow, "restoreGeometry", restore)
    again = Application(settings_path)
    again.window.show()
    assert heights == [700]
    assert [splitter.sizes() for splitter in again.window.splitters.values()] == chosen
    again.window.close()
    assert again.finish()
    again.window.deleteLater()


def test_closing_while_everything_is_being_opened(
    application: Application, networks: Any, clip: Path, qtbot: QtBot
) -> None:
    go_on = threading.Event()
    networks.before = lambda choice: go_on.wait(20)
    application.start(str(clip))
    application.window.close()
    assert not application.window.isVisible()
    go_on.set()
    assert application.finish()
    assert application.player.session is None
    assert not application.network.loaded


def test_closing_while_it_plays(start: Start, clip: Path) -> None:
    app = start(clip)
    app.player.set_loop(True)
    app.window.close()
    assert app.finish()
    assert app.player.state.phase == "empty"


def test_figures_of_the_run(start: Start, clip: Path, tmp_path: Path, qtbot: QtBot) -> None:

    app = start(clip)
    qtbot.waitUntil(lambda: app.gap.longest_ms > 0, timeout=DEADLINE_MS)
    app.window.close()
    app.write_figures(tmp_path / "stats.json")
    figures = json.loads((tmp_path / "stats.json").read_text(encoding="utf-8"))
    assert figures["displayed"] >= 1
    assert figures["live"] is False
    assert figures["source"] == str(clip)
    assert figures["longest_gap_ms"] > 0
    assert figures["first_picture_s"] > 0
