"""What test_distributed.py runs under torchrun: FOLDER PICTURES ANNOTATIONS; FOLDER/config.json says what to train."""

import contextlib
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.training import trainer
from engine.training.config import config_from_json
from engine.training.dataset import DataPart
from engine.training.distributed import joined
from engine.training.train import train
from engine.training.trainer import CHECKPOINT

folder, pictures, annotations = map(Path, sys.argv[1:])
torch.set_num_threads(1)
config = config_from_json((folder / "config.json").read_text())
parts = [DataPart(pictures, annotations)]
losses = trainer.losses

with joined() as group:
    train(config, parts, folder / "whole", group=group)

    def losses_with_ctrl_c(*args: Any, **kwargs: Any) -> Tensor:
        """In the middle of the first step, and for the second process only."""
        trainer.losses = losses
        if group.rank == 1:
            signal.raise_signal(signal.SIGINT)
        return losses(*args, **kwargs)

    trainer.losses = losses_with_ctrl_c
    with contextlib.suppress(KeyboardInterrupt):
        train(config, parts, folder / "resumed", group=group)
    assert group.any(group.leads)  # all have come so far; and the first has saved
    step = torch.load(folder / "resumed" / CHECKPOINT, weights_only=True)["step"]
    (folder / f"stopped-{group.rank}").write_text(str(step))
    train(config, parts, folder / "resumed", resume=folder / "resumed" / CHECKPOINT, group=group)

names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
assert not [name for name in names if "gloo" in name], names
