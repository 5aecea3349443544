"""The infer stage that works ahead: order, sizes, the end, and a network left empty whatever happens."""

import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from engine.estimator import Estimator
from engine.structures import ByteArray
from pipeline.channel import Channel, Closed
from pipeline.lookahead import Network, pump_ahead


class Counting:
    """Heads are the pictures' first numbers; `groups` are what was submitted."""

    def __init__(self, batch: int, depth: int) -> None:
        self.batch, self.depth = batch, depth
        self.groups: list[list[int]] = []
        self.most = 0
        self.under_way: deque[list[Any]] = deque()
        self.fails_at: int | None = None

    def submit(self, images: Sequence[ByteArray]) -> None:
        numbers = [int(image.flat[0]) for image in images]
        if self.fails_at in numbers:
            raise RuntimeError("the network failed")
        self.groups.append(numbers)
        self.under_way.append(numbers)
        self.most = max(self.most, len(self.under_way))

    def collect(self) -> list[Any]:
        return self.under_way.popleft()


def ran(network: Network, pictures: list[ByteArray]) -> list[tuple[int, int]]:
    inp: Channel[tuple[int, ByteArray]] = Channel(len(pictures) + 1, lossy=False)
    out: Channel[tuple[int, int]] = Channel(len(pictures) + 1, lossy=False)
    for index, picture in enumerate(pictures):
        inp.put((index, picture))
    inp.close()
    pump_ahead(inp, lambda item: item[1], network, lambda item, heads, seconds: (item[0], heads), out)
    out.close()
    results = []
    with contextlib.suppress(Closed):
        while True:
            results.append(out.get())
    return results


def picture(number: int, side: int = 4) -> ByteArray:
    return np.full((side, side, 3), number, dtype=np.uint8)


@pytest.mark.parametrize(("batch", "depth"), [(1, 1), (1, 2), (4, 1), (4, 2)])
@pytest.mark.parametrize("count", [0, 1, 2, 4, 9])
def test_every_picture_comes_back_in_order(batch: int, depth: int, count: int) -> None:
    network = Counting(batch, depth)
    assert ran(network, [picture(index) for index in range(count)]) == [(index, index) for index in range(count)]
    assert all(len(group) == batch for group in network.groups[:-1])
    assert network.most == min(depth, -(-count // batch))


def test_another_size_begins_another_submission() -> None:
    network = Counting(4, 2)
    pictures = [picture(index, 4 if index < 3 else 6) for index in range(5)]
    assert ran(network, pictures) == [(index, index) for index in range(5)]
    assert network.groups == [[0, 1, 2], [3, 4]]


def test_the_network_is_left_empty_when_the_reader_goes_and_when_it_fails() -> None:
    network = Counting(1, 3)
    inp: Channel[ByteArray] = Channel(9, lossy=False)
    out: Channel[Any] = Channel(9, lossy=False)
    for index in range(6):
        inp.put(picture(index))
    inp.close()
    out.close()
    with pytest.raises(Closed):
        pump_ahead(inp, lambda item: item, network, lambda *item: item, out)
    assert not network.under_way
    network.fails_at = 4
    with pytest.raises(RuntimeError, match="the network failed"):
        ran(network, [picture(index) for index in range(6)])
    assert not network.under_way


def test_an_estimator_is_such_a_network() -> None:
    assert all(hasattr(Estimator, name) for name in ("batch", "depth", "submit", "collect"))
