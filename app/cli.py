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

from app.messages import accept_any_text, discard_stdout, explained_imports, print_error
from engine.errors import UserError

COMMANDS: Final = {
    "gui": "open the window on a camera, a clip or a stream (the default)",
    "run": "find everybody in clips and pictures; write annotated video and data",
    "batch": "process many clips; survives crashes; can be resumed",
    "figure": "draw every step of the method on a picture, as in the paper's Figure 1",
    "monitor": "show how fast each stage is on a source, and what is dropped where",
    "bench": "measure each stage alone, the pipeline, and what each way of doing it brings",
    "eval": "measure keypoint AP and person-mask AP on a COCO data set",
    "train": "train a network",
    "ablate": "measure what each switch of the decode brings, on one network and a COCO data set",
    "info": "show what a network costs: parameters, multiply-accumulates, output shapes",
    "export": "turn trained weights into ONNX, or release them under a name",
    "doctor": "show what this machine offers the program",
}
_MODULES: Final = {"eval": "app.evaluate", "gui": "app.gui.command"}


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
    """Run the program; returns its exit status. As ever with argparse, `--help` and wrong options raise SystemExit."""
    accept_any_text()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        with explained_imports("requirements.txt"):
            status = _dispatch(list(sys.argv[1:] if argv is None else argv))
        print(end="", flush=True)  # now, while an error can still be told
    except UserError as error:
        print_error(error)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone: nobody is left to tell
        discard_stdout()
        return 1
    except OSError as error:  # files are explained where they are used: what is left is a stdout that takes no more
        discard_stdout()
        print_error(f"{error.filename or 'standard output'}: {error.strerror or error}")
        return 2
    return status


def _dispatch(arguments: list[str]) -> int:
    arguments = arguments or ["gui"]
    options = build_parser(next((a for a in arguments if a in COMMANDS), None)).parse_args(arguments)
    status: int = _module(options.command).run(options)
    return status


def _module(command: str) -> ModuleType:
    return importlib.import_module(_MODULES.get(command, f"app.{command}"))
