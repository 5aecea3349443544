"""The five losses, each normalised by its own count of known values; vectors are measured in L1 per vector.

The decode does not use mid and mask offsets as they are: it follows them and refines where they lead. So half of their
loss is measured after the same recursion (the paper's eq. 6), through which the gradient flows.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from engine.model import HEAD_CHANNELS
from engine.skeleton import DIRECTED_EDGES

_TARGETS: Final = [target for _, target in DIRECTED_EDGES]
# Steps of the recursion during training; the decode may take more.
MID_STEPS: Final = 1
MASK_STEPS: Final = 2

# PersonLab's balance for p and S, with twice its weight on p_S, whose outline decides the mask AP. M and L weigh half
# of S: L is measured in the person's own size, so it has the size of the others.
LOSS_WEIGHTS: Final = {
    "keypoint_maps": 4.0,
    "short_offsets": 1.0,
    "mid_offsets": 0.5,
    "mask_offsets": 0.5,
    "person_map": 4.0,
}


def losses(heads: dict[str, Tensor], targets: dict[str, Tensor], *, radius: float, stride: int) -> dict[str, Tensor]:
    """Unweighted loss of each head, scalars.

    Args:
        heads: the raw heads of `PosePlusSegNet`, logits and px.
        targets: the fields of `engine.training.encode.Targets`, each with a leading batch axis.
        radius: R, px: the unit of the short and mid offsets' errors.
        stride: input pixels per cell of the offsets.
    """
    disks = targets["keypoint_maps"]
    short, mid, long = (_fields(heads[name]) for name in ("short_offsets", "mid_offsets", "mask_offsets"))
    mids = (mid, recursion(mid, short[:, _TARGETS], stride, MID_STEPS))
    longs = (long, recursion(long, long, stride, MASK_STEPS))
    return {
        "keypoint_maps": _cross_entropy(heads["keypoint_maps"], disks, targets["keypoint_weight"]),
        "short_offsets": _vectors([short], targets["short_offsets"], disks / radius, disks),
        "mid_offsets": _vectors(mids, targets["mid_offsets"], targets["mid_weight"] / radius, targets["mid_weight"]),
        "mask_offsets": _vectors(
            longs, targets["mask_offsets"], targets["mask_weight"], (targets["mask_weight"] > 0).float()
        ),
        "person_map": _cross_entropy(heads["person_map"][:, 0], targets["person_map"], targets["person_weight"]),
    }


def total(parts: dict[str, Tensor]) -> Tensor:
    """The weighted sum that is minimised."""
    return torch.stack([LOSS_WEIGHTS[name] * parts[name] for name in HEAD_CHANNELS]).sum()


def _cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    loss = functional.binary_cross_entropy_with_logits(logits, target, weight=weight, reduction="sum")
    return loss / weight.sum().clamp(min=1)


def recursion(base: Tensor, field: Tensor, stride: int, steps: int) -> Tensor:
    """Follow `base` and add what `field` says there, `steps` times: B(x) <- B(x) + O(x + B(x)).

    Args:
        base: (B, N, 2, h, w) vectors in px, (dx, dy).
        field: the same shape, sampled bilinearly; outside the grid it adds nothing.
    """
    batch, count, _, h, w = base.shape
    rows = torch.arange(h, device=base.device, dtype=base.dtype) * stride
    cols = torch.arange(w, device=base.device, dtype=base.dtype) * stride
    start = torch.stack([cols.expand(h, w), rows[:, None].expand(h, w)])  # (2, h, w)
    size = base.new_tensor([(w - 1) * stride, (h - 1) * stride]).view(2, 1, 1)
    planes = field.reshape(batch * count, 2, h, w)
    for _ in range(steps):
        places = (start + base) / size * 2 - 1  # grid_sample wants -1 to 1
        grid = places.reshape(batch * count, 2, h, w).permute(0, 2, 3, 1)
        base = base + functional.grid_sample(planes, grid, align_corners=True).view_as(base)
    return base


def _fields(head: Tensor) -> Tensor:
    """(B, 2 N, h, w) with interleaved (dx, dy) to (B, N, 2, h, w), contiguous float32."""
    batch, channels, h, w = head.shape
    return head.float().reshape(batch, channels // 2, 2, h, w)


def _vectors(predicted: Sequence[Tensor], target: Tensor, weight: Tensor, valid: Tensor) -> Tensor:
    """Mean over several predictions of the weighted L1 length of their errors."""
    goal = _fields(target)
    error = torch.stack([(one - goal).abs().sum(dim=2) for one in predicted]).mean(dim=0)
    return (error * weight).sum() / valid.sum().clamp(min=1)
