"""An exported ONNX file to int8: symmetric Q/DQ pairs, weights per channel, ranges measured on pictures.

In int8 run all convolutions but two, and the additions and upsamplings between them. The first one and the
depthwise one behind it stay in float32: that takes differences within its channels and so multiplies their rounding
error (figures in docs/performance.md). The last ones say pixels in some channels and logits in others, so each of their
channels is rounded in units of its own range. What comes after them is float32.
"""

import contextlib
import dataclasses
import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import helper
from onnxruntime import InferenceSession
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from engine import letterbox as letterboxes
from engine import quantized_graph
from engine.backends.base import whole_input
from engine.backends.onnx_backend import INPUT_NAME, OnnxBackend
from engine.coco import read_image
from engine.errors import UserError
from engine.files import written_whole
from engine.models import DEFAULT_REGISTRY, ModelEntry, file_sha256, register
from engine.structures import ByteArray, FloatArray, Heads

PICTURES: Final = 32  # 16 and 64 gave the same accuracy
_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
# Where the float32 network says at least so much, its offsets are used.
_LEAST_PROBABILITY: Final = 0.3


@dataclass(frozen=True, slots=True)
class QuantizationReport:
    """An int8 file beside the float32 file it came from, on one picture.

    Attributes:
        path: the int8 file. share: its size as a share of the float32 file's.
        probability_rms: root mean square difference of p_k and p_S where the float32 network says at least 0.3.
        short_median_px, mask_median_px: median length of the difference of S and L there, input px.
    """

    path: Path
    share: float
    probability_rms: float
    short_median_px: float
    mask_median_px: float

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.share:.0%} of the float32 file; where that sees people, probabilities differ by "
            f"{self.probability_rms:.3f} (RMS), short offsets by {self.short_median_px:.2f} px and mask offsets by "
            f"{self.mask_median_px:.2f} px (median)"
        )


def list_pictures(folder: Path, count: int = PICTURES) -> list[Path]:
    """`count` of a folder's pictures, spread over their names; all, if they are fewer.

    Raises:
        UserError: no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise UserError(f"{folder}: no pictures to calibrate with")
    return [found[i * len(found) // count] for i in range(count)] if len(found) > count else found


def quantize_onnx(source: Path, target: Path, pictures: Sequence[Path], input_size: int) -> QuantizationReport:
    """Write the int8 version of `source`, a file of `engine.export`; it appears only when it is whole and loads.

    Args:
        source: the float32 file.
        target: the file to write.
        pictures: what the ranges are measured on: pictures like those that the network will see.
        input_size: the longer side that they are letterboxed to, px.

    Raises:
        BadPictureError: a picture cannot be read.
        UserError: `source` is not one of our files.
    """
    with OnnxBackend(source) as backend:
        if backend.precision != "fp32":
            raise UserError(f"{source}: expected a float32 file, got {backend.precision}")
        inputs = [_letterboxed(read_image(path), input_size, backend.multiple)[None] for path in pictures]
    model = onnx.load(source)
    quantized_graph.take_sides_behind_activations(model.graph)
    quantized = _insert_pairs(model, inputs)
    quantized_graph.limit_biases(quantized.graph, model.graph)
    quantized_graph.correct_biases(quantized.graph, model.graph, _measure_means(model, inputs))
    quantized_graph.round_outputs(quantized.graph, _measure_ranges(model, inputs))
    quantized_graph.take_sides_of_integers(quantized.graph)
    properties = {item.key: item.value for item in model.metadata_props}
    onnx.helper.set_model_props(quantized, properties | {"precision": "int8"})
    onnx.checker.check_model(quantized)
    with written_whole(target) as temporary:
        temporary.write_bytes(quantized.SerializeToString())
        report = compare(source, temporary, input_size)
    return dataclasses.replace(report, path=target)


def release_int8(
    entry: ModelEntry, pictures: Sequence[Path], registry: Path = DEFAULT_REGISTRY
) -> tuple[ModelEntry, QuantizationReport]:
    """Put NAME-int8.onnx beside a released network's files and into its entry.

    ONNX Runtime takes it from then on: measure it first (`eval --model FILE.onnx`).
    """
    entry.verify("onnx")
    path = entry.onnx.with_name(f"{entry.name}-int8.onnx")
    report = quantize_onnx(entry.onnx, path, pictures, entry.input_size)
    released = dataclasses.replace(
        entry, onnx_int8=path, onnx_int8_sha256=file_sha256(path), onnx_int8_bytes=path.stat().st_size
    )
    register(released, registry)
    return released, report


def compare(source: Path, quantized: Path, input_size: int) -> QuantizationReport:
    """How far the int8 file is from its source on the sample picture."""
    picture = read_image(DEFAULT_REGISTRY.parent / "astronaut.jpg")
    heads: list[Heads] = []
    for path in (source, quantized):
        with OnnxBackend(path) as backend:
            image = _letterboxed(picture, input_size, backend.multiple)
            heads.append(backend.infer(image, whole_input((image.shape[0], image.shape[1]))))
    expected, actual = heads
    differences = [
        (getattr(actual, name) - getattr(expected, name))[getattr(expected, name) >= _LEAST_PROBABILITY]
        for name in ("keypoint_maps", "person_map")
    ]
    short = np.linalg.norm(actual.short_offsets - expected.short_offsets, axis=-3)
    mask = np.linalg.norm(actual.mask_offsets - expected.mask_offsets, axis=-3)
    finer = expected.stride // expected.person_stride
    seen = expected.person_map[::finer, ::finer] >= _LEAST_PROBABILITY
    return QuantizationReport(
        path=quantized,
        share=quantized.stat().st_size / source.stat().st_size,
        probability_rms=float(np.sqrt(np.mean(np.square(np.concatenate(differences))))),
        short_median_px=float(np.median(short[expected.keypoint_maps >= _LEAST_PROBABILITY])),
        mask_median_px=float(np.median(mask[:, seen])),
    )


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """The network's inputs, one at a time."""

    def __init__(self, inputs: Sequence[ByteArray]) -> None:
        self._inputs = iter(inputs)

    def get_next(self) -> dict[str, ByteArray] | None:
        image = next(self._inputs, None)
        return None if image is None else {INPUT_NAME: image}


def _letterboxed(picture: ByteArray, input_size: int, multiple: int) -> ByteArray:
    return letterboxes.apply(picture, letterboxes.fit((picture.shape[0], picture.shape[1]), input_size, multiple))


def _insert_pairs(model: onnx.ModelProto, inputs: Sequence[ByteArray]) -> onnx.ModelProto:
    """The model with Q/DQ pairs in the form that TensorRT's parser takes: int8, zero points 0, float biases."""
    with tempfile.TemporaryDirectory(prefix="quantize-") as folder, _silence():
        source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        onnx.save(model, source)
        quantize_static(
            source,
            target,
            _Reader(inputs),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_quantize=quantized_graph.integer_nodes(model.graph),
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                # A convolution, its addition and its activation are one step: only what comes out of it is rounded.
                "OpTypesToExcludeOutputQuantization": ["Conv", "Add"],
                "ForceQuantizeNoInputCheck": True,  # upsampling in int8, too
            },
        )
        return onnx.load(target)


def _measure_means(model: onnx.ModelProto, inputs: Sequence[ByteArray]) -> dict[str, FloatArray]:
    """The mean of each channel that the convolutions take, by their inputs' names."""
    names = sorted({node.input[0] for node in model.graph.node if node.op_type == "Conv"})
    found = [[array.mean(axis=(0, 2, 3)) for array in arrays] for arrays in _tap(model, names, inputs)]
    return {name: np.mean(arrays, axis=0) for name, arrays in zip(names, zip(*found, strict=True), strict=True)}


def _measure_ranges(model: onnx.ModelProto, inputs: Sequence[ByteArray]) -> dict[str, FloatArray]:
    """The largest absolute value of each channel that the last convolutions give, by their outputs' names."""
    leading = quantized_graph.tensors_before_convolutions(model.graph)
    names = [node.output[0] for node in model.graph.node if node.op_type == "Conv" and node.output[0] not in leading]
    found = [[np.abs(array).max(axis=(0, 2, 3)) for array in arrays] for arrays in _tap(model, names, inputs)]
    return {name: np.max(arrays, axis=0) for name, arrays in zip(names, zip(*found, strict=True), strict=True)}


def _tap(model: onnx.ModelProto, names: list[str], inputs: Sequence[ByteArray]) -> Iterator[list[FloatArray]]:
    """What the model has in these tensors, float32 (1, channels, h, w), for one input after another."""
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    del tapped.graph.output[:]
    tapped.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    session = InferenceSession(tapped.SerializeToString(), providers=["CPUExecutionProvider"])
    for image in inputs:
        yield session.run(names, {INPUT_NAME: image})


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep back the tool's advice to preprocess: our files are."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
