"""A line in the status bar while TensorRT's plan is built in a thread: how far it is, and a button to cancel it."""

from collections.abc import Callable

from PyQt6.QtCore import QTimer, pyqtSignal
from PyQt6.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QWidget

from app.plan_progress import PlanBuild
from engine.backends.tensorrt_build import BuildCancelledError, Progress

_LOOK_MS = 200


class PlanBar(QWidget):
    """Hidden while nothing is built. The picture goes on meanwhile, on another back end.

    Signals:
        built: the plan is there.
        failed: the exception; not after a cancel.
    """

    built = pyqtSignal()
    failed = pyqtSignal(object)

    def __init__(self) -> None:
        super().__init__()
        self.bar = QProgressBar()
        self.bar.setRange(0, 100)
        self.bar.setFixedSize(100, 12)
        self.cancel = QPushButton(self.tr("Cancel"))
        self.cancel.clicked.connect(self._cancel)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (QLabel(self.tr("Preparing TensorRT")), self.bar, self.cancel):
            layout.addWidget(widget)
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self._look)
        self._build: PlanBuild | None = None
        self.hide()

    def begin(self, build: Callable[[Progress], None]) -> None:
        """Start this build; one that is under way is cancelled."""
        self.stop()
        self._build = PlanBuild(build)
        self._build.start()
        self.bar.setValue(0)
        self.cancel.setEnabled(True)
        self.show()
        self._timer.start()

    def stop(self) -> None:
        """Cancel what is under way and wait for its end, which is a step of TensorRT away."""
        self._timer.stop()
        self.hide()
        if self._build is not None:
            self._build.close()
            self._build = None

    def _cancel(self) -> None:
        self.cancel.setEnabled(False)
        if self._build is not None:
            self._build.cancel()

    def _look(self) -> None:
        build = self._build
        if build is None:
            return
        self.bar.setValue(round(100 * build.fraction))
        self.bar.setToolTip(build.phase)
        if not build.done:
            return
        self.stop()
        if build.error is None:
            self.built.emit()
        elif not isinstance(build.error, BuildCancelledError):
            self.failed.emit(build.error)
