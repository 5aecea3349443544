"""A list for data processes: pickled into one block of shared memory, one object unpickled at each look.

A list of Python objects would be copied into every data process bit by bit, for looking at an object writes its
reference count: gigabytes with the whole of COCO.
"""

import pickle
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

import torch

Item = TypeVar("Item")


class PackedList(Generic[Item]):
    """What an iterable yields, for reading alone."""

    def __init__(self, items: Iterable[Item]) -> None:
        block, ends = bytearray(), [0]
        for item in items:
            block += pickle.dumps(item, protocol=pickle.HIGHEST_PROTOCOL)
            ends.append(len(block))
        # Tensors, because torch moves them to processes that are not forked through shared memory.
        self._block = torch.frombuffer(block, dtype=torch.uint8) if block else torch.empty(0, dtype=torch.uint8)
        self._ends = torch.tensor(ends)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < len(self):
            raise IndexError(f"expected an index from 0 to {len(self) - 1}, got {index}")
        start, end = self._ends[index : index + 2].tolist()
        item: Item = pickle.loads(self._block[start:end].numpy().data)
        return item

    def __iter__(self) -> Iterator[Item]:
        return (self[index] for index in range(len(self)))
