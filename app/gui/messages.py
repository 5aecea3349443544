"""What the window has to say, said inside the window: nothing here waits for a click, nothing hides the controls."""

from typing import Final, Literal

from PyQt6.QtCore import QTimer, pyqtSignal
from PyQt6.QtWidgets import QFrame, QHBoxLayout, QLabel, QSizePolicy, QToolButton, QWidget

Level = Literal["error", "warning", "info"]

INFO_SHOWN_MS: Final = 8_000


class MessageBar(QFrame):
    """One line (or a few) in colour with a button to close it. The newest message wins; an "info" goes by itself."""

    closed = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "message")
        self._label = QLabel()
        self._label.setWordWrap(True)
        self._label.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        close = QToolButton()
        close.setText("×")
        close.setAutoRaise(True)
        close.setToolTip(self.tr("Close (Esc)"))
        close.setAccessibleName(self.tr("Close the message"))
        close.clicked.connect(self.dismiss)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(10, 4, 4, 4)
        layout.addWidget(self._label)
        layout.addWidget(close)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(INFO_SHOWN_MS)
        self._timer.timeout.connect(self.dismiss)
        self.level: Level = "info"
        self.hide()

    @property
    def text(self) -> str:
        """What is shown, or was last."""
        return self._label.text()

    def show_message(self, level: Level, text: str, stays: bool = False) -> None:
        """Show `text`, and what to do about it; an "info" vanishes after some seconds unless it `stays`."""
        self.level = level
        self.setProperty("level", level)
        style = self.style()
        if style is not None:  # the style sheet looks at properties only when it is told to
            style.unpolish(self)
            style.polish(self)
        self._label.setText(text)
        self._timer.stop()
        if level == "info" and not stays:
            self._timer.start()
        self.show()

    def dismiss(self) -> None:
        """Close the message."""
        self._timer.stop()
        self.hide()
        self.closed.emit()
