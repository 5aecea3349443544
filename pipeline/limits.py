"""How much an untrusted file may ask for. Every number has its one home here; docs/security.md explains them.

A file is small and what it promises may be huge: each limit is checked before memory is taken, where the library that
reads the file allows it. Time inside one call of a decoder cannot be limited from within a process: where that matters,
files are read in a child process that can be ended.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """What a picture or video file may ask for.

    Attributes:
        picture_bytes: of a picture file; it is read as a whole.
        picture_pixels: of a picture, or of one frame of an animated one; 200 megapixels from a telephone are below it.
        frame_pixels: of a video's frame, twice those of 8K; the pipeline holds several at a time.
        streams: in one video file.
        open_s: seconds to read and understand a video's header.
        read_s: seconds to find a video's next packet.
        gap_s: seconds between two frames; a longer one is a broken clock and counts as one frame.
        longest_s: seconds that a file may claim to play; a longer time is not believed.
        lowest_fps, highest_fps: a claimed rate outside is not believed.
        most_aspect: a pixel is at most so many times as wide as high, or as high as wide; else it counts as square.
    """

    picture_bytes: int = 1 << 29
    picture_pixels: int = 1 << 28
    frame_pixels: int = 1 << 26
    streams: int = 64
    open_s: float = 30.0
    read_s: float = 30.0
    gap_s: float = 86_400.0
    longest_s: float = 366 * 86_400.0
    lowest_fps: float = 1 / 3600
    highest_fps: float = 1000.0
    most_aspect: float = 10.0


LIMITS: Final = MediaLimits()
