"""What a worker finds out about a clip before it is cut into slices."""

from pathlib import Path

import av
import pytest

from app.batching.clip_work import ClipWork
from app.batching.jobs import Done, Job
from app.run_settings import RunSettings
from pipeline.clips import FileSource
from pipeline.stamps import times_go_back


@pytest.fixture
def stream(sample_clip: Path, tmp_path: Path) -> Path:
    """The sample clip as a transport stream, which may be joined end to end."""
    path = tmp_path / "stream.ts"
    with av.open(str(sample_clip)) as source, av.open(str(path), "w") as target:
        video = source.streams.video[0]
        copy = target.add_stream_from_template(video)
        for packet in source.demux(video):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    return path


def do(job: Job) -> Done:
    """A job that needs no network."""
    told: list[tuple[int, int | None]] = []
    done = ClipWork(RunSettings(), None).do(job, lambda *progress: told.append(progress))  # type: ignore[arg-type]
    assert told or job.kind == "join"
    return done


def plan(clip: Path) -> Done:
    return do(Job(1, "plan", str(clip), str(clip.parent), clip.stem))


def test_a_clip_is_cut_by_its_length(stream: Path, sample_clip: Path) -> None:
    for clip in (stream, sample_clip):
        assert plan(clip).duration_s == pytest.approx(8.0, abs=0.2)
        assert plan(clip).warnings == ()


def test_a_clip_whose_times_begin_again_is_done_in_one_and_says_so(stream: Path) -> None:
    stream.write_bytes(stream.read_bytes() * 2)
    done = plan(stream)
    assert done.duration_s is None
    [warning] = done.warnings
    assert warning == f"{stream}: its times begin again on the way, so it is done in one slice"


def test_damage_does_not_make_the_times_go_back(stream: Path, sample_clip: Path, tmp_path: Path) -> None:
    data = bytearray(stream.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 5000] = bytes(5000)
    stream.write_bytes(data)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(sample_clip.read_bytes()[:200_000])
    assert not times_go_back(stream)
    assert not times_go_back(cut)


def test_a_length_that_cannot_be_is_not_believed(sample_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = FileSource._probe

    def absurd(self: FileSource) -> object:
        info = probe(self)
        self.duration_s = 7000 * 3600.0
        return info

    monkeypatch.setattr(FileSource, "_probe", absurd)
    done = ClipWork(RunSettings(), None).do(  # type: ignore[arg-type]
        Job(1, "plan", str(sample_clip), "", ""), lambda frames, total: None
    )
    assert done == Done()


def test_nothing_to_join_is_no_file(tmp_path: Path) -> None:
    assert do(Job(1, "join", "a.mp4", str(tmp_path), "a")) == Done()
    assert list(tmp_path.iterdir()) == []
