"""The output folder: where attempts work, how their results get their final names, and whether it still can be used."""

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from engine.errors import UserError
from engine.files import names_to_disk

_WORK: Final = ".work"
_PROBE_BYTES: Final = 1 << 16


class OutputFolder:
    """The folder DIR. Attempts write in DIR/.work; only `publish` puts files into DIR itself, whole.

    Attributes:
        path: absolute.
    """

    def __init__(self, path: Path) -> None:
        """Make the folder unless it is there. Raises UserError if that cannot be done, or nothing be written in it."""
        self.path = path.resolve()
        if self.path.is_file():
            raise UserError(f"{path}: is a file, expected a folder for the results")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            status = self.path.stat()
        except OSError as error:
            raise self._unusable(error) from error
        self._identity = (status.st_dev, status.st_ino)
        self.check()

    def new_attempt(self, unit: int) -> Path:
        """An empty folder for an attempt at this unit. Raises UserError."""
        try:
            work = self.path / _WORK
            work.mkdir(exist_ok=True)
            return Path(tempfile.mkdtemp(prefix=f"{unit}-", dir=work))
        except OSError as error:
            raise self._unusable(error) from error

    def publish(self, attempt: Path, files: Iterable[str]) -> None:
        """Move an attempt's whole files to their final place and forget the rest. Raises UserError."""
        try:
            for name in files:
                if Path(name).name != name:
                    raise ValueError(f"files: expected plain names, got {name!r}")
                (attempt / name).replace(self.path / name)
            names_to_disk(self.path)
        except OSError as error:
            raise self._unusable(error) from error
        self.discard(attempt)

    def discard(self, attempt: Path) -> None:
        """Forget an attempt."""
        shutil.rmtree(attempt, ignore_errors=True)

    def sweep(self) -> None:
        """Forget all attempts, those of an earlier coordinator too."""
        shutil.rmtree(self.path / _WORK, ignore_errors=True)

    def missing(self, files: Iterable[str]) -> bool:
        """Whether one of these results is not there any more."""
        return not all((self.path / name).exists() for name in files)

    def remove(self, name: str) -> None:
        """Remove a result that nobody needs any more."""
        (self.path / name).unlink(missing_ok=True)

    def check(self) -> None:
        """Raise UserError if nothing can be written in the folder, or it is not the one it was."""
        try:
            status = self.path.stat()
            if (status.st_dev, status.st_ino) != self._identity:
                raise UserError(f"{self.path}: the output folder was replaced while it was in use")
            with tempfile.TemporaryFile(dir=self.path) as file:
                file.write(bytes(_PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> UserError:
        return UserError(f"{self.path}: the output folder cannot be written: {error.strerror or error}")
