"""The drawing loops, compiled: blending colours into a BGR picture in place.

All of them in one file, none calls into another: Numba looks at a function's own file alone to see whether its cached
copy is stale. `Array` stands for a NumPy array, for compiled code has no use for the hints. Alphas are 0 to 256.
"""

from typing import Any

import numpy as np
from numba import njit

Array = Any


@njit(cache=True, nogil=True)
def tint_labels(
    canvas: Array, labels: Array, border: Array, colours: Array, area_alpha: int, border_alpha: int
) -> None:
    """Blend colours[label] into canvas uint8 (H, W, 3) wherever labels uint8 (H, W) > 0.

    Args:
        border: bool (H, W), where `border_alpha` holds instead of `area_alpha`.
        colours: uint8 (256, 3).
    """
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            label = labels[y, x]
            if label == 0:
                continue
            alpha = border_alpha if border[y, x] else area_alpha
            for channel in range(3):
                old, new = np.int64(canvas[y, x, channel]), np.int64(colours[label, channel])
                canvas[y, x, channel] = (old * (256 - alpha) + new * alpha + 128) >> 8


@njit(cache=True, nogil=True)
def blend_cells(canvas: Array, colours: Array, values: Array, alphas: Array, columns: Array, rows: Array) -> None:
    """Blend a grid of cells, enlarged bilinearly, into canvas uint8 (H, W, 3).

    Quads of cells that show nothing cost next to nothing, so the time goes with what is seen.

    Args:
        colours: uint8 (h, w, 3). values: uint8 (h, w).
        alphas: int32 (256,), of each interpolated value; where it is 0 it is 0 for all smaller values.
        columns: float32 (W,), the cell coordinate of each pixel column, ascending. rows: float32 (H,), of each row.
    """
    h, w = values.shape
    first = np.searchsorted(columns, np.arange(1, w).astype(np.float32))  # the pixel columns where cells begin
    line = np.zeros((4, w + 1), dtype=np.float32)  # colours and values of the cells at one pixel row
    half = np.float32(0.5)
    for y in range(canvas.shape[0]):
        cell = min(max(rows[y], np.float32(0)), np.float32(h - 1))
        i = int(cell)
        below, fy = min(i + 1, h - 1), cell - np.float32(i)
        for j in range(w):
            value = np.float32(values[i, j])
            line[3, j] = value + fy * (np.float32(values[below, j]) - value) + half
            for channel in range(3):
                value = np.float32(colours[i, j, channel])
                line[channel, j] = value + fy * (np.float32(colours[below, j, channel]) - value) + half
        line[:, w] = line[:, w - 1]
        for j in range(w):
            v, dv = line[3, j], line[3, j + 1] - line[3, j]
            if alphas[int(max(v, v + dv))] == 0:
                continue
            b, g, r = line[0, j], line[1, j], line[2, j]
            db, dg, dr = line[0, j + 1] - b, line[1, j + 1] - g, line[2, j + 1] - r
            for x in range(first[j - 1] if j > 0 else 0, first[j] if j < w - 1 else canvas.shape[1]):
                fx = max(columns[x] - np.float32(j), np.float32(0))
                alpha = alphas[int(v + fx * dv)]
                if alpha == 0:
                    continue
                keep = 256 - alpha
                canvas[y, x, 0] = (np.int32(canvas[y, x, 0]) * keep + np.int32(b + fx * db) * alpha + 128) >> 8
                canvas[y, x, 1] = (np.int32(canvas[y, x, 1]) * keep + np.int32(g + fx * dg) * alpha + 128) >> 8
                canvas[y, x, 2] = (np.int32(canvas[y, x, 2]) * keep + np.int32(r + fx * dr) * alpha + 128) >> 8
