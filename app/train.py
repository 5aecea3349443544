"""`train`: a recipe (TOML) and data in, checkpoints and weights out."""

import argparse
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.options import whole_number
from engine.errors import UserError

RECIPES = Path(__file__).resolve().parent.parent / "engine" / "training" / "recipes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    known = ", ".join(sorted(path.stem for path in RECIPES.glob("*.toml")))
    parser.add_argument("recipe", metavar="RECIPE", help=f"a TOML file, or one of {known}")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder the recipe's paths start from")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for checkpoints and the log")
    parser.add_argument("--start", type=Path, metavar="FILE", help="pretrained tensors (.safetensors) or a checkpoint")
    parser.add_argument("--resume", action="store_true", help="continue from DIR/last.pt")
    parser.add_argument("--steps", type=whole_number(1), metavar="N", help="instead of the recipe's")
    parser.add_argument("--batch", type=whole_number(1), metavar="N", help="instead of the recipe's")
    parser.add_argument("--workers", type=whole_number(0), metavar="N", help="data processes, instead of the recipe's")


def run(options: argparse.Namespace) -> int:
    """Train; the averaged weights are in DIR/weights.safetensors afterwards."""
    try:
        from engine.training import train as training
        from engine.training.dataset import DataPart
    except ImportError as error:
        raise UserError(f"training needs {error.name}: pip install -r requirements-train.txt") from error
    recipe = read_recipe(options.recipe)
    try:
        config = training.config_from_table(recipe)
        parts = [DataPart(**_rooted(table, options.data)) for table in recipe.get("data", [])]
    except (TypeError, ValueError) as error:
        raise UserError(f"{options.recipe}: {error}") from error
    changes = {name: getattr(options, name) for name in ("steps", "batch", "workers")}
    config = replace(config, **{name: value for name, value in changes.items() if value is not None})
    if options.start is not None:
        config = replace(config, start=str(options.start))
    checkpoint = options.out / training.CHECKPOINT
    if not options.resume and checkpoint.exists():
        raise UserError(f"{checkpoint}: exists already; add --resume to continue it, or choose another --out")
    weights = training.train(config, parts, options.out, resume=checkpoint if options.resume else None)
    print(f"weights: {weights}")
    return 0


def read_recipe(name: str) -> dict[str, Any]:
    """A recipe by name or path.

    Raises:
        UserError: no such recipe, or not TOML.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot read the recipe: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not valid TOML: {error}") from error


def _rooted(table: dict[str, Any], root: Path) -> dict[str, Any]:
    return {**table, **{name: root / table[name] for name in ("images", "annotations") if name in table}}
