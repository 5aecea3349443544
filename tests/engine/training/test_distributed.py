"""A run of two processes on the CPU, started by torchrun; the other tests of this folder know a single process."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from engine.errors import UserError
from engine.training import distributed
from engine.training.config import TrainConfig
from engine.training.dataset import DataPart
from engine.training.distributed import Group, alone, joined
from engine.training.train import train


@pytest.fixture(scope="module")
def config(tiny: TrainConfig) -> TrainConfig:
    """Everything that processes share: batch norm in refine networks, an auxiliary head, a trunk that thaws."""
    net = replace(tiny.net, aux=True)
    return replace(tiny, net=net, batch=4, steps=3, batch_norm="sync", rate=1e-2, trunk_factor=1.0)


@pytest.fixture(scope="module")
def together(config: TrainConfig, parts: list[DataPart], root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two_processes.py when it is done."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "config.json").write_text(config.to_json())
    script = Path(__file__).with_name("two_processes.py")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = [script, folder, parts[0].images, parts[0].annotations]
    environment = {**os.environ, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


def log(folder: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [record | {"data_share": 0, "seconds": 0} for record in records]


@pytest.mark.slow
def test_two_processes_do_what_one_does(
    together: Path, config: TrainConfig, parts: list[DataPart], tmp_path: Path
) -> None:
    """But for rounding: at most 2.3e-5 of any number of the first two steps, measured; their log has five digits.

    Later ones differ more, for the optimiser makes a whole step of a gradient that is all rounding.
    """
    train(config, parts, tmp_path)
    one, two = log(tmp_path), log(together / "whole")
    assert len(one) == len(two) == config.steps
    for n in (0, 1):
        assert two[n] == pytest.approx(one[n], rel=1e-4)
    assert two[2]["loss"] == pytest.approx(one[2]["loss"], rel=1e-3)
    expected, got = (load_file(folder / "weights.safetensors") for folder in (tmp_path, together / "whole"))
    differences = torch.cat([(got[name] - expected[name]).abs().flatten().float() for name in expected])
    assert float(differences.max()) < 2 * config.steps * config.rate


@pytest.mark.slow
def test_a_run_of_two_that_was_interrupted_and_resumed_equals_the_whole_one(together: Path) -> None:
    """To the last bit. One process got the Ctrl-C, both stopped after the same step, one saved."""
    assert [(together / f"stopped-{rank}").read_text() for rank in (0, 1)] == ["1", "1"]
    assert log(together / "resumed") == log(together / "whole")
    expected, got = (load_file(together / name / "weights.safetensors") for name in ("whole", "resumed"))
    assert [name for name, tensor in expected.items() if not torch.equal(got[name], tensor)] == []


def test_one_process_is_a_group_of_its_own() -> None:
    with joined() as group:
        assert group == alone()
    assert group.leads
    assert [group.any(flag) for flag in (True, False)] == [True, False]
    assert group.summed(torch.tensor([1.0, 2.0])).tolist() == [1, 2]


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="started 2 processes here, and there are 1 GPUs"), joined():
        pass


def test_a_process_that_waits_for_one_that_is_gone_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(distributed.distributed, "all_reduce", fail)
    group = Group(rank=0, world=2, device=torch.device("cpu"))
    with pytest.raises(UserError, match=r"another process of this run has ended.*: Connection closed by peer"):
        group.any(flag=False)
