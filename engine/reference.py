"""The decode in plain NumPy, in the manner of the authors' released program: a yardstick for speed and for results.

Everything happens on maps of the size of the network input, one value for each pixel, as there:

1. `dense`, which there is part of the network's graph: all fields are enlarged bilinearly, corners on corners; mid
   offsets are refined by the short offsets, mask offsets by themselves and then by the short offsets, at every pixel.
   A sample that lies partly outside changes nothing.
2. Hough voting: every pixel votes with p / (pi R^2), shared among the four pixels around the end of its short offset.
   No blur, as in the released evaluation.
3. Peaks: the maxima of a window of `2 * peak_reach_px` pixels (one less to the right and below) over the threshold.
4. Grouping: the best free peak, unless it lies within `duplicate_px` of the same keypoint of somebody, starts a person.
   The tree is walked breadth first; an edge takes the nearest free peak within `snap_px` of where the mid offset of
   the rounded place leads, or ends there. Fewer than four keypoints are nobody.
5. Masks: each pixel of p_S >= p goes to the skeleton of least D = sum_k c_k |G_k - y_k| / lambda / sum_k c_k, if that
   is at most t; c is the height of the keypoint's peak. All persons score 1.

Its slips are not repeated: there, absent keypoints count as ones at (0, 0) in 4 and in lambda, and every pixel of an
empty plane is a peak until the threshold is asked. lambda has the decode's own floor.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.decode_config import DecodeConfig
from engine.skeleton import DIRECTED_EDGES, NUM_KEYPOINTS
from engine.structures import FloatArray, Heads, Instances, Letterbox

LEAST_KEYPOINTS: Final = 4  # the seed and three matched edges

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class DenseFields:
    """The heads at each pixel of the network input, offsets refined: float32, in the order of `Heads`."""

    keypoint_maps: FloatArray  # (17, H, W)
    short_offsets: FloatArray  # (17, 2, H, W)
    mid_offsets: FloatArray  # (32, 2, H, W)
    mask_offsets: FloatArray  # (17, 2, H, W)
    person_map: FloatArray  # (H, W)
    letterbox: Letterbox


@dataclass(frozen=True, slots=True, eq=False)
class _Peaks:
    """Best first: kinds (M,), whole pixels xy (M, 2), heights (M,)."""

    kinds: IntArray
    xy: IntArray
    heights: FloatArray


def dense(heads: Heads, config: DecodeConfig) -> DenseFields:
    """Enlarge all fields to the network input and refine the offsets everywhere."""
    hw = heads.letterbox.input_hw
    short = enlarge(heads.short_offsets, hw)
    mid = enlarge(heads.mid_offsets, hw)
    for edge, (_, target) in enumerate(DIRECTED_EDGES):
        for _ in range(config.mid_steps):
            mid[edge] = _refined(mid[edge], short[target])
    plain = enlarge(heads.mask_offsets, hw)
    mask = plain.copy()
    for k in range(NUM_KEYPOINTS):
        for step in range(config.mask_self_steps + config.mask_short_steps):
            mask[k] = _refined(mask[k], plain[k] if step < config.mask_self_steps else short[k])
    return DenseFields(
        enlarge(heads.keypoint_maps, hw), short, mid, mask, enlarge(heads.person_map, hw), heads.letterbox
    )


def decode(fields: DenseFields, config: DecodeConfig) -> Instances:
    """Everybody in the picture, in source pixels, by the released rules and the config's numbers."""
    peaks = find_peaks(vote(fields, config.radius_px), config)
    points, scores = group(peaks, fields.mid_offsets, config)
    labels = assign(fields, points, scores, config)
    return _instances(fields.letterbox, points, scores, labels)


def enlarge(planes: FloatArray, hw: tuple[int, int]) -> FloatArray:
    """Bilinear enlargement of (..., h, w) to (..., *hw), corners on corners."""

    def weights(size: int, cells: int) -> FloatArray:
        at = np.linspace(0, cells - 1, size)[:, None]
        return np.clip(1 - np.abs(at - np.arange(cells)), 0, None).astype(np.float32)

    h, w = planes.shape[-2:]
    return np.ascontiguousarray(weights(hw[0], h) @ planes @ weights(hw[1], w).T)


def _refined(offsets: FloatArray, by: FloatArray) -> FloatArray:
    """(2, H, W) offsets, each lengthened by what the field `by` says where it leads."""
    height, width = offsets.shape[1:]
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    x, y = xs + offsets[0], ys + offsets[1]
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    inside = (left >= 0) & (top >= 0) & (left < width - 1) & (top < height - 1)
    left, top = np.where(inside, left, 0), np.where(inside, top, 0)
    fx, fy = x - left, y - top
    upper = by[:, top, left] * (1 - fx) + by[:, top, left + 1] * fx
    lower = by[:, top + 1, left] * (1 - fx) + by[:, top + 1, left + 1] * fx
    return np.where(inside, offsets + upper * (1 - fy) + lower * fy, offsets)


def vote(fields: DenseFields, radius: float) -> FloatArray:
    """The Hough maps (17, H, W)."""
    count, height, width = fields.keypoint_maps.shape
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    hough = np.zeros((count, height, width), dtype=np.float32)
    for k in range(count):
        x, y = xs + fields.short_offsets[k, 0], ys + fields.short_offsets[k, 1]
        left, top = np.floor(x).astype(int), np.floor(y).astype(int)
        for row in (top, top + 1):
            for col in (left, left + 1):
                inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
                votes = fields.keypoint_maps[k] * (1 - np.abs(x - col)) * (1 - np.abs(y - row))
                where = row[inside] * width + col[inside]
                hough[k] += np.bincount(where, votes[inside], height * width).reshape(height, width)
    return hough / np.float32(np.pi * radius**2)


def find_peaks(hough: FloatArray, config: DecodeConfig) -> _Peaks:
    """The maxima of all maps, best first."""
    reach = round(config.peak_reach_px)
    most = _window_max(_window_max(hough, reach, 1), reach, 2)
    kinds, rows, cols = np.nonzero((hough > config.peak_threshold) & (hough == most))
    heights = hough[kinds, rows, cols]
    order = np.argsort(-heights, kind="stable")
    return _Peaks(kinds[order], np.stack([cols, rows], axis=1)[order], heights[order])


def _window_max(planes: FloatArray, reach: int, axis: int) -> FloatArray:
    """The maximum along one axis from `reach` before to `reach - 1` after."""
    size = planes.shape[axis]
    pad = [(0, 0)] * planes.ndim
    pad[axis] = (reach, reach - 1)
    padded = np.moveaxis(np.pad(planes, pad), axis, 0)
    most = padded[:size].copy()
    for shift in range(1, 2 * reach):
        np.maximum(most, padded[shift : shift + size], out=most)
    return np.moveaxis(most, 0, axis)


def group(peaks: _Peaks, mid: FloatArray, config: DecodeConfig) -> tuple[FloatArray, FloatArray]:
    """Persons (N, 17, 2) in input px and the heights of their peaks (N, 17), 0 where a keypoint is absent."""
    used = np.zeros(len(peaks.kinds), dtype=bool)
    found: list[tuple[FloatArray, FloatArray]] = []
    for seed in range(len(used)):
        if used[seed] or len(found) == config.max_instances or _is_known(seed, peaks, found, config.duplicate_px):
            continue
        person = _walk(seed, peaks, used, mid, config.snap_px)
        if np.count_nonzero(person[1]) >= LEAST_KEYPOINTS:
            found.append(person)
    points = np.array([p for p, _ in found], dtype=np.float32).reshape(-1, NUM_KEYPOINTS, 2)
    return points, np.array([s for _, s in found], dtype=np.float32).reshape(-1, NUM_KEYPOINTS)


def _is_known(seed: int, peaks: _Peaks, found: Sequence[tuple[FloatArray, FloatArray]], reach: float) -> bool:
    k, xy = peaks.kinds[seed], peaks.xy[seed]
    return any(scores[k] > 0 and np.hypot(*(points[k] - xy)) <= reach for points, scores in found)


def _walk(
    seed: int, peaks: _Peaks, used: npt.NDArray[np.bool_], mid: FloatArray, reach: float
) -> tuple[FloatArray, FloatArray]:
    """The person that a peak starts: (17, 2) and (17,). Its peaks are marked as used."""
    points = np.zeros((NUM_KEYPOINTS, 2), dtype=np.float32)
    scores = np.zeros(NUM_KEYPOINTS, dtype=np.float32)
    queue = deque([seed])
    used[seed] = True
    points[peaks.kinds[seed]], scores[peaks.kinds[seed]] = peaks.xy[seed], peaks.heights[seed]
    while queue:
        peak = queue.popleft()
        x, y = peaks.xy[peak]
        for edge, (source, target) in enumerate(DIRECTED_EDGES):
            if source != peaks.kinds[peak] or scores[target] > 0:
                continue
            away = np.hypot(*(peaks.xy - (x, y) - mid[edge, :, y, x]).T)
            away[used | (peaks.kinds != target)] = np.inf
            nearest = int(np.argmin(away))
            if away[nearest] <= reach:
                used[nearest] = True
                points[target], scores[target] = peaks.xy[nearest], peaks.heights[nearest]
                queue.append(nearest)
    return points, scores


def assign(fields: DenseFields, points: FloatArray, scores: FloatArray, config: DecodeConfig) -> npt.NDArray[np.uint8]:
    """The owner of each input pixel, uint8 (H, W): 0 is nobody, j + 1 is person j."""
    labels = np.zeros(fields.person_map.shape, dtype=np.uint8)
    rows, cols = np.nonzero(fields.person_map >= config.person_threshold)
    if not len(points) or not len(rows):
        return labels
    embedding = fields.mask_offsets[:, :, rows, cols] + np.stack([cols, rows]).astype(np.float32)  # (17, 2, P)
    distances = np.empty((len(points), len(rows)), dtype=np.float32)
    for person, (xy, weights) in enumerate(zip(points, scores, strict=True)):
        present = weights > 0
        size = max(np.sqrt(np.prod(np.ptp(xy[present], axis=0))), config.min_span_px)
        away = np.linalg.norm(embedding[present] - xy[present][:, :, None], axis=1)
        distances[person] = weights[present] @ away / (size * weights[present].sum())
    best = distances.argmin(axis=0)
    near = distances[best, np.arange(len(best))] <= config.distance_threshold
    labels[rows[near], cols[near]] = best[near] + 1
    return labels


def _instances(
    letterbox: Letterbox, points: FloatArray, scores: FloatArray, labels: npt.NDArray[np.uint8]
) -> Instances:
    """Persons and labels of the input in the source's pixels; each of these takes the label nearest to it."""
    height, width = letterbox.source_hw
    ends = letterbox.to_input(np.stack([np.arange(max(height, width))] * 2, axis=1))
    rows = np.clip(np.rint(ends[:height, 1]), 0, labels.shape[0] - 1).astype(int)
    cols = np.clip(np.rint(ends[:width, 0]), 0, labels.shape[1] - 1).astype(int)
    xy = np.clip(letterbox.to_source(points), 0, np.array([width - 1, height - 1], dtype=np.float32))
    label_map = labels[rows[:, None], cols]
    owned = np.bincount(label_map.ravel(), minlength=len(points) + 1)[1 : len(points) + 1] > 0
    return Instances(
        keypoints_xy=np.where((scores > 0)[..., None], xy, np.float32(0)),
        keypoint_scores=np.clip(scores, 0, 1),
        scores=np.ones(len(points), dtype=np.float32),
        mask_scores=owned.astype(np.float32),
        label_map=label_map,
    )
