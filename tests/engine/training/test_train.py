import json
import math
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import get_worker_info

from engine.errors import UserError
from engine.modes import HEAD_CHANNELS
from engine.training import journal, trainer
from engine.training.config import TrainConfig, config_from_json
from engine.training.dataset import DataPart, TrainingSet
from engine.training.distributed import Group
from engine.training.train import TimeSpent, train
from engine.training.trainer import CHECKPOINT, WEIGHTS, Trainer


@pytest.fixture(scope="module")
def finished(tiny: TrainConfig, parts: list[DataPart], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run; nobody may change it."""
    out = tmp_path_factory.mktemp("run") / "deep" / "out"
    train(tiny, parts, out)
    return out


@pytest.fixture(autouse=True)
def _without_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tested in test_board.py; a run works without."""
    monkeypatch.setattr(journal, "available", lambda: False)


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def loses_its_mind(monkeypatch: pytest.MonkeyPatch, at: int, what: Callable[[Tensor], Tensor]) -> None:
    """Do something to the losses of one step."""
    real, calls = trainer.losses, []

    def losses(*args: Any, **kwargs: Any) -> Tensor:
        calls.append(1)
        parts = real(*args, **kwargs)
        return what(parts) if len(calls) == at else parts

    monkeypatch.setattr(trainer, "losses", losses)


def interrupt(parts: Tensor) -> Tensor:
    signal.raise_signal(signal.SIGINT)
    return parts


def test_a_run_writes_its_log_checkpoint_and_weights(tiny: TrainConfig, parts: list[DataPart], tmp_path: Path) -> None:
    trained = train(tiny, parts, tmp_path)
    assert trained.weights == tmp_path / WEIGHTS
    assert 0 < trained.data_share < 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHECKPOINT, "log.jsonl", WEIGHTS]
    records = log(tmp_path)
    assert [record["step"] for record in records] == [1, 2, 3, 4]
    numbers = (*HEAD_CHANNELS, "loss", "rate", "gradient_norm", "data_share", "seconds")
    assert all(math.isfinite(record[name]) for record in records for name in numbers)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert state["step"] == 4
    assert config_from_json(state["config"]) == tiny
    shipped = load_file(tmp_path / WEIGHTS)
    assert all(torch.equal(shipped[name], tensor) for name, tensor in state["average"].items())


def test_an_interrupted_and_resumed_run_equals_the_whole_one(
    finished: Path, tiny: TrainConfig, parts: list[DataPart], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit, also with data processes instead of none."""
    config = replace(tiny, workers=1)
    with monkeypatch.context() as patch:
        # In the middle of the second step: it must be finished before the state is saved.
        loses_its_mind(patch, 2, interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(config, parts, tmp_path)
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 2
    train(config, parts, tmp_path, resume=tmp_path / CHECKPOINT)
    timing = {"data_share": 0, "seconds": 0}
    assert [record | timing for record in log(tmp_path)] == [record | timing for record in log(finished)]
    expected, got = load_file(finished / WEIGHTS), load_file(tmp_path / WEIGHTS)
    assert expected.keys() == got.keys()
    assert [name for name, tensor in expected.items() if not torch.equal(got[name], tensor)] == []


def test_what_a_run_did_after_its_last_checkpoint_is_forgotten(
    finished: Path, tiny: TrainConfig, parts: list[DataPart], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the machine stopped: the log is two and a half lines ahead of the checkpoint."""
    with monkeypatch.context() as patch:
        loses_its_mind(patch, 1, interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(tiny, parts, tmp_path)
    lines = (finished / "log.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "log.jsonl").write_text("".join(lines[:3]) + lines[3][:20])
    train(tiny, parts, tmp_path, resume=tmp_path / CHECKPOINT)
    assert [record["step"] for record in log(tmp_path)] == [1, 2, 3, 4]


def test_resuming_a_finished_run_changes_nothing(
    finished: Path, tiny: TrainConfig, parts: list[DataPart], tmp_path: Path
) -> None:
    train(tiny, parts, tmp_path, resume=finished / CHECKPOINT)
    assert log(tmp_path) == []
    expected, got = load_file(finished / WEIGHTS), load_file(tmp_path / WEIGHTS)
    assert all(torch.equal(got[name], tensor) for name, tensor in expected.items())


def test_a_run_shorter_than_its_checkpoint_is_refused(
    finished: Path, tiny: TrainConfig, parts: list[DataPart], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="is at step 4 already, the run has 3"):
        train(replace(tiny, steps=3), parts, tmp_path, resume=finished / CHECKPOINT)


def test_the_state_is_written_now_and_then(
    tiny: TrainConfig, parts: list[DataPart], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    monkeypatch.setattr(Trainer, "save", lambda self, folder: steps.append(self.step))
    train(replace(tiny, checkpoint_minutes=0), parts, tmp_path)
    assert steps == [1, 2, 3, 4, 4]


def test_a_loss_that_is_not_finite_leaves_the_last_good_checkpoint(
    finished: Path, tiny: TrainConfig, parts: list[DataPart], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (CHECKPOINT, WEIGHTS):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    loses_its_mind(monkeypatch, 1, lambda losses: losses * float("nan"))
    with pytest.raises(UserError, match="step 5: the loss is not finite"):
        train(replace(tiny, steps=6), parts, tmp_path, resume=tmp_path / CHECKPOINT)
    for name in (CHECKPOINT, WEIGHTS):
        assert (tmp_path / name).read_bytes() == (finished / name).read_bytes()


def test_frozen_batch_norm_without_pretrained_statistics_is_refused(
    tiny: TrainConfig, parts: list[DataPart], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="batch_norm frozen: no pretrained tensors bring statistics to keep"):
        train(replace(tiny, batch_norm="frozen"), parts, tmp_path)


def test_a_batch_is_shared_equally(tiny: TrainConfig, parts: list[DataPart], tmp_path: Path) -> None:
    group = Group(rank=0, world=3, device=torch.device("cpu"))
    with pytest.raises(UserError, match="batch: 4 pictures cannot be shared equally by 3 processes"):
        train(replace(tiny, batch=4), parts, tmp_path, group=group)


def test_a_folder_that_cannot_be_made_is_named(tiny: TrainConfig, parts: list[DataPart], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/out: cannot make the folder"):
        train(tiny, parts, tmp_path / "file" / "out")


def test_a_log_that_cannot_be_written_is_named(tiny: TrainConfig, parts: list[DataPart], tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(UserError, match=r"cannot be written: Is a directory"):
        train(tiny, parts, tmp_path)


class Interrupted(TrainingSet):
    """Its data process gets the terminal's Ctrl-C, as all processes of a run do."""

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        assert get_worker_info() is not None
        signal.raise_signal(signal.SIGINT)
        return super().__getitem__(index)


def test_ctrl_c_is_not_for_data_processes(
    tiny: TrainConfig, parts: list[DataPart], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.training.train.TrainingSet", Interrupted)
    train(replace(tiny, workers=1), parts, tmp_path)
    assert [record["step"] for record in log(tmp_path)] == [1, 2, 3, 4]


def test_the_share_of_time_spent_waiting() -> None:
    assert TimeSpent().data_share == 0
    assert TimeSpent(total=8, waiting=2).data_share == 0.25
