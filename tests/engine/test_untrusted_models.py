"""Model files are data: whatever somebody puts into one, nothing in it runs and nothing else is read."""

import ast
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from engine.backends.onnx_backend import OnnxBackend
from engine.errors import UserError
from engine.training.checkpoint import read_checkpoint
from engine.weights import load_weights


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.marker,)


def plain_pickle(path: Path, malicious: Malicious) -> None:
    path.write_bytes(pickle.dumps(malicious))


def zipped_pickle(path: Path, malicious: Malicious) -> None:
    torch.save({"config": "{}", "step": 1, "net": malicious, "average": {}, "optimiser": {}}, path)


@pytest.mark.parametrize("write", [plain_pickle, zipped_pickle])
@pytest.mark.parametrize(
    ("name", "load"), [("net.pt", read_checkpoint), ("net.safetensors", load_weights), ("net.onnx", OnnxBackend)]
)
def test_a_malicious_pickle_does_not_run(
    tmp_path: Path, name: str, load: Callable[[Path], object], write: Callable[[Path, Malicious], None]
) -> None:
    path, marker = tmp_path / name, tmp_path / "it-ran"
    write(path, Malicious(marker))
    with pytest.raises(UserError, match=r"net\.(pt|safetensors|onnx)"):
        load(path)
    assert not marker.exists()
    # And it would have run, had anybody unpickled it.
    with path.open("rb") as file:
        torch.load(file, weights_only=False) if write is zipped_pickle else pickle.load(file)
    assert marker.exists()


def write_with_external_data(path: Path, location: str) -> None:
    """An ONNX file whose one tensor lies in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [tensor])
    path.write_bytes(helper.make_model(graph, ir_version=9).SerializeToString())


@pytest.mark.parametrize("mode", ["joint", "pose"])
@pytest.mark.parametrize("absolute", [True, False])
def test_an_onnx_file_cannot_read_files_elsewhere(tmp_path: Path, absolute: bool, mode: str) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(np.arange(4, dtype=np.float32).tobytes())
    folder = tmp_path / "models"
    folder.mkdir()
    write_with_external_data(folder / "net.onnx", str(secret) if absolute else "../secret.bin")
    with pytest.raises(UserError, match=r"net\.onnx: not a model that ONNX Runtime can load") as caught:
        OnnxBackend(folder / "net.onnx", mode=mode)
    assert "\n" not in str(caught.value)
    with pytest.raises(onnx.checker.ValidationError):  # for this reason, not for another
        onnx.load(folder / "net.onnx")


# ---- nobody adds a loader that trusts its file


def calls(root: Path) -> Iterator[tuple[str, str, ast.Call]]:
    """(file, the called function as written, call) of every call in the program."""
    for folder in ("app", "engine", "pipeline", "tools"):
        for path in (root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    yield path.relative_to(root).as_posix(), ast.unparse(node.func), node


def given(call: ast.Call, name: str) -> object:
    """The constant that is given for an argument by name."""
    return next((ast.literal_eval(item.value) for item in call.keywords if item.arg == name), None)


def test_no_file_is_unpickled(root: Path) -> None:
    seen = set()
    for path, function, call in calls(root):
        seen.add(function)
        if function == "torch.load":
            assert given(call, "weights_only") is True, f"{path}:{call.lineno}"
        if function in ("np.load", "numpy.load"):
            assert given(call, "allow_pickle") is not True, f"{path}:{call.lineno}"
        if function.split(".")[0] in ("pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml"):
            # The data processes' own list, in memory: no file of anybody's.
            assert (path, function) in {
                ("engine/training/packed.py", "pickle.loads"),
                ("engine/training/packed.py", "pickle.dumps"),
            }, f"{path}:{call.lineno}: {function}"
        assert function not in ("eval", "exec", "os.system"), f"{path}:{call.lineno}"
        assert given(call, "shell") is not True, f"{path}:{call.lineno}"
    assert {"torch.load", "pickle.loads"} <= seen


def test_nor_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    write_with_external_data(tmp_path / "net.onnx", "beside.bin")
    with pytest.raises(UserError, match=r"net\.onnx: .* its weights lie in other files"):
        OnnxBackend(tmp_path / "net.onnx")
