"""Training recipes: found by name or path, read, and looked through for mistakes before anything heavy starts."""

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from engine.errors import UserError

RECIPES: Final = Path(__file__).resolve().parent.parent / "engine" / "training" / "recipes"
_LEAST: Final = {"steps": 1, "batch": 1, "workers": 0, "frozen_steps": 0, "warmup_steps": 0}


def known_recipes() -> str:
    """The names of the shipped recipes, for a message."""
    return ", ".join(sorted(path.stem for path in RECIPES.glob("*.toml")))


def read_recipe(name: str) -> dict[str, Any]:
    """A recipe by name or path.

    Raises:
        UserError: no such recipe, or not TOML.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    if path.parent == RECIPES and not path.exists():
        raise UserError(f"unknown recipe {name!r}: expected a .toml file or one of {known_recipes()}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot read the recipe: {error.strerror}") from error
    except ValueError as error:  # TOML or UTF-8
        raise UserError(f"{path}: not valid TOML: {error}") from error


def check_types(recipe: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    """Compare the tables of a recipe with the dataclasses they become; [[data]] is a list of tables.

    Args:
        recipe: what `read_recipe` gave.
        kinds: the dataclass of each table, "run" and "data" among them.

    Raises:
        TypeError: no table where there should be one, or a value that is not of its field's type.
        ValueError: an unknown table or field, or one that is missing.
    """
    if unknown := recipe.keys() - kinds.keys():
        names = ", ".join(f"[{name}]" for name in kinds if name != "data")
        raise ValueError(f"unknown table [{min(unknown)}]: expected {names} and [[data]]")
    data = recipe.get("data")
    if not isinstance(data, list) or not data:
        raise TypeError("expected one [[data]] table or more")
    tables = [(name, recipe[name]) for name in kinds if name in recipe and name != "data"]
    for name, table in tables + [("data", table) for table in data]:
        if not isinstance(table, dict):
            raise TypeError(f"expected a table [{name}], got {table!r}")
        # What has a table of its own is no field of [run].
        fields = {field.name: field for field in dataclasses.fields(kinds[name]) if field.name not in kinds}
        for key, value in table.items():
            if key not in fields:
                raise ValueError(f"unknown field {key!r} in [{name}]: expected some of {', '.join(sorted(fields))}")
            _check_value(f"[{name}] {key}", value, fields[key].type)
        for key, field in fields.items():
            if field.default is dataclasses.MISSING and key not in table:
                raise ValueError(f"[{name}] has no {key!r}")


def _check_value(where: str, value: object, expected: Any) -> None:
    accepted = {float: (float, int), Path: (str,), str | None: (str,)}.get(expected, (expected,))
    if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted):
        raise TypeError(f"{where}: expected {' or '.join(kind.__name__ for kind in accepted)}, got {value!r}")


def what_is_wrong(config: Mapping[str, Any]) -> str:
    """What no run can be made of, in words; "" for a good recipe. `config`: a TrainConfig as a dictionary."""
    from engine.model import TRUNKS

    net, size = config["net"], config["size"]
    if net["trunk"] not in TRUNKS:
        return f"[net] trunk: expected one of {', '.join(TRUNKS)}, got {net['trunk']!r}"
    if net["trunk_stride"] not in (8, 16):
        return f"[net] trunk_stride: expected 8 or 16, got {net['trunk_stride']}"
    if size < 33 or (size - 1) % 16:
        return f"[run] size: expected n * 16 + 1, at least 33, got {size}"
    for name, least in _LEAST.items():
        if config[name] < least:
            return f"[run] {name}: expected at least {least}, got {config[name]}"
    return ""


def settings(config: Mapping[str, Any]) -> str:
    """What a run goes by, on one line. `config`: a TrainConfig as a dictionary; of its tables, [net] is shown."""
    values = {**config["net"], **config}
    return ", ".join(f"{name} {value}" for name, value in values.items() if not isinstance(value, dict))
