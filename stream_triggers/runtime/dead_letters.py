"""Dead letters: a record that could not be processed, as it was, with where it stood and what is wrong with it."""

from __future__ import annotations

from stream_triggers.core.record import DeadLetter, Header
from stream_triggers.runtime.codec import encode
from stream_triggers.runtime.log import Outgoing, Record
from stream_triggers.runtime.topics import MESSAGE_BYTES_MAX
from stream_triggers.telemetry import Stage


def dead_letter(record: Record, stage: Stage, error: str, trigger_id: str | None = None) -> Outgoing:
    """The dead letter of ``record``, under its key; ``trigger_id`` is the trigger that could not handle it, if one."""
    letter = DeadLetter(
        topic=record.topic(),
        partition=record.partition(),
        offset=record.offset(),
        timestamp_ms=max(0, record.timestamp()[1]),  # a record without one says -1
        key=_kept(record.key()),
        value=_kept(record.value()),
        stage=stage,
        error=error,
        headers=tuple(Header(name, value) for name, value in record.headers() or ()),
        trigger_id=trigger_id,
    )
    return Outgoing(value=encode(letter), key=record.key())


def _kept(content: bytes | None) -> bytes | None:
    """``content`` as it was, up to what a topic of ours may hold: brokers let more in where it is compressed."""
    return content[:MESSAGE_BYTES_MAX] if content is not None else None
