"""Is a video file complete? Read off its outer structure, without decoding anything.

A demuxer ends quietly where a file was cut off between two frames, as if the clip had been that short. The containers
say how long they should be, so a look at a few headers tells the two apart.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

_EBML_ID = b"\x1a\x45\xdf\xa3"
_SEGMENT_ID = b"\x18\x53\x80\x67"
# A day in pieces of half a second has a third of that; one gigabyte of empty boxes has 130 times as many.
_MOST_BOXES: Final = 1_000_000


def missing_bytes(path: Path) -> int:
    """How many bytes at least the file at `path` lacks at its end; 0 if it is complete or of another format.

    Knows MP4/MOV, Matroska/WebM and AVI. Raises OSError if the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(12)
        if head[4:8] == b"ftyp":
            declared = _mp4_end(file)
        elif head[:4] == _EBML_ID:
            declared = _matroska_end(file)
        elif head[:4] == b"RIFF":
            declared = _riff_end(file)
        else:
            return 0
    return max(0, declared - path.stat().st_size)


def is_unfinished_mp4(path: Path) -> bool:
    """Whether `path` is an MP4/MOV without its index (moov): the recorder never got to write it, or it was cut off."""
    with path.open("rb") as file:
        return file.read(12)[4:8] == b"ftyp" and all(kind != b"moov" for kind, _ in _mp4_boxes(file))


def _mp4_boxes(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """The type and the declared end, in bytes, of each outermost box that begins inside the file."""
    start = 0
    for _ in range(_MOST_BOXES):
        file.seek(start)
        header = file.read(16)
        if len(header) < 8 or not header[4:8].isalnum():  # the end, or something that is no box behind the last one
            return
        size = int.from_bytes(header[:4], "big")
        if size == 1 and len(header) == 16:
            size = int.from_bytes(header[8:], "big")
        if size < 8:  # 0: reaches to the end of the file, however long that is
            yield header[4:8], start
            return
        start += size
        yield header[4:8], start


def _mp4_end(file: BinaryIO) -> int:
    return max((end for _, end in _mp4_boxes(file)), default=0)


def _matroska_end(file: BinaryIO) -> int:
    file.seek(4)
    header_size = _read_vint(file)
    if header_size is None:
        return 0
    file.seek(header_size, 1)
    if file.read(4) != _SEGMENT_ID:
        return 0
    segment_size = _read_vint(file)
    return 0 if segment_size is None else file.tell() + segment_size


def _read_vint(file: BinaryIO) -> int | None:
    """EBML's number of variable length; None if it says "unknown", as a live stream does, or is cut off."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    length = 9 - first[0].bit_length()
    rest = file.read(length - 1)
    value = int.from_bytes(first + rest, "big") & ((1 << 7 * length) - 1)
    return None if len(rest) < length - 1 or value == (1 << 7 * length) - 1 else value


def _riff_end(file: BinaryIO) -> int:
    end = 0
    while True:  # an AVI above 1 GB is a row of RIFF chunks
        file.seek(end)
        header = file.read(8)
        if len(header) < 8 or header[:4] != b"RIFF":
            return end
        (size,) = struct.unpack("<I", header[4:])
        if size == 0:  # never filled in
            return 0
        end += 8 + size + size % 2
