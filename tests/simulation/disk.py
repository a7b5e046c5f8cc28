"""A machine's disk: a store that survives the process, may lose its newest changes, and knows who has it open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from stream_triggers.errors import Unavailable
from stream_triggers.runtime.store import Changes, MemoryStore


class Disk:
    """What a slot's state directory holds, one change after the other."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self._opened: OpenStore | None = None
        self._journal: list[Callable[[MemoryStore], None]] = []

    @property
    def is_open(self) -> bool:
        return self._opened is not None

    def open(self, watch: Callable[[Changes], None]) -> OpenStore:
        """Open the store; ``Unavailable`` while another process has it open, as RocksDB's lock has it."""
        if self._opened is not None:
            raise Unavailable("the store is in use", hint="its process has to end first")
        self._opened = OpenStore(self, watch)
        return self._opened

    def change(self, step: Callable[[MemoryStore], None]) -> None:
        """Make one change, and remember it."""
        step(self.store)
        self._journal.append(step)

    def lose_newest(self, changes: int) -> None:
        """The machine has crashed: the newest ``changes`` had not reached the disk."""
        assert self._opened is None, "the process of a crashed machine is dead"
        self._journal = self._journal[: max(0, len(self._journal) - changes)]
        self.store = MemoryStore()
        for step in self._journal:
            step(self.store)

    def release(self, opened: OpenStore) -> None:
        """Whoever had it open is gone."""
        assert self._opened is opened, "somebody else has it open"
        self._opened = None


class OpenStore:
    """The store as one process has it open; ``watch`` sees every change before it is made."""

    def __init__(self, disk: Disk, watch: Callable[[Changes], None]) -> None:
        self._disk = disk
        self._watch = watch
        self._is_open = True

    def get_many(self, column: str, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._store.get_many(column, keys)

    def scan(self, column: str, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        return self._store.scan(column, start, end)

    def apply(self, changes: Changes) -> None:
        assert self._is_open, "the store is closed"
        self._watch(changes)
        self._disk.change(lambda store: store.apply(changes))

    def columns(self) -> frozenset[str]:
        return self._store.columns()

    def drop(self, column: str) -> None:
        assert self._is_open, "the store is closed"
        self._disk.change(lambda store: store.drop(column))

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._disk.release(self)

    @property
    def _store(self) -> MemoryStore:
        assert self._is_open, "the store is closed"
        return self._disk.store
