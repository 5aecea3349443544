"""The table of shortcuts: each key of each line does what the line says, in the real window."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PyQt6.QtCore import Qt
from PyQt6.QtGui import QKeySequence
from PyQt6.QtWidgets import QFileDialog, QLabel
from pytestqt.qtbot import QtBot

from app.gui.application import Application
from app.gui.overlay_panel import SWITCHES
from app.gui.shortcuts import SHORTCUTS, groups

DEADLINE_MS = 30_000


def probes(app: Application) -> dict[str, Callable[[], object]]:
    """By the name of the action: something that must be another after its key than before."""
    window, player, style = app.window, app.player, lambda: app.overlays.style
    dialogs = lambda: len(window.findChildren(QFileDialog))  # noqa: E731
    commands = window.commands
    return {
        "open_file": dialogs,
        "open_folder": dialogs,
        "folder": dialogs,
        "open_address": lambda: window.focusWidget().accessibleName(),
        "list_cameras": lambda: app.cameras_listed,
        "quit": window.isVisible,
        "play": lambda: player.state.phase,
        "step": lambda: player.position_s,
        "step_back": lambda: player.position_s,
        "skip": lambda: player.position_s,
        "skip_back": lambda: player.position_s,
        "restart": lambda: player.position_s,
        "faster": lambda: player.state.speed,
        "slower": lambda: player.state.speed,
        "loop": lambda: player.state.loop,
        **{name: lambda name=name: app.overlays.is_on(name) for name in SWITCHES},
        "plain": style,
        "next_keypoint": lambda: style().skhm_keypoint,
        "last_keypoint": lambda: style().skhm_keypoint,
        "next_target": lambda: style().offset_target,
        "last_target": lambda: style().offset_target,
        "fit": lambda: window.view.fitted,
        "one_to_one": lambda: window.view.zoom,
        "zoom_in": lambda: window.view.zoom,
        "zoom_out": lambda: window.view.zoom,
        "full_screen": window.isFullScreen,
        "controls": window.controls.isVisible,
        "monitor": window.statistics.isVisible,
        "theme": lambda: window.palette().window().color().name(),
        "record": lambda: app.keeping.recording,
        "snapshot": lambda: len(list(app.keeping.folder.glob("*.png"))),
        "sheet": lambda: len(list(app.keeping.folder.glob("* overlays.png"))),
        "figures": lambda: len(list(app.keeping.folder.glob("* figures.csv"))),
        "shortcuts": window.sheet.isVisible,
        "dismiss": commands["shortcuts"].isChecked,
    }


@pytest.fixture
def paused(start: Callable[..., Application], clip: Any, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> Application:
    """A clip held in its middle, in a window with the keys."""

    def list_no_cameras() -> list[Any]:
        app.cameras_listed += 1
        return []

    app = start(clip)
    app.cameras_listed = 0
    monkeypatch.setattr("app.gui.commands.list_cameras", list_no_cameras)
    app.player.pause()
    app.player.seek(1.0)
    qtbot.waitUntil(lambda: app.player.position_s == pytest.approx(1.0), timeout=DEADLINE_MS)
    return app


def test_no_key_twice() -> None:
    keys = [QKeySequence(keys).toString() for shortcut in SHORTCUTS for keys in shortcut.keys]
    assert sorted(keys) == sorted(set(keys))
    assert all(keys)


@pytest.mark.parametrize("group", groups())
def test_every_key_works(group: str, paused: Application, qtbot: QtBot) -> None:
    lines = sorted(groups()[group], key=lambda shortcut: shortcut.name == "quit")  # the last thing one can do
    for name, keys in ((line.name, keys) for line in lines for keys in line.keys):
        prepare(name, paused, qtbot)
        press(keys, name, paused, qtbot)
        for dialog in paused.window.findChildren(QFileDialog):
            dialog.reject()
        qtbot.waitUntil(lambda: not paused.window.findChildren(QFileDialog), timeout=DEADLINE_MS)
    qtbot.waitUntil(lambda: not paused.player.redrawing, timeout=DEADLINE_MS)


def press(keys: str, name: str, app: Application, qtbot: QtBot) -> None:
    app.window.activateWindow()  # a dialog may have had the keys
    qtbot.waitUntil(app.window.isActiveWindow, timeout=DEADLINE_MS)
    app.window.view.setFocus()
    probe = probes(app)[name]
    before = probe()

    def changed() -> None:
        assert probe() != before, f"{keys} does not do {name}"

    qtbot.keySequence(app.window, QKeySequence(keys))
    qtbot.waitUntil(changed, timeout=DEADLINE_MS)


def prepare(name: str, app: Application, qtbot: QtBot) -> None:
    """Bring the window to where the key has something to do."""
    if name == "fit":
        app.window.view.zoom_by(2)
    elif name == "one_to_one":
        app.window.view.zoom_by(3)
    elif name == "plain":
        app.overlays.switch("pis", True)
    elif name == "dismiss":
        app.window.commands["shortcuts"].setChecked(True)
    elif app.player.state.phase != "paused" or name == "restart":
        app.player.pause()
        app.player.seek(1.0)
        qtbot.waitUntil(lambda: app.player.position_s == pytest.approx(1.0), timeout=DEADLINE_MS)


def test_every_line_is_in_a_menu_and_on_the_sheet(application: Application) -> None:
    menus = [action.menu() for action in application.window.menuBar().actions()]
    in_menus = {action.objectName() for menu in menus for action in menu.actions()}
    sheet = "".join(label.text() for label in application.window.sheet.findChildren(QLabel))
    for shortcut in SHORTCUTS:
        assert shortcut.name in in_menus
        assert shortcut.text.removesuffix("…").replace("'", "&#x27;") in sheet


def test_letters_are_text_in_the_address(paused: Application, qtbot: QtBot) -> None:
    """What is typed into the address is an address: no recording begins because there is an R in it."""
    paused.window.source_bar.edit_address()
    qtbot.keyClicks(paused.window.focusWidget(), "rs 1.mp4")
    assert paused.window.focusWidget().text() == "rs 1.mp4"
    assert not paused.keeping.recording
    assert not paused.overlays.style.skhm


@pytest.mark.parametrize("there", [True, False])
def test_folder_is_chosen_from_where_recordings_go(there: bool, application: Application, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    application.keeping.folder = folder / "2026"
    (folder / "2026" if there else folder).mkdir(parents=True)
    application.window.commands["folder"].trigger()
    (dialog,) = application.window.findChildren(QFileDialog)
    assert dialog.directory().absolutePath() == str(folder / "2026" if there else folder)
    assert "recordings" in dialog.windowTitle()
    dialog.reject()


def test_space_ticks_the_box_that_has_the_focus(paused: Application, qtbot: QtBot) -> None:
    box = paused.window.overlay_panel.boxes["skhm"]
    box.setFocus()
    qtbot.keyClick(box, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: paused.overlays.style.skhm, timeout=DEADLINE_MS)
    assert paused.player.state.phase == "paused"
    qtbot.waitUntil(lambda: not paused.player.redrawing, timeout=DEADLINE_MS)


def test_tab_reaches_every_control(paused: Application, qtbot: QtBot) -> None:
    """And leaves each of them again: the keyboard is enough."""
    window = paused.window
    wanted = {
        *window.overlay_panel.boxes.values(),
        *(slider.focusProxy() for slider in window.overlay_panel.sliders.values()),
        *window.overlay_panel.choices.values(),
        *(slider.focusProxy() for slider in window.thresholds.sliders.values()),
        *window.network_panel.lists.values(),
        window.view,
    }
    reached = []
    for _ in range(100):
        window.focusNextChild()
        reached.append(window.focusWidget())
    assert wanted <= set(reached)
    names = [widget.accessibleName() or getattr(widget, "text", str)() for widget in reached]
    assert all(names), "what can be reached has a name for those who cannot see it"
