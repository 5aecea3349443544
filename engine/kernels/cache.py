"""Where compiled kernels are kept between runs.

Numba looks at a function's own file to see whether a cached copy is stale, not at the files of the functions it calls.
So the folder's name holds a hash of all kernels' sources: whatever changes, everything is compiled anew.
"""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """A folder that can be written: beside the sources, else the user's cache, else a new temporary one."""
    here = Path(__file__).resolve().parent
    sources = [*sorted(here.glob("*.py")), here.parent / "skeleton.py"]  # the kernels hold its tables as constants
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen) / digest
    parents = [here / "__pycache__"]
    with contextlib.suppress(RuntimeError):  # there may be no home folder
        parents.append(Path.home() / ".cache" / "poseplusseg")
    for parent in parents:
        try:
            folder = parent / f"kernels-{digest}"
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return Path(tempfile.mkdtemp(prefix="poseplusseg-"))  # a name nobody else can have prepared
