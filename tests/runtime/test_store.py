"""The stores: in memory and over RocksDB, alike; and what only the one on disk has to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_triggers.errors import Corrupt, Misconfigured, StateInUse
from stream_triggers.runtime.rocksdb import RocksStore
from stream_triggers.runtime.store import Changes, MemoryStore, Store
from tests.runtime.store_suite import StoreSuite


class TestMemoryStore(StoreSuite):
    """The suite over the store in memory."""

    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()


class TestRocksStore(StoreSuite):
    """The suite over RocksDB."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        store = RocksStore(tmp_path / "store")
        yield store
        store.close()


def filled(path: Path) -> RocksStore:
    """A store with something in two columns."""
    store = RocksStore(path)
    store.apply(Changes(puts=[("a", b"1", b"one"), ("b", b"2", b"two")]))
    return store


def test_a_store_opened_again_has_what_was_applied(tmp_path: Path) -> None:
    filled(tmp_path).close()
    store = RocksStore(tmp_path)
    assert store.columns() == {"a", "b"}
    assert store.get_many("a", [b"1"]) == [b"one"]
    assert store.get_many("b", [b"2"]) == [b"two"]
    store.close()


def test_a_dropped_column_stays_dropped(tmp_path: Path) -> None:
    store = filled(tmp_path)
    store.drop("a")
    store.close()
    store = RocksStore(tmp_path)
    assert store.columns() == {"b"}
    store.close()


def test_missing_directories_are_made(tmp_path: Path) -> None:
    filled(tmp_path / "application" / "slot").close()
    assert (tmp_path / "application" / "slot" / "CURRENT").exists()


_WRITES_UNTIL_KILLED = """
import sys
from pathlib import Path
from stream_triggers.runtime.rocksdb import RocksStore
from stream_triggers.runtime.store import Changes

store = RocksStore(Path(sys.argv[1]))
for number in range(1_000_000):
    key = number.to_bytes(4, "big")
    store.apply(Changes(puts=[("a", key, b"x" * 100), ("b", b"last", key)]))
    print(number, flush=True)
"""


def test_a_killed_process_leaves_all_that_was_applied_and_no_half_of_anything(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _WRITES_UNTIL_KILLED, str(tmp_path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(500)]
        os.kill(process.pid, signal.SIGKILL)
    store = RocksStore(tmp_path)
    keys = [key for key, _ in store.scan("a", b"", b"\xff" * 5)]
    assert keys == [number.to_bytes(4, "big") for number in range(len(keys))]
    assert len(keys) > told[-1]
    assert store.get_many("b", [b"last"]) == [keys[-1]]
    store.close()


def test_a_directory_belongs_to_one_open_store(tmp_path: Path) -> None:
    first = filled(tmp_path)
    with pytest.raises(StateInUse, match=f"the state in {tmp_path} is in use by another process"):
        RocksStore(tmp_path)
    first.close()
    RocksStore(tmp_path).close()


def test_a_directory_of_another_process_is_unavailable_too(tmp_path: Path) -> None:
    store = filled(tmp_path)
    script = (
        "import sys, pathlib; from stream_triggers.runtime.rocksdb import RocksStore as R; R(pathlib.Path(sys.argv[1]))"
    )
    answer = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "StateInUse: the state in" in answer.stderr
    store.close()


def test_closing_ends_scans_that_are_still_read_and_frees_the_directory(tmp_path: Path) -> None:
    store = filled(tmp_path)
    begun, not_begun = store.scan("a", b"", b"\xff"), store.scan("b", b"", b"\xff")
    assert next(begun) == (b"1", b"one")
    store.close()
    assert list(begun) == []
    assert list(not_begun) == []
    RocksStore(tmp_path).close()


@pytest.mark.parametrize("name", ["CURRENT", "MANIFEST-*"])
def test_unreadable_files_are_corrupt_and_the_hint_says_what_to_do(tmp_path: Path, name: str) -> None:
    filled(tmp_path).close()
    for damaged in tmp_path.glob(name):
        damaged.write_bytes(b"damaged")
    with pytest.raises(Corrupt, match=f"the state in {tmp_path} is unreadable") as raised:
        RocksStore(tmp_path)
    assert raised.value.hint == "delete the directory: the changelog restores what was in it"


def test_a_data_file_that_is_damaged_is_found_when_it_is_read(tmp_path: Path) -> None:
    store = RocksStore(tmp_path, write_buffer_bytes=256 * 1024)
    keys = [number.to_bytes(4, "big") for number in range(2000)]
    for key in keys:
        store.apply(Changes(puts=[("a", key, os.urandom(200))]))
    store.close()
    for table in tmp_path.glob("*.sst"):
        content = bytearray(table.read_bytes())
        content[: len(content) // 2] = bytes(len(content) // 2)
        table.write_bytes(content)
    with pytest.raises(Corrupt):
        RocksStore(tmp_path).get_many("a", keys)


def test_a_place_that_is_no_directory_is_the_operators_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match="cannot be used") as raised:
        RocksStore(tmp_path / "file" / "store")
    assert "must be on a working disk" in raised.value.hint


def test_memory_stays_within_its_bounds(tmp_path: Path) -> None:
    """Much more is written than the buffers hold: it is on disk, and found there."""
    store = RocksStore(tmp_path, block_cache_bytes=1024 * 1024, write_buffer_bytes=1024 * 1024)
    columns = [f"claims-{number}" for number in range(4)]
    for start in range(0, 40_000, 500):
        keys = [number.to_bytes(16, "big") for number in range(start, start + 500)]
        store.apply(Changes(puts=[(column, key, b"") for column in columns for key in keys]))
    on_disk = sum(table.stat().st_size for table in tmp_path.glob("*.sst"))
    in_log = sum(log.stat().st_size for log in tmp_path.glob("*.log"))
    assert on_disk > 500_000
    assert in_log < 4_000_000
    assert store.get_many("claims-0", [b"\0" * 16, b"\xff" * 16]) == [b"", None]
    store.close()


def out_of_space(path: Path) -> RocksStore:
    """A store whose next log files find the disk full: these can be written to no more, and are never waited for."""
    store = RocksStore(path, write_buffer_bytes=1024 * 1024)
    store.apply(Changes(puts=[("a", b"1", b"one")]))
    for number in range(100):
        file = path / f"{number:06}.log"
        if not file.exists():
            file.symlink_to("/dev/full")
    return store


def fill(store: RocksStore) -> None:
    """Write more than one log file takes."""
    for _ in range(100):
        store.apply(Changes(puts=[("a", os.urandom(16), os.urandom(100)) for _ in range(1000)]))


def test_a_full_disk_is_told_as_such_and_by_nothing_that_comes_of_it(tmp_path: Path) -> None:
    store = out_of_space(tmp_path)
    with pytest.raises(Misconfigured, match="there is no space left for the state in"):
        fill(store)
    store.close()
