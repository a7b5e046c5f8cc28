"""What has been read, on disk, sorted by what belongs together.

Everything that a message asks for and everything that a worker has written becomes a row. Rows of one run id, or of one
message, stand side by side when the ledger is read, whatever order they came in.

    runs     run id | place | offset | mark | own position  ->  digest | time | trigger id [| run id]
    notices  place | offset | mark | run id, stage and trigger id, or own position  ->  digest | stage | trigger id

A place is a number: an input partition's, or, behind all of those, a partition's of ``invocations``. Rows of what was
found end with where it was found, so that the same record twice is two rows; what is expected is expected once.

Rules:
1. Memory holds one batch of rows. The rest is in a directory that is gone afterwards.
2. Marks are in the order in which a judge needs to know: that something fired here before what asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple, TypeAlias

from stream_triggers.core.invocation import RUN_ID_BYTES
from stream_triggers.runtime.store import Store
from stream_triggers.verify.buffer import Buffer

RUNS, NOTICES = "runs", "notices"

INVOCATIONS_PLACE = 1 << 31
"""The place of partition 0 of ``invocations``; those of its other partitions follow."""

DIGEST_BYTES = 16
NO_DIGEST = bytes(DIGEST_BYTES)

Item: TypeAlias = tuple[bytes, bytes]
"""Key and value of a row."""


class Mark(IntEnum):
    """What a row says about its run id or message."""

    RECORDED = 0
    """A run record names it."""
    SUPPRESSED = 1
    """A decision says that it is a repeat."""
    ASKED = 2
    """A trigger has matched it; the digest is that of the invocation it must lead to."""
    FAILS = 3
    """A trigger has matched it, and its arguments cannot be made of it."""
    HELD = 4
    """A trigger has matched it that meets the keyed stage because it is or was paused."""
    FIRED = 5
    """An invocation; the digest is its own."""
    DUE = 6
    """A decision and a dead letter, or for stage ``decode`` a dead letter, must be there."""
    DECIDED = 7
    """A decision that a trigger could not handle it."""
    LETTER = 8
    """A dead letter; the digest is that of the bytes it keeps."""


class Found(NamedTuple):
    """Where a row's own record stands: its partition and offset."""

    partition: int
    offset: int


_RUN = Struct(f">{RUN_ID_BYTES}sIQB")
_MESSAGE = Struct(">IQB")
_FOUND = Struct(">IQ")
_VALUE = Struct(f">{DIGEST_BYTES}sQ")

RUN_KEY_MARK = _RUN.size - 1
"""Where in a key of ``runs`` the mark is; place and offset stand before it."""


class RunRow(NamedTuple):
    """A row of ``runs``; ``run_id`` is empty where the key's hexadecimal form is the run id."""

    place: int
    offset: int
    mark: int
    found: Found | None
    digest: bytes
    time_ms: int
    trigger_id: str
    run_id: str


class NoticeRow(NamedTuple):
    """A row of ``notices``."""

    place: int
    offset: int
    mark: int
    found: Found | None
    digest: bytes
    stage: str
    trigger_id: str


class Ledger:
    """Writes rows, and reads them in order."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._buffer = Buffer(store)
        self.rows = {RUNS: 0, NOTICES: 0}
        """How many rows were written."""

    def expect(
        self, run: bytes, place: int, offset: int, mark: Mark, digest: bytes, trigger_id: str, time_ms: int = 0
    ) -> None:
        """A message, which came at ``time_ms`` where that matters, asks for a run."""
        key, value = _RUN.pack(run, place, offset, mark), _VALUE.pack(digest, max(0, time_ms))
        self._put(RUNS, key, value + trigger_id.encode())

    def find(
        self,
        run_id: str,
        place: int,
        offset: int,
        mark: Mark,
        found: Found,
        *,
        digest: bytes = NO_DIGEST,
        time_ms: int = 0,
        trigger_id: str = "",
    ) -> None:
        """A record speaks of a run."""
        run, rest = run_key(run_id)
        key = _RUN.pack(run, place, offset, mark) + _FOUND.pack(*found)
        self._put(RUNS, key, _VALUE.pack(digest, max(0, time_ms)) + trigger_id.encode() + rest)

    def expect_notice(self, run: bytes, place: int, offset: int, stage: str, trigger_id: str, digest: bytes) -> None:
        """A message must have been reported, once for each run that it would have made."""
        name = f"{stage}\0{trigger_id}".encode()
        self._put(NOTICES, _MESSAGE.pack(place, offset, Mark.DUE) + run + name, digest + name)

    def find_notice(
        self, place: int, offset: int, mark: Mark, found: Found, stage: str, trigger_id: str, digest: bytes = NO_DIGEST
    ) -> None:
        """A record reports a message."""
        key = _MESSAGE.pack(place, offset, mark) + _FOUND.pack(*found)
        self._put(NOTICES, key, digest + f"{stage}\0{trigger_id}".encode())

    def read(self, column: str) -> Iterator[Item]:
        """The rows of a column in order, as they are now; ``run_row`` and ``notice_row`` say what they mean."""
        self._buffer.flush()
        return self.store.scan(column, b"", b"\xff" * (_RUN.size + 1))

    def _put(self, column: str, key: bytes, value: bytes) -> None:
        self.rows[column] += 1
        self._buffer.put(column, key, value)


def run_key(run_id: str) -> tuple[bytes, bytes]:
    """What rows of a run id begin with, and what their values end with to say it where the key does not."""
    try:
        run = bytes.fromhex(run_id)
    except ValueError:
        run = b""
    if len(run) == RUN_ID_BYTES and run.hex() == run_id:
        return run, b""
    name = run_id.encode()
    return blake2b(name, digest_size=RUN_ID_BYTES).digest(), b"\0" + name


def run_of(item: Item) -> bytes:
    """What the rows of one run id have in common."""
    return item[0][:RUN_ID_BYTES]


def run_row(item: Item) -> RunRow:
    """The meaning of a row of ``runs``."""
    key, value = item
    _, place, offset, mark = _RUN.unpack_from(key)
    digest, time_ms = _VALUE.unpack_from(value)
    trigger_id, _, run_id = value[_VALUE.size :].decode().partition("\0")
    return RunRow(place, offset, mark, _found(key, _RUN.size, mark), digest, time_ms, trigger_id, run_id)


def message_of(item: Item) -> bytes:
    """What the rows about one message have in common."""
    return item[0][: _MESSAGE.size - 1]


def notice_row(item: Item) -> NoticeRow:
    """The meaning of a row of ``notices``."""
    key, value = item
    place, offset, mark = _MESSAGE.unpack_from(key)
    stage, _, trigger_id = value[DIGEST_BYTES:].decode().partition("\0")
    found = _found(key, _MESSAGE.size, mark)
    return NoticeRow(place, offset, mark, found, value[:DIGEST_BYTES], stage, trigger_id)


def _found(key: bytes, at: int, mark: int) -> Found | None:
    return None if mark in _EXPECTED else Found(*_FOUND.unpack_from(key, at))


_EXPECTED = (Mark.ASKED, Mark.FAILS, Mark.HELD, Mark.DUE)


def is_plain(first: Item, second: Item, third: Item) -> bool:
    """Whether three rows of one run id say: recorded and asked for at one position, and fired as it must be."""
    recorded, asked, fired = first[0], second[0], third[0]
    return (
        asked[RUN_KEY_MARK] == Mark.ASKED
        and recorded[RUN_KEY_MARK] == Mark.RECORDED
        and fired[RUN_KEY_MARK] == Mark.FIRED
        and recorded[:RUN_KEY_MARK] == asked[:RUN_KEY_MARK]
        and second[1][:DIGEST_BYTES] == third[1][:DIGEST_BYTES]
    )
