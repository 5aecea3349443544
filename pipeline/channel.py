"""The only concurrency primitive of the program: a short queue whose end is a state, never an item.

A sentinel in the queue is what makes pipelines hang: it needs room, and it is lost when the reader has left. Here
either side may end the channel at any time, and whoever waits on it wakes up.
"""

import threading
import time
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
        self._waited_s = 0.0
        self._waiting_since_s: float | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing can be put any more."""
        return self._closed

    @property
    def waited_s(self) -> float:
        """How long in all `put` has waited for room, seconds; what `dropped` is for a lossy channel."""
        with self._changed:
            since_s = self._waiting_since_s
            return self._waited_s + (0.0 if since_s is None else time.perf_counter() - since_s)

    def put(self, item: T) -> None:
        """Hand over one item.

        Raises:
            Closed: the channel has ended, before or while waiting for room; the item was not taken.
        """
        with self._changed:
            if not self._lossy:
                self._wait_for_room()
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

    def poll(self, wait_s: float = 0.0) -> T | None:
        """Take the oldest item, or None if there is none within `wait_s` seconds.

        Raises:
            Closed: the channel has ended and is empty.
        """
        with self._changed:
            if wait_s > 0:
                self._changed.wait_for(lambda: self._items or self._closed, wait_s)
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

    def _wait_for_room(self) -> None:
        if len(self._items) < self._capacity or self._closed:
            return
        self._waiting_since_s = begin_s = time.perf_counter()
        while len(self._items) == self._capacity and not self._closed:
            self._changed.wait()
        self._waiting_since_s = None
        self._waited_s += time.perf_counter() - begin_s

    def _take(self) -> T:
        if not self._items:
            raise Closed
        item = self._items.popleft()
        self._changed.notify_all()
        return item
