"""The body heat map (BHM): as a picture, and as evidence for a keypoint."""

from typing import Any

import numpy as np
from numba import njit

from engine.kernels.fields import sample
from engine.skeleton import NUM_KEYPOINTS

Array = Any


@njit(cache=True, nogil=True)
def body_heat(maps: Array, alpha: float) -> Array:
    """B(x) = 1 - prod_k (1 - alpha p_k(x)) of float32 (17, h, w) keypoint maps: float32 (h, w) in [0, 1].

    The paper adds alpha P_k (alpha = 0.4); the noisy-or stays within [0, 1] where disks overlap.
    """
    k_count, h, w = maps.shape
    out = np.zeros((h, w), dtype=np.float32)
    for i in range(h):
        for j in range(w):
            cold = 1.0
            for k in range(k_count):
                cold *= 1 - alpha * maps[k, i, j]
            out[i, j] = 1 - cold
    return out


@njit(cache=True, nogil=True)
def body_evidence(points: Array, scores: Array, maps: Array, person_map: Array, strides: Any, alpha: float) -> Array:
    """How much the rest of a body speaks for each of its keypoints: float32 (N, 17) in [0, 1].

    b_jk = min(1, sum over the other keypoints l of alpha p_l(y_jl)) * p_S(y_jk): the heat that the other keypoints of
    person j add up to (the paper's I = sum_k alpha P_k), where the picture shows a person at all.

    Args:
        points, scores: float32 (N, 17, 2) px and (N, 17); 0 is missing.
        maps: float32 (17, h, w); person_map: float32 (h', w'); strides: (of the maps, of the person map), px.
    """
    out = np.zeros_like(scores)
    heats = np.zeros(NUM_KEYPOINTS)
    for person in range(len(points)):
        total = 0.0
        for k in range(NUM_KEYPOINTS):
            heats[k] = 0.0
            if scores[person, k] > 0:
                heats[k] = alpha * sample(maps[k], points[person, k, 0], points[person, k, 1], strides[0])
                total += heats[k]
        for k in range(NUM_KEYPOINTS):
            if scores[person, k] > 0:
                shown = sample(person_map, points[person, k, 0], points[person, k, 1], strides[1])
                out[person, k] = min(1.0, total - heats[k]) * shown
    return out
