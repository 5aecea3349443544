"""The page of the worst pictures: which are on it, what it tells, and that nothing in it can break it."""

import errno
import os
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from app import report as module
from app.report import Report
from engine.coco import Picture
from engine.structures import ByteArray, Instances

WIDTH, HEIGHT = 100, 80
HEADS: Any = None  # the report does not look at them


class Page(HTMLParser):
    """What stands in a page; `open` is empty when every tag was closed, in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.sources += [value for key, value in attrs if key == "src" and value]
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.setdefault(self.open[-1], []).append(data.strip())


def person(x: int, y: int, side: int = 24, **changes: Any) -> dict[str, Any]:
    keypoints = np.full((17, 3), 2.0)
    keypoints[:, :2] = np.random.default_rng(0).uniform(2, side - 2, (17, 2)) + np.array([x, y])
    return {
        "area": side**2,
        "iscrowd": 0,
        "num_keypoints": 17,
        "bbox": [x, y, side, side],
        "keypoints": keypoints.ravel().tolist(),
        "segmentation": [[x, y, x + side, y, x + side, y + side, x, y + side]],
    } | changes


def found(*people: dict[str, Any], score: float = 0.8) -> Instances:
    n = len(people)
    xy, labels = np.zeros((n, 17, 2), np.float32), np.zeros((HEIGHT, WIDTH), np.uint8)
    for index, annotation in enumerate(people):
        xy[index] = np.array(annotation["keypoints"]).reshape(17, 3)[:, :2]
        x, y, width, height = annotation["bbox"]
        labels[y : y + height, x : x + width] = index + 1
    scores = np.full(n, score, np.float32)
    return Instances(xy, np.ones((n, 17), np.float32), scores, scores, labels)


@pytest.fixture
def picture(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Picture]:
    """A picture with labelled people; each is a plain grey image that need not be a file."""
    monkeypatch.setattr(module.coco, "read_picture", lambda picture: np.full((HEIGHT, WIDTH, 3), 60, np.uint8))

    def make(*people: dict[str, Any], number: int = 1, name: str = "a.jpg") -> Picture:
        return Picture(number, Path("pictures") / name, WIDTH, HEIGHT, people)

    return make


def image(folder: Path, name: str) -> ByteArray:
    read = cv2.imread(str(folder / name))
    assert read is not None
    return read.astype(np.uint8)


def test_the_worst_pictures_come_first(tmp_path: Path, picture: Callable[..., Picture]) -> None:
    one, two = person(10, 10), person(60, 40)
    report = Report(most=3, min_score=0.1)
    report(picture(one, two, number=1, name="half.jpg"), HEADS, found(one))
    report(picture(one, number=2, name="all.jpg"), HEADS, found())
    report(picture(number=3, name="nobody.jpg"), HEADS, found())
    report(picture(one, two, number=4, name="none.jpg"), HEADS, found())
    report(picture(person(9, 9), number=5, name="near.jpg"), HEADS, found(one))
    report.write(tmp_path, "people.json: the worst pictures", "mobile on onnx cpu.")
    page = Page(tmp_path / "index.html")
    assert page.open == []
    assert [text.split(" (")[0] for text in page.texts["h2"]] == [
        "1. none.jpg, picture 4: error 1.00",  # of two equal errors the one of more people
        "2. all.jpg, picture 2: error 1.00",
        "3. half.jpg, picture 1: error 0.50",
    ]
    assert page.texts["h1"] == ["people.json: the worst pictures"]
    assert page.texts["p"][0] == "mobile on onnx cpu. The 3 worst of 5 pictures."
    assert sorted(page.sources) == sorted(path.name for path in tmp_path.glob("*.jpg"))
    assert len(page.sources) == 6
    for name in page.sources:  # ten times as large, for it was small
        assert image(tmp_path, name).shape == (640, 800, 3)


def test_every_person_has_a_line(tmp_path: Path, picture: Callable[..., Picture]) -> None:
    one, two, crowd = person(5, 5), person(70, 50), person(35, 0, 30, iscrowd=1, num_keypoints=0, keypoints=[0] * 51)
    report = Report(most=1, min_score=0.1)
    near = person(17, 5)  # half of it is on the first
    report(picture(one, two, crowd), HEADS, found(one, person(6, 50), person(38, 3), near))
    report.write(tmp_path, "title", "summary")
    page = Page(tmp_path / "index.html")
    cells = page.texts["td"]
    lines = [cells[n : n + 5] for n in range(0, len(cells), 5)]
    assert [line[:2] for line in lines] == [
        ["1", "found"],
        ["2", "false alarm"],
        ["3", "not counted"],
        ["4", "false alarm, most like 1"],
        ["5", "missed"],
    ]
    assert lines[0][2] == "1.00"
    assert 0.4 < float(lines[0][3]) < 0.6  # the fourth took half of its pixels
    assert [line[4] for line in lines] == ["0.80"] * 4 + ["–"]
    assert lines[4][2:] == ["–"] * 3
    assert page.texts["h2"][0].endswith("(found: 1, missed: 1, false alarm: 2, not counted: 1)")


def test_a_person_has_the_same_colour_in_both_pictures(tmp_path: Path, picture: Callable[..., Picture]) -> None:
    """The first found is the second labelled; who is missed is in the labels alone, and crowds are grey."""
    one, two = person(5, 40, keypoints=[0] * 51, num_keypoints=0), person(60, 40)
    crowd = person(5, 5, 20, iscrowd=1, num_keypoints=0, keypoints=[0] * 51)
    report = Report(most=1, min_score=0.1)
    report(picture(one, two, crowd), HEADS, found(two))
    report.write(tmp_path, "title", "summary")
    labelled, seen = image(tmp_path, "001-labelled.jpg"), image(tmp_path, "001-found.jpg")

    def colour(shown: ByteArray, x: int, y: int) -> list[float]:
        # The lightest pixels are skeletons and numbers, the darkest their outlines: the median is the mask.
        area = shown[8 * y + 40 : 8 * (y + 24) - 40, 8 * x + 40 : 8 * (x + 24) - 40]
        return np.median(area, axis=(0, 1)).astype(float).tolist()

    assert colour(labelled, 60, 40) == pytest.approx(colour(seen, 60, 40), abs=12)
    assert np.ptp(colour(labelled, 60, 40)) > 30  # a colour, no grey
    assert np.ptp(colour(labelled, 5, 40)) > 30
    assert colour(labelled, 5, 40) != pytest.approx(colour(labelled, 60, 40), abs=30)
    assert colour(seen, 5, 40) == pytest.approx([60] * 3, abs=3)
    assert np.median(labelled[100:180, 100:180]) == pytest.approx(60 / 3 + 85, abs=3)
    assert np.median(seen[100:180, 100:180]) == pytest.approx(60, abs=3)


def test_nothing_from_outside_can_break_the_page(tmp_path: Path, picture: Callable[..., Picture]) -> None:
    report = Report(most=5, min_score=0.1)
    names = ("<script>alert('x')</script>.jpg", '"><img src=x onerror=y>&amp;.jpg', "\ud800 $title.jpg", "päälle.jpg")
    for number, name in enumerate(names):
        report(picture(person(5, 5), number=number, name=name), HEADS, found())
    report.write(tmp_path, "<i>title</i>", "a & b <b>")
    page = Page(tmp_path / "index.html")
    assert page.open == []
    assert page.sources == [f"{n:03}-{kind}.jpg" for n in (1, 2, 3, 4) for kind in ("labelled", "found")]
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    for bad in ("<script", "onerror=y>", "<i>", "<b>", "alert('"):
        assert bad not in text
    assert page.texts["h1"] == ["<i>title</i>"]
    shown = " ".join(page.texts["h2"])
    for name in (names[0].split("/")[-1], names[1], "$title.jpg", names[3]):
        assert name in shown


def test_without_errors_the_page_says_so(tmp_path: Path, picture: Callable[..., Picture]) -> None:
    report = Report(most=5, min_score=0.1)
    report(picture(), HEADS, found())
    report.write(tmp_path, "title", "summary.")
    assert Page(tmp_path / "index.html").texts["p"][0] == "summary. No picture has an error."
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_the_page_comes_last(tmp_path: Path, picture: Callable[..., Picture], monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk leaves the older page, and no half of a picture."""
    (tmp_path / "index.html").write_text("older")
    report = Report(most=5, min_score=0.1)
    report(picture(person(5, 5)), HEADS, found())

    def write_bytes(path: Path, data: bytes) -> int:
        with path.open("wb") as stream:
            stream.write(data[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(OSError, match="No space"):
        report.write(tmp_path, "title", "summary")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("index.html", "older")]
