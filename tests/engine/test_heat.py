"""The body heat map."""

import numpy as np

from engine import kernels

RNG = np.random.default_rng(5)
MAPS = RNG.random((17, 5, 6)).astype(np.float32)


def test_body_heat_is_a_noisy_or() -> None:
    expected = 1 - np.prod(1 - 0.4 * MAPS, axis=0)
    np.testing.assert_allclose(kernels.body_heat(MAPS, 0.4), expected, atol=1e-6)
    assert not kernels.body_heat(np.zeros_like(MAPS), 0.4).any()


def test_evidence_is_what_the_other_keypoints_add_up_to() -> None:
    points = (RNG.integers(0, 5, (3, 17, 2)) * 8).astype(np.float32)  # on cells
    scores = (RNG.random((3, 17)) < 0.6).astype(np.float32)
    person = RNG.random((9, 11)).astype(np.float32)  # at stride 4
    got = kernels.body_evidence(points, scores, MAPS, person, (8.0, 4.0), 0.1)
    for n, k in np.ndindex(3, 17):
        cells = (points[n] / 8).astype(int)
        heats = 0.1 * MAPS[np.arange(17), cells[:, 1], cells[:, 0]] * (scores[n] > 0)
        shown = person[2 * cells[k, 1], 2 * cells[k, 0]]
        expected = min(1, heats.sum() - heats[k]) * shown if scores[n, k] else 0
        assert abs(got[n, k] - expected) < 1e-5


def test_a_lonely_keypoint_has_no_evidence() -> None:
    scores = np.zeros((1, 17), np.float32)
    scores[0, 3] = 1
    ones = np.ones((5, 6), np.float32)
    points = np.full((1, 17, 2), 8, np.float32)
    assert not kernels.body_evidence(points, scores, MAPS, ones, (8.0, 8.0), 0.4).any()
