"""Who was there when: gathered frame by frame, for the summary of a clip, in memory that hardly grows."""

from array import array
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from engine.structures import ByteArray
from pipeline.frames import FrameResult, Rendered
from pipeline.overlays import OverlayStyle
from pipeline.render import draw
from pipeline.source_base import FALLBACK_FPS

_SHORTEST_GAP_S: Final = 1.0  # somebody missing for less was there all the time
_GAP_FRAMES: Final = 2.5  # the same where frames are further apart
_BETTER: Final = 1.3  # a view must be so much better to replace the one before
_THUMBNAIL_PX: Final = 128
_AROUND: Final = 0.1  # of a person's box on each side
_MOST_THUMBNAILS: Final = 400
_MOST_MOMENTS: Final = 24  # at the end half of them or more are left
_MOMENT_WIDTH_PX: Final = 400
_JPEG_QUALITY: Final = 82
_STYLE: Final = OverlayStyle()


@dataclass(slots=True)
class Person:
    """Somebody who was followed.

    Attributes:
        identity: the number that stays.
        spans: when they were in view: seconds of the first and of the last frame.
        frames: in how many frames.
        quality: of the view in `thumbnail`, to compare.
        thumbnail: a JPEG file, or empty.
    """

    identity: int
    spans: list[list[float]]
    frames: int = 0
    quality: float = 0.0
    thumbnail: bytes = b""

    def seconds(self, step_s: float) -> float:
        """Time in view, if a frame is shown for `step_s`."""
        return sum(end - begin + step_s for begin, end in self.spans)


class Moment(NamedTuple):
    """A frame of the clip with everybody drawn in, as a JPEG file."""

    time_s: float
    people: int
    picture: bytes


@dataclass(slots=True)
class Presence:
    """Everything a summary tells. `add` each frame in order; several writers may add the same one.

    Attributes:
        sample_aspect: width of a pixel by its height; pictures are stretched by it.
        fps: the source's rate, for frames without a time.
        times_s: of each frame, the clip's own.
        counts: people in each frame.
        people: by identity, in the order of their first frames.
        followed: whether people were followed.
        moments: frames spread over the clip.
    """

    sample_aspect: Fraction = Fraction(1)
    fps: float = FALLBACK_FPS
    times_s: "array[float]" = field(default_factory=lambda: array("d"))
    counts: "array[int]" = field(default_factory=lambda: array("B"))  # there are never more than 254
    people: dict[int, Person] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)
    followed: bool = False
    _last_index: int = -1
    _stride: int = 1
    _thumbnails: int = 0  # how many there are

    @property
    def step_s(self) -> float:
        """How long a frame is shown, typically."""
        if len(self.times_s) < 2:
            return 1 / self.fps
        return float(np.median(np.diff(np.frombuffer(self.times_s)[-1000:])))

    @property
    def span_s(self) -> tuple[float, float]:
        """When the first frame begins and the last one ends."""
        return self.times_s[0], self.times_s[-1] + self.step_s

    def add(self, rendered: Rendered) -> None:
        """Take in one frame."""
        result = rendered.result
        if result.frame.index <= self._last_index:
            return
        self._last_index = result.frame.index
        time_s = result.frame.index / self.fps if result.frame.t_media_s is None else result.frame.t_media_s
        gap_s = max(_SHORTEST_GAP_S, _GAP_FRAMES * (time_s - self.times_s[-1] if self.times_s else 0.0))
        if len(self.times_s) % self._stride == 0:
            self._add_moment(result, time_s)
        self.times_s.append(time_s)
        self.counts.append(len(result.instances))
        if result.identities is not None:
            self.followed = True
            self._add_people(result, result.identities.tolist(), time_s, gap_s)

    def columns(self, number: int) -> npt.NDArray[np.int64]:
        """Most people at once in each of `number` equal parts of the clip: int64 (number,)."""
        begin_s, end_s = self.span_s
        most = np.zeros(number, dtype=np.int64)
        times = np.frombuffer(self.times_s)
        counts = np.frombuffer(self.counts, dtype=np.uint8).astype(np.int64)
        first = np.floor((times - begin_s) / (end_s - begin_s) * number).astype(np.int64).clip(0, number - 1)
        last = np.append(first[1:], number)  # each is shown until the next one comes
        for column, until, count in zip(first.tolist(), last.tolist(), counts.tolist(), strict=True):
            part = most[column : max(column + 1, until)]
            np.maximum(part, count, out=part)
        return most

    def _add_people(self, result: FrameResult, identities: list[int], time_s: float, gap_s: float) -> None:
        boxes, before = result.instances.boxes_xywh(), self._thumbnails
        for index, identity in enumerate(identities):
            person = self.people.setdefault(identity, Person(identity, []))
            person.frames += 1
            if person.spans and time_s - person.spans[-1][1] <= gap_s:
                person.spans[-1][1] = time_s
            else:
                person.spans.append([time_s, time_s])
            quality = float(result.instances.scores[index]) * float(boxes[index, 2] * boxes[index, 3]) ** 0.5
            if quality > _BETTER * person.quality:
                person.quality = quality
                self._thumbnails -= bool(person.thumbnail)
                person.thumbnail = _thumbnail(result.frame.image, boxes[index], float(self.sample_aspect))
                self._thumbnails += bool(person.thumbnail)
        if self._thumbnails > max(before, _MOST_THUMBNAILS):
            self._forget_thumbnails(set(identities))

    def _forget_thumbnails(self, present: set[int]) -> None:
        """Keep those of the people seen most: many ids are no reason for much memory."""
        shown = [person for person in self.people.values() if person.thumbnail]
        absent = sorted((p for p in shown if p.identity not in present), key=lambda person: person.frames)
        for person in absent[: _MOST_THUMBNAILS // 4]:
            person.thumbnail = b""
            self._thumbnails -= 1

    def _add_moment(self, result: FrameResult, time_s: float) -> None:
        ids = None if result.identities is None else result.identities.tolist()
        canvas = draw(result.frame.image, result.instances, _STYLE, identities=ids)
        picture = _jpeg(_fitted(canvas, _MOMENT_WIDTH_PX, _MOMENT_WIDTH_PX, float(self.sample_aspect)))
        self.moments.append(Moment(time_s, len(result.instances), picture))
        if len(self.moments) >= _MOST_MOMENTS:
            del self.moments[1::2]
            self._stride *= 2


def _thumbnail(image: ByteArray, box_xywh: npt.NDArray[np.float32], aspect: float) -> bytes:
    x, y, width, height = (float(value) for value in box_xywh)
    left, top = max(0, int(x - _AROUND * width)), max(0, int(y - _AROUND * height))
    right, bottom = int(x + (1 + _AROUND) * width) + 1, int(y + (1 + _AROUND) * height) + 1
    cut = image[top:bottom, left:right]
    return _jpeg(_fitted(cut, _THUMBNAIL_PX, _THUMBNAIL_PX, aspect)) if cut.size else b""


def _fitted(image: ByteArray, most_width: int, most_height: int, aspect: float) -> ByteArray:
    """The picture with square pixels, made smaller to fit."""
    height, width = image.shape[0], image.shape[1] * aspect
    scale = min(1.0, most_width / width, most_height / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _jpeg(image: ByteArray) -> bytes:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return data.tobytes()
