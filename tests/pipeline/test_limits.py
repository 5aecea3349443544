"""What untrusted files may not do: take more memory or time than the limits allow, or have other files read."""

import contextlib
import http.server
import threading
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest

from engine.errors import UserError
from pipeline import clips, packets, picture_files
from pipeline.limits import LIMITS
from pipeline.packets import MediaClock
from pipeline.reconnect import Patience
from pipeline.sources import open_source
from pipeline.streams import open_stream

ENOUGH_PIXELS = 100_000  # for frames of 96x64: libav counts the room around them


@pytest.fixture
def limit(monkeypatch):
    """Set some limits for the video reader."""

    def set_(**changes) -> None:
        for module in (packets, clips, picture_files):
            monkeypatch.setattr(module, "LIMITS", replace(LIMITS, **changes))

    return set_


# ---- size


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts", "clip.avi"])
def test_too_large_frames_are_refused(make_clip, limit, name) -> None:
    path = make_clip(name, codec="mpeg4" if name == "clip.avi" else "libx264")
    limit(frame_pixels=ENOUGH_PIXELS)
    open_source(str(path))
    limit(frame_pixels=96 * 64 - 1)
    with pytest.raises(UserError, match=r"6143 pixels( are refused)?$"):
        open_source(str(path))


def test_frames_that_become_too_large_are_left_out(make_clip, limit, read) -> None:
    small, large = make_clip("a.ts", count=4), make_clip("b.ts", count=4, size=(768, 512))
    small.write_bytes(small.read_bytes() + large.read_bytes())
    limit(frame_pixels=ENOUGH_PIXELS)
    frames, warnings = read(small)
    assert {frame.image.shape for frame in frames} == {(64, 96, 3)}
    assert len(frames) == 4
    assert len(warnings) == 1
    assert "after 4 frames" in warnings[0]


def test_a_heavy_picture_file_is_not_even_read(tmp_path, limit) -> None:
    path = tmp_path / "still.png"
    path.write_bytes(cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1].tobytes())
    limit(picture_bytes=path.stat().st_size - 1)
    with pytest.raises(UserError, match="more than the limit of"):
        open_source(str(path))


def test_a_clip_whose_header_takes_for_ever_is_given_up(make_clip, limit) -> None:
    path = make_clip("clip.mkv")
    limit(open_s=0.0)
    with pytest.raises(UserError, match="its header cannot be read within 0 s"):
        open_source(str(path))


def test_a_packet_that_takes_for_ever_ends_the_clip(make_clip, limit) -> None:
    source = open_source(str(make_clip("clip.ts", count=40)))
    limit(read_s=1e-9)
    with source:
        list(source)
    assert "no packet is found within 1e-09 s" in source.warnings[0]


# ---- time


@pytest.mark.parametrize(
    ("step_s", "kept"), [(0.002, True), (0.0001, False), (LIMITS.gap_s, True), (1e9, False), (-5, False)]
)
def test_times_that_cannot_be_true_are_replaced(step_s, kept) -> None:
    clock = MediaClock(25.0, 0.0)
    times_s = [clock.seconds(_stamped(stamp_s)) for stamp_s in (0.0, 1.0, 1.0 + step_s)]
    assert times_s[:2] == [0.0, 1.0]
    assert times_s[2] == pytest.approx(1.0 + (step_s if kept else 0.04))


def _stamped(seconds: float) -> av.VideoFrame:
    frame = av.VideoFrame(16, 16, "yuv420p")
    frame.pts, frame.time_base = round(seconds * 90_000), packets.Fraction(1, 90_000)
    return frame


# ---- other files


@pytest.mark.parametrize("disguise", ["list.ffconcat", "list.mp4"])
def test_a_list_cannot_have_other_files_read(make_clip, tmp_path, disguise) -> None:
    make_clip("private.mp4", count=3)
    path = tmp_path / disguise
    path.write_text("ffconcat version 1.0\nfile private.mp4\n", encoding="utf-8")
    with av.open(str(path)) as container:  # as it is without the limits
        assert sum(1 for _ in container.decode(video=0)) == 3
    with pytest.raises(UserError, match=r"neither a video nor a picture that can be read$"):
        open_source(str(path))


def test_a_name_is_never_a_protocol(make_clip, tmp_path, monkeypatch) -> None:
    make_clip("private.mp4", count=3)
    monkeypatch.chdir(tmp_path)
    for name in ("concat:private.mp4", "subfile,,start,0,end,0,,:private.mp4", "file:private.mp4", "data:video/mp4,x"):
        with pytest.raises(UserError, match="no such file"):
            open_source(name)


def test_a_playlist_from_the_network_cannot_have_files_read(make_clip, tmp_path) -> None:
    clip = make_clip("private.ts", count=3)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{clip}\n"
    served = _Served(playlist.encode())
    with served as url, open_stream(url, max_frames=1, patience=Patience(2.0, 2.0)) as source:
        ending = threading.Timer(3.0, source.stop)
        ending.start()
        frames = []
        with contextlib.suppress(UserError):  # or it is waited for in vain
            frames = list(source)
        ending.cancel()
        ending.join()
    assert served.asked.is_set()
    assert frames == []


class _Served:
    """One file from a web server on this machine, whatever is asked for; enter it to get its address."""

    def __init__(self, data: bytes) -> None:
        asked = self.asked = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.set()
                self.send_response(200)
                self.send_header("Content-Type", "application/vnd.apple.mpegurl")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="web server")

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}/live.m3u8"

    def __exit__(self, *details: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
