"""Addresses of network cameras, and how they are shown: never with what is secret in them."""

import re
from typing import Final
from urllib.parse import urlsplit

SCHEMES: Final = ("rtsp", "rtsps", "http", "https")
HIDDEN: Final = "***"  # stands for what is secret
# To the last @, for people write passwords with blanks, slashes and further @s. Two letters at least: C:/ is a drive.
_LOGIN: Final = re.compile(r"([a-z][a-z0-9+.-]+:/+).*@", re.IGNORECASE)
# As in ?user=anna&pwd=secret and in /user=anna_password=secret_channel=1, which some recorders want.
_PARAMETER: Final = re.compile(
    r"((?:user|usr|login|pass|pwd|psw|token|auth|key|secret|sig|credential)\w*?(?:=|%3d))[^\s&;#/'\"]+?"
    r"(?=_[a-z]+=|:?\s|[&;#/'\"]|$)",
    re.IGNORECASE,
)


def is_address(uri: str) -> bool:
    """Whether `uri` is meant as an address rather than a path: it begins with something like rtsp://."""
    return re.match(r"[a-z][a-z0-9+.-]+://", uri, re.IGNORECASE) is not None


def redacted(text: str) -> str:
    """`text` with *** for the user names, passwords and tokens of all addresses in it; what is shown, said or logged.

    An @ further on in the line hides all before it: better too much than a part of a password.
    """
    return _PARAMETER.sub(rf"\1{HIDDEN}", _LOGIN.sub(rf"\1{HIDDEN}@", text))


def has_login(uri: str) -> bool:
    """Whether `uri` has a user name or password in front of its host."""
    return "@" in urlsplit(uri).netloc


def host_of(uri: str) -> str | None:
    """The host's name or number, or None if `uri` has none, or one that cannot be."""
    try:
        parts = urlsplit(uri)
        return parts.hostname if parts.port is None or parts.port > 0 else None
    except ValueError:  # a port that is no number, half of an IPv6 number
        return None
