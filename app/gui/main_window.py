"""The window: which widget lies where. What they do is in `app.gui.commands`."""

import base64
from typing import Final

from PyQt6.QtCore import QByteArray, Qt, pyqtSignal
from PyQt6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QResizeEvent
from PyQt6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QFrame,
    QLabel,
    QMainWindow,
    QProgressBar,
    QScrollArea,
    QSizePolicy,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from app.gui.controls import SpaceForControls
from app.gui.icons import icon, icon_names
from app.gui.messages import MessageBar
from app.gui.network_panel import NetworkPanel
from app.gui.overlay_model import OverlayModel
from app.gui.overlay_panel import OverlayPanel
from app.gui.plan_bar import PlanBar
from app.gui.settings import WindowPlaces
from app.gui.shortcut_sheet import ShortcutSheet
from app.gui.shortcuts import groups, make_actions, translated
from app.gui.source_bar import SourceBar
from app.gui.statistics_panel import StatisticsPanel
from app.gui.themes import Theme, apply_theme
from app.gui.thresholds import ThresholdPanel
from app.gui.transport_bar import TransportBar
from app.gui.video_view import VideoView

TITLE: Final = "PosePlusSeg Live"


class MainWindow(QMainWindow):
    """Layout, menus, and the events that only a window gets.

    Signals:
        dropped: the path or address of what was dropped on the window.
        closing: the window is about to close.
    """

    dropped = pyqtSignal(str)
    closing = pyqtSignal()

    def __init__(self, overlays: OverlayModel, models: list[str]) -> None:
        super().__init__()
        self.setWindowTitle(TITLE)
        self.setAcceptDrops(True)
        self.commands = make_actions(self)
        self.view = VideoView()
        self.message = MessageBar()
        self.banner = MessageBar()
        self.source_bar = SourceBar(self.commands)
        self.transport = TransportBar(self.commands)
        self.statistics = StatisticsPanel()
        self.overlay_panel = OverlayPanel(overlays, self.commands)
        self.thresholds = ThresholdPanel()
        self.network_panel = NetworkPanel(models)
        self.status = {name: QLabel() for name in ("loading", "people", "recording", "rate", "zoom")}
        self.busy = QProgressBar()
        self.busy.setRange(0, 0)
        self.busy.setFixedSize(100, 12)
        self.busy.hide()
        self.plan_bar = PlanBar()
        self._lay_out()
        self._fill_menus()
        self.sheet = ShortcutSheet(self)
        self._space = SpaceForControls()
        for control in (*self.findChildren(QAbstractButton), *self.findChildren(QComboBox)):
            control.installEventFilter(self._space)
        self.resize(1280, 820)
        self.view.setFocus()

    def _lay_out(self) -> None:
        over_picture = QVBoxLayout(self.view)
        over_picture.setContentsMargins(10, 10, 10, 10)
        over_picture.addWidget(self.banner)
        over_picture.addWidget(self.message)
        over_picture.addStretch()
        self.controls = _scrolled(self.overlay_panel, self.thresholds, self.network_panel)
        left = QSplitter(Qt.Orientation.Vertical)
        left.addWidget(_stacked(self.source_bar, self.view, self.transport))
        left.addWidget(self.statistics)
        left.setStretchFactor(0, 1)
        left.setSizes([580, 170])
        left.setChildrenCollapsible(False)  # its key closes a panel: one of no height would look closed to that
        whole = QSplitter(Qt.Orientation.Horizontal)
        whole.addWidget(left)
        whole.addWidget(self.controls)
        whole.setStretchFactor(0, 1)
        whole.setChildrenCollapsible(False)
        self.setCentralWidget(whole)
        self.splitters = {"across": whole, "down": left}
        bar = self.statusBar()
        if bar is not None:
            bar.addWidget(self.busy)
            bar.addWidget(self.status["loading"])
            bar.addWidget(self.plan_bar)
            for name in ("people", "recording", "rate", "zoom"):
                bar.addPermanentWidget(self.status[name])

    def _fill_menus(self) -> None:
        menu_bar = self.menuBar()
        if menu_bar is None:
            return
        for group, shortcuts in groups().items():
            menu = menu_bar.addMenu(f"&{translated(group)}")
            if menu is None:
                continue
            for shortcut in shortcuts:
                menu.addAction(self.commands[shortcut.name])
                if shortcut.name == "list_cameras":
                    menu.addMenu(self.source_bar.cameras)
                    menu.addMenu(self.source_bar.recent)

    def apply_theme(self, app: QApplication, theme: Theme) -> None:
        """Give everything the theme's colours."""
        apply_theme(app, theme)
        for name in icon_names():
            self.commands[name].setIcon(icon(name, theme.text))
        self.view.set_ground(theme.canvas)
        self.statistics.apply_theme(theme)

    def places(self) -> WindowPlaces:
        """Where everything is, to be kept."""
        across, down = (_text(self.splitters[name].saveState()) for name in ("across", "down"))
        return WindowPlaces(_text(self.saveGeometry()), across, down)

    def restore_places(self, places: WindowPlaces) -> None:
        """Put everything where it was, but for what makes no sense."""
        self.restoreGeometry(_bytes(places.window))
        for name, splitter in self.splitters.items():
            splitter.restoreState(_bytes(getattr(places, name)))

    def toggle_sheet(self, shown: bool) -> None:
        """Show or hide the sheet of shortcuts, in the middle of the window."""
        self.sheet.setVisible(shown)
        self.sheet.place(self.rect())
        self.sheet.raise_()

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802 - Qt's name
        super().resizeEvent(event)
        self.sheet.place(self.rect())

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:  # noqa: N802 - Qt's name
        data = event.mimeData() if event is not None else None
        if event is not None and data is not None and (data.hasUrls() or data.hasText()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:  # noqa: N802 - Qt's name
        data = event.mimeData() if event is not None else None
        if event is None or data is None:
            return
        event.acceptProposedAction()
        urls = data.urls()
        text = (urls[0].toLocalFile() or urls[0].toString()) if urls else data.text().strip()
        if text:
            self.dropped.emit(text)

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802 - Qt's name
        self.closing.emit()
        super().closeEvent(event)


def _text(state: QByteArray) -> str:
    return base64.b64encode(state.data()).decode("ascii")


def _bytes(text: str) -> QByteArray:
    return QByteArray.fromBase64(text.encode("ascii", "ignore"))


def _stacked(*widgets: QWidget) -> QWidget:
    whole = QWidget()
    layout = QVBoxLayout(whole)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(0)
    for widget in widgets:
        layout.addWidget(widget, 1 if isinstance(widget, VideoView) else 0)
    return whole


def _scrolled(*widgets: QWidget) -> QScrollArea:
    inner = QWidget()
    layout = QVBoxLayout(inner)
    layout.setSpacing(14)
    for widget in widgets:
        layout.addWidget(widget)
    layout.addStretch()
    area = QScrollArea()
    area.setWidget(inner)
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setMinimumWidth(inner.sizeHint().width() + 16)
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    area.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Expanding)
    return area
