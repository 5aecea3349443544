"""A whole batch with fake work: what is done, shown and remembered, and what is done again."""

import io
import json
import os
import random
import time
from pathlib import Path

import pytest
from rich.console import Console

from app.batching.display import screen
from app.batching.jobs import Progress
from app.batching.manifest import Manifest
from app.batching.session import MANIFEST
from engine.errors import UserError
from tests.app.batching.conftest import Batch

HANG_S = 0.7


def test_everything_is_done(batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(6):
        batch.add(f"{number}.txt", f"frames {number + 1}")
    assert batch.run(workers=2) == 0
    assert batch.names() == {f"{number}.ndjson" for number in range(6)}
    out = capsys.readouterr().out.splitlines()
    assert "6 of 6 clips are done" in out
    assert sum(line.startswith("[") for line in out) == 6
    report = json.loads((batch.out / "report.json").read_text(encoding="utf-8"))
    assert report["counts"] == {"done": 6, "pending": 0, "running": 0, "failed": 0, "quarantined": 0}
    assert sum(clip["frames"] for clip in report["clips"]) == 21
    assert [unit.attempts for unit in batch.units()] == [1] * 6


def test_quarantine(batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in {"a": "frames 1", "b": "bad", "c": "hang", "d": "SIGSEGV once", "e<|>": "bug"}.items():
        batch.add(f"{name}.txt", text)
    assert batch.run(workers=2, timeout_s=HANG_S) == 1
    assert batch.names() == {"a.ndjson", "d.ndjson"}
    attempts = {Path(unit.clip).stem: unit.attempts for unit in batch.units()}
    assert attempts == {"a": 1, "b": 3, "c": 3, "d": 2, "e<|>": 3}
    out = capsys.readouterr().out
    assert "2 of 5 clips are done, 3 in quarantine" in out
    assert f"quarantined: {batch.source / 'c.txt'}: no progress for {HANG_S} s" in out
    report = (batch.out / "report.md").read_text(encoding="utf-8")
    assert f"| {batch.source}/e&lt;\\|>.txt | 3 | RuntimeError: a bug |" in report
    assert "## Slowest" in report


def test_resume_leaves_quarantine_alone_unless_told_otherwise(batch: Batch) -> None:
    batch.add("a.txt", "bad")
    assert batch.run() == 1
    [before] = batch.units()
    assert batch.run(resume=True) == 1
    assert batch.units() == [before]
    assert batch.run(resume=True, retry_quarantined=True, attempts=1) == 1
    [after] = batch.units()
    assert after.attempts == 1


def test_a_batch_is_not_begun_twice(batch: Batch) -> None:
    batch.add("a.txt", "frames 1")
    assert batch.run() == 0
    with pytest.raises(UserError, match="holds a batch already, 1 of 1 clips are done; add --resume to go on with it"):
        batch.run()


def test_no_clips(batch: Batch) -> None:
    with pytest.raises(UserError, match="no clips to process"):
        batch.run()


def test_two_at_once(batch: Batch) -> None:
    batch.add("a.txt", "frames 1")
    assert batch.run() == 0
    with Manifest(batch.out / MANIFEST), pytest.raises(UserError, match="another batch is at work"):
        batch.run(resume=True)


def test_clips_in_the_output_folder(batch: Batch) -> None:
    batch.out = batch.source
    batch.add("sub/a.txt", "frames 1")
    with pytest.raises(UserError, match="lies in the output folder"):
        batch.run()


def test_resume_does_what_is_missing_and_nothing_else(batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    kept = batch.add("kept.txt", "frames 2")
    changed = batch.add("changed.txt", "frames 2")
    touched = batch.add("touched.txt", "frames 2")
    batch.add("lost.txt", "frames 2")
    moved = batch.add("moved.txt", "frames 2")
    assert batch.run() == 0
    before = batch.results()
    changed.write_text("frames 3", encoding="utf-8")
    os.utime(touched, (1, 1))
    (batch.out / "lost.ndjson").unlink()
    moved.unlink()
    batch.clips = [str(kept)]
    batch.add("new.txt", "frames 1")
    capsys.readouterr()
    assert batch.run(resume=True) == 0
    captured = capsys.readouterr()
    assert "results or settings have changed: 2" in captured.err
    assert captured.out.count(" done: ") == 3
    after = batch.results()
    assert after["lost.ndjson"][1] == before["lost.ndjson"][1]
    assert after["changed.ndjson"][1] != before["changed.ndjson"][1]
    assert {name for name in before if after[name] == before[name]} == {"kept.ndjson", "touched.ndjson", "moved.ndjson"}
    assert set(after) - set(before) == {"new.ndjson"}
    capsys.readouterr()
    assert batch.run(resume=True) == 0  # the time of `touched` is known by now
    assert batch.results() == after
    assert " done: " not in capsys.readouterr().out


def test_other_settings_begin_again(batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    batch.add("a.txt", "frames 2")
    assert batch.run({"threshold": 1}) == 0
    assert batch.run({"threshold": 2}, resume=True) == 0
    assert "settings have changed: 1" in capsys.readouterr().err
    assert batch.run({"threshold": 2}, resume=True, slice_s=0.1) == 0
    assert "settings have changed: 1" in capsys.readouterr().err


def test_names_from_anywhere_stay_inside(batch: Batch) -> None:
    for name in ("x/clip.txt", "y/clip.txt", "line\nbreak.txt", "-rf.txt", "é" * 100 + ".txt", "con.txt"):
        batch.add(name, "frames 1")
    assert batch.run(workers=2) == 0
    names = batch.names()
    assert len(names) == 6
    assert {"line_break.ndjson", "_rf.ndjson", "con_.ndjson", "clip.ndjson"} <= names
    assert sorted(path.name for path in batch.out.parent.iterdir()) == ["in", "out"]
    for unit in batch.units():
        [file] = unit.files
        assert Path(unit.clip).name in (batch.out / file).read_text(encoding="utf-8").encode().decode("unicode_escape")


def test_slices_join_to_the_whole(batch: Batch) -> None:
    batch.add("a.txt", "frames 47")
    assert batch.run({}) == 0
    whole = (batch.out / "a.ndjson").read_text(encoding="utf-8")
    batch.out = batch.out.with_name("sliced")
    assert batch.run({}, slice_s=1.0, workers=2) == 0
    assert [unit.kind for unit in batch.units()] == ["plan", *["part"] * 5, "join"]
    assert batch.names() == {"a.ndjson"}
    sliced = [json.loads(line) for line in (batch.out / "a.ndjson").read_text(encoding="utf-8").splitlines()]
    assert {record["instances"][0]["id"] for record in sliced} == {1, 2, 3, 4, 5}
    for record in sliced:
        record["instances"][0]["id"] = 1
    assert sliced == [json.loads(line) for line in whole.splitlines()]
    before = batch.results()
    assert batch.run({}, slice_s=1.0, resume=True) == 0
    assert batch.results() == before
    report = json.loads((batch.out / "report.json").read_text(encoding="utf-8"))
    assert [(clip["frames"], clip["files"]) for clip in report["clips"]] == [(47, ["a.ndjson"])]


def test_a_lost_slice_is_no_clip(batch: Batch) -> None:
    batch.add("a.txt", "bad")
    assert batch.run({}, slice_s=1.0) == 1
    assert batch.names() == set()


def test_json_lines(batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    batch.add("a.txt", "frames 2")
    batch.add("b.txt", "bad")
    assert batch.run(log_json=True, attempts=1) == 1
    out, err = capsys.readouterr()
    assert out == ""
    records = [json.loads(text) for text in err.splitlines()]
    ended = [record for record in records if record["event"] in {"done", "quarantined"}]
    assert [(record["event"], record["error"]) for record in ended] == [
        ("done", None),
        ("quarantined", "cannot be read: second line"),
    ]
    assert ended[-1]["units"] == {"done": 1, "quarantined": 1}
    assert any(record["event"] == "progress" and len(record["workers"]) == 1 for record in records)
    assert records[-1]["event"] == "end"
    assert records[-1]["clips"]["quarantined"] == 1


def test_clock_jumps_do_not_matter(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    jumps = random.Random(1)
    monkeypatch.setattr(time, "time", lambda: jumps.uniform(0, 4e9))
    batch.add("a.txt", "frames 3")
    batch.add("b.txt", "hang")
    assert batch.run({"clock_jumps": True}, timeout_s=HANG_S, attempts=2) == 1
    assert batch.statuses() == {"a.txt": "done", "b.txt": "quarantined"}
    assert all(0 <= (unit.seconds or 0) < 60 for unit in batch.units())


def test_the_screen_shows_workers_and_totals() -> None:
    progress = [Progress("/in/a\nb.mp4", 30, 120, 2.0), None]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(screen(progress, {"done": 3, "pending": 6}, 3, 60.0))
    text = console.export_text().splitlines()
    assert text[0].split() == ["worker", "clip", "frames", "frames/s"]
    assert text[1].split() == ["1", "a\\nb.mp4", "30/120", "15.0"]
    assert text[2].split() == ["2", "-"]
    assert text[3] == "3 done, 6 pending, 0:02:00 left, 0:01:00 so far"
