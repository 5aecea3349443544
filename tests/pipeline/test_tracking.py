"""Ids on scenes painted by hand: walkers whose keypoints and masks are known, who hide each other or are not found."""

import numpy as np
import pytest

from engine.skeleton import NUM_KEYPOINTS
from engine.structures import Instances
from pipeline.tracking import Tracker, TrackingConfig, same_people

FPS = 10.0
HW = (240, 320)
# A body of height 1 and width 0.3 around (0, 0): nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles.
BODY = np.array(
    [(0, -.45), (.02, -.47), (-.02, -.47), (.04, -.46), (-.04, -.46), (.1, -.32), (-.1, -.32),
     (.13, -.15), (-.13, -.15), (.14, 0), (-.14, 0), (.07, 0), (-.07, 0),
     (.07, .25), (-.07, .25), (.08, .48), (-.08, .48)]
)  # fmt: skip


def found(people, scores=None, keypoints=True, masks=True, hw=HW) -> Instances:
    """What a perfect network finds of people at rows of (x, y, height): the first stands in front of the others."""
    count = len(people)
    label_map = np.zeros(hw, dtype=np.uint8)
    xy = np.zeros((count, NUM_KEYPOINTS, 2), dtype=np.float32)
    for index in reversed(range(count)):
        x, y, height = people[index]
        xy[index] = BODY * height + (x, y)
        left, right, top, bottom = x - 0.15 * height, x + 0.15 * height, y - 0.5 * height, y + 0.5 * height
        if masks:
            rows, columns = (slice(max(0, round(a)), max(0, round(b))) for a, b in ((top, bottom), (left, right)))
            label_map[rows, columns] = index + 1
    return Instances(
        keypoints_xy=xy if keypoints else np.zeros_like(xy),
        keypoint_scores=np.full((count, NUM_KEYPOINTS), 0.8 if keypoints else 0.0, dtype=np.float32),
        scores=np.linspace(0.9, 0.5, count, dtype=np.float32) if scores is None else np.array(scores, dtype=np.float32),
        mask_scores=np.full(count, 0.8, dtype=np.float32),
        label_map=label_map,
    )


def ids(tracker, people, seconds, **options) -> list[int]:
    return tracker.update(found(people, **options), seconds).tolist()


# ---- conventions


def test_everybody_has_an_id_from_the_first_frame_on() -> None:
    tracker = Tracker()
    assert ids(tracker, [(60, 120, 100), (200, 120, 100)], 0.0) == [1, 2]
    identities = tracker.update(found([(60, 120, 100), (200, 120, 100), (280, 120, 90)]), 0.1)
    assert identities.dtype == np.int64
    assert identities.tolist() == [1, 2, 3]


def test_nobody_gives_no_ids_and_empty_frames_do_no_harm() -> None:
    tracker = Tracker()
    assert tracker.update(found([]), 0.0).shape == (0,)
    assert ids(tracker, [(60, 120, 100)], 0.1) == [1]
    assert tracker.update(found([]), 0.2).shape == (0,)
    assert ids(tracker, [(60, 120, 100)], 0.3) == [1]


def test_the_order_of_the_instances_does_not_matter() -> None:
    tracker = Tracker()
    a, b, c = (60, 120, 100), (160, 120, 100), (260, 120, 100)
    assert ids(tracker, [a, b, c], 0.0) == [1, 2, 3]
    assert ids(tracker, [c, a, b], 0.1) == [3, 1, 2]


def test_the_same_frame_again_gives_the_same_ids() -> None:
    tracker = Tracker()
    people = [(60, 120, 100), (70, 125, 100)]
    first = ids(tracker, people, 1.0)
    assert ids(tracker, people, 1.0) == first


@pytest.mark.parametrize("people", [[(60, 120, 100)], []])
def test_going_back_in_time_makes_everybody_new_and_no_id_is_given_again(people) -> None:
    tracker = Tracker()
    ids(tracker, [(60, 120, 100), (200, 120, 100)], 5.0)
    ids(tracker, people, 5.1)
    assert ids(tracker, [(60, 120, 100), (200, 120, 100)], 0.0) == [3, 4]


def test_a_jump_forward_beyond_the_memory_makes_everybody_new() -> None:
    tracker = Tracker(TrackingConfig(lost_s=2.0))
    assert ids(tracker, [(60, 120, 100)], 0.0) == [1]
    assert ids(tracker, [(60, 120, 100)], 2.1) == [2]


def test_another_size_of_the_picture_makes_everybody_new() -> None:
    tracker = Tracker()
    assert ids(tracker, [(60, 120, 100)], 0.0) == [1]
    assert ids(tracker, [(60, 120, 100)], 0.1, hw=(240, 200)) == [2]


def test_as_many_people_as_there_can_be() -> None:
    grid = [(4 + 5 * (n % 62), 10 + 25 * (n // 62), 12) for n in range(254)]
    tracker = Tracker()
    assert ids(tracker, grid, 0.0, scores=[0.9] * 254) == list(range(1, 255))
    assert ids(tracker, grid, 0.1, scores=[0.9] * 254) == list(range(1, 255))


def test_the_same_frames_give_the_same_ids() -> None:
    frames = [found([(60 + 3 * t, 120, 100), (200 - 3 * t, 120, 98)][: 2 - t % 7 // 6]) for t in range(40)]
    runs = []
    for _ in range(2):
        tracker = Tracker()
        runs.append([tracker.update(frame, t / FPS).tolist() for t, frame in enumerate(frames)])
    assert runs[0] == runs[1]


# ---- lost and found


@pytest.mark.parametrize(("away_s", "same"), [(0.5, True), (2.0, True), (4.0, False)])
def test_somebody_who_stands_still_is_remembered_for_a_while(away_s, same) -> None:
    tracker = Tracker(TrackingConfig(lost_s=3.0))
    for t in range(5):
        ids(tracker, [(60, 120, 100)], t / FPS)
    now_s = 0.4 + away_s
    for t in np.arange(0.5, now_s, 1 / FPS):
        ids(tracker, [], float(t))
    assert ids(tracker, [(60, 120, 100)], now_s) == ([1] if same else [2])


def test_a_walker_hidden_for_a_second_is_found_where_the_walk_led() -> None:
    tracker = Tracker()
    for t in range(12):
        assert ids(tracker, [(40 + 8 * t, 120, 100)], t / FPS) == [1]
    for t in range(12, 22):
        ids(tracker, [], t / FPS)
    assert ids(tracker, [(40 + 8 * 22, 120, 100)], 2.2) == [1]


def test_somebody_else_far_away_does_not_inherit_the_id() -> None:
    tracker = Tracker()
    for t in range(5):
        ids(tracker, [(40, 120, 80)], t / FPS)
    assert ids(tracker, [(280, 120, 80)], 0.5) == [2]


def test_a_brief_false_find_is_forgotten_sooner() -> None:
    tracker = Tracker(TrackingConfig(brief_s=0.5, lost_s=3.0))
    assert ids(tracker, [(60, 120, 100)], 0.0) == [1]
    for t in range(1, 10):
        ids(tracker, [], t / FPS)
    assert ids(tracker, [(60, 120, 100)], 1.0) == [2]


def test_people_found_with_a_good_score_choose_first() -> None:
    tracker = Tracker(TrackingConfig(strong_score=0.3))
    for t in range(5):
        ids(tracker, [(100, 120, 100)], t / FPS)
    strong_beside, weak_on_the_spot = (108, 120, 100), (100, 120, 100)
    assert ids(tracker, [strong_beside, weak_on_the_spot], 0.5, scores=[0.9, 0.2]) == [1, 2]


def test_a_weak_score_keeps_the_id_too() -> None:
    tracker = Tracker()
    assert [ids(tracker, [(100, 120, 100)], t / FPS, scores=[0.9 if t % 2 else 0.16]) for t in range(8)] == [[1]] * 8


# ---- scenes


def crossing(t: int):
    """Two walkers, 10 frames a second; the one in front hides the other for about a second around t = 20."""
    return (60 + 10 * t, 125, 100), (460 - 10 * t, 115, 94)


@pytest.mark.parametrize(("keypoints", "masks"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("every", [1, 2, 3])
def test_two_who_cross_keep_their_ids_though_one_is_not_found_for_a_second(keypoints, masks, every) -> None:
    tracker, options = Tracker(), {"keypoints": keypoints, "masks": masks, "hw": (240, 520)}
    seen = {}
    for t in range(0, 41, every):
        front, behind = crossing(t)
        people = [front] if 15 <= t < 25 else [front, behind]
        for name, identity in zip("fb", ids(tracker, people, t / FPS, **options), strict=False):
            seen.setdefault(name, set()).add(identity)
    assert seen == {"f": {1}, "b": {2}}


@pytest.mark.parametrize("seed", range(4))
def test_finds_missed_and_frames_dropped_at_random(seed) -> None:
    """Five walkers, each missed in one frame of six, every fourth frame dropped, noise of 2 px on the keypoints."""
    random = np.random.default_rng(seed)
    tracker, given = Tracker(), {}
    for t in range(80):
        people = {
            n: (30 + 60 * n + (1.5 if n % 2 else -0.5) * t * (1 - n / 8), 60 + 30 * n, 60 + 5 * n) for n in range(5)
        }
        there = [n for n in people if random.random() > 1 / 6]
        if random.random() < 0.25:
            continue
        frame = found([people[n] for n in there], hw=(260, 420))
        frame.keypoints_xy[...] += random.normal(0, 2, frame.keypoints_xy.shape).astype(np.float32)
        for n, identity in zip(there, tracker.update(frame, t / FPS).tolist(), strict=True):
            given.setdefault(n, set()).add(identity)
    assert all(len(identities) == 1 for identities in given.values()), given
    assert len(set.union(*given.values())) == 5


def test_people_who_enter_get_new_ids_and_those_who_left_do_not_come_back() -> None:
    tracker, given = Tracker(), []
    for t in range(140):  # one after the other through the picture, 4 s apart
        place = t % 70
        given.append(ids(tracker, [(10 + 10 * place, 120, 90)] if place < 30 else [], t / FPS))
    assert given[:30] == [[1]] * 30
    assert given[70:100] == [[2]] * 30


def test_a_rate_that_varies_is_no_matter() -> None:
    tracker, seconds = Tracker(), 0.0
    for step_s in [0.04, 0.04, 0.5, 0.04, 0.3, 0.04, 0.04, 0.8, 0.1]:
        seconds += step_s
        assert ids(tracker, [(40 + 60 * seconds, 120, 100), (240, 120, 100)], seconds) == [1, 2]


# ---- the same picture decoded again


def test_people_of_a_picture_decoded_again_keep_their_ids() -> None:
    a, b, c = (60, 120, 100), (160, 120, 100), (260, 120, 100)
    before, after = found([a, b]), found([c, b, a])
    assert same_people(before, np.array([7, 9]), after).tolist() == [0, 9, 7]
    assert same_people(before, np.array([7, 9]), found([])).tolist() == []
    assert same_people(found([]), np.zeros(0, dtype=np.int64), after).tolist() == [0, 0, 0]


# ---- what is compared


def test_masks_tell_people_apart_whose_boxes_are_the_same() -> None:
    def crossed(first: int, second: int) -> Instances:
        instances = found([(100, 120, 100), (100, 120, 100)], scores=[0.9, 0.9], keypoints=False, masks=False)
        for label, corners in ((first, ((70, 85), (120, 100))), (second, ((70, 100), (120, 85)))):
            for top, left in corners:
                instances.label_map[top : top + 50, left : left + 15] = label
        return instances

    tracker = Tracker()
    assert tracker.update(crossed(1, 2), 0.0).tolist() == [1, 2]
    assert tracker.update(crossed(2, 1), 0.1).tolist() == [2, 1]


def test_poses_tell_people_apart_whose_boxes_are_the_same() -> None:
    def two(order) -> Instances:
        instances = found([(100, 120, 100)] * 2, scores=[0.9, 0.9], masks=False)
        y = instances.keypoints_xy[0, :, 1].copy()
        instances.keypoints_xy[order.index("head down"), :, 1] = y.min() + y.max() - y
        return instances

    tracker = Tracker()
    assert tracker.update(two(["upright", "head down"]), 0.0).tolist() == [1, 2]
    assert tracker.update(two(["head down", "upright"]), 0.1).tolist() == [2, 1]


def test_who_was_seen_just_now_comes_before_who_was_lost_long_ago() -> None:
    tracker = Tracker()
    lost, here, between = (100, 120, 100), (112, 120, 100), (105, 120, 100)
    for t in range(5):
        assert ids(tracker, [lost, here], t / FPS) == [1, 2]
    for t in range(5, 24):
        assert ids(tracker, [here], t / FPS) == [2]
    assert ids(tracker, [between], 2.4) == [2]
