"""Heads to Instances, in the order of the paper: Hough voting, peaks, grouping, scores, mask assignment.

`engine.training.encode` is the exact mirror: ground truth to the same fields. The kernels do the work on the heads'
own grid; only the final label map has the size of the source picture.
"""

from dataclasses import dataclass

import numpy as np

from engine import kernels
from engine.structures import MAX_INSTANCES, FloatArray, Heads, Instances


@dataclass(frozen=True, slots=True)
class DecodeConfig:
    """Every number of the decode. Lengths are network-input pixels, p and t are the paper's names.

    Attributes:
        radius_px: disk radius R the network was trained with (paper: 32).
        bin_px: side of a Hough accumulator's bin.
        blur_passes: binomial smoothing of the accumulator; two passes are a Gaussian of one bin.
        vote_threshold: cells below this p_k do not vote.
        peak_threshold: least height of a Hough peak, where a perfect disk of p = 1 adds up to 1 and, after two
            blurs, is about 0.14 high.
        peak_reach_px: a peak is the maximum of +- this.
        max_peaks: at most so many peaks of each keypoint.
        seed_threshold: least p_k of the peak that starts a person.
        duplicate_px, duplicate_scale: same keypoints nearer than this, or than this many of OKS's own tolerances
            (kappa_k times the person's size), are the same keypoint (seeds, soft-NMS).
        snap_px: the farthest a peak may lie from where a mid offset leads.
        walk_threshold: least p_k to accept a keypoint where no peak is near while the person still grows.
        fill_threshold: the same when nothing more can be found; 0 fills every occluded joint, on
            the picture's edge if it lies beyond, with the small score it has there.
        mid_steps: refinement steps of the mid offsets.
        person_threshold: p, least person probability of a mask pixel.
        distance_threshold: t, largest normalised distance of a pixel's embedding to its skeleton (paper: 0.25; this
            network's mask offsets want more: docs/results.md).
        min_span_px: floor of a skeleton's size, in that distance and in the scores.
        mask_doubt: how much a skeleton of few keypoints must be nearer than a whole one to get a pixel.
        mask_self_steps, mask_short_steps: refinement steps of the mask offsets, by themselves and by short offsets.
        min_score: persons below it are dropped; mask_min_score: they get no pixels.
        max_instances: at most so many persons, best first.
    """

    radius_px: float = 32.0
    bin_px: int = 4
    blur_passes: int = 2
    vote_threshold: float = 0.05
    peak_threshold: float = 0.015
    peak_reach_px: float = 8.0
    max_peaks: int = 60
    seed_threshold: float = 0.2
    duplicate_px: float = 10.0
    duplicate_scale: float = 0.5
    snap_px: float = 32.0
    walk_threshold: float = 0.1
    fill_threshold: float = 0.0
    mid_steps: int = 1
    person_threshold: float = 0.5
    distance_threshold: float = 0.5
    min_span_px: float = 16.0
    mask_doubt: float = 1.0
    mask_self_steps: int = 3
    mask_short_steps: int = 0
    min_score: float = 0.01
    mask_min_score: float = 0.1
    max_instances: int = 100

    def __post_init__(self) -> None:
        if not 0 < self.max_instances <= MAX_INSTANCES:
            raise ValueError(f"max_instances: expected 1 to {MAX_INSTANCES}, got {self.max_instances}")


def decode(heads: Heads, config: DecodeConfig) -> Instances:
    """Everybody in the picture, best first, in source pixels.

    The keypoint scores are expected-OKS scores, a person's score their mean over all 17 after soft-NMS, used for the
    pose and the mask alike.
    """
    maps, short = _contiguous(heads.keypoint_maps), _contiguous(heads.short_offsets)
    mid, long = _contiguous(heads.mid_offsets), _contiguous(heads.mask_offsets)
    person_map, stride = _contiguous(heads.person_map), heads.stride

    hough = kernels.vote(maps, short, stride, config.bin_px, config.radius_px, config.vote_threshold)
    for _ in range(config.blur_passes):
        hough = kernels.blur(hough)
    reach = round(config.peak_reach_px / config.bin_px)
    kinds, xy, _ = kernels.find_peaks(hough, config.peak_threshold, reach, config.bin_px, config.max_peaks)
    points, found = kernels.group(
        kinds, xy, maps, short, mid, long, float(stride),
        config.seed_threshold, config.duplicate_px, config.duplicate_scale, config.snap_px,
        config.walk_threshold, config.fill_threshold, config.mid_steps, MAX_INSTANCES,
    )  # fmt: skip
    keypoint_scores = kernels.expected_oks(points, found, hough, config.bin_px, config.radius_px, config.min_span_px)
    scores, order = kernels.rank(points, found, keypoint_scores, config.duplicate_px, config.duplicate_scale)
    order = order[scores[order] >= config.min_score][: config.max_instances]
    points, found, keypoint_scores, scores = points[order], found[order], keypoint_scores[order], scores[order]

    solid = int((scores >= config.mask_min_score).sum())  # sorted: the first ones
    labels = kernels.assign_cells(
        person_map, maps, short, long, points[:solid], found[:solid], float(stride),
        config.person_threshold, config.distance_threshold, config.min_span_px, config.mask_doubt,
        config.mask_self_steps, config.mask_short_steps,
    )  # fmt: skip
    height, width = heads.letterbox.source_hw
    scale_x, scale_y = heads.letterbox.scale_xy
    label_map = kernels.paint(
        labels, person_map, float(stride), float(heads.person_stride), config.person_threshold,
        height, width, scale_x, scale_y,
    )  # fmt: skip
    present = found > 0
    # A joint beyond the picture's edge is put on it: the picture ends there, and so do the labels.
    xy = np.clip(heads.letterbox.to_source(points), 0, np.array([width - 1, height - 1], dtype=np.float32))
    return Instances(
        keypoints_xy=np.where(present[..., None], xy, np.float32(0)),
        keypoint_scores=np.where(present, np.clip(keypoint_scores, 1e-4, 1), 0).astype(np.float32),
        scores=np.clip(scores, 0, 1),
        label_map=label_map,
    )


def _contiguous(array: FloatArray) -> FloatArray:
    """The kernels are compiled for one layout; a strided view would compile a second copy."""
    return np.ascontiguousarray(array, dtype=np.float32)
