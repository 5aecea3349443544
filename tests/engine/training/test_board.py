from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from engine.errors import UserError
from engine.model import PosePlusSegNet
from engine.modes import HEAD_CHANNELS
from engine.training import board, trainer
from engine.training.board import compare
from engine.training.config import TrainConfig
from engine.training.dataset import DataPart
from engine.training.train import train
from engine.training.trainer import CHECKPOINT, Trainer

pytest.importorskip("tensorboard")
MakeBatch = Callable[[TrainConfig], tuple[Tensor, dict[str, Tensor]]]


def read(folder: Path) -> Any:
    """The event files as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    return events


def test_a_run_s_numbers_and_pictures_are_read_back(tiny: TrainConfig, parts: list[DataPart], tmp_path: Path) -> None:
    config = replace(tiny, net=replace(tiny.net, aux=True), picture_steps=3)
    train(config, parts, tmp_path)
    events = read(tmp_path / "board")
    losses = {f"loss/{name}" for name in (*HEAD_CHANNELS, "loss", "aux")}
    assert set(events.Tags()["scalars"]) == losses | {"rate", "gradient_norm", "data_share", "seconds"}
    for tag in events.Tags()["scalars"]:
        assert [event.step for event in events.Scalars(tag)] == [1, 2, 3, 4]
    assert events.Scalars("rate")[0].value == pytest.approx(1e-3)
    assert sorted(events.Tags()["images"]) == [f"sample/{n}" for n in range(4)]
    for tag in events.Tags()["images"]:
        assert [event.step for event in events.Images(tag)] == [3, 4]  # every third step and the last
        first, last = (
            cv2.imdecode(np.frombuffer(event.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
            for event in events.Images(tag)
        )
        assert first.shape == last.shape == (2 * 65 + 2, 3 * 65, 3)
        assert (first[:65] == last[:65]).all()  # the same sample's targets


def test_a_resumed_run_replaces_what_the_first_wrote_after_its_checkpoint(
    tiny: TrainConfig, parts: list[DataPart], tmp_path: Path
) -> None:
    train(replace(tiny, steps=2), parts, tmp_path)
    early = (tmp_path / CHECKPOINT).read_bytes()
    train(replace(tiny, steps=3), parts, tmp_path, resume=tmp_path / CHECKPOINT)
    (tmp_path / CHECKPOINT).write_bytes(early)  # as if the run had been cut off before it saved step 3
    train(tiny, parts, tmp_path, resume=tmp_path / CHECKPOINT)
    assert [event.step for event in read(tmp_path / "board").Scalars("loss/loss")] == [1, 2, 3, 4]


def test_a_network_that_knows_everything_draws_its_targets(
    tiny: TrainConfig, make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, targets = make_batch(tiny)
    sample = (images[0], {name: t[0] for name, t in targets.items()})
    heads = {name: targets[name][:1] for name in HEAD_CHANNELS}
    heads["person_map"] = heads["person_map"][:, None]
    for name in ("keypoint_maps", "person_map"):
        heads[name] = (heads[name] - 0.5) * 1000  # logits
    net = Trainer(tiny).average
    monkeypatch.setattr(PosePlusSegNet, "forward", lambda self, image, wanted: heads)
    picture = compare(net, sample)
    side = tiny.size
    above, below = picture[:side], picture[-side:]
    assert (above[:, :side] == below[:, :side]).all()  # SKHM
    person = np.abs(above[:, side : 2 * side].astype(int) - below[:, side : 2 * side])
    assert person.mean() < 10  # the target is soft at outlines, this network is not
    both = targets["person_map"][0, ::2, ::2] >= 0.5
    known = (targets["mask_weight"][0] > 0).all(dim=0) & both
    rows, columns = (index.numpy() * 8 for index in torch.nonzero(known, as_tuple=True))
    assert len(rows) > 3
    assert (above[rows, columns + 2 * side] == below[rows, columns + 2 * side]).all()


def test_a_full_disk_is_one_clear_line_and_leaves_the_checkpoint(
    tiny: TrainConfig, parts: list[DataPart], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(board.Board, "scalars", fail)
    monkeypatch.setattr(trainer.Trainer, "save", fail)  # is not called
    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        train(tiny, parts, tmp_path)
