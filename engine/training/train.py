"""The training loop: AdamW, warm-up and cosine, EMA, crash-safe checkpoints, exact resume.

Two phases in one run: first the new layers on a frozen trunk, then everything at a low rate.
"""

import contextlib
import copy
import dataclasses
import json
import math
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import DataLoader

from engine.errors import UserError
from engine.files import written_whole
from engine.model import HEAD_CHANNELS, NetConfig, PosePlusSegNet
from engine.training.checkpoint import read_checkpoint
from engine.training.dataset import Augmentation, DataPart, TrainingSet
from engine.training.losses import losses, total
from engine.training.pretrained import load_pretrained
from engine.weights import save_weights

CHECKPOINT: Final = "last.pt"
WEIGHTS: Final = "weights.safetensors"


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """A whole run; stored in its checkpoints.

    Attributes:
        net: the architecture. start: pretrained tensors or None for random ones.
        size: side of a training crop, n * 16 + 1. radius: R, px.
        steps: in all; frozen_steps: of them with the trunk (and its batch norm) frozen; warmup_steps.
        batch: pictures a step. workers: data processes.
        rate: of the refine networks; heads_factor, trunk_factor: of it, for the coarse heads and the trunk.
        weight_decay, clip: AdamW's decay; largest gradient norm.
        ema: decay of the averaged weights that are shipped.
        checkpoint_minutes: how often the state is written. seed: of samples and weights.
    """

    net: NetConfig
    start: str | None = None
    size: int = 401
    radius: float = 32.0
    steps: int = 2000
    frozen_steps: int = 0
    warmup_steps: int = 50
    batch: int = 8
    workers: int = 1
    rate: float = 1e-3
    heads_factor: float = 0.1
    trunk_factor: float = 0.03
    weight_decay: float = 1e-4
    clip: float = 5.0
    ema: float = 0.998
    checkpoint_minutes: float = 3.0
    seed: int = 0


def learning_rate(step: int, config: TrainConfig) -> float:
    """Share of the base rate at a step: linear warm-up, then half a cosine to zero."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


class Trainer:
    """The state of a run: net, averaged net, optimiser and the step reached."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        torch.manual_seed(config.seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.net = PosePlusSegNet(config.net)
        if config.start:
            load_pretrained(self.net, Path(config.start))
        self.net.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.net).eval()
        for parameter in self.average.parameters():
            parameter.requires_grad_(False)
        factors = {"refine": 1.0, "heads": config.heads_factor, "trunk": config.trunk_factor}
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [p for n, p in self.net.named_parameters() if n.startswith(part)], "factor": factor}
                for part, factor in factors.items()
            ],
            lr=config.rate,
            weight_decay=config.weight_decay,
        )
        self.step = 0

    def train_step(self, images: Tensor, targets: dict[str, Tensor]) -> dict[str, float]:
        """One optimiser step; the unweighted loss of each head.

        Raises:
            UserError: the loss is not finite; the weights are still those of the step before.
        """
        frozen = self.step < self.config.frozen_steps
        self.net.train()
        self.net.trunk.train(not frozen)
        self.net.trunk.requires_grad_(not frozen)
        share = learning_rate(self.step, self.config)
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.rate * share * group["factor"]
        parts = losses(self.net(images), targets, radius=self.config.radius, stride=self.config.net.stride)
        loss = total(parts)
        if not torch.isfinite(loss):
            raise UserError(f"step {self.step + 1}: the loss is not finite; the last checkpoint is good")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_([p for p in self.net.parameters() if p.requires_grad], self.config.clip)
        if not torch.isfinite(norm):
            raise UserError(f"step {self.step + 1}: a gradient is not finite; the last checkpoint is good")
        self.optimiser.step()
        self.step += 1
        self._update_average()
        return {name: float(value.detach()) for name, value in parts.items()}

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        own = self.net.state_dict()
        for name, tensor in self.average.state_dict().items():
            if tensor.dtype.is_floating_point:
                tensor.lerp_(own[name], 1 - decay)
            else:
                tensor.copy_(own[name])

    def save(self, folder: Path) -> None:
        """Write the whole state and the averaged weights, each under a temporary name, then renamed.

        A crash or a full disk leaves the last good files.
        """
        path = folder / CHECKPOINT
        state = {
            "config": json.dumps(asdict(self.config)),
            "step": self.step,
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        try:
            with written_whole(path) as temporary:
                torch.save(state, temporary)
            save_weights(self.average, folder / WEIGHTS, {"step": str(self.step)})
        # On a full disk torch.save raises a RuntimeError, and safetensors an error of its own.
        except (OSError, RuntimeError, SafetensorError) as error:
            raise UserError(f"{path}: cannot write the checkpoint: {error}") from error

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint of the same architecture, samples and targets."""
        state = read_checkpoint(path)
        saved = config_from_json(state["config"])
        if saved.net != self.config.net:
            raise UserError(f"{path}: holds {saved.net}, this run is {self.config.net}")
        for name in ("batch", "seed", "size", "radius"):  # they decide which samples come next
            before, now = getattr(saved, name), getattr(self.config, name)
            if before != now:
                raise UserError(f"{path}: was trained with {name} {before}, this run has {now}")
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        factors = [group["factor"] for group in self.optimiser.param_groups]
        self.optimiser.load_state_dict(state["optimiser"])
        for group, factor in zip(self.optimiser.param_groups, factors, strict=True):
            group["factor"] = factor  # this run's rates, not those of the run that wrote the checkpoint
        self.step = int(state["step"])


def config_from_json(text: str) -> TrainConfig:
    """The inverse of the JSON stored in a checkpoint."""
    values = json.loads(text)
    return TrainConfig(**{**values, "net": NetConfig(**values["net"])})


def config_from_table(recipe: dict[str, Any]) -> TrainConfig:
    """A recipe's [net] and [run] tables.

    Raises:
        ValueError: an unknown table or field.
    """
    unknown = recipe.keys() - {"net", "run", "data"}
    if unknown:
        raise ValueError(f"unknown table [{min(unknown)}]: expected [net], [run] and [[data]]")
    for table, kind in (("net", NetConfig), ("run", TrainConfig)):
        fields = {field.name for field in dataclasses.fields(kind)} - {"net"}
        wrong = recipe.get(table, {}).keys() - fields
        if wrong:
            raise ValueError(f"unknown field {min(wrong)} in [{table}]: expected some of {', '.join(sorted(fields))}")
    return TrainConfig(net=NetConfig(**recipe.get("net", {"trunk": "mobile"})), **recipe.get("run", {}))


def train(config: TrainConfig, parts: list[DataPart], out: Path, *, resume: Path | None = None) -> Path:
    """Train, writing `out`/log.jsonl each step and, every few minutes, `out`/last.pt and the averaged weights.

    Ctrl-C writes both before it ends the run.

    Returns:
        `out`/weights.safetensors, the averaged weights.

    Raises:
        UserError: bad data, a checkpoint that does not fit, a folder that cannot be written, a loss that is not finite.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: cannot make the folder: {error.strerror}") from error
    trainer = Trainer(config)
    if resume is not None:
        trainer.restore(resume)
        if trainer.step > config.steps:
            raise UserError(f"{resume}: is at step {trainer.step} already, the run has {config.steps}")
    data = TrainingSet(
        parts,
        size=config.size,
        stride=config.net.stride,
        person_stride=config.net.person_stride,
        radius=config.radius,
        augmentation=Augmentation(),
        seed=config.seed,
        length=config.steps * config.batch,
        start=trainer.step * config.batch,
    )
    loader = DataLoader(data, batch_size=config.batch, num_workers=config.workers, drop_last=True)
    saved = time.monotonic()
    with _interrupts_held() as interrupts, (out / "log.jsonl").open("a", encoding="utf-8") as log, _progress() as bar:
        task = bar.add_task("train", total=config.steps, completed=trainer.step, loss="")
        for record in _steps(trainer, loader):
            log.write(json.dumps(record) + "\n")
            log.flush()
            bar.update(task, completed=trainer.step, loss=f"loss {record['loss']:.3f}")
            if interrupts:
                break
            if time.monotonic() - saved > 60 * config.checkpoint_minutes:
                trainer.save(out)
                saved = time.monotonic()
    trainer.save(out)
    if interrupts:
        raise KeyboardInterrupt
    return out / WEIGHTS


@contextlib.contextmanager
def _interrupts_held() -> Iterator[list[int]]:
    """Ctrl-C adds to the list instead of striking anywhere: half a step must not be saved."""
    interrupts: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, handler)


def _steps(trainer: Trainer, loader: DataLoader[Any]) -> Iterator[dict[str, Any]]:
    """Train on every batch; yields a log record each: step, loss, its parts, share of the time spent on data."""
    mark = time.perf_counter()
    for images, targets in loader:
        waited = time.perf_counter() - mark
        moved = {name: t.to(trainer.device, non_blocking=True) for name, t in targets.items()}
        parts = trainer.train_step(images.to(trainer.device, non_blocking=True), moved)
        taken = time.perf_counter() - mark
        mark = time.perf_counter()
        loss = float(total({name: torch.tensor(parts[name]) for name in HEAD_CHANNELS}))
        yield {
            "step": trainer.step,
            "loss": round(loss, 4),
            **{name: round(value, 4) for name, value in parts.items()},
            "data_share": round(waited / taken, 3),
            "seconds": round(taken, 3),
        }


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
        console=console,
        disable=not console.is_terminal,
    )
