"""Can a window be opened at all? Asked before Qt is: Qt ends the whole program where the answer is no."""

import ctypes
import ctypes.util
import os
import sys
from pathlib import Path
from typing import Final

from engine.errors import UserError

HEADLESS: Final = "without a window: python main.py run SOURCE --out DIR"
_WINDOWLESS_PLATFORMS: Final = ("offscreen", "minimal", "vnc", "eglfs", "linuxfb", "wayland")


def check_display() -> None:
    """Raise UserError with the way out if there is no screen, or if a library Qt needs for it is missing.

    Only Linux and its like can lack a screen; importing PyQt6 must have been possible.
    """
    if not sys.platform.startswith("linux"):
        return
    chosen = os.environ.get("QT_QPA_PLATFORM", "").partition(":")[0].partition(";")[0]
    if chosen.startswith(_WINDOWLESS_PLATFORMS) or (not chosen and _wayland_answers()):
        return
    display = os.environ.get("DISPLAY")
    if not display:
        raise UserError(f"no display to open a window on; {HEADLESS}")
    if not _x_answers():
        raise UserError(f"the display {display} does not answer; {HEADLESS}")
    _check_plugin()


def _wayland_answers() -> bool:
    name = os.environ.get("WAYLAND_DISPLAY")
    return bool(name) and Path(os.environ.get("XDG_RUNTIME_DIR", "/"), str(name)).exists()


def _x_answers() -> bool:
    library = ctypes.util.find_library("xcb")
    if library is None:
        return True  # the plugin will be found wanting, with a better message
    xcb = ctypes.CDLL(library)
    xcb.xcb_connect.restype = ctypes.c_void_p
    xcb.xcb_connect.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    xcb.xcb_connection_has_error.argtypes = [ctypes.c_void_p]
    # Never disconnected: a server whose last client leaves starts anew, and would be away when Qt comes.
    return not xcb.xcb_connection_has_error(xcb.xcb_connect(None, None))


def _check_plugin() -> None:
    """Qt blames libxcb-cursor0 whatever is missing; the loader knows the name."""
    import PyQt6.QtGui  # loads the libraries that lie beside it, which the plugin needs

    plugin = Path(PyQt6.__file__).parent / "Qt6" / "plugins" / "platforms" / "libqxcb.so"
    if not plugin.exists():  # a PyQt6 of the distribution: its packages bring what they need
        return
    try:
        ctypes.CDLL(str(plugin))
    except OSError as error:
        raise UserError(f"a library that windows need is missing ({error}); install it, or {HEADLESS}") from error
