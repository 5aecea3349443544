"""What a batch has to do: the clips it was given, against what its manifest already says of them."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from app.batching.contents import content_hash, stamp
from app.batching.coordinator import remove_joined
from app.batching.folder import OutputFolder
from app.batching.jobs import Kind
from app.batching.manifest import Manifest, Unit
from app.batching.naming import Names
from engine.errors import UserError


def prepare(
    manifest: Manifest, folder: OutputFolder, clips: Iterable[str], settings: dict[str, Any], first: Kind
) -> int:
    """Bring the manifest up to date: new clips are added; those that changed, or whose settings did, begin again.

    Finished clips that did not change are left alone. What another coordinator left "running" is free again.

    Args:
        clips: absolute paths.
        settings: all that decides what the results are.
        first: what is done first with a clip: "clip", or "plan" where it is cut into slices.

    Returns:
        How many clips begin again.
    """
    text = json.dumps(settings, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    known: dict[str, list[Unit]] = {}
    for unit in manifest.units():
        known.setdefault(unit.clip, []).append(unit)
    again = [clip for clip, units in known.items() if _is_stale(manifest, folder, units, digest)]
    names = Names(units[0].name for units in known.values())
    new = [clip for clip in dict.fromkeys(clips) if clip not in known]
    there = [clip for clip in again if os.path.exists(clip)]  # what has been moved away can never be made again
    for unit in (unit for clip in there for unit in known[clip] if unit.kind == "part"):
        for file in unit.files:  # cut in another way, it may have fewer parts, and the rest would stay
            folder.remove(file)
    with manifest.transaction():
        manifest.keep_settings(digest, text)
        manifest.free_running()
        manifest.add([(clip, known[clip][0].name, first) for clip in again], digest)
        manifest.add([(clip, names.name(clip), first) for clip in new], digest)
    for units in known.values():
        if any(unit.kind == "join" and unit.status == "done" for unit in units):  # killed right after joining them
            remove_joined(folder, units)
    return len(again)


def check_clips(clips: Sequence[str], folder: OutputFolder) -> None:
    """Raise UserError if a clip lies in the output folder, where a result could take its place."""
    for clip in clips:
        if folder.path in (Path(clip), *Path(clip).parents):
            raise UserError(f"{clip}: lies in the output folder; choose another --out")


def _is_stale(manifest: Manifest, folder: OutputFolder, units: list[Unit], settings_hash: str) -> bool:
    """Whether a clip must begin again."""
    if any(unit.settings_hash != settings_hash for unit in units):
        return True
    ended = [unit for unit in units if unit.status in ("done", "quarantined")]
    if any(folder.missing(unit.files) for unit in ended):
        return True
    try:
        now = stamp(units[0].clip)
        touched = [unit for unit in ended if (unit.size, unit.modified_ns) != now]
        if touched and {unit.content_hash for unit in touched if unit.kind != "join"} != {content_hash(units[0].clip)}:
            return True
    except UserError:  # it has been moved away: what is done of it is done
        return False
    for unit in touched:
        manifest.restamp(unit, now)
    return False
