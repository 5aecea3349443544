"""Pretrained tensors into a PosePlusSegNet.

Known are BodyPix MobileNetV1 with its five heads, ResNet layers 1 to 3, and this program's own checkpoints, whose
layers may be fewer than the network's.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.errors import UserError
from engine.model import OFFSET_UNIT_PX, PROBABILITIES, PosePlusSegNet
from engine.modes import HEAD_CHANNELS
from engine.training.checkpoint import read_checkpoint

_BODYPIX_HEADS = {
    "keypoint_maps": "head.keypoint",
    "short_offsets": "head.short",
    "mid_offsets": "head.mid",
    "mask_offsets": "head.long",
    "person_map": "head.person",
}


def load_pretrained(net: PosePlusSegNet, path: Path) -> list[str]:
    """Copy the tensors of a safetensors file or a checkpoint (.pt) into `net`; the names left as they were.

    An auxiliary head in the file is left out where `net` has none.

    Raises:
        UserError: the file cannot be read, or belongs to another trunk.
    """
    tensors = _read_tensors(path)
    if "heads.weight" in tensors:
        state = {n: t for n, t in tensors.items() if net.aux_heads is not None or not n.startswith("aux_heads.")}
    elif "head.keypoint.weight" in tensors:
        state = _from_bodypix(tensors)
    elif "layer3.0.conv1.weight" in tensors:
        state = {f"trunk.{name}": t.float() for name, t in tensors.items() if not name.startswith("fc.")}
    else:
        raise UserError(f"{path}: expected BodyPix, ResNet or our own tensors, got {', '.join(list(tensors)[:3])}, …")
    own = net.state_dict()
    misfit = [name for name, t in state.items() if name not in own or own[name].shape != t.shape]
    if misfit:
        raise UserError(f"{path}: does not fit {net.config.trunk}: {misfit[0]} (and {len(misfit) - 1} more)")
    net.load_state_dict(state, strict=False)
    return [name for name in own if name not in state]


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".pt":
        average: dict[str, Tensor] = read_checkpoint(path)["average"]
        return average
    try:
        return load_file(path)
    except Exception as error:
        raise UserError(f"{path}: cannot read the pretrained weights: {error}") from error


def _from_bodypix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part in ("depthwise", "pointwise"):  # numbered from 1 there, from 0 here
            number, _, parameter = rest.partition(".")
            state[f"trunk.{part}.{int(number) - 1}.{parameter}"] = tensor.float()
        elif part == "stem":
            state[f"trunk.{name}"] = tensor.float()
    for parameter in ("weight", "bias"):
        planes = []
        for head, channels in HEAD_CHANNELS.items():
            if head not in _BODYPIX_HEADS:  # starts at zero
                like = tensors[f"head.person.{parameter}"].float()
                planes.append(torch.zeros(channels, *like.shape[1:]))
                continue
            unit = 1.0 if head in PROBABILITIES else OFFSET_UNIT_PX
            planes.append(tensors[f"{_BODYPIX_HEADS[head]}.{parameter}"].float() / unit)
        state[f"heads.{parameter}"] = torch.cat(planes)
    return state
