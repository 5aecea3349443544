"""COCO keypoint AP and person-mask AP of an estimator, through pycocotools."""

import contextlib
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from engine import coco
from engine.coco import PERSON_CATEGORY, Picture
from engine.files import written_whole
from engine.structures import ByteArray, Instances

KEYPOINT_METRICS = ("AP", "AP50", "AP75", "APm", "APl", "AR")
SEGM_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR")
_SEGM_ROWS = {"AP": 0, "AP50": 1, "AP75": 2, "APs": 3, "APm": 4, "APl": 5, "AR": 8}
_KEYPOINT_ROWS = {"AP": 0, "AP50": 1, "AP75": 2, "APm": 3, "APl": 4, "AR": 5}

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scores:
    """AP tables in [0, 1] (-1 where nothing of the kind was labelled) and the time of one picture."""

    images: int
    keypoints: dict[str, float]
    segm: dict[str, float]
    ms_per_image: float


def to_results(image_id: int, instances: Instances) -> tuple[list[Result], list[Result]]:
    """Instances to COCO's two results formats, (keypoints, segm), in the picture's own pixels."""
    poses, masks = [], []
    for index in range(len(instances)):
        score = float(instances.scores[index])
        common = {"image_id": image_id, "category_id": PERSON_CATEGORY, "score": score}
        present = instances.keypoint_scores[index] > 0
        flat = np.column_stack([instances.keypoints_xy[index], present]).astype(float).round(2)
        poses.append({**common, "keypoints": flat.ravel().tolist()})
        mask = instances.mask(index)
        if mask.any():
            masks.append({**common, "segmentation": coco.encode_mask(mask)})
    return poses, masks


def evaluate(
    estimate: Callable[[ByteArray], Instances],
    pictures: Iterable[Picture],
    annotations: Path,
) -> tuple[Scores, list[Result], list[Result]]:
    """Run `estimate` on every picture and score it; returns (scores, keypoint results, segm results)."""
    poses, masks, ids, seconds = [], [], [], []
    for picture in pictures:
        image = coco.read_picture(picture)
        start = time.perf_counter()
        instances = estimate(image)
        seconds.append(time.perf_counter() - start)
        found_poses, found_masks = to_results(picture.id, instances)
        poses += found_poses
        masks += found_masks
        ids.append(picture.id)
    truth = coco.read_json(annotations)
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
    """COCO's AP table of results in the annotation file's own pixels.

    Args:
        truth: a COCO annotation file. Where its pictures carry `orig_width`, areas count at that size, so that
            COCO's size classes keep their meaning for reduced pictures.
        results: COCO results of the same pixels. kind: "keypoints" or "segm". image_ids: pictures to count.
    """
    names = KEYPOINT_METRICS if kind == "keypoints" else SEGM_METRICS
    if not results:
        return dict.fromkeys(names, 0.0)
    factors = {i["id"]: i.get("orig_width", i["width"]) / i["width"] for i in truth["images"]}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints as it goes
        ground = COCO()
        ground.dataset = {
            "info": {},
            "images": truth["images"],
            "categories": [{"id": PERSON_CATEGORY, "name": "person"}],
            "annotations": [
                _rescaled(a, factors[a["image_id"]]) for a in truth["annotations"] if a["image_id"] in factors
            ],
        }
        ground.createIndex()
        found = ground.loadRes([_rescaled(r, factors[r["image_id"]]) for r in results])
        if kind == "segm":  # masks keep their pixels, only their areas count at the original size
            for annotation in found.anns.values():
                annotation["area"] *= factors[annotation["image_id"]] ** 2
        run = COCOeval(ground, found, kind)
        run.params.imgIds = sorted(image_ids)
        run.evaluate()
        run.accumulate()
        run.summarize()
    rows = _KEYPOINT_ROWS if kind == "keypoints" else _SEGM_ROWS
    return {name: float(run.stats[rows[name]]) for name in names}


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
