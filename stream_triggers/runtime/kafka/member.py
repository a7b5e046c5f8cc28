"""A member of the consumer group: owns partitions, reads them from the positions it is told.

Rules:
1. Everything assigned is handed to the client library at once, paused, and moved by seek and resume. Assigning a part
   of it, or anew, is not done: it throws away what was fetched for the others, and would clear the library's mark that
   an assignment was lost, so that a loss would be reported as a revocation.
2. A batch never mixes what was fetched before and after a change: when ownership changed while it was collected, only
   records of partitions that are still started are kept, and a partition that is started from inside a listener is
   started with the next poll.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import OFFSET_END, OFFSET_INVALID, Consumer, KafkaException
from confluent_kafka import TopicPartition as Position

from stream_triggers.errors import Unavailable
from stream_triggers.runtime.kafka.consuming import Consuming
from stream_triggers.runtime.kafka.failures import error_of, failure, reason
from stream_triggers.runtime.kafka.settings import KafkaSettings
from stream_triggers.runtime.log import Listener, Membership, Record, TopicPartition

_METADATA_MARK = b"CGMDv2:"
_GENERATION_BYTES = 4


class KafkaMember:
    """A ``Member`` over confluent-kafka; its partitions come by the range strategy, all anew with every change."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._consuming = Consuming(settings, "member", lambda _entry: None)
        self._consumer = self._consuming.consumer
        self._listener: Listener
        self._started: set[TopicPartition] = set()
        self._to_start: dict[TopicPartition, int] = {}
        self._polling = False
        self._changed = False

    def subscribe(self, topics: Sequence[str], listener: Listener) -> None:
        self._listener = listener
        self._consumer.subscribe(
            list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def poll(self, records_max: int, timeout_s: float) -> Sequence[Record]:
        if self._to_start:
            self._begin()
        self._polling, self._changed = True, False
        try:
            batch = self._consuming.take(records_max, timeout_s)
        finally:
            self._polling = False
        if self._changed:
            return [record for record in batch if (record.topic(), record.partition()) in self._started]
        return batch

    def membership(self) -> Membership:
        data: bytes = self._consumer.consumer_group_metadata()
        assert data.startswith(_METADATA_MARK), f"unknown form of group metadata: {data!r}"
        start = len(_METADATA_MARK) + _GENERATION_BYTES
        generation = int.from_bytes(data[len(_METADATA_MARK) : start], sys.byteorder, signed=True)
        _group, member_id = data[start:].split(b"\0")[:2]
        return Membership(generation, member_id.decode(), data)

    def committed(self, partitions: Iterable[TopicPartition], timeout_s: float) -> Mapping[TopicPartition, int | None]:
        asked = [Position(topic, partition) for topic, partition in partitions]
        if not asked:
            return {}
        try:
            answers = self._consumer.committed(asked, timeout_s)
        except KafkaException as error:
            raise failure(error_of(error), "committed positions") from error
        for answer in answers:
            if answer.error is not None:
                raise failure(answer.error, f"committed position of {answer.topic}/{answer.partition}")
        return {
            TopicPartition(answer.topic, answer.partition): None if answer.offset == OFFSET_INVALID else answer.offset
            for answer in answers
        }

    def start(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        self._to_start.update(next_offsets)
        if not self._polling:
            self._begin()

    def close(self) -> None:
        self._consumer.close()
        self._started.clear()

    def _begin(self) -> None:
        positions = [Position(topic, partition, offset) for (topic, partition), offset in self._to_start.items()]
        self._started.update(self._to_start)
        self._to_start.clear()
        try:
            for position in positions:
                self._consumer.seek(position)
            self._consumer.resume(positions)
        except KafkaException as error:
            raise Unavailable(f"positions cannot be taken up: {reason(error_of(error))}") from error

    def _on_assign(self, consumer: Consumer, positions: list[Position]) -> None:
        at_end = [Position(position.topic, position.partition, OFFSET_END) for position in positions]
        consumer.assign(at_end)
        if at_end:
            consumer.pause(at_end)
        self._forget()
        if at_end:
            self._listener.assigned(_names(positions))

    def _on_revoke(self, _consumer: Consumer, positions: list[Position]) -> None:
        try:
            if positions:
                self._listener.revoked(_names(positions))
        finally:
            self._forget()

    def _on_lost(self, _consumer: Consumer, positions: list[Position]) -> None:
        self._forget()
        if positions:
            self._listener.lost(_names(positions))

    def _forget(self) -> None:
        """Nothing is being read: with an eager strategy every change concerns all partitions."""
        self._changed = True
        self._started.clear()
        self._to_start.clear()


def _names(positions: Iterable[Position]) -> list[TopicPartition]:
    return [TopicPartition(position.topic, position.partition) for position in positions]
