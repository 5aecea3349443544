"""The machine report: each part on made-up machines, and the whole on this one."""

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from app import doctor
from app.doctor import Finding, Package
from engine.backends import survey
from engine.backends.survey import Candidate

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
    found_model, features = doctor.parse_cpuinfo(text)
    assert found_model == model
    assert present is None or present in features
    assert absent not in features


def test_numpy_features_are_spelt_like_linux() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        pytest.skip("needs /proc/cpuinfo to compare with")
    _, expected = doctor.parse_cpuinfo(cpuinfo.read_text(encoding="utf-8"))
    assert ("avx2" in doctor.numpy_cpu_features()) == ("avx2" in expected)


def render(monkeypatch: pytest.MonkeyPatch, findings: list[Finding]) -> tuple[int, str]:
    """Exit status and text of a report that has just these findings."""
    monkeypatch.setattr(doctor, "CHECKS", (lambda: iter(findings),))
    text = io.StringIO()
    return doctor.run_doctor(Console(file=text, width=100)), text.getvalue()


def test_report_without_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    status, text = render(monkeypatch, [Finding("a", "thing", "[3] GiB"), Finding("a", "extra", "missing", "optional")])
    assert status == 0
    assert "[3] GiB" in text  # brackets are text, not markup
    assert "Everything that is needed is here." in text


def test_report_names_each_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    status, text = render(monkeypatch, [Finding("a", "thing", "missing", "problem", "pip install [it]")])
    assert status == 1
    assert "problem thing: pip install [it]" in text


def test_missing_and_broken_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "REQUIRED_PACKAGES", (Package("no_such_module", ("no-such-thing",), "nothing"),))
    monkeypatch.setattr(doctor, "OPTIONAL_PACKAGES", (Package("nor_this", ("nor-this",), "fun", "more.txt"),))
    required, optional = doctor.check_packages()
    assert (required.state, required.value) == ("problem", "missing")
    assert required.hint == "pip install -r requirements.txt"
    assert (optional.state, optional.hint) == ("optional", "fun: pip install -r more.txt")

    # Installed, but its import fails, as OpenCV's does without libGL.
    monkeypatch.setattr(doctor, "REQUIRED_PACKAGES", (Package("no_such_module", ("numpy",), "nothing"),))
    broken = next(doctor.check_packages())
    assert broken.state == "problem"
    assert "does not load" in broken.hint


def test_gpu_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "output_of", lambda command, timeout_s: "Card A, 1.0, 8 MiB\nCard B, 1.0, 8 MiB")
    assert doctor.nvidia_gpus() == ["Card A, 1.0, 8 MiB", "Card B, 1.0, 8 MiB"]
    monkeypatch.setattr(doctor, "output_of", lambda command, timeout_s: None)  # the driver does not answer
    assert doctor.nvidia_gpus() == []
    assert next(doctor.check_gpu()).state == "optional"


def test_output_of() -> None:
    assert doctor.output_of([sys.executable, "-c", "print(' x ')"], timeout_s=30) == "x"
    assert doctor.output_of([sys.executable, "-c", "raise SystemExit(3)"], timeout_s=30) is None
    assert doctor.output_of(["/no/such/program"], timeout_s=30) is None


def test_this_machine() -> None:
    """Every topic is reported, and here, where everything is installed, nothing is a problem."""
    findings = doctor.collect()
    assert [finding for finding in findings if finding.state == "problem"] == []
    topics = {finding.topic for finding in findings}
    assert {"system", "processor", "packages", "acceleration", "cameras", "files", "back end"} <= topics


def test_the_choice_of_the_back_end_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        Candidate("tensorrt", "cuda", False, "tensorrt is not installed"),
        Candidate("tensorrt_rtx", "cuda", True, "installed, and the GPU answers"),
        Candidate("onnx", "cpu", True, "ONNX Runtime is installed"),
    ]
    monkeypatch.setattr(survey, "candidates", lambda: found)
    missing, usable, _, taken = doctor.check_backend()
    assert (missing.name, missing.state, missing.hint) == (
        "tensorrt on the GPU",
        "optional",
        "tensorrt is not installed",
    )
    assert (usable.value, usable.state) == ("usable", "ok")
    assert (taken.value, taken.state) == ("tensorrt_rtx on the GPU", "ok")
    monkeypatch.setattr(survey, "candidates", lambda: found[:1])
    assert [finding.state for finding in doctor.check_backend()] == ["optional", "problem"]
