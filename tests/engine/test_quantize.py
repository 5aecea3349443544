"""int8: what is in the file, what ONNX Runtime makes of it, and how far the shipped one is from its float32 source."""

import dataclasses
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from engine.backends.base import open_backend, whole_input
from engine.backends.onnx_backend import OnnxBackend
from engine.backends.onnx_cpu import load_for_cpu
from engine.errors import UserError
from engine.model import NetConfig, PosePlusSegNet
from engine.models import ModelEntry, find_model, load_registry
from engine.modes import HEAD_CHANNELS, HEADS_OF_MODE
from engine.quantize import QuantizationReport, compare, list_pictures, quantize_onnx, release_int8
from engine.quantized_graph import correct_biases
from engine.structures import ByteArray

PictureMaker = Callable[[int, int], ByteArray]
# The shipped file on astronaut.jpg at 641: 0.015, 0.36 px and 2.2 px measured; without the correction of the biases
# 0.036, 0.57 px and 3.9 px.
MAX_PROBABILITY_RMS = 0.025
MAX_SHORT_MEDIAN_PX = 0.5
MAX_MASK_MEDIAN_PX = 3.2
MAX_SHARE = 0.3


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(5).integers(0, 256, (3, 6, 8, 3), dtype=np.uint8)
    for i, coarse in enumerate(noise):
        cv2.imwrite(str(folder / f"{i}.png"), cv2.resize(coarse, (120, 90 + 20 * i), interpolation=cv2.INTER_CUBIC))
    return list_pictures(folder)


@pytest.fixture(scope="module")
def quantized(
    entry: ModelEntry, pictures: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, QuantizationReport]:
    path = tmp_path_factory.mktemp("int8") / "tiny-int8.onnx"
    return path, quantize_onnx(entry.onnx, path, pictures, 129)


@pytest.fixture(scope="module", params=["tiny", "shipped"])
def path(request: pytest.FixtureRequest, quantized: tuple[Path, QuantizationReport]) -> Path:
    """An int8 file."""
    return quantized[0] if request.param == "tiny" else shipped()


def shipped() -> Path:
    path = find_model("mobile").onnx_int8
    assert path is not None
    return path


def arrays(model: onnx.ModelProto) -> dict[str, Any]:
    return {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}


def test_the_file_says_what_it_is(quantized: tuple[Path, QuantizationReport], entry: ModelEntry) -> None:
    path, report = quantized
    source, target = ({p.key: p.value for p in onnx.load(file).metadata_props} for file in (entry.onnx, path))
    assert target == source | {"precision": "int8"}
    with OnnxBackend(path) as backend:
        assert (backend.name, backend.precision, backend.stride, backend.multiple) == ("onnx cpu int8", "int8", 8, 16)
    assert str(report).startswith(f"{path}: ")
    assert report.share == path.stat().st_size / entry.onnx.stat().st_size
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_it_has_the_form_that_tensorrt_parses(path: Path) -> None:
    """Symmetric int8, zero points 0, and biases left in float32."""
    model = onnx.load(path)
    values = arrays(model)
    pairs = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(pairs) > 100
    for node in pairs:
        zero = values[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
    for node in model.graph.node:
        if node.op_type == "Conv" and len(node.input) > 2:
            assert values[node.input[2]].dtype == np.float32


def test_no_bias_overflows(path: Path) -> None:
    """In units of input scale times weight scale, what ONNX Runtime adds as int32."""
    model = onnx.load(path)
    values = arrays(model)
    makers = {name: node for node in model.graph.node for name in node.output}
    checked = 0
    for node in model.graph.node:
        if node.op_type == "Conv" and len(node.input) > 2 and node.input[1] in makers:
            scale = values[makers[node.input[0]].input[1]] * values[makers[node.input[1]].input[1]].astype(np.float64)
            assert np.abs(values[node.input[2]] / scale).max() < 2**25
            checked += 1
    assert checked > 30


def test_only_the_first_two_convolutions_stay_in_float(path: Path) -> None:
    model = onnx.load(path)
    made = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    left = [node.input[1] for node in model.graph.node if node.op_type == "Conv" and node.input[1] not in made]
    assert left == ["net.trunk.stem.weight", "net.trunk.depthwise.0.weight"]


def kernels(path: Path, folder: Path) -> list[str]:
    """What ONNX Runtime runs for a file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    data = load_for_cpu(path, HEADS_OF_MODE["joint"])
    onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors have other kernels")
def test_onnx_runtime_makes_integer_kernels_of_it(path: Path, tmp_path: Path) -> None:
    """A pair too many or a ReLU that stays between two pairs makes a convolution several times slower, silently."""
    kinds = kernels(path, tmp_path)
    assert kinds.count("QLinearConv") == sum(node.op_type == "Conv" for node in onnx.load(path).graph.node) - 2
    assert kinds.count("Conv") == 2
    assert not {"Clip", "Relu"}.intersection(kinds)


def test_what_a_relu_gives_becomes_unsigned_over_the_same_range(path: Path) -> None:
    before, after = onnx.load(path), onnx.load_from_string(load_for_cpu(path, HEADS_OF_MODE["joint"]))
    old, new = arrays(before), arrays(after)
    makers = {name: node.op_type for node in before.graph.node for name in node.output}
    unsigned = 0
    for was, now in zip(before.graph.node, after.graph.node, strict=True):
        if was.op_type == "QuantizeLinear" and makers[was.input[0]] in ("Relu", "Clip"):
            assert (new[now.input[2]].dtype, new[now.input[2]]) == (np.uint8, 0)
            assert new[now.input[1]] * 255 == pytest.approx(old[was.input[1]] * 127)
            unsigned += 1
        elif was.op_type == "QuantizeLinear" and makers[was.input[0]] in ("Conv", "Add"):
            assert (new[now.input[1]], new[now.input[2]]) == (old[was.input[1]], 128)
    assert unsigned > 20


@pytest.mark.parametrize("mode", ["pose", "seg"])
def test_a_mode_gives_its_heads_as_they_are(path: Path, mode: str, make_picture: PictureMaker) -> None:
    image, placed = make_picture(65, 81), whole_input((65, 81))
    with OnnxBackend(path) as joint, OnnxBackend(path, mode=mode) as alone:
        expected, actual = joint.infer(image, placed), alone.infer(image, placed)
    for name in HEAD_CHANNELS:
        if name in HEADS_OF_MODE[mode]:
            np.testing.assert_allclose(getattr(actual, name), getattr(expected, name), atol=1e-3)
        else:
            assert not getattr(actual, name).any()


def test_it_says_nearly_the_same(
    quantized: tuple[Path, QuantizationReport], entry: ModelEntry, make_picture: PictureMaker
) -> None:
    image, placed = make_picture(97, 129), whole_input((97, 129))
    with OnnxBackend(entry.onnx) as floats, OnnxBackend(quantized[0]) as integers:
        expected, actual = floats.infer(image, placed), integers.infer(image, placed)
    for name in HEAD_CHANNELS:
        wanted, got = getattr(expected, name), getattr(actual, name)
        error = np.sqrt(np.mean((got - wanted) ** 2))
        assert 0 < error < 0.1 * np.std(wanted) + 1e-3, name


def test_what_rounded_weights_add_on_average_is_taken_off() -> None:
    """One channel of weights 0.4 and 1.4 in steps of 1, inputs that are 10 and 20 on average: 0.4 * 30 too little."""
    node = helper.make_node("Conv", ["x_rounded", "w_float", "b"], ["y"], name="conv")
    pair = helper.make_node("DequantizeLinear", ["w_quantized", "w_scale", "w_zero"], ["w_float"])
    weights = np.array([0.4, 1.4], dtype=np.float32).reshape(1, 2, 1, 1)
    values = {"w_quantized": np.rint(weights).astype(np.int8), "w_scale": np.ones(1, np.float32)}
    values["b"] = np.array([5], dtype=np.float32)
    graph = helper.make_graph([pair, node], "int8", [], [], [numpy_helper.from_array(a, n) for n, a in values.items()])
    before = helper.make_node("Conv", ["x", "w", "b"], ["y"], name="conv")
    original = helper.make_graph([before], "float", [], [], [numpy_helper.from_array(weights, "w")])
    correct_biases(graph, original, {"x": np.array([10, 20], dtype=np.float32)})
    corrected = next(item for item in graph.initializer if item.name == "b")
    np.testing.assert_allclose(numpy_helper.to_array(corrected), 5 + 0.4 * 30, rtol=1e-6)


def test_the_shipped_file_is_near_its_source() -> None:
    entry = find_model("mobile")
    report = compare(entry.onnx, shipped(), entry.input_size)
    assert report.probability_rms < MAX_PROBABILITY_RMS
    assert report.short_median_px < MAX_SHORT_MEDIAN_PX
    assert report.mask_median_px < MAX_MASK_MEDIAN_PX
    assert report.share < MAX_SHARE


def test_a_released_int8_file_is_taken_and_guarded(copied_entry: ModelEntry, pictures: list[Path]) -> None:
    registry = copied_entry.onnx.with_name("models.toml")
    released, report = release_int8(dataclasses.replace(copied_entry, input_size=65), pictures, registry)
    assert released.onnx_int8 == report.path == copied_entry.onnx.with_name("tiny-int8.onnx")
    assert load_registry(registry)["tiny"] == released
    for asked, name in (("auto", "onnx cpu int8"), ("int8", "onnx cpu int8"), ("fp32", "onnx cpu fp32")):
        with open_backend("onnx", released, precision=asked) as backend:
            assert backend.name == name
    report.path.write_bytes(report.path.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=r"tiny-int8\.onnx: sha256 differs"):
        open_backend("onnx", released)
    open_backend("onnx", released, precision="fp32").close()


@pytest.mark.parametrize(
    ("precision", "message"),
    [
        ("int8", "model 'tiny' has no int8 file: expected precision auto or fp32"),
        ("fp16", "back end 'onnx' has no fp16: expected auto or fp32 or int8"),
        ("int4", "unknown precision 'int4': expected one of auto, fp32, fp16, int8"),
    ],
)
def test_a_precision_that_is_not_there_is_named(precision: str, message: str, entry: ModelEntry) -> None:
    with pytest.raises(UserError, match=f"^{message}$"):
        open_backend("onnx", entry, precision=precision)


def test_bad_sources_leave_no_file(
    quantized: tuple[Path, QuantizationReport], entry: ModelEntry, pictures: list[Path], tmp_path: Path
) -> None:
    target = tmp_path / "out" / "a.onnx"
    target.parent.mkdir()
    with pytest.raises(UserError, match="expected a float32 file, got int8"):
        quantize_onnx(quantized[0], target, pictures, 65)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"broken\.jpg: not a picture"):
        quantize_onnx(entry.onnx, target, [broken], 65)
    assert not list(target.parent.iterdir())


def test_pictures_are_spread_over_the_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gone: no such folder"):
        list_pictures(tmp_path / "gone")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="no pictures to calibrate with"):
        list_pictures(tmp_path)
    for i in range(10):
        (tmp_path / f"{i}.JPG").touch()
    assert [path.stem for path in list_pictures(tmp_path, 5)] == ["0", "2", "4", "6", "8"]
    assert len(list_pictures(tmp_path)) == 10


@pytest.mark.slow
def test_a_resnet_is_taken_too(
    make_net: Callable[[NetConfig], PosePlusSegNet], pictures: list[Path], tmp_path: Path
) -> None:
    from engine.export import export_onnx

    source, target = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    export_onnx(make_net(NetConfig("resnet50", refine_width=16)), source, "other")
    report = quantize_onnx(source, target, pictures[:1], 65)
    assert report.share < MAX_SHARE
    assert kernels(target, tmp_path).count("Conv") == 2  # the first, and the one that reads the same at stride 4
