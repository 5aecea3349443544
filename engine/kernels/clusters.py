"""Masks without a skeleton: density-based clustering of the embeddings that lead to the mask's centroid."""

import math
from typing import Any

import numpy as np
from numba import njit

from engine.kernels.fields import follow_itself, sample
from engine.kernels.voting import blur, find_peaks

# A disk's pixels lie on average 2/3 of its radius from its centre: the square root of its area is 2.66 times that.
SIZE_PER_DISTANCE = 2.66
BIN = 4  # cells of a bin's side, in which cells are sorted by where they lead

Array = Any


@njit(cache=True, nogil=True)
def cell_mean(person_map: Array, i: int, j: int, finer: int, threshold: float) -> float:
    """The mean of what reaches `threshold` in cell (i, j)'s part of the `finer` times finer person map."""
    reach = finer // 2
    total, count = 0.0, 0
    for r in range(max(0, i * finer - reach), min(person_map.shape[0], i * finer + reach + 1)):
        for c in range(max(0, j * finer - reach), min(person_map.shape[1], j * finer + reach + 1)):
            count += 1
            if person_map[r, c] >= threshold:
                total += person_map[r, c]
    return total / count


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
) -> tuple[Array, Array, int]:
    """Cells that no skeleton took are clustered by the density of their embeddings e = x + C(x) (paper eq. 2 to 4).

    The embeddings vote into an accumulator of the grid's own bins; each of its peaks is a centroid, whose size is
    known from how far its voters are from it. A cell goes to the centroid of least distance |e - c| / size, if that is
    at most t. The skeletons take part with the centroids of the cells they have: a cell that belongs to one of these
    joins it, and no cluster starts there. A centroid asks only the cells that lead near it.

    Args:
        labels: uint8 (h, w) from `assign_cells`; cells of label 0 are asked, those of 1 to `owners` are the
            skeletons'. Changed in place: joined cells get their skeleton's label, the others owners + 1 and so on.
        person_map: float32 (h', w'); centroid: float32 (2, h, w).
        person_threshold, distance_threshold: p and t. min_size_px: floor of a size. steps: self-refinements of C.
        most: at most so many clusters.

    Returns:
        scores float32 (C,): the mean over a cluster's cells of p_S * (1 - (d / t)^2); centroids float32 (C, 2), px;
        and how many pairs of a cell and a centroid were compared.
    """
    h, w = labels.shape
    rows, cols, weights = _weighed_cells(labels, owners, person_map, person_threshold)
    first, last = np.zeros((2, len(rows))), np.zeros((2, len(rows)))
    follow_itself(centroid.reshape((1, 2, h, w)), 0, rows, cols, len(rows), stride, steps, first, last)
    xs, ys = last[0], last[1]
    centres, sizes = np.zeros((owners + most, 2)), np.full(owners + most, -1.0)
    far = np.zeros(len(rows))
    for n in range(len(rows)):
        far[n] = math.hypot(xs[n] - cols[n] * stride, ys[n] - rows[n] * stride)
    _owners_centres(labels, rows, cols, weights, xs, ys, far, owners, min_size_px, centres, sizes)
    free = np.array([n for n in range(len(rows)) if labels[rows[n], cols[n]] == 0], dtype=np.int64)
    rows, cols, weights, xs, ys, far = rows[free], cols[free], weights[free], xs[free], ys[free], far[free]
    density = _vote(weights, xs / stride, ys / stride, far, h, w)
    count = owners
    _, peaks, _ = find_peaks(density[:1], 0.5, 1, 1, most)
    for m in range(len(peaks)):
        x, y = peaks[m, 0] * stride, peaks[m, 1] * stride
        if not _is_taken(x, y, centres, sizes, count, distance_threshold):
            mean = sample(density[1], x, y, stride) / max(sample(density[0], x, y, stride), 1e-6)
            centres[count, 0], centres[count, 1] = x, y
            sizes[count] = max(SIZE_PER_DISTANCE * mean, min_size_px)
            count += 1
    side = BIN * stride
    bins = (h // BIN + 1, w // BIN + 1)
    best, least, compared = _nearest(xs, ys, centres[:count], sizes, distance_threshold, side, bins)
    scores, cells = np.zeros(count - owners, dtype=np.float32), np.zeros(count - owners)
    for n in range(len(rows)):
        if best[n] >= 0:
            labels[rows[n], cols[n]] = best[n] + 1
            if best[n] >= owners:
                cells[best[n] - owners] += 1
                scores[best[n] - owners] += weights[n] * (1 - (least[n] / distance_threshold) ** 2)
    for cluster in range(len(scores)):
        scores[cluster] /= max(cells[cluster], 1.0)
    return scores, centres[owners:count].astype(np.float32), compared


@njit(cache=True, nogil=True)
def _weighed_cells(labels: Array, owners: int, person_map: Array, threshold: float) -> tuple[Array, Array, Array]:
    """Rows and columns (M,) of the cells that are free or have an owner, and their mean p_S > 0, float32 (M,)."""
    h, w = labels.shape
    finer = (person_map.shape[0] - 1) // max(1, h - 1)
    rows, cols = np.zeros(h * w, dtype=np.int64), np.zeros(h * w, dtype=np.int64)
    weights = np.zeros(h * w, dtype=np.float32)
    count = 0
    for i in range(h):
        for j in range(w):
            if labels[i, j] <= owners:
                mean = cell_mean(person_map, i, j, finer, threshold)
                if mean > 0:
                    rows[count], cols[count], weights[count] = i, j, mean
                    count += 1
    return rows[:count], cols[:count], weights[:count]


@njit(cache=True, nogil=True)
def _owners_centres(
    labels: Array,
    rows: Array,
    cols: Array,
    weights: Array,
    xs: Array,
    ys: Array,
    far: Array,
    owners: int,
    min_size_px: float,
    centres: Array,
    sizes: Array,
) -> None:
    """Fill in the mean embedding and the size of each skeleton's own cells; the size of one without stays -1."""
    mass, mean = np.zeros(owners), np.zeros(owners)
    for n in range(len(rows)):
        owner = int(labels[rows[n], cols[n]]) - 1
        if owner >= 0:
            mass[owner] += weights[n]
            centres[owner, 0] += weights[n] * xs[n]
            centres[owner, 1] += weights[n] * ys[n]
            mean[owner] += weights[n] * far[n]
    for owner in range(owners):
        if mass[owner] > 0:
            centres[owner] /= mass[owner]
            sizes[owner] = max(SIZE_PER_DISTANCE * mean[owner] / mass[owner], min_size_px)


@njit(cache=True, nogil=True)
def _vote(weights: Array, xs: Array, ys: Array, far: Array, h: int, w: int) -> Array:
    """The density of embeddings (M,), in cells, and the same times how far each voter is from there: (2, h, w)."""
    density = np.zeros((2, h, w), dtype=np.float32)
    for n in range(len(weights)):
        left, top = math.floor(xs[n]), math.floor(ys[n])
        for r in range(max(0, top), min(h, top + 2)):
            for c in range(max(0, left), min(w, left + 2)):
                vote = weights[n] * (1 - abs(xs[n] - c)) * (1 - abs(ys[n] - r))
                density[0, r, c] += vote
                density[1, r, c] += vote * far[n]
    return blur(density, 1)


@njit(cache=True, nogil=True)
def _is_taken(x: float, y: float, centres: Array, sizes: Array, count: int, threshold: float) -> bool:
    """Whether one of the centres is at most `threshold` of its size away."""
    for n in range(count):
        if sizes[n] > 0 and math.hypot(x - centres[n, 0], y - centres[n, 1]) / sizes[n] <= threshold:
            return True
    return False


@njit(cache=True, nogil=True)
def _bin(value: float, side: float, bins: int) -> int:
    return int(min(max(value / side, 0.0), bins - 1.0))


@njit(cache=True, nogil=True)
def _nearest(
    xs: Array, ys: Array, centres: Array, sizes: Array, threshold: float, side: float, bins: tuple[int, int]
) -> tuple[Array, Array, int]:
    """Of each embedding the centre of least distance in units of its size, -1 if none is within the threshold.

    The embeddings are sorted into `bins` (down, across) of `side` px, what lies outside into those on the border.

    Returns:
        int64 (M,), the distance float64 (M,), and how many pairs were compared.
    """
    (down, across), count, compared = bins, len(xs), 0
    best, least = np.full(count, -1), np.full(count, np.inf)
    where, first = np.zeros(count, dtype=np.int64), np.zeros(down * across + 1, dtype=np.int64)
    for n in range(count):
        where[n] = _bin(ys[n], side, down) * across + _bin(xs[n], side, across)
        first[where[n] + 1] += 1
    first = np.cumsum(first)
    members, filled = np.zeros(count, dtype=np.int64), first.copy()
    for n in range(count):
        members[filled[where[n]]] = n
        filled[where[n]] += 1
    for centre in range(len(centres)):
        if sizes[centre] <= 0:
            continue
        x, y, reach = centres[centre, 0], centres[centre, 1], threshold * sizes[centre] * (1 + 1e-9)
        left, right = _bin(x - reach, side, across), _bin(x + reach, side, across)
        for row in range(_bin(y - reach, side, down), _bin(y + reach, side, down) + 1):
            # Bins beside each other in a row hold members beside each other.
            for m in range(first[row * across + left], first[row * across + right + 1]):
                n = members[m]
                distance = math.hypot(xs[n] - x, ys[n] - y) / sizes[centre]
                compared += 1
                if distance <= threshold and distance < least[n]:
                    best[n], least[n] = centre, distance
    return best, least, compared
