import math

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.model import HEAD_CHANNELS, NetConfig, PosePlusSegNet
from engine.training.encode import Person, Targets, encode
from engine.training.losses import LOSS_WEIGHTS, losses, recursion, total

HW, STRIDE, PERSON_STRIDE, RADIUS = (129, 129), 8, 4, 32.0
WEIGHT_OF = {
    "keypoint_maps": "keypoint_weight",
    "short_offsets": "keypoint_maps",
    "mid_offsets": "mid_weight",
    "mask_offsets": "mask_weight",
    "person_map": "person_weight",
}


def scene() -> dict[str, Tensor]:
    """One person whose mask is the whole crop, its keypoints well inside; batch of one."""
    rng = np.random.default_rng(2)
    keypoints = np.full((17, 3), 2, np.float32)
    keypoints[:, :2] = rng.uniform(40, 90, (17, 2))
    person = Person(keypoints, (0, 0, 129, 129), np.ones(HW, bool))
    targets = encode([person], HW, STRIDE, PERSON_STRIDE, RADIUS)
    return {name: torch.from_numpy(getattr(targets, name))[None] for name in Targets.__slots__}


def zero_heads(targets: dict[str, Tensor]) -> dict[str, Tensor]:
    heads = {name: torch.zeros_like(targets[name]) for name in HEAD_CHANNELS}
    heads["person_map"] = heads["person_map"][:, None]
    return heads


def perfect_heads(targets: dict[str, Tensor], sureness: float) -> dict[str, Tensor]:
    heads = {name: targets[name].clone() for name in HEAD_CHANNELS}
    heads["keypoint_maps"] = (2 * heads["keypoint_maps"] - 1) * sureness
    heads["person_map"] = ((2 * heads["person_map"] - 1) * sureness)[:, None]
    return heads


def parts(heads: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(v) for name, v in losses(heads, targets, radius=RADIUS, stride=STRIDE).items()}


def test_perfect_outputs_cost_nothing() -> None:
    targets = scene()
    got = parts(perfect_heads(targets, 20.0), targets)
    assert list(got) == list(HEAD_CHANNELS) == list(LOSS_WEIGHTS)
    assert got["keypoint_maps"] < 1e-6
    assert got["person_map"] < 1e-6
    for name in ("short_offsets", "mid_offsets", "mask_offsets"):
        assert got[name] == pytest.approx(0, abs=1e-4)


def test_sure_and_wrong_costs_its_logit() -> None:
    targets = scene()
    got = parts(perfect_heads(targets, -20.0), targets)
    assert got["keypoint_maps"] == pytest.approx(20, rel=1e-4)
    assert got["person_map"] == pytest.approx(20, rel=1e-4)


def test_a_network_that_knows_nothing_costs_what_theory_says() -> None:
    """Zeros: ln 2 a probability; the mean L1 distance to the centre of a disk is 8 R / 3 pi, so 0.85 in units of R."""
    targets = scene()
    got = parts(zero_heads(targets), targets)
    assert got["keypoint_maps"] == pytest.approx(math.log(2), rel=1e-5)
    assert got["person_map"] == pytest.approx(math.log(2), rel=1e-5)
    assert got["short_offsets"] == pytest.approx(8 / (3 * math.pi), rel=0.03)


@pytest.mark.parametrize("name", HEAD_CHANNELS)
def test_what_has_no_weight_costs_nothing_whatever_is_said(name: str) -> None:
    targets = scene()
    targets[WEIGHT_OF[name]] = torch.zeros_like(targets[WEIGHT_OF[name]])
    heads = {key: torch.randn(head.shape) * 50 for key, head in zero_heads(targets).items()}
    got = parts(heads, targets)
    assert got[name] == 0
    assert sum(value > 0 for value in got.values()) >= 3


@pytest.mark.parametrize("name", HEAD_CHANNELS)
def test_each_loss_is_a_mean_over_its_own_known_values(name: str) -> None:
    """Where every cell is equally wrong, neither fewer known cells nor more pictures change the loss."""
    targets = scene()
    heads = perfect_heads(targets, -2.0)
    if name.endswith("offsets"):
        heads[name] = heads[name] + torch.tensor([3.0, -1.0]).repeat(HEAD_CHANNELS[name] // 2)[None, :, None, None]
    before = parts(heads, targets)[name]
    assert before > 0
    fewer = targets[WEIGHT_OF[name]].clone()
    fewer[..., ::2, :] = 0
    assert parts(heads, {**targets, WEIGHT_OF[name]: fewer})[name] == pytest.approx(before, rel=1e-3)
    twice = [{key: torch.cat([t, t]) for key, t in group.items()} for group in (heads, targets)]
    assert parts(*twice)[name] == pytest.approx(before, rel=1e-4)


def test_a_vector_error_is_its_l1_length_over_the_radius() -> None:
    targets = scene()
    heads = perfect_heads(targets, 20.0)
    heads["short_offsets"] = heads["short_offsets"].clone()
    heads["short_offsets"][:, 0::2] += 3
    heads["short_offsets"][:, 1::2] -= 1
    assert parts(heads, targets)["short_offsets"] == pytest.approx(4 / RADIUS, rel=1e-5)


def test_total_is_the_weighted_sum() -> None:
    values = {name: torch.tensor(float(n + 1)) for n, name in enumerate(HEAD_CHANNELS)}
    expected = sum(LOSS_WEIGHTS[name] * (n + 1) for n, name in enumerate(HEAD_CHANNELS))
    assert float(total(values)) == pytest.approx(expected)


def reference_recursion(base: np.ndarray, field: np.ndarray, steps: int) -> np.ndarray:
    """One (2, h, w) field; bilinear with zeros outside."""
    out = base.astype(float).copy()
    _, h, w = base.shape
    for _, i, j in np.ndindex(steps, h, w):
        x, y = j + out[0, i, j] / STRIDE, i + out[1, i, j] / STRIDE
        rows = np.clip(1 - np.abs(np.arange(h) - y), 0, None)
        cols = np.clip(1 - np.abs(np.arange(w) - x), 0, None)
        out[:, i, j] += [rows @ plane @ cols for plane in field.astype(float)]
    return out


def test_recursion_equals_the_reference() -> None:
    rng = np.random.default_rng(1)
    base = rng.normal(0, 16, (2, 3, 2, 5, 6)).astype(np.float32)
    field = rng.normal(0, 6, base.shape).astype(np.float32)
    got = recursion(torch.from_numpy(base), torch.from_numpy(field), STRIDE, 2).numpy()
    for b, n in np.ndindex(2, 3):
        np.testing.assert_allclose(got[b, n], reference_recursion(base[b, n], field[b, n], 2), atol=1e-3)


def test_an_empty_picture_costs_only_its_maps() -> None:
    empty = encode([], HW, STRIDE, PERSON_STRIDE, RADIUS)
    targets = {name: torch.from_numpy(getattr(empty, name))[None] for name in Targets.__slots__}
    heads = {name: head + 3 for name, head in zero_heads(targets).items()}
    got = parts(heads, targets)
    assert [got[name] for name in ("short_offsets", "mid_offsets", "mask_offsets")] == [0, 0, 0]
    assert got["keypoint_maps"] == pytest.approx(math.log1p(math.exp(3)), rel=1e-4)


def test_gradients_reach_every_output_channel_and_the_trunk() -> None:
    torch.manual_seed(0)
    net = PosePlusSegNet(NetConfig("mobile", refine_width=16)).train()
    targets = scene()
    image = torch.randint(0, 256, (1, *HW, 3), dtype=torch.uint8)
    total(losses(net(image), targets, radius=RADIUS, stride=STRIDE)).backward()
    gradients = {name: p.grad for name, p in net.named_parameters()}
    for name in ("heads.weight", "refine.pose_out.weight", "refine.seg_out.weight", "refine.outline_out.weight"):
        gradient = gradients[name]
        assert gradient is not None
        assert torch.isfinite(gradient).all()
        assert (gradient.flatten(1).abs().sum(dim=1) > 0).all()
    stem = gradients["trunk.stem.weight"]
    assert stem is not None
    assert stem.abs().sum() > 0
