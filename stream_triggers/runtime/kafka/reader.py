"""Reads partitions from given positions, outside any group.

Rules:
1. A position is past everything the client library has dealt with: records handed out, and what it passes over in
   silence (markers of transactions, records of aborted ones, gaps that compaction left).
2. Committed records only: a position does not move past the first transaction that is still open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stream_triggers.runtime.kafka.consuming import Consuming
from stream_triggers.runtime.kafka.settings import KafkaSettings, connect
from stream_triggers.runtime.log import Record, TopicPartition, partition_of


class KafkaReader:
    """A ``Reader`` over confluent-kafka."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._consuming = Consuming(settings, "reader", self._ended)
        connect(self._consuming.consumer)
        self._positions: dict[TopicPartition, int] = {}

    def assign(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        self._positions = dict(next_offsets)
        self._consuming.assign(next_offsets)

    def poll(self, records_max: int, timeout_s: float) -> Sequence[Record]:
        """Returns before its time, with nothing, when it has come to the end of a partition."""
        return self._consuming.take(records_max, timeout_s)

    def positions(self) -> Mapping[TopicPartition, int]:
        for partition, offset in self._consuming.reached(self._positions).items():
            self._reach(partition, offset)
        return dict(self._positions)

    def close(self) -> None:
        self._consuming.consumer.close()

    def _ended(self, entry: Any) -> None:
        self._reach(partition_of(entry), entry.offset())

    def _reach(self, partition: TopicPartition, offset: int) -> None:
        if offset > self._positions.get(partition, offset):
            self._positions[partition] = offset
