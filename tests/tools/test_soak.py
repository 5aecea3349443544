"""The soak: it tells growth from noise, and reads a process with everything that it has started."""

import os
import sys
from pathlib import Path

import psutil
import pytest

from tools.soak import BOUNDS, Reading, main, read, slopes, table, too_much

# The pools fill in the first minute; later one of them takes a large piece, once.
STEADY = [Reading(at_s, 500.0 + min(at_s, 60.0) + 30.0 * (at_s > 150), 12, 40) for at_s in map(float, range(300))]


def test_filling_pools_are_no_growth() -> None:
    assert slopes(STEADY, 60.0) == pytest.approx(dict.fromkeys(BOUNDS, 0.0), abs=1e-6)
    assert too_much(slopes(STEADY, 60.0)) == []
    assert too_much(slopes(STEADY[:90], 0.0)) == ["rss_mb"]


def test_growth_is_seen() -> None:
    leaking = [
        Reading(at_s, rss_mb + at_s / 20, threads, handles + int(at_s) // 30)
        for at_s, rss_mb, threads, handles in STEADY
    ]
    growth = slopes(leaking, 60.0)
    assert growth == pytest.approx({"rss_mb": 3.0, "threads": 0.0, "handles": 2.0}, abs=0.1)
    assert too_much(growth) == ["rss_mb", "handles"]
    lines = table(leaking, 60.0).splitlines()
    assert lines[0].split() == ["seconds", "rss", "MB", "threads", "handles"]
    assert lines[-2].split()[2] == "+3.00"
    assert lines[-1].split() == ["bound", "+2", "+0.2", "+0.2"]


def test_a_process_is_read() -> None:
    reading = read(psutil.Process(os.getpid()), 0.0)
    assert reading.rss_mb > 20
    assert reading.threads >= 1
    assert reading.handles >= 3


@pytest.mark.slow
@pytest.mark.parametrize("mode", [[], ["--batch"]])
def test_a_short_soak(mode: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    script = Path(__file__).resolve().parents[2] / "tools" / "soak.py"
    options = ["--duration", "9", "--warmup", "4", "--input-size", "65"]
    monkeypatch.setattr(sys, "argv", [str(script), *options, *mode])
    assert main() in {0, 1}  # so short a time says nothing about growth
    out = capfd.readouterr().out.splitlines()
    assert out[0].endswith(" frames")
    assert int(out[0].split()[0]) > 5
    assert out[1].split() == ["seconds", "rss", "MB", "threads", "handles"]
