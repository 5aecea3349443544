"""The network in PyTorch: trunk, coarse heads at the trunk's stride, and two refine networks to stride 8 and 4.

    picture ─► trunk ─► f16 ─► heads 1x1 (150 channels) ─► upsample ─┬─► + ─► p, S, M, L at stride 8
                  ├──── f8 ──► shared context ─► refine "pose" ──────┤    └─► p_S at stride 4
                  │                           └► refine "seg" ───────┤
                  └──── f4 ──► outline (p_S alone) ──────────────────┘

The refine networks are the paper's (fig. 2: one for the pose pipeline, one for the segmentation pipeline), read as a
correction at a finer stride. Their last layers start at zero, so a network with pretrained heads begins as it was.

All grids have n * 16 + 1 input pixels a side, so cell (i, j) at stride s lies exactly on pixel (i * s, j * s) and
upsampling keeps the corners (align_corners=True).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.skeleton import NUM_EDGES, NUM_KEYPOINTS

# Output channels, in this order, the person map last; offsets are (dx, dy) interleaved per keypoint or directed edge,
# input px.
HEAD_CHANNELS: Final = {
    "keypoint_maps": NUM_KEYPOINTS,
    "short_offsets": 2 * NUM_KEYPOINTS,
    "mid_offsets": 4 * NUM_EDGES,
    "mask_offsets": 2 * NUM_KEYPOINTS,
    "person_map": 1,
}
PROBABILITIES: Final = ("keypoint_maps", "person_map")
POSE_HEADS: Final = ("keypoint_maps", "short_offsets", "mid_offsets")
SEG_HEADS: Final = ("mask_offsets", "person_map")
# Offset layers predict in units of this many px, so that their weights and gradients have the size of the others.
OFFSET_UNIT_PX: Final = 32.0


@dataclass(frozen=True, slots=True)
class NetConfig:
    """What distinguishes one network from another; stored in every checkpoint.

    Attributes:
        trunk: one of `TRUNKS`.
        trunk_stride: 16 or 8; dilation replaces the missing stride.
        refine: whether the refine networks bring the outputs to stride 8.
        refine_width: channels of the refine networks.
    """

    trunk: str
    trunk_stride: int = 16
    refine: bool = True
    refine_width: int = 128

    @property
    def stride(self) -> int:
        """Input pixels per cell of the keypoint maps and offsets."""
        return 8 if self.refine else self.trunk_stride

    @property
    def person_stride(self) -> int:
        """Input pixels per cell of the person map: outlines want a finer grid than offsets."""
        return 4 if self.refine else self.trunk_stride


class MobileNetV1(nn.Module):
    """MobileNetV1-1.00 without batch norm (folded), ReLU6; features at stride 4 (128), 8 (256), 16 or 8 (1024)."""

    channels = (128, 256, 1024)
    mean, std = (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)

    WIDTHS: Final = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, stride=2, padding=1)
        self.depthwise = nn.ModuleList()
        self.pointwise = nn.ModuleList()
        for i in range(1, 14):
            narrow, wide = self.WIDTHS[i - 1], self.WIDTHS[i]
            step, dilation = self._geometry(i, stride)
            self.depthwise.append(
                nn.Conv2d(narrow, narrow, 3, stride=step, padding=dilation, dilation=dilation, groups=narrow)
            )
            self.pointwise.append(nn.Conv2d(narrow, wide, 1))

    @staticmethod
    def _geometry(layer: int, stride: int) -> tuple[int, int]:
        """(stride, dilation) of depthwise layer 1..13 for a trunk stride of 16 or 8."""
        if stride == 16:
            return (2 if layer in (2, 4, 6) else 1), (2 if layer == 13 else 1)
        return (2 if layer in (2, 4) else 1), (4 if layer == 13 else 2 if layer >= 7 else 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = functional.relu6(self.stem(x))
        kept = {}
        for layer, (depthwise, pointwise) in enumerate(zip(self.depthwise, self.pointwise, strict=True), start=1):
            x = functional.relu6(pointwise(functional.relu6(depthwise(x))))
            kept[layer] = x
        return kept[3], kept[5], kept[13]


class Bottleneck(nn.Module):
    """ResNet v1 bottleneck with torchvision's parameter names; the stride sits on the first 1x1 (He et al. 2016)."""

    def __init__(self, inplanes: int, planes: int, stride: int, dilation: int) -> None:
        super().__init__()
        wide = 4 * planes
        self.conv1 = nn.Conv2d(inplanes, planes, 1, stride=stride, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inplanes, wide, 1, stride=stride, bias=False), nn.BatchNorm2d(wide))
            if inplanes != wide
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        return functional.relu(self.bn3(self.conv3(x)) + shortcut)


class ResNet(nn.Module):
    """ResNet-50/101/152, dilated to stride 16 or 8; features at stride 4 (256), 8 (512) and the trunk's (2048)."""

    channels = (256, 512, 2048)
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

    def __init__(self, blocks: tuple[int, int, int, int], stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        third = (2, 1) if stride == 16 else (1, 2)
        fourth = (1, 2) if stride == 16 else (1, 4)
        self.layer1 = self._layer(64, 64, blocks[0], 1, 1)
        self.layer2 = self._layer(256, 128, blocks[1], 2, 1)
        self.layer3 = self._layer(512, 256, blocks[2], *third)
        self.layer4 = self._layer(1024, 512, blocks[3], *fourth)

    @staticmethod
    def _layer(inplanes: int, planes: int, blocks: int, stride: int, dilation: int) -> nn.Sequential:
        first = Bottleneck(inplanes, planes, stride, dilation)
        return nn.Sequential(first, *(Bottleneck(4 * planes, planes, 1, dilation) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = functional.relu(self.bn1(self.conv1(x)))
        finest = self.layer1(functional.max_pool2d(x, 3, stride=2, padding=1))
        fine = self.layer2(finest)
        return finest, fine, self.layer4(self.layer3(fine))


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

    The pose network corrects p, S and M at stride 8, the segmentation network L and p_S at stride 8, and its outline
    part p_S once more at stride 4.
    """

    OUTLINE_WIDTH: Final = 32

    def __init__(self, channels: tuple[int, int, int], width: int) -> None:
        super().__init__()
        narrow = self.OUTLINE_WIDTH
        self.coarse = nn.Sequential(nn.Conv2d(channels[2], width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.context = nn.Sequential(SeparableBlock(width), SeparableBlock(width))
        self.fine = nn.Sequential(nn.Conv2d(channels[1], width, 1, bias=False), nn.BatchNorm2d(width))
        self.pose = nn.Sequential(SeparableBlock(width), SeparableBlock(width))
        self.seg = nn.Sequential(SeparableBlock(width), SeparableBlock(width))
        self.pose_out = nn.Conv2d(width, sum(HEAD_CHANNELS[name] for name in POSE_HEADS), 1)
        self.seg_out = nn.Conv2d(width, sum(HEAD_CHANNELS[name] for name in SEG_HEADS), 1)
        self.outline_in = nn.Sequential(nn.Conv2d(width, narrow, 1, bias=False), nn.BatchNorm2d(narrow))
        self.outline_fine = nn.Sequential(nn.Conv2d(channels[0], narrow, 1, bias=False), nn.BatchNorm2d(narrow))
        self.outline = SeparableBlock(narrow)
        self.outline_out = nn.Conv2d(narrow, HEAD_CHANNELS["person_map"], 1)
        for layer in (self.pose_out, self.seg_out, self.outline_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, heads: Tensor, finest: Tensor, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Coarse heads (B, 150, …) to all but the last channel at stride 8 and the last (person map) at stride 4."""
        context = upsample_to(self.context(self.coarse(coarse)), fine)
        shared = functional.relu(context + self.fine(fine))
        seg = self.seg(shared)
        at_8 = upsample_to(heads, fine) + torch.cat([self.pose_out(self.pose(shared)), self.seg_out(seg)], dim=1)
        outline = functional.relu(upsample_to(self.outline_in(seg), finest) + self.outline_fine(finest))
        person = upsample_to(at_8[:, -1:], finest) + self.outline_out(self.outline(outline))
        return at_8[:, :-1], person


def upsample_to(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear, corners kept: exact for grids of n + 1 and 2 n + 1 cells."""
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return functional.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)


class PosePlusSegNet(nn.Module):
    """Pictures, uint8 (B, height, width, 3) BGR with sides n * 16 + 1, to the five raw heads by name.

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
        self.heads = nn.Conv2d(self.trunk.channels[-1], sum(HEAD_CHANNELS.values()), 1)
        nn.init.xavier_uniform_(self.heads.weight, gain=0.5)
        nn.init.zeros_(self.heads.bias)  # type: ignore[arg-type]
        self.refine = RefineNetworks(self.trunk.channels, config.refine_width) if config.refine else None
        self.register_buffer("mean", torch.tensor(self.trunk.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.trunk.std).view(1, 3, 1, 1), persistent=False)
        unit = torch.cat(
            [
                torch.full((count,), 1.0 if name in PROBABILITIES else OFFSET_UNIT_PX)
                for name, count in HEAD_CHANNELS.items()
                if name != "person_map"
            ]
        )
        self.register_buffer("unit", unit.view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        rgb = images.permute(0, 3, 1, 2).flip(1).float()
        finest, fine, coarse = self.trunk((rgb - self.mean) / self.std)
        heads = self.heads(coarse)
        if self.refine is None:
            maps, person = heads[:, :-1], heads[:, -1:]
        else:
            maps, person = self.refine(heads, finest, fine, coarse)
        parts = torch.split(maps * self.unit, list(HEAD_CHANNELS.values())[:-1], dim=1)
        return dict(zip(HEAD_CHANNELS, (*parts, person), strict=True))


class InferenceNet(nn.Module):
    """What a back end runs: one picture to the five heads, probabilities after the sigmoid."""

    def __init__(self, net: PosePlusSegNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        heads = self.net(image)
        return tuple(torch.sigmoid(heads[name]) if name in PROBABILITIES else heads[name] for name in HEAD_CHANNELS)
