"""The keyed store over RocksDB; nothing else imports ``rocksdict``.

Rules:
1. A change is in the write-ahead log before ``apply`` returns, and the log is not fsynced: a crash of the process
   loses nothing, a crash of the machine loses the newest changes, never a part of one. The changelog brings them back.
2. Memory is bounded whatever the number of columns: one block cache, which also holds indexes and filters, and one
   write buffer budget for all of them.
3. A directory belongs to one open store. RocksDB's own lock says so, also to other processes; it is released only
   when nothing that reads from the store is left, so ``close`` ends scans that are still being read.
4. Of failures the first one is told. Whatever closing a store that has failed comes to is the same failure in other
   words, and would hide the first.

A claim is nearly always new, so the common question is for a key that is not there. Bloom filters answer it without
looking at keys, in files and (whole key filtering) in the write buffer too: 0.3 microseconds instead of 1.5. The
hyper clock cache is what lets several reads of filters in the cache be that fast; an LRU cache takes 2.5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakSet

from rocksdict import BlockBasedOptions, Cache, ColumnFamily, DBCompressionType, Options, Rdict, ReadOptions, WriteBatch

from stream_triggers.errors import Corrupt, Misconfigured, StateInUse, StreamTriggersError
from stream_triggers.runtime.store import Changes

BLOCK_CACHE_BYTES = 64 * 1024 * 1024
WRITE_BUFFER_BYTES = 64 * 1024 * 1024

_DEFAULT_COLUMN = "default"
"""RocksDB always has this column; the store does not use it."""

_COLUMN_BUFFERS = 4
"""A column's write buffer is flushed when it has this share of the budget, so a few busy columns fit side by side."""

_BLOOM_BITS_PER_KEY = 10
"""One absent key in a hundred is looked for in vain."""

_MEMTABLE_BLOOM_RATIO = 0.05
"""Share of a column's write buffer that its filter takes: about 30 bits a key for keys of 30 bytes without values."""

_OPEN_FILES_MAX = 500
"""Half of the file descriptors a process usually may have."""


class RocksStore:
    """A ``Store`` in one directory of the local disk."""

    def __init__(
        self,
        path: Path,
        *,
        block_cache_bytes: int = BLOCK_CACHE_BYTES,
        write_buffer_bytes: int = WRITE_BUFFER_BYTES,
    ) -> None:
        """Open the store in ``path``, or make it.

        Raises ``StateInUse`` while another open store has the directory, ``Corrupt`` when its files are unreadable.
        """
        self._path = path
        self._has_failed = False
        self._options = _options(block_cache_bytes, write_buffer_bytes)
        self._columns: dict[str, Any] = {}
        self._handles: dict[str, ColumnFamily] = {}
        self._scans: WeakSet[_Scan] = WeakSet()
        try:
            existing = Rdict.list_cf(str(path)) if (path / "CURRENT").exists() else [_DEFAULT_COLUMN]
            self._db = Rdict(str(path), self._options, column_families=dict.fromkeys(existing, self._options))
            for column in set(existing) - {_DEFAULT_COLUMN}:
                self._adopt(column, self._db.get_column_family(column))
        except Exception as error:  # rocksdict raises nothing more specific
            raise self._sorted(error) from error

    def get_many(self, column: str, keys: Sequence[bytes]) -> list[bytes | None]:
        stored = self._columns.get(column)
        if stored is None:
            return [None] * len(keys)
        try:
            values: list[bytes | None] = stored.get(keys if isinstance(keys, list) else list(keys))
        except Exception as error:
            raise self._sorted(error) from error
        return values

    def scan(self, column: str, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        stored = self._columns.get(column)
        if stored is None or start >= end:
            return iter(())
        bounds = ReadOptions()
        bounds.set_iterate_upper_bound(end)
        try:
            scan = _Scan(stored.items(from_key=start, read_opt=bounds), bounds, self._sorted)
        except Exception as error:
            raise self._sorted(error) from error
        self._scans.add(scan)
        return scan

    def apply(self, changes: Changes) -> None:
        try:
            for column in {column for column, _, _ in changes.puts} - self._columns.keys():
                self._adopt(column, self._db.create_column_family(column, self._options))
            handles = self._handles
            batch = WriteBatch(raw_mode=True)
            put = batch.put
            for column, key, value in changes.puts:
                put(key, value, handles[column])
            for column, key in changes.deletes:
                if column in handles:
                    batch.delete(key, handles[column])
            self._db.write(batch)
        except Exception as error:
            raise self._sorted(error) from error

    def columns(self) -> frozenset[str]:
        return frozenset(self._columns)

    def drop(self, column: str) -> None:
        stored = self._columns.pop(column, None)
        if stored is None:
            return
        del self._handles[column]
        stored.close()
        try:
            self._db.drop_column_family(column)
        except Exception as error:
            raise self._sorted(error) from error

    def close(self) -> None:
        for scan in list(self._scans):
            scan.close()
        self._handles.clear()
        problems = []
        for opened in [*self._columns.values(), self._db]:
            try:
                opened.close()
            except Exception as error:  # noqa: BLE001 - the others are closed, too, before it is raised
                problems.append(error)
        self._columns.clear()
        if problems and not self._has_failed:
            raise self._sorted(problems[0]) from problems[0]

    def _adopt(self, column: str, stored: Rdict) -> None:
        self._columns[column] = stored
        self._handles[column] = self._db.get_column_family_handle(column)

    def _sorted(self, error: Exception) -> StreamTriggersError:
        """What a failure of RocksDB means for whoever must act; it says so in words only."""
        self._has_failed = True
        text = str(error)
        if "LOCK: " in text:
            return StateInUse(
                f"the state in {self._path} is in use by another process",
                hint="two processes have the same application and slot: stop one, or give it another slot",
            )
        if "Corruption" in text or "Not implemented" in text:
            return Corrupt(
                f"the state in {self._path} is unreadable: {text}",
                hint="delete the directory: the changelog restores what was in it",
            )
        if "No space left" in text:
            return Misconfigured(
                f"there is no space left for the state in {self._path}",
                hint="free some and start again: nothing is lost, the changelog has it",
            )
        return Misconfigured(
            f"the state in {self._path} cannot be used: {text}",
            hint="the directory must be on a working disk and belong to the user the worker runs as",
        )


class _Scan(Iterator[tuple[bytes, bytes]]):
    """The rest of a scan; RocksDB's iterator holds the database open for as long as it is there.

    It reads the end of the scan where ``bounds`` has it, and does not keep that alive.
    """

    def __init__(
        self,
        items: Iterator[tuple[bytes, bytes]],
        bounds: ReadOptions,
        sort: Callable[[Exception], StreamTriggersError],
    ) -> None:
        self._items = items
        self._bounds = bounds
        self._sort = sort

    def __next__(self) -> tuple[bytes, bytes]:
        try:
            return next(self._items)
        except StopIteration:
            raise
        except Exception as error:
            raise self._sort(error) from error

    def close(self) -> None:
        self._items = iter(())


def _options(block_cache_bytes: int, write_buffer_bytes: int) -> Options:
    """What the database and every column are opened with."""
    table = BlockBasedOptions()
    table.set_block_cache(Cache.new_hyper_clock_cache(block_cache_bytes, 0))
    table.set_bloom_filter(_BLOOM_BITS_PER_KEY, block_based=False)
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(table)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_db_write_buffer_size(write_buffer_bytes)
    options.set_write_buffer_size(write_buffer_bytes // _COLUMN_BUFFERS)
    options.set_memtable_whole_key_filtering(True)
    options.set_memtable_prefix_bloom_ratio(_MEMTABLE_BLOOM_RATIO)
    options.set_max_total_wal_size(2 * write_buffer_bytes)
    options.set_max_open_files(_OPEN_FILES_MAX)
    options.set_keep_log_file_num(2)
    return options
