"""The trunks in PyTorch: picture to features at several strides. Pretrained tensors keep the names they have elsewhere.

`forward` takes (B, 3, height, width) with sides n * 16 + 1, normalised by `mean` and `std`, and gives the features that
each class lists, finest first; `channels` are theirs.
"""

import math
from typing import Final

from torch import Tensor, nn
from torch.nn import functional


class MobileNetV1(nn.Module):
    """MobileNetV1-1.00 without batch norm (folded), ReLU6; stride 16, or 8 by dilation.

    Features (channels) at stride 2 (64), 4 (128) and 8 (256), and at the trunk's, after layer 11 (512) and at the end
    (1024).
    """

    channels = (64, 128, 256, 512, 1024)
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

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = functional.relu6(self.stem(x))
        kept = {}
        for layer, (depthwise, pointwise) in enumerate(zip(self.depthwise, self.pointwise, strict=True), start=1):
            x = functional.relu6(pointwise(functional.relu6(depthwise(x))))
            kept[layer] = x
        return kept[1], kept[3], kept[5], kept[11], kept[13]


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


class Tapped(nn.Sequential):
    """A sequence that also gives what its unit number `tap`, counted from 1, said."""

    def __init__(self, tap: int, units: nn.Sequential) -> None:
        super().__init__(*units)
        self.tap = tap

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        tapped = x
        for number, unit in enumerate(self, start=1):
            x = unit(x)
            if number == self.tap:
                tapped = x
        return tapped, x


class ResNet(nn.Module):
    """ResNet-50/101/152 v1; stride 16, or 8 by dilation.

    Features (channels) at stride 2 (64), 4 (256) and 8 (512), and at the trunk's, two thirds through layer3 (1024) and
    at the end (2048).
    """

    channels = (64, 256, 512, 1024, 2048)
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

    def __init__(self, blocks: tuple[int, int, int, int], stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        third = (2, 1) if stride == 16 else (1, 2)
        fourth = (1, 2) if stride == 16 else (1, 4)
        self.layer1 = self._layer(64, 64, blocks[0], 1, 1)
        self.layer2 = self._layer(256, 128, blocks[1], 2, 1)
        self.layer3 = Tapped(math.ceil(blocks[2] * 2 / 3), self._layer(512, 256, blocks[2], *third))
        self.layer4 = self._layer(1024, 512, blocks[3], *fourth)

    @staticmethod
    def _layer(inplanes: int, planes: int, blocks: int, stride: int, dilation: int) -> nn.Sequential:
        first = Bottleneck(inplanes, planes, stride, dilation)
        return nn.Sequential(first, *(Bottleneck(4 * planes, planes, 1, dilation) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        f2 = functional.relu(self.bn1(self.conv1(x)))
        f4 = self.layer1(functional.max_pool2d(f2, 3, stride=2, padding=1))
        f8 = self.layer2(f4)
        middle, third = self.layer3(f8)
        return f2, f4, f8, middle, self.layer4(third)
