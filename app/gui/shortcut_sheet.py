"""All keys at a glance, over the picture: made from the table of shortcuts, so that it is never out of date."""

from html import escape

from PyQt6.QtCore import QPoint, QRect, Qt, pyqtSignal
from PyQt6.QtGui import QKeySequence
from PyQt6.QtWidgets import QFrame, QHBoxLayout, QLabel, QWidget

from app.gui.shortcuts import groups, translated

_COLUMNS = 2


class ShortcutSheet(QFrame):
    """A panel of two columns.

    Signals:
        clicked: wherever; it does not hide by itself.
    """

    clicked = pyqtSignal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setProperty("role", "sheet")
        self.setAccessibleName(self.tr("Shortcuts"))
        columns = QHBoxLayout(self)
        columns.setContentsMargins(18, 2, 18, 18)
        columns.setSpacing(28)
        for texts in _columns():
            label = QLabel(f"<table cellpadding='1'>{''.join(texts)}</table>")
            label.setTextFormat(Qt.TextFormat.RichText)
            columns.addWidget(label, alignment=Qt.AlignmentFlag.AlignTop)
        self.hide()

    def place(self, window: QRect) -> None:
        """Lie in the middle of the window, as large as needed and possible."""
        size = self.sizeHint().boundedTo(window.size())
        self.setGeometry(QRect(window.center() - QPoint(size.width() // 2, size.height() // 2), size))

    def mousePressEvent(self, event: object) -> None:  # noqa: N802 - Qt's name
        self.clicked.emit()


def _columns() -> list[list[str]]:
    """The rows of each column in HTML; every group goes to the column that is shorter so far."""
    columns: list[list[str]] = [[] for _ in range(_COLUMNS)]
    for group, shortcuts in groups().items():
        rows = [f"<tr><td colspan='2'><br><b>{escape(translated(group))}</b></td></tr>"]
        for shortcut in shortcuts:
            keys = [QKeySequence(key).toString(QKeySequence.SequenceFormat.NativeText) for key in shortcut.keys]
            text = translated(shortcut.text).removesuffix("…")
            rows.append(f"<tr><td><b>{escape(', '.join(keys))}</b>&nbsp;&nbsp;&nbsp;</td><td>{escape(text)}</td></tr>")
        min(columns, key=len).extend(rows)
    return columns
