"""A real broker for the conformance suite of logs and for the tests of what only Kafka does."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count

from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import AdminClient, NewPartitions

from stream_triggers.runtime.kafka import KafkaLog, KafkaSettings
from stream_triggers.runtime.log import TopicPartition, TopicSpec
from tests.runtime.log_bundle import LogBundle

SESSION_MS = 2_000
AWAY_MS = 3_000
"""A member that does not poll for so long is out of its group."""
TRANSACTION_MS = 3_000
BOUND_S = 30.0
"""Longer than the three together, with room for a busy machine."""

_numbers = count(1)


class KafkaBundle(LogBundle):
    """A real broker, with short timeouts; names that no other test uses keep tests apart."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.name = f"kafka-test-{next(_numbers)}"
        self._topic_numbers = count(1)
        super().__init__()

    def settings(self, slot: str, **extra: str) -> KafkaSettings:
        return KafkaSettings(
            self.bootstrap_servers,
            group=self.name,
            instance=f"{self.name}-{slot}",
            transactional_id=f"{self.name}-{slot}",
            session_timeout_ms=SESSION_MS,
            transaction_timeout_ms=TRANSACTION_MS,
            extra={"max.poll.interval.ms": str(AWAY_MS), **{name.replace("_", "."): extra[name] for name in extra}},
        )

    def log(self, slot: str, **extra: str) -> KafkaLog:
        return KafkaLog(self.settings(slot, **extra))

    def patient_log(self, slot: str) -> KafkaLog:
        """For tests that take longer over a transaction than others may."""
        return KafkaLog(replace(self.settings(slot), transaction_timeout_ms=30_000))

    def topic(self, partitions: int, **settings: str) -> str:
        name = f"{self.name}-{next(self._topic_numbers)}"
        wanted = {setting.replace("_", "."): value for setting, value in settings.items()}
        self.observer.create_topics([TopicSpec(name, partitions, wanted)])
        return name

    def trim(self, partition: TopicPartition, start: int) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        for future in admin.delete_records([Position(*partition, start)]).values():
            future.result()

    def grow(self, topic: str, partitions: int) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        for future in admin.create_partitions([NewPartitions(topic, partitions)]).values():
            future.result()

    def until(self, reached: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + BOUND_S
        while not reached():
            assert time.monotonic() < deadline_s, f"not reached within {BOUND_S:g} s"
