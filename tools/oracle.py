"""How much the fields and the decode themselves lose: ground truth, encoded and decoded again, scored as if predicted.

    python tools/oracle.py --annotations FILE.json --input-size 1345

Mask AP counts people with keypoints only (the others are ignored): the joint mode groups pixels by skeleton.
No pictures are read, only their sizes.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from engine import coco, letterbox
from engine.decode import DecodeConfig, decode
from engine.evaluation import average_precision, to_results
from engine.structures import Instances
from engine.training.dataset import warp_people
from engine.training.encode import encode


def perfect(picture: coco.Picture, input_size: int, config: DecodeConfig) -> Instances:
    """What the decode makes of the true fields of a picture (stride 8, person map at stride 4)."""
    placed = letterbox.fit((picture.height, picture.width), input_size, 16)
    scale_x, scale_y = placed.scale_xy
    matrix = np.array([[scale_x, 0, 0.5 * scale_x - 0.5], [0, scale_y, 0.5 * scale_y - 0.5]])
    people = warp_people(picture, matrix, placed.input_hw, flip=False)
    return decode(encode(people, placed.input_hw, 8, 4, config.radius_px).heads(8, placed), config)


def main() -> None:
    """Print both AP tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--input-size", type=int, default=1345)
    parser.add_argument("--max-images", type=int)
    options = parser.parse_args()
    pictures = coco.read_pictures(options.annotations.parent, options.annotations)[: options.max_images]
    poses, masks = [], []
    for picture in pictures:
        found = to_results(picture.id, perfect(picture, options.input_size, DecodeConfig()))
        poses += found[0]
        masks += found[1]
    truth = coco.read_json(options.annotations)
    ids = [picture.id for picture in pictures]
    print("keypoints", average_precision(truth, poses, "keypoints", ids))
    for annotation in truth["annotations"]:
        annotation["iscrowd"] = int(annotation["iscrowd"] or annotation["num_keypoints"] == 0)
    print("masks    ", average_precision(truth, masks, "segm", ids))


if __name__ == "__main__":
    main()
