"""`export`: trained weights to an ONNX file, or to a released model in assets/."""

import argparse
import json
from pathlib import Path

from app.options import whole_number
from engine.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("weights", type=Path, metavar="WEIGHTS", help="a .safetensors file of `train`")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--onnx", type=Path, metavar="FILE", help="write this ONNX file")
    target.add_argument("--release", metavar="NAME", help="write assets/NAME.* and its entry in assets/models.toml")
    released = parser.add_argument_group("with --release")
    released.add_argument("--licence", default="Apache-2.0", help="of the weights (default: %(default)s)")
    released.add_argument("--training-data", default="", metavar="TEXT", help="what they were trained on")
    released.add_argument("--input-size", type=whole_number(65), default=401, metavar="N", help="the model's default")
    released.add_argument(
        "--metrics", type=Path, metavar="FILE", help="figures of `eval --json`, stored with the model"
    )


def run(options: argparse.Namespace) -> int:
    """Export and compare the ONNX file with PyTorch; prints how far they differ."""
    try:
        from engine import export
        from engine.weights import load_weights
    except ImportError as error:
        raise UserError(f"export needs {error.name}: pip install -r requirements-train.txt") from error
    if options.onnx is not None:
        print(export.export_onnx(load_weights(options.weights), options.onnx, options.weights.stem))
        return 0
    metrics = None
    if options.metrics is not None:
        try:
            metrics = json.loads(options.metrics.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{options.metrics}: cannot read the figures: {error}") from error
    entry, report = export.release(
        options.weights,
        options.release,
        licence=options.licence,
        training_data=options.training_data,
        input_size=options.input_size,
        metrics=metrics,
    )
    print(report)
    print(f"released {entry.name}: {entry.onnx}, {entry.weights}")
    return 0
