"""Results as tables that other programs read: COCO and CSV."""

import json
import math
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.coco import PERSON_CATEGORY
from engine.skeleton import EDGES, KEYPOINT_NAMES
from pipeline.frames import FrameResult, Rendered
from pipeline.records import encoded_masks, person_records
from pipeline.sinks import TextWriter

_PERSON: Final = ("frame", "time_s", "id", "score", "mask_score", "x", "y", "width", "height")
CSV_COLUMNS: Final = (*_PERSON, *(f"{name}_{what}" for name in KEYPOINT_NAMES for what in ("x", "y", "score")))


class CsvWriter(TextWriter):
    """A row for each person and frame, with the columns `CSV_COLUMNS`; the first line names them.

    `id` is empty if people were not followed. A frame without people has no row. Numbers as in NDJSON.
    """

    def _head(self) -> str:
        return ",".join(CSV_COLUMNS) + "\n"

    def _lines(self, rendered: Rendered) -> str:
        frame = rendered.result.frame
        begin = f"{frame.index},{'' if frame.t_media_s is None else round(frame.t_media_s, 6)}"
        return "".join(f"{begin},{_row(person)}\n" for person in person_records(rendered.result))


def _row(person: dict[str, Any]) -> str:
    keypoints = [value for keypoint in person["keypoints"] for value in keypoint]
    values = (person.get("id", ""), person["score"], person["mask_score"], *person["bbox_xywh"], *keypoints)
    return ",".join(map(str, values))


class CocoWriter(TextWriter):
    """A COCO file: `pycocotools.coco.COCO(path)` reads it, its "annotations" are what `COCO.loadRes` takes.

    Each frame is an image with an id from 1 on, and its number (`frame`) and time (`time_s`) beside the usual keys.
    Each person is an annotation with box, area, RLE and 17 keypoints as x, y, 2 (found) or 0, 0, 0 (missing); `score`,
    `mask_score` and `keypoint_scores` come with it, and `track_id` if people were followed.
    """

    def __init__(self, path: str | Path, name: str) -> None:
        """`name` is the source's, for the file_name of its frames."""
        super().__init__(path)
        self._name = name
        # The images are written after the annotations; until then a frame takes 32 bytes.
        self._images = array("q")  # frame, width and height of each
        self._times_s = array("d")  # NaN: it has none
        self._people = 0

    def _head(self) -> str:
        category = {
            "id": PERSON_CATEGORY,
            "name": "person",
            "supercategory": "person",
            "keypoints": KEYPOINT_NAMES,
            "skeleton": [[a + 1, b + 1] for a, b in EDGES],
        }
        return f'{{"info":{_json({"description": self._name})},\n"categories":[{_json(category)}],\n"annotations":['

    def _lines(self, rendered: Rendered) -> str:
        result = rendered.result
        frame = result.frame
        height, width = frame.image.shape[:2]
        self._images.extend((frame.index, width, height))
        self._times_s.append(math.nan if frame.t_media_s is None else round(frame.t_media_s, 6))
        text = ""
        for annotation in _annotations(result, self._people):
            self._people += 1
            text += f"{',' if self._people > 1 else ''}\n{_json(annotation)}"
        return text

    def _tail(self) -> Iterator[str]:
        yield '\n],\n"images":[\n'
        for number, time_s in enumerate(self._times_s):
            index, width, height = self._images[3 * number : 3 * number + 3]
            image = {
                "id": index + 1,
                "file_name": self._name,
                "width": width,
                "height": height,
                "frame": index,
                "time_s": None if math.isnan(time_s) else time_s,
            }
            yield (",\n" if number else "") + _json(image)
        yield "\n]}\n"


def _annotations(result: FrameResult, before: int) -> list[dict[str, Any]]:
    """The people of one frame; `before` were written already."""
    areas = np.bincount(result.instances.label_map.ravel(), minlength=len(result.instances) + 1)[1:].tolist()
    annotations = []
    for index, (person, mask) in enumerate(zip(person_records(result), encoded_masks(result.instances), strict=True)):
        keypoints = person["keypoints"]
        annotation = {
            "id": before + index + 1,
            "image_id": result.frame.index + 1,
            "category_id": PERSON_CATEGORY,
            "iscrowd": 0,
            "bbox": person["bbox_xywh"],
            "area": areas[index],
            "segmentation": mask,
            "num_keypoints": sum(score > 0 for _, _, score in keypoints),
            "keypoints": [value for x, y, score in keypoints for value in (x, y, 2 if score > 0 else 0)],
            "keypoint_scores": [score for _, _, score in keypoints],
            "score": person["score"],
            "mask_score": person["mask_score"],
        }
        if "id" in person:
            annotation["track_id"] = person["id"]
        annotations.append(annotation)
    return annotations


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
