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

from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException

from stream_triggers.errors import Misconfigured, StreamTriggersError
from stream_triggers.runtime.kafka.failures import error_of, failure, reading_failure, reason
from stream_triggers.runtime.kafka.settings import KafkaSettings, Role, client_settings, logger, new_client

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

    def _batch(self, records_max: int, timeout_s: float) -> list[Any]:
        batch: list[Any] = self.consumer.consume(records_max, 0)
        if batch or timeout_s <= 0:
            return batch
        first = self.consumer.poll(timeout_s)
        if first is None:
            return []
        return [first, *self.consumer.consume(records_max - 1, 0)] if records_max > 1 else [first]

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
