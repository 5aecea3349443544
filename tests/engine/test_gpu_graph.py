"""The form of the network that TensorRT is given: the same numbers, and a real TensorRT builder takes it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from torch import nn

from engine.backends.gpu_graph import contract_of, from_planes, load_model, precision_of, to_half
from engine.backends.tensorrt_build import (
    BuildCancelledError,
    PlanShape,
    build_plan,
    find_module,
    import_library,
)
from engine.errors import UserError
from engine.export import export_half, export_onnx
from engine.model import NetConfig, PosePlusSegNet
from engine.models import ModelEntry
from engine.modes import HEADS_OF_MODE
from engine.quantize import quantize_onnx
from engine.structures import ByteArray

PictureMaker = Callable[[int, int], ByteArray]
NetMaker = Callable[[NetConfig], PosePlusSegNet]
SHAPE = PlanShape(129, 2)


@pytest.fixture(scope="module")
def model(entry: ModelEntry) -> onnx.ModelProto:
    return load_model(entry.onnx)


@pytest.fixture(scope="session")
def rtx() -> Any:
    if find_module("tensorrt_rtx") is None:
        pytest.skip("needs tensorrt-rtx (requirements-tensorrt.txt)")
    return import_library("tensorrt_rtx")


def run_both(
    model: onnx.ModelProto, changed: onnx.ModelProto, mode: str, pictures: list[ByteArray]
) -> tuple[list[list[Any]], list[Any]]:
    """What the model says about each picture, and what the changed one says about all at once, from planes."""
    names = list(HEADS_OF_MODE[mode])
    ready = from_planes(changed, names)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    expected = [session.run(names, {"image": picture[None]}) for picture in pictures]
    planes = np.stack([picture[..., ::-1] for picture in pictures]).astype(np.float32) - np.float32(ready.mean_rgb)
    planes = np.ascontiguousarray(planes.transpose(0, 3, 1, 2))
    return expected, onnxruntime.InferenceSession(ready.onnx).run(names, {"planes": planes})


@pytest.mark.parametrize("mode", ["joint", "pose", "seg"])
def test_planes_say_the_same_for_many_pictures_at_once(
    model: onnx.ModelProto, make_picture: PictureMaker, mode: str
) -> None:
    pictures = [make_picture(65, 81), 255 - make_picture(65, 81), np.zeros((65, 81, 3), np.uint8)]
    expected, actual = run_both(model, model, mode, pictures)
    for index, heads in enumerate(expected):
        for single, together in zip(heads, actual, strict=True):
            np.testing.assert_allclose(together[index], single[0], rtol=0, atol=1e-3)


def test_half_precision_is_half_throughout_and_says_nearly_the_same(
    model: onnx.ModelProto, make_picture: PictureMaker
) -> None:
    half = to_half(model)
    assert precision_of(model) == "fp32"
    assert precision_of(half) == "fp16"
    assert contract_of(half) == contract_of(model) == (8, 16)
    floats = [item.name for item in half.graph.initializer if item.data_type == onnx.TensorProto.FLOAT]
    assert floats == []
    assert {value.type.tensor_type.elem_type for value in half.graph.output} == {onnx.TensorProto.FLOAT16}
    expected, actual = run_both(model, half, "joint", [make_picture(65, 81)])
    for name, single, together in zip(HEADS_OF_MODE["joint"], expected[0], actual, strict=True):
        assert together.dtype == np.float16
        bound = 0.4 if "offset" in name else 1e-3
        np.testing.assert_allclose(together.astype(np.float32), single, rtol=0, atol=bound, err_msg=name)


def test_what_is_not_ours_is_refused(model: onnx.ModelProto, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a model in fp32, got fp16"):
        to_half(to_half(model))
    value = helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, [1])
    node = helper.make_node("Identity", ["image"], ["out"])
    foreign = helper.make_model(helper.make_graph([node], "g", [value], [value]))
    with pytest.raises(ValueError, match="expected 'image' to be read by one Transpose"):
        from_planes(foreign, ["out"])
    with pytest.raises(ValueError, match="no 'stride'"):
        contract_of(foreign)
    with pytest.raises(UserError, match="cannot read: No such file"):
        load_model(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("text")
    with pytest.raises(UserError, match="not an ONNX model"):
        load_model(tmp_path / "text.onnx")


def test_an_exported_half_file_is_checked(entry: ModelEntry, tmp_path: Path) -> None:
    report = export_half(entry.onnx, tmp_path / "half.onnx")
    assert precision_of(load_model(tmp_path / "half.onnx")) == "fp16"
    assert all(0 < size.probability_max < 1e-2 for size in report.sizes)
    with pytest.raises(UserError, match=r"half\.onnx: expected a model in fp32, got fp16"):
        export_half(tmp_path / "half.onnx", tmp_path / "again.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["half.onnx"]


def built(rtx: Any, model: onnx.ModelProto, mode: str) -> int:
    return len(build_plan(rtx, from_planes(model, HEADS_OF_MODE[mode]).onnx, SHAPE))


@pytest.mark.parametrize("mode", ["joint", "pose", "seg"])
def test_tensorrt_builds_both_precisions(rtx: Any, model: onnx.ModelProto, mode: str) -> None:
    single, half = built(rtx, model, mode), built(rtx, to_half(model), mode)
    assert half < single  # its weights are half


def test_tensorrt_builds_int8(rtx: Any, entry: ModelEntry, sample_still: Path, tmp_path: Path) -> None:
    quantize_onnx(entry.onnx, tmp_path / "int8.onnx", [sample_still], 129)
    model = load_model(tmp_path / "int8.onnx")
    assert precision_of(model) == "int8"
    assert built(rtx, model, "joint") > 0


@pytest.mark.slow
def test_tensorrt_builds_a_resnet(rtx: Any, make_net: NetMaker, tmp_path: Path) -> None:
    """The others have the same layers more often: `tools/gpu_check.py --build` builds them all, in minutes."""
    net = make_net(NetConfig("resnet50", refine_width=32))
    # The test's gains would let the activations of so many layers grow beyond what half precision holds.
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.mul_(0.2)
    export_onnx(net, tmp_path / "net.onnx", "resnet50")
    model = load_model(tmp_path / "net.onnx")
    assert built(rtx, to_half(model), "joint") > 0


def test_a_real_build_is_cancelled(rtx: Any, model: onnx.ModelProto) -> None:
    seen: list[float] = []

    def progress(fraction: float, phase: str) -> bool:
        seen.append(fraction)
        return fraction < 0.3

    with pytest.raises(BuildCancelledError):
        build_plan(rtx, from_planes(model, HEADS_OF_MODE["seg"]).onnx, SHAPE, progress)
    assert seen == sorted(seen)


def test_a_real_parser_says_what_it_minds(rtx: Any) -> None:
    with pytest.raises(UserError, match=r"tensorrt_rtx.* cannot parse the network: .*Failed to parse"):
        build_plan(rtx, b"rubbish", SHAPE)


@pytest.mark.parametrize(("size", "side"), [(401, 401), (400, 401), (402, 417), (65, 65)])
def test_a_shape_takes_what_the_letterbox_makes(size: int, side: int) -> None:
    shape = PlanShape.of(size, 4)
    assert shape.side == side
    least, usual, most = shape.ranges()
    assert most == (4, 3, side, side)
    assert all((value - 1) % 16 == 0 for value in (*least[2:], *usual[2:], *most[2:]))
    assert all(a <= b <= c for a, b, c in zip(least, usual, most, strict=True))
    assert shape.takes((17, side))
    assert not shape.takes((side + 16, 17))
