"""One source on its way through one pipeline, and the picture that is held while it is paused. No Qt."""

import time
from collections.abc import Callable
from pathlib import Path

from engine.structures import ByteArray, Heads, Instances
from pipeline.frames import FrameResult, Rendered
from pipeline.playback import Playback
from pipeline.runner import Pipeline
from pipeline.sources import LiveSource, open_source
from pipeline.statistics import Statistics
from pipeline.tracking import Tracker


def open_for_window(uri: str) -> Playback | LiveSource:
    """The source behind `uri`, recordings with what plays them in time; takes a moment. Raises UserError."""
    source = open_source(str(Path(uri).expanduser()) if uri.startswith("~") else uri)
    return source if isinstance(source, LiveSource) else Playback(source, hold_at_end=True)


class Session:
    """Starts when it is made. Used by the GUI's thread, which never waits for it; only `close` takes its time.

    A paused picture stays as it is: what is under way in the pipeline is shown only when the user steps on. After a
    seek it is thrown away.

    Attributes:
        held: whether the picture is paused.
    """

    def __init__(
        self,
        source: Playback | LiveSource,
        infer: Callable[[ByteArray], Heads],
        decode: Callable[[Heads], Instances],
        render: Callable[[FrameResult], ByteArray],
    ) -> None:
        self.source = source
        self.pipeline = Pipeline(source, infer, decode, render, keep_heads=True, track=Tracker().update)
        self.pipeline.__enter__()
        self.statistics = Statistics(self.pipeline)
        self.held = False
        self._awaited = 0  # frames that may be shown although the picture is held
        self._drained = False  # nothing old is under way: whatever comes although it is held was asked for
        self._first_index = 0  # frames with a lower one are from before a seek
        self._sought_s: float | None = None  # where a seek went to, until its frame is there
        self._not_before_s = 0.0  # frames captured earlier are older than the user's wish to step

    @property
    def playback(self) -> Playback | None:
        """The source, if it is a recording."""
        return self.source if isinstance(self.source, Playback) else None

    @property
    def at_end(self) -> bool:
        """Whether nothing more comes unless the user does something about it."""
        return self.pipeline.finished or (self.playback is not None and self.playback.at_end)

    def poll(self) -> Rendered | None:
        """The next picture to show, or None. Raises the pipeline's first error."""
        while not self.held or self._awaited or self._drained:
            rendered = self.pipeline.poll()
            if rendered is None:
                return None
            frame = rendered.result.frame
            if frame.index >= self._first_index and frame.t_capture_s >= self._not_before_s:
                self._awaited = max(0, self._awaited - 1)
                self._sought_s = None
                self.statistics.shown(frame)
                return rendered
        return None

    def pause(self) -> None:
        """Hold the picture."""
        self.held, self._awaited, self._drained = True, 0, False
        self.pipeline.pause()
        if self._sought_s is not None:  # the picture to hold is the one that was sought, not the one before
            self.seek(self._sought_s)

    def resume(self) -> None:
        """Let it go on; from the beginning if it stands at the end."""
        self.held = False
        self.pipeline.resume()

    def step(self) -> None:
        """Show the next frame of a held picture."""
        if self.source.live:
            self._not_before_s = time.perf_counter()
        self._awaited += 1
        self.pipeline.step()

    def seek(self, seconds: float) -> None:
        """Go on with the frame that a recording shows at this time; a held picture stays held, there."""
        if self.playback is not None:
            self._drained = True
            self._sought_s = seconds
            self._first_index = self.playback.seek(seconds)

    def stop(self) -> None:
        """End it soon; returns at once."""
        self.source.stop()
        self.pipeline.stop()

    def close(self) -> None:
        """Stop it and wait until its threads have ended."""
        self.stop()
        self.pipeline.__exit__(None, None, None)
