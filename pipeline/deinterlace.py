"""Interlaced video: a frame holds two half pictures of different moments, so all that moves looks like a comb."""

from collections.abc import Iterator
from typing import Final

import av
from av.filter import Graph

_LEAST_WIDTH: Final = 3  # of what bwdif takes; below, nobody can be seen anyway
_LEAST_HEIGHT: Final = 4


def deinterlaced(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """The frames with each interlaced one made whole; the others, and all times, as they are.

    From the first interlaced frame on, one comes out when the next is in, for the filter looks at its neighbours.
    """
    filter_: _Filter | None = None
    for frame in frames:
        if filter_ is not None and not filter_.takes(frame):
            yield from filter_.rest()
            filter_ = None
        if filter_ is None and frame.interlaced_frame and _is_large_enough(frame):
            filter_ = _Filter(frame)
        if filter_ is None:
            yield frame
        else:
            yield from filter_.through(frame)
    if filter_ is not None:
        yield from filter_.rest()


def _is_large_enough(frame: av.VideoFrame) -> bool:
    return frame.width >= _LEAST_WIDTH and frame.height >= _LEAST_HEIGHT


class _Filter:
    """libavfilter's bwdif for frames of one size and kind."""

    def __init__(self, frame: av.VideoFrame) -> None:
        self._kind = _kind(frame)
        self._graph = Graph()
        self._graph.threads = 1
        source = self._graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        # One frame out for each one in; those that are not marked as interlaced pass untouched.
        bwdif = self._graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
        self._graph.link_nodes(source, bwdif, self._graph.add("buffersink")).configure()

    def takes(self, frame: av.VideoFrame) -> bool:
        """Whether `frame` is of the size and kind that the filter was made for."""
        return _kind(frame) == self._kind

    def through(self, frame: av.VideoFrame) -> Iterator[av.VideoFrame]:
        """Put one in; what has become ready comes out."""
        self._graph.vpush(frame)
        yield from self._ready()

    def rest(self) -> Iterator[av.VideoFrame]:
        """What is still inside; the filter is used up."""
        self._graph.vpush(None)
        yield from self._ready()

    def _ready(self) -> Iterator[av.VideoFrame]:
        while True:
            try:
                frame = self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            yield frame


def _kind(frame: av.VideoFrame) -> tuple[object, ...]:
    return frame.width, frame.height, frame.format.name, frame.time_base
