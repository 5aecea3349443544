"""`export`: an ONNX file that the back end loads, and bad input noticed before the export starts."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.backends import survey
from engine.backends.base import whole_input
from engine.backends.onnx_backend import OnnxBackend
from engine.model import NetConfig, PosePlusSegNet
from engine.models import load_registry
from engine.weights import save_weights

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        save_weights(PosePlusSegNet(NetConfig("mobile", refine_width=8)), path)
    return path


@pytest.mark.slow
def test_onnx(weights: Path, call: Call, tmp_path: Path) -> None:
    target = tmp_path / "tiny.onnx"
    ended = call("export", weights, "--onnx", target)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.splitlines()[0] == str(target)
    assert "probabilities differ by at most" in ended.out
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.onnx"]
    with OnnxBackend(target) as backend:
        assert backend.stride == 8
        backend.infer(np.zeros((65, 81, 3), np.uint8), whole_input((65, 81)))


@pytest.mark.slow
def test_int8(weights: Path, call: Call, sample_still: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    shutil.copy(sample_still, tmp_path / "pictures")
    target = tmp_path / "out" / "tiny.onnx"
    target.parent.mkdir()
    options = ("--precision", "int8", "--calibrate", tmp_path / "pictures", "--input-size", 97)
    ended = call("export", weights, "--onnx", target, *options)
    assert (ended.status, ended.err) == (0, "")
    assert f"{target}: " in ended.out
    assert [path.name for path in target.parent.iterdir()] == ["tiny.onnx"]
    with OnnxBackend(target) as backend:
        assert backend.precision == "int8"
        backend.infer(np.zeros((65, 81, 3), np.uint8), whole_input((65, 81)))


def test_release(weights: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The options arrive where they should; the work itself is tested with the engine."""
    from engine import export

    seen: dict[str, Any] = {}

    def release(source: Path, name: str, **options: Any) -> Any:
        seen.update(options, source=source, name=name)
        return load_registry()["mobile"], "the report"

    metrics = tmp_path / "figures.json"
    metrics.write_text('{"images": 1}')
    monkeypatch.setattr(export, "release", release)
    options = ("--licence", "MIT", "--training-data", "some", "--input-size", "257", "--metrics", metrics)
    ended = call("export", weights, "--release", "new-1", *options)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("the report\nreleased mobile: ")
    assert seen == {
        "source": weights,
        "name": "new-1",
        "licence": "MIT",
        "training_data": "some",
        "input_size": 257,
        "metrics": {"images": 1},
    }


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing must be exported."""
    from engine import export

    def fail(*arguments: object, **options: object) -> None:
        raise AssertionError

    monkeypatch.setattr(export, "export_onnx", fail)
    monkeypatch.setattr(export, "release", fail)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("gone/a.onnx", "cannot be written: No such file or directory"),
        ("file/a.onnx", "cannot be written: "),
        ("folder", "is a folder or a device"),
    ],
)
def test_bad_target(target: str, reason: str, weights: Path, call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    ended = call("export", weights, "--onnx", tmp_path / target)
    assert ended.status == 2
    assert ended.error_line().startswith(f"{tmp_path / target}: {reason}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.usefixtures("no_work")
def test_int8_wants_pictures(weights: Path, call: Call, tmp_path: Path) -> None:
    target = ("--onnx", tmp_path / "a.onnx")
    for options in (("--precision", "int8"), ("--calibrate", tmp_path)):
        ended = call("export", weights, *target, *options)
        assert ended.status == 2
        assert ended.error_line().startswith("--precision int8 and --calibrate DIR go together")
    for folder, reason in ((tmp_path, "no pictures to calibrate with"), (tmp_path / "gone", "no such folder")):
        ended = call("export", weights, *target, "--precision", "int8", "--calibrate", folder)
        assert ended.status == 2
        assert ended.error_line() == f"{folder}: {reason}"


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("name", ["../up", "a b", "", "a.b"])
def test_bad_release_name(name: str, weights: Path, call: Call) -> None:
    ended = call("export", weights, "--release", name)
    assert ended.status == 2
    assert f"expected letters, digits, '-' and '_', got {name!r}" in ended.err.splitlines()[-1]


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("text", "reason"),
    [(None, "cannot read: No such file"), ("{", "not valid JSON"), ("[1]", "expected the figures of `eval --json`")],
)
def test_bad_metrics(text: str | None, reason: str, weights: Path, call: Call, tmp_path: Path) -> None:
    metrics = tmp_path / "figures.json"
    if text is not None:
        metrics.write_text(text)
    ended = call("export", weights, "--release", "new", "--metrics", metrics)
    assert ended.status == 2
    assert ended.error_line().startswith(f"{metrics}: {reason}")


@pytest.mark.parametrize(("text", "reason"), [(None, "no such file"), ("text", "not a readable safetensors file: ")])
def test_bad_weights(text: str | None, reason: str, call: Call, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    if text is not None:
        path.write_text(text)
    ended = call("export", path, "--onnx", tmp_path / "w.onnx")
    assert ended.status == 2
    assert ended.error_line().startswith(f"{path}: {reason}")
    assert not (tmp_path / "w.onnx").exists()


@pytest.mark.parametrize("targets", [(), ("--onnx", "a", "--release", "b")])
def test_one_target(targets: tuple[str, ...], call: Call) -> None:
    ended = call("export", "w.safetensors", *targets)
    assert ended.status == 2
    assert "--onnx" in ended.err.splitlines()[-1]


def test_half_precision_of_a_released_network(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --onnx the file lies here, named after the network and the precision."""
    monkeypatch.chdir(tmp_path)
    ended = call("export", "mobile", "--to", "onnx", "--precision", "fp16")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.splitlines()[0] == "mobile-fp16.onnx"
    assert [path.name for path in tmp_path.iterdir()] == ["mobile-fp16.onnx"]
    with OnnxBackend(tmp_path / "mobile-fp16.onnx") as backend:
        assert backend.name == "onnx cpu fp16"
        heads = backend.infer(np.zeros((65, 81, 3), np.uint8), whole_input((65, 81)))
        assert heads.mid_offsets.dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("mobile", "--to", "onnx"), "mobile: is fp32 ONNX already"),
        (("none.onnx", "--to", "onnx", "--precision", "fp16"), "none.onnx: cannot read: No such file"),
        (("nobody", "--to", "onnx", "--precision", "fp16"), "unknown model 'nobody'"),
        (("a.pt", "--to", "onnx", "--precision", "fp16"), "a.pt: expected a .safetensors or .onnx file, or the name"),
        (("a.safetensors", "--to", "tensorrt"), "a.safetensors: a plan is made from ONNX: first `export"),
        (("mobile", "--release", "new"), "--release takes a .safetensors file"),
        (("a.safetensors", "--release", "new", "--precision", "fp16"), "--release takes a .safetensors file, and"),
    ],
)
def test_what_cannot_be_exported(
    arguments: tuple[str, ...], reason: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = call("export", *arguments)
    assert ended.status == 2
    assert ended.error_line().startswith(reason)
    assert not list(tmp_path.iterdir())


def test_a_plan_without_a_gpu_is_one_line(call: Call) -> None:
    if survey.has_cuda():
        pytest.skip("this machine has a GPU")
    ended = call("export", "mobile", "--to", "tensorrt", "--input-size", "129", "--batch", "2")
    assert ended.status == 2
    assert re.match(r"tensorrt(_rtx)?[: ]", ended.error_line())
