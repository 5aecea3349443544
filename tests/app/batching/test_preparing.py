"""What begins again, and what must not stay of it."""

from pathlib import Path

from app.batching.folder import OutputFolder
from app.batching.jobs import Outcome
from app.batching.manifest import Manifest
from app.batching.preparing import prepare


def test_parts_of_an_earlier_cut_are_removed_and_whole_results_stay_until_they_are_replaced(tmp_path: Path) -> None:
    clips = [str(tmp_path / name) for name in ("cut.mp4", "whole.mp4")]
    for clip in clips:
        Path(clip).write_bytes(b"x")
    folder = OutputFolder(tmp_path / "out")
    with Manifest(folder.path / "manifest.sqlite") as manifest:
        prepare(manifest, folder, clips[:1], {"slice": 1}, "plan")
        [planned] = manifest.units()
        manifest.add_parts(planned, [(0.0, 1.0), (1.0, None)])
        manifest.add([(clips[1], "whole", "clip")], planned.settings_hash)
        for unit in manifest.units():
            files = {"plan": [], "clip": ["whole.csv"]}.get(unit.kind, [f"cut.part-{unit.part:04}.csv"])
            for file in files:
                (folder.path / file).touch()
            manifest.finish(unit, Outcome(unit.id, digest="d"), files)
        assert prepare(manifest, folder, clips, {"slice": 2}, "plan") == 2
        assert {path.name for path in folder.path.glob("*.csv")} == {"whole.csv"}
        assert [(unit.kind, unit.status) for unit in manifest.units()] == [("plan", "pending")] * 2


def test_parts_of_a_clip_that_was_moved_away_stay(tmp_path: Path) -> None:
    clip = tmp_path / "cut.mp4"
    clip.write_bytes(b"x")
    folder = OutputFolder(tmp_path / "out")
    with Manifest(folder.path / "manifest.sqlite") as manifest:
        prepare(manifest, folder, [str(clip)], {"slice": 1}, "plan")
        [planned] = manifest.units()
        manifest.add_parts(planned, [(0.0, None)])
        part = manifest.units()[-1]
        (folder.path / "cut.part-0001.csv").touch()
        manifest.finish(part, Outcome(part.id, digest="d"), ["cut.part-0001.csv"])
        clip.unlink()
        prepare(manifest, folder, [], {"slice": 2}, "plan")
    assert (folder.path / "cut.part-0001.csv").exists()


def test_slices_are_done_once_all_are_and_are_of_the_clip_that_was_planned(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "out")
    with Manifest(folder.path / "manifest.sqlite") as manifest:
        prepare(manifest, folder, ["/a.mp4", "/b.mp4"], {}, "plan")
        for planned in manifest.units():
            manifest.finish(planned, Outcome(planned.id, digest=f"of {planned.clip}"), [])
            manifest.add_parts(planned, [(0.0, 1.0), (1.0, None)])
        assert manifest.planned_hash("/b.mp4") == "of /b.mp4"
        first, second = (unit for unit in manifest.units("/a.mp4") if unit.kind == "part")
        manifest.finish(first, Outcome(first.id), [])
        assert not manifest.parts_are_done("/a.mp4")
        manifest.finish(second, Outcome(second.id), [])
        assert manifest.parts_are_done("/a.mp4")
        assert not manifest.parts_are_done("/b.mp4")
