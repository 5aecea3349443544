"""The network's heads, what a run is asked for, and which of the heads that takes (paper Table 10's three rows)."""

from typing import Final

from engine.skeleton import NUM_EDGES, NUM_KEYPOINTS

# Output channels, in this order, the person map last; offsets are (dx, dy) interleaved per keypoint or directed edge,
# input px.
HEAD_CHANNELS: Final = {
    "keypoint_maps": NUM_KEYPOINTS,
    "short_offsets": 2 * NUM_KEYPOINTS,
    "mid_offsets": 4 * NUM_EDGES,
    "mask_offsets": 2 * NUM_KEYPOINTS,
    "centroid_offsets": 2,
    "person_map": 1,
}
# What the two refine networks correct.
POSE_HEADS: Final = ("keypoint_maps", "short_offsets", "mid_offsets")
SEG_HEADS: Final = ("mask_offsets", "centroid_offsets", "person_map")

# joint: skeletons and masks. pose: skeletons alone. seg: masks alone, found by density, without any skeleton.
HEADS_OF_MODE: Final = {
    "joint": tuple(HEAD_CHANNELS),
    "pose": POSE_HEADS,
    "seg": ("centroid_offsets", "person_map"),
}
