"""Heads of people who never were: for the benchmark and for tests, without a network or a picture.

The people are drawn as limbs, torso and head, encoded as ground truth is, and the fields are made as unsure and as
noisy as a network's. The same arguments give the same heads.
"""

from dataclasses import replace
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from engine.decode_config import DecodeConfig
from engine.encode import Person, encode
from engine.skeleton import EDGES, NUM_KEYPOINTS, TORSO
from engine.structures import Heads, Letterbox

STRIDE: Final = 8
PERSON_STRIDE: Final = 4
WIDTH: Final = 0.45  # of a person's box, per height
COVERAGE: Final = 0.9  # the boxes' area in all, per area of the input: neighbours overlap in part
TALLEST: Final = 0.85  # of the input's shorter side

# A person facing the camera, arms a little out, in a box of 1 x 1; and how far each joint strays from there.
_POSE: Final = np.array(
    [
        *[(0.50, 0.10), (0.57, 0.07), (0.43, 0.07), (0.64, 0.09), (0.36, 0.09)],
        *[(0.72, 0.24), (0.28, 0.24), (0.86, 0.38), (0.14, 0.38), (0.94, 0.52), (0.06, 0.52)],
        *[(0.64, 0.54), (0.36, 0.54), (0.66, 0.76), (0.34, 0.76), (0.68, 0.97), (0.32, 0.97)],
    ]
)
_STRAY: Final = np.array([0.01] * 5 + [0.015] * 2 + [0.04] * 2 + [0.08] * 2 + [0.015] * 2 + [0.03] * 2 + [0.05] * 2)
# Standard deviations of the noise: offsets in px, the keypoint maps outside of all disks, the person map.
_SHORT_PX, _MID_PX, _MASK_PX, _CENTROID_PX, _MAP, _PERSON = 1.5, 3.0, 4.0, 4.0, 0.012, 0.06


def synthetic_people(people: int, input_hw: tuple[int, int], seed: int) -> list[Person]:
    """So many people of random size, place and pose, partly hidden by those before them, the nearest last."""
    rng = np.random.default_rng(seed)
    height, width = input_hw
    typical = min(np.sqrt(COVERAGE * height * width / (WIDTH * max(people, 1))), TALLEST * min(input_hw))
    sizes = np.minimum(typical * rng.uniform(0.7, 1.3, people), TALLEST * min(input_hw))
    columns = max(1, round(np.sqrt(people * width / height / WIDTH)))
    rows = -(-people // columns)
    places = rng.permutation(rows * columns)[:people]
    drawn = []
    for size, place in zip(sizes, places, strict=True):
        free = np.array([width - 1 - WIDTH * size, height - 1 - size])
        where = np.array([place % columns, place // columns]) + rng.uniform(0, 1, 2)
        corner = where / (columns, rows) * free
        drawn.append(_draw(_joints(rng, corner, size), input_hw, size))
    drawn.sort(key=lambda person: person.box_xywh[1] + person.box_xywh[3])
    return _hide(drawn, input_hw)


def synthetic_heads(people: int, input_hw: tuple[int, int], seed: int) -> Heads:
    """What a network might say about a picture of so many people, at stride 8, the person map at stride 4.

    Args:
        input_hw: sides of the network input, n * 16 + 1 px; the source is as large. For another source replace the
            heads' letterbox by one of the same input.
    """
    radius = DecodeConfig().radius_px
    rng = np.random.default_rng(seed + 1)
    targets = encode(synthetic_people(people, input_hw, seed), input_hw, STRIDE, PERSON_STRIDE, radius)
    heads = targets.heads(STRIDE, Letterbox(input_hw, input_hw, (1.0, 1.0)))
    away = np.hypot(heads.short_offsets[:, 0], heads.short_offsets[:, 1]) / radius
    sure = heads.keypoint_maps * (0.95 - 0.5 * away**2) + rng.normal(0, _MAP, away.shape)

    def noisy(field: npt.NDArray[np.float32], deviation: float) -> npt.NDArray[np.float32]:
        return (field + rng.normal(0, deviation, field.shape)).astype(np.float32)

    return Heads(
        keypoint_maps=np.clip(sure, 0.001, 0.999).astype(np.float32),
        short_offsets=noisy(heads.short_offsets, _SHORT_PX),
        mid_offsets=noisy(heads.mid_offsets, _MID_PX),
        mask_offsets=noisy(heads.mask_offsets, _MASK_PX),
        centroid_offsets=noisy(heads.centroid_offsets, _CENTROID_PX),
        person_map=np.clip(noisy(heads.person_map, _PERSON), 0.001, 0.999),
        stride=STRIDE,
        letterbox=heads.letterbox,
    )


def _joints(rng: np.random.Generator, corner: npt.NDArray[np.float64], size: float) -> npt.NDArray[np.float64]:
    """(17, 2) px of a person of that height whose box has its top left at `corner`."""
    joints = _POSE * (WIDTH, 1) + rng.normal(0, 1, (NUM_KEYPOINTS, 2)) * _STRAY[:, None]
    return np.asarray(np.clip(joints, (0, 0), (WIDTH, 1)) * size + corner)


def _draw(joints: npt.NDArray[np.float64], input_hw: tuple[int, int], size: float) -> Person:
    canvas = np.zeros(input_hw, np.uint8)
    at = np.rint(joints).astype(int).tolist()
    for parent, child in EDGES[4:]:
        cv2.line(canvas, at[parent], at[child], 1, max(2, round(0.07 * size)))
    cv2.fillConvexPoly(canvas, np.array([at[k] for k in TORSO]), 1)
    cv2.ellipse(canvas, at[0], (round(0.08 * size), round(0.11 * size)), 0, 0, 360, 1, cv2.FILLED)
    x, y, width, height = cv2.boundingRect(canvas)
    keypoints = np.concatenate([joints, np.full((NUM_KEYPOINTS, 1), 2)], axis=1).astype(np.float32)
    return Person(keypoints, (x, y, width, height), canvas.astype(bool))


def _hide(people: list[Person], input_hw: tuple[int, int]) -> list[Person]:
    """Each keeps the pixels that nobody after it in the list covers."""
    taken, shown = np.zeros(input_hw, dtype=bool), []
    for person in reversed(people):
        mask = np.asarray(person.mask)
        shown.append(replace(person, mask=mask & ~taken))
        taken |= mask
    return shown[::-1]
