"""The network in PyTorch: the reference the others are compared with, and what evaluates a network in training."""

import copy
from collections import OrderedDict
from pathlib import Path
from typing import Any, Final, Self

import torch
from torch import Tensor, nn

from engine.backends.base import Backend, inference_threads
from engine.model import InferenceNet, PosePlusSegNet
from engine.models import ModelEntry
from engine.modes import HEADS_OF_MODE
from engine.structures import ByteArray, FloatArray
from engine.weights import load_weights

_GRAPHS_KEPT: Final = 8


class TorchBackend(Backend):
    """A `Backend` on PyTorch: in half precision on CUDA where there is one, in float32 on the CPU elsewhere."""

    def __init__(
        self, net: PosePlusSegNet, device: str | None = None, mode: str = "joint", precision: str = "auto"
    ) -> None:
        """Take a copy of `net` as it is now, to run on `device` ("cpu", "cuda", …; default: CUDA if present)."""
        self._outputs = HEADS_OF_MODE[mode]
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        on_gpu = self._device.type == "cuda"
        self.precision = ("fp16" if on_gpu else "fp32") if precision == "auto" else precision
        module = InferenceNet(copy.deepcopy(net), self._outputs).eval().requires_grad_(False)
        if self.precision == "fp16":
            # Pictures are normalised in float32: grey levels less the mean do not fit half precision without loss.
            module.net.trunk.register_forward_pre_hook(_halved)
            module.half()
        module = module.to(self._device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._module: nn.Module | None = _Recorded(module) if on_gpu else module
        self.name = f"torch {self._device.type} {self.precision}"
        self.stride = net.config.stride
        self.multiple = net.multiple

    @classmethod
    def open(cls, entry: ModelEntry, mode: str = "joint", precision: str = "auto") -> Self:
        """Verify and load a registered network; sets PyTorch's thread count for the whole process.

        Raises:
            UserError: see `ModelEntry.verify` and `load_weights`.
        """
        entry.verify("weights")
        return cls.open_file(entry.weights, mode, precision)

    @classmethod
    def open_file(cls, path: Path, mode: str = "joint", precision: str = "auto") -> Self:
        """Load a file of `engine.weights.save_weights`, such as training writes; thread count as in `open`.

        Raises:
            UserError: see `load_weights`.
        """
        # PyTorch's threads spin at their barriers: one core less than there are makes it several times faster
        # as soon as anything else runs.
        torch.set_num_threads(inference_threads())
        return cls(load_weights(path), mode=mode, precision=precision)

    @torch.inference_mode()
    def _run(self, image: ByteArray) -> dict[str, FloatArray]:
        if self._module is None:
            raise RuntimeError("infer: the back end is closed")
        # A copy, for torch warns about arrays it must not write to, and frames are read-only.
        batch = torch.from_numpy(image.copy())[None].to(self._device)
        outputs = self._module(batch)
        # Channels-last results become plain (channels, h, w) here; contiguous() also parts them from one another.
        arrays = [output.contiguous(memory_format=torch.contiguous_format).cpu().float().numpy() for output in outputs]
        return dict(zip(self._outputs, arrays, strict=True))

    def close(self) -> None:
        self._module = None


def cuda_problem() -> str | None:
    """Why PyTorch cannot use a GPU, or None where it can."""
    if torch.version.cuda is None:
        return "this PyTorch is a build for the processor"
    return None if torch.cuda.is_available() else "this PyTorch does not support the GPU or its driver"


def _halved(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(argument.half() for argument in arguments)


class _Recorded(nn.Module):
    """A network on the GPU as CUDA graphs, one for each input shape that comes twice in a row.

    Hundreds of small kernels cost more to launch than to run. The outputs are overwritten by the next call.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._graphs: OrderedDict[tuple[int, ...], tuple[torch.cuda.CUDAGraph, Tensor, tuple[Tensor, ...]]]
        self._graphs = OrderedDict()
        self._last: tuple[int, ...] | None = None

    def forward(self, batch: Tensor) -> tuple[Tensor, ...]:
        shape, before = tuple(batch.shape), self._last
        self._last = shape
        if shape not in self._graphs:
            if shape != before:  # runs once as it is, which also makes cuDNN choose its algorithms
                plain: tuple[Tensor, ...] = self.module(batch)
                return plain
            self._record(shape, batch)
        self._graphs.move_to_end(shape)
        graph, held, outputs = self._graphs[shape]
        held.copy_(batch)
        graph.replay()
        return outputs

    def _record(self, shape: tuple[int, ...], batch: Tensor) -> None:
        held, graph = batch.clone(), torch.cuda.CUDAGraph()
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # what PyTorch sets up for a new stream must not be recorded
            self.module(held)
        torch.cuda.current_stream().wait_stream(aside)
        with torch.cuda.graph(graph):
            outputs = self.module(held)
        self._graphs[shape] = (graph, held, outputs)
        if len(self._graphs) > _GRAPHS_KEPT:
            self._graphs.popitem(last=False)
