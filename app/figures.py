"""The figures of a running pipeline as files: JSON for the whole run, CSV with a row for each moment."""

import contextlib
import csv
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from engine.errors import UserError
from engine.files import written_whole
from pipeline.statistics import Snapshot


def write_json(path: Path, figures: Mapping[str, Any]) -> None:
    """Write plain values as a JSON file, whole or not at all. Raises UserError if that cannot be done."""
    try:
        with written_whole(path) as temporary:
            text = json.dumps(figures, indent=2, ensure_ascii=False, allow_nan=False)
            temporary.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error


class CsvLog:
    """A CSV file that gets a row for each snapshot and can be read while it grows; the first line names the columns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        """Begin the file, in place of an older one. Raises UserError if that cannot be done."""
        try:
            self._file = self._path.open("w", encoding="utf-8", newline="")
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written: {error.strerror}") from error
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # every row has been flushed, or its failure been told
                self._file.close()

    def add(self, snapshot: Snapshot) -> None:
        """Write one row, at once. Raises UserError if that cannot be done, as on a full disk."""
        if self._file is None:
            raise RuntimeError("enter the file with `with` before adding rows")
        row = snapshot.row()
        writer = csv.DictWriter(self._file, fieldnames=list(row), lineterminator="\n")
        try:
            if self._file.tell() == 0:
                writer.writeheader()
            writer.writerow(row)
            self._file.flush()
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written: {error.strerror}") from error
