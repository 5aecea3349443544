"""The only concurrency primitive of the program: a short queue whose end is a state, never an item.

A sentinel in the queue is what makes pipelines hang: it needs room, and it is lost when the reader has left. Here
either side may end the channel at any time, and whoever waits on it wakes up.
"""

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):  # noqa: N818 - the normal end of a channel, not an error
    """The channel has ended: nothing more to get, or nobody takes what is put."""


class Channel(Generic[T]):
    """Hands items from one thread to another, oldest first.

    Attributes:
        dropped: items that were replaced before anybody took them; always 0 unless lossy.
    """

    def __init__(self, capacity: int = 1, lossy: bool = False) -> None:
        """`capacity` items wait at most. When full, a lossy channel replaces the oldest; another makes `put` wait."""
        if capacity < 1:
            raise ValueError(f"capacity: expected at least 1, got {capacity}")
        self.dropped = 0
        self._capacity = capacity
        self._lossy = lossy
        self._items: deque[T] = deque()
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T) -> None:
        """Hand over one item.

        Raises:
            Closed: the channel has ended, before or while waiting for room; the item was not taken.
        """
        with self._changed:
            while not self._lossy and len(self._items) == self._capacity and not self._closed:
                self._changed.wait()
            if self._closed:
                raise Closed
            if len(self._items) == self._capacity:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._changed.notify_all()

    def get(self) -> T:
        """Take the oldest item, waiting for one.

        Raises:
            Closed: the channel has ended and is empty.
        """
        with self._changed:
            while not self._items and not self._closed:
                self._changed.wait()
            return self._take()

    def poll(self) -> T | None:
        """Take the oldest item, or None if there is none at the moment.

        Raises:
            Closed: the channel has ended and is empty.
        """
        with self._changed:
            return self._take() if self._items or self._closed else None

    def close(self) -> None:
        """End the channel: nothing can be put any more; what is in it can still be taken. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abort(self) -> None:
        """End the channel and discard what is in it. Idempotent."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()

    def _take(self) -> T:
        if not self._items:
            raise Closed
        item = self._items.popleft()
        self._changed.notify_all()
        return item
