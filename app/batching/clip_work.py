"""What the workers of `batch` do with a clip: the same as `run`, or a slice of it, or put slices together."""

import contextlib
import dataclasses
from collections.abc import Iterator
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
            return Done(duration_s=_duration_s(job.source))
        if job.kind == "join":
            target = base.with_name(f"{base.name}.ndjson")
            return Done((target.name,), join([Path(part) for part in job.parts], target))
        settings = self._settings
        if job.kind == "part":
            settings = dataclasses.replace(settings, start_s=job.begin_s or 0.0, end_s=job.end_s)
        try:
            report = process_clip(job.source, base, settings, self._estimator, tell)
        except UserError:
            if job.kind == "part" and _is_empty(job.source, settings):
                return Done()
            raise
        return Done(tuple(path.name for path in report.files), report.frames, warnings=report.warnings)


def _duration_s(source: str) -> float | None:
    opened = open_source(source)
    if not isinstance(opened, FileSource):
        raise UserError(f"{source}: only clips can be cut into slices")
    return opened.duration_s


def _is_empty(source: str, settings: RunSettings) -> bool:
    """Whether a slice holds no frame: there may be gaps, and headers that promise too much."""
    opened = open_source(source)
    if not isinstance(opened, FileSource):
        return False
    with Excerpt(opened, settings.cut) as part:
        return next(iter(part), None) is None
