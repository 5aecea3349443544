"""A clip at a glance, as a picture: people over time, who was there when, moments."""

from typing import Final

import cv2
import numpy as np

from engine.structures import ByteArray
from pipeline.overlays import instance_colour
from pipeline.presence import Moment, Person, Presence

WIDTH: Final = 1280
MOST_PEOPLE: Final = 12
MOST_MOMENTS: Final = 8
_MARGIN: Final = 28
_LEFT: Final = 190  # where time begins; people's names and thumbnails stand before it
_RIGHT: Final = WIDTH - _MARGIN
_HEAD: Final = 96
_CHART: Final = 150
_AXIS: Final = 44
_ROW: Final = 64
_THUMBNAIL: Final = 54
_COLUMNS: Final = 4
_GAP: Final = 12
_CAPTION: Final = 26
_PAPER, _LIGHT, _GREY, _INK = (255, 255, 255), (232, 232, 232), (120, 120, 120), (24, 24, 24)
_CHART_COLOUR: Final = (176, 120, 40)


def clock(seconds: float) -> str:
    """0:07.5, 12:00.0 or 1:02:03.0."""
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    begin = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{begin}:{tenths // 10:02}.{tenths % 10}"


def longest_seen(presence: Presence, most: int) -> list[Person]:
    """The people seen in most frames, in the order in which they came."""
    chosen = sorted(presence.people.values(), key=lambda person: (-person.frames, person.identity))[:most]
    return sorted(chosen, key=lambda person: (person.spans[0][0], person.identity))


def headline(presence: Presence) -> str:
    """The figures of the clip in one line."""
    begin_s, end_s = presence.span_s
    frames, most = len(presence.times_s), max(presence.counts)
    mean = sum(presence.counts) / frames
    text = f"{frames} frames, {clock(begin_s)} to {clock(end_s)}; at most {most} at once, {mean:.1f} on average"
    return f"{text}; {len(presence.people)} followed" if presence.followed else text


def summary_picture(presence: Presence, title: str) -> ByteArray:
    """All of it as uint8 (H, 1280, 3), BGR; the same for the same frames. There must be one frame at least."""
    people, moments = longest_seen(presence, MOST_PEOPLE), _spread(presence.moments)
    pictures = [_decoded(moment.picture) for moment in moments]
    tile_w = (WIDTH - 2 * _MARGIN - (_COLUMNS - 1) * _GAP) // _COLUMNS
    tile_h = max((round(tile_w * p.shape[0] / p.shape[1]) for p in pictures), default=0)
    tile_h = min(tile_h, tile_w)
    lines = -(-len(moments) // _COLUMNS)
    top = _HEAD + _CHART + _AXIS + len(people) * _ROW
    canvas = np.full((top + _GAP + lines * (tile_h + _CAPTION + _GAP) + _GAP, WIDTH, 3), _PAPER, dtype=np.uint8)
    _write(canvas, _ascii(title, 80), _MARGIN, 42, 0.8, _INK)
    _write(canvas, headline(presence), _MARGIN, 74, 0.5, _GREY)
    _draw_chart(canvas, presence, _HEAD)
    for row, person in enumerate(people):
        _draw_person(canvas, presence, person, _HEAD + _CHART + _AXIS + row * _ROW)
    for number, (moment, picture) in enumerate(zip(moments, pictures, strict=True)):
        line, column = divmod(number, _COLUMNS)
        x, y = _MARGIN + column * (tile_w + _GAP), top + _GAP + line * (tile_h + _CAPTION + _GAP)
        _paste(canvas, picture, x, y, tile_w, tile_h)
        _write(canvas, f"{clock(moment.time_s)}  people: {moment.people}", x, y + tile_h + 18, 0.45, _GREY)
    return canvas


def _draw_chart(canvas: ByteArray, presence: Presence, top: int) -> None:
    bottom, columns = top + _CHART, presence.columns(_RIGHT - _LEFT)
    most = max(1, int(columns.max()))
    cv2.line(canvas, (_LEFT, top), (_RIGHT, top), _LIGHT, 1)
    heights = np.rint(columns / most * _CHART).astype(int)
    for x, height in enumerate(heights.tolist(), start=_LEFT):
        canvas[bottom - height : bottom, x] = _CHART_COLOUR
    cv2.line(canvas, (_LEFT, bottom), (_RIGHT, bottom), _GREY, 1)
    _write(canvas, "people", _MARGIN, top + 16, 0.5, _INK)
    _write(canvas, str(most), _LEFT - 30, top + 10, 0.45, _GREY)
    _write(canvas, "0", _LEFT - 30, bottom, 0.45, _GREY)
    begin_s, end_s = presence.span_s
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = round(_LEFT + share * (_RIGHT - _LEFT))
        cv2.line(canvas, (x, bottom), (x, bottom + 5), _GREY, 1)
        text = clock(begin_s + share * (end_s - begin_s))
        (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
        _write(canvas, text, min(max(_LEFT, x - width // 2), _RIGHT - width), bottom + 22, 0.45, _GREY)


def _draw_person(canvas: ByteArray, presence: Presence, person: Person, top: int) -> None:
    begin_s, end_s = presence.span_s
    scale = (_RIGHT - _LEFT) / (end_s - begin_s)
    middle = top + _ROW // 2
    if person.thumbnail:
        _paste(canvas, _decoded(person.thumbnail), _MARGIN + 66, top + (_ROW - _THUMBNAIL) // 2, 80, _THUMBNAIL)
    _write(canvas, f"id {person.identity}", _MARGIN, middle + 6, 0.5, _INK)
    cv2.line(canvas, (_LEFT, middle), (_RIGHT, middle), _LIGHT, 1)
    for first_s, last_s in person.spans:
        left = int(_LEFT + (first_s - begin_s) * scale)
        right = max(left + 1, int(_LEFT + (last_s + presence.step_s - begin_s) * scale))
        canvas[middle - 9 : middle + 9, left : min(right, _RIGHT)] = instance_colour(person.identity)


def _spread(moments: list[Moment]) -> list[Moment]:
    """So many of them as the picture has room for, spread over all."""
    if len(moments) <= MOST_MOMENTS:
        return moments
    return [moments[round(place)] for place in np.linspace(0, len(moments) - 1, MOST_MOMENTS)]


def _paste(canvas: ByteArray, picture: ByteArray, x: int, y: int, width: int, height: int) -> None:
    """Put a picture into the middle of a box, as large as it fits."""
    scale = min(width / picture.shape[1], height / picture.shape[0])
    w, h = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    left, top = x + (width - w) // 2, y + (height - h) // 2
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas[top : top + h, left : left + w] = cv2.resize(picture, (w, h), interpolation=interpolation)


def _decoded(picture: bytes) -> ByteArray:
    return np.asarray(cv2.imdecode(np.frombuffer(picture, dtype=np.uint8), cv2.IMREAD_COLOR), dtype=np.uint8)


def _ascii(text: str, most: int) -> str:
    """What OpenCV can write of a name: ? for other letters, not longer than fits."""
    plain = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    return plain if len(plain) <= most else f"{plain[: most - 3]}..."


def _write(canvas: ByteArray, text: str, x: int, y: int, scale: float, colour: tuple[int, int, int]) -> None:
    cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
