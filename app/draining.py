"""A pipeline's pictures into the files of a run, and what goes by on the way."""

import contextlib
import time
from collections.abc import Callable, Sequence

from pipeline.durations import Durations
from pipeline.frames import Rendered
from pipeline.runner import Pipeline
from pipeline.sinks import FileSink, VideoWriter
from pipeline.statistics import StageFigures, Statistics


class Draining:
    """Reads a pipeline to its end, once.

    Attributes:
        frames: how many there were.
        people: most of them in one frame.
        identities: the ids of all who were followed.
        begin_s, end_s: times of the first and the last frame in the recording.
        stages: in the end, the figures of each stage; behind those of the pipeline "write", which does not count its
            waiting for the encoder, and "encode" where there is a video.
        bottleneck: in the end, which of them the others waited for; "" if that is not known.
    """

    def __init__(self, pipeline: Pipeline, sinks: Sequence[FileSink]) -> None:
        """Nothing starts before `drain`."""
        self.frames = self.people = 0
        self.identities: set[int] = set()
        self.begin_s = self.end_s = 0.0
        self.stages: dict[str, StageFigures] = {}
        self.bottleneck = ""
        self._pipeline = pipeline
        self._sinks = sinks
        self._video = next((sink for sink in sinks if isinstance(sink, VideoWriter)), None)
        self._statistics = Statistics(pipeline)
        self._writing = Durations()

    def drain(self, told: Callable[[int], None], stopped: Callable[[], bool]) -> bool:
        """Run to the end, and True; or until `stopped`: then False, and the sinks keep what they have as partial.

        Args:
            told: called after each frame with how many there were.
            stopped: asked after each frame.
        """
        with contextlib.suppress(_StoppedError), contextlib.ExitStack() as stack:
            for sink in self._sinks:
                stack.enter_context(sink)
            stack.enter_context(self._pipeline)
            stack.callback(self._end)  # before the threads are joined: the rates must not suffer from that
            for rendered in self._pipeline:
                self._write(rendered)
                self._count(rendered)
                told(self.frames)
                if stopped():
                    raise _StoppedError
            return True
        return False

    def _write(self, rendered: Rendered) -> None:
        begin_s, waited_s = time.perf_counter(), self._waited_s()
        for sink in self._sinks:
            sink.write(rendered)
        end_s = time.perf_counter()
        self._writing.add(end_s, end_s - begin_s - (self._waited_s() - waited_s))

    def _waited_s(self) -> float:
        return 0.0 if self._video is None else self._video.waited_s

    def _count(self, rendered: Rendered) -> None:
        result = rendered.result
        self._statistics.shown(result.frame)
        self.end_s = result.frame.t_media_s or 0.0
        if not self.frames:
            self.begin_s = self.end_s
        self.frames += 1
        self.people = max(self.people, len(result.instances))
        if result.identities is not None:
            self.identities.update(result.identities.tolist())

    def _end(self) -> None:
        summary, now_s = self._statistics.summary(), time.perf_counter()
        writing = {"write": self._writing}
        if self._video is not None:
            writing["encode"] = self._video.durations
        begin_s = now_s - summary.seconds
        figures = {name: StageFigures.of(durations, begin_s, now_s) for name, durations in writing.items()}
        self.stages = {**summary.stages, **figures}
        self.bottleneck = summary.bottleneck
        if summary.bottleneck == "reader":
            self.bottleneck = max(figures, key=lambda name: figures[name].busy)


class _StoppedError(Exception):
    """Ends the sinks' blocks as an error does."""
