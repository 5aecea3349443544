import struct
from types import SimpleNamespace

import pytest

from pipeline import v4l2
from pipeline.v4l2 import Device, list_devices

fcntl = pytest.importorskip("fcntl", reason="Video4Linux is Linux's")

CAPTURE, METADATA, KNOWS_DEVICE_CAPS = 0x1, 0x800000, 0x80000000
MJPG, YUYV = 1, 2


class FakeKernel:
    """Answers the calls of one camera, as <linux/videodev2.h> lays the structures out."""

    def __init__(self, own_capabilities=CAPTURE, formats=(MJPG, YUYV), sizes=None, stepwise=None) -> None:
        self.capabilities = KNOWS_DEVICE_CAPS | CAPTURE | METADATA, own_capabilities
        self.formats = formats
        self.sizes = sizes or {MJPG: [(640, 480), (1920, 1080)], YUYV: [(640, 480), (320, 240)]}
        self.stepwise = stepwise

    def ioctl(self, device, request, argument) -> bytes:
        if request == 0x80685600:  # VIDIOC_QUERYCAP
            assert len(argument) == 104
            return struct.pack("16s32s32sIII12x", b"uvcvideo", b"HD Webcam", b"usb-1", 0x60000, *self.capabilities)
        index, second = struct.unpack_from("II", argument)
        if request == 0xC0405602:  # VIDIOC_ENUM_FMT
            assert (len(argument), second) == (64, 1)
            if index >= len(self.formats):
                raise OSError(22, "Invalid argument")
            return struct.pack("III32sI16x", index, 1, 0, b"format", self.formats[index])
        assert (request, len(argument)) == (0xC02C564A, 44)  # VIDIOC_ENUM_FRAMESIZES
        if self.stepwise is not None:
            return struct.pack("IIIIIIIII8x", index, second, 3, *self.stepwise)
        if index >= len(self.sizes[second]):
            raise OSError(22, "Invalid argument")
        return struct.pack("IIIII24x", index, second, 1, *self.sizes[second][index])


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A machine without cameras, and a way to plug some in."""
    sysfs, dev = tmp_path / "sysfs", tmp_path / "dev"
    sysfs.mkdir()
    dev.mkdir()
    kernels = {}

    def plug_in(number, name="HD Webcam", index=0, kernel=None, device=True):
        folder = sysfs / f"video{number}"
        folder.mkdir()
        (folder / "name").write_text(f"{name}\n", encoding="utf-8")
        (folder / "index").write_text(f"{index}\n")
        if device:
            path = dev / f"video{number}"
            path.touch()
            kernels[path.stat().st_ino] = kernel or FakeKernel()

    def ioctl(device, request, argument):
        return kernels[v4l2.os.fstat(device).st_ino].ioctl(device, request, argument)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    return SimpleNamespace(plug_in=plug_in, list=lambda: list_devices(sysfs, dev))


def test_cameras_by_number_with_their_sizes(system) -> None:
    system.plug_in(10, "Über Cam: Über")
    system.plug_in(2)
    sizes = ((1920, 1080), (640, 480), (320, 240))
    assert system.list() == [Device(2, "HD Webcam", sizes), Device(10, "Über Cam: Über", sizes)]


def test_devices_that_carry_no_pictures_are_left_out(system) -> None:
    system.plug_in(0)
    system.plug_in(1, index=1)  # the same camera's other data
    system.plug_in(2, kernel=FakeKernel(own_capabilities=METADATA))
    assert [device.index for device in system.list()] == [0]


def test_a_camera_of_any_size_offers_the_usual_ones(system) -> None:
    system.plug_in(0, kernel=FakeKernel(stepwise=(320, 1280, 8, 240, 720, 8)))
    assert system.list()[0].sizes == ((1280, 720), (800, 600), (640, 480), (320, 240))


def test_a_camera_that_may_not_be_asked_is_listed_all_the_same(system) -> None:
    system.plug_in(0, device=False)
    assert system.list() == [Device(0, "HD Webcam", ())]


def test_no_list_is_endless(system) -> None:
    system.plug_in(0, kernel=FakeKernel(sizes={MJPG: [(640, 480)] * 10_000, YUYV: []}))
    assert system.list()[0].sizes == ((640, 480),)


def test_a_machine_without_cameras(system, tmp_path) -> None:
    assert system.list() == []
    assert list_devices(tmp_path / "gone", tmp_path) == []
