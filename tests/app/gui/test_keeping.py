"""What is kept: recordings, snapshots and contact sheets, and what happens when there is no room for them."""

import csv
import errno
import os
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QToolButton
from pytestqt.qtbot import QtBot

from app.gui.application import Application
from pipeline.h264 import H264File

DEADLINE_MS = 30_000


@pytest.fixture
def looping(start: Callable[..., Application], clip: Path) -> Application:
    """The clip, over and over and fast."""
    app = start(clip)
    app.player.set_loop(True)
    app.player.set_speed(4.0)
    return app


def kept(app: Application, suffix: str) -> list[Path]:
    return sorted(app.keeping.folder.glob(f"*{suffix}")) if app.keeping.folder.is_dir() else []


def frames_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def button(app: Application, name: str) -> QToolButton:
    found = [each for each in app.window.findChildren(QToolButton) if each.defaultAction() is app.window.commands[name]]
    return found[0]


def test_record(looping: Application, qtbot: QtBot) -> None:
    """On and off with the button; the counter runs, the file is whole and told."""
    app = looping
    qtbot.mouseClick(button(app, "record"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "●" in app.window.status["recording"].text(), timeout=DEADLINE_MS)
    assert app.window.commands["record"].isChecked()
    qtbot.waitUntil(lambda: app.keeping.state is not None and app.keeping.state.written >= 5, timeout=DEADLINE_MS)
    qtbot.mouseClick(button(app, "record"), Qt.MouseButton.LeftButton)
    with qtbot.waitSignal(app.keeping.kept, timeout=DEADLINE_MS) as told:
        pass
    assert [told.args[0]] == kept(app, ".mp4")
    assert frames_in(told.args[0]) >= 5
    assert str(told.args[0]) in app.window.message.text
    assert not app.window.commands["record"].isChecked()
    assert app.window.status["recording"].text() == ""


def test_another_source_ends_the_recording(looping: Application, sample_still: Path, qtbot: QtBot) -> None:
    app = looping
    app.window.commands["record"].trigger()
    qtbot.waitUntil(lambda: app.keeping.state is not None and app.keeping.state.written >= 3, timeout=DEADLINE_MS)
    with qtbot.waitSignal(app.keeping.kept, timeout=DEADLINE_MS):
        app.player.open(str(sample_still))
    assert frames_in(kept(app, ".mp4")[0]) >= 3


def test_closing_the_window_completes_the_recording(looping: Application, qtbot: QtBot) -> None:
    app = looping
    app.window.commands["record"].trigger()
    qtbot.waitUntil(lambda: app.keeping.state is not None and app.keeping.state.written >= 3, timeout=DEADLINE_MS)
    app.window.close()
    assert app.finish()
    assert [path.name.count("recording") for path in kept(app, ".mp4")] == [0]
    assert frames_in(kept(app, ".mp4")[0]) >= 3


def test_full_disk_as_the_window_closes(
    looping: Application, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """There is no window to say it in any more."""
    app, close = looping, H264File.close

    def fill_up(self: H264File) -> None:
        close(self)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(H264File, "close", fill_up)
    app.window.commands["record"].trigger()
    qtbot.waitUntil(lambda: app.keeping.state is not None and app.keeping.state.written >= 3, timeout=DEADLINE_MS)
    app.window.close()
    assert app.finish()
    assert os.strerror(errno.ENOSPC) in caplog.text
    assert str(kept(app, ".mp4")[0]) in caplog.text


def test_full_disk(looping: Application, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was recorded before is kept, the user is told, the picture goes on."""
    app, write, count = looping, H264File.write, []

    def fill_up(self: H264File, canvas: np.ndarray, time_s: float) -> None:
        count.append(time_s)
        if len(count) > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, canvas, time_s)

    monkeypatch.setattr(H264File, "write", fill_up)
    with qtbot.waitSignal(app.keeping.failed, timeout=DEADLINE_MS):
        app.window.commands["record"].trigger()
    assert app.window.message.level == "error"
    assert os.strerror(errno.ENOSPC) in app.window.message.text
    assert "Ctrl+S" in app.window.message.text
    assert not app.window.commands["record"].isChecked()
    assert frames_in(kept(app, ".mp4")[0]) == 4
    shown = app.player.last
    qtbot.waitUntil(lambda: app.player.last is not shown, timeout=DEADLINE_MS)


def test_folder_that_cannot_be(looping: Application, tmp_path: Path, qtbot: QtBot) -> None:
    (tmp_path / "file").write_text("")
    looping.keeping.folder = tmp_path / "file" / "folder"
    for name in ("record", "snapshot", "sheet"):
        looping.window.message.dismiss()
        with qtbot.waitSignal(looping.keeping.failed, timeout=DEADLINE_MS):
            looping.window.commands[name].trigger()
        assert "nothing can be kept there" in looping.window.message.text
        assert not looping.keeping.recording
        assert not looping.window.commands["record"].isChecked()


def test_snapshot_is_what_is_shown(still: Application, qtbot: QtBot) -> None:
    with qtbot.waitSignal(still.keeping.kept, timeout=DEADLINE_MS) as told:
        qtbot.mouseClick(button(still, "snapshot"), Qt.MouseButton.LeftButton)
    np.testing.assert_array_equal(cv2.imread(str(told.args[0])), still.window.view.canvas)


def test_two_snapshots_in_one_second(still: Application, qtbot: QtBot) -> None:
    for _ in range(2):
        with qtbot.waitSignal(still.keeping.kept, timeout=DEADLINE_MS):
            still.window.commands["snapshot"].trigger()
    assert len(kept(still, ".png")) == 2


def test_contact_sheet(still: Application, qtbot: QtBot) -> None:
    with qtbot.waitSignal(still.keeping.kept, timeout=DEADLINE_MS) as told:
        qtbot.mouseClick(button(still, "sheet"), Qt.MouseButton.LeftButton)
    sheet = cv2.imread(str(told.args[0]))
    assert sheet.shape[1] > 2 * 640
    assert "overlays" in told.args[0].name


def test_figures(still: Application, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: len(still.feedback.history) > 1, timeout=DEADLINE_MS)
    with qtbot.waitSignal(still.keeping.kept, timeout=DEADLINE_MS) as told:
        still.window.commands["figures"].trigger()
    with told.args[0].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 2
    assert float(rows[-1]["seconds"]) > float(rows[0]["seconds"])
    assert rows[-1]["displayed"] == "1"


@pytest.mark.parametrize("name", ["record", "snapshot", "sheet", "figures"])
def test_without_a_picture(name: str, application: Application) -> None:
    application.window.commands[name].trigger()
    assert "no picture yet" in application.window.message.text
    assert not application.window.commands["record"].isChecked()
    assert kept(application, "") == []
