"""Ids that stay: who in this frame is whom of the frames before.

Everybody found is compared with where each followed person should be by now: by the keypoints that both have, as OKS
does, and by the overlap of the masks. The surest pairs go together first, and people found with a good score choose
before the others (two stages, as in ByteTrack). All times are seconds: dropped frames and a varying rate do no harm.
"""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.kernels import label_boxes
from engine.skeleton import NUM_KEYPOINTS, OKS_KAPPAS
from engine.structures import ByteArray, Instances
from pipeline.frames import IntArray

BoolArray = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]

_GRID_CELLS: Final = 72  # along the picture's shorter side, at least: so finely are masks compared
_FEWEST_SHARED: Final = 3  # keypoints that two skeletons must have in common to be compared
_CENTRE_KAPPA: Final = float(OKS_KAPPAS.max())  # a box's centre is as uncertain as a hip


@dataclass(frozen=True, slots=True)
class TrackingConfig:
    """The tracker's numbers. A body's size is the root of its box's area, so they hold for every resolution.

    Attributes:
        lost_s: so long somebody is remembered who is not found any more.
        brief_s: the same for somebody who was found fewer than `sure_count` times, as false finds are.
        sure_count: see `brief_s`.
        strong_score: people found with this score or a better one choose first.
        least_similarity: in [0, 1]; two that are less alike are not the same person.
        noise: standard deviation of a keypoint from frame to frame, body sizes.
        drift: the same of what the motion does not foresee, body sizes per second.
        new_drift: the same for somebody found fewer than `sure_count` times, whose motion is not known yet.
        mask_reach: where people drift further between two frames, body sizes, their masks overlap by chance: they
            count less.
        velocity_s: the time over which velocities are averaged.
    """

    lost_s: float = 3.0
    brief_s: float = 0.5
    sure_count: int = 3
    strong_score: float = 0.3
    least_similarity: float = 0.2
    noise: float = 0.1
    drift: float = 0.8
    new_drift: float = 1.5
    mask_reach: float = 0.3
    velocity_s: float = 0.8


class _Shapes(NamedTuple):
    """What people look like, source px; n of them.

    points (n, 17, 2), weights (n, 17) with 0 for a missing keypoint, centres (n, 2) and sizes (n,) of the boxes; cells
    (m, 3), rows of (whose, x, y) on the coarse grid, and areas (n,), how many each one has.
    """

    points: Numbers
    weights: Numbers
    centres: Numbers
    sizes: Numbers
    cells: IntArray
    areas: IntArray

    def take(self, rows: IntArray) -> "_Shapes":
        """Those people, in that order, none twice."""
        place = np.full(len(self.sizes), -1)
        place[rows] = np.arange(len(rows))
        whose = place[self.cells[:, 0]]
        cells = np.column_stack((whose, self.cells[:, 1:]))[whose >= 0]
        return _Shapes(
            self.points[rows], self.weights[rows], self.centres[rows], self.sizes[rows], cells, self.areas[rows]
        )

    def and_(self, others: "_Shapes") -> "_Shapes":
        """These people, then the others."""
        shifted = others.cells + np.array((len(self.sizes), 0, 0))
        both = [np.concatenate(pair) for pair in zip(self, others._replace(cells=shifted), strict=True)]
        return _Shapes(*both)

    def moved(self, offsets: Numbers, cell_px: int) -> "_Shapes":
        """Each one moved by its offset, (n, 2) px."""
        steps = np.rint(offsets / cell_px).astype(np.int64)[self.cells[:, 0]]
        cells = np.column_stack((self.cells[:, 0], self.cells[:, 1:] + steps))
        return self._replace(points=self.points + offsets[:, None], centres=self.centres + offsets, cells=cells)


class Tracker:
    """Gives everybody found an id that stays the same while the person is followed.

    An id is given in the first frame somebody is found in: there is nobody without one. Ids count up from 1 and are
    never given again, not even after the time went back. The same frames give the same ids.
    """

    _shapes: _Shapes  # of the people who are followed, when they were last seen; the next four are theirs too
    _ids: IntArray
    _velocity: Numbers  # (T, 2), px/s
    _seen_s: Numbers
    _count: IntArray  # in how many frames they were found

    def __init__(self, config: TrackingConfig | None = None) -> None:
        self.config = config or TrackingConfig()
        self._last_id = 0
        self._now_s = -math.inf
        self._forget_all((0, 0))

    def update(self, instances: Instances, seconds: float) -> IntArray:
        """The ids of the people found in the next frame, int64 (N,), in their order.

        Args:
            instances: in source pixels.
            seconds: when the frame was taken. Where that is before the last one, or the size has changed, somebody
                seeks, loops or changed the source: everybody is new then.
        """
        hw = instances.label_map.shape
        if hw != self._hw or seconds < self._now_s:
            self._forget_all(hw)
        config, step_s = self.config, max(0.0, seconds - self._now_s)
        self._now_s = seconds
        self._keep(np.flatnonzero(seconds - self._seen_s <= config.lost_s))
        grid, cell_px = _grid(instances)
        found = _shapes(instances, grid, cell_px)
        age_s = seconds - self._seen_s
        expected = self._shapes.moved(self._velocity * age_s[:, None], cell_px)
        drift = np.where(self._count < config.sure_count, config.new_drift, config.drift)
        mask_share = 0.5 * min(1.0, config.mask_reach / math.hypot(config.noise, config.drift * step_s))
        likeness = _likeness(expected, found, np.hypot(config.noise, drift * age_s), mask_share, grid)
        likeness *= np.exp((step_s - age_s) / config.lost_s)[:, None]
        strong = instances.scores >= config.strong_score
        row_of = _pair(likeness, strong, config.least_similarity)
        return self._follow(found, expected, row_of)

    def _follow(self, found: _Shapes, expected: _Shapes, row_of: IntArray) -> IntArray:
        """Take in what was found, column j of it being row row_of[j] or, at -1, somebody new; the ids."""
        config, now_s, known = self.config, self._now_s, len(self._ids)
        columns = np.flatnonzero(row_of >= 0)
        rows = row_of[columns]
        ids = np.zeros(len(row_of), dtype=np.int64)
        ids[columns] = self._ids[rows]
        new = np.flatnonzero(row_of < 0)
        ids[new] = self._last_id + 1 + np.arange(len(new))
        self._last_id += len(new)
        age_s = np.maximum(now_s - self._seen_s[rows], 1e-9)[:, None]
        gain = -np.expm1(-age_s / config.velocity_s)
        self._velocity[rows] += gain * _offsets(expected, found, rows, columns) / age_s
        self._seen_s[rows] = now_s
        self._count[rows] += 1
        source = np.arange(known)
        source[rows] = known + columns
        self._shapes = self._shapes.and_(found).take(np.concatenate((source, known + new)))
        self._ids = np.concatenate((self._ids, ids[new]))
        self._velocity = np.concatenate((self._velocity, np.zeros((len(new), 2))))
        self._seen_s = np.concatenate((self._seen_s, np.full(len(new), now_s)))
        self._count = np.concatenate((self._count, np.ones(len(new), dtype=np.int64)))
        brief = (self._count < config.sure_count) & (now_s - self._seen_s > config.brief_s)
        self._keep(np.flatnonzero(~brief))
        return ids

    def _keep(self, rows: IntArray) -> None:
        if len(rows) < len(self._ids):
            self._shapes = self._shapes.take(rows)
            self._ids, self._velocity = self._ids[rows], self._velocity[rows]
            self._seen_s, self._count = self._seen_s[rows], self._count[rows]

    def _forget_all(self, hw: tuple[int, ...]) -> None:
        self._hw = hw
        none = np.zeros(0)
        self._shapes = _Shapes(
            np.zeros((0, NUM_KEYPOINTS, 2)), np.zeros((0, NUM_KEYPOINTS)), np.zeros((0, 2)), none,
            np.zeros((0, 3), dtype=np.int64), np.zeros(0, dtype=np.int64),
        )  # fmt: skip
        self._ids, self._count = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        self._velocity, self._seen_s = np.zeros((0, 2)), none


def same_people(before: Instances, identities: IntArray, after: Instances) -> IntArray:
    """The ids of people found in the same picture again, with other numbers of the decode: int64 (N,), 0 for others.

    `identities` are those of `before`.
    """
    config = TrackingConfig()
    grid, cell_px = _grid(after)
    old, new = _shapes(before, _grid(before)[0], cell_px), _shapes(after, grid, cell_px)
    likeness = _likeness(old, new, np.full(len(before), config.noise), 0.5, grid)
    row_of = _pair(likeness, np.ones(len(after), dtype=np.bool_), config.least_similarity)
    return np.append(identities, 0)[row_of]


def _grid(instances: Instances) -> tuple[ByteArray, int]:
    """The label map at every n-th pixel, and n."""
    cell_px = max(1, min(instances.label_map.shape) // _GRID_CELLS)
    return instances.label_map[cell_px // 2 :: cell_px, cell_px // 2 :: cell_px], cell_px


def _shapes(instances: Instances, grid: ByteArray, cell_px: int) -> _Shapes:
    """What was found, with its masks on the `grid` of labels, whose cells are `cell_px` wide."""
    points, weights = instances.keypoints_xy.astype(np.float64), instances.keypoint_scores.astype(np.float64)
    boxes = label_boxes(np.ascontiguousarray(grid), len(instances)).astype(np.float64) * cell_px
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    masked, known = boxes[:, 2:3] > 0, (weights > 0)[..., None]
    low = np.minimum(np.where(masked, low, np.inf), np.where(known, points, np.inf).min(axis=1))
    high = np.maximum(np.where(masked, high, -np.inf), np.where(known, points, -np.inf).max(axis=1))
    there = np.isfinite(low) & np.isfinite(high)
    low, high = np.where(there, low, 0.0), np.where(there, high, 0.0)
    y, x = np.nonzero(grid)
    whose = grid[y, x].astype(np.int64) - 1
    return _Shapes(
        points,
        weights,
        (low + high) / 2,
        np.maximum(np.sqrt((high - low).prod(axis=1)), cell_px),
        np.column_stack((whose, x, y)),
        np.bincount(whose, minlength=len(instances)),
    )


def _likeness(expected: _Shapes, found: _Shapes, spread: Numbers, mask_share: float, grid: ByteArray) -> Numbers:
    """How alike each expected person and each one found are: (T, N) in [0, 1].

    The similarity of place, the keypoints' where enough are shared, else the boxes'; where both have a mask, the
    masks' IoU has a share in it. `spread` (T,) is the standard deviation of where somebody is expected, body sizes.
    """
    sizes = np.sqrt(expected.sizes[:, None] * found.sizes)
    squared = ((expected.points[:, None] - found.points) ** 2).sum(axis=-1) / sizes[..., None] ** 2  # (T, N, 17)
    weights = expected.weights[:, None] * found.weights
    closeness = np.exp(-squared / (2 * (OKS_KAPPAS**2 + spread[:, None, None] ** 2)))
    pose = (weights * closeness).sum(axis=-1) / np.maximum(weights.sum(axis=-1), 1e-9)
    apart = ((expected.centres[:, None] - found.centres) ** 2).sum(axis=-1) / sizes**2
    box = np.exp(-apart / (2 * (_CENTRE_KAPPA**2 + spread[:, None] ** 2)))
    box *= np.minimum(expected.sizes[:, None], found.sizes) / np.maximum(expected.sizes[:, None], found.sizes)
    place = np.where((weights > 0).sum(axis=-1) >= _FEWEST_SHARED, pose, box)
    masked = (expected.areas[:, None] > 0) & (found.areas > 0)
    return np.where(masked, place + mask_share * (_mask_iou(expected, found, grid) - place), place)


def _mask_iou(expected: _Shapes, found: _Shapes, grid: ByteArray) -> Numbers:
    """Intersection over union of each expected mask and each one found: (T, N)."""
    whose, x, y = expected.cells.T
    inside = (x >= 0) & (y >= 0) & (x < grid.shape[1]) & (y < grid.shape[0])
    labels = len(found.sizes) + 1
    met = whose[inside] * labels + grid[y[inside], x[inside]]
    shared = np.bincount(met, minlength=len(expected.sizes) * labels).reshape(-1, labels)[:, 1:]
    return shared / np.maximum(expected.areas[:, None] + found.areas - shared, 1)


def _pair(likeness: Numbers, strong: BoolArray, least: float) -> IntArray:
    """For each column the row that it goes with, int64 (N,), or -1: the most alike first, strong columns before others.

    Greedy rather than the best sum: a sure pair is never broken up to make two doubtful ones.
    """
    row_of = np.full(len(strong), -1)
    free = [True] * len(likeness)
    for choosing in (strong, ~strong):
        rows, columns = np.nonzero(choosing & (likeness >= least))
        order = np.argsort(-likeness[rows, columns], kind="stable")
        for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
            if free[row] and row_of[column] < 0:
                row_of[column], free[row] = row, False
    return row_of


def _offsets(expected: _Shapes, found: _Shapes, rows: IntArray, columns: IntArray) -> Numbers:
    """How far from where it was expected each pair's person was found, (pairs, 2) px."""
    weights = expected.weights[rows] * found.weights[columns]
    between = ((found.points[columns] - expected.points[rows]) * weights[..., None]).sum(axis=1)
    enough = (weights > 0).sum(axis=1) >= _FEWEST_SHARED
    by_points = between / np.maximum(weights.sum(axis=1), 1e-9)[:, None]
    return np.where(enough[:, None], by_points, found.centres[columns] - expected.centres[rows])
