"""`gui`: the window. Without any command the program does the same."""

import argparse
from pathlib import Path

from app.gui.display import check_display
from app.messages import explained_imports
from app.writing import check_target


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.epilog = "Without SOURCE it shows the first camera, or the sample clip where there is none."
    parser.add_argument(
        "source",
        nargs="?",
        metavar="SOURCE",
        help="a video or picture, a folder of pictures, camera:0, rtsp://... or http://...",
    )
    parser.add_argument("--quit-after", type=_seconds, metavar="S", help="close the window after S seconds")
    parser.add_argument("--stats", type=Path, metavar="FILE", help="write the monitor's figures as JSON at the end")


def run(options: argparse.Namespace) -> int:
    """Open the window; returns when it is closed."""
    if options.stats is not None:
        check_target(options.stats)
    with explained_imports("requirements-gui.txt"):
        from app.gui.startup import run_window

        check_display()
        return run_window(options.source, options.quit_after, options.stats)


def _seconds(text: str) -> float:
    from app.options import seconds  # only here: its imports take a second, and the splash comes first

    return seconds(text)
