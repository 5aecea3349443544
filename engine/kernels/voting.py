"""Hough voting and its peaks."""

import math
from typing import Any

import numpy as np
from numba import njit

Array = Any


@njit(cache=True, nogil=True)
def vote(
    keypoint_maps: Array, short_offsets: Array, stride: int, bin_px: int, radius: float, threshold: float
) -> Array:
    """Hough voting (PersonLab eq. 1; the paper's SKHM peaks h_k): every cell votes p_k at its short offset's end.

    Args:
        keypoint_maps: float32 (K, h, w). short_offsets: float32 (K, 2, h, w), px.
        bin_px: side of a bin of the accumulator, px; divides `stride`.
        radius: the disk radius R, px; a perfect disk of p = 1 adds up to 1.
        threshold: cells with p_k at or below it do not vote.

    Returns:
        float32 (K, (h - 1) * stride / bin_px + 1, (w - 1) * stride / bin_px + 1), each vote spread bilinearly.
    """
    k_count, h, w = keypoint_maps.shape
    rows, cols = (h - 1) * stride // bin_px + 1, (w - 1) * stride // bin_px + 1
    hough = np.zeros((k_count, rows, cols), dtype=np.float32)
    norm = stride * stride / (math.pi * radius * radius)
    for k in range(k_count):
        for i in range(h):
            for j in range(w):
                p = keypoint_maps[k, i, j]
                if p <= threshold:
                    continue
                x = (j * stride + short_offsets[k, 0, i, j]) / bin_px
                y = (i * stride + short_offsets[k, 1, i, j]) / bin_px
                j0, i0 = math.floor(x), math.floor(y)
                for di in range(2):
                    for dj in range(2):
                        r, c = i0 + di, j0 + dj
                        if 0 <= r < rows and 0 <= c < cols:
                            hough[k, r, c] += np.float32(p * norm * (1 - abs(x - c)) * (1 - abs(y - r)))
    return hough


@njit(cache=True, nogil=True)
def blur(planes: Array, passes: int = 1) -> Array:
    """Binomial 3x3 smoothing (sigma 0.7 bins a pass) of float32 (K, rows, cols), in place; outside counts as zero.

    In place, because fresh memory of this size costs more than the smoothing. Returns its argument.
    """
    k_count, rows, cols = planes.shape
    edge = np.zeros(cols, dtype=np.float32)
    down = np.zeros((rows, cols + 2), dtype=np.float32)  # smoothed downwards, between two columns of zeros
    for k in range(k_count):
        plane = planes[k]
        for _ in range(passes):
            for i in range(rows):
                above = plane[i - 1] if i > 0 else edge
                below = plane[i + 1] if i + 1 < rows else edge
                own, row = plane[i], down[i]
                for j in range(cols):
                    row[j + 1] = np.float32(0.25) * (above[j] + below[j]) + np.float32(0.5) * own[j]
            for i in range(rows):
                own, row = plane[i], down[i]
                for j in range(cols):
                    own[j] = np.float32(0.25) * (row[j] + row[j + 2]) + np.float32(0.5) * row[j + 1]
    return planes


@njit(cache=True, nogil=True)
def count_above(row: Array, threshold: float) -> int:
    """How many values of a row exceed the threshold; asked at many places at once, unlike a search."""
    count = 0
    for j in range(len(row)):
        count += row[j] > threshold
    return count


@njit(cache=True, nogil=True)
def _is_peak(plane: Array, i: int, j: int, reach: int) -> bool:
    rows, cols = plane.shape
    value = plane[i, j]
    for r in range(max(0, i - reach), min(rows, i + reach + 1)):
        for c in range(max(0, j - reach), min(cols, j + reach + 1)):
            other = plane[r, c]
            # On a plateau the first in reading order wins, so that equal neighbours give one peak.
            if other > value or (other == value and (r < i or (r == i and c < j))):
                return False
    return True


@njit(cache=True, nogil=True)
def find_peaks(hough: Array, threshold: float, reach: int, bin_px: int, most: int) -> tuple[Array, Array, Array]:
    """Local maxima above `threshold` within +-`reach` bins, refined to the 5x5 centre of mass, best first.

    Returns:
        kinds int64 (M,), positions float32 (M, 2) in input px, heights float32 (M,), descending. At most `most` of
        each kind are kept. Ties keep the order kind, y, x.
    """
    k_count, rows, cols = hough.shape
    kinds, xs, ys, heights = (
        [0 for _ in range(0)],
        [0.0 for _ in range(0)],
        [0.0 for _ in range(0)],
        [0.0 for _ in range(0)],
    )
    for k in range(k_count):
        plane = hough[k]
        for i in range(rows):
            if count_above(plane[i], threshold) == 0:  # most rows where few people are
                continue
            for j in range(cols):
                if plane[i, j] > threshold and _is_peak(plane, i, j, reach):
                    mass, mx, my = 0.0, 0.0, 0.0
                    for r in range(max(0, i - 2), min(rows, i + 3)):
                        for c in range(max(0, j - 2), min(cols, j + 3)):
                            mass += plane[r, c]
                            mx += plane[r, c] * c
                            my += plane[r, c] * r
                    kinds.append(k)
                    xs.append(mx / mass * bin_px)
                    ys.append(my / mass * bin_px)
                    heights.append(plane[i, j])
    order = np.argsort(-np.array(heights, dtype=np.float32), kind="mergesort")
    kept = np.zeros(k_count, dtype=np.int64)
    out_kinds = np.zeros(len(order), dtype=np.int64)
    out_xy = np.zeros((len(order), 2), dtype=np.float32)
    out_heights = np.zeros(len(order), dtype=np.float32)
    n = 0
    for m in order:
        k = kinds[m]
        if kept[k] >= most:
            continue
        kept[k] += 1
        out_kinds[n], out_xy[n, 0], out_xy[n, 1], out_heights[n] = k, xs[m], ys[m], heights[m]
        n += 1
    return out_kinds[:n], out_xy[:n], out_heights[:n]
