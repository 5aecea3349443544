import json
import math
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from engine.errors import UserError
from engine.model import HEAD_CHANNELS, TRUNKS, NetConfig, ResNet
from engine.training import train as training
from engine.training.dataset import Augmentation, DataPart, TrainingSet
from engine.training.train import (
    CHECKPOINT,
    WEIGHTS,
    TrainConfig,
    Trainer,
    config_from_json,
    config_from_table,
    learning_rate,
    train,
)
from engine.weights import load_weights

TINY = TrainConfig(
    NetConfig("mobile", refine_width=8), size=65, steps=4, frozen_steps=1, warmup_steps=1, batch=2, workers=0
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """So small a network gains nothing from more, and loses much where other programs use the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[DataPart]:
    """Three pictures of noise with a rectangular person each."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    images, people = [], []
    for n in range(3):
        image = rng.integers(0, 90, (72, 96, 3)).astype(np.uint8)
        x, y, width, height = 20 + 8 * n, 8, 36, 56
        image[y : y + height, x : x + width] += 120
        cv2.imwrite(str(folder / f"{n}.png"), image)
        keypoints = np.full((17, 3), 2.0)
        keypoints[:, :2] = rng.uniform(0, 1, (17, 2)) * (width, height) + (x, y)
        images.append({"id": n, "file_name": f"{n}.png", "width": 96, "height": 72})
        corners = [x, y, x + width, y, x + width, y + height, x, y + height]
        people.append(
            {
                "id": n,
                "image_id": n,
                "category_id": 1,
                "bbox": [x, y, width, height],
                "keypoints": keypoints.ravel().tolist(),
                "segmentation": [corners],
            }
        )
    (folder / "people.json").write_text(json.dumps({"images": images, "annotations": people}), encoding="utf-8")
    return [DataPart(folder, folder / "people.json")]


@pytest.fixture(scope="module")
def finished(parts: list[DataPart], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run; nobody may change it."""
    out = tmp_path_factory.mktemp("run") / "deep" / "out"
    train(TINY, parts, out)
    return out


def batch(parts: list[DataPart], config: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
    data = TrainingSet(
        parts, size=config.size, stride=8, person_stride=4, radius=32.0, augmentation=Augmentation(), seed=0, length=2
    )
    images, targets = zip(data[0], data[1], strict=True)
    return torch.stack(images), {name: torch.stack([t[name] for t in targets]) for name in targets[0]}


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def interrupt_after(monkeypatch: pytest.MonkeyPatch, steps: int, error: BaseException) -> None:
    own: Callable[..., dict[str, float]] = Trainer.train_step

    def step(self: Trainer, images: Tensor, targets: dict[str, Tensor]) -> dict[str, float]:
        if self.step >= steps:
            raise error
        return own(self, images, targets)

    monkeypatch.setattr(Trainer, "train_step", step)


def test_a_run_writes_its_log_checkpoint_and_weights(finished: Path) -> None:
    assert sorted(path.name for path in finished.iterdir()) == [CHECKPOINT, "log.jsonl", WEIGHTS]
    records = log(finished)
    assert [record["step"] for record in records] == [1, 2, 3, 4]
    assert all(math.isfinite(record[name]) for record in records for name in (*HEAD_CHANNELS, "loss"))
    state = torch.load(finished / CHECKPOINT, weights_only=True)
    assert state["step"] == 4
    assert config_from_json(state["config"]) == TINY
    shipped = load_weights(finished / WEIGHTS, TINY.net).state_dict()
    assert all(torch.equal(shipped[name], tensor) for name, tensor in state["average"].items())


def test_an_interrupted_and_resumed_run_equals_the_whole_one(
    finished: Path, parts: list[DataPart], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = training.losses, []

    def losses_with_ctrl_c(*args: Any, **kwargs: Any) -> dict[str, Tensor]:
        calls.append(1)
        if len(calls) == 2:  # in the middle of the second step: it must be finished before the state is saved
            signal.raise_signal(signal.SIGINT)
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(training, "losses", losses_with_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            train(TINY, parts, tmp_path)
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 2
    train(TINY, parts, tmp_path, resume=tmp_path / CHECKPOINT)
    assert [record["step"] for record in log(tmp_path)] == [1, 2, 3, 4]
    for whole, resumed in zip(log(finished), log(tmp_path), strict=True):
        assert whole["loss"] == pytest.approx(resumed["loss"], abs=1e-3)
    expected, got = load_file(finished / WEIGHTS), load_file(tmp_path / WEIGHTS)
    for name, tensor in expected.items():
        torch.testing.assert_close(got[name], tensor, atol=1e-6, rtol=0)


def test_a_run_with_other_samples_is_not_continued(finished: Path, parts: list[DataPart], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="was trained with batch 2, this run has 3"):
        train(replace(TINY, batch=3), parts, tmp_path, resume=finished / CHECKPOINT)


def test_resuming_a_finished_run_changes_nothing(finished: Path, parts: list[DataPart], tmp_path: Path) -> None:
    train(TINY, parts, tmp_path, resume=finished / CHECKPOINT)
    assert log(tmp_path) == []
    expected, got = load_file(finished / WEIGHTS), load_file(tmp_path / WEIGHTS)
    assert all(torch.equal(got[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("trunk", ["mobile", "resnet50"])
def test_the_frozen_phase_leaves_the_trunk_as_it_is(
    parts: list[DataPart], trunk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch norm statistics included; afterwards the trunk learns too."""
    monkeypatch.setitem(TRUNKS, "resnet50", lambda stride: ResNet((1, 1, 1, 1), stride))  # a short one will do
    config = replace(TINY, net=NetConfig(trunk, refine_width=8), trunk_factor=1.0)
    trainer = Trainer(config)
    images, targets = batch(parts, config)
    before = {name: t.clone() for name, t in trainer.net.state_dict().items()}
    trainer.train_step(images, targets)
    changed = {name for name, t in trainer.net.state_dict().items() if not torch.equal(t, before[name])}
    assert changed
    assert not {name for name in changed if name.startswith("trunk.")}
    assert {"heads.weight", "refine.pose_out.weight", "refine.coarse.1.running_mean"} <= changed
    trainer.train_step(images, targets)
    after = trainer.net.state_dict()
    stem = "trunk.stem.weight" if trunk == "mobile" else "trunk.bn1.running_mean"
    assert not torch.equal(after[stem], before[stem])


def test_the_loss_falls_on_a_fixed_batch(parts: list[DataPart]) -> None:
    config = replace(TINY, steps=1000, frozen_steps=0, rate=3e-3, heads_factor=1.0, trunk_factor=0.1)
    trainer = Trainer(config)
    images, targets = batch(parts, config)
    steps = [trainer.train_step(images, targets) for _ in range(12)]
    for name in ("keypoint_maps", "short_offsets", "mask_offsets", "person_map"):
        assert steps[-1][name] < 0.9 * steps[0][name]


def test_the_averaged_weights_follow_the_net(parts: list[DataPart]) -> None:
    trainer = Trainer(replace(TINY, ema=0.5, frozen_steps=0))
    before = trainer.average.heads.weight.clone()
    trainer.train_step(*batch(parts, TINY))
    # The first step's decay is (1 + 1) / (10 + 1), less than 0.5.
    expected = before * (2 / 11) + trainer.net.heads.weight.detach() * (9 / 11)
    torch.testing.assert_close(trainer.average.heads.weight, expected)
    assert not trainer.average.training


def test_learning_rate_warms_up_and_follows_half_a_cosine() -> None:
    config = replace(TINY, steps=110, warmup_steps=10)
    assert [learning_rate(step, config) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert [learning_rate(step, config) for step in (10, 60, 110, 500)] == pytest.approx([1, 0.5, 0, 0])
    assert learning_rate(0, replace(config, warmup_steps=0)) == 1


# --- what may go wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("unexpected pos 640 vs 534")])
def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    trainer = Trainer(TINY)
    trainer.save(tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()

    def fail(state: dict[str, Any], path: Path) -> None:
        path.write_bytes(b"half a check")
        raise error

    trainer.step = 9
    monkeypatch.setattr(training.torch, "save", fail)
    with pytest.raises(UserError, match=r"last\.pt: cannot write the checkpoint: "):
        trainer.save(tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHECKPOINT, WEIGHTS]


def test_weights_that_cannot_be_written_are_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """safetensors has an exception of its own for a full disk."""

    def fail(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(training, "save_weights", fail)
    with pytest.raises(UserError, match="cannot write the checkpoint: I/O error: No space left"):
        Trainer(TINY).save(tmp_path)


def test_a_loss_that_is_not_finite_leaves_the_last_good_checkpoint(
    finished: Path, parts: list[DataPart], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (CHECKPOINT, WEIGHTS):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    own = training.losses

    def broken(*arguments: Any, **options: Any) -> dict[str, Tensor]:
        return {name: value * float("nan") for name, value in own(*arguments, **options).items()}

    monkeypatch.setattr(training, "losses", broken)
    with pytest.raises(UserError, match="step 5: the loss is not finite"):
        train(replace(TINY, steps=6), parts, tmp_path, resume=tmp_path / CHECKPOINT)
    for name in (CHECKPOINT, WEIGHTS):
        assert (tmp_path / name).read_bytes() == (finished / name).read_bytes()


def test_a_checkpoint_of_another_architecture_is_refused_by_both_names(finished: Path) -> None:
    path = finished / CHECKPOINT
    other = Trainer(replace(TINY, net=NetConfig("mobile", refine=False)))
    with pytest.raises(UserError) as caught:
        other.restore(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "refine=True, refine_width=8" in message
    assert "refine=False" in message
    assert other.step == 0


@pytest.mark.parametrize("content", [b"", b"no archive at all", "half"])
def test_a_damaged_checkpoint_is_refused(finished: Path, tmp_path: Path, content: bytes | str) -> None:
    whole = (finished / CHECKPOINT).read_bytes()
    path = tmp_path / CHECKPOINT
    path.write_bytes(whole[: len(whole) // 2] if content == "half" else bytes(content))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=rf"{re.escape(str(path))}: cannot read the checkpoint"):
        Trainer(TINY).restore(path)


@pytest.mark.parametrize("content", [[1, 2], {"step": 3}])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / CHECKPOINT)
    with pytest.raises(UserError, match="not a training checkpoint of this program"):
        Trainer(TINY).restore(tmp_path / CHECKPOINT)


def test_a_folder_that_cannot_be_made_is_named(parts: list[DataPart], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/out: cannot make the folder"):
        train(TINY, parts, tmp_path / "file" / "out")


def test_recipes_are_read_and_unknown_names_refused() -> None:
    recipe = {"net": {"trunk": "resnet50"}, "run": {"steps": 7}, "data": []}
    assert config_from_table(recipe) == TrainConfig(NetConfig("resnet50"), steps=7)
    with pytest.raises(ValueError, match=r"unknown table \[runs\]"):
        config_from_table({"runs": {}})
    with pytest.raises(ValueError, match=r"unknown field stepz in \[run\]: expected some of .*steps"):
        config_from_table({"run": {"stepz": 1}})
    with pytest.raises(ValueError, match=r"unknown field width in \[net\]"):
        config_from_table({"net": {"width": 1}})
