"""Latency from an event's ``produce`` to its invocation being readable by a read-committed consumer.

Sends firing events at a fixed rate, each on its own schedule (a late one does not move the next), while a thread reads
the output topic. Producer and reader are this process, so one clock measures. The first seconds are not counted.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from confluent_kafka import Consumer, Producer

from stream_triggers.core.invocation import Invocation
from stream_triggers.core.message import Event
from stream_triggers.runtime.codec import decode, encode

WARM_UP_S = 5.0
DRAIN_S = 10.0


@dataclass(frozen=True)
class Latency:
    """Milliseconds, over ``samples`` events."""

    p50_ms: float
    p99_ms: float
    max_ms: float
    samples: int
    missing: int


def measure(bootstrap_servers: str, source: str, target: str, per_second: int, seconds: float) -> Latency:
    """Send ``per_second`` events for ``seconds`` after the warm-up."""
    sent: dict[str, float] = {}
    received: dict[str, float] = {}
    reading, stop = threading.Event(), threading.Event()
    reader = threading.Thread(target=_read, args=(bootstrap_servers, target, received, reading, stop))
    reader.start()
    reading.wait(30.0)
    start = time.perf_counter()
    counted_from = start + WARM_UP_S
    _send(bootstrap_servers, source, per_second, start, WARM_UP_S + seconds, sent)
    deadline = time.perf_counter() + DRAIN_S
    while len(received) < len(sent) and time.perf_counter() < deadline:
        time.sleep(0.05)
    stop.set()
    reader.join()
    counted = [(key, at) for key, at in sent.items() if at >= counted_from]
    delays = sorted((received[key] - at) * 1000 for key, at in counted if key in received)
    return Latency(
        p50_ms=delays[len(delays) // 2],
        p99_ms=delays[int(len(delays) * 0.99)],
        max_ms=delays[-1],
        samples=len(delays),
        missing=len(counted) - len(delays),
    )


def _send(servers: str, topic: str, per_second: int, start: float, seconds: float, sent: dict[str, float]) -> None:
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 0, "enable.idempotence": True})
    run = time.time_ns()
    for n in range(int(per_second * seconds)):
        due = start + n / per_second
        while (wait := due - time.perf_counter()) > 0:
            producer.poll(min(wait, 0.05))
        key = f"latency-{run}-{n}"
        value = encode(Event("order.paid", key, run // 1_000_000, key, {"order": key, "customer": "customer-1"}))
        sent[key] = time.perf_counter()
        producer.produce(topic, value, key)
    producer.flush(30.0)


def _read(
    servers: str, topic: str, received: dict[str, float], reading: threading.Event, stop: threading.Event
) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"latency-{time.time_ns()}",
            "auto.offset.reset": "latest",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 10,
        }
    )
    consumer.subscribe([topic], on_assign=lambda *_: reading.set())
    while not stop.is_set():
        for message in consumer.consume(500, 0) or consumer.consume(1, 0.05):
            at = time.perf_counter()
            if message.error() is None:
                invocation = decode(message.value())
                assert isinstance(invocation, Invocation)
                received[invocation.arguments["order"]] = at
    consumer.close()
