"""Whether a network that was written in another form still says what it said: two back ends, compared."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from engine.backends.base import Backend, whole_input
from engine.coco import read_image
from engine.models import DEFAULT_REGISTRY
from engine.structures import Heads

PARITY_SIZES_HW: Final = ((401, 401), (225, 401))
# Float32 summed in another order: at most 3.2e-6 and 4e-4 px measured (mobile, ResNet-50), times thirty.
MAX_PROBABILITY_DIFFERENCE: Final = 1e-4
MAX_OFFSET_DIFFERENCE_PX: Final = 0.012
# Half precision, at most 6.3e-3 and 0.92 px measured (mobile), times three or four.
MAX_HALF_PROBABILITY_DIFFERENCE: Final = 0.025
MAX_HALF_OFFSET_DIFFERENCE_PX: Final = 2.8
_PICTURE: Final = DEFAULT_REGISTRY.parent / "astronaut.jpg"


@dataclass(frozen=True, slots=True)
class SizeParity:
    """How far one back end is from another at one input size.

    Attributes:
        input_hw: (height, width) of the input, px.
        probability_max: largest difference of a probability.
        offset_median_px, offset_max_px: median and largest length of the difference of an offset vector, input px.
    """

    input_hw: tuple[int, int]
    probability_max: float
    offset_median_px: float
    offset_max_px: float

    def __str__(self) -> str:
        height, width = self.input_hw
        return (
            f"{width}x{height}: probabilities differ by at most {self.probability_max:.1e}, "
            f"offsets by {self.offset_median_px:.1e} px (median) and {self.offset_max_px:.1e} px (max)"
        )


@dataclass(frozen=True, slots=True)
class ParityReport:
    """The comparison of an exported file with the network it came from, one line a size."""

    path: Path
    sizes: tuple[SizeParity, ...]

    def check(self, probability: float, offset_px: float) -> None:
        """Raise RuntimeError where they differ by more than this."""
        for size in self.sizes:
            close = size.probability_max <= probability and size.offset_max_px <= offset_px
            if not close:  # also where they are not numbers
                raise RuntimeError(f"{self.path}: it differs from the network it was made from at {size}")

    def __str__(self) -> str:
        return "\n".join([str(self.path), *(f"  {size}" for size in self.sizes)])


def compare(path: Path, reference: Backend, exported: Backend) -> ParityReport:
    """What the two say about a picture at several sizes; `path` is the file that `exported` runs."""
    picture = read_image(_PICTURE)
    sizes = []
    for height, width in PARITY_SIZES_HW:
        image = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        placed = whole_input((height, width))
        sizes.append(compare_heads(reference.infer(image, placed), exported.infer(image, placed)))
    return ParityReport(path, tuple(sizes))


def compare_heads(expected: Heads, actual: Heads) -> SizeParity:
    """The differences of two back ends' outputs for the same input."""
    probabilities = [
        np.abs(expected.keypoint_maps - actual.keypoint_maps).max(),
        np.abs(expected.person_map - actual.person_map).max(),
    ]
    offsets = [
        np.linalg.norm(getattr(expected, name) - getattr(actual, name), axis=-3).ravel()
        for name in ("short_offsets", "mid_offsets", "mask_offsets", "centroid_offsets")
    ]
    lengths = np.concatenate(offsets)
    return SizeParity(
        input_hw=expected.letterbox.input_hw,
        probability_max=float(np.max(probabilities)),
        offset_median_px=float(np.median(lengths)),
        offset_max_px=float(lengths.max()),
    )
