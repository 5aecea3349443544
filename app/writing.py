"""Files that commands write, and the one line where that fails: early looks, texts and JSON whole, growing tables."""

import contextlib
import csv
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from engine.errors import UserError
from engine.files import written_whole

if TYPE_CHECKING:  # those who write other files do without the pipeline
    from pipeline.statistics import Snapshot


@contextlib.contextmanager
def explained(target: Path) -> Iterator[None]:
    """Turn what the system says against writing `target` into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror}") from error


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
    with explained(shown), tempfile.TemporaryFile(dir=folder):
        pass


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8 as it is, whole or not at all. Raises UserError if that cannot be done.

    What UTF-8 cannot hold, parts of some file names, is written as JSON would: a backslash, u and four digits.
    """
    with explained(path), written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


def write_json(path: Path, figures: Mapping[str, Any]) -> None:
    """Write plain values as a JSON file, whole or not at all. Raises UserError if that cannot be done."""
    write_text(path, json.dumps(figures, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


class CsvLog:
    """A CSV file that gets a row for each snapshot and can be read while it grows; the first line names the columns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        """Begin the file, in place of an older one. Raises UserError if that cannot be done."""
        with explained(self._path):
            self._file = self._path.open("w", encoding="utf-8", newline="")
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # every row has been flushed, or its failure been told
                self._file.close()

    def add(self, snapshot: "Snapshot") -> None:
        """Write one row, at once. Raises UserError if that cannot be done, as on a full disk."""
        if self._file is None:
            raise RuntimeError("enter the file with `with` before adding rows")
        row = snapshot.row()
        writer = csv.DictWriter(self._file, fieldnames=list(row), lineterminator="\n")
        with explained(self._path):
            if self._file.tell() == 0:
                writer.writeheader()
            writer.writerow(row)
            self._file.flush()
