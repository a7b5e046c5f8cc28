"""Dead letters: a record that could not be processed, as it was, with where it stood and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable

from stream_triggers.core.record import DeadLetter, Header
from stream_triggers.runtime.codec import encode
from stream_triggers.runtime.log import Outgoing, Record
from stream_triggers.runtime.topics import MESSAGE_BYTES_MAX
from stream_triggers.telemetry import Stage

HEADERS_BYTES_MAX = 64 * 1024
"""Most bytes of headers that a dead letter keeps; a broker bounds them by the record's size only."""

HEADER_SIZES_BYTES = 2
"""What a header takes without name and value: so even empty ones come to an end."""


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
        headers=kept_headers(record.headers() or ()),
        trigger_id=trigger_id,
    )
    return Outgoing(value=encode(letter), key=record.key())


def kept_headers(headers: Iterable[tuple[str, bytes | None]]) -> tuple[Header, ...]:
    """The first headers of a record, each as it was, up to ``HEADERS_BYTES_MAX``."""
    kept: list[Header] = []
    room_bytes = HEADERS_BYTES_MAX
    for name, value in headers:
        room_bytes -= len(name.encode()) + len(value or b"") + HEADER_SIZES_BYTES
        if room_bytes < 0:
            break
        kept.append(Header(name, value))
    return tuple(kept)


def _kept(content: bytes | None) -> bytes | None:
    """``content`` as it was, up to what a topic of ours may hold: brokers let more in where it is compressed."""
    return content[:MESSAGE_BYTES_MAX] if content is not None else None
