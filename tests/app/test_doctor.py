"""The machine report: each part on made-up machines, and the whole on this one."""

import io

import pytest
from rich.console import Console

from app import doctor
from app.doctor import Finding, Package
from engine.backends import survey
from engine.backends.survey import Candidate


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


def test_a_machine_without_a_gpu_is_told_what_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "nvidia_gpus", list)
    assert next(doctor.check_gpu()).state == "optional"


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
