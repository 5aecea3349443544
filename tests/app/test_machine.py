"""What is found out about a machine: made-up ones, and this one."""

import sys
from pathlib import Path

import pytest

from app import machine

X86 = """\
processor\t: 0
model name\t: Some CPU @ 2.00GHz
flags\t\t: fpu sse avx2 avx512f avx512_vnni

processor\t: 1
model name\t: Another
flags\t\t: fpu
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp\nModel\t\t: A board\n"


@pytest.mark.parametrize(
    ("text", "model", "present", "absent"),
    [
        (X86, "Some CPU @ 2.00GHz", "avx512_vnni", "asimd"),
        (ARM, "A board", "asimddp", "avx2"),
        ("", "", None, "avx2"),
    ],
)
def test_cpuinfo(text: str, model: str, present: str | None, absent: str) -> None:
    found_model, features = machine.parse_cpuinfo(text)
    assert found_model == model
    assert present is None or present in features
    assert absent not in features


def test_numpy_features_are_spelt_like_linux() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        pytest.skip("needs /proc/cpuinfo to compare with")
    _, expected = machine.parse_cpuinfo(cpuinfo.read_text(encoding="utf-8"))
    assert ("avx2" in machine.numpy_cpu_features()) == ("avx2" in expected)


def test_gpu_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "output_of", lambda command, timeout_s: "Card A, 1.0, 8 MiB\nCard B, 1.0, 8 MiB")
    assert machine.nvidia_gpus() == ["Card A, 1.0, 8 MiB", "Card B, 1.0, 8 MiB"]
    monkeypatch.setattr(machine, "output_of", lambda command, timeout_s: None)  # the driver does not answer
    assert machine.nvidia_gpus() == []


def test_output_of() -> None:
    assert machine.output_of([sys.executable, "-c", "print(' x ')"], timeout_s=30) == "x"
    assert machine.output_of([sys.executable, "-c", "raise SystemExit(3)"], timeout_s=30) is None
    assert machine.output_of(["/no/such/program"], timeout_s=30) is None
