"""The keyed store as the runtime needs it, and one in memory.

Rules:
1. One store belongs to one worker slot. Keys live in named columns; a whole column can be dropped at once.
2. ``apply`` is atomic: after a crash all of a ``Changes`` is there, or none.
3. The store may lag the log, never lead: only ``apply`` writes, and only after the log has committed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True)
class Changes:
    """What one commit changes: ``puts`` and ``deletes`` as ``(column, key[, value])``, applied in that order."""

    puts: list[tuple[str, bytes, bytes]] = field(default_factory=list)
    deletes: list[tuple[str, bytes]] = field(default_factory=list)


class Store(Protocol):
    """A keyed store of bytes."""

    def get_many(self, column: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of ``keys`` in their order, None where there is none (also for a column never written)."""
        ...

    def scan(self, column: str, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys from ``start`` (included) to ``end`` (excluded) in byte order, as the store is now."""
        ...

    def apply(self, changes: Changes) -> None:
        """Write all of ``changes`` or, on a crash, none; columns that do not exist are created."""
        ...

    def columns(self) -> frozenset[str]:
        """Names of the columns that exist."""
        ...

    def drop(self, column: str) -> None:
        """Forget a column and all its keys at once; nothing happens if it does not exist."""
        ...

    def close(self) -> None:
        """Release files and locks; what was applied stays."""
        ...


class MemoryStore:
    """A ``Store`` in memory, for tests and simulations; ``crash`` is simply keeping the object."""

    def __init__(self) -> None:
        self._values: dict[str, dict[bytes, bytes]] = {}
        self._order: dict[str, list[bytes]] = {}

    def get_many(self, column: str, keys: Sequence[bytes]) -> list[bytes | None]:
        values = self._values.get(column, {})
        return [values.get(key) for key in keys]

    def scan(self, column: str, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        order = self._order.get(column, [])
        keys = order[bisect_left(order, start) : bisect_left(order, end)]
        return iter([(key, self._values[column][key]) for key in keys])

    def apply(self, changes: Changes) -> None:
        for column, key, value in changes.puts:
            values = self._values.setdefault(column, {})
            if key not in values:
                insort(self._order.setdefault(column, []), key)
            values[key] = value
        for column, key in changes.deletes:
            if self._values.get(column, {}).pop(key, None) is not None:
                order = self._order[column]
                del order[bisect_left(order, key)]

    def columns(self) -> frozenset[str]:
        return frozenset(self._values)

    def drop(self, column: str) -> None:
        self._values.pop(column, None)
        self._order.pop(column, None)

    def close(self) -> None:
        """Nothing to release."""
