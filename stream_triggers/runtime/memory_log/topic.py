"""Topics of the in-memory log: entries, partitions, and where a key goes.

Rules:
1. Every entry takes an offset, the marker that ends a transaction too.
2. Readers stop at the last stable offset: the first entry of the oldest open transaction, else the end.
3. Below it they get what was committed; aborted entries and markers are passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from struct import Struct
from typing import Literal, TypeAlias

from stream_triggers.errors import Misconfigured
from stream_triggers.runtime.log import Outgoing, TopicPartition, TopicSpec

Outcome: TypeAlias = Literal["open", "committed", "aborted", "marker"]

_CREATE_TIME = 1
_WORD = Struct("<I")
_MULTIPLIER = 0x5BD1E995
_MASK = 0xFFFFFFFF


class Fate:
    """What became of the entries that share it: those of one transaction."""

    __slots__ = ("outcome",)

    def __init__(self, outcome: Outcome) -> None:
        self.outcome: Outcome = outcome


COMMITTED = Fate("committed")
"""The fate of records written outside a transaction."""

MARKER = Fate("marker")
"""The fate of the entries that end a transaction on a partition; their value is ``b"commit"`` or ``b"abort"``."""


class Entry:
    """One entry of a partition, also a ``Record``."""

    __slots__ = ("_fate", "_key", "_offset", "_partition", "_time_ms", "_topic", "_value")

    def __init__(
        self,
        topic: str,
        partition: int,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        time_ms: int,
        fate: Fate,
    ) -> None:
        self._topic = topic
        self._partition = partition
        self._offset = offset
        self._key = key
        self._value = value
        self._time_ms = time_ms
        self._fate = fate

    @property
    def outcome(self) -> Outcome:
        """``marker`` for an entry that ends a transaction, else what became of the record."""
        return self._fate.outcome

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return (_CREATE_TIME, self._time_ms)

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return None

    def __repr__(self) -> str:
        return f"<{self.outcome} {self._topic}/{self._partition}@{self._offset} {self._key!r}: {self._value!r}>"


class Partition:
    """The log of one partition."""

    __slots__ = ("entries", "name", "open", "start")

    def __init__(self, name: TopicPartition) -> None:
        self.name = name
        self.start = 0
        self.entries: list[Entry] = []
        self.open: dict[Fate, int] = {}
        """The first offset of each open transaction; in the order they came, so the first is the least."""

    @property
    def end(self) -> int:
        """The high watermark."""
        return self.start + len(self.entries)

    @property
    def last_stable(self) -> int:
        """The offset before which every transaction has ended."""
        for first in self.open.values():
            return first
        return self.end

    def append(self, key: bytes | None, value: bytes | None, time_ms: int, fate: Fate) -> None:
        """Write one entry at the end."""
        topic, number = self.name
        self.entries.append(Entry(topic, number, self.start + len(self.entries), key, value, time_ms, fate))

    def finish(self, transaction: Fate, time_ms: int) -> None:
        """Write the marker of a transaction that has ended."""
        del self.open[transaction]
        self.append(None, b"commit" if transaction.outcome == "committed" else b"abort", time_ms, MARKER)

    def read(self, position: int, records_max: int, into: list[Entry]) -> int:
        """Add committed entries from ``position`` until ``into`` has ``records_max``; returns the next position."""
        if not self.start <= position <= self.end:
            raise Misconfigured(
                f"{self.name} is read from offset {position}, it holds {self.start} to {self.end}",
                hint="the records were deleted: choose a position that exists",
            )
        entries, index, stop = self.entries, position - self.start, self.last_stable - self.start
        while index < stop and len(into) < records_max:
            entry = entries[index]
            index += 1
            if entry.outcome == "committed":
                into.append(entry)
        return self.start + index

    def offset_at(self, time_ms: int) -> int:
        """The offset of the first entry with this time or a later one, the end if there is none."""
        return next((entry.offset() for entry in self.entries if entry.timestamp()[1] >= time_ms), self.end)

    def trim(self, start: int) -> None:
        """Delete what is before ``start``, as retention does."""
        assert self.start <= start <= self.last_stable, "only settled entries that exist can be deleted"
        del self.entries[: start - self.start]
        self.start = start


class Topic:
    """A topic: its specification and its partitions."""

    def __init__(self, spec: TopicSpec) -> None:
        self.spec = spec
        self.partitions = [Partition(TopicPartition(spec.name, number)) for number in range(spec.partitions)]
        self._turn = -1

    def grow(self, partitions: int) -> None:
        """Add partitions until there are so many."""
        added = range(len(self.partitions), partitions)
        self.partitions += [Partition(TopicPartition(self.spec.name, number)) for number in added]
        self.spec = replace(self.spec, partitions=len(self.partitions))

    def write(self, records: Sequence[Outgoing], time_ms: int, fate: Fate) -> list[Partition]:
        """Append ``records``; returns the partitions on which an open ``fate`` begins."""
        begun = []
        for record in records:
            partition = self.partitions[self._place(record)]
            if fate.outcome == "open" and fate not in partition.open:
                partition.open[fate] = partition.end
                begun.append(partition)
            partition.append(record["key"], record["value"], time_ms, fate)
        return begun

    def _place(self, record: Outgoing) -> int:
        number, key = record.get("partition"), record["key"]
        if number is not None:
            assert 0 <= number < len(self.partitions), f"{self.spec.name} has no partition {number}"
            return number
        if key is None:
            self._turn = (self._turn + 1) % len(self.partitions)
            return self._turn
        return (murmur2(key) & 0x7FFFFFFF) % len(self.partitions)


def murmur2(data: bytes) -> int:
    """The hash by which the Java client places keys, as an unsigned 32-bit integer."""
    words_end = len(data) & ~3
    digest = 0x9747B28C ^ len(data)
    for (word,) in _WORD.iter_unpack(data[:words_end]):
        mixed = (word * _MULTIPLIER) & _MASK
        mixed = ((mixed ^ (mixed >> 24)) * _MULTIPLIER) & _MASK
        digest = ((digest * _MULTIPLIER) & _MASK) ^ mixed
    if words_end != len(data):
        digest = ((digest ^ int.from_bytes(data[words_end:], "little")) * _MULTIPLIER) & _MASK
    digest = ((digest ^ (digest >> 13)) * _MULTIPLIER) & _MASK
    return digest ^ (digest >> 15)
