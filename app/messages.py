"""Lines on stderr, and what keeps a traceback from the user: plain text from the standard library alone.

Results go to stdout, everything else to stderr, so that a pipe carries results only.
"""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Final

from engine.errors import UserError

_OWN_PACKAGES: Final = ("app", "engine", "pipeline")


def print_error(text: object) -> None:
    """One line that says what is wrong."""
    print(f"error: {one_line(text)}", file=sys.stderr)


def print_warning(text: object) -> None:
    """One line about something that was done all the same."""
    print(f"warning: {one_line(text)}", file=sys.stderr)


def one_line(text: object) -> str:
    """Text as one printable line: what would end the line or drive the terminal, as file names may, is escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(text))


@contextlib.contextmanager
def explained_imports(requirements: str) -> Iterator[None]:
    """Turn the failed import of a package inside the block into a UserError that says how to get it."""
    try:
        yield
    except ImportError as error:
        if (error.name or "").partition(".")[0] in _OWN_PACKAGES:
            raise
        if isinstance(error, ModuleNotFoundError):
            raise UserError(f"{error.name} is not installed: pip install -r {requirements}") from error
        raise UserError(f"a package does not load: {error}; `python main.py doctor` shows which") from error


def accept_any_text() -> None:
    """Let names that the terminal's encoding lacks be printed with escapes instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_stdout() -> None:
    """Send what is still buffered nowhere, for nobody can take it: else the interpreter complains when it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
