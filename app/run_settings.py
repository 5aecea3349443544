"""What decides the results of a clip, as options, as plain values and as JSON."""

import argparse
import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Any, Final, Self

from app.options import MIN_SCORE, add_model_arguments, open_estimator, share, whole_number
from engine.errors import UserError
from engine.estimator import Estimator
from pipeline.excerpt import Cut
from pipeline.overlays import LAYER_NAMES, OverlayStyle

BATCH: Final = 8  # pictures that a GPU may take at once; a processor takes one all the same
SAVE_KINDS: Final = ("video", "ndjson", "coco", "csv", "summary")
_CLOCK: Final = re.compile(r"(?:(?:(\d+):)?([0-5]?\d):)?(\d+(?:\.\d*)?|\.\d+)")


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Everything but the clip and the place that its results depend on; plain values only.

    Attributes:
        save: some of `SAVE_KINDS`, in that order.
        overlay: names of layers (`pipeline.overlays.LAYER_NAMES`).
        show_scores: write each person's score above them.
        track, smooth: whether people are followed; whether their keypoints are smoothed then.
        start_s, end_s, every_frames, every_s, max_frames: see `pipeline.excerpt.Cut`; end_s None is the clip's end.
        model, backend, precision, input_size, mode, decode: as the options of `add_model_arguments`; decode is `--set`.
        min_score: people below it are left out.
    """

    save: tuple[str, ...] = ("video", "ndjson")
    overlay: tuple[str, ...] = ("masks", "pose")
    show_scores: bool = False
    track: bool = True
    smooth: bool = False
    start_s: float = 0.0
    end_s: float | None = None
    every_frames: int = 1
    every_s: float = 0.0
    max_frames: int | None = None
    model: str = "mobile"
    backend: str = "auto"
    precision: str = "auto"
    input_size: int | None = None
    mode: str = "joint"
    min_score: float = MIN_SCORE
    decode: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, options: argparse.Namespace) -> Self:
        """What the options of `add_run_arguments` say. Raises UserError where they contradict each other."""
        if options.end is not None and options.end <= options.start:
            raise UserError(f"--end {options.end:g}: lies before --start {options.start:g}")
        if options.smooth and not options.track:
            raise UserError("--smooth needs to know who is who: leave out --no-track")
        every_frames, every_s = options.every
        own = {"start_s": options.start, "end_s": options.end, "every_frames": every_frames, "every_s": every_s}
        same = {field.name for field in dataclasses.fields(cls)} - {*own, "decode"}
        return cls(**own, decode=tuple(options.set), **{name: getattr(options, name) for name in same})

    def record(self) -> dict[str, Any]:
        """Plain values for JSON; equal settings give equal ones."""
        return dataclasses.asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """What `record` gave, also after a way through JSON."""
        lists = {name: tuple(record[name]) for name in ("save", "overlay")}
        return cls(**{**record, **lists, "decode": tuple((name, value) for name, value in record["decode"])})

    @property
    def cut(self) -> Cut:
        """The part of each clip."""
        end_s = math.inf if self.end_s is None else self.end_s
        return Cut(self.start_s, end_s, self.every_frames, self.every_s, self.max_frames)

    @property
    def style(self) -> OverlayStyle:
        """What is drawn."""
        return OverlayStyle.of(self.overlay, self.show_scores)

    def open_estimator(self) -> Estimator:
        """The network. Raises UserError, see `app.options.open_estimator`."""
        options = argparse.Namespace(set=self.decode, **self.record())
        return open_estimator(options, batch=BATCH, min_score=self.min_score)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that `RunSettings.of` reads."""
    add = parser.add_argument
    kinds = ", ".join(SAVE_KINDS)
    add(
        "--save",
        default="video,ndjson",
        type=_save_kinds,
        metavar="KINDS",
        help=f"some of {kinds} (default: %(default)s)",
    )
    layers = ", ".join(LAYER_NAMES)
    add(
        "--overlay",
        default="pis",
        type=_layers,
        metavar="LAYERS",
        help=f"some of {layers}; pis is masks,pose, the default",
    )
    add("--show-scores", action="store_true", help="write each person's score above them")
    add("--no-track", dest="track", action="store_false", help="do not follow people: no ids, in less time")
    add("--smooth", action="store_true", help="take the jitter out of the keypoints (One-Euro filter)")
    add("--start", default=0.0, type=moment, metavar="TIME", help="begin there: seconds or HH:MM:SS.mmm")
    add("--end", type=moment, metavar="TIME", help="end before this time of the clip")
    add("--every", default=(1, 0.0), type=every, metavar="N", help="look at every Nth frame, or, as 0.5s, so often")
    add("--max-frames", type=whole_number(1), metavar="N", help="stop after N frames of each source")
    told = "leave out people whose score is below, 0 to 1 (default: %(default)s)"
    add("--min-score", default=MIN_SCORE, type=share, metavar="P", help=told)
    add_model_arguments(parser)


def moment(text: str) -> float:
    """An argparse type: seconds, MM:SS or HH:MM:SS, each with a fraction if wanted."""
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected seconds or HH:MM:SS.mmm, got {text!r}")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    if minutes_given(match) and seconds >= 60:
        raise argparse.ArgumentTypeError(f"expected fewer than 60 seconds after the minutes, got {text!r}")
    return hours * 3600 + minutes * 60 + seconds


def minutes_given(match: re.Match[str]) -> bool:
    """Whether a time was written with a colon."""
    return match.group(2) is not None


def every(text: str) -> tuple[int, float]:
    """An argparse type: N frames as (N, 0.0), or seconds, written 0.5s, as (1, 0.5)."""
    try:
        frames, seconds = (1, float(text[:-1])) if text.endswith("s") else (int(text), 0.0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number of frames, or seconds as 0.5s, got {text!r}") from None
    if frames < 1 or not 0 <= seconds < math.inf or (text.endswith("s") and not seconds):
        raise argparse.ArgumentTypeError(f"expected more than 0, got {text!r}")
    return frames, seconds


def _save_kinds(text: str) -> tuple[str, ...]:
    chosen = _names(text)
    if not chosen or chosen - set(SAVE_KINDS):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(SAVE_KINDS)}, got {text!r}")
    return tuple(kind for kind in SAVE_KINDS if kind in chosen)


def _layers(text: str) -> tuple[str, ...]:
    chosen = _names(text)
    try:
        style = OverlayStyle.of(chosen)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not chosen:
        raise argparse.ArgumentTypeError(f"expected some of {','.join((*LAYER_NAMES, 'pis'))}, got {text!r}")
    return tuple(name for name in LAYER_NAMES if getattr(style, name))


def _names(text: str) -> set[str]:
    return {part.strip() for part in text.split(",") if part.strip()}
