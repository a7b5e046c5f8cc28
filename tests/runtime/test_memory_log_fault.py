"""The in-memory log's faults and crashes, and that the same schedule always has the same outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import pytest

from stream_triggers.errors import Aborted, Fenced, StreamTriggersError, Unavailable, Unsettled
from stream_triggers.runtime.clock import ManualClock
from stream_triggers.runtime.log import Membership, Outgoing, TopicPartition, TopicSpec
from stream_triggers.runtime.memory_log import Crashed, Fault, Faults, MemoryCluster, MemoryLog, Point
from tests.runtime.log_bundle import Participant, all_of, values_of
from tests.runtime.memory_log_bundle import (
    IN_0,
    START_MS,
    begun,
    join,
    make_cluster,
    open_producer,
    outcomes,
    values,
)


@pytest.fixture
def cluster() -> MemoryCluster:
    return make_cluster()


@pytest.mark.parametrize(
    ("fault", "seen", "written"),
    [
        (Fault.REQUEST_LOST, Unsettled, []),
        (Fault.RESPONSE_LOST, Unsettled, [b"1"]),
        (Fault.REQUEST_LATE, Unsettled, []),
        (Fault.RETRIABLE, Unavailable, []),
        (Fault.ABORTABLE, Aborted, []),
        (Fault.FATAL, Fenced, []),
        (Fault.CRASH_BEFORE, Crashed, []),
        (Fault.CRASH_AFTER, Crashed, [b"1"]),
    ],
)
def test_a_commit_goes_wrong(
    cluster: MemoryCluster, fault: Fault, seen: type[BaseException], written: list[bytes]
) -> None:
    cluster.faults.plan("commit", fault)
    producer = begun(cluster)
    with pytest.raises(seen):
        producer.commit()
    assert values(cluster) == written


def call_everything(cluster: MemoryCluster, ending: str) -> None:
    """Come to every fault point once, as slot ``a``."""
    participant = join(cluster, "a")
    participant.member.committed([IN_0], 1.0)
    MemoryLog(cluster, "a").reader().poll(1, 0)
    producer = begun(cluster)
    producer.send_offsets({IN_0: 7}, participant.member.membership())
    producer.abort() if ending == "abort" else producer.commit()


@pytest.mark.parametrize(
    ("point", "fault", "seen"),
    [
        ("abort", Fault.REQUEST_LOST, Unsettled),
        ("abort", Fault.RESPONSE_LOST, Unsettled),
        ("abort", Fault.ABORTABLE, Unsettled),
        ("abort", Fault.RETRIABLE, Unavailable),
        ("abort", Fault.FATAL, Fenced),
        ("send_offsets", Fault.REQUEST_LOST, Unsettled),
        ("send_offsets", Fault.RESPONSE_LOST, Unsettled),
        ("send_offsets", Fault.RETRIABLE, Unavailable),
        ("send_offsets", Fault.ABORTABLE, Aborted),
        ("send_offsets", Fault.FATAL, Fenced),
        ("produce", Fault.REQUEST_LOST, Aborted),
        ("produce", Fault.RESPONSE_LOST, Aborted),
        ("produce", Fault.ABORTABLE, Aborted),
        ("produce", Fault.FATAL, Fenced),
        ("open", Fault.RESPONSE_LOST, Unavailable),
        ("open", Fault.RETRIABLE, Unavailable),
        ("open", Fault.FATAL, Fenced),
        ("committed", Fault.RESPONSE_LOST, Unavailable),
        ("poll", Fault.REQUEST_LOST, Unavailable),
        ("read", Fault.RETRIABLE, Unavailable),
        ("read", Fault.CRASH_AFTER, Crashed),
    ],
)
def test_a_call_goes_wrong(cluster: MemoryCluster, point: Point, fault: Fault, seen: type[BaseException]) -> None:
    cluster.faults.plan(point, fault, slot="a")
    with pytest.raises(seen):
        call_everything(cluster, ending="abort" if point == "abort" else "commit")
    assert values(cluster) == []


def test_a_retriable_fault_of_produce_is_retried_unseen(cluster: MemoryCluster) -> None:
    cluster.faults.plan("produce", Fault.RETRIABLE)
    begun(cluster).commit()
    assert values(cluster) == [b"1"]


@pytest.mark.parametrize(("fault", "entries"), [(Fault.REQUEST_LOST, []), (Fault.RESPONSE_LOST, [("open", b"1")])])
def test_records_whose_delivery_failed_may_be_in_the_log(
    cluster: MemoryCluster, fault: Fault, entries: list[tuple[str, bytes]]
) -> None:
    cluster.faults.plan("produce", fault)
    producer = begun(cluster)
    assert outcomes(cluster) == entries
    with pytest.raises(Aborted):
        producer.commit()
    producer.abort()
    producer.begin()
    producer.produce("out", values_of(b"2"))
    producer.commit()
    assert values(cluster) == [b"2"]


def test_a_call_that_found_the_cluster_away_can_be_made_again(cluster: MemoryCluster) -> None:
    cluster.faults.plan("commit", Fault.RETRIABLE)
    producer = begun(cluster)
    with pytest.raises(Unavailable):
        producer.commit()
    producer.commit()
    assert values(cluster) == [b"1"]


def test_a_lost_poll_loses_no_records(cluster: MemoryCluster) -> None:
    cluster.write("in", values_of(b"1"))
    participant = join(cluster, "a").start()
    cluster.faults.plan("poll", Fault.RESPONSE_LOST)
    with pytest.raises(Unavailable):
        participant.step()
    assert participant.step().values() == [b"1"]


def test_a_refusal_can_be_lost_too(cluster: MemoryCluster) -> None:
    producer = begun(cluster)
    open_producer(cluster)
    cluster.faults.plan("commit", Fault.RESPONSE_LOST)
    with pytest.raises(Unsettled):
        producer.commit()
    assert values(cluster) == []


def test_a_producer_whose_outcome_is_unknown_cannot_begin_again(cluster: MemoryCluster) -> None:
    cluster.faults.plan("commit", Fault.REQUEST_LOST)
    producer = begun(cluster)
    with pytest.raises(Unsettled):
        producer.commit()
    with pytest.raises(Unsettled):
        producer.abort()
    with pytest.raises(AssertionError, match="the producer is unsettled, not ready"):
        producer.begin()


def test_a_producer_is_opened_once(cluster: MemoryCluster) -> None:
    producer = open_producer(cluster)
    with pytest.raises(AssertionError, match="the producer is ready, not new"):
        producer.open()


def test_a_refused_transaction_can_only_be_aborted(cluster: MemoryCluster) -> None:
    cluster.faults.plan("commit", Fault.ABORTABLE)
    producer = begun(cluster)
    with pytest.raises(Aborted):
        producer.commit()
    with pytest.raises(AssertionError, match="the producer is refused, not in transaction"):
        producer.commit()


def test_a_late_commit_takes_effect_if_nobody_came_in_between(cluster: MemoryCluster) -> None:
    cluster.faults.plan("commit", Fault.REQUEST_LATE)
    with pytest.raises(Unsettled):
        begun(cluster).commit()
    cluster.deliver_late()
    assert values(cluster) == [b"1"]


def test_a_late_commit_does_nothing_to_a_successors_transaction(cluster: MemoryCluster) -> None:
    cluster.faults.plan("commit", Fault.REQUEST_LATE)
    with pytest.raises(Unsettled):
        begun(cluster).commit()
    begun(cluster, value=b"2")
    cluster.deliver_late()
    assert outcomes(cluster) == [("aborted", b"1"), ("marker", b"abort"), ("open", b"2")]


def test_a_late_abort_takes_effect_if_nobody_came_in_between(cluster: MemoryCluster) -> None:
    cluster.faults.plan("abort", Fault.REQUEST_LATE)
    with pytest.raises(Unsettled):
        begun(cluster).abort()
    assert outcomes(cluster) == [("open", b"1")]
    cluster.deliver_late()
    assert outcomes(cluster) == [("aborted", b"1"), ("marker", b"abort")]


def test_aborting_nothing_says_nothing_to_the_cluster(cluster: MemoryCluster) -> None:
    cluster.faults.plan("abort", Fault.REQUEST_LOST)
    producer = open_producer(cluster)
    producer.abort()
    assert cluster.faults.calls == {("open", "a"): 1}


def test_a_plan_counts_the_calls_of_its_point_and_slot(cluster: MemoryCluster) -> None:
    faults = cluster.faults
    faults.plan("commit", Fault.RETRIABLE, nth=3)
    faults.plan("commit", Fault.FATAL, nth=2, slot="b")
    calls: Sequence[tuple[Point, str]] = [
        ("commit", "a"),
        ("abort", "a"),
        ("commit", "b"),
        ("commit", "a"),
        ("commit", "b"),
    ]
    assert [faults.take(*call) for call in calls] == [None, None, None, Fault.RETRIABLE, Fault.FATAL]
    assert faults.calls == {("commit", "a"): 2, ("abort", "a"): 1, ("commit", "b"): 2}


def test_faults_can_be_decided_call_by_call() -> None:
    class EveryCommit(Faults):
        def take(self, point: Point, slot: str) -> Fault | None:
            return Fault.RETRIABLE if point == "commit" else None

    cluster = MemoryCluster(ManualClock(), EveryCommit())
    cluster.create_topics([TopicSpec("out", 1, {})])
    with pytest.raises(Unavailable):
        begun(cluster).commit()


# Crashes


def test_no_client_of_a_crashed_process_answers(cluster: MemoryCluster) -> None:
    log = MemoryLog(cluster, "a")
    member, producer, reader = log.member(), log.producer(), log.reader()
    producer.open()
    member.subscribe(["in"], Participant(member))
    log.crash()
    calls: list[Callable[[], object]] = [
        lambda: member.poll(1, 0),
        member.membership,
        lambda: member.committed([IN_0], 1),
        lambda: member.start({IN_0: 0}),
        member.heartbeat,
        producer.begin,
        producer.abort,
        lambda: reader.poll(1, 0),
        reader.positions,
    ]
    for call in calls:
        with pytest.raises(Crashed):
            call()
    for client in (member, producer, reader):
        client.close()
    assert log.crashed


def test_a_planned_crash_takes_the_whole_process(cluster: MemoryCluster) -> None:
    log = MemoryLog(cluster, "a")
    producer, reader = log.producer(), log.reader()
    producer.open()
    cluster.faults.plan("produce", Fault.CRASH_BEFORE)
    producer.begin()
    with pytest.raises(Crashed):
        producer.produce("out", values_of(b"1"))
    with pytest.raises(Crashed):
        reader.poll(1, 0)
    assert outcomes(cluster) == []


def test_what_a_crashed_process_held_ends_by_timeouts(cluster: MemoryCluster) -> None:
    log = MemoryLog(cluster, "a")
    member, producer = log.member(), log.producer()
    participant = Participant(member)
    member.subscribe(["in"], participant)
    participant.step()
    producer.open()
    producer.begin()
    producer.produce("out", values_of(b"1"))
    log.crash()
    member.close()
    producer.close()
    other = join(cluster, "b")
    assert (other.owned, outcomes(cluster)) == (set(), [("open", b"1")])
    cluster.clock.advance(10_000)
    assert other.step().owned == all_of("in", 0, 1)
    assert outcomes(cluster) == [("aborted", b"1"), ("marker", b"abort")]
    assert participant.heard == [("assigned", all_of("in", 0, 1))]


def test_what_a_crashed_process_held_passes_to_its_successor_at_once(cluster: MemoryCluster) -> None:
    log = MemoryLog(cluster, "a")
    participant = Participant(log.member())
    participant.member.subscribe(["in"], participant)
    participant.step()
    producer = log.producer()
    producer.open()
    producer.begin()
    producer.produce("out", values_of(b"1"))
    log.crash()
    open_producer(cluster, "a")
    assert outcomes(cluster) == [("aborted", b"1"), ("marker", b"abort")]
    assert join(cluster, "a").owned == all_of("in", 0, 1)


# Determinism

POINTS: Sequence[Point] = ["open", "produce", "send_offsets", "commit", "abort", "committed", "poll"]


def run_schedule(seed: int) -> tuple[list[list[str]], dict[TopicPartition, int], list[object]]:
    """Two workers that copy ``in`` to ``out`` under chance pauses, faults and restarts, all drawn from ``seed``."""
    random = Random(seed)
    cluster = MemoryCluster(ManualClock(START_MS))
    cluster.create_topics([TopicSpec("in", 4, {}), TopicSpec("out", 4, {})])
    workers = {slot: Copier(cluster, slot) for slot in "ab"}
    errors: list[object] = []
    for step in range(80):
        slot = random.choice("ab")
        if random.random() < 0.15:
            cluster.faults.plan(
                random.choice(POINTS), random.choice(list(Fault)), nth=random.randrange(1, 4), slot=slot
            )
        cluster.write("in", [Outgoing(key=b"%d" % random.randrange(50), value=b"%d" % step)])
        cluster.clock.advance(random.choice([10, 100, 1_000, 6_000]))
        if random.random() < 0.1:
            cluster.deliver_late()
        try:
            workers[slot].run_once()
        except (StreamTriggersError, Crashed) as error:
            errors.append((step, slot, str(error)))
            workers[slot] = Copier(cluster, slot)
    cluster.clock.advance(60_000)
    cluster.faults = Faults()
    for _ in range(8):
        for slot, worker in workers.items():
            try:
                worker.run_once()
            except (StreamTriggersError, Crashed):
                workers[slot] = Copier(cluster, slot)
    return [[repr(e) for e in entries] for entries in cluster.entries("out")], cluster.offsets("triggers"), errors


class Copier:
    """The smallest exactly-once worker: it crashes on any error, and its successor takes over."""

    def __init__(self, cluster: MemoryCluster, slot: str) -> None:
        self._log = MemoryLog(cluster, slot)
        self._producer = self._log.producer()
        self._member = self._log.member()
        self._opened = False
        self._membership: Membership | None = None
        self._owned: Sequence[TopicPartition] = ()
        self._member.subscribe(["in"], self)

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        self._membership = self._member.membership()
        offsets = self._member.committed(partitions, 30.0)
        self._member.start({partition: offset or 0 for partition, offset in offsets.items()})

    def revoked(self, partitions: Sequence[TopicPartition]) -> None: ...

    def lost(self, partitions: Sequence[TopicPartition]) -> None: ...

    def run_once(self) -> None:
        if not self._opened:
            self._producer.open()
            self._opened = True
        records = self._member.poll(5, 0)
        if not records:
            return
        assert self._membership is not None
        self._producer.begin()
        copies = [Outgoing(key=r.key(), value=r.value(), partition=r.partition()) for r in records]
        self._producer.produce("out", copies)
        offsets = {TopicPartition(r.topic(), r.partition()): r.offset() + 1 for r in records}
        self._producer.send_offsets(offsets, self._membership)
        self._producer.commit()


@pytest.mark.parametrize("seed", range(20))
def test_the_same_schedule_has_the_same_outcome(seed: int) -> None:
    assert run_schedule(seed) == run_schedule(seed)


@pytest.mark.parametrize("seed", range(60))
def test_a_worker_that_keeps_the_rules_copies_every_record_once(seed: int) -> None:
    entries, _, errors = run_schedule(seed)
    copied = sorted(int(entry.rpartition("b'")[2][:-2]) for part in entries for entry in part if "<committed" in entry)
    assert copied == list(range(80)), errors
