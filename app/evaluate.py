"""`eval`: keypoint AP and person-mask AP on a COCO data set, and the worst pictures to look at."""

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from app.data_set import add_data_arguments, read_data_set
from app.options import MIN_SCORE, add_model_arguments, describe, open_estimator, share, whole_number
from app.report import Report
from app.tables import print_table, progress_bar
from app.writing import check_target, explained, make_folder, write_json
from engine.augmented import AugmentedEstimator
from engine.coco import Picture
from engine.confidence import Confidence
from engine.evaluation import Result, Scores, evaluate, write_results
from engine.modes import HEADS_OF_MODE
from engine.protocols import PROTOCOLS

# The tables, their titles and the head that a mode must have for them.
_TABLES: Final = (("keypoints", "keypoints", "keypoint_maps"), ("segm", "person masks", "person_map"))
LEAST_SCALE: Final = 0.25
MOST_SCALE: Final = 4.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    add_data_arguments(parser)
    parser.add_argument(
        "--protocol",
        default="full",
        choices=PROTOCOLS,
        help="full: COCO's own (default); cocopersons: people without keypoints or without a mask do not count",
    )
    parser.add_argument("--flip", action="store_true", help="look at each picture's mirror image too, and average")
    parser.add_argument(
        "--scales",
        nargs="+",
        default=[1.0],
        type=_scale,
        metavar="S",
        help="look at each picture at these multiples of the input size, and average (say 0.75 1 1.5; default: 1)",
    )
    parser.add_argument(
        "--per-keypoint", action="store_true", help="also print the mean confidence of each kind of keypoint"
    )
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help="write the worst pictures there, as a web page (index.html)"
    )
    parser.add_argument(
        "--worst", default=30, type=whole_number(1), metavar="N", help="how many they are (default: %(default)s)"
    )
    parser.add_argument(
        "--min-score",
        default=MIN_SCORE,
        type=share,
        metavar="P",
        help="leave people below out of the report and of the confidences, never of AP (default: %(default)s)",
    )
    parser.add_argument(
        "--results", type=Path, metavar="DIR", help="write keypoints.json and segm.json (COCO results) there"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    add_model_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Evaluate, print both AP tables, write what was asked for."""
    data = read_data_set(options, options.protocol)
    with open_estimator(options) as estimator:
        for folder in (options.results, options.report):
            if folder is not None:
                make_folder(folder)
        if options.json is not None:
            check_target(options.json)
        conditions = ", ".join([describe(options, estimator), *_augmentation(options)])
        confidence = Confidence(options.min_score) if options.per_keypoint else None
        report = None if options.report is None else Report(options.worst, options.min_score)
        scores, poses, masks = evaluate(
            AugmentedEstimator(estimator, options.scales, flip=options.flip) if _augmentation(options) else estimator,
            _shown(data.pictures),
            data.truth,
            data.bad,
            [watcher for watcher in (confidence, report) if watcher is not None],
        )
    line = _line(conditions, scores)
    figures = asdict(scores) | {"protocol": options.protocol, "conditions": conditions}
    for name, _, head in _TABLES:
        if head not in HEADS_OF_MODE[options.mode]:
            del figures[name]
    if confidence is not None:
        figures["confidence"] = confidence.means()
    try:
        _write(options, figures, poses, masks)
        if report is not None:
            with explained(options.report):
                report.write(options.report, f"{options.annotations.name}: the worst pictures", line)
    finally:  # the figures took long: show them even if the disk is full
        _print(figures, line)
    return 0


def _scale(text: str) -> float:
    """An argparse type: a multiple of the input size."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None
    if not LEAST_SCALE <= value <= MOST_SCALE:
        raise argparse.ArgumentTypeError(f"expected {LEAST_SCALE:g} to {MOST_SCALE:g}, got {text}")
    return value


def _augmentation(options: argparse.Namespace) -> list[str]:
    """How each picture is looked at several times, in words; empty if it is not."""
    words = [] if options.scales == [1.0] else [f"scales {' '.join(f'{scale:g}' for scale in options.scales)}"]
    return [*words, "plain and mirrored"] if options.flip else words


def _shown(pictures: list[Picture]) -> Iterator[Picture]:
    with progress_bar() as progress:
        yield from progress.track(pictures, description="eval")


def _write(options: argparse.Namespace, figures: dict[str, Any], poses: list[Result], masks: list[Result]) -> None:
    if options.results is not None:
        with explained(options.results):
            write_results(options.results, poses, masks)
    if options.json is not None:
        write_json(options.json, figures)


def _line(conditions: str, scores: Scores) -> str:
    pictures = "1 picture" if scores.images == 1 else f"{scores.images} pictures"
    return f"{conditions}, {pictures}, {scores.ms_per_image:.0f} ms each (median)"


def _print(figures: dict[str, Any], line: str) -> None:
    print(line)
    for name, title, _ in _TABLES:
        if name in figures:
            values = figures[name].values()
            protocol = "" if figures["protocol"] == "full" else f", {figures['protocol']} protocol"
            print_table(
                title + protocol, list(figures[name]), [["-" if value < 0 else f"{value:.3f}" for value in values]]
            )
    if "confidence" in figures:
        rows = [
            (name.replace("_", " "), str(mean["count"]), f"{mean['score']:.3f}", f"{mean['probability']:.3f}")
            for name, mean in figures["confidence"].items()
        ]
        print_table("mean confidence", ("keypoint", "count", "reported score", "p at the keypoint"), rows)
