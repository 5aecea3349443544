"""Which person owns which cell and pixel."""

import math
from typing import Any

import numpy as np
from numba import njit

from engine.kernels.fields import clamp, follow, follow_itself, inside, sample
from engine.kernels.grouping import span
from engine.skeleton import NUM_KEYPOINTS

UNASSIGNED = 255  # the label of a cell nobody asked about; a pixel beside it takes another cell's owner

Array = Any


@njit(cache=True, nogil=True)
def embed(
    i: int, j: int, k: int, maps: Array, short: Array, long: Array, stride: float, self_steps: int, short_steps: int
) -> tuple[float, float]:
    """Embedding G_k of cell (i, j): where its mask offset leads, refined by itself and then by the short offsets."""
    x, y = follow_itself(long[k], i, j, stride, self_steps)
    for _ in range(short_steps if k < len(maps) else 0):
        if not inside(maps[k], x, y, stride) or sample(maps[k], x, y, stride) < 0.1:
            break
        x, y = follow(short[k], x, y, stride)
    return x, y


@njit(cache=True, nogil=True)
def assign_cells(
    person_map: Array,
    maps: Array,
    short: Array,
    long: Array,
    points: Array,
    weights: Array,
    sizes: Array,
    stride: float,
    person_threshold: float,
    distance_threshold: float,
    doubt: float,
    self_steps: int,
    short_steps: int,
) -> Array:
    """Each person cell goes to the skeleton nearest to its embedding (paper eq. 4).

    D_j = sum_k c_jk min(|G_k - y_jk| / lambda_j, 1) / sum_k c_jk; a skeleton with D_j > t gets nothing. G_k is the
    embedding before or after its refinement, whichever is nearer: where y_jk lies hidden behind somebody, refining
    leads to that one's keypoint. Among the others D_j + doubt / (doubt + sum_k c_jk) decides, so that a fragment with
    two keypoints, however near, does not take the pixels of a whole skeleton.

    Args:
        person_map: float32 (h', w'), on a grid f times finer than the other fields' (h, w).
        maps, short: float32 (17, h, w) and (17, 2, h, w).
        long: float32 (K, 2, h, w), the offsets to the K points that stand for a person: its keypoints, or its centroid.
        points: float32 (N, K, 2) px; weights: float32 (N, K), c_jk, 0 for a missing point.
        sizes: float64 (N,), lambda_j, px. doubt, self_steps, short_steps: see `engine.decode_config.DecodeConfig`; a
            point beyond the keypoints takes no short steps.

    Returns:
        uint8 (h, w): j + 1 for person j, 0 for none of them, `UNASSIGNED` where no person is near.
    """
    h, w = maps.shape[1], maps.shape[2]
    finer = (person_map.shape[0] - 1) // max(1, h - 1)
    count, kinds = points.shape[0], points.shape[1]
    labels = np.full((h, w), UNASSIGNED, dtype=np.uint8)
    first, last = np.zeros((kinds, 2)), np.zeros((kinds, 2))
    doubts = np.zeros(count)
    for j in range(count):
        doubts[j] = doubt / (doubt + weights[j].sum() + 1e-9)
    for i in range(h):
        for c in range(w):
            if not _any_above(person_map, i * finer, c * finer, finer, person_threshold):
                continue
            if count:
                for k in range(kinds):
                    first[k, 0], first[k, 1] = c * stride + long[k, 0, i, c], i * stride + long[k, 1, i, c]
                    last[k] = embed(i, c, k, maps, short, long, stride, self_steps, short_steps)
            best, least = 0, 1e18
            for j in range(count):
                distance = _distance(first, last, points[j], weights[j], sizes[j])
                if distance <= distance_threshold and distance + doubts[j] < least:
                    best, least = j + 1, distance + doubts[j]
            labels[i, c] = best
    return labels


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
    ends = np.zeros((NUM_KEYPOINTS, 2))
    for j in range(count):
        x, y, weight = 0.0, 0.0, 0.0
        for k in range(NUM_KEYPOINTS):
            if scores[j, k] <= 0:
                continue
            for m in range(NUM_KEYPOINTS):
                ends[m] = follow(long[m], points[j, k, 0], points[j, k, 1], stride)
            own, mine = _distance(ends, ends, points[j], scores[j], sizes[j]), True
            for other in range(count):
                if other != j and _distance(ends, ends, points[other], scores[other], sizes[other]) < own:
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
def _distance(first: Array, last: Array, points: Array, weights: Array, size: float) -> float:
    """D of two embeddings (K, 2), the nearer counts, from one skeleton's points (K, 2); infinite if it has none."""
    total, weight = 0.0, 0.0
    for k in range(len(weights)):
        if weights[k] > 0:
            x, y = points[k, 0], points[k, 1]
            before = (first[k, 0] - x) ** 2 + (first[k, 1] - y) ** 2
            after = (last[k, 0] - x) ** 2 + (last[k, 1] - y) ** 2
            total += weights[k] * min(math.sqrt(min(before, after)) / size, 1.0)
            weight += weights[k]
    return total / weight if weight > 0 else math.inf


@njit(cache=True, nogil=True)
def _any_above(plane: Array, row: int, col: int, reach: int, threshold: float) -> bool:
    """Whether a value within +- reach cells reaches the threshold: a pixel there may need this cell's owner."""
    rows, cols = plane.shape
    for r in range(max(0, row - reach), min(rows, row + reach + 1)):
        for c in range(max(0, col - reach), min(cols, col + reach + 1)):
            if plane[r, c] >= threshold:
                return True
    return False


@njit(cache=True, nogil=True)
def _first_pixels(cells: int, stride: float, scale: float, size: int) -> Array:
    """int64 (cells + 1,): the first source row (column) at or past each cell; the inverse of Letterbox.to_input."""
    first = np.zeros(cells + 1, dtype=np.int64)
    for i in range(1, cells + 1):
        first[i] = min(max(math.ceil((i * stride + 0.5) / scale - 0.5), 0), size)
    return first


@njit(cache=True, nogil=True)
def _owner(labels: Array, y: float, x: float) -> int:
    """The label with the largest bilinear weight among the four cells around cell coordinate (x, y)."""
    h, w = labels.shape
    i, j = int(clamp(y, h - 1.0)), int(clamp(x, w - 1.0))
    i1, j1 = min(i + 1, h - 1), min(j + 1, w - 1)
    l00, l01, l10, l11 = labels[i, j], labels[i, j1], labels[i1, j], labels[i1, j1]
    if l00 == l01 and l00 == l10 and l00 == l11:
        return 0 if l00 == UNASSIGNED else l00
    fy, fx = clamp(y - i, 1.0), clamp(x - j, 1.0)
    w00, w01, w10, w11 = (1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx
    best, label = 0.0, 0
    for candidate in (l00, l01, l10, l11):
        weight = 0.0
        weight += w00 if l00 == candidate else 0.0
        weight += w01 if l01 == candidate else 0.0
        weight += w10 if l10 == candidate else 0.0
        weight += w11 if l11 == candidate else 0.0
        if candidate != UNASSIGNED and weight > best:
            best, label = weight, candidate
    return label


@njit(cache=True, nogil=True)
def paint(
    labels: Array,
    person_map: Array,
    stride: float,
    person_stride: float,
    threshold: float,
    height: int,
    width: int,
    scale_x: float,
    scale_y: float,
) -> tuple[Array, Array]:
    """Cell labels to a label map of the source, uint8 (height, width), and each label's mean p_S, float32 (256,).

    A pixel shows a person where the bilinear person map reaches `threshold`, and belongs to the label with the
    largest bilinear weight among the four cells around it. Quads of cells without a person cost nothing.

    Args:
        labels: uint8 (h, w) from `assign_cells`, at `stride`. person_map: float32 (h', w') at `person_stride`.
    """
    h, w = person_map.shape
    out = np.zeros((height, width), dtype=np.uint8)
    first_row = _first_pixels(h, person_stride, scale_y, height)
    first_col = _first_pixels(w, person_stride, scale_x, width)
    ratio = person_stride / stride
    mass, count = np.zeros(256), np.zeros(256)
    for i in range(h):
        i1 = min(i + 1, h - 1)
        for j in range(w):
            j1 = min(j + 1, w - 1)
            p00, p01, p10, p11 = person_map[i, j], person_map[i, j1], person_map[i1, j], person_map[i1, j1]
            if max(max(p00, p01), max(p10, p11)) < threshold:
                continue
            for y in range(first_row[i], first_row[i + 1]):
                fy = clamp(((y + 0.5) * scale_y - 0.5) / person_stride - i, 1.0)
                for x in range(first_col[j], first_col[j + 1]):
                    fx = clamp(((x + 0.5) * scale_x - 0.5) / person_stride - j, 1.0)
                    p = (1 - fy) * ((1 - fx) * p00 + fx * p01) + fy * ((1 - fx) * p10 + fx * p11)
                    if p >= threshold:
                        owner = _owner(labels, (i + fy) * ratio, (j + fx) * ratio)
                        out[y, x] = owner
                        mass[owner] += p
                        count[owner] += 1
    return out, (mass / np.maximum(count, 1)).astype(np.float32)


@njit(cache=True, nogil=True)
def label_boxes(label_map: Array, count: int) -> Array:
    """Boxes float32 (count, 4), (x, y, width, height), around labels 1 to `count` of a uint8 (H, W) label map.

    A label without a pixel gives zeros. One pass, whatever the count.
    """
    height, width = label_map.shape
    x0, y0 = np.full(count, width), np.full(count, height)
    x1, y1 = np.full(count, -1), np.full(count, -1)
    for y in range(height):
        for x in range(width):
            owner = int(label_map[y, x]) - 1
            if 0 <= owner < count:
                x0[owner], x1[owner] = min(x0[owner], x), max(x1[owner], x)
                y0[owner], y1[owner] = min(y0[owner], y), y
    boxes = np.zeros((count, 4), dtype=np.float32)
    for owner in range(count):
        if x1[owner] >= 0:
            boxes[owner, 0], boxes[owner, 1] = x0[owner], y0[owner]
            boxes[owner, 2], boxes[owner, 3] = x1[owner] - x0[owner] + 1, y1[owner] - y0[owner] + 1
    return boxes
