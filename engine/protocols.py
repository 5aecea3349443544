"""Which labelled people an evaluation counts."""

from collections.abc import Iterable
from typing import Any, Final

from engine.skeleton import NUM_KEYPOINTS

PROTOCOLS: Final = ("full", "cocopersons")


def counted_people(annotations: Iterable[dict[str, Any]], protocol: str) -> list[dict[str, Any]]:
    """The annotations of people with those marked as crowds that the protocol does not count.

    - "full" is COCO's own: everybody who is no crowd counts. For keypoints pycocotools itself ignores those without.
    - "cocopersons" counts people who have both keypoints and a mask, as the COCOPersons files of Pose2Seg list them
      and the paper's Tables 3 and 9 seem to. Those files drop everybody else; here they become crowds (`iscrowd`), so
      that finding them is neither right nor wrong: a result that OKS or the share of its pixels inside their mask
      matches to them is ignored. Where such a person has no mask, the box stands for it. COCO labels no keypoints on
      small people (below 32 x 32 px), so none of those counts, and the figures of that size are not defined (-1).

    Annotations that count are the same objects, the others changed copies.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {protocol!r}")
    if protocol == "full":
        return list(annotations)
    return [a if _has_both(a) else _as_crowd(a) for a in annotations]


def _has_both(annotation: dict[str, Any]) -> bool:
    return bool(annotation.get("num_keypoints") and annotation.get("segmentation") and not annotation.get("iscrowd"))


def _as_crowd(annotation: dict[str, Any]) -> dict[str, Any]:
    crowd = {"keypoints": [0] * (3 * NUM_KEYPOINTS), "num_keypoints": 0, **annotation, "iscrowd": 1}
    if not annotation.get("segmentation"):
        x, y, width, height = annotation["bbox"]
        crowd["segmentation"] = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    return crowd
