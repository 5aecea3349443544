"""Which found person is which labelled one, and how wrong a picture is: what a person wants to see of an error."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pycocotools import mask as rle

from engine import coco
from engine.coco import Picture
from engine.skeleton import NUM_KEYPOINTS, OKS_KAPPAS
from engine.structures import FloatArray, Instances

# found: a labelled person, found. missed: a labelled person, not found. duplicate: somebody found already.
# false: nobody is there. ignored: a crowd or somebody who does not count is there.
Fate = Literal["found", "missed", "duplicate", "false", "ignored"]

AGREEMENT: Final = 0.5  # the least OKS or mask IoU of the same person, as in AP50
LIKENESS: Final = 0.1  # the least of somebody that a false alarm is like


@dataclass(frozen=True, slots=True)
class Match:
    """A labelled person, a found one, or both.

    Attributes:
        truth: index among the picture's annotations; of a duplicate or a false alarm, whom it is most like. None where
            it is like nobody at all.
        found: index among the instances, or None; score: of that instance.
        oks, iou: of the two, where keypoints or masks can be compared; None elsewhere.
    """

    fate: Fate
    truth: int | None = None
    found: int | None = None
    oks: float | None = None
    iou: float | None = None
    score: float | None = None

    @property
    def quality(self) -> float:
        """The mean of OKS and IoU, where known, of a person who was found; 0 of everybody else."""
        known = [value for value in (self.oks, self.iou) if value is not None]
        return sum(known) / len(known) if self.fate == "found" and known else 0.0


def error(matches: Sequence[Match]) -> float:
    """How wrong a picture is, 0 to 1: 1 - the mean quality over labelled people, duplicates and false alarms."""
    counted = [match.quality for match in matches if match.fate != "ignored"]
    return 1 - sum(counted) / len(counted) if counted else 0.0


def match_people(picture: Picture, people: Instances, min_score: float) -> list[Match]:
    """Found people of at least `min_score`, best first, then the labelled people that were missed.

    Best first, each takes the free labelled person that it agrees with most, in OKS or IoU, if by `AGREEMENT` or more.
    """
    kept = [index for index in range(len(people)) if people.scores[index] >= min_score]
    oks, iou = _oks(picture, people, kept), _iou(picture, people, kept)
    agreement = np.fmax(np.fmax(oks, iou), 0)  # fmax leaves a NaN out
    crowd = np.array([bool(a.get("iscrowd")) for a in picture.annotations], dtype=bool)
    free = ~crowd
    matches = []
    for row, index in enumerate(kept):
        fate, truth = _fate(agreement[row], free, crowd)
        if fate == "found":
            free[truth] = False
        values = {} if truth is None else {"oks": _known(oks[row, truth]), "iou": _known(iou[row, truth])}
        matches.append(Match(fate, truth, index, score=float(people.scores[index]), **values))
    return matches + [Match("missed", int(truth)) for truth in np.flatnonzero(free)]


def _fate(
    agreement: npt.NDArray[np.float64], free: npt.NDArray[np.bool_], crowd: npt.NDArray[np.bool_]
) -> tuple[Fate, int | None]:
    choices: tuple[Fate, ...] = ("found", "ignored", "duplicate")
    for fate, allowed in zip(choices, (free, crowd, ~crowd), strict=True):
        agreeing = np.where(allowed & (agreement >= AGREEMENT), agreement, 0)
        if agreeing.any():
            return fate, int(agreeing.argmax())
    alike = np.where(~crowd & (agreement >= LIKENESS), agreement, 0)
    return "false", int(alike.argmax()) if alike.any() else None


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _oks(picture: Picture, people: Instances, kept: list[int]) -> npt.NDArray[np.float64]:
    """OKS (found, labelled); NaN where one of them has no keypoint."""
    table = np.full((len(kept), len(picture.annotations)), np.nan)
    for row, index in enumerate(kept):
        for column, annotation in enumerate(picture.annotations):
            if any(annotation["keypoints"][2::3]) and people.keypoint_scores[index].any():
                table[row, column] = object_keypoint_similarity(people.keypoints_xy[index], annotation)
    return table


def object_keypoint_similarity(keypoints_xy: FloatArray, annotation: dict[str, Any]) -> float:
    """COCO's OKS of keypoints (17, 2) with a labelled person in the same pixels, of whom a keypoint is labelled."""
    truth = np.array(annotation["keypoints"], dtype=np.float64).reshape(NUM_KEYPOINTS, 3)
    squared = ((keypoints_xy - truth[:, :2]) ** 2).sum(axis=1)
    likeness = np.exp(-squared / (2 * OKS_KAPPAS**2 * (annotation["area"] + np.spacing(1))))
    return float(likeness[truth[:, 2] > 0].mean())


def _iou(picture: Picture, people: Instances, kept: list[int]) -> npt.NDArray[np.float64]:
    """Mask IoU (found, labelled), for crowds the share of the found mask inside; NaN where one has no mask."""
    table = np.full((len(kept), len(picture.annotations)), np.nan)
    truths = [coco.decode_mask(a.get("segmentation"), picture.height, picture.width) for a in picture.annotations]
    rows = [row for row, index in enumerate(kept) if people.mask(index).any()]
    columns = [column for column, mask in enumerate(truths) if mask is not None]
    if rows and columns:
        found = [coco.encode_mask(people.mask(kept[row])) for row in rows]
        labelled = [coco.encode_mask(mask) for mask in truths if mask is not None]
        crowds = [int(picture.annotations[column].get("iscrowd", 0)) for column in columns]
        table[np.ix_(rows, columns)] = rle.iou(found, labelled, crowds)
    return table
