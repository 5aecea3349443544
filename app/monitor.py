"""`monitor`: how fast the program is on a source, stage by stage, while it runs; without a window."""

import argparse
import contextlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from app.messages import print_warning
from app.options import add_model_arguments, describe, open_estimator, seconds
from app.writing import CsvLog, check_target, write_json
from pipeline.overlays import OVERLAY_NAMES, OverlayStyle
from pipeline.render import draw
from pipeline.runner import Pipeline
from pipeline.sources import LiveSource, Source, open_source
from pipeline.statistics import Snapshot, Statistics

EVERY_S: Final = 1.0  # between two tables, lines or rows

Show = Callable[[Snapshot], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.epilog = (
        "A camera or stream runs at its own pace and loses what is too much; a file runs as fast as it can and loses "
        "nothing. In a terminal the figures of the last five seconds stand in a table, elsewhere in one line a second. "
        "End it with Ctrl-C."
    )
    parser.add_argument("source", metavar="SOURCE", help="camera:0, rtsp:// or http://, clip, picture or folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures of the whole run at the end")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a row each second")
    parser.add_argument("--duration", type=seconds, default=math.inf, metavar="S", help="end after S seconds")
    parser.add_argument("--overlay", default="pis", choices=OVERLAY_NAMES, help="what to draw (default: %(default)s)")
    add_model_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Watch the source until it ends, the time is over or Ctrl-C; the figures are written in each case."""
    for path in (options.json, options.csv):
        if path is not None:
            check_target(path)
    with open_estimator(options) as estimator:
        source = open_source(options.source)
        network = describe(options, estimator)
        print(f"{source.info.name}: {network}", flush=True)
        estimator.warmup((source.info.height, source.info.width) if source.info.height else None)
        style = OverlayStyle.of([options.overlay])
        pipeline = Pipeline(
            source, estimator.infer, estimator.decode, lambda result: draw(result.frame.image, result.instances, style)
        )
        statistics = Statistics(pipeline)
        with contextlib.ExitStack() as stack:
            takers: list[Show] = [stack.enter_context(CsvLog(options.csv)).add] if options.csv is not None else []
            summaries = stack.enter_context(_report(source, network, options.json))
            takers.append(stack.enter_context(_display(source)))
            stack.enter_context(pipeline)
            # Called first of all at the end: the rates must not suffer from the time it takes to end the threads.
            stack.callback(lambda: summaries.append(statistics.summary()))
            _watch(pipeline, statistics, options.duration, takers)
    return 0


@contextlib.contextmanager
def _report(source: Source, network: str, path: Path | None) -> Iterator[list[Snapshot]]:
    """At the end, whatever ends it, write the summary that was put into the list to `path`, and print it."""
    summaries: list[Snapshot] = []
    try:
        yield summaries
    finally:
        for summary in summaries:
            if path is not None:
                what = {"source": source.info.name, "live": source.live, "network": network}
                write_json(path, what | summary.record())
            Console().print(table(summary))
            for warning in source.warnings:
                print_warning(warning)


def _watch(pipeline: Pipeline, statistics: Statistics, duration_s: float, takers: list[Show]) -> None:
    """Read the pipeline to its end or for so long, and give each of `takers` a snapshot a second and one at the end."""
    begin_s = time.monotonic()
    next_s, last_s = begin_s + EVERY_S, begin_s + duration_s
    while not pipeline.finished and (now_s := time.monotonic()) < last_s:
        if now_s >= next_s:
            _tell(takers, statistics.snapshot())
            next_s = max(next_s + EVERY_S, now_s)  # no burst after the computer was suspended
        rendered = pipeline.poll(max(0.0, min(next_s, last_s) - now_s))
        if rendered is not None:
            statistics.shown(rendered.result.frame)
    _tell(takers, statistics.snapshot())


def _tell(takers: list[Show], snapshot: Snapshot) -> None:
    for take in takers:
        take(snapshot)


@contextlib.contextmanager
def _display(source: Source) -> Iterator[Show]:
    """What shows a snapshot: a table that stays in its place, or, where nobody watches, a line."""
    console = Console()
    if not console.is_terminal:
        yield lambda snapshot: print(line(snapshot) + _banner(source), flush=True)
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda snapshot: live.update(Group(table(snapshot), Text(_banner(source))), refresh=True)


def _banner(source: Source) -> str:
    """What is wrong with a live source, or nothing."""
    return f"  {source.state.message}" if isinstance(source, LiveSource) and source.state.message else ""


def line(snapshot: Snapshot) -> str:
    """The most important figures in one line."""
    return (
        f"{snapshot.seconds:7.1f} s  {snapshot.displayed_fps:5.1f} fps  age {_age(snapshot)}  "
        f"{_drops(snapshot)}  limit: {snapshot.bottleneck or '-'}  {_machine(snapshot)}"
    )


def table(snapshot: Snapshot) -> Group:
    """All figures, for a terminal."""
    stages = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("stage", "frames/s", "p50 ms", "p95 ms", "p99 ms", "busy"):
        stages.add_column(column, justify="left" if column == "stage" else "right", no_wrap=True)
    for stage, figures in snapshot.stages.items():
        times = (_ms(figures.p50_ms), _ms(figures.p95_ms), _ms(figures.p99_ms))
        stages.add_row(stage, f"{figures.fps:.1f}", *times, f"{figures.busy:.0%}")
    rows = (
        ("displayed", f"{snapshot.displayed_fps:.1f} fps, {snapshot.displayed} frames in {snapshot.seconds:.0f} s"),
        ("frame age", f"{_age(snapshot)} (p50/p95/p99)"),
        ("dropped", _drops(snapshot)),
        ("limited by", snapshot.bottleneck or "-"),
        ("process", _machine(snapshot)),
    )
    return Group(stages, *(Text(f"{name:<11} {value}") for name, value in rows))


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _age(snapshot: Snapshot) -> str:
    ages = (snapshot.age_p50_ms, snapshot.age_p95_ms, snapshot.age_p99_ms)
    return "/".join("-" if age is None else f"{age:.0f}" for age in ages) + " ms"


def _drops(snapshot: Snapshot) -> str:
    lost = [f"{number} before {taker}" for taker, number in snapshot.drops.items() if number]
    return "drops " + ", ".join(lost) if lost else "no drops"


def _machine(snapshot: Snapshot) -> str:
    text = f"cpu {snapshot.cpu_percent:.0f} %  {snapshot.rss_mb:.0f} MB  {snapshot.threads} threads"
    if snapshot.gpu is not None:
        text += f"  {snapshot.gpu.name} {snapshot.gpu.percent:.0f} %, {snapshot.gpu.memory_mb:.0f} MB"
    return text
