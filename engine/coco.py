"""COCO annotation files: read, checked, one record a picture. Used for training and for evaluation.

A bad annotation is an error: the file is the user's to mend. A bad picture is left out, as long as few are.
"""

import json
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as rle

from engine.errors import UserError
from engine.skeleton import NUM_KEYPOINTS
from engine.structures import ByteArray

PERSON_CATEGORY: Final = 1
# More bad pictures than this share of a data set are no accident.
MOST_BAD_SHARE: Final = 0.01
# How many of them are named at once.
NAMED_AT_ONCE: Final = 3
# A label whose numbers lie further out than so many times the picture's longer side is a mistake.
FARTHEST: Final = 10

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a data set with the raw annotations of its people, in the file's own pixels."""

    id: int
    path: Path
    width: int
    height: int
    annotations: tuple[dict[str, Any], ...]


class BadPictureError(UserError):
    """One picture of a data set that cannot be used; `path` is its file."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path


class BadPictures:
    """Counts the bad pictures of a data set, whoever finds them; more than 1 % are an error.

    Args:
        source: the annotation file, for the message.
        total: how many pictures the data set has.
    """

    def __init__(self, source: Path, total: int) -> None:
        self.source, self.total = source, total
        self._reasons: dict[Path, str] = {}

    def __len__(self) -> int:
        return len(self._reasons)

    def add(self, *found: BadPictureError) -> None:
        """Count pictures, each once, and name the first of the new ones in a warning.

        Raises:
            UserError: they are too many by now.
        """
        new = {bad.path: str(bad) for bad in found if bad.path not in self._reasons}
        if not new:
            return
        self._reasons |= new
        if len(self) > MOST_BAD_SHARE * self.total:
            first = next(iter(self._reasons.values()))
            raise UserError(f"{self.source}: {len(self)} of {self.total} pictures cannot be used, the first: {first}")
        named = "; ".join(list(new.values())[:NAMED_AT_ONCE]) + ("; ..." if len(new) > NAMED_AT_ONCE else "")
        _logger.warning("%s: left out %d of %d pictures so far: %s", self.source, len(self), self.total, named)


def readable(pictures: Sequence[Picture], bad: BadPictures) -> list[Picture]:
    """The pictures whose files are there and not empty; the others are added to `bad`.

    What is inside the files shows only when they are read: `read_picture`.

    Raises:
        UserError: more than 1 % are missing or empty.
    """
    reasons = {picture.path: _missing(picture.path) for picture in pictures}
    bad.add(*(BadPictureError(path, reason) for path, reason in reasons.items() if reason))
    return [picture for picture in pictures if not reasons[picture.path]]


def _missing(path: Path) -> str:
    try:
        return "" if path.stat().st_size else "is empty"
    except OSError as error:
        return f"cannot read: {error.strerror}"


def read_json(path: Path) -> Any:
    """A JSON file, or one clear line."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON: {error}") from error


def read_pictures(images: Path, annotations: Path) -> list[Picture]:
    """The pictures of a COCO person_keypoints file, by id.

    Raises:
        UserError: a missing folder or file, not a COCO file, or a bad annotation (file, id and reason).
    """
    return parse_pictures(images, annotations, read_json(annotations))


def parse_pictures(images: Path, annotations: Path, data: Any) -> list[Picture]:
    """As `read_pictures`, from the content of the file, for those who need the rest of it as well."""
    if not images.is_dir():
        raise UserError(f"{images}: no such folder")
    if not isinstance(data, dict) or "images" not in data or "annotations" not in data:
        raise UserError(f"{annotations}: not a COCO annotation file: 'images' or 'annotations' is missing")
    try:
        return _parse_pictures(images, annotations, data)
    except KeyError as error:
        raise UserError(f"{annotations}: not a COCO annotation file: an entry has no {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{annotations}: not a COCO annotation file: {error}") from error


def _parse_pictures(images: Path, annotations: Path, data: dict[str, Any]) -> list[Picture]:
    sizes = {}
    for image in data["images"]:
        sizes[image["id"]] = width, height = image["width"], image["height"]
        if min(width, height) < 1:
            raise UserError(f"{annotations}: picture {image['id']}: no size of {width}x{height}")
    people: dict[int, list[dict[str, Any]]] = {}
    for annotation in data["annotations"]:
        if annotation.get("category_id") != PERSON_CATEGORY or annotation["image_id"] not in sizes:
            continue
        reason = _wrong(annotation, *sizes[annotation["image_id"]])
        if reason:
            raise UserError(f"{annotations}: annotation {annotation.get('id')}: {reason}")
        people.setdefault(annotation["image_id"], []).append(annotation)
    return [
        Picture(i["id"], images / i["file_name"], i["width"], i["height"], tuple(people.get(i["id"], ())))
        for i in sorted(data["images"], key=lambda i: int(i["id"]))
    ]


def _wrong(annotation: dict[str, Any], width: int, height: int) -> str:
    """What is wrong with a person's annotation, or ""."""
    try:
        return next(_mistakes(annotation, width, height), "")
    except TypeError as error:
        return f"a value that is not a number: {error}"


def _mistakes(annotation: dict[str, Any], width: int, height: int) -> Iterator[str]:
    farthest = FARTHEST * max(width, height)
    keypoints: Any = annotation.get("keypoints") or [0] * (3 * NUM_KEYPOINTS)
    box: Any = annotation.get("bbox")
    if len(keypoints) != 3 * NUM_KEYPOINTS:
        yield f"expected {3 * NUM_KEYPOINTS} keypoint numbers, got {len(keypoints)}"
    if not isinstance(box, list) or len(box) != 4:
        yield "bbox: expected 4 numbers"
    yield from _mistaken_numbers("bbox", box, farthest)
    yield from _mistaken_numbers("keypoints", keypoints, farthest)
    if min(box[2:]) < 0:
        yield f"bbox: negative size {box[2]} x {box[3]}"
    if not 0 <= annotation.get("area", 0) < math.inf:
        yield f"area: expected a number from 0, got {annotation['area']}"
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, list):
        for polygon in segmentation:
            if len(polygon) < 6 or len(polygon) % 2:
                yield "segmentation: a polygon needs at least 3 points of 2 numbers"
            yield from _mistaken_numbers("segmentation", polygon, farthest)
    elif segmentation:
        yield from _mistakes_of_rle(segmentation, width, height)


def _mistakes_of_rle(segmentation: Any, width: int, height: int) -> Iterator[str]:
    if not isinstance(segmentation, dict) or not segmentation.get("counts"):
        yield "segmentation: expected polygons, or an RLE with 'size' and 'counts'"
    if segmentation.get("size") != [height, width]:
        yield f"segmentation: an RLE of size {segmentation.get('size')}, the picture has [{height}, {width}]"
    counts = segmentation["counts"]
    if isinstance(counts, list):
        if sum(counts) != width * height:
            yield f"segmentation: an RLE of {sum(counts)} pixels, the picture has {width * height}"
        if min(counts) < 0:
            yield f"segmentation: an RLE of {sum(counts)} pixels with negative runs"


def _mistaken_numbers(name: str, numbers: list[float], farthest: float) -> Iterator[str]:
    if not math.isfinite(sum(numbers)):
        yield f"{name}: a number is not finite"
    if min(numbers) < -farthest or max(numbers) > farthest:
        yield f"{name}: a number is more than {farthest} px from the picture"


def read_image(path: Path) -> ByteArray:
    """A picture as uint8 (H, W, 3) BGR.

    Raises:
        BadPictureError: missing, unreadable or not a picture.
    """
    try:
        data = np.fromfile(path, dtype=np.uint8)  # imread fails on non-ASCII names on Windows
    except OSError as error:
        raise BadPictureError(path, f"cannot read: {error.strerror}") from error
    # Some versions of OpenCV fill up half a JPEG with grey. A whole one ends with a marker and, maybe, a trailer.
    if data[:2].tobytes() == b"\xff\xd8" and b"\xff\xd9" not in data[len(data) // 2 :].tobytes():
        raise BadPictureError(path, "a JPEG that is cut off")
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except cv2.error as error:  # a header that promises more pixels than OpenCV takes
        raise BadPictureError(path, f"cannot be decoded: {error.err}") from error
    if image is None:
        raise BadPictureError(path, "not a picture that OpenCV can read")
    return image.astype(np.uint8, copy=False)


def read_picture(picture: Picture) -> ByteArray:
    """The image of a data set's picture, uint8 (height, width, 3) BGR.

    Raises:
        BadPictureError: see `read_image`, or the image has another size than its labels.
    """
    image = read_image(picture.path)
    height, width = image.shape[:2]
    if (height, width) != (picture.height, picture.width):
        reason = f"is {width}x{height}, its labels are for {picture.width}x{picture.height}"
        raise BadPictureError(picture.path, reason)
    return image


def decode_mask(segmentation: Any, height: int, width: int) -> npt.NDArray[np.bool_] | None:
    """Polygons or RLE (compressed or not) to bool (height, width); None where there is no segmentation."""
    if not segmentation:
        return None
    if isinstance(segmentation, list):
        encoded = rle.merge(rle.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        encoded = rle.frPyObjects(segmentation, height, width)
    else:
        encoded = segmentation
    return np.asarray(rle.decode(encoded), dtype=bool)


def encode_mask(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """bool (H, W) to a COCO RLE with a text `counts`, ready for JSON."""
    encoded = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(v) for v in encoded["size"]], "counts": encoded["counts"].decode("ascii")}
