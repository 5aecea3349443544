"""`info`: what a network costs: parameters, multiply-accumulates and output shapes, part by part."""

import argparse
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.messages import explained_imports
from app.options import DEFAULT_MODEL, LARGEST_INPUT, whole_number
from app.tables import print_table
from app.writing import check_target, write_json
from engine.errors import UserError
from engine.letterbox import input_side
from engine.models import find_model

if TYPE_CHECKING:  # PyTorch is imported only when the command runs
    from engine.complexity import Complexity, Part
    from engine.model import NetConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    network = parser.add_mutually_exclusive_group()
    network.add_argument(
        "--model",  # its default is set later, for argparse does not see that two options clash if one is the default
        metavar="NAME",
        help="a released network (see assets/models.toml) or a .safetensors file of `train` "
        f"(default: {DEFAULT_MODEL})",
    )
    network.add_argument("--trunk", metavar="NAME", help="a network with this trunk, even if nobody ever trained it")
    untrained = parser.add_argument_group("with --trunk")
    untrained.add_argument(
        "--trunk-stride",
        type=int,
        choices=(16, 8),
        help="input pixels per cell of the trunk's last layer (default: 16)",
    )
    untrained.add_argument("--no-refine", action="store_true", help="leave the refine networks out")
    parser.add_argument(
        "--input-size",
        type=_input_size,
        metavar="N",
        help="side of a square input in pixels, rounded up to 16 n + 1, or HxW, taken as it is "
        "(default: the model's own)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")


def run(options: argparse.Namespace) -> int:
    """Count, print the parts and the outputs, write what was asked for."""
    with explained_imports("requirements-train.txt"):
        from engine.complexity import measure
        from engine.weights import describe
    name = options.trunk or options.model or DEFAULT_MODEL
    config, size = _network(options, name)
    if options.json is not None:
        check_target(options.json)
    complexity = measure(config, _input_hw(options.input_size or (size,)))
    if options.json is not None:
        write_json(options.json, _figures(complexity))
    height, width = complexity.input_hw
    print(f"{name}: {describe(config)}; input {height}x{width} px (height x width)")
    _print(complexity)
    return 0


def _network(options: argparse.Namespace, name: str) -> "tuple[NetConfig, int]":
    """The network that the options describe, and its default input size."""
    from engine.model import TRUNKS, NetConfig
    from engine.weights import load_weights

    usual_size = find_model(DEFAULT_MODEL).input_size
    if options.trunk is not None:
        if name not in TRUNKS:
            raise UserError(f"--trunk: expected one of {', '.join(TRUNKS)}, got {name!r}")
        changes = {} if options.trunk_stride is None else {"trunk_stride": options.trunk_stride}
        return NetConfig(name, refine=not options.no_refine, **changes), usual_size
    for given, option in ((options.trunk_stride, "--trunk-stride"), (options.no_refine, "--no-refine")):
        if given:
            raise UserError(f"{option}: needs --trunk; {name} is what it is")
    if name.endswith(".safetensors"):
        return load_weights(Path(name)).config, usual_size
    entry = find_model(name)
    entry.verify("weights")
    return load_weights(entry.weights).config, entry.input_size


def _input_size(text: str) -> tuple[int, ...]:
    """An argparse type: a side, or height and width."""
    parse = whole_number(65, LARGEST_INPUT)
    return tuple(parse(side) for side in (text.split("x") if re.fullmatch(r"\d+x\d+", text) else [text]))


def _input_hw(size: tuple[int, ...]) -> tuple[int, int]:
    from engine.model import PosePlusSegNet

    if len(size) == 2:
        return size[0], size[1]
    side = input_side(size[0], PosePlusSegNet.multiple)
    return side, side


def _figures(complexity: "Complexity") -> dict[str, Any]:
    return {
        "network": asdict(complexity.config),
        "input_hw": complexity.input_hw,
        "parts": [asdict(part) for part in complexity.parts],
        "total": asdict(complexity.total),
        "outputs": complexity.outputs,
    }


def _print(complexity: "Complexity") -> None:
    def row(part: "Part") -> list[str]:
        return [part.name, f"{part.parameters / 1e6:.3f}", f"{part.macs / 1e9:.3f}"]

    print_table(
        "cost of one picture",
        ["part", "M parameters", "GMAC"],
        [row(part) for part in (*complexity.parts, complexity.total)],
    )
    print_table(
        "outputs",
        ["output", "channels", "height", "width"],
        [[name, *map(str, shape)] for name, shape in complexity.outputs.items()],
    )
