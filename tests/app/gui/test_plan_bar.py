"""The line about a plan that is being built: it shows, it tells, it cancels, and it leaves no thread."""

import threading

from pytestqt.qtbot import QtBot

from app.gui.plan_bar import PlanBar
from engine.backends.tensorrt_build import BuildCancelledError, Progress
from engine.errors import UserError


def test_it_shows_how_far_the_build_is(qtbot: QtBot) -> None:
    bar, may_end = PlanBar(), threading.Event()
    qtbot.addWidget(bar)

    def build(progress: Progress) -> None:
        progress(0.42, "timing")
        assert may_end.wait(30)

    bar.begin(build)
    qtbot.waitUntil(lambda: bar.bar.value() == 42)
    assert bar.isVisibleTo(bar.parentWidget())
    with qtbot.waitSignal(bar.built):
        may_end.set()
    assert bar.isHidden()


def test_cancelling_is_no_failure(qtbot: QtBot) -> None:
    bar, failures = PlanBar(), []
    qtbot.addWidget(bar)
    bar.failed.connect(failures.append)

    def build(progress: Progress) -> None:
        while progress(0.5, "timing"):
            pass
        raise BuildCancelledError

    bar.begin(build)
    bar.cancel.click()
    qtbot.waitUntil(bar.isHidden)
    assert failures == []
    bar.begin(build)
    bar.begin(build)  # another network was chosen meanwhile
    bar.stop()
    assert bar.isHidden()


def test_a_failure_is_told(qtbot: QtBot) -> None:
    bar = PlanBar()
    qtbot.addWidget(bar)

    def build(progress: Progress) -> None:
        raise UserError("out of GPU memory")

    with qtbot.waitSignal(bar.failed) as told:
        bar.begin(build)
    assert told.args is not None
    assert str(told.args[0]) == "out of GPU memory"
