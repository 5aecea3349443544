"""`bench`: what each stage costs alone, what the pipeline makes of it, and what each way of doing it brings."""

import argparse
import dataclasses
import importlib.metadata
import os
import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import psutil

from app.machine import processor
from app.options import MIN_SCORE, add_model_arguments, describe, open_estimator, whole_number
from app.tables import print_table
from app.writing import check_target, write_json
from engine import letterbox, reference
from engine.decode_config import DecodeConfig
from engine.errors import UserError
from engine.estimator import Estimator
from engine.structures import ByteArray, Heads
from engine.synthetic import synthetic_heads
from pipeline import benchmark
from pipeline.addresses import redacted
from pipeline.benchmark import MemorySource, Timing, Whole
from pipeline.frames import Frame, FrameResult
from pipeline.overlays import OverlayStyle
from pipeline.render import draw
from pipeline.sources import open_source

KEPT: Final = 48  # frames held in memory for the stages that are measured alone
REFERENCE_ROUNDS: Final = 3  # of the plain decode, which takes seconds
ROUNDS: Final = 40  # of two networks
WHOLE_ROUNDS: Final = 3  # of whole runs
SEED: Final = 7  # of the synthetic people
LARGEST_SIDE: Final = 8192
_STYLE: Final = OverlayStyle.of(["pis"])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.epilog = (
        "Without SOURCE the pictures are synthetic and hold --people people for the decode, whatever the network says "
        "of them; its own time does not depend on what it is shown. Figures are worth something only on a machine "
        "that does nothing else: the load before and after is printed with them."
    )
    parser.add_argument("source", nargs="?", metavar="SOURCE", help="a clip or a folder of pictures of one size")
    parser.add_argument(
        "--people", type=whole_number(0, 500), default=10, metavar="N", help="without SOURCE (default: %(default)s)"
    )
    parser.add_argument(
        "--size", type=_size, default=(1280, 720), metavar="WxH", help="without SOURCE (default: 1280x720)"
    )
    parser.add_argument(
        "--frames", type=whole_number(10), default=200, metavar="N", help="of each measurement (default: %(default)s)"
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="also the plain NumPy decode (engine/reference.py), fp32 against int8, one thread against the pipeline",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    add_model_arguments(parser)


@dataclass(frozen=True, slots=True)
class Work:
    """What is measured.

    Attributes:
        name: for people.
        source: the recording, made anew for each run of it.
        heads: what is decoded in place of what the network says, or None.
        estimator, draw: the stages' functions.
    """

    name: str
    source: Callable[[], Any]
    heads: Heads | None
    estimator: Estimator
    draw: Callable[[FrameResult], ByteArray]

    @property
    def network(self) -> Estimator | benchmark.Infer:
        """What the pipeline is given: the estimator itself, which may work ahead, unless its heads are replaced."""
        return self.estimator if self.heads is None else self.infer

    def infer(self, image: ByteArray) -> Heads:
        """Run the network; what comes of it is replaced if `heads` is set."""
        said = self.estimator.infer(image)
        return said if self.heads is None else self.heads


def run(options: argparse.Namespace) -> int:
    """Measure, print tables, write the figures."""
    if options.json is not None:
        check_target(options.json)
    before = _load()
    with open_estimator(options, min_score=MIN_SCORE) as estimator:
        work = _clip(options, estimator) if options.source else _synthetic(options, estimator)
        network = describe(options, estimator)
        print(f"{work.name}: {network}", flush=True)
        capture, frames = benchmark.read(work.source(), options.frames, KEPT)
        _check(frames, work.name)
        estimator.warmup((frames[0].image.shape[0], frames[0].image.shape[1]))
        alone = benchmark.stages_alone(frames, estimator, work.heads, work.draw, options.frames)
        if capture is not None:
            alone = {"capture": capture} | alone
        whole = benchmark.whole(work.source(), work.network, estimator.decode, work.draw)
        figures = {"network": network, "source": work.name} | _figures(alone, whole)
        _print(alone, whole, figures)
        if options.compare:
            figures["compare"] = _compare(options, work, frames)
            _print_ratios(figures["compare"])
    figures["conditions"] = _conditions(before)
    print("; ".join(f"{name}: {value}" for name, value in figures["conditions"].items()))
    if options.json is not None:
        write_json(options.json, figures)
    return 0


def _clip(options: argparse.Namespace, estimator: Estimator) -> Work:
    source = open_source(options.source, options.frames)
    if source.live:
        raise UserError(f"{redacted(options.source)}: bench reads recordings; watch a camera or a stream with monitor")
    return Work(source.info.name, lambda: open_source(options.source, options.frames), None, estimator, _draw)


def _synthetic(options: argparse.Namespace, estimator: Estimator) -> Work:
    width, height = options.size
    images = benchmark.synthetic_pictures((height, width), KEPT)
    name = f"synthetic, {width}x{height}, {options.people} people"
    placed = estimator.fit((height, width))
    heads = dataclasses.replace(synthetic_heads(options.people, placed.input_hw, SEED), letterbox=placed)
    return Work(name, lambda: MemorySource(images, options.frames), heads, estimator, _draw)


def _draw(result: FrameResult) -> ByteArray:
    return draw(result.frame.image, result.instances, _STYLE)


def _check(frames: list[Frame], name: str) -> None:
    if len(frames) < 2:
        raise UserError(f"{name}: one frame is too little to measure; give a clip, or no source at all")
    if len({frame.image.shape for frame in frames}) > 1:
        raise UserError(f"{name}: its pictures differ in size; expected one size")


def _figures(alone: Mapping[str, Timing], whole: Whole) -> dict[str, Any]:
    slowest, fps = benchmark.slowest_fps(alone)
    worked_ms = sum(timing.mean_ms for timing in alone.values())
    return {
        "alone": {stage: asdict(timing) for stage, timing in alone.items()},
        "picture_ms": sum(alone[stage].p50_ms for stage in ("letterbox", "network", "decode")),
        "pipeline": {"fps": whole.fps, **whole.figures.record()},
        "slowest_stage": slowest,
        "slowest_stage_fps": fps,
        "share_of_slowest": whole.fps / fps,
        "copy_share": alone["letterbox"].mean_ms / worked_ms,
        "idle_shares": {stage: 1 - figures.busy for stage, figures in whole.figures.stages.items()},
    }


def _compare(options: argparse.Namespace, work: Work, frames: list[Frame]) -> dict[str, Any]:
    """Each pair measured in turns: name to the times of the first and the second, and how much faster the second is."""
    heads = work.infer(frames[0].image)
    released = dataclasses.replace(DecodeConfig.released(), min_score=MIN_SCORE)
    fields = reference.dense(heads, released)
    ways: dict[str, Callable[[], Any]] = {
        "plain NumPy": lambda: reference.decode(reference.dense(heads, released), released),
        "without enlarging": lambda: reference.decode(fields, released),
        "compiled": lambda: work.estimator.decode(heads),
        "one thread": lambda: benchmark.one_thread(work.source(), work.infer, work.estimator.decode, work.draw),
        "pipeline": lambda: benchmark.whole(work.source(), work.network, work.estimator.decode, work.draw),
    }
    compared = {
        "decode": _pair(ways, "plain NumPy", "compiled", REFERENCE_ROUNDS),
        "decode, steps 2 to 5": _pair(ways, "without enlarging", "compiled", REFERENCE_ROUNDS),
    }
    if networks := _networks(options, frames[0].image):
        compared["network"] = _pair(networks, "fp32", "int8", ROUNDS)
    return compared | {"whole run": _pair(ways, "one thread", "pipeline", WHOLE_ROUNDS)}


def _pair(ways: Mapping[str, Callable[[], Any]], first: str, second: str, rounds: int) -> dict[str, Any]:
    timings = benchmark.in_turns({name: ways[name] for name in (first, second)}, rounds)
    ratio = timings[first].p50_ms / timings[second].p50_ms
    return {first: asdict(timings[first]), second: asdict(timings[second]), "ratio": ratio}


def _networks(options: argparse.Namespace, image: ByteArray) -> dict[str, Callable[[], Any]]:
    """The network in both precisions on one picture; nothing where it has only one."""
    estimators = {}
    for precision in ("fp32", "int8"):
        chosen = argparse.Namespace(**{**vars(options), "precision": precision, "backend": "onnx"})
        try:
            estimators[precision] = open_estimator(chosen)
        except UserError:  # a network in one precision only, or a file of `train`
            return {}
    placed = estimators["fp32"].fit((image.shape[0], image.shape[1]))
    picture = letterbox.apply(image, placed)
    return {name: partial(estimator.backend.infer, picture, placed) for name, estimator in estimators.items()}


def _print(alone: Mapping[str, Timing], whole: Whole, figures: Mapping[str, Any]) -> None:
    rows = [
        (
            stage,
            *(f"{value:.2f}" for value in (timing.p50_ms, timing.p95_ms, timing.p99_ms)),
            f"{1e3 / timing.mean_ms:.1f}",
        )
        for stage, timing in alone.items()
    ]
    print_table("each stage alone", ("stage", "p50 ms", "p95 ms", "p99 ms", "frames/s"), rows)
    snapshot = whole.figures
    rows = [
        (stage, *(f"{value or 0:.2f}" for value in (line.p50_ms, line.p95_ms, line.p99_ms)), f"{1 - line.busy:.0%}")
        for stage, line in snapshot.stages.items()
    ]
    print_table("in the pipeline", ("stage", "p50 ms", "p95 ms", "p99 ms", "idle"), rows)
    print(f"from decoded frame to instances: {figures['picture_ms']:.1f} ms (medians of letterbox, network and decode)")
    print(
        f"pipeline: {whole.fps:.1f} frames/s, {figures['share_of_slowest']:.0%} of what {figures['slowest_stage']} "
        f"alone allows ({figures['slowest_stage_fps']:.1f}); frame age p95 {snapshot.age_p95_ms or 0:.0f} ms; "
        f"copying {figures['copy_share']:.1%} of the work; cpu {snapshot.cpu_percent:.0f} %, {snapshot.rss_mb:.0f} MB"
    )


def _print_ratios(compared: Mapping[str, Any]) -> None:
    rows = []
    for name, pair in compared.items():
        first, second = (key for key in pair if key != "ratio")
        rows.append(
            (
                name,
                f"{first} {pair[first]['p50_ms']:.2f}",
                f"{second} {pair[second]['p50_ms']:.2f}",
                f"{pair['ratio']:.2f}",
            )
        )
    print_table("compared in turns", ("what", "median ms", "median ms", "times faster"), rows)


def _conditions(before: str) -> dict[str, str]:
    """What the figures depend on besides the program."""
    return {
        "processor": processor()[0],
        "cores": str(os.cpu_count()),
        "load before": before,
        "load after": _load(),
        "python": platform.python_version(),
        "onnxruntime": importlib.metadata.version("onnxruntime"),
        "numba": importlib.metadata.version("numba"),
    }


def _load() -> str:
    """The machine's load average of the last minute."""
    return f"{psutil.getloadavg()[0]:.1f}"


def _size(text: str) -> tuple[int, int]:
    """An argparse type: WIDTHxHEIGHT in pixels."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None or not all(16 <= int(side) <= LARGEST_SIDE for side in match.groups()):
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT of 16 to {LARGEST_SIDE} px, got {text!r}")
    return int(match[1]), int(match[2])
