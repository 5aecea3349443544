"""torch to ONNX, with a parity check before the file appears, and the release of a network into assets/.

Order: fold what is constant into the kernels, export, fix names and metadata, check, compare with torch, replace.
"""

import contextlib
import copy
import itertools
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import onnx
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from engine.backends.gpu_graph import load_model, to_half
from engine.backends.onnx_backend import INPUT_FORMAT, INPUT_NAME, OnnxBackend
from engine.backends.torch_backend import TorchBackend
from engine.errors import UserError
from engine.files import written_whole
from engine.model import OFFSET_UNIT_PX, PROBABILITIES, InferenceNet, PosePlusSegNet
from engine.models import DEFAULT_REGISTRY, ModelEntry, check_metrics, file_sha256, register
from engine.modes import HEAD_CHANNELS, POSE_HEADS, SEG_HEADS
from engine.parity import (
    MAX_HALF_OFFSET_DIFFERENCE_PX,
    MAX_HALF_PROBABILITY_DIFFERENCE,
    MAX_OFFSET_DIFFERENCE_PX,
    MAX_PROBABILITY_DIFFERENCE,
    ParityReport,
    compare,
)
from engine.weights import describe, load_weights, save_weights

OPSET: Final = 18


def export_onnx(net: PosePlusSegNet, path: Path, name: str) -> ParityReport:
    """Write `net` as an ONNX file for `OnnxBackend`; the file appears only when it is checked and in parity.

    Input `image`: uint8 (1, height, width, 3) BGR, both sides n * 16 + 1. Outputs: the heads of `HEAD_CHANNELS`,
    float32 (1, channels, h, w), probabilities after the sigmoid, offsets in input px; the person map's h and w are
    its own.

    Raises:
        RuntimeError: the file would not say what the network says, or would be needlessly slow.
    """
    model = _tidy(_trace(_fold(net)), net, name)
    onnx.checker.check_model(model, full_check=True)
    if any(node.op_type == "BatchNormalization" for node in model.graph.node):
        raise RuntimeError(f"{path}: batch normalisation was not folded into the convolutions")
    with written_whole(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
        with TorchBackend(net, device="cpu") as reference, OnnxBackend(temporary) as exported:
            report = compare(path, reference, exported)
        report.check(MAX_PROBABILITY_DIFFERENCE, MAX_OFFSET_DIFFERENCE_PX)
    return report


def export_half(source: Path, path: Path) -> ParityReport:
    """Write the fp32 ONNX file `source` once more in half precision, weights and outputs, and compare the two.

    Raises:
        UserError: `source` is not an fp32 file of ours.
        RuntimeError: half precision would not say what the network says.
    """
    try:
        half = to_half(load_model(source))
    except ValueError as error:
        raise UserError(f"{source}: {error}") from error
    with written_whole(path) as temporary:
        temporary.write_bytes(half.SerializeToString())
        with OnnxBackend(source) as reference, OnnxBackend(temporary) as exported:
            report = compare(path, reference, exported)
        report.check(MAX_HALF_PROBABILITY_DIFFERENCE, MAX_HALF_OFFSET_DIFFERENCE_PX)
    return report


def release(
    source: PosePlusSegNet | Path,
    name: str,
    *,
    licence: str,
    training_data: str,
    input_size: int = 401,
    metrics: Mapping[str, Any] | None = None,
    registry: Path = DEFAULT_REGISTRY,
) -> tuple[ModelEntry, ParityReport]:
    """Put NAME.safetensors (float16) and NAME.onnx beside `registry`, and the entry that names them into it.

    Both files hold the same numbers: the ONNX file is exported from the rounded weights.

    Args:
        source: a network, or a file of `save_weights`.
        name: of the model and its files; a released network of that name is replaced.
        licence: of the weights.
        training_data: what they were trained on.
        input_size: default longer side of the network input, px.
        metrics: measured accuracy, stored as it is.
        registry: the models.toml to write to.

    Raises:
        UserError: `source` or `registry` cannot be read, or `metrics` cannot be stored.
        RuntimeError: see `export_onnx`; nothing was changed then.
    """
    check_metrics(metrics or {})
    net = load_weights(source) if isinstance(source, Path) else source
    folder = registry.parent
    weights, exported = folder / f"{name}.safetensors", folder / f"{name}.onnx"
    with tempfile.TemporaryDirectory(dir=folder, prefix=".release-") as staging:
        new_weights, new_onnx = Path(staging, weights.name), Path(staging, exported.name)
        header = {"name": name, "licence": licence, "training_data": training_data}
        save_weights(net, new_weights, header, half=True)
        report = export_onnx(load_weights(new_weights), new_onnx, name)
        os.replace(new_weights, weights)
        os.replace(new_onnx, exported)
    entry = ModelEntry(
        name=name,
        onnx=exported,
        weights=weights,
        onnx_sha256=file_sha256(exported),
        weights_sha256=file_sha256(weights),
        onnx_bytes=exported.stat().st_size,
        weights_bytes=weights.stat().st_size,
        licence=licence,
        training_data=training_data,
        input_size=input_size,
        stride=net.config.stride,
        metrics=dict(metrics or {}),
    )
    register(entry, registry)
    return entry, ParityReport(exported, report.sizes)


@torch.no_grad()
def _fold(net: PosePlusSegNet) -> PosePlusSegNet:
    """A copy that computes the same in fewer passes: batch norm, offset units and the input's 1/std go into the
    kernels beside them. The mean stays: convolutions pad with zeros, and zero must stay the mean's colour.
    """
    folded = copy.deepcopy(net).cpu().eval()
    for module in list(folded.modules()):
        _fold_batch_norms(module)
    unit = {name: 1.0 if name in PROBABILITIES else OFFSET_UNIT_PX for name in HEAD_CHANNELS}
    layers = [(folded.heads, tuple(HEAD_CHANNELS))]
    if folded.refine is not None:
        layers += [(folded.refine.pose_out, POSE_HEADS), (folded.refine.seg_out, SEG_HEADS)]
    for layer, names in layers:
        factor = torch.cat([torch.full((HEAD_CHANNELS[name],), unit[name]) for name in names])
        layer.weight *= factor[:, None, None, None]
        if layer.bias is not None:
            layer.bias *= factor
    first = next(module for module in folded.trunk.modules() if isinstance(module, nn.Conv2d))
    first.weight /= folded.get_buffer("std")
    # Ones, which the exporter's optimiser drops from the graph.
    folded.unit = torch.ones(())
    folded.std = torch.ones(())
    return folded


def _fold_batch_norms(module: nn.Module) -> None:
    """Fold each batch norm into the convolution defined right before it, which everywhere in `engine.model` is the
    one it follows in `forward` too. The exporter folds only some of them by itself.
    """
    children = list(module.named_children())
    for (conv_name, conv), (norm_name, norm) in itertools.pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
            setattr(module, norm_name, nn.Identity())


def _trace(net: PosePlusSegNet) -> onnx.ModelProto:
    cells_h, cells_w = torch.export.Dim("cells_h", min=2), torch.export.Dim("cells_w", min=2)
    sides = {1: net.multiple * cells_h + 1, 2: net.multiple * cells_w + 1}
    # Two sides of different length, or the exporter would take them for one.
    example = torch.zeros(1, 4 * net.multiple + 1, 5 * net.multiple + 1, 3, dtype=torch.uint8)
    with _silence():
        program = torch.onnx.export(
            InferenceNet(net).eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=list(HEAD_CHANNELS),
            dynamic_shapes=(sides,),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    return program.model_proto


def _tidy(model: onnx.ModelProto, net: PosePlusSegNet, name: str) -> onnx.ModelProto:
    """Our metadata instead of the exporter's, which holds stack traces with this machine's paths."""
    graph = model.graph
    graph.name = name
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer, graph):
        del item.metadata_props[:]
        item.doc_string = ""
    del graph.value_info[:]  # symbolic shapes that a runtime infers again
    _name_sides(graph.input[0], {1: "height", 2: "width"})
    for value in graph.output:
        # The person map has sides of its own: its grid may be finer.
        prefix = "person_" if value.name == "person_map" else ""
        _name_sides(value, {2: f"{prefix}h", 3: f"{prefix}w"})
    onnx.helper.set_model_props(
        model,
        {
            "name": name,
            "stride": str(net.config.stride),
            "multiple": str(net.multiple),
            "input_format": INPUT_FORMAT,
            "network": describe(net.config),
        },
    )
    return model


def _name_sides(value: onnx.ValueInfoProto, sides: Mapping[int, str]) -> None:
    for axis, name in sides.items():
        value.type.tensor_type.shape.dim[axis].dim_param = name


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep back what the exporter says about packages nobody needs here (torchvision) and its own internals."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
