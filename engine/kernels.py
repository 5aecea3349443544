"""The decode's inner loops, compiled: Hough voting, peaks, grouping, scoring and mask assignment.

Every function takes C-contiguous float32 arrays and plain numbers, releases the GIL and is cached on disk, so the
decode thread runs beside inference. Coordinates are input pixels unless a name says cells; a field's cell (i, j)
lies at input pixel (j * stride, i * stride). The order of the calls is in `engine.decode`.
"""

import math
from typing import Any

import numpy as np
from numba import njit

from engine.skeleton import DIRECTED_EDGES, NUM_EDGES, NUM_KEYPOINTS, OKS_SIGMAS

_SOURCE = np.array([edge[0] for edge in DIRECTED_EDGES], dtype=np.int64)
_TARGET = np.array([edge[1] for edge in DIRECTED_EDGES], dtype=np.int64)
_KAPPA = 2.0 * OKS_SIGMAS.astype(np.float64)

UNASSIGNED = 255  # the label of a cell nobody asked about; a pixel beside it takes another cell's owner

Array = Any  # numba sees plain arrays; their shapes and dtypes stand in the docstrings


@njit(cache=True, nogil=True)
def _clamp(value: float, top: float) -> float:
    return min(max(value, 0.0), top)


@njit(cache=True, nogil=True)
def sample(plane: Array, x: float, y: float, stride: float) -> float:
    """Bilinear value of a (h, w) map at input pixel (x, y), clamped to the border."""
    h, w = plane.shape
    cx = _clamp(x / stride, w - 1.0)
    cy = _clamp(y / stride, h - 1.0)
    j, i = min(int(cx), w - 2), min(int(cy), h - 2)
    j, i = max(j, 0), max(i, 0)
    j1, i1 = min(j + 1, w - 1), min(i + 1, h - 1)
    fx, fy = cx - j, cy - i
    top = plane[i, j] * (1 - fx) + plane[i, j1] * fx
    bottom = plane[i1, j] * (1 - fx) + plane[i1, j1] * fx
    return top * (1 - fy) + bottom * fy


@njit(cache=True, nogil=True)
def _follow(field: Array, x: float, y: float, stride: float) -> tuple[float, float]:
    """Where the (2, h, w) vector field leads from input pixel (x, y)."""
    return x + sample(field[0], x, y, stride), y + sample(field[1], x, y, stride)


@njit(cache=True, nogil=True)
def _follow_own(field: Array, short: Array, x: float, y: float, stride: float, reach: float) -> tuple[float, float]:
    """As `_follow`, from a keypoint, averaging only those of the four cells whose short offset leads back to it.

    Offset fields jump where one person's disk meets another's; mixing both sides would point at nobody.
    """
    h, w = field.shape[1], field.shape[2]
    cx = _clamp(x / stride, w - 1.0)
    cy = _clamp(y / stride, h - 1.0)
    j0, i0 = int(cx), int(cy)
    total, tx, ty = 0.0, 0.0, 0.0
    best, bx, by = 1e18, x, y
    for i in range(i0, min(i0 + 2, h)):
        for j in range(j0, min(j0 + 2, w)):
            px, py = j * stride, i * stride
            miss = math.hypot(px + short[0, i, j] - x, py + short[1, i, j] - y)
            lx, ly = px + field[0, i, j], py + field[1, i, j]
            if miss < best:
                best, bx, by = miss, lx, ly
            if miss <= reach:
                weight = (1 - abs(cx - j)) * (1 - abs(cy - i)) + 1e-3
                total += weight
                tx += weight * lx
                ty += weight * ly
    if total > 0:
        return tx / total, ty / total
    return bx, by


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
def blur(planes: Array) -> Array:
    """Binomial 3x3 smoothing (sigma 0.7 bins) of float32 (K, rows, cols); outside counts as zero."""
    k_count, rows, cols = planes.shape
    out = np.zeros_like(planes)
    row = np.zeros(cols, dtype=np.float32)
    for k in range(k_count):
        for i in range(rows):
            above = planes[k, i - 1] if i > 0 else row * 0
            below = planes[k, i + 1] if i + 1 < rows else row * 0
            for j in range(cols):
                row[j] = np.float32(0.25) * (above[j] + below[j]) + np.float32(0.5) * planes[k, i, j]
            for j in range(cols):
                left = row[j - 1] if j > 0 else np.float32(0)
                right = row[j + 1] if j + 1 < cols else np.float32(0)
                out[k, i, j] = np.float32(0.25) * (left + right) + np.float32(0.5) * row[j]
    return out


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
    """Local maxima above `threshold` within +-`reach` bins, refined to the 3x3 centre of mass, best first.

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
        for i in range(rows):
            for j in range(cols):
                if hough[k, i, j] > threshold and _is_peak(hough[k], i, j, reach):
                    mass, mx, my = 0.0, 0.0, 0.0
                    for r in range(max(0, i - 1), min(rows, i + 2)):
                        for c in range(max(0, j - 1), min(cols, j + 2)):
                            mass += hough[k, r, c]
                            mx += hough[k, r, c] * c
                            my += hough[k, r, c] * r
                    kinds.append(k)
                    xs.append(mx / mass * bin_px)
                    ys.append(my / mass * bin_px)
                    heights.append(hough[k, i, j])
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


@njit(cache=True, nogil=True)
def _towards(
    x: float, y: float, directed: int, maps: Array, short: Array, mid: Array, stride: float, steps: int, reach: float
) -> tuple[float, float]:
    """Follow mid offset `directed` from a keypoint, then let the target's short offsets refine the arrival."""
    source, target = _SOURCE[directed], _TARGET[directed]
    px, py = _follow_own(mid[directed], short[source], x, y, stride, reach)
    for _ in range(steps):
        if sample(maps[target], px, py, stride) < 0.1:  # no disk here: its short offsets mean nothing
            break
        px, py = _follow(short[target], px, py, stride)
    return px, py


@njit(cache=True, nogil=True)
def _span(points: Array, scores: Array) -> float:
    """Square root of the area of the box around the present keypoints (lambda_j), px; at least 1."""
    x0, y0, x1, y1 = 1e18, 1e18, -1e18, -1e18
    for k in range(NUM_KEYPOINTS):
        if scores[k] > 0:
            x0, x1 = min(x0, points[k, 0]), max(x1, points[k, 0])
            y0, y1 = min(y0, points[k, 1]), max(y1, points[k, 1])
    # A straight row of keypoints has no area; a third of its length is about how wide a body is.
    width, height = max(x1 - x0, 0.0), max(y1 - y0, 0.0)
    longest = max(width, height)
    return max(math.sqrt(max(width, longest / 3) * max(height, longest / 3)), 1.0)


@njit(cache=True, nogil=True)
def _nearest_free(px: float, py: float, kind: int, reach: float, kinds: Array, xy: Array, used: Array) -> int:
    best, best_distance = -1, reach
    for m in range(len(kinds)):
        if kinds[m] == kind and not used[m]:
            distance = math.hypot(xy[m, 0] - px, xy[m, 1] - py)
            if distance <= best_distance:
                best, best_distance = m, distance
    return best


@njit(cache=True, nogil=True)
def _join_by_mask_offsets(
    points: Array, scores: Array, kinds: Array, xy: Array, used: Array, long: Array, stride: float, min_reach: float
) -> int:
    """A free candidate whose mask offsets and a present keypoint's agree that they belong together, or -1.

    The tree has no edge between the two sides of a body but through the nose, so a person seen from behind falls
    apart; the mask offsets (MO) lead from any pixel of a person to every keypoint of it.
    """
    reach = max(min_reach, 0.15 * _span(points, scores))
    best, best_miss = -1, 2 * reach
    for m in range(len(kinds)):
        b = kinds[m]
        if used[m] or scores[b] > 0:
            continue
        for a in range(NUM_KEYPOINTS):
            if scores[a] <= 0:
                continue
            fx, fy = _follow(long[b], points[a, 0], points[a, 1], stride)
            there = math.hypot(fx - xy[m, 0], fy - xy[m, 1])
            if there > reach:
                continue
            rx, ry = _follow(long[a], xy[m, 0], xy[m, 1], stride)
            miss = there + math.hypot(rx - points[a, 0], ry - points[a, 1])
            if miss < best_miss:
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
        most: at most so many persons.

    Returns:
        points float32 (N, K, 2) px and scores float32 (N, K), p_k at each keypoint; 0 means missing.
    """
    points = np.zeros((most, NUM_KEYPOINTS, 2), dtype=np.float32)
    scores = np.zeros((most, NUM_KEYPOINTS), dtype=np.float32)
    spans = np.zeros(most)
    used = np.zeros(len(kinds), dtype=np.bool_)
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
            reach = max(duplicate_px, duplicate_scale * _KAPPA[k] * spans[person])
            if scores[person, k] > 0 and math.hypot(points[person, k, 0] - x, points[person, k, 1] - y) <= reach:
                duplicate = True
                break
        if duplicate:
            continue
        used[seed] = True
        mine, mine_scores = points[count], scores[count]
        mine[k, 0], mine[k, 1], mine_scores[k] = x, y, confidence
        tried = np.zeros(2 * NUM_EDGES, dtype=np.bool_)
        while True:
            _grow(mine, mine_scores, tried, kinds, xy, used, maps, short, mid, stride, snap_px, walk_threshold, steps)
            joined = _join_by_mask_offsets(mine, mine_scores, kinds, xy, used, long, stride, duplicate_px)
            if joined < 0:
                break
            used[joined] = True
            b = kinds[joined]
            mine[b, 0], mine[b, 1] = xy[joined, 0], xy[joined, 1]
            mine_scores[b] = max(sample(maps[b], xy[joined, 0], xy[joined, 1], stride), np.float32(1e-6))
        tried[:] = False
        _grow(mine, mine_scores, tried, kinds, xy, used, maps, short, mid, stride, snap_px, fill_threshold, steps)
        spans[count] = _span(mine, mine_scores)
        count += 1
    return points[:count], scores[:count]


@njit(cache=True, nogil=True)
def _grow(
    points: Array,
    scores: Array,
    tried: Array,
    kinds: Array,
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
            if not tried[e] and scores[_TARGET[e]] == 0 and scores[_SOURCE[e]] > sureness:
                edge, sureness = e, scores[_SOURCE[e]]
        if edge < 0:
            return
        tried[edge] = True
        a, b = _SOURCE[edge], _TARGET[edge]
        px, py = _towards(points[a, 0], points[a, 1], edge, maps, short, mid, stride, steps, stride)
        length = math.hypot(px - points[a, 0], py - points[a, 1])
        taken = _nearest_free(px, py, b, min(max(0.3 * length, 0.25 * snap_px), snap_px), kinds, xy, used)
        if taken >= 0:
            used[taken] = True
            px, py = xy[taken, 0], xy[taken, 1]
        inside = 0 <= px <= (maps.shape[2] - 1) * stride and 0 <= py <= (maps.shape[1] - 1) * stride
        confidence = sample(maps[b], px, py, stride) if inside else 0.0
        if taken >= 0 or confidence >= fill_threshold:
            points[b, 0], points[b, 1] = px, py
            scores[b] = max(confidence, 1e-6)


@njit(cache=True, nogil=True)
def expected_oks(points: Array, scores: Array, hough: Array, bin_px: int, radius: float, min_span_px: float) -> Array:
    """PersonLab's expected OKS: p_k weighted by how near the votes around it are, on the person's own scale.

    Args:
        points, scores: float32 (N, K, 2) px and (N, K) from `group`.
        hough: float32 (K, rows, cols) from `vote`. radius: R, px. min_span_px: floor of the person's scale.

    Returns:
        float32 (N, K): scores[j, k] * sum_x h(x) exp(-|x - y|^2 / (2 lambda^2 kappa^2)) / sum_x h(x) over the disk.
    """
    rows, cols = hough.shape[1], hough.shape[2]
    out = np.zeros_like(scores)
    for person in range(len(points)):
        span = max(_span(points[person], scores[person]), min_span_px)
        for k in range(NUM_KEYPOINTS):
            if scores[person, k] <= 0:
                continue
            x, y = points[person, k, 0], points[person, k, 1]
            variance = 2 * (span * _KAPPA[k]) ** 2
            mass, good = 1e-6, 0.0
            for r in range(max(0, int((y - radius) / bin_px)), min(rows, int((y + radius) / bin_px) + 1)):
                for c in range(max(0, int((x - radius) / bin_px)), min(cols, int((x + radius) / bin_px) + 1)):
                    h = hough[k, r, c]
                    if h > 0:
                        d2 = (c * bin_px - x) ** 2 + (r * bin_px - y) ** 2
                        mass += h
                        good += h * math.exp(-d2 / variance)
            out[person, k] = scores[person, k] * good / mass
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
    spans = np.zeros(count)
    for j in range(count):
        raw[j] = keypoint_scores[j].sum() / NUM_KEYPOINTS
        spans[j] = _span(points[j], scores[j])
    order = np.argsort(-raw, kind="mergesort")
    soft = np.zeros(count, dtype=np.float32)
    for position in range(count):
        j = order[position]
        total = 0.0
        for k in range(NUM_KEYPOINTS):
            if scores[j, k] <= 0:
                continue
            free = True
            for earlier in range(position):
                i = order[earlier]
                if scores[i, k] > 0:
                    distance = math.hypot(points[i, k, 0] - points[j, k, 0], points[i, k, 1] - points[j, k, 1])
                    if distance <= max(duplicate_px, duplicate_scale * _KAPPA[k] * spans[i]):
                        free = False
                        break
            if free:
                total += keypoint_scores[j, k]
        soft[j] = total / NUM_KEYPOINTS
    return soft, np.argsort(-soft, kind="mergesort")


@njit(cache=True, nogil=True)
def embed(
    i: int, j: int, k: int, maps: Array, short: Array, long: Array, stride: float, self_steps: int, short_steps: int
) -> tuple[float, float]:
    """Embedding G_k of cell (i, j): where its mask offset leads, refined by itself and then by the short offsets."""
    x = j * stride + long[k, 0, i, j]
    y = i * stride + long[k, 1, i, j]
    right, bottom = (maps.shape[2] - 1) * stride, (maps.shape[1] - 1) * stride
    for _ in range(self_steps):
        if not (0 <= x <= right and 0 <= y <= bottom):
            break
        x, y = _follow(long[k], x, y, stride)
    for _ in range(short_steps):
        if not (0 <= x <= right and 0 <= y <= bottom) or sample(maps[k], x, y, stride) < 0.1:
            break
        x, y = _follow(short[k], x, y, stride)
    return x, y


@njit(cache=True, nogil=True)
def assign_cells(
    person_map: Array,
    maps: Array,
    short: Array,
    long: Array,
    points: Array,
    scores: Array,
    stride: float,
    person_threshold: float,
    distance_threshold: float,
    min_span_px: float,
    doubt: float,
    self_steps: int,
    short_steps: int,
) -> Array:
    """Each person cell goes to the skeleton nearest to its embedding (paper eq. 4, with all 17 keypoints as centroid).

    D_j = sum_k c_jk min(|G_k - y_jk| / lambda_j, 1) / sum_k c_jk; a skeleton with D_j > t gets nothing. Among the
    others D_j + doubt / (doubt + sum_k c_jk) decides, so that a fragment with two keypoints, however near, does not
    take the pixels of a whole skeleton.

    Args:
        person_map: float32 (h', w'), on a grid f times finer than the other fields' (h, w).

    Returns:
        uint8 (h, w): j + 1 for person j, 0 for none of them, `UNASSIGNED` where no person is near.
    """
    h, w = maps.shape[1], maps.shape[2]
    finer = (person_map.shape[0] - 1) // max(1, h - 1)
    count = len(points)
    labels = np.full((h, w), UNASSIGNED, dtype=np.uint8)
    spans = np.zeros(count)
    for j in range(count):
        spans[j] = max(_span(points[j], scores[j]), min_span_px)
    gx, gy = np.zeros(NUM_KEYPOINTS), np.zeros(NUM_KEYPOINTS)
    for i in range(h):
        for c in range(w):
            if not _any_above(person_map, i * finer, c * finer, finer, person_threshold):
                continue
            for k in range(NUM_KEYPOINTS):
                gx[k], gy[k] = embed(i, c, k, maps, short, long, stride, self_steps, short_steps)
            best, least = 0, 1e18
            for j in range(count):
                total, weight = 0.0, 0.0
                for k in range(NUM_KEYPOINTS):
                    if scores[j, k] > 0:
                        miss = math.hypot(gx[k] - points[j, k, 0], gy[k] - points[j, k, 1]) / spans[j]
                        total += scores[j, k] * min(miss, 1.0)
                        weight += scores[j, k]
                distance = total / weight
                if distance <= distance_threshold and distance + doubt / (doubt + weight) < least:
                    best, least = j + 1, distance + doubt / (doubt + weight)
            labels[i, c] = best
    return labels


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
    i, j = int(_clamp(y, h - 1.0)), int(_clamp(x, w - 1.0))
    i1, j1 = min(i + 1, h - 1), min(j + 1, w - 1)
    l00, l01, l10, l11 = labels[i, j], labels[i, j1], labels[i1, j], labels[i1, j1]
    if l00 == l01 and l00 == l10 and l00 == l11:
        return 0 if l00 == UNASSIGNED else l00
    fy, fx = _clamp(y - i, 1.0), _clamp(x - j, 1.0)
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
) -> Array:
    """Cell labels to a label map of the source picture: uint8 (height, width).

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
    for i in range(h):
        i1 = min(i + 1, h - 1)
        for j in range(w):
            j1 = min(j + 1, w - 1)
            p00, p01, p10, p11 = person_map[i, j], person_map[i, j1], person_map[i1, j], person_map[i1, j1]
            if max(max(p00, p01), max(p10, p11)) < threshold:
                continue
            for y in range(first_row[i], first_row[i + 1]):
                fy = _clamp(((y + 0.5) * scale_y - 0.5) / person_stride - i, 1.0)
                for x in range(first_col[j], first_col[j + 1]):
                    fx = _clamp(((x + 0.5) * scale_x - 0.5) / person_stride - j, 1.0)
                    p = (1 - fy) * ((1 - fx) * p00 + fx * p01) + fy * ((1 - fx) * p10 + fx * p11)
                    if p >= threshold:
                        out[y, x] = _owner(labels, (i + fy) * ratio, (j + fx) * ratio)
    return out


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
