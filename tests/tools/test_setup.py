"""The set-up's optional part: what the tests on a real screen need is installed where it can be, and never demanded."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="system packages are a matter of Linux")


@pytest.fixture
def setup(root: Path) -> ModuleType:
    """tools/setup.py as a module; nothing is set up by importing it."""
    spec = importlib.util.spec_from_file_location("tools_setup", root / "tools" / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class System:
    """A machine with an apt-get that installs what it is asked for, if it `works`."""

    def __init__(self, works: bool) -> None:
        self.works = works
        self.installed: set[str] = set()
        self.commands: list[str] = []

    def run_apt(self, command: str) -> str:
        self.commands.append(command)
        if self.works and " install " in command:
            self.installed |= set(command.split())
        return ""


@pytest.fixture
def make_system(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[..., System]:
    def make(works: bool = True, user: int = 0, programs: tuple[str, ...] = ("apt-get",)) -> System:
        system = System(works)

        def load(library: str) -> None:
            if setup.WINDOW_LIBRARIES[library] not in system.installed:
                raise OSError(library)

        def which(name: str) -> str | None:
            found = name in programs or (name == setup.SCREEN and setup.SCREEN_PACKAGE in system.installed)
            return f"/usr/bin/{name}" if found else None

        monkeypatch.setattr(setup.ctypes, "CDLL", load)
        monkeypatch.setattr(setup.shutil, "which", which)
        monkeypatch.setattr(setup.os, "geteuid", lambda: user)
        monkeypatch.setattr(setup, "run_apt", system.run_apt)
        return system

    return make


def test_root_gets_them_installed(setup: ModuleType, make_system: Callable[..., System], capsys) -> None:
    system = make_system()
    setup.try_window_packages()
    assert system.commands[0] == "apt-get update"
    assert {"xvfb", "libxcb-cursor0", "libxkbcommon-x11-0"} <= set(system.commands[1].split())
    assert len(capsys.readouterr().out.splitlines()) == 1
    setup.try_window_packages()
    assert len(system.commands) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("machine", [{"user": 1000}, {"programs": ()}, {"works": False}])
def test_otherwise_a_note_names_them(
    machine: dict[str, object], setup: ModuleType, make_system: Callable[..., System], capsys
) -> None:
    make_system(**machine)
    setup.try_window_packages()
    note = capsys.readouterr().out.splitlines()[-1]
    assert "are skipped: xvfb libxcb-cursor0" in note


def test_only_what_is_missing(setup: ModuleType, make_system: Callable[..., System]) -> None:
    system = make_system(programs=("apt-get", "Xvfb"))
    system.installed = set(setup.WINDOW_LIBRARIES.values()) - {"libxcb-shape0"}
    setup.try_window_packages()
    assert system.commands[1].split()[-2:] == ["--no-install-recommends", "libxcb-shape0"]


@pytest.mark.parametrize(("kind", "asked"), [("run", []), ("dev", ["window"])])
def test_only_developers_are_asked(
    kind: str, asked: list[str], setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And a set-up that lacks them goes on to its end."""
    steps: list[str] = []
    monkeypatch.setattr(setup, "VENV", str(tmp_path))
    monkeypatch.setattr(setup, "is_ready", lambda kind: False)
    monkeypatch.setattr(setup, "ensure_system_packages", lambda kind: None)
    monkeypatch.setattr(setup, "try_window_packages", lambda: steps.append("window"))
    for name in ("ensure_venv", "venv_answers", "pip", "check_imports"):
        monkeypatch.setattr(setup, name, lambda *arguments: "ok")
    setup.set_up(kind)
    assert steps == asked
    assert (tmp_path / f"setup-{kind}.sha256").is_file()
