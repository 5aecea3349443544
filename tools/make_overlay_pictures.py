"""The pictures of every overlay in docs/pictures/, from the sample clip and the sample picture, and Figure 1 of both.

    python tools/make_overlay_pictures.py [--out DIR]

Left small people outdoors, right one person close by: an overlay must be readable on both.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np

from app.options import MIN_SCORE
from engine.backends.base import open_backend
from engine.decode_config import DecodeConfig
from engine.estimator import Estimator
from engine.files import written_whole
from engine.models import find_model
from engine.structures import ByteArray, Heads, Instances
from pipeline.figure import figure_sheet
from pipeline.overlays import LAYER_NAMES, OverlayStyle
from pipeline.render import draw
from pipeline.sources import open_source

Scene = tuple[ByteArray, Instances, Heads]

ROOT: Final = Path(__file__).resolve().parent.parent
CLIP_FRAME: Final = 15
CLIP_PART: Final = np.s_[110:, 210:690]  # where most of the people are
HEIGHT_PX, SHEET_WIDTH_PX = 440, 1200
MAX_BYTES: Final = 80_000


def main() -> None:
    """Draw and write them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    out = parser.parse_args().out
    entry = find_model("mobile")
    config = DecodeConfig(min_score=MIN_SCORE)
    with Estimator(open_backend("onnx", entry, "joint"), entry.input_size, config) as estimator:
        street = frame_of("sample.mp4")[CLIP_PART]
        scenes = [look(estimator, image) for image in (street, frame_of("astronaut.jpg"))]
    for name in (*LAYER_NAMES, "pis"):
        pictures = [draw(image, people, OverlayStyle.of([name]), heads) for image, people, heads in scenes]
        write(out / f"overlay-{name.replace('_', '-')}.jpg", np.hstack([at_height(picture) for picture in pictures]))
    sheet = figure_sheet(*scenes[0])
    height = round(sheet.shape[0] * SHEET_WIDTH_PX / sheet.shape[1])
    write(out / "figure.jpg", cv2.resize(sheet, (SHEET_WIDTH_PX, height), interpolation=cv2.INTER_AREA))


def frame_of(name: str) -> ByteArray:
    """The chosen frame of a sample; of a picture the only one."""
    with open_source(str(ROOT / "assets" / name), CLIP_FRAME + 1) as source:
        *_, last = source
    return last.image


def look(estimator: Estimator, image: ByteArray) -> Scene:
    """What the network says about a picture, and whom it shows."""
    heads, people = estimator.observe(image)
    return image, people, heads


def at_height(picture: ByteArray) -> ByteArray:
    """A picture, HEIGHT_PX high."""
    width = round(picture.shape[1] * HEIGHT_PX / picture.shape[0])
    return np.asarray(cv2.resize(picture, (width, HEIGHT_PX), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def write(path: Path, picture: ByteArray) -> None:
    """Write a JPEG of the best quality that is small enough for a repository."""
    for quality in range(92, 20, -4):
        data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(data) <= MAX_BYTES:
            break
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        temporary.write_bytes(data)
    print(f"{path}: {picture.shape[1]}x{picture.shape[0]}, quality {quality}, {len(data)} bytes")


if __name__ == "__main__":
    main()
