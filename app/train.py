"""`train`: a recipe (TOML) and data in, checkpoints and weights out; alone, or as one process of several (torchrun)."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from app.messages import explained_imports, print_warning
from app.options import whole_number
from app.recipes import check_types, known_recipes, read_recipe, settings, what_is_wrong
from app.writing import make_folder
from engine.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("recipe", metavar="RECIPE", help=f"a TOML file, or one of {known_recipes()}")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder the recipe's paths start from")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for checkpoints and the log")
    parser.add_argument("--start", type=Path, metavar="FILE", help="pretrained tensors (.safetensors) or a checkpoint")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint in --out")
    parser.add_argument("--steps", type=whole_number(1), metavar="N", help="instead of the recipe's")
    parser.add_argument("--batch", type=whole_number(1), metavar="N", help="instead of the recipe's")
    parser.add_argument("--workers", type=whole_number(0), metavar="N", help="data processes, instead of the recipe's")


def run(options: argparse.Namespace) -> int:
    """Train; the averaged weights are in DIR/weights.safetensors afterwards."""
    with explained_imports("requirements-train.txt"):
        from engine.training.board import available
        from engine.training.config import TABLES, TrainConfig, config_from_table
        from engine.training.dataset import DataPart
        from engine.training.distributed import joined
        from engine.training.train import train
        from engine.training.trainer import CHECKPOINT
    recipe = read_recipe(options.recipe)
    try:
        check_types(recipe, {**TABLES, "run": TrainConfig, "data": DataPart})
        config = config_from_table(recipe)
    except (TypeError, ValueError) as error:
        raise UserError(f"{options.recipe}: {error}") from error
    changes = {name: getattr(options, name) for name in ("steps", "batch", "workers")}
    changes["start"] = options.start and str(options.start)
    config = dataclasses.replace(config, **{name: value for name, value in changes.items() if value is not None})
    if reason := what_is_wrong(dataclasses.asdict(config)):
        raise UserError(f"{options.recipe}: {reason}")
    tables = [_rooted(table, options.data) for table in recipe["data"]]
    checkpoint = options.out / CHECKPOINT
    _check_checkpoint(checkpoint, resume=options.resume)
    make_folder(options.out)
    parts = [DataPart(**table) for table in tables]
    with joined() as group:
        if group.leads:
            print(f"{options.recipe}: {settings(dataclasses.asdict(config))}", flush=True)
            if not available():
                print_warning("no TensorBoard, so log.jsonl alone is written: pip install tensorboard")
        resume = checkpoint if options.resume else None
        try:
            trained = train(config, parts, options.out, resume=resume, group=group)
        except UserError as error:  # from a data process its text is a traceback, from torch.load a page of advice
            message = str(error).strip().rpartition(f"{UserError.__module__}.{UserError.__name__}: ")[2]
            raise UserError(message.splitlines()[0]) from error
    if group.leads:
        print(f"waiting for data: {trained.data_share:.1%} of the time")
        print(f"weights: {trained.weights}")
    return 0


def _rooted(table: dict[str, Any], root: Path) -> dict[str, Any]:
    """The table of a data part with its paths below `root`, which must exist."""
    paths = {key: root / table[key] for key in ("images", "annotations")}
    for path in paths.values():
        if not path.exists():
            raise UserError(f"{path}: no such file or folder; see --data and the recipe's [[data]]")
    return {**table, **paths}


def _check_checkpoint(path: Path, *, resume: bool) -> None:
    if path.exists() and not resume:
        raise UserError(f"{path}: exists already; add --resume to continue it, or choose another --out")
    if resume and not path.exists():
        raise UserError(f"{path}: no such file, so there is nothing to resume")
