"""Copy-paste of people: someone cut from another picture by the mask, put over a sample, and what that hides."""

import math
from dataclasses import replace
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from engine import coco
from engine.coco import Picture
from engine.encode import Person, person_region
from engine.structures import ByteArray, FloatArray
from engine.training.augmentation import Augmentation, FloatMatrix, warp_image
from engine.training.people import warp_people

# Who is cut out: large enough to be sharp, enough keypoints to teach something.
LEAST_SIDE_PX: Final = 40.0
LEAST_KEYPOINTS: Final = 5
# Nobody is shrunk or enlarged more than this.
ZOOM_RANGE: Final = (0.25, 2.0)
EDGE_BLUR_PX: Final = 1.0
# Whoever shows less of himself is no longer a person to find.
LEAST_VISIBLE: Final = 0.4


def can_be_pasted(annotation: dict[str, Any], picture: Picture) -> bool:
    """Whether an annotation is one whole person with mask and keypoints, not cut by the picture's edge."""
    x, y, width, height = annotation["bbox"]
    flags = annotation.get("iscrowd", 0), annotation.get("is_semantic", False), annotation.get("face_unlabeled", False)
    labelled = annotation.get("mask_labeled", True) and annotation.get("kp_labeled", True)
    keypoints = annotation.get("keypoints") or ()
    return bool(
        not any(flags)
        and labelled
        and annotation.get("segmentation")
        and sum(v > 0 for v in keypoints[2::3]) >= LEAST_KEYPOINTS
        and min(width, height) > 0
        and math.sqrt(width * height) >= LEAST_SIDE_PX
        and x >= 1
        and y >= 1
        and x + width <= picture.width - 1
        and y + height <= picture.height - 1
    )


def paste_people(
    image: ByteArray,
    people: list[Person],
    shown: npt.NDArray[np.bool_],
    donor: Picture,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> tuple[ByteArray, list[Person]]:
    """Paste people of another picture.

    Args:
        image: uint8 (S, S, 3), the sample. people: who is in it.
        shown: bool (S, S), where the sample is picture and not padding; nobody stands in the padding.
        donor: the picture to cut from; somebody in it can be pasted.

    Returns:
        The image, and everybody in it: those beneath as far as they are still seen, the pasted ones last.

    Raises:
        BadPictureError: the donor.
    """
    photo = coco.read_picture(donor)
    candidates = [a for a in donor.annotations if can_be_pasted(a, donor)]
    count = int(rng.integers(1, augmentation.paste_most + 1))
    for n in rng.permutation(len(candidates))[:count]:
        flip = bool(rng.random() < augmentation.flip_share)
        matrix = _random_place(candidates[n], people, shown, augmentation, rng, flip=flip)
        one = replace(donor, annotations=(candidates[n],))
        for person in warp_people(one, matrix, shown.shape, flip=flip):
            mask = None if person.mask is None else person.mask & shown
            if mask is None or not mask.any():
                continue
            image = _blend(image, _warp_box(photo, candidates[n]["bbox"], matrix, len(image)), mask)
            keypoints = person.keypoints.copy()
            keypoints[_on(~shown, keypoints), 2] = 0  # beyond a picture's edge nothing is labelled
            people = [*hide(people, mask), replace(person, mask=mask, keypoints=keypoints, pasted=True)]
    return image, people


def hide(people: list[Person], cover: npt.NDArray[np.bool_]) -> list[Person]:
    """People after the pixels of `cover` have been painted over.

    A covered keypoint is an occluded one. Who shows too little is somebody without keypoint labels, who shows nothing
    is left out.
    """
    left = []
    for person in people:
        region = person_region(person, cover.shape)
        hidden = region & cover
        if not hidden.any():
            left.append(person)
            continue
        rest = region & ~cover
        if not rest.any():
            continue
        mask = None if person.mask is None else rest
        core = None if person.core is None else person.core & ~cover
        keypoints, known = person.keypoints.copy(), person.keypoints_known
        if person.has_keypoints and np.count_nonzero(rest) < LEAST_VISIBLE * np.count_nonzero(region):
            keypoints[:, 2], known = 0, False
        keypoints[_on(cover, keypoints) & (keypoints[:, 2] > 0), 2] = 1
        left.append(replace(person, mask=mask, core=core, keypoints=keypoints, keypoints_known=known))
    return left


def _on(plane: npt.NDArray[np.bool_], keypoints: FloatArray) -> npt.NDArray[np.bool_]:
    """Which keypoints lie on a plane's true pixels: bool (17,)."""
    x, y = np.round(np.clip(keypoints[:, :2], -1, max(plane.shape))).astype(np.int64).T
    within = (x >= 0) & (y >= 0) & (x < plane.shape[1]) & (y < plane.shape[0])
    return within & plane[np.where(within, y, 0), np.where(within, x, 0)]


def _random_place(
    annotation: dict[str, Any],
    people: list[Person],
    shown: npt.NDArray[np.bool_],
    augmentation: Augmentation,
    rng: np.random.Generator,
    *,
    flip: bool,
) -> FloatMatrix:
    """A map (2, 3) from the donor's pixels to the input's: as large as somebody there, maybe close to him."""
    x, y, width, height = annotation["bbox"]
    size = math.sqrt(width * height)
    places = np.flatnonzero(shown)
    row, column = divmod(int(places[int(rng.integers(len(places)))]), shown.shape[1])
    centre = np.array([column, row], dtype=np.float64)
    there = [p.box_xywh for p in people if not p.is_crowd and min(p.box_xywh[2:]) > 0]
    wanted = size
    if there:
        box = np.array(there[int(rng.integers(len(there)))])
        wanted = math.sqrt(box[2] * box[3])
        if rng.random() < augmentation.paste_near_share:
            centre = np.clip(box[:2] + box[2:] * rng.uniform(-0.25, 1.25, 2), 0, len(shown) - 1)
    zoom = float(np.clip(wanted / size * augmentation.paste_ratio ** rng.uniform(-1, 1), *ZOOM_RANGE))
    linear = np.array([[-zoom if flip else zoom, 0.0], [0.0, zoom]])
    shift = centre - linear @ np.array([x + width / 2, y + height / 2])
    return np.concatenate([linear, shift[:, None]], axis=1)


def _warp_box(photo: ByteArray, bbox: list[float], matrix: FloatMatrix, side: int) -> ByteArray:
    """The part of a picture around a box, moved to the input's place: uint8 (side, side, 3)."""
    x, y, width, height = bbox
    left, top = max(0, math.floor(x) - 4), max(0, math.floor(y) - 4)
    crop = photo[top : math.ceil(y + height) + 4, left : math.ceil(x + width) + 4]
    shift = matrix[:, :2] @ np.array([left, top], dtype=np.float64) + matrix[:, 2]
    return warp_image(crop, np.column_stack([matrix[:, :2], shift]), side)


def _blend(image: ByteArray, over: ByteArray, mask: npt.NDArray[np.bool_]) -> ByteArray:
    """`over` where the mask is, with an edge about as soft as a photograph's."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    reach = math.ceil(3 * EDGE_BLUR_PX)
    part = slice(max(0, y - reach), y + height + reach), slice(max(0, x - reach), x + width + reach)
    alpha = cv2.GaussianBlur(mask[part].astype(np.float32), (0, 0), EDGE_BLUR_PX)[..., None]
    mixed = image.copy()
    mixed[part] = np.round(image[part] * (1 - alpha) + over[part] * alpha).astype(np.uint8)
    return mixed
