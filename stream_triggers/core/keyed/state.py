"""What the keyed stage remembers of one (trigger, key), and what a step over it takes and gives.

Rules:
1. A state is a plain value: a step makes a new one and never changes the one it was given, nor what is inside it.
2. Everything in a state is bounded: occurrences by ``OCCURRENCES_MAX`` per leaf and by age, memories and gates by what
   owns them. What is dropped for a bound is a refusal.
3. The written form starts with a format number and the wake instants, so that timers can be derived from the bytes of
   a state without the definition it belongs to. A form of a newer release is ``Corrupt`` to this one, never guessed at.
4. An occurrence is in the order of its own instant; those of one instant are in the order of their arrival.
5. What is made for every fact is a struct that the collector does not follow: nothing in it can lead back to it, and
   making one takes a tenth of what a named tuple takes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any, NamedTuple, TypeAlias

import msgspec

from stream_triggers.core.invocation import Reason
from stream_triggers.core.message import JsonValue, Kind, Participant
from stream_triggers.errors import Corrupt

OCCURRENCES_MAX = 1000
"""Most occurrences kept for one leaf and key: a hot key loses its oldest, and each loss is a refusal."""

FORMAT = 1
"""The form in which this release writes a state."""

FRESH, TOLD, USED = 0, 1, 2
"""What became of a kept occurrence: nothing yet, it was named in a refusal, it took part in a firing and may again."""

NO_POSITION = -1
"""Partition, offset and arrival of an occurrence that is no record of the log: a nominal instant."""

Moment: TypeAlias = tuple[int, int]
"""A place in the order of occurrences: ``(time_ms, at)``."""


class Occurrence(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One fact that is kept: the message, the leaves for which it is of use, and what templates need of it.

    ``at`` is the offset of the fact in its facts partition. ``document`` has the message's fields by their names in
    templates. A nominal instant of a schedule is an occurrence too: of kind ``schedule``, at no position.
    """

    leaves: tuple[str, ...]
    kind: Kind
    id: str
    topic: str
    partition: int
    offset: int
    time_ms: int
    at: int
    document: JsonValue
    traceparent: str | None = None
    root: str | None = None
    depth: int = 0
    fate: int = FRESH

    @property
    def moment(self) -> Moment:
        """Its place in the order of occurrences."""
        return self.time_ms, self.at


class KeyState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """All that is remembered of one trigger for one key.

    ``occurrences`` are in order of arrival. ``memory`` is what nodes remember, by node id; ``gates`` what flow control
    does, by gate name. Both hold plain JSON values and tuples or structs of them, which are read back as lists: their
    owners convert (``msgspec.convert``). ``reset_ms`` is the instant up to which a reset has forgotten everything.
    """

    version: str
    occurrences: tuple[Occurrence, ...] = ()
    memory: dict[str, Any] = {}
    gates: dict[str, Any] = {}
    reset_ms: int | None = None


class Clocks(NamedTuple):
    """The clocks of a facts partition; neither ever goes back."""

    wall_ms: int
    watermark_ms: int


class Wake(NamedTuple):
    """The least instants of either clock at which a state wants to be looked at again; None is never."""

    wall_ms: int | None = None
    watermark_ms: int | None = None


class Match(NamedTuple):
    """A set of occurrences that satisfies a condition, in their order; ``time_ms`` is when it came to hold.

    Each occurrence has in ``leaves`` only the leaf for which it was chosen. ``nominal_ms`` is the instant of the
    schedule that takes part, if one does; it is among the occurrences as well.
    """

    occurrences: tuple[Occurrence, ...]
    time_ms: int
    nominal_ms: int | None = None


class Firing(msgspec.Struct, frozen=True, gc=False):
    """One run to be made; ``arguments`` are JSON, ``expires_ms`` the instant from which on not to start it."""

    run_id: bytes
    task: str
    time_ms: int
    key: str | None
    arguments: bytes
    participants: tuple[Participant, ...]
    traceparent: str | None
    root: str | None
    depth: int
    expires_ms: int | None = None


class Refusal(NamedTuple):
    """Something that was not fired and why: the body of a decision."""

    reason: Reason
    detail: str
    participants: tuple[Participant, ...] = ()
    run_id: bytes | None = None


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What a step makes: the new state (None: there is nothing left to remember), and what goes out, in order."""

    state: KeyState | None
    firings: tuple[Firing, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    wake: Wake = Wake()


_HEADER = Struct(">Bqq")
_NEVER = -(2**63)
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(KeyState)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def encode_state(state: KeyState, wake: Wake) -> bytes:
    """Write a state for the store and its changelog."""
    wall_ms, watermark_ms = wake
    header = _HEADER.pack(
        FORMAT, _NEVER if wall_ms is None else wall_ms, _NEVER if watermark_ms is None else watermark_ms
    )
    return header + _ENCODER.encode(state)


def decode_state(data: bytes) -> tuple[KeyState, Wake]:
    """Read a written state; raises ``Corrupt``."""
    wake = decode_wake(data)
    try:
        return _DECODER.decode(memoryview(data)[_HEADER.size :]), wake
    except msgspec.MsgspecError as error:
        raise Corrupt(f"a state of the keyed stage cannot be read: {error}", hint=_RESTORE) from error


def decode_wake(data: bytes) -> Wake:
    """Read only the wake instants of a written state; raises ``Corrupt``."""
    if len(data) < _HEADER.size:
        raise Corrupt(f"a state of the keyed stage has {len(data)} bytes, too few", hint=_RESTORE)
    form, wall_ms, watermark_ms = _HEADER.unpack_from(data)
    if form != FORMAT:
        raise Corrupt(
            f"a state of the keyed stage has format {form}, this release reads {FORMAT}",
            hint="start the release that wrote it, or a newer one",
        )
    return Wake(None if wall_ms == _NEVER else wall_ms, None if watermark_ms == _NEVER else watermark_ms)


_RESTORE = "delete the state directory; it is restored from the changelog"


def nominal_id(nominal_ms: int) -> str:
    """The id of a nominal instant as a participant: ISO 8601, UTC, with milliseconds only where there are some."""
    instant = _EPOCH + timedelta(milliseconds=nominal_ms)
    written = instant.isoformat(timespec="milliseconds" if nominal_ms % 1000 else "seconds")
    return written.replace("+00:00", "Z")


def nominal_occurrence(leaf: str, nominal_ms: int) -> Occurrence:
    """The occurrence that stands for a nominal instant of the schedule ``leaf``."""
    name = nominal_id(nominal_ms)
    return Occurrence(
        leaves=(leaf,),
        kind="schedule",
        id=name,
        topic="",
        partition=NO_POSITION,
        offset=NO_POSITION,
        time_ms=nominal_ms,
        at=NO_POSITION,
        document={"id": name, "time_ms": nominal_ms},
    )
