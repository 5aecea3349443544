"""The batch's memory: a SQLite file that says of every unit of work what became of it. It carries the guarantee, not
the pool: whatever dies, what is "done" here is done, and everything else is taken up again.

One coordinator at a time writes it, for it holds the lock; rows that an earlier one left "running" are free again then.
"""

import contextlib
import datetime
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from app.batching.contents import Stamp
from app.batching.jobs import Kind, Outcome
from engine.errors import UserError

VERSION: Final = 1
_APPLICATION: Final = 0x50505362  # "PPSb": says that this SQLite file is one of ours
_SCHEMA: Final = """
CREATE TABLE settings (hash TEXT PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE units (
    id INTEGER PRIMARY KEY,
    clip NOT NULL,                 -- absolute path: text, or bytes where it is not UTF-8
    name TEXT NOT NULL,            -- what the names of its results begin with
    kind TEXT NOT NULL CHECK (kind IN ('clip', 'plan', 'part', 'join')),
    part INTEGER NOT NULL,         -- 1, 2, ... for parts, else 0
    begin_s REAL, end_s REAL,      -- of parts
    settings_hash TEXT NOT NULL REFERENCES settings,
    size INTEGER, modified_ns INTEGER, content_hash TEXT,  -- of the clip when it was read
    status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'running', 'done', 'failed', 'quarantined')),
    attempts INTEGER NOT NULL DEFAULT 0,
    error TEXT, host TEXT, worker INTEGER, frames INTEGER, fps REAL, seconds REAL,
    files TEXT NOT NULL DEFAULT '[]', warnings TEXT NOT NULL DEFAULT '[]',
    started TEXT, ended TEXT,      -- UTC, for people: nothing is computed from them
    UNIQUE (clip, kind, part)
);
CREATE INDEX units_by_status ON units (status);
"""

Status = Literal["pending", "running", "done", "failed", "quarantined"]


@dataclass(frozen=True, slots=True)
class Unit:
    """One row; see the schema for what the columns mean."""

    id: int
    clip: str
    name: str
    kind: Kind
    part: int
    begin_s: float | None
    end_s: float | None
    settings_hash: str
    size: int | None
    modified_ns: int | None
    content_hash: str | None
    status: Status
    attempts: int
    error: str | None
    host: str | None
    worker: int | None
    frames: int | None
    fps: float | None
    seconds: float | None
    files: tuple[str, ...]
    warnings: tuple[str, ...]
    started: str | None
    ended: str | None


class Manifest:
    """The file, open and locked: a context manager. Used by one thread."""

    def __init__(self, path: Path) -> None:
        """Open or begin a manifest. Raises UserError: another batch holds it, it is damaged or not ours."""
        self.path = path
        self._lock = _locked(path.with_name(f"{path.name}.lock"))
        try:
            self._base = sqlite3.connect(path, isolation_level=None)
            self._base.row_factory = sqlite3.Row
            self._prepare()
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.Error):
                raise UserError(f"{path}: not a manifest that can be used: {error}") from error
            raise

    def _prepare(self) -> None:
        [(version,)] = self._base.execute("PRAGMA user_version")
        [(application,)] = self._base.execute("PRAGMA application_id")
        [(tables,)] = self._base.execute("SELECT count(*) FROM sqlite_master")
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute("PRAGMA synchronous = FULL")  # a clip that is "done" stays so when the power fails
        if not tables:
            script = (
                f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; PRAGMA application_id = {_APPLICATION}; COMMIT;"
            )
            self._base.executescript(script)
        elif application != _APPLICATION:
            raise UserError(f"{self.path}: not a manifest of `batch`")
        elif version != VERSION:
            raise UserError(f"{self.path}: of version {version}, this program writes {VERSION}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up the file and its lock; a second call does nothing."""
        if hasattr(self, "_base"):
            self._base.close()
        self._lock.close()

    # What there is.

    def units(self, clip: str | None = None) -> list[Unit]:
        """All rows, or those of one clip, in order."""
        where, values = ("", ()) if clip is None else (" WHERE clip = ?", (_stored(clip),))
        return [_unit(row) for row in self._base.execute(f"SELECT * FROM units{where} ORDER BY id", values)]

    def planned_hash(self, clip: str) -> str | None:
        """What a clip in slices held when it was planned."""
        query = "SELECT content_hash FROM units WHERE clip = ? AND kind = 'plan'"
        [(digest,)] = self._base.execute(query, (_stored(clip),))
        return None if digest is None else str(digest)

    def parts_are_done(self, clip: str) -> bool:
        """Whether all slices of a clip are."""
        query = "SELECT 1 FROM units WHERE clip = ? AND kind = 'part' AND status != 'done' LIMIT 1"
        return self._base.execute(query, (_stored(clip),)).fetchone() is None

    def counts(self) -> dict[Status, int]:
        """How many units are in each state."""
        return dict(self._base.execute("SELECT status, count(*) FROM units GROUP BY status").fetchall())

    def next_unit(self) -> Unit | None:
        """What is best done next; second attempts come when everything else has been tried."""
        query = (
            "SELECT * FROM units WHERE status IN ('pending', 'failed') "
            "ORDER BY status = 'failed', kind != 'join', id LIMIT 1"
        )
        row = self._base.execute(query).fetchone()
        return None if row is None else _unit(row)

    # What changes.

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes of the block or, whatever happens, none."""
        self._base.execute("BEGIN IMMEDIATE")
        with self._base:
            yield

    def keep_settings(self, digest: str, text: str) -> None:
        """Remember what a settings hash stands for."""
        self._base.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", (digest, text))

    def add(self, rows: Iterable[tuple[str, str, Kind]], settings_hash: str) -> None:
        """Add clips: (path, name of the results, "clip" or "plan"). What was known of them is forgotten."""
        for clip, name, kind in rows:
            self._base.execute("DELETE FROM units WHERE clip = ?", (_stored(clip),))
            self._base.execute(
                "INSERT INTO units (clip, name, kind, part, settings_hash) VALUES (?, ?, ?, 0, ?)",
                (_stored(clip), name, kind, settings_hash),
            )

    def free_running(self) -> None:
        """Make everything that is under way pending: for the coordinator that begins, and the one that stops."""
        self._base.execute("UPDATE units SET status = 'pending' WHERE status = 'running'")

    def free_quarantined(self) -> None:
        """Give everything in quarantine its attempts back."""
        self._base.execute("UPDATE units SET status = 'pending', attempts = 0 WHERE status = 'quarantined'")

    def begin(self, unit: Unit, size: int | None, modified_ns: int | None) -> None:
        """Mark as running, with the clip's stamp if it has one."""
        self._base.execute(
            "UPDATE units SET status = 'running', size = ?, modified_ns = ?, started = ?, ended = NULL WHERE id = ?",
            (size, modified_ns, _now(), unit.id),
        )

    def fail(self, unit: Unit, outcome: Outcome, most_attempts: int) -> Status:
        """Note a failed attempt; the last one puts the unit into quarantine."""
        status: Status = "quarantined" if unit.attempts + 1 >= most_attempts else "failed"
        self._base.execute(
            "UPDATE units SET status = ?, attempts = attempts + 1, error = ?, host = ?, worker = ?, ended = ? "
            "WHERE id = ?",
            (status, outcome.error, outcome.host, outcome.worker, _now(), unit.id),
        )
        return status

    def finish(self, unit: Unit, outcome: Outcome, files: Sequence[str]) -> None:
        """Note that a unit is done and `files` lie in the output folder."""
        self._base.execute(
            "UPDATE units SET status = 'done', attempts = attempts + 1, error = NULL, content_hash = ?, host = ?, "
            "worker = ?, frames = ?, fps = ?, seconds = ?, files = ?, warnings = ?, ended = ? WHERE id = ?",
            (
                *(outcome.digest or None, outcome.host, outcome.worker, outcome.frames, outcome.fps),
                *(outcome.seconds, json.dumps(list(files)), json.dumps(list(outcome.warnings)), _now(), unit.id),
            ),
        )

    def keep_files(self, unit: Unit, files: Sequence[str]) -> None:
        """Note that of a done unit's results only `files` are kept."""
        self._base.execute("UPDATE units SET files = ? WHERE id = ?", (json.dumps(list(files)), unit.id))

    def add_parts(self, unit: Unit, spans_s: Sequence[tuple[float, float | None]]) -> None:
        """Add the parts of a clip that has been planned."""
        rows = [(index, *span_s, unit.id) for index, span_s in enumerate(spans_s, 1)]
        self._base.executemany(
            "INSERT INTO units (clip, name, kind, part, begin_s, end_s, settings_hash) "
            "SELECT clip, name, 'part', ?, ?, ?, settings_hash FROM units WHERE id = ?",
            rows,
        )

    def add_join(self, unit: Unit) -> None:
        """Add the joining of a clip whose parts are done."""
        self._base.execute(
            "INSERT INTO units (clip, name, kind, part, settings_hash) VALUES (?, ?, 'join', 0, ?)",
            (_stored(unit.clip), unit.name, unit.settings_hash),
        )

    def restamp(self, unit: Unit, new: Stamp) -> None:
        """Note that an unchanged clip has another stamp."""
        self._base.execute("UPDATE units SET size = ?, modified_ns = ? WHERE id = ?", (*new, unit.id))


def _locked(path: Path) -> sqlite3.Connection:
    """An exclusive lock that the system releases when this process ends, however it does: SQLite's own, everywhere."""
    lock: sqlite3.Connection | None = None
    try:
        lock = sqlite3.connect(path, timeout=0, isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        if lock is not None:
            lock.close()
        if getattr(error, "sqlite_errorname", "") == "SQLITE_BUSY":
            raise UserError(f"{path.parent}: another batch is at work on this folder") from None
        raise UserError(f"{path}: cannot be written: {error}") from error
    return lock


def _stored(path: str) -> str | bytes:
    """A path as SQLite takes it: names that are not UTF-8 as their bytes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def _unit(row: sqlite3.Row) -> Unit:
    values: dict[str, Any] = dict(row)
    for name in ("files", "warnings"):
        values[name] = tuple(json.loads(values[name]))
    return Unit(**values | {"clip": os.fsdecode(values["clip"])})


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
