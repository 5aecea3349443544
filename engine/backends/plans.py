"""Built plans on disk: found again by all that they depend on, checked before use, made once by many processes.

A file is one line of JSON (the key, details, size and hash of the plan) and the plan. Whatever is wrong with a file, it
is deleted with a warning and built anew.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import filelock

from engine.backends.tensorrt_build import BuildCancelledError, PlanShape, Progress
from engine.files import written_whole

LIMIT_BYTES: Final = 4 * 2**30
_FORMAT: Final = 1  # also of `engine.backends.gpu_graph`: raise it where the same file would give another plan
_ASK_AGAIN_S: Final = 0.2
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PlanKey:
    """All that a plan depends on: a different value anywhere is another plan.

    Attributes:
        library, version: "tensorrt" or "tensorrt_rtx", and its version.
        gpu, capability, driver: of `engine.cuda.driver.Gpu`.
        network: the model's name, for people.
        onnx_sha256: of the file that the plan is made from.
        precision: one of `engine.models.PRECISIONS`.
        mode: which heads.
        shape: the inputs.
    """

    library: str
    version: str
    gpu: str
    capability: str
    driver: str
    network: str
    onnx_sha256: str
    precision: str
    mode: str
    shape: PlanShape

    def record(self) -> dict[str, Any]:
        """As JSON stores it."""
        return {"format": _FORMAT, **dataclasses.asdict(self)}

    def file_name(self) -> str:
        """Readable, and different for every key."""
        digest = hashlib.sha256(json.dumps(self.record(), sort_keys=True).encode()).hexdigest()
        return f"{self.network}-{self.mode}-{self.precision}-{self.shape.side}x{self.shape.batch}-{digest[:16]}.plan"


@dataclass(frozen=True, slots=True)
class Plan:
    """A built network.

    Attributes:
        data: what TensorRT deserialises.
        details: what its user must know of the network: JSON values.
    """

    data: bytes
    details: Mapping[str, Any]


def default_folder() -> Path:
    """The user's cache, as for compiled kernels; without a home that can be written, a folder for this process."""
    with contextlib.suppress(RuntimeError, OSError):  # no home; cannot be made
        folder = Path.home() / ".cache" / "poseplusseg" / "plans"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    folder = Path(tempfile.mkdtemp(prefix="poseplusseg-plans-"))
    logger.warning("no cache folder in the home folder: TensorRT plans go to %s", folder)
    return folder


class PlanCache:
    """A folder of plans, kept below a size by deleting those that were not used for longest."""

    def __init__(self, folder: Path | None = None, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder = folder or default_folder()
        self._limit = limit_bytes

    def load(self, key: PlanKey) -> Plan | None:
        """The plan of `key`, whole and unchanged, or None."""
        path = self.folder / key.file_name()
        try:
            plan = _read(path, key)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.discard(key, str(error))
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # used now
        return plan

    def store(self, key: PlanKey, plan: Plan) -> None:
        """Write a plan; where that fails, say so and go on: it is in memory."""
        header = {
            "key": key.record(),
            "details": dict(plan.details),
            "bytes": len(plan.data),
            "sha256": hashlib.sha256(plan.data).hexdigest(),
        }
        path = self.folder / key.file_name()
        try:
            with written_whole(path) as temporary, temporary.open("wb") as file:
                file.write(json.dumps(header).encode() + b"\n" + plan.data)
        except OSError as error:
            logger.warning("%s: the plan cannot be kept: %s", path, error.strerror)
        else:
            self._clean(path)

    def discard(self, key: PlanKey, reason: str) -> None:
        """Delete a plan that is of no use, with a warning."""
        path = self.folder / key.file_name()
        logger.warning("%s: %s; it is built anew", path, reason)
        with contextlib.suppress(OSError):
            path.unlink()

    def load_or_build(self, key: PlanKey, build: Callable[[], Plan], progress: Progress) -> Plan:
        """The plan of `key`, built and stored where there is none. One process builds, the others wait for it.

        Raises:
            BuildCancelledError: `progress` said so, also while waiting.
        """
        with contextlib.ExitStack() as stack:
            if (plan := self.load(key)) is not None:
                return plan
            # Of the well-kept locks, filelock's is freed by the system when its process dies, on Windows too.
            lock = filelock.FileLock(self.folder / f"{key.file_name()}.lock")
            while True:
                try:
                    stack.enter_context(lock.acquire(timeout=_ASK_AGAIN_S))
                    break
                except filelock.Timeout:
                    if not progress(0.0, "another process is building it"):
                        raise BuildCancelledError from None
                except (OSError, NotImplementedError) as error:  # a file system without locks, an unwritable folder
                    logger.warning("%s: cannot be locked: %s", lock.lock_file, error)
                    break
            if (plan := self.load(key)) is None:
                plan = build()
                self.store(key, plan)
            return plan

    def _clean(self, kept: Path) -> None:
        """Delete what was not used for longest until the rest is within the limit; never `kept`."""
        with contextlib.suppress(OSError):  # another process may be cleaning too
            files = sorted(self.folder.glob("*.plan"), key=lambda path: path.stat().st_mtime, reverse=True)
            total = kept.stat().st_size
            for path in files:
                if path == kept:
                    continue
                total += path.stat().st_size
                if total > self._limit:
                    path.unlink()
                    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)


def _read(path: Path, key: PlanKey) -> Plan:
    """A file of `PlanCache.store`. Raises OSError, ValueError, KeyError or TypeError for anything else."""
    with path.open("rb") as file:
        header = json.loads(file.readline())
        data = file.read()
    if header["key"] != key.record():
        raise ValueError("it is another plan's")
    if len(data) != header["bytes"] or hashlib.sha256(data).hexdigest() != header["sha256"]:
        raise ValueError("it is not whole")
    return Plan(data, header["details"])
