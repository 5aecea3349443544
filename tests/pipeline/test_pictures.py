import cv2
import numpy as np
import pytest

from engine.errors import UserError
from pipeline.pictures import FolderSource, ImageSource, natural_key
from pipeline.sources import SourceInfo, open_source


@pytest.mark.parametrize("name", ["still.png", "Bild ü 散歩.png", "without-suffix", "wrong.mp4"])
def test_a_picture_is_a_clip_of_one_frame(read, tmp_path, name) -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8)
    path = tmp_path / name
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    source = open_source(str(path))
    assert isinstance(source, ImageSource)
    assert source.info == SourceInfo(name, 41, 30, None, 1)
    frames, warnings = read(path)
    assert [(f.index, f.t_media_s) for f in frames] == [(0, 0.0)]
    np.testing.assert_array_equal(frames[0].image, image)
    assert warnings == []


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.full((4, 5), 77, np.uint8), (77, 77, 77)),
        (np.full((4, 5), 40_000, np.uint16), (156, 156, 156)),
        (np.full((4, 5, 4), (10, 20, 30, 200), np.uint8), (10, 20, 30)),
        (np.full((4, 5, 3), (256, 512, 65_535), np.uint16), (1, 2, 255)),
    ],
    ids=["grey", "grey16", "alpha", "colour16"],
)
def test_other_kinds_of_pictures_become_bgr8(read, tmp_path, stored, expected) -> None:
    path = tmp_path / "still.png"
    path.write_bytes(cv2.imencode(".png", stored)[1].tobytes())
    (frame,), _ = read(path)
    assert frame.image.shape == (4, 5, 3)
    assert frame.image.dtype == np.uint8
    assert np.all(frame.image == expected)


# ---- folders


def write(path, number=0, size=(8, 6)):
    path.write_bytes(cv2.imencode(path.suffix, np.full((size[1], size[0], 3), number, np.uint8))[1].tobytes())


def test_the_pictures_of_a_folder_come_in_natural_order(tmp_path, read) -> None:
    names = ["img1.png", "img2.PNG", "img10.png", "img010b.jpg", "x.bmp"]
    for number, name in enumerate(names):
        write(tmp_path / name, 10 * number, size=(8 + number, 6))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.png").write_bytes(b"no picture")
    (tmp_path / "folder.png").mkdir()
    source = open_source(str(tmp_path))
    assert isinstance(source, FolderSource)
    assert source.info == SourceInfo(tmp_path.name, 8, 6, 1.0, 5)
    assert source.duration_s == 5.0
    assert not source.live
    frames, warnings = read(tmp_path)
    assert [round(float(frame.image.mean())) for frame in frames] == [0, 10, 20, 30, 40]
    assert [frame.image.shape[1] for frame in frames] == [8, 9, 10, 11, 12]
    assert [(frame.index, frame.t_media_s) for frame in frames] == [(n, float(n)) for n in range(5)]
    assert warnings == []


def test_names_are_sorted_as_a_person_counts() -> None:
    names = ["b", "a10", "a2", "A1", "a02", "10", "9", "a2b", "a"]
    assert sorted(names, key=natural_key) == ["a", "A1", "a02", "a2", "a2b", "a10", "b", "9", "10"]


def test_a_damaged_picture_is_left_out_and_told(tmp_path, read) -> None:
    for number in (1, 2, 3):
        write(tmp_path / f"{number}.png", number)
    for name in ("0.png", "2.png"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    source = open_source(str(tmp_path))
    assert source.info.width == 8
    frames, warnings = read(tmp_path)
    assert [round(float(frame.image.mean())) for frame in frames] == [1, 3]
    assert [frame.t_media_s for frame in frames] == [1.0, 3.0]
    assert len(warnings) == 2
    assert warnings[1] == f"{tmp_path / '2.png'}: the picture is damaged or of a kind that cannot be read; left out"


def test_a_folder_can_be_played_again_from_any_place(tmp_path) -> None:
    for number in range(4):
        write(tmp_path / f"{number}.png", number)
    with open_source(str(tmp_path)) as source:
        frames = iter(source)
        shown = [next(frames).t_media_s]
        source.seek(2.7)
        shown += [frame.t_media_s for frame in frames]
        for seconds in (99.0, -1.0):
            source.seek(seconds)
            shown += [frame.t_media_s for frame in source]
    assert shown == [0.0, 2.0, 3.0, 3.0, 0.0, 1.0, 2.0, 3.0]


def test_a_damaged_picture_is_told_once_in_a_loop(tmp_path) -> None:
    write(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    with open_source(str(tmp_path)) as source:
        for _ in range(3):
            source.seek(0.0)
            assert len(list(source)) == 1
    assert len(source.warnings) == 1


def test_max_frames_of_a_folder(tmp_path, read) -> None:
    for number in range(4):
        write(tmp_path / f"{number}.png", number)
    assert len(read(tmp_path, max_frames=3)[0]) == 3
    assert open_source(str(tmp_path), max_frames=3).info.frame_count == 3
    assert open_source(str(tmp_path), max_frames=9).info.frame_count == 4


def test_a_folder_without_a_picture_is_refused(tmp_path) -> None:
    with pytest.raises(
        UserError, match=r"is a folder, expected a video or picture file or a folder of pictures \(\.avif"
    ):
        open_source(str(tmp_path))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    with pytest.raises(UserError, match=r"no picture in this folder can be read; .*a\.png: the picture is damaged"):
        open_source(str(tmp_path))
