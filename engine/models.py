"""The registry of released networks: `assets/models.toml` and the files beside it, with their hashes."""

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal

from engine.errors import UserError
from engine.files import written_whole

DEFAULT_REGISTRY: Final = Path(__file__).resolve().parent.parent / "assets" / "models.toml"
_HEADER: Final = """\
# The released networks. Written by engine.models.register; edit licence, training_data and metrics if you must,
# never a hash: hashes are checked before a network is loaded. Files lie beside this one; sizes are in bytes.
"""
# What the network's numbers are: 32-bit or 16-bit floating point, or 8-bit integers with scales.
PRECISIONS: Final = ("fp32", "fp16", "int8")
PRECISION_NAMES: Final = ("auto", *PRECISIONS)
_FILES: Final = ("onnx", "weights", "onnx_int8")

Part = Literal["onnx", "weights", "onnx_int8"]


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One released network.

    Attributes:
        name: letters, digits, "-" and "_".
        onnx, weights: the ONNX file and the safetensors file; in the TOML relative to its folder.
        onnx_sha256, weights_sha256: their hashes, 64 hexadecimal digits.
        onnx_bytes, weights_bytes: their sizes.
        licence: of the weights.
        training_data: what the weights were trained on.
        input_size: default longer side of the network input, px.
        stride: input pixels per cell of the keypoint maps and offsets.
        onnx_int8, onnx_int8_sha256, onnx_int8_bytes: the same network as an int8 ONNX file, if there is one. It is
            registered only where it finds people as well as the float32 file: ONNX Runtime prefers it.
        metrics: measured accuracy, as stored.
    """

    name: str
    onnx: Path
    weights: Path
    onnx_sha256: str
    weights_sha256: str
    onnx_bytes: int
    weights_bytes: int
    licence: str
    training_data: str
    input_size: int
    stride: int
    onnx_int8: Path | None = None
    onnx_int8_sha256: str | None = None
    onnx_int8_bytes: int | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def verify(self, part: Part | None = None) -> None:
        """Compare one file with its hash, or all there are for None.

        Raises:
            UserError: missing, unreadable, or changed.
        """
        for name in [file for file in _FILES if getattr(self, file)] if part is None else [part]:
            path: Path = getattr(self, name)
            expected: str = getattr(self, f"{name}_sha256")
            restore = f"restore it with git checkout -- {path}"
            if not path.is_file():
                raise UserError(f"{path}: missing; {restore}")
            try:
                actual = file_sha256(path)
            except OSError as error:
                raise UserError(f"{path}: cannot read: {error.strerror}") from error
            if actual != expected:
                raise UserError(
                    f"{path}: sha256 differs from models.toml ({actual[:12]}… instead of {expected[:12]}…): "
                    f"the file is damaged or was changed; {restore}"
                )


def file_sha256(path: Path) -> str:
    """A file's hash, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_registry(path: Path = DEFAULT_REGISTRY) -> dict[str, ModelEntry]:
    """All entries of a models.toml by name, in its order. The files they name are not opened.

    Raises:
        UserError: missing, not TOML, or an entry that lacks something or has the wrong type.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: missing; restore it with git checkout -- {path}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}") from error
    except ValueError as error:  # TOML or UTF-8
        raise UserError(f"{path}: not valid TOML: {error}") from error
    return {name: _parse_entry(path, name, table) for name, table in tables.items()}


def find_model(name: str, path: Path = DEFAULT_REGISTRY) -> ModelEntry:
    """The entry called `name`.

    Raises:
        UserError: no such entry (the message lists those there are), or see `load_registry`.
    """
    registry = load_registry(path)
    if name not in registry:
        known = f"expected one of {', '.join(registry)}" if registry else f"{path} lists none"
        raise UserError(f"unknown model {name!r}: {known}")
    return registry[name]


def register(entry: ModelEntry, path: Path = DEFAULT_REGISTRY) -> None:
    """Add `entry` to a models.toml, or replace the entry of its name; the file is rewritten from all entries.

    Raises:
        ValueError: a name TOML cannot take bare, or a file that does not lie beside the registry.
        UserError: the registry that is there cannot be read.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", entry.name):
        raise ValueError(f"name: expected letters, digits, '-' and '_', got {entry.name!r}")
    registry = load_registry(path) if path.exists() else {}
    registry[entry.name] = entry
    text = "\n".join([_HEADER, *(_format_entry(e, path.parent) for e in registry.values())])
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def check_metrics(metrics: Mapping[str, Any]) -> None:
    """Raise UserError where figures hold something that the registry cannot store, such as null."""
    try:
        _format_value(metrics)
    except TypeError as error:
        raise UserError(f"metrics: {error}") from error


def _parse_entry(path: Path, name: str, table: Any) -> ModelEntry:
    if not isinstance(table, dict):
        raise UserError(f"{path}: expected only tables such as [{name}], got {name} = {table!r}")
    values: dict[str, Any] = {}
    for item in fields(ModelEntry)[1:]:
        if item.name not in table and _may_lack(item, table):
            continue
        if item.name not in table:
            raise UserError(f"{path}: [{name}] has no {item.name!r}")
        kind, value = _kind(item), table[item.name]
        expected = str if kind is Path else kind
        if not isinstance(value, expected) or isinstance(value, bool):
            raise UserError(f"{path}: [{name}] {item.name}: expected {expected.__name__}, got {value!r}")
        values[item.name] = path.parent / str(value) if kind is Path else value
    if unknown := [key for key in table if key not in values]:
        raise UserError(f"{path}: [{name}] has an unknown key {unknown[0]!r}")
    return ModelEntry(name=name, **values)


def _kind(item: Field[Any]) -> type:
    """The type of a field of `ModelEntry`; dict for the metrics."""
    kinds: dict[Any, type] = {kind | None: kind for kind in (int, str, Path)}
    return kinds.get(item.type | None, dict)  # type: ignore[operator]


def _may_lack(item: Field[Any], table: Mapping[str, Any]) -> bool:
    """Whether an entry may leave this field out: the metrics, and those of the int8 file, all three together."""
    return item.name == "metrics" or (
        item.name.startswith("onnx_int8") and not any(k.startswith("onnx_int8") for k in table)
    )


def _format_entry(entry: ModelEntry, folder: Path) -> str:
    lines = [f"[{entry.name}]"]
    for item in fields(ModelEntry)[1:-1]:
        value = getattr(entry, item.name)
        if value is None:
            continue
        if isinstance(value, Path):
            value = value.resolve().relative_to(folder.resolve()).as_posix()
        lines.append(f"{item.name} = {_format_value(value)}")
    if entry.metrics:
        lines.append(f"\n[{entry.name}.metrics]")
        lines.extend(f"{_format_key(key)} = {_format_value(value)}" for key, value in entry.metrics.items())
    return "\n".join(lines) + "\n"


def _format_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _format_value(key)


def _format_value(value: Any) -> str:
    """A TOML value on one line; inverse of tomllib for text, numbers, booleans, lists and tables."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):  # TOML's escapes are JSON's, but it wants DEL escaped too
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(_format_value(item) for item in value)}]"
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_format_key(key)} = {_format_value(item)}" for key, item in value.items())
        return f"{{{pairs}}}"
    raise TypeError(f"expected text, a number, a boolean, a list or a table, got {type(value).__name__}")
