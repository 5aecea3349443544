"""What the network says, drawn from its heads: BHM, SM, MO as colours, SKHM.

Everything is computed on the heads' own grid; `kernels.blend_cells` enlarges it into the picture.
"""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from engine.decode_config import DecodeConfig
from engine.kernels import blur, body_heat, vote
from engine.structures import ByteArray, FloatArray, Heads
from pipeline.overlays.kernels import blend_cells
from pipeline.overlays.palette import PART_COLOURS, PARTS, PERSON, direction_colours, heat_colours
from pipeline.overlays.style import OverlayStyle

Alphas = npt.NDArray[np.int32]

_DECODE: Final = DecodeConfig()
_LEVELS: Final = np.arange(256) / 255
_SURE_PEAK: Final = 0.05  # a Hough peak of this height is shown in full; a perfect one is about 0.14 high
_HALF_OFFSET_PX: Final = 16.0  # network-input pixels: an offset of this length has half its brightness
_GROUND: Final = 0.5  # of SKHM's opacity: the disks, and the darkened picture around them
_EDGE: Final = 0.06  # of the person probability: over so much around the threshold an edge fades


def draw_bhm(canvas: ByteArray, heads: Heads, style: OverlayStyle) -> None:
    """Let bodies glow in a BGR uint8 (H, W, 3) canvas and darken the rest, in place: B(x) = 1 - prod(1 - alpha p_k)."""
    heat = _levels(body_heat(np.ascontiguousarray(heads.keypoint_maps), _DECODE.bhm_alpha))
    _blend(canvas, heads, heads.stride, heat_colours(heat), heat, _everywhere(style.bhm_opacity))


def draw_person_map(canvas: ByteArray, heads: Heads, style: OverlayStyle) -> None:
    """Paint where p_S reaches the threshold in one colour into a BGR uint8 (H, W, 3) canvas, in place."""
    values = _levels(heads.person_map)
    colours = np.broadcast_to(np.array(PERSON, dtype=np.uint8), (*values.shape, 3)).copy()
    alphas = _above(style.person_threshold, style.person_map_opacity)
    _blend(canvas, heads, heads.person_stride, colours, values, alphas)


def draw_offset_field(canvas: ByteArray, heads: Heads, style: OverlayStyle) -> None:
    """Paint people in the colours of their mask offsets' directions into a BGR uint8 (H, W, 3) canvas, in place."""
    values = _levels(heads.person_map)
    finer = heads.stride / heads.person_stride
    offsets = np.ascontiguousarray(offsets_to(heads, style.offset_target).transpose(1, 2, 0))
    to_coarse = np.array([[1 / finer, 0, 0], [0, 1 / finer, 0]])
    fine = cv2.warpAffine(
        offsets,
        to_coarse,
        values.shape[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    colours = direction_colours(np.asarray(fine, dtype=np.float32), _HALF_OFFSET_PX)
    alphas = _above(style.person_threshold, style.offset_field_opacity)
    _blend(canvas, heads, heads.person_stride, colours, values, alphas)


def draw_skhm(canvas: ByteArray, heads: Heads, style: OverlayStyle) -> None:
    """Draw keypoint disks and, bright in them, where their votes meet into a BGR uint8 (H, W, 3) canvas, in place."""
    kinds = range(len(PARTS)) if style.skhm_keypoint is None else [style.skhm_keypoint]
    maps = np.ascontiguousarray(heads.keypoint_maps[kinds])
    short = np.ascontiguousarray(heads.short_offsets[kinds])
    votes = vote(maps, short, heads.stride, _DECODE.bin_px, _DECODE.radius_px, _DECODE.vote_threshold)
    hough = blur(votes, _DECODE.blur_passes)
    colours, values = _strongest(maps, kinds)
    glow = np.asarray(cv2.multiply(colours, cv2.merge([values] * 3), scale=1 / 255), dtype=np.uint8)
    _blend(canvas, heads, heads.stride, glow, values, _everywhere(_GROUND * style.skhm_opacity))
    spots = _alphas(style.skhm_opacity * _LEVELS**0.7)
    _blend(canvas, heads, _DECODE.bin_px, *_strongest(hough / np.float32(_SURE_PEAK), kinds), spots)


def offsets_to(heads: Heads, target: int | None) -> FloatArray:
    """The mask offsets to keypoint `target`, or to the mask's centroid for None: float32 (2, h, w), input px."""
    return heads.centroid_offsets if target is None else heads.mask_offsets[target]


def _strongest(maps: FloatArray, kinds: Sequence[int]) -> tuple[ByteArray, ByteArray]:
    """Keypoint maps (n, h, w) as one: colours uint8 (h, w, 3) by part of the body, largest values uint8 (h, w)."""
    owners = [PARTS[k] for k in kinds]
    parts = sorted(set(owners))
    strength = [maps[[owner == part for owner in owners]].max(axis=0) for part in parts]
    # A cell takes its neighbours' colours too: on the rim of a disk its own is an accident.
    weights = np.stack([cv2.blur(plane * plane, (3, 3)) for plane in strength]) + np.float32(1e-9)
    palette = np.array([PART_COLOURS[part] for part in parts], dtype=np.float32)
    colours = np.tensordot(weights / weights.sum(axis=0), palette, axes=(0, 0))
    return np.rint(colours).astype(np.uint8), _levels(np.maximum.reduce(strength))


def _levels(probabilities: FloatArray) -> ByteArray:
    """[0, 1], and what lies outside it, as 0 to 255."""
    return np.asarray(cv2.convertScaleAbs(np.clip(probabilities, 0, 1), alpha=255), dtype=np.uint8)


def _alphas(opacities: npt.NDArray[np.float64]) -> Alphas:
    """Opacities in [0, 1] of the 256 levels as the kernel wants them."""
    return np.rint(256 * opacities).astype(np.int32)


def _everywhere(opacity: float) -> Alphas:
    return _alphas(np.full(256, opacity))


def _above(threshold: float, opacity: float) -> Alphas:
    """Alphas that begin at a threshold in [0, 1], with a soft edge."""
    return _alphas(opacity * np.clip((_LEVELS - threshold) / _EDGE + 0.5, 0, 1))


def _blend(canvas: ByteArray, heads: Heads, stride: int, colours: ByteArray, values: ByteArray, alphas: Alphas) -> None:
    """Blend a grid of cells at `stride` input pixels into the canvas, where the letterbox says it lies."""
    pixels = np.arange(max(canvas.shape[:2]))
    cells = heads.letterbox.to_input(np.stack((pixels, pixels), axis=1)).T / np.float32(stride)
    columns, rows = cells[0, : canvas.shape[1]], cells[1, : canvas.shape[0]]
    blend_cells(canvas, colours, values, alphas, columns.copy(), rows.copy())
