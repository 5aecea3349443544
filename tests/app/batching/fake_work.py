"""Work for the tests of `batch`: "clips" are text files that say what is to happen to whoever reads them.

A clip's first word: "frames N" writes N lines, with `settings["frame_s"]` for each; the others fail in their way,
always or, with "once" behind them, only if they have not done so before (a file beside the clip remembers).
"""

import contextlib
import errno
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.batching.jobs import Done, Job, Tell
from app.batching.slices import join
from engine.errors import UserError

WORK = "tests.app.batching.fake_work:open_fake_work"


@contextlib.contextmanager
def open_fake_work(settings: dict[str, Any]) -> Iterator["FakeWork"]:
    if text := settings.get("unusable"):
        raise UserError(text)
    if settings.get("die_at_start"):
        os.kill(os.getpid(), signal.SIGKILL)
    if settings.get("clock_jumps"):
        jumps = random.Random(2)
        time.time = lambda: jumps.uniform(0, 4e9)
    print("a library that writes to stdout")
    yield FakeWork(settings)


class FakeWork:
    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings

    def do(self, job: Job, tell: Tell) -> Done:
        words = Path(job.source).read_text(encoding="utf-8").split()
        target = Path(job.folder) / f"{job.name}.ndjson"
        if job.kind == "plan":
            return Done(duration_s=float(words[1]) / 10)
        if job.kind == "join":
            return Done((target.name,), join([Path(part) for part in job.parts], target, tell))
        if words[0] != "frames" and not _happened(Path(job.source), words):
            _fail(words[0], target)
        times = [index / 10 for index in range(int(words[1]) if words[0] == "frames" else 1)]
        times = [t for t in times if (job.begin_s or 0) <= t and (job.end_s is None or t < job.end_s)]
        with target.open("w", encoding="utf-8") as file:
            for index, time_s in enumerate(times):
                record = {"frame": index, "time_s": time_s, "instances": [{"id": 1, "of": Path(job.source).name}]}
                file.write(json.dumps(record, separators=(",", ":")) + "\n")
                file.flush()
                time.sleep(self._settings.get("frame_s", 0))
                tell(index + 1, len(times))
        return Done((target.name,), len(times), warnings=tuple(words[2:]) if words[0] == "frames" else ())


def _happened(clip: Path, words: list[str]) -> bool:
    if words[1:] != ["once"]:
        return False
    memory = clip.with_name(f"{clip.name}.happened")
    if memory.exists():
        return True
    memory.touch()
    return False


def _fail(how: str, target: Path) -> None:
    target.write_text("half", encoding="utf-8")
    match how:
        case "bad":
            raise UserError("cannot be read:\nsecond line")
        case "bug":
            raise RuntimeError("a bug")
        case "hang":
            while True:
                time.sleep(60)
        case "full":
            raise UserError(f"{target}: cannot be written: disk full") from OSError(errno.ENOSPC, "No space left")
        case "exit":
            print("the last words", file=sys.stderr, flush=True)
            os._exit(7)
        case _:
            print("a library complains", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.Signals[how])
            time.sleep(60)
