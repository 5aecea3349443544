"""Speed against accuracy over input sizes and precisions, as one picture and one table.

    python tools/speed_accuracy.py FIGURES --out docs/pictures/speed-accuracy.png

FIGURES is a folder of JSON files of `eval --json` and `bench --json`, in any order and under any names. An evaluation
and a benchmark belong together if they say the same of the network: "mobile on onnx cpu int8, input 641 px".
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt

# Two small YOLO networks in int8, poses and then masks, on two such cores at 640 px.
RIVAL = {"name": "two YOLO networks, int8, 640 px", "ms": 111.0, "keypoints": 0.465, "masks": 0.394}


class Point(NamedTuple):
    """One setting; AP of keypoints and masks, median milliseconds from the decoded frame to the instances."""

    network: str
    size: int
    picture_ms: float
    keypoints: float
    masks: float


def main() -> None:
    """Read, join, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    points = join([json.loads(path.read_text(encoding="utf-8")) for path in sorted(options.figures.glob("*.json"))])
    if not points:
        raise SystemExit(f"{options.figures}: no evaluation and benchmark of one setting")
    print("| network | input px | ms a picture | keypoint AP | mask AP |\n|---|---:|---:|---:|---:|")
    for point in points:
        print(
            f"| {point.network} | {point.size} | {point.picture_ms:.1f} | {point.keypoints:.3f} | {point.masks:.3f} |"
        )
    draw(points, options.out)


def join(files: list[dict[str, Any]]) -> list[Point]:
    """The settings that were both evaluated and timed, by network and size."""
    times = {file["network"]: file["picture_ms"] for file in files if "picture_ms" in file}
    points = []
    for file in files:
        setting = file.get("conditions")
        if isinstance(setting, str) and setting in times:
            match = re.fullmatch(r"(.*), input (\d+) px", setting)
            assert match is not None, setting
            accuracy = (file["keypoints"]["AP"], file["segm"]["AP"])
            points.append(Point(match[1], int(match[2]), times[setting], *accuracy))
    return sorted(points)


def draw(points: list[Point], path: Path) -> None:
    """A curve for each network, keypoints left and masks right, and the rival's point."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained", sharex=True)
    for axis, name in zip(axes, ("keypoints", "masks"), strict=True):
        for network in dict.fromkeys(point.network for point in points):
            curve = [point for point in points if point.network == network]
            values = [getattr(point, name) for point in curve]
            axis.plot([point.picture_ms for point in curve], values, marker="o", label=network)
            for point, value in zip(curve, values, strict=True):
                at = (point.picture_ms, value)
                axis.annotate(str(point.size), at, xytext=(4, -11), textcoords="offset points", fontsize=8)
        axis.plot(RIVAL["ms"], RIVAL[name], "kx", label=RIVAL["name"])
        axis.axvline(40, color="grey", linewidth=0.8, linestyle=":")
        axis.set_xlabel("ms a picture, decoded frame to instances")
        axis.set_ylabel(f"AP, {name}")
        axis.set_xlim(left=0)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
