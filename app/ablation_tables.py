"""The tables of `ablate`: in Markdown to read, in CSV to compute with, and a short form for the terminal."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from app.tables import print_table
from engine.ablation import PARTS, Figures, Group, Row
from engine.decode_config import DecodeConfig
from engine.evaluation import KEYPOINT_METRICS, SEGM_METRICS
from engine.skeleton import KEYPOINT_NAMES

Table = list[tuple[Row, Figures]]

# The columns of the Markdown tables; the CSV file has all there are.
_KEYPOINT_COLUMNS: Final = ("AP50", "AP75", "APm", "APl", "AR")
_SEGM_COLUMNS: Final = ("AP50", "AP75", "APs", "APm", "APl", "AR")
_NOTHING: Final = "–"  # where a figure is not defined: masks of a mode without masks, a size that nobody has


def to_markdown(tables: Sequence[tuple[Group, Table]], conditions: str) -> str:
    """A table for each group, and one of the keypoints' scores where the group asks for it."""
    parts = [
        "# The switches of the decode",
        f"{conditions}. One forward pass for each picture; every row decodes the same outputs.",
        f"Δ: difference in AP to the baseline of the same table ± its standard error, from {PARTS} disjoint parts of "
        "the pictures. ms: median of the decode of one picture, without the network.",
    ]
    header = ["", "keypoint AP", "Δ", *_KEYPOINT_COLUMNS, "mask AP", "Δ", *_SEGM_COLUMNS, "ms"]
    for group, table in tables:
        body = []
        for row, figures, baseline in _compared(table):
            cells = [row.label]
            for ours, its, columns in (
                (figures.keypoints, baseline.keypoints, _KEYPOINT_COLUMNS),
                (figures.segm, baseline.segm, _SEGM_COLUMNS),
            ):
                difference, error = ours.minus(its)
                shown = _difference(row, difference) + ("" if math.isnan(error) or row.baseline else f" ± {error:.3f}")
                cells += [_number(ours.table["AP"]), shown, *(_number(ours.table[column]) for column in columns)]
            body.append([*cells, f"{figures.decode_ms:.1f}"])
        parts += [f"## {group.title} (`{group.name}`)", _grid(header, body)]
        if group.confidence:
            scores = [[_number(value) for value in _confidence(figures, "score")] for _, figures in table]
            body = [[name.replace("_", " "), *values] for name, *values in zip(KEYPOINT_NAMES, *scores, strict=True)]
            parts += [
                "Mean score of the keypoints of people who score enough for a mask:",
                _grid(["", *(row.label for row, _ in table)], body),
            ]
    return "\n\n".join(parts) + "\n"


def to_csv(tables: Sequence[tuple[Group, Table]]) -> str:
    """One line for each row of each group; what is not defined is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    compared = ("AP_difference", "AP_difference_error")
    names = [f"keypoints_{name}" for name in (*KEYPOINT_METRICS, *compared)]
    names += [f"segm_{name}" for name in (*SEGM_METRICS, *compared)]
    names += ["decode_ms", *(f"{kind}_{name}" for kind in ("score", "probability") for name in KEYPOINT_NAMES)]
    writer.writerow(["group", "row", "baseline", "changes", *names])
    for group, table in tables:
        start = next(row.config for row, _ in table if row.baseline)
        for row, figures, baseline in _compared(table):
            values = [*figures.keypoints.table.values(), *figures.keypoints.minus(baseline.keypoints)]
            values += [*figures.segm.table.values(), *figures.segm.minus(baseline.segm)]
            values += [figures.decode_ms, *_confidence(figures, "score"), *_confidence(figures, "probability")]
            known = ["" if math.isnan(value) else f"{value:.6g}" for value in values]
            writer.writerow([group.name, row.label, int(row.baseline), changes(start, row.config), *known])
    return text.getvalue()


def to_terminal(tables: Sequence[tuple[Group, Table]], conditions: str) -> None:
    """Print the two APs, their differences and the time."""
    print(conditions)
    for group, table in tables:
        body = []
        for row, figures, baseline in _compared(table):
            cells = [row.label]
            for ours, its in ((figures.keypoints, baseline.keypoints), (figures.segm, baseline.segm)):
                cells += [_number(ours.table["AP"]), _difference(row, ours.minus(its)[0])]
            body.append([*cells, f"{figures.decode_ms:.1f}"])
        print_table(group.title, ["", "keypoint AP", "Δ", "mask AP", "Δ", "ms"], body)


def changes(start: DecodeConfig, config: DecodeConfig) -> str:
    """In what `config` differs from `start`: "mid_steps=2 score=hough"."""
    before = asdict(start)
    return " ".join(f"{name}={value}" for name, value in asdict(config).items() if value != before[name])


def _compared(table: Table) -> list[tuple[Row, Figures, Figures]]:
    """Each row, its figures, and those of the table's baseline."""
    baseline = next(figures for row, figures in table if row.baseline)
    return [(row, figures, baseline) for row, figures in table]


def _confidence(figures: Figures, kind: str) -> list[float]:
    """The mean "score" or "probability" of each keypoint; NaN where nobody has it."""
    return [
        figures.confidence[name][kind] if figures.confidence[name]["count"] else math.nan for name in KEYPOINT_NAMES
    ]


def _difference(row: Row, difference: float) -> str:
    if row.baseline:
        return "baseline"
    return _NOTHING if math.isnan(difference) else f"{difference:+.3f}"


def _number(value: float) -> str:
    return _NOTHING if math.isnan(value) else f"{value:.3f}"


def _grid(header: list[str], body: list[list[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *body))
