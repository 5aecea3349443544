"""The program as a whole: help, wrong commands, its streams, and what of it is imported."""

import errno
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app import cli

HEAVY = ("torch", "onnxruntime", "PyQt6")
DEADLINE_S = 60.0


def program(root: Path, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """`python main.py ARGUMENTS` as a process of its own."""
    command = [sys.executable, str(root / "main.py"), *map(str, arguments)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    return subprocess.Popen(command, **{**streams, **options})


def test_help_shows_what_there_is() -> None:
    text = cli.build_parser().format_help()
    assert text.startswith("usage: main.py")
    for name, purpose in cli.COMMANDS.items():
        assert name in text
        assert purpose.split()[0] in text


def test_no_command_opens_the_window(call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    class Window:
        @staticmethod
        def add_arguments(parser: Any) -> None:
            pass

        @staticmethod
        def run(options: Any) -> int:
            opened.append(options.command)
            return 0

    monkeypatch.setattr(cli, "_module", lambda name: Window)
    assert call().status == 0
    assert opened == ["gui"]


def test_unknown_command(call: Callable[..., Any]) -> None:
    ended = call("ruin")
    assert ended.status == 2
    assert "invalid choice: 'ruin'" in ended.err.splitlines()[-1]


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help(command: str, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ended = call(command, "--help")
    assert ended.status == 0
    assert ended.out.startswith(f"usage: main.py {command}")
    assert ended.err == ""
    assert max(map(len, ended.out.splitlines())) <= 80


def test_help_of_every_command_imports_nothing_heavy(root: Path) -> None:
    code = f"""
import sys
from app.cli import COMMANDS, build_parser
for command in COMMANDS:
    build_parser(command).format_help()
print([name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("[]", "", 0)


def test_process_of_its_own(root: Path, tmp_path: Path) -> None:
    """Status and streams as a shell sees them, from another folder than the program's."""
    process = program(root, "run", "nothing.mp4", "--out", "results", cwd=tmp_path)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 2
    assert err == "error: nothing.mp4: no such file\n"
    assert "input" in out  # what would have run; results go to stdout


def test_reader_of_stdout_is_gone(root: Path, sample_still: Path, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = program(root, "run", sample_still, "--out", tmp_path, "--input-size", 129, stdout=writing)
    os.close(writing)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert err == ""  # nobody is left to tell
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_ctrl_c(root: Path, sample_clip: Path, tmp_path: Path) -> None:
    """Interrupted while frames are written: they stay under partial names, and one line says how to go on."""
    process = program(root, "run", sample_clip, "--out", tmp_path, "--input-size", 1025)
    growing = tmp_path / "sample.partial.ndjson"
    deadline = time.monotonic() + DEADLINE_S
    while not (growing.exists() and growing.stat().st_size) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert err.startswith(f"interrupted: {sample_clip} is done up to ")
    assert err.endswith("; the same command with --skip-done does the rest\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sample.partial.mp4", "sample.partial.ndjson"]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], int]], None]:
    """Replaces what the command `doctor` does."""

    def replace(body: Callable[[], int]) -> None:
        module = SimpleNamespace(add_arguments=lambda parser: None, run=lambda options: body())
        monkeypatch.setattr(cli, "_module", lambda name: module)

    return replace


def raising(error: BaseException) -> Callable[[], int]:
    def body() -> int:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (ModuleNotFoundError("No module named 'av'", name="av"), 2, "error: av is not installed: pip install -r requ"),
        (ImportError("libGL.so.1: cannot open"), 2, "error: a package does not load: libGL.so.1: cannot open; `python"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "error: standard output: No space left on device"),
    ],
)
def test_what_ends_the_program(
    error: BaseException, status: int, text: str, call: Callable[..., Any], command: Callable[..., None]
) -> None:
    command(raising(error))
    ended = call("doctor")
    assert ended.status == status
    assert ended.err.startswith(text)
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize("error", [ImportError("cannot import name", name="engine.models"), ZeroDivisionError()])
def test_own_mistakes_keep_their_traceback(
    error: Exception, call: Callable[..., Any], command: Callable[..., None]
) -> None:
    command(raising(error))
    with pytest.raises(type(error)):
        call("doctor")


def test_stdout_that_takes_nothing(
    call: Callable[..., Any], command: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What print leaves in its buffer is written, and its failure told, before the program ends."""

    class Full(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def body() -> int:
        print("a line")
        return 0

    command(body)
    full = io.TextIOWrapper(io.BufferedWriter(Full()), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", full)
    ended = call("doctor")
    monkeypatch.undo()
    with pytest.raises(OSError, match="No space"):
        full.close()
    assert ended.status == 2
    assert ended.error_line() == f"standard output: {os.strerror(errno.ENOSPC)}"


def test_text_the_encoding_lacks(
    call: Callable[..., Any], command: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def body() -> int:
        print("M\u00fcller \u2603 \udcff")
        return 0

    raw = io.BytesIO()
    latin = io.TextIOWrapper(raw, encoding="latin-1", newline="\n")
    command(body)
    monkeypatch.setattr(sys, "stdout", latin)
    assert call("doctor").status == 0
    assert raw.getvalue() == b"M\xfcller \\u2603 \\udcff\n"
