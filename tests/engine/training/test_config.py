import json
import tomllib
from dataclasses import replace
from typing import Any

import pytest

from engine.model import NetConfig
from engine.training.augmentation import Augmentation
from engine.training.config import TrainConfig, config_from_json, config_from_table, learning_rate
from engine.training.losses import LossConfig


def test_recipes_are_read() -> None:
    recipe = tomllib.loads("""
        net = {trunk = "resnet50", aux = true}
        run = {steps = 7, amp = "bf16", batch_norm = "frozen"}
        losses = {person_map = 2, mask_steps = 0}
        augmentation = {paste_share = 0.5}
        data = []
    """)
    assert config_from_table(recipe) == TrainConfig(
        NetConfig("resnet50", aux=True),
        LossConfig(person_map=2, mask_steps=0),
        Augmentation(paste_share=0.5),
        steps=7,
        amp="bf16",
        batch_norm="frozen",
    )
    assert config_from_table({}) == TrainConfig(NetConfig("mobile"))


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"losses": {"aux": -1}}, r"\[losses\] aux: expected at least 0, got -1"),
        ({"run": {"amp": "fp8"}}, r"\[run\] amp: expected one of off, bf16, fp16, got 'fp8'"),
        ({"run": {"batch_norm": "none"}}, r"\[run\] batch_norm: expected one of frozen, batch, sync, got 'none'"),
        ({"run": {"picture_steps": -1}}, r"\[run\] picture_steps: expected at least 0, got -1"),
    ],
)
def test_what_no_run_can_be_made_of_is_named(recipe: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_from_table(recipe)


def test_a_checkpoint_s_text_gives_the_configuration_back(tiny: TrainConfig) -> None:
    config = replace(tiny, start="a.pt", losses=LossConfig(aux=0.3), augmentation=Augmentation(paste_share=0.5))
    assert config_from_json(config.to_json()) == config


def test_the_text_of_an_older_version_gets_the_defaults(tiny: TrainConfig) -> None:
    values = json.loads(tiny.to_json())
    for name in ("losses", "augmentation", "amp", "batch_norm"):
        del values[name]
    del values["net"]["aux"]
    assert config_from_json(json.dumps(values)) == tiny


def test_learning_rate_warms_up_and_follows_half_a_cosine(tiny: TrainConfig) -> None:
    config = replace(tiny, steps=110, warmup_steps=10)
    assert [learning_rate(step, config) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert [learning_rate(step, config) for step in (10, 60, 110, 500)] == pytest.approx([1, 0.5, 0, 0])
    assert learning_rate(0, replace(config, warmup_steps=0)) == 1
