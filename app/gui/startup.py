"""From nothing to the window and out again: a splash at once, while packages are imported that take a second."""

import importlib
import os
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, NoReturn

from PyQt6.QtCore import QObject, QStandardPaths, Qt, QTimer, pyqtSignal
from PyQt6.QtGui import QCloseEvent
from PyQt6.QtWidgets import QApplication, QLabel, QProgressBar, QVBoxLayout, QWidget

from app.gui.background import Background

if TYPE_CHECKING:
    from app.gui.application import Application

PACKAGES: Final = (
    "app.options",
    "pipeline.runner",
    "pipeline.render",
    "pipeline.statistics",
    "onnxruntime",
    "pyqtgraph",
)
IMPORT_WAIT_S: Final = 2.0


def run_window(source: str | None, quit_after_s: float | None, stats: Path | None) -> NoReturn:
    """Open the window on `source`; when it is closed the process ends, with status 0, or 130 after Ctrl-C.

    Args:
        source: None for a camera, or the sample clip where there is none.
        quit_after_s: close the window by itself after so many seconds.
        stats: where the figures of the run are written.
    """
    app = QApplication([sys.argv[0]])
    app.setApplicationName("PosePlusSeg")
    app.setQuitOnLastWindowClosed(False)  # between the splash and the window there is none
    startup = Startup(_settings_path(), source, quit_after_s)
    startup.ended.connect(app.quit)
    before = signal.signal(signal.SIGINT, startup.interrupt)
    sys.excepthook = startup.tell
    try:
        startup.start()
        app.exec()
        startup.finish(stats)
    finally:
        sys.excepthook = sys.__excepthook__
        signal.signal(signal.SIGINT, before)
    leave(130 if startup.interrupted else 0)


def leave(status: int) -> NoReturn:
    """End the process straight away, once everything that must be kept is written.

    A network that is being compiled or a camera that does not answer cannot be interrupted, and even with nothing left
    to wait for, taking Qt and the compiled kernels down in Python's order crashes at times.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class Splash(QWidget):
    """Says that something happens, and can be closed.

    Signals:
        closed: by the user.
    """

    closed = pyqtSignal()

    def __init__(self) -> None:
        super().__init__()
        self.setWindowTitle("PosePlusSeg Live")
        self.setMinimumWidth(360)
        bar = QProgressBar()
        bar.setRange(0, 0)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(24, 20, 24, 20)
        layout.addWidget(QLabel(self.tr("PosePlusSeg Live is starting…")), alignment=Qt.AlignmentFlag.AlignHCenter)
        layout.addWidget(bar)

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802 - Qt's name
        self.closed.emit()
        super().closeEvent(event)


class Startup(QObject):
    """Shows the splash, imports in a thread, and gives way to the window.

    Attributes:
        interrupted: whether Ctrl-C was pressed in the terminal.

    Signals:
        ended: the splash or the window was closed.
    """

    ended = pyqtSignal()

    def __init__(self, settings_path: Path, source: str | None, quit_after_s: float | None) -> None:
        super().__init__()
        self.application: Application | None = None
        self.splash = Splash()
        self.splash.closed.connect(self.ended)
        self._error: BaseException | None = None
        self._settings_path = settings_path
        self._source = source
        self._background = Background()
        self.interrupted = False
        self._awake = QTimer(self)  # Python looks at signals such as Ctrl-C only when it gets to run
        self._awake.timeout.connect(self._look_for_interrupt)
        self._awake.start(200)
        self._quit_timer = QTimer(self)
        self._quit_timer.setSingleShot(True)
        self._quit_timer.timeout.connect(self.close)
        if quit_after_s is not None:
            self._quit_timer.start(round(quit_after_s * 1000))

    def start(self) -> None:
        """Show the splash; the window follows by itself."""
        self.splash.show()
        self._background.run("imports", _import_all, lambda _: self._open_window(), self._fail)

    def close(self) -> None:
        """Close what is there, splash or window."""
        if self.application is None:
            self.splash.close()
        else:
            self.application.window.close()

    def interrupt(self, *_: object) -> None:
        """What Ctrl-C does: it may come in the middle of anything, so the window is closed only when that is done."""
        self.interrupted = True

    def finish(self, stats: Path | None) -> None:
        """Wait for what still works, but not for ever, and write the figures. Raises what `start` failed of."""
        self._awake.stop()
        self._quit_timer.stop()
        self._background.close(IMPORT_WAIT_S)
        if self._error is not None:
            raise self._error
        if self.application is None:
            return
        self.application.finish()
        if stats is not None:
            self.application.write_figures(stats)

    def tell(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """What Qt calls for an exception in a slot, in place of ending the program."""
        if self.application is not None and isinstance(error, Exception):
            self.application.player.fail(error)
        else:
            self._fail(error)

    def _look_for_interrupt(self) -> None:
        if self.interrupted:
            self.close()

    def _open_window(self) -> None:
        from app.gui.application import Application

        self.application = Application(self._settings_path)
        self.application.closed.connect(self.ended)
        self.application.start(self._source)
        self.splash.closed.disconnect(self.ended)
        self.splash.close()

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self.splash.close()


def _import_all() -> None:
    for name in PACKAGES:
        importlib.import_module(name)


def _settings_path() -> Path:
    return Path(QStandardPaths.writableLocation(QStandardPaths.StandardLocation.AppConfigLocation), "settings.toml")
