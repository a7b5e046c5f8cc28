"""The cluster behind the in-memory log: topics, coordinators, time; and what a test may look at and do.

Rules:
1. Sessions and transactions end by the clock it is given. What is due is settled before any request is served, in the
   order of the deadlines, however far the clock has moved.
2. Nothing here is random: the same calls make the same offsets, member ids and assignments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from stream_triggers.errors import Misconfigured, StreamTriggersError
from stream_triggers.runtime.clock import ManualClock
from stream_triggers.runtime.log import Outgoing, TopicPartition, TopicSpec
from stream_triggers.runtime.memory_log.fault import Faults
from stream_triggers.runtime.memory_log.group import NEVER_MS, Group
from stream_triggers.runtime.memory_log.topic import COMMITTED, Entry, Partition, Topic
from stream_triggers.runtime.memory_log.transaction import TransactionalId


class MemoryCluster:
    """A Kafka in memory, shared by the ``MemoryLog`` of every simulated process."""

    def __init__(self, clock: ManualClock, faults: Faults | None = None, cluster_id: str = "memory") -> None:
        self.clock = clock
        self.cluster_id = cluster_id
        self.faults = faults or Faults()
        self._topics: dict[str, Topic] = {}
        self._groups: dict[str, Group] = {}
        self._transactional_ids: dict[str, TransactionalId] = {}
        self._late: list[Callable[[int], object]] = []
        self._next_deadline_ms = NEVER_MS

    def write(self, topic: str, records: Sequence[Outgoing]) -> None:
        """Append ``records`` outside any transaction, as a plain producer does."""
        self.topic(topic).write(records, self.tick(), COMMITTED)

    def records(self, topic: str) -> list[Entry]:
        """What was committed to ``topic``, partition after partition, also where an open transaction still hides it."""
        return [entry for entries in self.entries(topic) for entry in entries if entry.outcome == "committed"]

    def entries(self, topic: str) -> list[list[Entry]]:
        """Everything kept, by partition: with markers, and with what is open or was aborted."""
        self.tick()
        return [list(partition.entries) for partition in self.topic(topic).partitions]

    def offsets(self, group_id: str) -> dict[TopicPartition, int]:
        """The next offsets that a group has committed."""
        self.tick()
        return dict(self.group(group_id).offsets)

    def trim(self, partition: TopicPartition, start: int) -> None:
        """Delete what is before ``start``, as retention does."""
        self.partition(partition).trim(start)

    def grow(self, topic: str, partitions: int) -> None:
        """Add partitions to ``topic`` until it has so many; groups that subscribe to it rebalance."""
        self.topic(topic).grow(partitions)
        self._rebalance(topic)

    def deliver_late(self) -> None:
        """Let the requests that were planned to be late arrive, in order; what they are refused for is not told."""
        late, self._late = self._late, []
        for request in late:
            with suppress(StreamTriggersError):
                request(self.tick())

    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        """Create the topics that do not exist; groups that subscribe to them rebalance."""
        for spec in specs:
            if spec.name in self._topics:
                continue
            self._topics[spec.name] = Topic(spec)
            self._rebalance(spec.name)

    def topics(self, names: Iterable[str]) -> Mapping[str, TopicSpec]:
        """The specifications of those of the named topics that exist."""
        return {name: self._topics[name].spec for name in names if name in self._topics}

    def topic(self, name: str) -> Topic:
        """The topic of this name; ``Misconfigured`` if it does not exist: topics are not made by writing to them."""
        topic = self._topics.get(name)
        if topic is None:
            raise Misconfigured(f"topic {name} does not exist", hint="create it first")
        return topic

    def partition(self, name: TopicPartition) -> Partition:
        """The partition of this name; ``Misconfigured`` if it does not exist."""
        partitions = self.topic(name.topic).partitions
        if not 0 <= name.partition < len(partitions):
            raise Misconfigured(
                f"topic {name.topic} has no partition {name.partition}: it has {len(partitions)}", hint="add partitions"
            )
        return partitions[name.partition]

    def group(self, group_id: str) -> Group:
        """The group of this name, made when first asked for."""
        if group_id not in self._groups:
            self._groups[group_id] = Group(
                lambda name: len(self._topics[name].partitions) if name in self._topics else 0
            )
        return self._groups[group_id]

    def transactional_id(self, name: str) -> TransactionalId:
        """The transactional id of this name, made when first asked for."""
        if name not in self._transactional_ids:
            self._transactional_ids[name] = TransactionalId(name)
        return self._transactional_ids[name]

    def delay(self, request: Callable[[int], object]) -> None:
        """Keep ``request`` for ``deliver_late``."""
        self._late.append(request)

    def schedule(self, deadline_ms: int) -> None:
        """Note that something may be due at ``deadline_ms``."""
        if deadline_ms < self._next_deadline_ms:
            self._next_deadline_ms = deadline_ms

    def tick(self) -> int:
        """Settle what is due; returns the time."""
        now_ms = self.clock.now_ms()
        while self._next_deadline_ms <= now_ms:
            timed: list[Group | TransactionalId] = [*self._groups.values(), *self._transactional_ids.values()]
            due_ms = min(each.deadline_ms for each in timed)
            if due_ms <= now_ms:
                for each in timed:
                    each.expire(due_ms)
            else:
                self._next_deadline_ms = due_ms
        return now_ms

    def wait(self, reached: Callable[[], bool], timeout_s: float) -> bool:
        """Move the clock from deadline to deadline until ``reached``, at most by ``timeout_s``; whether it was."""
        end_ms = self.tick() + int(timeout_s * 1000)
        while not reached():
            now_ms = self.tick()
            if now_ms >= end_ms:
                return False
            self.clock.advance(min(self._next_deadline_ms, end_ms) - now_ms)
            self.tick()
        return True

    def _rebalance(self, topic: str) -> None:
        for group in self._groups.values():
            if any(topic in seat.topics for seat in group.seats.values()):
                group.rebalance()
                self.schedule(group.deadline_ms)
