"""Handing records to the client library's producer.

Rules:
1. The library's batch call ignores a record's own partition and takes one for the whole batch, so batches are made by
   partition. Order is kept among records for the same partition number, and among those placed by their key.
2. When the send buffer is full the library takes the first records of a batch and marks the others. Exactly the marked
   ones are handed over again, so none is lost, doubled or overtaken.
"""
# ruff: noqa: SLF001 - the client library spells its own error codes with an underscore

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError, Producer

from stream_triggers.runtime.log import Outgoing

BUFFER_WAIT_S = 0.005
"""Pause while the send buffer is full; the library does not say when there is room."""

_BY_KEY = -1
_MARK = "_error"


def hand_over(client: Producer, topic: str, records: list[Outgoing]) -> list[tuple[KafkaError, Outgoing]]:
    """Put ``records`` into the send buffer, waiting while it is full; returns those it refuses for good, and why."""
    batches: dict[int, list[Any]] = {}
    for record in records:
        batches.setdefault(record.get("partition", _BY_KEY), []).append(record)
    refused: list[tuple[KafkaError, Outgoing]] = []
    for partition, batch in batches.items():
        while client.produce_batch(topic, batch, partition) < len(batch):
            marked = [(KafkaError(record.pop(_MARK).code()), record) for record in batch if _MARK in record]
            batch = [record for error, record in marked if error.code() == KafkaError._QUEUE_FULL]
            refused += [(error, record) for error, record in marked if error.code() != KafkaError._QUEUE_FULL]
            if not batch:
                break
            client.poll(BUFFER_WAIT_S)
    return refused
