"""The grouping rules of the authors' released program, kept beside the better ones for comparison."""

from typing import Any

import numpy as np
from numba import njit

from engine.kernels.fields import sample
from engine.kernels.grouping import SOURCE, TARGET, by_kind, nearest_free, same_keypoint, towards
from engine.skeleton import NUM_EDGES, NUM_KEYPOINTS

LEAST_KEYPOINTS = 4  # the seed and three matched edges

Array = Any


@njit(cache=True, nogil=True)
def group_strict(
    kinds: Array,
    xy: Array,
    maps: Array,
    short: Array,
    mid: Array,
    stride: float,
    duplicate_px: float,
    snap_px: float,
    steps: int,
    most: int,
) -> tuple[Array, Array]:
    """Greedy grouping by the released rules: a keypoint without a peak is absent, and the walk ends there.

    Any free peak farther than `duplicate_px` from the same keypoint of everybody before starts a person. From it the
    tree is walked breadth first; each edge takes the nearest free peak within `snap_px` of where the mid offset leads.
    Persons of fewer than `LEAST_KEYPOINTS` are dropped, their peaks stay taken.

    Args, returns: see `engine.kernels.grouping.group`.
    """
    points = np.zeros((most, NUM_KEYPOINTS, 2), dtype=np.float32)
    scores = np.zeros((most, NUM_KEYPOINTS), dtype=np.float32)
    used = np.zeros(len(kinds), dtype=np.bool_)
    first, members = by_kind(kinds)
    queue = np.zeros(NUM_KEYPOINTS, dtype=np.int64)
    count = 0
    for seed in range(len(kinds)):
        if used[seed] or count == most:
            continue
        k = kinds[seed]
        duplicate = False
        for person in range(count):
            if scores[person, k] > 0 and same_keypoint(points[person, k], xy[seed], k, 0.0, duplicate_px, 0.0):
                duplicate = True
                break
        if duplicate:
            continue
        mine, mine_scores = points[count], scores[count]
        mine[:], mine_scores[:] = 0, 0
        queue[0], head, tail = seed, 0, 1
        while head < tail:
            m = queue[head]
            head += 1
            a = kinds[m]
            if m == seed:
                used[m] = True
                mine[a, 0], mine[a, 1] = xy[m, 0], xy[m, 1]
                mine_scores[a] = max(sample(maps[a], xy[m, 0], xy[m, 1], stride), np.float32(1e-6))
            for e in range(2 * NUM_EDGES):
                b = TARGET[e]
                if SOURCE[e] != a or mine_scores[b] > 0:
                    continue
                px, py = towards(mine[a, 0], mine[a, 1], e, maps, short, mid, stride, steps, stride)
                taken = nearest_free(px, py, b, snap_px, first, members, xy, used)
                if taken >= 0:
                    used[taken] = True
                    mine[b, 0], mine[b, 1] = xy[taken, 0], xy[taken, 1]
                    mine_scores[b] = max(sample(maps[b], xy[taken, 0], xy[taken, 1], stride), np.float32(1e-6))
                    queue[tail] = taken
                    tail += 1
        if tail >= LEAST_KEYPOINTS:
            count += 1
        else:
            mine_scores[:] = 0
    return points[:count], scores[:count]
