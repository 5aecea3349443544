"""Pretrained tensors made up here; the real files are read in test_model.py."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.errors import UserError
from engine.model import NetConfig, PosePlusSegNet
from engine.modes import HEAD_CHANNELS
from engine.training.pretrained import load_pretrained
from engine.weights import save_weights

BODYPIX_NAMES = {
    "keypoint_maps": "keypoint",
    "short_offsets": "short",
    "mid_offsets": "mid",
    "mask_offsets": "long",
    "person_map": "person",
}


def bodypix(net: PosePlusSegNet) -> dict[str, Tensor]:
    """Tensors named as BodyPix's, its layers counted from 1, each full of a number of its own."""
    tensors = {}
    for name, tensor in net.trunk.state_dict().items():
        part, _, rest = name.partition(".")
        if part in ("depthwise", "pointwise"):
            number, _, parameter = rest.partition(".")
            name = f"{part}.{int(number) + 1}.{parameter}"  # noqa: PLW2901
        tensors[name] = torch.full_like(tensor, len(tensors) + 1.0)
    for name, head in BODYPIX_NAMES.items():
        tensors[f"head.{head}.weight"] = torch.full((HEAD_CHANNELS[name], 1024, 1, 1), 64.0 + len(tensors))
        tensors[f"head.{head}.bias"] = torch.full((HEAD_CHANNELS[name],), 64.0 + len(tensors))
    return tensors


def test_bodypix_layers_are_counted_from_one_and_offsets_in_units(tmp_path: Path) -> None:
    net = PosePlusSegNet(NetConfig("mobile", refine_width=16))
    tensors = bodypix(net)
    save_file(tensors, tmp_path / "bodypix.safetensors")
    left = load_pretrained(net, tmp_path / "bodypix.safetensors")
    assert left == [name for name in net.state_dict() if name.startswith("refine.")]
    state = net.state_dict()
    assert (state["trunk.depthwise.0.weight"] == tensors["depthwise.1.weight"]).all()
    assert (state["trunk.pointwise.12.bias"] == tensors["pointwise.13.bias"]).all()
    assert (state["trunk.stem.weight"] == tensors["stem.weight"]).all()
    parts = dict(zip(HEAD_CHANNELS, torch.split(state["heads.bias"], list(HEAD_CHANNELS.values())), strict=True))
    assert (parts.pop("centroid_offsets") == 0).all()  # BodyPix knows none
    for name, part in parts.items():
        unit = 32 if name.endswith("offsets") else 1
        assert (part * unit == tensors[f"head.{BODYPIX_NAMES[name]}.bias"]).all()


def test_resnet_fills_the_trunk(tmp_path: Path) -> None:
    source, net = (PosePlusSegNet(NetConfig("resnet50", refine=False)) for _ in range(2))
    tensors = {n: t.half() for n, t in source.trunk.state_dict().items() if t.is_floating_point() and t.ndim > 1}
    save_file(tensors, tmp_path / "resnet.safetensors")
    left = load_pretrained(net, tmp_path / "resnet.safetensors")
    assert "trunk.layer3.0.conv1.weight" not in left
    assert {"heads.weight", "heads.bias", "trunk.bn1.weight"} <= set(left)
    own = net.state_dict()
    for name, tensor in tensors.items():
        assert torch.equal(own[f"trunk.{name}"], tensor.float())


@pytest.mark.parametrize("half", [False, True])
def test_own_weights_of_a_smaller_network_leave_the_rest(tmp_path: Path, half: bool) -> None:
    plain = PosePlusSegNet(NetConfig("mobile", refine=False))
    refined = PosePlusSegNet(NetConfig("mobile", refine_width=16))
    before = refined.refine.coarse[0].weight.clone()  # type: ignore[union-attr, index, operator]
    save_weights(plain, tmp_path / "plain.safetensors", half=half)
    left = load_pretrained(refined, tmp_path / "plain.safetensors")
    assert left
    assert all(name.startswith("refine.") for name in left)
    assert torch.equal(refined.refine.coarse[0].weight, before)  # type: ignore[union-attr, index, arg-type]
    torch.testing.assert_close(refined.heads.weight, plain.heads.weight, atol=1e-3 if half else 0, rtol=0)


@pytest.mark.parametrize(("had", "has"), [(True, False), (False, True), (True, True)])
def test_an_auxiliary_head_is_copied_where_both_have_one(tmp_path: Path, had: bool, has: bool) -> None:
    source, net = (PosePlusSegNet(NetConfig("mobile", refine=False, aux=aux)) for aux in (had, has))
    weights = source.state_dict()
    torch.save({"config": "", "step": 0, "net": {}, "average": weights, "optimiser": {}}, tmp_path / "last.pt")
    left = load_pretrained(net, tmp_path / "last.pt")
    assert left == (["aux_heads.weight", "aux_heads.bias"] if has and not had else [])
    own = net.state_dict()
    assert all(torch.equal(own[name], weights[name]) for name in own if name not in left)


def test_a_checkpoint_gives_its_averaged_weights(tmp_path: Path) -> None:
    average, last = (PosePlusSegNet(NetConfig("mobile", refine=False)) for _ in range(2))
    state = {"config": "{}", "step": 3, "net": last.state_dict(), "average": average.state_dict(), "optimiser": {}}
    torch.save(state, tmp_path / "last.pt")
    net = PosePlusSegNet(NetConfig("mobile", refine=False))
    assert load_pretrained(net, tmp_path / "last.pt") == []
    assert torch.equal(net.heads.weight, average.heads.weight)


def test_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "wide.safetensors"
    save_weights(PosePlusSegNet(NetConfig("mobile", refine_width=32)), path)
    narrow = PosePlusSegNet(NetConfig("mobile", refine_width=16))
    before = narrow.heads.weight.clone()
    with pytest.raises(UserError, match=rf"{re.escape(str(path))}: does not fit mobile: refine\."):
        load_pretrained(narrow, path)
    assert torch.equal(narrow.heads.weight, before)


@pytest.mark.parametrize("name", ["broken.pt", "missing.pt", "missing.safetensors"])
def test_files_that_cannot_be_read_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "broken.pt").write_bytes(b"PK no archive")
    with pytest.raises(UserError, match=rf"{re.escape(name)}: cannot read"):
        load_pretrained(PosePlusSegNet(NetConfig("mobile", refine=False)), tmp_path / name)
