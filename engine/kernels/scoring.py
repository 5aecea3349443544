"""Keypoint and person scores."""

import math
from typing import Any

import numpy as np
from numba import njit

from engine.kernels.fields import sample
from engine.kernels.grouping import boxes_meet, keypoint_box, same_keypoint, span
from engine.skeleton import NUM_KEYPOINTS, OKS_KAPPAS

LARGEST_KAPPA = float(OKS_KAPPAS.max())

Array = Any


@njit(cache=True, nogil=True)
def expected_oks(points: Array, scores: Array, hough: Array, bin_px: int, radius: float, min_span_px: float) -> Array:
    """PersonLab's expected OKS: p_k weighted by how near the votes around it are, on the person's own scale.

    Args:
        points, scores: float32 (N, K, 2) px and (N, K) from `group`.
        hough: float32 (K, rows, cols) from `vote`. radius: R, px. min_span_px: floor of the person's scale.

    Returns:
        float32 (N, K): scores[j, k] * sum_x h(x) exp(-|x - y|^2 / (2 lambda^2 kappa^2)) / sum_x h(x), x in the square
        of side 2 R around the keypoint.
    """
    rows, cols = hough.shape[1], hough.shape[2]
    out = np.zeros_like(scores)
    across = np.zeros(cols)  # exp(-dx^2 / ...) of each column: the Gaussian is the product of two such
    for person in range(len(points)):
        size = max(span(points[person], scores[person]), min_span_px)
        for k in range(NUM_KEYPOINTS):
            if scores[person, k] <= 0:
                continue
            x, y = points[person, k, 0], points[person, k, 1]
            variance = 2 * (size * OKS_KAPPAS[k]) ** 2
            left, right = max(0, int((x - radius) / bin_px)), min(cols, int((x + radius) / bin_px) + 1)
            for c in range(left, right):
                across[c] = math.exp(-((c * bin_px - x) ** 2) / variance)
            mass, good = 1e-6, 0.0
            for r in range(max(0, int((y - radius) / bin_px)), min(rows, int((y + radius) / bin_px) + 1)):
                row, row_good = hough[k, r], 0.0
                for c in range(left, right):
                    mass += row[c]
                    row_good += row[c] * across[c]
                if row_good > 0:
                    good += row_good * math.exp(-((r * bin_px - y) ** 2) / variance)
            out[person, k] = scores[person, k] * good / mass
    return out


@njit(cache=True, nogil=True)
def peak_heights(points: Array, scores: Array, hough: Array, bin_px: int) -> Array:
    """The Hough map's own value at each keypoint: float32 (N, K), 0 where it is missing. Arguments: `expected_oks`."""
    out = np.zeros_like(scores)
    for person in range(len(points)):
        for k in range(NUM_KEYPOINTS):
            if scores[person, k] > 0:
                out[person, k] = sample(hough[k], points[person, k, 0], points[person, k, 1], float(bin_px))
    return out


@njit(cache=True, nogil=True)
def rank(
    points: Array, scores: Array, keypoint_scores: Array, duplicate_px: float, duplicate_scale: float
) -> tuple[Array, Array]:
    """Person scores with soft non-maximum suppression, and their descending order.

    A keypoint within max(duplicate_px, duplicate_scale * kappa_k * lambda) of the same keypoint of a better person,
    of size lambda, adds nothing.

    Returns:
        person scores float32 (N,), in input order, and order int64 (N,).
    """
    count = len(points)
    raw = np.zeros(count, dtype=np.float32)
    spans, boxes = np.zeros(count), np.zeros((count, 4))
    for j in range(count):
        raw[j] = keypoint_scores[j].sum() / NUM_KEYPOINTS
        spans[j] = span(points[j], scores[j])
        boxes[j] = keypoint_box(points[j], scores[j])
    order = np.argsort(-raw, kind="mergesort")
    soft = np.zeros(count, dtype=np.float32)
    free = np.zeros(NUM_KEYPOINTS, dtype=np.bool_)
    for position in range(count):
        j = order[position]
        free[:] = True
        for earlier in range(position):
            i = order[earlier]
            reach = max(duplicate_px, duplicate_scale * LARGEST_KAPPA * spans[i])
            if not boxes_meet(boxes[i], boxes[j], reach):
                continue
            for k in range(NUM_KEYPOINTS):
                if scores[j, k] > 0 and scores[i, k] > 0 and free[k]:
                    free[k] = not same_keypoint(points[i, k], points[j, k], k, spans[i], duplicate_px, duplicate_scale)
        total = 0.0
        for k in range(NUM_KEYPOINTS):
            if scores[j, k] > 0 and free[k]:
                total += keypoint_scores[j, k]
        soft[j] = total / NUM_KEYPOINTS
    return soft, np.argsort(-soft, kind="mergesort")
