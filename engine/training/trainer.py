"""One optimiser step after the other: the network, its running average, AdamW, and how they are saved and restored.

Two phases in one run: first the new layers on a frozen trunk, then everything at a low rate.
"""

import copy
import math
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from engine.errors import UserError
from engine.model import AUX, PosePlusSegNet
from engine.modes import HEAD_CHANNELS
from engine.training.checkpoint import read_checkpoint, write_checkpoint
from engine.training.config import TrainConfig, config_from_json, learning_rate
from engine.training.distributed import Group, alone, synchronise_norms
from engine.training.losses import known, losses, total
from engine.training.pretrained import load_pretrained
from engine.weights import describe, save_weights

CHECKPOINT: Final = "last.pt"
WEIGHTS: Final = "weights.safetensors"

_AMP_TYPES: Final = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# What a resumed run must share with the one that wrote the checkpoint: which samples come next, what the layers are.
_LASTING: Final = ("batch", "seed", "size", "radius", "batch_norm")


class Trainer:
    """The state of a run: net, averaged net, optimiser and the step reached.

    Raises:
        UserError: pretrained tensors that do not fit, or an `amp` that this device has not.
    """

    def __init__(self, config: TrainConfig, group: Group | None = None) -> None:
        self.config = config
        self.group = alone() if group is None else group
        self.device = self.group.device
        if config.amp == "fp16" and self.device.type != "cuda":
            raise UserError("amp fp16: needs CUDA; bf16 runs on any device")
        torch.manual_seed(config.seed)
        self.net = PosePlusSegNet(config.net)
        left = load_pretrained(self.net, Path(config.start)) if config.start else list(self.net.state_dict())
        self.frozen_norms = [
            name
            for name, module in self.net.named_modules()
            if config.batch_norm == "frozen"
            and isinstance(module, nn.BatchNorm2d)
            and f"{name}.running_mean" not in left
        ]
        self.net.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.net).eval().requires_grad_(False)
        if config.batch_norm == "sync" and self.group.world > 1:
            synchronise_norms(self.net)
        factors = {"refine.": 1.0, "heads.": config.heads_factor, "trunk.": config.trunk_factor}
        if config.net.aux:
            factors["aux_heads."] = 1.0
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [p for n, p in self.net.named_parameters() if n.startswith(part)], "factor": factor}
                for part, factor in factors.items()
            ],
            lr=config.rate,
            weight_decay=config.weight_decay,
        )
        self.scaler = torch.amp.GradScaler("cuda", enabled=config.amp == "fp16")
        self.step = 0

    def train_step(self, images: Tensor, targets: dict[str, Tensor]) -> dict[str, float]:
        """One optimiser step of this process's share of a batch.

        Returns:
            For the whole batch: the weighted "loss", the unweighted one of each head (and "aux", the weighted sum of
            the auxiliary head's), the "rate" of the refine networks and the "gradient_norm" before clipping.

        Raises:
            UserError: loss or gradient are not finite; the weights are still those of the step before.
        """
        self._enter_phase()
        share = learning_rate(self.step, self.config)
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.rate * share * group["factor"]
        loss, values = self._loss(images, targets)
        if not math.isfinite(values["loss"]):
            raise UserError(f"step {self.step + 1}: the loss is not finite; the last checkpoint is good")
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        learning = [p for p in self.net.parameters() if p.requires_grad]
        self.group.sum_gradients(learning)
        self.scaler.unscale_(self.optimiser)
        norm = float(nn.utils.clip_grad_norm_(learning, self.config.clip))
        # Loss scaling begins too high on purpose and skips such steps until the scale fits.
        if not math.isfinite(norm) and (not self.scaler.is_enabled() or self.scaler.get_scale() < 1):
            raise UserError(f"step {self.step + 1}: a gradient is not finite; the last checkpoint is good")
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.step += 1
        self._update_average()
        return values | {"rate": self.config.rate * share, "gradient_norm": norm}

    def _enter_phase(self) -> None:
        """Which layers learn at this step, and which batch norms by their own statistics."""
        thawed = self.step >= self.config.frozen_steps
        self.net.train()
        self.net.trunk.train(thawed).requires_grad_(thawed)
        for name in self.frozen_norms:
            self.net.get_submodule(name).eval()

    def _loss(self, images: Tensor, targets: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """This process's share of the loss, to go backward from; the values of the whole batch."""
        config = self.config
        with torch.autocast(self.device.type, _AMP_TYPES[config.amp], enabled=config.amp != "off"):
            heads = self.net(images, with_aux=True)
        counts = self.group.summed(known(targets))
        radius, stride = config.radius, config.net.stride
        parts = losses(heads, targets, counts, config.losses, radius=radius, stride=stride)
        loss = total(parts, config.losses)
        values = {"loss": loss, **dict(zip(HEAD_CHANNELS, parts, strict=True))}
        if config.net.aux:
            early = {name: heads[AUX + name] for name in HEAD_CHANNELS}
            aux = total(losses(early, targets, counts, config.losses, radius=radius, stride=stride), config.losses)
            loss = loss + config.losses.aux * aux
            values |= {"loss": loss, "aux": aux}
        return loss, dict(zip(values, self.group.summed(torch.stack([*values.values()])).tolist(), strict=True))

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
        """Write the whole state and the averaged weights, each whole or not at all.

        Raises:
            UserError: one of them cannot be written.
        """
        path = folder / CHECKPOINT
        state = {
            "config": self.config.to_json(),
            "step": self.step,
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "frozen_norms": self.frozen_norms,
        }
        try:
            write_checkpoint(path, state)
            save_weights(self.average, folder / WEIGHTS, {"step": str(self.step)})
        except (OSError, RuntimeError, SafetensorError) as error:  # safetensors has an error of its own for a full disk
            raise UserError(f"{path}: cannot write the checkpoint: {error}") from error

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint of the same architecture, samples and targets.

        Raises:
            UserError: no checkpoint, or of another run than this one.
        """
        state = read_checkpoint(path)
        try:
            saved = config_from_json(state["config"])
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}: written by another version: {error}") from error
        if saved.net != self.config.net:
            raise UserError(f"{path}: holds {describe(saved.net)}; this run is {describe(self.config.net)}")
        for name in _LASTING:
            before, now = getattr(saved, name), getattr(self.config, name)
            if before != now:
                raise UserError(f"{path}: was trained with {name} {before}, this run has {now}")
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        factors = [group["factor"] for group in self.optimiser.param_groups]
        self.optimiser.load_state_dict(state["optimiser"])
        for group, factor in zip(self.optimiser.param_groups, factors, strict=True):
            group["factor"] = factor  # this run's rates, not those of the run that wrote the checkpoint
        if self.scaler.is_enabled() and state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        self.frozen_norms = list(state.get("frozen_norms", []))
        self.step = int(state["step"])
