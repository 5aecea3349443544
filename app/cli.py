"""The command line: `python main.py COMMAND`. Each command's module adds its own arguments and does its own work.

Only the chosen command imports what it needs, so `--help` is quick and nothing asks for packages it does not use.
Exit status: 0 done (nobody in the picture is no error), 1 something found wanting, 2 bad input, 130 interrupted.
"""

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Final

from rich.console import Console

from engine.errors import UserError

COMMANDS: Final = {
    "run": "find everybody in clips and pictures; write annotated video and data",
    "eval": "measure keypoint AP and person-mask AP on a COCO data set",
    "train": "train a network",
    "export": "turn trained weights into ONNX, or release them under a name",
    "doctor": "show what this machine offers the program",
}
_MODULES: Final = {"eval": "app.evaluate"}


def build_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """The parser of the whole program; only `chosen`'s arguments are added, for that needs its module."""
    parser = argparse.ArgumentParser(
        prog="main.py",
        description="Poses and outlines of everybody in a video, from one network.",
        epilog="`main.py COMMAND --help` shows a command's options.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == chosen:
            _module(name).add_arguments(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    chosen = next((a for a in arguments if a in COMMANDS), None)
    options = build_parser(chosen).parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        status: int = _module(options.command).run(options)
    except UserError as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone: nobody is left to tell
        sys.stderr.close()
        return 1
    return status


def _module(command: str) -> ModuleType:
    return importlib.import_module(_MODULES.get(command, f"app.{command}"))
