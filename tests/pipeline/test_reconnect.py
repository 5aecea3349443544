import itertools
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from engine.errors import UserError
from pipeline.reconnect import MOST_READERS, Grab, LiveSource, Lost, Patience, SourceState
from pipeline.runner import Pipeline

WAIT_S = 20.0
CALM = Patience(connect_s=WAIT_S, first_picture_s=WAIT_S, stall_s=WAIT_S, give_up_s=WAIT_S, first_pause_s=0.01)
HASTY = Patience(
    connect_s=0.1, first_picture_s=0.1, stall_s=0.05, give_up_s=0.1, first_pause_s=0.01, longest_pause_s=0.02
)


def grab(number: int, width: int = 96) -> Grab:
    return Grab(np.full((64, width, 3), number, dtype=np.uint8), time.perf_counter())


class FakeCamera:
    """Each connection works off the next script: grabs are read, exceptions raised, events waited for.

    Where the scripts are at an end, the last one begins again.
    """

    fps = 30.0

    def __init__(self, *scripts: list) -> None:
        self.scripts = scripts
        self.connections: list[FakeConnection] = []
        self.finished = threading.Event()  # some script has been read to its end

    def connect(self) -> "FakeConnection":
        script = self.scripts[min(len(self.connections), len(self.scripts) - 1)]
        connection = FakeConnection(self, list(script))
        self.connections.append(connection)
        if script and isinstance(script[0], threading.Event):
            script[0].wait()
        elif script and isinstance(script[0], Exception):
            raise script[0]
        return connection


class FakeConnection:
    fps = 30.0

    def __init__(self, camera: FakeCamera, script: list) -> None:
        self.camera = camera
        self.script = iter(script)
        self.closed = threading.Event()

    def read(self) -> Grab:
        for item in self.script:
            if isinstance(item, threading.Event):
                item.wait()
            elif isinstance(item, Exception):
                raise item
            else:
                return item
        self.camera.finished.set()
        raise Lost("unplugged")

    def close(self) -> None:
        self.closed.set()


def live(camera: FakeCamera, patience: Patience = CALM, **options) -> LiveSource:
    return LiveSource("camera 0 (fake)", camera.connect, patience, **options)


class Steps:
    """Pictures that cannot overtake each other: the camera goes on when the one before has arrived."""

    def __init__(self, count: int) -> None:
        self.gates = [threading.Event() for _ in range(count)]
        self.script = [item for number, gate in enumerate(self.gates) for item in (grab(number), gate)]

    def read(self, source: LiveSource) -> list[int]:
        """The numbers of the frames that arrive; all gates open in the end."""
        arrived = []
        gates = iter(self.gates * 9)
        with source:
            for frame in source:
                arrived.append(int(frame.image[0, 0, 0]))
                next(gates).set()
        return arrived


@pytest.fixture
def phases(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The phases that sources have gone through, in order, without repeats."""
    caplog.set_level("INFO", "pipeline.reconnect")
    return lambda: [phase for phase, _ in itertools.groupby(line.split()[0] for line in caplog.messages)]


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """What a driver that hangs waits for; it comes when the test is over, so that no thread is left."""
    event = threading.Event()
    yield event
    event.set()


# ---- pictures


def test_frames_are_numbered_read_only_and_know_when_they_were_taken() -> None:
    camera = FakeCamera([grab(7), grab(8)])
    before_s = time.perf_counter()
    source = live(FakeCamera([grab(7)]), max_frames=1)
    with source:
        (frame,) = source
    assert (frame.index, frame.t_media_s) == (0, None)
    assert before_s <= frame.t_capture_s <= time.perf_counter()
    assert not frame.image.flags.writeable
    assert source.live
    assert camera.connections == []  # nothing is opened before somebody reads


def test_every_frame_arrives_where_the_reader_is_quick_enough() -> None:
    steps = Steps(6)
    assert steps.read(live(FakeCamera(steps.script), max_frames=6)) == [0, 1, 2, 3, 4, 5]


def test_the_newest_picture_wins(never) -> None:
    go, all_read = threading.Event(), Flag()
    camera = FakeCamera([grab(0), go, grab(1), grab(2), grab(3), all_read, never])
    source = live(camera)
    with source:
        frames = iter(source)
        assert next(frames).image[0, 0, 0] == 0
        go.set()
        assert all_read.reached.wait(WAIT_S)
        frame = next(frames)
        assert (frame.index, frame.image[0, 0, 0]) == (1, 3)
        never.set()


def test_the_size_may_change_and_is_told() -> None:
    gate = threading.Event()
    source = live(FakeCamera([grab(0), gate, grab(1, width=160)]), max_frames=2)
    assert (source.info.width, source.info.height, source.info.fps) == (0, 0, None)
    sizes = []
    with source:
        for frame in source:
            sizes.append((frame.image.shape[1], source.info.width, source.info.height, source.info.fps))
            gate.set()
    assert sizes == [(96, 96, 64, 30.0), (160, 160, 64, 30.0)]


# ---- what goes wrong


def test_a_camera_that_is_taken_away_is_connected_to_again(phases) -> None:
    gate = threading.Event()
    camera = FakeCamera([grab(0)], [Lost("not attached")], [Lost("not attached")], [grab(1), gate])
    source = live(camera, max_frames=2)
    frames = []
    with source:
        for frame in source:
            frames.append((frame.index, int(frame.image[0, 0, 0])))
            assert source.state == SourceState("playing")
        gate.set()
    assert frames == [(0, 0), (1, 1)]
    assert phases() == ["playing", "reconnecting", "playing", "ended"]
    assert source.warnings == ["camera 0 (fake): connections lost on the way: 1"]


def test_attempts_are_counted_and_told_until_the_first_picture(caplog) -> None:
    caplog.set_level("INFO", "pipeline.reconnect")
    gate = threading.Event()
    camera = FakeCamera(*[[Lost("nobody there")]] * 3, [Lost("refused")], [grab(0), gate])
    source = live(camera)
    assert source.state == SourceState("connecting", "camera 0 (fake): connecting")
    with source:
        next(iter(source))
        gate.set()
    told = "reconnecting camera 0 (fake): {}; trying again"
    assert caplog.messages == [*[told.format("nobody there")] * 3, told.format("refused"), "playing ", "ended "]
    assert source.warnings == []  # there was nothing to lose yet


def test_attempts_go_on_for_ever_and_never_too_fast() -> None:
    patience = Patience(first_pause_s=0.5, longest_pause_s=4.0)
    assert [patience.pause_s(attempt) for attempt in (1, 2, 3, 4, 5)] == [0.5, 1.0, 2.0, 4.0, 4.0]
    assert patience.pause_s(10**9) == 4.0


def test_what_only_the_user_can_mend_ends_it_at_the_beginning(phases) -> None:
    source = live(FakeCamera([UserError("camera 0 (fake): no permission")]))
    with source, pytest.raises(UserError, match="no permission"):
        next(iter(source))
    assert phases() == ["ended"]


def test_but_not_once_there_have_been_pictures() -> None:
    """A camera that restarts may refuse passwords for a while."""
    gate = threading.Event()
    camera = FakeCamera([grab(0)], [UserError("camera 0 (fake): wrong password")], [grab(1), gate])
    source = live(camera, max_frames=2)
    with source:
        assert [frame.index for frame in source] == [0, 1]
        gate.set()


def test_our_own_mistakes_are_not_retried() -> None:
    source = live(FakeCamera([grab(0), ZeroDivisionError()]))
    with source:
        frames = iter(source)
        next(frames)
        with pytest.raises(ZeroDivisionError):
            next(frames)


# ---- what hangs


def test_a_read_that_hangs_is_left_behind_and_closed_when_it_returns(never, phases) -> None:
    gate = threading.Event()
    camera = FakeCamera([grab(0), never], [grab(1), gate])
    source = live(camera, HASTY, max_frames=2)
    with source:
        assert [frame.image[0, 0, 0] for frame in source] == [0, 1]
        gate.set()
    assert phases() == ["playing", "stalled", "reconnecting", "playing", "ended"]
    assert not camera.connections[0].closed.is_set()
    never.set()
    assert camera.connections[0].closed.wait(WAIT_S)


def test_a_stall_that_ends_by_itself_costs_no_connection(never, phases) -> None:
    go, gate = threading.Event(), threading.Event()
    camera = FakeCamera([grab(0), go, grab(1), gate])
    source = live(camera, Patience(stall_s=0.05, give_up_s=WAIT_S), max_frames=2)
    with source:
        frames = iter(source)
        next(frames)
        waiter = threading.Thread(target=_set_when, args=(go, lambda: source.state.phase == "stalled"))
        waiter.start()
        assert next(frames).image[0, 0, 0] == 1
        waiter.join()
        gate.set()
    assert phases() == ["playing", "stalled", "playing", "ended"]
    assert len(camera.connections) == 1


def test_a_driver_that_hangs_does_not_collect_threads(never) -> None:
    camera = FakeCamera([never])
    source = live(camera, HASTY)
    with source:
        reading = threading.Thread(target=lambda: list(source))
        reading.start()
        _wait_until(lambda: "the attempts so far still hang" in source.state.message)
        assert len(camera.connections) == MOST_READERS
        assert source.state.phase == "reconnecting"
        source.stop()
        reading.join(WAIT_S)
    assert not reading.is_alive()


@pytest.mark.parametrize("moment", ["connecting", "first picture", "next picture", "pause"])
def test_stop_ends_it_at_any_moment(never, moment) -> None:
    script = {
        "connecting": [never],
        "first picture": [Flag(), never],
        "next picture": [grab(0), never],
        "pause": [Lost("nobody there")],
    }[moment]
    patience = Patience(first_pause_s=9 * WAIT_S, longest_pause_s=9 * WAIT_S, stall_s=9 * WAIT_S, connect_s=9 * WAIT_S)
    source = live(FakeCamera(script), patience)
    count = 0

    def read() -> None:
        nonlocal count
        with source:
            for _ in source:
                count += 1

    reading = threading.Thread(target=read)
    reading.start()
    _wait_until(
        {
            "connecting": lambda: threading.active_count() > 2,
            "first picture": lambda: isinstance(script[0], Flag) and script[0].reached.is_set(),
            "next picture": lambda: count == 1,
            "pause": lambda: source.state.phase == "reconnecting",
        }[moment]
    )
    source.stop()
    reading.join(WAIT_S)
    assert not reading.is_alive()
    assert source.state == SourceState("ended")


def test_a_pipeline_ends_while_a_read_hangs(never, make_heads, make_instances, caplog) -> None:
    source = live(FakeCamera([grab(0), never]))
    with Pipeline(source, lambda _: make_heads(), lambda _: make_instances(0)) as pipeline:
        assert next(pipeline).result.frame.index == 0
    assert "still running" not in caplog.text
    assert source.state == SourceState("ended")


def test_it_can_be_entered_again_after_a_stop() -> None:
    first, second = Steps(2), Steps(2)
    source = live(FakeCamera(first.script, second.script), max_frames=2)
    source.stop()
    assert first.read(source) == [0, 1]
    source.stop()
    assert second.read(source) == [0, 1]


class Flag(threading.Event):
    """An item of a script that notes that it was reached, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.reached.set()
        return True


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.perf_counter() + WAIT_S
    while not condition():
        assert time.perf_counter() < deadline_s
        time.sleep(0.005)


def _set_when(event: threading.Event, condition: Callable[[], bool]) -> None:
    _wait_until(condition)
    event.set()
