"""`export`: a network to an ONNX file, to a TensorRT plan of this machine's GPU, or to a released model in assets/."""

import argparse
import re
import tempfile
from pathlib import Path
from typing import Any

from app.messages import explained_imports
from app.options import LARGEST_INPUT, whole_number
from app.plan_progress import plan_progress
from app.writing import check_target, explained
from engine.backends.tensorrt_build import LIBRARIES, PlanShape, find_module
from engine.coco import read_json
from engine.errors import UserError
from engine.models import DEFAULT_REGISTRY, PRECISIONS, ModelEntry, find_model

_LARGEST_BATCH = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "source",
        metavar="WEIGHTS",
        help="a .safetensors file of `train`, an fp32 .onnx file of `export`, or the name of a released network",
    )
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument(
        "--to",
        choices=("onnx", "tensorrt"),
        help="onnx: a file in this folder, named after the network and the precision; tensorrt: a plan for this "
        "machine's GPU in the user's cache, where the other commands find it",
    )
    target.add_argument("--onnx", type=Path, metavar="FILE", help="as --to onnx, into this file")
    target.add_argument(
        "--release", type=_model_name, metavar="NAME", help="write assets/NAME.* and its entry in assets/models.toml"
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="fp16: for GPUs; int8: 8-bit integers, several times faster on processors; with --release beside the "
        "float32 file (default: fp32, for TensorRT fp16)",
    )
    parser.add_argument(
        "--calibrate",
        type=Path,
        metavar="DIR",
        help="to make int8: a folder of pictures like those that the network will see",
    )
    parser.add_argument(
        "--input-size",
        type=whole_number(65, LARGEST_INPUT),
        metavar="N",
        help="the released model's default, and the size to calibrate at or to build for (default: 401, for a released "
        "network its own)",
    )
    parser.add_argument(
        "--batch",
        type=whole_number(1, _LARGEST_BATCH),
        default=1,
        metavar="N",
        help="with --to tensorrt: the most pictures at once (default: %(default)s)",
    )
    released = parser.add_argument_group("with --release")
    released.add_argument("--licence", default="Apache-2.0", help="of the weights (default: %(default)s)")
    released.add_argument("--training-data", default="", metavar="TEXT", help="what they were trained on")
    released.add_argument(
        "--metrics", type=Path, metavar="FILE", help="figures of `eval --json`, stored with the model"
    )


def run(options: argparse.Namespace) -> int:
    """Export and compare the result with what it came from; prints how far they differ."""
    if options.to == "tensorrt":
        return _build_plan(options)
    precision = options.precision or "fp32"
    if (precision == "int8") != (options.calibrate is not None):
        raise UserError("--precision int8 and --calibrate DIR go together: its ranges are measured on pictures")
    if options.release is not None:
        return _release(options, precision)
    suffix = "" if precision == "fp32" else f"-{precision}"
    target = options.onnx or Path(f"{Path(options.source).stem}{suffix}.onnx")
    check_target(target)
    with explained(target):
        print(_write_onnx(options, target, precision))
    return 0


def _write_onnx(options: argparse.Namespace, target: Path, precision: str) -> str:
    """Write the file; how it compares with what it was made from."""
    with explained_imports("requirements-train.txt"):
        from engine import export, quantize
        from engine.weights import load_weights
    pictures = [] if options.calibrate is None else quantize.list_pictures(options.calibrate)
    with tempfile.TemporaryDirectory(prefix="export-") as folder:
        lines = []
        source = Path(options.source)
        if source.suffix == ".safetensors":
            exported = target if precision == "fp32" else Path(folder, target.name)
            lines.append(str(export.export_onnx(load_weights(source), exported, source.stem)))
            source = exported
        elif precision == "fp32":
            raise UserError(f"{options.source}: is fp32 ONNX already; expected --precision fp16 or int8")
        elif source.suffix != ".onnx":
            entry = _released(options.source)
            entry.verify("onnx")
            source = entry.onnx
        if precision == "fp16":
            lines.append(str(export.export_half(source, target)))
        if precision == "int8":
            lines.append(str(quantize.quantize_onnx(source, target, pictures, options.input_size or 401)))
    return "\n".join(lines)


def _release(options: argparse.Namespace, precision: str) -> int:
    source = Path(options.source)
    if precision == "fp16" or source.suffix != ".safetensors":
        raise UserError("--release takes a .safetensors file, and --precision fp32 or int8")
    with explained_imports("requirements-train.txt"):
        from engine import export, quantize
    check_target(DEFAULT_REGISTRY)
    pictures = [] if options.calibrate is None else quantize.list_pictures(options.calibrate)
    metrics = None if options.metrics is None else _read_metrics(options.metrics)
    with explained(DEFAULT_REGISTRY):
        entry, report = export.release(
            source,
            options.release,
            licence=options.licence,
            training_data=options.training_data,
            input_size=options.input_size or 401,
            metrics=metrics,
        )
        print(report)
        if pictures:
            entry, quantization = quantize.release_int8(entry, pictures)
            print(quantization)
    print(f"released {entry.name}: {entry.onnx}, {entry.weights}")
    return 0


def _build_plan(options: argparse.Namespace) -> int:
    """Build what TensorRT needs, unless it is there, and load it once."""
    from engine.backends.tensorrt_backend import TensorRTBackend
    from engine.backends.tensorrt_plan import Recipe

    library = next((name for name in LIBRARIES if find_module(name)), LIBRARIES[0])
    source, precision = Path(options.source), options.precision or "auto"
    if source.suffix == ".safetensors":
        raise UserError(f"{source}: a plan is made from ONNX: first `export {source} --to onnx`, then that file")
    with plan_progress(f"{library} plan of {source.stem}") as progress:
        if source.suffix == ".onnx":
            shape = PlanShape.of(options.input_size or 401, options.batch)
            recipe = Recipe.of_file(library, source, "joint", precision, shape)
        else:
            entry = _released(options.source)
            shape = PlanShape.of(options.input_size or entry.input_size, options.batch)
            recipe = Recipe.of(library, entry, "joint", precision, shape)
        with TensorRTBackend.open(recipe, progress) as backend:
            print(f"{backend.name}: ready for inputs of up to {shape.side} px, {backend.batch} at once")
    return 0


def _released(name: str) -> ModelEntry:
    """The released network of this name; a file that is not there is told as such."""
    if Path(name).suffix:
        raise UserError(f"{name}: expected a .safetensors or .onnx file, or the name of a released network")
    return find_model(name)


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
