import pickle

import pytest

from engine.training.packed import PackedList


def test_what_was_packed_comes_out() -> None:
    items = [{"n": n, "text": "x" * n} for n in range(5)]
    packed = PackedList(iter(items))
    assert len(packed) == 5
    assert list(packed) == items
    assert packed[3] == items[3]
    assert packed[3] is not packed[3]


def test_it_is_a_sequence_with_an_end() -> None:
    packed = PackedList(["a"])
    for index in (1, -1):
        with pytest.raises(IndexError, match=rf"expected an index from 0 to 0, got {index}"):
            packed[index]
    assert list(PackedList([])) == []


def test_it_can_be_sent_to_another_process() -> None:
    assert list(pickle.loads(pickle.dumps(PackedList(["a", 1])))) == ["a", 1]
