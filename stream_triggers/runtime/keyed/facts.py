"""Facts and activations on their way to the keyed stage: which partition each goes to, and in which order.

Rules:
1. A fact goes to the partition of its trigger and key, whoever writes it: the hash is fixed, the number of partitions
   is that of the topic.
2. Before the first fact of a version in a partition stands an activation with the definition, so that whoever reads the
   partition needs nothing else. Each router writes its own: the first takes effect, the others are repeats.
3. What has been activated in the open transaction is known again only when that is committed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from zlib import crc32

from stream_triggers.core.record import Activation, Fact, Pause, Start
from stream_triggers.runtime.clock import Clock
from stream_triggers.runtime.codec import encode
from stream_triggers.runtime.log import Outgoing


class Defined(NamedTuple):
    """A definition at its place in the definitions topic; ``form`` is its canonical JSON, empty for a deletion."""

    trigger_id: str
    version: str
    offset: int
    form: bytes
    is_scheduled: bool = False
    pause: Pause | None = None
    start: Start | None = None


class KeyedTriggers(NamedTuple):
    """The triggers with memory, time or a pause in force, when the definitions have been read to ``next_offset``."""

    next_offset: int
    defined: Mapping[str, Defined]
    quarantined: frozenset[str]
    """Ids of triggers, keyed or not, whose definition this worker cannot use."""


def state_key(trigger_id: str, key: str) -> bytes:
    """What a state is filed under, also the key of the records of facts: an id of a trigger has no NUL."""
    return f"{trigger_id}\0{key}".encode()


def partition_of(key: bytes, partitions: int) -> int:
    """The facts partition of a ``state_key``; CRC-32 is stable, and even enough for keys of any kind."""
    return crc32(key) % partitions


def home_of(trigger_id: str, partitions: int) -> int:
    """The facts partition that the schedules of a trigger live in."""
    return partition_of(state_key(trigger_id, ""), partitions)


def activation(defined: Defined, partition: int, now_ms: int) -> Outgoing:
    """The record that lets a definition take effect in a partition."""
    record = Activation(
        defined.trigger_id, defined.version, defined.offset, defined.form, now_ms, defined.pause, defined.start
    )
    return Outgoing(value=encode(record), key=state_key(defined.trigger_id, ""), partition=partition)


class FactWriter:
    """Makes the records of a router's facts."""

    def __init__(self, partitions: int, clock: Clock) -> None:
        """``partitions`` is the number of partitions of the facts topic."""
        self.partitions = partitions
        self._clock = clock
        self._active: set[tuple[int, int]] = set()
        self._pending: set[tuple[int, int]] = set()

    def write(self, defined: Defined, facts: Sequence[Fact], into: list[Outgoing]) -> None:
        """Add ``facts``, matched with one definition, behind the activations they need.

        Raises ``InvalidMessage`` for one that cannot be written, such as with a document nested too deep; then none is.
        """
        for fact, value in [(fact, encode(fact)) for fact in facts]:
            key = state_key(fact.trigger_id, fact.key)
            partition = partition_of(key, self.partitions)
            place = (defined.offset, partition)
            if place not in self._active and place not in self._pending:
                self._pending.add(place)
                into.append(activation(defined, partition, self._clock.now_ms()))
            into.append(Outgoing(value=value, key=key, partition=partition))

    def settle(self) -> None:
        """The open transaction is committed."""
        if self._pending:
            self._active |= self._pending
            self._pending.clear()

    def drop_pending(self) -> None:
        """The open transaction is aborted: what it had activated has yet to be."""
        self._pending.clear()
