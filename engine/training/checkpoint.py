"""Training checkpoints: files that appear whole, and of which only tensors and plain values are ever unpickled."""

from pathlib import Path
from typing import Any, Final

import torch

from engine.errors import UserError
from engine.files import written_whole

_KEYS: Final = {"config", "step", "net", "average", "optimiser"}


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint for `read_checkpoint`; a crash or a full disk leaves the last good one.

    Raises:
        OSError, RuntimeError: it cannot be written; on a full disk torch.save raises the latter.
    """
    with written_whole(path) as temporary:
        torch.save(state, temporary)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's state: config (JSON text), step, net, average, optimiser, and what newer ones hold besides.

    Raises:
        UserError: unreadable, damaged, or not a checkpoint of this program.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"{path}: cannot read the checkpoint: {error}") from error
    if not isinstance(state, dict) or not state.keys() >= _KEYS:
        raise UserError(f"{path}: not a training checkpoint of this program")
    return state
