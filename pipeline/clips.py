"""Video files: every frame in order, upright, with its own time, and a way to any place in them."""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, NamedTuple, Self

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from engine.errors import UserError
from pipeline import containers
from pipeline.deinterlace import deinterlaced
from pipeline.frames import Frame
from pipeline.limits import LIMITS
from pipeline.packets import (
    CONVERSION_ERRORS,
    MediaClock,
    PacketReader,
    Upright,
    claimed_fps,
    declared_s,
    open_container,
    sample_aspect,
    stamp_s,
    video_stream,
)
from pipeline.source_base import FALLBACK_FPS, SourceInfo

EARLY_END_S: Final = 0.5  # a clip may be this much shorter than its header says without a warning
_SAME_TIME_S: Final = 1e-6
# Demuxers look for a key frame by decoding time, which may be one that is shown after the wanted frame.
_RUN_UPS_S: Final = (0.0, 2.0, 10.0)


class _Opened(NamedTuple):
    container: InputContainer
    stream: VideoStream
    reader: PacketReader
    upright: Upright


class _Timed(NamedTuple):
    decoded: av.VideoFrame
    time_s: float


class FileSource:
    """A video file: every frame in order, upright, with its own timestamp and size.

    A cut or damaged clip delivers all frames that can be read and leaves one line in `warnings`.

    Attributes:
        duration_s: how long the clip plays as far as its header says; None if it does not.
        passed: called for each frame that is read only on the way to where `seek` wants to go.
    """

    live: Literal[False] = False

    def __init__(self, path: Path, max_frames: int | None = None) -> None:
        """Reads the header and the first frame. Raises UserError if there is none."""
        self.warnings: list[str] = []
        self.duration_s: float | None = None
        self.passed: Callable[[], None] = lambda: None
        self._path = path
        self._max_frames = max_frames
        self._start_s: float | None = None  # the first frame's stamp
        self._target_s: float | None = None  # where `seek` wants to go
        self._opened: _Opened | None = None
        self._interlaced = False  # whether a frame was so far
        try:
            self.info = self._probe()
        except OSError as error:
            raise UserError(f"{path}: cannot be read any more: {error.strerror}") from error

    def _probe(self) -> SourceInfo:
        with open_container(self._path) as container:
            stream = video_stream(container, self._path)
            reader, upright = PacketReader(container, stream), Upright()
            first = next(reader.frames(), None)
            if first is None:
                cut_off = containers.missing_bytes(self._path) > 0
                reason = "the file is cut off" if cut_off else reader.reason or "it holds none"
                if not stream.width:  # what libav makes of a size that it was told to refuse
                    reason += f"; those of more than {LIMITS.frame_pixels} pixels are refused"
                raise UserError(f"{self._path}: no frame can be read: {reason}")
            try:
                height, width = upright(first).shape[:2]
            except CONVERSION_ERRORS as error:
                raise UserError(f"{self._path}: no frame can be read: {error}") from error
            aspect, fps, count = sample_aspect(stream), claimed_fps(stream), self._claimed_count(stream)
            self._start_s = stamp_s(first)
            self.duration_s = declared_s(container, stream, self._start_s)
            if self.duration_s is None and count and fps:
                self.duration_s = count / fps
            if self._max_frames is not None:
                count = min(count, self._max_frames) if count else None
            return SourceInfo(self._path.name, width, height, fps, count, 1 / aspect if upright.on_its_side else aspect)

    def _claimed_count(self, stream: VideoStream) -> int | None:
        """How many frames the file says it has; None if it does not, or cannot have so many."""
        # A frame takes a byte at least.
        return stream.frames if 0 < stream.frames <= self._path.stat().st_size else None

    def stop(self) -> None:
        pass  # never waits

    def seek(self, seconds: float) -> None:
        self._target_s = max(0.0, seconds)

    def __enter__(self) -> Self:
        self.warnings.clear()
        self._target_s = None
        self._opened = self._open()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._opened is not None:
            self._opened.container.close()
            self._opened = None

    def __iter__(self) -> Iterator[Frame]:
        frames = self._timed()
        whole = True  # whether this reading began at the beginning: else the clock may be wrong about the clip's length
        index = count = 0
        while index != self._max_frames:
            if self._target_s is not None:
                whole, count = self._target_s == 0, 0
                frames, self._target_s = self._timed_from(self._target_s), None
            timed = next(frames, None)
            if timed is None:
                break
            try:
                image = self._file.upright(timed.decoded)
            except CONVERSION_ERRORS as error:
                self._file.reader.note_damage(error)
                continue
            yield Frame.of(image, index, time.perf_counter(), timed.time_s)
            index, count = index + 1, count + 1
        else:
            return
        self._note_damage(count, whole)

    def _open(self) -> _Opened:
        container = open_container(self._path)
        stream = video_stream(container, self._path)
        return _Opened(container, stream, PacketReader(container, stream), Upright())

    @property
    def _file(self) -> _Opened:
        if self._opened is None:
            raise RuntimeError("enter the source with `with` before reading it")
        return self._opened

    def _timed(self) -> Iterator[_Timed]:
        """The frames from where the reader stands."""
        self._clock = MediaClock(self.info.fps or FALLBACK_FPS, self._start_s)
        for decoded in deinterlaced(self._decoded()):
            yield _Timed(decoded, self._clock.seconds(decoded))

    def _decoded(self) -> Iterator[av.VideoFrame]:
        for frame in self._file.reader.frames():
            self._interlaced = self._interlaced or frame.interlaced_frame
            yield frame

    def _timed_from(self, target_s: float) -> Iterator[_Timed]:
        """The frame shown at `target_s` and those after it."""
        for run_up_s in _RUN_UPS_S if self._start_s is not None else ():
            try:
                self._file.reader.seek((self._start_s or 0.0) + max(0.0, target_s - run_up_s))
            except (av.FFmpegError, OverflowError):  # the latter where the file's times are absurd
                break
            frames = self._timed()
            begin = list(itertools.islice(frames, 1))
            if begin and begin[0].time_s > 0 and self._interlaced:
                # The frame wanted is made whole with the one before it, as where all is read: it cannot be the first.
                begin = [*begin, *itertools.islice(frames, 1)][1:]
            if begin and begin[0].time_s <= target_s + _SAME_TIME_S:
                return self._leave_out_before(target_s, itertools.chain(begin, frames))
        # The file has no times, or no way to them: everything from the beginning is decoded, which may take a while.
        self._file.container.close()
        self._opened = self._open()
        return self._leave_out_before(target_s, self._timed())

    def _leave_out_before(self, target_s: float, frames: Iterator[_Timed]) -> Iterator[_Timed]:
        """Begin with the last frame that is not after `target_s`, or with the first one if there is none."""
        shown: _Timed | None = None
        for timed in frames:
            if timed.time_s > target_s + _SAME_TIME_S:
                if shown is not None:
                    yield shown
                yield timed
                yield from frames
                return
            if shown is not None:
                self.passed()
            shown = timed
        if shown is not None:
            yield shown

    def _note_damage(self, count: int, whole: bool) -> None:
        """Add a line to the warnings if something was wrong with a clip that was read to its end."""
        for line in self._damage(count, whole):
            # Played in a loop, it ends more than once; and from another place on, the same damage reads otherwise.
            if line not in self.warnings and (whole or not self.warnings):
                self.warnings.append(line)

    def _damage(self, count: int, whole: bool) -> list[str]:
        """What was wrong with a clip of which `count` frames were read, up to its end: no line or one."""
        try:
            missing = containers.missing_bytes(self._path)
        except OSError as error:  # what was read came from a file that was moved away or locked since
            return [f"{self._path}: the clip cannot be read any more after {count} frames: {error.strerror}"]
        container, stream, reader, _ = self._file
        declared, end_s = declared_s(container, stream, self._start_s), self._clock.end_s
        if missing:
            reason = f"the file is cut off, at least {missing} bytes are missing"
        elif reader.ended_badly:
            reason = reader.reason
        elif whole and declared is not None and declared - end_s > EARLY_END_S:
            reason = f"{end_s:.1f} s of {declared:.1f} s can be read"
        elif reader.bad_count:
            return [f"{self._path}: {count} frames were read, {reader.bad_count} damaged left out: {reader.reason}"]
        elif reader.flawed_count:
            beside = f"{reader.flawed_count} packets lie beside damage or a joint in the file"
            return [f"{self._path}: {count} frames were read, some may show damage: {beside}"]
        else:
            return []
        after = f" after {count} frames" if whole else ""
        return [f"{self._path}: the clip ends early{after}: {reason}"]
