"""The decode's inner loops, compiled: Hough voting, peaks, grouping, scoring, mask assignment and clustering; and
those of the encoding, its mirror.

Every function takes C-contiguous float32 arrays and plain numbers, releases the GIL and is cached on disk, so the
decode thread runs beside inference. Coordinates are input pixels unless a name says cells; a field's cell (i, j)
lies at input pixel (j * stride, i * stride). The order of the calls is in `engine.decode`. `Array` stands for a NumPy
array, for compiled code has no use for the hints; shapes and dtypes stand in the docstrings.
"""

# The cache folder must be known before the first kernel is decorated.
from numba import config as _numba_config

from engine.kernels.cache import cache_folder

_numba_config.CACHE_DIR = str(cache_folder())  # type: ignore[attr-defined]

from engine.kernels.assignment import UNASSIGNED, assign_cells, body_centroids, body_sizes  # noqa: E402
from engine.kernels.clusters import cluster_cells  # noqa: E402
from engine.kernels.fields import sample  # noqa: E402
from engine.kernels.grouping import group, span  # noqa: E402
from engine.kernels.heat import body_evidence, body_heat  # noqa: E402
from engine.kernels.masks import label_boxes, paint  # noqa: E402
from engine.kernels.scoring import expected_oks, peak_heights, rank  # noqa: E402
from engine.kernels.strict import group_strict  # noqa: E402
from engine.kernels.targets import disk_fields, mask_fields  # noqa: E402
from engine.kernels.voting import blur, find_peaks, vote  # noqa: E402

__all__ = [
    "UNASSIGNED",
    "assign_cells",
    "blur",
    "body_centroids",
    "body_evidence",
    "body_heat",
    "body_sizes",
    "cluster_cells",
    "disk_fields",
    "expected_oks",
    "find_peaks",
    "group",
    "group_strict",
    "label_boxes",
    "mask_fields",
    "paint",
    "peak_heights",
    "rank",
    "sample",
    "span",
    "vote",
]
