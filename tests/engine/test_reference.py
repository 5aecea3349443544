"""The plain decode, and that the compiled one finds the same people by the same rules."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from engine import reference
from engine.decode import decode
from engine.decode_config import DecodeConfig
from engine.encode import encode
from engine.structures import Heads, Instances, Letterbox
from engine.synthetic import PERSON_STRIDE, STRIDE, synthetic_people

HW = (193, 257)
RULES = replace(DecodeConfig.released(), centroid="keypoints")
# Where two people meet, enlarging mixes their offsets, and such votes make small peaks: PersonLab's own threshold is
# above them, the released one (0.001) is not.
CLEAN = replace(RULES, peak_threshold=0.01)
# Measured on the scenes below: 0.7 px between a maximum of pixels and the centre of mass of 4 px bins; IoU 0.85, for
# the mixed offsets again.
KEYPOINT_PX, MASK_IOU = 1.2, 0.8


def perfect(people: int, seed: int) -> Heads:
    targets = encode(synthetic_people(people, HW, seed), HW, STRIDE, PERSON_STRIDE, RULES.radius_px)
    return targets.heads(STRIDE, Letterbox(HW, HW, (1.0, 1.0)))


def keypoint_distance(one: Instances, i: int, other: Instances, j: int) -> float:
    """The largest distance of a keypoint, px; infinite unless both have the same ones."""
    present = one.keypoint_scores[i] > 0
    if (present != (other.keypoint_scores[j] > 0)).any():
        return np.inf
    return float(np.linalg.norm(one.keypoints_xy[i] - other.keypoints_xy[j], axis=1)[present].max())


def iou(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


@pytest.mark.parametrize("rules", [RULES, CLEAN], ids=["released", "clean"])
@pytest.mark.parametrize(("people", "seed"), [(1, 0), (2, 0), (2, 1), (2, 3)])
def test_both_decodes_find_the_same_people(people: int, seed: int, rules: DecodeConfig) -> None:
    heads = perfect(people, seed)
    plain = reference.decode(reference.dense(heads, rules), rules)
    compiled = decode(heads, rules)
    assert len(compiled) == people
    if rules is CLEAN:
        assert len(plain) == people
    taken = set()
    for i in range(people):
        distances = [keypoint_distance(compiled, i, plain, j) for j in range(len(plain))]
        j = int(np.argmin(distances))
        taken.add(j)
        assert distances[j] < KEYPOINT_PX
        assert iou(compiled.mask(i), plain.mask(j)) > MASK_IOU
    assert len(taken) == people


def test_nobody_is_found_as_nobody() -> None:
    found = reference.decode(reference.dense(perfect(0, 0), RULES), RULES)
    assert len(found) == 0
    assert not found.label_map.any()


def test_enlarging_keeps_the_corners_and_is_linear_between() -> None:
    plane = np.array([[0, 8], [16, 24]], np.float32)
    rows, cols = np.mgrid[:9, :9]
    np.testing.assert_allclose(reference.enlarge(plane, (9, 9)), 2 * rows + cols, atol=1e-5)


def test_the_source_gets_people_at_its_own_size() -> None:
    heads = perfect(1, 0)
    half = Letterbox((97, 129), HW, (257 / 129, 193 / 97))
    whole = reference.decode(reference.dense(heads, RULES), RULES)
    small = reference.decode(reference.dense(replace(heads, letterbox=half), RULES), RULES)
    assert small.label_map.shape == (97, 129)
    expected = half.to_source(whole.keypoints_xy)
    np.testing.assert_allclose(small.keypoints_xy, expected, atol=1e-3)
    assert small.label_map.sum() == pytest.approx(whole.label_map.sum() / 4, rel=0.05)


def test_peaks_are_the_maxima_of_their_windows() -> None:
    hough = np.zeros((17, 30, 30), np.float32)
    hough[3, 10, 10], hough[3, 10, 18], hough[3, 25, 10], hough[5, 0, 0] = 0.5, 0.4, 0.3, 0.0005
    peaks = reference.find_peaks(hough, RULES)
    assert peaks.kinds.tolist() == [3, 3]  # one within the first's window, one under the threshold
    assert peaks.xy.tolist() == [[10, 10], [10, 25]]
    assert peaks.heights.tolist() == pytest.approx([0.5, 0.3])
