"""Damages media files in thousands of ways: the program may neither crash, hang nor trace back.

    python tools/fuzz_media.py --cases 2000 --seed 1

Each case is a small clip or picture, cut off or with wrong bytes. A child process reads it through `open_source`, to
its end and from its middle; one child takes many cases and is replaced when it dies or hangs. A file that did that to
it is kept in --keep.
"""

import argparse
import json
import queue
import random
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final, NamedTuple, Self

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SEEDS: Final = (
    "h264.mp4", "hevc.mp4", "av1.mp4", "h264-10bit.mkv", "vp9.webm", "vp8.webm", "divx.avi", "mjpeg.avi", "mpeg2.ts",
    "mpeg2.mpg", "prores.mov", "wmv.wmv", "interlaced-h264.mp4", "turned-90.mp4", "plain.jpg", "exif-6.jpg", "cmyk.jpg",
    "palette.png", "colour-16bit.tiff", "lossy.webp", "plain.jp2", "plain.avif", "palette.gif", "moving.gif",
    "moving.webp", "moving.png",
)  # fmt: skip
CHILD: Final = (sys.executable, __file__, "--child")
LIMIT_S: Final = 30.0  # for one case
START_S: Final = 60.0  # for a child to import what it needs
MEMORY_BYTES: Final = 4 << 30  # of a child's address space
MOST_FRAMES: Final = 200
SOUGHT_S: Final = 0.25  # a place in the middle of the clips
_BAD: Final = ("traceback", "crash", "hang")


class Outcome(NamedTuple):
    """How a case ended: works, partial or error are well, traceback, crash and hang are not."""

    kind: str
    detail: str


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The file cut off, or with wrong, missing, doubled or moved bytes."""
    out = bytearray(data)
    way = rng.choice(("cut", "flip", "flip", "header", "header", "zeros", "noise", "remove", "double", "swap"))
    place = rng.randrange(len(out))
    size = min(rng.choice((1, 4, 16, 256, 4096)), len(out) - place)
    if way == "cut":
        del out[place:]
    elif way in ("flip", "header"):
        area = len(out) if way == "flip" else min(len(out), 1024)
        for _ in range(rng.choice((1, 2, 8, 64))):
            out[rng.randrange(area)] ^= 1 << rng.randrange(8)
    elif way == "zeros":
        out[place : place + size] = bytes(size)
    elif way == "noise":
        out[place : place + size] = rng.randbytes(size)
    elif way == "remove":
        del out[place : place + size]
    elif way == "double":
        out[place:place] = out[place : place + size]
    else:
        other = rng.randrange(len(out) - size + 1)
        out[place : place + size] = data[other : other + size]
    return bytes(out)


class Reader:
    """A child process that reads files; a context manager."""

    def __init__(self, limit_s: float = LIMIT_S, command: Sequence[str] = CHILD) -> None:
        """`command` starts a child, which has `limit_s` for each file."""
        self._limit_s = limit_s
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.starts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self._end()

    def read(self, path: Path) -> Outcome:
        """Let the child read one file to its end."""
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        try:
            line = self._lines.get(timeout=self._limit_s)
        except queue.Empty:
            self._end()
            return Outcome("hang", f"nothing for {self._limit_s:g} s")
        if not line:
            status = self._process.wait()
            self._end()
            return Outcome("crash", f"the child ended with status {status}")
        return Outcome(*json.loads(line))

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT,
        )  # fmt: skip
        self._lines = queue.SimpleQueue()
        self.starts += 1
        self._pump = threading.Thread(target=_pump, args=(self._process.stdout, self._lines), name="child's answers")
        self._pump.start()
        if not self._lines.get(timeout=START_S):
            raise SystemExit("fuzz: the child does not start")

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._pump.join()
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                pipe.close()
            self._process.wait()
            self._process = None


def _pump(stream: IO[str] | None, lines: "queue.SimpleQueue[str]") -> None:
    """Pass a child's lines on, then "" when it has ended."""
    assert stream is not None
    for line in stream:
        lines.put(line)
    lines.put("")


def serve() -> None:
    """The child: reads the files whose names come in, and answers with a line of JSON each."""
    import faulthandler

    if sys.platform.startswith("linux"):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable()
    outcome_of(Path(__file__))  # what is imported late is imported now
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(outcome_of(Path(line.rstrip("\n")))), flush=True)


def outcome_of(path: Path) -> Outcome:
    """Read one file to its end."""
    from itertools import islice

    from engine.errors import UserError
    from pipeline.sources import open_source

    try:
        with open_source(str(path)) as source:
            count = sum(1 for _ in islice(source, MOST_FRAMES))
            source.seek(SOUGHT_S)
            next(iter(source), None)
        if not count:
            return Outcome("traceback", "no frame, and no word of it")
        if any("\n" in line for line in source.warnings):
            return Outcome("traceback", f"a warning of several lines: {source.warnings}")
        return Outcome("partial" if source.warnings else "works", "; ".join(source.warnings))
    except UserError as error:
        return Outcome("traceback" if "\n" in str(error) else "error", str(error))
    except BaseException as error:  # noqa: BLE001 - to be reported, whatever it is
        return Outcome("traceback", f"{type(error).__name__}: {error}")


def fuzz(cases: int, seed: int, keep: Path | None = None, limit_s: float = LIMIT_S) -> Counter[tuple[str, str]]:
    """How often each kind of outcome came with each suffix; files that ended badly are kept if a folder is given."""
    from tests.odd_inputs.table import odd_inputs

    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder, Reader(limit_s) as reader:
        seeds = {}
        for odd in odd_inputs():
            if odd.name in SEEDS:
                odd.make(Path(folder) / odd.name)
                seeds[odd.name] = (Path(folder) / odd.name).read_bytes()
        for number in range(cases):
            name = SEEDS[number % len(SEEDS)]
            path = Path(folder) / f"case{Path(name).suffix}"
            path.write_bytes(damaged(seeds[name], random.Random(f"{seed} {number}")))
            outcome = reader.read(path)
            counts[outcome.kind, path.suffix] += 1
            if outcome.kind in _BAD:
                print(f"case {number} of {name}: {outcome.kind}: {outcome.detail}", flush=True)
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    path.rename(keep / f"{seed}-{number}-{name}")
    return counts


def table(counts: Counter[tuple[str, str]]) -> str:
    """The counts as Markdown."""
    kinds = ("works", "partial", "error", *_BAD)
    rows = {suffix: [counts[kind, suffix] for kind in kinds] for suffix in sorted({suffix for _, suffix in counts})}
    rows["all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    lines = [f"| {suffix} | {' | '.join(map(str, numbers))} |" for suffix, numbers in rows.items()]
    return "\n".join([f"| file | {' | '.join(kinds)} |", f"|---|{'---:|' * len(kinds)}", *lines])


def main() -> int:
    """Fuzz, print the counts; 1 if anything ended badly."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="folder for the files that ended badly")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        serve()
        return 0
    counts = fuzz(options.cases, options.seed, options.keep)
    print(table(counts))
    return int(any(kind in _BAD for kind, _ in counts))


if __name__ == "__main__":
    sys.exit(main())
