"""Webcams through OpenCV: which there are, and a connection to one of them, on Linux, Windows and macOS.

On Linux names and sizes come from the kernel (`pipeline.v4l2`); elsewhere a small package knows the names in the order
in which OpenCV counts, and the sizes are known to the driver alone.
"""

import os
import platform
import re
import time
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Final

import cv2

from engine.errors import UserError
from pipeline import v4l2
from pipeline.reconnect import Grab, LiveSource, Lost, Patience

# Windows' Media Foundation may take half a minute to open a camera. A driver that waits for a picture gives up by
# itself after 10 s, and until then the camera is taken.
CAMERA_PATIENCE: Final = Patience(connect_s=60.0, give_up_s=12.0)
DEFAULT_SIZE: Final = (1280, 720)  # width, height; a camera that has no such size takes its nearest
DEFAULT_FPS: Final = 30
_URI: Final = re.compile(r"camera:(?P<which>.*?)(?:@(?P<width>\d+)x(?P<height>\d+))?|(?P<number>\d+)", re.IGNORECASE)
_BACKENDS: Final = {"Windows": (cv2.CAP_DSHOW, cv2.CAP_MSMF), "Darwin": (cv2.CAP_AVFOUNDATION,)}  # else Video4Linux
_OPENCV_SETTINGS: Final = {
    "OPENCV_VIDEOIO_MSMF_ENABLE_HW_TRANSFORMS": "0",  # Windows: they make opening last up to minutes
    "OPENCV_AVFOUNDATION_SKIP_AUTH": "1",  # macOS: see _check_permission
}
_MACOS_VIDEO: Final = "vide"  # AVMediaTypeVideo
_NOT_ASKED, _AUTHORIZED = 0, 3  # AVAuthorizationStatus; between them restricted and denied
_MACOS_ADVICE: Final = (
    "macOS does not let this program use the camera: switch it on for the terminal or program under System Settings, "
    "Privacy & Security, Camera, and start it again"
)


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """A camera that is attached.

    Attributes:
        index: its number, as in `camera:0`.
        name: what it calls itself.
        sizes: the (width, height) it can deliver, pixels, largest first; empty where the system does not tell.
        handles: OpenCV's back end and its number there, in the order in which they are tried.
    """

    index: int
    name: str
    sizes: tuple[tuple[int, int], ...]
    handles: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        return f"camera {self.index} ({self.name})"


def list_cameras() -> list[CameraInfo]:
    """The cameras that are attached, by number. Raises UserError if a package is missing that knows them."""
    if (backends := _BACKENDS.get(platform.system())) is None:
        return [
            CameraInfo(device.index, device.name, device.sizes, ((cv2.CAP_V4L2, device.index),))
            for device in v4l2.list_devices()
        ]
    try:
        enumerate_cameras = import_module("cv2_enumerate_cameras").enumerate_cameras
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed: pip install -r requirements.txt") from error
    first, *others = [[(str(found.name), int(found.index)) for found in enumerate_cameras(back)] for back in backends]
    cameras = []
    for place, (name, index) in enumerate(first):
        handles = [(backends[0], index)]
        nth = [known for known, _ in first[:place]].count(name)  # of those with the same name
        for backend, found in zip(backends[1:], others, strict=True):
            handles += [(backend, number) for known, number in found if known == name][nth : nth + 1]
        cameras.append(CameraInfo(index, name, (), tuple(handles)))
    return cameras


def is_camera(uri: str) -> bool:
    """Whether `uri` means a camera: `camera:0`, `camera:NAME`, `camera:0@1280x720` or a plain number."""
    return _URI.fullmatch(uri) is not None


def open_camera(uri: str, max_frames: int | None = None, patience: Patience = CAMERA_PATIENCE) -> LiveSource:
    """The camera that `uri` means; not connected yet.

    Raises:
        UserError: there is no such camera.
    """
    parts = _URI.fullmatch(uri)
    if parts is None:
        raise ValueError(f"uri: expected camera:..., got {uri!r}")
    size = (int(parts["width"]), int(parts["height"])) if parts["width"] else DEFAULT_SIZE
    camera = _find(parts["number"] or parts["which"], uri, list_cameras())
    return LiveSource(str(camera), partial(CameraConnection, camera, size), patience, max_frames)


class CameraConnection:
    """An open camera; see `pipeline.reconnect.Connection`."""

    def __init__(self, camera: CameraInfo, size: tuple[int, int]) -> None:
        """Opens it.

        Raises:
            Lost: it is not attached (any more), or somebody else is using it.
            UserError: this user or program may not use it.
        """
        found = _find_again(camera, list_cameras())
        _check_permission(found)
        # Its warnings would be printed at every attempt, and we say what matters ourselves.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        for name, value in _OPENCV_SETTINGS.items():
            os.environ.setdefault(name, value)
        for backend, index in found.handles:
            self._capture = cv2.VideoCapture(index, backend)
            if self._capture.isOpened():
                self._set_up(size)
                if self._capture.grab():
                    break
            self._capture.release()
        else:
            raise Lost("it cannot be opened; perhaps another program is using it")
        self.fps = float(self._capture.get(cv2.CAP_PROP_FPS)) or None

    def read(self) -> Grab:
        try:
            while self._capture.grab():
                t_capture_s = time.perf_counter()
                done, image = self._capture.retrieve()
                if done and image is not None:
                    picture: Any = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
                    return Grab(picture, t_capture_s)
        except cv2.error as error:
            raise Lost(f"the driver fails: {error.err}") from error
        raise Lost("it was taken away, or delivers no more pictures")

    def close(self) -> None:
        self._capture.release()

    def _set_up(self, size: tuple[int, int]) -> None:
        # Motion JPEG first: uncompressed, a USB 2 camera delivers large pictures 5 to 10 times a second.
        self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
        self._capture.set(cv2.CAP_PROP_FPS, DEFAULT_FPS)
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)


def _find(which: str, uri: str, cameras: list[CameraInfo]) -> CameraInfo:
    """The camera of this number or name; a part of the name will do. Raises UserError."""
    if not cameras:
        raise UserError(f"{uri}: no camera is attached; plug one in, or open a file or a network camera (rtsp://...)")
    known = ", ".join(map(str, cameras))
    if which.isdecimal():
        found = [camera for camera in cameras if camera.index == int(which)]
    else:
        wanted = which.strip().casefold()
        found = [camera for camera in cameras if wanted and wanted in camera.name.casefold()]
        found = [camera for camera in found if camera.name.casefold() == wanted] or found
    if not found:
        raise UserError(f"{uri}: no such camera; there is {known}")
    if len(found) > 1:
        raise UserError(f"{uri}: more than one camera has this name, give the number; there is {known}")
    return found[0]


def _find_again(camera: CameraInfo, cameras: list[CameraInfo]) -> CameraInfo:
    """The same camera among those attached now: plugged in again, it may have got another number. Raises Lost."""
    same_name = [other for other in cameras if other.name == camera.name]
    for other in sorted(same_name, key=lambda other: other.index != camera.index):
        return other
    raise Lost("it is not attached; plug it in again")


def _check_permission(camera: CameraInfo) -> None:
    """Raises UserError if the system forbids the use of `camera`, Lost while it asks the user."""
    system = platform.system()
    if system == "Linux":
        path = v4l2.DEV / f"video{camera.index}"
        if not os.access(path, os.R_OK | os.W_OK):
            raise UserError(
                f"{camera}: no permission to use {path}: run `sudo usermod -aG video $USER`, then log out and in again"
            )
    elif system == "Darwin":
        # OpenCV would ask for it on the main thread only, and we are not there.
        device = import_module("AVFoundation").AVCaptureDevice
        status = device.authorizationStatusForMediaType_(_MACOS_VIDEO)
        if status == _NOT_ASKED:
            device.requestAccessForMediaType_completionHandler_(_MACOS_VIDEO, lambda _granted: None)
            raise Lost("waiting for your answer to the question whether this program may use the camera")
        if status != _AUTHORIZED:
            raise UserError(f"{camera}: {_MACOS_ADVICE}")
