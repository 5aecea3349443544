"""What this machine is: memory, processor, GPUs, cameras. Nothing here raises for what is missing."""

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any


def memory_bytes() -> int | None:
    """Physical memory, None where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return None


def processor() -> tuple[str, frozenset[str]]:
    """The processor's name and its instruction sets, as well as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.is_file() else ""
    model, features = parse_cpuinfo(text) if text else (platform.processor(), numpy_cpu_features())
    return model or platform.machine(), features


def parse_cpuinfo(text: str) -> tuple[str, frozenset[str]]:
    """Model name and feature flags of the first processor in Linux's /proc/cpuinfo (x86 and ARM spellings)."""
    model = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    return model.group(1).strip() if model else "", frozenset(flags.group(1).split() if flags else ())


def numpy_cpu_features() -> frozenset[str]:
    """Feature flags as numpy finds them, in Linux's spelling, for systems without /proc/cpuinfo."""
    try:
        import numpy as np

        extensions: Any = np.show_config(mode="dicts")["SIMD Extensions"]
    except (ImportError, KeyError):
        return frozenset()
    names = {name.lower() for kind in ("baseline", "found") for name in extensions.get(kind, ())}
    groups = {"x86_v3": {"avx2"}, "x86_v4": {"avx2", "avx512f"}, "avx512_icl": {"avx512_vnni"}}
    return frozenset(names.union(*(groups.get(name, set()) for name in names)))


def nvidia_gpus() -> list[str]:
    """One line per GPU: name, driver, memory."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    answer = output_of(query, timeout_s=10)
    return answer.splitlines() if answer else []


def output_of(command: list[str], timeout_s: float) -> str | None:
    """What a command prints, None where it fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def open_camera_indices() -> list[str]:
    """Which of the first four camera indices OpenCV can open."""
    try:
        import cv2
    except (ImportError, OSError):
        return []
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a failed probe is no news
    found = []
    for index in range(4):
        capture = cv2.VideoCapture(index)
        if capture.isOpened():
            found.append(str(index))
        capture.release()
    return found
