"""What the engine writes for itself and for operators: definitions, facts, ticks, activations, dead letters."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from stream_triggers.core.message import JsonValue, Participant

PauseMode: TypeAlias = Literal["drop", "hold", "hold_latest"]
"""What becomes of a match during a pause."""

CaughtUp: TypeAlias = Literal["", "none", "latest", "all"]
"""What fires after a pause of what was held; the empty word stands for what the trigger says, see ``Pause``."""

SETTLED_MS = 600_000
"""How long after the end of a pause messages still meet the keyed stage: so that they stay behind what was held, and
that a sender whose clock is ahead does not end the pause."""


class Pause(msgspec.Struct, frozen=True):
    """A pause of a trigger: in force from where its definition is until ``until_ms``, excluded, or without end.

    A trigger that was resumed has a pause with an end. ``catchup`` is for what was held; without it everything fires,
    and of the instants of a schedule those that its own rule for catching up says.
    """

    mode: PauseMode = "hold"
    until_ms: int | None = None
    catchup: CaughtUp = ""
    since_ms: int = 0
    why: str = ""
    author: str | None = None

    def is_in_force(self, now_ms: int) -> bool:
        """Whether the trigger is paused at this instant."""
        return self.until_ms is None or now_ms < self.until_ms

    def is_settled(self, time_ms: int) -> bool:
        """Whether a message of this instant has nothing to do with the pause any more."""
        return self.until_ms is not None and time_ms >= self.until_ms + SETTLED_MS

    @property
    def words(self) -> str:
        """That there is a pause, who made it and why."""
        by = f" by {self.author}" if self.author else ""
        return f"the trigger is paused{by}" + (f": {self.why}" if self.why else "")


class Start(msgspec.Struct, frozen=True):
    """From where on a trigger takes messages, also such as came before it was applied, once for each ``epoch``.

    In each input partition that is the first message whose record is not older than ``since_ms``.
    """

    since_ms: int
    epoch: int


class Definition(msgspec.Struct, frozen=True):
    """A stored version of a trigger; ``definition`` is its canonical JSON form, ``version`` the hash of that.

    ``pause`` is the last pause of the trigger, if it ever had one: it outlives versions. So does ``start``, None for
    a trigger that takes what comes after it was applied.
    """

    id: str
    version: str
    definition: bytes
    time_ms: int
    author: str | None = None
    pause: Pause | None = None
    start: Start | None = None

    def change_of_pause(self, before: Pause | None) -> Literal["paused", "resumed"] | None:
        """What this record makes of the pause before it; None if nothing."""
        if self.pause is None or self.pause == before:
            return None
        return "paused" if self.pause.is_in_force(self.time_ms) else "resumed"


class Fact(msgspec.Struct, frozen=True, gc=False):
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


class Behind(msgspec.Struct, frozen=True):
    """How far a trigger has come that catches up with its inputs, from the start of an ``epoch``.

    ``watermark_ms`` is its own watermark; None when it has caught up, and that of all others is its own again.
    """

    trigger_id: str
    epoch: int
    watermark_ms: int | None


class Tick(msgspec.Struct, frozen=True):
    """An instant written to the log: ``wall_ms`` serves schedules and delays, ``watermark_ms`` windows and absence.

    ``behind`` has the triggers that catch up, for which ``watermark_ms`` does not count.
    """

    wall_ms: int
    watermark_ms: int
    behind: tuple[Behind, ...] = ()


class Activation(msgspec.Struct, frozen=True):
    """A definition takes effect at this position; an empty ``trigger_version`` means that the trigger is deleted.

    ``definition`` is its canonical JSON form, so that the facts behind it need nothing else to be evaluated.
    """

    trigger_id: str
    trigger_version: str
    definition_offset: int
    definition: bytes = b""
    wall_ms: int = 0
    pause: Pause | None = None
    start: Start | None = None


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
