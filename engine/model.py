"""The network in PyTorch: trunk, coarse heads at the trunk's stride, and two refine networks to stride 8 and 4.

    picture ─► trunk ─► f16 ─► heads 1x1 (152 channels) ─► upsample ─┬─► + ─► p, S, M, L, C at stride 8
                  ├──── f8 ──► shared context ─► refine "pose" ──────┤    └─► p_S at stride 4
                  │                           └► refine "seg" ───────┤
                  └ f4, f2 ──► outline (p_S alone) ──────────────────┘

The refine networks are the paper's (fig. 2: one for the pose pipeline, one for the segmentation pipeline), read as a
correction at a finer stride. Their last layers start at zero, so a network with pretrained heads begins as it was.

In training, a second set of 1x1 heads in the middle of the trunk may be held to the same targets (auxiliary head).

All grids have n * 16 + 1 input pixels a side, so cell (i, j) at stride s lies exactly on pixel (i * s, j * s) and
upsampling keeps the corners (align_corners=True).
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.modes import HEAD_CHANNELS, POSE_HEADS, SEG_HEADS
from engine.trunks import MobileNetV1, ResNet

PROBABILITIES: Final = ("keypoint_maps", "person_map")
POSE_CHANNELS: Final = sum(HEAD_CHANNELS[name] for name in POSE_HEADS)
SEG_CHANNELS: Final = sum(HEAD_CHANNELS[name] for name in SEG_HEADS)
# Offset layers predict in units of this many px, so that their weights and gradients have the size of the others.
OFFSET_UNIT_PX: Final = 32.0
# What the auxiliary head says is named by the head it stands in for, with this before it.
AUX: Final = "aux_"


@dataclass(frozen=True, slots=True)
class NetConfig:
    """What distinguishes one network from another; stored in every checkpoint.

    Attributes:
        trunk: one of `TRUNKS`.
        trunk_stride: 16 or 8; dilation replaces the missing stride.
        refine: whether the refine networks bring the outputs to stride 8.
        refine_width: channels of the refine networks. outline_width: of their outline part at stride 4.
        aux: whether there is an auxiliary head. Only training computes it.
    """

    trunk: str
    trunk_stride: int = 16
    refine: bool = True
    refine_width: int = 128
    outline_width: int = 64
    aux: bool = False

    @property
    def stride(self) -> int:
        """Input pixels per cell of the keypoint maps and offsets."""
        return 8 if self.refine else self.trunk_stride

    @property
    def person_stride(self) -> int:
        """Input pixels per cell of the person map: outlines want a finer grid than offsets."""
        return 4 if self.refine else self.trunk_stride


TRUNKS: Final[dict[str, Callable[[int], MobileNetV1 | ResNet]]] = {
    "mobile": MobileNetV1,
    "resnet50": lambda stride: ResNet((3, 4, 6, 3), stride),
    "resnet101": lambda stride: ResNet((3, 4, 23, 3), stride),
    "resnet152": lambda stride: ResNet((3, 8, 36, 3), stride),
}


class SeparableBlock(nn.Module):
    """Residual depthwise 5x5 and pointwise 1x1, batch norm and ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width, bias=False)
        self.pointwise = nn.Conv2d(width, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.norm(self.pointwise(self.depthwise(x))))


class RefineNetworks(nn.Module):
    """Corrections of the coarse heads, from the trunk's features at three strides (paper fig. 2 and 5b).

    The pose network corrects p, S and M at stride 8, the segmentation network L, C and p_S at stride 8, and its outline
    part p_S once more at stride 4, where it also sees the trunk's features at stride 4 and 2.
    """

    def __init__(self, channels: tuple[int, ...], width: int, outline_width: int) -> None:
        super().__init__()
        narrow = outline_width
        self.coarse = nn.Sequential(nn.Conv2d(channels[-1], width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.context = nn.Sequential(SeparableBlock(width), SeparableBlock(width))
        self.fine = nn.Sequential(nn.Conv2d(channels[2], width, 1, bias=False), nn.BatchNorm2d(width))
        self.pose = nn.Sequential(SeparableBlock(width), SeparableBlock(width))
        self.seg = nn.Sequential(SeparableBlock(width), SeparableBlock(width))
        self.pose_out = nn.Conv2d(width, POSE_CHANNELS, 1)
        self.seg_out = nn.Conv2d(width, SEG_CHANNELS, 1)
        self.outline_in = nn.Sequential(nn.Conv2d(width, narrow, 1, bias=False), nn.BatchNorm2d(narrow))
        self.outline_fine = nn.Sequential(nn.Conv2d(channels[1], narrow, 1, bias=False), nn.BatchNorm2d(narrow))
        self.outline_finest = nn.Sequential(
            nn.Conv2d(channels[0], channels[0], 5, stride=2, padding=2, groups=channels[0], bias=False),
            nn.Conv2d(channels[0], narrow, 1, bias=False),
            nn.BatchNorm2d(narrow),
        )
        self.outline = nn.Sequential(SeparableBlock(narrow), SeparableBlock(narrow))
        self.outline_out = nn.Conv2d(narrow, HEAD_CHANNELS["person_map"], 1)
        for layer in (self.pose_out, self.seg_out, self.outline_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(
        self, heads: Tensor, f2: Tensor, f4: Tensor, f8: Tensor, coarse: Tensor, *, pose: bool, seg: bool
    ) -> dict[str, Tensor]:
        """Coarse heads (B, 152, …) to what is asked for: "pose" (p, S, M), "seg" (L, C), "person" (at stride 4)."""
        shared = functional.relu(upsample_to(self.context(self.coarse(coarse)), f8) + self.fine(f8))
        parts = {}
        if pose:
            parts["pose"] = upsample_to(heads[:, :POSE_CHANNELS], f8) + self.pose_out(self.pose(shared))
        if seg:
            own = self.seg(shared)
            at_8 = upsample_to(heads[:, POSE_CHANNELS:], f8) + self.seg_out(own)
            around = functional.relu(
                upsample_to(self.outline_in(own), f4) + self.outline_fine(f4) + self.outline_finest(f2)
            )
            parts["seg"] = at_8[:, :-1]
            parts["person"] = upsample_to(at_8[:, -1:], f4) + self.outline_out(self.outline(around))
        return parts


def upsample_to(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear, corners kept: exact for grids of n + 1 and 2 n + 1 cells."""
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return functional.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)


class PosePlusSegNet(nn.Module):
    """Pictures, uint8 (B, height, width, 3) BGR with sides n * 16 + 1, to the six raw heads by name.

    Each is float32 (B, channels, h, w) with the channels of `HEAD_CHANNELS`: logits for the probabilities, input px
    for the offsets, on the grids of `NetConfig.stride` and `NetConfig.person_stride`.
    """

    multiple = 16
    mean: Tensor
    std: Tensor
    unit: Tensor

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        if config.trunk not in TRUNKS:
            raise ValueError(f"trunk: expected one of {', '.join(TRUNKS)}, got {config.trunk!r}")
        if config.trunk_stride not in (8, 16):
            raise ValueError(f"trunk_stride: expected 8 or 16, got {config.trunk_stride}")
        self.config = config
        self.trunk = TRUNKS[config.trunk](config.trunk_stride)
        self.heads = _coarse_heads(self.trunk.channels[-1])
        self.aux_heads = _coarse_heads(self.trunk.channels[-2]) if config.aux else None
        self.refine = (
            RefineNetworks(self.trunk.channels, config.refine_width, config.outline_width) if config.refine else None
        )
        self.register_buffer("mean", torch.tensor(self.trunk.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.trunk.std).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("unit", torch.tensor(OFFSET_UNIT_PX), persistent=False)

    def forward(
        self, images: Tensor, *, wanted: Collection[str] = tuple(HEAD_CHANNELS), with_aux: bool = False
    ) -> dict[str, Tensor]:
        """The wanted of the six heads, and no layer that only the others need.

        `with_aux`: and after them those of the auxiliary head, if there is one, on the same grids; all are wanted then.
        """
        rgb = images.permute(0, 3, 1, 2).flip(1).float()
        f2, f4, f8, middle, coarse = self.trunk((rgb - self.mean) / self.std)
        heads = self.heads(coarse)
        if self.refine is None:
            parts = _split(heads)
        else:
            pose, seg = (not set(wanted).isdisjoint(names) for names in (POSE_HEADS, SEG_HEADS))
            parts = self.refine(heads, f2, f4, f8, coarse, pose=pose, seg=seg)
        named = self._named(parts)
        if with_aux and self.aux_heads is not None:
            early = _split(self.aux_heads(middle))
            also = self._named({name: upsample_to(part, parts[name]) for name, part in early.items()})
            named |= {AUX + name: head for name, head in also.items()}
            return named
        return {name: named[name] for name in wanted}

    def _named(self, parts: dict[str, Tensor]) -> dict[str, Tensor]:
        """Heads by name, offsets in px, of the parts that are there."""
        named = {}
        for part, names in (("pose", POSE_HEADS), ("seg", SEG_HEADS[:-1])):
            if part in parts:
                heads = torch.split(parts[part], [HEAD_CHANNELS[name] for name in names], dim=1)
                for name, head in zip(names, heads, strict=True):
                    named[name] = head if name in PROBABILITIES else head * self.unit
        if "person" in parts:
            named["person_map"] = parts["person"]
        return named


def _split(heads: Tensor) -> dict[str, Tensor]:
    """Coarse heads (B, 152, h, w) as parts: "pose" (p, S, M), "seg" (L, C) and "person"."""
    return {"pose": heads[:, :POSE_CHANNELS], "seg": heads[:, POSE_CHANNELS:-1], "person": heads[:, -1:]}


def _coarse_heads(channels: int) -> nn.Conv2d:
    heads = nn.Conv2d(channels, sum(HEAD_CHANNELS.values()), 1)
    nn.init.xavier_uniform_(heads.weight, gain=0.5)
    nn.init.zeros_(heads.bias)  # type: ignore[arg-type]
    return heads


class InferenceNet(nn.Module):
    """What a back end runs: one picture to the wanted heads in their order, probabilities after the sigmoid."""

    def __init__(self, net: PosePlusSegNet, wanted: tuple[str, ...] = tuple(HEAD_CHANNELS)) -> None:
        super().__init__()
        self.net = net
        self.wanted = wanted

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        heads = self.net(image, wanted=self.wanted)
        return tuple(torch.sigmoid(head) if name in PROBABILITIES else head for name, head in heads.items())
