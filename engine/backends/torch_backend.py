"""The network in PyTorch: the reference the others are compared with, and what evaluates a network in training."""

import copy
from pathlib import Path
from typing import Self

import torch

from engine.backends.base import Backend, inference_threads
from engine.model import InferenceNet, PosePlusSegNet
from engine.models import ModelEntry
from engine.modes import HEADS_OF_MODE
from engine.structures import ByteArray, FloatArray
from engine.weights import load_weights


class TorchBackend(Backend):
    """A `Backend` on PyTorch, float32, on CUDA where there is one and on the CPU elsewhere."""

    def __init__(self, net: PosePlusSegNet, device: str | None = None, mode: str = "joint") -> None:
        """Take a copy of `net` as it is now, to run on `device` ("cpu", "cuda", …; default: CUDA if present)."""
        self._outputs = HEADS_OF_MODE[mode]
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        module = InferenceNet(copy.deepcopy(net), self._outputs).eval().requires_grad_(False)
        module = module.to(self._device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._module: InferenceNet | None = module
        self.name = f"torch {self._device.type}"
        self.stride = net.config.stride
        self.multiple = net.multiple

    @classmethod
    def open(cls, entry: ModelEntry, mode: str = "joint") -> Self:
        """Verify and load a registered network; sets PyTorch's thread count for the whole process.

        Raises:
            UserError: see `ModelEntry.verify` and `load_weights`.
        """
        entry.verify("weights")
        return cls.open_file(entry.weights, mode)

    @classmethod
    def open_file(cls, path: Path, mode: str = "joint") -> Self:
        """Load a file of `engine.weights.save_weights`, such as training writes; thread count as in `open`.

        Raises:
            UserError: see `load_weights`.
        """
        # PyTorch's threads spin at their barriers: one core less than there are makes it several times faster
        # as soon as anything else runs.
        torch.set_num_threads(inference_threads())
        return cls(load_weights(path), mode=mode)

    @torch.inference_mode()
    def _run(self, image: ByteArray) -> dict[str, FloatArray]:
        if self._module is None:
            raise RuntimeError("infer: the back end is closed")
        # A copy, for torch warns about arrays it must not write to, and frames are read-only.
        batch = torch.from_numpy(image.copy())[None].to(self._device)
        outputs = self._module(batch)
        # Channels-last results become plain (channels, h, w) here; contiguous() also parts them from one another.
        arrays = [output.contiguous(memory_format=torch.contiguous_format).cpu().numpy() for output in outputs]
        return dict(zip(self._outputs, arrays, strict=True))

    def close(self) -> None:
        self._module = None
