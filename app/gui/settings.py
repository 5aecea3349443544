"""What the window remembers from one start to the next: a small TOML file, written whole or not at all."""

import contextlib
import json
import tomllib
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

from app.gui.network import NetworkChoice, Thresholds
from engine.files import written_whole
from pipeline.overlays import OverlayStyle

RECENT_KEPT: Final = 12
_NOTHING: Final = "none"  # TOML has no word for it
Values = TypeVar("Values")


@dataclass(frozen=True, slots=True)
class WindowPlaces:
    """Where things are, as Qt writes it, in base64; empty for where they are by themselves.

    Attributes:
        window: its place and size. across, down: the borders between picture, controls and monitor.
    """

    window: str = ""
    across: str = ""
    down: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that is kept, with its default.

    Attributes:
        theme: name of a theme.
        folder: where recordings and snapshots go; empty for the user's own folder of videos.
        recent: addresses of sources, newest first, never with a password in them.
        loop: whether files start again at their end.
        controls, monitor: whether these panels are open.
    """

    theme: str = "dark"
    folder: str = ""
    recent: tuple[str, ...] = ()
    loop: bool = False
    controls: bool = True
    monitor: bool = True
    places: WindowPlaces = field(default_factory=WindowPlaces)
    network: NetworkChoice = field(default_factory=NetworkChoice)
    thresholds: Thresholds = field(default_factory=Thresholds)
    overlays: OverlayStyle = field(default_factory=OverlayStyle)


def with_recent(recent: tuple[str, ...], address: str) -> tuple[str, ...]:
    """The recent addresses when `address` has just been shown; one that UTF-8 cannot hold is not kept."""
    if any("\ud800" <= letter <= "\udfff" for letter in address):
        return recent
    return (address, *(other for other in recent if other != address))[:RECENT_KEPT]


def load(path: Path) -> tuple[Settings, str]:
    """The settings at `path` and an empty text, or the defaults and one line about what was wrong with the file.

    A file that cannot be understood is set aside under another name, so that nothing in it is lost.
    """
    try:
        return _parse(Settings, tomllib.loads(path.read_text(encoding="utf-8"))), ""
    except FileNotFoundError:
        return Settings(), ""
    except OSError as error:
        return Settings(), f"{path}: the settings cannot be read: {error.strerror}"
    except ValueError as error:  # TOML, UTF-8, or a value out of its range
        aside = path.with_name(f"{path.name}.damaged")
        with contextlib.suppress(OSError):
            path.replace(aside)
        return Settings(), f"{path}: the settings were damaged ({error}); they are now in {aside.name}"


def save(settings: Settings, path: Path) -> None:
    """Write `settings` to `path`. Raises OSError if that fails; the older file is then still there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        temporary.write_text(_format(settings), encoding="utf-8", newline="\n")


def _format(values: Any) -> str:
    """A dataclass as TOML: its plain values, then a table for each dataclass in it."""
    plain = [item.name for item in fields(values) if not is_dataclass(getattr(values, item.name))]
    tables = [item.name for item in fields(values) if item.name not in plain]
    lines = [f"{name} = {_format_value(getattr(values, name))}\n" for name in plain]
    return "".join(lines + [f"\n[{name}]\n{_format(getattr(values, name))}" for name in tables])


def _format_value(value: object) -> str:
    if value is None:
        return f'"{_NOTHING}"'
    # JSON's spelling of text, numbers, truth and lists is TOML's, but for DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _parse(kind: type[Values], table: dict[str, Any]) -> Values:
    """A dataclass from a TOML table; what is missing keeps its default. Raises ValueError for a wrong value."""
    hints = get_type_hints(kind)
    names = [item.name for item in fields(kind) if item.name in table]  # type: ignore[arg-type]
    return kind(**{name: _checked(name, hints[name], table[name]) for name in names})


def _checked(name: str, hint: Any, value: Any) -> Any:
    if is_dataclass(hint) and isinstance(value, dict):
        return _parse(hint, value)  # type: ignore[arg-type]
    if get_origin(hint) is tuple and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if get_origin(hint) is Literal and value in get_args(hint):
        return value
    if get_origin(hint) is UnionType:  # something or nothing
        return None if value == _NOTHING else _checked(name, get_args(hint)[0], value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is hint:
        return value
    raise ValueError(f"{name}: got {value!r}")
