"""An ONNX file as the CPU provider of ONNX Runtime should see it: the wanted outputs alone, int8 in its fast form."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from onnx.external_data_helper import uses_external_data

# What gives numbers ≥ 0 for numbers ≥ 0.
_KEEPS_SIGN: Final = ("QuantizeLinear", "DequantizeLinear", "Resize", "MaxPool")


def load_for_cpu(path: Path, outputs: tuple[str, ...]) -> bytes:
    """The model in `path`, serialised, without its other outputs: ONNX Runtime then leaves out what only they need.

    Raises:
        OSError, google.protobuf.message.DecodeError: the file cannot be read, or is no ONNX file.
    """
    model = onnx.load(path, load_external_data=False)
    if any(uses_external_data(tensor) for tensor in model.graph.initializer):
        raise ValueError("its weights lie in other files, whose hashes nobody knows")
    kept = [value for value in model.graph.output if value.name in outputs]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    _use_unsigned(model.graph)
    serialized: bytes = model.SerializeToString()
    return serialized


def _use_unsigned(graph: onnx.GraphProto) -> None:
    """Activations in uint8 instead of int8: the same numbers with zero point 128, or, where a tensor is never negative,
    the same range with zero point 0.

    Our files are symmetric, as TensorRT wants them: a ReLU's output then uses half of int8, and the ReLU remains a step
    of its own between convolution and quantisation, which on x86 keeps the convolution in float32 (measured: slower
    than the float32 file). With zero point 0 the quantisation itself cuts off at 0, and ONNX Runtime makes one integer
    kernel of the three. Its kernels want the same type on both sides, so the other tensors follow.
    """
    values = {item.name: item for item in graph.initializer}
    positive = _positive_tensors(graph)
    added = set()
    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or node.input[0] in values:  # a weight
            continue
        scale, zero = (numpy_helper.to_array(values[name]) for name in node.input[1:3])
        if zero.dtype != np.int8 or zero.any():
            continue
        factor, middle, suffix = (127 / 255, 0, "positive") if node.input[0] in positive else (1, 128, "unsigned")
        unsigned: tuple[npt.NDArray[Any], ...]
        unsigned = (np.asarray(scale * np.float32(factor)), np.full_like(zero, middle, dtype=np.uint8))
        for i, array in enumerate(unsigned, start=1):
            name = f"{node.input[i]}_{suffix}"
            if name not in added:
                graph.initializer.append(numpy_helper.from_array(array, name))
                added.add(name)
            node.input[i] = name


def _positive_tensors(graph: onnx.GraphProto) -> set[str]:
    """The tensors that are never negative because of the nodes that make them (nodes come in order of execution)."""
    values = {item.name: item for item in graph.initializer}
    positive: set[str] = set()
    for node in graph.node:
        clipped = (
            node.op_type == "Clip" and node.input[1] in values and numpy_helper.to_array(values[node.input[1]]) >= 0
        )
        kept = node.op_type in _KEEPS_SIGN and node.input[0] in positive
        if node.op_type in ("Relu", "Sigmoid") or clipped or kept:
            positive.update(node.output)
    return positive
