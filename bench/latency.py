"""Latency from an event's ``produce`` to its invocation being readable by a read-committed consumer.

Sends firing events at a fixed rate, each on its own schedule (a late one does not move the next), while a thread reads
the output topic. Producer and reader are this process, so one clock measures.

Rules:
1. The program under test is warm: a burst of events is sent first and waited for, so that a JVM has compiled what it
   runs. So is the broker, whose path of small transactions the burst does not take: the first seconds at the rate are
   not counted.
2. An event whose invocation never came is reported as missing, not left out.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence

from confluent_kafka import Consumer, Producer

from bench.load import CODES, CURRENCY
from bench.meter import Measurement
from bench.programs import Failed
from stream_triggers.core.invocation import Invocation
from stream_triggers.core.message import Event
from stream_triggers.runtime.codec import decode, encode

BURST = 20_000
BURST_S = 120.0
WARM_UP_S = 10.0
DRAIN_S = 10.0

_READY_S = 30.0
_numbers = itertools.count()


class Latency:
    """A sender of events and a reader of the invocations that come of them."""

    def __init__(
        self,
        bootstrap_servers: str,
        events: str,
        invocations: str,
        *,
        codes: Sequence[str] = CODES[:1],
        due_ms: int = 0,
    ) -> None:
        """``events`` is the topic to write to, ``invocations`` the one to read.

        For each invocation an event of every one of ``codes`` is sent; it is due ``due_ms`` after the last.
        """
        self._servers, self._events, self._invocations = bootstrap_servers, events, invocations
        self._codes, self._due_ms = codes, due_ms
        self._sent: dict[str, float] = {}
        self._received: dict[str, float] = {}
        self._reading, self._stop = threading.Event(), threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._producer = Producer({"bootstrap.servers": bootstrap_servers, "linger.ms": 0, "enable.idempotence": True})

    def __enter__(self) -> Latency:
        self._reader.start()
        assert self._reading.wait(_READY_S), "the reader got no partitions"
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._reader.join()

    def warm_up(self) -> None:
        """Send a burst and wait until all of it has come back."""
        for _ in range(BURST):
            self._send()
            self._producer.poll(0)
        self._producer.flush()
        self._wait(BURST_S)
        if len(self._received) < len(self._sent):
            raise Failed(
                f"{len(self._sent) - len(self._received)} of {BURST} events made no invocation in {BURST_S:g} s"
            )

    def measure(self, per_second: int, seconds: float) -> Measurement:
        """Milliseconds from when invocations were due, over those of ``seconds``, so many ``per_second``."""
        start = time.perf_counter()
        counted: list[str] = []
        for n in range(int(per_second * (WARM_UP_S + seconds))):
            due = start + n / per_second
            if (wait := due - time.perf_counter()) > 0:
                time.sleep(wait)
            self._producer.poll(0)
            order = self._send()
            if due >= start + WARM_UP_S:
                counted.append(order)
        self._producer.flush()
        self._wait(DRAIN_S)
        delays = sorted(
            (self._received[order] - self._sent[order]) * 1000 - self._due_ms
            for order in counted
            if order in self._received
        )
        return {
            "p50": delays[len(delays) // 2],
            "p90": delays[int(len(delays) * 0.9)],
            "p99": delays[int(len(delays) * 0.99)],
            "max": delays[-1],
            "samples": len(delays),
            "missing": len(counted) - len(delays),
        }

    def _send(self) -> str:
        order = f"latency-{next(_numbers)}"
        payload = {"order": order, "customer": "customer-1", "currency": CURRENCY, "total": 1}
        for code in self._codes:
            value = encode(Event(code, f"{code}-{order}", time.time_ns() // 1_000_000, order, payload))
            self._sent[order] = time.perf_counter()
            self._producer.produce(self._events, value, order)
        return order

    def _wait(self, timeout_s: float) -> None:
        deadline = time.perf_counter() + timeout_s
        while not self._sent.keys() <= self._received.keys() and time.perf_counter() < deadline:
            time.sleep(0.05)

    def _read(self) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self._servers,
                "group.id": f"latency-{time.time_ns()}",
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 10,
            }
        )
        consumer.subscribe([self._invocations], on_assign=lambda *_: self._reading.set())
        while not self._stop.is_set():
            for message in consumer.consume(500, 0) or consumer.consume(1, 0.05):
                at = time.perf_counter()
                if message.error() is None:
                    invocation = decode(message.value(), (Invocation,))
                    self._received.setdefault(invocation.arguments["order"], at)
        consumer.close()
