"""The pipeline: capture, infer, decode and render, each in its own thread, joined by channels.

    source -> [capture] -> C -> [infer] -> C -> [decode] -> C -> [render] -> C -> reader

Loss is decided once: with a live source every channel keeps the newest item only, with a recording every channel
waits and nothing is lost. Errors surface in whoever reads; leaving the `with` block ends and joins every thread.
"""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar

from engine.structures import ByteArray, Heads, Instances
from pipeline.channel import Channel, Closed
from pipeline.durations import Durations
from pipeline.frames import Frame, FrameResult, IntArray, Rendered
from pipeline.gate import Gate, Pausable
from pipeline.lookahead import Network, pump_ahead
from pipeline.priority import let_the_network_go_first
from pipeline.source_base import Source

STAGES: Final = ("capture", "infer", "decode", "render")
TAKERS: Final = (*STAGES[1:], "reader")  # each takes from a channel of its own
JOIN_TIMEOUT_S: Final = 10.0  # a stage ends after the step it is in; the slowest step is one inference on a small CPU

Argument = TypeVar("Argument")
Value = TypeVar("Value")
Track = Callable[[Instances, float], IntArray]
Smooth = Callable[[Instances, IntArray, float], Instances]
logger = logging.getLogger(__name__)


class _Captured(NamedTuple):
    frame: Frame
    stage_ms: dict[str, float]


class _Inferred(NamedTuple):
    frame: Frame
    heads: Heads
    stage_ms: dict[str, float]


class Pipeline:
    """Runs a source through the network and the decoder: `with Pipeline(...) as p: for rendered in p: ...`.

    A pipeline runs once. One thread reads it, by iterating (waits, for files) or by `poll` (never waits, for a GUI).

    Attributes, which may all be set while it runs and hold from the next frame on:
        keep_heads: whether results carry the network's outputs.
        render: a result to its canvas, uint8 (H, W, 3).
        track: who the people of the next frame, taken at that second, are: `pipeline.tracking.Tracker().update`.
        smooth: their keypoints without jitter, by id and second: `pipeline.smoothing.Smoother().update`. Needs `track`.
        tap: called with every rendered frame, in the render thread: must be quick, and must not touch a window.
    """

    def __init__(
        self,
        source: Source,
        infer: Callable[[ByteArray], Heads] | Network,
        decode: Callable[[Heads], Instances],
        render: Callable[[FrameResult], ByteArray] | None = None,
        keep_heads: bool = False,
        track: Track | None = None,
        smooth: Smooth | None = None,
    ) -> None:
        """Nothing starts before the `with` block is entered.

        Args:
            source: entered, iterated and left by the capture thread.
            infer: uint8 (H, W, 3) BGR, read-only, to heads; called in one thread only. Of a recording also an
                estimator itself, which then works on several pictures at a time: the first one comes a little later.
            decode: heads to instances in source pixels; called in one thread only.
            render: see the class. None: the canvas is the frame's own image.
            keep_heads, track, smooth: see the class; the latter two are called in the decode thread, as its work.
        """
        self.keep_heads = keep_heads
        self.render: Callable[[FrameResult], ByteArray] = render if render is not None else _plain_image
        self.track = track
        self.smooth = smooth
        self.tap: Callable[[Rendered], None] | None = None
        self._source = source
        self._gate = Gate()
        self._infer = infer
        self._decode = decode
        self._captured: Channel[_Captured] = Channel(1, source.live)
        self._inferred: Channel[_Inferred] = Channel(1, source.live)
        self._decoded: Channel[FrameResult] = Channel(1, source.live)
        self._rendered: Channel[Rendered] = Channel(1, source.live)
        self._clocks = {stage: Durations() for stage in STAGES}
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._error_was_read = False
        self._finished = False

    @property
    def finished(self) -> bool:
        """Whether the reader has been told that nothing more comes; lets a GUI stop its timer after `poll`."""
        return self._finished

    @property
    def dropped(self) -> dict[str, int]:
        """Frames replaced in front of each taker: infer, decode, render, reader; always 0 unless the source is live."""
        return {taker: channel.dropped for taker, channel in self._channels().items()}

    @property
    def waited_s(self) -> dict[str, float]:
        """Seconds that finished work waited in front of each taker, as in `dropped`; always 0 if the source is live."""
        return {taker: channel.waited_s for taker, channel in self._channels().items()}

    @property
    def durations(self) -> dict[str, Durations]:
        """How long each stage worked on its last frames; capture's time includes waiting for the source."""
        return dict(self._clocks)

    def pause(self) -> None:
        """Hold the picture. A live source is still read, but its frames go nowhere.

        Raises:
            TypeError: the source is a recording that cannot wait by itself (see `pipeline.playback`).
        """
        self._pausable().pause()

    def resume(self) -> None:
        """Let the picture go on after `pause`."""
        self._pausable().resume()

    def step(self) -> None:
        """While paused, show one more frame."""
        self._pausable().step()

    def _pausable(self) -> Pausable:
        if isinstance(self._source, Pausable):
            return self._source
        if self._source.live:
            return self._gate
        raise TypeError("this recording cannot wait by itself: read it through pipeline.playback")

    def _channels(self) -> dict[str, Channel[Any]]:
        channels = (self._captured, self._inferred, self._decoded, self._rendered)
        return dict(zip(TAKERS, channels, strict=True))

    def __enter__(self) -> Self:
        if self._threads:
            raise RuntimeError("a pipeline runs once: make a new one")
        for stage, body, close in (
            ("capture", self._run_capture, self._captured.close),
            ("infer", self._run_infer, self._inferred.close),
            ("decode", lambda: _pump(self._inferred, self._step_decode, self._decoded), self._decoded.close),
            ("render", lambda: _pump(self._decoded, self._step_render, self._rendered), self._rendered.close),
        ):
            # A live picture should be shown before the network does the next one.
            arguments = (body, close, stage != "infer" and not self._source.live)
            daemon = stage == "capture"  # a camera driver can block inside a read for good, and the program must end
            self._threads.append(threading.Thread(None, self._guard, f"pipeline-{stage}", arguments, daemon=daemon))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        deadline_s = time.perf_counter() + JOIN_TIMEOUT_S
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.perf_counter()))
        stuck = [thread.name for thread in self._threads if thread.is_alive()]
        if stuck:
            logger.error("still running %.0f s after the stop: %s", JOIN_TIMEOUT_S, ", ".join(stuck))
        if self._error is not None and not self._error_was_read:
            logger.error("the pipeline failed and nobody read the error", exc_info=self._error)

    def stop(self) -> None:
        """End all stages after the step they are in, discarding what is under way. Returns at once; idempotent."""
        self._captured.abort()
        self._inferred.abort()
        self._decoded.abort()
        self._rendered.abort()
        self._source.stop()

    def __iter__(self) -> Iterator[Rendered]:
        return self

    def __next__(self) -> Rendered:
        """The next picture in order, waiting for it. Raises the first error of any stage."""
        self._check_started()
        try:
            return self._rendered.get()
        except Closed:
            self._end()
        raise StopIteration

    def poll(self, wait_s: float = 0.0) -> Rendered | None:
        """A picture that has not been read yet (the newest one of a live source), or None if none comes in `wait_s`.

        None also when the end was reached: see `finished`. Raises the first error of any stage.
        """
        self._check_started()
        try:
            return self._rendered.poll(wait_s)
        except Closed:
            self._end()
        return None

    def _check_started(self) -> None:
        if not self._threads:
            raise RuntimeError("enter the pipeline with `with` before reading it")

    def _end(self) -> None:
        self._finished = True
        if self._error is not None:
            self._error_was_read = True
            raise self._error

    def _guard(self, body: Callable[[], None], close_out: Callable[[], None], yields: bool) -> None:
        """A stage's thread: `Closed` is a normal end, any other exception stops everything and waits for the reader."""
        if yields:
            let_the_network_go_first()
        try:
            body()
        except Closed:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again in the reader; even SystemExit must not be lost
            with self._lock:
                self._error = self._error or error
            self.stop()
        finally:
            close_out()

    def _run_capture(self) -> None:
        with self._source as source:
            frames = iter(source)
            while not self._captured.ended:  # a stop that came before the source was entered has not reached it
                begin_s = time.perf_counter()
                frame = next(frames, None)
                if frame is None:
                    return
                capture_ms = self._note("capture", begin_s)
                if self._gate.passes():
                    self._captured.put(_Captured(frame, {"capture": capture_ms}))

    def _run_infer(self) -> None:
        infer = self._infer
        if isinstance(infer, Network):
            pump_ahead(self._captured, lambda item: item.frame.image, infer, self._note_ahead, self._inferred)
        else:
            _pump(self._captured, lambda item: self._step_infer(infer, item), self._inferred)

    def _step_infer(self, infer: Callable[[ByteArray], Heads], item: _Captured) -> _Inferred:
        heads, infer_ms = self._timed("infer", infer, item.frame.image)
        return _Inferred(item.frame, heads, {**item.stage_ms, "infer": infer_ms})

    def _note_ahead(self, item: _Captured, heads: Heads, seconds: float) -> _Inferred:
        self._clocks["infer"].add(time.perf_counter(), seconds)
        return _Inferred(item.frame, heads, {**item.stage_ms, "infer": seconds * 1e3})

    def _step_decode(self, item: _Inferred) -> FrameResult:
        (instances, identities), decode_ms = self._timed("decode", self._people, item)
        heads = item.heads if self.keep_heads else None
        return FrameResult(item.frame, instances, heads, {**item.stage_ms, "decode": decode_ms}, identities)

    def _people(self, item: _Inferred) -> tuple[Instances, IntArray | None]:
        instances, track, smooth = self._decode(item.heads), self.track, self.smooth
        if track is None:
            return instances, None
        identities = track(instances, item.frame.time_s)
        if smooth is not None:
            instances = smooth(instances, identities, item.frame.time_s)
        return instances, identities

    def _step_render(self, result: FrameResult) -> Rendered:
        canvas, render_ms = self._timed("render", self.render, result)
        rendered = Rendered(dataclasses.replace(result, stage_ms={**result.stage_ms, "render": render_ms}), canvas)
        if (tap := self.tap) is not None:
            tap(rendered)
        return rendered

    def _timed(self, stage: str, function: Callable[[Argument], Value], argument: Argument) -> tuple[Value, float]:
        begin_s = time.perf_counter()
        value = function(argument)
        return value, self._note(stage, begin_s)

    def _note(self, stage: str, begin_s: float) -> float:
        """Add a step that ends now; returns its milliseconds."""
        end_s = time.perf_counter()
        self._clocks[stage].add(end_s, end_s - begin_s)
        return (end_s - begin_s) * 1e3


def _pump(inp: Channel[Argument], step: Callable[[Argument], Value], out: Channel[Value]) -> None:
    while True:
        out.put(step(inp.get()))


def _plain_image(result: FrameResult) -> ByteArray:
    return result.frame.image
