"""What member and reader share: taking batches from the client library, and acting on the errors among the records.

Rules:
1. A poll takes what is there. Only when nothing is does it wait, and then for one record: the library's batch call
   waits until the batch is full or the time is over.
2. An error that comes with records is raised by the next poll: raising it at once would lose the records, which the
   library counts as handed out.
3. That brokers are away is logged once and waited out: the library connects again by itself.
"""
# ruff: noqa: SLF001 - the client library spells its own error codes with an underscore

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import sleep
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Position

from stream_triggers.errors import Misconfigured, StreamTriggersError, Unavailable
from stream_triggers.runtime.kafka.failures import error_of, failure, reading_failure, reason
from stream_triggers.runtime.kafka.settings import KafkaSettings, Role, client_settings, logger, new_client
from stream_triggers.runtime.log import TopicPartition

_FORGET_PAUSE_S = 0.0005
_FORGET_TRIES = 10_000
"""It takes one, seldom two."""

_PASSING = frozenset(
    {KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE, KafkaError._MAX_POLL_EXCEEDED}
)
"""The library goes on by itself after these."""


class Consuming:
    """A consumer of the client library, and what it said while a batch was taken."""

    def __init__(self, settings: KafkaSettings, role: Role, on_end: Callable[[Any], None]) -> None:
        """``on_end`` is told where a partition ends for now, if the role's settings ask for it."""
        chosen = {**client_settings(settings, role), "error_cb": self._hear}
        self.consumer: Consumer = new_client(Consumer, chosen, settings)
        self.changes = 0
        """Changes of ownership so far; what was taken before one is not handed out after it."""
        self._on_end = on_end
        self._reported: set[int] = set()
        self._held: StreamTriggersError | None = None

    def take(self, records_max: int, timeout_s: float) -> list[Any]:
        """The next records; waits at most ``timeout_s`` for the first record or event."""
        self._raise_held()
        try:
            batch = self._batch(records_max, timeout_s)
        except KafkaException as error:
            raise reading_failure(error_of(error), "topics") from error
        errors = [entry for entry in batch if entry.error() is not None]
        if errors:
            batch = [entry for entry in batch if entry.error() is None]
            for entry in errors:
                self._act_on(entry)
        if batch:
            self._reported.clear()
        else:
            self._raise_held()
        return batch

    def assign(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Read these partitions from these positions, and no others.

        Returns when the library has forgotten the positions before: until then it would tell the old ones.
        """
        self.consumer.assign([Position(*partition, offset) for partition, offset in next_offsets.items()])
        for _ in range(_FORGET_TRIES):
            if not self.reached(next_offsets):
                return
            sleep(_FORGET_PAUSE_S)
        raise Unavailable("the Kafka client does not take up new positions")

    def reached(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Where reading continues in those of ``partitions`` that something was taken from since they were assigned."""
        told = self.consumer.position([Position(*partition) for partition in partitions])
        return {TopicPartition(each.topic, each.partition): each.offset for each in told if each.offset >= 0}

    def _batch(self, records_max: int, timeout_s: float) -> list[Any]:
        batch: list[Any] = self.consumer.consume(records_max, 0)
        if batch or timeout_s <= 0:
            return batch
        first = self.consumer.poll(timeout_s)
        if first is None or records_max == 1:
            return [] if first is None else [first]
        changes = self.changes
        rest: list[Any] = self.consumer.consume(records_max - 1, 0)
        return [first, *rest] if self.changes == changes else rest

    def _act_on(self, entry: Any) -> None:
        error = entry.error()
        if error.code() == KafkaError._PARTITION_EOF:
            self._on_end(entry)
        elif error.code() in _PASSING:
            self._hear(error)
        else:
            where = f"{entry.topic()}/{entry.partition()}" if entry.topic() else "the group's topics"
            self._held = reading_failure(error, where)

    def _hear(self, error: KafkaError) -> None:
        """A connection's trouble, also told in the middle of a poll; what an operator must mend ends that poll."""
        meaning = failure(error, "connecting to Kafka")
        if isinstance(meaning, Misconfigured):
            raise meaning
        if error.code() not in self._reported:
            self._reported.add(error.code())
            logger.warning("kafka client reports: %s", reason(error))

    def _raise_held(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            raise held
