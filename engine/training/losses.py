"""The five losses, each normalised by its own count of known values; vectors are measured in L1 per vector."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from engine.model import HEAD_CHANNELS

# PersonLab's balance for p, S, M, with twice the weight on p_S, whose outline decides the mask AP; the mask offsets
# are measured in the person's own size, so they weigh like the mid offsets.
LOSS_WEIGHTS: Final = {
    "keypoint_maps": 4.0,
    "short_offsets": 1.0,
    "mid_offsets": 0.5,
    "mask_offsets": 0.5,
    "person_map": 4.0,
}


def losses(heads: dict[str, Tensor], targets: dict[str, Tensor], radius: float) -> dict[str, Tensor]:
    """Unweighted loss of each head, scalars.

    Args:
        heads: the raw heads of `PosePlusSegNet`, logits and px.
        targets: the fields of `engine.training.encode.Targets`, each with a leading batch axis.
        radius: R, px: the unit of the short and mid offsets' errors.
    """
    disks = targets["keypoint_maps"]
    return {
        "keypoint_maps": _cross_entropy(heads["keypoint_maps"], disks, targets["keypoint_weight"]),
        "short_offsets": _vectors(heads["short_offsets"], targets["short_offsets"], disks / radius, disks),
        "mid_offsets": _vectors(
            heads["mid_offsets"], targets["mid_offsets"], targets["mid_weight"] / radius, targets["mid_weight"]
        ),
        "mask_offsets": _vectors(
            heads["mask_offsets"], targets["mask_offsets"], targets["mask_weight"], targets["mask_weight"] > 0
        ),
        "person_map": _cross_entropy(heads["person_map"][:, 0], targets["person_map"], targets["person_weight"]),
    }


def total(parts: dict[str, Tensor]) -> Tensor:
    """The weighted sum that is minimised."""
    return torch.stack([LOSS_WEIGHTS[name] * parts[name] for name in HEAD_CHANNELS]).sum()


def _cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    loss = functional.binary_cross_entropy_with_logits(logits, target, weight=weight, reduction="sum")
    return loss / weight.sum().clamp(min=1)


def _vectors(predicted: Tensor, target: Tensor, weight: Tensor, valid: Tensor) -> Tensor:
    batch, channels, h, w = predicted.shape
    error = (predicted - target).abs().view(batch, channels // 2, 2, h, w).sum(dim=2)
    return (error * weight).sum() / valid.sum().clamp(min=1)
