import dataclasses
import re
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.presence import Presence
from pipeline.summary import SummaryPage, SummaryPicture, summary_page
from pipeline.summary_picture import clock, summary_picture


@pytest.fixture
def scene(make_rendered, make_instances):
    """Frames of a scene at 10 fps: for each frame, the ids in it."""

    def frames(ids_by_frame, step_s=0.1):
        for index, ids in enumerate(ids_by_frame):
            rendered = make_rendered(index, index * step_s, instances=make_instances(len(ids)))
            if ids is not None:
                result = dataclasses.replace(rendered.result, identities=np.array(ids, dtype=np.int64))
                rendered = dataclasses.replace(rendered, result=result)
            yield rendered

    return frames


def gathered(frames, **options):
    presence = Presence(**options)
    for rendered in frames:
        presence.add(rendered)
    return presence


def test_who_was_there_when(scene) -> None:
    # 1 is missing for half a second, which is nothing; 2 for two seconds.
    ids = [[1, 2]] * 10 + [[2]] * 5 + [[1]] * 20 + [[1, 2]] * 5
    presence = gathered(scene(ids))
    assert {i: [[round(t, 3) for t in span] for span in p.spans] for i, p in presence.people.items()} == {
        1: [[0.0, 3.9]],
        2: [[0.0, 1.4], [3.5, 3.9]],
    }
    assert presence.step_s == pytest.approx(0.1)
    assert presence.people[2].seconds(0.1) == pytest.approx(2.0)
    assert presence.people[2].frames == 20
    assert presence.span_s == pytest.approx((0.0, 4.0))
    assert presence.columns(8).tolist() == [2, 2, 1, 1, 1, 1, 1, 2]


def test_columns_where_frames_are_far_apart(scene) -> None:
    presence = gathered(scene([[1], [1, 2], []], step_s=4.0))
    assert presence.columns(12).tolist() == [1] * 4 + [2] * 4 + [0] * 4
    assert [person.spans for person in presence.people.values()] == [[[0.0, 4.0]], [[4.0, 4.0]]]


def test_several_writers_of_one_frame_count_it_once(scene) -> None:
    presence = Presence()
    for rendered in scene([[1], [1]]):
        presence.add(rendered)
        presence.add(rendered)
    assert list(presence.counts) == [1, 1]
    assert presence.people[1].frames == 2


def test_the_best_view_is_kept(make_rendered, make_instances) -> None:
    presence = Presence()
    for index, brightness in enumerate((60, 200, 120)):
        people = make_instances(1)
        score = np.array([0.2 + 0.6 * (brightness == 200)], np.float32)
        people = dataclasses.replace(people, scores=score)
        rendered = make_rendered(index, index / 10, np.full((64, 96, 3), brightness, np.uint8), people)
        result = dataclasses.replace(rendered.result, identities=np.array([5]))
        presence.add(dataclasses.replace(rendered, result=result))
    view = cv2.imdecode(np.frombuffer(presence.people[5].thumbnail, np.uint8), cv2.IMREAD_COLOR)
    assert view.mean() == pytest.approx(200, abs=3)


def test_pictures_have_square_pixels(scene) -> None:
    presence = gathered(scene([[1]]), sample_aspect=Fraction(2))
    moment = cv2.imdecode(np.frombuffer(presence.moments[0].picture, np.uint8), cv2.IMREAD_COLOR)
    assert moment.shape[1] / moment.shape[0] == pytest.approx(2 * 96 / 64, rel=0.02)


def test_memory_hardly_grows(scene) -> None:
    presence = gathered(scene([[number] for number in range(1000)]))
    assert len(presence.moments) < 24
    assert sum(bool(person.thumbnail) for person in presence.people.values()) <= 401
    times = [moment.time_s for moment in presence.moments]
    assert max(np.diff(times)) == pytest.approx(min(np.diff(times)))  # spread evenly
    assert times[-1] > 70


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00.0"), (7.25, "0:07.2"), (59.96, "1:00.0"), (720, "12:00.0"), (3723.04, "1:02:03.0")],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


class Page(HTMLParser):
    """Every tag must be closed; collects tags, texts and addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text += data


EVIL = "\"><script>alert(1)</script><img src=x onerror=alert(1)>&amp;$title ${people}'javascript:"


def test_the_page_escapes_everything_and_needs_nothing(scene) -> None:
    links = [Path(f"{EVIL.replace('/', '_')}.mp4"), Path("javascript:alert(1).csv")]
    page = Page(summary_page(gathered(scene([[1, 2]] * 3)), EVIL, links))
    assert not {"script", "iframe", "link", "object"} & {tag for tag, _ in page.tags}
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert EVIL in page.text
    for tag, attrs in page.tags:
        if tag == "img":
            assert attrs["src"].startswith("data:image/jpeg;base64,")
        if tag == "a":
            assert re.fullmatch(r"\./[\w%.~-]+(#t=[\d.]+)?", attrs["href"])


def test_the_page_tells_who_was_there_when(scene) -> None:
    text = summary_page(gathered(scene([[1]] * 10 + [[2]] * 10)), "clip", [Path("clip.mp4"), Path("clip.csv")])
    page = Page(text)
    assert "20 frames, 0:00.0 to 0:02.0; at most 1 at once, 1.0 on average; 2 followed" in page.text
    assert "0:00.0 to 0:01.0" in page.text
    assert "0:01.0 to 0:02.0" in page.text
    bars = [(attrs["x"], attrs["width"]) for tag, attrs in page.tags if tag == "rect"]
    assert bars == [("0.0", "500.0"), ("500.0", "500.0")]
    assert [attrs["href"] for tag, attrs in page.tags if tag == "a"][:3] == [
        "./clip.mp4",
        "./clip.csv",
        "./clip.mp4#t=0.000",
    ]


def test_people_who_were_not_followed(make_rendered, make_instances) -> None:
    presence = gathered(make_rendered(i, i / 10, instances=make_instances(2)) for i in range(4))
    page = Page(summary_page(presence, "clip"))
    assert "Who was there when" not in page.text
    assert not [tag for tag, _ in page.tags if tag == "a"]
    assert summary_picture(presence, "clip").shape[1] == 1280


def test_the_picture_shows_the_bars_in_the_peoples_colours(scene) -> None:
    from pipeline.overlays import instance_colour

    picture = summary_picture(gathered(scene([[1]] * 10 + [[2]] * 10)), "ü clip" * 40)
    left, right = 190, 1252
    for identity, (begin, end) in {1: (left, (left + right) // 2), 2: ((left + right) // 2, right)}.items():
        columns = np.nonzero((picture == instance_colour(identity)).all(axis=2).sum(axis=0) >= 18)[0]
        assert columns.min() == pytest.approx(begin, abs=2)
        assert columns.max() == pytest.approx(end, abs=2)


def test_both_files_are_written(tmp_path, scene) -> None:
    presence = Presence()
    page = SummaryPage(tmp_path / "a.html", presence, "\udce9.mp4", [Path("\udce9.mp4")])
    picture = SummaryPicture(tmp_path / "a.summary.png", presence, "\udce9.mp4")
    with page, picture:
        for rendered in scene([[1], [1]]):
            page.write(rendered)
            picture.write(rendered)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "a.summary.png"]
    assert 'href="./%E9.mp4"' in (tmp_path / "a.html").read_text(encoding="utf-8")
    assert cv2.imread(str(tmp_path / "a.summary.png")).shape[1] == 1280
