"""What a network costs: parameters, multiply-accumulates and output shapes, from its description alone.

Counted are the multiply-accumulates (MAC) of the convolutions, by PyTorch's own counter, on the "meta" device: shapes
without numbers, so even ResNet-152 takes a moment. Batch norm, activations, pooling and upsampling are left out:
below 1 % of a ResNet.

The paper's Table 11 (4.04, 7.69, 11.34 GMAC and 25.5, 44.5, 60.1 M parameters "at 256x192") lists not its networks but
the ImageNet classifiers with these trunks: stride 32, torchvision's layout, the layer of 1000 classes included.
`tests/engine/test_complexity.py` derives all six figures, and the difference to what is counted here.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from engine.model import NetConfig, PosePlusSegNet

# The first prefix of a module's name that fits says which part of the network it is; without one, its first name does.
_PARTS: Final = (
    ("aux_heads", "auxiliary heads"),  # only training runs them
    ("refine.pose", "refine pose"),
    ("refine.seg", "refine seg"),
    ("refine.outline", "outline"),
    ("refine.", "refine shared"),
)
_FLOPS_PER_MAC: Final = 2  # the counter's convention: a multiplication and an addition


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a network: its trained numbers, and the multiply-accumulates of one picture."""

    name: str
    parameters: int
    macs: int


@dataclass(frozen=True, slots=True)
class Complexity:
    """What one network costs at one input size.

    Attributes:
        config: the network.
        input_hw: (height, width) of the input, px.
        parts: in the order of the network.
        outputs: (channels, h, w) of each output by its name.
    """

    config: NetConfig
    input_hw: tuple[int, int]
    parts: tuple[Part, ...]
    outputs: dict[str, tuple[int, int, int]]

    @property
    def total(self) -> Part:
        """All parts together."""
        return Part("total", sum(part.parameters for part in self.parts), sum(part.macs for part in self.parts))


def measure(config: NetConfig, input_hw: tuple[int, int]) -> Complexity:
    """The cost of one picture of (height, width) input px, which need not be n * 16 + 1 here.

    Raises:
        ValueError: no such network (see `PosePlusSegNet`).
    """
    with torch.device("meta"):
        net = PosePlusSegNet(config).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            outputs = net(torch.zeros(1, *input_hw, 3, dtype=torch.uint8))
    counts = counter.get_flop_counts()
    parameters: dict[str, int] = {}
    macs: dict[str, int] = {}
    for name, module in net.named_modules():
        own = sum(tensor.numel() for tensor in module.parameters(recurse=False))
        part = _part(name)
        if own:
            parameters[part] = parameters.get(part, 0) + own
        if isinstance(module, nn.Conv2d):
            flops = sum(counts.get(f"{type(net).__name__}.{name}", {}).values())
            macs[part] = macs.get(part, 0) + flops // _FLOPS_PER_MAC
    if sum(macs.values()) * _FLOPS_PER_MAC != counter.get_total_flops():
        raise AssertionError("multiply-accumulates outside the convolutions: teach `measure` to count them")
    return Complexity(
        config=config,
        input_hw=input_hw,
        parts=tuple(Part(name, count, macs.get(name, 0)) for name, count in parameters.items()),
        outputs={name: (output.shape[1], output.shape[2], output.shape[3]) for name, output in outputs.items()},
    )


def _part(module: str) -> str:
    return next((part for prefix, part in _PARTS if module.startswith(prefix)), module.partition(".")[0])
