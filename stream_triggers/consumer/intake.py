"""One member of a group that consumes invocations: what it owns, what it has done, and how that is committed.

Rules:
1. A transaction begins only when everything in it is known: no function runs inside one, so no function can make one
   time out.
2. One record is read at a time. Nothing that was read waits behind a slow function, and a revocation finds nothing
   half done: it commits what is done; whatever was not read goes to the new owner.
3. Outputs and the position behind their invocation are committed together, with the membership that was in force when
   the partition was assigned. Partitions that are lost take their outputs with them.
4. A refused or unknown commit does not run anything again: its batch is kept as it is and offered once more while the
   partitions are ours. Only when that fails too is the input read again from the last commit.
5. A record that is no invocation becomes a dead letter, in the transaction that passes it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple, TypeAlias

from stream_triggers.config import Config
from stream_triggers.core.invocation import Invocation
from stream_triggers.errors import Aborted, Fenced, InvalidMessage, Unavailable, Unsettled
from stream_triggers.runtime.clock import Clock
from stream_triggers.runtime.codec import decode
from stream_triggers.runtime.dead_letters import dead_letter
from stream_triggers.runtime.log import Log, Membership, Outgoing, Record, TopicPartition, partition_of
from stream_triggers.runtime.topics import Topics
from stream_triggers.runtime.transaction import Transaction
from stream_triggers.telemetry import LogEvent, log

logger = logging.getLogger(__name__)

Output: TypeAlias = tuple[str, Outgoing]
"""A topic, and a record to write to it."""

COMMIT_ATTEMPTS_MAX = 3
"""Times that the same batch is offered before its invocations are read again."""

COMMITTED_TIMEOUT_S = 5.0
"""Longest wait for committed positions at a time; a predecessor's open transaction delays them."""


class Taken(NamedTuple):
    """An invocation that was read, and the record it was in."""

    record: Record
    invocation: Invocation


class _Outcome(Enum):
    COMMITTED = auto()
    REFUSED = auto()
    LATER = auto()


@dataclass(slots=True)
class _Batch:
    """What is done and not committed: positions, and what is to be written, per input partition."""

    next_offsets: dict[TopicPartition, int] = field(default_factory=dict)
    outputs: dict[TopicPartition, list[Output]] = field(default_factory=dict)
    records: int = 0
    size_bytes: int = 0
    began_s: float = 0.0
    is_unknown: bool = False
    """A commit of it was tried, and the answer did not come."""

    def by_topic(self) -> dict[str, list[Outgoing]]:
        """The outputs, in copies: a producer keeps what it gets, and the same may be needed once more."""
        found: dict[str, list[Outgoing]] = {}
        for outputs in self.outputs.values():
            for topic, output in outputs:
                found.setdefault(topic, []).append(output.copy())
        return found

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            self.next_offsets.pop(partition, None)
            self.outputs.pop(partition, None)
        if not self.next_offsets:
            self.records = self.size_bytes = 0


class Intake:
    """Reads invocations as a member of a group, and commits positions together with what came of them.

    ``from_start`` says where a group begins that never committed: at the first record kept, else after the last one.
    """

    def __init__(self, log: Log, topics: Topics, clock: Clock, config: Config, *, from_start: bool = True) -> None:
        self._log = log
        self._topics = topics
        self._clock = clock
        self._config = config
        self._from_start = from_start
        self._member = log.member()
        self._transaction = Transaction(log, clock)
        self._membership: Membership | None = None
        self._owned: set[TopicPartition] = set()
        self._to_start: set[TopicPartition] = set()
        self._batch = _Batch()
        self._sealed: _Batch | None = None
        self._taken: Taken | None = None

    def open(self) -> None:
        """Settle what a predecessor of the same name left open, and join the group.

        May be called again after ``Unavailable``.
        """
        self._transaction.ready()
        self._member.subscribe([self._topics.invocations], self)

    def read(self, timeout_s: float) -> Taken | None:
        """The next invocation, or None when none came within ``timeout_s``; changes of ownership happen in here.

        One that was read and is not done comes again. What is done is committed first when it is due, and also when
        nothing waits to be read.
        """
        self._transaction.serve()
        if self._due():
            self.commit()
        if self._taken is not None:
            return self._taken
        if self._to_start:
            self._start()
        can_commit = self._batch.next_offsets and self._transaction.ready()
        records = self._member.poll(1, 0.0 if can_commit else timeout_s)
        if not records:
            self.commit()
            return None
        record = records[0]
        if partition_of(record) not in self._owned - self._to_start:
            return None
        try:
            self._taken = Taken(record, decode(record.value(), (Invocation,)))
        except InvalidMessage as error:
            place = {"topic": record.topic(), "partition": record.partition(), "offset": record.offset()}
            log(logger, "message rejected", **place, error=error.message)
            self.done(record, [(self._topics.dead_letters, dead_letter(record, "decode", error.message))])
        return self._taken

    def done(self, record: Record, outputs: Iterable[Output] = ()) -> None:
        """Note that ``record`` is dealt with, and what is to be written, by topic, in the transaction that says so."""
        partition = partition_of(record)
        assert partition in self._owned, f"{partition} is not ours"
        self._pass(partition, record.offset() + 1)
        kept = self._batch.outputs.setdefault(partition, [])
        for topic, output in outputs:
            kept.append((topic, output))
            self._batch.size_bytes += len(output["value"] or b"")
        self._batch.records += 1
        self._taken = None

    def commit(self) -> bool:
        """Commit what is done, if anything is; False when that was refused, and its records are read again instead.

        What cannot be committed at this moment is kept for the next call. Raises ``Unavailable``.
        """
        while batch := self._oldest():
            outcome = self._settle(batch)
            if outcome is _Outcome.LATER:
                break
            self._sealed = None
            if outcome is _Outcome.REFUSED:
                self._batch = _Batch()
                self._taken = None
                self._to_start |= self._owned
                return False
        return True

    def close(self) -> None:
        """Leave the group; what is done and not committed is left to whoever reads it again."""
        self._member.close()
        self._transaction.give_up()

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        self._membership = self._member.membership()
        self._owned.update(partitions)
        self._to_start.update(partitions)

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        try:
            self.commit()
        finally:
            self.lost(partitions)

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        for batch in filter(None, (self._sealed, self._batch)):
            batch.drop(partitions)
        if self._sealed and not self._sealed.next_offsets:
            self._sealed = None
        self._owned.difference_update(partitions)
        self._to_start.difference_update(partitions)

    def _due(self) -> bool:
        if self._sealed or not self._batch.next_offsets:
            return self._sealed is not None
        is_much = (
            self._batch.records >= self._config.batch_records_max
            or self._batch.size_bytes >= self._config.overlay_bytes_max
        )
        return is_much or (self._clock.monotonic_s() - self._batch.began_s) * 1000 >= self._config.commit_interval_ms

    def _pass(self, partition: TopicPartition, next_offset: int) -> None:
        if not self._batch.next_offsets:
            self._batch.began_s = self._clock.monotonic_s()
        self._batch.next_offsets[partition] = next_offset

    def _start(self) -> None:
        """Begin reading partitions that are new, or are to be read again, where the group stands."""
        try:
            committed = self._member.committed(self._to_start, COMMITTED_TIMEOUT_S)
        except Unavailable as error:
            # A predecessor's transaction is still open. The caller reads again, which keeps us in the group.
            log(logger, "kafka unavailable", error=error.message, pause_s=0)
            return
        kept = self._log.start_offsets(self._to_start)
        ends = {} if self._from_start else self._log.end_offsets(self._to_start)
        begin: dict[TopicPartition, int] = {}
        for partition, offset in committed.items():
            if offset is None:
                begin[partition] = ends.get(partition, kept[partition])
                # Kept as the group's position: else a restart would skip what comes until the first commit.
                self._pass(partition, begin[partition])
                continue
            begin[partition] = max(offset, kept[partition])
            if offset < kept[partition]:
                where = {**partition._asdict(), "offset": offset, "next_offset": kept[partition]}
                log(logger, "records deleted unread", **where)
        self._member.start(begin)
        self._to_start.clear()

    def _oldest(self) -> _Batch | None:
        """The batch to commit next, closed to additions: what is asked about later must be what was sent."""
        if self._sealed is None and self._batch.next_offsets:
            self._sealed, self._batch = self._batch, _Batch()
        return self._sealed

    def _settle(self, batch: _Batch) -> _Outcome:
        for _ in range(COMMIT_ATTEMPTS_MAX):
            if not self._transaction.ready():
                return _Outcome.LATER
            try:
                if not self._is_committed(batch):
                    self._transact(batch)
                return _Outcome.COMMITTED
            except (Aborted, Unsettled, Fenced, Unavailable) as error:
                batch.is_unknown = not isinstance(error, Aborted)
                event: LogEvent = "transaction unsettled" if batch.is_unknown else "transaction aborted"
                log(logger, event, error=error.message)
                self._transaction.give_up(fenced=isinstance(error, Fenced))
                if isinstance(error, Unavailable):
                    raise
        return _Outcome.REFUSED

    def _is_committed(self, batch: _Batch) -> bool:
        """Whether a commit whose answer did not come took place; it moved all its positions, or none."""
        if not batch.is_unknown:
            return False
        committed = self._member.committed(batch.next_offsets, COMMITTED_TIMEOUT_S)
        batch.is_unknown = False
        return all((committed[at] or 0) >= offset for at, offset in batch.next_offsets.items())

    def _transact(self, batch: _Batch) -> None:
        assert self._membership is not None, "nothing is done before partitions were assigned"
        assert batch.next_offsets.keys() <= self._owned, "positions of partitions that are not owned"
        for topic, records in batch.by_topic().items():
            self._transaction.produce(topic, records)
        self._transaction.commit(batch.next_offsets, self._membership)
