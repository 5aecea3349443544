"""Live sources: a camera that comes, stalls, goes and comes back, behind the face of any other source.

    connecting ──► playing ◄──► stalled ──► reconnecting ──► playing ...        ended: stopped, or all frames delivered

A driver can block inside a read for good, and nothing can end that from outside. So each connection is read by a
thread of its own that is left behind when it hangs: it closes the connection itself should its read ever return.
"""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, NamedTuple, Protocol, Self

from engine.errors import UserError
from engine.structures import ByteArray
from pipeline.frames import Frame
from pipeline.source_base import SourceInfo

MOST_READERS: Final = 3  # that hang at the same time; else they would become ever more
LEAVE_S: Final = 0.5  # how long leaving waits for a reader: more than one frame, but nobody notices
logger = logging.getLogger(__name__)

Phase = Literal["connecting", "playing", "stalled", "reconnecting", "ended"]


@dataclass(frozen=True, slots=True)
class SourceState:
    """How a live source is doing; replaced as a whole, never changed.

    Attributes:
        phase: stalled: connected, but no picture comes.
        message: one line for a banner, without anything secret; "" while all is well.
        attempt: connections that failed since the last picture.
    """

    phase: Phase
    message: str = ""
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long what may take, all in seconds.

    Attributes:
        connect_s: until a connection stands.
        first_picture_s: from there to its first picture; a stream may have to wait for its next key frame.
        stall_s: without a picture until that is shown to the user.
        give_up_s: without a picture until the connection is given up for a new one.
        first_pause_s: before the first new attempt; twice as long before each further one.
        longest_pause_s: but never longer than this.
    """

    connect_s: float = 3.0
    first_picture_s: float = 10.0
    stall_s: float = 2.0
    give_up_s: float = 4.0
    first_pause_s: float = 0.5
    longest_pause_s: float = 3.0

    def limit_s(self, connected: bool, seen: bool) -> float:
        """How long nothing may come, given whether the connection stands and has brought a picture."""
        if not connected:
            return self.connect_s
        return self.give_up_s if seen else self.first_picture_s

    def pause_s(self, attempt: int) -> float:
        """How long to wait after the attempt of this number, from 1, has failed."""
        return min(self.longest_pause_s, self.first_pause_s * 2.0 ** min(attempt - 1, 30))


class Lost(Exception):  # noqa: N818 - what cameras do, not an error of the program
    """There is no connection, or none any more; the text says why. Worth another attempt, unlike a UserError."""


class Grab(NamedTuple):
    """A picture, uint8 (H, W, 3) BGR that nobody writes to any more, and time.perf_counter() when it came in."""

    image: ByteArray
    t_capture_s: float


class Connection(Protocol):
    """A camera that was connected to; read and closed in the thread that opened it."""

    @property
    def fps(self) -> float | None:
        """The rate it claims, or None."""
        ...

    def read(self) -> Grab:
        """The next picture, waiting for it. Raises Lost."""
        ...

    def close(self) -> None: ...


class LiveSource:
    """Frames of a camera: the newest one each time, over as many connections as it takes.

    Once a picture has been seen, iteration ends only when the source is stopped. Until then it raises UserError for
    what no further attempt can mend, such as a wrong password.
    """

    live: Literal[True] = True

    def __init__(
        self,
        name: str,
        connect: Callable[[], Connection],
        patience: Patience,
        max_frames: int | None = None,
    ) -> None:
        """Connects to nothing yet.

        Args:
            name: for people; stands in front of all messages.
            connect: opens a connection, in a thread of its own; raises Lost, or UserError if that is for good.
            patience: how long what may take.
            max_frames: deliver at most so many frames.
        """
        self.info = SourceInfo(name, 0, 0, None, max_frames)
        self.warnings: list[str] = []
        self._connect = connect
        self._patience = patience
        self._max_frames = max_frames
        self._stopped = threading.Event()
        self._readers: list[_Reader] = []  # the last one, and those before it that still hang
        self._losses = 0
        self._state = SourceState("connecting", f"{name}: connecting")

    @property
    def state(self) -> SourceState:
        """How it is doing; any thread, at any time."""
        return self._state

    def stop(self) -> None:
        self._stopped.set()
        for reader in list(self._readers):
            reader.leave()

    def __enter__(self) -> Self:
        self.warnings.clear()
        self._losses = 0
        self._stopped.clear()
        self._set_state(SourceState("connecting", f"{self.info.name}: connecting"))
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end_reader()
        self._set_state(SourceState("ended"))
        if self._losses:
            self.warnings.append(f"{self.info.name}: connections lost on the way: {self._losses}")

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while not self._stopped.is_set():
            try:
                for grab in self._grabs():
                    yield Frame.of(grab.image, index, grab.t_capture_s, t_media_s=None)
                    index += 1
                    if index == self._max_frames:
                        return
            except Lost as lost:
                self._note_loss(f"{self.info.name}: {lost}; trying again", had_pictures=index > 0)
            except UserError as error:
                if not index:
                    raise
                self._note_loss(f"{error}; trying again", had_pictures=True)
            if not self._stopped.is_set():  # else leaving does it
                self._end_reader()
                self._stopped.wait(self._patience.pause_s(self._state.attempt))

    def _grabs(self) -> Iterator[Grab]:
        """The pictures of one connection, until the source is stopped. Raises Lost or UserError."""
        if len(self._readers) >= MOST_READERS:
            raise Lost("the attempts so far still hang")
        reader = _Reader(self._connect)
        self._readers.append(reader)
        stall_s = self._patience.stall_s
        connected = seen = False
        since_s = time.perf_counter()
        while not self._stopped.is_set():
            limit_s = self._patience.limit_s(connected, seen)
            quiet_s = time.perf_counter() - since_s
            if quiet_s >= limit_s:
                raise Lost(f"no {'picture' if connected else 'answer'} for {limit_s:g} s")
            if quiet_s >= stall_s:
                self._note_stall(connected)
            grab = reader.take((limit_s if quiet_s >= stall_s else min(stall_s, limit_s)) - quiet_s)
            if grab is not None:
                seen = True
                self._note_picture(grab, reader)
                yield grab
            elif connected or not reader.connected:
                continue
            connected = True
            since_s = time.perf_counter()

    def _end_reader(self) -> None:
        """Leave the last connection, and forget those that have ended since."""
        if self._readers:
            self._readers[-1].leave()
            self._readers[-1].join(LEAVE_S)
        self._readers = [reader for reader in self._readers if reader.is_alive()]

    def _note_picture(self, grab: Grab, reader: "_Reader") -> None:
        self._set_state(SourceState("playing"))
        height, width = grab.image.shape[:2]
        if (self.info.width, self.info.height, self.info.fps) != (width, height, reader.fps):
            self.info = dataclasses.replace(self.info, width=width, height=height, fps=reader.fps)

    def _note_stall(self, connected: bool) -> None:
        phase: Phase = "stalled" if connected else self._state.phase
        what = "the connection stands, but no picture comes" if connected else "no answer yet"
        self._set_state(SourceState(phase, f"{self.info.name}: {what}", self._state.attempt))

    def _note_loss(self, message: str, had_pictures: bool) -> None:
        attempt = self._state.attempt + 1
        self._losses += had_pictures and attempt == 1
        self._set_state(SourceState("reconnecting", message, attempt))

    def _set_state(self, state: SourceState) -> None:
        if state != self._state:
            self._state = state
            logger.info("%s %s", state.phase, state.message)


class _Reader(threading.Thread):
    """Reads one connection and keeps its newest picture; can be left while it hangs."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        # A daemon: it must not keep the program alive while a driver hangs.
        super().__init__(name="camera-reader", daemon=True)
        self.connected = False
        self.fps: float | None = None
        self._connect = connect
        self._changed = threading.Condition()
        self._news = False  # something happened since the last `take`
        self._newest: Grab | None = None
        self._error: BaseException | None = None
        self._left = False
        self.start()

    def take(self, timeout_s: float) -> Grab | None:
        """The newest picture that was not taken yet; None after `timeout_s`, when the connection stands, and if left.

        Raises what ended the reading, once the last picture is taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._news or self._left, timeout_s)
            self._news = self._error is not None
            grab, self._newest = self._newest, None
            if grab is None and self._error is not None:
                raise self._error
            return grab

    def leave(self) -> None:
        """Nobody takes any more: close the connection as soon as the read under way returns."""
        with self._changed:
            self._left = True
            self._changed.notify_all()

    def run(self) -> None:
        """The thread."""
        try:
            connection = self._connect()
            try:
                self.fps = connection.fps
                self.connected = True
                self._tell(None)
                while not self._left:
                    self._tell(connection.read())
            finally:
                connection.close()
        except BaseException as error:  # noqa: BLE001 - raised again in whoever takes
            self._tell(None, error)

    def _tell(self, grab: Grab | None, error: BaseException | None = None) -> None:
        with self._changed:
            self._newest = grab if grab is not None else self._newest
            self._error = error
            self._news = True
            self._changed.notify_all()
