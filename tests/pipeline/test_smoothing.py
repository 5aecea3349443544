import dataclasses

import numpy as np
import pytest

from engine.skeleton import NUM_KEYPOINTS
from pipeline.smoothing import Smoother, SmoothingConfig

FPS = 25.0
ONE = np.array([1])


@pytest.fixture
def people(make_instances):
    """Instances whose keypoints all stand `offset` px beside those of `make_instances`, some of them missing."""

    def make(offsets, missing=()):
        instances = make_instances(len(offsets))
        moved = np.asarray(offsets, dtype=np.float32).reshape(len(offsets), -1 if len(offsets) else 1, 1)
        xy = instances.keypoints_xy + moved
        scores = instances.keypoint_scores.copy()
        scores[:, list(missing)] = 0
        xy[scores == 0] = 0
        return dataclasses.replace(instances, keypoints_xy=xy, keypoint_scores=scores)

    return make


def filtered(smoother, frames, identities=ONE, fps=FPS):
    """The smoothed keypoints of all frames, (frames, N, 17, 2)."""
    return np.stack(
        [smoother.update(frame, identities, index / fps).keypoints_xy for index, frame in enumerate(frames)]
    )


def paper_filter(values, times_s, min_cutoff, beta, d_cutoff):
    """The One-Euro filter of one number, written down plainly as in the paper."""

    def alpha(cutoff, step_s):
        tau = 1 / (2 * np.pi * cutoff)
        return 1 / (1 + tau / step_s)

    out, speed = [values[0]], 0.0
    for value, before_s, now_s in zip(values[1:], times_s, times_s[1:], strict=False):
        step_s = now_s - before_s
        a = alpha(d_cutoff, step_s)
        speed = a * (value - out[-1]) / step_s + (1 - a) * speed
        a = alpha(min_cutoff + beta * abs(speed), step_s)
        out.append(a * value + (1 - a) * out[-1])
    return np.array(out)


def test_it_is_the_filter_of_the_paper_with_speeds_in_body_sizes(people) -> None:
    random = np.random.default_rng(0)
    offsets = np.cumsum(random.normal(0, 2, 60))
    times_s = np.cumsum(random.uniform(0.02, 0.3, 60))
    config = SmoothingConfig(min_cutoff=0.8, beta=2.0, d_cutoff=1.5)
    smoother = Smoother(config)
    first = people([0.0]).keypoints_xy[0]
    size = np.sqrt(np.prod(np.ptp(first, axis=0)))
    got = [
        smoother.update(people([offset]), ONE, time_s).keypoints_xy[0, 3, 0] - first[3, 0]
        for offset, time_s in zip(offsets, times_s, strict=True)
    ]
    # All points move by the same in x and y: the speed of the point is sqrt(2) times that of one coordinate.
    expected = paper_filter(offsets, times_s, 0.8, 2.0 * np.sqrt(2) / size, 1.5)
    np.testing.assert_allclose(got, expected, atol=2e-3)


def test_jitter_at_rest_shrinks(people) -> None:
    random = np.random.default_rng(1)
    frames = [people([random.normal(0, 1, NUM_KEYPOINTS)]) for _ in range(100)]
    raw = np.stack([frame.keypoints_xy for frame in frames])
    smooth = filtered(Smoother(), frames)
    assert np.diff(smooth[20:], axis=0).std() < 0.4 * np.diff(raw[20:], axis=0).std()


def test_a_walker_is_followed_with_little_lag(people) -> None:
    body_sizes_per_s, size = 1.4, float(np.sqrt(np.prod(np.ptp(people([0.0]).keypoints_xy[0], axis=0))))
    speed = body_sizes_per_s * size
    frames = [people([speed * index / FPS]) for index in range(60)]
    smooth = filtered(Smoother(), frames)
    lag_px = frames[-1].keypoints_xy[0, 0, 0] - smooth[-1, 0, 0, 0]
    assert 0 < lag_px / size < 0.1
    slow = filtered(Smoother(SmoothingConfig(beta=0.0)), frames)
    assert frames[-1].keypoints_xy[0, 0, 0] - slow[-1, 0, 0, 0] > 2 * lag_px


def test_each_id_is_filtered_by_itself_whatever_its_place(people) -> None:
    smoother = Smoother()
    smoother.update(people([0.0, 10.0]), np.array([4, 2]), 0.0)
    at_rest = people([0.0, 10.0]).keypoints_xy
    swapped = dataclasses.replace(people([0.0, 10.0]), keypoints_xy=at_rest[::-1].copy())
    got = smoother.update(swapped, np.array([2, 4]), 0.04).keypoints_xy
    np.testing.assert_allclose(got, at_rest[::-1], atol=1e-4)


def test_only_keypoints_change_and_the_input_does_not(people) -> None:
    smoother = Smoother()
    first, second = people([0.0]), people([8.0])
    smoother.update(first, ONE, 0.0)
    before = second.keypoints_xy.copy()
    got = smoother.update(second, ONE, 0.04)
    np.testing.assert_array_equal(second.keypoints_xy, before)
    assert not np.array_equal(got.keypoints_xy, before)
    for name in ("keypoint_scores", "scores", "mask_scores", "label_map"):
        assert getattr(got, name) is getattr(second, name)


def test_missing_keypoints_stay_missing_and_come_back_where_they_are_found(people) -> None:
    smoother = Smoother(SmoothingConfig(lost_s=1.0))
    smoother.update(people([0.0]), ONE, 0.0)
    for index in range(1, 40):
        got = smoother.update(people([0.0], missing=[3]), ONE, index / FPS)
        assert got.keypoints_xy[0, 3].tolist() == [0, 0]
    back = people([20.0])
    got = smoother.update(back, ONE, 40 / FPS)  # 1.6 s after it was found last
    np.testing.assert_array_equal(got.keypoints_xy[0, 3], back.keypoints_xy[0, 3])
    assert not np.array_equal(got.keypoints_xy[0, 4], back.keypoints_xy[0, 4])


@pytest.mark.parametrize("seconds", [2.0, -1.0])
def test_after_a_long_absence_or_back_in_time_everything_begins_anew(people, seconds) -> None:
    smoother = Smoother(SmoothingConfig(lost_s=1.0))
    smoother.update(people([0.0]), ONE, 0.0)
    again = people([20.0])
    np.testing.assert_array_equal(smoother.update(again, ONE, seconds).keypoints_xy, again.keypoints_xy)


def test_the_same_frame_twice_changes_nothing(people) -> None:
    smoother = Smoother()
    smoother.update(people([0.0]), ONE, 0.0)
    once = smoother.update(people([5.0]), ONE, 0.04).keypoints_xy
    np.testing.assert_array_equal(smoother.update(people([5.0]), ONE, 0.04).keypoints_xy, once)


def test_nobody_and_people_without_keypoints(people) -> None:
    smoother = Smoother()
    assert len(smoother.update(people([]), np.zeros(0, dtype=np.int64), 0.0)) == 0
    hidden = people([0.0], missing=range(NUM_KEYPOINTS))
    np.testing.assert_array_equal(smoother.update(hidden, ONE, 0.1).keypoints_xy, hidden.keypoints_xy)


def test_who_is_lost_is_forgotten(people) -> None:
    smoother = Smoother(SmoothingConfig(lost_s=1.0))
    for index in range(200):
        smoother.update(people([0.0]), np.array([index + 1]), index / FPS)
    assert len(smoother._ids) <= 1.0 * FPS + 1  # what it remembers; nothing else tells


@pytest.mark.parametrize(("name", "value"), [("min_cutoff", 0.0), ("d_cutoff", -1.0), ("lost_s", 0.0), ("beta", -0.1)])
def test_numbers_that_make_no_sense_are_refused(name, value) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected"):
        SmoothingConfig(**{name: value})
