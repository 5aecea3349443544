"""Heads of people who never were."""

import numpy as np
import pytest

from engine.decode import decode
from engine.decode_config import DecodeConfig
from engine.synthetic import synthetic_heads, synthetic_people

HW = (257, 321)


def test_the_same_seed_gives_the_same_heads_and_another_seed_others() -> None:
    first, again, other = (synthetic_heads(3, HW, seed) for seed in (1, 1, 2))
    for name in ("keypoint_maps", "short_offsets", "mid_offsets", "mask_offsets", "centroid_offsets", "person_map"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
        assert getattr(first, name).tobytes() != getattr(other, name).tobytes()


@pytest.mark.parametrize("people", [0, 1, 4, 12])
def test_as_many_people_as_asked_lie_in_the_picture(people: int) -> None:
    drawn = synthetic_people(people, HW, 0)
    assert len(drawn) == people
    owners = np.zeros(HW, int)
    for person in drawn:
        assert person.mask is not None
        owners += person.mask
        x, y = person.keypoints[:, 0], person.keypoints[:, 1]
        assert (person.keypoints[:, 2] > 0).all()
        assert (x >= 0).all()
        assert (x <= HW[1] - 1).all()
        assert (y >= 0).all()
        assert (y <= HW[0] - 1).all()
    assert owners.max(initial=0) <= 1  # whoever is behind does not own what is hidden


def test_the_nearer_person_hides_the_other() -> None:
    drawn = synthetic_people(12, HW, 0)
    bottoms = [person.box_xywh[1] + person.box_xywh[3] for person in drawn]
    assert bottoms == sorted(bottoms)
    shown = [np.count_nonzero(person.mask) for person in drawn]
    assert min(shown) < 0.7 * max(shown)


@pytest.mark.parametrize("people", [1, 5])
def test_the_decode_finds_them(people: int) -> None:
    found = decode(synthetic_heads(people, HW, 0), DecodeConfig())
    assert np.count_nonzero(found.scores > 0.3) == people
