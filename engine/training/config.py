"""What a run is made of: its numbers, from a recipe's tables or a checkpoint, and the learning rate they lead to."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from engine.model import NetConfig
from engine.training.augmentation import Augmentation
from engine.training.losses import LossConfig

_CHOICES: Final = {"amp": ("off", "bf16", "fp16"), "batch_norm": ("frozen", "batch", "sync")}


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """A whole run; stored in its checkpoints.

    Attributes:
        net: the architecture. losses: what they weigh. augmentation: of the samples.
        start: pretrained tensors or None for random ones.
        size: side of a training crop, n * 16 + 1. radius: R, px.
        steps: in all; frozen_steps: of them with the trunk (and its batch norm) frozen; warmup_steps.
        batch: pictures a step, over all processes. workers: data processes of each process.
        rate: of the refine networks; heads_factor, trunk_factor: of it, for the coarse heads and the trunk.
        weight_decay, clip: AdamW's decay; largest gradient norm.
        ema: decay of the averaged weights that are shipped.
        amp: "off", or the type of the network's forward pass: "bf16", "fp16" (CUDA alone; with loss scaling).
        batch_norm: which statistics normalise. "frozen": the pretrained ones, wherever `start` has some, and each
            process's own elsewhere; "batch": each process's own pictures; "sync": those of all processes (CUDA alone).
        checkpoint_minutes: how often the state is written. picture_steps: how often TensorBoard gets pictures, 0 never.
        seed: of samples and weights.
    """

    net: NetConfig
    losses: LossConfig = field(default_factory=LossConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
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
    amp: str = "off"
    batch_norm: str = "batch"
    checkpoint_minutes: float = 3.0
    picture_steps: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"[run] {name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if self.picture_steps < 0:
            raise ValueError(f"[run] picture_steps: expected at least 0, got {self.picture_steps}")

    def to_json(self) -> str:
        """The whole configuration as text, for a checkpoint."""
        return json.dumps(asdict(self))


# The tables of a recipe beside [run], whose fields are TrainConfig's own.
TABLES: Final[Mapping[str, Any]] = {"net": NetConfig, "losses": LossConfig, "augmentation": Augmentation}


def config_from_json(text: str) -> TrainConfig:
    """The inverse of `TrainConfig.to_json`; what an older version did not know gets its default."""
    values = json.loads(text)
    tables = {name: kind(**values.pop(name, {})) for name, kind in TABLES.items()}
    return TrainConfig(**tables, **values)


def config_from_table(recipe: Mapping[str, Any]) -> TrainConfig:
    """A recipe's [net], [losses], [augmentation] and [run] tables, whose names and types have been looked through.

    Raises:
        ValueError: a value that no run can be made of.
    """
    given = {"net": {"trunk": "mobile"}, **recipe}
    tables = {name: kind(**given.get(name, {})) for name, kind in TABLES.items()}
    return TrainConfig(**tables, **given.get("run", {}))


def learning_rate(step: int, config: TrainConfig) -> float:
    """Share of the base rate at a step: linear warm-up, then half a cosine to zero."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
