import threading
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.channel import Channel, Closed

WAIT_S = 5.0  # a bound for what must happen anyway; never a measurement


class Helper:
    """Runs one blocking call in a thread, and tells how it ended."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.value: Any = None
        self.closed = False
        self._thread = threading.Thread(target=self._run, args=(call,))
        self._thread.start()

    def _run(self, call: Callable[[], Any]) -> None:
        try:
            self.value = call()
        except Closed:
            self.closed = True

    def waits(self) -> bool:
        self._thread.join(0.03)
        return self._thread.is_alive()

    def join(self) -> "Helper":
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        return self


def test_items_come_out_in_order() -> None:
    channel: Channel[int] = Channel(capacity=3)
    for item in (1, 2, 3):
        channel.put(item)
    assert [channel.get(), channel.get(), channel.get()] == [1, 2, 3]
    assert channel.dropped == 0


def test_a_full_channel_makes_put_wait_until_there_is_room() -> None:
    channel: Channel[int] = Channel()
    channel.put(1)
    putter = Helper(lambda: channel.put(2))
    assert putter.waits()
    assert channel.get() == 1
    putter.join()
    assert channel.get() == 2
    assert not putter.closed
    assert channel.dropped == 0


def test_an_empty_channel_makes_get_wait_for_an_item() -> None:
    channel: Channel[int] = Channel()
    getter = Helper(channel.get)
    assert getter.waits()
    channel.put(7)
    assert getter.join().value == 7


def test_a_lossy_channel_keeps_the_newest_and_counts_the_rest() -> None:
    channel: Channel[int] = Channel(lossy=True)
    for item in range(5):
        channel.put(item)
    assert channel.get() == 4
    assert channel.dropped == 4


def test_a_lossy_channel_with_room_drops_the_oldest_only() -> None:
    channel: Channel[int] = Channel(capacity=2, lossy=True)
    for item in range(5):
        channel.put(item)
    assert [channel.get(), channel.get()] == [3, 4]
    assert channel.dropped == 3


def test_close_lets_the_reader_drain_then_ends() -> None:
    channel: Channel[int] = Channel(capacity=2)
    channel.put(1)
    channel.put(2)
    channel.close()
    assert [channel.get(), channel.get()] == [1, 2]
    with pytest.raises(Closed):
        channel.get()


def test_close_while_full_releases_the_waiting_putter_and_keeps_what_is_in_it() -> None:
    channel: Channel[int] = Channel()
    channel.put(1)
    putter = Helper(lambda: channel.put(2))
    assert putter.waits()
    channel.close()
    assert putter.join().closed
    assert channel.get() == 1
    with pytest.raises(Closed):
        channel.get()


def test_close_releases_a_waiting_reader() -> None:
    channel: Channel[int] = Channel()
    getter = Helper(channel.get)
    assert getter.waits()
    channel.close()
    assert getter.join().closed


def test_abort_discards_and_releases_both_sides() -> None:
    channel: Channel[int] = Channel()
    channel.put(1)
    putter = Helper(lambda: channel.put(2))
    assert putter.waits()
    channel.abort()
    assert putter.join().closed
    with pytest.raises(Closed):
        channel.get()


@pytest.mark.parametrize("lossy", [False, True])
def test_nothing_can_be_put_after_the_end(lossy: bool) -> None:
    channel: Channel[int] = Channel(lossy=lossy)
    channel.close()
    channel.close()
    with pytest.raises(Closed):
        channel.put(1)


def test_poll_never_waits() -> None:
    channel: Channel[int] = Channel()
    assert channel.poll() is None
    channel.put(1)
    assert channel.poll() == 1
    assert channel.poll() is None
    channel.put(2)
    channel.close()
    assert channel.poll() == 2
    with pytest.raises(Closed):
        channel.poll()


def test_poll_makes_room_for_a_waiting_putter() -> None:
    channel: Channel[int] = Channel()
    channel.put(1)
    putter = Helper(lambda: channel.put(2))
    assert putter.waits()
    assert channel.poll() == 1
    putter.join()
    assert channel.poll() == 2


def test_poll_may_wait_for_an_item() -> None:
    channel: Channel[int] = Channel()
    poller = Helper(lambda: channel.poll(WAIT_S))
    assert poller.waits()
    channel.put(1)
    assert poller.join().value == 1


def test_poll_gives_up_when_nothing_comes() -> None:
    channel: Channel[int] = Channel()
    assert channel.poll(0.001) is None


def test_close_releases_a_poll_that_waits() -> None:
    channel: Channel[int] = Channel()
    poller = Helper(lambda: channel.poll(WAIT_S))
    assert poller.waits()
    channel.close()
    assert poller.join().closed


def test_the_time_that_put_waits_for_room_is_counted_while_it_waits_and_afterwards() -> None:
    channel: Channel[int] = Channel()
    channel.put(1)
    assert channel.waited_s == 0.0
    putter = Helper(lambda: channel.put(2))
    assert putter.waits()
    during_s = channel.waited_s
    assert during_s > 0.0
    channel.get()
    putter.join()
    after_s = channel.waited_s
    assert after_s >= during_s
    assert channel.waited_s == after_s


def test_a_lossy_channel_never_waits() -> None:
    channel: Channel[int] = Channel(lossy=True)
    for item in range(5):
        channel.put(item)
    assert channel.waited_s == 0.0


@pytest.mark.parametrize("end", [Channel.close, Channel.abort])
def test_whether_it_has_ended_can_be_asked(end: Callable[[Channel[int]], None]) -> None:
    channel: Channel[int] = Channel()
    assert not channel.ended
    end(channel)
    assert channel.ended


def test_capacity_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least 1, got 0"):
        Channel(capacity=0)


def test_many_items_cross_two_threads_complete_and_in_order() -> None:
    channel: Channel[int] = Channel()

    def produce() -> None:
        for item in range(500):
            channel.put(item)
        channel.close()

    producer = Helper(produce)
    received = [channel.get() for _ in range(500)]
    with pytest.raises(Closed):
        channel.get()
    producer.join()
    assert received == list(range(500))
