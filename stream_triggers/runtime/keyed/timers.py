"""Timers of one facts partition: which states want to be looked at, and from when on.

A timer is derived from a state's wake and nothing else. Those of committed states are keys of the store's ``timers``
column, in the order of their instants; those of the open transaction are a heap in memory. A state that the transaction
has changed is judged by the latter alone.

Rules:
1. ``take`` gives the due in the order (instant, state key), at most so many: the same states give the same order.
2. Nothing is due before ``lower``, of each clock. It is raised by looking, and lowered by what is added, so looking
   costs nothing while nothing is due, and never reads again over what has been deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Protocol

from stream_triggers.core.keyed.state import Clocks, Wake
from stream_triggers.runtime.store import Store

TIMERS = "timers"
"""The store's column: partition, clock, instant, state key -> nothing."""

CLOCKS = (0, 1)
"""The clocks by their place in ``Clocks`` and ``Wake``: wall, watermark."""

_INSTANT_MAX = 2**63 - 1


class Waking(Protocol):
    """A state as the open transaction has it."""

    @property
    def wake(self) -> Wake: ...


def timer_key(prefix: bytes, clock: int, due_ms: int, key: bytes) -> bytes:
    """Where the store has a timer of the partition with this ``prefix``."""
    return b"%b%c%b%b" % (prefix, clock, max(0, due_ms).to_bytes(8, "big"), key)


class Timers:
    """The timers of one partition; ``overlay`` has the states that the open transaction has changed."""

    def __init__(self, store: Store, prefix: bytes, overlay: Mapping[bytes, Waking]) -> None:
        self._store = store
        self._prefix = prefix
        self._overlay = overlay
        self._heaps: tuple[list[tuple[int, bytes]], ...] = ([], [])
        self.lower = [0, 0]
        """Per clock, an instant before which nothing is due."""

    def add(self, key: bytes, wake: Wake) -> None:
        """The open transaction has changed a state."""
        for clock in CLOCKS:
            due_ms = wake[clock]
            if due_ms is not None:
                heappush(self._heaps[clock], (due_ms, key))
                self.lower[clock] = min(self.lower[clock], due_ms)

    def is_due(self, clocks: Clocks) -> bool:
        """Whether ``take`` would give anything."""
        return any(self._is_due(clock, clocks[clock]) for clock in CLOCKS)

    def take(self, clocks: Clocks, at_most: int) -> list[bytes]:
        """The keys of states that are due, each of which is to be changed now by the one who takes it."""
        found = [self._due(clock, clocks[clock], at_most) for clock in CLOCKS]
        first: dict[bytes, int] = {}
        for due_ms, key in (*found[0], *found[1]):
            first[key] = min(due_ms, first.get(key, due_ms))
        keys = sorted(first, key=lambda key: (first[key], key))[:at_most]
        taken = set(keys)
        for clock in CLOCKS:
            self._forget(clock, taken)
            left = [due_ms for due_ms, key in found[clock] if key not in taken]
            beyond = clocks[clock] + 1 if len(found[clock]) < at_most else found[clock][-1][0]
            self.lower[clock] = min(left, default=beyond)
        return keys

    def settle(self) -> None:
        """What the open transaction has changed is in the store now."""
        for heap in self._heaps:
            heap.clear()

    def reset(self) -> None:
        """What the open transaction had changed is gone."""
        self.settle()
        self.lower = [0, 0]

    def _is_due(self, clock: int, now_ms: int) -> bool:
        if self.lower[clock] <= now_ms:
            found = self._due(clock, _INSTANT_MAX, 1)
            self.lower[clock] = found[0][0] if found else _INSTANT_MAX
        return self.lower[clock] <= now_ms

    def _due(self, clock: int, now_ms: int, at_most: int) -> list[tuple[int, bytes]]:
        """The first timers of a clock, in order; they stay."""
        if self.lower[clock] > now_ms:
            return []
        found = set(islice(self._stored(clock, now_ms), at_most))
        heap, overlay, seen = self._heaps[clock], self._overlay, list[tuple[int, bytes]]()
        while heap and heap[0][0] <= now_ms and len(seen) < at_most:
            due_ms, key = heappop(heap)
            if overlay[key].wake[clock] == due_ms and (not seen or seen[-1] != (due_ms, key)):
                seen.append((due_ms, key))
        for each in seen:
            heappush(heap, each)
        return sorted(found.union(seen))[:at_most]

    def _forget(self, clock: int, keys: Collection[bytes]) -> None:
        heap = self._heaps[clock]
        heap[:] = [each for each in heap if each[1] not in keys]
        heapify(heap)

    def _stored(self, clock: int, now_ms: int) -> Iterator[tuple[int, bytes]]:
        """Timers of committed states that the open transaction has left alone."""
        start = timer_key(self._prefix, clock, self.lower[clock], b"")
        end = timer_key(self._prefix, clock, now_ms + 1, b"")
        head = len(self._prefix) + 1
        for stored, _ in self._store.scan(TIMERS, start, end):
            key = stored[head + 8 :]
            if key not in self._overlay:
                yield int.from_bytes(stored[head : head + 8], "big"), key
