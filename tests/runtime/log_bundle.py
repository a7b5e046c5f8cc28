"""What the conformance suite of logs is run on: a cluster to try a log on, and clients that remember what they saw.

Every wait is for a condition, so that the same test runs on a clock that the test moves and on a real broker.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence

from stream_triggers.runtime.log import (
    Log,
    Member,
    Membership,
    Outgoing,
    Producer,
    Reader,
    Record,
    TopicPartition,
)

READ_MAX = 100
POLL_S = 0.05
IN_TIME_S = 10.0
"""Longer than any settled cluster takes to answer."""


class LogBundle(ABC):
    """A cluster to try a log on, with topics and one consumer group that no other test uses.

    A subclass has its cluster ready before it calls ``super().__init__()``.
    """

    def __init__(self) -> None:
        self.observer = self.log("observer")
        """A log to ask about topics."""
        self._writer: Producer | None = None
        self._clients: list[Member | Producer | Reader] = []

    @abstractmethod
    def log(self, slot: str) -> Log:
        """The log of a new process in the test's group: its member is static, both named after the slot."""

    @abstractmethod
    def topic(self, partitions: int) -> str:
        """Create a topic under a new name; returns the name."""

    @abstractmethod
    def trim(self, partition: TopicPartition, start: int) -> None:
        """Delete the records before offset ``start``."""

    @abstractmethod
    def grow(self, topic: str, partitions: int) -> None:
        """Add partitions until there are so many."""

    @abstractmethod
    def until(self, reached: Callable[[], bool]) -> None:
        """Call ``reached`` again and again while time passes, until it is true.

        The bound after which this fails is above the sum of session timeout, the longest pause between polls that a
        member may make, and the transaction timeout with the broker's delay in noticing it.
        """

    def close(self) -> None:
        """Close every client that was made."""
        for client in reversed(self._clients):
            client.close()

    def producer(self, slot: str) -> Producer:
        """An open producer of a new process."""
        producer = self.log(slot).producer()
        self._clients.append(producer)
        producer.open()
        return producer

    def reading(self, next_offsets: Mapping[TopicPartition, int]) -> Reading:
        """A reader that reads from these positions."""
        reader = self.observer.reader()
        self._clients.append(reader)
        reader.assign(next_offsets)
        return Reading(reader)

    def participant(self, slot: str, *topics: str) -> Participant:
        """A member of a new process, subscribed to ``topics``."""
        member = self.log(slot).member()
        self._clients.append(member)
        participant = Participant(member)
        member.subscribe(topics, participant)
        return participant

    def joined(self, slot: str, *topics: str) -> Participant:
        """A participant that owns partitions already."""
        participant = self.participant(slot, *topics)
        self.until(lambda: participant.step().owned != set())
        return participant

    def write(self, topic: str, records: list[Outgoing]) -> None:
        """Write ``records`` in a transaction of their own."""
        if self._writer is None:
            self._writer = self.producer("writer")
        commit_records(self._writer, topic, records)

    def read(self, *partitions: TopicPartition) -> list[bytes | None]:
        """The values of everything that is in ``partitions`` now and was committed; waits for open transactions."""
        reading = self.reading(dict.fromkeys(partitions, 0))
        ends = self.observer.end_offsets(partitions)
        self.until(lambda: all(offset >= ends[each] for each, offset in reading.step().reader.positions().items()))
        return reading.values()

    def until_owned(self, counts: Mapping[Participant, int]) -> None:
        """Let these members poll, and no others, until each owns its number of partitions."""

        def owned() -> bool:
            for participant in counts:
                participant.step()
            return all(len(participant.owned) == count for participant, count in counts.items())

        self.until(owned)

    def until_written(self, partition: TopicPartition, end_offset: int) -> None:
        """Wait until a partition has grown: records arrive some time after ``produce``, markers after ``commit``."""
        self.until(lambda: self.observer.end_offsets([partition]) == {partition: end_offset})


class Reading:
    """A reader, and the records it was given."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.records: list[Record] = []

    def step(self) -> Reading:
        """Poll once."""
        self.records.extend(self.reader.poll(READ_MAX, POLL_S))
        return self

    def values(self) -> list[bytes | None]:
        """The values it was given, in order."""
        return [record.value() for record in self.records]


class Participant:
    """A member with a listener that remembers what it hears, and the records it was given."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.owned: set[TopicPartition] = set()
        self.heard: list[tuple[str, set[TopicPartition]]] = []
        """Changes of ownership in order, those of no partitions left out."""
        self.records: list[Record] = []
        self.when_assigned: Callable[[], None] = lambda: None
        self.when_revoked: Callable[[], None] = lambda: None

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        self.owned = set(partitions)
        self._hear("assigned", partitions)
        self.when_assigned()

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        self._hear("revoked", partitions)
        self.when_revoked()
        self.owned = set()

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        self.owned = set()
        self._hear("lost", partitions)

    def step(self) -> Participant:
        """Poll once."""
        self.records.extend(self.member.poll(READ_MAX, POLL_S))
        return self

    def start(self, next_offset: int = 0) -> Participant:
        """Begin to read everything that is owned at ``next_offset``."""
        self.member.start(dict.fromkeys(self.owned, next_offset))
        return self

    def values(self) -> list[bytes | None]:
        """The values it was given, in order."""
        return [record.value() for record in self.records]

    def _hear(self, what: str, partitions: Iterable[TopicPartition]) -> None:
        if partitions:
            self.heard.append((what, set(partitions)))


def values_of(*values: bytes) -> list[Outgoing]:
    """Records for partition 0."""
    return [Outgoing(key=None, value=value, partition=0) for value in values]


def all_of(topic: str, *partitions: int) -> set[TopicPartition]:
    """These partitions of ``topic``."""
    return {TopicPartition(topic, partition) for partition in partitions}


def committed(member: Member, partition: TopicPartition) -> int | None:
    """What the group has committed for ``partition``, when no transaction is in the way."""
    return member.committed([partition], IN_TIME_S)[partition]


def commit_records(producer: Producer, topic: str, records: list[Outgoing]) -> None:
    """Write ``records`` in a transaction of their own."""
    producer.begin()
    producer.produce(topic, records)
    producer.commit()


def commit_offsets(producer: Producer, offsets: Mapping[TopicPartition, int], membership: Membership) -> None:
    """Commit ``offsets`` in a transaction of their own."""
    producer.begin()
    producer.send_offsets(offsets, membership)
    producer.commit()
