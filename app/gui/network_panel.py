"""Which network runs: model, back end, precision, mode and input size, changed while the picture goes on."""

import dataclasses
from typing import Any

from PyQt6.QtCore import pyqtSignal
from PyQt6.QtWidgets import QGridLayout, QLabel, QWidget

from app.gui.controls import Choice, faint, heading
from app.gui.network import INPUT_SIZES, NetworkChoice
from engine.backends.base import BACKEND_NAMES
from engine.models import PRECISION_NAMES


class NetworkPanel(QWidget):
    """Lists, and a line that says what runs.

    Signals:
        chosen: the `NetworkChoice` the user wants; the lists follow only when it runs.
    """

    chosen = pyqtSignal(object)

    def __init__(self, models: list[str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._choice = NetworkChoice()
        self.lists = {
            "model": Choice(self.tr("Model")),
            "backend": Choice(self.tr("Back end")),
            "precision": Choice(self.tr("Precision")),
            "mode": Choice(self.tr("Mode")),
            "input_size": Choice(self.tr("Input size")),
        }
        modes = {self.tr("Poses and masks"): "joint", self.tr("Poses only"): "pose", self.tr("Masks only"): "seg"}
        sizes = {self.tr("The model's own"): 0, **{self.tr("{} px").format(size): size for size in INPUT_SIZES}}
        self.lists["model"].offer({name: name for name in models})
        self.lists["backend"].offer({name: name for name in BACKEND_NAMES})
        self.lists["precision"].offer({name: name for name in PRECISION_NAMES})
        self.lists["mode"].offer(dict(modes))
        self.lists["input_size"].offer(dict(sizes))
        self._running = faint("")
        self._running.setWordWrap(True)
        self._lay_out()
        self.show_choice(self._choice)

    def _lay_out(self) -> None:
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setColumnStretch(1, 1)
        layout.addWidget(heading(self.tr("Network")), 0, 0, 1, 2)
        for row, (name, choice) in enumerate(self.lists.items(), start=1):
            layout.addWidget(QLabel(choice.accessibleName()), row, 0)
            layout.addWidget(choice, row, 1)
            choice.chosen.connect(lambda value, name=name: self._choose(name, value))
        layout.addWidget(self._running, len(self.lists) + 1, 0, 1, 2)

    def show_choice(self, choice: NetworkChoice) -> None:
        """Show what runs, or is kept after a failure."""
        self._choice = choice
        for name, widget in self.lists.items():
            widget.set_value(getattr(choice, name))

    def show_running(self, text: str) -> None:
        """Show a line about what runs or is being loaded."""
        self._running.setText(text)

    def _choose(self, name: str, value: Any) -> None:
        wanted = dataclasses.replace(self._choice, **{name: value})
        if wanted != self._choice:
            self.chosen.emit(wanted)
