"""Surgery on our own ONNX models: half precision, and the form that TensorRT is given. No PyTorch needed.

On a GPU one kernel places the picture and takes the mean off, so that form begins where the first convolution reads:

    image uint8 (1, h, w, 3) BGR -> Transpose -> Slice -> Cast -> Sub(mean) -> | -> network -> heads
                             what the kernel does instead                    planes float32 (n, 3, h, w)

It takes any number of pictures at once, where the file takes one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.backends.tensorrt_build import PLANES
from engine.errors import UserError

IMAGE: Final = "image"
_PREFIX: Final = ("Transpose", "Slice", "Cast", "Sub")
_PICTURES: Final = "pictures"  # int64 (1,): n, inside the graph


@dataclass(frozen=True, slots=True)
class PlanesModel:
    """A network from planes to heads.

    Attributes:
        onnx: the serialized model; input `PLANES`, float32 (n, 3, h, w), RGB, 0 to 255 less the mean.
        mean_rgb: what the kernel takes off.
    """

    onnx: bytes
    mean_rgb: tuple[float, float, float]


def load_model(path: Path) -> onnx.ModelProto:
    """Read an ONNX file. Raises UserError where it is missing or no ONNX model."""
    try:
        return onnx.load(path)
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}") from error
    except Exception as error:  # protobuf's exceptions share no base class that it exports
        raise UserError(f"{path}: not an ONNX model") from error


def contract_of(model: onnx.ModelProto) -> tuple[int, int]:
    """(stride, multiple) out of the model's metadata. Raises ValueError where it does not say."""
    properties = {item.key: item.value for item in model.metadata_props}
    try:
        return int(properties["stride"]), int(properties["multiple"])
    except KeyError as error:
        raise ValueError(f"its metadata has no {error}") from error


def precision_of(model: onnx.ModelProto) -> str:
    """What the model's metadata says it computes in: one of `engine.models.PRECISIONS`."""
    return next((item.value for item in model.metadata_props if item.key == "precision"), "fp32")


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with half-precision weights, activations and outputs; it still takes a uint8 image.

    Raises:
        ValueError: it is not an fp32 model.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    if (precision := precision_of(model)) != "fp32":
        raise ValueError(f"expected a model in fp32, got {precision}")
    copied = onnx.ModelProto()  # the converter changes what it is given
    copied.CopyFrom(model)
    # Its default leaves Resize in float32, for the sake of ONNX Runtime's CPU kernels alone.
    half: onnx.ModelProto = convert_float_to_float16(copied, keep_io_types=[IMAGE], op_block_list=[])
    properties = {item.key: item.value for item in half.metadata_props}
    helper.set_model_props(half, {**properties, "precision": "fp16"})
    return half


def from_planes(model: onnx.ModelProto, outputs: Iterable[str]) -> PlanesModel:
    """The model from planes to the wanted `outputs`, for any number of pictures.

    Raises:
        ValueError: the model does not begin as ours do.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    prefix, mean_rgb = _find_prefix(graph)
    for node in prefix:
        graph.node.remove(node)
    _measure_planes(graph)
    _free_batch(graph)
    _connect_planes(graph, prefix[-1].output[0], half=precision_of(model) == "fp16")
    wanted = set(outputs)
    kept = [value for value in graph.output if value.name in wanted]
    for value in kept:
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    del graph.output[:]
    graph.output.extend(kept)
    _drop_unused(graph)
    onnx.checker.check_model(changed)
    return PlanesModel(changed.SerializeToString(), mean_rgb)


def _find_prefix(graph: onnx.GraphProto) -> tuple[list[onnx.NodeProto], tuple[float, float, float]]:
    """The nodes that the kernel replaces, in their order, and the mean that the last one takes off."""
    prefix: list[onnx.NodeProto] = []
    name = IMAGE
    for expected in _PREFIX:
        readers = [node for node in graph.node if name in node.input and node.op_type != "Shape"]
        if [node.op_type for node in readers] != [expected]:
            raise ValueError(f"expected {name!r} to be read by one {expected}, got {[r.op_type for r in readers]}")
        prefix.append(readers[0])
        name = readers[0].output[0]
    values = next(numpy_helper.to_array(item) for item in graph.initializer if item.name == prefix[-1].input[1])
    red, green, blue = (float(value) for value in values.ravel())
    return prefix, (red, green, blue)


def _measure_planes(graph: onnx.GraphProto) -> None:
    """Let what asked for the image's height or width ask the planes for theirs, one axis further."""
    for node in graph.node:
        if node.op_type == "Shape" and node.input[0] == IMAGE:
            node.input[0] = PLANES
            for attribute in node.attribute:
                attribute.i += 1


def _free_batch(graph: onnx.GraphProto) -> None:
    """Let the target sizes of each Resize, which say one picture, say as many as there are planes."""
    constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    sizes = {node.input[3] for node in graph.node if node.op_type == "Resize"}
    for node in graph.node:
        if node.op_type == "Concat" and node.output[0] in sizes:
            one, *rest = np.asarray(constants[node.input[0]]).tolist()
            if one != 1:
                raise ValueError(f"{node.output[0]}: expected sizes for one picture, got {one}")
            name = f"{node.output[0]}_channels"
            graph.initializer.append(numpy_helper.from_array(np.array(rest, dtype=np.int64), name))
            node.input[:] = [_PICTURES, name, *node.input[1:]]
    graph.node.insert(0, helper.make_node("Shape", [PLANES], [_PICTURES], start=0, end=1))


def _connect_planes(graph: onnx.GraphProto, old: str, *, half: bool) -> None:
    """Feed what read `old` from the planes, through a cast where the network computes in half precision."""
    new = PLANES
    if half:
        new = f"{PLANES}_half"
        graph.node.insert(0, helper.make_node("Cast", [PLANES], [new], to=TensorProto.FLOAT16))
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(PLANES, TensorProto.FLOAT, ["n", 3, "height", "width"]))


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Take out what no output needs: a parser would otherwise read it all the same."""
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    weights = [item for item in graph.initializer if item.name in needed]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(weights)
