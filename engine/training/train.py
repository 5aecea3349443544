"""The training run: data in, steps, checkpoints out; in one process or, under torchrun, in several."""

import contextlib
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
from torch.utils.data import DataLoader

from engine.errors import UserError
from engine.training.config import TrainConfig
from engine.training.dataset import DataPart, TrainingSet, training_set
from engine.training.distributed import Group, alone
from engine.training.journal import Tell, journal
from engine.training.trainer import WEIGHTS, Trainer


@dataclass(slots=True)
class TimeSpent:
    """Seconds of the steps so far, and those of them spent waiting for data; the start of the run is left out."""

    total: float = 0.0
    waiting: float = 0.0

    @property
    def data_share(self) -> float:
        """Share of the time spent waiting for data, in [0, 1]."""
        return self.waiting / self.total if self.total > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished run.

    Attributes:
        weights: the file of averaged weights. data_share: how much of its time the run waited for data.
    """

    weights: Path
    data_share: float


def train(
    config: TrainConfig,
    parts: list[DataPart],
    out: Path,
    *,
    resume: Path | None = None,
    group: Group | None = None,
) -> Trained:
    """Train, writing a journal at each step and, every few minutes, `out`/last.pt and the averaged weights.

    Ctrl-C, in any process of `group`, writes both before it ends the run. Sample n depends on (seed, n) alone, and
    process r of W takes samples r, r + W, … of each batch: neither a stop nor the number of processes changes them.

    Raises:
        UserError: bad data, a checkpoint that does not fit, a folder that cannot be written, a loss that is not finite.
        KeyboardInterrupt: Ctrl-C; everything is saved.
    """
    group = alone() if group is None else group
    if config.batch % group.world:
        raise UserError(f"batch: {config.batch} pictures cannot be shared equally by {group.world} processes")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: cannot make the folder: {error.strerror}") from error
    trainer = Trainer(config, group)
    if resume is not None:
        trainer.restore(resume)
        if trainer.step > config.steps:
            raise UserError(f"{resume}: is at step {trainer.step} already, the run has {config.steps}")
    if config.batch_norm == "frozen" and not trainer.frozen_norms:
        raise UserError("batch_norm frozen: no pretrained tensors bring statistics to keep; see --start")
    data = training_set(config, parts)
    saved, interrupted, spent = time.monotonic(), False, TimeSpent()
    with _interrupts_held() as interrupts, _one_opencv_thread(), _journal(out, trainer, data) as tell:
        for record in _steps(trainer, _loader(trainer, data), spent):
            tell(record, spent.data_share)
            interrupted = group.any(bool(interrupts))
            if interrupted:
                break
            if group.leads and time.monotonic() - saved > 60 * config.checkpoint_minutes:
                trainer.save(out)
                saved = time.monotonic()
        if group.leads:
            trainer.save(out)
    if interrupted:
        raise KeyboardInterrupt
    return Trained(out / WEIGHTS, spent.data_share)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[list[int]]:
    """Ctrl-C adds to the list instead of striking anywhere: half a step must not be saved."""
    interrupts: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, handler)


@contextlib.contextmanager
def _one_opencv_thread() -> Iterator[None]:
    """A data process is work for one core; and a process forked beside OpenCV's threads hangs when it uses OpenCV."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _journal(out: Path, trainer: Trainer, data: TrainingSet) -> contextlib.AbstractContextManager[Tell]:
    if trainer.group.leads:
        return journal(out, trainer, data)
    return contextlib.nullcontext(lambda record, data_share: None)


def _loader(trainer: Trainer, data: TrainingSet) -> DataLoader[Any]:
    """This process's share of the batches that are left."""
    config, group = trainer.config, trainer.group
    return DataLoader(
        data,
        batch_size=config.batch // group.world,
        sampler=range(trainer.step * config.batch + group.rank, len(data), group.world),
        num_workers=config.workers,
        pin_memory=group.device.type == "cuda",
        worker_init_fn=_ignore_interrupts,
    )


def _ignore_interrupts(_: int) -> None:
    """Ctrl-C reaches the data processes too, and is not for them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _steps(trainer: Trainer, loader: DataLoader[Any], spent: TimeSpent) -> Iterator[dict[str, Any]]:
    """Train on every batch; yields a log record each: step, losses, rate, gradient norm, and where its time went."""
    began = trainer.step
    mark = time.perf_counter()
    for images, targets in loader:
        waited = time.perf_counter() - mark
        moved = {name: t.to(trainer.device, non_blocking=True) for name, t in targets.items()}
        values = trainer.train_step(images.to(trainer.device, non_blocking=True), moved)
        taken = time.perf_counter() - mark
        if trainer.step > began + 1:  # the first batch waits for processes to start and for compilers
            spent.waiting += waited
            spent.total += taken
        yield {
            "step": trainer.step,
            **{name: float(f"{value:.5g}") for name, value in values.items()},
            "data_share": round(waited / taken, 3),
            "seconds": round(taken, 3),
        }
        mark = time.perf_counter()
