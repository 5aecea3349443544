"""PyAV's side of a video file: open it, take its packets apart one by one, turn frames upright, keep the time.

Read in this order by `pipeline.clips.FileSource`: `open_container`, `video_stream`, `PacketReader`, `MediaClock`,
`Upright`.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet as AnyPacket
from av.video.stream import VideoStream

from engine.errors import UserError
from engine.structures import ByteArray
from pipeline import containers

# Formats by which libavformat reads plain text as pictures, and pictures (left to OpenCV) as videos.
_NO_VIDEO_FORMATS: Final = ("tty", "bin", "xbin", "adf", "idf", "image2")

Packet: TypeAlias = "AnyPacket[VideoStream]"


def open_container(path: Path) -> InputContainer:
    """Open a video file for reading. Raises UserError if it is none."""
    try:
        # "file:" keeps a colon in a name from being taken for a protocol.
        container = av.open(f"file:{path}")
    except (av.FFmpegError, OSError, UnicodeError) as error:
        if containers.is_unfinished_mp4(path):
            raise UserError(f"{path}: the recording was cut off, its index (moov atom) is missing") from error
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: neither a video nor a picture that can be read: {reason}") from error
    if container.format.name in _NO_VIDEO_FORMATS or container.format.name.endswith("_pipe"):
        container.close()
        raise UserError(f"{path}: neither a video nor a picture that can be read")
    return container


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first video stream that is not the cover picture of a song. Raises UserError if there is none to decode."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            codec: Any = stream.codec_context  # None if unknown, which PyAV's type hints do not say
            if codec is None:
                raise UserError(f"{path}: the video is in a format (codec) that cannot be decoded")
            return stream
    raise UserError(f"{path}: has no video stream")


def declared_s(container: InputContainer, stream: VideoStream) -> float | None:
    """How long the header says the video lasts; None where only the longest of several streams is known."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if len(container.streams) == 1 and container.duration is not None:
        return float(Fraction(container.duration, av.time_base))
    return None


class PacketReader:
    """Decodes packet by packet, so that a damaged one costs itself only.

    Attributes:
        bad_count: how many packets or frames were left out as damaged.
        ended_badly: whether no good frame came after the last of them, or the demuxer gave up.
        reason: the first damage in words, or "".
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        # Threads that decode several frames at once lose the frames around an error, and the error with them.
        stream.thread_type = "SLICE"
        self._container = container
        self._stream = stream
        self.bad_count = 0
        self.ended_badly = False
        self.reason = ""

    def seek(self, seconds: float) -> None:
        """Let the next `frames` begin with the key frame before this stamp, roughly, and forget the damage so far.

        Raises:
            av.FFmpegError: there is no going to another place in this file.
        """
        self.bad_count, self.ended_badly, self.reason = 0, False, ""
        self._container.seek(round(seconds * av.time_base))

    def frames(self) -> Iterator[av.VideoFrame]:
        """Every frame that can be decoded, in presentation order. Never raises for damage."""
        held: Packet | None = None
        for packet in self._packets():
            if held is not None and packet is not None:
                yield from self._decode(held)
            elif held is not None:
                self._note_damage("the last frame is cut off")
            # A packet that came in short still shows something, but at a clip's end that is half a picture.
            held = packet if packet is not None and packet.is_corrupt else None
            if held is None:
                yield from self._decode(packet)

    def _packets(self) -> Iterator["Packet | None"]:
        """The packets, then None: the sign to bring out the frames in flight."""
        packets = self._container.demux(self._stream)
        try:
            for packet in packets:
                if packet.size:
                    yield packet
        except av.FFmpegError as error:
            self._note_damage(error.strerror)
        yield None

    def _decode(self, packet: "Packet | None") -> Iterator[av.VideoFrame]:
        try:
            decoded = self._stream.codec_context.decode(packet)
        except av.FFmpegError as error:
            self._note_damage(error.strerror)
            return
        for frame in decoded:
            if frame.is_corrupt:
                self._note_damage("parts of a picture are missing")
                continue
            frame.time_base = self._stream.time_base  # PyAV forgets it on the frames in flight
            if packet is not None:  # frames that were in flight are no sign that reading went on
                self.ended_badly = False
            yield frame

    def _note_damage(self, reason: object) -> None:
        self.bad_count += 1
        self.ended_badly = True
        self.reason = self.reason or str(reason)


class MediaClock:
    """Presentation times that start at 0 and never go back.

    Recordings joined end to end restart their timestamps, and some files have none: such a frame comes one frame
    interval after the one before.
    """

    def __init__(self, fps: float, start_s: float | None) -> None:
        """`start_s` is the first frame's `stamp_s`."""
        self._interval_s = 1 / fps
        self._shift_s = None if start_s is None else -start_s
        self._last_s = -self._interval_s
        self.end_s = 0.0

    def seconds(self, frame: av.VideoFrame) -> float:
        """When `frame` is due, seconds after the first; call once per frame, in order."""
        due_s = self._last_s + self._interval_s
        if (stamp := stamp_s(frame)) is None:
            self._last_s = due_s
        else:
            if self._shift_s is None or stamp + self._shift_s <= self._last_s:
                self._shift_s = due_s - stamp
            self._last_s = stamp + self._shift_s
        self.end_s = self._last_s + self._interval_s
        return self._last_s


def stamp_s(frame: av.VideoFrame) -> float | None:
    """The time that the file gives a frame, seconds on the file's own clock; None if it has none."""
    return None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)


class Upright:
    """Turns decoded frames into pictures that stand upright; one for each stream, for it remembers how that lies."""

    def __init__(self) -> None:
        self._seen: tuple[int, int, int] | None = None
        self._turn = _Turn(False, False, False)

    def __call__(self, frame: av.VideoFrame) -> ByteArray:
        """`frame` as BGR uint8 (H, W, 3), C-contiguous, with the file's display matrix applied."""
        # The matrix itself is looked at only when something has changed: asking PyAV for it ties the frame into a
        # ring of references, and hundreds of megabytes would wait for the garbage collector.
        seen = (frame.rotation, frame.width, frame.height)
        if seen != self._seen:
            self._seen, self._turn = seen, _turn(frame)
        # One thread: PyAV makes a scaler for each frame, and by default each would start threads of its own.
        image: ByteArray = frame.to_ndarray(format="bgr24", threads=1).astype(np.uint8, copy=False)
        if not any(self._turn):
            return image
        if self._turn.transpose:
            image = image.swapaxes(0, 1)
        return np.ascontiguousarray(image[:: -1 if self._turn.mirror_y else 1, :: -1 if self._turn.mirror_x else 1])


class _Turn(NamedTuple):
    """What to do in this order: swap the axes, then mirror."""

    transpose: bool
    mirror_x: bool
    mirror_y: bool


def _turn(frame: av.VideoFrame) -> _Turn:
    """How to apply the frame's display matrix.

    It takes (x, y) to (a x + c y, b x + d y), y down; cameras store quarter turns and mirrors only.
    """
    side_data: Any = frame.side_data  # a mapping, which PyAV's type hints do not say
    if "DISPLAYMATRIX" not in side_data:
        return _Turn(False, False, False)
    matrix = np.frombuffer(side_data["DISPLAYMATRIX"], dtype="<i4")
    a, b, _, c, d, *_ = (int(value) for value in matrix)
    if abs(a) < abs(b):
        return _Turn(True, c < 0, b < 0)
    return _Turn(False, a < 0, d < 0)
