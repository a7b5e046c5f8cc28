"""A producer without transactions, for programs that write messages and want to know that they arrived.

Rules:
1. Sending does not wait, but while the send buffer is full; ``flush`` waits and tells which messages failed.
2. A message arrives once however often the library had to send it, as long as this sender lives. A caller that sends
   again after a failure sends the same message, with its id.
"""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import KafkaError, Message, Producer

from stream_triggers.core.words import counted
from stream_triggers.errors import DeliveryFailed, Unavailable
from stream_triggers.runtime.kafka.delivery import hand_over
from stream_triggers.runtime.kafka.failures import reason, remedy
from stream_triggers.runtime.kafka.settings import KafkaSettings, client_settings, connect, logger, new_client
from stream_triggers.runtime.log import Outgoing

Identify = Callable[[str, bytes | None, bytes | None], str]
"""Names a message in a report of failure, from its topic, key and value."""


class KafkaSender:
    """Writes records outside of transactions. Safe to use from several threads."""

    def __init__(self, settings: KafkaSettings, identify: Identify) -> None:
        chosen = {**client_settings(settings, "sender"), "error_cb": self._hear, "on_delivery": self._delivered}
        self._client: Producer = new_client(Producer, chosen, settings)
        connect(self._client)
        self._identify = identify
        self._failures: list[tuple[str, str]] = []
        self._remedy = ""  # for the newest failure that sending again does not mend

    def send(self, topic: str, records: list[Outgoing]) -> None:
        """Hand over ``records``; those that fail are told by the next ``flush``.

        The list and its members belong to the sender afterwards.
        """
        for error, record in hand_over(self._client, topic, records):
            self._fail(error, topic, record["key"], record["value"])
        self._client.poll(0)

    def flush(self, timeout_s: float) -> None:
        """Wait until everything sent has been acknowledged.

        Raises ``DeliveryFailed`` for messages that failed since the last call, ``Unavailable`` when some are still on
        their way after ``timeout_s``; those may yet arrive, and a later call waits for them.
        """
        waiting = self._client.flush(timeout_s)
        failures, self._failures = self._failures, []
        if failures:
            raise DeliveryFailed(
                f"not accepted: {counted(len(failures), 'message')}, the first: {failures[0][0]}: {failures[0][1]}",
                tuple(failures),
                hint=self._remedy or "send them again with the same ids: a repeat fires nothing",
            )
        if waiting:
            raise Unavailable(f"not acknowledged within {timeout_s:g} s: {counted(waiting, 'message')}")

    def close(self, timeout_s: float = 10.0) -> None:
        """Flush and release the connection; raises what ``flush`` raises, after closing."""
        try:
            self.flush(timeout_s)
        finally:
            self._client.purge(blocking=False)
            self._client.close()

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._fail(error, message.topic() or "", message.key(), message.value())

    def _fail(self, error: KafkaError, topic: str, key: bytes | None, value: bytes | None) -> None:
        self._remedy = remedy(error) or self._remedy
        self._failures.append((self._identify(topic, key, value), reason(error)))

    def _hear(self, error: KafkaError) -> None:
        logger.info("kafka sender reports: %s", reason(error))
