"""A network's weights as one safetensors file whose header says which network they are for.

Such a file is for using a network: it never holds the auxiliary head, which training alone computes.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from engine.errors import UserError
from engine.files import written_whole
from engine.model import NetConfig, PosePlusSegNet

_CONFIG_KEY: Final = "net_config"
_AUX_PREFIX: Final = "aux_heads."


def save_weights(
    net: PosePlusSegNet, path: Path, metadata: Mapping[str, str] | None = None, *, half: bool = False
) -> None:
    """Write a network's tensors, its `NetConfig` and `metadata`; the file appears whole or not at all.

    The auxiliary head is left out, and the stored `NetConfig` is that of the network without it.

    Args:
        net: on any device, in any mode; it is not changed.
        path: the safetensors file; its folder must exist.
        metadata: more text for the header; the key "net_config" is taken.
        half: store kernels as float16. Vectors (biases, batch norm) stay float32: they are few, and a variance may
            leave float16's range.

    Raises:
        ValueError: a key that is taken, or a kernel with values that float16 cannot hold.
    """
    header = dict(metadata or {})
    if _CONFIG_KEY in header:
        raise ValueError(f"metadata: the key {_CONFIG_KEY!r} is taken")
    header[_CONFIG_KEY] = json.dumps(asdict(replace(net.config, aux=False)), sort_keys=True)
    tensors = {}
    for name, tensor in net.state_dict().items():
        if name.startswith(_AUX_PREFIX):
            continue
        stored = tensor.detach().cpu().contiguous()
        if half and stored.is_floating_point() and stored.ndim > 1:
            stored = stored.half()
            if not torch.isfinite(stored).all():
                raise ValueError(f"{name}: has values that float16 cannot hold")
        tensors[name] = stored
    with written_whole(path) as temporary:
        save_file(tensors, temporary, metadata=header)
        temporary.chmod(0o644)  # save_file leaves it readable by its owner alone


def load_weights(path: Path, expected: NetConfig | None = None) -> PosePlusSegNet:
    """The network in a file of `save_weights`, float32, on the CPU, in eval mode.

    Raises:
        UserError: missing, damaged, not one of ours, or a network other than `expected`.
    """
    config = _parse_config(path, read_metadata(path))
    if expected is not None and config != expected:
        raise UserError(f"{path}: holds the network {describe(config)}, expected {describe(expected)}")
    try:
        net = PosePlusSegNet(config)
        tensors = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"{path}: cannot load the network: {error}") from error
    state = net.state_dict()
    if odd := sorted(state.keys() ^ tensors.keys()):
        raise UserError(f"{path}: its tensors are not those of {describe(config)}: {odd[0]} (and {len(odd) - 1} more)")
    for name, tensor in tensors.items():
        if tensor.shape != state[name].shape:
            raise UserError(
                f"{path}: {name}: expected {tuple(state[name].shape)} in {describe(config)}, got {tuple(tensor.shape)}"
            )
    net.load_state_dict(tensors)  # copies into the network's own float32
    return net.eval()


def read_metadata(path: Path) -> dict[str, str]:
    """The text in a safetensors file's header.

    Raises:
        UserError: missing or not a safetensors file.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: not a readable safetensors file: {error}") from error


def describe(config: NetConfig) -> str:
    """A network's architecture in words: "mobile, trunk stride 16, refined at width 128, outline width 64"."""
    words = [config.trunk, f"trunk stride {config.trunk_stride}"]
    if config.refine:
        words += [f"refined at width {config.refine_width}", f"outline width {config.outline_width}"]
    else:
        words += ["not refined"]
    return ", ".join(words + ["auxiliary head"] * config.aux)


def _parse_config(path: Path, metadata: Mapping[str, str]) -> NetConfig:
    if _CONFIG_KEY not in metadata:
        raise UserError(f"{path}: not PosePlusSeg weights: its header has no {_CONFIG_KEY!r}")
    try:
        stored = json.loads(metadata[_CONFIG_KEY])
        known = {field.name for field in fields(NetConfig)}
        if unknown := sorted(stored.keys() - known):
            raise UserError(f"{path}: written by another version: unknown setting {unknown[0]!r}")
        return NetConfig(**stored)
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: its {_CONFIG_KEY!r} cannot be read: {error}") from error
