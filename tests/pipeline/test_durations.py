import numpy as np
import pytest

from pipeline.durations import Durations


def test_the_rows_since_a_moment_come_oldest_first() -> None:
    log = Durations()
    for end_s in (1.0, 2.0, 3.0):
        log.add(end_s, end_s / 10)
    np.testing.assert_allclose(log.since(), [[1, 0.1], [2, 0.2], [3, 0.3]])
    np.testing.assert_allclose(log.since(2.0), [[2, 0.2], [3, 0.3]])
    assert log.since(3.5).shape == (0, 2)


def test_only_the_last_ones_are_kept_but_all_are_counted() -> None:
    log = Durations(kept=4)
    for end_s in range(11):
        log.add(end_s, 0.0)
    assert log.count == 11
    np.testing.assert_array_equal(log.since()[:, 0], [7, 8, 9, 10])
    np.testing.assert_array_equal(log.since(9)[:, 0], [9, 10])


def test_what_was_given_out_does_not_change_later() -> None:
    log = Durations(kept=2)
    log.add(1.0, 0.1)
    rows = log.since()
    log.add(2.0, 0.2)
    log.add(3.0, 0.3)
    np.testing.assert_array_equal(rows, [[1.0, 0.1]])


@pytest.mark.parametrize("count", [2, 3, 60])
def test_the_first_frame_opens_the_time_it_does_not_count(count: int) -> None:
    log = Durations()
    for index in range(count):
        log.add(10 + index / 10, 0.0)
    assert log.rate(0.0, 10 + (count - 1) / 10) == pytest.approx(10.0)  # not 10 N / (N - 1)


def test_in_a_full_window_every_frame_counts() -> None:
    log = Durations()
    for index in range(661):
        log.add(index / 12, 0.0)  # the last at 55 s
    assert log.rate(50.01, 55.01) == pytest.approx(12.0)


def test_the_rate_falls_to_nothing_while_the_source_stalls() -> None:
    log = Durations()
    for index in range(100):
        log.add(index / 10, 0.0)  # the last at 9.9 s
    rates = [log.rate(now_s - 5.0, now_s) for now_s in (10.0, 11.0, 13.0, 15.5)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == 0.0


def test_the_rate_of_a_run_longer_than_what_is_kept_is_that_of_what_is_kept() -> None:
    log = Durations(kept=50)
    for index in range(1000):
        log.add(index / 20, 0.0)
    assert log.rate(0.0, 999 / 20) == pytest.approx(20.0)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_have_no_rate(count: int) -> None:
    log = Durations()
    for index in range(count):
        log.add(float(index), 0.0)
    assert log.rate(0.0, 5.0) == 0.0
    assert log.rate(0.0, 0.0) == 0.0
