"""The slot's producer: when its transaction begins and ends, when it is replaced, and when it is waited for."""

from __future__ import annotations

import pytest

from stream_triggers.errors import Aborted, Fenced, Unavailable, Unsettled
from stream_triggers.runtime.log import Membership, TopicPartition
from stream_triggers.runtime.memory_log import Fault, MemoryCluster, MemoryLog
from stream_triggers.runtime.memory_log.group import Credentials
from stream_triggers.runtime.transaction import FENCED_PAUSE_S, Transaction
from tests.runtime.log_bundle import Participant, values_of
from tests.runtime.memory_log_bundle import IN_0, join, make_cluster, outcomes, values


@pytest.fixture
def cluster() -> MemoryCluster:
    return make_cluster()


@pytest.fixture
def member(cluster: MemoryCluster) -> Participant:
    return join(cluster, "0")


@pytest.fixture
def transaction(cluster: MemoryCluster) -> Transaction:
    transaction = Transaction(MemoryLog(cluster, "0"), cluster.clock)
    assert transaction.ready()
    return transaction


def commit(transaction: Transaction, member: Participant, next_offset: int = 1) -> None:
    transaction.commit({IN_0: next_offset}, member.member.membership())


def committed(cluster: MemoryCluster) -> dict[TopicPartition, int]:
    return cluster.offsets("triggers")


def test_the_first_record_begins_it(transaction: Transaction) -> None:
    assert not transaction.begun
    transaction.produce("out", values_of(b"1"))
    assert transaction.begun


def test_no_records_begin_nothing(transaction: Transaction) -> None:
    transaction.produce("out", [])
    assert not transaction.begun


def test_a_commit_commits_records_and_positions(
    cluster: MemoryCluster, transaction: Transaction, member: Participant
) -> None:
    transaction.produce("out", values_of(b"1"))
    commit(transaction, member)
    assert (values(cluster), committed(cluster)) == ([b"1"], {IN_0: 1})
    assert not transaction.begun


def test_positions_alone_are_committed_in_a_transaction(
    cluster: MemoryCluster, transaction: Transaction, member: Participant
) -> None:
    commit(transaction, member)
    assert committed(cluster) == {IN_0: 1}


def test_a_commit_without_positions_is_a_mistake(transaction: Transaction, member: Participant) -> None:
    with pytest.raises(AssertionError, match="without positions is not fenced"):
        transaction.commit({}, member.member.membership())


@pytest.mark.parametrize(("generation", "member_id"), [(-1, ""), (-1, "triggers-0-00000001"), (1, "")])
def test_positions_that_a_broker_would_not_check_are_not_sent(
    cluster: MemoryCluster, transaction: Transaction, generation: int, member_id: str
) -> None:
    token = Credentials("triggers", member_id, None, generation)
    with pytest.raises(Aborted, match="would not be fenced"):
        transaction.commit({IN_0: 1}, Membership(generation, member_id, token))
    assert committed(cluster) == {}


def test_an_abort_drops_what_was_produced(
    cluster: MemoryCluster, transaction: Transaction, member: Participant
) -> None:
    transaction.produce("out", values_of(b"1"))
    transaction.abort()
    assert not transaction.begun
    transaction.produce("out", values_of(b"2"))
    commit(transaction, member)
    assert values(cluster) == [b"2"]


def test_an_abort_of_nothing_is_nothing(cluster: MemoryCluster, transaction: Transaction) -> None:
    transaction.abort()
    assert cluster.faults.calls["abort", "0"] == 0


@pytest.mark.parametrize(
    "fault", [Fault.REQUEST_LOST, Fault.RESPONSE_LOST, Fault.REQUEST_LATE, Fault.RETRIABLE, Fault.FATAL]
)
def test_a_producer_that_cannot_abort_is_given_up(
    cluster: MemoryCluster, transaction: Transaction, member: Participant, fault: Fault
) -> None:
    transaction.produce("out", values_of(b"1"))
    cluster.faults.plan("abort", fault)
    transaction.abort()
    cluster.clock.advance(5000)
    assert transaction.ready()
    transaction.produce("out", values_of(b"2"))
    commit(transaction, member)
    assert values(cluster) == [b"2"]


def test_a_second_commit_is_a_transaction_of_its_own(
    cluster: MemoryCluster, transaction: Transaction, member: Participant
) -> None:
    transaction.produce("out", values_of(b"1"))
    commit(transaction, member)
    transaction.produce("out", values_of(b"2"))
    transaction.abort()
    assert [outcome for outcome, _ in outcomes(cluster)] == ["committed", "marker", "aborted", "marker"]


def test_what_was_given_up_is_ended_by_the_next_producer(
    cluster: MemoryCluster, transaction: Transaction, member: Participant
) -> None:
    transaction.produce("out", values_of(b"1"))
    transaction.give_up()
    assert not transaction.begun
    assert outcomes(cluster) == [("open", b"1")]
    assert transaction.ready()
    assert outcomes(cluster) == [("aborted", b"1"), ("marker", b"abort")]


def test_ready_keeps_the_producer_it_has(cluster: MemoryCluster, transaction: Transaction) -> None:
    assert transaction.ready()
    assert cluster.faults.calls["open", "0"] == 1


def test_a_producer_that_cannot_be_opened_is_tried_again(cluster: MemoryCluster) -> None:
    transaction = Transaction(MemoryLog(cluster, "0"), cluster.clock)
    cluster.faults.plan("open", Fault.RETRIABLE)
    with pytest.raises(Unavailable):
        transaction.ready()
    assert transaction.ready()


def test_after_a_fence_the_next_producer_waits(cluster: MemoryCluster, transaction: Transaction) -> None:
    transaction.give_up(fenced=True)
    cluster.clock.advance(int(FENCED_PAUSE_S * 1000) - 1)
    assert transaction.pauses
    assert not transaction.ready()
    cluster.clock.advance(1)
    assert not transaction.pauses
    assert transaction.ready()


def test_after_anything_else_it_does_not_wait(transaction: Transaction) -> None:
    transaction.give_up()
    assert not transaction.pauses
    assert transaction.ready()


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (Fault.ABORTABLE, Aborted),
        (Fault.REQUEST_LOST, Unsettled),
        (Fault.FATAL, Fenced),
        (Fault.RETRIABLE, Unavailable),
    ],
)
def test_what_goes_wrong_with_a_commit_is_told(
    cluster: MemoryCluster, transaction: Transaction, member: Participant, fault: Fault, seen: type[Exception]
) -> None:
    cluster.faults.plan("commit", fault)
    with pytest.raises(seen):
        commit(transaction, member)
    assert transaction.begun  # it is not over before it is aborted or given up


def test_without_a_producer_it_is_of_no_use(cluster: MemoryCluster) -> None:
    with pytest.raises(AssertionError, match="needs ready"):
        Transaction(MemoryLog(cluster, "0"), cluster.clock).produce("out", values_of(b"1"))
