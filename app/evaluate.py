"""`eval`: keypoint AP and person-mask AP on a COCO data set."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from app.options import add_model_arguments, open_estimator, whole_number
from engine import coco
from engine.coco import Picture
from engine.errors import UserError
from engine.evaluation import Scores, evaluate, whole_file, write_results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--images", required=True, type=Path, metavar="DIR", help="folder of the pictures")
    parser.add_argument(
        "--annotations", required=True, type=Path, metavar="FILE.json", help="COCO person_keypoints file"
    )
    parser.add_argument("--max-images", type=whole_number(1), metavar="N", help="only the first N pictures, by id")
    parser.add_argument(
        "--results", type=Path, metavar="DIR", help="write keypoints.json and segm.json (COCO results) there"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    add_model_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Evaluate, print both AP tables, write what was asked for."""
    pictures = coco.read_pictures(options.images, options.annotations)[: options.max_images]
    if not pictures:
        raise UserError(f"{options.annotations}: lists no pictures")
    if options.results is not None:
        options.results.mkdir(parents=True, exist_ok=True)
    with open_estimator(options) as estimator:
        scores, poses, masks = evaluate(estimator, _shown(pictures), options.annotations)
        size = estimator.input_size
    _print(scores, f"{options.model}, input {size}, {scores.images} pictures, {scores.ms_per_image:.0f} ms a picture")
    if options.results is not None:
        write_results(options.results, poses, masks)
    if options.json is not None:
        with whole_file(options.json) as stream:
            json.dump(asdict(scores), stream, indent=2)
            stream.write("\n")
    return 0


def _shown(pictures: list[Picture]) -> Iterator[Picture]:
    yield from track(pictures, description="eval", console=Console(stderr=True), transient=True)


def _print(scores: Scores, title: str) -> None:
    console = Console()
    console.print(title, markup=False, highlight=False)
    for name, values in (("keypoints", scores.keypoints), ("person masks", scores.segm)):
        table = Table(title=name, title_justify="left")
        for column in values:
            table.add_column(column, justify="right")
        table.add_row(*("-" if value < 0 else f"{value:.3f}" for value in values.values()))
        console.print(table)
