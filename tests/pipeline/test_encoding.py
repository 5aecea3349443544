"""The thread that writes a video: nothing is lost, nothing is swallowed, and the network goes first."""

import os
import sys
import threading

import av
import numpy as np
import pytest

from pipeline.encoding import EncodingThread
from pipeline.h264 import H264File
from pipeline.priority import NICENESS

WAIT_S = 20.0
CANVAS = np.full((64, 96, 3), 90, np.uint8)


class Taken:
    """A file that notes what it is given, and in which thread; before each picture it waits for `go`."""

    def __init__(self) -> None:
        self.times_s: list[float] = []
        self.closed = 0
        self.niceness: int | None = None
        self.go = threading.Event()
        self.go.set()
        self.error: BaseException | None = None

    def write(self, canvas: np.ndarray, time_s: float) -> None:
        assert self.go.wait(WAIT_S)
        if self.error is not None:
            raise self.error
        self.times_s.append(time_s)
        if sys.platform == "linux":
            self.niceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def taken() -> Taken:
    return Taken()


@pytest.fixture
def thread(taken: Taken) -> EncodingThread:
    return EncodingThread(taken)  # type: ignore[arg-type]


def test_everything_is_in_the_file_once_it_is_closed(tmp_path) -> None:
    thread = EncodingThread(H264File(tmp_path / "a.mp4", "mp4", 25.0))
    for index in range(20):
        thread.write(CANVAS, index / 25)
    thread.close()
    assert thread.written == 20
    assert len(thread.durations.since()) == 20
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 20


def test_one_picture_at_a_time_is_with_the_encoder(taken, thread) -> None:
    taken.go.clear()
    handed: list[float] = []
    first, last = threading.Event(), threading.Event()

    def hand_over() -> None:
        for time_s in (0.0, 1.0, 2.0):
            thread.write(CANVAS, time_s)
            handed.append(time_s)
            first.set()
        last.set()

    other = threading.Thread(target=hand_over)
    other.start()
    assert first.wait(WAIT_S)
    assert not last.wait(0.2)
    assert handed == [0.0]
    taken.go.set()
    assert last.wait(WAIT_S)
    other.join(WAIT_S)
    thread.close()
    assert taken.times_s == [0.0, 1.0, 2.0]
    assert thread.waited_s > 0.1


def test_an_error_is_raised_by_the_next_picture(taken, thread) -> None:
    taken.error = OSError(28, "No space left on device")
    thread.write(CANVAS, 0.0)
    with pytest.raises(OSError, match="No space left"):
        thread.write(CANVAS, 1.0)
    thread.close()
    assert thread.written == 0
    assert taken.closed == 1


def test_an_error_with_the_last_picture_is_raised_at_the_end(taken, thread) -> None:
    taken.error = OSError(28, "No space left on device")
    thread.write(CANVAS, 0.0)
    with pytest.raises(OSError, match="No space left"):
        thread.close()
    assert taken.closed == 1


@pytest.mark.skipif(sys.platform != "linux", reason="needs a niceness for each thread")
def test_the_encoder_lets_the_network_go_first(taken, thread) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    thread.write(CANVAS, 0.0)
    thread.close()
    assert taken.niceness == min(19, own + NICENESS)
    assert os.getpriority(os.PRIO_PROCESS, 0) == own
