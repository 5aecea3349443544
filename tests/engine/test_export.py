import copy
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from engine import export
from engine.backends.base import open_backend, whole_input
from engine.errors import UserError
from engine.model import NetConfig, PosePlusSegNet
from engine.models import ModelEntry, find_model
from engine.modes import HEAD_CHANNELS
from engine.weights import load_weights, read_metadata, save_weights

NetMaker = Callable[[NetConfig], PosePlusSegNet]


@pytest.fixture(scope="module")
def model(entry: ModelEntry) -> onnx.ModelProto:
    return onnx.load(entry.onnx)


def test_inputs_and_outputs_have_their_names_and_free_sides(model: onnx.ModelProto) -> None:
    def shape(value: onnx.ValueInfoProto) -> list[int | str]:
        return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]

    assert [(v.name, shape(v)) for v in model.graph.input] == [("image", [1, "height", "width", 3])]
    sides = {name: ["h", "w"] for name in HEAD_CHANNELS} | {"person_map": ["person_h", "person_w"]}
    assert [(v.name, shape(v)) for v in model.graph.output] == [
        (name, [1, channels, *sides[name]]) for name, channels in HEAD_CHANNELS.items()
    ]
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert next(o.version for o in model.opset_import if not o.domain) >= 18


def test_metadata_says_what_a_back_end_needs(model: onnx.ModelProto) -> None:
    metadata = {item.key: item.value for item in model.metadata_props}
    assert metadata == {
        "name": "tiny",
        "stride": "8",
        "multiple": "16",
        "input_format": "bgr uint8 nhwc",
        "network": "mobile, trunk stride 16, refined at width 32, outline width 64",
    }


def test_constant_work_is_folded(model: onnx.ModelProto) -> None:
    counts = Counter(node.op_type for node in model.graph.node)
    assert not counts.keys() & {"BatchNormalization", "Mul", "Pad"}
    assert (counts["Transpose"], counts["Cast"], counts["Sub"]) == (1, 1, 1)
    # To stride 8: context and the coarse heads of either pipeline; to stride 4: outline and person map.
    assert counts["Resize"] == 5


def test_nothing_of_this_machine_is_in_the_file(entry: ModelEntry) -> None:
    data = entry.onnx.read_bytes()
    for text in (b"site-packages", str(Path.home()).encode(), str(Path(__file__).parents[2]).encode(), b"stack_trace"):
        assert text not in data


def test_both_files_hold_the_same_rounded_numbers(entry: ModelEntry, net: PosePlusSegNet) -> None:
    stored = load_weights(entry.weights, expected=net.config).state_dict()
    assert torch.equal(stored["heads.weight"], net.state_dict()["heads.weight"].half().float())
    name = "trunk.depthwise.3.weight"  # not touched by folding, so it must be found bit for bit
    initializers = [
        onnx.numpy_helper.to_array(t)
        for t in onnx.load(entry.onnx).graph.initializer
        if tuple(t.dims) == tuple(stored[name].shape)
    ]
    assert any((array == stored[name].numpy()).all() for array in initializers)


def test_a_release_is_registered_and_whole(entry: ModelEntry) -> None:
    found = find_model("tiny", entry.onnx.with_name("models.toml"))
    assert found == entry
    found.verify()
    assert (found.stride, found.input_size, found.metrics) == (8, 129, {"ap": 0.0})
    assert read_metadata(found.weights)["training_data"] == "none: random"
    assert sorted(path.name for path in entry.onnx.parent.iterdir()) == ["models.toml", "tiny.onnx", "tiny.safetensors"]


@pytest.mark.slow
def test_a_release_from_a_checkpoint_replaces_the_old_one(
    copied_entry: ModelEntry, make_net: NetMaker, tmp_path: Path
) -> None:
    """A ResNet: its batch norms, unlike the refine networks', are not all folded by the exporter itself."""
    checkpoint, registry = tmp_path / "last.safetensors", tmp_path / "models.toml"
    save_weights(make_net(NetConfig("resnet50", refine=False)), checkpoint)
    entry, report = export.release(checkpoint, "tiny", licence="x", training_data="y", registry=registry)
    assert find_model("tiny", registry) == entry
    assert entry.stride == 16
    assert entry.onnx_sha256 != copied_entry.onnx_sha256
    assert report.path == entry.onnx
    assert [size.input_hw for size in report.sizes] == [(401, 401), (225, 401)]
    assert len(str(report).splitlines()) == 3
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(entry.onnx).graph.node}
    with open_backend("onnx", entry) as backend:
        assert backend.stride == 16
        backend.infer(np.zeros((65, 129, 3), np.uint8), whole_input((65, 129)))


def test_an_export_that_differs_is_not_written(
    net: PosePlusSegNet, tmp_path: Path, entry: ModelEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exporter's mistake, made by hand: the graph of a network that is not the one asked for."""
    path = tmp_path / "net.onnx"
    path.write_bytes(b"the old file")
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.heads.bias += 0.01
    monkeypatch.setattr(export, "_trace", lambda _: onnx.load(entry.onnx))
    with pytest.raises(RuntimeError, match="differs from the network it was made from at 401x401"):
        export.export_onnx(other, path, "net")
    assert path.read_bytes() == b"the old file"
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


def test_exporting_leaves_the_network_alone(net: PosePlusSegNet) -> None:
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    folded = export._fold(net)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    image = torch.randint(0, 256, (1, 65, 81, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(folded(image), net(image), atol=1e-3, rtol=1e-4)


def test_a_release_needs_a_readable_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        export.release(
            tmp_path / "last.safetensors", "x", licence="", training_data="", registry=tmp_path / "models.toml"
        )
    assert not list(tmp_path.iterdir())
