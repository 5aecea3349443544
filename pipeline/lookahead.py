"""The infer stage of a recording on a network that works ahead: several pictures at once, the next copied meanwhile.

A live source has no use for it: its pictures come one by one, and each should be shown before the next is there.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from engine.structures import ByteArray, Heads
from pipeline.channel import Channel, Closed

Item = TypeVar("Item")
Result = TypeVar("Result")


@runtime_checkable
class Network(Protocol):
    """What `engine.estimator.Estimator` is.

    Attributes:
        batch: how many pictures of one size a submission takes.
        depth: how many submissions may wait to be collected.
    """

    @property
    def batch(self) -> int: ...

    @property
    def depth(self) -> int: ...

    def submit(self, images: Sequence[ByteArray]) -> None: ...

    def collect(self) -> list[Heads]: ...


def pump_ahead(
    inp: Channel[Item],
    image_of: Callable[[Item], ByteArray],
    network: Network,
    finish: Callable[[Item, Heads, float], Result],
    out: Channel[Result],
) -> None:
    """Until `inp` ends: its items through the network, in order, `finish`ed with their heads and seconds of work.

    Raises:
        Closed: `out` takes nothing more.
    """
    under_way: deque[tuple[list[Item], float]] = deque()
    try:
        for group in _groups(inp, image_of, network.batch):
            begin_s = time.perf_counter()
            network.submit([image_of(item) for item in group])
            under_way.append((group, time.perf_counter() - begin_s))
            if len(under_way) == network.depth:
                _deliver(*under_way.popleft(), network, finish, out)
        while under_way:
            _deliver(*under_way.popleft(), network, finish, out)
    finally:
        for _ in under_way:  # the network must be left empty for whoever uses it next
            network.collect()


def _groups(inp: Channel[Item], image_of: Callable[[Item], ByteArray], batch: int) -> Iterator[list[Item]]:
    """Up to `batch` items at a time, of one size, until `inp` ends."""
    group: list[Item] = []
    try:
        while True:
            item = inp.get()
            if group and image_of(item).shape != image_of(group[0]).shape:
                yield group
                group = []
            group.append(item)
            if len(group) == batch:
                yield group
                group = []
    except Closed:
        if group:
            yield group


def _deliver(
    group: list[Item],
    submit_s: float,
    network: Network,
    finish: Callable[[Item, Heads, float], Result],
    out: Channel[Result],
) -> None:
    begin_s = time.perf_counter()
    found = network.collect()
    each_s = (submit_s + time.perf_counter() - begin_s) / len(group)
    for item, heads in zip(group, found, strict=True):
        out.put(finish(item, heads, each_s))
