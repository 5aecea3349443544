"""The network in ONNX Runtime on the CPU: what a user's machine runs."""

from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from engine.backends.base import Backend, inference_threads
from engine.errors import UserError
from engine.models import ModelEntry
from engine.modes import HEAD_CHANNELS, HEADS_OF_MODE
from engine.structures import ByteArray, FloatArray

INPUT_NAME: Final = "image"
INPUT_FORMAT: Final = "bgr uint8 nhwc"
_ERRORS_ONLY: Final = 3


class OnnxBackend(Backend):
    """A `Backend` on ONNX Runtime's CPU provider. `engine.export` writes the files it reads."""

    def __init__(self, path: Path, threads: int | None = None, mode: str = "joint") -> None:
        """Load an ONNX file with `threads` intra-op threads, by default `inference_threads()`.

        Of a `mode` other than "joint" only the heads are kept, and only the layers that they need.

        Raises:
            UserError: the file is missing, not an ONNX model, or not one of ours.
        """
        import onnxruntime

        from engine.backends.onnx_cpu import load_for_cpu

        onnxruntime.set_default_logger_severity(_ERRORS_ONLY)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = threads or inference_threads()
        options.inter_op_num_threads = 1
        # Idle threads of the pool would otherwise burn the core that decode and render need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        try:
            model = load_for_cpu(path, HEADS_OF_MODE[mode])
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base class of their own
            raise UserError(f"{path}: not a model that ONNX Runtime can load: {_first_line(error)}") from error
        self._outputs = HEADS_OF_MODE[mode]
        self.stride, self.multiple = _read_contract(session, path, self._outputs)
        self.precision = session.get_modelmeta().custom_metadata_map.get("precision", "fp32")
        self.name = f"onnx cpu {self.precision}"
        self._session: Any | None = session

    @classmethod
    def open(cls, entry: ModelEntry, mode: str = "joint", precision: str = "auto") -> Self:
        """Verify and load a registered network; "auto" is int8 where the network has such a file, else fp32.

        Raises:
            UserError: the network has no int8 file, or see `ModelEntry.verify` and the constructor.
        """
        if precision == "fp32" or (precision == "auto" and entry.onnx_int8 is None):
            entry.verify("onnx")
            return cls(entry.onnx, mode=mode)
        if entry.onnx_int8 is None:
            raise UserError(f"model {entry.name!r} has no int8 file: expected precision auto or fp32")
        entry.verify("onnx_int8")
        return cls(entry.onnx_int8, mode=mode)

    def _run(self, image: ByteArray) -> dict[str, FloatArray]:
        if self._session is None:
            raise RuntimeError("infer: the back end is closed")
        # ONNX Runtime allocates its outputs anew at each run.
        arrays = self._session.run(list(self._outputs), {INPUT_NAME: np.ascontiguousarray(image)[None]})
        # Half precision becomes what everybody else takes.
        return {name: np.asarray(array, np.float32) for name, array in zip(self._outputs, arrays, strict=True)}

    def close(self) -> None:
        self._session = None


def _read_contract(session: Any, path: Path, wanted: tuple[str, ...]) -> tuple[int, int]:
    """(stride, multiple) out of the file's metadata, after checking that inputs and outputs are those we know."""
    metadata = session.get_modelmeta().custom_metadata_map
    if missing := [key for key in ("stride", "multiple", "name", "input_format") if key not in metadata]:
        raise UserError(f"{path}: not a PosePlusSeg model: its metadata has no {missing[0]!r}")
    if metadata["input_format"] != INPUT_FORMAT:
        raise UserError(f"{path}: expected an input of {INPUT_FORMAT!r}, got {metadata['input_format']!r}")
    inputs = [(value.name, value.type) for value in session.get_inputs()]
    if inputs != [(INPUT_NAME, "tensor(uint8)")]:
        raise UserError(f"{path}: expected one input {INPUT_NAME!r} of tensor(uint8), got {inputs}")
    outputs = {value.name: value.shape[1] if len(value.shape) == 4 else None for value in session.get_outputs()}
    for name in wanted:
        channels = HEAD_CHANNELS[name]
        if outputs.get(name) != channels:
            raise UserError(f"{path}: output {name!r}: expected {channels} channels, got {outputs.get(name)}")
    try:
        stride, multiple = int(metadata["stride"]), int(metadata["multiple"])
    except ValueError as error:
        raise UserError(f"{path}: its stride or multiple is not a number: {error}") from error
    if stride < 1 or multiple < 1 or multiple % stride:
        raise UserError(f"{path}: expected a multiple that the stride divides, got {multiple} and {stride}")
    return stride, multiple


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
