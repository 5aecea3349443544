"""`eval`: keypoint AP and person-mask AP on a COCO data set."""

import argparse
import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from app.options import add_model_arguments, check_target, describe, make_folder, open_estimator, whole_number
from app.tables import print_table, progress_bar
from engine import coco
from engine.coco import Picture
from engine.errors import UserError
from engine.evaluation import Result, Scores, evaluate, whole_file, write_results

NEEDED: Final = ("id", "area", "keypoints", "num_keypoints", "segmentation")


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
    pictures = _pictures(options)
    with open_estimator(options) as estimator:
        if options.results is not None:
            make_folder(options.results)
        if options.json is not None:
            check_target(options.json)
        network = describe(options, estimator)
        scores, poses, masks = evaluate(estimator, _shown(pictures), options.annotations)
    try:
        _write(options, scores, poses, masks)
    finally:  # the figures took long: show them even if the disk is full
        _print(scores, network)
    return 0


def _pictures(options: argparse.Namespace) -> list[Picture]:
    pictures = coco.read_pictures(options.images, options.annotations)[: options.max_images]
    if not pictures:
        raise UserError(f"{options.annotations}: lists no pictures")
    missing = [picture.path for picture in pictures if not picture.path.is_file()]
    if missing:
        raise UserError(f"{missing[0]}: no such file; {len(missing)} of {len(pictures)} pictures are missing")
    for picture in pictures:
        for annotation in picture.annotations:
            if reason := _unusable(annotation):
                raise UserError(f"{options.annotations}: annotation {annotation.get('id')}: {reason}")
        if picture.width < 1 or picture.height < 1:
            raise UserError(f"{options.annotations}: picture {picture.id}: no size of {picture.width}x{picture.height}")
    return pictures


def _unusable(annotation: dict[str, Any]) -> str:
    """What keeps a label from being compared with results, or ""; training makes do with less."""
    lacking = [key for key in NEEDED if key not in annotation]
    if lacking:
        return f"has no {lacking[0]!r}, which the evaluation needs"
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, dict):
        return "" if {"size", "counts"} <= segmentation.keys() else "segmentation: expected 'size' and 'counts'"
    if not isinstance(segmentation, list) or not segmentation:
        return "segmentation: expected polygons or run lengths"
    for polygon in segmentation:
        if not isinstance(polygon, list) or not all(isinstance(v, int | float) for v in polygon):
            return "segmentation: expected polygons of three points or more"
    return ""


def _shown(pictures: list[Picture]) -> Iterator[Picture]:
    with progress_bar() as progress:
        yield from progress.track(pictures, description="eval")


def _write(options: argparse.Namespace, scores: Scores, poses: list[Result], masks: list[Result]) -> None:
    if options.results is not None:
        with _explained(options.results):
            write_results(options.results, poses, masks)
    if options.json is not None:
        with _explained(options.json), whole_file(options.json) as stream:
            json.dump(asdict(scores), stream, indent=2)
            stream.write("\n")


@contextlib.contextmanager
def _explained(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror}") from error


def _print(scores: Scores, network: str) -> None:
    pictures = "1 picture" if scores.images == 1 else f"{scores.images} pictures"
    print(f"{network}, {pictures}, {scores.ms_per_image:.0f} ms each (median)")
    for name, values in (("keypoints", scores.keypoints), ("person masks", scores.segm)):
        print_table(name, list(values), [["-" if value < 0 else f"{value:.3f}" for value in values.values()]])
