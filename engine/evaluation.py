"""COCO keypoint AP and person-mask AP of an estimator, through pycocotools."""

import contextlib
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from engine import coco
from engine.coco import PERSON_CATEGORY, BadPictureError, BadPictures, Picture
from engine.files import written_whole
from engine.structures import ByteArray, Heads, Instances

# The figures, and where pycocotools puts them.
_KEYPOINT_ROWS: Final = {"AP": 0, "AP50": 1, "AP75": 2, "APm": 3, "APl": 4, "AR": 5, "ARm": 8, "ARl": 9}
_SEGM_ROWS: Final = {
    "AP": 0, "AP50": 1, "AP75": 2, "APs": 3, "APm": 4, "APl": 5, "AR": 8, "ARs": 9, "ARm": 10, "ARl": 11,
}  # fmt: skip
KEYPOINT_METRICS: Final = tuple(_KEYPOINT_ROWS)
SEGM_METRICS: Final = tuple(_SEGM_ROWS)

Result = dict[str, Any]
Watcher = Callable[[Picture, Heads, Instances], None]


class Observer(Protocol):
    """What can be evaluated: `engine.estimator.Estimator`, `engine.augmented.AugmentedEstimator`."""

    def observe(self, image: ByteArray) -> tuple[Heads, Instances]:
        """The network's fields of a BGR uint8 (H, W, 3) picture, and everybody they show, in its pixels."""


@dataclass(frozen=True, slots=True)
class Scores:
    """AP and AR tables in [0, 1] (-1 where nothing of the kind was labelled) and the time of one picture."""

    images: int
    keypoints: dict[str, float]
    segm: dict[str, float]
    ms_per_image: float


def to_results(image_id: int, instances: Instances) -> tuple[list[Result], list[Result]]:
    """Instances to COCO's two results formats, (keypoints, segm), in the picture's own pixels.

    Who has no keypoint is in the second list alone, who owns no pixel in the first.
    """
    poses, masks = [], []
    for index in range(len(instances)):
        common = {"image_id": image_id, "category_id": PERSON_CATEGORY}
        present = instances.keypoint_scores[index] > 0
        if present.any():
            flat = np.column_stack([instances.keypoints_xy[index], present]).astype(float).round(2)
            poses.append({**common, "score": float(instances.scores[index]), "keypoints": flat.ravel().tolist()})
        mask = instances.mask(index)
        if mask.any():
            score = float(instances.mask_scores[index])
            masks.append({**common, "score": score, "segmentation": coco.encode_mask(mask)})
    return poses, masks


def evaluate(
    estimator: Observer,
    pictures: Iterable[Picture],
    truth: dict[str, Any],
    bad: BadPictures,
    watchers: Sequence[Watcher] = (),
) -> tuple[Scores, list[Result], list[Result]]:
    """Look at every picture and score what was found; returns (scores, keypoint results, segm results).

    Args:
        truth: the pictures' COCO annotation file, see `average_precision`.
        bad: counts the pictures that cannot be read; they are left out.
        watchers: called with every picture, its fields and its people; their time does not count.

    Raises:
        UserError: too many bad pictures.
    """
    poses, masks, ids, seconds = [], [], [], []
    for picture in pictures:
        try:
            image = coco.read_picture(picture)
        except BadPictureError as error:
            bad.add(error)
            continue
        start = time.perf_counter()
        heads, instances = estimator.observe(image)
        seconds.append(time.perf_counter() - start)
        found_poses, found_masks = to_results(picture.id, instances)
        poses += found_poses
        masks += found_masks
        ids.append(picture.id)
        for watch in watchers:
            watch(picture, heads, instances)
    scores = Scores(
        images=len(ids),
        keypoints=average_precision(truth, poses, "keypoints", ids),
        segm=average_precision(truth, masks, "segm", ids),
        ms_per_image=1000 * float(np.median(seconds)) if seconds else 0.0,
    )
    return scores, poses, masks


def average_precision(
    truth: dict[str, Any], results: list[Result], kind: str, image_ids: list[int]
) -> dict[str, float]:
    """COCO's AP and AR table of results in the annotation file's own pixels.

    Args:
        truth: a COCO annotation file. Where its pictures carry `orig_width`, areas count at that size, so that
            COCO's size classes keep their meaning for reduced pictures.
        results: COCO results of the same pixels. kind: "keypoints" or "segm". image_ids: pictures to count.
    """
    factors = {i["id"]: i.get("orig_width", i["width"]) / i["width"] for i in truth["images"]}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints as it goes
        ground = _data_set(truth["images"], truth["annotations"], factors)
        nobody = _data_set(truth["images"], [], factors)  # loadRes takes no empty list
        found = ground.loadRes([_rescaled(r, factors[r["image_id"]]) for r in results]) if results else nobody
        if kind == "segm":  # masks keep their pixels, only their areas count at the original size
            for annotation in found.anns.values():
                annotation["area"] *= factors[annotation["image_id"]] ** 2
        run = COCOeval(ground, found, kind)
        run.params.imgIds = sorted(image_ids)
        run.evaluate()
        run.accumulate()
        run.summarize()
    rows = _KEYPOINT_ROWS if kind == "keypoints" else _SEGM_ROWS
    return {name: float(run.stats[row]) for name, row in rows.items()}


def _data_set(images: list[dict[str, Any]], annotations: list[dict[str, Any]], factors: dict[int, float]) -> COCO:
    """People at the original size of their pictures, as pycocotools wants them.

    They are numbered anew from 1: to pycocotools an id of 0 is nobody, and of two equal ids one is lost.
    """
    listed = [_rescaled(a, factors[a["image_id"]]) for a in annotations if a["image_id"] in factors]
    data = COCO()
    data.dataset = {
        "info": {},
        "images": images,
        "categories": [{"id": PERSON_CATEGORY, "name": "person"}],
        "annotations": [{**annotation, "id": number} for number, annotation in enumerate(listed, 1)],
    }
    data.createIndex()
    return data


def _rescaled(annotation: dict[str, Any], factor: float) -> dict[str, Any]:
    """A copy at the original size: keypoints, box and area grow; a mask stays, it is compared with masks alone."""
    copy = dict(annotation)
    if annotation.get("keypoints"):
        values = np.array(annotation["keypoints"], dtype=np.float64).reshape(-1, 3)
        values[:, :2] *= factor
        copy["keypoints"] = values.ravel().tolist()
    if "bbox" in annotation:
        copy["bbox"] = [v * factor for v in annotation["bbox"]]
    if "area" in annotation:
        copy["area"] = annotation["area"] * factor**2
    copy.setdefault("iscrowd", 0)
    return copy


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[io.TextIOWrapper]:
    """Write a text file under a temporary name and rename it when whole."""
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        yield stream


def write_results(folder: Path, poses: list[Result], masks: list[Result]) -> None:
    """`keypoints.json` and `segm.json` in COCO results format."""
    for name, results in (("keypoints.json", poses), ("segm.json", masks)):
        with whole_file(folder / name) as stream:
            json.dump(results, stream)
