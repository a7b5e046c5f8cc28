"""The log as the runtime needs it: a consumer group's member, a transactional producer, a reader.

``runtime.kafka`` implements it over confluent-kafka, ``runtime.memory_log`` in memory with the same rules;
``tests/runtime/log_suite.py`` says what both must do.

Rules:
1. ``offset`` is a record's own; ``next_offset`` is where reading continues. Only next offsets are committed.
2. A member is the owner of a partition between ``assigned`` and the return of ``revoked``, or the start of ``lost``.
3. Readers and members read committed records only.
4. Errors are sorted by what the caller does next: ``Aborted`` abort and read again, ``Unsettled`` recycle the
   producer, ``Fenced`` stop, ``Unavailable`` try again later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, NotRequired, Protocol, TypedDict


class TopicPartition(NamedTuple):
    """One partition of one topic; its text, ``events/0``, is also what stores and changelogs file it under."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class Record(Protocol):
    """A record that was read. Methods, as confluent-kafka's ``Message`` has, so that a batch needs no copying."""

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def timestamp(self) -> tuple[int, int]:
        """Kind of timestamp, and milliseconds since the epoch."""
        ...

    def headers(self) -> list[tuple[str, bytes | None]] | None: ...


def partition_of(record: Record) -> TopicPartition:
    """Where ``record`` stands."""
    return TopicPartition(record.topic(), record.partition())


class Slice(NamedTuple):
    """Records of one partition that follow each other in a batch, at least one."""

    partition: TopicPartition
    records: Sequence[Record]


def slices(records: Iterable[Record]) -> list[Slice]:
    """A batch as slices, in its order; nearly always a few."""
    return [Slice(TopicPartition(*place), list(run)) for place, run in groupby(records, key=_place)]


def _place(record: Record) -> tuple[str, int]:
    return record.topic(), record.partition()  # a plain tuple: one is made for every record


class Outgoing(TypedDict):
    """A record to write, in the shape ``Producer.produce_batch`` of confluent-kafka takes.

    Without ``partition`` the key's hash chooses one (murmur2, as the Java client does), without a key a random one.
    """

    value: bytes | None
    key: bytes | None
    partition: NotRequired[int]


@dataclass(frozen=True, slots=True)
class Membership:
    """What a transaction's offsets are fenced with: the member's place in its group, as it was when read.

    ``generation`` below 0 or an empty ``member_id`` means "not a member": such offsets would be accepted unfenced.
    """

    generation: int
    member_id: str
    token: object
    """What the implementation needs to send it; opaque to everyone else."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic to create, or as it is: ``settings`` are Kafka's topic-level configuration."""

    name: str
    partitions: int
    settings: Mapping[str, str]


class Listener(Protocol):
    """Hears of changes of ownership, only from inside ``Member.poll`` and ``Member.close``."""

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """These are ours now; nothing is read of one until ``Member.start`` says where to begin."""
        ...

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """These are ours until this returns: the last moment to commit for them."""
        ...

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        """These belong to others already: commit nothing for them, drop what was prepared."""
        ...


class Member(Protocol):
    """One member of the consumer group."""

    def subscribe(self, topics: Sequence[str], listener: Listener) -> None:
        """Join the group; partitions arrive through ``listener`` during ``poll``."""
        ...

    def poll(self, records_max: int, timeout_s: float) -> Sequence[Record]:
        """The next records of started partitions; waits at most ``timeout_s`` for the first, not for more.

        Raises ``Fenced`` when another member took this one's static name.
        """
        ...

    def membership(self) -> Membership:
        """This member's place in the group at this moment."""
        ...

    def committed(self, partitions: Iterable[TopicPartition], timeout_s: float) -> Mapping[TopicPartition, int | None]:
        """Next offsets the group has committed, None where it never has.

        Waits for transactions that hold offsets of these partitions to end; ``Unavailable`` when that takes
        longer than ``timeout_s``.
        """
        ...

    def start(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Deliver the records of these assigned partitions, each from its next offset (also to go back)."""
        ...

    def known_ends(self) -> Mapping[TopicPartition, int]:
        """The high watermark of each started partition as it was last heard of: asks nobody, and may lag."""
        ...

    def close(self) -> None:
        """Leave (a static member: without giving up its partitions before the session ends)."""
        ...


class Producer(Protocol):
    """A transactional producer. One transaction at a time; everything produced belongs to the open one."""

    def open(self) -> None:
        """Take over the transactional id: a predecessor's open transaction ends, the predecessor is fenced."""
        ...

    def begin(self) -> None:
        """Start a transaction."""
        ...

    def produce(self, topic: str, records: list[Outgoing]) -> None:
        """Hand over ``records``; returns before they are written. Waits while the send buffer is full.

        The list and its members belong to the producer afterwards.
        """
        ...

    def send_offsets(self, next_offsets: Mapping[TopicPartition, int], membership: Membership) -> None:
        """Make the consumed positions part of the transaction. Raises ``Aborted`` if the member is fenced."""
        ...

    def commit(self) -> None:
        """Write everything out and commit. Raises ``Aborted``, ``Fenced``, or ``Unsettled`` (outcome unknown)."""
        ...

    def abort(self) -> None:
        """Drop the open transaction; nothing if none is open. Raises ``Unsettled`` when it cannot be told."""
        ...

    def serve(self) -> None:
        """Take in what the client has to report; called now and then while there is nothing to write."""
        ...

    def close(self) -> None:
        """Give up without waiting; an open transaction is left to the successor or the broker's timeout."""
        ...


class Reader(Protocol):
    """Reads partitions from given positions, outside any group."""

    def assign(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Read these partitions from these positions, and no others."""
        ...

    def poll(self, records_max: int, timeout_s: float) -> Sequence[Record]:
        """The next committed records; waits at most ``timeout_s`` for the first."""
        ...

    def positions(self) -> Mapping[TopicPartition, int]:
        """Per assigned partition, where reading continues: past control and aborted records too."""
        ...

    def close(self) -> None:
        """Release the connection."""
        ...


class Log(Protocol):
    """One cluster: makes the clients, and answers questions about topics."""

    def member(self) -> Member: ...
    def producer(self) -> Producer: ...
    def reader(self) -> Reader: ...

    def start_offsets(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """The first offset still kept of each."""
        ...

    def end_offsets(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """The high watermark of each: the next offset to be written, open transactions included."""
        ...

    def offsets_at(self, partitions: Iterable[TopicPartition], time_ms: int) -> Mapping[TopicPartition, int]:
        """The first offset of each that has ``time_ms`` or a later time, markers included; the end where none has."""
        ...

    def topics(self, names: Iterable[str]) -> Mapping[str, TopicSpec]:
        """Those of the named topics that exist, with their settings."""
        ...

    def topic_ids(self, names: Iterable[str]) -> Mapping[str, str]:
        """What tells those of the named topics that exist from others of the same name, here or on other clusters."""
        ...

    def create_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Create these topics; those that exist are left as they are."""
        ...

    def close(self) -> None:
        """Release the connection; clients made from it are closed on their own."""
        ...
