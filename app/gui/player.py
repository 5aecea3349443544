"""Between the pipeline and the widgets: commands come down as calls, pictures and states go up as signals.

The GUI's thread only polls and hands on. Whatever may take longer, opening a source or a network, closing a pipeline,
drawing a held picture again, happens in a thread of `Background`.
"""

import dataclasses
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from PyQt6.QtCore import QObject, Qt, QTimer, pyqtSignal

from app.gui.background import Background
from app.gui.network_switch import NetworkSwitch
from app.gui.redraw import Redrawer
from app.gui.session import Session, open_for_window
from engine.errors import UserError
from engine.structures import ByteArray
from pipeline.addresses import redacted
from pipeline.frames import FrameResult, Rendered
from pipeline.overlays import OverlayStyle
from pipeline.playback import Playback
from pipeline.render import draw
from pipeline.sources import LiveSource, SourceState
from pipeline.tracking import same_people

POLL_MS: Final = 10
JUST_BEFORE_S: Final = 1e-4  # less than any two frames are apart
FLOWING_S: Final = 0.5  # after this long without a new picture, the last one is drawn again when something is changed
logger = logging.getLogger(__name__)

Phase = Literal["empty", "opening", "playing", "paused", "ended"]


@dataclass(frozen=True, slots=True)
class PlayerState:
    """What the player does.

    Attributes:
        phase: "ended": the last picture is held and nothing more comes.
        address: of the source, without anything secret.
        live: whether it is a camera or stream.
        duration_s: of a recording that can be sought in, else None.
        loop, speed: of recordings.
    """

    phase: Phase = "empty"
    address: str = ""
    live: bool = False
    duration_s: float | None = None
    loop: bool = False
    speed: float = 1.0


class _Opened(NamedTuple):
    address: str
    source: Playback | LiveSource


class Player(QObject):
    """Owns the sessions, one after the other.

    Signals:
        shown: a `Rendered` to show.
        state_changed: the new `PlayerState`.
        source_changed: the new `SourceState` of a live source.
        opened: the address of a source that is shown from now on, without anything secret.
        leaving: the session is about to end.
        loading: a line about what is being opened, "" when it is done.
        failed: one line that says what went wrong.
        warned: one line about something that was done all the same.
    """

    shown = pyqtSignal(object)
    state_changed = pyqtSignal(object)
    source_changed = pyqtSignal(object)
    opened = pyqtSignal(str)
    leaving = pyqtSignal()
    loading = pyqtSignal(str)
    failed = pyqtSignal(str)
    warned = pyqtSignal(str)

    def __init__(self, background: Background, network: NetworkSwitch, style: OverlayStyle) -> None:
        super().__init__()
        self.session: Session | None = None
        self.state = PlayerState()
        self.last: Rendered | None = None  # what is shown
        self._followed: FrameResult | None = None  # as it came, with the ids of everybody found then
        self._background = background
        self._network = network
        self._style = style
        self._opened: _Opened | None = None  # what is shown, or will be when there is a network
        self._open_calls = 0  # of several wishes only the last one counts
        self._source_state: SourceState | None = None
        self._last_came_s = 0.0
        self._redrawer = Redrawer(background, self._drawn_again, self._show_again, self.fail)
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._tick)
        network.ready.connect(self._network_ready)

    def open(self, uri: str) -> None:
        """Show this source instead of the present one, which goes on until the new one is there."""
        self._open_calls += 1
        call = self._open_calls
        self.loading.emit(self.tr("Opening {}…").format(redacted(uri)))
        if self.state.phase == "empty":
            self._set_state(phase="opening")

        def done(source: Playback | LiveSource) -> None:
            if call == self._open_calls:
                self._opened = _Opened(redacted(uri), source)
                self._begin()

        def failed(error: Exception) -> None:
            if call == self._open_calls:
                self.loading.emit("")
                if self.state.phase == "opening":
                    self._set_state(phase="empty")
                self.fail(error, self.tr("Open something else with Ctrl+O, or drop it here."))

        self._background.run("open", lambda: open_for_window(uri), done, failed)

    def close(self) -> None:
        """End what is shown; returns at once. The threads are joined by closing the `Background`."""
        self._open_calls += 1
        self._opened = None
        self._leave(lambda: None)
        self._set_state(phase="empty")

    def play(self) -> None:
        """Go on; after the end, begin again."""
        if self.session is None or self.session.pipeline.finished:
            self._begin()
        else:
            self.session.resume()
            self._set_state(phase="playing")

    def pause(self) -> None:
        """Hold the picture."""
        if self.session is not None and self.state.phase == "playing":
            self.session.pause()
            self._set_state(phase="paused")

    def step(self) -> None:
        """Hold the picture and show the next one."""
        self.pause()
        if self.session is not None and self.state.phase == "paused":
            self.session.step()

    def step_back(self) -> None:
        """Hold the picture and show the one before it; recordings only."""
        position_s = self.position_s
        if self.session is not None and position_s is not None and self.state.duration_s is not None:
            self.session.pause()
            self._set_state(phase="paused")
            self.session.seek(position_s - JUST_BEFORE_S)

    def seek(self, seconds: float) -> None:
        """Go to this time of a recording."""
        if self.session is not None and self.state.duration_s is not None:
            self.session.seek(min(seconds, self.state.duration_s))

    @property
    def redrawing(self) -> bool:
        """Whether the held picture is being drawn again."""
        return self._redrawer.busy

    @property
    def position_s(self) -> float | None:
        """When the picture that is shown comes in its recording."""
        return None if self.last is None else self.last.result.frame.t_media_s

    def set_loop(self, loop: bool) -> None:
        """Whether recordings begin again at their end."""
        self._set_state(loop=loop)
        if self.session is not None and self.session.playback is not None:
            self.session.playback.loop = loop

    def set_speed(self, speed: float) -> None:
        """How many times faster than in life recordings play."""
        self._set_state(speed=speed)
        if self.session is not None and self.session.playback is not None:
            self.session.playback.speed = speed

    def set_style(self, style: OverlayStyle) -> None:
        """Draw like this from now on, the held picture too."""
        self._style = style
        self.redraw()

    def redraw(self, ask_network: bool = False) -> None:
        """Decode and draw the last picture again if it is held, or if no other has come for a while."""
        flowing = self.state.phase == "playing" and time.perf_counter() - self._last_came_s < FLOWING_S
        if self.last is not None and not flowing:
            self._redrawer.request(self.last, ask_network)

    def fail(self, error: Exception, advice: str = "") -> None:
        """Tell the user, and what to do; what is no `UserError` is a mistake of the program and is logged in full."""
        if isinstance(error, UserError):
            self.failed.emit(f"{error}. {advice}" if advice else str(error))
            return
        logger.error("an error in the program", exc_info=error)
        self.failed.emit(self.tr("An error in the program: {}. The terminal shows more.").format(repr(error)))

    def _begin(self) -> None:
        """Show what was opened once the session before has ended and there is a network."""
        if self._network.loaded and self._opened is not None:
            self._leave(self._begin_session)

    def _leave(self, then: Callable[[], None]) -> None:
        self._timer.stop()
        session, self.session = self.session, None
        if session is None:
            then()
            return
        self.leaving.emit()
        session.stop()
        self._background.run("close", session.close, lambda _: then(), self.fail)

    def _begin_session(self) -> None:
        if self._opened is None or self.session is not None:
            return
        address, source = self._opened
        session = self.session = Session(source, self._network.infer, self._network.decode, self._draw)
        playback = session.playback
        if playback is not None:
            playback.loop, playback.speed = self.state.loop, self.state.speed
        self._source_state = None
        duration_s = None if playback is None else playback.duration_s or None  # a picture's is 0
        self._set_state(phase="playing", address=address, live=source.live, duration_s=duration_s)
        self._timer.start()
        self.loading.emit("")
        self.opened.emit(address)

    def _tick(self) -> None:
        session = self.session
        if session is None:
            return
        try:
            rendered = session.poll()
        except Exception as error:  # noqa: BLE001 - whatever ended the pipeline, the window lives on
            self.fail(error, self.tr("Try again with Space, or open something else with Ctrl+O."))
            self._note_end(session)
            return
        if rendered is not None:
            self.last, self._last_came_s = rendered, time.perf_counter()
            self._followed = rendered.result
            if session.held:  # it may have been drawn before the latest toggle
                self._redrawer.request(rendered)
            else:
                self.shown.emit(rendered)
        if isinstance(session.source, LiveSource) and session.source.state != self._source_state:
            self._source_state = session.source.state
            self.source_changed.emit(self._source_state)
        if session.at_end != (self.state.phase == "ended") and not session.held:
            self._note_end(session)

    def _note_end(self, session: Session) -> None:
        """Nothing more comes, or, after a seek, something does again."""
        self._set_state(phase="ended" if session.at_end else "playing")
        if session.pipeline.finished:
            self._timer.stop()
        if session.at_end:
            for warning in session.source.warnings:
                self.warned.emit(warning)

    def _network_ready(self) -> None:
        if self.session is None:
            self._begin()
        else:
            self.redraw(ask_network=True)

    def _draw(self, result: FrameResult) -> ByteArray:
        return draw(result.frame.image, result.instances, self._style, result.heads, result.identities)

    def _drawn_again(self, before: Rendered, ask_network: bool) -> Rendered:
        """A picture decoded and drawn with what is chosen now; in a thread of the background."""
        result = before.result
        heads = self._network.infer(result.frame.image) if ask_network or result.heads is None else result.heads
        instances, identities = self._network.decode(heads), None
        known = self._followed
        if known is not None and known.identities is not None and known.frame is result.frame:
            identities = same_people(known.instances, known.identities, instances)
        result = dataclasses.replace(result, heads=heads, instances=instances, identities=identities)
        return Rendered(result, self._draw(result))

    def _show_again(self, after: Rendered) -> None:
        if self.last is not None and after.result.frame is self.last.result.frame:
            self.last = after
            self.shown.emit(after)

    def _set_state(self, **changes: Any) -> None:
        state = dataclasses.replace(self.state, **changes)
        if state != self.state:
            self.state = state
            self.state_changed.emit(state)
