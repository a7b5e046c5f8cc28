"""What every gate of flow control is: memory and a match or an instant in, memory and matches out.

Rules:
1. Every match that goes into a gate comes out once, is in its memory, or is refused with a reason.
2. Instants are those of the wall clock of the facts partition, which come from its log. The same memory and the same
   inputs give the same outcome; there is nothing else that a gate knows.
3. A gate looks at the time before it takes a match: ``on_match`` is called with what ``on_time`` of the same instant
   left. So a match that comes late to an instant finds the gate as a tick at that instant would have left it.
4. An instant that the gate has seen, or an earlier one, changes nothing.
5. Matches leave a gate in the order in which they came; one that is made of several has the place of the last.
6. Memory is valid under every setting of its gate: when a new version of a trigger changes a number, what is held is
   kept and the new number holds for it.
7. A gate holds at most ``HELD_MAX`` matches, or fewer by its setting, and takes no more when they have
   ``OCCURRENCES_HELD_MAX`` occurrences together. A queue holds no more than ``QUEUED_BYTES_MAX`` either, but for one
   match that is larger by itself: so a state stays below what is dropped for its size.
8. Without anything worth remembering the memory is None, and a gate asks to be woken when that comes to be.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from stream_triggers.core.flow.settings import HELD_MAX, Collect, expiry_ms
from stream_triggers.core.invocation import FlowReason
from stream_triggers.core.keyed.state import Match

TOO_LATE = "it expired before it was its turn"
"""What is said of a match that ``expires`` lets fire no more."""

QUEUED_BYTES_MAX = 768 * 1024
"""Most bytes of occurrences, written, in a queue: two of them and the rest stay below the limit of a state, 2 MiB."""

OCCURRENCES_HELD_MAX = 10_000
"""With so many occurrences, the matches that a gate holds for one key are as many as it may hold."""


class Refused(NamedTuple):
    """A match that a gate did not let through; None is a note of the gate itself, such as a breaker that trips."""

    reason: FlowReason
    detail: str
    match: Match | None


class Memory(msgspec.Struct, frozen=True, array_like=True):
    """What a gate remembers for one key."""

    def holding(self) -> tuple[Match, ...]:
        """The matches that are held, in order."""
        return ()


M = TypeVar("M", bound=Memory)


class Passage(NamedTuple, Generic[M]):
    """What a gate makes of its input."""

    memory: M | None
    released: tuple[Match, ...] = ()
    refused: tuple[Refused, ...] = ()


class Gate(Protocol[M]):
    """One step of flow control; ``name`` is the word of the trigger file and the place of its memory in a state."""

    name: ClassVar[str]
    memory_type: ClassVar[Any]

    def on_time(self, memory: M, now_ms: int) -> Passage[M]:
        """Let go what is due."""

    def on_match(self, memory: M | None, match: Match, now_ms: int) -> Passage[M]:
        """Take a match, after ``on_time`` of the same instant."""

    def wake_ms(self, memory: M) -> int | None:
        """The least instant at which ``on_time`` would change something; None is never."""


class Window(msgspec.Struct, frozen=True, array_like=True):
    """A span of time that its first match opened, and how many it has counted."""

    start_ms: int
    count: int


class Waiting(msgspec.Struct, frozen=True, array_like=True):
    """A match in a queue, and since when."""

    match: Match
    since_ms: int


class Queue(Memory, frozen=True):
    """Matches that wait, in the order in which they came; there is at least one. ``size_bytes`` is what they take."""

    waiting: tuple[Waiting, ...]
    size_bytes: int = 0

    def holding(self) -> tuple[Match, ...]:
        return tuple(each.match for each in self.waiting)


def merged(matches: tuple[Match, ...]) -> Match:
    """The one match that takes the place of ``matches``: every occurrence of theirs once, in order."""
    if len(matches) == 1:
        return matches[0]
    occurrences = {(each.leaves, each.kind, each.id): each for match in matches for each in match.occurrences}
    nominals = [match.nominal_ms for match in matches if match.nominal_ms is not None]
    return Match(
        occurrences=tuple(sorted(occurrences.values(), key=lambda occurrence: occurrence.moment)),
        time_ms=max(match.time_ms for match in matches),
        nominal_ms=max(nominals, default=None),
    )


def gathered(held: tuple[Match, ...], match: Match, collect: Collect) -> tuple[tuple[Match, ...], tuple[Match, ...]]:
    """What is held when ``match`` comes, and what is not held any more or is not taken; both in order."""
    if collect.which == "latest":
        return (match,), held
    if is_full(held, collect.max):
        return held, (match,)
    return (*held, match), ()


def is_full(held: tuple[Match, ...], most: int = HELD_MAX) -> bool:
    """Whether ``held`` is as much as a gate may hold whose setting is ``most``."""
    return len(held) >= most or sum(len(match.occurrences) for match in held) >= OCCURRENCES_HELD_MAX


def queued(name: str, queue: Queue | None, match: Match, now_ms: int) -> Passage[Queue]:
    """Put ``match`` at the end of the queue of the gate ``name``, or refuse it when there is no room."""
    if queue is None:
        return Passage(Queue((Waiting(match, now_ms),), size_bytes(match)))
    held, total_bytes = queue.holding(), queue.size_bytes + size_bytes(match)
    if is_full(held) or total_bytes > QUEUED_BYTES_MAX:
        return Passage(queue, (), queue_full(name, held, match))
    since_ms = max(now_ms, queue.waiting[-1].since_ms)
    return Passage(Queue((*queue.waiting, Waiting(match, since_ms)), total_bytes))


def size_bytes(match: Match) -> int:
    """What the occurrences of a match take, written."""
    return sum(len(_ENCODER.encode(each)) for each in match.occurrences)


def queue_full(name: str, held: tuple[Match, ...], match: Match) -> tuple[Refused, ...]:
    """The refusal of ``match`` by the gate ``name``, which holds as much as it may."""
    return (Refused("queue_full", f"{name} holds as much as it may, matches: {len(held)}", match),)


def has_expired(match: Match, expires_ms: int | None, now_ms: int) -> bool:
    """Whether ``match`` came to hold ``expires_ms`` ago or earlier, None being never."""
    return expires_ms is not None and expiry_ms(match.time_ms, expires_ms) <= now_ms


def too_late(matches: tuple[Match, ...], expires_ms: int | None, now_ms: int) -> tuple[Refused, ...]:
    """The refusals of those of ``matches`` that have expired."""
    return refused("expired", TOO_LATE, tuple(each for each in matches if has_expired(each, expires_ms, now_ms)))


def first_expiry_ms(held: tuple[Match, ...], expires_ms: int | None, otherwise_ms: int) -> int:
    """The instant at which the first of ``held`` has expired, or ``otherwise_ms`` where that is earlier."""
    if expires_ms is None:
        return otherwise_ms
    return min([otherwise_ms, *(expiry_ms(match.time_ms, expires_ms) for match in held)])


def refused(reason: FlowReason, detail: str, matches: tuple[Match, ...]) -> tuple[Refused, ...]:
    """A refusal of each of ``matches``."""
    return tuple(Refused(reason, detail, match) for match in matches)


_ENCODER = msgspec.msgpack.Encoder()
