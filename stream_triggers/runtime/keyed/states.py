"""States of the keyed stage: what is committed, what the open transaction has changed, and how both become bytes.

Everything a facts partition remembers is in four columns of the store, each key behind the partition's number:

    states    trigger id, NUL, key -> the written state, and the position of the record that wrote it last
    timers    clock, instant, trigger id, NUL, key -> nothing; derived from the states, never in the changelog
    active    trigger id -> the definition in force
    clocks    nothing -> both clocks

Rules:
1. What the open transaction changes is in an overlay; it reaches the store only after the log has committed it.
2. The changelog gets one record for each thing that a transaction has changed, however often, and none for a state
   that came and went in it. A deletion is a record without a value.
3. Committed states are kept decoded, those that were changed least lately forgotten first: bounded by
   ``cache_bytes_max`` for all partitions together. A state is never changed in place.
4. A partition that is given up, or whose transaction came to nothing, is closed: nothing of it stays in memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec
from msgspec.structs import replace

from stream_triggers.core.keyed.state import Clocks, KeyState, Wake, decode_state, decode_wake, encode_state
from stream_triggers.errors import Corrupt
from stream_triggers.runtime.keyed.active import Active, decode_active
from stream_triggers.runtime.keyed.facts import state_key
from stream_triggers.runtime.keyed.timers import CLOCKS, TIMERS, Timers, timer_key
from stream_triggers.runtime.log import Outgoing
from stream_triggers.runtime.store import Changes, Store

STATES, ACTIVE, CLOCK = "states", "active", "clocks"
"""Columns of the store, beside that of the timers."""

OF_STATE, OF_ACTIVE, OF_CLOCKS = b"s", b"a", b"c"
"""First bytes of the changelog's keys."""

CACHE_BYTES_MAX = 64 * 1024 * 1024

STATE_BYTES = 600
"""What a decoded state costs beside its content, with keys and dictionary entries: measured."""

DECODED = 4
"""How much more memory a state takes decoded than written, about."""

AT_BYTES = 8
PREFIX_BYTES = 4
NEVER = Wake()
CLOCKS_UNKNOWN = Clocks(0, 0)


class Kept(msgspec.Struct, gc=False):
    """A state as it is known, or that there is none; ``stored`` says whether the store has one, woken when.

    ``problem`` says why there is none where there is one that cannot be read.
    """

    state: KeyState | None
    wake: Wake
    at: int
    size: int
    stored: bool
    stored_wake: Wake
    written: bytes | None = None
    problem: str = ""


def prefix_of(partition: int) -> bytes:
    """What the keys of a facts partition start with in the store."""
    return partition.to_bytes(PREFIX_BYTES, "big")


def written_at(value: bytes) -> int:
    """The position of the record that last wrote a state."""
    return int.from_bytes(value[-AT_BYTES:], "big")


class FactsPartition:
    """All that one facts partition remembers."""

    def __init__(self, store: Store, number: int) -> None:
        self.number = number
        self.prefix = prefix_of(number)
        self.overlay: dict[bytes, Kept] = {}
        self.timers = Timers(store, self.prefix, self.overlay)
        self.overlay_bytes = 0
        self.is_tick_awaited = False
        """Whether a tick has been written that has not been read back."""
        self.awaited_ms = 0
        """The instant it waits for, as others have been told."""
        self.activated_to = -1
        """The definitions up to this offset have been compared with those in force."""
        self.unswept: set[str] = set()
        """Triggers whose states are to be looked at."""
        self.behind: set[str] = set()
        """Triggers that have a watermark of their own."""
        self.tell_behind_at_s = 0.0
        """When it is told again how far these have come."""
        self._store = store
        self._cache: OrderedDict[bytes, Kept] = OrderedDict()
        self._cache_bytes = 0
        self._active: dict[str, Active] = {}
        self._changed: set[str] = set()
        self._clocks_changed = False
        self.clocks = CLOCKS_UNKNOWN
        self._load()

    # Definitions and clocks

    @property
    def active(self) -> dict[str, Active]:
        """The definition in force of each trigger; changed by ``activate`` only."""
        return self._active

    def activate(self, active: Active) -> None:
        """Have a definition in force from here on."""
        self._know(active)
        self._changed.add(active.trigger_id)

    def advance(self, wall_ms: int, watermark_ms: int = 0) -> Clocks:
        """Move the clocks, neither ever back."""
        wall, watermark = self.clocks
        if wall_ms > wall or watermark_ms > watermark:
            self.clocks = Clocks(max(wall, wall_ms), max(watermark, watermark_ms))
            self._clocks_changed = True
        return self.clocks

    def clocks_of(self, active: Active) -> Clocks:
        """The clocks of a trigger: those of the partition, unless it is behind."""
        return self.clocks if active.watermark_ms is None else Clocks(self.clocks.wall_ms, active.watermark_ms)

    # States

    def load(self, keys: Sequence[bytes]) -> None:
        """Have these at hand: one question to the store for all that are not in memory."""
        overlay, cache = self.overlay, self._cache
        missing = [key for key in dict.fromkeys(keys) if key not in overlay and key not in cache]
        if missing:
            prefix = self.prefix
            for key, value in zip(
                missing, self._store.get_many(STATES, [prefix + key for key in missing]), strict=True
            ):
                self._remember(key, _kept(value))

    def get(self, key: bytes) -> Kept:
        """What is known of a state."""
        kept = self.overlay.get(key) or self._cache.get(key)
        if kept is None:
            self.load([key])
            kept = self._cache[key]
        return kept

    def put(self, key: bytes, state: KeyState | None, wake: Wake, at: int, more_bytes: int) -> int:
        """Change a state, by the record at position ``at``; it grows by about ``more_bytes``, to what is returned."""
        before = self.get(key)
        self.overlay_bytes += more_bytes if key in self.overlay else STATE_BYTES + before.size + more_bytes
        size = before.size + more_bytes
        self.overlay[key] = Kept(state, wake, at, size, before.stored, before.stored_wake)
        self.timers.add(key, wake)
        return size

    def sweep(self, active: Active, at_most: int) -> list[bytes]:
        """The keys of the next states of a trigger, each of which is to be looked at now by the one who sweeps.

        In the order of their keys, whether they are in the store or not yet: when a state is looked at is a function of
        the log.
        """
        found = self._states_from(active.trigger_id, active.swept_to, at_most)
        if len(found) == at_most:
            self.activate(replace(active, swept_to=found[-1] + b"\0"))
        else:
            self.activate(replace(active, swept=True, swept_to=b""))
        return found

    def _states_from(self, trigger_id: str, key: bytes, at_most: int) -> list[bytes]:
        """The keys of the first states of a trigger from ``key`` on."""
        head = state_key(trigger_id, "")
        first, end, overlay = max(key, head), after(head), self.overlay
        stored = self._store.scan(STATES, self.prefix + first, self.prefix + end)
        left_alone = (each[PREFIX_BYTES:] for each, _ in stored if each[PREFIX_BYTES:] not in overlay)
        changed = [each for each, kept in overlay.items() if first <= each < end and kept.state is not None]
        return sorted((*islice(left_alone, at_most), *changed))[:at_most]

    # The transaction

    @property
    def is_changed(self) -> bool:
        """Whether the open transaction has changed anything."""
        return bool(self.overlay or self._changed or self._clocks_changed)

    def records(self) -> Iterator[Outgoing]:
        """The changelog records of the open transaction."""
        number = self.number
        for key, kept in self.overlay.items():
            if kept.state is not None:
                kept.written = encode_state(kept.state, kept.wake) + kept.at.to_bytes(AT_BYTES, "big")
                yield {"key": OF_STATE + key, "value": kept.written, "partition": number}
            elif kept.stored:
                yield {"key": OF_STATE + key, "value": None, "partition": number}
        for trigger_id in sorted(self._changed):
            key = OF_ACTIVE + trigger_id.encode()
            yield {"key": key, "value": self._active[trigger_id].encode(), "partition": number}
        if self._clocks_changed:
            yield {"key": OF_CLOCKS, "value": _write_clocks(self.clocks), "partition": number}

    def settle(self, changes: Changes, cache_bytes_max: int) -> None:
        """Add to ``changes`` what the committed transaction, written by ``records``, changes in the store."""
        puts, deletes, prefix = changes.puts, changes.deletes, self.prefix
        for key, kept in self.overlay.items():
            if kept.written is not None:
                puts.append((STATES, prefix + key, kept.written))
            elif kept.stored:
                deletes.append((STATES, prefix + key))
            change_timers(changes, prefix, key, kept.stored_wake, kept.wake)
            self._settle_one(key, kept)
        for trigger_id in self._changed:
            puts.append((ACTIVE, prefix + trigger_id.encode(), self._active[trigger_id].encode()))
        if self._clocks_changed:
            puts.append((CLOCK, prefix, _write_clocks(self.clocks)))
        self.overlay.clear()
        self.timers.settle()
        self._changed.clear()
        self._clocks_changed = False
        self.overlay_bytes = 0
        while self._cache_bytes > cache_bytes_max:
            self._cache_bytes -= _memory_of(*self._cache.popitem(last=False))

    # Inside

    def _settle_one(self, key: bytes, kept: Kept) -> None:
        before = self._cache.pop(key, None)
        if before is not None:
            self._cache_bytes -= _memory_of(key, before)
        if kept.state is not None and kept.written is not None:
            kept.size, kept.stored, kept.stored_wake, kept.written = len(kept.written), True, kept.wake, None
            self._remember(key, kept)

    def _remember(self, key: bytes, kept: Kept) -> None:
        self._cache[key] = kept
        self._cache_bytes += _memory_of(key, kept)

    def _know(self, active: Active) -> None:
        self._active[active.trigger_id] = active
        for names, is_one in ((self.unswept, not active.swept), (self.behind, active.watermark_ms is not None)):
            if is_one:
                names.add(active.trigger_id)
            else:
                names.discard(active.trigger_id)

    def _load(self) -> None:
        prefix = self.prefix
        for key, value in self._store.scan(ACTIVE, prefix, after(prefix)):
            self._know(decode_active(value, f"the store's {key!r}"))
        [clocks] = self._store.get_many(CLOCK, [prefix])
        if clocks is not None:
            self.clocks = read_clocks(clocks)
        self.timers.is_due(self.clocks)  # and when the first will be


class States:
    """The facts partitions that a worker works on."""

    def __init__(self, store: Store, cache_bytes_max: int = CACHE_BYTES_MAX) -> None:
        self._store = store
        self._cache_bytes_max = cache_bytes_max
        self._partitions: dict[int, FactsPartition] = {}

    @property
    def partitions(self) -> Sequence[FactsPartition]:
        """Those that are open, in order."""
        return tuple([self._partitions[number] for number in sorted(self._partitions)])

    def partition(self, number: int) -> FactsPartition:
        """One of them, opened when it is first asked for, as the store has it."""
        found = self._partitions.get(number)
        if found is None:
            found = self._partitions[number] = FactsPartition(self._store, number)
        return found

    def close(self, number: int) -> None:
        """Forget what is in memory of a partition, the open transaction's changes too."""
        self._partitions.pop(number, None)

    @property
    def overlay_bytes(self) -> int:
        """Memory that the open transaction takes, roughly."""
        return sum(each.overlay_bytes for each in self._partitions.values())

    def records(self) -> list[Outgoing]:
        """The changelog records of the open transaction."""
        return [record for each in self.partitions if each.is_changed for record in each.records()]

    def settle(self, changes: Changes) -> None:
        """Add to ``changes`` what the committed transaction, written by ``records``, changes in the store."""
        for each in self._partitions.values():
            if each.is_changed:
                each.settle(changes, self._cache_bytes_max // len(self._partitions))

    def drop_pending(self) -> None:
        """The open transaction has come to nothing."""
        self._partitions.clear()


def change_timers(changes: Changes, prefix: bytes, key: bytes, old: Wake, new: Wake) -> None:
    """Add to ``changes`` that a state in the store with the timers of ``old`` has those of ``new``."""
    if old == new:
        return
    for clock in CLOCKS:
        before_ms, after_ms = old[clock], new[clock]
        if before_ms == after_ms:
            continue
        if before_ms is not None:
            changes.deletes.append((TIMERS, timer_key(prefix, clock, before_ms, key)))
        if after_ms is not None:
            changes.puts.append((TIMERS, timer_key(prefix, clock, after_ms, key), b""))


def _kept(value: bytes | None) -> Kept:
    if value is None:
        return Kept(None, NEVER, -1, 0, False, NEVER)
    wake = decode_wake(value)  # what a newer release has written is none of ours to drop: it raises
    kept = Kept(None, wake, written_at(value), len(value), True, wake)
    try:
        kept.state = decode_state(value[:-AT_BYTES])[0]
    except Corrupt as error:
        kept.problem = error.message
    return kept


def _memory_of(key: bytes, kept: Kept) -> int:
    return STATE_BYTES + len(key) + DECODED * kept.size


def _write_clocks(clocks: Clocks) -> bytes:
    return b"".join(ms.to_bytes(8, "big") for ms in clocks)


def read_clocks(value: bytes) -> Clocks:
    """The clocks of a partition as they are written to its changelog."""
    return Clocks(int.from_bytes(value[:8], "big"), int.from_bytes(value[8:16], "big"))


def after(prefix: bytes) -> bytes:
    """The first key behind all that start with ``prefix``."""
    return (int.from_bytes(prefix, "big") + 1).to_bytes(len(prefix), "big")
