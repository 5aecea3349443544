import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import UserError
from engine.model import NetConfig, PosePlusSegNet
from engine.weights import describe, load_weights, read_metadata, save_weights

NetMaker = Callable[[NetConfig], PosePlusSegNet]


@pytest.fixture
def saved(net: PosePlusSegNet, tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    save_weights(net, path, {"licence": "none"})
    return path


def test_a_network_comes_back_exactly(net: PosePlusSegNet, saved: Path) -> None:
    loaded = load_weights(saved, expected=net.config)
    assert loaded.config == net.config
    assert not loaded.training
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    assert read_metadata(saved)["licence"] == "none"


def test_half_rounds_kernels_and_keeps_vectors(net: PosePlusSegNet, tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    save_weights(net, path, half=True)
    stored = load_file(path)
    loaded = load_weights(path).state_dict()
    for name, tensor in net.state_dict().items():
        if tensor.ndim > 1:
            assert stored[name].dtype == torch.float16
            torch.testing.assert_close(loaded[name], tensor, rtol=1e-3, atol=1e-6)
        else:
            assert torch.equal(stored[name], tensor)
        assert loaded[name].dtype == tensor.dtype


def test_the_auxiliary_head_stays_behind(make_net: NetMaker, tmp_path: Path) -> None:
    net = make_net(NetConfig("mobile", refine=False, aux=True))
    save_weights(net, tmp_path / "net.safetensors")
    loaded = load_weights(tmp_path / "net.safetensors", expected=NetConfig("mobile", refine=False))
    assert loaded.aux_heads is None
    assert loaded.state_dict().keys() == {n for n in net.state_dict() if not n.startswith("aux_heads.")}


def test_files_from_before_the_auxiliary_head_load(net: PosePlusSegNet, saved: Path) -> None:
    config = json.loads(read_metadata(saved)["net_config"])
    del config["aux"]
    save_file(load_file(saved), saved, metadata={"net_config": json.dumps(config)})
    assert load_weights(saved).config == net.config


def test_networks_that_differ_are_described_differently() -> None:
    one = NetConfig("mobile")
    others = [
        one,
        NetConfig("resnet50"),
        NetConfig("mobile", 8),
        NetConfig("mobile", refine=False),
        NetConfig("mobile", refine_width=32),
        NetConfig("mobile", outline_width=32),
        NetConfig("mobile", aux=True),
    ]
    assert len({describe(config) for config in others}) == len(others)
    assert describe(one) == "mobile, trunk stride 16, refined at width 128, outline width 64"


def test_what_float16_cannot_hold_is_refused(make_net: NetMaker, tmp_path: Path) -> None:
    net = make_net(NetConfig("mobile", refine=False))
    with torch.no_grad():
        net.heads.weight[0, 0] = 1e6
    with pytest.raises(ValueError, match=r"heads\.weight: has values that float16 cannot hold"):
        save_weights(net, tmp_path / "net.safetensors", half=True)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(net: PosePlusSegNet, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_weights(net, saved, {"licence": "other"})
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_another_architecture_is_named_with_the_expected_one(saved: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"holds the network mobile, .* width 32, outline width 64, expected resnet50, trunk stride 8, not",
    ):
        load_weights(saved, expected=NetConfig("resnet50", 8, refine=False))


@pytest.mark.parametrize("keep", [0, 4, 200, 5000])
def test_a_damaged_file_is_named(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"net\.safetensors: "):
        load_weights(saved)


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_weights(tmp_path / "net.safetensors")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(1)}, foreign)
    with pytest.raises(UserError, match="not PosePlusSeg weights"):
        load_weights(foreign)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ("{}", "cannot be read"),
        ('{"trunk": "mobile", "colour": 1}', "another version: unknown setting 'colour'"),
        ('{"trunk": "resnet18"}', "trunk: expected one of"),
        ('{"trunk": "mobile"}', "its tensors are not those of mobile"),
    ],
)
def test_a_header_that_does_not_fit_is_named(saved: Path, config: str, message: str) -> None:
    save_file(load_file(saved), saved, metadata={"net_config": config})
    if config == '{"trunk": "mobile"}':
        save_file({"heads.weight": torch.zeros(1)}, saved, metadata={"net_config": config})
    with pytest.raises(UserError, match=message):
        load_weights(saved)


def test_a_tensor_of_another_shape_is_named(net: PosePlusSegNet, saved: Path) -> None:
    tensors = load_file(saved)
    tensors["heads.bias"] = torch.zeros(3)
    save_file(tensors, saved, metadata=read_metadata(saved))
    with pytest.raises(UserError, match=r"heads\.bias: expected \(152,\) in mobile.*got \(3,\)"):
        load_weights(saved)
