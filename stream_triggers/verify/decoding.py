"""Bytes to values for the judge: the fast decoders on every record, and the general one on a sample of them.

The fast decoders are generated and could be wrong in the same way for whoever uses them. So one record in
``SAMPLE_EVERY`` is decoded by the general codec, too, which shares nothing with them but the schema files: a difference
is an error of this program and ends the verification. To decode everything that way would take twice the time.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TypeVar

import msgspec

from stream_triggers.runtime.codec import decode
from stream_triggers.runtime.codec.general import CODEC
from stream_triggers.runtime.log import Record
from stream_triggers.verify.ledger import DIGEST_BYTES

SAMPLE_EVERY = 61
"""A prime, so that no rhythm of a sender keeps one kind of message out of the sample."""

T = TypeVar("T", bound=msgspec.Struct)

_content = msgspec.msgpack.Encoder().encode


def digest(value: msgspec.Struct) -> bytes:
    """A hash of everything in ``value``, made without the encoders that workers use: 1 is not 1.0, order matters."""
    return blake2b(_content(value), digest_size=DIGEST_BYTES).digest()


def read(record: Record, kinds: tuple[type[T], ...]) -> T:
    """The value of a record, of one of ``kinds``; raises ``InvalidMessage``."""
    data = record.value()
    value = decode(data, kinds)
    if record.offset() % SAMPLE_EVERY == 0:
        _compare(value, CODEC.decode(data, kinds), record)
    return value


def _compare(value: msgspec.Struct, other: msgspec.Struct, record: Record) -> None:
    try:
        contents = _content(value), _content(other)
    except RecursionError:  # nested deeper than this encoder goes, which the decoders do
        return
    assert contents[0] == contents[1], f"the decoders differ on {place_of(record)}"


def place_of(record: Record) -> str:
    """Where a record stands, in words."""
    return f"{record.topic()}/{record.partition()}@{record.offset()}"
