import contextlib
import itertools
import socket
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from engine.errors import UserError
from pipeline.reconnect import LiveSource, Patience, SourceState
from pipeline.sources import open_source
from pipeline.streams import open_stream
from tests.odd_inputs.clips import comb, woven
from tests.pipeline.misbehaving_camera import PASSWORD, USER
from tests.pipeline.rtsp_camera import RtspCamera, h264

WAIT_S = 30.0
# Limits that a good connection keeps even on a busy machine, and a thread that is left behind ends soon after.
BRISK = Patience(
    connect_s=1.0, first_picture_s=3.0, stall_s=0.3, give_up_s=1.0, first_pause_s=0.05, longest_pause_s=0.1
)
WRONG = "falsch"


def number_in(image: np.ndarray) -> float:
    """The number of a grey picture of the cameras."""
    return float(image.mean()) / 5


# ---- good streams


def test_frames_of_a_motion_jpeg_stream(camera) -> None:
    source = open_source(camera.url, max_frames=8)
    assert isinstance(source, LiveSource)
    assert source.info.name == camera.url
    before_s = time.perf_counter()
    with source:
        frames = list(source)
    assert [frame.index for frame in frames] == list(range(8))
    shown = [number_in(frame.image) for frame in frames]
    assert shown == pytest.approx([round(number) for number in shown], abs=0.1)
    assert shown == sorted(shown)  # some may have been overtaken
    assert (source.info.width, source.info.height) == (96, 64)
    times_s = [before_s, *(frame.t_capture_s for frame in frames), time.perf_counter()]
    assert times_s == sorted(times_s)
    assert source.state == SourceState("ended")


def test_frames_of_an_rtsp_stream(rtsp_camera) -> None:
    source = open_source(rtsp_camera.url, max_frames=8)
    with source:
        frames = list(source)
    assert len(frames) == 8
    shown = [number_in(frame.image) for frame in frames]
    assert all(later > earlier for earlier, later in itertools.pairwise(shown))
    assert source.info.name == rtsp_camera.url


def test_an_interlaced_stream_is_made_whole_one_picture_later() -> None:
    """As old recorders of surveillance cameras send it."""
    with (
        RtspCamera(pictures=h264(woven(top_first=True), x264=":tff=1")) as camera,
        open_source(camera.url, max_frames=6) as source,
    ):
        frames = list(source)
    assert len(frames) == 6
    assert max(comb(frame.image) for frame in frames) < 1
    times_s = [frame.t_capture_s for frame in frames]
    assert times_s == sorted(times_s)


def test_a_stream_that_changes_size_goes_on_with_the_new_one(camera) -> None:
    camera.mode = "resize"
    with open_stream(camera.url) as source:
        frames = iter(source)
        assert next(frames).image.shape == (64, 96, 3)
        later = next(frame for frame in frames if frame.image.shape != (64, 96, 3))
        assert later.image.shape == (120, 160, 3)
        assert (source.info.width, source.info.height) == (160, 120)
    assert camera.connections == 1


def test_a_slow_camera_is_no_stalled_one(camera, caplog) -> None:
    caplog.set_level("INFO", "pipeline.reconnect")
    camera.mode = "slow"
    with open_stream(camera.url, max_frames=3) as source:
        assert len(list(source)) == 3
    assert caplog.messages == ["playing ", "ended "]


# ---- bad ones


@pytest.mark.parametrize("mode", ["stall", "drop", "garbage", "damaged", "refuse", "silent"])
def test_a_camera_that_misbehaves_is_connected_to_again_when_it_is_well(camera, mode, caplog) -> None:
    caplog.set_level("INFO", "pipeline.reconnect")
    nurse = threading.Thread(target=_when_reconnecting, args=(caplog, lambda: setattr(camera, "mode", "good")))
    with open_stream(camera.url, patience=BRISK) as source:
        frames = iter(source)
        next(frames)
        camera.mode = mode
        nurse.start()
        seen = [frame.index for frame in itertools.takewhile(lambda _: nurse.is_alive(), frames)]
        assert next(frames).image.shape == (64, 96, 3)
        assert seen == sorted(seen)
    assert len(source.warnings) == 1
    assert camera.connections > 1


@pytest.mark.parametrize("mode", ["good", "stall", "silent", "refuse"])
def test_stop_ends_it_whatever_the_camera_does(camera, mode, caplog) -> None:
    caplog.set_level("INFO", "pipeline.reconnect")
    camera.mode = mode
    with open_stream(camera.url, patience=BRISK) as source:
        reading = threading.Thread(target=lambda: list(source))
        reading.start()
        _wait_until(lambda: caplog.messages or camera.connections)
        source.stop()
        reading.join(WAIT_S)
    assert not reading.is_alive()


def test_an_rtsp_camera_that_stalls(rtsp_camera, caplog) -> None:
    caplog.set_level("INFO", "pipeline.reconnect")
    with open_stream(rtsp_camera.url, patience=BRISK) as source:
        frames = iter(source)
        next(frames)
        rtsp_camera.stalled.set()
        nurse = threading.Thread(target=_when_reconnecting, args=(caplog, rtsp_camera.stalled.clear))
        nurse.start()
        next(frame for frame in frames if not nurse.is_alive())
    assert "stalled" in caplog.text


# ---- what only the user can mend


def test_a_password_that_is_asked_for(camera, rtsp_camera) -> None:
    camera.mode, rtsp_camera.password = "password", True
    for asking in (camera, rtsp_camera):
        with pytest.raises(UserError, match=r"asks for a user name and password: write \w+://USER:PASSWORD@HOST"):
            _first(asking.url)
        assert _first(asking.url_with_password).index == 0


def test_a_wrong_password(camera, rtsp_camera) -> None:
    camera.mode, rtsp_camera.password = "password", True
    for asking in (camera, rtsp_camera):
        with pytest.raises(UserError, match="refuses this user name or password") as caught:
            _first(asking.url_with_password.replace(PASSWORD, WRONG))
        assert WRONG not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("mode", ["good", "drop", "garbage", "refuse", "silent", "password"])
def test_a_password_is_never_shown(camera, mode, caplog) -> None:
    """Neither in states nor logs, messages, names or tracebacks, whatever the camera does."""
    caplog.set_level("DEBUG")
    camera.mode = mode
    source = open_stream(camera.url_with_password, max_frames=20, patience=BRISK)
    shown = [repr(source), repr(source.info), repr(source.state)]
    ending = threading.Timer(1.5 * BRISK.give_up_s, source.stop)
    ending.start()
    with source:
        shown += [repr(frame) for frame in source]
    ending.cancel()
    ending.join()
    shown += [*source.warnings, repr(source.state), *caplog.messages]
    assert "***@127.0.0.1" in "".join(shown)
    assert not any(secret in line for secret in (USER, PASSWORD) for line in shown)


def test_a_recording_on_the_web_is_no_camera(make_clip) -> None:
    clip = make_clip("clip.mp4", faststart=True)
    with _FileServer(clip) as url, pytest.raises(UserError, match="is a recording, not a camera"):
        _first(url)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("ftp://anna:geheim@camera/x", "expected an address that begins with rtsp://, rtsps://, http://, https://"),
        ("rtsp:///live", "expected an address such as"),
        ("rtsp://anna:ge/heim@camera/live", "@ is %40, / is %2F"),
        ("rtsp://[::1/live", "expected an address such as"),
    ],
)
def test_addresses_that_are_none(address, reason) -> None:
    with pytest.raises(UserError) as caught:
        open_stream(address)
    assert reason in str(caught.value)
    assert "heim" not in "".join(traceback.format_exception(caught.value))


def test_an_unknown_name_is_told(monkeypatch) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with open_stream("rtsp://anna:geheim@kamera/live", patience=BRISK) as source:
        reading = threading.Thread(target=lambda: list(source))
        reading.start()
        _wait_until(lambda: source.state.phase == "reconnecting")
        assert "the name kamera is not known here, or there is no network" in source.state.message
        source.stop()
        reading.join(WAIT_S)


def _first(url: str):
    with open_stream(url, patience=BRISK) as source:
        return next(iter(source))


def _when_reconnecting(caplog, act) -> None:
    _wait_until(lambda: any(line.startswith("reconnecting") for line in caplog.messages))
    act()


def _wait_until(condition) -> None:
    deadline_s = time.perf_counter() + WAIT_S
    while not condition():
        assert time.perf_counter() < deadline_s
        time.sleep(0.005)


class _FileServer:
    """Serves one file, as a web site does."""

    def __init__(self, path) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = path.read_bytes()
                self.send_response(200)
                self.send_header("Content-Type", "video/mp4")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with contextlib.suppress(OSError):  # the viewer has seen enough
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_address[1]}/clip.mp4"

    def __exit__(self, *details: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
