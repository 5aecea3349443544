"""The window and everything behind it, from its opening to its end."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psutil
from PyQt6.QtCore import QObject, pyqtSignal

from app.gui.background import Background
from app.gui.commands import Commands
from app.gui.feedback import Feedback
from app.gui.keeping import Keeping, default_folder
from app.gui.loop_gap import LoopGap
from app.gui.main_window import MainWindow
from app.gui.network import NetworkChoice, find_build
from app.gui.network_switch import NetworkSwitch
from app.gui.overlay_model import OverlayModel
from app.gui.player import Player
from app.gui.settings import Settings, load, save, with_recent
from app.gui.themes import DARK, LIGHT
from app.writing import write_json
from engine.backends.tensorrt_build import Progress
from engine.models import load_registry
from pipeline.frames import Rendered

CLOSE_S: Final = 2.0  # how long closing waits for what cannot be interrupted
SAMPLE: Final = Path(__file__).resolve().parents[2] / "assets" / "sample.mp4"
logger = logging.getLogger(__name__)


class Application(QObject):
    """Makes all parts, connects them, and takes them apart again.

    Signals:
        closed: the window is closed.
    """

    closed = pyqtSignal()

    def __init__(self, settings_path: Path) -> None:
        super().__init__()
        self._settings_path = settings_path
        settings, problem = load(settings_path)
        self._recent = settings.recent
        self._kept_network = settings.network
        self._first_picture_s: float | None = None
        self._figures: dict[str, Any] = {}
        self.background = Background()
        self.overlays = OverlayModel(settings.overlays)
        self.network = NetworkSwitch(self.background, settings.thresholds)
        self.player = Player(self.background, self.network, settings.overlays)
        self.keeping = Keeping(self.background, Path(settings.folder) if settings.folder else default_folder())
        self.gap = LoopGap()
        self.window = MainWindow(self.overlays, list(load_registry()))
        self.commands = Commands(self.window, self.background, self.player, self.network, self.overlays, self.keeping)
        self.feedback = Feedback(self.window, self.player, self.network, self.overlays, self.keeping)
        self.window.commands["figures"].triggered.connect(self._keep_figures)
        self._apply(settings)
        self.player.opened.connect(self._remember)
        self.player.shown.connect(self._note_picture)
        self.network.failed.connect(self._try_default)
        self.network.ready.connect(self._find_plan)
        self.window.plan_bar.built.connect(lambda: self.network.choose(self.network.choice))
        self.window.plan_bar.failed.connect(self._tell_plan)
        self.window.closing.connect(self._close)
        if problem:
            self.window.message.show_message("warning", problem)

    def start(self, source: str | None) -> None:
        """Show the window, load the network, and open `source`; without one a camera, or else the sample clip."""
        self.window.show()
        self.network.choose(self._kept_network)
        if source is None:
            self.commands.open_camera_or(str(SAMPLE))
        else:
            self.commands.open(source)
            self.commands.list_cameras()

    def write_figures(self, path: Path) -> None:
        """Write the figures of the last source and of the window as JSON. Raises UserError."""
        write_json(path, self._figures)

    def finish(self) -> bool:
        """Wait for what may take longer than a window should stay; whether nothing is left that still works."""
        recorded = self.keeping.close()
        ended = self.background.close(CLOSE_S)
        if ended:
            self.network.close()
        return ended and recorded

    def _apply(self, settings: Settings) -> None:
        window, actions = self.window, self.window.commands
        actions["theme"].setChecked(settings.theme == LIGHT.name)
        self.commands.change_theme(settings.theme == LIGHT.name)
        for name, panel in (("controls", window.controls), ("monitor", window.statistics)):
            panel.setVisible(getattr(settings, name))
            actions[name].setChecked(getattr(settings, name))
        window.restore_places(settings.places)
        window.source_bar.show_recent(settings.recent)
        window.thresholds.show_values(settings.thresholds, settings.overlays.keypoint_threshold)
        window.network_panel.show_choice(settings.network)
        self.player.set_loop(settings.loop)
        self.commands.set_thresholds(settings.thresholds)

    def _try_default(self) -> None:
        """The settings may name a network that is not there any more: the window must work all the same."""
        if not self.network.loaded and self.network.wanted != NetworkChoice():
            self.network.choose(NetworkChoice())

    def _find_plan(self) -> None:
        """Where TensorRT would be faster but has no plan yet: build it while the picture goes on."""
        choice, bar = self.network.choice, self.window.plan_bar
        bar.stop()

        def found(build: Callable[[Progress], None] | None) -> None:
            if build is not None and choice == self.network.choice:
                bar.begin(build)

        self.background.run("plan", lambda: find_build(choice), found, self._tell_plan)

    def _tell_plan(self, error: Exception) -> None:
        self.window.message.show_message("warning", self.tr("TensorRT cannot be used: {}").format(error))

    def _keep_figures(self) -> None:
        session = self.player.session
        figures = list(self.feedback.history) or ([] if session is None else [session.statistics.snapshot()])
        if figures:
            self.keeping.keep_figures(figures)
        else:
            self.commands.say_nothing_yet()

    def _remember(self, address: str) -> None:
        path = Path(address)
        self._recent = with_recent(self._recent, str(path.absolute()) if path.exists() else address)
        self.window.source_bar.show_recent(self._recent)

    def _note_picture(self, _rendered: Rendered) -> None:
        if self._first_picture_s is None:
            self._first_picture_s = time.time() - psutil.Process().create_time()
            self.gap.start()

    def _close(self) -> None:
        self._figures = self._measured()
        self.gap.stop()
        self.feedback.stop()
        try:
            save(self._kept_settings(), self._settings_path)
        except OSError as error:
            logger.warning("%s: the settings cannot be kept: %s", self._settings_path, error.strerror)
        self.keeping.stop()
        self.window.plan_bar.stop()
        self.player.close()
        self.closed.emit()

    def _kept_settings(self) -> Settings:
        actions = self.window.commands
        return Settings(
            theme=LIGHT.name if actions["theme"].isChecked() else DARK.name,
            folder=str(self.keeping.folder),
            recent=self._recent,
            loop=self.player.state.loop,
            controls=actions["controls"].isChecked(),
            monitor=actions["monitor"].isChecked(),
            places=self.window.places(),
            network=self.network.choice if self.network.loaded else self.network.wanted,
            thresholds=self.commands.thresholds,
            overlays=self.overlays.style,
        )

    def _measured(self) -> dict[str, Any]:
        session = self.player.session
        return {
            "source": self.player.state.address,
            "live": self.player.state.live,
            "network": self.network.text,
            "first_picture_s": self._first_picture_s,
            "longest_gap_ms": self.gap.longest_ms,
            **(session.statistics.summary().record() if session is not None else {}),
        }
