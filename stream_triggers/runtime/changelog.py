"""Claims as changelog records, and back.

One record holds all claims that one transaction made for one input partition: key = the partition's next input offset,
a part number and a hash of the value, value = a version byte, the segment (8 bytes, big-endian), the run ids side by
side. So a transaction writes one changelog record per input partition instead of one per run, and restoring reads a
record per transaction. Keys never repeat among committed records of different claims, also where the offset stays as
it is because a trigger catches up with what was there before it; so compaction keeps every record until the topic's
retention, set from the claims' own, drops it.

Where reading continues is kept in the store's ``positions`` column, written with the claims it covers. After a commit
the log does not say at which offset the changelog records landed; the position therefore trails: now and then a
commit asks for the ends before it commits, and writes them with its claims. Reading a record again is harmless:
claims are facts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from stream_triggers.core.invocation import RUN_ID_BYTES
from stream_triggers.errors import Corrupt
from stream_triggers.runtime.claims import Claims
from stream_triggers.runtime.clock import Clock
from stream_triggers.runtime.log import Outgoing, Record, TopicPartition, partition_of
from stream_triggers.runtime.store import Changes, Store

FORMAT = 1
"""The version byte of a claims record; a worker that meets a newer one refuses the partition."""

RUN_IDS_PER_RECORD_MAX = 32_768
"""512 KiB of run ids: half of the broker's default limit for a record."""

LAYOUT = 1
"""How a store is laid out. One of another layout, older or newer, is emptied and filled from the changelogs again."""

POSITIONS = "positions"
"""The store's column of changelog positions: ``topic/partition`` -> next offset, 8 bytes, big-endian."""

SOURCE = "source"
"""The store's column that notes which changelog topics it was filled from."""

_SOURCE_KEY = b"changelogs"
_HASH_BYTES = 8


@dataclass(frozen=True, slots=True)
class ClaimsRecord:
    """One changelog record, read back."""

    segment: int
    run_ids: bytes


def records(next_input_offset: int, segment: int, run_ids: Sequence[bytes], partition: int) -> Iterator[Outgoing]:
    """The changelog records of one transaction's claims for one input ``partition``."""
    for part, start in enumerate(range(0, len(run_ids), RUN_IDS_PER_RECORD_MAX)):
        packed = b"".join(run_ids[start : start + RUN_IDS_PER_RECORD_MAX])
        value = bytes([FORMAT]) + segment.to_bytes(8, "big") + packed
        key = next_input_offset.to_bytes(8, "big") + part.to_bytes(2, "big") + _hash(value)
        yield Outgoing(key=key, value=value, partition=partition)


def parse(record: Record) -> ClaimsRecord:
    """One changelog record's content; ``Corrupt`` when it is none, or of a newer format."""
    value = record.value() or b""
    where = f"{record.topic()}/{record.partition()} at offset {record.offset()}"
    if value[:1] > bytes([FORMAT]):
        raise Corrupt(
            f"{where} has claims format {value[0]}, this release reads up to {FORMAT}",
            hint="a newer release has written here: run that release, or a later one",
        )
    if value[:1] != bytes([FORMAT]) or len(value) < 9 or (len(value) - 9) % RUN_ID_BYTES:
        raise Corrupt(
            f"{where} is not a claims record",
            hint="something else writes to this changelog; give the application a name of its own",
        )
    return ClaimsRecord(int.from_bytes(value[1:9], "big"), value[9:])


def forget_other_changelogs(store: Store, topic_ids: Mapping[str, str]) -> None:
    """Empty a ``store`` of another layout, or filled from other topics than these: of a cluster gone or made anew.

    A crash in the middle leaves less in the store and its old note, so the next start begins again.
    """
    topics = [f"{name} {topic_id}" for name, topic_id in sorted(topic_ids.items())]
    now = "\n".join([f"layout {LAYOUT}", *topics]).encode()
    if store.get_many(SOURCE, [_SOURCE_KEY]) != [now]:
        for column in store.columns() - {SOURCE}:
            store.drop(column)
        store.apply(Changes(puts=[(SOURCE, _SOURCE_KEY, now)]))


def read_positions(store: Store, changelogs: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """Where to continue reading each changelog; those never read are missing."""
    stored = store.get_many(POSITIONS, [_position_key(changelog) for changelog in changelogs])
    return {
        changelog: int.from_bytes(value, "big")
        for changelog, value in zip(changelogs, stored, strict=True)
        if value is not None
    }


def write_positions(changes: Changes, positions: Mapping[TopicPartition, int]) -> None:
    """Add to ``changes`` that each changelog has been applied up to its position."""
    changes.puts.extend((POSITIONS, _position_key(tp), offset.to_bytes(8, "big")) for tp, offset in positions.items())


def restored(
    claims: Claims, inputs: Mapping[TopicPartition, TopicPartition], batch: Iterable[Record], now_ms: int
) -> Changes:
    """What a batch of changelog records changes in the store; ``inputs`` leads from changelog to input partition."""
    changes = Changes()
    for record in batch:
        entry = parse(record)
        if not claims.is_expired(entry.segment, now_ms):
            changes.puts += claims.restored(inputs[partition_of(record)], entry.segment, entry.run_ids).puts
    return changes


class ClaimsLog:
    """The claims changelog of one input topic, as ``Restore`` reads it."""

    def __init__(self, claims: Claims, input_topic: str, clock: Clock) -> None:
        self._claims = claims
        self._input_topic = input_topic
        self._clock = clock

    def begin(self, changelog: TopicPartition, position: int | None, end: int) -> int:
        """Where to begin reading a partition that the store has to ``position``: a claim never changes."""
        return position or 0

    def restored(self, batch: Sequence[Record]) -> Changes:
        """What a batch of records changes in the store."""
        inputs = {partition_of(record): TopicPartition(self._input_topic, record.partition()) for record in batch}
        return restored(self._claims, inputs, batch, self._clock.now_ms())


def _hash(value: bytes) -> bytes:
    return blake2b(value, digest_size=_HASH_BYTES).digest()


def _position_key(changelog: TopicPartition) -> bytes:
    return str(changelog).encode()
