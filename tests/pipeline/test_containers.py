import tracemalloc

import pytest

from pipeline.containers import is_unfinished_mp4, missing_bytes

CLIPS = [("clip.mp4", "libx264"), ("clip.mkv", "libx264"), ("clip.avi", "mjpeg")]


@pytest.mark.parametrize(("name", "codec"), CLIPS)
def test_a_whole_file_lacks_nothing(make_clip, name, codec) -> None:
    assert missing_bytes(make_clip(name, codec=codec)) == 0


@pytest.mark.parametrize(("name", "codec"), CLIPS)
@pytest.mark.parametrize("cut", [1, 100, 1000])
def test_the_missing_bytes_are_counted(make_clip, name, codec, cut) -> None:
    path = make_clip(name, codec=codec, faststart=True)
    path.write_bytes(path.read_bytes()[:-cut])
    assert missing_bytes(path) == cut


@pytest.mark.parametrize(("name", "codec"), CLIPS)
def test_a_header_cut_anywhere_is_survived(make_clip, name, codec) -> None:
    path = make_clip(name, codec=codec)
    head = path.read_bytes()[:64]
    for size in range(len(head)):
        path.write_bytes(head[:size])
        assert missing_bytes(path) >= 0
        assert isinstance(is_unfinished_mp4(path), bool)


def test_something_behind_the_last_box_is_no_damage(make_clip) -> None:
    path = make_clip("clip.mp4")
    path.write_bytes(path.read_bytes() + b"\0\0\xff\xff\0\0\0\0 a camera's own notes")
    assert missing_bytes(path) == 0


def test_other_formats_are_not_judged(tmp_path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"just some text, long enough for a header")
    assert missing_bytes(path) == 0
    assert not is_unfinished_mp4(path)


def test_an_mp4_without_its_index_is_told_from_one_with_it(make_clip) -> None:
    path = make_clip("clip.mp4")
    assert not is_unfinished_mp4(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert is_unfinished_mp4(path)


@pytest.fixture
def boxes(tmp_path):
    """Write an MP4 of so many empty boxes, then one that claims 100 bytes more than there are."""

    def write(count):
        path = tmp_path / "boxes.mp4"
        path.write_bytes(b"\0\0\0\x0cftypisom" + count * b"\0\0\0\x08free" + b"\0\0\0\x6cmdat")
        return path

    return write


def test_a_file_of_nothing_but_boxes_takes_no_memory(boxes) -> None:
    path = boxes(50_000)
    tracemalloc.start()
    try:
        assert missing_bytes(path) == 100
        assert is_unfinished_mp4(path)
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


def test_so_many_boxes_are_looked_at_and_no_more(boxes, monkeypatch) -> None:
    path = boxes(8)
    monkeypatch.setattr("pipeline.containers._MOST_BOXES", 10)
    assert missing_bytes(path) == 100
    monkeypatch.setattr("pipeline.containers._MOST_BOXES", 9)
    assert missing_bytes(path) == 0
