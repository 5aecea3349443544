import os
import platform
import sys
import threading
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from engine.errors import UserError
from pipeline import cameras, v4l2
from pipeline.cameras import CameraInfo, is_camera, list_cameras, open_camera
from pipeline.reconnect import Lost, Patience
from pipeline.sources import open_source

WAIT_S = 20.0
HASTY = Patience(first_pause_s=0.01, longest_pause_s=0.02)
MJPG = float(cv2.VideoWriter.fourcc(*"MJPG"))


class FakeCapture:
    """OpenCV's side of the cameras: what each (index, back end) does when it is opened and read."""

    behaviour: dict[tuple[int, int], list]  # images, False for a grab that fails, None for a damaged picture
    opened: list["FakeCapture"]

    def __init__(self, index: int, backend: int) -> None:
        self.place = index, backend
        self.settings: dict[int, float] = {}
        self.released = False
        self.script = iter(self.behaviour.get(self.place, []))
        self.image = None
        self.opened.append(self)

    def isOpened(self) -> bool:  # noqa: N802
        return self.place in self.behaviour

    def set(self, name: int, value: float) -> bool:
        self.settings[name] = value
        return True

    def get(self, name: int) -> float:
        return 30.0 if name == cv2.CAP_PROP_FPS else 0.0

    def grab(self) -> bool:
        item = next(self.script, False)
        self.image = item
        return item is not False

    def retrieve(self):
        return self.image is not None, self.image

    def release(self) -> None:
        self.released = True


def image(number: int) -> np.ndarray:
    return np.full((48, 64, 3), number, dtype=np.uint8)


@pytest.fixture
def linux(monkeypatch, tmp_path):
    """A Linux machine with two cameras; `attached` and `behaviour` may be changed."""
    attached = [v4l2.Device(0, "HD Webcam", ((1280, 720), (640, 480))), v4l2.Device(2, "Logitech BRIO", ())]
    for number in (0, 2, 4):
        (tmp_path / f"video{number}").touch()
    behaviour = {(0, cv2.CAP_V4L2): [image(0), image(1), image(2)]}
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(v4l2, "list_devices", lambda: list(attached))
    monkeypatch.setattr(v4l2, "DEV", tmp_path)
    monkeypatch.setattr(FakeCapture, "behaviour", behaviour, raising=False)
    monkeypatch.setattr(FakeCapture, "opened", [], raising=False)
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    return SimpleNamespace(attached=attached, behaviour=behaviour, dev=tmp_path)


# ---- which there are


def test_a_list_by_number_with_names_and_sizes(linux) -> None:
    first, second = list_cameras()
    assert first == CameraInfo(0, "HD Webcam", ((1280, 720), (640, 480)), ((cv2.CAP_V4L2, 0),))
    assert (second.index, str(second)) == (2, "camera 2 (Logitech BRIO)")


@pytest.mark.parametrize(
    ("uri", "index"),
    [
        ("0", 0),
        ("2", 2),
        ("camera:2", 2),
        ("camera:Logitech BRIO", 2),
        ("camera:logi", 2),
        ("Camera:HD", 0),
        ("camera:2@640x480", 2),
        ("camera:HD Webcam@640x480", 0),
    ],
)
def test_a_camera_by_number_or_name(linux, uri, index) -> None:
    assert is_camera(uri)
    source = open_source(uri)
    assert source.live
    assert source.info.name.startswith(f"camera {index} (")
    assert FakeCapture.opened == []  # only when it is read


def test_what_is_no_camera() -> None:
    assert not any(is_camera(uri) for uri in ("clip.mp4", "-1", "1.5", "rtsp://camera:0", "mycamera:0"))
    with pytest.raises(ValueError, match="expected camera:"):
        open_camera("clip.mp4")


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("camera:1", r"camera:1: no such camera; there is camera 0 \(HD Webcam\), camera 2 \(Logitech BRIO\)"),
        ("7", "7: no such camera"),
        ("camera:GoPro", "no such camera"),
        ("camera:", "no such camera"),
    ],
)
def test_an_unknown_camera_is_refused_with_a_list_of_those_there_are(linux, uri, reason) -> None:
    with pytest.raises(UserError, match=reason):
        open_source(uri)


def test_a_name_that_two_cameras_have(linux) -> None:
    linux.attached.append(v4l2.Device(4, "HD Webcam", ()))
    with pytest.raises(UserError, match=r"more than one camera has this name, give the number; there is camera 0"):
        open_source("camera:hd webcam")
    linux.attached[0] = v4l2.Device(0, "HD Webcam Pro", ())
    assert open_source("camera:hd webcam").info.name == "camera 4 (HD Webcam)"  # the whole name goes first


def test_a_machine_without_cameras_says_what_to_do(linux) -> None:
    linux.attached.clear()
    with pytest.raises(UserError, match="no camera is attached; plug one in, or open a file"):
        open_source("camera:0")


def test_a_file_of_that_name_goes_first(linux, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0").write_bytes(b"")
    with pytest.raises(UserError, match="0: the file is empty"):
        open_source("0")


# ---- reading one


def test_frames_of_a_camera(linux) -> None:
    with open_source("camera:0@640x480", max_frames=1) as source:
        (frame,) = source
        assert (source.info.width, source.info.height, source.info.fps) == (64, 48, 30.0)
    assert frame.image[0, 0, 0] in (1, 2)  # the first one was spent on finding out whether it works
    (capture,) = FakeCapture.opened
    assert capture.released
    assert next(iter(capture.settings.items())) == (cv2.CAP_PROP_FOURCC, MJPG)  # sets which sizes there are
    assert (capture.settings[cv2.CAP_PROP_FRAME_WIDTH], capture.settings[cv2.CAP_PROP_FRAME_HEIGHT]) == (640, 480)
    assert capture.settings[cv2.CAP_PROP_BUFFERSIZE] == 1


def test_damaged_pictures_are_left_out_and_grey_ones_become_bgr(linux) -> None:
    linux.behaviour[0, cv2.CAP_V4L2] = [image(0), None, np.full((48, 64), 9, np.uint8)]
    with open_source("0", max_frames=1) as source:
        (frame,) = source
    assert frame.image.shape == (48, 64, 3)
    assert np.all(frame.image == 9)


def test_a_camera_plugged_in_again_is_found_under_its_new_number(linux, caplog) -> None:
    caplog.set_level("INFO", "pipeline.reconnect")
    source = open_camera("camera:0", patience=HASTY)
    shown = []
    with source:
        for frame in source:
            shown.append(int(frame.image[0, 0, 0]))
            if shown[-1] == 2:
                linux.attached[0] = v4l2.Device(4, "HD Webcam", ())
                linux.behaviour[4, cv2.CAP_V4L2] = [image(0), image(77), image(78)]
            if shown[-1] == 78:
                break
    assert FakeCapture.opened[-1].place == (4, cv2.CAP_V4L2)
    assert "camera 0 (HD Webcam): it was taken away, or delivers no more pictures; trying again" in caplog.text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda machine: machine.attached.pop(0), "it is not attached; plug it in again"),
        (lambda machine: machine.behaviour.clear(), "it cannot be opened; perhaps another program is using it"),
        (lambda machine: machine.behaviour.update({(0, cv2.CAP_V4L2): []}), "perhaps another program is using it"),
    ],
)
def test_a_camera_that_cannot_be_opened_is_tried_again(linux, change, reason) -> None:
    source = open_camera("camera:0", patience=HASTY)
    change(linux)
    with source:
        reading = threading.Thread(target=lambda: list(source))
        reading.start()
        while source.state.attempt < 3:
            reading.join(0.01)
        assert reason in source.state.message
        source.stop()
        reading.join(WAIT_S)
    assert not reading.is_alive()
    assert all(capture.released for capture in FakeCapture.opened)


def test_a_driver_that_fails_is_a_camera_that_is_lost(linux, monkeypatch) -> None:
    connection = cameras.CameraConnection(list_cameras()[0], (640, 480))

    def fail(self: FakeCapture) -> None:
        cv2.cvtColor(np.zeros(0, np.uint8), cv2.COLOR_GRAY2BGR)

    monkeypatch.setattr(FakeCapture, "retrieve", fail)
    with pytest.raises(Lost, match="the driver fails: "):
        connection.read()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may use everything")
def test_a_camera_without_permission(linux) -> None:
    (linux.dev / "video0").chmod(0)
    _expect_no_permission(linux)


def test_a_camera_that_the_system_denies(linux, monkeypatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    _expect_no_permission(linux)


def _expect_no_permission(linux) -> None:
    with (
        open_source("0") as source,
        pytest.raises(UserError, match=r"no permission to use .*video0: run `sudo usermod"),
    ):
        next(iter(source))


# ---- other systems


def install(monkeypatch, system: str, found: dict[int, list[tuple[str, int]]]) -> None:
    """A machine of another system, whose cameras the small package lists as (name, index) for each back end."""

    def enumerate_cameras(backend: int):
        return [SimpleNamespace(name=name, index=index) for name, index in found[backend]]

    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setitem(sys.modules, "cv2_enumerate_cameras", SimpleNamespace(enumerate_cameras=enumerate_cameras))


def test_a_missing_package_is_told(monkeypatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    monkeypatch.setitem(sys.modules, "cv2_enumerate_cameras", None)
    with pytest.raises(UserError, match=r"cv2_enumerate_cameras is not installed: pip install -r requirements\.txt"):
        open_source("camera:0")


def test_windows_tries_direct_show_then_media_foundation(monkeypatch, linux) -> None:
    found = {
        cv2.CAP_DSHOW: [("Cam", 0), ("Virtual", 1), ("Cam", 2)],
        cv2.CAP_MSMF: [("Cam", 0), ("Cam", 1)],
    }
    install(monkeypatch, "Windows", found)
    assert [camera.handles for camera in list_cameras()] == [
        ((cv2.CAP_DSHOW, 0), (cv2.CAP_MSMF, 0)),
        ((cv2.CAP_DSHOW, 1),),
        ((cv2.CAP_DSHOW, 2), (cv2.CAP_MSMF, 1)),
    ]
    linux.behaviour.update({(2, cv2.CAP_DSHOW): [], (1, cv2.CAP_MSMF): [image(0), image(5), image(5)]})
    with open_source("camera:2", max_frames=1) as source:
        (frame,) = source
    assert frame.image[0, 0, 0] == 5
    assert [(capture.place, capture.released) for capture in FakeCapture.opened] == [
        ((2, cv2.CAP_DSHOW), True),
        ((1, cv2.CAP_MSMF), True),
    ]


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        (0, Lost, "waiting for your answer to the question"),
        (1, UserError, "macOS does not let this program use the camera: switch it on"),
        (2, UserError, "macOS does not let this program use the camera: switch it on"),
        (3, None, ""),
    ],
)
def test_macos_is_asked_for_permission(monkeypatch, linux, status, error, reason) -> None:
    install(monkeypatch, "Darwin", {cv2.CAP_AVFOUNDATION: [("FaceTime", 0)]})
    linux.behaviour[0, cv2.CAP_AVFOUNDATION] = [image(0), image(6)]
    asked = []
    device = SimpleNamespace(
        authorizationStatusForMediaType_=lambda kind: status,
        requestAccessForMediaType_completionHandler_=lambda kind, handler: asked.append(kind),
    )
    monkeypatch.setitem(sys.modules, "AVFoundation", SimpleNamespace(AVCaptureDevice=device))
    (camera,) = list_cameras()
    if error is None:
        assert cameras.CameraConnection(camera, (640, 480)).read().image[0, 0, 0] == 6
    else:
        with pytest.raises(error, match=reason):
            cameras.CameraConnection(camera, (640, 480))
        assert FakeCapture.opened == []
    assert asked == (["vide"] if status == 0 else [])
