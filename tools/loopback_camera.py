"""A network camera on this machine that plays a clip: Motion JPEG over HTTP, for measurements.

    python tools/loopback_camera.py CLIP --size 1280x720 --fps 30 --port 0

Prints its address, then serves until Ctrl-C or until its standard input is closed (`--until-eof`). The pictures are
compressed beforehand, so that serving takes hardly any time from what is measured.
"""

import argparse
import contextlib
import itertools
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2

from pipeline.clips import FileSource
from tests.pipeline.misbehaving_camera import MisbehavingCamera, jpeg

MOST_PICTURES = 300  # what is kept in memory


def size(text: str) -> tuple[int, int]:
    """An argparse type: WxH in pixels."""
    width, _, height = text.partition("x")
    return int(width), int(height)


def pictures(clip: Path, size_wh: tuple[int, int] | None, count: int) -> list[bytes]:
    """The first frames of the clip as JPEG files, stretched to the size if one is given."""
    with FileSource(clip) as source:
        images = [frame.image for frame in itertools.islice(source, count)]
    return [jpeg(image if size_wh is None else cv2.resize(image, size_wh)) for image in images]


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--size", type=size, metavar="WxH", help="pixels (default: the clip's)")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--until-eof", action="store_true", help="stop when standard input is closed")
    options = parser.parse_args()
    files = pictures(options.clip, options.size, MOST_PICTURES)
    with MisbehavingCamera(files, options.fps, port=options.port) as camera, contextlib.suppress(KeyboardInterrupt):
        print(camera.url, flush=True)
        if options.until_eof:
            sys.stdin.read()
        else:
            threading.Event().wait()


if __name__ == "__main__":
    main()
