"""Small controls that several panels use. Those that a mouse click must not take the keys from are reached by Tab."""

from PyQt6.QtCore import QEvent, QObject, Qt, pyqtSignal
from PyQt6.QtGui import QKeyEvent, QWheelEvent
from PyQt6.QtWidgets import QAbstractButton, QComboBox, QHBoxLayout, QLabel, QSizePolicy, QSlider, QWidget


class _Slider(QSlider):
    """Leaves the wheel to the panel that is scrolled: nothing must change because the mouse passed over it."""

    def wheelEvent(self, event: QWheelEvent | None) -> None:  # noqa: N802 - Qt's name
        if event is not None:
            event.ignore()


class ShareSlider(QWidget):
    """A slider for a number in [0, 1] in steps of 0.01, and the number beside it.

    Signals:
        moved: the number, whenever the user moves it.
    """

    moved = pyqtSignal(float)

    def __init__(self, name: str, value: float, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider = _Slider(Qt.Orientation.Horizontal)
        self._slider.setRange(0, 100)
        self._slider.setPageStep(10)
        self._slider.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._slider.setAccessibleName(name)
        self._slider.setMinimumWidth(60)
        self._number = QLabel()
        self._number.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._number.setMinimumWidth(self._number.fontMetrics().horizontalAdvance("0.00 "))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._number)
        self.setFocusProxy(self._slider)
        self.set_value(value)
        self._slider.valueChanged.connect(self._tell)

    @property
    def value(self) -> float:
        """The number shown, in [0, 1]."""
        return self._slider.value() / 100

    def set_value(self, value: float) -> None:
        """Show `value`; tells nobody."""
        self._slider.blockSignals(True)
        self._slider.setValue(round(100 * value))
        self._slider.blockSignals(False)
        self._number.setText(f"{self.value:.2f}")

    def _tell(self) -> None:
        self._number.setText(f"{self.value:.2f}")
        self.moved.emit(self.value)


class Choice(QComboBox):
    """A list to choose from; each line has a value of its own.

    Signals:
        chosen: the value, whenever the user chooses.
    """

    chosen = pyqtSignal(object)

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName(name)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        self.activated.connect(lambda index: self.chosen.emit(self.itemData(index)))

    def offer(self, lines: dict[str, object]) -> None:
        """Replace the lines: text to value."""
        self.clear()
        for text, value in lines.items():
            self.addItem(text, value)

    def set_value(self, value: object) -> None:
        """Show the line of `value`, or add one with its name; tells nobody."""
        values = [self.itemData(index) for index in range(self.count())]
        if value not in values:
            self.addItem(str(value), value)
            values.append(value)
        self.setCurrentIndex(values.index(value))

    def wheelEvent(self, event: QWheelEvent | None) -> None:  # noqa: N802 - Qt's name
        """As with `_Slider`."""
        if event is not None:
            event.ignore()


class SpaceForControls(QObject):
    """Gives the space bar to the button or list that has the focus; elsewhere it plays and pauses."""

    def eventFilter(self, target: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        if not isinstance(event, QKeyEvent) or event.type() != QEvent.Type.ShortcutOverride:
            return False
        used = event.key() == Qt.Key.Key_Space and isinstance(target, QAbstractButton | QComboBox)
        if used:
            event.accept()
        return used


def heading(text: str) -> QLabel:
    """The title of a group of controls."""
    label = QLabel(text)
    label.setProperty("role", "heading")
    return label


def faint(text: str) -> QLabel:
    """A text of less weight."""
    label = QLabel(text)
    label.setProperty("role", "faint")
    return label
