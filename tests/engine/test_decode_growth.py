"""The decode's work grows with people and their pixels, not with the product of both; nothing is timed."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine import kernels
from engine.decode import decode
from engine.decode_config import DecodeConfig
from engine.kernels import UNASSIGNED
from engine.kernels.clusters import _nearest
from engine.kernels.grouping import by_kind, nearest_free
from engine.synthetic import synthetic_heads

Array = npt.NDArray[Any]
# The same people per area, four times as many of each.
SMALL, LARGE = (8, (257, 257)), (32, (513, 513))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[tuple[Any, ...], Any, Any]]:
    """Arguments, the labels before, and results of the kernels that compare cells, by name, of the last decode."""
    seen = {}
    for name in ("assign_cells", "cluster_cells"):
        kernel = getattr(kernels, name)

        def watched(*arguments: Any, kernel: Any = kernel, name: str = name) -> Any:
            before = arguments[0].copy()
            result = kernel(*arguments)
            seen[name] = (arguments, before, tuple(np.copy(r) for r in result))
            return result

        monkeypatch.setattr(kernels, name, watched)
    return seen


def assigned(calls: dict[str, Any], people: int, hw: tuple[int, int]) -> tuple[int, int, int]:
    """Person cells, skeletons, and how many pairs of them were compared."""
    decode(synthetic_heads(people, hw, 0), DecodeConfig())
    arguments, _, (labels, compared) = calls["assign_cells"]
    return int(np.count_nonzero(labels != UNASSIGNED)), len(arguments[5]), int(compared)


def test_a_cell_is_compared_with_the_skeletons_around_it_alone(calls: dict[str, Any]) -> None:
    cells, skeletons, compared = assigned(calls, *SMALL)
    more_cells, more_skeletons, more_compared = assigned(calls, *LARGE)
    assert more_skeletons > 3 * skeletons
    assert more_cells > 3 * cells
    # Measured: 5.2 and 8.3 skeletons a cell (and 5.8 in a scene of 100); all of them would be 8 and 33.
    assert compared < 7 * cells
    assert more_compared < 10 * more_cells


def clustered(calls: dict[str, Any], people: int, hw: tuple[int, int]) -> tuple[int, int, int]:
    """Free cells, clusters, and how many pairs of them were compared."""
    decode(synthetic_heads(people, hw, 0), DecodeConfig(mode="seg"))
    _, before, (_, centres, compared) = calls["cluster_cells"]
    return int(np.count_nonzero(before == 0)), len(centres), int(compared)


def test_a_cell_is_compared_with_the_clusters_around_it_alone(calls: dict[str, Any]) -> None:
    cells, clusters, compared = clustered(calls, *SMALL)
    more_cells, more_clusters, more_compared = clustered(calls, *LARGE)
    assert more_clusters > 3 * clusters
    assert more_cells > 3 * cells
    # Measured: 1.1 of 7 and of 25.
    assert compared < 2 * cells
    assert more_compared < 2 * more_cells


def test_pruning_changes_no_label(calls: dict[str, Any]) -> None:
    """The same cells once more, with one skeleton after the other."""
    decode(synthetic_heads(*SMALL, 3), DecodeConfig(density=False))
    arguments, _, (labels, _) = calls["assign_cells"]
    points, weights, sizes = arguments[5:8]
    near = np.stack([alone(arguments, points[j], weights[j], sizes[j]) for j in range(len(points))])
    assert set(range(1, len(points) + 1)) < set(labels.ravel().tolist())
    # Whoever got a cell is one of those who would get it alone; a cell that is nobody's would be nobody's alone either.
    for j in range(len(points)):
        assert near[j][labels == j + 1].all()
    assert not near[:, labels == 0].any()


def alone(arguments: tuple[Any, ...], points: Array, weights: Array, size: float) -> Array:
    """Which cells a skeleton gets that is the only one: bool (h, w)."""
    one = (*arguments[:5], points[None], weights[None], np.array([size]), *arguments[8:])
    return kernels.assign_cells(*one)[0] == 1


@pytest.mark.parametrize("seed", range(4))
def test_the_nearest_centre_is_that_of_all_centres(seed: int) -> None:
    rng = np.random.default_rng(seed)
    xs, ys = rng.uniform(-60, 460, 300), rng.uniform(-60, 360, 300)  # some beyond the grid of 50 x 37 cells
    centres, sizes = rng.uniform(-30, 430, (40, 2)), rng.uniform(16, 150, 40)
    sizes[::7] = -1.0  # a skeleton without a cell
    best, least, compared = _nearest(xs, ys, centres, sizes, 0.4, 32.0, (10, 13))
    away = np.hypot(xs[:, None] - centres[:, 0], ys[:, None] - centres[:, 1]) / np.where(sizes > 0, sizes, 1e-9)
    expected = np.where(away.min(axis=1) <= 0.4, away.argmin(axis=1), -1)
    assert len(np.unique(expected)) > 10
    np.testing.assert_array_equal(best, expected)
    np.testing.assert_allclose(least[best >= 0], away.min(axis=1)[best >= 0])
    assert compared < 0.6 * len(xs) * len(centres)


@pytest.mark.parametrize("seed", range(4))
def test_the_nearest_free_peak_is_that_of_all_peaks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 17, 200)
    xy = rng.uniform(0, 100, (200, 2)).astype(np.float32)
    used = rng.random(200) < 0.3
    first, members = by_kind(kinds)
    for kind in range(17):
        assert members[first[kind] : first[kind + 1]].tolist() == np.flatnonzero(kinds == kind).tolist()
        x, y = rng.uniform(0, 100, 2)
        away = np.where((kinds == kind) & ~used, np.hypot(xy[:, 0] - x, xy[:, 1] - y), np.inf)
        expected = int(away.argmin()) if away.min() <= 25 else -1
        assert nearest_free(x, y, kind, 25.0, first, members, xy, used) == expected


def test_the_centroids_of_a_crowd_equal_those_of_every_pair() -> None:
    rng = np.random.default_rng(1)
    h, w, people = 20, 25, 12
    middles = rng.uniform((20, 20), (170, 140), (people, 2))
    points = (middles[:, None] + rng.normal(0, 20, (people, 17, 2))).astype(np.float32)
    scores = rng.uniform(0.1, 1, (people, 17)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.2] = 0
    ys, xs = np.mgrid[:h, :w] * 8.0
    owner = np.argmin(np.hypot(xs[..., None] - middles[:, 0], ys[..., None] - middles[:, 1]), axis=-1)
    long = np.moveaxis(points[owner], (0, 1), (2, 3)) - np.stack([xs, ys]) + rng.normal(0, 6, (17, 2, h, w))
    long = np.ascontiguousarray(long, dtype=np.float32)
    centroid = np.ascontiguousarray(np.moveaxis(middles[owner], -1, 0) - np.stack([xs, ys]), dtype=np.float32)
    sizes = kernels.body_sizes(points, scores, 16.0)
    got, share = kernels.body_centroids(points, scores, sizes, long, centroid, 8.0)

    def at(fields: Array, xy: Array) -> Array:
        planes = fields.reshape(-1, h, w)
        return np.array([kernels.sample(p, float(xy[0]), float(xy[1]), 8.0) for p in planes]).reshape(-1, 2) + xy

    for j in range(people):
        mine = []
        for k in np.flatnonzero(scores[j]):
            ends = at(long, points[j, k])
            away = np.minimum(np.linalg.norm(ends - points, axis=2) / sizes[:, None], 1)
            mine.append((k, (away * scores).sum(axis=1) / scores.sum(axis=1)))
        kept = [k for k, distances in mine if distances[j] <= distances.min()]
        weights = scores[j, kept]
        assert share[j] == pytest.approx(weights.sum() / scores[j].sum(), abs=1e-5)
        if kept:
            ends = np.stack([at(centroid, points[j, k])[0] for k in kept])
            np.testing.assert_allclose(got[j], weights @ ends / weights.sum(), atol=1e-3)
    assert (share > 0).any()
    assert (share < 1).any()
