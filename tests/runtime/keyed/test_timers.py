"""Timers: who is due, in which order, and that a store that is not due is not read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from stream_triggers.core.keyed.state import Clocks, Wake
from stream_triggers.runtime.keyed.timers import TIMERS, Timers, timer_key
from stream_triggers.runtime.store import Changes, MemoryStore

PREFIX = b"\0\0\0\7"


class Waking(NamedTuple):
    wake: Wake


class CountingStore(MemoryStore):
    scans = 0

    def scan(self, column: str, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        self.scans += 1
        return super().scan(column, start, end)


def store_with(**wakes: Wake) -> CountingStore:
    store = CountingStore()
    puts = [
        (TIMERS, timer_key(PREFIX, clock, due_ms, key.encode()), b"")
        for key, wake in wakes.items()
        for clock, due_ms in enumerate(wake)
        if due_ms is not None
    ]
    store.apply(Changes(puts=puts))
    return store


def timers(overlay: dict[bytes, Waking] | None = None, **wakes: Wake) -> Timers:
    return Timers(store_with(**wakes), PREFIX, {} if overlay is None else overlay)


def test_what_is_due_on_either_clock_is_taken_once_by_its_first_instant() -> None:
    each = timers(a=Wake(50, 30), b=Wake(None, 40), c=Wake(20), d=Wake(51), e=Wake(None, 41))
    assert each.take(Clocks(50, 40), 10) == [b"c", b"a", b"b"]


def test_what_the_transaction_has_changed_is_judged_by_its_new_wake() -> None:
    overlay: dict[bytes, Waking] = {}
    each = timers(overlay, a=Wake(10), b=Wake(11))
    for key, wake in ((b"a", Wake(99)), (b"n", Wake(5)), (b"n", Wake(12))):
        overlay[key] = Waking(wake)
        each.add(key, wake)
    assert each.take(Clocks(50, 0), 10) == [b"b", b"n"]


def test_a_timer_of_another_partition_is_not_due_here() -> None:
    store = store_with(a=Wake(10))
    assert not Timers(store, b"\0\0\0\6", {}).is_due(Clocks(99, 99))


def test_a_store_that_is_not_due_is_not_read_again() -> None:
    store = store_with(a=Wake(1000))
    each = Timers(store, PREFIX, {})
    for now_ms in range(1000):
        assert not each.is_due(Clocks(now_ms, now_ms))
    assert store.scans == 2
    assert each.is_due(Clocks(1000, 0))


def test_an_aborted_transaction_leaves_the_timers_of_the_store() -> None:
    overlay: dict[bytes, Waking] = {}
    each = timers(overlay, a=Wake(10))
    assert each.take(Clocks(50, 0), 10) == [b"a"]
    overlay[b"a"] = Waking(Wake())
    each.add(b"a", Wake())
    assert not each.is_due(Clocks(50, 0))
    overlay.clear()
    each.reset()
    assert each.is_due(Clocks(50, 0))


_wakes = st.builds(Wake, st.none() | st.integers(0, 20), st.none() | st.integers(0, 20))
_states = st.dictionaries(st.sampled_from([b"a", b"b", b"c", b"d", b"e", b"f"]), _wakes)


@settings(deadline=None)
@given(
    stored=_states,
    changes=st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c", b"z"]), _wakes)),
    looks=st.lists(st.tuples(st.integers(0, 22), st.integers(0, 22), st.integers(1, 4)), max_size=4),
)
def test_it_is_what_a_look_at_all_states_would_give(
    stored: dict[bytes, Wake], changes: list[tuple[bytes, Wake]], looks: list[tuple[int, int, int]]
) -> None:
    overlay: dict[bytes, Waking] = {}
    each = timers(overlay, **{key.decode(): wake for key, wake in stored.items()})
    everything = dict(stored)
    clocks = Clocks(0, 0)
    for wall_ms, watermark_ms, at_most in looks:
        for key, wake in changes:
            overlay[key] = Waking(wake)
            everything[key] = wake
            each.add(key, wake)
        clocks = Clocks(max(clocks[0], wall_ms), max(clocks[1], watermark_ms))
        first = {
            key: min(due for due, now in zip(wake, clocks, strict=True) if due is not None and due <= now)
            for key, wake in everything.items()
            if any(due is not None and due <= now for due, now in zip(wake, clocks, strict=True))
        }
        wanted = sorted(first, key=lambda key: (first[key], key))[:at_most]
        assert each.is_due(clocks) == bool(wanted)
        taken = each.take(clocks, at_most)
        assert taken == wanted
        for key in taken:
            overlay[key] = Waking(Wake(clocks[0] + 1))
            everything[key] = Wake(clocks[0] + 1)
            each.add(key, Wake(clocks[0] + 1))
