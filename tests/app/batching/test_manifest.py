"""The manifest: one writer, a version, and changes that happen altogether or not at all."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from app.batching.jobs import Outcome
from app.batching.manifest import VERSION, Manifest
from engine.errors import UserError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "manifest.sqlite"


def add(manifest: Manifest, *clips: str) -> None:
    manifest.keep_settings("s", "{}")
    manifest.add([(clip, str(number), "clip") for number, clip in enumerate(clips)], "s")


def test_schema_has_a_version_and_a_log(path: Path) -> None:
    with Manifest(path) as manifest:
        add(manifest, "/a.mp4")
    with contextlib.closing(sqlite3.connect(path)) as base:
        assert base.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert base.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_another_version_is_refused(path: Path) -> None:
    with Manifest(path):
        pass
    with contextlib.closing(sqlite3.connect(path)) as base:
        base.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(UserError, match=f"of version {VERSION + 1}, this program writes {VERSION}"):
        Manifest(path)


def test_other_files_are_refused(path: Path) -> None:
    path.write_text("no database, but longer than the header of one, which has 100 bytes\n" * 3, encoding="utf-8")
    with pytest.raises(UserError, match="not a manifest that can be used"):
        Manifest(path)
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as base:
        base.execute("CREATE TABLE theirs (x)")
    with pytest.raises(UserError, match="not a manifest of `batch`"):
        Manifest(path)


def test_one_at_a_time(path: Path) -> None:
    with Manifest(path), pytest.raises(UserError, match="another batch is at work on this folder"):
        Manifest(path)
    with Manifest(path):
        pass


def test_everything_else_is_tried_before_a_second_attempt(path: Path) -> None:
    with Manifest(path) as manifest:
        add(manifest, "/a.mp4", "/b.mp4")
        first = manifest.next_unit()
        assert first is not None
        manifest.begin(first, 5, 6)
        assert manifest.fail(first, Outcome(first.id, error="no"), 2) == "failed"
        second = manifest.next_unit()
        assert second is not None
        assert second.clip == "/b.mp4"
        manifest.begin(second, None, None)
        again = manifest.next_unit()
        assert again is not None
        assert (again.clip, again.attempts, again.error, again.size) == ("/a.mp4", 1, "no", 5)
        assert manifest.fail(again, Outcome(again.id, error="no"), 2) == "quarantined"
        assert manifest.next_unit() is None
        manifest.free_running()
        assert manifest.next_unit() == manifest.units("/b.mp4")[0]


def test_finished_unit_keeps_its_figures(path: Path) -> None:
    with Manifest(path) as manifest:
        add(manifest, "/a.mp4")
        [unit] = manifest.units()
        outcome = Outcome(unit.id, frames=30, seconds=2.0, digest="d", warnings=("w",), host="h", worker=7)
        manifest.finish(unit, outcome, ["a.ndjson"])
        [unit] = manifest.units()
    assert (unit.status, unit.frames, unit.fps, unit.content_hash) == ("done", 30, 15.0, "d")
    assert (unit.files, unit.warnings, unit.host, unit.worker) == (("a.ndjson",), ("w",), "h", 7)


def test_a_transaction_happens_or_not(path: Path) -> None:
    with Manifest(path) as manifest:
        add(manifest, "/a.mp4")
        [unit] = manifest.units()
        with contextlib.suppress(KeyboardInterrupt), manifest.transaction():
            manifest.finish(unit, Outcome(unit.id), [])
            raise KeyboardInterrupt
        assert manifest.units() == [unit]


def test_any_path_is_kept(path: Path) -> None:
    clips = ["/a\nb.mp4", "/\udcff.mp4", "/Zoë 'x'.mp4"]
    with Manifest(path) as manifest:
        add(manifest, *clips)
        assert [unit.clip for unit in manifest.units()] == clips
        assert len(manifest.units("/\udcff.mp4")) == 1
