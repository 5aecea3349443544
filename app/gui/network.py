"""Which network runs, and with which thresholds: what the user can choose while the picture goes on. No Qt."""

import dataclasses
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from app.options import MIN_SCORE, describe, open_estimator
from engine.backends.base import missing_plan
from engine.backends.tensorrt_build import Progress
from engine.decode_config import DecodeConfig
from engine.estimator import Estimator
from engine.models import find_model

INPUT_SIZES: Final = (257, 321, 401, 513, 641, 801, 1025, 1345)  # offered; a settings file may hold any other


@dataclass(frozen=True, slots=True)
class NetworkChoice:
    """Which network runs, where, for what and how large.

    Attributes:
        model: a name in assets/models.toml, or the path of a .safetensors file.
        backend: one of engine.backends.base.BACKEND_NAMES.
        precision: one of engine.models.PRECISION_NAMES.
        mode: what is looked for, see `DecodeConfig`.
        input_size: longer side of the network's input, px; 0 is the model's own.
    """

    model: str = "mobile"
    backend: str = "auto"
    precision: str = "auto"
    mode: Literal["joint", "pose", "seg"] = "joint"
    input_size: int = 0


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The numbers of the decode that can be moved while the picture runs, each in [0, 1].

    Attributes:
        score: least score of a person.
        person: p, least person probability of a mask pixel.
        distance: t, largest normalised distance of a pixel's embedding to its person.
    """

    score: float = MIN_SCORE
    person: float = DecodeConfig().person_threshold
    distance: float = DecodeConfig().distance_threshold

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if not 0 <= value <= 1:
                raise ValueError(f"{item.name}: expected 0 to 1, got {value}")

    def applied_to(self, config: DecodeConfig) -> DecodeConfig:
        """`config` with these numbers."""
        distance = max(self.distance, 0.01)  # 0 would mean: no size at all
        return dataclasses.replace(
            config,
            min_score=self.score,
            person_threshold=self.person,
            distance_threshold=distance,
            # Where there are no skeletons, the clusters' own t is the one that is meant.
            cluster_distance=distance if config.mode == "seg" else config.cluster_distance,
        )


def find_build(choice: NetworkChoice) -> Callable[[Progress], None] | None:
    """What builds the TensorRT plan that this choice would gain from; None where it would not. Takes seconds."""
    if choice.backend != "auto" or Path(choice.model).suffix:
        return None
    entry = find_model(choice.model)
    return missing_plan(entry, choice.mode, choice.precision, input_size=choice.input_size or None)


def open_network(choice: NetworkChoice, thresholds: Thresholds) -> tuple[Estimator, str]:
    """The network of this choice, warmed up, and what it is in words: "mobile on onnx cpu int8, input 641 px".

    Takes seconds, the very first time a minute.

    Raises:
        UserError: an unknown model or back end, a missing package, a damaged file.
    """
    options = Namespace(
        model=choice.model,
        backend=choice.backend,
        precision=choice.precision,
        mode=choice.mode,
        input_size=choice.input_size or None,
        set=[],
    )
    estimator = open_estimator(options, build=False)  # the window goes on while a plan is built: `find_build`
    try:
        estimator.config = thresholds.applied_to(estimator.config)
        estimator.warmup()
    except BaseException:
        estimator.close()
        raise
    return estimator, describe(options, estimator)
