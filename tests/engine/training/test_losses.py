import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.encode import Person, Targets, encode
from engine.model import NetConfig, PosePlusSegNet
from engine.modes import HEAD_CHANNELS
from engine.training.losses import LossConfig, known, losses, recursion, total

HW, STRIDE, PERSON_STRIDE, RADIUS = (129, 129), 8, 4, 32.0
CONFIG = LossConfig()
WEIGHT_OF = {
    "keypoint_maps": "keypoint_weight",
    "short_offsets": "keypoint_maps",
    "mid_offsets": "mid_weight",
    "mask_offsets": "mask_weight",
    "centroid_offsets": "centroid_weight",
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


def parts(heads: dict[str, Tensor], targets: dict[str, Tensor], config: LossConfig = CONFIG) -> dict[str, float]:
    values = losses(heads, targets, known(targets), config, radius=RADIUS, stride=STRIDE)
    return dict(zip(HEAD_CHANNELS, values.tolist(), strict=True))


def test_perfect_outputs_cost_nothing() -> None:
    targets = scene()
    got = parts(perfect_heads(targets, 20.0), targets)
    assert got["keypoint_maps"] < 1e-6
    assert got["person_map"] < 1e-6
    for name in ("short_offsets", "mid_offsets", "mask_offsets", "centroid_offsets"):
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


def test_shares_of_a_batch_add_up_to_the_whole() -> None:
    """What several processes do: each divides by the counts of all."""
    targets = scene()
    empty = {name: torch.zeros_like(target) for name, target in targets.items()}
    torch.manual_seed(0)
    heads = {name: torch.randn(head.shape) for name, head in zero_heads(targets).items()}
    both = {name: torch.cat([targets[name], empty[name]]) for name in targets}
    twice = {name: torch.cat([head, head]) for name, head in heads.items()}
    whole = losses(twice, both, known(both), CONFIG, radius=RADIUS, stride=STRIDE)
    counts = known(targets) + known(empty)
    shares = [losses(heads, part, counts, CONFIG, radius=RADIUS, stride=STRIDE) for part in (targets, empty)]
    torch.testing.assert_close(shares[0] + shares[1], whole)
    assert (whole > 0).all()


def test_total_is_the_weighted_sum() -> None:
    config = LossConfig(1, 2, 3, 4, 5, 6)
    assert list(HEAD_CHANNELS) == [
        "keypoint_maps",
        "short_offsets",
        "mid_offsets",
        "mask_offsets",
        "centroid_offsets",
        "person_map",
    ]
    assert float(total(torch.tensor([1.0, 10, 100, 1000, 10000, 100000]), config)) == 654321


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mid_steps": -1}, "[losses] mid_steps: expected at least 0, got -1"),
        ({"person_map": -0.5}, "[losses] person_map: expected at least 0, got -0.5"),
        ({"aux": float("nan")}, "[losses] aux: expected at least 0, got nan"),
    ],
)
def test_negative_weights_and_steps_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        LossConfig(**values)


def test_without_recursion_an_offset_s_loss_is_that_of_the_offset() -> None:
    """A constant error of 3 and -1 px: 4 px of L1 as it is said."""
    targets = scene()
    heads = perfect_heads(targets, 20.0)
    heads["mid_offsets"] = heads["mid_offsets"] + torch.tensor([3.0, -1.0]).repeat(32)[None, :, None, None]
    assert parts(heads, targets, LossConfig(mid_steps=0))["mid_offsets"] == pytest.approx(4 / RADIUS, rel=1e-5)
    assert parts(heads, targets, LossConfig(mid_steps=1))["mid_offsets"] < 3 / RADIUS  # the short offsets mend it
    heads = perfect_heads(targets, 20.0)
    heads["mask_offsets"] = heads["mask_offsets"] * 1.2  # of each step's rest a fifth is left: 0.2, 0.04, 0.008
    plain, followed = (parts(heads, targets, LossConfig(mask_steps=steps))["mask_offsets"] for steps in (0, 2))
    assert followed == pytest.approx((0.2 + 0.008) / 2 / 0.2 * plain, rel=0.05)


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
    assert [got[name] for name in HEAD_CHANNELS if name.endswith("offsets")] == [0, 0, 0, 0]
    assert got["keypoint_maps"] == pytest.approx(math.log1p(math.exp(3)), rel=1e-4)


def test_gradients_reach_every_output_channel_and_the_trunk() -> None:
    torch.manual_seed(0)
    net = PosePlusSegNet(NetConfig("mobile", refine_width=16)).train()
    targets = scene()
    image = torch.randint(0, 256, (1, *HW, 3), dtype=torch.uint8)
    total(losses(net(image), targets, known(targets), CONFIG, radius=RADIUS, stride=STRIDE), CONFIG).backward()
    gradients = {name: p.grad for name, p in net.named_parameters()}
    for name in ("heads.weight", "refine.pose_out.weight", "refine.seg_out.weight", "refine.outline_out.weight"):
        gradient = gradients[name]
        assert gradient is not None
        assert torch.isfinite(gradient).all()
        assert (gradient.flatten(1).abs().sum(dim=1) > 0).all()
    stem = gradients["trunk.stem.weight"]
    assert stem is not None
    assert stem.abs().sum() > 0
