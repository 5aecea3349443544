"""Heads to Instances, in the order of the paper: Hough voting, peaks, grouping, scores, mask assignment, clustering.

`engine.encode` is the exact mirror: ground truth to the same fields. The kernels do the work on the heads'
own grid; only the final label map has the size of the source picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine import kernels
from engine.decode_config import DecodeConfig
from engine.modes import HEADS_OF_MODE
from engine.skeleton import NUM_KEYPOINTS, RIGHT_SHOULDER
from engine.structures import MAX_INSTANCES, FloatArray, Heads, Instances

__all__ = ["assign", "decode"]

_EVERYWHERE: Final = np.ones((1, 1), dtype=np.float32)  # a person map that says nothing


@dataclass(frozen=True, slots=True, eq=False)
class _People:
    """Skeletons in input px, best first: points (N, 17, 2), p_k `found` (N, 17), reported scores (N, 17), (N,)."""

    points: FloatArray
    found: FloatArray
    keypoint_scores: FloatArray
    scores: FloatArray

    def take(self, order: npt.NDArray[np.int64]) -> "_People":
        return _People(self.points[order], self.found[order], self.keypoint_scores[order], self.scores[order])


def decode(heads: Heads, config: DecodeConfig, voters: Sequence[Heads] = ()) -> Instances:
    """Everybody in the picture, best first, in source pixels.

    Args:
        voters: further heads of the same letterbox; the Hough maps are the mean of theirs and those of `heads`.
    """
    people = _find_people([heads, *voters], config) if "keypoint_maps" in HEADS_OF_MODE[config.mode] else _nobody()
    height, width = heads.letterbox.source_hw
    if "person_map" not in HEADS_OF_MODE[config.mode]:
        return _instances(people, np.zeros((height, width), dtype=np.uint8), np.zeros_like(people.scores), heads)
    solid = int((people.scores >= config.mask_min_score).sum())  # sorted: the first ones
    labels, cluster_scores = _find_masks(heads, people, solid, config)
    people, labels = _merge(people, solid, labels, cluster_scores, config)
    scale_x, scale_y = heads.letterbox.scale_xy
    label_map, certainty = kernels.paint(
        labels, _contiguous(heads.person_map), float(heads.stride), float(heads.person_stride),
        config.person_threshold, height, width, scale_x, scale_y,
    )  # fmt: skip
    # A mask is as good as its person and its outline are sure.
    mask_scores = np.sqrt(people.scores) * certainty[1 : len(people.scores) + 1] ** 2
    return _instances(people, label_map, mask_scores, heads)


def _find_people(voters: Sequence[Heads], config: DecodeConfig) -> _People:
    """The skeletons of the first heads, from the mean Hough maps of all of them."""
    heads = voters[0]
    maps, short = _contiguous(heads.keypoint_maps), _contiguous(heads.short_offsets)
    mid, stride = _contiguous(heads.mid_offsets), float(heads.stride)
    hough = _hough(voters, config)
    reach = round(config.peak_reach_px / config.bin_px)
    kinds, xy, _ = kernels.find_peaks(hough, config.peak_threshold, reach, config.bin_px, config.max_peaks)
    if config.grouping == "strict":
        points, found = kernels.group_strict(
            kinds, xy, maps, short, mid, stride, config.duplicate_px, config.snap_px, config.mid_steps, MAX_INSTANCES
        )
    else:
        points, found = kernels.group(
            kinds, xy, maps, short, mid, _contiguous(heads.mask_offsets), stride,
            config.seed_threshold, config.duplicate_px, config.duplicate_scale, config.snap_px,
            config.walk_threshold, config.fill_threshold, config.mid_steps, config.mode == "joint", MAX_INSTANCES,
        )  # fmt: skip
    keypoint_scores = _keypoint_scores(heads, points, found, hough, config)
    scores, order = kernels.rank(points, found, keypoint_scores, config.duplicate_px, config.duplicate_scale)
    if config.score == "constant":
        scores, order = np.ones_like(scores), np.arange(len(scores))
    order = order[scores[order] >= config.min_score][: config.max_instances]
    return _People(points, found, keypoint_scores, np.clip(scores, 0, 1)).take(order)


def _hough(voters: Sequence[Heads], config: DecodeConfig) -> FloatArray:
    maps = [
        kernels.vote(
            _contiguous(heads.keypoint_maps), _contiguous(heads.short_offsets),
            heads.stride, config.bin_px, config.radius_px, config.vote_threshold,
        )
        for heads in voters
    ]  # fmt: skip
    hough = maps[0] if len(maps) == 1 else _contiguous(np.mean(maps, axis=0))
    return kernels.blur(hough, config.blur_passes)


def _keypoint_scores(
    heads: Heads, points: FloatArray, found: FloatArray, hough: FloatArray, config: DecodeConfig
) -> FloatArray:
    """The reported score of each keypoint, (N, 17) in [0, 1]; 0 where it is missing."""
    if config.score == "oks":
        scores = kernels.expected_oks(points, found, hough, config.bin_px, config.radius_px, config.min_span_px)
    elif config.score == "hough":
        # The height that the blurs leave of a single bin of 1.
        height = (comb(2 * config.blur_passes, config.blur_passes) / 4**config.blur_passes) ** 2
        scores = kernels.peak_heights(points, found, hough, config.bin_px) / np.float32(height)
    else:
        scores = found
    scores = np.clip(scores, 0, 1)
    if config.bhm_beta > 0:
        shown = _contiguous(heads.person_map) if config.mode == "joint" else _EVERYWHERE
        strides = (float(heads.stride), float(heads.person_stride))
        evidence = kernels.body_evidence(
            points, found, _contiguous(heads.keypoint_maps), shown, strides, config.bhm_alpha
        )
        scores = scores ** np.float32(1 - config.bhm_beta) * evidence ** np.float32(config.bhm_beta)
    return np.where(found > 0, np.clip(scores, 1e-4, 1), 0).astype(np.float32)


def assign(heads: Heads, points: FloatArray, found: FloatArray, config: DecodeConfig) -> npt.NDArray[np.uint8]:
    """The owner of each cell among given skeletons, uint8 (h, w): `kernels.assign_cells` by the config's numbers.

    Args:
        points: float32 (N, 17, 2), input px. found: float32 (N, 17), how sure each keypoint is; 0 is missing.
    """
    sizes = kernels.body_sizes(points, found, config.min_span_px)
    points, weights = _stand_ins(heads, points, found, sizes, config)
    labels: npt.NDArray[np.uint8] = kernels.assign_cells(
        _contiguous(heads.person_map), _contiguous(heads.keypoint_maps), _contiguous(heads.short_offsets),
        _contiguous(heads.mask_offsets), _contiguous(heads.centroid_offsets), points, weights, sizes,
        float(heads.stride), config.person_threshold, config.distance_threshold, config.mask_doubt,
        config.mask_self_steps, config.mask_short_steps,
    )[0]  # fmt: skip
    return labels


def _find_masks(
    heads: Heads, people: _People, solid: int, config: DecodeConfig
) -> tuple[npt.NDArray[np.uint8], FloatArray]:
    """The owner of each cell, uint8 (h, w), the first `solid` skeletons and then clusters, and the clusters' scores."""
    labels = assign(heads, people.points[:solid], people.found[:solid], config)
    if not config.density and config.mode == "joint":
        return labels, np.zeros(0, dtype=np.float32)
    scores, _, _ = kernels.cluster_cells(
        labels, solid, _contiguous(heads.person_map), _contiguous(heads.centroid_offsets), float(heads.stride),
        config.person_threshold, config.cluster_distance, config.min_span_px, config.mask_self_steps,
        MAX_INSTANCES - len(people.scores),
    )  # fmt: skip
    return labels, scores


def _stand_ins(
    heads: Heads, points: FloatArray, found: FloatArray, sizes: FloatArray, config: DecodeConfig
) -> tuple[FloatArray, FloatArray]:
    """What stands for a person, its keypoints and its centroid (N, 18, 2), and how much each counts (N, 18)."""
    places = np.zeros((len(points), NUM_KEYPOINTS + 1, 2), dtype=np.float32)
    weights = np.zeros(places.shape[:2], dtype=np.float32)
    places[:, :-1] = points
    if config.centroid == "shoulder":
        weights[:, RIGHT_SHOULDER] = found[:, RIGHT_SHOULDER]
    elif config.centroid != "mean":
        weights[:, :-1] = found
    if config.centroid in ("mean", "both"):
        places[:, -1], share = kernels.body_centroids(
            points, found, sizes, _contiguous(heads.mask_offsets), _contiguous(heads.centroid_offsets),
            float(heads.stride),
        )  # fmt: skip
        scale = np.float32(config.mean_weight if config.centroid == "both" else 1)
        weights[:, -1] = scale * (share * found.sum(axis=1))
    return places, weights


def _merge(
    people: _People, solid: int, labels: npt.NDArray[np.uint8], cluster_scores: FloatArray, config: DecodeConfig
) -> tuple[_People, npt.NDArray[np.uint8]]:
    """Skeletons and clusters in one order by score, and the cells' labels to match."""
    if config.mode == "joint":
        cluster_scores = cluster_scores * np.float32(config.cluster_weight)
    none = np.zeros((len(cluster_scores), NUM_KEYPOINTS), dtype=np.float32)
    everybody = _People(
        np.concatenate([people.points, np.zeros((*none.shape, 2), dtype=np.float32)]),
        np.concatenate([people.found, none]),
        np.concatenate([people.keypoint_scores, none]),
        np.concatenate([people.scores, cluster_scores]),
    )
    order = np.argsort(-everybody.scores, kind="stable")
    order = order[everybody.scores[order] >= config.min_score][: config.max_instances]
    new = np.zeros(256, dtype=np.uint8)
    new[kernels.UNASSIGNED] = kernels.UNASSIGNED
    for rank, index in enumerate(order):
        old = index if index < len(people.scores) else index - len(people.scores) + solid
        if index < solid or index >= len(people.scores):
            new[old + 1] = rank + 1
    return everybody.take(order), new[labels]


def _nobody() -> _People:
    none = np.zeros((0, NUM_KEYPOINTS), dtype=np.float32)
    return _People(np.zeros((0, NUM_KEYPOINTS, 2), dtype=np.float32), none, none, np.zeros(0, dtype=np.float32))


def _instances(people: _People, label_map: npt.NDArray[np.uint8], mask_scores: FloatArray, heads: Heads) -> Instances:
    height, width = heads.letterbox.source_hw
    present = people.found > 0
    edge = np.array([width - 1, height - 1], dtype=np.float32)
    xy = np.clip(heads.letterbox.to_source(people.points), 0, edge)
    return Instances(
        keypoints_xy=np.where(present[..., None], xy, np.float32(0)),
        keypoint_scores=people.keypoint_scores,
        scores=people.scores,
        mask_scores=mask_scores.astype(np.float32),
        label_map=label_map,
    )


def _contiguous(array: Any) -> FloatArray:
    """The kernels are compiled for one layout; a strided view would compile a second copy."""
    return np.ascontiguousarray(array, dtype=np.float32)
