"""What each switch of the decode brings: groups of rows, all decoded from the same network outputs of each picture."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine import coco
from engine.coco import BadPictureError, BadPictures, Picture
from engine.confidence import Confidence
from engine.decode import decode
from engine.decode_config import DecodeConfig
from engine.evaluation import KEYPOINT_METRICS, SEGM_METRICS, Result, average_precision, to_results
from engine.modes import HEADS_OF_MODE
from engine.structures import ByteArray, Heads, Instances


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that belong in one table.

    Attributes:
        name: what the user chooses it by. title: its heading.
        rows: (label, changes to the `DecodeConfig` that the whole table starts from).
        confidence: whether the mean confidence of each keypoint is of interest too (paper Tables 6 and 8).
    """

    name: str
    title: str
    rows: tuple[tuple[str, dict[str, Any]], ...]
    confidence: bool = False


PARTS: Final = 10  # of the pictures, for the error of a difference


def _steps(name: str) -> tuple[tuple[str, dict[str, Any]], ...]:
    return tuple((str(steps), {name: steps}) for steps in range(5))


def _released(**changes: Any) -> dict[str, Any]:
    """The released program's numbers and rules with some of ours."""
    return dataclasses.asdict(DecodeConfig.released()) | changes


GROUPS: Final = (
    Group(
        "bhm",
        "Body heat map in the scores (paper Tables 7 and 8)",
        (
            ("without", {"bhm_beta": 0.0}),
            ("α = 0.4, β = 0.25", {"bhm_alpha": 0.4, "bhm_beta": 0.25}),
            ("α = 0.4, β = 0.5", {"bhm_alpha": 0.4, "bhm_beta": 0.5}),
            ("α = 0.4, β = 0.75", {"bhm_alpha": 0.4, "bhm_beta": 0.75}),
            ("α = 1, β = 0.5", {"bhm_alpha": 1.0, "bhm_beta": 0.5}),
        ),
        confidence=True,
    ),
    Group(
        "radius",
        "Disk radius R of the decode, px",
        tuple((f"R = {radius}", {"radius_px": float(radius)}) for radius in (8, 16, 32)),
        confidence=True,
    ),
    Group(
        "mode",
        "Modes (paper Table 10)",
        tuple((mode, {"mode": mode}) for mode in HEADS_OF_MODE),
    ),
    Group(
        "grouping",
        "Grouping of the keypoints",
        (
            ("default", {"grouping": "default"}),
            ("strict: the released rules", {"grouping": "strict"}),
        ),
    ),
    Group(
        "fill",
        "Occluded keypoints, filled from the mid offsets",
        (
            *((f"where p_k ≥ {least:g}", {"fill_threshold": least}) for least in (0.0, 0.05, 0.1, 0.2)),
            ("never", {"fill_threshold": 1.0, "walk_threshold": 1.0}),
        ),
    ),
    Group(
        "score",
        "Score of a keypoint",
        (
            ("expected OKS", {"score": "oks"}),
            ("height of the Hough peak", {"score": "hough"}),
            ("p_k", {"score": "probability"}),
            ("p_k, all people score 1", {"score": "constant"}),
        ),
        confidence=True,
    ),
    Group("mid-steps", "Mid offsets: steps of refinement", _steps("mid_steps")),
    Group("self-steps", "Mask offsets: steps by themselves", _steps("mask_self_steps")),
    Group("short-steps", "Mask offsets: steps by short offsets", _steps("mask_short_steps")),
    Group(
        "centroid",
        "What stands for a person when pixels are assigned",
        (
            ("keypoints and mean of the mask", {"centroid": "both"}),
            ("all 17 keypoints", {"centroid": "keypoints"}),
            ("right shoulder (paper fig. 5a)", {"centroid": "shoulder"}),
            ("mean of the mask (paper eq. 2)", {"centroid": "mean"}),
        ),
    ),
    Group(
        "density",
        "Clusters of pixels that no skeleton took",
        (("with", {"density": True}), ("without", {"density": False})),
    ),
    Group(
        "t",
        "t, largest distance of a pixel to its person",
        tuple(
            (f"t = {t:g}" + " (paper)" * (t == 0.25), {"distance_threshold": t})
            for t in (0.125, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0)
        ),
    ),
    Group(
        "p",
        "p, least probability of a mask's pixel",
        tuple((f"p = {p:g}" + " (paper)" * (p == 0.5), {"person_threshold": p}) for p in (0.3, 0.4, 0.5, 0.6, 0.7)),
    ),
    Group(
        "released",
        "The released program's numbers and rules",
        (
            ("released", _released()),
            ("released, with our scores", _released(score="oks")),
            ("released, with our grouping", _released(grouping="default")),
            ("released, with our t", _released(distance_threshold=DecodeConfig().distance_threshold)),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a group's table; `baseline` marks the one that the others are compared with."""

    label: str
    config: DecodeConfig
    baseline: bool


def rows_of(group: Group, start: DecodeConfig) -> list[Row]:
    """A group's rows as changes to `start`, which itself is the baseline: put on top unless a row is equal to it.

    Raises:
        TypeError: a row names a field that there is not. ValueError: or a value that its field does not take.
    """
    rows = [(label, dataclasses.replace(start, **changes)) for label, changes in group.rows]
    if all(config != start for _, config in rows):
        changed = list(dict.fromkeys(name for _, changes in group.rows for name in changes))
        label = ", ".join(f"{name} = {getattr(start, name)}" for name in changed) if len(changed) <= 2 else "as it is"
        rows.insert(0, (label, start))
    return [Row(label, config, config == start) for label, config in rows]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """AP of one kind of results.

    Attributes:
        table: the figures of `engine.evaluation`; NaN for sizes that nobody has, and for what was not looked for.
        parts: float64 (PARTS,), AP of disjoint parts of the pictures; NaN where nobody is labelled.
    """

    table: dict[str, float]
    parts: npt.NDArray[np.float64]

    def minus(self, other: "Accuracy") -> tuple[float, float]:
        """The difference in AP over the same pictures, and its standard error from the differences of the parts.

        The parts are paired: what makes one hard is hard for both. NaN for a difference that is not defined, and for
        the error where fewer than two parts have labels.
        """
        differences = (self.parts - other.parts)[~np.isnan(self.parts - other.parts)]
        count = len(differences)
        error = float(differences.std(ddof=1)) / count**0.5 if count > 1 else float("nan")
        return self.table["AP"] - other.table["AP"], error


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured for one `DecodeConfig`.

    Attributes:
        keypoints, segm: accuracy of both kinds.
        decode_ms: median time of the decode of one picture.
        confidence: of each kind of keypoint, see `Confidence.means`; over people who score enough for a mask.
    """

    keypoints: Accuracy
    segm: Accuracy
    decode_ms: float
    confidence: dict[str, dict[str, float]]


@dataclass(slots=True)
class Record:
    """What one `DecodeConfig` found in all pictures, as results of COCO's two kinds, and how long it took."""

    confidence: Confidence
    poses: list[Result] = field(default_factory=list)
    masks: list[Result] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, picture: Picture, heads: Heads, people: Instances, seconds: float) -> None:
        poses, masks = to_results(picture.id, people)
        self.poses += poses
        self.masks += masks
        self.seconds.append(seconds)
        self.confidence(picture, heads, people)


def decode_all(
    infer: Callable[[ByteArray], Heads], pictures: Iterable[Picture], configs: Sequence[DecodeConfig], bad: BadPictures
) -> tuple[dict[DecodeConfig, Record], list[int]]:
    """Run the network once on each picture, and decode its outputs by every config: (records, ids of the pictures).

    The outputs are not kept, only what was found in them: about 2 kB for a person and a config.

    Args:
        bad: counts the pictures that cannot be read; they are left out.

    Raises:
        UserError: too many bad pictures.
    """
    records = {config: Record(Confidence(config.mask_min_score)) for config in configs}
    ids: list[int] = []
    for picture in pictures:
        try:
            heads = infer(coco.read_picture(picture))
        except BadPictureError as error:
            bad.add(error)
            continue
        # Kernels compile at their first call, and a picture's first decode finds cold caches: neither is a row's own.
        for config in configs[:1] if ids else configs:
            decode(heads, config)
        for config, record in records.items():
            start = time.perf_counter()
            people = decode(heads, config)
            record.add(picture, heads, people, time.perf_counter() - start)
        ids.append(picture.id)
    return records, ids


def score_all(
    records: dict[DecodeConfig, Record], truth: dict[str, Any], image_ids: Sequence[int]
) -> Iterator[Figures]:
    """The figures of each record, in their order. `truth` is a COCO annotation file, `image_ids` the pictures seen."""
    seen = set(image_ids)
    truth = truth | {"images": [image for image in truth["images"] if image["id"] in seen]}
    for config, record in records.items():
        heads = HEADS_OF_MODE[config.mode]
        yield Figures(
            keypoints=_accuracy(truth, record.poses, "keypoints", image_ids, sought="keypoint_maps" in heads),
            segm=_accuracy(truth, record.masks, "segm", image_ids, sought="person_map" in heads),
            decode_ms=1000 * float(np.median(record.seconds)),
            confidence=record.confidence.means(),
        )


def _accuracy(
    truth: dict[str, Any], results: list[Result], kind: str, image_ids: Sequence[int], *, sought: bool
) -> Accuracy:
    parts = np.full(PARTS, np.nan)
    if not sought:
        return Accuracy(dict.fromkeys(KEYPOINT_METRICS if kind == "keypoints" else SEGM_METRICS, float("nan")), parts)
    for part in range(min(PARTS, len(image_ids))):
        ids = set(image_ids[part::PARTS])
        images = [image for image in truth["images"] if image["id"] in ids]
        found = [result for result in results if result["image_id"] in ids]
        parts[part] = _defined(average_precision(truth | {"images": images}, found, kind, sorted(ids))["AP"])
    table = average_precision(truth, results, kind, list(image_ids))
    return Accuracy({name: _defined(value) for name, value in table.items()}, parts)


def _defined(value: float) -> float:
    """pycocotools marks what is not defined by -1."""
    return float("nan") if value < 0 else value
