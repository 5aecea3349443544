"""The data of one frame, frozen: how the picture was placed, what the network said, who was found.

x right, y down, (x, y) order, 0-based, pixel centres at integers. Three coordinate systems:
source (the frame as delivered), input (what the network sees), cell (a head's grid: input = cell * stride).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine import kernels
from engine.skeleton import NUM_EDGES, NUM_KEYPOINTS

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]

MAX_INSTANCES = 254  # a label map is uint8 and 0 is background


def _check(name: str, array: npt.NDArray[np.generic], dtype: npt.DTypeLike, shape: tuple[int, ...]) -> None:
    if array.dtype != np.dtype(dtype) or array.shape != shape:
        raise ValueError(f"{name}: expected {np.dtype(dtype)} {shape}, got {array.dtype} {array.shape}")


@dataclass(frozen=True, slots=True, eq=False)
class Letterbox:
    """Where a source picture lies inside the network input, and the only maps between the two.

    Attributes:
        source_hw: (H, W) of the source, pixels.
        input_hw: (height, width) of the network input, pixels.
        scale_xy: input pixels per source pixel on each axis; they differ by the rounding of the resized size.
    """

    source_hw: tuple[int, int]
    input_hw: tuple[int, int]
    scale_xy: tuple[float, float]

    def to_input(self, xy: npt.NDArray[np.floating]) -> FloatArray:
        """Source coordinates (..., 2) to input coordinates, float32. The picture lies at the input's top left."""
        scale = np.asarray(self.scale_xy, dtype=np.float64)
        return ((np.asarray(xy, dtype=np.float64) + 0.5) * scale - 0.5).astype(np.float32)

    def to_source(self, xy: npt.NDArray[np.floating]) -> FloatArray:
        """Input coordinates (..., 2) to source coordinates, float32. Inverse of `to_input`."""
        scale = np.asarray(self.scale_xy, dtype=np.float64)
        return ((np.asarray(xy, dtype=np.float64) + 0.5) / scale - 0.5).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """The network's six outputs for one picture, on the grid of cells (h, w) at `stride` input pixels.

    Attributes:
        keypoint_maps: float32 (17, h, w), SKHM probabilities p_k in [0, 1].
        short_offsets: float32 (17, 2, h, w), input px (dx, dy), to the nearest keypoint k (S_k).
        mid_offsets: float32 (32, 2, h, w), input px, to the keypoint at the other end of a directed edge (M).
        mask_offsets: float32 (17, 2, h, w), input px, to keypoint k of the person that owns the cell (MO, L_k).
        centroid_offsets: float32 (2, h, w), input px, to the centroid of the mask that owns the cell (MO of eq. 2).
        person_map: float32 (h', w'), probability that a cell shows a person (SM, p_S); its grid may be finer, with
            (h - 1) * f + 1 rows and (w - 1) * f + 1 columns for an integer f that divides the stride.
        stride: input pixels per cell; cell (i, j) is centred on input pixel (x = j * stride, y = i * stride).
        letterbox: how the source was placed in the input.
    """

    keypoint_maps: FloatArray
    short_offsets: FloatArray
    mid_offsets: FloatArray
    mask_offsets: FloatArray
    centroid_offsets: FloatArray
    person_map: FloatArray
    stride: int
    letterbox: Letterbox

    def __post_init__(self) -> None:
        h, w = self.keypoint_maps.shape[1:]
        _check("keypoint_maps", self.keypoint_maps, np.float32, (NUM_KEYPOINTS, h, w))
        _check("short_offsets", self.short_offsets, np.float32, (NUM_KEYPOINTS, 2, h, w))
        _check("mid_offsets", self.mid_offsets, np.float32, (2 * NUM_EDGES, 2, h, w))
        _check("mask_offsets", self.mask_offsets, np.float32, (NUM_KEYPOINTS, 2, h, w))
        _check("centroid_offsets", self.centroid_offsets, np.float32, (2, h, w))
        input_h, input_w = self.letterbox.input_hw
        if (h - 1) * self.stride + 1 != input_h or (w - 1) * self.stride + 1 != input_w:
            raise ValueError(f"heads of {h}x{w} cells at stride {self.stride} do not fit input {input_h}x{input_w}")
        finer = self.stride // self.person_stride
        _check("person_map", self.person_map, np.float32, ((h - 1) * finer + 1, (w - 1) * finer + 1))

    @property
    def person_stride(self) -> int:
        """Input pixels per cell of the person map."""
        return max(1, (self.letterbox.input_hw[0] - 1) // max(1, self.person_map.shape[0] - 1))

    def __repr__(self) -> str:
        h, w = self.keypoint_maps.shape[1:]
        return f"Heads({h}x{w} cells, stride {self.stride}, {self.letterbox})"


@dataclass(frozen=True, slots=True, eq=False)
class Instances:
    """Everybody found in one picture, best first, in source pixels.

    Attributes:
        keypoints_xy: float32 (N, 17, 2).
        keypoint_scores: float32 (N, 17) in [0, 1]; 0 means missing, its xy is then (0, 0) and is never drawn. Somebody
            who was found by the mask alone has no keypoints.
        scores: float32 (N,) in [0, 1], descending.
        mask_scores: float32 (N,) in [0, 1], by which masks are ranked; 0 where an instance owns no pixel.
        label_map: uint8 (H, W); 0 is background, i + 1 belongs to instance i. A pixel has one owner.
    """

    keypoints_xy: FloatArray
    keypoint_scores: FloatArray
    scores: FloatArray
    mask_scores: FloatArray
    label_map: ByteArray

    def __post_init__(self) -> None:
        n = len(self.scores)
        if n > MAX_INSTANCES:
            raise ValueError(f"scores: expected at most {MAX_INSTANCES} instances, got {n}")
        _check("keypoints_xy", self.keypoints_xy, np.float32, (n, NUM_KEYPOINTS, 2))
        _check("keypoint_scores", self.keypoint_scores, np.float32, (n, NUM_KEYPOINTS))
        _check("scores", self.scores, np.float32, (n,))
        _check("mask_scores", self.mask_scores, np.float32, (n,))
        _check("label_map", self.label_map, np.uint8, self.label_map.shape[:2])

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        height, width = self.label_map.shape
        return f"Instances({len(self)} in {width}x{height})"

    def mask(self, index: int) -> npt.NDArray[np.bool_]:
        """The pixels of one instance: bool (H, W)."""
        return self.label_map == index + 1

    def boxes_xywh(self) -> FloatArray:
        """Boxes (N, 4) around each mask, or around the present keypoints where an instance owns no pixel."""
        boxes = kernels.label_boxes(self.label_map, len(self))
        for index in np.nonzero(boxes[:, 2] == 0)[0]:
            present = self.keypoints_xy[index][self.keypoint_scores[index] > 0]
            if len(present):
                boxes[index, :2] = present.min(axis=0)
                boxes[index, 2:] = np.ptp(present, axis=0)
        return boxes
