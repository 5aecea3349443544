"""The losses of a training run, and its AP where it was measured, as one picture.

    python tools/curves.py runs/mobile/log.jsonl --ap ap.csv --out docs/pictures/curves.png

Several logs are taken one after the other; a step that two of them hold counts as the later one's. The table of APs has
the columns step, data, keypoint_ap, mask_ap.
"""

import argparse
import csv
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt

HEADS = {
    "keypoint_maps": "SKHM p",
    "short_offsets": "short offsets S",
    "mid_offsets": "mid offsets M",
    "mask_offsets": "mask offsets L",
    "centroid_offsets": "centroid offsets C",
    "person_map": "person map p_S",
}
WINDOW = 100  # steps whose median is one point


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", nargs="+", type=Path)
    parser.add_argument("--ap", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    records = {r["step"]: r for log in options.logs for r in map(json.loads, log.read_text().splitlines())}
    steps = np.array(sorted(records))
    figure, axes = plt.subplots(2, 4, figsize=(14, 6), layout="constrained")
    for axis, (name, title) in zip(axes.flat, HEADS.items(), strict=False):
        values = np.array([records[step][name] for step in steps])
        edges = range(0, len(steps), WINDOW)
        axis.plot([steps[e : e + WINDOW].mean() for e in edges], [np.median(values[e : e + WINDOW]) for e in edges])
        axis.set_title(f"loss of {title}", fontsize=10)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
    for axis, column, title in ((axes.flat[6], "keypoint_ap", "keypoint AP"), (axes.flat[7], "mask_ap", "mask AP")):
        for data, points in read_ap(options.ap, column).items():
            axis.plot(*zip(*points, strict=True), marker="o", label=data)
            axis.legend(fontsize=8)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
    figure.savefig(options.out, dpi=80)


def read_ap(path: Path | None, column: str) -> dict[str, list[tuple[int, float]]]:
    """The points of each data set's curve."""
    curves: dict[str, list[tuple[int, float]]] = {}
    if path is not None:
        with path.open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                curves.setdefault(row["data"], []).append((int(row["step"]), float(row[column])))
    return curves


if __name__ == "__main__":
    main()
