"""What comes back: pictures, states and messages of what runs, shown by the widgets of the window."""

from collections import deque
from pathlib import Path
from typing import Final

from PyQt6.QtCore import QObject, QTimer

from app.gui.keeping import Keeping
from app.gui.main_window import TITLE, MainWindow
from app.gui.network import NetworkChoice
from app.gui.network_switch import NetworkSwitch
from app.gui.overlay_model import OverlayModel
from app.gui.overlay_panel import SWITCHES
from app.gui.player import Player, PlayerState
from app.gui.transport_bar import clock
from pipeline.frames import Rendered
from pipeline.overlays import OverlayStyle
from pipeline.recorder import RecorderState
from pipeline.sources import SourceState
from pipeline.statistics import Snapshot

UPDATE_MS: Final = 500  # between two looks at the figures
HISTORY_S: Final = 600.0


class Feedback(QObject):
    """Connects the signals of player, network and keeping to the window.

    Attributes:
        history: the figures of the last minutes of this source.
    """

    def __init__(
        self, window: MainWindow, player: Player, network: NetworkSwitch, overlays: OverlayModel, keeping: Keeping
    ) -> None:
        super().__init__()
        self._window = window
        self._player = player
        self._keeping = keeping
        self._loading: dict[str, str] = {}
        self.history: deque[Snapshot] = deque(maxlen=round(HISTORY_S * 1000 / UPDATE_MS))
        self._timer = QTimer(self)
        self._timer.setInterval(UPDATE_MS)
        self._timer.timeout.connect(self._show_figures)
        self._timer.start()
        player.shown.connect(self._show)
        player.state_changed.connect(self._show_state)
        player.source_changed.connect(self._show_source_state)
        player.opened.connect(self._show_opened)
        player.loading.connect(lambda text: self._show_loading("source", text))
        player.failed.connect(lambda text: window.message.show_message("error", text))
        player.warned.connect(lambda text: window.message.show_message("warning", text))
        network.loading.connect(lambda text: self._show_loading("network", text))
        network.changed.connect(self._show_network)
        network.failed.connect(player.fail)
        overlays.changed.connect(self._show_style)
        overlays.changed.connect(player.set_style)
        keeping.recording_changed.connect(self._show_recording)
        keeping.kept.connect(self._show_kept)
        keeping.warned.connect(lambda text: window.message.show_message("warning", text))
        keeping.failed.connect(self._show_not_kept)
        window.view.zoom_changed.connect(self._show_zoom)
        self._show_style(overlays.style)
        self._show_state(player.state)

    def stop(self) -> None:
        """Look at the figures no more."""
        self._timer.stop()

    def _show(self, rendered: Rendered) -> None:
        window, result = self._window, rendered.result
        window.view.show_canvas(rendered.canvas)
        people = len(result.instances)
        window.status["people"].setText(self.tr("1 person") if people == 1 else self.tr("{} people").format(people))
        if self._player.state.duration_s is not None:
            window.transport.show_position(result.frame.t_media_s)

    def _show_state(self, state: PlayerState) -> None:
        window = self._window
        window.commands["play"].setChecked(state.phase == "playing")
        window.commands["loop"].setChecked(state.loop)
        window.transport.show_speed(state.speed)
        if state.phase == "empty":
            window.banner.dismiss()
            window.view.show_hint(self.tr("Drop a video, a picture or a folder here, or press Ctrl+O."))

    def _show_opened(self, address: str) -> None:
        window = self._window
        window.setWindowTitle(f"{Path(address).name or address} – {TITLE}")
        window.source_bar.show_address(address)
        if window.source_bar.isAncestorOf(window.focusWidget()):
            window.view.setFocus()  # from here on keys are commands again, not letters of the address
        window.transport.show_source(self._player.state.live, self._player.state.duration_s)
        window.statistics.clear()
        self.history.clear()
        window.banner.dismiss()
        if window.message.level == "error":
            window.message.dismiss()

    def _show_source_state(self, state: SourceState) -> None:
        banner = self._window.banner
        if state.phase in {"playing", "ended"}:
            banner.dismiss()
            return
        attempt = self.tr(" (attempt {})").format(state.attempt + 1) if state.attempt else ""
        banner.show_message("info" if state.phase == "connecting" else "warning", state.message + attempt, stays=True)

    def _show_loading(self, who: str, text: str) -> None:
        self._loading[who] = text
        lines = list(filter(None, self._loading.values()))
        nothing_shown = self._window.view.canvas is None
        if nothing_shown:
            self._window.view.show_hint("\n".join(lines))
        self._window.status["loading"].setText("" if nothing_shown else "  ".join(lines))
        self._window.busy.setVisible(bool(lines))

    def _show_network(self, choice: NetworkChoice, text: str) -> None:
        self._window.network_panel.show_choice(choice)
        self._window.network_panel.show_running(text)

    def _show_style(self, style: OverlayStyle) -> None:
        for name in SWITCHES:
            on = style.masks and style.pose if name == "pis" else getattr(style, name)
            self._window.commands[name].setChecked(on)

    def _show_zoom(self, zoom: float, fitted: bool) -> None:
        window = self._window
        window.commands["fit"].setChecked(fitted)
        window.commands["one_to_one"].setChecked(not fitted and zoom == 1.0)
        window.status["zoom"].setText(f"{100 * zoom:.0f} %")

    def _show_recording(self, state: RecorderState | None) -> None:
        window = self._window
        window.commands["record"].setChecked(state is not None)
        if state is None:
            window.status["recording"].clear()
            return
        lost = self.tr(", {} frames lost").format(state.lost) if state.lost else ""
        window.status["recording"].setText(self.tr("● {}{}").format(clock(state.seconds), lost))

    def _show_kept(self, path: Path) -> None:
        self._window.message.show_message("info", self.tr("Saved as {}").format(path))

    def _show_not_kept(self, error: Exception) -> None:
        self._player.fail(error, self.tr("Choose another folder with Ctrl+S."))

    def _show_figures(self) -> None:
        session, window = self._player.session, self._window
        if session is None:
            window.status["rate"].clear()
            return
        snapshot = session.statistics.snapshot()
        self.history.append(snapshot)
        if session.held:  # the panel would show how long the pause is
            window.status["rate"].setText(self.tr("paused"))
            window.statistics.show_paused()
            return
        if window.statistics.isVisible():
            window.statistics.show_snapshot(snapshot)
        age = "" if snapshot.age_p95_ms is None else self.tr(", {:.0f} ms old").format(snapshot.age_p95_ms)
        lost = sum(snapshot.drops.values())
        dropped = self.tr(", {} dropped").format(lost) if lost else ""
        window.status["rate"].setText(self.tr("{:.1f} frames/s{}{}").format(snapshot.displayed_fps, age, dropped))
