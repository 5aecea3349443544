import itertools
import threading
import time

import numpy as np
import pytest

from pipeline import playback as module
from pipeline.frames import Frame
from pipeline.playback import Playback
from pipeline.runner import Pipeline
from pipeline.sources import SourceInfo, open_source

WAIT_S = 20.0
FAST = float("inf")


class FakeClip:
    """Frames of given times; the number of each is its brightness."""

    live = False

    def __init__(self, times_s, fps=10.0, duration_s=1.0) -> None:
        self.times_s = times_s
        self.info = SourceInfo("fake", 8, 6, fps, len(times_s))
        self.duration_s = duration_s
        self.warnings = []
        self.place = 0
        self.entered = 0

    def stop(self) -> None:
        pass

    def seek(self, seconds: float) -> None:
        self.place = max((n for n, time_s in enumerate(self.times_s) if time_s <= seconds), default=0)

    def __enter__(self) -> "FakeClip":
        self.place = 0
        self.entered += 1
        return self

    def __exit__(self, *details: object) -> None:
        self.entered -= 1

    def __iter__(self):
        for index in itertools.count():
            if self.place >= len(self.times_s):
                return
            number, self.place = self.place, self.place + 1
            image = np.full((6, 8, 3), number, dtype=np.uint8)
            yield Frame.of(image, index, 0.0, self.times_s[number])


class Clock:
    """A time of its own for `Playback`, which passes only while that waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        self.at = {}  # what happens at which time
        monkeypatch.setattr(module, "time", self)
        monkeypatch.setattr(module, "threading", self)

    def perf_counter(self) -> float:
        return self.now_s

    def Condition(self) -> "Condition":  # noqa: N802
        return Condition(self)


class Condition:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def __enter__(self) -> None:
        pass

    def __exit__(self, *details: object) -> None:
        pass

    def notify_all(self) -> None:
        pass

    def wait(self, timeout_s: float | None = None) -> None:
        """Time goes on until the timeout or until something happens."""
        due_s = float("inf") if timeout_s is None else self.clock.now_s + timeout_s
        event_s = min(self.clock.at, default=float("inf"))
        assert min(due_s, event_s) < float("inf"), "nothing would ever happen"
        self.clock.now_s = min(due_s, event_s)
        if event_s <= due_s:
            self.clock.at.pop(event_s)()


@pytest.fixture
def clock(monkeypatch) -> Clock:
    return Clock(monkeypatch)


def play(playback, clock, count=None, work_s=0.0):
    """(seconds since the beginning, number) of each frame; the reader takes `work_s` for each."""
    begin_s, shown = clock.now_s, []
    with playback:
        for frame in itertools.islice(playback, count):
            shown.append((round(clock.now_s - begin_s, 6), int(frame.image[0, 0, 0])))
            assert frame.t_capture_s == clock.now_s
            clock.now_s += work_s
    return shown


TEN_A_SECOND = [0.0, 0.1, 0.2, 0.3]


# ---- time


def test_frames_come_at_their_own_times(clock) -> None:
    assert play(Playback(FakeClip([0.0, 0.04, 0.5, 0.51])), clock) == [(0.0, 0), (0.04, 1), (0.5, 2), (0.51, 3)]


@pytest.mark.parametrize(("speed", "step_s"), [(2.0, 0.05), (0.5, 0.2), (FAST, 0.0)])
def test_speed(clock, speed, step_s) -> None:
    shown = play(Playback(FakeClip(TEN_A_SECOND), speed=speed), clock)
    assert shown == [(pytest.approx(n * step_s), n) for n in range(4)]


def test_speed_changes_at_once(clock) -> None:
    playback = Playback(FakeClip(TEN_A_SECOND), speed=0.1)  # a second between frames
    clock.at[100.5] = lambda: setattr(playback, "speed", 0.2)
    assert play(playback, clock) == [(0.0, 0), (0.5, 1), (1.0, 2), (1.5, 3)]


def test_a_reader_that_works_meanwhile_does_not_delay_the_next_frame(clock) -> None:
    assert play(Playback(FakeClip(TEN_A_SECOND)), clock, work_s=0.06) == [(0.0, 0), (0.1, 1), (0.2, 2), (0.3, 3)]


def test_a_reader_that_is_too_slow_loses_nothing_and_is_never_rushed_afterwards(clock) -> None:
    playback = Playback(FakeClip([n / 10 for n in range(8)]))
    begin_s, shown = clock.now_s, []
    with playback:
        for frame in playback:
            shown.append(round(clock.now_s - begin_s, 6))
            clock.now_s += 1.0 if frame.index < 3 else 0.0
    assert shown == pytest.approx([0.0, 1.0, 2.0, 3.0, 3.1, 3.2, 3.3, 3.4])


def test_a_small_delay_is_made_up_for(clock) -> None:
    playback = Playback(FakeClip(TEN_A_SECOND))
    shown = []
    with playback:
        for frame in playback:
            shown.append(round(clock.now_s - 100.0, 6))
            clock.now_s += 0.15 if frame.index == 0 else 0.0
    assert shown == pytest.approx([0.0, 0.15, 0.2, 0.3])


# ---- commands


def step_back(playback: Playback) -> None:
    """As the window does: a step back from a held picture is a seek."""
    playback.seek(playback.position_s - 1e-4)


def test_pause_and_resume(clock) -> None:
    playback = Playback(FakeClip(TEN_A_SECOND))
    clock.at = {100.15: playback.pause, 105.0: playback.resume}
    assert play(playback, clock) == [(0.0, 0), (0.1, 1), (5.0, 2), (5.1, 3)]


def test_step_by_step(clock) -> None:
    playback = Playback(FakeClip(TEN_A_SECOND))
    clock.at = {100.05: playback.step, 101.0: playback.step, 102.0: lambda: step_back(playback), 103.0: playback.resume}
    assert play(playback, clock) == [(0.0, 0), (0.05, 1), (1.0, 2), (2.0, 1), (3.0, 2), (3.1, 3)]


def test_several_steps_at_once(clock) -> None:
    playback = Playback(FakeClip([n / 10 for n in range(9)]))
    playback.pause()

    def step_thrice() -> None:
        for _ in range(3):
            playback.step()

    clock.at = {101.0: step_thrice, 102.0: playback.resume}
    assert play(playback, clock, 5) == [(1.0, 0), (1.0, 1), (1.0, 2), (2.0, 3), (2.1, 4)]


def test_seek_while_playing(clock) -> None:
    playback = Playback(FakeClip([n / 10 for n in range(9)]))
    first = []
    clock.at[100.15] = lambda: first.append(playback.seek(0.75))
    assert play(playback, clock) == [(0.0, 0), (0.1, 1), (0.15, 7), (0.25, 8)]
    assert first == [2]  # the frame of the new place is the third that was handed out


def test_seek_while_paused_shows_the_place_and_stays_paused(clock) -> None:
    playback = Playback(FakeClip([n / 10 for n in range(9)]))
    clock.at = {100.15: playback.pause, 101.0: lambda: playback.seek(0.5), 102.0: playback.resume}
    assert play(playback, clock, 5) == [(0.0, 0), (0.1, 1), (1.0, 5), (2.0, 6), (2.1, 7)]
    assert not playback.paused


def test_seek_before_the_first_frame(clock) -> None:
    playback = Playback(FakeClip(TEN_A_SECOND))
    with playback:
        assert playback.seek(0.2) == 0
        assert [frame.t_media_s for frame in playback] == [0.2, 0.3]


def test_frames_are_numbered_through_and_the_position_is_told(clock) -> None:
    playback = Playback(FakeClip(TEN_A_SECOND), loop=True, speed=FAST)
    assert playback.position_s is None
    with playback:
        for index, frame in enumerate(itertools.islice(playback, 9)):
            assert frame.index == index
            assert playback.position_s == frame.t_media_s == TEN_A_SECOND[index % 4]


# ---- the end


def test_the_end(clock) -> None:
    playback = Playback(FakeClip(TEN_A_SECOND))
    assert len(play(playback, clock)) == 4
    assert len(play(playback, clock)) == 4  # it can be played again


def test_a_loop_goes_on_after_the_last_frames_time(clock) -> None:
    playback = Playback(FakeClip([0.0, 0.1, 0.2]), loop=True)
    clock.at[100.45] = lambda: setattr(playback, "loop", False)
    shown = play(playback, clock)
    assert shown == [(0.0, 0), (0.1, 1), (0.2, 2), (0.3, 0), (0.4, 1), (0.5, 2)]


def test_a_picture_does_not_loop(clock) -> None:
    assert play(Playback(FakeClip([0.0], duration_s=0.0), loop=True), clock) == [(0.0, 0)]


def test_holding_at_the_end(clock) -> None:
    playback = Playback(FakeClip([0.0, 0.1]), hold_at_end=True)
    held = []
    clock.at = {
        101.0: lambda: held.append(playback.at_end),
        102.0: lambda: playback.seek(0.1),
        103.0: playback.resume,
        104.0: playback.stop,
    }
    assert play(playback, clock) == [(0.0, 0), (0.1, 1), (2.0, 1), (3.0, 0), (3.1, 1)]
    assert held == [True]


def test_a_step_at_the_end_is_forgotten(clock) -> None:
    playback = Playback(FakeClip([0.0, 0.1]), hold_at_end=True)
    clock.at = {101.0: playback.step, 102.0: lambda: step_back(playback), 103.0: playback.stop}
    assert play(playback, clock) == [(0.0, 0), (0.1, 1), (2.0, 0)]


# ---- what is refused, and what it wraps


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan")])
def test_speeds_that_are_none(speed) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Playback(FakeClip([0.0]), speed=speed)
    playback = Playback(FakeClip([0.0]))
    with pytest.raises(ValueError, match="above 0"):
        playback.speed = speed
    assert playback.speed == 1.0


def test_places_that_are_none() -> None:
    with pytest.raises(ValueError, match="finite"):
        Playback(FakeClip([0.0])).seek(float("nan"))


def test_it_tells_what_the_recording_tells(make_clip) -> None:
    source = open_source(str(make_clip("clip.mp4", count=12)))
    playback = Playback(source, loop=True, speed=2.0)
    assert (playback.info, playback.duration_s, playback.live) == (source.info, source.duration_s, False)
    assert (playback.loop, playback.speed, playback.paused, playback.at_end) == (True, 2.0, False, False)
    assert playback.warnings is source.warnings


# ---- with real threads


@pytest.mark.parametrize("state", ["paused", "waiting", "at end"])
def test_stop_ends_it_while_it_waits(state) -> None:
    clip = FakeClip([0.0, 9 * WAIT_S] if state == "waiting" else [0.0])
    playback = Playback(clip, hold_at_end=True)
    if state == "paused":
        playback.pause()
    reading = threading.Thread(target=lambda: play_to_end(playback))
    reading.start()
    deadline_s = time.perf_counter() + WAIT_S
    reached = {
        "paused": lambda: clip.place == 1,
        "waiting": lambda: clip.place == 2,
        "at end": lambda: playback.at_end,
    }[state]
    while not reached():
        assert time.perf_counter() < deadline_s
        time.sleep(0.005)
    playback.stop()
    reading.join(WAIT_S)
    assert not reading.is_alive()
    assert clip.entered == 0


def play_to_end(playback) -> None:
    with playback:
        for _ in playback:
            pass


def test_a_clip_in_a_pipeline_steps_and_seeks(make_clip, number_in, make_heads, make_instances) -> None:
    playback = Playback(open_source(str(make_clip("clip.mp4", count=20))), speed=FAST)
    playback.pause()
    with Pipeline(playback, lambda _: make_heads(), lambda _: make_instances(0)) as pipeline:
        pipeline.step()
        assert number_in(next(pipeline).canvas) == 0
        playback.seek(11 / 25)
        assert number_in(next(pipeline).canvas) == 11
        step_back(playback)
        assert number_in(next(pipeline).canvas) == 10
        pipeline.step()
        assert number_in(next(pipeline).canvas) == 11
        pipeline.resume()
        assert [number_in(rendered.canvas) for rendered in pipeline] == list(range(12, 20))


@pytest.mark.parametrize("kind", ["picture", "folder"])
def test_pictures_are_played_too(tmp_path, sample_still, kind) -> None:
    if kind == "folder":
        for number in range(3):
            (tmp_path / f"{number}.jpg").write_bytes(sample_still.read_bytes())
    playback = Playback(open_source(str(sample_still if kind == "picture" else tmp_path)), speed=FAST)
    with playback:
        assert len(list(playback)) == (1 if kind == "picture" else 3)
        playback.seek(0.0)
        assert next(iter(playback)).t_media_s == 0.0
