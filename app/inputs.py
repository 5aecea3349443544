"""What the commands for recordings take: files, globs, folders, lists; and what their results are called."""

import glob
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from engine.errors import UserError
from pipeline.addresses import is_address, redacted
from pipeline.pictures import natural_key, picture_paths

# Only for folders: a file that is named itself may be called anything.
CLIP_SUFFIXES: Final = frozenset(
    (
        ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".h264", ".h265", ".hevc", ".ivf", ".m1v",
        ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut",
        ".obu", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m",
    )
)  # fmt: skip
INPUTS_HELP: Final = (
    "video and picture files, globs, folders (their clips, and their pictures together as one clip), @LIST for a file "
    "with one of these a line, - for such a list on stdin; a name that begins with a dash comes after --"
)


def find_inputs(texts: Sequence[str], recursive: bool = False) -> list[str]:
    """The sources that the words of a command line name, each once, in their order.

    Args:
        texts: see `INPUTS_HELP`. Names in a list are as the current folder sees them.
        recursive: look into the folders of folders, too.

    Raises:
        UserError: a list that cannot be read or is empty, a glob or a folder that nothing matches. Files that are not
            there are left to whoever opens them.
    """
    found: dict[str, str] = {}
    for text in texts:
        for word in _listed(text):
            for source in _expanded(word, recursive):
                found.setdefault(os.path.realpath(source) if not is_address(source) else source, source)
    return list(found.values())


def result_bases(sources: Sequence[str], out: Path) -> list[Path]:
    """Where the results of each source go, without a suffix: in `out`, by the source's name, no two alike.

    To some file systems A is a, so case does not tell names apart. Equal lists give equal names.
    """
    taken: dict[str, int] = {}
    stems = (Path(os.path.abspath(source)).stem for source in sources)
    return [out / _free_stem(stem if stem.strip(".") else "clip", taken) for stem in stems]


def _listed(text: str) -> Iterable[str]:
    """The words that one word stands for: itself, or the lines of a list."""
    if text == "-":
        name, data = "standard input", sys.stdin.buffer.read()
    elif text.startswith("@") and not os.path.lexists(text):
        name = text[1:]
        try:
            data = Path(name).read_bytes()
        except OSError as error:
            raise UserError(f"{name}: the list cannot be read: {error.strerror}") from error
    else:
        return (text,)
    lines = [line.removesuffix(b"\r") for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    words = [os.fsdecode(line) for line in lines if line.strip()]
    if any("\0" in word for word in words):
        raise UserError(f"{name}: is no list: expected one name a line")
    if not words:
        raise UserError(f"{name}: the list is empty")
    return words


def _expanded(word: str, recursive: bool) -> list[str]:
    """A file or address as it is, the files that match a glob, what is in a folder."""
    if is_address(word):
        return [word]
    if not os.path.lexists(word) and glob.has_magic(word):
        matches = sorted(glob.glob(word, recursive=True), key=natural_key)
        if not matches:
            raise UserError(f"{redacted(word)}: nothing matches")
        return [source for match in matches for source in _expanded(match, recursive)]
    if not os.path.isdir(word):
        return [word]
    folders = [Path(word)]
    if recursive:
        folders += [Path(at, name) for at, names, _ in os.walk(word) for name in names if not name.startswith(".")]
    sources = [source for folder in sorted(folders, key=lambda p: natural_key(str(p))) for source in _in_folder(folder)]
    # An empty folder is left to whoever opens it, who says what was expected.
    return sources or [word]


def _in_folder(folder: Path) -> list[str]:
    try:
        clips = [path for path in folder.iterdir() if path.suffix.lower() in CLIP_SUFFIXES and _is_shown(path)]
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}") from error
    sources = [str(path) for path in sorted(clips, key=lambda path: natural_key(path.name))]
    return sources + ([str(folder)] if picture_paths(folder) else [])


def _is_shown(path: Path) -> bool:
    return not path.name.startswith(".") and path.is_file()


def _free_stem(stem: str, taken: dict[str, int]) -> str:
    """`stem`, or `stem` and the first number that is free; `taken` keeps each name's next number to try."""
    name, number = stem, taken.get(stem.casefold(), 2)
    while name.casefold() in taken:
        name, number = f"{stem}-{number}", number + 1
    taken[stem.casefold()] = number
    taken.setdefault(name.casefold(), 2)
    return name
