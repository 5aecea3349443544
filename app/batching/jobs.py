"""What passes between the coordinator and its workers: plain values, written as JSON."""

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Kind = Literal["clip", "plan", "part", "join"]


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker needs before its first job.

    Attributes:
        work: "module:function", called in the worker's process with `settings`; see `load_work`.
        settings: its argument.
        cores: the processor cores the worker may use; empty for all.
        timeout_s: how long a job may go on without any progress, seconds.
    """

    work: str
    settings: dict[str, Any]
    cores: tuple[int, ...] = ()
    timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Job:
    """One unit of work, tried once.

    Attributes:
        unit: its row in the manifest.
        kind: a whole clip; the plan, one part or the joining of a clip in slices.
        source: the clip.
        folder: an empty folder of its own for the results.
        name: what the names of the results begin with.
        begin_s, end_s: a part's time in the clip, seconds; None: from the beginning, to the end.
        parts: of "join": the files to put together, in order.
    """

    unit: int
    kind: Kind
    source: str
    folder: str
    name: str
    begin_s: float | None = None
    end_s: float | None = None
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended.

    Attributes:
        unit: the job's.
        error: why it failed, in one line; None if it is done.
        fatal: the error is the output folder's: every other clip would fail as well.
        files: names of the results in the job's folder, whole and on the disk.
        frames: how many were processed, in `seconds`.
        duration_s: of "plan": how long the clip plays; None if nobody knows.
        digest: SHA-256 of the clip; "" where it was not read.
        warnings: one line each.
        host, worker: who did it; the worker's process id.
    """

    unit: int
    error: str | None = None
    fatal: bool = False
    files: tuple[str, ...] = ()
    frames: int = 0
    seconds: float = 0.0
    duration_s: float | None = None
    digest: str = ""
    warnings: tuple[str, ...] = ()
    host: str = ""
    worker: int = 0

    @property
    def fps(self) -> float | None:
        """Frames per second; None without frames."""
        return self.frames / self.seconds if self.frames and self.seconds > 0 else None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a worker is in its job: `frames` of `total` (None if unknown) after `seconds`."""

    source: str
    frames: int = 0
    total: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Done:
    """What a `Work` says about a finished job: see the attributes of the same names in `Outcome`."""

    files: tuple[str, ...] = ()
    frames: int = 0
    duration_s: float | None = None
    warnings: tuple[str, ...] = ()


Tell = Callable[[int, int | None], None]


class Work(Protocol):
    """Does jobs, one after another, in a process of its own."""

    def do(self, job: Job, tell: Tell) -> Done:
        """Do `job`, calling `tell(frames done, frames expected)` on the way; that is what shows it does not hang.

        Raises:
            UserError: the clip cannot be processed, or the results not be written.
        """
        ...


def load_work(setup: Setup) -> AbstractContextManager[Work]:
    """Whatever `setup.work` names."""
    module, _, function = setup.work.partition(":")
    made: AbstractContextManager[Work] = getattr(importlib.import_module(module), function)(setup.settings)
    return made
