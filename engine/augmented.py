"""Test-time augmentation: one picture seen several times, mirrored and at several sizes, and the fields put together.

Every view's fields are laid on the grid of the plain view. An offset is moved there by the point it leads to, so that
another scale or a mirrored x axis needs no rule of its own. Offsets are averaged with the weight of the probability
that they mean anything: p_k of the keypoint they start from, p_S of the person's cell. Hough maps are averaged as such,
for the mean of two short offsets that lead to different people leads to nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine import letterbox as letterboxes
from engine.decode import decode
from engine.estimator import Estimator
from engine.skeleton import DIRECTED_EDGES, FLIP_EDGES, FLIP_KEYPOINTS
from engine.structures import ByteArray, FloatArray, Heads, Instances, Letterbox

# What stands in these fields' channel i, stood in channel FLIPS[field][i] of the mirrored picture.
_FLIPS: Final = {
    "keypoint_maps": np.array(FLIP_KEYPOINTS),
    "short_offsets": np.array(FLIP_KEYPOINTS),
    "mid_offsets": np.array(FLIP_EDGES),
    "mask_offsets": np.array(FLIP_KEYPOINTS),
}
_EDGE_SOURCES: Final = np.array([source for source, _ in DIRECTED_EDGES])
_LEAST_WEIGHT: Final = 1e-3  # of an offset: where nobody believes in anything, its mean must still be a number
_MARGIN_CELLS: Final = 0.5  # a view still speaks for cells so far beyond its border


class AugmentedEstimator:
    """An estimator that looks at each picture several times; input size and decode are those of the one it is given."""

    def __init__(self, estimator: Estimator, scales: Sequence[float] = (1.0,), *, flip: bool = False) -> None:
        """`scales` are multiples of the estimator's input size; `flip` adds the mirror image at each of them."""
        if not scales or min(scales) <= 0:
            raise ValueError(f"scales: expected positive numbers, got {list(scales)}")
        self.estimator = estimator
        self.scales = tuple(scales)
        self.flip = flip

    def __call__(self, image: ByteArray) -> Instances:
        """Everybody in a BGR uint8 (H, W, 3) picture, best first, in its pixels."""
        return self.observe(image)[1]

    def observe(self, image: ByteArray) -> tuple[Heads, Instances]:
        """The views' mean fields, on the plain view's grid, and everybody they show; see `Estimator.observe`."""
        plain = self.estimator.fit((image.shape[0], image.shape[1]))
        flips = (False, True) if self.flip else (False,)
        views = [self._look(image, plain, scale, mirrored) for scale in self.scales for mirrored in flips]
        mean = merge(views)
        return mean, decode(mean, self.estimator.config, [view.heads for view in views])

    def _look(self, image: ByteArray, plain: Letterbox, scale: float, mirrored: bool) -> "View":
        backend = self.estimator.backend
        steps = letterboxes.input_side(self.estimator.input_size, backend.multiple) - 1  # of the grid's corners
        placed = letterboxes.fit(plain.source_hw, round(steps * scale) + 1, backend.multiple)
        shown = np.ascontiguousarray(image[:, ::-1]) if mirrored else image
        return lay(backend.infer(letterboxes.apply(shown, placed), placed), plain, mirrored=mirrored)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One view's fields on the plain view's grid.

    Attributes:
        heads: in the plain view's letterbox. Probabilities are 0 where the view shows nothing.
        seen: bool (h, w), the cells it shows. seen_finely: the same on the person map's grid.
    """

    heads: Heads
    seen: npt.NDArray[np.bool_]
    seen_finely: npt.NDArray[np.bool_]


def lay(heads: Heads, plain: Letterbox, *, mirrored: bool) -> View:
    """The fields of a view of the same source, at any scale, mirrored or not, on the grid of `plain`.

    Sampled bilinearly: neither another scale nor the mirrored end of a padded picture need fall on whole cells.
    """
    to_plain = _to_plain(heads.letterbox, plain, mirrored=mirrored)
    grid, fine_grid = (_Grid(heads.letterbox, plain, step, to_plain) for step in (heads.stride, heads.person_stride))
    fields = {"keypoint_maps": grid.sample(heads.keypoint_maps) * grid.seen}
    for name, weight in _offset_weights(heads).items():
        fields[name] = grid.sample_offsets(getattr(heads, name), weight + _LEAST_WEIGHT)
    if mirrored:
        fields |= {name: fields[name][order] for name, order in _FLIPS.items()}
    person_map = fine_grid.sample(heads.person_map) * fine_grid.seen
    return View(Heads(**fields, person_map=person_map, stride=heads.stride, letterbox=plain), grid.seen, fine_grid.seen)


def merge(views: Sequence[View]) -> Heads:
    """The mean of views of one picture: of probabilities, and of offsets weighted by them."""
    first = views[0].heads
    seen = [view.seen.astype(np.float32) for view in views]
    seen_finely = [view.seen_finely.astype(np.float32) for view in views]
    fields = {
        "keypoint_maps": _mean([view.heads.keypoint_maps for view in views], seen),
        "person_map": _mean([view.heads.person_map for view in views], seen_finely),
    }
    weights = [_offset_weights(view.heads) for view in views]
    for name in weights[0]:
        believed = [(w[name] + _LEAST_WEIGHT)[..., None, :, :] * s for w, s in zip(weights, seen, strict=True)]
        fields[name] = _mean([getattr(view.heads, name) for view in views], believed)
    return Heads(**fields, stride=first.stride, letterbox=first.letterbox)


def _mean(values: Sequence[FloatArray], weights: Sequence[FloatArray]) -> FloatArray:
    """Weighted mean; 0 where all weights are."""
    total = sum(value * weight for value, weight in zip(values, weights, strict=True))
    return np.asarray(total / np.maximum(sum(weights), _LEAST_WEIGHT**2), dtype=np.float32)


def _offset_weights(heads: Heads) -> dict[str, FloatArray]:
    """The probability that an offset means anything, by field: (channels, h, w), or (h, w) where there is but one."""
    finer = heads.stride // heads.person_stride
    person = heads.person_map[::finer, ::finer]
    return {
        "short_offsets": heads.keypoint_maps,
        "mid_offsets": heads.keypoint_maps[_EDGE_SOURCES],
        "mask_offsets": person[None],
        "centroid_offsets": person,
    }


def _to_plain(view: Letterbox, plain: Letterbox, *, mirrored: bool) -> tuple[tuple[float, float], tuple[float, float]]:
    """((slope, shift) for x, the same for y): plain input px = slope * view input px + shift."""
    (ratio_x, ratio_y) = (p / v for p, v in zip(plain.scale_xy, view.scale_xy, strict=True))
    along_y = (ratio_y, (ratio_y - 1) / 2)  # (v + 0.5) * ratio - 0.5
    if not mirrored:
        return (ratio_x, (ratio_x - 1) / 2), along_y
    last = view.source_hw[1] * view.scale_xy[0] - 1  # the input pixel of the picture's last column
    return (-ratio_x, ratio_x * (last + 0.5) - 0.5), along_y


class _Grid:
    """Where the cells of the plain view, `step` px apart, lie on a view's grid of the same step.

    Attributes:
        seen: bool (h, w), the plain cells on the view's grid; others read its border.
    """

    def __init__(
        self, view: Letterbox, plain: Letterbox, step: int, to_plain: tuple[tuple[float, float], tuple[float, float]]
    ) -> None:
        self._step, self._to_plain = step, to_plain
        seen, self._cells, self._plain_px = [], [], []
        for (slope, shift), plain_side, view_side in zip(
            to_plain, plain.input_hw[::-1], view.input_hw[::-1], strict=True
        ):
            px = np.arange(0, plain_side, step, dtype=np.float32)
            cells, last = (px - shift) / slope / step, (view_side - 1) // step
            seen.append((cells >= -_MARGIN_CELLS) & (cells <= last + _MARGIN_CELLS))
            self._plain_px.append(px)
            self._cells.append(np.clip(cells, 0, last))
        self.seen = seen[1][:, None] & seen[0][None, :]

    def sample(self, field: FloatArray) -> FloatArray:
        """A field float32 (..., h', w') of the view, bilinearly at the plain cells: (..., h, w)."""
        for axis, cells in ((-1, self._cells[0]), (-2, self._cells[1])):
            low = np.minimum(cells.astype(np.int64), max(0, field.shape[axis] - 2))
            high = np.minimum(low + 1, field.shape[axis] - 1)
            share = (cells - low).astype(np.float32)
            share = share if axis == -1 else share[:, None]
            field = field.take(low, axis) * (1 - share) + field.take(high, axis) * share
        return field

    def sample_offsets(self, offsets: FloatArray, weights: FloatArray) -> FloatArray:
        """Offsets float32 (..., 2, h', w') of the view as offsets of the plain cells, in plain px.

        The mean, weighted by `weights` (..., h', w'), of where the surrounding cells' offsets lead.
        """
        x = np.arange(offsets.shape[-1], dtype=np.float32) * self._step
        y = np.arange(offsets.shape[-2], dtype=np.float32)[:, None] * self._step
        mass, ends = self.sample(weights), []
        for start, plain_px, (slope, shift), component in (
            (x, self._plain_px[0], self._to_plain[0], offsets[..., 0, :, :]),
            (y, self._plain_px[1][:, None], self._to_plain[1], offsets[..., 1, :, :]),
        ):
            ends.append(self.sample(weights * (slope * (start + component) + shift)) / mass - plain_px)
        return np.stack(ends, axis=-3).astype(np.float32)
