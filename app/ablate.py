"""`ablate`: the decode's switches, measured on one network and one COCO data set, as tables in Markdown and CSV."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from app.ablation_tables import changes, to_csv, to_markdown, to_terminal
from app.data_set import add_data_arguments, read_data_set
from app.options import add_model_arguments, describe, open_estimator
from app.tables import progress_bar
from app.writing import make_folder, write_text
from engine.ablation import GROUPS, Group, decode_all, rows_of, score_all
from engine.decode_config import DecodeConfig
from engine.errors import UserError

MARKDOWN: Final = "ablation.md"
CSV: Final = "ablation.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    add_data_arguments(parser)
    parser.add_argument(
        "--rows",
        nargs="+",
        default=[group.name for group in GROUPS],
        metavar="GROUP",
        help=f"some of {', '.join(group.name for group in GROUPS)} (default: all)",
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help=f"folder for {MARKDOWN} and {CSV}, made if need be"
    )
    add_model_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Run the network once on each picture, decode its outputs by every row, print and write the tables."""
    groups = _groups(options.rows)
    if options.mode != "joint":
        raise UserError(f"--mode {options.mode}: the rows want every output of the network; see --rows mode")
    data = read_data_set(options)
    make_folder(options.out)
    with open_estimator(options) as estimator, progress_bar() as progress:
        plan = [(group, rows_of(group, estimator.config)) for group in groups]
        configs = list(dict.fromkeys(row.config for _, rows in plan for row in rows))
        pictures = progress.track(data.pictures, description="decode")
        records, ids = decode_all(estimator.infer, pictures, configs, data.bad)
        scored = score_all(records, data.truth, ids)
        figures = dict(zip(configs, progress.track(scored, len(configs), description="score"), strict=True))
        counted = "1 picture" if len(ids) == 1 else f"{len(ids)} pictures"
        conditions = f"{describe(options, estimator)}; {counted} of {options.annotations.name}"
        if changed := changes(DecodeConfig(), estimator.config):
            conditions += f"; {changed}"
    tables = [(group, [(row, figures[row.config]) for row in rows]) for group, rows in plan]
    try:
        write_text(options.out / MARKDOWN, to_markdown(tables, conditions))
        write_text(options.out / CSV, to_csv(tables))
    finally:  # the figures took long: show them even if the disk is full
        to_terminal(tables, conditions)
    return 0


def _groups(names: Sequence[str]) -> list[Group]:
    known = {group.name: group for group in GROUPS}
    for name in names:
        if name not in known:
            raise UserError(f"--rows {name}: no such group of rows, expected some of {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)]
