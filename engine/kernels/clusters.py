"""Masks without a skeleton: density-based clustering of the embeddings that lead to the mask's centroid."""

import math
from typing import Any

import numpy as np
from numba import njit

from engine.kernels.fields import follow_itself, sample
from engine.kernels.voting import blur, find_peaks

# A disk's pixels lie on average 2/3 of its radius from its centre: the square root of its area is 2.66 times that.
SIZE_PER_DISTANCE = 2.66

Array = Any


@njit(cache=True, nogil=True)
def cell_means(person_map: Array, h: int, w: int, threshold: float) -> Array:
    """float32 (h, w): the mean of what reaches `threshold` in each cell's part of the finer person map, else 0."""
    finer = (person_map.shape[0] - 1) // max(1, h - 1)
    reach = finer // 2
    means = np.zeros((h, w), dtype=np.float32)
    for i in range(h):
        for j in range(w):
            total, count = 0.0, 0
            for r in range(max(0, i * finer - reach), min(person_map.shape[0], i * finer + reach + 1)):
                for c in range(max(0, j * finer - reach), min(person_map.shape[1], j * finer + reach + 1)):
                    count += 1
                    if person_map[r, c] >= threshold:
                        total += person_map[r, c]
            means[i, j] = total / count
    return means


@njit(cache=True, nogil=True)
def cluster_cells(
    labels: Array,
    owners: int,
    person_map: Array,
    centroid: Array,
    stride: float,
    person_threshold: float,
    distance_threshold: float,
    min_size_px: float,
    steps: int,
    most: int,
) -> tuple[Array, Array]:
    """Cells that no skeleton took are clustered by the density of their embeddings e = x + C(x) (paper eq. 2 to 4).

    The embeddings vote into an accumulator of the grid's own bins; each of its peaks is a centroid, whose size is
    known from how far its voters are from it. A cell goes to the centroid of least distance |e - c| / size, if that is
    at most t. The skeletons take part with the centroids of the cells they have: a cell that belongs to one of these
    joins it, and no cluster starts there.

    Args:
        labels: uint8 (h, w) from `assign_cells`; cells of label 0 are asked, those of 1 to `owners` are the
            skeletons'. Changed in place: joined cells get their skeleton's label, the others owners + 1 and so on.
        person_map: float32 (h', w'); centroid: float32 (2, h, w).
        person_threshold, distance_threshold: p and t. min_size_px: floor of a size. steps: self-refinements of C.
        most: at most so many clusters.

    Returns:
        scores float32 (C,): the mean over a cluster's cells of p_S * (1 - (d / t)^2); centroids float32 (C, 2), px.
    """
    h, w = labels.shape
    weights = cell_means(person_map, h, w, person_threshold)
    ends = np.zeros((2, h, w))
    for i in range(h):
        for j in range(w):
            if labels[i, j] <= owners and weights[i, j] > 0:
                ends[0, i, j], ends[1, i, j] = follow_itself(centroid, i, j, stride, steps)
            else:
                weights[i, j] = 0
    centres, sizes = np.zeros((owners + most, 2)), np.full(owners + most, -1.0)
    _owners_centres(labels, weights, ends, stride, owners, min_size_px, centres, sizes)
    density = _vote(labels, weights, ends, stride)
    count = owners
    _, peaks, _ = find_peaks(density[:1], 0.5, 1, 1, most)
    for m in range(len(peaks)):
        x, y = peaks[m, 0] * stride, peaks[m, 1] * stride
        _, distance = _nearest(x, y, centres, sizes, count)
        if distance > distance_threshold:
            far = sample(density[1], x, y, stride) / max(sample(density[0], x, y, stride), 1e-6)
            centres[count, 0], centres[count, 1] = x, y
            sizes[count] = max(SIZE_PER_DISTANCE * far, min_size_px)
            count += 1
    scores, cells = np.zeros(count - owners, dtype=np.float32), np.zeros(count - owners)
    for i in range(h):
        for j in range(w):
            if labels[i, j] != 0 or weights[i, j] <= 0:
                continue
            best, distance = _nearest(ends[0, i, j], ends[1, i, j], centres, sizes, count)
            if distance <= distance_threshold:
                labels[i, j] = best + 1
                if best >= owners:
                    cells[best - owners] += 1
                    scores[best - owners] += weights[i, j] * (1 - (distance / distance_threshold) ** 2)
    for cluster in range(len(scores)):
        scores[cluster] /= max(cells[cluster], 1.0)
    return scores, centres[owners:count].astype(np.float32)


@njit(cache=True, nogil=True)
def _owners_centres(
    labels: Array,
    weights: Array,
    ends: Array,
    stride: float,
    owners: int,
    min_size_px: float,
    centres: Array,
    sizes: Array,
) -> None:
    """Fill in the mean embedding and the size of each skeleton's own cells; the size of one without stays -1."""
    mass, far = np.zeros(owners), np.zeros(owners)
    for i in range(labels.shape[0]):
        for j in range(labels.shape[1]):
            if weights[i, j] > 0 and labels[i, j] > 0:
                owner = labels[i, j] - 1
                x, y = ends[0, i, j], ends[1, i, j]
                mass[owner] += weights[i, j]
                centres[owner, 0] += weights[i, j] * x
                centres[owner, 1] += weights[i, j] * y
                far[owner] += weights[i, j] * math.hypot(x - j * stride, y - i * stride)
    for owner in range(owners):
        if mass[owner] > 0:
            centres[owner] /= mass[owner]
            sizes[owner] = max(SIZE_PER_DISTANCE * far[owner] / mass[owner], min_size_px)


@njit(cache=True, nogil=True)
def _vote(labels: Array, weights: Array, ends: Array, stride: float) -> Array:
    """The density of the free cells' embeddings, and the same times how far each voter is from there: (2, h, w)."""
    h, w = labels.shape
    density = np.zeros((2, h, w), dtype=np.float32)
    for i in range(h):
        for j in range(w):
            if weights[i, j] <= 0 or labels[i, j] > 0:
                continue
            x, y = ends[0, i, j], ends[1, i, j]
            distance = math.hypot(x - j * stride, y - i * stride)
            left, top = math.floor(x / stride), math.floor(y / stride)
            for r in range(max(0, top), min(h, top + 2)):
                for c in range(max(0, left), min(w, left + 2)):
                    vote = weights[i, j] * (1 - abs(x / stride - c)) * (1 - abs(y / stride - r))
                    density[0, r, c] += vote
                    density[1, r, c] += vote * distance
    return blur(density)


@njit(cache=True, nogil=True)
def _nearest(x: float, y: float, centres: Array, sizes: Array, count: int) -> tuple[int, float]:
    """The centre of least distance in units of its size, and that distance."""
    best, least = -1, np.inf
    for n in range(count):
        if sizes[n] > 0:
            distance = math.hypot(x - centres[n, 0], y - centres[n, 1]) / sizes[n]
            if distance < least:
                best, least = n, distance
    return best, least
