"""The thresholds of the decode, moved while the picture runs or stands."""

import dataclasses
from typing import Final

from PyQt6.QtCore import QT_TRANSLATE_NOOP, pyqtSignal
from PyQt6.QtWidgets import QGridLayout, QLabel, QWidget

from app.gui.controls import ShareSlider, heading
from app.gui.network import Thresholds

# Name in Thresholds (or of the keypoints that are drawn), text, explanation.
_LINES: Final = (
    (
        "score",
        QT_TRANSLATE_NOOP("ThresholdPanel", "Person"),
        QT_TRANSLATE_NOOP("ThresholdPanel", "Least score of a person"),
    ),
    (
        "keypoint",
        QT_TRANSLATE_NOOP("ThresholdPanel", "Keypoint"),
        QT_TRANSLATE_NOOP("ThresholdPanel", "Least score of a keypoint that is drawn"),
    ),
    (
        "person",
        QT_TRANSLATE_NOOP("ThresholdPanel", "Mask p"),
        QT_TRANSLATE_NOOP("ThresholdPanel", "Least person probability of a mask pixel"),
    ),
    (
        "distance",
        QT_TRANSLATE_NOOP("ThresholdPanel", "Mask t"),
        QT_TRANSLATE_NOOP("ThresholdPanel", "Largest distance of a pixel to its person; larger gives larger masks"),
    ),
)


class ThresholdPanel(QWidget):
    """Four sliders.

    Signals:
        thresholds_moved: the `Thresholds` the user wants.
        keypoint_moved: the least score of a keypoint that the user wants drawn.
    """

    thresholds_moved = pyqtSignal(object)
    keypoint_moved = pyqtSignal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._thresholds = Thresholds()
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setColumnStretch(1, 1)
        layout.addWidget(heading(self.tr("Thresholds")), 0, 0, 1, 2)
        self.sliders: dict[str, ShareSlider] = {}
        for row, (name, text, explanation) in enumerate(_LINES, start=1):
            slider = ShareSlider(self.tr(text), 0.0)
            label = QLabel(self.tr(text))
            for widget in (label, slider):
                widget.setToolTip(self.tr(explanation))
            layout.addWidget(label, row, 0)
            layout.addWidget(slider, row, 1)
            slider.moved.connect(lambda value, name=name: self._move(name, value))
            self.sliders[name] = slider

    def show_values(self, thresholds: Thresholds, keypoint: float) -> None:
        """Show these numbers; tells nobody."""
        self._thresholds = thresholds
        for name in ("score", "person", "distance"):
            self.sliders[name].set_value(getattr(thresholds, name))
        self.sliders["keypoint"].set_value(keypoint)

    def _move(self, name: str, value: float) -> None:
        if name == "keypoint":
            self.keypoint_moved.emit(value)
        else:
            self._thresholds = dataclasses.replace(self._thresholds, **{name: value})
            self.thresholds_moved.emit(self._thresholds)
