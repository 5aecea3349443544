"""Whether a clip is still the one it was: a cheap stamp, and what its bytes say."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from engine.errors import UserError

_READ_BYTES: Final = 1 << 24


class Stamp(NamedTuple):
    """What tells cheaply that a file, or a folder of pictures, has changed: size and time of the last change."""

    size: int
    modified_ns: int


def stamp(path: str) -> Stamp:
    """The stamp of a file or folder. Raises UserError if it cannot be looked at."""
    with _explained(path):
        found = [file.stat() for file in _files(Path(path))]
        return Stamp(sum(one.st_size for one in found), max((one.st_mtime_ns for one in found), default=0))


def content_hash(path: str, tell: Callable[[], object] = lambda: None) -> str:
    """SHA-256 of a file, or of a folder's files and their names, calling `tell` now and then.

    Raises:
        UserError: it cannot be read.
    """
    digest = hashlib.sha256()
    with _explained(path):
        for file in _files(Path(path)):
            if str(file) != path:
                digest.update(os.fsencode(file.name) + b"\0")
            with file.open("rb") as opened:
                while block := opened.read(_READ_BYTES):
                    digest.update(block)
                    tell()
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path]


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
