"""Hands out the units of a manifest and writes down what becomes of them: the only writer of manifest and folder."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Protocol

from app.batching.contents import Stamp, stamp
from app.batching.folder import OutputFolder
from app.batching.jobs import Job, Outcome, Progress
from app.batching.manifest import Manifest, Status, Unit
from app.batching.pools import Pool
from app.batching.slices import part_name, spans
from engine.errors import UserError

TICK_S: Final = 0.25  # between two looks at the workers' progress
JOINED: Final = ".ndjson"  # the results of slices that are put together; all others stay numbered


class Observer(Protocol):
    """Shows what happens."""

    def settled(self, unit: Unit, status: Status, outcome: Outcome, counts: dict[Status, int]) -> None:
        """An attempt at `unit` has ended, which now is `status`; so many units are in each state."""
        ...

    def tick(self, progress: list[Progress | None], counts: dict[Status, int]) -> None:
        """A moment has passed."""
        ...


class Coordinator:
    """Does what is left to do in `manifest` with the workers of `pool`.

    It keeps nothing in memory that the manifest does not say as well: it may be killed at any moment.
    """

    def __init__(
        self,
        manifest: Manifest,
        pool: Pool,
        folder: OutputFolder,
        observer: Observer,
        most_attempts: int,
        slicing: tuple[float, float, float | None] | None = None,
    ) -> None:
        """`slicing`: the length of the slices, begin and end of what is cut into them, seconds."""
        self._manifest = manifest
        self._pool = pool
        self._folder = folder
        self._observer = observer
        self._most_attempts = most_attempts
        self._slicing = slicing
        self._running: dict[int, tuple[Unit, Path]] = {}

    def run(self, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Go on until everything is done or in quarantine, then True; or until `stopped` says so, then False.

        Raises:
            UserError: nothing more can be written, or no worker be started. What is done stays done.
        """
        while not stopped():
            if not self._hand_out():
                return True
            for outcome in self._pool.poll(TICK_S):
                self._settle(outcome)
            self._observer.tick(self._pool.progress(), self._manifest.counts())
        return False

    def _hand_out(self) -> bool:
        """Keep all workers busy; whether there is anything to wait for."""
        while len(self._running) < self._pool.size and (unit := self._manifest.next_unit()) is not None:
            attempt = self._folder.new_attempt(unit.id)
            size, modified_ns = _stamp(unit.clip)
            self._manifest.begin(unit, size, modified_ns)
            self._running[unit.id] = (unit, attempt)
            self._pool.submit(self._job(unit, attempt))
        return bool(self._running)

    def _job(self, unit: Unit, attempt: Path) -> Job:
        name = part_name(unit.name, unit.part) if unit.kind == "part" else unit.name
        parts: tuple[str, ...] = ()
        if unit.kind == "join":
            files = [file for part in self._parts(unit.clip) for file in part.files if file.endswith(JOINED)]
            parts = tuple(str(self._folder.path / file) for file in files)
        return Job(unit.id, unit.kind, unit.clip, str(attempt), name, unit.begin_s, unit.end_s, parts)

    def _parts(self, clip: str) -> list[Unit]:
        return [unit for unit in self._manifest.units(clip) if unit.kind == "part"]

    def _settle(self, outcome: Outcome) -> None:
        unit, attempt = self._running.pop(outcome.unit)
        outcome = self._checked(unit, outcome)
        if outcome.error is None:
            status: Status = "done"
            self._finish(unit, attempt, outcome)
        else:
            self._folder.discard(attempt)
            self._folder.check()
            if outcome.fatal:
                raise UserError(outcome.error)
            status = self._manifest.fail(unit, outcome, self._most_attempts)
        self._observer.settled(unit, status, outcome, self._manifest.counts())

    def _checked(self, unit: Unit, outcome: Outcome) -> Outcome:
        """All slices must be of one and the same clip."""
        if unit.kind != "part" or outcome.error is not None:
            return outcome
        if self._manifest.planned_hash(unit.clip) == outcome.digest:
            return outcome
        return dataclasses.replace(outcome, error=f"{unit.clip}: changed since its first slice was cut")

    def _finish(self, unit: Unit, attempt: Path, outcome: Outcome) -> None:
        """Files first, then the manifest: killed in between, the unit is done once more, to the same bytes."""
        self._folder.publish(attempt, outcome.files)
        with self._manifest.transaction():
            self._manifest.finish(unit, outcome, outcome.files)
            if unit.kind == "plan" and self._slicing is not None:
                self._manifest.add_parts(unit, spans(outcome.duration_s, *self._slicing))
            if unit.kind == "part" and self._manifest.parts_are_done(unit.clip):
                self._manifest.add_join(unit)
            parts = self._parts(unit.clip) if unit.kind == "join" else []
            for part in parts:
                self._manifest.keep_files(part, [file for file in part.files if not file.endswith(JOINED)])
        remove_joined(self._folder, parts)


def _stamp(clip: str) -> Stamp | tuple[None, None]:
    try:
        return stamp(clip)
    except UserError:  # the worker will say what is wrong
        return None, None


def remove_joined(folder: OutputFolder, units: Iterable[Unit]) -> None:
    """Remove the results of slices that now are in one file."""
    for unit in units:
        if unit.kind == "part":
            folder.remove(part_name(unit.name, unit.part) + JOINED)
