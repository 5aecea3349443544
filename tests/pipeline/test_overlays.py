"""Style, colours, and the layers that show people: masks, poses, scores."""

import dataclasses

import cv2
import numpy as np
import pytest

from engine.skeleton import EDGES, KEYPOINT_NAMES, NUM_KEYPOINTS, RIGHT_SHOULDER
from engine.structures import MAX_INSTANCES, Instances
from pipeline.overlays import LAYER_NAMES, LAYERS, OVERLAY_NAMES, FieldLayer, OverlayStyle, instance_colour
from pipeline.overlays.masks import draw_masks
from pipeline.overlays.palette import PART_COLOURS, PARTS, colour_table, direction_colours
from pipeline.overlays.pose import draw_pose
from pipeline.overlays.style import line_px
from pipeline.render import draw

POSE_ONLY, MASKS_ONLY = OverlayStyle.of(["pose"]), OverlayStyle.of(["masks"])


def one_person(points, height=120, width=160, label_map=None):
    """Instances of one person with only the given keypoints: {keypoint: (x, y)} or {keypoint: (x, y, score)}."""
    keypoints_xy = np.zeros((1, NUM_KEYPOINTS, 2), np.float32)
    keypoint_scores = np.zeros((1, NUM_KEYPOINTS), np.float32)
    for k, (x, y, *score) in points.items():
        keypoints_xy[0, k] = x, y
        keypoint_scores[0, k] = score[0] if score else 0.9
    labels = np.zeros((height, width), np.uint8) if label_map is None else label_map
    return Instances(keypoints_xy, keypoint_scores, *2 * (np.array([0.8], np.float32),), labels)


def grey(height=120, width=160):
    return np.full((height, width, 3), 128, np.uint8)


def changed(before, after):
    """Where two pictures differ: bool (H, W)."""
    return (before != after).any(axis=2)


# ---- colours


def test_every_instance_has_a_colour_of_its_own() -> None:
    colours = {instance_colour(index) for index in range(MAX_INSTANCES)}
    assert len(colours) == MAX_INSTANCES


def test_the_first_colours_are_far_apart_and_far_from_grey() -> None:
    colours = np.array([instance_colour(index) for index in range(12)], dtype=float)
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=2) + 1e3 * np.eye(12)
    assert distances.min() > 60
    assert np.ptp(colours, axis=1).min() > 60


def test_numbers_near_each_other_have_colours_far_apart() -> None:
    """People of a scene that goes on have such numbers."""
    lab = cv2.cvtColor(colour_table()[None, 1:].astype(np.float32) / 255, cv2.COLOR_BGR2LAB)[0]
    for index in range(1, 60):
        earlier = lab[max(0, index - 9) : index]
        assert np.linalg.norm(lab[index] - earlier, axis=1).min() > 35


def test_colours_do_not_change_between_releases() -> None:
    assert [instance_colour(index) for index in range(3)] == [(255, 178, 0), (0, 255, 0), (0, 0, 255)]
    assert tuple(colour_table()[0]) == (0, 0, 0)


def test_colours_begin_again_after_the_last() -> None:
    assert instance_colour(MAX_INSTANCES) == instance_colour(0)
    assert instance_colour(3 * MAX_INSTANCES + 5) == instance_colour(5)


def test_parts_of_the_body_have_one_colour_each() -> None:
    members = [[KEYPOINT_NAMES[k] for k in range(NUM_KEYPOINTS) if PARTS[k] == part] for part in range(5)]
    assert members[0] == ["nose", "left_eye", "right_eye", "left_ear", "right_ear"]
    assert members[1] == ["left_shoulder", "left_elbow", "left_wrist"]
    assert members[2] == ["right_shoulder", "right_elbow", "right_wrist"]
    assert members[3] == ["left_hip", "left_knee", "left_ankle"]
    assert members[4] == ["right_hip", "right_knee", "right_ankle"]
    assert len(set(PART_COLOURS)) == 5


def test_the_hue_tells_the_direction_and_the_brightness_the_length() -> None:
    right, down, left, up = direction_colours(np.array([[(90, 0), (0, 90), (-90, 0), (0, -90)]], np.float32), 16.0)[0]
    assert right.argmax() == 2  # BGR: red
    assert down.argmax() == 1
    np.testing.assert_array_equal(np.argsort(left)[0], 2)  # cyan: everything but red
    np.testing.assert_array_equal(np.argsort(up)[0], 1)  # violet: everything but green
    lengths = direction_colours(np.array([[(0, 0), (8, 0), (16, 0), (500, 0)]], np.float32), 16.0)[0, :, 2].astype(int)
    assert lengths[0] == 0
    assert abs(lengths[2] - 127) <= 1
    assert (np.diff(lengths) > 0).all()


# ---- style


def test_pis_is_masks_and_pose() -> None:
    assert OverlayStyle.of(["pis"]) == OverlayStyle.of(["pose", "masks"]) == OverlayStyle()
    assert OverlayStyle.of([]) == OverlayStyle(pose=False, masks=False)


@pytest.mark.parametrize("name", LAYER_NAMES)
def test_a_name_switches_its_layer_alone(name) -> None:
    style = OverlayStyle.of([name])
    assert [other for other in LAYER_NAMES if getattr(style, other)] == [name]
    assert 0 < getattr(style, f"{name}_opacity") <= 1


def test_unknown_overlays_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown overlay boxes: expected some of bhm, .*, pose, pis$"):
        OverlayStyle.of(["pose", "boxes"])


@pytest.mark.parametrize("name", [f"{layer}_opacity" for layer in LAYER_NAMES] + ["person_threshold"])
@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_numbers_outside_0_to_1_are_refused(name, value) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected a number in"):
        OverlayStyle(**{name: value})


@pytest.mark.parametrize("name", ["offset_target", "skhm_keypoint"])
def test_a_keypoint_that_does_not_exist_is_refused(name) -> None:
    assert getattr(OverlayStyle(**{name: None}), name) is None
    for wrong in (-1, NUM_KEYPOINTS):
        with pytest.raises(ValueError, match=f"{name}: expected a keypoint from 0 to 16 or None, got {wrong}"):
            OverlayStyle(**{name: wrong})


def test_offsets_lead_to_the_right_shoulder_unless_told() -> None:
    assert OverlayStyle().offset_target == RIGHT_SHOULDER


def test_the_layers_in_their_order_from_below() -> None:
    names = [layer.name for layer in LAYERS]
    assert sorted(names) == sorted(LAYER_NAMES)  # each has a switch, each switch has one
    assert names.index("masks") < names.index("skhm") < names.index("pose")


def test_heads_are_asked_for_by_field_layers_only() -> None:
    fields = {layer.name for layer in LAYERS if isinstance(layer, FieldLayer)}
    assert {name for name in LAYER_NAMES if OverlayStyle.of([name]).needs_heads} == fields
    assert not OverlayStyle(show_scores=True).needs_heads
    assert not any(OverlayStyle.of([name]).needs_heads for name in OVERLAY_NAMES)


@pytest.mark.parametrize(
    ("size_hw", "expected"), [((64, 96), 1), ((480, 640), 2), ((1080, 1920), 5), ((2160, 3840), 10)]
)
def test_lines_grow_with_the_picture(size_hw, expected) -> None:
    assert line_px(size_hw) == expected
    assert line_px(size_hw[::-1]) == expected


# ---- masks


def test_masks_change_the_labelled_pixels_and_no_other(make_instances) -> None:
    instances = make_instances(3)
    image = grey(64, 96)
    drawn = draw(image, instances, MASKS_ONLY)
    np.testing.assert_array_equal(changed(image, drawn), instances.label_map > 0)


def test_the_tint_is_the_blend_of_picture_and_colour() -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[10:30, 10:30] = 1
    canvas = np.full((40, 40, 3), 100, np.uint8)
    draw_masks(canvas, one_person({}, label_map=labels), [(250, 0, 30)], OverlayStyle(masks_opacity=0.25))
    colour = np.array((250, 0, 30), float)
    np.testing.assert_allclose(canvas[20, 20], 75 + colour / 4, atol=1)  # inside
    np.testing.assert_allclose(canvas[10, 20], 50 + colour / 2, atol=1)  # on the contour: twice as opaque


def test_a_contour_runs_between_two_people_who_touch() -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[:, :20], labels[:, 20:] = 1, 2
    keypoints = np.zeros((2, NUM_KEYPOINTS, 2), np.float32)
    instances = Instances(keypoints, keypoints[:, :, 0], *2 * (np.array([0.9, 0.8], np.float32),), labels)
    canvas = np.zeros((40, 40, 3), np.uint8)
    draw_masks(canvas, instances, [instance_colour(0), instance_colour(1)], OverlayStyle(masks_opacity=0.5))
    np.testing.assert_array_equal(canvas[20, 19], instance_colour(0))
    np.testing.assert_array_equal(canvas[20, 20], instance_colour(1))
    assert (canvas[20, 5] < canvas[20, 19]).any()  # inside only half of it
    np.testing.assert_array_equal(canvas[20, 5], canvas[0, 0])  # the picture's border is no contour


def test_opacity_zero_shows_nothing_and_one_hides_the_picture(make_instances) -> None:
    instances, image = make_instances(2), grey(64, 96)
    np.testing.assert_array_equal(draw(image, instances, OverlayStyle(pose=False, masks_opacity=0.0)), image)
    opaque = draw(image, instances, OverlayStyle(pose=False, masks_opacity=1.0))
    np.testing.assert_array_equal(opaque[instances.label_map == 2], np.broadcast_to(instance_colour(1), (48 * 40, 3)))


def test_the_highest_label_has_a_colour_too() -> None:
    labels = np.full((20, 20), MAX_INSTANCES, np.uint8)
    keypoints = np.zeros((MAX_INSTANCES, NUM_KEYPOINTS, 2), np.float32)
    scores = np.full(MAX_INSTANCES, 0.5, np.float32)
    drawn = draw(
        grey(20, 20), Instances(keypoints, keypoints[:, :, 0], scores, scores, labels), OverlayStyle(masks_opacity=1.0)
    )
    np.testing.assert_array_equal(drawn[10, 10], instance_colour(MAX_INSTANCES - 1))


# ---- pose


def test_missing_keypoints_are_not_drawn() -> None:
    # Left shoulder and left elbow are an edge; without the elbow neither it (at 0, 0) nor the limb may show.
    image = grey()
    drawn = draw(image, one_person({5: (80, 60)}), POSE_ONLY)
    ys, xs = np.nonzero(changed(image, drawn))
    assert abs(xs.mean() - 80) < 1
    assert abs(ys.mean() - 60) < 1
    assert np.ptp(xs) < 10
    assert np.ptp(ys) < 10


def test_keypoints_below_the_threshold_are_not_drawn() -> None:
    image, person = grey(), one_person({5: (40, 60, 0.9), 7: (120, 60, 0.3)})
    with_both = changed(image, draw(image, person, OverlayStyle(masks=False, keypoint_threshold=0.3)))
    with_one = changed(image, draw(image, person, OverlayStyle(masks=False, keypoint_threshold=0.31)))
    assert with_both[60, 80]
    assert with_both[60, 120]
    assert with_one[60, 40]
    assert not with_one[:, 50:].any()


def test_a_score_of_zero_is_missing_even_at_threshold_zero() -> None:
    image = grey()
    drawn = draw(image, one_person({5: (80, 60, 0.0)}), OverlayStyle(masks=False, keypoint_threshold=0.0))
    np.testing.assert_array_equal(drawn, image)


@pytest.mark.parametrize("edge", EDGES)
def test_a_limb_joins_the_two_keypoints_of_each_edge(edge) -> None:
    image = grey()
    drawn = draw(image, one_person({edge[0]: (30, 30), edge[1]: (130, 90)}), POSE_ONLY)
    assert changed(image, drawn)[60, 80]


def test_keypoints_without_an_edge_between_them_are_not_joined() -> None:
    image = grey()
    drawn = draw(image, one_person({9: (30, 30), 15: (130, 90)}), POSE_ONLY)  # left wrist, left ankle
    assert not changed(image, drawn)[60, 80]
    assert changed(image, drawn)[30, 30]


def test_left_and_right_limbs_look_different() -> None:
    person = {5: (30, 30), 7: (30, 100), 6: (130, 30), 8: (130, 100)}
    drawn = draw(grey(), one_person(person), POSE_ONLY)
    left, right = drawn[65, 30].astype(int), drawn[65, 130].astype(int)
    assert left.sum() > right.sum() + 60


def test_pose_opacity_blends() -> None:
    image, person = grey(), one_person({5: (30, 60), 7: (130, 60)})
    full = draw(image, person, OverlayStyle(masks=False)).astype(int)
    half = draw(image, person, OverlayStyle(masks=False, pose_opacity=0.5)).astype(int)
    np.testing.assert_allclose(half, (full + 128) / 2, atol=1)


def test_the_best_instance_lies_on_top() -> None:
    keypoints_xy = np.zeros((2, NUM_KEYPOINTS, 2), np.float32)
    keypoint_scores = np.zeros((2, NUM_KEYPOINTS), np.float32)
    keypoints_xy[:, 6], keypoints_xy[:, 8] = (30, 60), (130, 60)
    keypoint_scores[:, [6, 8]] = 0.9
    scores = np.array([0.9, 0.8], np.float32)
    both = Instances(keypoints_xy, keypoint_scores, scores, scores, np.zeros((120, 160), np.uint8))
    best_alone = one_person({6: (30, 60), 8: (130, 60)})
    np.testing.assert_array_equal(draw(grey(), both, POSE_ONLY)[60, 80], draw(grey(), best_alone, POSE_ONLY)[60, 80])


def test_a_person_outside_the_picture_does_no_harm() -> None:
    image = grey()
    drawn = draw(image, one_person({5: (-500.0, -500.0), 7: (-900.0, 5000.0)}), POSE_ONLY)
    np.testing.assert_array_equal(drawn, image)


def test_a_small_person_gets_thin_lines() -> None:
    image = grey(1080, 1920)
    small = changed(image, draw(image, one_person({5: (500, 500), 11: (500, 530)}, 1080, 1920), POSE_ONLY))
    large = changed(image, draw(image, one_person({5: (500, 300), 11: (500, 900)}, 1080, 1920), POSE_ONLY))
    assert small[515].sum() < large[600].sum()
    assert large[600].sum() >= line_px((1080, 1920))


def test_draw_pose_works_in_place() -> None:
    canvas = grey()
    draw_pose(canvas, one_person({5: (80, 60)}), [instance_colour(0)], POSE_ONLY)
    assert changed(grey(), canvas).any()


# ---- scores


def test_scores_stay_inside_the_picture_and_show_when_asked(make_instances) -> None:
    image, instances = grey(64, 96), make_instances(2)
    without = draw(image, instances, OverlayStyle())
    with_scores = draw(image, instances, OverlayStyle(show_scores=True))
    assert changed(without, with_scores).any()
    plain = draw(image, instances, OverlayStyle(pose=False, masks=False, show_scores=True))
    assert (plain == np.array(instance_colour(1), np.uint8)).all(axis=2).any()


# ---- identities


@pytest.mark.parametrize("style", [POSE_ONLY, MASKS_ONLY, dataclasses.replace(OverlayStyle.of([]), show_scores=True)])
def test_the_colour_follows_the_identity_not_the_index(make_instances, style) -> None:
    image, both = grey(64, 96), make_instances(2)
    style = dataclasses.replace(style, show_ids=False)
    plain, swapped = draw(image, both, style), draw(image, both, style, identities=[1, 0])
    np.testing.assert_array_equal(draw(image, both, style, identities=[0, 1]), plain)
    assert changed(plain, swapped)[:, :48].any()
    alone = draw(image, make_instances(1), style, identities=[700])
    np.testing.assert_array_equal(alone, draw(image, make_instances(1), style, identities=[700 % MAX_INSTANCES]))


def test_identities_must_be_as_many_as_the_people(make_instances) -> None:
    with pytest.raises(ValueError, match="identities: expected 2 numbers, got 1"):
        draw(grey(64, 96), make_instances(2), OverlayStyle(), identities=[3])


def test_ids_are_written_where_there_are_some_and_they_are_wanted(make_instances) -> None:
    image, both, nothing = grey(128, 192), make_instances(2, 128, 192), OverlayStyle.of([])
    np.testing.assert_array_equal(draw(image, both, nothing), image)
    np.testing.assert_array_equal(draw(image, both, dataclasses.replace(nothing, show_ids=False), None, [1, 2]), image)
    np.testing.assert_array_equal(draw(image, both, nothing, identities=[0, 0]), image)  # 0: nobody who is followed
    first, other = (changed(draw(image, both, nothing, identities=[number, 0]), image) for number in (1, 1234))
    assert first.any()
    assert not first[:, 96:].any()
    assert np.ptp(np.nonzero(other)[1]) > np.ptp(np.nonzero(first)[1])  # a longer number on a wider plate
    with_score = changed(draw(image, both, dataclasses.replace(nothing, show_scores=True), None, [1, 0]), image)
    assert np.ptp(np.nonzero(with_score[:, :96])[1]) > np.ptp(np.nonzero(first)[1])
