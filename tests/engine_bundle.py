"""The engine on a cluster in memory: what a test needs to write inputs, drive workers, and see what came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from stream_triggers.config import Config
from stream_triggers.core.filter import Functions
from stream_triggers.core.invocation import NOTES, Decision, Invocation, TriggerRun
from stream_triggers.core.message import Event, Message, TaskResult, TaskStatus
from stream_triggers.core.record import DeadLetter, Definition, Pause, Start
from stream_triggers.core.trigger import canonical, parse_trigger, version
from stream_triggers.runtime.clock import ManualClock
from stream_triggers.runtime.codec import decode, encode
from stream_triggers.runtime.functions import AllowedFunctions
from stream_triggers.runtime.keyed.progress import Lane, read_lane
from stream_triggers.runtime.log import Log, Outgoing, TopicPartition
from stream_triggers.runtime.memory_log import MemoryCluster, MemoryLog
from stream_triggers.runtime.store import MemoryStore, Store
from stream_triggers.runtime.topics import Topics, specs
from stream_triggers.runtime.worker import Worker, no_fault

T = TypeVar("T", bound=msgspec.Struct)

START_MS = 1_700_000_000_000
ROUND_MS = 20
ROUNDS_MAX = 2000
"""Forty seconds: longer than any session, transaction or pause takes to end."""

SHIP: Mapping[str, Any] = {
    "id": "ship",
    "task": "orders.ship",
    "when": {"event": "paid"},
    "args": {"order": "${event.payload.order}"},
}
"""The trigger of tests that need any."""


class EngineBundle:
    """A cluster with the topics of one application, and the workers a test makes on it."""

    def __init__(self, *, partitions: int = 1, cluster_id: str = "memory", **config: Any) -> None:
        self.clock = ManualClock(START_MS)
        self.cluster = MemoryCluster(self.clock, cluster_id=cluster_id)
        self.config = Config(**config)
        self.topics = Topics(self.config.application)
        self.cluster.create_topics(
            specs(self.topics, {}, claim_retention_ms=self.config.claim_retention_ms, partitions=partitions)
        )

    # Writing

    def define(self, source: Mapping[str, Any], pause: Pause | None = None, start: Start | None = None) -> None:
        """Apply a trigger, with its last pause and where it starts."""
        trigger = parse_trigger(source)
        now_ms = self.clock.now_ms()
        definition = Definition(trigger.id, version(trigger), canonical(trigger), now_ms, pause=pause, start=start)
        self.write(self.topics.trigger_definitions, encode(definition), trigger.id.encode())

    def delete(self, trigger_id: str) -> None:
        """Delete a trigger."""
        self.write(self.topics.trigger_definitions, None, trigger_id.encode())

    def send(self, *messages: Message, key: bytes = b"k") -> None:
        """Write messages to the topics of their kinds."""
        for message in messages:
            self.write(self.topic_of(message), encode(message), key)

    def write(self, topic: str, value: bytes | None, key: bytes = b"k", partition: int | None = None) -> None:
        """Write any bytes."""
        record = Outgoing(key=key, value=value)
        if partition is not None:
            record["partition"] = partition
        self.cluster.write(topic, [record])

    def topic_of(self, message: Message) -> str:
        """The topic that messages like this one are sent to."""
        match message:
            case Event():
                return self.topics.events
            case TaskStatus():
                return self.topics.task_status
            case TaskResult():
                return self.topics.task_results

    # Workers

    def log(self, slot: str = "0") -> MemoryLog:
        """The cluster as a process under ``slot`` has it."""
        return MemoryLog(self.cluster, slot, group_id=self.config.application)

    def worker(
        self,
        slot: str = "0",
        store: Store | None = None,
        *,
        log: Log | None = None,
        open_store: Callable[[], Store] | None = None,
        fault: Callable[[str], None] = no_fault,
        functions: Functions | None = None,
    ) -> Worker:
        """A worker that has not started."""
        kept = MemoryStore() if store is None else store
        return Worker(
            log or self.log(slot),
            open_store or (lambda: kept),
            self.clock,
            self.config,
            functions or AllowedFunctions(self.config.allow_modules),
            fault=fault,
        )

    def start(self, slot: str = "0", store: Store | None = None, **arguments: Any) -> Worker:
        """A worker that has started, and has not taken part in its group yet."""
        worker = self.worker(slot, store, **arguments)
        worker.start()
        return worker

    def ready(self, slot: str = "0", store: Store | None = None, **arguments: Any) -> Worker:
        """A worker that works on all partitions."""
        worker = self.start(slot, store, **arguments)
        partitions = sum(spec.partitions for spec in self.cluster.topics(self.topics.consumed).values())
        self.until(lambda: worker.counters.restores >= partitions, worker)
        return worker

    def until(self, reached: Callable[[], bool], *workers: Worker) -> None:
        """Let these workers take turns while time passes, until ``reached``."""
        for _ in range(ROUNDS_MAX):
            if reached():
                return
            for worker in workers:
                worker.run_once(0.2)
            self.clock.advance(ROUND_MS)
        raise AssertionError("not reached within forty seconds")

    def work_off(self, *workers: Worker) -> None:
        """Let these workers take turns until all that was written is committed."""
        self.until(lambda: self.backlog() == 0, *workers)

    def backlog(self) -> int:
        """How many messages are not committed."""
        committed = self.committed()
        ends = self.log("observer").end_offsets(self.inputs())
        return sum(end - committed.get(tp, 0) for tp, end in ends.items())

    def inputs(self) -> list[TopicPartition]:
        """Every input partition."""
        found = self.cluster.topics(self.topics.inputs).values()
        return [TopicPartition(spec.name, number) for spec in found for number in range(spec.partitions)]

    def committed(self) -> dict[TopicPartition, int]:
        """The next offsets of the group."""
        return self.cluster.offsets(self.config.application)

    def lanes(self, trigger_id: str, epoch: int = 0) -> dict[TopicPartition, Lane]:
        """How far a trigger that starts in the past has come in each input partition, as it is committed."""
        known = filter(None, map(read_lane, self.cluster.records(self.topics.progress)))
        return {each.partition: each for each in known if (each.trigger_id, each.epoch) == (trigger_id, epoch)}

    def has_joined(self, trigger_id: str, epoch: int = 0) -> bool:
        """Whether a trigger that starts in the past has caught up everywhere."""
        known = self.lanes(trigger_id, epoch)
        return all(each in known and known[each].joined for each in self.inputs())

    # What came out, of committed transactions

    def invocations(self) -> list[Invocation]:
        return self._read(self.topics.invocations, Invocation)

    def runs(self) -> list[TriggerRun]:
        return self._read(self.topics.trigger_runs, TriggerRun)

    def decisions(self, *, noted: bool = False) -> list[Decision]:
        """Decisions, those about definitions in force only if ``noted``."""
        found = self._read(self.topics.trigger_runs, Decision)
        return [each for each in found if (each.reason in NOTES) == noted]

    def dead_letters(self) -> list[DeadLetter]:
        return self._read(self.topics.dead_letters, DeadLetter)

    def fired(self) -> list[str]:
        """Trigger and cause of each invocation, in the order of the topic's partitions."""
        return [f"{each.trigger_id} {each.causes[0]}" for each in self.invocations()]

    def _read(self, topic: str, kind: type[T]) -> list[T]:
        found = (decode(record.value()) for record in self.cluster.records(topic))
        return [each for each in found if isinstance(each, kind)]


def paid(event_id: str, **payload: Any) -> Event:
    """The event of tests that need any."""
    return Event("paid", event_id, 7, None, {"order": "o1", **payload})
