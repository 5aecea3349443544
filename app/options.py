"""What several commands share: options for the network, and numbers with a range."""

import argparse
import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from app.messages import explained_imports
from app.plan_progress import plan_progress
from engine.backends.base import BACKEND_NAMES, Backend, check_precision, open_backend
from engine.backends.tensorrt_build import LIBRARIES, PlanShape
from engine.decode_config import DecodeConfig
from engine.errors import UserError
from engine.estimator import Estimator
from engine.models import PRECISION_NAMES, find_model
from engine.modes import HEADS_OF_MODE

DEFAULT_MODEL = "mobile"
LARGEST_INPUT = 4097
MIN_SCORE = 0.15  # persons below it are not shown or written


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """An argparse type: a whole number in [least, most]."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None
        if value < least or (most is not None and value > most):
            bounds = f"at least {least}" if most is None else f"{least} to {most}"
            raise argparse.ArgumentTypeError(f"expected {bounds}, got {value}")
        return value

    return parse


def share(text: str) -> float:
    """An argparse type: a number in [0, 1]."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected 0 to 1, got {text}")
    return value


def seconds(text: str) -> float:
    """An argparse type: a number of seconds above 0."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number of seconds, got {text!r}") from None
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected more than 0 seconds, got {text}")
    return value


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """`--model`, `--backend`, `--precision`, `--input-size`, `--mode` and `--set`."""
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME",
        help="a released network (see assets/models.toml), a .safetensors file of `train` or an .onnx file of `export` "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--backend", default="auto", metavar="NAME", help=f"one of {', '.join(BACKEND_NAMES)} (default: %(default)s)"
    )
    parser.add_argument(
        "--precision",
        default="auto",
        metavar="NAME",
        help=f"one of {', '.join(PRECISION_NAMES)}; auto is the fastest without loss (default: %(default)s)",
    )
    parser.add_argument(
        "--input-size",
        type=whole_number(65, LARGEST_INPUT),
        metavar="N",
        help="longer side of the network input in pixels, rounded up to 16 n + 1 (default: the model's own)",
    )
    parser.add_argument(
        "--mode",
        choices=tuple(HEADS_OF_MODE),
        default="joint",
        help="joint: skeletons and masks; pose, seg: one of them alone, in less time (default: %(default)s)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=decode_setting,
        metavar="NAME=VALUE",
        help="a number or switch of the decode (engine/decode_config.py), such as grouping=strict; repeatable",
    )


def decode_setting(text: str) -> tuple[str, Any]:
    """An argparse type: NAME=VALUE of a `DecodeConfig` field, with the value in the field's type."""
    name, separator, value = text.partition("=")
    kinds = {field.name: get_type_hints(DecodeConfig)[field.name] for field in fields(DecodeConfig)}
    del kinds["mode"]  # has an option of its own
    if not separator:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    if name not in kinds:
        raise argparse.ArgumentTypeError(f"unknown name {name!r}, expected one of {', '.join(kinds)}")
    kind = kinds[name]
    try:
        if choices := get_args(kind):
            parsed: Any = value if value in choices else None
        elif kind is bool:
            choices = ("true", "false")
            parsed = {"true": True, "false": False}.get(value)
        else:
            parsed = kind(value)
        if parsed is None:
            raise argparse.ArgumentTypeError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
        DecodeConfig(**{name: parsed})
    except ValueError as error:
        reason = str(error) if name in str(error) else f"{name}: expected a {kind.__name__}, got {value!r}"
        raise argparse.ArgumentTypeError(reason) from None
    return name, parsed


def open_estimator(options: argparse.Namespace, *, build: bool = True, batch: int = 1, **changes: Any) -> Estimator:
    """The estimator that the options of `add_model_arguments` ask for, with `changes` to its `DecodeConfig`.

    Where TensorRT has to build a plan first, a bar shows it; Ctrl-C cancels the build, and "auto" goes on with the next
    back end. Without `build`, "auto" takes the next one at once. `batch`: the most pictures that will be submitted at
    once; back ends for which that brings nothing take one all the same.

    Raises:
        UserError: an unknown model or back end, a missing package, a damaged file, a precision that is not there.
        KeyboardInterrupt: the build of a back end that was asked for by name was cancelled.
    """
    config = DecodeConfig(**{"mode": options.mode, **changes, **dict(options.set)})
    path = Path(options.model)
    if path.suffix in (".safetensors", ".onnx"):
        backend = _open_file(path, options, batch)
        return Estimator(backend, options.input_size or find_model(DEFAULT_MODEL).input_size, config)
    entry = find_model(options.model)
    size = options.input_size or entry.input_size
    with plan_progress(f"TensorRT plan of {entry.name}") as progress:
        backend = open_backend(
            options.backend,
            entry,
            options.mode,
            options.precision,
            input_size=size,
            batch=batch,
            progress=progress if build else None,
        )
    return Estimator(backend, size, config)


def _open_file(path: Path, options: argparse.Namespace, batch: int) -> Backend:
    """The back end of a network that nobody released: a .safetensors or .onnx file."""
    names = ("torch",) if path.suffix == ".safetensors" else ("onnx", *LIBRARIES)
    name = names[0] if options.backend == "auto" else options.backend
    if name not in names:
        raise UserError(
            f"--backend {options.backend}: a {path.suffix} file runs on the {' or '.join(names)} back end only"
        )
    check_precision(name, options.precision)
    if name == "torch":
        with explained_imports("requirements-train.txt"):
            from engine.backends.torch_backend import TorchBackend
        return TorchBackend.open_file(path, options.mode, options.precision)
    if name in LIBRARIES:
        from engine.backends.tensorrt_backend import TensorRTBackend
        from engine.backends.tensorrt_plan import Recipe

        shape = PlanShape.of(options.input_size or find_model(DEFAULT_MODEL).input_size, batch)
        with plan_progress(f"TensorRT plan of {path.name}") as progress:
            recipe = Recipe.of_file(name, path, options.mode, options.precision, shape)
            return TensorRTBackend.open(recipe, progress)
    from engine.backends.onnx_backend import OnnxBackend

    backend = OnnxBackend(path, mode=options.mode)
    if options.precision not in ("auto", backend.precision):
        raise UserError(f"--precision {options.precision}: {path} is {backend.precision}")
    return backend


def describe(options: argparse.Namespace, estimator: Estimator) -> str:
    """What `open_estimator` opened, in words: "mobile on onnx cpu int8, input 513 px"."""
    longer_side = max(estimator.fit((estimator.input_size, estimator.input_size)).input_hw)
    return f"{options.model} on {estimator.backend.name}, input {longer_side} px"
