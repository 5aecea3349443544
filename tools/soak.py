"""What grows when the program runs for long: memory, threads and file handles, while a clip is played over and over.

    python tools/soak.py --duration 600            the pipeline: reads, finds people, draws
    python tools/soak.py --duration 600 --batch    a worker of `batch` that does one short clip after another

The work is done in a process of its own that is read from outside, once a second. The first minute does not count:
caches and pools fill. Status 1 if anything then grows by more a minute than the bounds below allow.
"""

import argparse
import contextlib
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app.batching.jobs import Job, Setup
from app.batching.worker import Worker
from app.options import MIN_SCORE
from app.run_settings import RunSettings
from pipeline.overlays import OverlayStyle
from pipeline.playback import Playback
from pipeline.render import draw
from pipeline.runner import Pipeline
from pipeline.sources import FileSource
from pipeline.tracking import Tracker

ROOT: Final = Path(__file__).resolve().parent.parent
WARMUP_S: Final = 60.0
ROWS: Final = 20
SHORT_FRAMES: Final = 10  # of each clip of a batch
# Most growth a minute. A leaked 720p picture every ten seconds is 17 MB a minute; a leaked thread or handle for every
# clip or loop is several. Below that it is the allocator's noise.
BOUNDS: Final = {"rss_mb": 2.0, "threads": 0.2, "handles": 0.2}


class Reading(NamedTuple):
    """Of the watched process, and all it has started, at one moment."""

    at_s: float
    rss_mb: float
    threads: int
    handles: int


def read(process: psutil.Process, begin_s: float) -> Reading:
    """Memory, threads and handles now. Raises psutil.Error if the process has ended."""
    everybody = [process, *process.children(recursive=True)]
    handles = sum(one.num_fds() if os.name == "posix" else one.num_handles() for one in everybody)
    rss_mb = sum(one.memory_info().rss for one in everybody) / 1e6
    return Reading(time.monotonic() - begin_s, rss_mb, sum(one.num_threads() for one in everybody), handles)


def slopes(readings: list[Reading], warmup_s: float) -> dict[str, float]:
    """Growth a minute of each figure after the warm-up: the median of the slopes between any two readings (Theil-Sen).

    A pool that once takes a larger piece of memory is a step, not growth; a straight line through all readings would
    take it for that.
    """
    at_s, *figures = np.array([reading for reading in readings if reading.at_s >= warmup_s]).T
    first, second = np.triu_indices(len(at_s), 1)
    minutes = (at_s[second] - at_s[first]) / 60
    rises = {name: values[second] - values[first] for name, values in zip(BOUNDS, figures, strict=True)}
    return {name: float(np.median(rise / minutes)) for name, rise in rises.items()}


def too_much(growth: dict[str, float]) -> list[str]:
    """The figures that grow beyond their bounds."""
    return [name for name, slope in growth.items() if slope > BOUNDS[name]]


def table(readings: list[Reading], warmup_s: float) -> str:
    """Some of the readings, and the growth a minute below them."""
    growth = slopes(readings, warmup_s)
    chosen = readings[:: max(1, len(readings) // ROWS)]
    chosen += [] if chosen[-1] is readings[-1] else [readings[-1]]
    lines = ["seconds  rss MB  threads  handles"]
    lines += [f"{one.at_s:7.0f}  {one.rss_mb:6.1f}  {one.threads:7d}  {one.handles:7d}" for one in chosen]
    lines.append(f"a minute {growth['rss_mb']:+6.2f}  {growth['threads']:+7.2f}  {growth['handles']:+7.2f}")
    lines.append("bound    " + "  ".join(f"{f'+{BOUNDS[name]:g}':>{width}}" for name, width in _WIDTHS.items()))
    return "\n".join(lines)


_WIDTHS: Final = {"rss_mb": 6, "threads": 7, "handles": 7}


def play(clip: Path, duration_s: float, input_size: int | None) -> int:
    """Run the clip through the pipeline, over and over; how many frames that were."""
    settings = RunSettings(input_size=input_size, min_score=MIN_SCORE)
    frames, end_s = 0, time.monotonic() + duration_s
    with settings.open_estimator() as estimator:
        style = OverlayStyle.of(settings.overlay)
        source = Playback(FileSource(clip), loop=True, speed=math.inf)
        pipeline = Pipeline(
            source,
            estimator.infer,
            estimator.decode,
            lambda result: draw(result.frame.image, result.instances, style),
            track=Tracker().update,
        )
        with pipeline:
            for _ in pipeline:
                frames += 1
                if time.monotonic() >= end_s:
                    return frames
    return frames


def serve(clip: Path, duration_s: float, input_size: int | None) -> int:
    """Let a worker of `batch` process short clips; how many frames that were. Raises RuntimeError if one fails."""
    settings = RunSettings(save=("video", "ndjson"), input_size=input_size, max_frames=SHORT_FRAMES)
    worker = Worker(Setup("app.batching.clip_work:open_clip_work", {"run": settings.record()}))
    frames, end_s = 0, time.monotonic() + duration_s
    try:
        with tempfile.TemporaryDirectory() as folder:
            while time.monotonic() < end_s:
                attempt = Path(folder) / "attempt"
                attempt.mkdir()
                outcome = worker.run(Job(1, "clip", str(clip), str(attempt), "clip"))
                if outcome.error is not None:
                    raise RuntimeError(outcome.error)
                frames += outcome.frames
                shutil.rmtree(attempt)
    finally:
        worker.close()
    return frames


def watch(command: list[str], duration_s: float) -> list[Reading]:
    """Readings of a process, once a second to its end. Raises SystemExit if it fails."""
    readings: list[Reading] = []
    begin_s = time.monotonic()
    with subprocess.Popen(command) as process:
        outside = psutil.Process(process.pid)
        while process.poll() is None:
            if time.monotonic() - begin_s < duration_s:  # not while it ends
                with contextlib.suppress(psutil.Error):
                    readings.append(read(outside, begin_s))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
    if process.returncode:
        raise SystemExit(f"soak: the program ended with status {process.returncode}")
    return readings


def main() -> int:
    """Soak and print; 0, or 1 if something grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, default=ROOT / "assets" / "sample.mp4")
    parser.add_argument("--duration", type=float, default=600.0, metavar="S")
    parser.add_argument("--warmup", type=float, default=WARMUP_S, metavar="S", help="does not count (default: 60)")
    parser.add_argument("--input-size", type=int, metavar="N")
    parser.add_argument("--batch", action="store_true", help="a worker of `batch` instead of the pipeline")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)  # the process that is watched
    options = parser.parse_args()
    if options.duration < options.warmup + 5:
        parser.error(f"--duration: expected at least {options.warmup + 5:g}")
    if options.inside:
        work = serve if options.batch else play
        print(f"{work(options.clip, options.duration, options.input_size)} frames", flush=True)
        return 0
    readings = watch([sys.executable, __file__, *sys.argv[1:], "--inside"], options.duration)
    print(table(readings, options.warmup))
    growing = too_much(slopes(readings, options.warmup))
    print(f"grows: {', '.join(growing)}" if growing else "nothing grows beyond its bound")
    return 1 if growing else 0


if __name__ == "__main__":
    sys.exit(main())
