"""Reading training checkpoints: only tensors and plain values are ever unpickled."""

from pathlib import Path
from typing import Any

import torch

from engine.errors import UserError


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's state: config (JSON text), step, net, average, optimiser.

    Raises:
        UserError: unreadable, damaged, or not a checkpoint of this program.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"{path}: cannot read the checkpoint: {error}") from error
    if not isinstance(state, dict) or not {"config", "step", "net", "average", "optimiser"} <= state.keys():
        raise UserError(f"{path}: not a training checkpoint of this program")
    return state
