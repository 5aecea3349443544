"""Ground truth to the fields the network should say: the exact mirror of `engine.decode`.

All coordinates are input pixels; cell (i, j) lies at (j * stride, i * stride). Definitions (PersonLab; the paper's
SKHM, MO and SM), with R the disk radius and y_jk keypoint k of person j:

- p_k = 1 on the disks |x - y_jk| <= R; a cell in several disks belongs to the nearest keypoint (Voronoi).
- S_k(x) = y_jk - x there; M_kl(x) = y_jl - x there, where person j has both keypoints.
- L_k(x) = y_jk - x on the mask of person j, C(x) = c_j - x with its centroid c_j (eq. 2); p_S = share of the cell that
  shows a person.

Every field comes with a weight: what is unknown (unlabelled, crowd, overlap) teaches nothing.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from engine.kernels import disk_fields, mask_fields, span
from engine.skeleton import NUM_EDGES, NUM_KEYPOINTS
from engine.structures import FloatArray, Heads, Letterbox

# A mask is judged by its outline: cells within this distance of one count so many times in the person map's loss.
OUTLINE_PX = 8
OUTLINE_WEIGHT = 4.0
# Nobody counts as smaller when offsets are measured in the owner's size.
MIN_SIZE_PX = 16.0


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """One labelled person in input pixels.

    Attributes:
        keypoints: float32 (17, 3), x, y, v; v > 0 is labelled (occluded ones count), v = 0 unknown.
        box_xywh: the person's box.
        mask: bool (height, width) at input size, or None where the mask is not labelled.
        core: bool (height, width), pixels that surely show the person although its mask is not labelled, or None.
        core_is_whole: the core is all of the person but its outline, so it knows the centroid.
        keypoints_known: False where keypoints were never labelled; their absence says nothing.
        face_known: False where the face was never labelled.
        is_crowd: a region with people in it, not a person.
        is_semantic: the mask may hold several people.
        pasted: cut from another picture; what lies around its mask is not its own.
    """

    keypoints: FloatArray
    box_xywh: tuple[float, float, float, float]
    mask: npt.NDArray[np.bool_] | None
    core: npt.NDArray[np.bool_] | None = None
    core_is_whole: bool = False
    keypoints_known: bool = True
    face_known: bool = True
    is_crowd: bool = False
    is_semantic: bool = False
    pasted: bool = False

    @property
    def has_keypoints(self) -> bool:
        """Whether at least one keypoint is labelled."""
        return bool((self.keypoints[:, 2] > 0).any())

    @property
    def pixels(self) -> npt.NDArray[np.bool_] | None:
        """The pixels known to show this one person: the mask, else the core; None for crowds and semantic masks."""
        if self.is_crowd or self.is_semantic:
            return None
        return self.mask if self.mask is not None else self.core


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """The six fields and their weights on a grid (h, w), float32; offsets in px, (dx, dy) interleaved.

    Attributes:
        keypoint_maps, keypoint_weight: (17, h, w).
        short_offsets: (34, h, w), valid where keypoint_maps is 1. mid_offsets: (64, h, w); mid_weight: (32, h, w).
        mask_offsets: (34, h, w); mask_weight: (17, h, w), the inverse of a quarter of the owner's size in px, or 0.
        centroid_offsets: (2, h, w); centroid_weight: (h, w), likewise, 0 where the whole mask is not known.
        person_map, person_weight: (h', w'), on the person map's own grid.
    """

    keypoint_maps: FloatArray
    keypoint_weight: FloatArray
    short_offsets: FloatArray
    mid_offsets: FloatArray
    mid_weight: FloatArray
    mask_offsets: FloatArray
    mask_weight: FloatArray
    centroid_offsets: FloatArray
    centroid_weight: FloatArray
    person_map: FloatArray
    person_weight: FloatArray

    def heads(self, stride: int, letterbox: Letterbox) -> Heads:
        """The targets as if a perfect network had said them."""
        h, w = self.keypoint_maps.shape[1:]
        return Heads(
            keypoint_maps=self.keypoint_maps,
            short_offsets=self.short_offsets.reshape(NUM_KEYPOINTS, 2, h, w),
            mid_offsets=self.mid_offsets.reshape(2 * NUM_EDGES, 2, h, w),
            mask_offsets=self.mask_offsets.reshape(NUM_KEYPOINTS, 2, h, w),
            centroid_offsets=self.centroid_offsets,
            person_map=self.person_map,
            stride=stride,
            letterbox=letterbox,
        )


def encode(
    people: list[Person],
    input_hw: tuple[int, int],
    stride: int,
    person_stride: int,
    radius: float,
    *,
    all_people_listed: bool = True,
    picture: npt.NDArray[np.bool_] | None = None,
) -> Targets:
    """Encode the people of one picture.

    Args:
        people: everybody labelled, crowds included.
        input_hw: sides of the network input, n * stride + 1.
        stride: of the fields; person_stride: of the person map. radius: R, px.
        all_people_listed: False where others may stand unlabelled in the picture: then only the neighbourhood of
            the labelled says that something is not a person.
        picture: bool input_hw, where the input shows the picture; None means everywhere. Padding counts as
            background.
    """
    h, w = (input_hw[0] - 1) // stride + 1, (input_hw[1] - 1) // stride + 1
    posed = [p for p in people if p.has_keypoints and not p.is_crowd]
    keypoints = np.stack([p.keypoints for p in posed]) if posed else np.zeros((0, NUM_KEYPOINTS, 3), np.float32)
    maps, short, mid, mid_weight = disk_fields(keypoints.astype(np.float32), h, w, float(stride), float(radius))
    owner, overlap = _owners(people, posed, h, w, stride)
    sizes = np.array([person_size(p) for p in posed], dtype=np.float32)
    long, long_weight = mask_fields(keypoints.astype(np.float32), sizes, owner, overlap, float(stride))
    centroid, centroid_weight = _centroid_field(people, h, w, stride)
    if not all_people_listed:
        near = _near_labelled(people, input_hw)
        certain = near if picture is None else near | ~picture
    else:
        certain = np.ones(input_hw, dtype=bool)
    person_map, person_weight = _person_field(people, input_hw, person_stride, certain)
    return Targets(
        keypoint_maps=maps,
        keypoint_weight=_keypoint_weight(people, maps, certain, input_hw, stride, radius),
        short_offsets=short.reshape(2 * NUM_KEYPOINTS, h, w),
        mid_offsets=mid.reshape(4 * NUM_EDGES, h, w),
        mid_weight=mid_weight,
        mask_offsets=long.reshape(2 * NUM_KEYPOINTS, h, w),
        mask_weight=long_weight,
        centroid_offsets=centroid,
        centroid_weight=centroid_weight,
        person_map=person_map,
        person_weight=person_weight,
    )


def cells(plane: npt.NDArray[np.bool_], stride: int) -> npt.NDArray[np.bool_]:
    """The values of an input-size plane at the cells' own pixels."""
    return plane[::stride, ::stride]


def person_size(person: Person) -> float:
    """lambda of a person: the square root of its keypoints' box area, at least 16 px; the decode's own measure."""
    return max(float(span(person.keypoints[:, :2], person.keypoints[:, 2])), MIN_SIZE_PX)


def _owners(
    people: list[Person], posed: list[Person], h: int, w: int, stride: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Which posed person owns each cell (-1: none), and where two masks overlap (the smaller person gets the cell)."""
    owner = np.full((h, w), -1, dtype=np.int64)
    taken = np.zeros((h, w), dtype=np.int64)
    index = {id(p): n for n, p in enumerate(posed)}
    shown = [(p.pixels, index.get(id(p), -1)) for p in people if p.pixels is not None]
    for pixels, person in sorted(shown, key=lambda pair: -np.count_nonzero(pair[0])):
        inside = cells(pixels, stride)
        taken += inside
        owner[inside] = person
    return owner, taken > 1


def _centroid_field(people: list[Person], h: int, w: int, stride: int) -> tuple[FloatArray, FloatArray]:
    """C (2, h, w) and its weight (h, w) on the masks of all people, with keypoints or without (paper eq. 2).

    Centroid and size are those of the part that the input shows: whoever is cut by a crop's edge looks like whoever is
    cut by a picture's edge, where nothing more is known.
    """
    offsets = np.zeros((2, h, w), dtype=np.float32)
    weight = np.zeros((h, w), dtype=np.float32)
    taken = np.zeros((h, w), dtype=np.int64)
    rows, cols = (np.arange(n, dtype=np.float32) * stride for n in (h, w))
    masks = [p.pixels for p in people if p.pixels is not None and (p.mask is not None or p.core_is_whole)]
    for mask in sorted((m for m in masks if m.any()), key=lambda m: -np.count_nonzero(m)):
        pixels = mask.astype(np.uint8)
        x, y, width, height = cv2.boundingRect(pixels)
        sums = cv2.moments(pixels[y : y + height, x : x + width], binaryImage=True)
        inside = cells(mask, stride)
        taken += inside
        i, j = inside.nonzero()
        offsets[0, i, j] = x + sums["m10"] / sums["m00"] - cols[j]
        offsets[1, i, j] = y + sums["m01"] / sums["m00"] - rows[i]
        weight[inside] = 4 / max(math.sqrt(width * height), MIN_SIZE_PX)
    weight[taken > 1] = 0
    return offsets, weight


def _box(person: Person, input_hw: tuple[int, int], grow: float) -> tuple[slice, slice]:
    x, y, width, height = person.box_xywh
    dx, dy = grow * width, grow * height
    rows = slice(max(0, math.floor(y - dy)), max(0, min(input_hw[0], math.ceil(y + height + dy))))
    cols = slice(max(0, math.floor(x - dx)), max(0, min(input_hw[1], math.ceil(x + width + dx))))
    return rows, cols


def _near_labelled(people: list[Person], input_hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
    near = np.zeros(input_hw, dtype=bool)
    for person in people:
        if person.pasted:
            near |= person_region(person, input_hw)
        elif not person.is_crowd:
            near[_box(person, input_hw, 0.1)] = True
    return near


def person_region(person: Person, input_hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The pixels a label is about: the mask where there is one, else the box."""
    if person.mask is not None:
        return person.mask
    region = np.zeros(input_hw, dtype=bool)
    region[_box(person, input_hw, 0.0)] = True
    return region


def _keypoint_weight(
    people: list[Person],
    maps: FloatArray,
    certain: npt.NDArray[np.bool_],
    input_hw: tuple[int, int],
    stride: int,
    radius: float,
) -> FloatArray:
    """1 where p_k is known: not in crowds nor on people without keypoint labels; disks of the others are known."""
    unknown = np.zeros(input_hw, dtype=bool)
    never_labelled = np.zeros(input_hw, dtype=bool)
    for person in people:
        if not person.keypoints_known:
            never_labelled |= person_region(person, input_hw)
        elif person.is_crowd or not person.has_keypoints:
            unknown |= person_region(person, input_hw)
    if never_labelled.any():  # the disks of its keypoints reach R beyond its body
        distance = cv2.distanceTransform((~never_labelled).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        unknown |= distance <= radius
    weight = np.broadcast_to(cells(certain & ~unknown, stride), maps.shape).copy()
    for person in people:
        if person.has_keypoints and not person.face_known:  # such labels say nothing about the joints they lack
            near = np.zeros(input_hw, dtype=bool)
            near[_box(person, input_hw, 0.2)] = True
            weight[person.keypoints[:, 2] == 0] &= ~cells(near, stride)
    return (weight | (maps > 0)).astype(np.float32)


def _person_field(
    people: list[Person], input_hw: tuple[int, int], stride: int, certain: npt.NDArray[np.bool_]
) -> tuple[FloatArray, FloatArray]:
    """p_S as the share of each cell's neighbourhood covered by people, and how much it counts (0: unknown)."""
    person = np.zeros(input_hw, dtype=bool)
    unknown = np.zeros(input_hw, dtype=bool)
    core = np.zeros(input_hw, dtype=bool)
    for one in people:
        if one.is_crowd:
            unknown |= person_region(one, input_hw)
        elif one.mask is not None:
            person |= one.mask
        else:
            unknown[_box(one, input_hw, 0.05)] = True
            if one.core is not None:
                core |= one.core
    share, sure = box_mean(person, stride, stride // 2), cells(core, stride)
    known = sure | cells(certain & ~(unknown & ~person), stride)
    around = box_mean(person, stride, OUTLINE_PX)
    outline = (around > 0) & (around < 1)
    weight = np.where(outline, np.float32(OUTLINE_WEIGHT), np.float32(1)) * known
    return np.where(sure, np.float32(1), share), weight.astype(np.float32)


def box_mean(plane: npt.NDArray[np.bool_], stride: int, reach: int) -> FloatArray:
    """Mean of a bool input-size plane over the (2 reach + 1)^2 pixels around each cell: float32 (h, w)."""
    size = 2 * reach + 1
    # A sum of whole numbers is exact, so what is covered all over is exactly 1; OpenCV's own mean is not.
    total = cv2.boxFilter(
        plane.astype(np.uint8), cv2.CV_32F, (size, size), normalize=False, borderType=cv2.BORDER_REPLICATE
    )
    return (total[::stride, ::stride] / np.float32(size**2)).astype(np.float32, copy=False)
