"""Each kernel against a short NumPy reference, written from the definitions and not from the kernel."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import kernels
from engine.kernels import UNASSIGNED
from engine.kernels.fields import follow_all, follow_itself
from engine.skeleton import DIRECTED_EDGES, OKS_SIGMAS

Array = npt.NDArray[Any]
STRIDE, RADIUS = 8, 24.0
NO_FILL = 2.0  # no probability reaches it


def tent(plane: Array, x: float, y: float, stride: float) -> float:
    """Bilinear value: every cell weighs by its distance in cells; outside the border counts as on it."""
    h, w = plane.shape
    cx, cy = min(max(x / stride, 0), w - 1), min(max(y / stride, 0), h - 1)
    rows = np.clip(1 - np.abs(np.arange(h) - cy), 0, None)
    cols = np.clip(1 - np.abs(np.arange(w) - cx), 0, None)
    return float(rows @ plane.astype(np.float64) @ cols)


def span(points: Array, scores: Array) -> float:
    """lambda: root of the area of the box around the present keypoints, no side less than a third of the other."""
    sides = np.ptp(points[scores > 0].astype(np.float64), axis=0)
    width, height = np.maximum(sides, sides.max() / 3)
    return max(math.sqrt(width * height), 1.0)


def poses(rng: np.random.Generator, count: int, extent: float) -> tuple[Array, Array]:
    """`count` random poses, some keypoints missing: float32 (count, 17, 2) and (count, 17)."""
    points = rng.uniform(0, extent, (count, 17, 2)).astype(np.float32)
    scores = rng.uniform(0.1, 1, (count, 17)).astype(np.float32)
    scores[rng.random((count, 17)) < 0.3] = 0
    scores[:, 0] = 0.5  # nobody is empty
    points[scores == 0] = 0
    return points, scores


# --- sample -----------------------------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 1000),
    h=st.integers(1, 5),
    w=st.integers(1, 5),
    x=st.floats(-20, 60),
    y=st.floats(-20, 60),
    stride=st.sampled_from([1.0, 4.0, 8.0]),
)
def test_sample_is_bilinear_and_clamped(seed: int, h: int, w: int, x: float, y: float, stride: float) -> None:
    plane = np.random.default_rng(seed).uniform(-1, 1, (h, w)).astype(np.float32)
    assert kernels.sample(plane, x, y, stride) == pytest.approx(tent(plane, x, y, stride), abs=1e-6)


def test_sample_at_a_cell_is_that_cell() -> None:
    plane = np.arange(12, dtype=np.float32).reshape(3, 4)
    for i in range(3):
        for j in range(4):
            assert kernels.sample(plane, j * 8.0, i * 8.0, 8.0) == plane[i, j]


# --- vote and blur ----------------------------------------------------------------------------------------------------


def reference_vote(maps: Array, short: Array, stride: int, bin_px: int, radius: float, threshold: float) -> Array:
    kinds, h, w = maps.shape
    rows, cols = (h - 1) * stride // bin_px + 1, (w - 1) * stride // bin_px + 1
    hough = np.zeros((kinds, rows, cols))
    for k, i, j in np.ndindex(kinds, h, w):
        if maps[k, i, j] > threshold:
            x, y = (j * stride + short[k, 0, i, j]) / bin_px, (i * stride + short[k, 1, i, j]) / bin_px
            across = np.clip(1 - np.abs(np.arange(cols) - x), 0, None)
            down = np.clip(1 - np.abs(np.arange(rows) - y), 0, None)
            hough[k] += maps[k, i, j] * np.outer(down, across)
    return hough * stride**2 / (np.pi * radius**2)


@pytest.mark.parametrize(("seed", "stride", "bin_px"), [(0, 8, 4), (1, 8, 8), (2, 16, 4), (3, 8, 1)])
def test_vote_equals_the_reference(seed: int, stride: int, bin_px: int) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.random((3, 5, 7)).astype(np.float32)
    # Long vectors: votes leave the picture on every side, in part or wholly.
    short = rng.normal(0, 20, (3, 2, 5, 7)).astype(np.float32)
    hough = kernels.vote(maps, short, stride, bin_px, 32.0, 0.3)
    assert hough.dtype == np.float32
    np.testing.assert_allclose(hough, reference_vote(maps, short, stride, bin_px, 32.0, 0.3), atol=1e-5)


def test_a_vote_on_a_bin_goes_there_alone_and_the_threshold_itself_does_not_vote() -> None:
    maps, short = np.zeros((1, 3, 3), np.float32), np.zeros((1, 2, 3, 3), np.float32)
    maps[0, 1, 2], maps[0, 0, 0] = 1.0, 0.5
    short[0, :, 1, 2] = (-4, 8)  # from input pixel (16, 8) to (12, 16): bin row 4, column 3
    hough = kernels.vote(maps, short, 8, 4, 32.0, 0.5)
    assert np.argwhere(hough).tolist() == [[0, 4, 3]]
    assert hough[0, 4, 3] == pytest.approx(64 / (math.pi * 32**2))


def test_a_perfect_disk_adds_up_to_one() -> None:
    ys, xs = np.mgrid[:17, :17] * 8
    disk = np.hypot(xs - 61, ys - 66) <= 32
    short = np.where(disk, np.stack([61 - xs, 66 - ys]), 0).astype(np.float32)
    hough = kernels.vote(disk[None].astype(np.float32), short[None], 8, 4, 32.0, 0.05)
    assert hough.sum() == pytest.approx(1, abs=0.1)  # a disk of radius 4 cells holds 45 to 52 cells, not 50.3


@pytest.mark.parametrize("shape", [(2, 6, 5), (1, 1, 4), (1, 4, 1), (3, 2, 2)])
def test_blur_is_binomial_with_zeros_outside(shape: tuple[int, int, int]) -> None:
    planes = np.random.default_rng(4).random(shape).astype(np.float32)
    padded = np.pad(planes, ((0, 0), (1, 1), (1, 1)))
    _, rows, cols = shape
    expected = np.zeros(shape)
    for di, dj in np.ndindex(3, 3):
        expected += (1, 2, 1)[di] * (1, 2, 1)[dj] / 16 * padded[:, di : di + rows, dj : dj + cols]
    twice = kernels.blur(kernels.blur(planes.copy()))
    np.testing.assert_array_equal(kernels.blur(planes.copy(), 2), twice)
    np.testing.assert_array_equal(kernels.blur(planes.copy(), 0), planes)
    kernels.blur(planes)
    np.testing.assert_allclose(planes, expected, atol=1e-6)  # in place


# --- peaks ------------------------------------------------------------------------------------------------------------


def reference_peaks(hough: Array, threshold: float, reach: int, bin_px: int, most: int) -> list[tuple[float, ...]]:
    """(kind, x, y, height), best first; for maps without equal values."""
    found = []
    for k, i, j in np.ndindex(hough.shape):
        window = hough[k, max(0, i - reach) : i + reach + 1, max(0, j - reach) : j + reach + 1]
        if hough[k, i, j] > threshold and hough[k, i, j] == window.max():
            near = [(r, c) for r, c in np.ndindex(hough.shape[1:]) if abs(r - i) <= 2 and abs(c - j) <= 2]
            weights = np.array([hough[k, r, c] for r, c in near], dtype=np.float64)
            y, x = weights @ np.array(near) / weights.sum() * bin_px
            found.append((k, x, y, hough[k, i, j]))
    found.sort(key=lambda peak: -peak[3])
    return [p for n, p in enumerate(found) if sum(q[0] == p[0] for q in found[:n]) < most]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("reach", "most"), [(1, 60), (2, 60), (2, 2), (3, 1)])
def test_find_peaks_equals_the_reference(seed: int, reach: int, most: int) -> None:
    hough = np.random.default_rng(seed).random((3, 11, 9)).astype(np.float32)
    kinds, xy, heights = kernels.find_peaks(hough, 0.5, reach, 4, most)
    expected = np.array(reference_peaks(hough, 0.5, reach, 4, most))
    assert (xy.dtype, heights.dtype) == (np.float32, np.float32)
    np.testing.assert_array_equal(kinds, expected[:, 0])
    np.testing.assert_allclose(xy, expected[:, 1:3], atol=1e-4)
    np.testing.assert_allclose(heights, expected[:, 3])


def test_a_plateau_gives_one_peak() -> None:
    hough = np.zeros((1, 9, 9), np.float32)
    hough[0, 3:5, 4:6] = 0.7
    kinds, xy, _ = kernels.find_peaks(hough, 0.1, 2, 4, 60)
    assert len(kinds) == 1
    np.testing.assert_allclose(xy[0], (18, 14))  # the plateau's centre of mass, not its first bin


def test_equal_peaks_keep_the_order_kind_row_column_and_the_threshold_itself_is_none() -> None:
    hough = np.zeros((2, 9, 9), np.float32)
    for k, i, j in ((1, 0, 0), (0, 8, 8), (0, 8, 0), (0, 0, 8)):
        hough[k, i, j] = 0.5
    hough[1, 8, 8] = 0.125
    kinds, xy, _ = kernels.find_peaks(hough, 0.125, 2, 4, 60)
    assert kinds.tolist() == [0, 0, 0, 1]
    assert xy.tolist() == [[32, 0], [0, 32], [32, 32], [0, 0]]


def test_no_peak_gives_empty_arrays() -> None:
    kinds, xy, heights = kernels.find_peaks(np.zeros((17, 5, 5), np.float32), 0.01, 2, 4, 60)
    assert (kinds.shape, xy.shape, heights.shape) == ((0,), (0, 2), (0,))
    assert kinds.dtype == np.int64


# --- scores -----------------------------------------------------------------------------------------------------------


def test_expected_oks_equals_the_reference() -> None:
    """All votes lie inside the disk here, so the sums run over the whole map."""
    rng = np.random.default_rng(5)
    points, scores = poses(rng, 3, 60)
    points[..., :] = rng.uniform(40, 50, points.shape)  # so near each other that every vote is in reach of everybody
    hough = np.zeros((17, 24, 24), np.float32)
    hough[:, 8:15, 8:15] = rng.random((17, 7, 7))  # input pixels 32 to 56
    ys, xs = np.mgrid[:24, :24] * 4
    expected = np.zeros((3, 17))
    for j, k in np.argwhere(scores > 0):
        size = max(span(points[j], scores[j]), 16.0)
        tolerance = 2 * float(OKS_SIGMAS[k]) * size
        d2 = (xs - points[j, k, 0].astype(float)) ** 2 + (ys - points[j, k, 1].astype(float)) ** 2
        expected[j, k] = scores[j, k] * (hough[k] * np.exp(-d2 / (2 * tolerance**2))).sum() / hough[k].sum()
    np.testing.assert_allclose(kernels.expected_oks(points, scores, hough, 4, 32.0, 16.0), expected, rtol=1e-4)


def test_expected_oks_of_a_sharp_peak_is_p_and_far_votes_do_not_matter() -> None:
    points, scores = np.zeros((1, 17, 2), np.float32), np.zeros((1, 17), np.float32)
    points[0, 3], scores[0, 3] = (40, 48), 0.8
    hough = np.zeros((17, 40, 40), np.float32)
    hough[3, 12, 10] = 0.6
    hough[3, 12, 10 + 12] = 5.0  # 48 px away: another person's
    out = kernels.expected_oks(points, scores, hough, 4, 32.0, 16.0)
    assert out[0, 3] == pytest.approx(0.8, abs=1e-4)
    assert np.count_nonzero(out) == 1


def reference_rank(points: Array, scores: Array, own: Array, px: float, scale: float) -> tuple[Array, list[int]]:
    n = len(points)
    raw = own.sum(axis=1)
    order = sorted(range(n), key=lambda j: -raw[j])
    soft = np.zeros(n)
    for position, j in enumerate(order):
        for k in range(17):
            taken = any(
                scores[i, k] > 0
                and np.linalg.norm(points[i, k].astype(float) - points[j, k])
                <= max(px, scale * 2 * OKS_SIGMAS[k] * span(points[i], scores[i]))
                for i in order[:position]
            )
            soft[j] += own[j, k] / 17 if scores[j, k] > 0 and not taken else 0
    return soft, sorted(range(n), key=lambda j: -soft[j])


@pytest.mark.parametrize("seed", range(6))
def test_rank_equals_the_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, scores = poses(rng, 5, 60)  # crowded: many keypoints within 10 px of another person's
    own = (scores * rng.uniform(0.5, 1, scores.shape)).astype(np.float32)
    soft, order = kernels.rank(points, scores, own, 10.0, 0.5)
    expected, expected_order = reference_rank(points, scores, own, 10.0, 0.5)
    np.testing.assert_allclose(soft, expected, atol=1e-6)
    assert order.tolist() == expected_order


def test_a_copy_of_a_better_person_scores_zero() -> None:
    points, scores = poses(np.random.default_rng(0), 1, 200)
    own = np.concatenate([scores * np.float32(0.5), scores])
    soft, order = kernels.rank(np.repeat(points, 2, axis=0), np.repeat(scores, 2, axis=0), own, 10.0, 0.5)
    assert order.tolist() == [1, 0]
    assert soft[0] == 0
    assert soft[1] == pytest.approx(scores.sum() / 17)


def test_nobody_is_ranked_as_nobody() -> None:
    none = np.zeros((0, 17), np.float32)
    soft, order = kernels.rank(np.zeros((0, 17, 2), np.float32), none, none, 10.0, 0.5)
    assert (len(soft), len(order)) == (0, 0)


# --- assignment -------------------------------------------------------------------------------------------------------


def reference_end(field: Array, i: int, j: int, steps: int) -> tuple[float, float]:
    """Where the (2, h, w) offset of cell (i, j) leads, refined by itself."""
    h, w = field.shape[1:]
    x, y = j * STRIDE + float(field[0, i, j]), i * STRIDE + float(field[1, i, j])
    for _ in range(steps):
        if 0 <= x <= (w - 1) * STRIDE and 0 <= y <= (h - 1) * STRIDE:
            x, y = x + tent(field[0], x, y, STRIDE), y + tent(field[1], x, y, STRIDE)
    return x, y


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("shape", [(4, 5), (1, 4), (4, 1), (1, 1)])
def test_offsets_follow_themselves_as_the_reference(shape: tuple[int, int], steps: int) -> None:
    rng = np.random.default_rng(8)
    fields = rng.normal(0, 9, (3, 2, *shape)).astype(np.float32)
    rows, cols = (axis.ravel() for axis in np.mgrid[: shape[0], : shape[1]])
    first, last = np.full((2, len(rows) + 1), 7.0), np.full((2, len(rows) + 1), 7.0)
    for k in range(3):
        follow_itself(fields, k, rows, cols, len(rows), float(STRIDE), steps, first, last)
        for ends, taken in ((first, 0), (last, steps)):
            expected = [reference_end(fields[k], i, j, taken) for i, j in zip(rows, cols, strict=True)]
            np.testing.assert_allclose(ends.T[:-1], expected, atol=1e-3)
            assert (ends[:, -1] == 7.0).all()  # not asked


def test_offsets_that_are_no_numbers_stay_within_memory() -> None:
    fields = np.full((1, 2, 4, 5), np.nan, np.float32)
    fields[0, 0, 1, 1] = np.inf
    rows, cols = (axis.ravel() for axis in np.mgrid[:4, :5])
    first, last = np.zeros((2, 20)), np.zeros((2, 20))
    follow_itself(fields, 0, rows, cols, 20, float(STRIDE), 3, first, last)
    assert not np.isfinite(last[1]).any()


@given(x=st.floats(-20, 60), y=st.floats(-20, 60))
def test_all_fields_are_followed_at_once(x: float, y: float) -> None:
    fields = np.random.default_rng(3).normal(0, 9, (17, 2, 4, 5)).astype(np.float32)
    ends = np.zeros((17, 2))
    follow_all(fields, x, y, float(STRIDE), ends)
    expected = [(x + tent(f[0], x, y, STRIDE), y + tent(f[1], x, y, STRIDE)) for f in fields]
    np.testing.assert_allclose(ends, expected, atol=1e-4)


def reference_ends(maps: Array, short: Array, long: Array, self_steps: int, short_steps: int) -> Array:
    """Embeddings (2, K, 2, h, w), before and after all refinement; the centroid takes no short steps."""
    kinds, _, h, w = long.shape
    ends = np.zeros((2, kinds, 2, h, w))
    for k, i, j in np.ndindex(kinds, h, w):
        ends[0, k, :, i, j] = reference_end(long[k], i, j, 0)
        x, y = reference_end(long[k], i, j, self_steps)
        for _ in range(short_steps if k < 17 else 0):
            inside = 0 <= x <= (w - 1) * STRIDE and 0 <= y <= (h - 1) * STRIDE
            if inside and tent(maps[k], x, y, STRIDE) >= 0.1:
                x, y = x + tent(short[k, 0], x, y, STRIDE), y + tent(short[k, 1], x, y, STRIDE)
        ends[1, k, :, i, j] = x, y
    return ends


def reference_assign(
    person: Array, ends: Array, points: Array, scores: Array, sizes: Array, p: float, t: float, doubt: float
) -> Array:
    """Labels from the embeddings: every cell asks every skeleton."""
    h, w = ends.shape[3:]
    finer = (person.shape[0] - 1) // (h - 1)
    labels = np.full((h, w), UNASSIGNED)
    for i, j in np.ndindex(h, w):
        window = np.s_[max(0, (i - 1) * finer) : (i + 1) * finer + 1, max(0, (j - 1) * finer) : (j + 1) * finer + 1]
        if person[window].max() < p:
            continue
        labels[i, j], least = 0, np.inf
        for n, (own, weights) in enumerate(zip(points, scores.astype(float), strict=True)):
            nearest = np.linalg.norm(ends[..., i, j] - own, axis=2).min(axis=0)
            distance = (weights * np.minimum(nearest / sizes[n], 1)).sum() / weights.sum()
            cost = distance + doubt / (doubt + weights.sum())
            if distance <= t and cost < least:
                labels[i, j], least = n + 1, cost
    return labels


def with_centroids(points: Array, scores: Array) -> tuple[Array, Array]:
    """The mean of each skeleton as its eighteenth point, with a weight of 0.6."""
    means = (points * scores[..., None]).sum(axis=1, keepdims=True) / scores.sum(axis=1)[:, None, None]
    weights = np.concatenate([scores, np.full((len(scores), 1), 0.6, np.float32)], axis=1)
    return np.concatenate([points, means], axis=1).astype(np.float32), weights


@pytest.mark.parametrize(("self_steps", "short_steps"), [(0, 0), (3, 0), (1, 2)])
@pytest.mark.parametrize("finer", [1, 2, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_assign_cells_equals_the_reference(seed: int, finer: int, self_steps: int, short_steps: int) -> None:
    rng = np.random.default_rng(seed)
    h, w = 19, 18  # two tiles each way, the second ones not full
    skeletons, scores = poses(rng, 3, 130)
    points, weights = with_centroids(skeletons, scores)
    # Each cell points near the keypoints of a random person, some nearer than others.
    whose = rng.integers(0, 3, (h, w))
    ys, xs = np.mgrid[:h, :w] * STRIDE
    noise = rng.normal(0, 1, (18, 2, h, w)) * rng.uniform(2, 60, (h, w))
    long = np.moveaxis(points[whose], (0, 1), (2, 3)) - np.stack([xs, ys]) + noise
    long = np.ascontiguousarray(long, dtype=np.float32)
    maps = rng.random((17, h, w)).astype(np.float32) * np.float32(0.3)  # some below, some above 0.1
    short = rng.normal(0, 6, (17, 2, h, w)).astype(np.float32)
    person = rng.random(((h - 1) * finer + 1, (w - 1) * finer + 1)).astype(np.float32)
    person[rng.random(person.shape) < 0.6] = 0
    person[: 3 * finer] = 0
    sizes = kernels.body_sizes(skeletons, scores, 16.0)
    labels, compared = kernels.assign_cells(
        person, maps, short, long[:17], long[17], points, weights, sizes, float(STRIDE), 0.8, 0.25, 0.5,
        self_steps, short_steps,
    )  # fmt: skip
    ends = reference_ends(maps, short, long, self_steps, short_steps)
    expected = reference_assign(person, ends, points, weights, sizes, 0.8, 0.25, 0.5)
    assert labels.dtype == np.uint8
    assert {0, UNASSIGNED} < set(labels.ravel().tolist())
    assert compared <= 3 * np.count_nonzero(labels != UNASSIGNED)
    np.testing.assert_array_equal(labels, expected)


def test_body_sizes_equal_the_reference_and_keep_their_floor() -> None:
    points, scores = poses(np.random.default_rng(2), 4, 90)
    expected = [span(p, s) for p, s in zip(points, scores, strict=True)]
    np.testing.assert_allclose(kernels.body_sizes(points, scores, 1.0), expected, rtol=1e-5)
    assert kernels.body_sizes(points, scores, 500.0).tolist() == [500.0] * 4


def test_without_skeletons_person_cells_belong_to_nobody() -> None:
    blank, vectors = np.zeros((17, 3, 3), np.float32), np.zeros((17, 2, 3, 3), np.float32)
    nobody = (np.zeros((0, 18, 2), np.float32), np.zeros((0, 18), np.float32))
    ones = np.ones((5, 5), np.float32)
    labels, compared = kernels.assign_cells(
        ones, blank, vectors, vectors, vectors[0], *nobody, np.zeros(0), 8.0, 0.5, 0.25, 0.5, 5, 0
    )
    assert not labels.any()
    assert compared == 0


def test_a_fragment_does_not_take_the_cells_of_a_whole_skeleton() -> None:
    """Two keypoints exactly where the cell points, against seventeen a little off."""
    blank, long = np.zeros((17, 3, 3), np.float32), np.zeros((17, 2, 3, 3), np.float32)
    points = np.zeros((2, 18, 2), np.float32)
    points[1] = 1.0
    points[:, 16] = 60  # a size of 60 px
    long[16] = 60
    weights = np.ones((2, 18), np.float32)
    weights[0, 2:16] = weights[:, 17] = 0
    ones = np.ones((3, 3), np.float32)
    sizes = kernels.body_sizes(points, weights, 16.0)
    arguments = (ones, blank, long, long, long[0], points, weights, sizes, 8.0, 0.5, 0.25)
    assert kernels.assign_cells(*arguments, 0.0, 0, 0)[0][0, 0] == 1
    assert kernels.assign_cells(*arguments, 0.5, 0, 0)[0][0, 0] == 2


# --- paint ------------------------------------------------------------------------------------------------------------


def reference_owners(
    labels: Array, person: Array, stride: int, person_stride: int, x: float, y: float
) -> tuple[set[int], float]:
    """Who may own input pixel (x, y): the labels with the largest bilinear weight; and its person probability."""
    weights = {int(n): tent(labels == n, x, y, stride) for n in np.unique(labels) if n != UNASSIGNED}
    best = max(weights.values())
    return {n for n, weight in weights.items() if weight > best - 1e-9}, tent(person, x, y, person_stride)


@pytest.mark.parametrize(
    ("source_hw", "scale_xy", "person_stride"),
    [
        ((33, 41), (1.0, 1.0), 8),  # every cell exactly on a pixel
        ((33, 41), (1.0, 1.0), 4),
        ((17, 23), (1.73, 1.81), 8),  # the source is smaller
        ((71, 97), (0.4227, 0.4611), 4),  # and larger, both sides odd
        ((1, 200), (0.2003, 33.0), 2),
        ((20, 20), (0.913, 0.877), 4),  # the input reaches further than the source
    ],
)
def test_paint_equals_the_reference(
    source_hw: tuple[int, int], scale_xy: tuple[float, float], person_stride: int
) -> None:
    rng = np.random.default_rng(11)
    finer = 8 // person_stride
    labels = rng.integers(0, 4, (5, 6)).astype(np.uint8)
    person = rng.random((4 * finer + 1, 5 * finer + 1)).astype(np.float32)
    painted, means = kernels.paint(labels, person, 8.0, float(person_stride), 0.5, *source_hw, *scale_xy)
    assert painted.dtype == np.uint8
    assert len(np.unique(painted)) > 2
    shown: dict[int, list[float]] = {}
    for row, col in np.ndindex(source_hw):
        x, y = (col + 0.5) * scale_xy[0] - 0.5, (row + 0.5) * scale_xy[1] - 0.5
        owners, probability = reference_owners(labels, person, 8, person_stride, x, y)
        assert painted[row, col] in (owners if probability >= 0.5 else {0})
        if probability >= 0.5:
            shown.setdefault(int(painted[row, col]), []).append(probability)
    expected = [np.mean(shown[n]) if n in shown else 0 for n in range(256)]
    np.testing.assert_allclose(means, expected, atol=1e-4)


def test_pixels_beside_unasked_cells_go_to_their_neighbour() -> None:
    labels = np.full((3, 3), UNASSIGNED, np.uint8)
    labels[1, 1] = 7
    person = np.ones((5, 5), np.float32)
    painted, _ = kernels.paint(labels, person, 8.0, 4.0, 0.5, 17, 17, 1.0, 1.0)
    expected = np.zeros((17, 17))
    expected[1:16, 1:16] = 7  # wherever cell (1, 1) has any say
    np.testing.assert_array_equal(painted, expected)


@given(seed=st.integers(0, 100), count=st.integers(0, 5))
def test_label_boxes_equal_numpy_s(seed: int, count: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 7, (5, 6)).astype(np.uint8)
    expected = np.zeros((count, 4))
    for n in range(count):
        ys, xs = np.nonzero(labels == n + 1)
        if len(xs):
            expected[n] = (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1)
    np.testing.assert_array_equal(kernels.label_boxes(labels, count), expected)


def test_unasked_cells_alone_paint_nothing() -> None:
    unasked = np.full((3, 3), UNASSIGNED, np.uint8)
    painted, means = kernels.paint(unasked, np.ones((3, 3), np.float32), 8, 8, 0.5, 17, 17, 1, 1)
    assert not means[1:].any()
    assert not painted.any()


# --- grouping ---------------------------------------------------------------------------------------------------------

# A standing person of 100 px, 40 px wide, relative to its nose.
POSE = np.array(
    [
        *[(0, 0), (4, -4), (-4, -4), (9, -2), (-9, -2)],
        *[(14, 18), (-14, 18), (20, 36), (-20, 36), (21, 54), (-21, 54)],
        *[(10, 54), (-10, 54), (11, 76), (-11, 76), (12, 98), (-12, 98)],
    ],
    dtype=np.float32,
)


class Scene:
    """Perfect fields of a few people on 25 x 33 cells of 8 px, and their peaks, surest first."""

    def __init__(self, *people: Array) -> None:
        """Each (17, 2) px; a row of NaN is a keypoint that nothing shows."""
        ys, xs = (np.mgrid[:25, :33] * STRIDE).astype(np.float32)
        self.maps = np.zeros((17, 25, 33), np.float32)
        self.short = np.zeros((17, 2, 25, 33), np.float32)
        self.mid = np.zeros((32, 2, 25, 33), np.float32)
        self.long = np.zeros((17, 2, 25, 33), np.float32)
        points = np.stack(people)
        middle = np.nanmean(points, axis=1)
        owner = np.argmin([np.hypot(xs - x, ys - y) for x, y in middle], axis=0)
        for k in range(17):
            away = np.array([np.hypot(xs - p[k, 0], ys - p[k, 1]) for p in points])
            nearest = np.argmin(np.nan_to_num(away, nan=1e9), axis=0)
            disk = np.nan_to_num(away, nan=1e9).min(axis=0) <= RADIUS
            self.maps[k] = disk
            for axis, grid in enumerate((xs, ys)):
                self.short[k, axis] = np.where(disk, np.nan_to_num(points[nearest, k, axis]) - grid, 0)
                self.long[k, axis] = np.nan_to_num(points[owner, k, axis] - grid)
                for e, (source, target) in enumerate(DIRECTED_EDGES):
                    if source == k:
                        self.mid[e, axis] = np.where(disk, np.nan_to_num(points[nearest, target, axis] - grid), 0)
        shown = np.argwhere(~np.isnan(points[..., 0]))
        self.kinds = shown[:, 1].astype(np.int64)
        self.xy = np.ascontiguousarray(points[shown[:, 0], shown[:, 1]])

    def add_peak(self, kind: int, x: float, y: float) -> None:
        self.kinds = np.append(self.kinds, kind)
        self.xy = np.append(self.xy, np.array([[x, y]], np.float32), axis=0)

    def group(self, **changes: float) -> tuple[Array, Array]:
        numbers = {
            "stride": float(STRIDE), "seed_threshold": 0.2, "duplicate_px": 10.0, "duplicate_scale": 0.5,
            "snap_px": 32.0, "walk_threshold": 0.1, "fill_threshold": NO_FILL, "steps": 1, "join": True, "most": 254,
        } | changes  # fmt: skip
        return kernels.group(self.kinds, self.xy, self.maps, self.short, self.mid, self.long, *numbers.values())


LEFT, RIGHT = POSE + np.float32([70, 50]), POSE + np.float32([180, 60])


def test_group_keeps_two_people_apart() -> None:
    points, scores = Scene(LEFT, RIGHT).group()
    np.testing.assert_allclose(points, [LEFT, RIGHT], atol=1e-3)
    np.testing.assert_allclose(scores, 1)
    assert (points.dtype, scores.dtype) == (np.float32, np.float32)


def test_group_is_deterministic() -> None:
    scene = Scene(LEFT, RIGHT, POSE + np.float32([110, 70]))
    first, second = scene.group(), scene.group()
    assert [a.tobytes() for a in first] == [a.tobytes() for a in second]


def test_a_second_peak_near_a_found_keypoint_starts_nobody() -> None:
    scene = Scene(LEFT, RIGHT)
    scene.add_peak(0, LEFT[0, 0] + 9, LEFT[0, 1])
    assert len(scene.group()[0]) == 2
    assert len(scene.group(duplicate_px=8.0, duplicate_scale=0.0)[0]) == 3
    # The reach grows with the person: its size of 64 px times the nose's kappa of 0.052.
    assert len(scene.group(duplicate_px=8.0, duplicate_scale=3.0)[0]) == 2


def test_seeds_need_their_probability_and_there_are_at_most_so_many() -> None:
    scene = Scene(LEFT, RIGHT)
    assert len(scene.group(most=1)[0]) == 1
    scene.maps *= np.float32(0.19)
    points, scores = scene.group()
    assert (points.shape, scores.shape) == ((0, 17, 2), (0, 17))


def test_a_missing_keypoint_does_not_cut_off_what_mask_offsets_join() -> None:
    """Without its hip the knee and ankle hang on nothing: the tree reaches them through the hip alone."""
    hipless = LEFT.copy()
    hipless[11] = np.nan
    scene = Scene(hipless, RIGHT)
    points, scores = scene.group()
    assert len(points) == 2
    assert np.flatnonzero(scores[0] == 0).tolist() == [11]
    np.testing.assert_allclose(points[0, [13, 15]], LEFT[[13, 15]], atol=1e-3)

    scene.long[:] = 500.0  # agrees with nothing
    points, scores = scene.group()
    assert len(points) == 3
    assert np.flatnonzero(scores[1]).tolist() == [13, 15]


def test_mask_offsets_do_not_join_another_person_s_keypoints() -> None:
    headless, body = LEFT.copy(), RIGHT.copy()
    headless[[11, 13, 15]] = np.nan  # misses a leg, and the other person's leg is free
    body[[5, 7, 9, 11]] = np.nan
    points, scores = Scene(headless, body).group()
    assert len(points) == 2
    assert np.flatnonzero(scores[0] == 0).tolist() == [11, 13, 15]
    np.testing.assert_allclose(points[1, [13, 15]], RIGHT[[13, 15]], atol=1e-3)


def test_where_no_peak_is_near_the_arrival_counts_if_it_is_probable() -> None:
    scene = Scene(LEFT)
    keep = scene.kinds != 9  # the wrist has a disk, but no peak
    scene.kinds, scene.xy = scene.kinds[keep], np.ascontiguousarray(scene.xy[keep])
    scene.maps[9] *= np.float32(0.5)
    points, scores = scene.group()
    np.testing.assert_allclose(points[0, 9], LEFT[9], atol=0.1)
    assert scores[0, 9] == pytest.approx(0.5)
    assert scene.group(walk_threshold=0.6)[1][0, 9] == 0
    # What is filled last has the small probability it has there.
    assert scene.group(walk_threshold=0.6, fill_threshold=0.0)[1][0, 9] == pytest.approx(0.5)


def test_a_peak_farther_than_the_snap_is_not_taken() -> None:
    far = LEFT.copy()
    scene = Scene(far)
    wrist = int(np.flatnonzero(scene.kinds == 9)[0])
    scene.xy[wrist] += (12, 0)  # the forearm is 18 px long: peaks count within a quarter of the snap, 8 px
    points, scores = scene.group()
    np.testing.assert_allclose(points[0, 9], LEFT[9], atol=0.1)
    assert scores[0, 9] == pytest.approx(1)
    np.testing.assert_allclose(scene.group(snap_px=64.0)[0][0, 9], LEFT[9] + [12, 0], atol=0.1)


def test_what_nothing_shows_is_filled_where_the_mid_offsets_lead() -> None:
    """No peak and no probability at the knees: they get a score next to nothing, but a place."""
    scene = Scene(LEFT)
    keep = ~np.isin(scene.kinds, (13, 14))
    scene.kinds, scene.xy = scene.kinds[keep], np.ascontiguousarray(scene.xy[keep])
    scene.maps[13:15] = 0
    points, scores = scene.group(fill_threshold=0.0)
    np.testing.assert_allclose(points[0, [13, 14]], LEFT[[13, 14]], atol=0.1)
    np.testing.assert_allclose(scores[0, [13, 14]], 1e-6)
    # They are filled last: the ankles behind them were joined before, at their peaks.
    np.testing.assert_allclose(points[0, [15, 16]], LEFT[[15, 16]], atol=1e-3)
    assert (scene.group(fill_threshold=0.01)[1][0, [13, 14]] == 0).all()


# --- the released grouping rules --------------------------------------------------------------------------------------


def strict(scene: Scene, snap_px: float = 32.0) -> tuple[Array, Array]:
    numbers = (float(STRIDE), 10.0, snap_px, 1, 254)
    return kernels.group_strict(scene.kinds, scene.xy, scene.maps, scene.short, scene.mid, *numbers)


def test_group_strict_finds_whole_people() -> None:
    points, scores = strict(Scene(LEFT, RIGHT))
    np.testing.assert_allclose(points, [LEFT, RIGHT], atol=1e-3)
    assert (scores > 0).all()


def test_group_strict_leaves_out_what_has_no_peak_and_ends_the_walk_there() -> None:
    """The knee without a peak cuts off its ankle, which alone is not four keypoints."""
    scene = Scene(LEFT)
    kept = scene.kinds != 13
    scene.kinds, scene.xy = scene.kinds[kept], scene.xy[kept]
    points, scores = strict(scene)
    assert len(points) == 1
    assert np.flatnonzero(scores[0] == 0).tolist() == [13, 15]
    _, filled = scene.group()
    assert (filled[0] > 0).all()


def test_group_strict_drops_fragments_of_fewer_than_four() -> None:
    scene = Scene(LEFT)
    face = scene.kinds < 3
    scene.kinds, scene.xy = scene.kinds[face], scene.xy[face]
    assert len(strict(scene)[0]) == 0
    shoulder = Scene(LEFT)
    four = (shoulder.kinds < 3) | (shoulder.kinds == 5)
    shoulder.kinds, shoulder.xy = shoulder.kinds[four], shoulder.xy[four]
    _, scores = strict(shoulder)
    assert np.flatnonzero(scores[0]).tolist() == [0, 1, 2, 5]


def test_group_strict_takes_no_peak_farther_than_the_snap() -> None:
    scene = Scene(LEFT)
    scene.xy[scene.kinds == 9] += (20, 0)
    assert strict(scene)[1][0, 9] > 0
    assert strict(scene, snap_px=15.0)[1][0, 9] == 0


# --- what stands for a person -----------------------------------------------------------------------------------------


def test_body_centroids_are_those_of_the_keypoints_own_pixels() -> None:
    scene = Scene(LEFT, RIGHT)
    ys, xs = (np.mgrid[:25, :33] * STRIDE).astype(np.float32)
    middles = np.array([LEFT.mean(axis=0), RIGHT.mean(axis=0)])
    owner = np.argmin([np.hypot(xs - x, ys - y) for x, y in middles], axis=0)
    centroid = np.stack([middles[owner, 0] - xs, middles[owner, 1] - ys]).astype(np.float32)
    points, scores = scene.group()
    sizes = kernels.body_sizes(points, scores, 16.0)
    got, share = kernels.body_centroids(points, scores, sizes, scene.long, centroid, float(STRIDE))
    np.testing.assert_allclose(got, middles, atol=1.0)
    np.testing.assert_allclose(share, [1, 1])
    # Where every pixel is the left one's, the right one knows nothing of its centroid.
    scene.long[:] = np.moveaxis(LEFT[:, :, None, None] - np.stack([xs, ys]), 0, 0)
    got, share = kernels.body_centroids(points, scores, sizes, scene.long, centroid, float(STRIDE))
    assert share[0] == 1
    assert share[1] == 0
