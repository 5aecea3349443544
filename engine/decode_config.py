"""Every number and switch of the decode, one owner for each."""

from dataclasses import dataclass, fields
from math import inf
from typing import Literal, Self, get_args, get_type_hints

from engine.structures import MAX_INSTANCES

Mode = Literal["joint", "pose", "seg"]
Grouping = Literal["default", "strict"]
Score = Literal["oks", "hough", "probability", "constant"]
Centroid = Literal["both", "keypoints", "shoulder", "mean"]


@dataclass(frozen=True, slots=True)
class DecodeConfig:
    """Every number and switch of the decode. Lengths are network-input pixels, p, t, R, alpha are the paper's names.

    Attributes:
        mode: "joint" finds skeletons and masks, "pose" skeletons alone, "seg" masks alone (paper Table 10).
        radius_px: disk radius R the network was trained with (paper: 32).
        bin_px: side of a Hough accumulator's bin.
        blur_passes: binomial smoothing of the accumulator; two passes are a Gaussian of one bin.
        vote_threshold: cells below this p_k do not vote.
        peak_threshold: least height of a Hough peak, where a perfect disk of p = 1 adds up to 1 and, after two
            blurs, is about 0.14 high.
        peak_reach_px: a peak is the maximum of +- this.
        max_peaks: at most so many peaks of each keypoint.
        grouping: "default", or "strict" for the rules of the authors' program: keypoints without a peak are absent.
        seed_threshold: least p_k of the peak that starts a person.
        duplicate_px, duplicate_scale: same keypoints nearer than this, or than this many of OKS's own tolerances
            (kappa_k times the person's size), are the same keypoint (seeds, soft-NMS).
        snap_px: the farthest a peak may lie from where a mid offset leads.
        walk_threshold: least p_k to accept a keypoint where no peak is near while the person still grows.
        fill_threshold: the same when nothing more can be found; 0 fills every occluded joint, on
            the picture's edge if it lies beyond, with the small score it has there.
        mid_steps: refinement steps of the mid offsets.
        score: of a keypoint. "oks" is the expected OKS, "hough" the height of its Hough peak, "probability" p_k
            there, a person's score the mean over all 17 after soft-NMS; "constant" gives p_k and persons of score 1.
        bhm_alpha, bhm_beta: the body heat map's evidence b (alpha = 0.4 in the paper) in a keypoint's score,
            s^(1 - beta) b^beta; beta = 0 turns it off.
        centroid: what stands for a person when pixels are assigned to skeletons: all 17 "keypoints", the right
            "shoulder" (paper fig. 5a), the "mean" of its mask (eq. 2), or "both", keypoints and mean.
        mean_weight: what the mean counts among them, where all the keypoints together are 1.
        person_threshold: p, least person probability of a mask pixel.
        distance_threshold: t, largest normalised distance of a pixel's embedding to its skeleton (paper: 0.25; this
            network's mask offsets want more: docs/results.md).
        min_span_px: floor of a person's size, in that distance and in the scores.
        mask_doubt: how much a skeleton of few keypoints must be nearer than a whole one to get a pixel.
        mask_self_steps, mask_short_steps: refinement steps of the mask offsets, by themselves and by short offsets.
        density: whether the pixels that no skeleton took are clustered by the density of their embeddings, which
            finds people without keypoints; "seg" finds everybody in this way.
        cluster_distance: t of these clusters. cluster_weight: their score's share of a skeleton's.
        min_score: persons below it are dropped; mask_min_score: they get no pixels.
        max_instances: at most so many persons, best first.
    """

    mode: Mode = "joint"
    radius_px: float = 32.0
    bin_px: int = 4
    blur_passes: int = 2
    vote_threshold: float = 0.05
    peak_threshold: float = 0.015
    peak_reach_px: float = 8.0
    max_peaks: int = 60
    grouping: Grouping = "default"
    seed_threshold: float = 0.2
    duplicate_px: float = 10.0
    duplicate_scale: float = 0.5
    snap_px: float = 32.0
    walk_threshold: float = 0.1
    fill_threshold: float = 0.0
    mid_steps: int = 1
    score: Score = "oks"
    bhm_alpha: float = 0.4
    bhm_beta: float = 0.0
    centroid: Centroid = "both"
    mean_weight: float = 0.3
    person_threshold: float = 0.5
    distance_threshold: float = 0.35
    min_span_px: float = 16.0
    mask_doubt: float = 1.0
    mask_self_steps: int = 3
    mask_short_steps: int = 0
    density: bool = True
    cluster_distance: float = 0.4
    cluster_weight: float = 0.2
    min_score: float = 0.003
    mask_min_score: float = 0.15
    max_instances: int = 100

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, str) and not 0 <= value < inf:
                raise ValueError(f"{field.name}: expected a number of at least 0, got {value}")
        for name in ("radius_px", "bin_px", "min_span_px", "distance_threshold", "cluster_distance"):
            if getattr(self, name) == 0:
                raise ValueError(f"{name}: expected more than 0")
        if not 0 < self.max_instances <= MAX_INSTANCES:
            raise ValueError(f"max_instances: expected 1 to {MAX_INSTANCES}, got {self.max_instances}")
        for name in ("mode", "grouping", "score", "centroid"):
            choices = get_args(get_type_hints(type(self))[name])
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}")

    @classmethod
    def released(cls) -> Self:
        """The numbers and rules of the authors' released program, as far as they are defined on a grid of cells."""
        return cls(
            blur_passes=0,
            vote_threshold=0.0,
            peak_threshold=0.001,
            peak_reach_px=10.0,
            grouping="strict",
            duplicate_scale=0.0,
            mid_steps=2,
            score="constant",
            centroid="keypoints",
            distance_threshold=0.25,
            mask_doubt=0.0,
            mask_self_steps=2,
            mask_short_steps=2,
            density=False,
            mask_min_score=0.0,
        )
