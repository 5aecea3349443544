"""How much the fields and the decode themselves lose: ground truth, encoded and decoded again, scored as if predicted.

    python tools/oracle.py --annotations FILE.json --input-size 1345 --radius 32

Mask AP stands there for the people with keypoints (the others are ignored) and for everybody, without and with the
clusters that find people by their mask alone. No pictures are read, only their sizes.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from engine import coco, letterbox
from engine.decode import decode
from engine.decode_config import DecodeConfig
from engine.encode import encode
from engine.evaluation import average_precision, to_results
from engine.protocols import counted_people
from engine.structures import Instances
from engine.training.people import warp_people


def perfect(picture: coco.Picture, input_size: int, config: DecodeConfig) -> Instances:
    """What the decode makes of the true fields of a picture (stride 8, person map at stride 4)."""
    placed = letterbox.fit((picture.height, picture.width), input_size, 16)
    scale_x, scale_y = placed.scale_xy
    matrix = np.array([[scale_x, 0, 0.5 * scale_x - 0.5], [0, scale_y, 0.5 * scale_y - 0.5]])
    people = warp_people(picture, matrix, placed.input_hw, flip=False)
    return decode(encode(people, placed.input_hw, 8, 4, config.radius_px).heads(8, placed), config)


def main() -> None:
    """Print the AP tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--input-size", type=int, default=1345)
    parser.add_argument("--radius", type=float, default=DecodeConfig().radius_px)
    parser.add_argument("--max-images", type=int)
    options = parser.parse_args()
    pictures = coco.read_pictures(options.annotations.parent, options.annotations)[: options.max_images]
    truth = coco.read_json(options.annotations)
    posed = counted_people(truth["annotations"], "cocopersons")
    for density in (False, True):
        config = DecodeConfig(radius_px=options.radius, density=density)
        poses, masks = [], []
        for picture in pictures:
            found = to_results(picture.id, perfect(picture, options.input_size, config))
            poses += found[0]
            masks += found[1]
        ids = [picture.id for picture in pictures]
        if not density:
            show("keypoints", average_precision(truth, poses, "keypoints", ids))
        which = "with" if density else "without"
        only = average_precision({**truth, "annotations": posed}, masks, "segm", ids)
        show(f"masks of people with keypoints, {which} clusters", only)
        show(f"masks of everybody, {which} clusters", average_precision(truth, masks, "segm", ids))


def show(name: str, values: dict[str, float]) -> None:
    """One row."""
    print(f"{name:48}", "  ".join(f"{key} {value:.3f}" for key, value in values.items()), flush=True)


if __name__ == "__main__":
    main()
