"""The work that is measured: topics, triggers, and events of which half fire.

Rules:
1. Every program that is compared reads the same events from the same topic, each round in a group of its own.
2. Events alternate between two codes; triggers listen for the first, so half of them fire whatever the triggers are.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient

from stream_triggers.config import Config
from stream_triggers.core.message import Event
from stream_triggers.core.record import Definition, Start
from stream_triggers.core.trigger import canonical, parse_trigger, version
from stream_triggers.errors import Unavailable
from stream_triggers.runtime.codec import encode
from stream_triggers.runtime.kafka import KafkaLog, KafkaSender, KafkaSettings
from stream_triggers.runtime.log import Outgoing, TopicSpec
from stream_triggers.runtime.topics import Topics, specs

PARTITIONS = 4
CODES = ("order.paid", "page.viewed")
CURRENCY = "EUR"
TASK = "ship"

EVENTS_PER_MS = 100
"""What a busy installation sends; instants repeat, and are not all the same."""

_SEND_BATCH = 1000
_SEND_TIMEOUT_S = 120.0
_AT_ONCE_MS = 600_000
_JOIN_S = 30.0


@dataclass(frozen=True)
class Work:
    """Topics of its own by prefix; ``application`` is one round's group and changelogs on them."""

    bootstrap_servers: str
    name: str
    application: str = "bench"

    @property
    def config(self) -> Config:
        """The worker's configuration: the defaults."""
        return Config(
            bootstrap_servers=self.bootstrap_servers, application=self.application, topic_prefix=f"{self.name}."
        )

    @property
    def topics(self) -> Topics:
        """The names of the engine's topics."""
        return Topics(self.application, f"{self.name}.")

    @property
    def forwarded(self) -> str:
        """Where the floor writes to."""
        return f"{self.name}.forwarded"

    @property
    def streams_invocations(self) -> str:
        """Where Kafka Streams writes invocations to."""
        return f"{self.name}.streams-invocations"

    @property
    def streams_runs(self) -> str:
        """Where Kafka Streams writes run records to."""
        return f"{self.name}.streams-runs"

    def settings(self, slot: str = "0") -> KafkaSettings:
        """The clients of the worker of ``slot``."""
        group = f"{self.name}.{self.application}"
        instance = f"{group}-{slot}"
        return KafkaSettings(self.bootstrap_servers, group=group, instance=instance, transactional_id=instance)

    def round(self, number: int, partitions: int = PARTITIONS) -> Work:
        """The same events for a worker that has never seen them: a new group, with empty changelogs."""
        work = replace(self, application=f"round-{number}")
        work.create_topics(partitions)
        return work

    def create_topics(self, partitions: int = PARTITIONS) -> None:
        """Make the topics that do not exist yet."""
        wanted = specs(self.topics, {}, claim_retention_ms=self.config.claim_retention_ms, partitions=partitions)
        others = (self.forwarded, self.streams_invocations, self.streams_runs)
        log = KafkaLog(self.settings())
        log.create_topics([*wanted, *(TopicSpec(name, partitions, {}) for name in others)])
        log.close()

    def apply_triggers(self, count: int, start: Start | None = None) -> None:
        """One trigger that fires for every event of its code, or ``count`` of which the filter of one lets it fire."""
        filters = [{"currency": CURRENCY}, *({"currency": f"currency-{n}"} for n in range(1, count))]
        leaves = [{"event": CODES[0], "filter": each} for each in filters] if count > 1 else [{"event": CODES[0]}]
        args = {"order": "${event.payload.order}"}
        sources = ({"id": f"trigger-{n}", "when": leaf, "task": TASK, "args": args} for n, leaf in enumerate(leaves))
        self.apply(*sources, start=start)

    def apply(self, *sources: Mapping[str, Any], start: Start | None = None) -> None:
        """These triggers, in their JSON form, and where they start."""
        triggers = map(parse_trigger, sources)
        definitions = [Definition(each.id, version(each), canonical(each), time_ms=0, start=start) for each in triggers]
        self._send(
            self.topics.trigger_definitions,
            ({"key": each.id.encode(), "value": encode(each)} for each in definitions),
        )

    def send_events(self, count: int, *, firing: bool = True) -> None:
        """Write ``count`` events, half of which fire unless ``firing`` is off."""
        self.send(events(count, firing=firing))

    def send(self, records: Iterable[Outgoing]) -> None:
        """Write any events."""
        self._send(self.topics.events, records)

    def send_events_at_once(self, count: int) -> None:
        """Write ``count`` events in one transaction: workers that are there already see all of them when it ends."""
        name = f"{self.name}.{self.application}-sender"
        settings = KafkaSettings(self.bootstrap_servers, transactional_id=name, transaction_timeout_ms=_AT_ONCE_MS)
        log = KafkaLog(settings)
        producer = log.producer()
        producer.open()
        producer.begin()
        for batch in _batches(events(count, firing=True)):
            producer.produce(self.topics.events, batch)
        producer.commit()
        producer.close()
        log.close()

    def wait_for_workers(self, count: int) -> None:
        """Wait until the group has so many members, each with its partitions."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        group = self.settings().group
        deadline = time.monotonic() + _JOIN_S
        while time.monotonic() < deadline:
            described = admin.describe_consumer_groups([group])[group].result()
            if described.state == ConsumerGroupState.STABLE and len(described.members) == count:
                return
            time.sleep(0.1)
        raise Unavailable(f"group {group} did not get {count} members within {_JOIN_S:g} s")

    def _send(self, topic: str, records: Iterable[Outgoing]) -> None:
        sender = KafkaSender(self.settings(), lambda _topic, key, _value: str(key))
        for batch in _batches(records):
            sender.send(topic, batch)
        sender.close(_SEND_TIMEOUT_S)


def _batches(records: Iterable[Outgoing]) -> Iterator[list[Outgoing]]:
    rest = iter(records)
    while batch := list(islice(rest, _SEND_BATCH)):
        yield batch


def events(count: int, *, firing: bool) -> Iterator[Outgoing]:
    """About 130 bytes each, keyed by order; a hundred of them happen in one millisecond."""
    start_ms = time.time_ns() // 1_000_000
    for n in range(count):
        code = CODES[n % 2] if firing else CODES[1]
        payload = {"order": f"order-{n}", "customer": f"customer-{n % 1000}", "currency": CURRENCY, "total": n % 500}
        event = Event(code, f"event-{n}", start_ms + n // EVENTS_PER_MS, f"order-{n}", payload)
        yield {"value": encode(event), "key": b"order-%d" % n}
