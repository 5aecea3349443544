"""Above the picture: the address of what is shown, the lists of cameras and recent sources, and the buttons."""

from collections.abc import Iterable

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtGui import QAction
from PyQt6.QtWidgets import QHBoxLayout, QLineEdit, QMenu, QWidget

from app.gui.transport_bar import action_button


class SourceBar(QWidget):
    """Where sources are named.

    Signals:
        wanted: the path or address the user wants to see.
    """

    wanted = pyqtSignal(str)

    def __init__(self, actions: dict[str, QAction], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.cameras = QMenu(self.tr("&Cameras"), self)
        self.recent = QMenu(self.tr("&Recent"), self)
        self._address = QLineEdit()
        self._address.setClearButtonEnabled(True)
        self._address.setPlaceholderText(self.tr("Path, camera:0, rtsp://… or http://…, then Enter"))
        self._address.setAccessibleName(self.tr("Address of the source"))
        self._address.returnPressed.connect(self._open_typed)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 4)
        layout.addWidget(action_button(actions["open_file"]))
        layout.addWidget(self._address, 1)
        for name in ("record", "snapshot", "sheet"):
            layout.addWidget(action_button(actions[name], text=True))
        self.show_cameras({})
        self.show_recent(())

    @property
    def address(self) -> str:
        """What stands in the field."""
        return self._address.text()

    def show_address(self, address: str) -> None:
        """Show where the picture comes from, without passwords."""
        self._address.setText(address)
        self._address.setCursorPosition(0)

    def edit_address(self) -> None:
        """Let the user type an address."""
        self._address.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self._address.selectAll()

    def show_cameras(self, cameras: dict[str, str]) -> None:
        """Offer these cameras: text to address."""
        self._fill(self.cameras, cameras.items(), self.tr("No camera found"))

    def show_recent(self, addresses: Iterable[str]) -> None:
        """Offer these addresses again."""
        self._fill(self.recent, ((address, address) for address in addresses), self.tr("Nothing yet"))

    def _fill(self, menu: QMenu, lines: Iterable[tuple[str, str]], nothing: str) -> None:
        menu.clear()
        for text, address in lines:
            action = QAction(text.replace("&", "&&"), menu)
            action.triggered.connect(lambda _checked, address=address: self.wanted.emit(address))
            menu.addAction(action)
        if menu.isEmpty():
            empty = QAction(nothing, menu)
            empty.setEnabled(False)
            menu.addAction(empty)

    def _open_typed(self) -> None:
        text = self._address.text().strip()
        if text:
            self.wanted.emit(text)
