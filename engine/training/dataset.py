"""Pictures and labels to training samples: one random affine for picture, keypoints and masks, then the encoding.

Sample number n of a run depends on (seed, n) alone, so a resumed run sees exactly what the uninterrupted one would.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from engine import coco
from engine.coco import Picture
from engine.errors import UserError
from engine.letterbox import PAD_VALUE
from engine.skeleton import EDGES, FACE_KEYPOINTS, FLIP_KEYPOINTS, NUM_KEYPOINTS, TORSO
from engine.structures import ByteArray
from engine.training.encode import Person, Targets, encode

FloatMatrix = npt.NDArray[np.float64]
# Limbs whose straight line lies on the body; the line from the nose to a shoulder may leave it.
LIMBS = tuple(edge for edge in EDGES if not (edge[0] in FACE_KEYPOINTS and edge[1] not in FACE_KEYPOINTS))


@dataclass(frozen=True, slots=True)
class DataPart:
    """One annotation file in a mix.

    Attributes:
        images, annotations: folder of pictures and COCO file.
        share: how often it is drawn, relative to the other parts.
        all_people_listed: False where people may stand unlabelled in the pictures.
    """

    images: Path
    annotations: Path
    share: float = 1.0
    all_people_listed: bool = True


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Random geometry and colour of a training sample.

    Attributes:
        zoom: least and largest scale of the file's pixels, drawn log-uniformly.
        rotate_degrees: largest rotation; rotate_share: how often one is applied.
        person_share: how often the crop is centred near a random person instead of anywhere.
        colour: largest relative change of brightness and contrast; grey_share: how often colour is removed.
    """

    zoom: tuple[float, float] = (0.6, 1.8)
    rotate_degrees: float = 30.0
    rotate_share: float = 0.4
    person_share: float = 0.8
    colour: float = 0.3
    grey_share: float = 0.05


class TrainingSet(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """`length` samples drawn from a weighted mix of data parts: (image uint8 (S, S, 3) BGR, targets by name)."""

    def __init__(
        self,
        parts: list[DataPart],
        *,
        size: int,
        stride: int,
        person_stride: int,
        radius: float,
        augmentation: Augmentation,
        seed: int,
        length: int,
        start: int = 0,
    ) -> None:
        self.parts = parts
        self.pictures = [_usable(coco.read_pictures(part.images, part.annotations), part) for part in parts]
        shares = np.array([part.share for part in parts], dtype=np.float64)
        if not len(parts) or shares.min() < 0 or shares.sum() <= 0:
            raise UserError("the training mix: shares must not be negative, and one must be above zero")
        self.shares = shares / shares.sum()
        self.size, self.stride, self.person_stride, self.radius = size, stride, person_stride, radius
        self.augmentation, self.seed, self.start, self.length = augmentation, seed, start, length

    def __len__(self) -> int:
        return self.length - self.start

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        rng = np.random.default_rng((self.seed, self.start + index))
        part = int(rng.choice(len(self.parts), p=self.shares))
        picture = self.pictures[part][int(rng.integers(len(self.pictures[part])))]
        image, targets = make_sample(
            picture,
            self.size,
            self.stride,
            self.person_stride,
            self.radius,
            self.augmentation,
            rng,
            all_people_listed=self.parts[part].all_people_listed,
        )
        named = {name: torch.from_numpy(getattr(targets, name)) for name in Targets.__slots__}
        return torch.from_numpy(image), named


def _usable(pictures: list[Picture], part: DataPart) -> list[Picture]:
    usable = [p for p in pictures if p.annotations]
    if not usable:
        raise UserError(f"{part.annotations}: no picture with a labelled person")
    return usable


def make_sample(
    picture: Picture,
    size: int,
    stride: int,
    person_stride: int,
    radius: float,
    augmentation: Augmentation,
    rng: np.random.Generator,
    *,
    all_people_listed: bool,
) -> tuple[ByteArray, Targets]:
    """One augmented sample: image uint8 (size, size, 3) BGR and its targets."""
    image = coco.read_picture(picture)
    flip = bool(rng.random() < 0.5)
    matrix = random_affine(picture, size, augmentation, rng, flip=flip)
    shrinks = abs(np.linalg.det(matrix[:, :2])) < 0.5
    if shrinks:  # warpAffine does not average; a light blur keeps the shrunken picture from aliasing
        image = cv2.GaussianBlur(image, (3, 3), 0).astype(np.uint8, copy=False)
    border = (PAD_VALUE,) * 3
    warped = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=border)
    shown = cv2.warpAffine(np.ones(image.shape[:2], np.uint8), matrix, (size, size), flags=cv2.INTER_NEAREST) > 0
    people = warp_people(picture, matrix, (size, size), flip=flip)
    targets = encode(
        people,
        (size, size),
        stride,
        person_stride,
        radius,
        all_people_listed=all_people_listed,
        picture=shown.astype(bool),
    )
    return recolour(warped.astype(np.uint8, copy=False), augmentation, rng), targets


def random_affine(
    picture: Picture, size: int, augmentation: Augmentation, rng: np.random.Generator, *, flip: bool
) -> FloatMatrix:
    """A random map (2, 3) from the file's pixels to the input's: zoom, rotation, flip and translation."""
    low, high = augmentation.zoom
    zoom = math.exp(rng.uniform(math.log(low), math.log(high)))
    angle = 0.0
    if rng.random() < augmentation.rotate_share:
        angle = math.radians(rng.uniform(-augmentation.rotate_degrees, augmentation.rotate_degrees))
    centre = np.array([rng.uniform(0, picture.width), rng.uniform(0, picture.height)])
    if rng.random() < augmentation.person_share:
        x, y, width, height = picture.annotations[int(rng.integers(len(picture.annotations)))]["bbox"]
        centre = np.array([x + width / 2, y + height / 2]) + rng.uniform(-0.25, 0.25, 2) * size / zoom
    # Do not look further past the picture's edge than needed.
    half = size / zoom / 2
    for axis, extent in enumerate((picture.width, picture.height)):
        centre[axis] = extent / 2 if extent <= 2 * half else np.clip(centre[axis], half, extent - half)
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    mirror = -1.0 if flip else 1.0
    linear = np.array([[mirror * cos, -mirror * sin], [sin, cos]])
    shift = np.array([(size - 1) / 2, (size - 1) / 2]) - linear @ centre
    return np.concatenate([linear, shift[:, None]], axis=1)


def warp_people(picture: Picture, matrix: FloatMatrix, input_hw: tuple[int, int], *, flip: bool) -> list[Person]:
    """The labelled people of a picture in input pixels; those wholly outside the input are left out."""
    people = []
    for annotation in picture.annotations:
        x, y, width, height = annotation["bbox"]
        corners = np.array([[x, y], [x + width, y], [x, y + height], [x + width, y + height]])
        moved = corners @ matrix[:, :2].T + matrix[:, 2]
        (x0, y0), (x1, y1) = moved.min(axis=0), moved.max(axis=0)
        if x1 < 0 or y1 < 0 or x0 > input_hw[1] - 1 or y0 > input_hw[0] - 1:
            continue
        keypoints = _warp_keypoints(annotation, matrix, flip=flip)
        mask = _warp_mask(annotation, picture, matrix, input_hw)
        people.append(
            Person(
                keypoints=keypoints,
                box_xywh=(float(x0), float(y0), float(x1 - x0), float(y1 - y0)),
                mask=mask,
                core=draw_core(keypoints, input_hw) if mask is None else None,
                keypoints_known=bool(annotation.get("kp_labeled", True)),
                face_known=not annotation.get("face_unlabeled", False),
                is_crowd=bool(annotation.get("iscrowd", 0)),
                is_semantic=bool(annotation.get("is_semantic", False)),
            )
        )
    return people


def _warp_keypoints(annotation: dict[str, Any], matrix: FloatMatrix, *, flip: bool) -> npt.NDArray[np.float32]:
    raw = annotation.get("keypoints") or [0.0] * (3 * NUM_KEYPOINTS)
    keypoints = np.array(raw, dtype=np.float64).reshape(NUM_KEYPOINTS, 3)
    keypoints[:, :2] = keypoints[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    if flip:
        keypoints = keypoints[list(FLIP_KEYPOINTS)]
    return keypoints.astype(np.float32)


def _warp_mask(
    annotation: dict[str, Any], picture: Picture, matrix: FloatMatrix, input_hw: tuple[int, int]
) -> npt.NDArray[np.bool_] | None:
    if not annotation.get("mask_labeled", True) or not annotation.get("segmentation"):
        return None
    height, width = input_hw
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, list):
        # Polygon corners lie on pixel edges: pixel (0, 0) covers 0 to 1, its centre is at 0.5.
        corners = [np.array(polygon, dtype=np.float64).reshape(-1, 2) - 0.5 for polygon in segmentation]
        moved = [points @ matrix[:, :2].T + matrix[:, 2] + 0.5 for points in corners]
        return coco.decode_mask([points.ravel().tolist() for points in moved], height, width)
    mask = coco.decode_mask(segmentation, picture.height, picture.width)
    if mask is None:
        return None
    soft = cv2.warpAffine(mask.astype(np.uint8) * 255, matrix, (width, height), flags=cv2.INTER_LINEAR)
    return np.asarray(soft >= 128)


def draw_core(keypoints: npt.NDArray[np.float32], input_hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Pixels that surely show a person with visible keypoints: thin limbs, and the torso between four of them."""
    canvas = np.zeros(input_hw, dtype=np.uint8)
    visible = keypoints[:, 2] > 1
    points = np.round(np.clip(keypoints[:, :2], -9e3, 9e3)).astype(np.int32)
    if visible.sum() < 2:
        return canvas.astype(bool)
    shown = points[visible]
    width = max(3, round(0.04 * float(np.ptp(shown, axis=0).max())))
    for parent, child in LIMBS:
        if visible[parent] and visible[child]:
            cv2.line(canvas, points[parent].tolist(), points[child].tolist(), 1, width)
    if visible[list(TORSO)].all():
        cv2.fillConvexPoly(canvas, points[list(TORSO)], 1)
    return canvas.astype(bool)


def recolour(image: ByteArray, augmentation: Augmentation, rng: np.random.Generator) -> ByteArray:
    """Random brightness and contrast per channel, sometimes grey."""
    amount = augmentation.colour
    if rng.random() < augmentation.grey_share:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)
    if amount <= 0:
        return image
    contrast = 1 + rng.uniform(-amount, amount)
    brightness = 127 * rng.uniform(-amount, amount)
    tint = 1 + rng.uniform(-amount, amount, 3) * 0.3
    levels = np.arange(256, dtype=np.float64)[:, None]
    table = np.clip(((levels - 127) * contrast + 127 + brightness) * tint, 0, 255).astype(np.uint8)
    return cv2.LUT(image, table.reshape(1, 256, 3)).astype(np.uint8, copy=False)
