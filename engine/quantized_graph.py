"""What int8 changes in the graph of an exported ONNX file, before and after ONNX Runtime's tool puts its Q/DQ pairs in.

What changes a graph changes the one it is given. The nodes come, and stay, in order of execution.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization.quant_utils import TENSOR_NAME_QUANT_SUFFIX

from engine.structures import FloatArray

# Largest bias of an int8 convolution in units of input scale times weight scale. ONNX Runtime adds it as int32.
_LARGEST_BIAS: Final = 2**24


def take_sides_behind_activations(graph: onnx.GraphProto) -> None:
    """A `Shape` that reads a convolution's output reads its activation's: nothing else then stands between the two."""
    activations = {node.input[0]: node.output[0] for node in graph.node if node.op_type in ("Clip", "Relu")}
    _redirect_shapes(graph, activations)


def integer_nodes(graph: onnx.GraphProto) -> list[str]:
    """The names of the nodes that run in int8."""
    constants = {item.name for item in graph.initializer}
    leading = tensors_before_convolutions(graph)
    first = _first_convolutions(graph)
    return [
        node.name
        for node in graph.node
        if (node.op_type == "Conv" and node.name not in first)
        or (
            node.op_type in ("Add", "Resize")  # pooling is many times slower in int8 than in float32
            and node.output[0] in leading
            and not constants.intersection(node.input[:2])  # additions of sizes
        )
    ]


def tensors_before_convolutions(graph: onnx.GraphProto) -> set[str]:
    """The tensors that some convolution further on depends on."""
    leading: set[str] = set()
    for node in reversed(graph.node):
        if node.op_type == "Conv" or not leading.isdisjoint(node.output):
            leading.update(node.input)
    return leading


def _first_convolutions(graph: onnx.GraphProto) -> set[str]:
    """The names of the convolution that sees the picture and of the depthwise ones that see its activation."""
    readers = [node for node in graph.node if node.op_type == "Conv"]
    stem = readers[0]
    activation = next((node for node in graph.node if stem.output[0] in node.input), stem)
    behind = [node for node in readers if node.input[0] == activation.output[0] and _groups(node) > 1]
    return {stem.name, *(node.name for node in behind)}


def _groups(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)


def limit_biases(graph: onnx.GraphProto, original: onnx.GraphProto) -> None:
    """Coarser scales for the weights of channels that are next to nothing beside their bias.

    A dead channel has a constant bias and weights of 1e-6 or none; in units of input scale times weight scale such a
    bias overflows int32, or, where the tool takes scale 1 for weights of 0, is rounded to nothing.
    """
    values = {item.name: item for item in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    for node, pair, weights in _rounded_convolutions(graph, original):
        biases = np.abs(numpy_helper.to_array(values[node.input[2]]))
        scale = numpy_helper.to_array(values[makers[node.input[0]].input[1]])
        largest = np.abs(weights).reshape(len(weights), -1).max(axis=1)
        scales = np.maximum(largest / 127, biases / (scale * _LARGEST_BIAS))
        scales = np.where(scales > 0, scales, 1).astype(np.float32)
        integers = np.rint(weights / scales.reshape(-1, 1, 1, 1)).astype(np.int8)
        for name, array in ((pair.input[0], integers), (pair.input[1], scales)):
            values[name].CopyFrom(numpy_helper.from_array(array, name))


def correct_biases(graph: onnx.GraphProto, original: onnx.GraphProto, means: Mapping[str, FloatArray]) -> None:
    """Take off the biases what the rounding of the weights adds on average.

    Behind a ReLU no input is negative, so the rounding errors of a channel's weights do not cancel out, but shift it.

    Args:
        means: of each channel, by the name of the convolution's input in `original`.
    """
    values = {item.name: item for item in graph.initializer}
    inputs = {node.name: node.input[0] for node in original.node}
    for node, pair, weights in _rounded_convolutions(graph, original):
        integers, scales = (numpy_helper.to_array(values[name]) for name in pair.input[:2])
        errors = (integers * scales.reshape(-1, 1, 1, 1) - weights).sum(axis=(2, 3))  # (out, in), depthwise: (out, 1)
        mean = means[inputs[node.name]]
        shift = errors[:, 0] * mean if _groups(node) > 1 else errors @ mean
        bias = numpy_helper.to_array(values[node.input[2]]) - shift.astype(np.float32)
        values[node.input[2]].CopyFrom(numpy_helper.from_array(bias, node.input[2]))


def _rounded_convolutions(
    graph: onnx.GraphProto, original: onnx.GraphProto
) -> Iterator[tuple[onnx.NodeProto, onnx.NodeProto, FloatArray]]:
    """The int8 convolutions that have a bias, the node that scales their weights, and those weights before rounding."""
    floats = {item.name: item for item in original.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        pair = makers.get(node.input[1]) if node.op_type == "Conv" and len(node.input) > 2 else None
        if pair is not None:
            name = pair.input[0].removesuffix(TENSOR_NAME_QUANT_SUFFIX)
            yield node, pair, numpy_helper.to_array(floats[name]).astype(np.float32, copy=False)


def round_outputs(graph: onnx.GraphProto, ranges: Mapping[str, FloatArray]) -> None:
    """The last convolutions give each channel in units of its range, rounded to int8; a `Mul` undoes the units."""
    values = {item.name: item for item in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    constants: dict[str, npt.NDArray[Any]]
    constants = {"unit_scale": np.array(1 / 127, dtype=np.float32), "unit_zero_point": np.array(0, dtype=np.int8)}
    for name, measured in ranges.items():
        limits = np.maximum(measured, np.float32(1e-6))
        node = makers[name]
        for value in (makers[node.input[1]].input[1], *node.input[2:]):  # scales of the weights, bias if there is one
            values[value].CopyFrom(numpy_helper.from_array(numpy_helper.to_array(values[value]) / limits, value))
        constants[f"{name}_range"] = limits.reshape(1, -1, 1, 1)
        unit, integer, rounded = f"{name}_unit", f"{name}_integer", f"{name}_rounded"
        node.output[0] = unit
        place = list(graph.node).index(node) + 1
        behind = [
            helper.make_node("QuantizeLinear", [unit, "unit_scale", "unit_zero_point"], [integer]),
            helper.make_node("DequantizeLinear", [integer, "unit_scale", "unit_zero_point"], [rounded]),
            helper.make_node("Mul", [rounded, f"{name}_range"], [name]),
        ]
        for step, added in enumerate(behind):
            graph.node.insert(place + step, added)
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())


def take_sides_of_integers(graph: onnx.GraphProto) -> None:
    """A `Shape` needs no numbers: it reads the int8 tensor, not a float32 one that would have to be made for it."""
    integers = {node.input[0]: node.output[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    pairs = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    _redirect_shapes(graph, integers | pairs)


def _redirect_shapes(graph: onnx.GraphProto, tensors: Mapping[str, str]) -> None:
    """Each `Shape` of a key reads the value instead, and moves right behind the node that makes it."""
    for node in [node for node in graph.node if node.op_type == "Shape" and node.input[0] in tensors]:
        node.input[0] = tensors[node.input[0]]
        graph.node.remove(node)
        place = next(i for i, other in enumerate(graph.node) if node.input[0] in other.output) + 1
        graph.node.insert(place, node)
