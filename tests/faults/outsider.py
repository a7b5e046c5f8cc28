"""Two programs that know this engine by its schemas alone: one sends events, one reads invocations.

    python tests/faults/outsider.py send 127.0.0.1:9092 events --first 0 --count 100
    python tests/faults/outsider.py read 127.0.0.1:9092 invocations

Nothing of the engine is imported; a program in another language does the same. What it takes: the schema files, a
library for Avro and one for Kafka, and the ten bytes in front of each message, which Avro's specification calls
single-object encoding: ``c3 01``, then the fingerprint of the schema (CRC-64-AVRO of its parsing canonical form). The
avro package takes logical types for part of that form, which they are not, so they are left out before it is asked;
instants are then what they are on the wire, milliseconds since the epoch.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import avro.io
import avro.schema
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

SCHEMAS = Path(__file__).parents[2] / "schemas"


class Codec:
    """One schema: bytes of a message from a record, and back."""

    def __init__(self, name: str) -> None:
        definition = json.loads((SCHEMAS / f"{name}.avsc").read_text(encoding="utf-8"))
        self._schema = avro.schema.parse(json.dumps(without_logical_types(definition)))
        self._header = b"\xc3\x01" + bytes(self._schema.fingerprint("CRC-64-AVRO"))

    def encode(self, record: dict[str, Any]) -> bytes:
        buffer = BytesIO()
        avro.io.DatumWriter(self._schema).write(record, avro.io.BinaryEncoder(buffer))
        return self._header + buffer.getvalue()

    def decode(self, message: bytes) -> Any:
        if not message.startswith(self._header):
            raise ValueError("not a message of this schema")
        return avro.io.DatumReader(self._schema).read(avro.io.BinaryDecoder(BytesIO(message[len(self._header) :])))


def without_logical_types(schema: Any) -> Any:
    """The same schema with plain types only."""
    match schema:
        case {"logicalType": _, "type": plain}:
            return plain
        case dict():
            return {key: without_logical_types(value) for key, value in schema.items()}
        case list():
            return [without_logical_types(each) for each in schema]
    return schema


def send(servers: str, topic: str, first: int, count: int) -> None:
    """Write ``count`` events, numbered from ``first``; every one of them has an identity that a retry keeps."""
    codec = Codec("event")
    # The partitioner of Kafka's Java client: whoever writes a key, in whatever language, finds the same partition.
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "partitioner": "murmur2_random"})
    for n in range(first, first + count):
        order = f"order-{n}"
        event = {
            "code": "order.placed",
            "id": f"placed-{n}",
            "time_ms": time.time_ns() // 1_000_000,
            "key": order,
            "payload": json.dumps({"order": order, "total": n}).encode(),
            "source": "outsider",
            "traceparent": None,
            "root": None,
            "depth": 0,
        }
        producer.produce(topic, codec.encode(event), order)
        producer.poll(0)
    if producer.flush(30):
        raise TimeoutError("the brokers did not take everything")


def read(servers: str, topic: str) -> None:
    """Print every invocation that the topic holds now, one JSON object a line."""
    codec = Codec("invocation")
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "outsider",
            "isolation.level": "read_committed",  # what an aborted transaction wrote never happened
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    partitions = consumer.list_topics(topic, 30).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
    unfinished = set(partitions)
    while unfinished:
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error() is None:
            invocation = codec.decode(message.value())
            told = {name: invocation[name] for name in ("id", "trigger_id", "task", "key")}
            print(json.dumps({**told, "arguments": json.loads(invocation["arguments"])}))  # noqa: T201 - its output
        elif message.error().code() == KafkaError._PARTITION_EOF:
            unfinished.discard(message.partition())
        else:
            raise RuntimeError(message.error())
    consumer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["send", "read"])
    parser.add_argument("servers")
    parser.add_argument("topic")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    given = parser.parse_args()
    if given.what == "send":
        send(given.servers, given.topic, given.first, given.count)
    else:
        read(given.servers, given.topic)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
