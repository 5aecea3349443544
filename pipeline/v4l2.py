"""Linux's own list of cameras, asked of the kernel: names from sysfs, what they can do by Video4Linux calls."""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SYSFS: Final = Path("/sys/class/video4linux")
DEV: Final = Path("/dev")

# <linux/videodev2.h>: request number, and the structure's layout.
_QUERYCAP: Final = (0x80685600, struct.Struct("16s32s32s6I"))
_ENUM_FMT: Final = (0xC0405602, struct.Struct("3I32s5I"))
_ENUM_FRAMESIZES: Final = (0xC02C564A, struct.Struct("11I"))
_CAN_CAPTURE: Final = 0x1
_KNOWS_DEVICE_CAPS: Final = 0x80000000
_KIND_CAPTURE: Final = 1
_DISCRETE: Final = 1
_MOST_ENTRIES: Final = 100  # a driver that never says "no more" must not hang us
_USUAL_SIZES: Final = ((3840, 2160), (1920, 1080), (1280, 720), (800, 600), (640, 480), (320, 240))


@dataclass(frozen=True, slots=True)
class Device:
    """A camera as the kernel knows it.

    Attributes:
        index: n of /dev/video<n>.
        name: of the product.
        sizes: the (width, height) it can deliver, pixels, largest first; empty if it may not be asked.
    """

    index: int
    name: str
    sizes: tuple[tuple[int, int], ...]


def list_devices(sysfs: Path = SYSFS, dev: Path = DEV) -> list[Device]:
    """The devices that deliver pictures, by number. Those of a camera that carry other data are left out."""
    devices = []
    for folder in sorted(sysfs.glob("video*"), key=lambda folder: int(folder.name.removeprefix("video"))):
        try:
            name = (folder / "name").read_text(encoding="utf-8", errors="replace").strip()
            first = (folder / "index").read_text(encoding="ascii").strip() == "0"
        except OSError:  # was taken away in this moment
            continue
        sizes = _ask(dev / folder.name) if first else None
        if sizes is not None:
            devices.append(Device(int(folder.name.removeprefix("video")), name, sizes))
    return devices


def _ask(path: Path) -> tuple[tuple[int, int], ...] | None:
    """The sizes of the camera at `path`, () if it may not be asked; None if it takes no pictures."""
    try:
        device = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return ()
    try:
        *_, capabilities, device_capabilities, _, _, _ = _call(device, _QUERYCAP)
        if not (device_capabilities if capabilities & _KNOWS_DEVICE_CAPS else capabilities) & _CAN_CAPTURE:
            return None
        sizes = {size for code in _formats(device) for size in _sizes(device, code)}
        return tuple(sorted(sizes, key=lambda size: (size[0] * size[1], size), reverse=True))
    except OSError:
        return ()
    finally:
        os.close(device)


def _formats(device: int) -> Iterator[int]:
    """The codes of the pixel formats it delivers."""
    for entry in range(_MOST_ENTRIES):
        try:
            _, _, _, _, code, *_ = _call(device, _ENUM_FMT, entry, _KIND_CAPTURE, 0, b"")
        except OSError:  # no more
            return
        yield code


def _sizes(device: int, code: int) -> Iterator[tuple[int, int]]:
    """The sizes in one pixel format; of a camera that takes any size, the usual ones."""
    for entry in range(_MOST_ENTRIES):
        try:
            _, _, kind, low_w, *rest = _call(device, _ENUM_FRAMESIZES, entry, code)
        except OSError:  # no more
            return
        if kind == _DISCRETE:
            yield low_w, rest[0]
        else:
            high_w, _, low_h, high_h, *_ = rest
            yield from (size for size in _USUAL_SIZES if low_w <= size[0] <= high_w and low_h <= size[1] <= high_h)
            return


def _call(device: int, request: tuple[int, struct.Struct], *values: int | bytes) -> tuple[int, ...]:
    """One ioctl: the structure with its first fields set goes in, the filled one comes out. Raises OSError."""
    from fcntl import ioctl  # Linux only, as is this module's use

    number, layout = request
    blank = list(layout.unpack(bytes(layout.size)))
    blank[: len(values)] = values
    return layout.unpack(ioctl(device, number, layout.pack(*blank)))
