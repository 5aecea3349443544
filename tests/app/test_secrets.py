"""What is secret in an address reaches no screen, no log and no file, also where an address is of no use.

Those that are of use, cameras', are tested in tests/pipeline/test_streams.py.
"""

import logging
from pathlib import Path
from typing import Any

import pytest

USER, PASSWORD, TOKEN = "anna", "gehe1m", "t0ken"
# Nobody listens on port 9; typed wrong, it is taken for a file's name.
ADDRESSES = (
    f"rtsp://{USER}:{PASSWORD}@127.0.0.1:9/live",
    f"http://127.0.0.1:9/video?user={USER}&token={TOKEN}",
    f"rtsp:/{USER}:{PASSWORD}@127.0.0.1/typed/wrong",
    f"ftp://{USER}:{PASSWORD}@127.0.0.1/clip.mp4",
)
LIKE_A_GLOB = f"rtsp:/{USER}:{PASSWORD}@127.0.0.1/typed/wrong?ch=1"


@pytest.mark.parametrize(
    ("command", "address"),
    [
        *(("run", address) for address in (*ADDRESSES, LIKE_A_GLOB)),
        *(("run for programs", address) for address in (*ADDRESSES, LIKE_A_GLOB)),
        *(("figure", address) for address in ADDRESSES[2:]),
    ],
)
def test_no_command_shows_it(
    command: str, address: str, call: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    arguments: dict[str, tuple[object, ...]] = {
        "run": (address, "--out", tmp_path, "--input-size", 65),
        "run for programs": (address, "--out", tmp_path, "--input-size", 65, "--log-json"),
        "figure": (address, "--out", tmp_path / "sheet.png", "--input-size", 65),
    }
    ended = call(command.split(maxsplit=1)[0], *arguments[command])
    written = "".join(path.read_text(errors="replace") + path.name for path in tmp_path.rglob("*") if path.is_file())
    shown = ended.out + ended.err + caplog.text + written
    assert ended.status == 2
    for secret in (USER, PASSWORD, TOKEN):
        assert secret not in shown
