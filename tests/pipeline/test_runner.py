import logging
import os
import sys
import threading

import numpy as np
import pytest

from pipeline.frames import Frame, FrameResult, Rendered
from pipeline.priority import NICENESS
from pipeline.runner import STAGES, Pipeline
from pipeline.smoothing import Smoother
from pipeline.tracking import Tracker

WAIT_S = 5.0  # a bound for what must happen anyway; never a measurement


class StageError(Exception):
    pass


@pytest.fixture(autouse=True)
def no_thread_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.fixture
def steps(make_heads, make_instances):
    """An infer and a decode that carry the frame's number through heads and into the number of instances."""

    def infer(image):
        return make_heads(float(image[0, 0, 0]))

    def decode(heads):
        return make_instances(int(heads.person_map[0, 0]) % 5)

    return infer, decode


def poll_to_the_end(pipeline):
    """The frame numbers that poll gave until it said that nothing more comes."""
    seen = []
    while not pipeline.finished:
        rendered = pipeline.poll()
        if rendered is not None:
            seen.append(rendered.result.frame.index)
    return seen


def test_a_recording_arrives_complete_and_in_order(fake_source, steps) -> None:
    with Pipeline(fake_source(40), *steps) as pipeline:
        rendered = list(pipeline)
    assert [r.result.frame.index for r in rendered] == list(range(40))
    assert [len(r.result.instances) for r in rendered] == [index % 5 for index in range(40)]
    assert pipeline.finished
    assert set(pipeline.dropped.values()) == {0}


class Ahead:
    """`steps`' infer as a network that takes two pictures at once, twice."""

    batch, depth = 2, 2

    def __init__(self, infer) -> None:
        self.infer = infer
        self.under_way = []

    def submit(self, images) -> None:
        assert len(self.under_way) < self.depth
        self.under_way.append([self.infer(image) for image in images])

    def collect(self):
        return self.under_way.pop(0)


def test_a_network_that_works_ahead_gives_the_same(fake_source, steps) -> None:
    infer, decode = steps
    network = Ahead(infer)
    with Pipeline(fake_source(7), network, decode) as pipeline:
        rendered = list(pipeline)
    assert [r.result.frame.index for r in rendered] == list(range(7))
    assert [len(r.result.instances) for r in rendered] == [index % 5 for index in range(7)]
    assert [clock.count for clock in pipeline.durations.values()] == [7, 7, 7, 7]
    with Pipeline(fake_source(100), network, decode) as pipeline:
        next(iter(pipeline))  # and the reader goes
    assert network.under_way == []


def test_results_carry_all_stage_times_in_order_and_no_heads(fake_source, steps) -> None:
    with Pipeline(fake_source(2), *steps) as pipeline:
        rendered = list(pipeline)
    assert all(tuple(r.result.stage_ms) == STAGES for r in rendered)
    assert all(ms >= 0 for r in rendered for ms in r.result.stage_ms.values())
    assert all(r.result.heads is None for r in rendered)


def test_heads_are_kept_when_asked_for(fake_source, steps) -> None:
    with Pipeline(fake_source(3), *steps, keep_heads=True) as pipeline:
        assert [r.result.heads.person_map[0, 0] for r in pipeline] == [0, 1, 2]


def test_without_render_the_canvas_is_the_frames_image(fake_source, steps) -> None:
    with Pipeline(fake_source(1), *steps) as pipeline:
        (rendered,) = pipeline
    assert rendered.canvas is rendered.result.frame.image


def test_render_makes_the_canvas(fake_source, steps) -> None:
    def render(result: FrameResult):
        return 255 - result.frame.image

    with Pipeline(fake_source(3), *steps, render) as pipeline:
        values = [int(r.canvas[0, 0, 0]) for r in pipeline]
    assert values == [255, 254, 253]


def test_a_live_source_drops_old_frames_in_front_of_the_slow_stage(fake_source, steps) -> None:
    infer, decode = steps
    inference_began, release = threading.Event(), threading.Event()

    def slow_infer(image):
        if image[0, 0, 0] == 0:
            inference_began.set()
            assert release.wait(WAIT_S)
        return infer(image)

    def before(index: int) -> None:
        if index == 1:  # the first frame must be in inference before the others race past it
            assert inference_began.wait(WAIT_S)

    source = fake_source(10, live=True, before=before)
    with Pipeline(source, slow_infer, decode) as pipeline:
        while len(source.events) < 2:  # left: all ten frames have been put
            threading.Event().wait(0.005)
        release.set()
        seen = [r.result.frame.index for r in pipeline]
    assert seen[-1] == 9  # the newest always wins
    assert seen in ([0, 9], [9])  # frame 0 itself may be replaced while the reader starts
    assert pipeline.dropped["infer"] == 8


def test_a_recording_waits_for_a_slow_reader(fake_source, steps) -> None:
    source = fake_source(30)
    with Pipeline(source, *steps) as pipeline:
        first = next(pipeline)
        threading.Event().wait(0.03)
        assert source.events == [("enter", "pipeline-capture")]  # 30 frames do not fit into four channels
        rest = list(pipeline)
    assert [first.result.frame.index, *(r.result.frame.index for r in rest)] == list(range(30))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("bad_index", [0, 3])
def test_an_error_in_any_stage_is_raised_in_the_reader(fake_source, steps, stage, live, bad_index) -> None:
    infer, decode = steps

    def check(here: str, index: int) -> None:
        if here == stage and index >= bad_index:
            raise StageError(here)

    def failing_infer(image):
        check("infer", int(image[0, 0, 0]))
        return infer(image)

    def failing_decode(heads):
        check("decode", int(heads.person_map[0, 0]))
        return decode(heads)

    def failing_render(result):
        check("render", result.frame.index)
        return result.frame.image

    source = fake_source(8, live, before=lambda index: check("capture", index))
    with pytest.raises(StageError, match=stage), Pipeline(source, failing_infer, failing_decode, failing_render) as p:
        for _ in p:
            pass
    assert [what for what, _ in source.events] == ["enter", "exit"]


def test_poll_raises_the_error_too(fake_source, steps) -> None:
    def failing(heads):
        raise StageError("decode")

    with Pipeline(fake_source(3), steps[0], failing) as pipeline:
        with pytest.raises(StageError):
            poll_to_the_end(pipeline)
        with pytest.raises(StageError):
            pipeline.poll()


def test_even_system_exit_in_a_stage_reaches_the_reader(fake_source, steps) -> None:
    def leaving(heads):
        raise SystemExit(3)

    with Pipeline(fake_source(3), steps[0], leaving) as pipeline, pytest.raises(SystemExit):
        next(pipeline)


def test_an_error_on_leaving_the_source_reaches_the_reader(fake_source, steps) -> None:
    class BadlyEnding(fake_source):
        def __exit__(self, *details):
            raise StageError("close")

    with Pipeline(BadlyEnding(2), *steps) as pipeline, pytest.raises(StageError, match="close"):
        list(pipeline)


def test_an_error_nobody_read_is_logged(fake_source, steps, caplog) -> None:
    failed = threading.Event()

    def failing(heads):
        failed.set()
        raise StageError("unread")

    with caplog.at_level(logging.ERROR), Pipeline(fake_source(3), steps[0], failing):
        assert failed.wait(WAIT_S)
    assert "nobody read" in caplog.text
    assert "StageError: unread" in caplog.text


def test_an_error_ends_the_other_stages_though_nobody_reads(fake_source, steps) -> None:
    def failing(heads):
        raise StageError("decode")

    source = fake_source(1000)
    pipeline = Pipeline(source, steps[0], failing)
    with pipeline:
        while len(source.events) < 2:  # until capture has left the source
            threading.Event().wait(0.005)
        with pytest.raises(StageError):
            next(pipeline)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 100])
@pytest.mark.parametrize("live", [False, True])
def test_a_reader_may_leave_after_the_first_frame(fake_source, steps, count, live, caplog) -> None:
    source = fake_source(count, live)
    with caplog.at_level(logging.ERROR), Pipeline(source, *steps) as pipeline:
        assert isinstance(next(pipeline), Rendered)
    assert [what for what, _ in source.events] == ["enter", "exit"]
    assert caplog.text == ""


def test_an_error_of_the_reader_itself_passes_and_ends_all(fake_source, steps) -> None:
    with pytest.raises(ZeroDivisionError), Pipeline(fake_source(50), *steps) as pipeline:
        next(pipeline).result.frame.index / 0


def test_the_thread_that_enters_the_source_leaves_it(fake_source, steps) -> None:
    source = fake_source(5)
    with Pipeline(source, *steps) as pipeline:
        list(pipeline)
    assert source.events == [("enter", "pipeline-capture"), ("exit", "pipeline-capture")]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a niceness for each thread")
@pytest.mark.parametrize("live", [False, True])
def test_the_network_goes_first_unless_each_picture_should_be_shown_soon(fake_source, steps, live) -> None:
    niceness = {}

    def noted(stage, step):
        def run(argument):
            niceness[stage] = os.getpriority(os.PRIO_PROCESS, 0)  # of this thread
            return step(argument)

        return run

    infer, decode = steps
    source = fake_source(5, live=live)
    pipeline = Pipeline(
        source, noted("infer", infer), noted("decode", decode), noted("render", lambda r: r.frame.image)
    )
    with pipeline:
        list(pipeline)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    other = own if live else min(19, own + NICENESS)
    assert niceness == {"infer": own, "decode": other, "render": other}


def test_only_capture_is_a_daemon(fake_source, steps) -> None:
    with Pipeline(fake_source(50), *steps) as pipeline:
        next(pipeline)
        daemons = {t.name: t.daemon for t in threading.enumerate() if t.name.startswith("pipeline-")}
    assert daemons == {
        "pipeline-capture": True,
        "pipeline-infer": False,
        "pipeline-decode": False,
        "pipeline-render": False,
    }


def test_stop_ends_the_iteration_and_may_be_repeated(fake_source, steps) -> None:
    with Pipeline(fake_source(1000), *steps) as pipeline:
        next(pipeline)
        pipeline.stop()
        pipeline.stop()
        assert list(pipeline) == []
        assert pipeline.poll() is None
    assert pipeline.finished
    pipeline.stop()


def test_stop_does_not_wait_for_the_running_step(fake_source, steps) -> None:
    inside, release = threading.Event(), threading.Event()

    def blocked(image):
        inside.set()
        assert release.wait(WAIT_S)
        return steps[0](image)

    with Pipeline(fake_source(5), blocked, steps[1]) as pipeline:
        assert inside.wait(WAIT_S)
        pipeline.stop()
        assert list(pipeline) == []  # though inference still runs
        release.set()


def test_a_stage_that_never_ends_is_named_in_the_log(fake_source, steps, caplog, monkeypatch) -> None:
    monkeypatch.setattr("pipeline.runner.JOIN_TIMEOUT_S", 0.02)
    inside, release = threading.Event(), threading.Event()

    def blocked(image):
        inside.set()
        assert release.wait(WAIT_S)
        return steps[0](image)

    with caplog.at_level(logging.ERROR), Pipeline(fake_source(5), blocked, steps[1]):
        assert inside.wait(WAIT_S)
    assert "pipeline-infer" in caplog.text
    release.set()
    for thread in threading.enumerate():
        if thread.name.startswith("pipeline-"):
            thread.join(WAIT_S)


def test_poll_gives_none_before_the_first_frame_and_finishes(fake_source, steps) -> None:
    release = threading.Event()
    source = fake_source(3, before=lambda index: release.wait(WAIT_S))
    with Pipeline(source, *steps) as pipeline:
        assert pipeline.poll() is None
        assert not pipeline.finished
        release.set()
        assert poll_to_the_end(pipeline) == [0, 1, 2]


def test_an_empty_source_ends_at_once(fake_source, steps) -> None:
    with Pipeline(fake_source(0), *steps) as pipeline:
        assert list(pipeline) == []


def test_reading_outside_the_block_is_refused(fake_source, steps) -> None:
    pipeline = Pipeline(fake_source(1), *steps)
    with pytest.raises(RuntimeError, match="with"):
        next(pipeline)
    with pytest.raises(RuntimeError, match="with"):
        pipeline.poll()


def test_a_pipeline_runs_once(fake_source, steps) -> None:
    pipeline = Pipeline(fake_source(1), *steps)
    with pipeline:
        list(pipeline)
    with pytest.raises(RuntimeError, match="once"):
        pipeline.__enter__()


def test_infer_gets_the_read_only_image(fake_source, steps) -> None:
    flags = []

    def infer(image):
        flags.append((image.flags.writeable, image.dtype, image.shape))
        return steps[0](image)

    with Pipeline(fake_source(1), infer, steps[1]) as pipeline:
        list(pipeline)
    assert flags == [(False, np.dtype(np.uint8), (64, 96, 3))]


# ---- while it runs


def test_render_and_keep_heads_may_be_changed_while_it_runs(fake_source, steps) -> None:
    with Pipeline(fake_source(60), *steps) as pipeline:
        first = next(pipeline)
        pipeline.render = lambda result: 255 - result.frame.image
        pipeline.keep_heads = True
        last = list(pipeline)[-1]
    assert first.canvas is first.result.frame.image
    assert first.result.heads is None
    assert last.canvas[0, 0, 0] == 255 - last.result.frame.image[0, 0, 0]
    assert last.result.heads is not None


@pytest.mark.parametrize("live", [False, True])
def test_the_tap_gets_every_rendered_frame_though_the_reader_may_miss_some(fake_source, steps, live) -> None:
    tapped = []
    pipeline = Pipeline(fake_source(50, live), *steps)
    pipeline.tap = lambda rendered: tapped.append((rendered.result.frame.index, threading.current_thread().name))
    with pipeline:
        seen = [rendered.result.frame.index for rendered in pipeline]
    assert set(seen) <= {index for index, _ in tapped}
    assert len(tapped) == len(seen) + pipeline.dropped["reader"]
    assert {name for _, name in tapped} == {"pipeline-render"}


def test_an_error_in_the_tap_is_raised_in_the_reader(fake_source, steps) -> None:
    def failing(rendered: Rendered) -> None:
        raise StageError("tap")

    pipeline = Pipeline(fake_source(3), *steps)
    pipeline.tap = failing
    with pipeline, pytest.raises(StageError, match="tap"):
        list(pipeline)


def test_poll_may_wait_for_a_frame(fake_source, steps) -> None:
    release = threading.Event()
    with Pipeline(fake_source(2, before=lambda index: release.wait(WAIT_S)), *steps) as pipeline:
        assert pipeline.poll(0.001) is None
        release.set()
        assert pipeline.poll(WAIT_S).result.frame.index == 0


class Endless:
    """A live source that goes on until it is stopped; every frame is one more permit."""

    live = True
    info = None
    warnings: list[str] = []  # noqa: RUF012 - never changed

    def __init__(self, frame) -> None:
        self.delivered = threading.Semaphore(0)
        self.before_entering = lambda: None
        self.stops = 0
        self._frame = frame
        self._stopped = threading.Event()

    def stop(self) -> None:
        self.stops += 1
        self._stopped.set()

    def __enter__(self):
        self.before_entering()
        self._stopped.clear()
        return self

    def __exit__(self, *details) -> None:
        pass

    def __iter__(self):
        while not self._stopped.wait(0.001):
            self.delivered.release()
            yield self._frame


@pytest.fixture
def endless(make_rendered) -> Endless:
    return Endless(make_rendered().result.frame)


def test_a_paused_camera_is_read_on_but_shows_nothing(endless, steps) -> None:
    with Pipeline(endless, *steps) as pipeline:
        assert pipeline.poll(WAIT_S) is not None
        pipeline.pause()
        while pipeline.poll(0.1) is not None:  # what was under way
            pass
        while endless.delivered.acquire(blocking=False):
            pass
        for _ in range(5):
            assert endless.delivered.acquire(timeout=WAIT_S)
        assert pipeline.poll() is None
        pipeline.resume()
        assert pipeline.poll(WAIT_S) is not None


def test_a_step_of_a_paused_camera_shows_one_frame(endless, steps) -> None:
    with Pipeline(endless, *steps) as pipeline:
        pipeline.pause()
        while pipeline.poll(0.1) is not None:
            pass
        pipeline.step()
        assert pipeline.poll(WAIT_S) is not None
        assert pipeline.poll(0.05) is None


def test_a_camera_that_is_paused_can_be_left(endless, steps, caplog) -> None:
    with caplog.at_level(logging.ERROR), Pipeline(endless, *steps) as pipeline:
        pipeline.pause()
    assert endless.stops > 0
    assert caplog.text == ""


def test_a_recording_is_asked_to_pause_itself(fake_source, steps) -> None:
    calls = []

    class Played(fake_source):
        def pause(self) -> None:
            calls.append("pause")

        def resume(self) -> None:
            calls.append("resume")

        def step(self) -> None:
            calls.append("step")

    with Pipeline(Played(3), *steps) as pipeline:
        pipeline.pause()
        pipeline.step()
        pipeline.resume()
        assert len(list(pipeline)) == 3
    assert calls == ["pause", "step", "resume"]


def test_a_recording_that_cannot_wait_is_named(fake_source, steps) -> None:
    with Pipeline(fake_source(3), *steps) as pipeline, pytest.raises(TypeError, match=r"pipeline\.playback"):
        pipeline.pause()


def test_a_stop_before_the_source_is_entered_ends_it_all_the_same(endless, steps) -> None:
    """Entering undoes a stop of the source: capture must look by itself."""
    entering, go_on = threading.Event(), threading.Event()

    def slowly() -> None:
        entering.set()
        assert go_on.wait(WAIT_S)

    endless.before_entering = slowly
    with Pipeline(endless, *steps) as pipeline:
        assert entering.wait(WAIT_S)
        pipeline.stop()
        go_on.set()
    assert not endless.delivered.acquire(blocking=False)


def test_who_is_waited_for_is_counted(fake_source, steps) -> None:
    with Pipeline(fake_source(30), *steps) as pipeline:
        next(pipeline)
        while min(pipeline.waited_s.values()) == 0.0:  # the reader takes nothing: everybody comes to a stop
            threading.Event().wait(0.005)
        assert list(pipeline.waited_s) == ["infer", "decode", "render", "reader"]
        assert set(pipeline.dropped.values()) == {0}


def test_durations_are_of_every_stage(fake_source, steps) -> None:
    with Pipeline(fake_source(7), *steps) as pipeline:
        list(pipeline)
    assert {stage: log.count for stage, log in pipeline.durations.items()} == dict.fromkeys(STAGES, 7)


# ---- who is who


def track_by_count(calls):
    """Ids that tell the frame's second, and a note of what came in."""

    def track(instances, seconds):
        calls.append((len(instances), seconds, threading.current_thread().name))
        return np.arange(len(instances), dtype=np.int64) + round(25 * seconds) * 10

    return track


def test_tracking_gives_each_result_its_ids_in_order_in_the_decode_thread(fake_source, steps) -> None:
    calls = []
    with Pipeline(fake_source(12), *steps, track=track_by_count(calls)) as pipeline:
        results = [r.result for r in pipeline]
    assert calls == [(index % 5, index / 25, "pipeline-decode") for index in range(12)]
    assert [r.identities.tolist() for r in results] == [[10 * i + n for n in range(i % 5)] for i in range(12)]


def test_without_tracking_there_are_no_ids_and_nothing_is_smoothed(fake_source, steps) -> None:
    def smooth(*_):
        raise StageError

    with Pipeline(fake_source(3), *steps, smooth=smooth) as pipeline:
        assert [r.result.identities for r in pipeline] == [None] * 3


def test_smoothing_replaces_the_instances_before_anybody_sees_them(fake_source, steps, make_instances) -> None:
    calls = []

    def smooth(instances, identities, seconds):
        assert len(identities) == len(instances)
        calls.append(seconds)
        return make_instances(len(instances), 64, 96) if len(instances) else instances

    def render(result):
        seen.append(result.instances)
        return result.frame.image

    seen = []
    with Pipeline(fake_source(4), *steps, render, track=track_by_count([]), smooth=smooth) as pipeline:
        results = [r.result for r in pipeline]
    assert calls == [index / 25 for index in range(4)]
    assert all(result.instances is instances for result, instances in zip(results, seen, strict=True))


def test_tracking_can_be_turned_on_and_off_while_it_runs(fake_source, steps) -> None:
    source = fake_source(40)
    with Pipeline(source, *steps) as pipeline:
        assert next(pipeline).result.identities is None
        pipeline.track = track_by_count([])
        for rendered in pipeline:
            if rendered.result.identities is not None:
                break
        pipeline.track = None
        assert list(pipeline)[-1].result.identities is None


def test_an_error_in_tracking_is_raised_in_the_reader(fake_source, steps) -> None:
    def failing(instances, seconds):
        raise StageError("track")

    with pytest.raises(StageError, match="track"), Pipeline(fake_source(3), *steps, track=failing) as pipeline:
        list(pipeline)


def test_the_real_tracker_and_smoother_run_in_a_pipeline_and_start_anew_when_time_goes_back(
    make_heads, make_instances
) -> None:
    class Looping(list):
        live, warnings, info = False, [], None

        def __enter__(self):
            return self

        def __exit__(self, *details):
            pass

        def stop(self):
            pass

    image = np.zeros((64, 96, 3), dtype=np.uint8)
    source = Looping(Frame.of(image, index, 0.0, index % 5 / 25) for index in range(10))
    pipeline = Pipeline(
        source,
        lambda _: make_heads(),
        lambda _: make_instances(2),
        track=Tracker().update,
        smooth=Smoother().update,
    )
    with pipeline:
        assert [r.result.identities.tolist() for r in pipeline] == [[1, 2]] * 5 + [[3, 4]] * 5
