"""Density-based clustering of centroid embeddings, against plain NumPy and on scenes made by hand."""

import numpy as np
import numpy.typing as npt
import pytest

from engine import kernels
from engine.kernels.clusters import SIZE_PER_DISTANCE, cell_mean

STRIDE = 8.0
Array = npt.NDArray[np.float32]


class Crowd:
    """Perfect centroid offsets and person map of disks on a grid of 20 x 30 cells of 8 px."""

    def __init__(self, *disks: tuple[float, float, float]) -> None:
        """Each disk is (x, y, radius), px."""
        ys, xs = (np.mgrid[:20, :30] * STRIDE).astype(np.float32)
        self.owner = np.full((20, 30), -1)
        self.centroid = np.zeros((2, 20, 30), np.float32)
        for number, (x, y, radius) in enumerate(disks):
            inside = np.hypot(xs - x, ys - y) <= radius
            self.owner[inside] = number
            self.centroid[:, inside] = np.stack([x - xs, y - ys])[:, inside]
        self.person = (self.owner >= 0).astype(np.float32)

    def cluster(self, labels: npt.NDArray[np.uint8], owners: int = 0, steps: int = 1) -> tuple[Array, Array]:
        scores, centres, _ = kernels.cluster_cells(
            labels, owners, self.person, self.centroid, STRIDE, 0.5, 0.3, 16.0, steps, 100
        )
        return scores, centres


def nobody() -> npt.NDArray[np.uint8]:
    return np.zeros((20, 30), np.uint8)


def test_disks_apart_are_found_whole() -> None:
    disks = [(40.0, 40.0, 30.0), (120.0, 90.0, 42.0), (200.0, 40.0, 20.0)]
    crowd, labels = Crowd(*disks), nobody()
    scores, centres = crowd.cluster(labels)
    assert len(scores) == 3
    order = [int(np.argmin(np.hypot(*(centres - disk[:2]).T))) for disk in disks]
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_allclose(centres[order], [disk[:2] for disk in disks], atol=0.5)
    for number, cluster in enumerate(order):
        np.testing.assert_array_equal(labels == cluster + 1, crowd.owner == number)
    assert (scores > 0.95).all()  # sure cells, exactly where they say


def test_touching_disks_are_two() -> None:
    crowd, labels = Crowd((60.0, 80.0, 36.0), (124.0, 80.0, 36.0)), nobody()
    scores, _ = crowd.cluster(labels)
    assert len(scores) == 2
    for number in (0, 1):
        assert len(np.unique(labels[crowd.owner == number])) == 1


def test_background_belongs_to_nobody() -> None:
    labels = nobody()
    scores, centres = Crowd().cluster(labels)
    assert (scores.shape, centres.shape) == ((0,), (0, 2))
    assert not labels.any()


def test_cells_of_a_skeleton_s_person_join_it_and_start_no_cluster() -> None:
    crowd, labels = Crowd((60.0, 80.0, 40.0), (180.0, 80.0, 30.0)), nobody()
    labels[(crowd.owner == 0) & (np.arange(30) < 8)] = 1  # the skeleton has the left half of the first
    scores, centres = crowd.cluster(labels, owners=1)
    np.testing.assert_array_equal(labels == 1, crowd.owner == 0)
    np.testing.assert_array_equal(labels == 2, crowd.owner == 1)
    assert len(scores) == 1
    np.testing.assert_allclose(centres, [[180, 80]], atol=0.5)


def test_unasked_cells_and_those_of_skeletons_stay() -> None:
    crowd, labels = Crowd((60.0, 80.0, 40.0)), nobody()
    labels[:] = kernels.UNASSIGNED
    labels[8:12, 4:10] = 1
    before = labels.copy()
    crowd.cluster(labels, owners=1)
    np.testing.assert_array_equal(labels, before)


def test_self_refinement_repairs_offsets_that_fall_short() -> None:
    crowd = Crowd((100.0, 80.0, 60.0))
    crowd.centroid *= np.float32(0.6)  # each lands 0.4 of its way from the centroid
    labels = nobody()
    scores, _ = crowd.cluster(labels, steps=4)
    assert len(scores) == 1
    np.testing.assert_array_equal(labels == 1, crowd.owner == 0)
    ragged = nobody()
    crowd.cluster(ragged, steps=0)
    assert (ragged == 1).sum() < (labels == 1).sum()


def test_a_cluster_s_score_falls_with_its_certainty_and_its_spread() -> None:
    sure, unsure, spread = (Crowd((100.0, 80.0, 50.0)) for _ in range(3))
    unsure.person *= np.float32(0.6)
    noise = np.random.default_rng(3).normal(0, 8, spread.centroid.shape).astype(np.float32)
    spread.centroid += noise * spread.person
    scores = [crowd.cluster(nobody(), steps=0)[0].max() for crowd in (sure, unsure, spread)]
    assert scores[0] > scores[1]
    assert scores[0] > scores[2]
    assert scores[1] == pytest.approx(0.6 * scores[0], rel=1e-5)


def test_size_per_distance_is_that_of_a_disk() -> None:
    ys, xs = np.mgrid[-200:201, -200:201]
    away = np.hypot(xs, ys)
    inside = away <= 200
    assert pytest.approx(np.sqrt(inside.sum()) / away[inside].mean(), abs=0.01) == SIZE_PER_DISTANCE


@pytest.mark.parametrize("finer", [1, 2])
def test_the_mean_of_a_cell_equals_numpy_s(finer: int) -> None:
    rng = np.random.default_rng(finer)
    person = rng.random((4 * finer + 1, 5 * finer + 1)).astype(np.float32)
    reach = finer // 2
    for i, j in np.ndindex(5, 6):
        rows = slice(max(0, i * finer - reach), i * finer + reach + 1)
        window = person[rows, max(0, j * finer - reach) : j * finer + reach + 1]
        expected = np.where(window >= 0.5, window, 0).mean()
        assert cell_mean(person, i, j, finer, 0.5) == pytest.approx(expected, abs=1e-6)
