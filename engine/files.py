"""Files that appear whole or not at all, and stay when the power fails."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def to_disk(file: Path) -> None:
    """See a file's content on the disk, not in a cache that a power cut empties. Raises OSError."""
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def names_to_disk(folder: Path) -> None:
    """See new names in a folder on the disk; Windows has no such thing. Raises OSError."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to: it becomes `path` when the block ends, and is removed if it fails."""
    temporary = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
