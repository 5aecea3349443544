"""Drives the real window on a real (virtual) screen with mouse and keys; prints what it saw as JSON.

Run by test_real_window.py in a process of its own, since a process has one Qt platform only.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PyQt6.QtCore import QPoint, Qt
from PyQt6.QtGui import QImage, QKeySequence
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QApplication, QWidget

from app.gui.application import Application
from app.gui.display import check_display
from app.gui.shortcuts import SHORTCUTS
from app.gui.startup import leave

DEADLINE_S = 40.0


def wait_for(what: str, condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline_s:
            print(f"waited in vain for: {what}", file=sys.stderr, flush=True)
            os._exit(1)  # the pipeline's threads would keep the process
        QTest.qWait(20)


def on_screen(app: QApplication) -> QImage:
    """What the X server shows, not what Qt would have painted."""
    QTest.qWait(150)  # until the server has got it
    return app.primaryScreen().grabWindow(0).toImage().convertToFormat(QImage.Format.Format_RGB32)


def inside(view: QWidget, image: QImage) -> QImage:
    corner = view.mapToGlobal(QPoint(0, 0))
    return image.copy(corner.x(), corner.y(), view.width(), view.height())


def click(widget: QWidget, place: QPoint | None = None) -> None:
    """Through the window, at the place on the screen where the widget is."""
    window = widget.window()
    point = widget.mapTo(window, place or widget.rect().center())
    QTest.mouseClick(window.windowHandle(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, point)


def press(application: Application, name: str) -> None:
    """The first key of an action, through the window."""
    keys = next(shortcut.keys[0] for shortcut in SHORTCUTS if shortcut.name == name)
    combination = QKeySequence(keys)[0]
    QTest.keyClick(application.window.windowHandle(), combination.key(), combination.keyboardModifiers())


def drive(app: QApplication, application: Application, source: str) -> dict[str, Any]:
    seen: dict[str, Any] = {"platform": app.platformName()}
    window, player, view = application.window, application.player, application.window.view
    application.start(source)
    wait_for("a window", lambda: window.windowHandle().isExposed())
    window.activateWindow()  # there is no window manager here that would do so
    wait_for("a window with the keys", window.isActiveWindow)
    wait_for("the picture", lambda: player.state.phase == "ended" and player.last is not None)
    press(application, "plain")
    wait_for("the plain picture", lambda: not player.redrawing)
    plain = inside(view, on_screen(app))
    seen["changed by"] = {}
    for name, box in window.overlay_panel.boxes.items():
        click(box, QPoint(8, box.height() // 2))
        wait_for(f"{name} on", lambda name=name: application.overlays.is_on(name) and not player.redrawing)
        seen["changed by"][name] = inside(view, on_screen(app)) != plain
        press(application, name)
        wait_for(f"{name} off", lambda name=name: not application.overlays.is_on(name) and not player.redrawing)
        seen["changed by"][name] &= inside(view, on_screen(app)) == plain
    click(view)
    press(application, "one_to_one")
    seen["one to one"] = view.zoom
    press(application, "snapshot")
    wait_for("the snapshot", lambda: list(application.keeping.folder.glob("*.png")))
    press(application, "theme")
    seen["light"] = on_screen(app).pixelColor(window.mapToGlobal(QPoint(5, 60))).lightness() > 128
    press(application, "shortcuts")
    wait_for("the sheet", window.sheet.isVisible)
    press(application, "dismiss")
    wait_for("no sheet", lambda: not window.sheet.isVisible())
    press(application, "quit")
    wait_for("the end", lambda: not window.isVisible())
    return seen


def main() -> None:
    source, folder = sys.argv[1:]
    check_display()
    app = QApplication(sys.argv[:1])
    application = Application(Path(folder) / "settings.toml")
    application.keeping.folder = Path(folder) / "kept"
    application.closed.connect(lambda: None)
    print(json.dumps(drive(app, application, source)))
    if not application.finish():
        raise SystemExit("something still runs")
    leave(0)


if __name__ == "__main__":
    main()
