"""Sets up .venv for running (`run`) or for developing (`dev`), so that `make demo` and `make test` work at once.

In this order: check Python, check system packages (installed when we are root, else named), create .venv, install
packages, try the imports, leave a stamp. A stamp that matches means there is nothing to do. Only the standard
library is used here, and no syntax newer than Python 3.7, so that an old one gets a message, not a SyntaxError.
"""

import ctypes
import hashlib
import importlib
import os
import shutil
import subprocess
import sys

MIN_PYTHON = (3, 11)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")

# An open range takes the newest PyTorch, which brings gigabytes of CUDA libraries that no test needs. This version is
# the one the tests are run with; where pip is offered a CPU build of it (2.13.0+cpu) it takes that one. It goes in
# before the rest, whose range it then satisfies, and a PyTorch that is already in .venv is kept.
TORCH = "torch==2.13.0"

# Shared libraries that opencv-python, and in "dev" Qt, expect from the system, and the Debian packages that bring them.
RUN_LIBRARIES = {"libGL.so.1": "libgl1", "libgthread-2.0.so.0": "libglib2.0-0"}
SYSTEM_LIBRARIES = {
    "run": RUN_LIBRARIES,
    "dev": dict(
        RUN_LIBRARIES,
        **{
            "libEGL.so.1": "libegl1",
            "libxkbcommon.so.0": "libxkbcommon0",
            "libdbus-1.so.3": "libdbus-1-3",
            "libfontconfig.so.1": "libfontconfig1",
        },
    ),
}

# What the tests of the window on a real screen need besides: a screen in memory, and the libraries of Qt's plugin for
# it. Nobody has to have them: without them these tests are skipped.
SCREEN = "Xvfb"
SCREEN_PACKAGE = "xvfb"
WINDOW_LIBRARIES = {
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
}

REQUIREMENTS = {
    "run": ["requirements.txt"],
    "dev": ["requirements-dev.txt", "requirements-gui.txt", "requirements-train.txt", "requirements.txt"],
}
RUN_IMPORTS = "import av, cv2, numba, numpy, onnx, onnxruntime, PIL, psutil, pycocotools.mask, rich"
IMPORTS = {
    "run": RUN_IMPORTS,
    "dev": RUN_IMPORTS
    + ", hypothesis, importlinter, mypy, onnxscript, pyqtgraph, pytest, PyQt6.QtWidgets, safetensors, torch",
}
DISK = {"run": "about 0.7 GB on disk", "dev": "about 2 GB on disk"}

# pip says this once per package where an index offers files it cannot use. Nothing else of its output is hidden.
PIP_NOISE = "WARNING: Location "


class SetupError(Exception):
    """Something the user has to do; the text says what."""


def main():
    """Set up what the first argument names; returns the exit status."""
    if len(sys.argv) != 2 or sys.argv[1] not in REQUIREMENTS:
        print("usage: setup.py run|dev", file=sys.stderr)
        return 2
    try:
        set_up(sys.argv[1])
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


def set_up(kind):
    """Bring .venv to the state that `kind` needs."""
    if sys.version_info[:2] < MIN_PYTHON:
        raise SetupError(
            f"Python {MIN_PYTHON[0]}.{MIN_PYTHON[1]} or newer is needed, but {sys.executable} is "
            f"{sys.version_info[0]}.{sys.version_info[1]}. Name another one: make demo PYTHON=python3.12"
        )
    if is_ready(kind):
        return
    ensure_system_packages(kind)
    if kind == "dev":
        try_window_packages()
    ensure_venv()
    if kind == "dev" and not venv_answers("import torch"):
        say(f"installing {TORCH} into .venv ...")
        pip("install", TORCH)
    requirements = REQUIREMENTS[kind][0]
    say(f"installing {requirements} into .venv ({DISK[kind]}, a minute or more) ...")
    pip("install", "-r", os.path.join(ROOT, requirements))
    check_imports(kind)
    with open(stamp_path(kind), "w", encoding="utf-8") as file:
        file.write(fingerprint(kind))
    say("done.")


def is_ready(kind):
    """Whether .venv was set up for `kind`, or for developing, which contains running, from these very files."""
    kinds = {kind, "dev"}
    return os.path.exists(VENV_PYTHON) and any(read(stamp_path(name)) == fingerprint(name) for name in kinds)


def stamp_path(kind):
    """The file that says what .venv was set up from."""
    return os.path.join(VENV, f"setup-{kind}.sha256")


def fingerprint(kind):
    """One hash over everything that decides what must be installed."""
    digest = hashlib.sha256(f"{sys.version} {TORCH}".encode())
    for name in REQUIREMENTS[kind]:
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def read(path):
    """Text of a file, or None where there is no such file."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def ensure_system_packages(kind):
    """Install the Debian packages that are missing, or say which ones the user must install."""
    missing = missing_system_packages(kind)
    if not missing:
        return
    names = " ".join(missing)
    install = apt_install(names)
    if shutil.which("apt-get") is None:
        raise SetupError(f"install what your system offers in place of these Debian packages: {names}")
    if os.geteuid() != 0:
        raise SetupError(
            f"system packages are missing. Run this as root, then try again:\n\n  apt-get update && {install}\n"
        )
    say(f"installing system packages: {names} ...")
    # One source out of reach need not stop us: the installation itself decides. Its pages of output matter only if not.
    log = run_apt("apt-get update") + run_apt(install)
    still_missing = missing_system_packages(kind)
    if still_missing:
        raise SetupError(f"{log}\nthis did not work: {install}\nstill missing: {' '.join(still_missing)}")


def try_window_packages():
    """Install what the tests on a real screen need, where that is possible; a note where it is not."""
    missing = missing_window_packages()
    if not missing:
        return
    names = " ".join(missing)
    if os.geteuid() == 0 and shutil.which("apt-get") is not None:
        say(f"installing system packages for the tests of the window: {names} ...")
        run_apt("apt-get update")
        run_apt(apt_install(names))
        names = " ".join(missing_window_packages())
    if names:
        say(f"without these packages the tests of the window on a real screen are skipped: {names}")


def apt_install(names):
    """The command that installs Debian packages."""
    return f"apt-get install -y --no-install-recommends {names}"


def run_apt(command):
    """Run an apt-get command that asks nothing; returns what it printed."""
    done = subprocess.run(
        command.split(),
        env=dict(os.environ, DEBIAN_FRONTEND="noninteractive"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.stdout.decode(errors="replace")


def missing_system_packages(kind):
    """Debian names of the packages that the set-up or the installed packages would miss on this Linux."""
    if not sys.platform.startswith("linux"):
        return []
    missing = []
    if not os.path.exists(VENV_PYTHON) and not has_ensurepip():
        missing.append(f"python{sys.version_info[0]}.{sys.version_info[1]}-venv")
    return missing + packages_of_missing(SYSTEM_LIBRARIES[kind])


def missing_window_packages():
    """Debian names of the packages that the tests on a real screen would miss on this Linux."""
    if not sys.platform.startswith("linux"):
        return []
    screen = [] if shutil.which(SCREEN) else [SCREEN_PACKAGE]
    return screen + packages_of_missing(WINDOW_LIBRARIES)


def packages_of_missing(libraries):
    """The packages of those libraries that cannot be loaded."""
    missing = []
    for library, package in libraries.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            missing.append(package)
    return missing


def has_ensurepip():
    """Whether this Python can put pip into a new environment; Debian packages that part on its own."""
    importlib.invalidate_caches()
    try:
        import ensurepip

        return bool(ensurepip.version())
    except (ImportError, OSError):
        return False


def ensure_venv():
    """Create .venv, anew where the one that is there does not run or was made with another Python."""
    if venv_answers("import pip, sys; print(sys.version)") == sys.version:
        return
    say("creating .venv ...")
    if subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=False).returncode:
        raise SetupError(f"could not create {VENV} with {sys.executable}")


def venv_answers(code):
    """What the environment's Python prints for `code` (or "ok" for nothing), None where it fails."""
    try:
        done = subprocess.run([VENV_PYTHON, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    except OSError:
        return None
    return None if done.returncode else done.stdout.decode().strip() or "ok"


def pip(*arguments):
    """Run the environment's pip and pass on what it says, except known noise."""
    command = [VENV_PYTHON, "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check", *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout:
            if not line.startswith(PIP_NOISE):
                print(f"  pip: {line.rstrip()}", flush=True)
    if process.returncode:
        raise SetupError(f"pip {' '.join(arguments)} failed with status {process.returncode}")


def check_imports(kind):
    """Import what was installed, so that a package that cannot load is noticed here and by name."""
    done = subprocess.run(
        [VENV_PYTHON, "-c", IMPORTS[kind]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise SetupError(f"a package was installed but does not load:\n{done.stdout.strip()}")


def say(text):
    """One line of progress."""
    print(f"setup: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
