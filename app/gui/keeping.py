"""What the user keeps: recordings, snapshots and contact sheets, with the time in their names, in a chosen folder."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from PyQt6.QtCore import QObject, QStandardPaths, QTimer, pyqtSignal

from app.gui.background import Background
from app.writing import CsvLog
from engine.errors import UserError
from pipeline.frames import Rendered
from pipeline.h264 import growing_path
from pipeline.recorder import Recorder, RecorderState
from pipeline.runner import Pipeline
from pipeline.sinks import PictureWriter
from pipeline.sources import SourceInfo
from pipeline.statistics import Snapshot

LOOK_MS: Final = 250  # how often the recorder is asked how it goes
CLOSE_S: Final = 30.0  # the window is gone by then; what waits for a slow disk is still written
logger = logging.getLogger(__name__)


def default_folder() -> Path:
    """Where the user keeps videos, by the habits of the system."""
    movies = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.MoviesLocation)
    return Path(movies or Path.home()) / "PosePlusSeg"


class Keeping(QObject):
    """At most one recording at a time.

    Signals:
        recording_changed: the `RecorderState`, or None when nothing is recorded.
        kept: the path of a file that is whole.
        failed: the exception.
        warned: one line about a recording that is not what it should be.
    """

    recording_changed = pyqtSignal(object)
    kept = pyqtSignal(object)
    failed = pyqtSignal(object)
    warned = pyqtSignal(str)

    def __init__(self, background: Background, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._background = background
        self._recorded: Pipeline | None = None  # what the user wants recorded
        self._recorder: Recorder | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(LOOK_MS)
        self._timer.timeout.connect(self._look)

    @property
    def recording(self) -> bool:
        """Whether a recording runs or is being finished."""
        return self._recorder is not None or self._recorded is not None

    @property
    def state(self) -> RecorderState | None:
        """How the recording goes; None where there is none."""
        return None if self._recorder is None else self._recorder.state

    def start(self, pipeline: Pipeline, info: SourceInfo) -> None:
        """Record what the pipeline renders from now on; nothing happens while another recording is not finished."""
        if self.recording:
            return
        self._recorded = pipeline

        def opened(recorder: Recorder) -> None:
            self._recorder = recorder
            self._timer.start()
            if self._recorded is pipeline:
                pipeline.tap = recorder.write
                self.recording_changed.emit(recorder.state)
            else:  # stopped meanwhile
                recorder.stop()

        def failed(error: Exception) -> None:
            self._recorded = None
            self.recording_changed.emit(None)
            self.failed.emit(error)

        self._background.run("record", lambda: _start_recorder(self.folder, info), opened, failed)

    def stop(self) -> None:
        """End the recording; `kept` or `warned` follows when the file is whole."""
        self._recorded = None
        if self._recorder is not None:
            self._recorder.stop()

    def close(self) -> bool:
        """End the recording and wait until its file is whole; whether it is.

        The window is gone by then: what there is to say about the recording goes to the log.
        """
        self._timer.stop()
        self.stop()
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return True
        ended = recorder.join(CLOSE_S)
        if not ended:
            logger.warning("%s: the disk is too slow to end it in order; it plays as it is", recorder.growing_path)
        elif recorder.state.message:
            logger.warning("%s", recorder.state.message)
        return ended

    def keep_picture(self, make: Callable[[], Rendered], kind: str) -> None:
        """Write the canvas that `make` gives as PNG, with `kind` in its name; both in the background."""
        self._background.run(
            "keep", lambda: _write_picture(self.folder, kind, make()), self.kept.emit, self.failed.emit
        )

    def keep_figures(self, figures: Sequence[Snapshot]) -> None:
        """Write the figures as CSV, a row for each moment; in the background."""
        self._background.run("keep", lambda: _write_figures(self.folder, figures), self.kept.emit, self.failed.emit)

    def _look(self) -> None:
        recorder = self._recorder
        if recorder is None:
            return
        state = recorder.state
        if state.phase not in {"saved", "failed"}:
            self.recording_changed.emit(state)
            return
        self._timer.stop()
        recorder.join()  # it has nothing left to do
        self._recorder = self._recorded = None
        self.recording_changed.emit(None)
        if state.phase == "failed":
            self.failed.emit(UserError(state.message))
        elif state.message:
            self.warned.emit(state.message)
        elif state.written:
            self.kept.emit(recorder.path)


def _start_recorder(folder: Path, info: SourceInfo) -> Recorder:
    recorder = Recorder(_new_path(folder, "", ".mp4"), info)
    recorder.start()
    return recorder


def _write_picture(folder: Path, kind: str, rendered: Rendered) -> Path:
    with PictureWriter(_new_path(folder, kind, ".png")) as writer:
        writer.write(rendered)
    return writer.path


def _write_figures(folder: Path, figures: Sequence[Snapshot]) -> Path:
    path = _new_path(folder, "figures", ".csv")
    with CsvLog(path) as log:
        for snapshot in figures:
            log.add(snapshot)
    return path


def _new_path(folder: Path, kind: str, suffix: str) -> Path:
    """A free name with the time in it, such as "2026-11-22 19-38-05 sheet.png". Raises UserError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise UserError(f"{folder}: nothing can be kept there: {error.strerror}") from error
    stem = f"{datetime.now():%Y-%m-%d %H-%M-%S} {kind}".rstrip()
    number, name = 1, f"{stem}{suffix}"
    while name in taken or growing_path(Path(name)).name in taken:
        number += 1
        name = f"{stem} {number}{suffix}"
    return folder / name
