"""The pictures that an estimator gets most wrong, as an HTML page with its pictures beside it, for a person to look at.

The page needs no network and no script. Everything that comes from a data set is escaped.
"""

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from string import Template
from typing import Final

import cv2
import numpy as np

from engine import coco
from engine.coco import Picture
from engine.files import written_whole
from engine.matching import Fate, Match, error, match_people
from engine.skeleton import NUM_KEYPOINTS
from engine.structures import MAX_INSTANCES, ByteArray, Heads, Instances
from pipeline.overlays import OverlayStyle, instance_colour
from pipeline.render import draw

PAGE: Final = "index.html"
_TEMPLATE: Final = Path(__file__).with_name("report.html")
_LEAST_SIDE_PX: Final = 800  # smaller pictures are enlarged, so that small people can be seen under the lines
_JPEG_QUALITY: Final = 88
_GREY: Final = 85  # added to a third of the brightness of what is not counted
_FATES: Final[dict[Fate, str]] = {
    "found": "found",
    "missed": "missed",
    "duplicate": "found twice",
    "false": "false alarm",
    "ignored": "not counted",
}


class Report:
    """Keeps the worst pictures of an evaluation and writes the page; a watcher of `engine.evaluation.evaluate`."""

    def __init__(self, most: int, min_score: float) -> None:
        """Keep at most `most` pictures; found people below `min_score` are left out."""
        self.most, self.min_score = most, min_score
        # (error, how many are wrong, order) of the least wrong comes first, to be dropped first.
        self._worst: list[tuple[float, int, int, Picture, Instances, list[Match]]] = []
        self._seen = 0

    def __call__(self, picture: Picture, heads: Heads, people: Instances) -> None:
        """Look at one picture."""
        self._seen += 1
        matches = match_people(picture, people, self.min_score)
        wrong = sum(match.fate not in ("found", "ignored") for match in matches)
        if error(matches) > 0:
            heapq.heappush(self._worst, (error(matches), wrong, -self._seen, picture, people, matches))
        if len(self._worst) > self.most:
            heapq.heappop(self._worst)

    def write(self, folder: Path, title: str, summary: str) -> None:
        """Write the page and its pictures, worst first, into a folder that is there; other files in it stay.

        Raises:
            UserError: a picture that could be read before cannot now. OSError: a file cannot be written.
        """
        sections = []
        for number, (wrongness, _, _, picture, people, matches) in enumerate(sorted(self._worst, reverse=True), 1):
            names = f"{number:03}-labelled.jpg", f"{number:03}-found.jpg"
            for name, image in zip(names, _pair(picture, people, matches), strict=True):
                _write_jpeg(folder / name, image)
            sections.append(_section(number, picture, wrongness, matches, names))
        counted = f"The {len(sections)} worst of {self._seen} pictures." if sections else "No picture has an error."
        page = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
            title=escape(title),
            summary=escape(f"{summary} {counted}"),
            min_score=f"{self.min_score:g}",
            sections="\n".join(sections),
        )
        with written_whole(folder / PAGE) as temporary:  # last: it is there only when all of its pictures are
            temporary.write_bytes(page.encode("utf-8", "xmlcharrefreplace"))


def _section(number: int, picture: Picture, wrongness: float, matches: Sequence[Match], names: Sequence[str]) -> str:
    fates = Counter(match.fate for match in matches)
    told = ", ".join(f"{text}: {fates[fate]}" for fate, text in _FATES.items() if fates[fate])
    figures = "".join(
        f'<figure><img src="{name}" alt="{text}" loading="lazy"><figcaption>{text}</figcaption></figure>'
        for name, text in zip(names, ("labelled", "found"), strict=True)
    )
    owners = {match.truth: line for line, match in enumerate(matches) if match.fate in ("found", "missed")}
    rows = "\n".join(_row(line, match, owners.get(match.truth)) for line, match in enumerate(matches))
    return f"""<section>
<h2>{number}. {escape(picture.path.name)}, picture {escape(str(picture.id))}: error {wrongness:.2f} ({told})</h2>
<div class="pair">{figures}</div>
<table><thead><tr><th>person</th><th></th><th>OKS</th><th>IoU</th><th>score</th></tr></thead><tbody>
{rows}
</tbody></table>
</section>"""


def _row(line: int, match: Match, owner: int | None) -> str:
    blue, green, red = instance_colour(line % MAX_INSTANCES)
    swatch = f'<span class="swatch" style="background:#{red:02x}{green:02x}{blue:02x}"></span>'
    numbers = "".join(f"<td>{_shown(value)}</td>" for value in (match.oks, match.iou, match.score))
    text = _FATES[match.fate] + ("" if owner in (None, line) else f", most like {owner + 1}")
    return f'<tr class="{match.fate}"><td>{swatch}{line + 1}</td><td>{text}</td>{numbers}</tr>'


def _shown(value: float | None) -> str:
    return "&ndash;" if value is None else f"{value:.2f}"


def _pair(picture: Picture, people: Instances, matches: Sequence[Match]) -> tuple[ByteArray, ByteArray]:
    """The picture with its labels and with what was found: two uint8 BGR pictures, one colour for each match."""
    image = coco.read_picture(picture)
    lines = list(enumerate(matches[:MAX_INSTANCES]))
    truth_of = {line: m.truth for line, m in lines if m.truth is not None and m.fate in ("found", "missed")}
    found_of = {line: m.found for line, m in lines if m.found is not None}
    labelled, shaded = _labelled(picture, truth_of, len(lines)), image.copy()
    for annotation in picture.annotations:
        mask = coco.decode_mask(annotation.get("segmentation"), picture.height, picture.width)
        if annotation.get("iscrowd") and mask is not None:
            shaded[mask] = shaded[mask] // 3 + _GREY
    return _drawn(shaded, labelled), _drawn(image, _in_lines(people, found_of, len(lines)))


def _labelled(picture: Picture, truth_of: dict[int, int], count: int) -> Instances:
    """Annotations as instances: number `line` is annotation truth_of[line], or has neither keypoints nor pixels."""
    nobody = _nobody(count, (picture.height, picture.width))
    for line, truth in sorted(truth_of.items(), key=lambda item: -float(picture.annotations[item[1]]["area"])):
        annotation = picture.annotations[truth]
        keypoints = np.array(annotation["keypoints"], dtype=np.float32).reshape(NUM_KEYPOINTS, 3)
        nobody.keypoints_xy[line], nobody.keypoint_scores[line] = keypoints[:, :2], keypoints[:, 2] > 0
        mask = coco.decode_mask(annotation["segmentation"], picture.height, picture.width)
        if mask is not None:  # the smaller one, most likely in front, comes later
            nobody.label_map[mask] = line + 1
    return nobody


def _in_lines(people: Instances, found_of: dict[int, int], count: int) -> Instances:
    """Instances in another order: number `line` is found_of[line], or has neither keypoints nor pixels."""
    height, width = people.label_map.shape
    nobody, labels = _nobody(count, (height, width)), np.zeros(MAX_INSTANCES + 2, dtype=np.uint8)
    for line, found in found_of.items():
        nobody.keypoints_xy[line] = people.keypoints_xy[found]
        nobody.keypoint_scores[line] = people.keypoint_scores[found]
        labels[found + 1] = line + 1
    return replace(nobody, label_map=labels[people.label_map])


def _nobody(count: int, image_hw: tuple[int, int]) -> Instances:
    none = np.zeros((count, NUM_KEYPOINTS), dtype=np.float32)
    scores = np.zeros(count, dtype=np.float32)
    return Instances(np.zeros((*none.shape, 2), np.float32), none, scores, scores, np.zeros(image_hw, np.uint8))


def _drawn(image: ByteArray, people: Instances) -> ByteArray:
    """A picture, enlarged if it is small, with everybody in it and their line's number."""
    height, width = image.shape[:2]
    times = max(1, -(-_LEAST_SIDE_PX // max(height, width)))
    large = cv2.resize(image, (width * times, height * times), interpolation=cv2.INTER_CUBIC)
    people = replace(
        people,
        keypoints_xy=((people.keypoints_xy + 0.5) * times - 0.5).astype(np.float32),
        label_map=np.repeat(np.repeat(people.label_map, times, axis=0), times, axis=1),
    )
    canvas = draw(large.astype(np.uint8, copy=False), people, OverlayStyle())
    for line, (x, y, box_width, _) in enumerate(people.boxes_xywh().tolist()):
        if box_width > 0:
            _write_number(canvas, line, round(x), round(y))
    return canvas


def _write_number(canvas: ByteArray, line: int, x: int, y: int) -> None:
    text, font, scale = str(line + 1), cv2.FONT_HERSHEY_SIMPLEX, 0.55
    (width, height), _ = cv2.getTextSize(text, font, scale, 1)
    x, y = min(x, canvas.shape[1] - width - 6), max(y, height + 6)
    cv2.rectangle(canvas, (x, y - height - 6), (x + width + 5, y), instance_colour(line), cv2.FILLED)
    cv2.putText(canvas, text, (x + 3, y - 3), font, scale, (0, 0, 0), 1, cv2.LINE_AA)


def _write_jpeg(path: Path, image: ByteArray) -> None:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    with written_whole(path) as temporary:
        temporary.write_bytes(data.tobytes())
