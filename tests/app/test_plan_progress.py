"""The build of a plan in a thread, and in the terminal, where the first Ctrl-C cancels it alone."""

import signal
import threading

import pytest

from app.plan_progress import PlanBuild, plan_progress
from engine.backends.tensorrt_build import BuildCancelledError, Progress


def test_a_build_in_a_thread_tells_how_far_it_is() -> None:
    told, may_end = threading.Event(), threading.Event()

    def build(progress: Progress) -> None:
        assert progress(0.25, "timing")
        told.set()
        assert may_end.wait(30)

    task = PlanBuild(build)
    task.start()
    assert told.wait(30)
    assert (task.fraction, task.phase, task.done) == (0.25, "timing", False)
    may_end.set()
    task.close()
    assert (task.done, task.error) == (True, None)


def test_a_build_in_a_thread_can_be_cancelled() -> None:
    begun = threading.Event()

    def build(progress: Progress) -> None:
        while progress(0.5, "timing"):
            begun.set()
        raise BuildCancelledError

    task = PlanBuild(build)
    task.start()
    assert begun.wait(30)
    task.cancel()
    task.close()
    assert task.done
    assert isinstance(task.error, BuildCancelledError)


def test_a_build_that_was_never_started_can_be_closed() -> None:
    PlanBuild(lambda progress: None).close()


def test_ctrl_c_cancels_the_build_and_the_second_one_interrupts() -> None:
    before = signal.getsignal(signal.SIGINT)
    with plan_progress("a plan") as progress:
        assert signal.getsignal(signal.SIGINT) is before  # nothing is built yet
        assert progress(0.1, "timing")
        signal.raise_signal(signal.SIGINT)
        assert not progress(0.2, "timing")
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_cancelled_build_that_nobody_catches_is_an_interruption() -> None:
    with pytest.raises(KeyboardInterrupt), plan_progress("a plan"):
        raise BuildCancelledError
