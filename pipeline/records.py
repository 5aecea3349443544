"""What was found in a frame as plain values, for files: rounded, and without anything the machine or hour could change.

The same results give the same bytes.
"""

import functools
from typing import Any

import numpy as np

from engine.coco import encode_mask
from engine.structures import Instances
from pipeline.frames import FrameResult, Rendered


def frame_record(rendered: Rendered) -> dict[str, Any]:
    """One frame's line of NDJSON.

    Keys: frame (counts what was looked at from 0), time_s (the clip's own time), width, height, instances; of each
    instance id (whom it shows; only if people were followed), score, mask_score, bbox_xywh, keypoints (17 rows of x, y,
    score; 0, 0, 0 where missing, and so all of them for somebody found by the mask alone), mask (COCO RLE). All in
    source pixels.
    """
    result = rendered.result
    height, width = result.frame.image.shape[:2]
    people = person_records(result)
    for person, mask in zip(people, encoded_masks(result.instances), strict=True):
        person["mask"] = mask
    return {
        "frame": result.frame.index,
        "time_s": None if result.frame.t_media_s is None else round(result.frame.t_media_s, 6),
        "width": width,
        "height": height,
        "instances": people,
    }


def person_records(result: FrameResult) -> list[dict[str, Any]]:
    """The people of a frame without their masks; see `frame_record`."""
    instances = result.instances
    boxes = (np.round(instances.boxes_xywh().astype(np.float64), 2) + 0.0).tolist()
    scores = np.round(instances.scores.astype(np.float64), 4).tolist()
    mask_scores = np.round(instances.mask_scores.astype(np.float64), 4).tolist()
    xy = np.round(instances.keypoints_xy.astype(np.float64), 2) + 0.0  # a negative zero becomes a plain one
    keypoints = np.concatenate((xy, np.round(instances.keypoint_scores.astype(np.float64), 4)[:, :, None]), axis=2)
    people = [
        {
            "score": scores[index],
            "mask_score": mask_scores[index],
            "bbox_xywh": boxes[index],
            "keypoints": keypoints[index].tolist(),
        }
        for index in range(len(instances))
    ]
    if result.identities is None:
        return people
    return [{"id": identity, **person} for identity, person in zip(result.identities.tolist(), people, strict=True)]


@functools.lru_cache(maxsize=1)  # two writers of one frame ask for the same
def encoded_masks(instances: Instances) -> tuple[dict[str, Any], ...]:
    """Each instance's pixels as COCO RLE, ready for JSON; must not be changed."""
    columns = np.ascontiguousarray(instances.label_map.T)  # COCO runs go down the columns
    return tuple(encode_mask((columns == index + 1).T) for index in range(len(instances)))
