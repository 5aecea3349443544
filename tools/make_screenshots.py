"""Makes the pictures of docs/window.md: starts the real window on the sample clip and photographs it.

xvfb-run -a -s "-screen 0 1400x950x24" python tools/make_screenshots.py        (or with QT_QPA_PLATFORM=offscreen)
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from PyQt6.QtCore import QCoreApplication, QEventLoop, QPointF  # noqa: E402
from PyQt6.QtWidgets import QApplication, QWidget  # noqa: E402

from app.gui.application import Application  # noqa: E402
from app.gui.overlay_panel import SWITCHES  # noqa: E402
from app.gui.startup import leave  # noqa: E402

SIZE: Final = (1120, 700)
PLAYED_S: Final = 5.5  # until the monitor has something to show
MOMENT_S: Final = 5.0  # of the sample clip: several people, one in front of another
CLOSE_UP: Final = (0.28, 0.97)  # where to look closer in the view, from 0 to 1
QUALITY: Final = 75
DEADLINE_S: Final = 120.0


def main() -> None:
    """Write all pictures into the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures", help="default: %(default)s")
    out = parser.parse_args().out.absolute()
    os.chdir(ROOT)
    qt = QApplication(sys.argv[:1])
    with tempfile.TemporaryDirectory() as folder:
        application = Application(Path(folder) / "settings.toml")
        application.window.resize(*SIZE)
        application.start("assets/sample.mp4")
        photograph(qt, application, out)
        application.window.close()
        application.finish()
    leave(0)


def photograph(qt: QApplication, application: Application, out: Path) -> None:
    """Play a while for the monitor's sake, then go through the overlays on one frame."""
    window, player = application.window, application.player
    wait_for(lambda: (player.position_s or 0.0) > PLAYED_S)
    save(window, out / "window-playing.jpg")
    player.pause()
    player.seek(MOMENT_S)
    wait_for(lambda: player.position_s is not None and abs(player.position_s - MOMENT_S) < 0.2)
    window.view.zoom_by(2, QPointF(window.view.width() * CLOSE_UP[0], window.view.height() * CLOSE_UP[1]))
    for name in SWITCHES:
        application.overlays.clear()
        application.overlays.switch(name, True)
        settle()
        save(window.view, out / f"window-overlay-{name.replace('_', '-')}.jpg")
    window.view.fit()
    window.commands["shortcuts"].setChecked(True)
    settle()
    save(window, out / "window-shortcuts.jpg")
    window.commands["shortcuts"].setChecked(False)
    window.commands["theme"].setChecked(True)
    application.overlays.switch("pis", True)
    application.commands.open("holiday.mp4")
    settle()
    save(window, out / "window-light.jpg")


def save(widget: QWidget, path: Path) -> None:
    """Write a widget as it is now."""
    if not widget.grab().save(str(path), "JPG", QUALITY):
        raise SystemExit(f"{path}: cannot be written")
    print(path)


def settle(seconds: float = 1.0) -> None:
    """Let the event loop turn for so long."""
    end_s = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() >= end_s)


def wait_for(condition: Callable[[], bool]) -> None:
    """Let the event loop turn until the condition holds."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise SystemExit("the window has not got there in time")
        QCoreApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 20)
        time.sleep(0.005)


if __name__ == "__main__":
    main()
