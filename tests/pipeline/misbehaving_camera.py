"""A network camera on loopback that misbehaves on command: Motion JPEG over HTTP, one thread per viewer.

Tests get one as the fixture `camera`; `tools/loopback_camera.py` serves a clip with it. What it does may be changed
while somebody watches: `camera.mode = "stall"`.
"""

import base64
import contextlib
import random
import socket
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Literal, Self, get_args

import cv2
import numpy as np

Mode = Literal[
    "good",  # every picture, in time
    "slow",  # four pictures a second
    "stall",  # says nothing more, keeps the line open
    "drop",  # hangs up, and does so again with everybody who comes back
    "garbage",  # noise instead of the stream
    "damaged",  # an orderly stream of pictures that are noise
    "resize",  # goes on with pictures of the second size
    "password",  # asks for USER and PASSWORD
    "silent",  # takes calls, never answers
    "refuse",  # hangs up on everybody and takes no calls
]

USER: Final = "anna"
PASSWORD: Final = "geheim"
SLOW_FPS: Final = 4.0
BOUNDARY: Final = "picture"
SEND_TIMEOUT_S: Final = 5.0  # a viewer that hangs must not keep the camera from closing


def jpeg(image: np.ndarray) -> bytes:
    """A picture, uint8 (H, W, 3) BGR, as the bytes of a JPEG file."""
    return cv2.imencode(".jpg", image)[1].tobytes()


def grey_pictures(width: int, height: int, count: int = 40) -> list[bytes]:
    """JPEG files whose brightness, 5 times n, tells their number."""
    return [jpeg(np.full((height, width, 3), 5 * number, dtype=np.uint8)) for number in range(count)]


class MisbehavingCamera:
    """Serves `pictures` over and over at `url` until it is closed.

    Attributes:
        connections: how many calls were taken.
        sent: how many pictures were sent, to all viewers together.
    """

    def __init__(
        self,
        pictures: Sequence[bytes] | None = None,
        fps: float = 50.0,
        mode: Mode = "good",
        after: int = 5,
        port: int = 0,
    ) -> None:
        """Serving begins at once.

        Args:
            pictures: JPEG files; grey ones of 96x64 unless given.
            fps: pictures per second.
            mode: what to do; may be changed at any time.
            after: good pictures that each viewer gets before "stall", "drop", "garbage", "damaged", "resize" set in.
            port: 0: any that is free.
        """
        self.connections = 0
        self.sent = 0
        self._pictures = list(pictures) if pictures is not None else grey_pictures(96, 64)
        self._others = grey_pictures(160, 120)
        self._noise = random.Random(0).randbytes(4096)
        self._fps = fps
        self._after = after
        self._mode: Mode = "good"
        self._closed = False
        self._changed = threading.Condition()
        self._viewers: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._port = port
        self._listen()
        self.mode = mode

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._port}/video"

    @property
    def url_with_password(self) -> str:
        """The same with user name and password."""
        return self.url.replace("://", f"://{USER}:{PASSWORD}@")

    @property
    def mode(self) -> Mode:
        """What it does."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        if mode not in get_args(Mode):
            raise ValueError(f"mode: expected one of {', '.join(get_args(Mode))}, got {mode!r}")
        with self._changed:
            self._mode = mode
            self._changed.notify_all()
        if mode == "refuse":
            self._hang_up()
        elif self._server is None:
            self._listen()

    def wait_for(self, connections: int = 0, sent: int = 0, timeout_s: float = 20.0) -> None:
        """Wait until so many calls were taken and pictures sent; AssertionError if that never happens."""
        with self._changed:
            done = self._changed.wait_for(lambda: self.connections >= connections and self.sent >= sent, timeout_s)
        assert done, f"{self.connections} of {connections} calls, {self.sent} of {sent} pictures"

    def close(self) -> None:
        """Hang up and end all threads. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._hang_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def _listen(self) -> None:
        camera = self

        class Handler(BaseHTTPRequestHandler):
            timeout = SEND_TIMEOUT_S

            def do_GET(self) -> None:
                with contextlib.suppress(OSError):  # the viewer has left
                    camera._serve(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - likewise
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = False  # so that closing it joins them

            def process_request(self, request: Any, client_address: Any) -> None:
                with camera._changed:
                    camera._viewers.add(request)
                    camera.connections += 1
                    camera._changed.notify_all()
                super().process_request(request, client_address)

            def shutdown_request(self, request: Any) -> None:
                with camera._changed:
                    camera._viewers.discard(request)
                super().shutdown_request(request)

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a viewer that hung up in the middle of its request

        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        poll_s = 0.02
        self._thread = threading.Thread(target=self._server.serve_forever, args=(poll_s,), name="misbehaving-camera")
        self._thread.start()

    def _hang_up(self) -> None:
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._server.socket.close()
        with self._changed:
            for viewer in self._viewers:
                with contextlib.suppress(OSError):
                    viewer.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join()
        self._server = None

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        if self._mode == "silent":
            self._wait_while("silent")
        if self._mode == "password" and not _knows_password(request):
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="camera"')
            request.end_headers()
            return
        request.send_response(200)
        request.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
        request.end_headers()
        number = 0
        due_s = time.perf_counter()
        while not self._closed and self._mode != "refuse":
            mode = self._mode if number >= self._after else "good"
            if mode == "drop":
                return
            if mode in ("stall", "silent"):
                self._wait_while(mode)
                due_s = time.perf_counter()
                continue
            request.wfile.write(self._part(mode, number))
            number += 1
            with self._changed:
                self.sent += 1
                self._changed.notify_all()
            due_s += 1 / (SLOW_FPS if self._mode == "slow" else self._fps)
            self._wait_until(due_s)

    def _part(self, mode: str, number: int) -> bytes:
        """One picture with its header, or what is sent in its place."""
        if mode == "garbage":
            return self._noise
        pictures = self._others if mode == "resize" else self._pictures
        picture = pictures[number % len(pictures)]
        if mode == "damaged":
            picture = picture[:100] + self._noise
        header = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
        return header.encode() + picture + b"\r\n"

    def _wait_while(self, mode: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._mode != mode)

    def _wait_until(self, due_s: float) -> None:
        mode = self._mode
        with self._changed:
            while not self._closed and self._mode == mode and (left_s := due_s - time.perf_counter()) > 0:
                self._changed.wait(left_s)


def _knows_password(request: BaseHTTPRequestHandler) -> bool:
    expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    return request.headers.get("Authorization") == expected
