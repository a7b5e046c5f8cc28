"""The worker: poll, process, one transaction, apply; and what a change of ownership or a failure does to that.

The protocol it keeps is written down in ``stream_triggers.runtime``; numbers in brackets name its rules.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from stream_triggers.config import Config
from stream_triggers.core.filter import Functions
from stream_triggers.errors import Aborted, Fenced, Unavailable, Unsettled
from stream_triggers.runtime import changelog
from stream_triggers.runtime.clock import Clock
from stream_triggers.runtime.definitions import DefinitionTable
from stream_triggers.runtime.lanes import WAIT_S
from stream_triggers.runtime.local import Local, open_local
from stream_triggers.runtime.log import Log, Membership, Outgoing, Record, Slice, TopicPartition, partition_of, slices
from stream_triggers.runtime.notes import Notes
from stream_triggers.runtime.outputs import Outputs
from stream_triggers.runtime.rounds import work_until
from stream_triggers.runtime.store import Store
from stream_triggers.runtime.topics import Topics
from stream_triggers.runtime.transaction import Transaction
from stream_triggers.telemetry import Counters, log

logger = logging.getLogger(__name__)

IDLE_WAIT_S = 0.2
"""How long an idle worker waits for a message before it looks at definitions and at the request to stop."""

UNREADY_WAIT_S = 0.02
"""The same without a partition that is processed: a poll does not end because partitions were assigned in it."""

NOTE_POSITIONS_EVERY_S = 5.0
"""How often a commit brings up the store's changelog positions; a restart reads again what is after them."""


def no_fault(_point: str) -> None:
    """What happens at a fault point outside of tests: nothing."""


class Worker:
    """One worker process's engine: a member of the group, a transactional producer, a store."""

    def __init__(
        self,
        cluster: Log,
        open_store: Callable[[], Store],
        clock: Clock,
        config: Config,
        functions: Functions,
        *,
        counters: Counters | None = None,
        fault: Callable[[str], None] = no_fault,
    ) -> None:
        """``open_store`` raises ``StateInUse`` while a predecessor still holds the store; ``fault`` is for tests."""
        self._cluster = cluster
        self._open_store = open_store
        self._clock = clock
        self._config = config
        self.counters = counters or Counters()
        self._functions = functions
        self._fault = fault
        self._topics = Topics.of(config)
        self._definitions = DefinitionTable(cluster, self._topics.trigger_definitions, functions)
        self._member = cluster.member()
        self._membership: Membership | None = None
        self._transaction = Transaction(cluster, clock)
        self._local: Local | None = None
        self._owned: set[TopicPartition] = set()
        self._next_offsets: dict[TopicPartition, int] = {}  # of the partitions that are being processed
        self._notes = Notes(clock)
        self._read: dict[TopicPartition, int] = {}  # next offsets that the open transaction has reached
        self._read_since_s = 0.0
        self._is_waited_for = False  # whether it has more than what triggers catch up with
        self._covered: Mapping[TopicPartition, int] = {}  # ends before which no message needs newer definitions
        self._note_positions_at_s = 0.0

    def start(self) -> None:
        """Read the definitions, take over the slot's transactional id, join the group."""
        self._definitions.load()
        self._transaction.ready()
        self._member.subscribe(self._topics.consumed, self)

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set, then commit and leave. Raises ``Fenced``, ``Misconfigured``, ``Corrupt``."""
        try:
            work_until(stop, self.start, lambda: self.run_once(IDLE_WAIT_S))
            self._finish()
        finally:
            self.close()

    def run_once(self, wait_s: float) -> int:
        """One round of the loop; waits at most ``wait_s`` for input. Returns how many messages were processed."""
        self._transaction.serve()
        batch = self._accept(self._member.poll(self._config.batch_records_max, self._patience_s(wait_s)))
        if batch:
            self._guarded(lambda: self._process(self._ready_local(), batch))
        if self._next_offsets:
            self._guarded(lambda: self._look_after(self._ready_local()))
        self._read_lanes(is_idle=not batch)
        if self._commit_is_due(drained=not batch):
            self.commit()
        self._prepare()
        return sum(len(each.records) for each in batch)

    def commit(self) -> None:
        """Commit what has been read and made since the last time; if that fails, go back to what was committed."""
        if self._read and self._local is not None:
            local = self._local
            self._guarded(lambda: self._commit(local))

    def close(self) -> None:
        """Leave without committing: what is not committed is read again by the next owner."""
        self._transaction.give_up()
        self._drop_uncommitted()  # before the member leaves: it may call ``revoked``, which commits what has been read
        self._member.close()
        self._definitions.close()
        if self._local is not None:
            self._local.close()

    # Listener: called from inside Member.poll and Member.close

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Make the partitions ready; the membership of this generation fences all commits until the next one [5]."""
        self._membership = self._member.membership()
        self._owned.update(partitions)
        if self._local is not None:
            self._local.make_ready(partitions)
        log(logger, "partitions assigned", count=len(partitions), partitions=_names(partitions))

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Commit while the partitions are still ours, then let them go [4]."""
        try:
            self.commit()
        except Unavailable as error:
            log(logger, "transaction unsettled", error=error.message)
        self._let_go(partitions)
        log(logger, "partitions revoked", count=len(partitions), partitions=_names(partitions))

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        """Others own the partitions already: drop the transaction and its producer, commit nothing [4]."""
        self._transaction.give_up()
        self._membership = None
        self._drop_uncommitted()
        self._let_go(partitions)
        log(logger, "partitions lost", count=len(partitions), partitions=_names(partitions))

    # The round

    def _finish(self) -> None:
        """Commit a last time, and spare the next start from reading the changelog again."""
        try:
            self._note_positions_at_s = 0.0
            self.commit()
        except Unavailable as error:
            log(logger, "kafka unavailable", error=error.message, pause_s=0)

    def _patience_s(self, wait_s: float) -> float:
        """Wait for input only when nothing else is waiting to be done."""
        local, transaction = self._local, self._transaction
        if transaction.begun or (local is not None and local.is_busy(can_write=not transaction.pauses)):
            return 0.0
        if self._read:
            return min(wait_s, self._config.commit_interval_ms / 1000)
        if not self._next_offsets or local is None:
            return min(wait_s, UNREADY_WAIT_S)
        return min(wait_s, local.keyed.next_due_in_s())

    def _prepare(self) -> None:
        """Everything between input and input: the store, the producer, partitions on their way to be ready."""
        if not self._owned or not self._transaction.ready():
            return
        local = self._local = self._local or self._open_local()
        if local.restore.active:
            local.lanes.expect(local.restore.step())
        if local.lanes.is_waiting:
            self._guarded(lambda: self._use_definitions(local, self._definitions.catch_up()))
            self._begin(local, local.lanes.admit())
        if not self._read:
            local.claims.expire(self._clock.now_ms())

    def _begin(self, local: Local, ready: Mapping[TopicPartition, int]) -> None:
        """Process these partitions from these offsets on."""
        if ready:
            self._next_offsets.update(ready)
            self._notes.need(filter(self._is_input, ready))
            local.keyed.open(ready)
            self._member.start(ready)
            self.counters.restores += len(ready)
            log(logger, "partitions ready", count=len(ready), partitions=_names(tuple(ready)))
            self._read_lanes(is_idle=False)  # those that have nothing to catch up with have joined with the first

    def _open_local(self) -> Local:
        """Open the store once there is something to store; its predecessor's hold ends when it hears of us."""
        local = open_local(
            self._cluster,
            self._member,
            self._open_store,
            self._clock,
            self._config,
            self._definitions,
            self._functions,
            self.counters,
        )
        local.make_ready(self._owned)
        return local

    def _ready_local(self) -> Local:
        assert self._local is not None, "a partition runs only after the store was opened"
        return self._local

    def _accept(self, records: Sequence[Record]) -> list[Slice]:
        """The records that are the next ones of partitions being processed; nearly always all of them.

        Others were fetched before a partition was given up or started again from an earlier offset [6].
        """
        batch = slices(records)
        if not all(self._is_next(each.partition, each.records[0]) for each in batch):
            batch = slices(record for record in records if self._is_next(partition_of(record), record))
        newest = {each.partition: each.records[-1] for each in batch}
        reached = {source: record.offset() + 1 for source, record in newest.items()}
        self._next_offsets.update(reached)
        self._reach(reached)
        if self._local is not None:
            self._local.keyed.note(newest)
        return batch

    def _reach(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """The open transaction, or a new one, includes positions up to these."""
        if next_offsets and not self._read:
            self._read_since_s = self._clock.monotonic_s()
            self._covered = {}
            self._is_waited_for = False
        self._read.update(next_offsets)

    def _is_next(self, partition: TopicPartition, record: Record) -> bool:
        expected = self._next_offsets.get(partition)
        return expected is not None and record.offset() >= expected

    def _process(self, local: Local, batch: Sequence[Slice]) -> None:
        """Make the outputs of ``batch`` and hand them to the producer, within the open transaction."""
        self._follow_definitions(local)
        self._is_waited_for = True
        outputs = local.process(batch)
        outputs.runs += self._notes_for(local, batch)
        self._write(outputs)
        self._fault("processed")

    def _look_after(self, local: Local) -> None:
        """Write what is due without any input, and pass what is none; whatever is written sends positions, too [7]."""
        self._use_definitions(local, self._definitions.take_arrived())
        outputs, passed = local.keyed.look_after(self._next_offsets)
        self._next_offsets.update(passed)
        if passed or not outputs.is_empty:
            self._reach(passed if outputs.is_empty else self._next_offsets)
            self._is_waited_for = True
            self._write(outputs)

    def _read_lanes(self, *, is_idle: bool) -> None:
        """Let triggers that started in the past read on a little [7]."""
        if self._local is not None and self._local.lanes.has_any:
            lanes, records_max, wait_s = self._local.lanes, self._config.batch_records_max, WAIT_S if is_idle else 0
            self._guarded(lambda: self._write_moved(*lanes.read(self._next_offsets, records_max, wait_s)))

    def _write_moved(self, outputs: Outputs, moved: Sequence[TopicPartition]) -> None:
        """Write what was made for partitions whose own positions stay where they are, and are sent all the same."""
        if moved:
            self._reach({each: self._next_offsets[each] for each in moved})
            self._write(outputs)

    def _write(self, outputs: Outputs) -> None:
        for topic, records in outputs.by_topic(self._topics):
            self._transaction.produce(topic, records)
        self.counters.fired += len(outputs.invocations)

    def _follow_definitions(self, local: Local) -> None:
        """Have every definition in force that was applied before any message of this batch was sent.

        What stood in a partition before the definitions were last read to their end was sent before that, too, and
        needs no newer ones. So a backlog asks once per transaction, and the end of a partition with every batch.
        """
        if any(offset > self._covered.get(each, 0) for each, offset in self._read.items() if self._is_input(each)):
            self._covered = self._member.known_ends()
            self._use_definitions(local, self._definitions.catch_up())

    def _use_definitions(self, local: Local, is_changed: bool) -> None:
        if is_changed:
            local.use(self._definitions, self._next_offsets)
            self._notes.need(filter(self._is_input, self._next_offsets))

    def _is_input(self, partition: TopicPartition) -> bool:
        return partition.topic != self._topics.trigger_facts

    def _notes_for(self, local: Local, batch: Sequence[Slice]) -> list[Outgoing]:
        """Which definitions are in force from here on: what a later check needs."""
        if self._notes.is_time():
            self._notes.need(filter(self._is_input, self._next_offsets))
            local.lanes.note_again()
        return self._notes.write(batch, self._definitions.next_offset, local.stage)

    def _commit_is_due(self, *, drained: bool) -> bool:
        """At once when input is drained and somebody waits; else at the interval, or when the overlay is full."""
        if not self._read or self._local is None:
            return False
        elapsed_ms = (self._clock.monotonic_s() - self._read_since_s) * 1000
        return (
            (drained and self._transaction.begun and (self._is_waited_for or not self._local.lanes.is_reading))
            or elapsed_ms >= self._config.commit_interval_ms
            or self._local.overlay_bytes >= self._config.overlay_bytes_max
        )

    def _commit(self, local: Local) -> None:
        """Commit the open transaction and then, only then, the store [2].

        1. Produce the claims and states of the transaction to the changelogs.
        2. Send the positions, each of a partition owned now, fenced by the membership of this generation [5, 6, 7].
        3. Commit. From here on the transaction is a fact.
        4. Apply to the store in one write: claims, states and, now and then, changelog positions. A crash before this
           leaves the store behind; the changelog brings it up.

        A changelog position says that the store lacks nothing before it. The ends of the changelogs do only while no
        other worker can have written there, and that is known afterwards: when the positions sent later were accepted.
        """
        assert self._membership is not None, "who owns partitions is a member"
        assert self._read.keys() <= self._owned, "positions of partitions that are not owned"
        segment = local.claims.segment_at(self._clock.now_ms())
        for topic, records in local.changelog_records(self._read, segment):
            self._transaction.produce(topic, records)
        self._fault("produced")
        ends = self._changelog_ends() if self._clock.monotonic_s() >= self._note_positions_at_s else {}
        self._transaction.commit(self._read, self._membership)
        self._fault("committed")
        changes = local.settle(segment)
        changelog.write_positions(changes, ends)
        local.store.apply(changes)
        self._fault("applied")
        self._read.clear()
        self.counters.transactions += 1
        if ends:
            self._note_positions_at_s = self._clock.monotonic_s() + NOTE_POSITIONS_EVERY_S

    def _changelog_ends(self) -> Mapping[TopicPartition, int]:
        return self._cluster.end_offsets([self._topics.changelog_of(partition) for partition in self._next_offsets])

    # Going back

    def _guarded(self, step: Callable[[], None]) -> None:
        """Run ``step``; when the transaction comes to nothing, go back to what was committed [4, 8, 9]."""
        try:
            step()
        except Aborted as error:
            log(logger, "transaction aborted", error=error.message)
            self._transaction.abort()
            self._go_back()
        except Unsettled as error:
            log(logger, "transaction unsettled", error=error.message)
            self._transaction.give_up()
            self._go_back()
        except Fenced as error:
            log(logger, "producer fenced", error=error.message)
            self._transaction.give_up(fenced=True)
            self._go_back()
        except Unavailable:
            self._transaction.give_up()
            self._go_back()
            raise

    def _go_back(self) -> None:
        """Drop what is not committed and make all owned partitions ready again, from what the log says."""
        self.counters.aborts += 1
        self._drop_uncommitted()
        self._next_offsets.clear()
        if self._local is not None:
            self._local.make_ready(self._owned)

    def _drop_uncommitted(self) -> None:
        self._read.clear()
        if self._local is not None:
            self._local.drop_pending()

    def _let_go(self, partitions: Sequence[TopicPartition]) -> None:
        self._owned.difference_update(partitions)
        for partition in partitions:
            self._next_offsets.pop(partition, None)
            self._read.pop(partition, None)
        self._notes.forget(partitions)
        if self._local is not None:
            self._local.let_go(partitions)


def _names(partitions: Sequence[TopicPartition]) -> str:
    return ",".join(map(str, sorted(partitions)))
