"""The owner of each pixel of the source, and the boxes around them."""

import math
from typing import Any

import numpy as np
from numba import njit

from engine.kernels.assignment import UNASSIGNED
from engine.kernels.fields import clamp

Array = Any


@njit(cache=True, nogil=True)
def _first_pixels(cells: int, stride: float, scale: float, size: int) -> Array:
    """int64 (cells + 1,): the first source row (column) at or past each cell; the inverse of Letterbox.to_input."""
    first = np.zeros(cells + 1, dtype=np.int64)
    for i in range(1, cells + 1):
        first[i] = min(max(math.ceil((i * stride + 0.5) / scale - 0.5), 0), size)
    return first


@njit(cache=True, nogil=True)
def _fractions(first: Array, cells: int, stride: float, scale: float) -> tuple[Array, Array]:
    """How far past its cell each pixel lies, in cells, float64 (size,), and their sums by cell, float64 (cells,)."""
    fractions, sums = np.zeros(first[cells]), np.zeros(cells)
    for i in range(cells):
        for n in range(first[i], first[i + 1]):
            fractions[n] = clamp(((n + 0.5) * scale - 0.5) / stride - i, 1.0)
            sums[i] += fractions[n]
    return fractions, sums


@njit(cache=True, nogil=True)
def paint(
    labels: Array,
    person_map: Array,
    stride: float,
    person_stride: float,
    threshold: float,
    height: int,
    width: int,
    scale_x: float,
    scale_y: float,
) -> tuple[Array, Array]:
    """Cell labels to a label map of the source, uint8 (height, width), and each label's mean p_S, float32 (256,).

    A pixel shows a person where the bilinear person map reaches `threshold`, and belongs to the label with the
    largest bilinear weight among the four cells around it. Quads of cells without a person cost nothing, and those
    inside a person next to nothing: there neither is asked for each pixel.

    Args:
        labels: uint8 (h, w) from `assign_cells`, at `stride`. person_map: float32 (h', w') at `person_stride`.
    """
    h, w = person_map.shape
    out = np.zeros((height, width), dtype=np.uint8)
    first_row = _first_pixels(h, person_stride, scale_y, height)
    first_col = _first_pixels(w, person_stride, scale_x, width)
    down, down_sums = _fractions(first_row, h, person_stride, scale_y)
    across, across_sums = _fractions(first_col, w, person_stride, scale_x)
    ratio = person_stride / stride
    last_row, last_col = labels.shape[0] - 1, labels.shape[1] - 1
    mass, count = np.zeros(256), np.zeros(256)
    corners, owners = np.zeros(4), np.zeros(4, dtype=np.int64)
    for i in range(h):
        i1, y0, y1 = min(i + 1, h - 1), first_row[i], first_row[i + 1]
        r0 = min(int(i * ratio), last_row)
        r1 = min(r0 + 1, last_row)
        for j in range(w):
            j1, x0, x1 = min(j + 1, w - 1), first_col[j], first_col[j + 1]
            corners[0], corners[1] = person_map[i, j], person_map[i, j1]
            corners[2], corners[3] = person_map[i1, j], person_map[i1, j1]
            if max(max(corners[0], corners[1]), max(corners[2], corners[3])) < threshold:
                continue
            c0 = min(int(j * ratio), last_col)
            c1 = min(c0 + 1, last_col)
            owners[0], owners[1], owners[2], owners[3] = labels[r0, c0], labels[r0, c1], labels[r1, c0], labels[r1, c1]
            if owners[0] != owners[1] or owners[0] != owners[2] or owners[0] != owners[3]:
                top, left = i * ratio - r0, j * ratio - c0
                _paint_border(
                    corners, owners, threshold, top, left, ratio, down[y0:y1], across[x0:x1], out[y0:y1, x0:x1], mass,
                    count,
                )  # fmt: skip
                continue
            owner = 0 if owners[0] == UNASSIGNED else owners[0]
            if min(min(corners[0], corners[1]), min(corners[2], corners[3])) >= threshold:
                for y in range(y0, y1):
                    out[y, x0:x1] = owner
                near_x, near_y = across_sums[j], down_sums[i]
                far_x, far_y = x1 - x0 - near_x, y1 - y0 - near_y
                mass[owner] += far_y * (far_x * corners[0] + near_x * corners[1])
                mass[owner] += near_y * (far_x * corners[2] + near_x * corners[3])
                count[owner] += (y1 - y0) * (x1 - x0)
            else:
                _paint_outline(corners, owner, threshold, down[y0:y1], across[x0:x1], out[y0:y1, x0:x1], mass, count)
    return out, (mass / np.maximum(count, 1)).astype(np.float32)


@njit(cache=True, nogil=True)
def _blend(corners: Array, fy: float, fx: float) -> float:
    """The bilinear value between four corners, top left, top right, bottom left, bottom right."""
    return (1 - fy) * ((1 - fx) * corners[0] + fx * corners[1]) + fy * ((1 - fx) * corners[2] + fx * corners[3])


@njit(cache=True, nogil=True)
def _paint_outline(
    corners: Array, owner: int, threshold: float, down: Array, across: Array, out: Array, mass: Array, count: Array
) -> None:
    """Paint the pixels of a quad with one owner where p_S reaches the threshold; add up their p_S."""
    total, pixels = 0.0, 0
    for y in range(len(down)):
        for x in range(len(across)):
            p = _blend(corners, down[y], across[x])
            if p >= threshold:
                out[y, x] = owner
                total += p
                pixels += 1
    mass[owner] += total
    count[owner] += pixels


@njit(cache=True, nogil=True)
def _paint_border(
    corners: Array,
    owners: Array,
    threshold: float,
    top: float,
    left: float,
    ratio: float,
    down: Array,
    across: Array,
    out: Array,
    mass: Array,
    count: Array,
) -> None:
    """Paint the pixels of a quad where owners meet: each takes the one of most bilinear weight, of equals the first.

    Args:
        owners: labels of the four cells around the quad, which begins `top` and `left` cells past the first of them
            and is `ratio` cells wide.
    """
    distinct, labels = 0, np.zeros(4, dtype=np.int64)
    shares = np.zeros((4, 4))  # of each label, which corners have it
    for corner in range(4):
        if owners[corner] == UNASSIGNED:
            continue
        m = 0
        while m < distinct and labels[m] != owners[corner]:
            m += 1
        labels[m], shares[m, corner] = owners[corner], 1.0
        distinct = max(distinct, m + 1)
    for y in range(len(down)):
        gy = top + down[y] * ratio
        for x in range(len(across)):
            p = _blend(corners, down[y], across[x])
            if p < threshold:
                continue
            gx = left + across[x] * ratio
            best, owner = 0.0, 0
            for m in range(distinct):
                weight = _blend(shares[m], gy, gx)
                if weight > best:
                    best, owner = weight, labels[m]
            out[y, x] = owner
            mass[owner] += p
            count[owner] += 1


@njit(cache=True, nogil=True)
def label_boxes(label_map: Array, count: int) -> Array:
    """Boxes float32 (count, 4), (x, y, width, height), around labels 1 to `count` of a uint8 (H, W) label map.

    A label without a pixel gives zeros. One pass, whatever the count.
    """
    height, width = label_map.shape
    x0, y0 = np.full(count, width), np.full(count, height)
    x1, y1 = np.full(count, -1), np.full(count, -1)
    for y in range(height):
        row, x = label_map[y], 0
        while x < width:
            label, start = row[x], x
            while x < width and row[x] == label:  # a run of one label is one box
                x += 1
            owner = int(label) - 1
            if 0 <= owner < count:
                x0[owner], x1[owner] = min(x0[owner], start), max(x1[owner], x - 1)
                y0[owner], y1[owner] = min(y0[owner], y), y
    boxes = np.zeros((count, 4), dtype=np.float32)
    for owner in range(count):
        if x1[owner] >= 0:
            boxes[owner, 0], boxes[owner, 1] = x0[owner], y0[owner]
            boxes[owner, 2], boxes[owner, 3] = x1[owner] - x0[owner] + 1, y1[owner] - y0[owner] + 1
    return boxes
