import numpy as np
import pytest
from pycocotools.cocoeval import Params

from engine.skeleton import (
    DIRECTED_EDGES,
    EDGES,
    FLIP_EDGES,
    FLIP_KEYPOINTS,
    KEYPOINT_NAMES,
    NUM_EDGES,
    NUM_KEYPOINTS,
    OKS_SIGMAS,
)


def test_the_edges_are_a_spanning_tree() -> None:
    assert len(EDGES) == NUM_EDGES == NUM_KEYPOINTS - 1
    reached = {0}
    for parent, child in EDGES:  # parents come first: the grouping walks the tree in this order
        assert parent in reached
        assert child not in reached
        reached.add(child)
    assert reached == set(range(NUM_KEYPOINTS))


def test_every_edge_exists_in_both_directions() -> None:
    assert len(set(DIRECTED_EDGES)) == 2 * NUM_EDGES
    for index, (source, target) in enumerate(EDGES):
        assert DIRECTED_EDGES[index + NUM_EDGES] == (target, source)


@pytest.mark.parametrize("flip", [FLIP_KEYPOINTS, FLIP_EDGES])
def test_flipping_twice_changes_nothing(flip: tuple[int, ...]) -> None:
    assert [flip[flip[i]] for i in range(len(flip))] == list(range(len(flip)))


def test_a_flip_swaps_left_and_right() -> None:
    swap = {"left": "right", "right": "left"}
    for index, name in enumerate(KEYPOINT_NAMES):
        side, _, part = name.partition("_")
        assert KEYPOINT_NAMES[FLIP_KEYPOINTS[index]] == (f"{swap[side]}_{part}" if side in swap else name)


def test_a_flipped_edge_joins_the_flipped_keypoints() -> None:
    for index, (source, target) in enumerate(DIRECTED_EDGES):
        assert DIRECTED_EDGES[FLIP_EDGES[index]] == (FLIP_KEYPOINTS[source], FLIP_KEYPOINTS[target])


def test_sigmas_are_coco_s_and_symmetric() -> None:
    assert OKS_SIGMAS.shape == (NUM_KEYPOINTS,)
    assert all(OKS_SIGMAS[i] == OKS_SIGMAS[FLIP_KEYPOINTS[i]] for i in range(NUM_KEYPOINTS))
    np.testing.assert_allclose(OKS_SIGMAS, Params("keypoints").kpt_oks_sigmas, rtol=1e-6)
