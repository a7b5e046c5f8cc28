"""The work that is measured: topics, triggers, and events of which half fire."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from stream_triggers.config import Config
from stream_triggers.core.message import Event
from stream_triggers.core.record import Definition
from stream_triggers.core.trigger import canonical, parse_trigger, version
from stream_triggers.runtime.codec import encode
from stream_triggers.runtime.kafka import KafkaLog, KafkaSender, KafkaSettings
from stream_triggers.runtime.log import Outgoing
from stream_triggers.runtime.topics import Topics, specs

CODES = ("order.paid", "page.viewed")
"""Events alternate between the two; triggers listen for the first."""


@dataclass(frozen=True)
class Work:
    """One set of topics of its own, by prefix, on the benchmark's broker."""

    bootstrap_servers: str
    name: str
    partitions: int = 4

    @property
    def config(self) -> Config:
        """The worker's configuration."""
        return Config(bootstrap_servers=self.bootstrap_servers, application="bench", topic_prefix=f"{self.name}.")

    @property
    def topics(self) -> Topics:
        """The names of the topics."""
        return Topics("bench", f"{self.name}.")

    def settings(self, slot: str = "0") -> KafkaSettings:
        """The worker of ``slot``, in a group of this work's own."""
        name = f"bench-{self.name}-{slot}"
        return KafkaSettings(self.bootstrap_servers, group=f"bench-{self.name}", instance=name, transactional_id=name)

    def create_topics(self) -> None:
        """Make all topics."""
        log = KafkaLog(self.settings())
        log.create_topics(specs(self.topics, {}, claim_retention_ms=86_400_000, partitions=self.partitions))
        log.close()

    def apply_triggers(self, count: int) -> None:
        """The first fires for every ``order.paid``; of the others each fires for one customer who never comes."""
        when = [{"event": CODES[0]}] + [
            {"event": CODES[0], "filter": {"customer": f"nobody-{n}"}} for n in range(1, count)
        ]
        triggers = [
            parse_trigger({"id": f"t{n}", "when": each, "task": "ship", "args": {"order": "${event.payload.order}"}})
            for n, each in enumerate(when)
        ]
        definitions = [Definition(each.id, version(each), canonical(each), time_ms=0) for each in triggers]
        self._send(
            self.topics.trigger_definitions,
            ({"key": each.id.encode(), "value": encode(each)} for each in definitions),
        )

    def send_events(self, count: int, *, firing: bool = True) -> None:
        """Write ``count`` events, half of which fire unless ``firing`` is off."""
        self._send(self.topics.events, events(count, firing=firing))

    def _send(self, topic: str, records: Iterable[Outgoing]) -> None:
        sender = KafkaSender(self.settings(), lambda _topic, key, _value: str(key))
        rest = iter(records)
        while batch := list(islice(rest, 1000)):
            sender.send(topic, batch)
        sender.close(60.0)


def events(count: int, *, firing: bool) -> Iterator[Outgoing]:
    """About 130 bytes each, keyed by order."""
    now_ms = time.time_ns() // 1_000_000
    for n in range(count):
        code = CODES[n % 2] if firing else CODES[1]
        payload = {"order": n, "customer": f"customer-{n % 1000}", "currency": "EUR", "total": n % 500}
        yield {"value": encode(Event(code, f"event-{n}", now_ms, f"order-{n}", payload)), "key": b"order-%d" % n}
