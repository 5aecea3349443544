"""What is odd about a file rather than its picture: damage, names, folders, and things that are no pictures at all."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from tests.odd_inputs.case import SAMPLE, STILL, OddInput, has, shows
from tests.odd_inputs.pictures import pillow
from tests.odd_inputs.writing import write

PLAYLIST = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{SAMPLE}\n#EXT-X-ENDLIST\n"
CONCAT = f"ffconcat version 1.0\nfile '{SAMPLE}'\n"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
SVG = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="file://{STILL}" width="90" height="90"/></svg>'
DASH = f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>file://{SAMPLE}</BaseURL></MPD>'


def inputs() -> list[OddInput]:
    """All of them."""
    return [*_damaged(), *_named(), *_no_clips(), *_folders()]


def _cut(path: Path, share: float, **how: Any) -> None:
    write(path, **how)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def _spoilt(path: Path, **how: Any) -> None:
    """Zeros in the middle."""
    write(path, **how)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    path.write_bytes(data)


def _unknown_codec(path: Path) -> None:
    write(path, codec="mjpeg", pix_fmt="yuvj420p")
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"?!#0"))


def _headless(path: Path) -> None:
    write(path, muxer={"movflags": "+faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + 4])


def _damaged() -> list[OddInput]:
    early = "the clip ends early"
    faststart = {"movflags": "+faststart"}
    return [
        OddInput("cut.mp4", partial(_cut, share=0.7, muxer=faststart), "partial", early, about="cut off"),
        OddInput("cut.mkv", partial(_cut, share=0.7), "partial", early, about="cut off"),
        OddInput("cut.avi", partial(_cut, share=0.7, codec="mpeg4"), "partial", early, about="cut off"),
        OddInput("spoilt.ts", _spoilt, "partial", "beside damage or a joint", has(6), about="zeros in the middle"),
        OddInput("spoilt.mkv", _spoilt, check=has(5), about="zeros in the middle: a frame is missing"),
        OddInput(
            "unfinished.mp4", partial(_cut, share=0.5), "error", "its index (moov atom) is missing", about="no index"
        ),
        OddInput("headless.mp4", _headless, "error", "no frame can be read", about="an index and nothing else"),
        OddInput("unknown-codec.avi", _unknown_codec, "error", "cannot be decoded", about="a codec nobody knows"),
        OddInput("empty.mp4", partial(Path.write_bytes, data=b""), "error", "the file is empty", about="empty"),
    ]


def _named() -> list[OddInput]:
    names = ["with space.mp4", "quote'and\".mp4", "new\nline.mp4", "Straße 散歩 🎥.mp4", "-dash.mp4", "--out.mp4"]
    names += ["100%d.mp4", "12:30.mp4", "semi;colon&$(x).mp4", "*.mp4", "[b]racket.mp4", ".hidden.mp4", "no-suffix"]
    if sys.platform.startswith("linux"):
        names.append(os.fsdecode(b"caf\xe9.mp4"))
    if os.name == "nt":
        names = [name for name in names if not set(name) & set('"*:\n')]
    named = [OddInput(name, partial(write, container_format="mp4"), check=shows(), about="name") for name in names]
    return [
        *named,
        OddInput("clip-called.jpg", partial(write, container_format="mp4"), check=shows(), about="wrong suffix"),
        OddInput("picture-called.mp4", _jpeg, check=has(1), about="wrong suffix"),
        OddInput("link.mp4", _link, check=has(80), about="symbolic link"),
    ]


def _jpeg(path: Path) -> None:
    pillow().save(path, "JPEG")


def _link(path: Path) -> None:
    path.symlink_to(SAMPLE)


def _text(text: str) -> Any:
    return lambda path: path.write_text(text, encoding="utf-8")


def _no_clips() -> list[OddInput]:
    reason = "neither a video nor a picture that can be read"
    texts = {
        "playlist.m3u8": (PLAYLIST, "playlist that names a file"),
        "playlist.mp4": (PLAYLIST, "playlist in disguise"),
        "list.ffconcat": (CONCAT, "list that names a file"),
        "list.mkv": (CONCAT, "list in disguise"),
        "camera.sdp": (SDP, "description of a network stream"),
        "manifest.mpd": (DASH, "manifest that names a file"),
        "drawing.svg": (SVG, "drawing that names a file"),
        "notes.txt": ("hello world\n" * 100, "text"),
        "notes.mp4": ("hello world\n" * 100, "text in disguise"),
        "page.pdf": ("%PDF-1.7\n1 0 obj << >> endobj\n" * 20, "PDF"),
    }
    cases = [OddInput(name, _text(text), "error", reason, about=about) for name, (text, about) in texts.items()]
    noise = OddInput("noise.mkv", lambda path: path.write_bytes(bytes(range(256)) * 20), "error", reason, about="noise")
    pipe = OddInput("pipe.mp4", os.mkfifo, "error", "is neither a file nor a folder", about="pipe")
    missing = OddInput("missing.mp4", lambda path: None, "error", "no such file", about="is not there")
    return [*cases, noise, missing, *([pipe] if hasattr(os, "mkfifo") else [])]


def _folder(path: Path, good: int = 2, bad: int = 1) -> None:
    path.mkdir()
    for number in range(good):
        pillow().save(path / f"{number}.png")
    for number in range(bad):
        (path / f"bad-{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    (path / "notes.txt").write_text("no picture")


def _folders() -> list[OddInput]:
    return [
        OddInput("pictures", partial(_folder, bad=0), check=has(2, [0, 1]), about="folder"),
        OddInput("pictures-one-bad", _folder, "partial", "left out", has(2), about="folder"),
        OddInput("pictures-all-bad", partial(_folder, good=0), "error", "no picture in this folder", about="folder"),
        OddInput("no-pictures", partial(_folder, good=0, bad=0), "error", "is a folder, expected", about="folder"),
    ]
