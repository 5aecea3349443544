"""PyAV's side of a video file: open it, take its packets apart one by one, turn frames upright, keep the time.

Read in this order by `pipeline.clips.FileSource`: `open_container`, `video_stream`, `PacketReader`, `MediaClock`,
`Upright`.
"""

import contextlib
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, TypeAlias

import av
import numpy as np
from av.codec.context import CodecContext
from av.container import InputContainer
from av.packet import Packet as AnyPacket
from av.stream import Disposition
from av.video.stream import VideoStream

from engine.errors import UserError
from engine.structures import ByteArray
from pipeline import containers
from pipeline.limits import LIMITS
from pipeline.turns import UPRIGHT, Turn

# What a file may be in, by libavformat's names: those of cameras, recorders, phones and editors. Left out are above all
# those that make it read other files or addresses (playlists, image series, session descriptions), and plain text.
_FORMATS: Final = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,vvc,h263,h261,vc1,av1,obu,ivf,mjpeg,mpjpeg,smjpeg,flv,live_flv,"
    "asf,ogg,dv,mxf,gxf,rm,nut,nuv,wtv,swf,amv,yuv4mpegpipe,cavsvideo,pva,dhav,hxvs,ifv,iv8,lmlm4,ingenient,cine,"
    "wav,w64,mp3,flac,aac,ac3,eac3,dts,aiff,amr,ape,au,caf,tta,wv"
)
_SHORTEST_STEP_S: Final = (
    0.5 / LIMITS.highest_fps
)  # two frames that are nearer to each other have no times worth having
# What `Upright` raises where a frame is of a kind that nobody can convert, or too large for the machine.
CONVERSION_ERRORS: Final = (av.FFmpegError, ValueError, MemoryError)
_NO_VIDEO: Final = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image

Packet: TypeAlias = "AnyPacket[VideoStream]"


def open_container(path: Path) -> InputContainer:
    """Open a video file for reading; nothing in it can make libav open another file. Raises UserError if it is none."""
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": _FORMATS,
        "max_streams": str(LIMITS.streams),
        "max_pixels": str(LIMITS.frame_pixels),  # for the decoders that look into the first frames
    }
    try:
        # "file:" keeps a colon in a name from being taken for a protocol.
        return av.open(f"file:{path}", options=options, timeout=(LIMITS.open_s, LIMITS.read_s))
    except av.error.ExitError as error:
        raise UserError(f"{path}: its header cannot be read within {LIMITS.open_s:g} s") from error
    except (av.FFmpegError, OSError, UnicodeError) as error:
        with contextlib.suppress(OSError):  # it was moved away or locked: libav's words say so
            if containers.is_unfinished_mp4(path):
                raise UserError(f"{path}: the recording was cut off, its index (moov atom) is missing") from error
        # What libav says to a format that is not in the list would help nobody.
        reason = "" if isinstance(error, av.error.ArgumentError) else f": {getattr(error, 'strerror', None) or error}"
        raise UserError(f"{path}: neither a video nor a picture that can be read{reason}") from error


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The video in the file: of several the one marked as default, of several such the largest, of those the first.

    The cover picture of a song is none.

    Raises:
        UserError: there is none, it is in an unknown format, or larger than `pipeline.limits` allows.
    """
    streams = [stream for stream in container.streams.video if not stream.disposition & _NO_VIDEO]
    if not streams:
        raise UserError(f"{path}: has no video stream")
    known = [stream for stream in streams if _codec(stream) is not None]
    if not known:
        raise UserError(f"{path}: the video is in a format (codec) that cannot be decoded")
    stream = max(known, key=lambda stream: (bool(stream.disposition & Disposition.default), _pixels(stream)))
    if _pixels(stream) > LIMITS.frame_pixels:
        raise UserError(
            f"{path}: its frames are {stream.width}x{stream.height}, above the limit of {LIMITS.frame_pixels} pixels"
        )
    stream.codec_context.options = {"max_pixels": str(LIMITS.frame_pixels)}  # the size may change on the way
    return stream


def _codec(stream: VideoStream) -> CodecContext | None:
    codec: CodecContext | None = stream.codec_context  # None if unknown, which PyAV's type hints do not say
    return codec


def _pixels(stream: VideoStream) -> int:
    return stream.width * stream.height


def declared_s(container: InputContainer, stream: VideoStream, start_s: float | None) -> float | None:
    """How long the header says the video lasts, whose first frame has the stamp `start_s`.

    None where it says nothing or something absurd, or where only the longest of several streams is known.
    """
    if container.format.name.startswith("matroska"):  # says when it ends, not for how long it plays
        ends_s = _matroska_end_s(container, stream)
        seconds = None if ends_s is None else ends_s - (start_s or 0.0)
    elif stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    else:
        seconds = _only_duration_s(container)
    return seconds if seconds is not None and 0 < seconds <= LIMITS.longest_s else None


def _matroska_end_s(container: InputContainer, stream: VideoStream) -> float | None:
    """From the stream's own tag, such as 00:01:30.040000000: libav knows only that of the longest stream."""
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d\.?\d*)", stream.metadata.get("DURATION", ""))
    if match is None:
        return _only_duration_s(container)
    hours, minutes, seconds = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _only_duration_s(container: InputContainer) -> float | None:
    if container.duration is None or len(container.streams) > 1:
        return None
    return float(Fraction(container.duration, av.time_base))


def claimed_fps(stream: VideoStream) -> float | None:
    """The rate that the file claims, frames per second: the average one if that can be true, else the nominal one.

    None if it claims none, or absurd ones only.
    """
    rates = (stream.average_rate, stream.guessed_rate)
    return next((float(rate) for rate in rates if rate and LIMITS.lowest_fps <= rate <= LIMITS.highest_fps), None)


def sample_aspect(stream: VideoStream) -> Fraction:
    """How wide a stored pixel is over how high, as the file says; 1 if it says nothing, or something absurd."""
    aspect = stream.sample_aspect_ratio
    return aspect if aspect and 1 / LIMITS.most_aspect <= aspect <= LIMITS.most_aspect else Fraction(1)


class PacketReader:
    """Decodes packet by packet, so that a damaged one costs itself only.

    Attributes:
        bad_count: how many packets or frames were left out as damaged.
        flawed_count: how many packets lie beside damage or a joint, and were decoded all the same.
        ended_badly: whether no good frame came after the last of them, or the demuxer gave up.
        reason: the first damage in words, or "".
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        # Threads that decode several frames at once lose the frames around an error, and the error with them.
        stream.thread_type = "SLICE"
        self._container = container
        self._stream = stream
        self.bad_count = self.flawed_count = 0
        self.ended_badly = False
        self.reason = ""

    def seek(self, seconds: float) -> None:
        """Let the next `frames` begin with the key frame before this stamp, roughly, and forget the damage so far.

        Raises:
            av.FFmpegError: there is no going to another place in this file.
        """
        self.bad_count, self.flawed_count, self.ended_badly, self.reason = 0, 0, False, ""
        self._container.seek(round(seconds * av.time_base))

    def frames(self) -> Iterator[av.VideoFrame]:
        """Every frame that can be decoded, in presentation order. Never raises for damage."""
        held: Packet | None = None
        for packet in self._packets():
            if held is not None and packet is not None:
                self.flawed_count += 1
                yield from self._decode(held)
            elif held is not None:
                self.note_damage("the last frame is cut off")
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
        except av.error.ExitError:
            self.note_damage(f"no packet is found within {LIMITS.read_s:g} s")
        except av.FFmpegError as error:
            self.note_damage(error.strerror)
        yield None

    def _decode(self, packet: "Packet | None") -> Iterator[av.VideoFrame]:
        try:
            decoded = self._stream.codec_context.decode(packet)
        except av.FFmpegError as error:
            self.note_damage(error.strerror)
            return
        for frame in decoded:
            if frame.is_corrupt:
                self.note_damage("parts of a picture are missing")
                continue
            frame.time_base = self._stream.time_base  # PyAV forgets it on the frames in flight
            if packet is not None:  # frames that were in flight are no sign that reading went on
                self.ended_badly = False
            yield frame

    def note_damage(self, reason: object) -> None:
        """Count a packet or frame that has to be left out."""
        self.bad_count += 1
        self.ended_badly = True
        self.reason = self.reason or str(reason)


class MediaClock:
    """Presentation times that start at 0 and never go back.

    Recordings joined end to end restart their timestamps, some files have none, and damaged ones jump by years: such a
    frame comes one frame interval after the one before. Shorter gaps are kept: some cameras record what moves alone.
    """

    def __init__(self, fps: float, start_s: float | None) -> None:
        """`start_s` is the first frame's `stamp_s`."""
        self._interval_s = 1 / fps
        self._shift_s = None if start_s is None else -start_s
        self._last_s = -self._interval_s
        self._gap_s = LIMITS.longest_s  # the first frame may be one from anywhere in the file
        self.end_s = 0.0

    def seconds(self, frame: av.VideoFrame) -> float:
        """When `frame` is due, seconds after the first; call once per frame, in order."""
        due_s = self._last_s + self._interval_s
        if (stamp := stamp_s(frame)) is None:
            self._last_s = due_s
        else:
            if self._shift_s is None or not _SHORTEST_STEP_S < stamp + self._shift_s - self._last_s <= self._gap_s:
                self._shift_s = due_s - stamp
            self._last_s = stamp + self._shift_s
        self._gap_s = LIMITS.gap_s
        self.end_s = self._last_s + self._interval_s
        return self._last_s


def stamp_s(frame: av.VideoFrame) -> float | None:
    """The time that the file gives a frame, seconds on the file's own clock; None if it has none."""
    return None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)


class Upright:
    """Turns decoded frames into pictures that stand upright; one for each stream, for it remembers how that lies."""

    def __init__(self) -> None:
        self._seen: tuple[int, int, int] | None = None
        self._turn = UPRIGHT

    def __call__(self, frame: av.VideoFrame) -> ByteArray:
        """`frame` as BGR uint8 (H, W, 3), C-contiguous, with the file's display matrix applied."""
        # The matrix itself is looked at only when something has changed: asking PyAV for it ties the frame into a
        # ring of references, and hundreds of megabytes would wait for the garbage collector.
        seen = (frame.rotation, frame.width, frame.height)
        if seen != self._seen:
            self._seen, self._turn = seen, _turn(frame)
        # One thread: PyAV makes a scaler for each frame, and by default each would start threads of its own.
        image: ByteArray = frame.to_ndarray(format="bgr24", threads=1).astype(np.uint8, copy=False)
        return self._turn(image)

    @property
    def on_its_side(self) -> bool:
        """Whether the last frame's width and height changed places."""
        return self._turn.transpose


def _turn(frame: av.VideoFrame) -> Turn:
    """How to apply the frame's display matrix.

    It takes (x, y) to (a x + c y, b x + d y), y down; cameras store quarter turns and mirrors only.
    """
    side_data: Any = frame.side_data  # a mapping, which PyAV's type hints do not say
    if "DISPLAYMATRIX" not in side_data:
        return UPRIGHT
    matrix = np.frombuffer(side_data["DISPLAYMATRIX"], dtype="<i4")
    a, b, _, c, d, *_ = (int(value) for value in matrix)
    if abs(a) < abs(b):
        return Turn(True, c < 0, b < 0)
    return Turn(False, a < 0, d < 0)
