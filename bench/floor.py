"""The client's floor: consume, forward half as it is, exactly once, with nothing decoded, decided or stored.

What this costs is the Kafka client and the broker; no engine on this client can be faster. One JSON object on
standard output, timed as ``bench.engine`` is.
"""

from __future__ import annotations

import json
import resource
import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition

COMMIT_INTERVAL_S = 0.1


def main(bootstrap_servers: str, source: str, target: str, partitions: int, count: int) -> None:
    """Forward every other message of ``source`` to ``target``."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"floor-{source}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "transactional.id": f"floor-{source}",
            "retry.backoff.ms": 1,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    producer.init_transactions()
    consumer.subscribe([source])
    done, start, open_since = 0, 0.0, 0.0
    offsets = dict.fromkeys(range(partitions), 0)
    while done < count:
        messages = consumer.consume(1000, 0) or consumer.consume(1, 0.1)
        if not messages:
            continue
        now = time.time()
        start = start or now
        if not open_since:
            producer.begin_transaction()
            open_since = now
        producer.produce_batch(target, [{"value": m.value(), "key": m.key()} for m in messages[::2]])
        for message in messages:
            offsets[message.partition()] = message.offset() + 1
        done += len(messages)
        if now - open_since >= COMMIT_INTERVAL_S or done >= count:
            positions = [TopicPartition(source, partition, at) for partition, at in offsets.items()]
            producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata())
            producer.commit_transaction()
            open_since = 0.0
    seconds = time.time() - start
    usage = resource.getrusage(resource.RUSAGE_SELF)
    consumer.close()
    print(json.dumps({"messages": done, "events_per_s": done / seconds, "cpu_s": usage.ru_utime + usage.ru_stime}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
