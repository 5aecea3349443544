"""`train`: recipes and their mistakes, and a run of a few steps that is stopped and resumed."""

import contextlib
import dataclasses
import gc
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.model import NetConfig
from engine.weights import load_weights

Call = Callable[..., Any]
RECIPE = """
[net]
trunk = "mobile"
refine_width = 8

[run]
size = 65
batch = 2
workers = 0
steps = 2
warmup_steps = 0

[[data]]
images = "pictures"
annotations = "labels.json"
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return path


def log_steps(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_train_and_resume(recipe: Path, coco_set: Path, call: Call, tmp_path: Path) -> None:
    out = tmp_path / "new" / "run"
    arguments = ("train", recipe, "--data", coco_set, "--out", out)
    ended = call(*arguments)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith(f"{recipe}: trunk mobile, ")
    assert "size 65, " in ended.out
    assert ended.out.endswith(f"weights: {out / 'weights.safetensors'}\n")
    assert "\nwaiting for data: " in ended.out
    assert sorted(path.name for path in out.iterdir()) == ["board", "last.pt", "log.jsonl", "weights.safetensors"]
    assert log_steps(out) == [1, 2]
    assert load_weights(out / "weights.safetensors").config == NetConfig("mobile", refine_width=8)

    ended = call(*arguments)  # as it stands it would begin anew
    assert ended.status == 2
    assert ended.error_line() == (
        f"{out / 'last.pt'}: exists already; add --resume to continue it, or choose another --out"
    )
    assert log_steps(out) == [1, 2]

    ended = call(*arguments, "--resume", "--steps", 3)
    assert (ended.status, ended.err) == (0, "")
    assert log_steps(out) == [1, 2, 3]


def test_without_tensorboard(
    recipe: Path, coco_set: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.training.board.available", lambda: False)
    monkeypatch.setattr("engine.training.journal.available", lambda: False)
    ended = call("train", recipe, "--data", coco_set, "--out", tmp_path / "o")
    assert ended.status == 0
    assert ended.err == "warning: no TensorBoard, so log.jsonl alone is written: pip install tensorboard\n"
    assert not (tmp_path / "o" / "board").exists()


def test_ctrl_c_saves(recipe: Path, coco_set: Path, root: Path, tmp_path: Path) -> None:
    """In a process of its own; the signal comes in the middle of a step."""
    code = """
import signal, sys
from app.cli import main
from engine.training import trainer
step = trainer.losses
trainer.losses = lambda *a, **k: signal.raise_signal(signal.SIGINT) or step(*a, **k)
sys.exit(main(sys.argv[1:]))
"""
    arguments = ["train", recipe, "--data", coco_set, "--out", tmp_path / "o", "--steps", 9, "--workers", 1]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=root, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
    assert log_steps(tmp_path / "o") == [1]
    assert load_weights(tmp_path / "o" / "weights.safetensors").config.trunk == "mobile"
    assert (tmp_path / "o" / "last.pt").exists()


@pytest.mark.slow
def test_two_processes(recipe: Path, coco_set: Path, root: Path, tmp_path: Path) -> None:
    """One of them prints and writes."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = ["train", recipe, "--data", coco_set, "--out", tmp_path / "o"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*torchrun, root / "main.py", *map(str, arguments)],
        cwd=root, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    settings, waiting, weights = done.stdout.splitlines()
    assert settings.startswith(f"{recipe}: trunk mobile, ")
    assert waiting.startswith("waiting for data: ")
    assert weights == f"weights: {tmp_path / 'o' / 'weights.safetensors'}"
    assert log_steps(tmp_path / "o") == [1, 2]


def test_a_batch_that_two_processes_cannot_share(
    recipe: Path, coco_set: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.training import distributed

    group = dataclasses.replace(distributed.alone(), world=2)
    monkeypatch.setattr(distributed, "joined", lambda: contextlib.nullcontext(group))
    ended = call("train", recipe, "--data", coco_set, "--out", tmp_path / "o", "--batch", 3)
    assert (ended.status, ended.error_line()) == (2, "batch: 3 pictures cannot be shared equally by 2 processes")


def test_bad_start(recipe: Path, coco_set: Path, call: Call, tmp_path: Path) -> None:
    start = tmp_path / "start.safetensors"
    start.write_text("no tensors")
    ended = call("train", recipe, "--data", coco_set, "--out", tmp_path / "o", "--start", start)
    assert ended.status == 2
    assert ended.error_line().startswith(f"{start}: cannot read the pretrained weights")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("[run]", "[run", "not valid TOML: "),
        ("steps = 2", "stepps = 2", "unknown field 'stepps' in [run]: expected some of "),
        ("steps = 2", 'steps = "many"', "[run] steps: expected int, got 'many'"),
        ("steps = 2", "steps = true", "[run] steps: expected int, got True"),
        ("steps = 2", "rate = '1'", "[run] rate: expected float or int, got '1'"),
        ("steps = 2", "net = 1", "unknown field 'net' in [run]"),
        ("batch = 2", "batch = 0", "[run] batch: expected at least 1, got 0"),
        ("size = 65", "size = 64", "[run] size: expected n * 16 + 1, at least 33, got 64"),
        ('"mobile"', '"tree"', "[net] trunk: expected one of mobile, "),
        ('trunk = "mobile"', "", "[net] has no 'trunk'"),
        ("refine_width = 8", "trunk_stride = 9", "[net] trunk_stride: expected 8 or 16, got 9"),
        ("[run]", "[runs]", "unknown table [runs]: expected [net], [losses], [augmentation], [run] and [[data]]"),
        ("[[data]]", "[data]", "expected one [[data]] table or more"),
        ("[[data]]", "[[date]]", "unknown table [date]: expected "),
        ("[run]", "[augmentation]\nflip_share = 2\n[run]", "[augmentation] flip_share: expected 0 to 1, got 2"),
        ("[run]", "[augmentation]\npaste = 1\n[run]", "unknown field 'paste' in [augmentation]: expected some of "),
        ("[run]", "[augmentation]\ntint = 'red'\n[run]", "[augmentation] tint: expected float or int, got 'red'"),
        ("[run]", "[losses]\nperson_map = true\n[run]", "[losses] person_map: expected float or int, got True"),
        ("[net]", "run = 3\n[net]", "not valid TOML: "),
        ('images = "pictures"', "", "[data] has no 'images'"),
        ('images = "pictures"', "images = 3", "[data] images: expected str, got 3"),
        ('images = "pictures"', 'photos = "p"', "unknown field 'photos' in [data]: expected some of "),
    ],
)
def test_bad_recipe(old: str, new: str, reason: str, coco_set: Path, call: Call, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(RECIPE.replace(old, new))
    ended = call("train", path, "--data", coco_set, "--out", tmp_path / "o")
    assert ended.status == 2
    assert ended.error_line().startswith(f"{path}: {reason}")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nonsense", "unknown recipe 'nonsense': expected a .toml file or one of coco, mixed, mobile"),
        ("gone/tiny.toml", "gone/tiny.toml: cannot read the recipe: No such file or directory"),
    ],
)
def test_unknown_recipe(name: str, reason: str, coco_set: Path, call: Call, tmp_path: Path) -> None:
    ended = call("train", name, "--data", coco_set, "--out", tmp_path / "o")
    assert (ended.status, ended.error_line()) == (2, reason)


def test_missing_data(recipe: Path, call: Call, tmp_path: Path) -> None:
    ended = call("train", recipe, "--data", tmp_path, "--out", tmp_path / "o")
    assert ended.status == 2
    assert ended.error_line().startswith(f"{tmp_path / 'pictures'}: no such file or folder")
    (tmp_path / "pictures").mkdir()
    ended = call("train", recipe, "--data", tmp_path, "--out", tmp_path / "o")
    assert ended.error_line().startswith(f"{tmp_path / 'labels.json'}: no such file or folder")
    assert not (tmp_path / "o").exists()


def test_missing_picture(recipe: Path, coco_set: Path, call: Call, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    shutil.copy(coco_set / "labels.json", tmp_path)
    ended = call("train", recipe, "--data", tmp_path, "--out", tmp_path / "o")
    assert ended.status == 2
    assert ended.error_line().startswith(
        f"{tmp_path / 'labels.json'}: 1 of 1 pictures cannot be used, the first: "
        f"{tmp_path / 'pictures' / 'a.jpg'}: cannot read: "
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_damaged_picture(workers: int, recipe: Path, coco_set: Path, call: Call, tmp_path: Path) -> None:
    """Found while training, in this process or in a data process: one line either way."""
    shutil.copytree(coco_set, tmp_path, dirs_exist_ok=True)
    picture = tmp_path / "pictures" / "a.jpg"
    picture.write_bytes(picture.read_bytes()[:1000])
    ended = call("train", recipe, "--data", tmp_path, "--out", tmp_path / "o", "--workers", workers)
    assert ended.status == 2
    gc.collect()  # torch ends the thread that feeds its data process when the loader goes
    assert ended.error_line() == (
        f"{tmp_path / 'labels.json'}: 1 of 1 pictures cannot be used, the first: {picture}: a JPEG that is cut off"
    )


def test_out_is_a_file(recipe: Path, coco_set: Path, call: Call) -> None:
    ended = call("train", recipe, "--data", coco_set, "--out", recipe)
    assert ended.status == 2
    assert ended.error_line() == f"{recipe}: is a file, expected a folder for the results"
    assert recipe.read_text() == RECIPE


def test_nothing_to_resume(recipe: Path, coco_set: Path, call: Call, tmp_path: Path) -> None:
    ended = call("train", recipe, "--data", coco_set, "--out", tmp_path / "o", "--resume")
    assert ended.status == 2
    assert ended.error_line() == f"{tmp_path / 'o' / 'last.pt'}: no such file, so there is nothing to resume"
    assert not (tmp_path / "o").exists()


def test_damaged_checkpoint(recipe: Path, coco_set: Path, call: Call, tmp_path: Path) -> None:
    checkpoint = tmp_path / "o" / "last.pt"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"PK no checkpoint")
    ended = call("train", recipe, "--data", coco_set, "--out", checkpoint.parent, "--resume")
    assert ended.status == 2
    assert ended.error_line().startswith(f"{checkpoint}: cannot read the checkpoint")
    assert checkpoint.read_bytes() == b"PK no checkpoint"


@pytest.mark.parametrize(("option", "value"), [("--steps", "0"), ("--batch", "none"), ("--workers", "-1")])
def test_bad_option(option: str, value: str, call: Call) -> None:
    ended = call("train", "mobile", "--data", "a", "--out", "b", option, value)
    assert ended.status == 2
    assert ended.err.splitlines()[-1].startswith(f"main.py train: error: argument {option}: expected")


@pytest.mark.parametrize(
    "command", ["train mobile --data a --out b", "export a --onnx b", "run a --out b --model a.safetensors"]
)
def test_missing_torch(command: str, root: Path, tmp_path: Path) -> None:
    """In a process of its own, for here torch has been imported."""
    arguments = command.split()
    code = f"import sys; sys.modules['torch'] = None; from app.cli import main; sys.exit(main({arguments}))"
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == "error: torch is not installed: pip install -r requirements-train.txt\n"
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_shipped_recipes_are_sound(root: Path, call: Call, tmp_path: Path) -> None:
    """They come as far as their data, which is not here."""
    recipes = sorted(path.stem for path in (root / "engine" / "training" / "recipes").glob("*.toml"))
    assert recipes
    for name in recipes:
        ended = call("train", name, "--data", tmp_path, "--out", tmp_path / "o")
        assert ended.error_line().endswith("no such file or folder; see --data and the recipe's [[data]]")
