"""What the workers of `batch` do with a clip: the same as `run`, or a slice of it, or put slices together."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from app.batching.jobs import Done, Job, Tell
from app.batching.slices import join
from app.clip_run import process_clip
from app.run_settings import RunSettings
from engine.errors import UserError
from engine.estimator import Estimator
from pipeline.excerpt import Excerpt
from pipeline.sources import FileSource, open_source
from pipeline.stamps import times_go_back


@contextlib.contextmanager
def open_clip_work(settings: dict[str, Any]) -> Iterator["ClipWork"]:
    """Load the network that `settings["run"]`, a `RunSettings.record()`, asks for. Raises UserError."""
    run_settings = RunSettings.from_record(settings["run"])
    with run_settings.open_estimator() as estimator:
        yield ClipWork(run_settings, estimator)


class ClipWork:
    """Does jobs with one network."""

    def __init__(self, settings: RunSettings, estimator: Estimator) -> None:
        self._settings = settings
        self._estimator = estimator

    def do(self, job: Job, tell: Tell) -> Done:
        """See `Work.do`."""
        base = Path(job.folder) / job.name
        if job.kind == "plan":
            return _plan(job.source, tell)
        if job.kind == "join":
            if not job.parts:  # nothing that is put together was wanted
                return Done()
            target = base.with_name(f"{base.name}.ndjson")
            return Done((target.name,), join([Path(part) for part in job.parts], target, tell))
        settings = self._settings
        if job.kind == "part":
            settings = dataclasses.replace(settings, start_s=job.begin_s or 0.0, end_s=job.end_s)
        alive = _Alive(tell)
        try:
            report = process_clip(job.source, base, settings, self._estimator, alive.progress, passed=alive.passed)
        except UserError:
            if job.kind == "part" and _is_empty(job.source, settings, alive.passed):
                return Done()
            raise
        return Done(tuple(path.name for path in report.files), report.frames, warnings=report.warnings)


class _Alive:
    """Tells that work goes on also while frames are read that nobody wants."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._last: tuple[int, int | None] = (0, None)

    def progress(self, frames: int, total: int | None) -> None:
        self._last = (frames, total)
        self._tell(frames, total)

    def passed(self) -> None:
        self._tell(*self._last)


def _plan(source: str, tell: Tell) -> Done:
    """How long a clip plays, where that can be used to cut it; else it is done in one slice."""
    opened = open_source(source)
    if not isinstance(opened, FileSource):
        raise UserError(f"{source}: only clips can be cut into slices")
    duration_s, fps = opened.duration_s, opened.info.fps
    if duration_s is not None and fps is not None and duration_s * fps > Path(source).stat().st_size:
        return Done()  # no frame takes less than a byte: the header is wrong
    if times_go_back(Path(source), lambda: tell(0, None)):
        return Done(warnings=(f"{source}: its times begin again on the way, so it is done in one slice",))
    return Done(duration_s=duration_s)


def _is_empty(source: str, settings: RunSettings, passed: Callable[[], None]) -> bool:
    """Whether a slice holds no frame: there may be gaps, and headers that promise too much."""
    opened = open_source(source)
    if not isinstance(opened, FileSource):
        return False
    with Excerpt(opened, settings.cut, passed) as part:
        return next(iter(part), None) is None
