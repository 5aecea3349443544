"""COCO-17 keypoints and the kinematic tree: the only such tables in the program. All indices are 0-based."""

from typing import Final

import numpy as np

KEYPOINT_NAMES: Final = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
NUM_KEYPOINTS: Final = len(KEYPOINT_NAMES)
FACE_KEYPOINTS: Final = (0, 1, 2, 3, 4)
RIGHT_SHOULDER: Final = 6
TORSO: Final = (5, 6, 12, 11)  # shoulders and hips, in the order of their outline

# (parent, child): a spanning tree, nose to face and shoulders, shoulders to arms and, through the hips, to the ankles.
EDGES: Final = (
    (0, 1),
    (0, 2),
    (0, 5),
    (0, 6),
    (1, 3),
    (2, 4),
    (5, 11),
    (6, 12),
    (11, 13),
    (12, 14),
    (13, 15),
    (14, 16),
    (5, 7),
    (6, 8),
    (7, 9),
    (8, 10),
)
NUM_EDGES: Final = len(EDGES)
# Mid offsets exist in both directions: edge e, then e reversed at e + NUM_EDGES.
DIRECTED_EDGES: Final = EDGES + tuple((child, parent) for parent, child in EDGES)

# A horizontal flip moves what stood in channel i to channel FLIP_KEYPOINTS[i]; the same for directed edges.
FLIP_KEYPOINTS: Final = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
FLIP_EDGES: Final = tuple(
    DIRECTED_EDGES.index((FLIP_KEYPOINTS[source], FLIP_KEYPOINTS[target])) for source, target in DIRECTED_EDGES
)

# COCO's per-keypoint standard deviations sigma_k, and kappa_k = 2 sigma_k, which OKS uses.
OKS_SIGMAS: Final = np.array(
    [
        0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072,
        0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
    ],
    dtype=np.float32,
)  # fmt: skip
OKS_KAPPAS: Final = 2.0 * OKS_SIGMAS.astype(np.float64)
