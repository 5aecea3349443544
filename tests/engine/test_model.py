from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from engine.errors import UserError
from engine.model import AUX, PROBABILITIES, TRUNKS, InferenceNet, NetConfig, PosePlusSegNet
from engine.modes import HEAD_CHANNELS
from engine.training.pretrained import load_pretrained

NetMaker = Callable[[NetConfig], PosePlusSegNet]


def picture(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return torch.randint(0, 256, (1, height, width, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("refine", [True, False])
@pytest.mark.parametrize("trunk_stride", [16, 8])
@pytest.mark.parametrize("trunk", TRUNKS)
def test_every_network_gives_all_heads_on_their_grids(trunk: str, trunk_stride: int, refine: bool) -> None:
    config = NetConfig(trunk, trunk_stride, refine)
    with torch.device("meta"):  # shapes without numbers: ResNet-152 in a blink
        outputs = PosePlusSegNet(config).eval()(torch.zeros(2, 65, 81, 3, dtype=torch.uint8))
    assert (config.stride, config.person_stride) == ((8, 4) if refine else (trunk_stride, trunk_stride))
    assert list(outputs) == list(HEAD_CHANNELS)
    for name, output in outputs.items():
        stride = config.person_stride if name == "person_map" else config.stride
        assert output.shape == (2, HEAD_CHANNELS[name], 64 // stride + 1, 80 // stride + 1)
        assert output.dtype == torch.float32


def test_channels_are_those_of_the_paper_s_heads() -> None:
    assert list(HEAD_CHANNELS.items()) == [
        ("keypoint_maps", 17),
        ("short_offsets", 34),
        ("mid_offsets", 64),
        ("mask_offsets", 34),
        ("centroid_offsets", 2),
        ("person_map", 1),
    ]


@pytest.mark.parametrize("refine", [True, False])
@pytest.mark.parametrize("trunk_stride", [16, 8])
@pytest.mark.parametrize("trunk", TRUNKS)
def test_the_auxiliary_head_speaks_only_when_asked_and_on_the_same_grids(
    trunk: str, trunk_stride: int, refine: bool
) -> None:
    with torch.device("meta"):
        image = torch.zeros(2, 65, 81, 3, dtype=torch.uint8)
        net = PosePlusSegNet(NetConfig(trunk, trunk_stride, refine, aux=True)).eval()
        usual, all_heads = net(image), net(image, with_aux=True)
    assert list(usual) == list(HEAD_CHANNELS)
    assert list(all_heads) == [*HEAD_CHANNELS, *(AUX + name for name in HEAD_CHANNELS)]
    assert all(all_heads[AUX + name].shape == usual[name].shape for name in HEAD_CHANNELS)
    assert net.aux_heads is not None
    assert net.aux_heads.in_channels == (512 if trunk == "mobile" else 1024)


def test_a_network_without_an_auxiliary_head_has_nothing_to_add(net: PosePlusSegNet) -> None:
    with torch.no_grad():
        assert list(net(picture(65, 65), with_aux=True)) == list(HEAD_CHANNELS)


@pytest.mark.parametrize(("trunk", "units"), [("resnet50", 4), ("resnet101", 16), ("resnet152", 24)])
def test_the_auxiliary_head_reads_two_thirds_through_layer3(trunk: str, units: int) -> None:
    """What comes later in the trunk gets no gradient from it, the unit that it reads does."""
    with torch.device("meta"):
        net = PosePlusSegNet(NetConfig(trunk, refine=False, aux=True))
        heads = net(torch.zeros(1, 33, 33, 3, dtype=torch.uint8), with_aux=True)
        torch.stack([heads[AUX + name].sum() for name in HEAD_CHANNELS]).sum().backward()
    learns = {name for name, parameter in net.named_parameters() if parameter.grad is not None}
    numbers = {int(name.split(".")[2]) for name in learns if name.startswith("trunk.layer3.")}
    assert numbers == set(range(units))
    assert not any(name.startswith(("trunk.layer4.", "heads.")) for name in learns)


@pytest.mark.parametrize("aux", [True, False])
def test_inference_does_not_compute_the_auxiliary_head(make_net: NetMaker, aux: bool) -> None:
    called = []
    net = make_net(NetConfig("mobile", refine=False, aux=aux))
    if net.aux_heads is not None:
        net.aux_heads.register_forward_hook(lambda *_: called.append(1))
    with torch.no_grad():
        assert len(InferenceNet(net)(picture(65, 65))) == len(HEAD_CHANNELS)
    assert called == []


def test_inference_net_gives_probabilities_and_px(net: PosePlusSegNet) -> None:
    image = picture(65, 81)
    with torch.no_grad():
        raw, out = net(image), dict(zip(HEAD_CHANNELS, InferenceNet(net)(image), strict=True))
    for name in HEAD_CHANNELS:
        torch.testing.assert_close(out[name], torch.sigmoid(raw[name]) if name in PROBABILITIES else raw[name])


def test_refine_changes_nothing_at_the_start() -> None:
    torch.manual_seed(0)
    refined = PosePlusSegNet(NetConfig("mobile", refine_width=32)).eval()
    plain = PosePlusSegNet(NetConfig("mobile", refine=False)).eval()
    plain.load_state_dict({k: v for k, v in refined.state_dict().items() if not k.startswith("refine.")})
    image = picture(129, 97)
    with torch.no_grad():
        fine, coarse = refined(image), plain(image)
    for name in HEAD_CHANNELS:
        step = 4 if name == "person_map" else 2
        torch.testing.assert_close(fine[name][..., ::step, ::step], coarse[name])
    # Halfway between two coarse cells lies their mean.
    rows = coarse["mid_offsets"]
    torch.testing.assert_close(fine["mid_offsets"][..., 1::2, ::2], (rows[..., 1:, :] + rows[..., :-1, :]) / 2)


@pytest.mark.parametrize(
    "config",
    [NetConfig("mobile", refine_width=16), NetConfig("mobile", 8, False), NetConfig("resnet50", refine_width=16)],
    ids=lambda config: f"{config.trunk}-{config.trunk_stride}-{config.refine}",
)
def test_cells_lie_centred_on_their_pixels(config: NetConfig, make_net: NetMaker) -> None:
    """With symmetric kernels a mirrored picture gives the mirrored outputs: no grid is shifted by half a cell."""
    net = make_net(config)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.copy_((module.weight + module.weight.flip(-1)) / 2)
                module.weight.copy_((module.weight + module.weight.flip(-2)) / 2)
        image = picture(65, 81)
        straight = net(image)
        for axis in (1, 2):
            mirrored = {name: output.flip(axis + 1) for name, output in net(image.flip(axis)).items()}
            torch.testing.assert_close(mirrored, straight, atol=1e-3, rtol=1e-3)


def test_the_input_is_bgr(make_net: NetMaker) -> None:
    """The stem's weights are RGB's, so only a change of the picture's last channel reaches a red-only stem."""
    net = make_net(NetConfig("mobile", refine=False))
    with torch.no_grad():
        net.trunk.stem.weight[:, 1:] = 0  # type: ignore[index, union-attr]
        image = picture(65, 65)
        before = net(image)["short_offsets"]
        blue, red = image.clone(), image.clone()
        blue[..., 0] = 0
        red[..., 2] = 0
        assert torch.equal(net(blue)["short_offsets"], before)
        assert not torch.equal(net(red)["short_offsets"], before)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (NetConfig("resnet18"), "trunk: expected one of mobile, resnet50"),
        (NetConfig("mobile", 32), "trunk_stride: expected 8 or 16, got 32"),
    ],
)
def test_unknown_networks_are_refused(config: NetConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PosePlusSegNet(config)


def test_bodypix_fills_all_but_the_refine_networks(shared_dir: Path) -> None:
    net = PosePlusSegNet(NetConfig("mobile"))
    left = load_pretrained(net, shared_dir / "weights" / "mobilenetv1_100_bodypix.safetensors")
    assert left
    assert all(name.startswith("refine.") for name in left)


def test_resnet_layers_fill_the_trunk_up_to_layer3(shared_dir: Path) -> None:
    net = PosePlusSegNet(NetConfig("resnet50", refine=False))
    left = load_pretrained(net, shared_dir / "weights" / "resnet50_v1_layer1to3_imagenet.safetensors")
    trunk = {name for name in left if not name.endswith("num_batches_tracked")}
    assert trunk
    assert all(name.startswith(("trunk.layer4.", "heads.")) for name in trunk)


def test_pretrained_weights_of_another_trunk_are_refused(shared_dir: Path) -> None:
    with pytest.raises(UserError, match="does not fit resnet50"):
        load_pretrained(
            PosePlusSegNet(NetConfig("resnet50", refine=False)),
            shared_dir / "weights" / "mobilenetv1_100_bodypix.safetensors",
        )


def test_unreadable_and_unknown_pretrained_files_are_refused(tmp_path: Path, net: PosePlusSegNet) -> None:
    broken, foreign = tmp_path / "broken.safetensors", tmp_path / "foreign.safetensors"
    broken.write_bytes(b"no tensors here")
    save_file({"x": torch.zeros(1)}, foreign)
    with pytest.raises(UserError, match=r"broken\.safetensors: cannot read"):
        load_pretrained(net, broken)
    with pytest.raises(UserError, match=r"foreign\.safetensors: expected BodyPix.* tensors, got x"):
        load_pretrained(net, foreign)
