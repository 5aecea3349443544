"""Which skeleton owns which cell: the cells' embeddings against the points that stand for a person."""

import math
from typing import Any

import numpy as np
from numba import njit

from engine.kernels.fields import follow, follow_all, follow_itself, inside, sample
from engine.kernels.grouping import boxes_meet, keypoint_box, span
from engine.skeleton import NUM_KEYPOINTS

UNASSIGNED = 255  # the label of a cell nobody asked about; a pixel beside it takes another cell's owner
POINTS = NUM_KEYPOINTS + 1  # what stands for a person: its keypoints and its centroid
TILE = 16  # cells; the embeddings of a tile's cells meet the same few skeletons
MARGIN = 1e-6  # of a bound, against rounding

Array = Any


@njit(cache=True, nogil=True)
def assign_cells(
    person_map: Array,
    maps: Array,
    short: Array,
    long: Array,
    centroid: Array,
    points: Array,
    weights: Array,
    sizes: Array,
    stride: float,
    person_threshold: float,
    distance_threshold: float,
    doubt: float,
    self_steps: int,
    short_steps: int,
) -> tuple[Array, int]:
    """Each person cell goes to the skeleton nearest to its embedding (paper eq. 4).

    D_j = sum_k c_jk min(|G_k - y_jk| / lambda_j, 1) / sum_k c_jk; a skeleton with D_j > t gets nothing. G_k is the
    embedding before or after its refinement, whichever is nearer: where y_jk lies hidden behind somebody, refining
    leads to that one's keypoint. Among the others D_j + doubt / (doubt + sum_k c_jk) decides, so that a fragment with
    two keypoints, however near, does not take the pixels of a whole skeleton.

    The work goes by tiles: the boxes around the tile's embeddings bound D_j from below, and only the skeletons that
    this bound lets through are compared with its cells. So it grows with the cells, not with cells times skeletons.

    Args:
        person_map: float32 (h', w'), on a grid f times finer than the other fields' (h, w).
        maps, short: float32 (17, h, w) and (17, 2, h, w).
        long, centroid: float32 (17, 2, h, w) and (2, h, w), the offsets to the 18 points that stand for a person: its
            keypoints and its centroid.
        points: float32 (N, 18, 2) px; weights: float32 (N, 18), c_jk, 0 for a missing point.
        sizes: float64 (N,), lambda_j, px. doubt, self_steps, short_steps: see `engine.decode_config.DecodeConfig`; the
            centroid takes no short steps.

    Returns:
        uint8 (h, w): j + 1 for person j, 0 for none of them, `UNASSIGNED` where no person is near; and how many pairs
        of a cell and a skeleton were compared.
    """
    h, w = maps.shape[1], maps.shape[2]
    finer = (person_map.shape[0] - 1) // max(1, h - 1)
    labels = np.full((h, w), UNASSIGNED, dtype=np.uint8)
    lone = centroid.reshape((1, 2, h, w))
    sums, doubts, used = _weigh(weights, doubt)
    rows, cols = np.zeros(TILE * TILE, dtype=np.int64), np.zeros(TILE * TILE, dtype=np.int64)
    first, last = np.zeros((POINTS, 2, TILE * TILE)), np.zeros((POINTS, 2, TILE * TILE))
    boxes = np.zeros((POINTS, 4))
    totals, least = np.zeros(TILE * TILE), np.zeros(TILE * TILE)
    compared = 0
    for top in range(0, h, TILE):
        for left in range(0, w, TILE):
            cells = _person_cells(person_map, top, left, h, w, finer, person_threshold, rows, cols)
            if cells == 0:
                continue
            for n in range(cells):
                labels[rows[n], cols[n]] = 0
                least[n] = math.inf
            if len(points) == 0:
                continue
            for k in range(POINTS):
                if not used[k]:
                    continue
                field, index = (lone, 0) if k == NUM_KEYPOINTS else (long, k)
                follow_itself(field, index, rows, cols, cells, stride, self_steps, first[k], last[k])
                if short_steps and k < NUM_KEYPOINTS:
                    _follow_short(maps, short, k, cells, stride, short_steps, last[k])
                _surround(first[k], last[k], cells, boxes[k])
            for j in range(len(points)):
                if _least_distance(boxes, points[j], weights[j], sizes[j], sums[j]) > distance_threshold + MARGIN:
                    continue
                compared += cells
                _distances(first, last, cells, points[j], weights[j], sizes[j], sums[j], totals)
                for n in range(cells):
                    if totals[n] <= distance_threshold and totals[n] + doubts[j] < least[n]:
                        least[n] = totals[n] + doubts[j]
                        labels[rows[n], cols[n]] = j + 1
    return labels, compared


@njit(cache=True, nogil=True)
def _weigh(weights: Array, doubt: float) -> tuple[Array, Array, Array]:
    """Of each skeleton the sum of its weights and its doubt; of each point whether anybody has it."""
    count = len(weights)
    sums, doubts, used = np.zeros(count), np.zeros(count), np.zeros(POINTS, dtype=np.bool_)
    for j in range(count):
        for k in range(POINTS):
            sums[j] += weights[j, k]
            used[k] |= weights[j, k] > 0
        doubts[j] = doubt / (doubt + weights[j].sum() + 1e-9)
    return sums, doubts, used


@njit(cache=True, nogil=True)
def _person_cells(
    person_map: Array, top: int, left: int, h: int, w: int, finer: int, threshold: float, rows: Array, cols: Array
) -> int:
    """Fill in the cells of a tile with a value of the person map around them that reaches the threshold; how many.

    A pixel within one cell of them may need their owner.
    """
    count = 0
    for i in range(top, min(top + TILE, h)):
        for j in range(left, min(left + TILE, w)):
            if _any_above(person_map, i * finer, j * finer, finer, threshold):
                rows[count], cols[count] = i, j
                count += 1
    return count


@njit(cache=True, nogil=True)
def _any_above(plane: Array, row: int, col: int, reach: int, threshold: float) -> bool:
    """Whether a value within +- reach cells reaches the threshold."""
    rows, cols = plane.shape
    for r in range(max(0, row - reach), min(rows, row + reach + 1)):
        for c in range(max(0, col - reach), min(cols, col + reach + 1)):
            if plane[r, c] >= threshold:
                return True
    return False


@njit(cache=True, nogil=True)
def _follow_short(maps: Array, short: Array, k: int, count: int, stride: float, steps: int, ends: Array) -> None:
    """Refine embeddings (2, T) by the short offsets, in place, where there is a disk."""
    for n in range(count):
        x, y = ends[0, n], ends[1, n]
        for _ in range(steps):
            if not inside(maps[k], x, y, stride) or sample(maps[k], x, y, stride) < 0.1:
                break
            x, y = follow(short[k], x, y, stride)
        ends[0, n], ends[1, n] = x, y


@njit(cache=True, nogil=True)
def _surround(first: Array, last: Array, count: int, box: Array) -> None:
    """Fill in the box (x0, y0, x1, y1) around embeddings (2, T), before and after their refinement."""
    for axis in range(2):
        low, high = math.inf, -math.inf
        for n in range(count):
            low = min(low, min(first[axis, n], last[axis, n]))
            high = max(high, max(first[axis, n], last[axis, n]))
        box[axis], box[axis + 2] = low, high


@njit(cache=True, nogil=True)
def _least_distance(boxes: Array, points: Array, weights: Array, size: float, weight: float) -> float:
    """What D is at least for embeddings in these boxes (18, 4)."""
    total = 0.0
    for k in range(POINTS):
        if weights[k] > 0:
            x, y = points[k, 0], points[k, 1]
            dx = max(max(boxes[k, 0] - x, x - boxes[k, 2]), 0.0)
            dy = max(max(boxes[k, 1] - y, y - boxes[k, 3]), 0.0)
            total += weights[k] * min(math.sqrt(dx * dx + dy * dy) / size, 1.0)
    return total / weight if weight > 0 else math.inf


@njit(cache=True, nogil=True)
def _distances(
    first: Array, last: Array, count: int, points: Array, weights: Array, size: float, weight: float, totals: Array
) -> None:
    """Fill in D of `count` embeddings (18, 2, T) from one skeleton; of the two embeddings the nearer counts."""
    for n in range(count):
        totals[n] = 0.0
    for k in range(POINTS):
        if weights[k] > 0:
            x, y, share = float(points[k, 0]), float(points[k, 1]), float(weights[k])
            for n in range(count):
                before = (first[k, 0, n] - x) ** 2 + (first[k, 1, n] - y) ** 2
                after = (last[k, 0, n] - x) ** 2 + (last[k, 1, n] - y) ** 2
                totals[n] += share * min(math.sqrt(min(before, after)) / size, 1.0)
    for n in range(count):
        totals[n] /= weight


@njit(cache=True, nogil=True)
def body_sizes(points: Array, scores: Array, least_px: float) -> Array:
    """lambda_j of each skeleton, at least `least_px`: float64 (N,)."""
    sizes = np.zeros(len(points))
    for j in range(len(points)):
        sizes[j] = max(span(points[j], scores[j]), least_px)
    return sizes


@njit(cache=True, nogil=True)
def body_centroids(
    points: Array, scores: Array, sizes: Array, long: Array, centroid: Array, stride: float
) -> tuple[Array, Array]:
    """Where the centroid offsets (2, h, w) at a skeleton's own keypoints lead: float32 (N, 2) px, and how sure it is.

    A keypoint hidden behind somebody lies on that one's pixels. So only those count whose mask offsets lead to this
    skeleton rather than to another; the second result is the share of the scores that they have, float32 (N,).
    """
    count = len(points)
    out, share = np.zeros((count, 2), dtype=np.float32), np.zeros(count, dtype=np.float32)
    boxes, sums = np.zeros((count, 4)), np.zeros(count)
    for j in range(count):
        boxes[j] = keypoint_box(points[j], scores[j])
        for k in range(NUM_KEYPOINTS):
            sums[j] += scores[j, k]
    ends, around = np.zeros((NUM_KEYPOINTS, 2)), np.zeros(4)
    for j in range(count):
        x, y, weight = 0.0, 0.0, 0.0
        for k in range(NUM_KEYPOINTS):
            if scores[j, k] <= 0:
                continue
            follow_all(long, points[j, k, 0], points[j, k, 1], stride, ends)
            own = _mean_distance(ends, points[j], scores[j], sizes[j], sums[j], 1.0)
            around[:2], around[2:] = math.inf, -math.inf
            for m in range(NUM_KEYPOINTS):
                around[0], around[2] = min(around[0], ends[m, 0]), max(around[2], ends[m, 0])
                around[1], around[3] = min(around[1], ends[m, 1]), max(around[3], ends[m, 1])
            mine = True
            for other in range(count):
                # Where the boxes are farther apart than `own`, every single distance is.
                if other == j or not boxes_meet(around, boxes[other], own * sizes[other] + MARGIN):
                    continue
                if _mean_distance(ends, points[other], scores[other], sizes[other], sums[other], own) < own:
                    mine = False
                    break
            if mine:
                px, py = follow(centroid, points[j, k, 0], points[j, k, 1], stride)
                x += scores[j, k] * px
                y += scores[j, k] * py
                weight += scores[j, k]
        if weight > 0:
            out[j, 0], out[j, 1] = x / weight, y / weight
            share[j] = weight / scores[j].sum()
    return out, share


@njit(cache=True, nogil=True)
def _mean_distance(ends: Array, points: Array, weights: Array, size: float, weight: float, most: float) -> float:
    """D of 17 embeddings (17, 2) from one skeleton; infinite as soon as it is certain to exceed `most`."""
    total, limit = 0.0, (most + MARGIN) * weight
    for k in range(NUM_KEYPOINTS):
        if weights[k] > 0:
            dx, dy = ends[k, 0] - points[k, 0], ends[k, 1] - points[k, 1]
            total += weights[k] * min(math.sqrt(dx**2 + dy**2) / size, 1.0)
            if total > limit:
                return math.inf
    return total / weight if weight > 0 else math.inf
