"""How sure the network is of each kind of keypoint (the paper's Tables 6 and 8)."""

import numpy as np

from engine.coco import Picture
from engine.kernels import sample
from engine.skeleton import KEYPOINT_NAMES, NUM_KEYPOINTS
from engine.structures import FloatArray, Heads, Instances


class Confidence:
    """Gathers, picture by picture, the keypoints of the people whose score is at least `min_score`.

    The paper does not define its confidence; two readings are kept. "score" is the score that the decode reports,
    "probability" is p_k where the keypoint was put, which fits the paper's numbers best.
    """

    def __init__(self, min_score: float) -> None:
        self.min_score = min_score
        self._count = np.zeros(NUM_KEYPOINTS, dtype=np.int64)
        self._scores = np.zeros(NUM_KEYPOINTS)
        self._probabilities = np.zeros(NUM_KEYPOINTS)

    def __call__(self, picture: Picture, heads: Heads, people: Instances) -> None:
        """Add one picture's people; a watcher of `engine.evaluation.evaluate`."""
        kept = people.scores >= self.min_score
        present = (people.keypoint_scores > 0) & kept[:, None]
        self._count += present.sum(axis=0)
        self._scores += np.where(present, people.keypoint_scores, 0).sum(axis=0)
        self._probabilities += np.where(present, probabilities(heads, people.keypoints_xy), 0).sum(axis=0)

    def means(self) -> dict[str, dict[str, float]]:
        """By keypoint name: `score` and `probability` in [0, 1] (0 where nobody has it), and their `count`."""
        most = np.maximum(self._count, 1)
        return {
            name: {
                "score": float(self._scores[k] / most[k]),
                "probability": float(self._probabilities[k] / most[k]),
                "count": int(self._count[k]),
            }
            for k, name in enumerate(KEYPOINT_NAMES)
        }


def probabilities(heads: Heads, keypoints_xy: FloatArray) -> FloatArray:
    """p_k at keypoints float32 (N, 17, 2) in source px: float32 (N, 17)."""
    maps, stride = np.ascontiguousarray(heads.keypoint_maps), float(heads.stride)
    xy = heads.letterbox.to_input(keypoints_xy).astype(float)
    values = [[sample(maps[k], x, y, stride) for k, (x, y) in enumerate(points)] for points in xy]
    return np.array(values, dtype=np.float32).reshape(len(xy), NUM_KEYPOINTS)
