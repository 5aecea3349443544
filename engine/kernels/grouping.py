"""Greedy grouping of peaks into persons."""

import math
from typing import Any

import numpy as np
from numba import njit

from engine.kernels.fields import clamp, follow, follow_own, inside, sample
from engine.skeleton import DIRECTED_EDGES, NUM_EDGES, NUM_KEYPOINTS, OKS_KAPPAS

SOURCE = np.array([edge[0] for edge in DIRECTED_EDGES], dtype=np.int64)
TARGET = np.array([edge[1] for edge in DIRECTED_EDGES], dtype=np.int64)

Array = Any


@njit(cache=True, nogil=True)
def keypoint_box(points: Array, scores: Array) -> tuple[float, float, float, float]:
    """Box (x0, y0, x1, y1) around the present keypoints; x1 < x0 if there is none."""
    x0, y0, x1, y1 = 1e18, 1e18, -1e18, -1e18
    for k in range(NUM_KEYPOINTS):
        if scores[k] > 0:
            x0, x1 = min(x0, points[k, 0]), max(x1, points[k, 0])
            y0, y1 = min(y0, points[k, 1]), max(y1, points[k, 1])
    return x0, y0, x1, y1


@njit(cache=True, nogil=True)
def boxes_meet(one: Array, other: Array, gap: float) -> bool:
    """Whether two boxes (x0, y0, x1, y1) are no farther than `gap` apart on each axis."""
    return (
        one[0] - gap <= other[2] and other[0] - gap <= one[2] and one[1] - gap <= other[3] and other[1] - gap <= one[3]
    )


@njit(cache=True, nogil=True)
def span(points: Array, scores: Array) -> float:
    """Square root of the area of the box around the present keypoints (lambda_j), px; at least 1."""
    x0, y0, x1, y1 = keypoint_box(points, scores)
    # A straight row of keypoints has no area; a third of its length is about how wide a body is.
    width, height = max(x1 - x0, 0.0), max(y1 - y0, 0.0)
    longest = max(width, height)
    return max(math.sqrt(max(width, longest / 3) * max(height, longest / 3)), 1.0)


@njit(cache=True, nogil=True)
def same_keypoint(one: Array, other: Array, k: int, size: float, least_px: float, scale: float) -> bool:
    """Whether two places are one keypoint k of a person of that size: within max(least_px, scale * kappa_k * size)."""
    return math.hypot(one[0] - other[0], one[1] - other[1]) <= max(least_px, scale * OKS_KAPPAS[k] * size)


@njit(cache=True, nogil=True)
def towards(
    x: float, y: float, directed: int, maps: Array, short: Array, mid: Array, stride: float, steps: int, reach: float
) -> tuple[float, float]:
    """Follow mid offset `directed` from a keypoint, then let the target's short offsets refine the arrival."""
    source, target = SOURCE[directed], TARGET[directed]
    px, py = follow_own(mid[directed], short[source], x, y, stride, reach)
    for _ in range(steps):
        if not inside(maps[target], px, py, stride) or sample(maps[target], px, py, stride) < 0.1:
            break  # no disk here: its short offsets mean nothing
        px, py = follow(short[target], px, py, stride)
    return px, py


@njit(cache=True, nogil=True)
def by_kind(kinds: Array) -> tuple[Array, Array]:
    """The peaks of each kind, best first: those of kind k are members[first[k] : first[k + 1]]."""
    first = np.zeros(NUM_KEYPOINTS + 1, dtype=np.int64)
    for kind in kinds:
        first[kind + 1] += 1
    first = np.cumsum(first)
    members, filled = np.zeros(len(kinds), dtype=np.int64), first.copy()
    for m in range(len(kinds)):
        members[filled[kinds[m]]] = m
        filled[kinds[m]] += 1
    return first, members


@njit(cache=True, nogil=True)
def nearest_free(
    px: float, py: float, kind: int, reach: float, first: Array, members: Array, xy: Array, used: Array
) -> int:
    """The nearest free peak of a kind within `reach` px, or -1. `first`, `members`: from `by_kind`."""
    best, best_distance = -1, reach
    for n in range(first[kind], first[kind + 1]):
        m = members[n]
        if not used[m] and abs(xy[m, 0] - px) <= best_distance:
            distance = math.hypot(xy[m, 0] - px, xy[m, 1] - py)
            if distance <= best_distance:
                best, best_distance = m, distance
    return best


@njit(cache=True, nogil=True)
def _join_by_mask_offsets(
    points: Array,
    scores: Array,
    first: Array,
    members: Array,
    xy: Array,
    used: Array,
    long: Array,
    stride: float,
    min_reach: float,
) -> int:
    """A free candidate whose mask offsets and a present keypoint's agree that they belong together, or -1.

    The tree has no edge between the two sides of a body but through the nose, so a person seen from behind falls
    apart; the mask offsets (MO) lead from any pixel of a person to every keypoint of it.
    """
    reach = max(min_reach, 0.15 * span(points, scores))
    best, best_miss = -1, 2 * reach
    for b in range(NUM_KEYPOINTS):
        if scores[b] > 0 or first[b] == first[b + 1]:
            continue
        for a in range(NUM_KEYPOINTS):
            if scores[a] <= 0:
                continue
            fx, fy = follow(long[b], points[a, 0], points[a, 1], stride)
            for n in range(first[b], first[b + 1]):
                m = members[n]
                if used[m] or abs(fx - xy[m, 0]) > reach:
                    continue
                there = math.hypot(fx - xy[m, 0], fy - xy[m, 1])
                if there > reach:
                    continue
                rx, ry = follow(long[a], xy[m, 0], xy[m, 1], stride)
                miss = there + math.hypot(rx - points[a, 0], ry - points[a, 1])
                if miss < best_miss or (miss == best_miss and m < best):  # of equal ones the better peak
                    best, best_miss = m, miss
    return best


@njit(cache=True, nogil=True)
def group(
    kinds: Array,
    xy: Array,
    maps: Array,
    short: Array,
    mid: Array,
    long: Array,
    stride: float,
    seed_threshold: float,
    duplicate_px: float,
    duplicate_scale: float,
    snap_px: float,
    walk_threshold: float,
    fill_threshold: float,
    steps: int,
    join: bool,
    most: int,
) -> tuple[Array, Array]:
    """Greedy grouping: the best free peak starts a person, which grows along the kinematic tree.

    Args:
        kinds, xy: peaks, best first, from `find_peaks`.
        maps, short, mid, long: the heads p, S, M, L on their grid.
        seed_threshold: least p_k of a peak that starts a person.
        duplicate_px, duplicate_scale: a peak within max(duplicate_px, duplicate_scale * kappa_k * lambda) of the same
            keypoint of a person of size lambda starts none.
        snap_px: the widest gap between where a mid offset leads and the peak it takes.
        walk_threshold: where no peak is near, the arrival itself is taken if p there reaches this.
        fill_threshold: the same once all peaks of the person are found: occluded joints, which must not stand in the
            way of peaks.
        steps: refinement steps of mid offsets by short offsets.
        join: whether mask offsets join what mid offsets cannot; without it they are not read.
        most: at most so many persons.

    Returns:
        points float32 (N, K, 2) px and scores float32 (N, K), p_k at each keypoint; 0 means missing.
    """
    points = np.zeros((most, NUM_KEYPOINTS, 2), dtype=np.float32)
    scores = np.zeros((most, NUM_KEYPOINTS), dtype=np.float32)
    spans = np.zeros(most)
    used = np.zeros(len(kinds), dtype=np.bool_)
    first, members = by_kind(kinds)
    count = 0
    for seed in range(len(kinds)):
        if used[seed] or count == most:
            continue
        k, x, y = kinds[seed], xy[seed, 0], xy[seed, 1]
        confidence = sample(maps[k], x, y, stride)
        if confidence < seed_threshold:
            continue
        duplicate = False
        for person in range(count):
            if scores[person, k] > 0 and same_keypoint(
                points[person, k], xy[seed], k, spans[person], duplicate_px, duplicate_scale
            ):
                duplicate = True
                break
        if duplicate:
            continue
        used[seed] = True
        mine, mine_scores = points[count], scores[count]
        mine[k, 0], mine[k, 1], mine_scores[k] = x, y, confidence
        tried = np.zeros(2 * NUM_EDGES, dtype=np.bool_)
        while True:
            _grow(
                mine, mine_scores, tried, first, members, xy, used, maps, short, mid, stride, snap_px, walk_threshold,
                steps,
            )  # fmt: skip
            joined = -1
            if join:
                joined = _join_by_mask_offsets(mine, mine_scores, first, members, xy, used, long, stride, duplicate_px)
            if joined < 0:
                break
            used[joined] = True
            b = kinds[joined]
            mine[b, 0], mine[b, 1] = xy[joined, 0], xy[joined, 1]
            mine_scores[b] = max(sample(maps[b], xy[joined, 0], xy[joined, 1], stride), np.float32(1e-6))
        tried[:] = False
        _grow(
            mine, mine_scores, tried, first, members, xy, used, maps, short, mid, stride, snap_px, fill_threshold, steps
        )
        spans[count] = span(mine, mine_scores)
        count += 1
    return points[:count], scores[:count]


@njit(cache=True, nogil=True)
def _grow(
    points: Array,
    scores: Array,
    tried: Array,
    first: Array,
    members: Array,
    xy: Array,
    used: Array,
    maps: Array,
    short: Array,
    mid: Array,
    stride: float,
    snap_px: float,
    fill_threshold: float,
    steps: int,
) -> None:
    """Walk from present to missing keypoints along the tree, from the surest keypoint first, until nothing is left."""
    while True:
        edge, sureness = -1, 0.0
        for e in range(2 * NUM_EDGES):
            if not tried[e] and scores[TARGET[e]] == 0 and scores[SOURCE[e]] > sureness:
                edge, sureness = e, scores[SOURCE[e]]
        if edge < 0:
            return
        tried[edge] = True
        a, b = SOURCE[edge], TARGET[edge]
        px, py = towards(points[a, 0], points[a, 1], edge, maps, short, mid, stride, steps, stride)
        length = math.hypot(px - points[a, 0], py - points[a, 1])
        taken = nearest_free(px, py, b, min(max(0.3 * length, 0.25 * snap_px), snap_px), first, members, xy, used)
        if taken >= 0:
            used[taken] = True
            px, py = xy[taken, 0], xy[taken, 1]
        # Nothing is known beyond the edge of the grid.
        px, py = clamp(px, (maps.shape[2] - 1) * stride), clamp(py, (maps.shape[1] - 1) * stride)
        confidence = sample(maps[b], px, py, stride)
        if taken >= 0 or confidence >= fill_threshold:
            points[b, 0], points[b, 1] = px, py
            scores[b] = max(confidence, 1e-6)
