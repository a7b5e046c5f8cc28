"""Reading a stretch of partitions, and what a group has left to read."""

from __future__ import annotations

import pytest

from stream_triggers.errors import Misconfigured
from stream_triggers.runtime.lag import committed_offsets, partitions_of, unread
from stream_triggers.runtime.log import Outgoing, TopicPartition
from stream_triggers.runtime.memory_log import MemoryCluster, MemoryLog
from stream_triggers.runtime.reading import read_all, read_between
from tests.runtime.log_bundle import values_of
from tests.runtime.memory_log_bundle import IN_0, begun, join, make_cluster, open_producer

IN_1 = TopicPartition("in", 1)


@pytest.fixture
def cluster() -> MemoryCluster:
    return make_cluster()


@pytest.fixture
def log(cluster: MemoryCluster) -> MemoryLog:
    return MemoryLog(cluster, "observer")


def write(cluster: MemoryCluster, *values: bytes, partition: int = 0) -> None:
    cluster.write("in", [Outgoing(key=None, value=value, partition=partition) for value in values])


def between(log: MemoryLog, starts: dict[TopicPartition, int], ends: dict[TopicPartition, int]) -> list[bytes | None]:
    return [record.value() for batch in read_between(log, starts, ends) for record in batch]


def commit_positions(cluster: MemoryCluster, next_offsets: dict[TopicPartition, int]) -> None:
    member = join(cluster, "0").member
    producer = open_producer(cluster, "0")
    producer.begin()
    producer.send_offsets(next_offsets, member.membership())
    producer.commit()


def test_a_stretch_begins_with_its_first_and_ends_before_its_end(cluster: MemoryCluster, log: MemoryLog) -> None:
    write(cluster, b"0", b"1", b"2", b"3")
    assert between(log, {IN_0: 1}, {IN_0: 3}) == [b"1", b"2"]


def test_partitions_are_each_read_in_order(cluster: MemoryCluster, log: MemoryLog) -> None:
    write(cluster, b"a", b"b")
    write(cluster, b"A", b"B", partition=1)
    values = between(log, {IN_0: 0, IN_1: 0}, {IN_0: 2, IN_1: 1})
    assert sorted(values, key=str) == [b"A", b"a", b"b"]
    assert values.index(b"a") < values.index(b"b")


@pytest.mark.parametrize("start", [2, 3])
def test_nothing_is_read_where_nothing_is_left(cluster: MemoryCluster, log: MemoryLog, start: int) -> None:
    write(cluster, b"0", b"1", b"2")
    assert between(log, {IN_0: start}, {IN_0: 2}) == []


def test_what_a_partition_does_not_hold_is_not_waited_for(cluster: MemoryCluster, log: MemoryLog) -> None:
    write(cluster, b"0", b"1")
    with pytest.raises(Misconfigured, match="in/0 is to be read up to 3, and ends at 2"):
        between(log, {IN_0: 0}, {IN_0: 3})


def test_what_is_written_meanwhile_is_left_out(cluster: MemoryCluster, log: MemoryLog) -> None:
    write(cluster, b"0")
    batches = read_all(log, [IN_0])
    write(cluster, b"1")
    assert [record.value() for batch in batches for record in batch] == [b"0"]


def test_aborted_records_and_markers_are_passed_over(cluster: MemoryCluster, log: MemoryLog) -> None:
    producer = begun(cluster)
    producer.abort()
    producer.begin()
    producer.produce("out", values_of(b"2"))
    producer.commit()
    out = TopicPartition("out", 0)
    assert [record.value() for batch in read_all(log, [out]) for record in batch] == [b"2"]


def test_an_open_transaction_below_the_end_is_waited_for(cluster: MemoryCluster, log: MemoryLog) -> None:
    begun(cluster, value=b"open")
    cluster.write("out", values_of(b"after"))
    began_ms = cluster.clock.now_ms()
    out = TopicPartition("out", 0)
    assert [record.value() for batch in read_all(log, [out]) for record in batch] == [b"after"]
    assert cluster.clock.now_ms() >= began_ms + 10_000  # the transaction's timeout


def test_a_group_that_has_never_committed_continues_at_the_start(cluster: MemoryCluster, log: MemoryLog) -> None:
    write(cluster, b"0", b"1")
    cluster.trim(IN_0, 1)
    assert committed_offsets(log, [IN_0, IN_1]) == {IN_0: 1, IN_1: 0}


def test_a_group_continues_where_it_has_committed(cluster: MemoryCluster, log: MemoryLog) -> None:
    write(cluster, b"0", b"1")
    commit_positions(cluster, {IN_0: 1})
    assert committed_offsets(log, [IN_0, IN_1]) == {IN_0: 1, IN_1: 0}


def test_asking_does_not_join_the_group(cluster: MemoryCluster, log: MemoryLog) -> None:
    committed_offsets(log, [IN_0])
    assert cluster.group("triggers").seats == {}


def test_unread_are_the_committed_records_after_the_positions(cluster: MemoryCluster, log: MemoryLog) -> None:
    write(cluster, b"0", b"1", b"2")
    write(cluster, b"A", partition=1)
    commit_positions(cluster, {IN_0: 1})
    assert unread(log, [IN_0, IN_1]) == 3


def test_markers_are_not_unread(cluster: MemoryCluster, log: MemoryLog) -> None:
    producer = begun(cluster)
    producer.commit()
    assert unread(log, [TopicPartition("out", 0)]) == 1


def test_with_everything_read_nothing_is_unread(cluster: MemoryCluster, log: MemoryLog) -> None:
    write(cluster, b"0")
    commit_positions(cluster, {IN_0: 1})
    assert unread(log, [IN_0, IN_1]) == 0


def test_the_partitions_of_topics_that_exist(log: MemoryLog) -> None:
    assert partitions_of(log, ["in", "nowhere"]) == [IN_0, IN_1]
