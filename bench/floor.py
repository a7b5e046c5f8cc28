"""The client's floor: consume, forward some messages as they are, exactly once; nothing is decoded or stored.

What this costs is the Kafka client and the broker; no engine on this client can be faster. Its clients are set up as
the engine's are.
"""

from __future__ import annotations

import json
import time
from typing import Any

import typer
from confluent_kafka import Consumer, Producer, TopicPartition

from bench.load import Work
from bench.meter import Meter
from stream_triggers.runtime.kafka.settings import client_settings

BATCH = 1000
WAIT_S = 0.01


def main(bootstrap_servers: str, name: str, application: str, messages: int, forward: bool = True) -> None:
    """Read ``messages`` events, write every other one unless ``--no-forward``, and print a measurement."""
    work = Work(bootstrap_servers, name, f"{application}-floor")
    consumer = Consumer({**client_settings(work.settings(), "member"), "auto.offset.reset": "earliest"})
    producer = Producer(client_settings(work.settings(), "producer"))
    producer.init_transactions()
    consumer.subscribe([work.topics.events])
    meter = Meter()
    offsets: dict[int, int] = {}
    since_s = 0.0
    while meter.messages < messages:
        if not meter.messages:
            meter.start()
        batch: list[Any] = consumer.consume(BATCH, 0) or consumer.consume(1, WAIT_S)
        if not batch:
            continue
        if not offsets:
            producer.begin_transaction()
            since_s = time.monotonic()
        if forward:
            outputs = [{"value": message.value(), "key": message.key()} for message in batch[::2]]
            producer.produce_batch(work.forwarded, outputs)
        offsets.update({message.partition(): message.offset() + 1 for message in batch})
        meter.count(len(batch))
        if time.monotonic() - since_s >= work.config.commit_interval_ms / 1000 or meter.messages >= messages:
            positions = [TopicPartition(work.topics.events, partition, at) for partition, at in offsets.items()]
            producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata())
            producer.commit_transaction()
            offsets.clear()
    print(json.dumps(meter.result()))
    consumer.close()


if __name__ == "__main__":
    typer.run(main)
