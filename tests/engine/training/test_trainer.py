import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from engine.errors import UserError
from engine.model import TRUNKS, NetConfig
from engine.modes import HEAD_CHANNELS
from engine.training import trainer as module
from engine.training.config import TrainConfig
from engine.training.trainer import CHECKPOINT, WEIGHTS, Trainer
from engine.trunks import ResNet
from engine.weights import load_weights, save_weights

MakeBatch = Callable[[TrainConfig], tuple[Tensor, dict[str, Tensor]]]


@pytest.fixture
def _short_resnet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRUNKS, "resnet50", lambda stride: ResNet((1, 1, 1, 1), stride))


@pytest.fixture(scope="module")
def saved(tiny: TrainConfig, make_batch: MakeBatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trainer saved after one step; nobody may change it."""
    folder = tmp_path_factory.mktemp("saved")
    trainer = Trainer(tiny)
    trainer.train_step(*make_batch(tiny))
    trainer.save(folder)
    return folder


def state_of(trainer: Trainer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.net.state_dict().items()}


def changed(trainer: Trainer, before: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in trainer.net.state_dict().items() if not torch.equal(tensor, before[name])}


# --- one step ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_short_resnet")
@pytest.mark.parametrize("trunk", ["mobile", "resnet50"])
def test_the_frozen_phase_leaves_the_trunk_as_it_is(tiny: TrainConfig, make_batch: MakeBatch, trunk: str) -> None:
    """Batch norm statistics included; afterwards the trunk learns too."""
    config = replace(tiny, net=replace(tiny.net, trunk=trunk), trunk_factor=1.0)
    trainer = Trainer(config)
    images, targets = make_batch(config)
    before = state_of(trainer)
    trainer.train_step(images, targets)
    learnt = changed(trainer, before)
    assert not {name for name in learnt if name.startswith("trunk.")}
    assert {"heads.weight", "refine.pose_out.weight", "refine.coarse.1.running_mean"} <= learnt
    trainer.train_step(images, targets)
    stem = "trunk.stem.weight" if trunk == "mobile" else "trunk.bn1.running_mean"
    assert stem in changed(trainer, before)


def test_the_loss_falls_on_a_fixed_batch(tiny: TrainConfig, make_batch: MakeBatch) -> None:
    config = replace(tiny, steps=1000, frozen_steps=0, rate=3e-3, heads_factor=1.0, trunk_factor=0.1)
    trainer = Trainer(config)
    images, targets = make_batch(config)
    steps = [trainer.train_step(images, targets) for _ in range(12)]
    for name in ("loss", "keypoint_maps", "short_offsets", "mask_offsets", "centroid_offsets", "person_map"):
        assert steps[-1][name] < 0.9 * steps[0][name]
    assert steps[0]["rate"] == 3e-3
    assert all(step["gradient_norm"] > 0 for step in steps)


def test_the_loss_is_the_weighted_sum_of_its_parts(tiny: TrainConfig, make_batch: MakeBatch) -> None:
    weights = replace(tiny.losses, person_map=7.0, aux=0.3)
    config = replace(tiny, net=replace(tiny.net, aux=True), losses=weights)
    values = Trainer(config).train_step(*make_batch(config))
    expected = sum(getattr(weights, name) * values[name] for name in HEAD_CHANNELS) + 0.3 * values["aux"]
    assert values["loss"] == pytest.approx(expected, rel=1e-5)
    assert values["aux"] > 0


@pytest.mark.usefixtures("_short_resnet")
@pytest.mark.parametrize("trunk", ["mobile", "resnet50"])
@pytest.mark.parametrize("weight", [0.0, 0.4])
def test_the_auxiliary_head_learns_by_its_weight(
    tiny: TrainConfig, make_batch: MakeBatch, trunk: str, weight: float
) -> None:
    config = replace(
        tiny,
        net=replace(tiny.net, trunk=trunk, aux=True),
        losses=replace(tiny.losses, aux=weight),
        weight_decay=0,  # which alone would move it
    )
    trainer = Trainer(config)
    before = state_of(trainer)
    trainer.train_step(*make_batch(config))
    assert ("aux_heads.weight" in changed(trainer, before)) == (weight > 0)


def test_clipping_bounds_the_step_s_gradient(tiny: TrainConfig, make_batch: MakeBatch) -> None:
    config = replace(tiny, frozen_steps=0, clip=0.01)
    trainer = Trainer(config)
    norm = trainer.train_step(*make_batch(config))["gradient_norm"]
    left = torch.stack([p.grad.norm() for p in trainer.net.parameters() if p.grad is not None]).norm()
    assert norm > 0.1
    assert float(left) == pytest.approx(0.01, rel=1e-3)


def test_the_averaged_weights_follow_the_net(tiny: TrainConfig, make_batch: MakeBatch) -> None:
    trainer = Trainer(replace(tiny, ema=0.5, frozen_steps=0))
    before = trainer.average.heads.weight.clone()
    trainer.train_step(*make_batch(tiny))
    # The first step's decay is (1 + 1) / (10 + 1), less than 0.5.
    expected = before * (2 / 11) + trainer.net.heads.weight.detach() * (9 / 11)
    torch.testing.assert_close(trainer.average.heads.weight, expected)
    assert not trainer.average.training


def test_bf16_trains_about_as_float32_does(tiny: TrainConfig, make_batch: MakeBatch) -> None:
    images, targets = make_batch(tiny)
    exact, rounded = (Trainer(replace(tiny, amp=amp)) for amp in ("off", "bf16"))
    types = []
    rounded.net.heads.register_forward_hook(lambda _, __, output: types.append(output.dtype))
    expected, got = (trainer.train_step(images, targets) for trainer in (exact, rounded))
    assert types == [torch.bfloat16]
    assert got["loss"] != expected["loss"]
    assert got["loss"] == pytest.approx(expected["loss"], rel=0.02)  # measured: 0.003
    assert all(parameter.dtype == torch.float32 for parameter in rounded.net.parameters())


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about a machine without CUDA")
def test_fp16_without_cuda_is_refused(tiny: TrainConfig) -> None:
    with pytest.raises(UserError, match="amp fp16: needs CUDA"):
        Trainer(replace(tiny, amp="fp16"))


@pytest.mark.usefixtures("_short_resnet")
@pytest.mark.parametrize("trunk_stride", [8, 16])
@pytest.mark.parametrize("trunk", ["mobile", "resnet50"])
def test_everything_runs_channels_last(tiny: TrainConfig, make_batch: MakeBatch, trunk: str, trunk_stride: int) -> None:
    """From the picture to the last layer; a layer that falls back would convert its input at each step."""
    config = replace(tiny, net=replace(tiny.net, trunk=trunk, trunk_stride=trunk_stride, aux=True), frozen_steps=0)
    trainer = Trainer(config)
    others = []

    def look(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        if not all(t.is_contiguous(memory_format=torch.channels_last) for t in (*inputs, output)):
            others.append(layer)

    for layer in trainer.net.modules():
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
            layer.register_forward_hook(look)
    assert trainer.train_step(*make_batch(config))["loss"] > 0
    assert others == []


# --- batch norm -------------------------------------------------------------------------------------------------------


@pytest.fixture
def start(tiny: TrainConfig, make_batch: MakeBatch, tmp_path: Path, _short_resnet: None) -> Path:
    """Weights of a ResNet whose every batch norm has statistics of its own."""
    config = replace(tiny, net=replace(tiny.net, trunk="resnet50"), frozen_steps=0)
    trainer = Trainer(config)
    trainer.train_step(*make_batch(config))
    save_weights(trainer.net, tmp_path / "start.safetensors")
    return tmp_path / "start.safetensors"


def test_frozen_batch_norm_keeps_and_uses_the_pretrained_statistics(
    tiny: TrainConfig, make_batch: MakeBatch, start: Path
) -> None:
    net = replace(tiny.net, trunk="resnet50")
    config = replace(tiny, net=net, start=str(start), batch_norm="frozen", frozen_steps=0, trunk_factor=1.0)
    trainer = Trainer(config)
    images, targets = make_batch(config)
    before = state_of(trainer)
    alone = trainer.train_step(images[:1], {name: t[:1] for name, t in targets.items()})
    learnt = changed(trainer, before)
    assert not {name for name in learnt if "running_" in name or "num_batches" in name}
    assert {"trunk.bn1.weight", "trunk.conv1.weight", "refine.coarse.1.weight"} <= learnt
    # Used, too: what one picture gives does not hang on the others in its batch.
    trainer.net.load_state_dict(before)
    trainer.step = 0
    twice = {name: torch.cat([t[:1], t[:1]]) for name, t in targets.items()}
    assert trainer.train_step(images[[0, 0]], twice)["loss"] == pytest.approx(alone["loss"], rel=1e-5)


def test_frozen_batch_norm_leaves_new_layers_theirs(tiny: TrainConfig, make_batch: MakeBatch, start: Path) -> None:
    """Pretrained tensors of the trunk alone: the refine networks' batch norm starts from nothing, so it learns."""
    wider = replace(tiny.net, trunk="resnet50", refine=False)
    plain = Trainer(replace(tiny, net=wider))
    plain.net.trunk.load_state_dict(
        {n.removeprefix("trunk."): t for n, t in load_weights(start).state_dict().items() if n.startswith("trunk.")}
    )
    save_weights(plain.net, start)
    net = replace(tiny.net, trunk="resnet50")
    trainer = Trainer(replace(tiny, net=net, start=str(start), batch_norm="frozen", frozen_steps=0))
    before = state_of(trainer)
    trainer.train_step(*make_batch(tiny))
    moved = {name for name in changed(trainer, before) if name.endswith("running_mean")}
    assert moved == {name for name in before if name.startswith("refine.") and name.endswith("running_mean")}


def test_frozen_batch_norm_is_still_frozen_after_a_resume(
    tiny: TrainConfig, make_batch: MakeBatch, start: Path, tmp_path: Path
) -> None:
    """Without the pretrained file at hand."""
    config = replace(tiny, net=replace(tiny.net, trunk="resnet50"), batch_norm="frozen", frozen_steps=0)
    first = Trainer(replace(config, start=str(start)))
    first.save(tmp_path)
    trainer = Trainer(config)
    trainer.restore(tmp_path / CHECKPOINT)
    before = state_of(trainer)
    trainer.train_step(*make_batch(config))
    assert not {name for name in changed(trainer, before) if "running_" in name}


# --- what is saved ----------------------------------------------------------------------------------------------------


def test_the_weights_file_is_the_average_without_the_auxiliary_head(tiny: TrainConfig, tmp_path: Path) -> None:
    trainer = Trainer(replace(tiny, net=replace(tiny.net, aux=True)))
    trainer.save(tmp_path)
    shipped = load_weights(tmp_path / WEIGHTS, tiny.net).state_dict()
    average = trainer.average.state_dict()
    assert average.keys() - shipped.keys() == {"aux_heads.weight", "aux_heads.bias"}
    assert all(torch.equal(tensor, average[name]) for name, tensor in shipped.items())


@pytest.mark.parametrize("aux", [False, True])
def test_a_restored_trainer_goes_on_as_the_one_that_was_saved(
    tiny: TrainConfig, make_batch: MakeBatch, tmp_path: Path, aux: bool
) -> None:
    config = replace(tiny, net=replace(tiny.net, aux=aux))
    images, targets = make_batch(config)
    one, other = Trainer(config), Trainer(replace(config, seed=config.seed))
    one.train_step(images, targets)
    one.train_step(images, targets)
    one.save(tmp_path)
    other.restore(tmp_path / CHECKPOINT)
    assert other.step == 2
    assert one.train_step(images, targets) == other.train_step(images, targets)
    assert changed(other, state_of(one)) == set()


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """As on a full disk, the system refuses to write on: OSError 27 instead of 28."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 100_000])
def test_a_full_disk_leaves_the_last_good_checkpoint(saved: Path, tiny: TrainConfig, tmp_path: Path, size: int) -> None:
    trainer = Trainer(tiny)
    for name in (CHECKPOINT, WEIGHTS):
        (tmp_path / name).write_bytes((saved / name).read_bytes())
    with pytest.raises(UserError, match=r"last\.pt: cannot write the checkpoint: "), no_file_larger_than(size):
        trainer.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHECKPOINT, WEIGHTS]
    for name in (CHECKPOINT, WEIGHTS):
        assert (tmp_path / name).read_bytes() == (saved / name).read_bytes()


def test_weights_that_cannot_be_written_are_one_clear_line(
    tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """safetensors has an exception of its own for a full disk."""

    def fail(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(module, "save_weights", fail)
    with pytest.raises(UserError, match="cannot write the checkpoint: I/O error: No space left"):
        Trainer(tiny).save(tmp_path)


# --- what may go wrong ------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_changes_nothing(tiny: TrainConfig, make_batch: MakeBatch) -> None:
    trainer = Trainer(tiny)
    images, targets = make_batch(tiny)
    before = state_of(trainer)
    targets["short_offsets"][:] = float("nan")
    with pytest.raises(UserError, match="step 1: the loss is not finite; the last checkpoint is good"):
        trainer.train_step(images, targets)
    assert {name for name in changed(trainer, before) if "running_" not in name and "num_batches" not in name} == set()


def test_a_checkpoint_of_another_architecture_is_refused_by_both_names(saved: Path, tiny: TrainConfig) -> None:
    path = saved / CHECKPOINT
    other = Trainer(replace(tiny, net=NetConfig("mobile", refine=False, aux=True)))
    with pytest.raises(UserError) as caught:
        other.restore(path)
    assert str(caught.value) == (
        f"{path}: holds mobile, trunk stride 16, refined at width 8, outline width 8; "
        "this run is mobile, trunk stride 16, not refined, auxiliary head"
    )
    assert other.step == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 3}, "was trained with batch 2, this run has 3"),
        ({"radius": 16.0}, "was trained with radius 32.0, this run has 16.0"),
        ({"batch_norm": "frozen"}, "was trained with batch_norm batch, this run has frozen"),
    ],
)
def test_another_run_s_checkpoint_is_not_continued(
    saved: Path, tiny: TrainConfig, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Trainer(replace(tiny, **changes)).restore(saved / CHECKPOINT)


def test_a_resumed_run_has_its_own_rates(saved: Path, tiny: TrainConfig, make_batch: MakeBatch) -> None:
    trainer = Trainer(replace(tiny, heads_factor=0.77, rate=0.5))
    trainer.restore(saved / CHECKPOINT)
    assert trainer.train_step(*make_batch(tiny))["rate"] == 0.5
    assert [group["factor"] for group in trainer.optimiser.param_groups] == [1.0, 0.77, tiny.trunk_factor]


@pytest.mark.parametrize("content", [b"", b"no archive at all", "half"])
def test_a_damaged_checkpoint_is_refused(saved: Path, tiny: TrainConfig, tmp_path: Path, content: bytes | str) -> None:
    whole = (saved / CHECKPOINT).read_bytes()
    path = tmp_path / CHECKPOINT
    path.write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    with pytest.raises(UserError, match=rf"{re.escape(str(path))}: cannot read the checkpoint"):
        Trainer(tiny).restore(path)


@pytest.mark.parametrize("content", [[1, 2], {"step": 3}])
def test_a_file_of_something_else_is_refused(tiny: TrainConfig, tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / CHECKPOINT)
    with pytest.raises(UserError, match="not a training checkpoint of this program"):
        Trainer(tiny).restore(tmp_path / CHECKPOINT)


@pytest.mark.parametrize("text", ['{"net": {"trunk": "mobile"}, "colour": 1}', '{"net": {"tree": 1}}', "{"])
def test_a_checkpoint_of_another_version_is_refused(saved: Path, tiny: TrainConfig, tmp_path: Path, text: str) -> None:
    state = torch.load(saved / CHECKPOINT, weights_only=True)
    torch.save(state | {"config": text}, tmp_path / CHECKPOINT)
    with pytest.raises(UserError, match="written by another version: "):
        Trainer(tiny).restore(tmp_path / CHECKPOINT)
