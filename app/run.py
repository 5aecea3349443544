"""`run`: clips and pictures in, annotated video and data out."""

import argparse
import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from app.messages import print_error, print_warning
from app.options import MIN_SCORE, add_model_arguments, describe, make_folder, open_estimator, share, whole_number
from app.tables import print_table, progress_bar
from engine.errors import UserError
from engine.estimator import Estimator
from engine.structures import ByteArray
from pipeline.addresses import redacted
from pipeline.frames import FrameResult, StageStats
from pipeline.overlays import OVERLAY_NAMES, OverlayStyle
from pipeline.render import draw
from pipeline.runner import Pipeline
from pipeline.sinks import FileSink, NdjsonWriter, PictureWriter, VideoWriter
from pipeline.sources import ImageSource, Source, SourceInfo, open_source

SAVE_KINDS: Final = ("video", "ndjson")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.epilog = (
        "For each SOURCE, say clip.avi, it writes DIR/clip.mp4 (of a picture: DIR/clip.png) and DIR/clip.ndjson, one "
        "line of JSON for each frame. A source that cannot be read is reported, the others are still done."
    )
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="video or picture files, folders of pictures")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--save",
        default="video,ndjson",
        type=_save_kinds,
        metavar="KINDS",
        help="what to write: video, ndjson, or both with a comma between (default: %(default)s)",
    )
    parser.add_argument(
        "--overlay", default="pis", choices=OVERLAY_NAMES, help="what to draw; pis is masks and poses, the default"
    )
    parser.add_argument("--show-scores", action="store_true", help="write each person's score above them")
    parser.add_argument(
        "--min-score",
        default=MIN_SCORE,
        type=share,
        metavar="P",
        help="leave out people whose score is below, 0 to 1 (default: %(default)s)",
    )
    parser.add_argument("--max-frames", type=whole_number(1), metavar="N", help="stop after N frames of each source")
    add_model_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Process every source; a bad one is reported and the others still run. 0, or 2 if any was bad."""
    failed = False
    with open_estimator(options, min_score=options.min_score) as estimator:
        make_folder(options.out)
        print(describe(options, estimator), flush=True)
        taken: set[str] = set()
        for uri in options.sources:
            try:
                _process(uri, taken, estimator, options)
            except UserError as error:
                print_error(error)
                failed = True
    return 2 if failed else 0


def _process(uri: str, taken: set[str], estimator: Estimator, options: argparse.Namespace) -> None:
    source = open_source(uri, options.max_frames)
    if source.live:
        raise UserError(f"{redacted(uri)}: run reads files; watch a camera or a stream with gui or monitor")
    is_clip = not isinstance(source, ImageSource)
    sinks = _sinks(source, options.out / _free_stem(Path(uri).resolve().stem, taken), options.save)
    _keep_sources(sinks, options.sources)
    if is_clip:  # else the first frame's start-up would spoil the table of stages; one picture is quicker without
        estimator.warmup((source.info.height, source.info.width))
    render = _renderer(options.overlay, options.show_scores) if "video" in options.save else None
    pipeline = Pipeline(source, estimator.infer, estimator.decode, render)
    people = _drain(pipeline, sinks, source.info)
    for warning in source.warnings:
        print_warning(warning)
    found = _counted(people, "person", "people")
    print(
        f"{uri}: {_counted(sinks[0].count, 'frame', 'frames')}, at most {found} at once"
        if is_clip
        else f"{uri}: {found}"
    )
    for sink in sinks:
        print(f"  {sink.path}", flush=True)
    if is_clip:
        _print_stages(pipeline.stats())


def _drain(pipeline: Pipeline, sinks: list[FileSink], info: SourceInfo) -> int:
    """Run the pipeline into the sinks, which are whole afterwards; the most people in one frame."""
    people = 0
    with contextlib.ExitStack() as stack:
        for sink in sinks:
            stack.enter_context(sink)
        stack.enter_context(pipeline)
        progress = stack.enter_context(progress_bar())
        task = progress.add_task(info.name, total=info.frame_count)
        for rendered in pipeline:
            for sink in sinks:
                sink.write(rendered)
            people = max(people, len(rendered.result.instances))
            progress.advance(task)
    return people


def _sinks(source: Source, base: Path, kinds: Iterable[str]) -> list[FileSink]:
    sinks: list[FileSink] = []
    if "video" in kinds:
        if isinstance(source, ImageSource):
            sinks.append(PictureWriter(base.with_name(f"{base.name}.png")))
        else:
            sinks.append(VideoWriter(base.with_name(f"{base.name}.mp4"), source.info))
    if "ndjson" in kinds:
        sinks.append(NdjsonWriter(base.with_name(f"{base.name}.ndjson")))
    return sinks


def _keep_sources(sinks: list[FileSink], sources: Iterable[str]) -> None:
    """Raise UserError if a result would replace one of the sources."""
    originals = [path for path in map(Path, sources) if path.exists()]
    for sink in sinks:
        if sink.path.exists() and any(sink.path.samefile(path) for path in originals):
            raise UserError(f"{sink.path}: the result would replace this source; choose another --out")


def _renderer(overlay: str, show_scores: bool) -> Callable[[FrameResult], ByteArray]:
    style = OverlayStyle.of([overlay], show_scores)
    return lambda result: draw(result.frame.image, result.instances, style)


def _print_stages(stats: list[StageStats]) -> None:
    rows = [
        (
            line.stage,
            str(line.count),
            f"{line.median_ms:.1f}",
            f"{line.p95_ms:.1f}",
            f"{line.busy_share:.0%}",
            "" if line.fps is None else f"{line.fps:.1f}",
        )
        for line in stats
    ]
    print_table("stages", ("stage", "frames", "median ms", "p95 ms", "busy", "frames/s"), rows)


def _save_kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [kind for kind in kinds if kind not in SAVE_KINDS]
    if unknown or not kinds:
        raise argparse.ArgumentTypeError(f"expected some of {','.join(SAVE_KINDS)}, got {text!r}")
    return kinds


def _free_stem(stem: str, taken: set[str]) -> str:
    """A name for the results: two sources of one name (to some file systems A is a) must not overwrite each other."""
    name, number = stem, 2
    while name.casefold() in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name.casefold())
    return name


def _counted(number: int, singular: str, plural: str) -> str:
    return f"{number} {singular if number == 1 else plural}"
