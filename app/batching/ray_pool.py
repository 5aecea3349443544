"""Workers on the machines of a Ray cluster: the same workers with the same guarantees, watched where they run.

Every machine must see the program, its packages, the clips and the output folder under the same paths. Ray is an
optional package: `pip install ray`.
"""

import dataclasses
import importlib
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from app.batching.jobs import Job, Outcome, Progress, Setup
from app.batching.worker import Worker
from app.messages import explained_imports
from engine.errors import UserError

LOCAL: Final = "local"
_ROOT: Final = Path(__file__).resolve().parents[2]
_PROGRESS_WAIT_S: Final = 1.0


class RemoteWorker:
    """What runs as a Ray actor: a `Worker` with its child process."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self._worker = Worker(Setup(**setup))

    def run(self, job: Job) -> Outcome:
        """See `Worker.run`."""
        return self._worker.run(job)

    def progress(self) -> Progress | None:
        """What it is doing; answered while `run` runs."""
        return self._worker.progress


class RayPool:
    """A pool whose workers are Ray actors, one for each of `setups`, spread over the machines."""

    def __init__(self, address: str, setups: list[Setup]) -> None:
        """`address`: of a running cluster, or "local" to start one on this machine for as long as the pool lives."""
        with explained_imports("requirements-ray.txt"):
            self._ray: Any = importlib.import_module("ray")
        self._address = address
        self._setups = setups
        self._actors: list[Any] = []
        self._running: dict[Any, tuple[int, Job]] = {}  # task to (worker, job)
        self._free = list(range(len(setups)))

    @property
    def size(self) -> int:
        return len(self._setups)

    def submit(self, job: Job) -> None:
        number = self._free.pop(0)
        self._running[self._actors[number].run.remote(job)] = (number, job)

    def poll(self, wait_s: float) -> list[Outcome]:
        tasks = list(self._running)
        ready, _ = self._ray.wait(tasks, timeout=wait_s)
        if ready:  # it returns with the first one: take all that are ready
            ready, _ = self._ray.wait(tasks, num_returns=len(tasks), timeout=0)
        return [self._outcome(task) for task in ready]

    def _outcome(self, task: Any) -> Outcome:
        number, job = self._running.pop(task)
        self._free.append(number)
        try:
            outcome: Outcome = self._ray.get(task)
        except UserError as error:  # Ray raises something that is both its own error and ours, with a long text
            raise UserError(getattr(error, "cause", error)) from None
        except (self._ray.exceptions.RayActorError, self._ray.exceptions.NodeDiedError):
            self._actors[number] = self._new_actor(number)
            return Outcome(job.unit, error="the machine or the process of the worker was lost")
        return outcome

    def progress(self) -> list[Progress | None]:
        asked = {number: self._actors[number].progress.remote() for number, _ in self._running.values()}
        states: list[Progress | None] = [None] * self.size
        if not asked:
            return states
        ready, _ = self._ray.wait(list(asked.values()), num_returns=len(asked), timeout=_PROGRESS_WAIT_S)
        for number, answer in asked.items():
            if answer in ready:
                try:
                    states[number] = self._ray.get(answer)
                except self._ray.exceptions.RayError:  # `poll` will tell
                    continue
        return states

    def _new_actor(self, number: int) -> Any:
        kind = self._ray.remote(num_cpus=1, max_concurrency=2, scheduling_strategy="SPREAD")(RemoteWorker)
        return kind.remote(dataclasses.asdict(self._setups[number]))

    def __enter__(self) -> Self:
        paths = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH", ""))))
        arguments: dict[str, Any] = {"runtime_env": {"env_vars": {"PYTHONPATH": paths}}, "log_to_driver": False}
        if self._address == LOCAL:
            arguments |= {"num_cpus": self.size, "include_dashboard": False}
        else:
            arguments |= {"address": self._address}
        try:
            self._ray.init(logging_level="ERROR", **arguments)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"--ray {self._address}: {error}") from error
        self._actors = [self._new_actor(number) for number in range(self.size)]
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for actor in self._actors:
            self._ray.kill(actor)  # its child ends with it: nobody writes to its stdin any more
        self._ray.shutdown()
