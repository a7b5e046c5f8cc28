"""The definitions in force in a facts partition: what its activations have led to up to a position.

Rules:
1. An activation takes effect where it stands, if its definition is newer than the one in force. Repeats and older ones
   change nothing, so any number of writers may write the same.
2. A deletion is remembered, so that an older activation cannot undo it. The states of the trigger are void from that
   position on, at once; they are deleted bit by bit, a few with every tick.
3. A pause is part of it. When one ends or is changed the states of the trigger are looked at in the same way, for what
   waits for its end has no timer where that was not known.
4. A definition that cannot be used here leaves its trigger's states as they are; nothing is evaluated.
5. A trigger that starts, or starts again under another epoch, is behind: its watermark is its own, from 0 on, and rises
   by what ticks say of it. What was remembered of the epoch before is void, and what is still matched for it by a
   router that knows no better comes once more: only facts of versions since the start count. When it has caught up,
   its states are looked at in the same way: while it was behind they had no timers on the watermark.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from stream_triggers.core.record import Activation, Behind, Pause, Start
from stream_triggers.errors import Corrupt
from stream_triggers.runtime.keyed.plans import Plan

FORMAT, FORMAT_PAUSED, FORMAT_STARTED = 1, 2, 3
"""The form that is written, that with a pause and that with a start, which older releases must not overlook."""

VERSIONS_MAX = 50
"""More edits than a router can lag behind."""

Compile: TypeAlias = Callable[[str, bytes], Plan | None]
"""Makes the plan of a trigger's canonical form, None when it cannot be used here."""


class Active(msgspec.Struct, frozen=True, array_like=True):
    """The definition of a trigger that is in force, or its deletion: then ``version`` and ``form`` are empty."""

    trigger_id: str
    version: str
    offset: int
    form: bytes
    void_before: int = 0
    """States last written before this position of the partition do not count."""
    swept: bool = True
    """Whether all states have been looked at since: those that do not count are deleted."""
    swept_to: bytes = b""
    """The key of the next state to look at."""
    pause: Pause | None = None
    start: Start | None = None
    watermark_ms: int | None = None
    """Its own watermark while it is behind; None when it has that of all others."""
    started: tuple[str, ...] = ()
    """Its versions since it started, ``VERSIONS_MAX`` at most: what was matched with another is of no use any more."""

    def after(self, activation: Activation, at: int) -> Active:
        """What is in force from the position ``at`` on."""
        start = activation.start
        starts = start is not None and (self.start is None or start.epoch != self.start.epoch)
        if activation.definition_offset <= self.offset:
            is_known = starts or start is None or activation.trigger_version in self.started
            return self if is_known else replace(self, started=_with(activation.trigger_version, self.started))
        watermark_ms = None if start is None else (0 if starts else self.watermark_ms)
        is_void = starts or not activation.definition
        is_swept_again = (
            is_void
            or (self.pause is not None and activation.pause != self.pause)
            or (self.watermark_ms is not None and watermark_ms is None)
        )
        return Active(
            self.trigger_id,
            activation.trigger_version,
            activation.definition_offset,
            activation.definition,
            at if is_void else self.void_before,
            self.swept and not is_swept_again,
            b"" if is_swept_again else self.swept_to,
            activation.pause,
            start,
            watermark_ms,
            () if start is None else _with(activation.trigger_version, () if starts else self.started),
        )

    def takes(self, version: str) -> bool:
        """Whether what was matched with a version of the trigger is of use."""
        return self.start is None or version in self.started

    def moved(self, behind: Behind) -> Active:
        """What is in force when a tick has told how far the trigger has come."""
        if self.watermark_ms is None or self.start is None or behind.epoch != self.start.epoch:
            return self
        if behind.watermark_ms is None:
            return replace(self, watermark_ms=None, swept=False, swept_to=b"")
        return replace(self, watermark_ms=max(self.watermark_ms, behind.watermark_ms))

    def encode(self) -> bytes:
        """The bytes of the changelog and the store."""
        form = FORMAT_STARTED if self.start is not None else FORMAT_PAUSED if self.pause is not None else FORMAT
        return bytes([form]) + _ENCODER.encode(self)


NOTHING = Active("", "", -1, b"")
"""What is in force of a trigger that was never activated."""

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Active)


def _with(version: str, versions: tuple[str, ...]) -> tuple[str, ...]:
    """``versions`` with one at their end, the place of what is kept longest."""
    return (*(each for each in versions if each != version), version)[-VERSIONS_MAX:]


def decode_active(value: bytes, where: str) -> Active:
    """What ``encode`` wrote; ``Corrupt`` when it is of a newer format, or nothing of the kind."""
    if value[:1] > bytes([FORMAT_STARTED]):
        raise Corrupt(
            f"{where} has format {value[0]} of active definitions, this release reads up to {FORMAT_STARTED}",
            hint="a newer release has written here: run that release, or a later one",
        )
    try:
        return _DECODER.decode(value[1:])
    except msgspec.MsgspecError as error:
        raise Corrupt(
            f"{where} is not an active definition: {error}",
            hint="something else writes to this changelog; give the application a name of its own",
        ) from error
