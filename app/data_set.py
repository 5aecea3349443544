"""The options and the checks of a labelled data set, for the commands that measure on one."""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from app.options import whole_number
from engine import coco
from engine.coco import BadPictures, Picture
from engine.errors import UserError
from engine.protocols import counted_people

_NEEDED: Final = ("id", "area", "keypoints", "num_keypoints", "segmentation")


@dataclass(frozen=True, slots=True)
class DataSet:
    """Pictures to measure on.

    Attributes:
        pictures: by id, with the annotations that count and, marked as crowds, those that do not.
        truth: the same as a COCO annotation file.
        bad: the count of pictures that cannot be read, to go on with.
    """

    pictures: list[Picture]
    truth: dict[str, Any]
    bad: BadPictures


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """`--images`, `--annotations` and `--max-images`."""
    parser.add_argument("--images", required=True, type=Path, metavar="DIR", help="folder of the pictures")
    parser.add_argument(
        "--annotations", required=True, type=Path, metavar="FILE.json", help="COCO person_keypoints file"
    )
    parser.add_argument("--max-images", type=whole_number(1), metavar="N", help="only the first N pictures, by id")


def read_data_set(options: argparse.Namespace, protocol: str = "full") -> DataSet:
    """What the options of `add_data_arguments` name, by a protocol of `engine.protocols`.

    "cocopersons" leaves out pictures without a labelled person, as its files do.

    Raises:
        UserError: a missing folder or file, labels that results cannot be compared with (file, id and reason), or
            more than 1 % of the pictures missing.
    """
    content = coco.read_json(options.annotations)
    listed = coco.parse_pictures(options.images, options.annotations, content)
    if protocol == "cocopersons":
        listed = [picture for picture in listed if picture.annotations]
    listed = listed[: options.max_images]
    if not listed:
        raise UserError(f"{options.annotations}: lists no pictures")
    pictures = [replace(p, annotations=tuple(counted_people(p.annotations, protocol))) for p in listed]
    for picture in pictures:
        for annotation in picture.annotations:
            if reason := _unusable(annotation):
                raise UserError(f"{options.annotations}: annotation {annotation.get('id')}: {reason}")
    bad = BadPictures(options.annotations, len(pictures))
    truth = {
        "images": content["images"],
        "annotations": [annotation for picture in pictures for annotation in picture.annotations],
    }
    return DataSet(coco.readable(pictures, bad), truth, bad)


def _unusable(annotation: dict[str, Any]) -> str:
    """What keeps a label from being compared with results, or ""; training makes do with less."""
    lacking = [key for key in _NEEDED if key not in annotation]
    if lacking:
        return f"has no {lacking[0]!r}, which the evaluation needs"
    if not annotation["keypoints"]:
        return "keypoints: expected 51 numbers, of which 0 are labelled if need be"
    return "" if annotation["segmentation"] else "segmentation: expected polygons or run lengths"
