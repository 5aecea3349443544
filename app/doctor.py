"""`doctor`: what this machine offers the program, and what to do about each thing that is missing.

Findings are collected first and printed after. Each `check_*` function looks at one topic, costs little, and never
raises for what it looks for: a missing thing is a finding. Heavy parts are looked at in a child process or not at all.
"""

import argparse
import contextlib
import importlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.machine import memory_bytes, nvidia_gpus, open_camera_indices, output_of, processor
from engine.errors import UserError

State = Literal["ok", "optional", "problem"]

CPU_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "neon", "asimd", "asimddp")
COLOURS: dict[State, str] = {"ok": "green", "optional": "yellow", "problem": "red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `hint` says what a thing is for, or what to do where it is missing."""

    topic: str
    name: str
    value: str
    state: State = "ok"
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Package:
    """A package the program can use: the module it imports and the distributions that may bring it."""

    module: str
    distributions: tuple[str, ...]
    purpose: str
    requirements: str = "requirements.txt"


REQUIRED_PACKAGES = (
    Package("numpy", ("numpy",), "arrays"),
    Package("numba", ("numba",), "compiled decoding"),
    Package("cv2", ("opencv-python", "opencv-python-headless", "opencv-contrib-python"), "resizing, drawing, cameras"),
    Package("onnxruntime", ("onnxruntime", "onnxruntime-gpu"), "runs the network"),
    Package("onnx", ("onnx",), "modes pose and seg, export"),
    Package("av", ("av",), "reading and writing video"),
    Package("pycocotools", ("pycocotools",), "COCO masks and evaluation"),
    Package("PIL", ("pillow",), "reading pictures"),
    Package("rich", ("rich",), "tables and progress"),
    Package("psutil", ("psutil",), "load and memory in the monitor"),
    Package("filelock", ("filelock",), "one TensorRT build at a time"),
)
OPTIONAL_PACKAGES = (
    Package("torch", ("torch",), "training, export, the torch back end", "requirements-train.txt"),
    Package("safetensors", ("safetensors",), "training checkpoints", "requirements-train.txt"),
    Package("onnxscript", ("onnxscript",), "export", "requirements-train.txt"),
    Package(
        "tensorrt",
        ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
        "the fastest back end on NVIDIA GPUs",
        "requirements-tensorrt.txt",
    ),
    Package(
        "tensorrt_rtx",
        ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings"),
        "the same for GeForce RTX",
        "requirements-tensorrt.txt",
    ),
    Package("pycuda", ("pycuda",), "GPU buffers for TensorRT", "requirements-tensorrt.txt"),
    Package("cuda.bindings", ("cuda-bindings",), "the same where pycuda is missing", "requirements-tensorrt.txt"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command has no options."""


def run(options: argparse.Namespace) -> int:
    """Print the report."""
    return run_doctor()


def run_doctor(console: Console | None = None) -> int:
    """Print what `collect` finds; returns 1 where something keeps the program from working, else 0."""
    console = console or Console()
    findings = collect()
    console.print(as_table(findings))
    problems = [finding for finding in findings if finding.state == "problem"]
    for finding in problems:
        console.print(f"[red]problem[/] {escape(finding.name)}: {escape(finding.hint or finding.value)}")
    if not problems:
        console.print("Everything that is needed is here.")
    return 1 if problems else 0


def collect() -> list[Finding]:
    """All findings, in the order of the report."""
    return [finding for check in CHECKS for finding in check()]


def as_table(findings: list[Finding]) -> Table:
    """The findings as one table; each topic starts with a line of its own."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in range(3):
        table.add_column(overflow="fold")
    topic = ""
    for finding in findings:
        if finding.topic != topic:
            topic = finding.topic
            table.add_row(f"[bold]{escape(topic)}[/]")
        value = f"[{COLOURS[finding.state]}]{escape(finding.value)}[/]"
        table.add_row(f"  {escape(finding.name)}", value, escape(finding.hint))
    return table


def check_system() -> Iterator[Finding]:
    """Python, operating system, memory."""
    version = platform.python_version()
    yield Finding("system", "Python", version, hint=sys.executable)
    yield Finding("system", "platform", platform.platform(terse=True))
    memory = memory_bytes()
    if memory:
        yield Finding("system", "memory", f"{memory / 2**30:.1f} GiB")


def check_cpu() -> Iterator[Finding]:
    """Processor model, cores this process may use, instruction sets that matter here."""
    model, features = processor()
    yield Finding("processor", "model", model)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("processor", "cores", f"{usable} usable of {os.cpu_count()}")
    found = [name for name in CPU_FEATURES if name in features]
    yield Finding(
        "processor", "instruction sets", " ".join(found) or "none of note", hint="vnni and asimddp speed up int8 models"
    )


def check_packages() -> Iterator[Finding]:
    """Packages that are needed (imported, to see that they load) and those that are optional (looked up only)."""
    for package in REQUIRED_PACKAGES:
        version = installed_version(package)
        try:
            importlib.import_module(package.module)
        except (ImportError, OSError) as error:
            hint = f"pip install -r {package.requirements}" if version is None else f"does not load: {error}"
            yield Finding("packages", package.module, version or "missing", "problem", hint)
        else:
            yield Finding("packages", package.module, version or "present", hint=package.purpose)
    for package in OPTIONAL_PACKAGES:
        version = installed_version(package)
        hint = package.purpose + ("" if version else f": pip install -r {package.requirements}")
        yield Finding("optional packages", package.module, version or "missing", "ok" if version else "optional", hint)


def installed_version(package: Package) -> str | None:
    """Version of the first installed distribution that brings the package."""
    for name in package.distributions:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return None


def check_gpu() -> Iterator[Finding]:
    """NVIDIA GPUs, and whether PyTorch and ONNX Runtime can use one. Neither is needed."""
    gpus = nvidia_gpus()
    for name in gpus:
        yield Finding("acceleration", "GPU", name)
    if not gpus:
        yield Finding("acceleration", "GPU", "no NVIDIA GPU found", "optional", "the program runs on the processor")
    elif installed_version(OPTIONAL_PACKAGES[0]):
        # In a child process: PyTorch takes seconds and hundreds of megabytes to load.
        answer = output_of([sys.executable, "-c", "import torch; print(torch.cuda.is_available())"], timeout_s=60)
        usable = answer == "True"
        hint = "" if usable else "this PyTorch build or the driver does not support it"
        yield Finding("acceleration", "torch.cuda", "yes" if usable else "no", "ok" if usable else "optional", hint)
    try:
        import onnxruntime
    except (ImportError, OSError):
        return  # reported with the packages
    names = [name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()]
    yield Finding("acceleration", "ONNX Runtime", ", ".join(names), hint="execution providers, best first")


def check_cameras() -> Iterator[Finding]:
    """Cameras: device nodes on Linux, elsewhere the indices that open."""
    if sys.platform.startswith("linux"):
        devices = sorted(Path("/dev").glob("video*"))
        locked = [str(device) for device in devices if not os.access(device, os.R_OK | os.W_OK)]
        names = [str(device) for device in devices]
        hint = f"no access to {', '.join(locked)}: add yourself to the group 'video'" if locked else ""
    else:
        names, hint, locked = open_camera_indices(), "", []
    state: State = "optional" if locked or not names else "ok"
    yield Finding("cameras", "found", ", ".join(names) or "none", state, hint or "files work without one")


def check_cache() -> Iterator[Finding]:
    """Whether compiled kernels can be kept for the next start."""
    try:
        from engine import kernels
    except RuntimeError as error:  # what numba raises where it finds no folder it may write to
        yield Finding("files", "kernel cache", "not writable", "problem", f"set NUMBA_CACHE_DIR to a folder: {error}")
        return
    except (ImportError, OSError):
        return  # reported with the packages
    stats = getattr(kernels.sample, "stats", None)  # a plain function where NUMBA_DISABLE_JIT is set
    folder = (stats and stats.cache_path) or ""
    value, state = ("writable", "ok") if os.access(folder, os.W_OK) else ("not writable", "optional")
    yield Finding("files", "kernel cache", value, cast(State, state), folder)


def check_models() -> Iterator[Finding]:
    """The shipped model files: there, and as they were released."""
    try:
        from engine.models import load_registry

        registry = load_registry()
    except (UserError, ImportError) as error:
        yield Finding("files", "models", "unusable", "problem", str(error))
        return
    for name, entry in registry.items():
        try:
            entry.verify()
        except UserError as error:
            yield Finding("files", f"model {name}", "unusable", "problem", str(error))
        else:
            yield Finding("files", f"model {name}", "complete", hint="checksum matches")


def check_backend() -> Iterator[Finding]:
    """What `auto` looks at on this machine, in its order, and what it takes: the first that is usable."""
    from engine.backends.survey import candidates

    chosen = None
    for item in candidates():
        title = f"{item.name} on {'the GPU' if item.place == 'cuda' else 'the processor'}"
        chosen = chosen or (title if item.usable else None)
        yield Finding(
            "back end", title, "usable" if item.usable else "not here", "ok" if item.usable else "optional", item.reason
        )
    if chosen is None:
        yield Finding("back end", "auto takes", "none", "problem", "pip install -r requirements.txt")
    else:
        hint = "the fastest that is usable; TensorRT builds a plan of the network first" if "tensorrt" in chosen else ""
        yield Finding("back end", "auto takes", chosen, hint=hint or "the fastest that is usable")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    check_system,
    check_cpu,
    check_packages,
    check_gpu,
    check_cameras,
    check_cache,
    check_models,
    check_backend,
)
