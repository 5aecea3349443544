"""The six losses, each normalised by its own count of known values; vectors are measured in L1 per vector.

The decode does not use mid and mask offsets as they are: it follows them and refines where they lead. So half of their
loss is measured after the same recursion (the paper's eq. 6), through which the gradient flows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from engine.modes import HEAD_CHANNELS
from engine.skeleton import DIRECTED_EDGES

_TARGETS: Final = [target for _, target in DIRECTED_EDGES]


@dataclass(frozen=True, slots=True)
class LossConfig:
    """What the losses weigh and how far the recursion is followed.

    The weights are PersonLab's balance for p and S, with twice its weight on p_S, whose outline decides the mask AP. M
    and L weigh half of S, C a quarter: L and C are measured in the person's own size, so they have the size of the
    others.

    Attributes:
        keypoint_maps, short_offsets, mid_offsets, mask_offsets, centroid_offsets, person_map: weight of each head.
        aux: weight of the auxiliary head's losses, beside these.
        mid_steps, mask_steps: of the recursion of M, and of L and C; the decode may take more. 0 leaves it out.
    """

    keypoint_maps: float = 4.0
    short_offsets: float = 1.0
    mid_offsets: float = 0.5
    mask_offsets: float = 0.5
    centroid_offsets: float = 0.25
    person_map: float = 4.0
    aux: float = 0.4
    mid_steps: int = 1
    mask_steps: int = 2

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) >= 0:  # nor if it is not a number
                raise ValueError(f"[losses] {name}: expected at least 0, got {getattr(self, name)}")


def known(targets: Mapping[str, Tensor]) -> Tensor:
    """How many values of each head the targets know, in the order of `HEAD_CHANNELS`: float32 (6,).

    The losses of a batch that several processes share are to be divided by the sum of their counts.
    """
    counts = {
        "keypoint_maps": targets["keypoint_weight"].sum(),
        "short_offsets": targets["keypoint_maps"].sum(),
        "mid_offsets": targets["mid_weight"].sum(),
        "mask_offsets": (targets["mask_weight"] > 0).sum(),
        "centroid_offsets": (targets["centroid_weight"] > 0).sum(),
        "person_map": targets["person_weight"].sum(),
    }
    return torch.stack([counts[name].float() for name in HEAD_CHANNELS])


def losses(
    heads: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    counts: Tensor,
    config: LossConfig,
    *,
    radius: float,
    stride: int,
) -> Tensor:
    """Unweighted loss of each head, in the order of `HEAD_CHANNELS`: float32 (6,).

    Args:
        heads: the raw heads of `PosePlusSegNet`, logits and px.
        targets: the fields of `engine.encode.Targets`, each with a leading batch axis.
        counts: of known values (6,), from `known`.
        config: the steps of the recursion.
        radius: R, px: the unit of the short and mid offsets' errors.
        stride: input pixels per cell of the offsets.
    """
    disks = targets["keypoint_maps"]
    short, mid, long, centroid = (
        _fields(heads[name]) for name in ("short_offsets", "mid_offsets", "mask_offsets", "centroid_offsets")
    )
    mids = (mid, recursion(mid, short[:, _TARGETS], stride, config.mid_steps))
    longs = (long, recursion(long, long, stride, config.mask_steps))
    centroids = (centroid, recursion(centroid, centroid, stride, config.mask_steps))
    sums = {
        "keypoint_maps": _cross_entropy(heads["keypoint_maps"], disks, targets["keypoint_weight"]),
        "short_offsets": _vectors([short], targets["short_offsets"], disks / radius),
        "mid_offsets": _vectors(mids, targets["mid_offsets"], targets["mid_weight"] / radius),
        "mask_offsets": _vectors(longs, targets["mask_offsets"], targets["mask_weight"]),
        "centroid_offsets": _vectors(centroids, targets["centroid_offsets"], targets["centroid_weight"][:, None]),
        "person_map": _cross_entropy(heads["person_map"][:, 0], targets["person_map"], targets["person_weight"]),
    }
    return torch.stack([sums[name] for name in HEAD_CHANNELS]) / counts.clamp(min=1)


def total(parts: Tensor, config: LossConfig) -> Tensor:
    """The weighted sum, a scalar, of the parts (6,) of `losses`."""
    return (parts * parts.new_tensor([getattr(config, name) for name in HEAD_CHANNELS])).sum()


def recursion(base: Tensor, field: Tensor, stride: int, steps: int) -> Tensor:
    """Follow `base` and add what `field` says there, `steps` times: B(x) <- B(x) + O(x + B(x)).

    Args:
        base: (B, N, 2, h, w) vectors in px, (dx, dy).
        field: the same shape, sampled bilinearly; outside the grid it adds nothing.
        stride: input pixels per cell.
        steps: 0 or more.
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


def _cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits.float(), target, weight=weight, reduction="sum")


def _fields(head: Tensor) -> Tensor:
    """(B, 2 N, h, w) with interleaved (dx, dy) to (B, N, 2, h, w), contiguous float32."""
    batch, channels, h, w = head.shape
    return head.float().reshape(batch, channels // 2, 2, h, w)


def _vectors(predicted: Sequence[Tensor], target: Tensor, weight: Tensor) -> Tensor:
    """Mean over several predictions of the sum of their errors' weighted L1 lengths."""
    goal = _fields(target)
    error = torch.stack([(one - goal).abs().sum(dim=2) for one in predicted]).mean(dim=0)
    return (error * weight).sum()
