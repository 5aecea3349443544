"""The smallest RTSP camera: H.264 over interleaved TCP on loopback, for any number of viewers.

Knows just enough of RFC 2326 and RFC 6184 for a player: OPTIONS, DESCRIBE, SETUP, PLAY; one RTP packet per NAL unit.
"""

import base64
import contextlib
import re
import socket
import socketserver
import struct
import threading
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, BinaryIO, Final, Self

import av
import numpy as np

from tests.pipeline.misbehaving_camera import PASSWORD, SEND_TIMEOUT_S, USER

CLOCK_HZ: Final = 90_000
FPS: Final = 25
PUBLIC: Final = "Public: OPTIONS, DESCRIBE, SETUP, PLAY"
TRANSPORT: Final = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1"


def greys(width: int = 96, height: int = 64, count: int = 40) -> list[np.ndarray]:
    """Grey pictures whose brightness, 5 n, tells the number."""
    return [np.full((height, width, 3), 5 * number, dtype=np.uint8) for number in range(count)]


def h264(pictures: Sequence[np.ndarray], x264: str = "") -> list[list[bytes]]:
    """The NAL units of each picture; a key every 10th. `x264`: more of the encoder's parameters."""
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = pictures[0].shape[:2]
    encoder.pix_fmt = "yuv420p"
    encoder.framerate, encoder.time_base = FPS, Fraction(1, FPS)
    encoder.options = {"tune": "zerolatency", "g": "10", "x264-params": f"repeat-headers=1:sliced-threads=0{x264}"}
    encoder.thread_count = 1
    packets = []
    for number, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
        frame.pts = number
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    return [[unit for unit in re.split(rb"\x00\x00\x00?\x01", bytes(packet)) if unit] for packet in packets]


class RtspCamera:
    """Serves a clip, grey unless another is given, over and over at `url` until it is closed.

    Attributes:
        stalled: set it to keep quiet with the line open.
        password: whether it asks for USER and PASSWORD.
    """

    def __init__(self, password: bool = False, pictures: list[list[bytes]] | None = None) -> None:
        self.password = password
        self.stalled = threading.Event()
        self._pictures = pictures or h264(greys())
        self._closed = threading.Event()
        camera = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.settimeout(SEND_TIMEOUT_S)
                with contextlib.suppress(OSError):  # the viewer has left
                    if camera._talk(self.request):
                        camera._play(self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)  # joins its threads when closed
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="rtsp-camera")
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"rtsp://127.0.0.1:{self._port}/live"

    @property
    def url_with_password(self) -> str:
        """The same with user name and password."""
        return self.url.replace("://", f"://{USER}:{PASSWORD}@")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self._closed.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _talk(self, connection: socket.socket) -> bool:
        """Answer until the viewer says PLAY; False if it hung up instead."""
        sps, pps = (base64.b64encode(unit).decode() for unit in self._pictures[0][:2])
        sdp = (
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\n"
            f"a=rtpmap:96 H264/{CLOCK_HZ}\r\na=control:track1\r\n"
            f"a=fmtp:96 packetization-mode=1; sprop-parameter-sets={sps},{pps}\r\n"
        )
        described = f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n\r\n{sdp}"
        answers = {"OPTIONS": f"{PUBLIC}\r\n\r\n", "DESCRIBE": described, "SETUP": f"{TRANSPORT}\r\n\r\n"}
        key = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        with connection.makefile("rb") as lines:
            while True:
                request = _request(lines)
                if not request:
                    return False
                method = request.partition(" ")[0]
                number = re.search(r"CSeq: *(\d+)", request)[1]
                if self.password and method != "OPTIONS" and f"Basic {key}" not in request:
                    status, answer = "401 Unauthorized", 'WWW-Authenticate: Basic realm="camera"\r\n\r\n'
                else:
                    status, answer = "200 OK", answers.get(method, "Session: 1\r\n\r\n")
                connection.sendall(f"RTSP/1.0 {status}\r\nCSeq: {number}\r\n{answer}".encode())
                if method == "PLAY":
                    return True

    def _play(self, connection: socket.socket) -> None:
        sequence = picture = 0
        while not self._closed.wait(1 / FPS):
            if self.stalled.is_set():
                continue
            units = self._pictures[picture % len(self._pictures)]
            for unit in units:
                marker = 0x80 if unit is units[-1] else 0
                stamp = picture * CLOCK_HZ // FPS
                packet = struct.pack(">BBHII", 0x80, marker | 96, sequence & 0xFFFF, stamp, 1) + unit
                connection.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
                sequence += 1
            picture += 1


def _request(lines: BinaryIO) -> str:
    """The next request's lines, or "" if the viewer has hung up."""
    request = b""
    while (line := lines.readline()) not in (b"", b"\r\n"):
        request += line
    return request.decode()
