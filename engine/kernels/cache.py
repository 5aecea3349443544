"""Where compiled kernels are kept between runs.

Numba looks at a function's own file to see whether a cached copy is stale, not at the files of the functions it calls.
So the folder's name holds a hash of all kernels' sources: whatever changes, everything is compiled anew.
"""

import hashlib
import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """A folder that can be written: beside the sources, else the user's cache, else the temporary folder."""
    here = Path(__file__).resolve().parent
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(here.glob("*.py")))).hexdigest()[:12]
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen) / digest
    for parent in (here / "__pycache__", Path.home() / ".cache" / "poseplusseg"):
        try:
            folder = parent / f"kernels-{digest}"
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return Path(tempfile.gettempdir()) / f"poseplusseg-kernels-{digest}"
