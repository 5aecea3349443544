"""Reading the network's fields: bilinear samples, and following an offset."""

import math
from typing import Any

from numba import njit, uint64

Array = Any


@njit(cache=True, nogil=True)
def clamp(value: float, top: float) -> float:
    """`value` limited to [0, top]."""
    return min(max(value, 0.0), top)


@njit(cache=True, nogil=True)
def inside(plane: Array, x: float, y: float, stride: float) -> bool:
    """Whether input pixel (x, y) lies on the grid of a (h, w) map."""
    return 0 <= x <= (plane.shape[1] - 1) * stride and 0 <= y <= (plane.shape[0] - 1) * stride


@njit(cache=True, nogil=True)
def sample(plane: Array, x: float, y: float, stride: float) -> float:
    """Bilinear value of a (h, w) map at input pixel (x, y), clamped to the border."""
    h, w = plane.shape
    cx = clamp(x / stride, w - 1.0)
    cy = clamp(y / stride, h - 1.0)
    j, i = min(int(cx), w - 2), min(int(cy), h - 2)
    j, i = max(j, 0), max(i, 0)
    j1, i1 = min(j + 1, w - 1), min(i + 1, h - 1)
    fx, fy = cx - j, cy - i
    top = plane[i, j] * (1 - fx) + plane[i, j1] * fx
    bottom = plane[i1, j] * (1 - fx) + plane[i1, j1] * fx
    return top * (1 - fy) + bottom * fy


@njit(cache=True, nogil=True)
def follow(field: Array, x: float, y: float, stride: float) -> tuple[float, float]:
    """Where the (2, h, w) vector field leads from input pixel (x, y)."""
    h, w = field.shape[1], field.shape[2]
    cx, cy = clamp(x / stride, w - 1.0), clamp(y / stride, h - 1.0)
    j, i = max(min(int(cx), w - 2), 0), max(min(int(cy), h - 2), 0)
    j1, i1 = min(j + 1, w - 1), min(i + 1, h - 1)
    fx, fy = cx - j, cy - i
    w00, w01, w10, w11 = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    dx = w00 * field[0, i, j] + w01 * field[0, i, j1] + w10 * field[0, i1, j] + w11 * field[0, i1, j1]
    dy = w00 * field[1, i, j] + w01 * field[1, i, j1] + w10 * field[1, i1, j] + w11 * field[1, i1, j1]
    return x + dx, y + dy


@njit(cache=True, nogil=True)
def follow_all(fields: Array, x: float, y: float, stride: float, ends: Array) -> None:
    """As `follow`, for each of the fields (K, 2, h, w) from the same place: fills in `ends`, float64 (K, 2)."""
    h, w = fields.shape[2], fields.shape[3]
    cx, cy = clamp(x / stride, w - 1.0), clamp(y / stride, h - 1.0)
    j, i = max(min(int(cx), w - 2), 0), max(min(int(cy), h - 2), 0)
    j1, i1 = min(j + 1, w - 1), min(i + 1, h - 1)
    fx, fy = cx - j, cy - i
    w00, w01, w10, w11 = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    for k in range(len(ends)):
        for axis in range(2):
            ends[k, axis] = (
                w00 * fields[k, axis, i, j] + w01 * fields[k, axis, i, j1]
                + w10 * fields[k, axis, i1, j] + w11 * fields[k, axis, i1, j1]
            )  # fmt: skip
        ends[k, 0] += x
        ends[k, 1] += y


@njit(cache=True, nogil=True)
def follow_itself(
    fields: Array, k: int, rows: Array, cols: Array, count: int, stride: float, steps: int, first: Array, last: Array
) -> None:
    """Where offset k of `count` cells leads, and where it does refined by what the field says there, `steps` times.

    A refinement ends where it leaves the grid. The loop over the cells has no branch and no view, which makes it
    several times faster than `follow` for each.

    Args:
        fields: float32 (K, 2, h, w). rows, cols: int64, the cells.
        first, last: float64 (2, M), filled with x and y of the ends, input px, before and after the refinement.
    """
    h, w = fields.shape[2], fields.shape[3]
    flat, across, down = fields.ravel(), k * 2 * h * w, (k * 2 + 1) * h * w
    right, bottom, per_px = (w - 1) * stride, (h - 1) * stride, 1 / stride
    after, below = uint64(min(1, w - 1)), uint64(w if h > 1 else 0)
    for n in range(count):
        cell = rows[n] * w + cols[n]
        first[0, n] = last[0, n] = cols[n] * stride + flat[across + cell]
        first[1, n] = last[1, n] = rows[n] * stride + flat[down + cell]
    for _ in range(steps):
        for n in range(count):
            x, y = last[0, n], last[1, n]
            on_grid = (x >= 0) & (x <= right) & (y >= 0) & (y <= bottom)
            cx, cy = (x * per_px, y * per_px) if on_grid else (0.0, 0.0)
            j, i = max(min(int(cx), w - 2), 0), max(min(int(cy), h - 2), 0)
            fx, fy = cx - j, cy - i
            w00, w01, w10, w11 = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
            # An unsigned index needs no look at its sign.
            a = uint64(across + i * w + j)
            b = uint64(down + i * w + j)
            dx = w00 * flat[a] + w01 * flat[a + after] + w10 * flat[a + below] + w11 * flat[a + below + after]
            dy = w00 * flat[b] + w01 * flat[b + after] + w10 * flat[b + below] + w11 * flat[b + below + after]
            last[0, n] = x + dx if on_grid else x
            last[1, n] = y + dy if on_grid else y


@njit(cache=True, nogil=True)
def follow_own(field: Array, short: Array, x: float, y: float, stride: float, reach: float) -> tuple[float, float]:
    """As `follow`, from a keypoint, averaging only those of the four cells whose short offset leads back to it.

    Offset fields jump where one person's disk meets another's; mixing both sides would point at nobody.
    """
    h, w = field.shape[1], field.shape[2]
    cx = clamp(x / stride, w - 1.0)
    cy = clamp(y / stride, h - 1.0)
    j0, i0 = int(cx), int(cy)
    total, tx, ty = 0.0, 0.0, 0.0
    best, bx, by = 1e18, x, y
    for i in range(i0, min(i0 + 2, h)):
        for j in range(j0, min(j0 + 2, w)):
            px, py = j * stride, i * stride
            miss = math.hypot(px + short[0, i, j] - x, py + short[1, i, j] - y)
            lx, ly = px + field[0, i, j], py + field[1, i, j]
            if miss < best:
                best, bx, by = miss, lx, ly
            if miss <= reach:
                weight = (1 - abs(cx - j)) * (1 - abs(cy - i)) + 1e-3
                total += weight
                tx += weight * lx
                ty += weight * ly
    if total > 0:
        return tx / total, ty / total
    return bx, by
