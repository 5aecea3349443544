"""A clip at a glance: a page that needs no network and no script, and the same as a picture.

Everything in the page that comes from outside (names) is escaped; its pictures are in the page itself.
"""

import base64
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Final
from urllib.parse import quote

import cv2

from pipeline.frames import Rendered
from pipeline.overlays import instance_colour
from pipeline.presence import Moment, Person, Presence
from pipeline.sinks import FileSink
from pipeline.summary_picture import clock, headline, longest_seen, summary_picture

MOST_PEOPLE: Final = 200
_TEMPLATE: Final = Path(__file__).with_name("summary.html")
_COLUMNS: Final = 1000


class SummaryPicture(FileSink):
    """`pipeline.summary_picture` as a PNG file."""

    def __init__(self, path: Path, presence: Presence, title: str) -> None:
        """`presence` may be shared with other writers of the same frames."""
        super().__init__(path)
        self._presence, self._title = presence, title

    def _write(self, rendered: Rendered) -> None:
        self._presence.add(rendered)

    def _finish(self) -> None:
        if self._presence.times_s:
            _, data = cv2.imencode(".png", summary_picture(self._presence, self._title))
            self._fill(data.tobytes())


class SummaryPage(FileSink):
    """The page. It links to the other files by their final names: in a partial page those links may lead nowhere."""

    def __init__(self, path: Path, presence: Presence, title: str, links: Sequence[Path] = ()) -> None:
        """`presence` as in `SummaryPicture`; `links` are other files in the folder, videos also lead to moments."""
        super().__init__(path)
        self._presence, self._title, self._links = presence, title, links

    def _write(self, rendered: Rendered) -> None:
        self._presence.add(rendered)

    def _finish(self) -> None:
        if self._presence.times_s:
            page = summary_page(self._presence, self._title, self._links)
            self._fill(page.encode("utf-8", "replace"))  # a name may be no text at all


def summary_page(presence: Presence, title: str, links: Sequence[Path] = ()) -> str:
    """The page as HTML. There must be one frame at least."""
    video = next((path for path in links if path.suffix == ".mp4"), None)
    columns = presence.columns(_COLUMNS)
    begin_s, end_s = presence.span_s
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(title),
        headline=escape(headline(presence)),
        links=" &middot; ".join(f'<a href="{_address(path)}">{escape(path.name)}</a>' for path in links),
        most=int(columns.max()),
        columns=_COLUMNS,
        outline=_outline(columns.tolist()),
        times="".join(f"<span>{clock(begin_s + part * (end_s - begin_s) / 4)}</span>" for part in range(5)),
        people=_people(presence, video),
        moments="\n".join(_moment(moment, presence, video) for moment in presence.moments),
    )


def _outline(columns: list[int]) -> str:
    """The chart's area as an SVG path, 100 high."""
    most, path, before = max(1, *columns), "M0 100", 0
    for x, count in enumerate(columns):
        if count != before:
            path += f"H{x}V{100 - 100 * count / most:.4g}"
            before = count
    return f"{path}H{len(columns)}V100Z"


def _people(presence: Presence, video: Path | None) -> str:
    if not presence.people:
        return ""
    rows = "\n".join(_row(person, presence, video) for person in longest_seen(presence, MOST_PEOPLE))
    left_out = len(presence.people) - MOST_PEOPLE
    more = f"<p>{left_out} more, seen more briefly, are in the data files.</p>" if left_out > 0 else ""
    return f"""<h2>Who was there when</h2>
<table><thead><tr><th>person</th><th></th><th>first</th><th>last</th><th>in view</th><th></th></tr></thead><tbody>
{rows}
</tbody></table>
{more}"""


def _row(person: Person, presence: Presence, video: Path | None) -> str:
    begin_s, end_s = presence.span_s
    blue, green, red = instance_colour(person.identity)
    colour, scale, bars = f"#{red:02x}{green:02x}{blue:02x}", _COLUMNS / (end_s - begin_s), ""
    for first_s, last_s in person.spans:
        x, width = (first_s - begin_s) * scale, max(1.0, (last_s + presence.step_s - first_s) * scale)
        told = f"{clock(first_s)} to {clock(last_s + presence.step_s)}"
        bars += f'<rect x="{x:.1f}" width="{width:.1f}" height="10"><title>{told}</title></rect>'
    first_s, last_s = person.spans[0][0], person.spans[-1][1]
    cells = (
        f'<span class="swatch" style="background:{colour}"></span>{person.identity}',
        f'<img src="{_data(person.thumbnail)}" alt="person {person.identity}">' if person.thumbnail else "",
        _link(clock(first_s), first_s - begin_s, video),
        _link(clock(last_s), last_s - begin_s, video),
        f"{person.seconds(presence.step_s):.1f} s",
        f'<svg viewBox="0 0 {_COLUMNS} 10" preserveAspectRatio="none" fill="{colour}">{bars}</svg>',
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _moment(moment: Moment, presence: Presence, video: Path | None) -> str:
    told = _link(clock(moment.time_s), moment.time_s - presence.times_s[0], video)
    picture = f'<img src="{_data(moment.picture)}" alt="the clip at {clock(moment.time_s)}">'
    return f"<figure>{picture}<figcaption>{told}, people: {moment.people}</figcaption></figure>"


def _link(text: str, video_s: float, video: Path | None) -> str:
    """A time as a link into the video, if there is one; the video begins with the first frame."""
    return text if video is None else f'<a href="{_address(video)}#t={video_s:.3f}">{text}</a>'


def _address(path: Path) -> str:
    """A file beside the page; the ./ keeps a colon in its name from being taken for a protocol."""
    return f"./{quote(os.fsencode(path.name))}"


def _data(picture: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(picture).decode('ascii')}"
