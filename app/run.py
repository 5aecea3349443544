"""`run`: clips and pictures in, annotated video and data out."""

import argparse
import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from app.options import add_model_arguments, open_estimator, share, whole_number
from engine.decode import DecodeConfig
from engine.errors import UserError
from engine.estimator import Estimator
from engine.structures import ByteArray
from pipeline.frames import FrameResult, StageStats
from pipeline.overlays import OVERLAY_NAMES, OverlayStyle
from pipeline.render import draw
from pipeline.runner import Pipeline
from pipeline.sinks import FileSink, NdjsonWriter, PictureWriter, VideoWriter
from pipeline.sources import ImageSource, Source, open_source

SAVE_KINDS: Final = ("video", "ndjson")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="video or picture files")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--save",
        default="video,ndjson",
        type=_save_kinds,
        metavar="KINDS",
        help="what to write, of video (a picture for a picture) and ndjson (default: %(default)s)",
    )
    parser.add_argument(
        "--overlay", default="pis", choices=OVERLAY_NAMES, help="what to draw (default: %(default)s, masks and poses)"
    )
    parser.add_argument(
        "--min-score",
        default=0.15,
        type=share,
        metavar="P",
        help="leave out people whose score is below, 0 to 1 (default: %(default)s)",
    )
    parser.add_argument("--max-frames", type=whole_number(1), metavar="N", help="stop after N frames of each source")
    add_model_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Process every source; a bad one is reported and the others still run. 0, or 2 if any was bad."""
    console, errors = Console(), Console(stderr=True)
    _make_folder(options.out)
    failed = False
    with open_estimator(options, DecodeConfig(min_score=options.min_score)) as estimator:
        taken: set[str] = set()
        for uri in options.sources:
            stem = _free_stem(Path(uri).stem, taken)
            try:
                _process(uri, stem, estimator, options, console, errors)
            except UserError as error:
                errors.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
                failed = True
    return 2 if failed else 0


def _process(
    uri: str, stem: str, estimator: Estimator, options: argparse.Namespace, console: Console, errors: Console
) -> None:
    source = open_source(uri, options.max_frames)
    style = OverlayStyle.of([options.overlay])
    estimator.warmup((source.info.height, source.info.width))
    draws = "video" in options.save

    def render(result: FrameResult) -> ByteArray:
        return draw(result.frame.image, result.instances, style)

    people = 0
    with contextlib.ExitStack() as stack:
        sinks = [stack.enter_context(sink) for sink in _sinks(source, options.out / stem, options.save)]
        pipeline = stack.enter_context(Pipeline(source, estimator.infer, estimator.decode, render if draws else None))
        progress = stack.enter_context(_progress(errors))
        task = progress.add_task(source.info.name, total=source.info.frame_count)
        for rendered in pipeline:
            for sink in sinks:
                sink.write(rendered)
            people = max(people, len(rendered.result.instances))
            progress.advance(task)
    for warning in source.warnings:
        errors.print(f"warning: {warning}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{uri}: {sinks[0].count} frames, at most {people} people at once", markup=False, highlight=False)
    for sink in sinks:
        console.print(f"  {sink.path}", markup=False, highlight=False, soft_wrap=True)
    if not isinstance(source, ImageSource):
        console.print(_stage_table(pipeline.stats()))


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


def _stage_table(stats: list[StageStats]) -> Table:
    table = Table(title="stages", title_justify="left")
    for column in ("stage", "frames", "median ms", "p95 ms", "busy", "frames/s"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for line in stats:
        rate = "" if line.fps is None else f"{line.fps:.1f}"
        table.add_row(
            line.stage, str(line.count), f"{line.median_ms:.1f}", f"{line.p95_ms:.1f}", f"{line.busy_share:.0%}", rate
        )
    return table


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def _save_kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [kind for kind in kinds if kind not in SAVE_KINDS]
    if unknown or not kinds:
        raise argparse.ArgumentTypeError(f"expected some of {','.join(SAVE_KINDS)}, got {text!r}")
    return kinds


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot make the folder: {error.strerror}") from error


def _free_stem(stem: str, taken: set[str]) -> str:
    """A name for the results: two sources of one name must not overwrite each other."""
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name)
    return name
