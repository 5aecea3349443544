"""What a plan is made from, and how it is made: an ONNX file of ours, a precision, the wanted heads, the inputs."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from engine.backends.plans import Plan, PlanKey
from engine.backends.tensorrt_build import PlanShape, Progress, build_plan
from engine.cuda.driver import Gpu
from engine.errors import UserError
from engine.models import ModelEntry, file_sha256
from engine.modes import HEADS_OF_MODE


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a plan is made from but the machine.

    Attributes:
        library: "tensorrt" or "tensorrt_rtx".
        network: its name, for people.
        onnx, onnx_sha256: the file.
        precision: one of `engine.models.PRECISIONS`; fp16 is made from an fp32 file.
        mode: which heads.
        shape: the inputs.
    """

    library: str
    network: str
    onnx: Path
    onnx_sha256: str
    precision: str
    mode: str
    shape: PlanShape

    @classmethod
    def of(cls, library: str, entry: ModelEntry, mode: str, precision: str, shape: PlanShape) -> Self:
        """For a registered network; "auto" is fp16.

        Raises:
            UserError: it has no int8 file, or see `ModelEntry.verify`.
        """
        if precision == "auto":
            precision = "fp16"
        if precision == "int8":
            if entry.onnx_int8 is None or entry.onnx_int8_sha256 is None:
                raise UserError(f"model {entry.name!r} has no int8 file: expected precision auto, fp32 or fp16")
            entry.verify("onnx_int8")
            return cls(library, entry.name, entry.onnx_int8, entry.onnx_int8_sha256, precision, mode, shape)
        entry.verify("onnx")
        return cls(library, entry.name, entry.onnx, entry.onnx_sha256, precision, mode, shape)

    @classmethod
    def of_file(cls, library: str, path: Path, mode: str, precision: str, shape: PlanShape) -> Self:
        """For an ONNX file that is not registered.

        Raises:
            UserError: it cannot be read, or has another precision.
        """
        from engine.backends.gpu_graph import load_model, precision_of

        stored = precision_of(load_model(path))
        if precision == "auto":
            precision = "fp16" if stored == "fp32" else stored
        if stored not in (precision, "fp32") or precision == "int8" != stored:
            raise UserError(f"precision {precision}: {path} is {stored}")
        return cls(library, path.stem, path, file_sha256(path), precision, mode, shape)

    def with_batch(self, batch: int) -> Self:
        """The same for so many pictures at once."""
        return dataclasses.replace(self, shape=dataclasses.replace(self.shape, batch=batch))

    def key(self, trt: Any, gpu: Gpu) -> PlanKey:
        """What the plan is called in the cache."""
        return PlanKey(
            library=self.library,
            version=str(trt.__version__),
            gpu=gpu.name,
            capability=gpu.capability,
            driver=gpu.driver,
            network=self.network,
            onnx_sha256=self.onnx_sha256,
            precision=self.precision,
            mode=self.mode,
            shape=self.shape,
        )

    def build(self, trt: Any, progress: Progress) -> Plan:
        """Make the plan; seconds to minutes.

        Raises:
            UserError: the file is not ours, or TensorRT cannot build it.
            BuildCancelledError: `progress` said so.
        """
        from engine.backends.gpu_graph import contract_of, from_planes, load_model, precision_of, to_half

        model = load_model(self.onnx)
        try:
            if self.precision == "fp16" and precision_of(model) == "fp32":
                model = to_half(model)
            ready = from_planes(model, HEADS_OF_MODE[self.mode])
            stride, multiple = contract_of(model)
        except ValueError as error:
            raise UserError(f"{self.onnx}: not a model for TensorRT: {error}") from error
        data = build_plan(trt, ready.onnx, self.shape, progress)
        return Plan(data, {"mean_rgb": list(ready.mean_rgb), "stride": stride, "multiple": multiple})
