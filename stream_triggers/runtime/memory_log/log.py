"""One process's view of the in-memory cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from stream_triggers.runtime.log import Log, TopicPartition, TopicSpec
from stream_triggers.runtime.memory_log.client import Process
from stream_triggers.runtime.memory_log.cluster import MemoryCluster
from stream_triggers.runtime.memory_log.member import MemoryMember, MemoryReader
from stream_triggers.runtime.memory_log.producer import MemoryProducer

TRANSACTION_TIMEOUT_MS = 10_000
SESSION_TIMEOUT_MS = 10_000
POLL_PAUSE_MAX_MS = 300_000
"""librdkafka's default for ``max.poll.interval.ms``; the others are this package's."""


class MemoryLog(Log):
    """The log as one process has it: its members join ``group_id``, its producers take the slot's transactional id.

    The member is static, with the name that is also the transactional id; ``static=False`` makes it dynamic.
    """

    def __init__(
        self,
        cluster: MemoryCluster,
        slot: str = "0",
        *,
        group_id: str = "triggers",
        static: bool = True,
        transaction_timeout_ms: int = TRANSACTION_TIMEOUT_MS,
        session_timeout_ms: int = SESSION_TIMEOUT_MS,
        poll_pause_max_ms: int = POLL_PAUSE_MAX_MS,
    ) -> None:
        assert min(transaction_timeout_ms, session_timeout_ms, poll_pause_max_ms) > 0, "a timeout takes time"
        self.cluster = cluster
        self.slot = slot
        self._process = Process(cluster, slot)
        self._group_id = group_id
        self._name = f"{group_id}-{slot}"
        self._instance_id = self._name if static else None
        self._transaction_timeout_ms = transaction_timeout_ms
        self._session_timeout_ms = session_timeout_ms
        self._poll_pause_max_ms = poll_pause_max_ms

    @property
    def crashed(self) -> bool:
        """Whether the process is dead."""
        return self._process.crashed

    def crash(self) -> None:
        """Let the process die: its clients raise ``Crashed`` from now on, the cluster hears nothing of it.

        What it held ends by timeouts, or by a successor: another ``MemoryLog`` of the same slot.
        """
        self._process.crashed = True

    def member(self) -> MemoryMember:
        return MemoryMember(
            self._process, self._group_id, self._instance_id, self._session_timeout_ms, self._poll_pause_max_ms
        )

    def producer(self) -> MemoryProducer:
        return MemoryProducer(self._process, self._name, self._transaction_timeout_ms)

    def reader(self) -> MemoryReader:
        return MemoryReader(self._process)

    def start_offsets(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        self.cluster.tick()
        return {name: self.cluster.partition(name).start for name in partitions}

    def end_offsets(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        self.cluster.tick()
        return {name: self.cluster.partition(name).end for name in partitions}

    def topic_ids(self, names: Iterable[str]) -> Mapping[str, str]:
        return {name: f"{self.cluster.cluster_id}/{name}" for name in self.topics(names)}

    def offsets_at(self, partitions: Iterable[TopicPartition], time_ms: int) -> Mapping[TopicPartition, int]:
        self.cluster.tick()
        return {name: self.cluster.partition(name).offset_at(time_ms) for name in partitions}

    def topics(self, names: Iterable[str]) -> Mapping[str, TopicSpec]:
        return self.cluster.topics(names)

    def create_topics(self, specs: Sequence[TopicSpec]) -> None:
        self.cluster.create_topics(specs)

    def close(self) -> None:
        """Nothing to release."""
