"""Names of results: safe on any file system, distinct, and always right inside the output folder."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_UNSAFE: Final = frozenset('/\\:*?"<>|')
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # of Windows
_PART: Final = re.compile(r"\.part-(?=\d{4,}$)", re.IGNORECASE)  # see `slices.part_name`: one clip's would be another's
_MOST_BYTES: Final = 150  # a name has 255; suffixes and those of temporary files come behind it


def safe_name(path: str) -> str:
    """What the names of a clip's results begin with: its own name without the suffix, as far as it is harmless."""
    stem = unicodedata.normalize("NFC", Path(path).stem.encode("utf-8", "replace").decode())
    name = "".join(sign if sign.isprintable() and sign not in _UNSAFE else "_" for sign in stem).strip(" .")
    name = _PART.sub("_part-", name)
    name = f"_{name[1:]}" if name.startswith("-") else name
    name = f"{name}_" if _RESERVED.fullmatch(name) else name
    if len(name.encode()) > _MOST_BYTES:
        name = f"{name.encode()[: _MOST_BYTES - 9].decode('utf-8', 'ignore')}-{_short_hash(path)}"
    return name or "clip"


class Names:
    """Gives each clip a name that no other has; to some file systems A is a."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = {name.casefold() for name in taken}

    def name(self, path: str) -> str:
        """The name for the clip at this absolute path, which also tells apart clips of one name."""
        name = safe_name(path)
        while name.casefold() in self._taken:  # a clip may be called as if it were another one's second name
            name = f"{name}-{_short_hash(path)}"
        self._taken.add(name.casefold())
        return name


def _short_hash(path: str) -> str:
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:8]
