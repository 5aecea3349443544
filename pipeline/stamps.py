"""Whether the times in a clip lead to its places, found out without decoding it."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import av

from pipeline.packets import open_container, video_stream

_BACK_S: Final = 1.0  # less than that is how some muxers order their packets


def times_go_back(path: Path, passed: Callable[[], None] = lambda: None) -> bool:
    """Whether a clip's times begin again on the way, as where recordings were joined end to end: then a time has two
    places, or none. Reads the file until then; damage ends it.

    Args:
        path: the clip.
        passed: called for each packet.

    Raises:
        UserError: there is no video, or it cannot be opened.
    """
    with open_container(path) as container:
        stream = video_stream(container, path)
        last_s = float("-inf")
        try:
            for packet in container.demux(stream):
                passed()
                if packet.dts is None or packet.time_base is None:
                    continue
                time_s = float(packet.dts * packet.time_base)
                if time_s < last_s - _BACK_S:
                    return True
                last_s = max(last_s, time_s)
        except av.FFmpegError:
            pass  # told by whoever decodes it
    return False
