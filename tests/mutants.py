"""The rules of the runtime, each switched off: what the tests of the rules, and the simulation, must fail on.

A mutant is a context in which a piece of the runtime is replaced. Those that ``simulation_finds`` change what comes out
under some schedule; of the others a second rule still prevents that, they cost time only, or it takes thousands of
schedules to meet one that shows them, and the tests of their rule do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from typing import Any, NamedTuple

from stream_triggers.core.invocation import RUN_ID_BYTES, RunIds
from stream_triggers.errors import Unsettled
from stream_triggers.runtime import changelog
from stream_triggers.runtime.claims import Claims
from stream_triggers.runtime.definitions import DefinitionTable
from stream_triggers.runtime.log import Membership, Outgoing, Producer, Record, Slice, TopicPartition, slices
from stream_triggers.runtime.memory_log import MemoryLog, MemoryProducer
from stream_triggers.runtime.restore import Restore
from stream_triggers.runtime.store import Changes
from stream_triggers.runtime.transaction import Transaction
from stream_triggers.runtime.worker import Worker


class Mutant(NamedTuple):
    """A rule switched off."""

    rule: int
    """The number of the rule, 0 for what is under "what has caused bugs"."""
    name: str
    switched_off: Callable[[], AbstractContextManager[None]]
    simulation_finds: bool


MUTANTS: list[Mutant] = []


def mutant(rule: int, *, simulation_finds: bool) -> Callable[[Callable[[], Iterator[None]]], None]:
    """Add a generator that makes the replacement, as a context, to the table."""

    def add(replace: Callable[[], Iterator[None]]) -> None:
        name = replace.__name__.replace("_", " ")
        MUTANTS.append(Mutant(rule, name, contextmanager(replace), simulation_finds))

    return add


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute of a class or a module for a while."""
    original = owner.__dict__[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


@mutant(1, simulation_finds=False)
def every_process_has_a_transactional_id_of_its_own() -> Iterator[None]:
    numbers = count()

    def producer(log: MemoryLog) -> MemoryProducer:
        return MemoryProducer(log._process, f"{log._name}-{next(numbers)}", log._transaction_timeout_ms)

    with replaced(MemoryLog, "producer", producer):
        yield


@mutant(2, simulation_finds=True)
def the_store_is_written_before_the_commit() -> Iterator[None]:
    commit = Worker._commit

    def store_first(worker: Worker, local: Any) -> None:
        column = local.claims._column(local.claims.segment_at(worker._clock.now_ms()))
        local.store.apply(Changes(puts=[(column, key, b"") for key in local.claims._overlay]))
        commit(worker, local)

    with replaced(Worker, "_commit", store_first):
        yield


@mutant(2, simulation_finds=True)
def outputs_are_committed_after_the_positions() -> Iterator[None]:
    waiting: dict[int, list[tuple[str, list[Outgoing]]]] = {}
    commit = Transaction.commit

    def produce(transaction: Transaction, topic: str, records: list[Outgoing]) -> None:
        if records:
            transaction._begin()
            waiting.setdefault(id(transaction), []).append((topic, records))

    def positions_first(
        transaction: Transaction, offsets: Mapping[TopicPartition, int], membership: Membership
    ) -> None:
        outputs = waiting.pop(id(transaction), [])
        commit(transaction, offsets, membership)
        producer = transaction._begin()
        for topic, records in outputs:
            producer.produce(topic, records)
        producer.commit()
        transaction._begun = False

    with replaced(Transaction, "produce", produce), replaced(Transaction, "commit", positions_first):
        yield


@mutant(3, simulation_finds=True)
def a_store_is_trusted_without_reading_the_changelog() -> Iterator[None]:
    begin_reading = Restore._begin_reading

    def no_reading(restore: Restore, inputs: Mapping[TopicPartition, TopicPartition]) -> None:
        begin_reading(restore, inputs)
        restore._ends.update(dict.fromkeys(inputs, 0))

    with replaced(Restore, "_begin_reading", no_reading):
        yield


@mutant(3, simulation_finds=False)
def a_store_notes_the_end_of_a_changelog_without_knowing_who_owns_it() -> Iterator[None]:
    prepare = Worker._prepare

    def note(worker: Worker) -> None:
        prepare(worker)
        if worker._local is not None and not worker._read:
            changes = Changes()
            changelog.write_positions(changes, worker._changelog_ends())
            worker._local.store.apply(changes)

    with replaced(Worker, "_prepare", note):
        yield


@mutant(4, simulation_finds=True)
def what_is_revoked_is_let_go_without_a_commit() -> Iterator[None]:
    with replaced(Worker, "revoked", lambda worker, partitions: worker._let_go(partitions)):
        yield


@mutant(4, simulation_finds=False)
def what_is_lost_is_committed() -> Iterator[None]:
    with replaced(Worker, "lost", Worker.revoked):
        yield


@mutant(4, simulation_finds=False)
def what_is_lost_stays_in_the_transaction() -> Iterator[None]:
    def let_go(worker: Worker, partitions: Sequence[TopicPartition]) -> None:
        worker._let_go(partitions)

    with replaced(Worker, "lost", let_go):
        yield


@mutant(5, simulation_finds=False)
def the_membership_is_taken_when_committing() -> Iterator[None]:
    commit = Worker._commit

    def fresh(worker: Worker, local: Any) -> None:
        worker._membership = worker._member.membership()
        commit(worker, local)

    with replaced(Worker, "_commit", fresh):
        yield


@mutant(5, simulation_finds=False)
def a_process_that_is_no_member_may_commit() -> Iterator[None]:
    with replaced(Transaction, "commit", _commit_unchecked):
        yield


@mutant(6, simulation_finds=True)
def records_that_were_fetched_before_are_taken_for_the_next() -> Iterator[None]:
    def accept(worker: Worker, records: Sequence[Record]) -> list[Slice]:
        if records and not worker._read:
            worker._read_since_s = worker._clock.monotonic_s()
        for record in records:
            source = TopicPartition(record.topic(), record.partition())
            worker._next_offsets[source] = worker._read[source] = record.offset() + 1
        return slices(records)

    with replaced(Worker, "_accept", accept):
        yield


@mutant(6, simulation_finds=True)
def partitions_that_went_away_are_processed_on() -> Iterator[None]:
    def let_go(worker: Worker, partitions: Sequence[TopicPartition]) -> None:
        if worker._local is not None:
            worker._local.restore.drop(partitions)

    with replaced(Worker, "_let_go", let_go):
        yield


@mutant(7, simulation_finds=True)
def a_transaction_sends_no_positions() -> Iterator[None]:
    def commit(transaction: Transaction, offsets: Mapping[TopicPartition, int], membership: Membership) -> None:
        transaction._begin().commit()
        transaction._begun = False

    with replaced(Transaction, "commit", commit):
        yield


@mutant(8, simulation_finds=True)
def an_unknown_outcome_is_taken_for_a_commit() -> Iterator[None]:
    def commit(transaction: Transaction, offsets: Mapping[TopicPartition, int], membership: Membership) -> None:
        producer = transaction._begin()
        producer.send_offsets(offsets, membership)
        try:
            producer.commit()
            transaction._begun = False
        except Unsettled:
            transaction.give_up()
            transaction.ready()

    with replaced(Transaction, "commit", commit):
        yield


@mutant(8, simulation_finds=True)
def after_an_unknown_outcome_reading_goes_on_from_memory() -> Iterator[None]:
    start: dict[int, dict[TopicPartition, int]] = {}
    commit, go_back = Worker._commit, Worker._go_back

    def remember(worker: Worker, local: Any) -> None:
        commit(worker, local)
        start[id(worker)] = dict(worker._next_offsets)

    def from_memory(worker: Worker) -> None:
        offsets = {**worker._next_offsets, **start.get(id(worker), {})}
        owned = {tp: offset for tp, offset in offsets.items() if tp in worker._owned}
        if not start.get(id(worker)) or owned.keys() != worker._owned:
            go_back(worker)
            return
        worker._drop_uncommitted()
        worker._next_offsets.update(owned)
        worker._member.start(owned)

    with replaced(Worker, "_commit", remember), replaced(Worker, "_go_back", from_memory):
        yield


@mutant(9, simulation_finds=True)
def a_producer_that_was_fenced_is_not_replaced() -> Iterator[None]:
    give_up = Transaction.give_up

    def for_ever(transaction: Transaction, *, fenced: bool = False) -> None:
        give_up(transaction)
        if fenced:
            transaction._open_again_at_s = float("inf")

    with replaced(Transaction, "give_up", for_ever):
        yield


@mutant(10, simulation_finds=False)
def a_restore_ends_when_there_is_nothing_more_to_read() -> Iterator[None]:
    read = Restore._read

    def read_on(restore: Restore) -> Mapping[TopicPartition, int]:
        before = dict(restore._reader.positions())
        ready = read(restore)
        if not ready and before == restore._reader.positions():
            restore._ends.update(dict.fromkeys(restore._ends, 0))
            return read(restore)
        return ready

    with replaced(Restore, "_read", read_on):
        yield


@mutant(11, simulation_finds=False)
def the_overlay_is_never_full() -> Iterator[None]:
    with replaced(Claims, "overlay_bytes", 0):
        yield


@mutant(12, simulation_finds=True)
def ids_are_random() -> Iterator[None]:
    with replaced(RunIds, "of_one", lambda ids, kind, message_id: os.urandom(RUN_ID_BYTES)):
        yield


@mutant(0, simulation_finds=True)
def definitions_are_read_once_for_a_transaction() -> Iterator[None]:
    catch_up = DefinitionTable.catch_up
    process = Worker._process

    def seldom(worker: Worker, local: Any, records: Sequence[Record]) -> None:
        def maybe(table: DefinitionTable) -> bool:
            return False if worker._transaction.begun else catch_up(table)

        with replaced(DefinitionTable, "catch_up", maybe):
            process(worker, local, records)

    with replaced(Worker, "_process", seldom):
        yield


@mutant(0, simulation_finds=True)
def what_an_aborted_transaction_has_claimed_stays_claimed() -> Iterator[None]:
    with replaced(Claims, "drop_pending", lambda claims: None):
        yield


@mutant(0, simulation_finds=True)
def committed_claims_are_not_looked_up() -> Iterator[None]:
    with replaced(Claims, "taken", lambda claims, keys: [False] * len(keys)):
        yield


@mutant(0, simulation_finds=True)
def claims_are_forgotten_before_their_retention() -> Iterator[None]:
    def is_expired(claims: Claims, segment: int, now_ms: int) -> bool:
        return (segment + 1) * claims._segment_ms <= now_ms

    with replaced(Claims, "is_expired", is_expired):
        yield


@mutant(0, simulation_finds=True)
def an_aborted_transaction_is_not_read_again() -> Iterator[None]:
    with replaced(Worker, "_go_back", lambda worker: worker._drop_uncommitted()):
        yield


@mutant(0, simulation_finds=True)
def a_worker_that_fails_commits_what_it_has_read() -> Iterator[None]:
    close = Worker.close

    def commit_first(worker: Worker) -> None:
        worker.commit()
        close(worker)

    with replaced(Worker, "close", commit_first):
        yield


def _commit_unchecked(transaction: Transaction, offsets: Mapping[TopicPartition, int], membership: Membership) -> None:
    producer: Producer = transaction._begin()
    producer.send_offsets(offsets, membership)
    producer.commit()
    transaction._begun = False
