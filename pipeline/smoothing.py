"""Keypoints without jitter: a One-Euro filter for each keypoint of each person.

G. Casiez, N. Roussel, D. Vogel: 1€ Filter, CHI 2012. A low-pass filter whose cutoff rises with the speed: little jitter
at rest, little lag in motion. Here all people and keypoints are filtered at once.
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.skeleton import NUM_KEYPOINTS
from engine.structures import Instances
from pipeline.frames import IntArray

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SmoothingConfig:
    """The filter's numbers, with the names of the paper.

    A body's size is the root of the area of its keypoints' box, so that the numbers hold for every resolution.

    Attributes:
        min_cutoff: cutoff frequency at rest, Hz; less is smoother and slower.
        beta: by how many Hz the cutoff rises per body size per second; more is less lag.
        d_cutoff: cutoff frequency of the speed itself, Hz.
        lost_s: a keypoint that was not found for longer begins anew, and somebody who was not found is forgotten.
    """

    min_cutoff: float = 1.0
    beta: float = 3.0
    d_cutoff: float = 1.0
    lost_s: float = 1.0

    def __post_init__(self) -> None:
        for name in ("min_cutoff", "d_cutoff", "lost_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected more than 0, got {getattr(self, name)}")
        if not self.beta >= 0:
            raise ValueError(f"beta: expected 0 or more, got {self.beta}")


class Smoother:
    """Filters the keypoints of people who have ids; masks, scores and missing keypoints stay as they are."""

    _ids: IntArray  # (T,), who is remembered; the next three are theirs
    _xy: Numbers  # (T, 17, 2), filtered, px
    _speed: Numbers  # (T, 17, 2), filtered, px/s
    _seen_s: Numbers  # (T, 17), when each keypoint was found last

    def __init__(self, config: SmoothingConfig | None = None) -> None:
        self.config = config or SmoothingConfig()
        self._now_s = -math.inf
        self._forget_all()

    def update(self, instances: Instances, identities: IntArray, seconds: float) -> Instances:
        """The people of the next frame with filtered keypoints.

        Args:
            instances: in source pixels.
            identities: int64 (N,), an id for each, none twice; see `pipeline.tracking`.
            seconds: when the frame was taken. Where that is before the last one, everybody begins anew.
        """
        if seconds < self._now_s:
            self._forget_all()
        self._now_s = seconds
        rows = self._rows(identities)
        found = instances.keypoint_scores > 0
        raw = instances.keypoints_xy.astype(np.float64)
        self._xy[rows], self._speed[rows] = self._filtered(rows, raw, found, seconds)
        self._seen_s[rows] = np.where(found, seconds, self._seen_s[rows])
        smooth = np.where(found[..., None], self._xy[rows], raw).astype(np.float32)
        remembered = np.flatnonzero(seconds - self._seen_s.max(axis=1) <= self.config.lost_s)
        self._ids, self._xy = self._ids[remembered], self._xy[remembered]
        self._speed, self._seen_s = self._speed[remembered], self._seen_s[remembered]
        return dataclasses.replace(instances, keypoints_xy=smooth)

    def _filtered(
        self, rows: IntArray, raw: Numbers, found: npt.NDArray[np.bool_], seconds: float
    ) -> tuple[Numbers, Numbers]:
        """The new state of these rows, positions and velocities (N, 17, 2); unchanged where a keypoint is missing."""
        config, xy, speed = self.config, self._xy[rows], self._speed[rows]
        past_s = seconds - self._seen_s[rows]
        begins = past_s > config.lost_s
        step_s = np.where(begins | (past_s <= 0), 1.0, past_s)[..., None]
        measured = np.where(begins[..., None], 0.0, (raw - xy) / step_s)
        new_speed = np.where(begins[..., None], 0.0, speed + _share(config.d_cutoff, step_s) * (measured - speed))
        pace = np.linalg.norm(new_speed, axis=-1, keepdims=True) / _sizes(raw, found)
        new_xy = xy + _share(config.min_cutoff + config.beta * pace, step_s) * (raw - xy)
        new_xy = np.where(begins[..., None], raw, new_xy)
        moves = (found & ~(past_s <= 0))[..., None]  # the same frame once more changes nothing
        return np.where(moves, new_xy, xy), np.where(moves, new_speed, speed)

    def _rows(self, identities: IntArray) -> IntArray:
        """The row of each id; those that are new get one."""
        new = identities[~np.isin(identities, self._ids)]
        more = (len(new), NUM_KEYPOINTS)
        self._ids = np.concatenate((self._ids, new))
        self._xy = np.concatenate((self._xy, np.zeros((*more, 2))))
        self._speed = np.concatenate((self._speed, np.zeros((*more, 2))))
        self._seen_s = np.concatenate((self._seen_s, np.full(more, -np.inf)))
        order = np.argsort(self._ids)
        return order[np.searchsorted(self._ids, identities, sorter=order)]

    def _forget_all(self) -> None:
        none = (0, NUM_KEYPOINTS)
        self._ids = np.zeros(0, dtype=np.int64)
        self._xy, self._speed = np.zeros((*none, 2)), np.zeros((*none, 2))
        self._seen_s = np.zeros(none)


def _share(cutoff_hz: float | Numbers, step_s: Numbers) -> Numbers:
    """The paper's alpha: how much of a step a low-pass filter of this cutoff takes."""
    share: Numbers = 1.0 / (1.0 + 1.0 / (2.0 * np.pi * cutoff_hz * step_s))
    return share


def _sizes(points: Numbers, found: npt.NDArray[np.bool_]) -> Numbers:
    """The root of the area of the box around each one's keypoints, (N, 1, 1) px, at least 1."""
    there = found[..., None]
    low, high = np.where(there, points, np.inf).min(axis=1), np.where(there, points, -np.inf).max(axis=1)
    area = np.where(found.any(axis=1), (high - low).prod(axis=1), 0.0)
    return np.maximum(np.sqrt(np.maximum(area, 0.0)), 1.0)[:, None, None]
