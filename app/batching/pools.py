"""Who does the jobs: what a pool is, and the one that keeps its workers on this machine."""

import itertools
import os
import queue
import threading
from types import TracebackType
from typing import Protocol, Self

from app.batching.jobs import Job, Outcome, Progress, Setup
from app.batching.worker import Worker


class Pool(Protocol):
    """Some workers. A context manager: at its end they are gone, finished or not. Used by one thread."""

    @property
    def size(self) -> int:
        """How many jobs it does at a time."""
        ...

    def submit(self, job: Job) -> None:
        """Let a free worker do the job."""
        ...

    def poll(self, wait_s: float) -> list[Outcome]:
        """The jobs that have ended since the last call, after waiting for one for so long.

        Raises:
            UserError: no worker can be started with these settings.
        """
        ...

    def progress(self) -> list[Progress | None]:
        """What each worker is doing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class LocalPool:
    """Workers on this machine, each watched by a thread."""

    def __init__(self, setups: list[Setup]) -> None:
        """One worker for each setup; its process starts with its first job."""
        self._workers = [Worker(setup) for setup in setups]
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, args=(worker,), name=f"batch-{number}")
            for number, worker in enumerate(self._workers, 1)
        ]

    @property
    def size(self) -> int:
        return len(self._workers)

    def submit(self, job: Job) -> None:
        self._jobs.put(job)

    def poll(self, wait_s: float) -> list[Outcome]:
        outcomes: list[Outcome] = []
        try:
            while True:
                outcome = self._outcomes.get(timeout=0 if outcomes else wait_s)
                if isinstance(outcome, BaseException):
                    raise outcome
                outcomes.append(outcome)
        except queue.Empty:
            return outcomes

    def progress(self) -> list[Progress | None]:
        return [worker.progress for worker in self._workers]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for worker in self._workers:
            self._jobs.put(None)
            worker.stop()
        for thread in self._threads:
            thread.join()

    def _serve(self, worker: Worker) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                self._outcomes.put(worker.run(job))
        except BaseException as error:  # noqa: BLE001 - raised again by `poll`
            self._outcomes.put(error)
        finally:
            worker.close()


def split_cores(workers: int) -> list[tuple[int, ...]]:
    """The processor cores for each of so many workers: as even as can be, and none shared unless there are too few.

    A network that believes it has the whole machine starts as many threads as there are cores, in every worker.
    """
    if workers == 1 or not hasattr(os, "sched_getaffinity"):
        return [()] * workers
    cores = sorted(os.sched_getaffinity(0))
    if workers >= len(cores):
        return [(cores[number % len(cores)],) for number in range(workers)]
    bounds = [number * len(cores) // workers for number in range(workers + 1)]
    return [tuple(cores[begin:end]) for begin, end in itertools.pairwise(bounds)]
