"""A batch of fake work: quick workers, and "clips" that say what is to happen to whoever reads them."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.batching.manifest import Manifest, Unit
from app.batching.session import MANIFEST, BatchOptions, run_batch
from tests.app.batching.fake_work import WORK

_RUN = """
import json, sys
from pathlib import Path
from app.batching.session import BatchOptions, run_batch
from app.messages import print_error
from engine.errors import UserError
clips, settings, work, options = json.loads(sys.argv[1])
try:
    sys.exit(run_batch(clips, settings, work, BatchOptions(Path(options.pop("out")), **options)))
except UserError as error:
    print_error(error)
    sys.exit(2)
"""


@dataclass
class Batch:
    """One folder of clips and one of results."""

    source: Path
    out: Path
    clips: list[str] = field(default_factory=list)

    def add(self, name: str, text: str) -> Path:
        """Add a clip."""
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        self.clips.append(str(path))
        return path

    def run(self, settings: dict[str, Any] | None = None, **options: Any) -> int:
        """Run in this process."""
        return run_batch(self.clips, settings or {}, WORK, BatchOptions(self.out, **options))

    def start(self, settings: dict[str, Any] | None = None, root: Path | None = None, **options: Any) -> Any:
        """Run in a process of its own, as `subprocess.Popen`."""
        arguments = [self.clips, settings or {}, WORK, {"out": str(self.out), **options}]
        return subprocess.Popen(
            [sys.executable, "-c", _RUN, json.dumps(arguments)],
            cwd=root or Path(__file__).resolve().parents[3],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def units(self) -> list[Unit]:
        """The manifest's rows."""
        with Manifest(self.out / MANIFEST) as manifest:
            return manifest.units()

    def statuses(self) -> dict[str, str]:
        """State of each clip (the last unit's) by file name."""
        return {Path(unit.clip).name: unit.status for unit in self.units()}

    def results(self) -> dict[str, tuple[int, str]]:
        """Time of change and hash of each result."""
        return {
            path.name: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
            for path in sorted(self.out.glob("*.ndjson"))
        }

    def working(self) -> bool:
        """Whether a worker is in the middle of a clip."""
        try:
            return any(self.out.glob(".work/*/*.ndjson"))
        except FileNotFoundError:  # it has just ended
            return False

    def names(self) -> set[str]:
        """What lies in the output folder besides the batch's own files."""
        own = {"report.json", "report.md", MANIFEST, f"{MANIFEST}.lock", f"{MANIFEST}-wal", f"{MANIFEST}-shm"}
        return {path.name for path in self.out.iterdir()} - own


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    """An empty one."""
    made = Batch(tmp_path / "in", tmp_path / "out")
    made.source.mkdir()
    return made


@pytest.fixture(autouse=True)
def _no_process_left() -> Iterator[None]:
    """Whoever starts a process must end it."""
    yield
    left = [child for child in psutil.Process().children() if _serves(child)]
    for child in left:
        child.kill()
    assert not left


def _serves(process: psutil.Process) -> bool:
    try:
        return "app.batching.child" in process.cmdline()
    except psutil.Error:
        return False


@pytest.fixture
def workers_of() -> Callable[[int], list[int]]:
    """The process ids of the workers that a coordinator has, youngest last."""

    def found(pid: int) -> list[int]:
        try:
            return sorted(child.pid for child in psutil.Process(pid).children() if _serves(child))
        except psutil.Error:
            return []

    return found


posix = pytest.mark.skipif(os.name != "posix", reason="needs signals")
