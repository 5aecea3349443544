"""One recording's whole run: read, looked at, written. Prints nothing, so that every command can use it."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from app.draining import Draining
from app.run_settings import RunSettings
from engine.errors import UserError
from engine.estimator import Estimator
from engine.structures import ByteArray
from pipeline.addresses import redacted
from pipeline.excerpt import Excerpt
from pipeline.frames import FrameResult
from pipeline.presence import Presence
from pipeline.render import draw
from pipeline.runner import Pipeline
from pipeline.sinks import FileSink, NdjsonWriter, PictureWriter, VideoWriter
from pipeline.smoothing import Smoother
from pipeline.sources import FALLBACK_FPS, FileSource, ImageSource, RecordedSource, open_source
from pipeline.statistics import StageFigures
from pipeline.summary import SummaryPage, SummaryPicture
from pipeline.tables import CocoWriter, CsvWriter
from pipeline.tracking import Tracker

Place = tuple[int, int]  # device and number of a file on it
Status = Literal["done", "partial", "interrupted"]
_SUFFIXES: Final = {
    "ndjson": (".ndjson",),
    "coco": (".coco.json",),
    "csv": (".csv",),
    "summary": (".html", ".summary.png"),
}


@dataclass(frozen=True, slots=True)
class ClipReport:
    """How a run over one recording ended.

    Attributes:
        source: as it was given.
        status: "done"; "partial": all that can be read was done, and `warnings` say what is missing; "interrupted":
            somebody stopped it, and `files` are partial ones.
        clip: False for a single picture.
        frames: how many were done.
        people: most of them in one frame.
        identities: how many people were followed, None if they were not.
        begin_s, end_s: times of the first and the last frame in the recording.
        seconds: how long it took.
        warnings: one line each.
        files: what was written.
        stages: figures of each stage; behind those of the pipeline "write" and, of a video, "encode".
        bottleneck: which of them the others waited for.
    """

    source: str
    status: Status
    clip: bool
    frames: int
    people: int
    identities: int | None
    begin_s: float
    end_s: float
    seconds: float
    warnings: tuple[str, ...]
    files: tuple[Path, ...]
    stages: dict[str, StageFigures]
    bottleneck: str

    @property
    def fps(self) -> float:
        """Frames a second over all."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**dataclasses.asdict(self), "fps": round(self.fps, 3), "files": [str(path) for path in self.files]}


def process_clip(
    source: str,
    base: Path,
    settings: RunSettings,
    estimator: Estimator,
    progress: Callable[[int, int | None], None] = lambda done, expected: None,
    stopped: Callable[[], bool] = lambda: False,
    originals: Collection[Place] = (),
    passed: Callable[[], None] = lambda: None,
) -> ClipReport:
    """Process one recording in this thread (and the pipeline's) and write what the settings ask for.

    Args:
        source: path of a clip, a picture or a folder of pictures.
        base: path of the results without suffix; its folder exists. See `result_paths`.
        settings: what to do.
        estimator: what `settings.open_estimator()` gave; used by this call alone.
        progress: called after each frame with the frames done and expected; must be quick.
        stopped: asked after each frame; True ends the run.
        originals: files that no result may replace, see `places`.
        passed: called for each frame that is read but left out, in another thread: nothing else shows that it goes on.

    Raises:
        UserError: it cannot be read, holds no frame in the part wanted, or a result cannot be written. What was
            written until then stays in files called `partial`.
    """
    begin_s = time.perf_counter()
    recording = _open(source)
    clip = not isinstance(recording, ImageSource)
    part = Excerpt(recording, settings.cut, passed) if clip else recording
    sinks = _sinks(source, recording, part.info.fps or FALLBACK_FPS, base, settings)
    _keep(originals, sinks)
    if clip:  # else the first frame's start-up would spoil the figures; one picture is quicker without
        estimator.warmup((part.info.height, part.info.width))
    pipeline = _pipeline(part, estimator, settings, clip)
    run = Draining(pipeline, sinks)
    finished = run.drain(lambda done: progress(done, part.info.frame_count), stopped)
    if finished and not run.frames:
        raise UserError(f"{redacted(source)}: no frame lies in the part wanted{_length(recording)}")
    warnings = (*part.warnings, *(line for sink in sinks for line in sink.warnings))
    files = [path for sink in sinks for path in ((sink.path,) if finished else (sink.growing_path,))]
    return ClipReport(
        source=source,
        status=("partial" if warnings else "done") if finished else "interrupted",
        clip=clip,
        frames=run.frames,
        people=run.people,
        identities=len(run.identities) if settings.track and clip else None,
        begin_s=run.begin_s,
        end_s=run.end_s,
        seconds=time.perf_counter() - begin_s,
        warnings=warnings,
        files=tuple(path for path in files if path.exists()),
        stages=run.stages,
        bottleneck=run.bottleneck,
    )


def result_paths(base: Path, kind: str, picture: bool = False) -> tuple[Path, ...]:
    """The files of one of `SAVE_KINDS`: base.mp4 (base.png of a picture), base.ndjson and so on."""
    suffixes = _SUFFIXES.get(kind, (".png" if picture else ".mp4",))
    return tuple(base.with_name(base.name + suffix) for suffix in suffixes)


def all_there(base: Path, settings: RunSettings) -> bool:
    """Whether every result of a source is there, so that it has been done."""
    return any(
        all(os.path.exists(path) for kind in settings.save for path in result_paths(base, kind, picture))
        for picture in (False, True)
    )


def places(paths: Collection[str]) -> frozenset[Place]:
    """What tells files apart, whatever they are called; those that are not there are left out."""
    found = set()
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            status = Path(path).stat()
            found.add((status.st_dev, status.st_ino))
    return frozenset(found)


def _open(source: str) -> RecordedSource:
    recording = open_source(source)
    if recording.live:
        raise UserError(f"{redacted(source)}: run reads files; watch a camera or a stream with gui or monitor")
    return recording


def _sinks(source: str, recording: RecordedSource, fps: float, base: Path, settings: RunSettings) -> list[FileSink]:
    info, picture = recording.info, isinstance(recording, ImageSource)
    sinks: list[FileSink] = []
    for kind in settings.save:
        path, *others = result_paths(base, kind, picture)
        if kind == "video" and picture:
            sinks.append(PictureWriter(path))
        elif kind == "video":
            audio_of = Path(source) if isinstance(recording, FileSource) else None
            sinks.append(VideoWriter(path, dataclasses.replace(info, fps=fps), audio_of))
        elif kind == "ndjson":
            sinks.append(NdjsonWriter(path))
        elif kind == "coco":
            sinks.append(CocoWriter(path, info.name))
        elif kind == "csv":
            sinks.append(CsvWriter(path))
        elif kind == "summary":
            presence = Presence(info.sample_aspect, fps)
            links = [sink.path for sink in sinks]
            sinks += [SummaryPage(path, presence, info.name, links), SummaryPicture(others[0], presence, info.name)]
    return sinks


def _keep(originals: Collection[Place], sinks: list[FileSink]) -> None:
    """Raise UserError if a result, or its name while it grows, would replace one of the sources."""
    for path in (path for sink in sinks for path in (sink.path, sink.growing_path)):
        if places([str(path)]).intersection(originals):
            raise UserError(f"{path}: the result would replace this source; choose another --out")


def _pipeline(part: RecordedSource | Excerpt, estimator: Estimator, settings: RunSettings, clip: bool) -> Pipeline:
    style = settings.style

    def render(result: FrameResult) -> ByteArray:
        ids = None if result.identities is None else result.identities.tolist()
        return draw(result.frame.image, result.instances, style, result.heads, ids)

    drawn = "video" in settings.save
    return Pipeline(
        part,
        estimator,
        estimator.decode,
        render if drawn else None,
        keep_heads=drawn and style.needs_heads,
        track=Tracker().update if settings.track and clip else None,
        smooth=Smoother().update if settings.smooth and clip else None,
    )


def _length(recording: RecordedSource) -> str:
    return f": it lasts {recording.duration_s:.3f} s" if recording.duration_s else ""
