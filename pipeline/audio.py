"""The sound of a clip on its way into another file: moved as it is where that file takes it, else encoded anew.

Only what belongs to the pictures goes over: from the moment of the first one written to the end of the last.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import av
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.codec.context import CodecContext
from av.container import InputContainer, OutputContainer
from av.packet import Packet as AnyPacket

from engine.errors import UserError
from pipeline.packets import PacketReader, open_container, stamp_s, video_stream

# What MP4, MOV and Matroska all hold and players play. The rest (PCM, Vorbis, MP2, telephone codecs) becomes AAC.
KEPT_CODECS: Final = frozenset(("aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"))
_NEED_HEADER: Final = frozenset(("aac", "alac", "flac", "opus"))  # without it (AAC of a broadcast) they cannot be moved
_AAC_RATES_HZ: Final = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_AAC_BITS_PER_S: Final = 64_000  # a channel
_FILL_GAPS: Final = {"async": "1", "first_pts": "0"}  # with silence, so that the sound never runs ahead


class _Timed(NamedTuple):
    packet: "AnyPacket[Any]"
    time_s: float  # in the file that is written


class AudioTrack:
    """The sound of one clip; used by one `pipeline.h264.H264File`.

    A clip without sound is one whose track has nothing to write. Sound that cannot be read ends there.

    Attributes:
        from_s: the clip's time (`t_media_s`) that is time 0 of the written file; set before that begins.
        warning: one line once the sound has ended early, else "".
    """

    def __init__(self, clip: Path) -> None:
        """Nothing is opened yet."""
        self.from_s = 0.0
        self.warning = ""
        self._clip = clip
        self._input: InputContainer | None = None
        self._source: AudioStream | None = None
        self._target: AudioStream | None = None
        self._packets: Iterator[_Timed] = iter(())
        self._next: _Timed | None = None
        self._output: OutputContainer | None = None

    def begin(self, output: OutputContainer) -> None:
        """Add a stream to a file that has no packet yet, if there is sound. Raises no error for the clip's faults."""
        try:
            start_s = _first_picture_s(self._clip) + self.from_s
            self._input = open_container(self._clip)
            source = self._input.streams.best("audio")
            if not isinstance(source, AudioStream) or _codec(source) is None:
                return
            if self.from_s > 0 and source.time_base is not None:
                with contextlib.suppress(av.FFmpegError):  # then it is read from the beginning
                    self._input.seek(round(start_s / source.time_base), stream=source)
        except (av.FFmpegError, UserError) as error:
            self._end(error)
            return
        self._source, self._output = source, output
        if _can_be_kept(source):
            self._target = output.add_stream_from_template(source)
            self._packets = _rising(self._kept(start_s))
        else:
            self._target = _aac_stream(output, source)
            self._packets = _rising(self._encoded(start_s))
        self._step()

    def write_until(self, end_s: float) -> None:
        """Write what begins before `end_s` in the written file, up to what that cannot take.

        Raises what writing does, as on a full disk.
        """
        while self._next is not None and self._next.time_s < end_s and self._output is not None:
            try:
                self._output.mux_one(self._next.packet)
            except (av.error.ArgumentError, av.error.InvalidDataError) as error:  # not what a full disk says
                self._end(error)
            else:
                self._step()

    def finish(self, end_s: float) -> None:
        """Write the rest up to `end_s`; nothing follows."""
        self.write_until(end_s)
        self._next = None

    def close(self) -> None:
        """Let go of the clip; a second call does nothing."""
        self._next, self._packets, self._source = None, iter(()), None
        if self._input is not None:
            self._input.close()
            self._input = None

    def _step(self) -> None:
        try:
            self._next = next(self._packets, None)
        except (av.FFmpegError, ValueError) as error:  # ValueError: the sound changes its form on the way
            self._end(error)

    def _end(self, error: Exception) -> None:
        self._next = None
        reason = getattr(error, "strerror", None) or error
        self.warning = f"{self._clip}: the sound is missing or ends early: {reason}"

    def _read(self) -> Iterator["AnyPacket[Any]"]:
        if self._input is not None and self._source is not None:
            yield from (packet for packet in self._input.demux(self._source) if packet.size)

    def _kept(self, start_s: float) -> Iterator[_Timed]:
        """The clip's own packets from `start_s` on."""
        clock = _Clock(start_s)
        for packet in self._read():
            if packet.pts is None:
                continue
            unit = packet.time_base
            time_s = clock.seconds(float(packet.pts * unit), float((packet.duration or 0) * unit))
            if time_s < 0:  # part of a packet before the first picture: a fiftieth of a second is left out
                continue
            packet.pts = packet.dts = round(time_s / unit)
            packet.stream = self._target
            yield _Timed(packet, time_s)

    def _encoded(self, start_s: float) -> Iterator[_Timed]:
        """The sound from `start_s` on as AAC."""
        if self._target is None:
            return
        codec = self._target.codec_context
        resampler = AudioResampler(codec.format, codec.layout, codec.rate, options=_FILL_GAPS)
        clock = _Clock(start_s)
        for frame in self._decoded():
            time_s = clock.seconds(float(frame.pts * frame.time_base), frame.samples / frame.sample_rate)
            if time_s + frame.samples / frame.sample_rate > 0:
                frame.pts = round(time_s / frame.time_base)
                for piece in resampler.resample(frame):
                    yield from self._timed(self._target.encode(piece))
        for piece in resampler.resample(None):
            yield from self._timed(self._target.encode(piece))
        yield from self._timed(self._target.encode(None))

    def _decoded(self) -> Iterator[Any]:
        for packet in self._read():
            try:
                frames = packet.decode()
            except av.FFmpegError:  # a damaged packet is a short silence
                continue
            yield from (frame for frame in frames if frame.pts is not None and frame.time_base)

    @staticmethod
    def _timed(packets: list["AnyPacket[Any]"]) -> Iterator[_Timed]:
        for packet in packets:
            if packet.pts is not None and packet.pts >= 0:  # the encoder's own run-up lies before
                yield _Timed(packet, float(packet.pts * packet.time_base))


def _rising(packets: Iterator[_Timed]) -> Iterator[_Timed]:
    """Those behind all before them: sound may overlap a little where clips were joined, which no file takes."""
    last_ticks = -1
    for timed in packets:
        ticks = timed.packet.dts
        if ticks is not None and ticks > last_ticks:
            last_ticks = ticks
            yield timed


class _Clock:
    """Times from `start_s` on; where a clip's times begin again, they go on as if they had not."""

    def __init__(self, start_s: float) -> None:
        self._shift_s = -start_s
        self._due_s: float | None = None

    def seconds(self, stamp: float, duration_s: float) -> float:
        """When a packet or frame with this stamp is due; call once for each, in order."""
        if self._due_s is not None and stamp + self._shift_s < self._due_s - max(duration_s, 0.1):
            self._shift_s = self._due_s - stamp
        time_s = stamp + self._shift_s
        self._due_s = time_s + duration_s
        return time_s


def _first_picture_s(clip: Path) -> float:
    """The stamp of the first picture that can be decoded, on the file's own clock: time 0 of `t_media_s`."""
    with open_container(clip) as container:
        first = next(PacketReader(container, video_stream(container, clip)).frames(), None)
        return (stamp_s(first) if first is not None else None) or 0.0


def _codec(source: AudioStream) -> CodecContext | None:
    codec: CodecContext | None = source.codec_context  # None if unknown, which PyAV's type hints do not say
    return codec


def _can_be_kept(source: AudioStream) -> bool:
    name = source.codec_context.codec.canonical_name
    return name in KEPT_CODECS and (name not in _NEED_HEADER or bool(source.codec_context.extradata))


def _aac_stream(output: OutputContainer, source: AudioStream) -> AudioStream:
    rate = source.codec_context.sample_rate
    stream = output.add_stream("aac", rate=rate if rate in _AAC_RATES_HZ else _AAC_RATES_HZ[-1])
    channels = 1 if source.codec_context.channels == 1 else 2
    stream.codec_context.layout = "mono" if channels == 1 else "stereo"
    stream.codec_context.bit_rate = channels * _AAC_BITS_PER_S
    return stream
