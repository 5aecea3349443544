"""Can network, losses and decode learn a few pictures by heart? If not, one of them is broken.

    python tools/overfit.py --images DIR --annotations FILE.json --start assets/mobile.safetensors --out runs/overfit

Takes the first pictures whose people all have keypoints, a mask and a certain size, trains on them without augmentation
and measures AP on the same pictures.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from engine import coco
from engine.backends.torch_backend import TorchBackend
from engine.coco import BadPictures
from engine.decode_config import DecodeConfig
from engine.estimator import Estimator
from engine.evaluation import evaluate
from engine.files import written_whole
from engine.model import NetConfig
from engine.training.augmentation import Augmentation
from engine.training.config import TrainConfig
from engine.training.dataset import DataPart
from engine.training.train import train

LONG_SIDE_PX = 480  # of the pictures; the zoom brings it to the network's input
LEAST_SIDE_PX = 70  # of everybody's box


def main() -> None:
    """Train and print both APs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--size", type=int, default=641)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    few = options.out / "few.json"
    truth = choose(options.images, options.annotations, options.pictures)
    with written_whole(few) as temporary:
        temporary.write_text(json.dumps(truth), encoding="utf-8")
    zoom = options.size / LONG_SIDE_PX
    plain = Augmentation(
        least_zoom=zoom, most_zoom=zoom, rotate_share=0, person_share=0, flip_share=0, paste_share=0,
        colour=0, tint=0, saturation=0, hue_degrees=0, grey_share=0, blur_share=0, jpeg_share=0,
    )  # fmt: skip
    config = TrainConfig(
        net=NetConfig("mobile"), start=str(options.start), augmentation=plain, size=options.size, batch=4,
        steps=options.steps, rate=1e-3, heads_factor=0.5, trunk_factor=0.3, ema=0.98, picture_steps=0,
    )  # fmt: skip
    weights = train(config, [DataPart(options.images, few)], options.out).weights
    torch.set_num_threads(1)
    pictures = coco.read_pictures(options.images, few)
    with Estimator(TorchBackend.open_file(weights), options.size, DecodeConfig()) as estimator:
        scores, _, _ = evaluate(estimator, pictures, truth, BadPictures(few, len(pictures)))
    print(f"after {options.steps} steps on {scores.images} pictures, on themselves:")
    print(f"keypoint AP {scores.keypoints['AP']:.3f}, mask AP {scores.segm['AP']:.3f}")


def choose(images: Path, annotations: Path, count: int) -> dict[str, Any]:
    """A COCO data set of the first `count` pictures, by id, whose people are all large and wholly labelled."""
    data = coco.read_json(annotations)
    good = [
        picture.id
        for picture in coco.read_pictures(images, annotations)
        if picture.annotations and all(_complete(a) for a in picture.annotations)
    ][:count]
    return {
        **data,
        "images": [i for i in data["images"] if i["id"] in good],
        "annotations": [a for a in data["annotations"] if a["image_id"] in good],
    }


def _complete(annotation: dict[str, Any]) -> bool:
    _, _, width, height = annotation["bbox"]
    large = min(width, height) >= LEAST_SIDE_PX
    return bool(not annotation["iscrowd"] and annotation["num_keypoints"] >= 8 and large)


if __name__ == "__main__":
    main()
