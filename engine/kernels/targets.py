"""The compiled loops of the encoding: the fields on the disks around keypoints, and those on the masks."""

import math
from typing import Any

import numpy as np
from numba import njit

from engine.skeleton import DIRECTED_EDGES, NUM_EDGES, NUM_KEYPOINTS

Array = Any

_EDGES = np.array(DIRECTED_EDGES, dtype=np.int64)


@njit(cache=True, nogil=True)
def disk_fields(keypoints: Array, h: int, w: int, stride: float, radius: float) -> tuple[Array, Array, Array, Array]:
    """p, S, M and M's weight from (P, 17, 3) keypoints: (17, h, w), (17, 2, h, w), (32, 2, h, w), (32, h, w)."""
    maps = np.zeros((NUM_KEYPOINTS, h, w), dtype=np.float32)
    short = np.zeros((NUM_KEYPOINTS, 2, h, w), dtype=np.float32)
    mid = np.zeros((2 * NUM_EDGES, 2, h, w), dtype=np.float32)
    mid_weight = np.zeros((2 * NUM_EDGES, h, w), dtype=np.float32)
    nearest = np.full((h, w), np.inf)
    owner = np.zeros((h, w), dtype=np.int64)
    for k in range(NUM_KEYPOINTS):
        nearest[:] = np.inf
        owner[:] = -1
        for person in range(len(keypoints)):
            if keypoints[person, k, 2] <= 0:
                continue
            x, y = keypoints[person, k, 0], keypoints[person, k, 1]
            for i in range(max(0, math.ceil((y - radius) / stride)), min(h, math.floor((y + radius) / stride) + 1)):
                for j in range(max(0, math.ceil((x - radius) / stride)), min(w, math.floor((x + radius) / stride) + 1)):
                    distance = math.hypot(j * stride - x, i * stride - y)
                    if distance <= radius and distance < nearest[i, j]:
                        nearest[i, j] = distance
                        owner[i, j] = person
        for i in range(h):
            for j in range(w):
                person = owner[i, j]
                if person < 0:
                    continue
                maps[k, i, j] = 1
                short[k, 0, i, j] = keypoints[person, k, 0] - j * stride
                short[k, 1, i, j] = keypoints[person, k, 1] - i * stride
                for e in range(2 * NUM_EDGES):
                    target = _EDGES[e, 1]
                    if _EDGES[e, 0] == k and keypoints[person, target, 2] > 0:
                        mid[e, 0, i, j] = keypoints[person, target, 0] - j * stride
                        mid[e, 1, i, j] = keypoints[person, target, 1] - i * stride
                        mid_weight[e, i, j] = 1
    return maps, short, mid, mid_weight


@njit(cache=True, nogil=True)
def mask_fields(keypoints: Array, sizes: Array, owner: Array, overlap: Array, stride: float) -> tuple[Array, Array]:
    """L (17, 2, h, w) and its weight (17, h, w) from the owner (index of a posed person, or -1) of each cell."""
    h, w = owner.shape
    long = np.zeros((NUM_KEYPOINTS, 2, h, w), dtype=np.float32)
    weight = np.zeros((NUM_KEYPOINTS, h, w), dtype=np.float32)
    for i in range(h):
        for j in range(w):
            person = owner[i, j]
            if person < 0:
                continue
            for k in range(NUM_KEYPOINTS):
                if keypoints[person, k, 2] > 0:
                    long[k, 0, i, j] = keypoints[person, k, 0] - j * stride
                    long[k, 1, i, j] = keypoints[person, k, 1] - i * stride
                    if not overlap[i, j]:
                        weight[k, i, j] = 4 / sizes[person]
    return long, weight
