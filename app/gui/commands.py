"""What the window's actions do: the wiring between the widgets and what runs behind them."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from PyQt6.QtCore import QObject, QUrl
from PyQt6.QtWidgets import QApplication, QFileDialog

from app.gui.background import Background
from app.gui.keeping import Keeping
from app.gui.main_window import MainWindow
from app.gui.network import Thresholds
from app.gui.network_switch import NetworkSwitch
from app.gui.overlay_model import OverlayModel
from app.gui.overlay_panel import SWITCHES
from app.gui.player import Player
from app.gui.themes import DARK, LIGHT
from app.gui.transport_bar import SPEEDS
from app.gui.video_view import ZOOM_STEP
from engine.errors import UserError
from pipeline.addresses import HIDDEN
from pipeline.cameras import CameraInfo, list_cameras
from pipeline.figure import figure_sheet
from pipeline.frames import Rendered

SKIP_S: Final = 5.0


class Commands(QObject):
    """Connects the actions, by their names in the table of shortcuts, and the controls of the panels."""

    def __init__(
        self,
        window: MainWindow,
        background: Background,
        player: Player,
        network: NetworkSwitch,
        overlays: OverlayModel,
        keeping: Keeping,
    ) -> None:
        super().__init__()
        self._window = window
        self._background = background
        self._player = player
        self._network = network
        self._overlays = overlays
        self._keeping = keeping
        self.thresholds = Thresholds()
        self._connect_sources()
        self._connect_playback()
        self._connect_overlays()
        self._connect_view()
        self._connect_keeping()

    def open(self, text: str) -> None:
        """Show the source that the user named; one with a hidden password goes back to be completed."""
        if HIDDEN in text:
            self._window.source_bar.show_address(text)
            self._window.source_bar.edit_address()
            self._window.message.show_message(
                "info", self.tr("Type the user name and the password in place of {} and press Enter.").format(HIDDEN)
            )
            return
        self._player.open(QUrl(text).toLocalFile() if text.startswith("file:") else text)

    def list_cameras(self) -> None:
        """Offer the cameras that are attached."""
        self._background.run("cameras", list_cameras, self._offer, self._player.fail)

    def open_camera_or(self, sample: str) -> None:
        """Show the first camera, or the clip `sample` if there is none."""

        def done(cameras: list[CameraInfo]) -> None:
            self._offer(cameras)
            if cameras:
                self.open(f"camera:{cameras[0].index}")
            else:
                self._window.message.show_message("info", self.tr("No camera is attached: this is the sample clip."))
                self.open(sample)

        self._background.run("cameras", list_cameras, done, self._player.fail)

    def change_theme(self, light: bool) -> None:
        """Make everything light or dark."""
        app = QApplication.instance()
        if isinstance(app, QApplication):
            self._window.apply_theme(app, LIGHT if light else DARK)

    def set_thresholds(self, thresholds: Thresholds) -> None:
        """Use these from the next picture on; the held picture is decoded and drawn again."""
        self.thresholds = thresholds
        self._network.set_thresholds(thresholds)
        before = self._overlays.style
        self._overlays.set(person_threshold=thresholds.person)
        if self._overlays.style is before:  # else the new style has seen to it
            self._player.redraw()

    def say_nothing_yet(self) -> None:
        """Tell the user that there is nothing to keep."""
        self._window.message.show_message("info", self.tr("There is no picture yet: open a source first (Ctrl+O)."))

    def _connect_sources(self) -> None:
        window, actions = self._window, self._window.commands
        window.dropped.connect(self.open)
        window.source_bar.wanted.connect(self.open)
        actions["open_file"].triggered.connect(lambda: self._ask("open_file", self.open))
        actions["open_folder"].triggered.connect(lambda: self._ask("open_folder", self.open))
        actions["open_address"].triggered.connect(window.source_bar.edit_address)
        actions["list_cameras"].triggered.connect(self.list_cameras)
        actions["quit"].triggered.connect(window.close)

    def _connect_playback(self) -> None:
        player, actions = self._player, self._window.commands
        actions["play"].triggered.connect(self._play_or_pause)
        actions["step"].triggered.connect(player.step)
        actions["step_back"].triggered.connect(player.step_back)
        actions["skip"].triggered.connect(lambda: self._skip(SKIP_S))
        actions["skip_back"].triggered.connect(lambda: self._skip(-SKIP_S))
        actions["restart"].triggered.connect(lambda: player.seek(0.0))
        actions["faster"].triggered.connect(lambda: self._change_speed(1))
        actions["slower"].triggered.connect(lambda: self._change_speed(-1))
        actions["loop"].triggered.connect(player.set_loop)
        self._window.transport.sought.connect(player.seek)
        self._window.transport.speed_chosen.connect(player.set_speed)

    def _connect_overlays(self) -> None:
        window, actions, overlays = self._window, self._window.commands, self._overlays
        for name in SWITCHES:
            actions[name].triggered.connect(lambda on, name=name: overlays.switch(name, on))
        actions["plain"].triggered.connect(overlays.clear)
        for name, field, step in (
            ("next_keypoint", "skhm_keypoint", 1),
            ("last_keypoint", "skhm_keypoint", -1),
            ("next_target", "offset_target", 1),
            ("last_target", "offset_target", -1),
        ):
            actions[name].triggered.connect(lambda _, field=field, step=step: overlays.next_keypoint(field, step))
        window.thresholds.thresholds_moved.connect(self.set_thresholds)
        window.thresholds.keypoint_moved.connect(lambda value: overlays.set(keypoint_threshold=value))
        window.network_panel.chosen.connect(self._network.choose)

    def _connect_view(self) -> None:
        window, actions, view = self._window, self._window.commands, self._window.view
        actions["fit"].triggered.connect(view.fit)
        actions["one_to_one"].triggered.connect(view.one_to_one)
        actions["zoom_in"].triggered.connect(lambda: view.zoom_by(ZOOM_STEP))
        actions["zoom_out"].triggered.connect(lambda: view.zoom_by(1 / ZOOM_STEP))
        actions["full_screen"].toggled.connect(lambda on: window.showFullScreen() if on else window.showNormal())
        actions["controls"].toggled.connect(window.controls.setVisible)
        actions["monitor"].toggled.connect(window.statistics.setVisible)
        actions["theme"].toggled.connect(self.change_theme)
        actions["shortcuts"].toggled.connect(window.toggle_sheet)
        window.sheet.clicked.connect(lambda: actions["shortcuts"].setChecked(False))
        actions["dismiss"].triggered.connect(self._dismiss)

    def _connect_keeping(self) -> None:
        actions, keeping = self._window.commands, self._keeping
        actions["record"].triggered.connect(self._record)
        actions["snapshot"].triggered.connect(lambda: self._keep_picture("", lambda rendered: rendered))
        actions["sheet"].triggered.connect(lambda: self._keep_picture("overlays", _sheet))
        actions["folder"].triggered.connect(lambda: self._ask("folder", self._set_folder, keeping.folder))
        self._player.leaving.connect(keeping.stop)

    def _offer(self, cameras: list[CameraInfo]) -> None:
        self._window.source_bar.show_cameras({str(camera): f"camera:{camera.index}" for camera in cameras})

    def _play_or_pause(self) -> None:
        if self._player.state.phase == "playing":
            self._player.pause()
        else:
            self._player.play()
        self._window.commands["play"].setChecked(self._player.state.phase == "playing")

    def _skip(self, seconds: float) -> None:
        if (position_s := self._player.position_s) is not None:
            self._player.seek(position_s + seconds)

    def _change_speed(self, step: int) -> None:
        place = min(range(len(SPEEDS)), key=lambda place: abs(SPEEDS[place] - self._player.state.speed))
        self._player.set_speed(SPEEDS[min(max(place + step, 0), len(SPEEDS) - 1)])

    def _dismiss(self) -> None:
        """Esc: close what is on top."""
        actions = self._window.commands
        for name in ("shortcuts", "full_screen"):
            if actions[name].isChecked():
                actions[name].setChecked(False)
                return
        self._window.message.dismiss()
        self._window.view.setFocus()

    def _record(self) -> None:
        session = self._player.session
        if self._keeping.recording:
            self._keeping.stop()
        elif session is not None and self._player.last is not None:
            self._keeping.start(session.pipeline, session.source.info)
        else:
            self.say_nothing_yet()
        self._window.commands["record"].setChecked(self._keeping.recording)

    def _keep_picture(self, kind: str, make: Callable[[Rendered], Rendered]) -> None:
        rendered = self._player.last
        if rendered is None:
            self.say_nothing_yet()
        else:
            self._keeping.keep_picture(lambda: make(rendered), kind)

    def _set_folder(self, folder: str) -> None:
        self._keeping.folder = Path(folder)
        self._window.message.show_message("info", self.tr("Recordings and snapshots go to {}.").format(folder))

    def _ask(self, name: str, then: Callable[[str], None], begin: Path | None = None) -> None:
        """Let the user choose what the action `name` is about, from `begin` on; the window lives on meanwhile."""
        dialog = QFileDialog(self._window, self._window.commands[name].text().removesuffix("…"))
        if name == "open_file":
            dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        else:
            dialog.setFileMode(QFileDialog.FileMode.Directory)
            dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        if begin is not None:
            dialog.setDirectory(str(next(folder for folder in (begin, *begin.parents) if folder.is_dir())))
        dialog.fileSelected.connect(then)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()


def _sheet(rendered: Rendered) -> Rendered:
    """The paper's Figure 1 of a picture."""
    result = rendered.result
    if result.heads is None:
        raise UserError("the contact sheet needs the network's outputs, and this picture came without")
    return Rendered(result, figure_sheet(result.frame.image, result.instances, result.heads))
