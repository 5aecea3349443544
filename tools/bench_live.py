"""What the live program reaches on this machine: a clip as a network camera on loopback, watched by the program.

    python tools/bench_live.py --duration 60             the figures of `monitor`
    python tools/bench_live.py --duration 60 --window    those of the window; an invisible one where there is no display

The camera is a process of its own and costs little: its pictures are compressed beforehand. Memory and threads are read
from outside, once a second. Nothing here fails because it is slow: it is for reading.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parent.parent
START_S = 60.0  # memory counts from here on: caches and pools have filled
GRACE_S = 60.0  # to load the network before and to end after what is measured


class Reading(NamedTuple):
    """Of the watched process at one moment."""

    at_s: float
    rss_mb: float
    threads: int


@contextlib.contextmanager
def camera(clip: Path, size: str, fps: float) -> Iterator[str]:
    """The address of a loopback camera that plays the clip."""
    command = [sys.executable, "tools/loopback_camera.py", str(clip), "--size", size, "--fps", str(fps), "--until-eof"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(GRACE_S)


def watched(command: list[str], settings: str, timeout_s: float) -> list[Reading]:
    """Run the program to its end, reading its memory and threads once a second; `settings` is a folder for its own."""
    environment = {**os.environ, "XDG_CONFIG_HOME": settings}
    if sys.platform.startswith("linux") and not environment.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
        environment.setdefault("QT_QPA_PLATFORM", "offscreen")
    readings: list[Reading] = []
    begin_s = time.monotonic()
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as process:
        outside = psutil.Process(process.pid)
        while process.poll() is None:
            at_s = time.monotonic() - begin_s
            if at_s > timeout_s:
                process.kill()
                raise SystemExit(f"bench: still running after {timeout_s:.0f} s")
            with contextlib.suppress(psutil.Error):  # it has just ended
                readings.append(Reading(at_s, outside.memory_info().rss / 1e6, outside.num_threads()))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
    if process.returncode:
        raise SystemExit(f"bench: the program ended with status {process.returncode}")
    return readings


def growth(readings: list[Reading]) -> str:
    """Memory a minute and threads after the first minute, in words."""
    late = [reading for reading in readings if reading.at_s >= START_S]
    if len(late) < 30:
        return f"memory growth  needs more than {START_S + 30:.0f} s"
    at_s, rss_mb, threads = np.array(late).T
    slope = 60 * np.polyfit(at_s, rss_mb, 1)[0]
    memory = f"{slope:+.2f} MB a minute, {rss_mb[0]:.0f} to {rss_mb[-1]:.0f} MB"
    return f"memory growth  {memory}, threads {threads[0]:.0f} to {threads[-1]:.0f}"


def curve(readings: list[Reading]) -> str:
    """Memory at each full minute, MB."""
    at_s = np.array([reading.at_s for reading in readings])
    minutes = [int(np.searchsorted(at_s, second)) for second in np.arange(60.0, at_s[-1], 60.0)]
    return "memory curve   " + " ".join(f"{readings[index].rss_mb:.0f}" for index in minutes) + " MB, minute by minute"


def report(figures: dict[str, Any], readings: list[Reading], loads: tuple[float, float]) -> str:
    """All figures, one a line."""
    stages = "  ".join(
        f"{name} {stage['p50_ms'] or 0:.0f}/{stage['p95_ms'] or 0:.0f} ms" for name, stage in figures["stages"].items()
    )
    ages = " / ".join(f"{figures[f'age_{name}_ms'] or 0:.0f}" for name in ("p50", "p95", "p99"))
    known = {"stages", "displayed_fps", "age_p50_ms", "age_p95_ms", "age_p99_ms", "drops", "drops_per_s", "gpu"}
    others = {name: value for name, value in figures.items() if name not in known}
    lines = [
        f"displayed      {figures['displayed_fps']:.1f} fps",
        f"frame age      {ages} ms (p50 / p95 / p99)",
        f"stages         {stages} (p50/p95)",
        f"drops          {figures['drops']}",
        growth(readings),
        curve(readings),
        f"load average   {loads[0]:.1f} before, {loads[1]:.1f} after, {os.cpu_count()} cores",
        *(f"{name:<14} {value}" for name, value in others.items()),
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, default=ROOT / "assets" / "sample.mp4")
    parser.add_argument("--size", default="1280x720", metavar="WxH")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--duration", type=float, default=60.0, metavar="S")
    parser.add_argument("--window", action="store_true", help="measure the window, not `monitor`")
    options, more = parser.parse_known_args()  # what is left is for the program, such as --input-size 513
    with camera(options.clip, options.size, options.fps) as url, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        program = [sys.executable, "main.py"]
        if options.window:
            command = [*program, "gui", url, "--quit-after", str(options.duration), "--stats", str(path)]
        else:
            command = [*program, "monitor", url, "--duration", str(options.duration), "--json", str(path)]
        before = os.getloadavg()[0]
        readings = watched([*command, *more], folder, options.duration + GRACE_S)
        print(report(json.loads(path.read_text(encoding="utf-8")), readings, (before, os.getloadavg()[0])))


if __name__ == "__main__":
    main()
