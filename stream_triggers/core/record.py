"""What the engine writes for itself and for operators: definitions, facts, ticks, activations, dead letters."""

from __future__ import annotations

import msgspec

from stream_triggers.core.message import JsonValue, Participant


class Definition(msgspec.Struct, frozen=True):
    """A stored version of a trigger; ``definition`` is its canonical JSON form, ``version`` the hash of that."""

    id: str
    version: str
    definition: bytes
    time_ms: int
    author: str | None = None


class Fact(msgspec.Struct, frozen=True):
    """A leaf accepted a message, written to the keyed stage with the ``fields`` its trigger needs.

    ``leaves`` are the ids of all leaves that accepted it; the participant names the first of them by its path.
    """

    trigger_id: str
    trigger_version: str
    key: str
    participant: Participant
    fields: JsonValue
    traceparent: str | None = None
    root: str | None = None
    depth: int = 0
    leaves: tuple[str, ...] = ()


class Tick(msgspec.Struct, frozen=True):
    """An instant written to the log: ``wall_ms`` serves schedules and delays, ``watermark_ms`` windows and absence."""

    wall_ms: int
    watermark_ms: int


class Activation(msgspec.Struct, frozen=True):
    """A definition takes effect at this position; an empty ``trigger_version`` means that the trigger is deleted.

    ``definition`` is its canonical JSON form, so that the facts behind it need nothing else to be evaluated.
    """

    trigger_id: str
    trigger_version: str
    definition_offset: int
    definition: bytes = b""
    wall_ms: int = 0


class Header(msgspec.Struct, frozen=True):
    """One header of a record."""

    name: str
    value: bytes | None


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that could not be processed: its original bytes, where it stood, the stage, and why."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    stage: str
    error: str
    headers: tuple[Header, ...] = ()
    trigger_id: str | None = None
