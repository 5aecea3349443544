import math
from dataclasses import replace

import numpy as np
import pytest

from engine import kernels
from engine.decode import decode
from engine.decode_config import DecodeConfig
from engine.encode import OUTLINE_WEIGHT, Person, Targets, box_mean, encode, person_size
from engine.skeleton import DIRECTED_EDGES, NUM_KEYPOINTS
from engine.structures import Letterbox

HW = (65, 81)  # 9 x 11 cells at stride 8, 17 x 21 at stride 4
STRIDE, PERSON_STRIDE, RADIUS = 8, 4, 16.0
NOSE, LEFT_EYE, LEFT_SHOULDER = 0, 1, 5
NOSE_TO_EYE = DIRECTED_EDGES.index((NOSE, LEFT_EYE))
EYE_TO_NOSE = DIRECTED_EDGES.index((LEFT_EYE, NOSE))


def person(mask: tuple[int, int, int, int] | None, **keypoints: tuple[float, float]) -> Person:
    """A person whose mask (x, y, width, height) is its box, with keypoints k0=…, k5=…; without a mask, 24 x 24 px."""
    rows = np.zeros((17, 3), np.float32)
    for name, (x, y) in keypoints.items():
        rows[int(name[1:])] = (x, y, 2)
    if mask is None:
        return Person(rows, (20.0, 20.0, 24.0, 24.0), None)
    x, y, width, height = mask
    pixels = np.zeros(HW, bool)
    pixels[y : y + height, x : x + width] = True
    return Person(rows, (float(x), float(y), float(width), float(height)), pixels)


def targets(*people: Person, **options: object) -> Targets:
    return encode(list(people), HW, STRIDE, PERSON_STRIDE, RADIUS, **options)  # type: ignore[arg-type]


def cells_in(x: int, y: int, width: int, height: int, stride: int = STRIDE) -> np.ndarray:
    """bool grid: the cells whose own pixel lies in a box."""
    plane = np.zeros(HW, bool)
    plane[max(y, 0) : y + height, max(x, 0) : x + width] = True
    return plane[::stride, ::stride]


def test_shapes_and_dtype() -> None:
    empty = targets()
    shapes = {name: getattr(empty, name).shape for name in Targets.__slots__}
    assert shapes == {
        "keypoint_maps": (17, 9, 11),
        "keypoint_weight": (17, 9, 11),
        "short_offsets": (34, 9, 11),
        "mid_offsets": (64, 9, 11),
        "mid_weight": (32, 9, 11),
        "mask_offsets": (34, 9, 11),
        "mask_weight": (17, 9, 11),
        "centroid_offsets": (2, 9, 11),
        "centroid_weight": (9, 11),
        "person_map": (17, 21),
        "person_weight": (17, 21),
    }
    assert {getattr(empty, name).dtype for name in Targets.__slots__} == {np.dtype(np.float32)}


def test_without_people_everything_is_known_to_be_empty() -> None:
    empty = targets()
    for name in ("keypoint_maps", "mid_weight", "mask_weight", "centroid_weight", "person_map"):
        assert not getattr(empty, name).any()
    assert (empty.keypoint_weight == 1).all()
    assert (empty.person_weight == 1).all()


def test_single_cells_by_hand() -> None:
    """The nose at (30, 26) and the left eye at (35.5, 20) on a mask of 40 x 24 px."""
    t = targets(person((16, 16, 40, 24), k0=(30.0, 26.0), k1=(35.5, 20.0)))
    # Cell (3, 4) lies at pixel (32, 24).
    assert t.keypoint_maps[NOSE, 3, 4] == 1
    assert t.short_offsets[2 * NOSE : 2 * NOSE + 2, 3, 4].tolist() == [-2, 2]
    assert t.mid_offsets[2 * NOSE_TO_EYE : 2 * NOSE_TO_EYE + 2, 3, 4].tolist() == [3.5, -4]
    assert t.mid_offsets[2 * EYE_TO_NOSE : 2 * EYE_TO_NOSE + 2, 3, 4].tolist() == [-2, 2]
    assert t.mask_offsets[2 * LEFT_EYE : 2 * LEFT_EYE + 2, 3, 4].tolist() == [3.5, -4]
    # The keypoints' box is 5.5 x 6 px: less than the least size, 16 px.
    assert t.mask_weight[[NOSE, LEFT_EYE], 3, 4].tolist() == [0.25, 0.25]
    assert t.mask_weight[LEFT_SHOULDER, 3, 4] == 0  # not labelled
    assert t.person_map[6, 8] == 1  # the person map's cell at the same pixel


def test_the_disk_has_its_radius_and_a_cell_on_its_rim_is_inside() -> None:
    t = targets(person(None, k0=(32.0, 24.0)))
    ys, xs = np.mgrid[:9, :11] * STRIDE
    np.testing.assert_array_equal(t.keypoint_maps[NOSE], np.hypot(xs - 32, ys - 24) <= RADIUS)
    assert t.keypoint_maps[NOSE, 3, 6] == 1  # 16 px to the right
    assert t.keypoint_maps[NOSE].sum() == 13
    assert not np.delete(t.keypoint_maps, NOSE, axis=0).any()
    outside = t.keypoint_maps[NOSE] == 0
    assert not t.short_offsets[:2, outside].any()


def test_mid_offsets_need_both_keypoints_and_start_on_the_disk_of_the_first() -> None:
    t = targets(person(None, k0=(32.0, 24.0), k5=(60.0, 40.0)))
    known = {(NOSE, LEFT_SHOULDER), (LEFT_SHOULDER, NOSE)}
    for e, (source, target) in enumerate(DIRECTED_EDGES):
        expected = t.keypoint_maps[source] if (source, target) in known else 0
        np.testing.assert_array_equal(t.mid_weight[e], np.broadcast_to(expected, (9, 11)))


def test_neighbouring_disks_are_split_halfway() -> None:
    a, b = person(None, k0=(24.0, 24.0)), person(None, k0=(40.0, 24.0))
    t = targets(a, b)
    row = t.short_offsets[0, 3]  # cells at x = 0, 8, ... on y = 24
    assert row.tolist() == [0, 16, 8, 0, -8, 0, -8, -16, 0, 0, 0]  # x = 32 lies between: the first person's
    # The cell between belongs to whoever comes first, and to one person alone in all its fields.
    assert targets(b, a).short_offsets[0, 3].tolist() == [0, 16, 8, 0, 8, 0, -8, -16, 0, 0, 0]


def test_keypoints_outside_keep_what_of_their_disk_is_inside() -> None:
    t = targets(person((0, 16, 16, 24), k0=(-10.0, 24.0), k5=(4.0, 30.0)))
    assert t.keypoint_maps[NOSE].sum() == 3
    assert t.short_offsets[:2, 3, 0].tolist() == [-10, 0]
    assert t.mask_offsets[:2, 3, 1].tolist() == [-18, 0]
    assert t.mask_weight[NOSE, 3, 1] > 0
    far = targets(person((0, 16, 16, 24), k0=(-100.0, 24.0), k5=(4.0, 30.0)))
    assert not far.keypoint_maps[NOSE].any()
    edge = DIRECTED_EDGES.index((LEFT_SHOULDER, NOSE))
    assert far.mid_offsets[2 * edge : 2 * edge + 2, 3, 0].tolist() == [-100, 0]
    assert far.mid_weight[edge, 3, 0] == 1


def test_mask_offsets_lie_on_the_owner_s_mask_alone() -> None:
    t = targets(person((8, 8, 24, 32), k0=(16.0, 12.0), k5=(28.0, 40.0)))
    inside = cells_in(8, 8, 24, 32)
    np.testing.assert_array_equal(t.mask_weight[NOSE] > 0, inside)
    assert t.mask_weight[NOSE, 1, 1] == pytest.approx(4 / math.sqrt(12 * 28))
    assert not t.mask_offsets[:, ~inside].any()


def test_overlap_teaches_no_mask_offsets_and_still_points_at_the_smaller_person() -> None:
    large, small = person((0, 0, 64, 64), k0=(10.0, 10.0)), person((24, 24, 16, 16), k0=(32.0, 30.0))
    for t in (targets(large, small), targets(small, large)):
        overlap = cells_in(24, 24, 16, 16)
        np.testing.assert_array_equal(t.mask_weight[NOSE] > 0, cells_in(0, 0, 64, 64) & ~overlap)
        assert t.mask_offsets[:2, 4, 4].tolist() == [0, -2]


def test_a_person_without_keypoints_hides_the_mask_offsets_below() -> None:
    posed, unposed = person((0, 0, 64, 64), k0=(10.0, 10.0)), person((24, 24, 16, 16))
    t = targets(posed, unposed)
    np.testing.assert_array_equal(t.mask_weight[NOSE] > 0, cells_in(0, 0, 64, 64) & ~cells_in(24, 24, 16, 16))


def test_person_size_is_the_decode_s() -> None:
    rng = np.random.default_rng(3)
    for extent in ((100.0, 60.0), (200.0, 1.0), (0.0, 0.0), (3.0, 90.0)):
        keypoints = np.zeros((17, 3), np.float32)
        keypoints[:, :2] = rng.uniform(0, 1, (17, 2)) * extent
        keypoints[::2, 2] = 2
        one = Person(keypoints, (0, 0, 1, 1), None)
        present = keypoints[::2, :2].astype(float)
        width, height = np.ptp(present, axis=0)
        longest = max(width, height)
        expected = max(math.sqrt(max(width, longest / 3) * max(height, longest / 3)), 16)
        assert person_size(one) == pytest.approx(expected, rel=1e-5)


# --- the centroids ----------------------------------------------------------------------------------------------------


def test_centroids_lie_on_every_mask_with_keypoints_or_without() -> None:
    posed, unposed = person((0, 0, 20, 30), k0=(10.0, 10.0)), person((48, 32, 24, 16))
    t = targets(posed, unposed)
    first, second = cells_in(0, 0, 20, 30), cells_in(48, 32, 24, 16)
    np.testing.assert_array_equal(t.centroid_weight > 0, first | second)
    np.testing.assert_allclose(t.centroid_offsets[:, 1, 2], (9.5 - 16, 14.5 - 8))
    np.testing.assert_allclose(t.centroid_offsets[:, 5, 8], (59.5 - 64, 39.5 - 40))
    assert t.centroid_weight[1, 2] == pytest.approx(4 / math.sqrt(20 * 30))
    assert t.centroid_weight[5, 8] == pytest.approx(4 / math.sqrt(24 * 16))
    assert not t.centroid_offsets[:, ~(first | second)].any()


def test_the_centroid_is_that_of_the_mask_not_of_its_box() -> None:
    angle = np.zeros(HW, bool)
    angle[8:48, 8:16] = True
    angle[40:48, 16:72] = True
    t = targets(replace(person((8, 8, 64, 40)), mask=angle))
    ys, xs = np.nonzero(angle)
    np.testing.assert_allclose(t.centroid_offsets[:, 2, 1], (xs.mean() - 8, ys.mean() - 16), rtol=1e-5)


def test_where_masks_overlap_no_centroid_is_taught() -> None:
    large, small = person((0, 0, 64, 64)), person((24, 24, 16, 16))
    for t in (targets(large, small), targets(small, large)):
        overlap = cells_in(24, 24, 16, 16)
        np.testing.assert_array_equal(t.centroid_weight > 0, cells_in(0, 0, 64, 64) & ~overlap)
        np.testing.assert_allclose(t.centroid_offsets[:, 4, 4], (31.5 - 32, 31.5 - 32))


def test_crowds_semantic_masks_and_cores_have_no_centroid() -> None:
    core = np.zeros(HW, bool)
    core[8:20, 8:20] = True
    crowd, several = (replace(person((24, 16, 32, 32)), **{flag: True}) for flag in ("is_crowd", "is_semantic"))
    for one in (crowd, several, replace(person(None, k0=(12.0, 12.0)), core=core)):
        assert not targets(one).centroid_weight.any()


# --- the person map ---------------------------------------------------------------------------------------------------


def test_person_map_is_the_covered_share_of_the_cell_s_neighbourhood() -> None:
    t = targets(person((16, 16, 24, 24), k0=(20.0, 20.0)))
    assert t.person_map[6, 6] == 1
    # The cell at pixel (16, 24) looks at x = 14 to 18: three of five columns are covered.
    assert t.person_map[6, 4] == pytest.approx(3 / 5)
    assert t.person_map[4, 4] == pytest.approx(9 / 25)
    assert t.person_map[6, 3] == 0
    assert t.person_map[3, 6] == 0


def test_cells_near_the_outline_weigh_more() -> None:
    t = targets(person((16, 16, 40, 40), k0=(20.0, 20.0)))
    # Row y = 36, inside in height: within 8 px of x = 16 and of x = 56.
    expected = [OUTLINE_WEIGHT if 8 <= x < 24 or 48 <= x <= 63 else 1 for x in range(0, 81, 4)]
    assert t.person_weight[9].tolist() == expected


@pytest.mark.parametrize(("stride", "reach"), [(4, 2), (4, 8), (8, 4), (1, 1)])
def test_box_mean_equals_numpy_s(stride: int, reach: int) -> None:
    plane = np.random.default_rng(0).random((17, 25)) < 0.4
    padded = np.pad(plane.astype(float), reach, mode="edge")
    size = 2 * reach + 1
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size)).mean(axis=(2, 3))
    np.testing.assert_allclose(box_mean(plane, stride, reach), windows[::stride, ::stride], atol=1e-6)
    assert (box_mean(np.ones((17, 25), bool), stride, reach) == 1).all()  # exactly, or all of it were outline


# --- what is unknown --------------------------------------------------------------------------------------------------


def zero_weight_boxes(t: Targets) -> np.ndarray:
    """bool (9, 11): where the keypoint maps teach nothing at all."""
    return (t.keypoint_weight == 0).all(axis=0)


def test_crowds_teach_nothing() -> None:
    crowd = replace(person((24, 16, 32, 32)), is_crowd=True)
    t = targets(crowd)
    np.testing.assert_array_equal(zero_weight_boxes(t), cells_in(24, 16, 32, 32))
    assert not t.mask_weight.any()
    assert t.person_weight[8, 10] == 0
    assert t.person_weight[0, 0] > 0


def test_a_crowd_s_own_keypoints_are_nobody_s() -> None:
    t = targets(replace(person((24, 16, 32, 32), k0=(40.0, 32.0)), is_crowd=True))
    assert not t.keypoint_maps.any()
    assert not t.mid_weight.any()


def test_people_without_keypoint_labels_teach_none_but_a_neighbour_s_disk_is_known() -> None:
    unposed, posed = person((24, 16, 32, 32)), person((56, 16, 16, 32), k0=(58.0, 32.0))
    t = targets(unposed, posed)
    disk = t.keypoint_maps[NOSE] == 1
    box = cells_in(24, 16, 32, 32)
    assert (disk & box).any()
    np.testing.assert_array_equal(t.keypoint_weight[NOSE] == 0, box & ~disk)
    np.testing.assert_array_equal(t.keypoint_weight[LEFT_EYE] == 0, box)


def test_the_box_stands_in_for_a_mask_that_is_not_labelled() -> None:
    t = targets(person(None))  # box from (20, 20) to (44, 44)
    np.testing.assert_array_equal(zero_weight_boxes(t), cells_in(20, 20, 24, 24))
    # The person map is unknown there, and 5 % around: 18.8 to 45.2 px.
    unknown = cells_in(18, 18, 28, 28, PERSON_STRIDE)
    np.testing.assert_array_equal(t.person_weight == 0, unknown)
    assert not t.person_map.any()
    assert not t.mask_weight.any()


def test_another_s_mask_in_an_unknown_box_is_known() -> None:
    t = targets(person(None, k0=(30.0, 30.0)), person((24, 24, 8, 8), k0=(26.0, 26.0)))
    masked = cells_in(24, 24, 8, 8, PERSON_STRIDE)
    unknown = cells_in(18, 18, 28, 28, PERSON_STRIDE)
    np.testing.assert_array_equal(t.person_weight == 0, unknown & ~masked)


def test_a_core_is_known_and_owned() -> None:
    core = np.zeros(HW, bool)
    core[28:37, 28:37] = True
    t = targets(replace(person(None, k0=(32.0, 30.0)), core=core))
    sure = core[::PERSON_STRIDE, ::PERSON_STRIDE]
    unknown = cells_in(18, 18, 28, 28, PERSON_STRIDE)
    np.testing.assert_array_equal(t.person_map, sure)
    np.testing.assert_array_equal(t.person_weight == 0, unknown & ~sure)
    np.testing.assert_array_equal(t.mask_weight[NOSE] > 0, core[::STRIDE, ::STRIDE])


def test_labels_without_a_face_say_nothing_about_the_joints_they_lack() -> None:
    t = targets(replace(person((24, 16, 20, 30), k5=(30.0, 30.0)), face_known=False))
    lacking = [k for k in range(NUM_KEYPOINTS) if k != 5]
    # The box and a fifth around it: x from 20 to 48, y from 10 to 52.
    np.testing.assert_array_equal((t.keypoint_weight[lacking] == 0).all(axis=0), cells_in(20, 10, 28, 42))
    np.testing.assert_array_equal((t.keypoint_weight[lacking] == 0).any(axis=0), cells_in(20, 10, 28, 42))
    assert (t.keypoint_weight[5] == 1).all()


def test_keypoints_never_labelled_teach_nothing_on_the_person_and_r_around_it() -> None:
    t = targets(replace(person((40, 32, 8, 8)), keypoints_known=False))
    rows, cols = np.mgrid[: HW[0], : HW[1]]
    away = np.hypot(np.maximum(0, np.abs(cols - 43.5) - 3.5), np.maximum(0, np.abs(rows - 35.5) - 3.5))
    away = away[::STRIDE, ::STRIDE]
    assert zero_weight_boxes(t)[away < RADIUS - 1].all()
    assert (t.keypoint_weight[:, away > RADIUS + 2] == 1).all()
    assert (away > RADIUS + 2).any()


def test_nobody_else_s_ring_reaches_into_known_background() -> None:
    """Two people without keypoint labels are unknown within R of either, and nowhere between."""
    a, b = (replace(person((x, 24, 8, 8)), keypoints_known=False) for x in (0, 72))
    unknown = zero_weight_boxes(targets(a, b))
    np.testing.assert_array_equal(unknown[3], [x <= 7 + RADIUS or x >= 72 - RADIUS for x in range(0, 81, 8)])


def test_a_mask_of_several_people_owns_no_mask_offsets() -> None:
    t = targets(replace(person((24, 16, 32, 32), k0=(40.0, 32.0)), is_semantic=True))
    assert not t.mask_weight.any()
    assert t.keypoint_maps[NOSE].any()
    assert t.person_map[8, 10] == 1
    assert (t.person_weight > 0).all()


def test_where_others_may_stand_unlabelled_only_the_neighbourhood_is_known() -> None:
    one = person((24, 16, 30, 30), k0=(40.0, 32.0))
    t = targets(one, all_people_listed=False)
    near = (21, 13, 36, 36)  # the box and a tenth around it: x from 21 to 57, y from 13 to 49
    np.testing.assert_array_equal(t.person_weight == 0, ~cells_in(*near, PERSON_STRIDE))
    np.testing.assert_array_equal(t.keypoint_weight[LEFT_EYE] == 0, ~cells_in(*near))
    np.testing.assert_array_equal(t.keypoint_weight[NOSE] == 1, cells_in(*near) | (t.keypoint_maps[NOSE] == 1))
    np.testing.assert_array_equal(t.mask_weight, targets(one).mask_weight)


def test_the_padding_around_such_a_picture_is_known_to_be_empty() -> None:
    picture = np.zeros(HW, bool)
    picture[:, :64] = True
    t = targets(person((8, 8, 10, 10), k0=(12.0, 12.0)), all_people_listed=False, picture=picture)
    padding = cells_in(64, 0, 17, 65, PERSON_STRIDE)
    near = cells_in(7, 7, 12, 12, PERSON_STRIDE)
    np.testing.assert_array_equal(t.person_weight > 0, padding | near)


def test_heads_are_the_targets() -> None:
    t = targets(person((16, 16, 40, 24), k0=(30.0, 26.0), k1=(35.5, 20.0)))
    heads = t.heads(STRIDE, Letterbox(HW, HW, (1.0, 1.0)))
    assert heads.person_stride == PERSON_STRIDE
    assert heads.short_offsets[NOSE, :, 3, 4].tolist() == [-2, 2]
    assert heads.mid_offsets[NOSE_TO_EYE, :, 3, 4].tolist() == [3.5, -4]
    assert heads.mask_offsets[LEFT_EYE, :, 3, 4].tolist() == [3.5, -4]
    # The decode's own sampling finds the keypoint from the cell.
    x = kernels.sample(heads.short_offsets[NOSE, 0], 32.0, 24.0, float(STRIDE)) + 32
    assert x == pytest.approx(30)


@pytest.mark.parametrize("radius", [8.0, 16.0, 32.0])
def test_the_decode_finds_the_same_people_whatever_the_radius(radius: float) -> None:
    """The disks of the two overlap at R = 32."""
    right_half = [(0, -40), (4, -44), (8, -42), (16, -28), (22, -8), (26, 10), (10, 12), (12, 34), (13, 56)]
    figure = np.array([right_half[0], *((side * x, y) for x, y in right_half[1:] for side in (1, -1))])
    hw, people = (161, 241), []
    for x, y in ((64.3, 72.6), (151.8, 81.2)):
        mask = np.zeros(hw, bool)
        mask[round(y) - 50 : round(y) + 62, round(x) - 30 : round(x) + 30] = True
        keypoints = np.column_stack([figure + np.array([x, y]), np.full(17, 2)]).astype(np.float32)
        people.append(Person(keypoints, (x - 30, y - 50, 60.0, 112.0), mask))
    fields = encode(people, hw, STRIDE, PERSON_STRIDE, radius).heads(STRIDE, Letterbox(hw, hw, (1.0, 1.0)))
    found = decode(fields, DecodeConfig(radius_px=radius))
    assert len(found) == 2
    for one in people:
        errors = np.hypot(*(found.keypoints_xy - one.keypoints[:, :2]).transpose(2, 0, 1)).max(axis=1)
        assert errors.min() < 1.0
        shown = found.mask(int(errors.argmin()))
        assert one.mask is not None
        assert (shown & one.mask).sum() / (shown | one.mask).sum() > 0.9
