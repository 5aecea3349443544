"""Below the picture: play, step, where in the clip, loop and speed; for a live source only that it is one."""

from typing import Final

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtGui import QAction, QMouseEvent
from PyQt6.QtWidgets import QHBoxLayout, QLabel, QSlider, QStyle, QToolButton, QWidget

from app.gui.controls import Choice
from app.gui.icons import icon_size

SPEEDS: Final = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 4.0)
_STEPS_PER_S: Final = 100  # of the seek bar


class SeekBar(QSlider):
    """A slider that goes to where it is clicked."""

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        style = self.style()
        if event is not None and style is not None and event.button() == Qt.MouseButton.LeftButton:
            grip = style.pixelMetric(QStyle.PixelMetric.PM_SliderLength, None, self)
            place, length = event.position().toPoint().x() - grip // 2, self.width() - grip
            self.setValue(style.sliderValueFromPosition(self.minimum(), self.maximum(), place, length))
        super().mousePressEvent(event)


class TransportBar(QWidget):
    """Buttons for the actions of playback, and the seek bar.

    Signals:
        sought: seconds, while the user moves the seek bar.
        speed_chosen: how many times faster than in life.
    """

    sought = pyqtSignal(float)
    speed_chosen = pyqtSignal(object)

    def __init__(self, actions: dict[str, QAction], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(6, 2, 6, 2)
        for name in ("step_back", "play", "step"):
            layout.addWidget(action_button(actions[name]))
        self.seek_bar = SeekBar(Qt.Orientation.Horizontal)
        self.seek_bar.setAccessibleName(self.tr("Position"))
        self.seek_bar.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.seek_bar.setSingleStep(_STEPS_PER_S)
        self.seek_bar.setPageStep(5 * _STEPS_PER_S)
        self.seek_bar.valueChanged.connect(lambda value: self.sought.emit(value / _STEPS_PER_S))
        layout.addWidget(self.seek_bar, 1)
        self._time = QLabel()
        layout.addWidget(self._time)
        layout.addWidget(action_button(actions["loop"]))
        self._speed = Choice(self.tr("Speed"))
        self._speed.offer({f"{speed:g} ×": speed for speed in SPEEDS})
        self._speed.set_value(1.0)
        self._speed.setMinimumContentsLength(5)
        self._speed.setSizePolicy(self._time.sizePolicy())
        self._speed.chosen.connect(self.speed_chosen)
        layout.addWidget(self._speed)
        self._live = QLabel(self.tr("LIVE"))
        self._live.setProperty("role", "heading")
        layout.addWidget(self._live)
        self._duration_s: float | None = None
        self.show_source(live=False, duration_s=None)

    def show_source(self, live: bool, duration_s: float | None) -> None:
        """Show what can be done with this source; `duration_s` is None where seeking makes no sense."""
        self._duration_s = duration_s
        seekable = duration_s is not None and not live
        self.seek_bar.setEnabled(seekable)
        self.seek_bar.blockSignals(True)
        self.seek_bar.setRange(0, round((duration_s or 0.0) * _STEPS_PER_S))
        self.seek_bar.blockSignals(False)
        self._speed.setEnabled(seekable)
        self._live.setVisible(live)
        self._time.setVisible(not live)
        self.show_position(0.0 if seekable else None)

    def show_position(self, seconds: float | None) -> None:
        """Move the seek bar, unless the user has hold of it; tells nobody."""
        if seconds is None:
            self._time.setText("")
            return
        if not self.seek_bar.isSliderDown():
            self.seek_bar.blockSignals(True)
            self.seek_bar.setValue(round(seconds * _STEPS_PER_S))
            self.seek_bar.blockSignals(False)
        self._time.setText(f"{clock(seconds)} / {clock(self._duration_s or 0.0)}")

    def show_speed(self, speed: float) -> None:
        """Show how fast the clip plays."""
        self._speed.set_value(speed)


def action_button(action: QAction, text: bool = False) -> QToolButton:
    """A button for an action, reached by Tab but left alone by the keys of whoever uses a mouse."""
    button = QToolButton()
    button.setDefaultAction(action)
    button.setAutoRaise(True)
    button.setIconSize(icon_size())
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    if text:
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
    return button


def clock(seconds: float) -> str:
    """Minutes, seconds and tenths, 1:02.3; with hours where there are some."""
    tenths = round(max(0.0, seconds) * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    short = f"{minutes}:{rest / 10:04.1f}"
    return f"{hours}:{short:0>7}" if hours else short
