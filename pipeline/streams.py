"""Network cameras through PyAV: RTSP and Motion JPEG over HTTP, with as little delay as the stream allows."""

import errno
import socket
import time
from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Final

import av
from av.container import InputContainer
from av.packet import Packet as AnyPacket
from av.video.stream import VideoStream

from engine.errors import UserError
from pipeline.addresses import SCHEMES, has_login, host_of, redacted
from pipeline.deinterlace import deinterlaced
from pipeline.limits import LIMITS
from pipeline.packets import Upright
from pipeline.reconnect import Grab, LiveSource, Lost, Patience

HUNG_UP: Final = "the camera has hung up"
STREAM_PATIENCE: Final = Patience()
# Nothing is held back to reorder packets or to look at more of them than it takes to know what they are.
_HTTP_OPTIONS: Final = {"fflags": "nobuffer", "analyzeduration": "500000"}
# RTSP says beforehand what will come. UDP would lose packets, and firewalls stop it.
_RTSP_OPTIONS: Final = {"fflags": "nobuffer", "analyzeduration": "1", "probesize": "32", "rtsp_transport": "tcp"}


def open_stream(uri: str, max_frames: int | None = None, patience: Patience = STREAM_PATIENCE) -> LiveSource:
    """The camera at an address; not connected yet.

    Raises:
        UserError: the address is of another kind or has no host.
    """
    shown = redacted(uri)
    if uri.partition("://")[0].lower() not in SCHEMES:
        raise UserError(f"{shown}: expected an address that begins with {', '.join(f'{name}://' for name in SCHEMES)}")
    if not host_of(uri):
        raise UserError(
            f"{shown}: expected an address such as rtsp://USER:PASSWORD@HOST:554/PATH; a special character in the "
            "password is written as % and two digits: @ is %40, / is %2F, # is %23"
        )
    return LiveSource(shown, partial(StreamConnection, uri, patience), patience, max_frames)


class StreamConnection:
    """An open stream; see `pipeline.reconnect.Connection`."""

    def __init__(self, uri: str, patience: Patience) -> None:
        """Connects.

        Raises:
            Lost: nobody answers, or not as a camera does.
            UserError: the camera wants a password, knows no such stream, or what is there is no camera.
        """
        self._container = _connect(uri, patience)
        try:
            self._stream = _live_stream(self._container, uri)
            self._stream.codec_context.options = {"max_pixels": str(LIMITS.frame_pixels)}
            self._stream.codec_context.thread_count = 1  # more would hold back a frame each
            self._stream.codec_context.flags |= av.codec.context.Flags.low_delay
        except BaseException:
            self._container.close()
            raise
        rate = self._stream.average_rate
        self.fps = float(rate) if rate else None
        self._grabs = self._decoded()

    def read(self) -> Grab:
        try:
            return next(self._grabs)
        except StopIteration:
            raise Lost(HUNG_UP) from None
        except (av.FFmpegError, OSError) as error:
            raise Lost(_reason(error)) from None

    def close(self) -> None:
        self._container.close()

    def _decoded(self) -> Iterator[Grab]:
        upright = Upright()
        arrived_s: deque[float] = deque()  # of the frames that are still being made whole: one, if at all
        for frame in deinterlaced(self._frames(arrived_s)):
            yield Grab(upright(frame), arrived_s.popleft())

    def _frames(self, arrived_s: deque[float]) -> Iterator[av.VideoFrame]:
        packets: Iterator[AnyPacket[VideoStream]] = self._container.demux(self._stream)
        for packet in packets:
            packet_s = time.perf_counter()
            try:
                frames = self._stream.codec_context.decode(packet)
            except av.FFmpegError:
                continue  # a damaged picture costs itself only; if no other follows, the source is seen to stall
            for frame in frames:
                if not frame.is_corrupt:
                    arrived_s.append(packet_s)
                    yield frame


def _connect(uri: str, patience: Patience) -> InputContainer:
    host = host_of(uri)
    try:
        socket.getaddrinfo(host, None)  # FFmpeg says "Input/output error" to an unknown name
    except OSError as error:
        raise Lost(f"the name {host} is not known here, or there is no network: {error.strerror}") from None
    options = _RTSP_OPTIONS if uri.lower().startswith("rtsp") else _HTTP_OPTIONS
    try:
        # The limits end the reader's thread; that nothing comes is noticed by whoever waits for it.
        return av.open(uri, options=options, timeout=(patience.connect_s, patience.give_up_s))
    except av.error.HTTPUnauthorizedError:
        raise UserError(f"{redacted(uri)}: {_login_advice(uri)}") from None
    except av.error.HTTPForbiddenError:
        raise UserError(f"{redacted(uri)}: the camera does not let this user see its pictures") from None
    except av.error.HTTPNotFoundError:
        raise UserError(
            f"{redacted(uri)}: the camera has nothing under this path; look the path up in its manual"
        ) from None
    except av.error.ExitError:
        raise Lost(f"no answer for {patience.connect_s:g} s") from None
    except (av.FFmpegError, OSError, UnicodeError) as error:
        raise Lost(_reason(error)) from None


def _live_stream(container: InputContainer, uri: str) -> VideoStream:
    # Over RTSP the other side keeps the time, also of a recording; over HTTP it would be over in a moment.
    if uri.lower().startswith("http") and (container.duration or 0) > 0:
        raise UserError(f"{redacted(uri)}: is a recording, not a camera; save it as a file and open that")
    stream = next(iter(container.streams.video), None)
    if stream is None:
        raise UserError(f"{redacted(uri)}: sends no video")
    return stream


def _login_advice(uri: str) -> str:
    if has_login(uri):
        return "the camera refuses this user name or password"
    return f"the camera asks for a user name and password: write {uri.partition('://')[0]}://USER:PASSWORD@HOST..."


def _reason(error: Exception) -> str:
    """A library's error in words of our own: its text repeats the address with the password."""
    if isinstance(error, av.error.ExitError):
        return "the camera says nothing more"
    if isinstance(error, av.error.EOFError) or getattr(error, "errno", None) == errno.EIO:
        return HUNG_UP
    if isinstance(error, av.error.InvalidDataError):
        return "what comes from there is no video that can be read"
    return redacted(str(getattr(error, "strerror", None) or type(error).__name__))
