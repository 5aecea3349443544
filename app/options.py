"""What several commands share: options for the network, numbers with a range, and early looks at where results go."""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from app.messages import explained_imports
from engine.backends.base import BACKEND_NAMES, open_backend
from engine.decode import DecodeConfig
from engine.errors import UserError
from engine.estimator import Estimator
from engine.models import find_model

DEFAULT_MODEL = "mobile"
LARGEST_INPUT = 4097


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


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """`--model`, `--backend` and `--input-size`."""
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME",
        help="a released network (see assets/models.toml) or a .safetensors file of `train` (default: %(default)s)",
    )
    parser.add_argument(
        "--backend", default="auto", metavar="NAME", help=f"one of {', '.join(BACKEND_NAMES)} (default: %(default)s)"
    )
    parser.add_argument(
        "--input-size",
        type=whole_number(65, LARGEST_INPUT),
        metavar="N",
        help="longer side of the network input in pixels, rounded up to 16 n + 1 (default: the model's own)",
    )


def open_estimator(options: argparse.Namespace, config: DecodeConfig | None = None) -> Estimator:
    """The estimator that the options of `add_model_arguments` ask for, decoding by `config`.

    Raises:
        UserError: an unknown model or back end, a missing package, a damaged file.
    """
    if options.model.endswith(".safetensors"):
        if options.backend not in ("auto", "torch"):
            raise UserError(f"--backend {options.backend}: a .safetensors file runs on the torch back end only")
        with explained_imports("requirements-train.txt"):
            from engine.backends.torch_backend import TorchBackend
        backend = TorchBackend.open_file(Path(options.model))
        return Estimator(backend, options.input_size or find_model(DEFAULT_MODEL).input_size, config)
    entry = find_model(options.model)
    return Estimator(open_backend(options.backend, entry), options.input_size or entry.input_size, config)


def describe(options: argparse.Namespace, estimator: Estimator) -> str:
    """What `open_estimator` opened, in words: "mobile on onnx cpu, input 513 px"."""
    longer_side = max(estimator.fit((estimator.input_size, estimator.input_size)).input_hw)
    return f"{options.model} on {estimator.backend.name}, input {longer_side} px"


def make_folder(folder: Path) -> None:
    """Make a folder for results, unless it is there, and see that files can be written in it.

    Raises:
        UserError: it cannot be made or written to.
    """
    if folder.is_file():
        raise UserError(f"{folder}: is a file, expected a folder for the results")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot make the folder: {error.strerror}") from error
    _try_writing(folder, folder)


def check_target(path: Path) -> None:
    """See that a file can be written at `path`: better before the long work than after it.

    Raises:
        UserError: it is a folder or a device, or its own folder is missing or cannot be written to.
    """
    if path.exists() and not path.is_file():  # a finished file is moved there: that would replace even /dev/stdout
        raise UserError(f"{path}: is a folder or a device, expected the name of a file to write")
    _try_writing(path.parent, path)


def _try_writing(folder: Path, shown: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{shown}: cannot be written: {error.strerror}") from error
