"""The changelog of the facts partitions, read back into the store.

Rules:
1. The newest record of a key is what the store must have; reading one again, or an older one before it, does no harm.
2. Timers are derived from the states as they are read: first from what the store had, then from what it has.
3. A record of a newer format is ``Corrupt``: the partition is not processed by a release that would misread it.
4. A deletion is a record without a value, which compaction drops ``TOMBSTONES_KEPT_MS`` later. A store that has left
   records unread for half of that may have missed one: it forgets the partition and reads it from its beginning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stream_triggers.core.keyed.state import Wake, decode_wake
from stream_triggers.errors import Corrupt
from stream_triggers.runtime.clock import Clock
from stream_triggers.runtime.keyed.active import decode_active
from stream_triggers.runtime.keyed.states import (
    ACTIVE,
    CLOCK,
    NEVER,
    OF_ACTIVE,
    OF_CLOCKS,
    OF_STATE,
    STATES,
    after,
    change_timers,
    prefix_of,
)
from stream_triggers.runtime.keyed.timers import TIMERS
from stream_triggers.runtime.log import Log, Record, TopicPartition
from stream_triggers.runtime.store import Changes, Store
from stream_triggers.runtime.topics import TOMBSTONES_KEPT_MS

FORGOTTEN_AT_ONCE = 10_000
"""Keys deleted in one write while a partition is forgotten."""

_COLUMNS = (STATES, TIMERS, ACTIVE, CLOCK)


class StateLog:
    """The changelog of the facts partitions, as ``Restore`` reads it."""

    def __init__(self, cluster: Log, store: Store, clock: Clock) -> None:
        self._cluster = cluster
        self._store = store
        self._clock = clock

    def begin(self, changelog: TopicPartition, position: int | None, end: int) -> int:
        """Where to begin reading a partition that the store has to ``position``; forgets what it cannot trust."""
        if position is not None and (position == end or position >= self._oldest_sure(changelog)):
            return position
        forget(self._store, changelog.partition)
        return 0

    def restored(self, records: Sequence[Record]) -> Changes:
        """What a batch of records changes in the store."""
        return restored(self._store, records)

    def _oldest_sure(self, changelog: TopicPartition) -> int:
        """The first record that is so young that no deletion since can have been dropped."""
        sure_ms = self._clock.now_ms() - TOMBSTONES_KEPT_MS // 2
        return self._cluster.offsets_at([changelog], max(0, sure_ms))[changelog]


def restored(store: Store, records: Sequence[Record]) -> Changes:
    """What a batch of changelog records changes in ``store``."""
    changes = Changes()
    newest: dict[tuple[int, bytes], Record] = {}
    for record in records:
        newest[record.partition(), record.key() or b""] = record
    states = {each: record for each, record in newest.items() if each[1][:1] == OF_STATE}
    _restore_states(store, states, changes)
    for (partition, key), record in newest.items():
        if key[:1] == OF_ACTIVE:
            value = record.value() or b""
            decode_active(value, _place(record))
            changes.puts.append((ACTIVE, prefix_of(partition) + key[1:], value))
        elif key == OF_CLOCKS:
            changes.puts.append((CLOCK, prefix_of(partition), record.value() or b""))
        elif key[:1] != OF_STATE:
            raise Corrupt(
                f"{_place(record)} has a key of no known kind: {key[:20]!r}",
                hint="a newer release has written here, or something else: give the application a name of its own",
            )
    return changes


def forget(store: Store, partition: int) -> None:
    """Delete all that the store has of a facts partition; after a crash in the middle less is left."""
    prefix = prefix_of(partition)
    for column in _COLUMNS:
        changes = Changes()
        for key, _ in store.scan(column, prefix, after(prefix)):
            changes.deletes.append((column, key))
            if len(changes.deletes) == FORGOTTEN_AT_ONCE:
                store.apply(changes)
                changes = Changes()
        store.apply(changes)


def _restore_states(store: Store, states: Mapping[tuple[int, bytes], Record], changes: Changes) -> None:
    keys = [prefix_of(partition) + key[1:] for partition, key in states]
    for (partition, key), record, stored_key, stored in zip(
        states, states.values(), keys, store.get_many(STATES, keys), strict=True
    ):
        value, wake = record.value(), NEVER
        if value is None:
            if stored is not None:
                changes.deletes.append((STATES, stored_key))
        else:
            wake = _checked_wake(value, record)
            changes.puts.append((STATES, stored_key, value))
        change_timers(changes, prefix_of(partition), key[1:], NEVER if stored is None else decode_wake(stored), wake)


def _checked_wake(value: bytes, record: Record) -> Wake:
    try:
        return decode_wake(value)
    except Corrupt as error:
        raise Corrupt(f"{_place(record)}: {error.message}", hint=error.hint) from error


def _place(record: Record) -> str:
    return f"{record.topic()}/{record.partition()} at offset {record.offset()}"
