"""`export`: trained weights to an ONNX file, or to a released model in assets/."""

import argparse
import re
from pathlib import Path
from typing import Any

from app.messages import explained_imports
from app.options import LARGEST_INPUT, check_target, whole_number
from engine.coco import read_json
from engine.errors import UserError
from engine.models import DEFAULT_REGISTRY


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("weights", type=Path, metavar="WEIGHTS", help="a .safetensors file of `train`")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--onnx", type=Path, metavar="FILE", help="write this ONNX file")
    target.add_argument(
        "--release", type=_model_name, metavar="NAME", help="write assets/NAME.* and its entry in assets/models.toml"
    )
    released = parser.add_argument_group("with --release")
    released.add_argument("--licence", default="Apache-2.0", help="of the weights (default: %(default)s)")
    released.add_argument("--training-data", default="", metavar="TEXT", help="what they were trained on")
    released.add_argument(
        "--input-size", type=whole_number(65, LARGEST_INPUT), default=401, metavar="N", help="the model's default"
    )
    released.add_argument(
        "--metrics", type=Path, metavar="FILE", help="figures of `eval --json`, stored with the model"
    )


def run(options: argparse.Namespace) -> int:
    """Export and compare the ONNX file with PyTorch; prints how far they differ."""
    with explained_imports("requirements-train.txt"):
        from engine import export
        from engine.weights import load_weights
    target = options.onnx or DEFAULT_REGISTRY
    check_target(target)
    metrics = None if options.metrics is None else _read_metrics(options.metrics)
    try:
        if options.onnx is not None:
            print(export.export_onnx(load_weights(options.weights), options.onnx, options.weights.stem))
            return 0
        entry, report = export.release(
            options.weights,
            options.release,
            licence=options.licence,
            training_data=options.training_data,
            input_size=options.input_size,
            metrics=metrics,
        )
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror}") from error
    print(report)
    print(f"released {entry.name}: {entry.onnx}, {entry.weights}")
    return 0


def _model_name(text: str) -> str:
    """An argparse type: a name that models.toml and file systems take."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text):
        raise argparse.ArgumentTypeError(f"expected letters, digits, '-' and '_', got {text!r}")
    return text


def _read_metrics(path: Path) -> dict[str, Any]:
    figures = read_json(path)
    if not isinstance(figures, dict):
        raise UserError(f"{path}: expected the figures of `eval --json`")
    return figures
