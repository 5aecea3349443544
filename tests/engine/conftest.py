"""Networks with seeded random weights, and one of them released into a temporary folder."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from engine.export import release
from engine.model import NetConfig, PosePlusSegNet
from engine.models import ModelEntry
from engine.structures import ByteArray

NetMaker = Callable[[NetConfig], PosePlusSegNet]


@pytest.fixture(scope="session")
def make_net() -> NetMaker:
    """A network in eval mode whose every part has a say: no zero layers, no batch norm that does nothing."""

    def make(config: NetConfig) -> PosePlusSegNet:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            net = PosePlusSegNet(config).eval()
            for module in net.modules():
                if isinstance(module, nn.BatchNorm2d):
                    nn.init.normal_(module.running_mean, std=0.1)
                    nn.init.uniform_(module.running_var, 0.5, 1.5)
                    nn.init.uniform_(module.weight, 0.5, 1.0)
                    nn.init.normal_(module.bias, std=0.1)
            if net.refine is not None:
                nn.init.normal_(net.refine.pose_out.weight, std=0.1)
                nn.init.normal_(net.refine.seg_out.weight, std=0.1)
                nn.init.normal_(net.refine.outline_out.weight, std=0.1)
        return net

    return make


@pytest.fixture(scope="session")
def net(make_net: NetMaker) -> PosePlusSegNet:
    return make_net(NetConfig("mobile", refine_width=32))


@pytest.fixture(scope="session")
def entry(net: PosePlusSegNet, tmp_path_factory: pytest.TempPathFactory) -> ModelEntry:
    """The network above, exported once for all tests; they must not change its files."""
    registry = tmp_path_factory.mktemp("assets") / "models.toml"
    return release(
        net,
        "tiny",
        licence="none",
        training_data="none: random",
        input_size=129,
        metrics={"ap": 0.0},
        registry=registry,
    )[0]


@pytest.fixture
def copied_entry(entry: ModelEntry, tmp_path: Path) -> ModelEntry:
    """A copy of the release, models.toml included, whose files a test may damage."""
    for path in (entry.onnx, entry.weights, entry.onnx.with_name("models.toml")):
        shutil.copy(path, tmp_path / path.name)
    return dataclasses.replace(entry, onnx=tmp_path / entry.onnx.name, weights=tmp_path / entry.weights.name)


@pytest.fixture
def make_picture() -> Callable[[int, int], ByteArray]:
    """Seeded noise over a colour ramp: uint8 (height, width, 3)."""

    def make(height: int, width: int) -> ByteArray:
        noise = np.random.default_rng(height * 10_000 + width).integers(0, 128, (height, width, 3))
        ramp = np.linspace(0, 127, height)[:, None, None] * np.linspace(0, 1, width)[None, :, None]
        return (noise + ramp).astype(np.uint8)

    return make
