"""Clusters in memory for tests: the bundle of the conformance suite, and shorter ways to say what is looked at."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from stream_triggers.runtime.clock import ManualClock
from stream_triggers.runtime.log import TopicPartition, TopicSpec
from stream_triggers.runtime.memory_log import MemoryCluster, MemoryLog, MemoryProducer
from tests.runtime.log_bundle import LogBundle, Participant, values_of

START_MS = 1_700_000_000_000
IN_0, OUT_0 = TopicPartition("in", 0), TopicPartition("out", 0)


class MemoryBundle(LogBundle):
    """A cluster in memory; waiting moves its clock."""

    def __init__(self) -> None:
        self.cluster = MemoryCluster(ManualClock(START_MS))
        self._topic_numbers = count(1)
        super().__init__()

    def log(self, slot: str) -> MemoryLog:
        return MemoryLog(self.cluster, slot)

    def topic(self, partitions: int) -> str:
        name = f"topic-{next(self._topic_numbers)}"
        self.cluster.create_topics([TopicSpec(name, partitions, {})])
        return name

    def trim(self, partition: TopicPartition, start: int) -> None:
        self.cluster.trim(partition, start)

    def grow(self, topic: str, partitions: int) -> None:
        self.cluster.grow(topic, partitions)

    def until(self, reached: Callable[[], bool]) -> None:
        for _ in range(600):
            if reached():
                return
            self.cluster.clock.advance(100)
        raise AssertionError("not reached within 60 s")


def make_cluster() -> MemoryCluster:
    """Topics ``in`` and ``out`` with two partitions each."""
    cluster = MemoryCluster(ManualClock(START_MS))
    cluster.create_topics([TopicSpec("in", 2, {}), TopicSpec("out", 2, {})])
    return cluster


def join(cluster: MemoryCluster, slot: str, *, static: bool = True, timeout_ms: int = 10_000) -> Participant:
    """A member that has polled once."""
    member = MemoryLog(cluster, slot, static=static, session_timeout_ms=timeout_ms).member()
    participant = Participant(member)
    member.subscribe(["in"], participant)
    return participant.step()


def open_producer(cluster: MemoryCluster, slot: str = "a") -> MemoryProducer:
    producer = MemoryLog(cluster, slot).producer()
    producer.open()
    return producer


def begun(cluster: MemoryCluster, slot: str = "a", value: bytes = b"1") -> MemoryProducer:
    """A producer with one record in its open transaction."""
    producer = open_producer(cluster, slot)
    producer.begin()
    producer.produce("out", values_of(value))
    return producer


def values(cluster: MemoryCluster, topic: str = "out") -> list[bytes | None]:
    return [record.value() for record in cluster.records(topic)]


def outcomes(cluster: MemoryCluster) -> list[tuple[str, bytes | None]]:
    return [(entry.outcome, entry.value()) for entry in cluster.entries("out")[0]]
