"""Threads for what takes time: results come back in the GUI's thread, or not at all after closing."""

import threading

from pytestqt.qtbot import QtBot

from app.gui.background import Background

DEADLINE_MS = 30_000


def test_value_and_error_come_back_in_this_thread(qtbot: QtBot) -> None:
    background, came = Background(), []

    def note(value: object) -> None:
        came.append((str(value), threading.current_thread() is threading.main_thread()))

    background.run("value", lambda: 42, note, note)
    background.run("error", lambda: 1 // 0, note, note)
    qtbot.waitUntil(lambda: len(came) == 2, timeout=DEADLINE_MS)
    assert sorted(came) == [("42", True), ("integer division or modulo by zero", True)]
    assert background.close(10.0)


def test_nothing_is_delivered_after_closing(qtbot: QtBot) -> None:
    background, came, go_on = Background(), [], threading.Event()
    background.run("slow", lambda: go_on.wait(20), came.append, came.append)
    assert not background.close(0.0)
    go_on.set()
    assert background.close(10.0)
    background.run("late", lambda: 1, came.append, came.append)
    qtbot.wait(50)
    assert came == []
