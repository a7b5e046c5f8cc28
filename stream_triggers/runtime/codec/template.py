"""Writes the encoder of a firing: an invocation and its run record, from one message, in one function.

The two records share most of what varies, so each part is prepared once and joined into both; what is known of a
trigger, a leaf and an input partition is prepared once for all their firings.

Rules:
1. What it writes is what the general codec would write for the whole records, byte for byte.
2. It does not look whether its arguments are valid: they come from messages and triggers that were looked at. What
   cannot be written at all is an ``InvalidMessage``.
"""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from stream_triggers.core.invocation import RUN_ID_BYTES
from stream_triggers.errors import InvalidMessage
from stream_triggers.runtime.codec.encoder import NAMES, NULL, ONE, Part, join, write, write_sized
from stream_triggers.runtime.codec.shape import Many, Raw, Record, Shape
from stream_triggers.runtime.codec.source import Source
from stream_triggers.runtime.codec.wire import SIZE, write_long, write_text

CONSTANTS = ("task", "trigger_id", "trigger_version", "epoch", "leaf", "kind", "topic", "partition")
"""What is given once: fields of either record, and of the participant."""

VARYING = ("run_id", "key", "arguments", "message_id", "time", "traceparent", "root", "depth", "offset")
"""What is given for each firing; ``run_id`` raw, ``time`` as it is written, ``arguments``, ``message_id`` and ``root``
as bytes without their size."""

RUN_IDS = ("id", "run_id", "invocation_id")
"""Fields of the records, not of the participant, that are the run id as hexadecimal text."""


class _Constant(NamedTuple):
    """A part that is the same for all firings: an expression of the constants."""

    expression: str


def compile_firing(name: str, records: Mapping[Record, bytes]) -> Any:
    """A function from the constants to an encoder, which makes the bytes of ``records`` and the run id as text.

    ``records`` are the shapes of the invocation and of the run record, each with the header of its bytes.
    """
    out = Source()
    with out.block(f"def {name}({', '.join(CONSTANTS)})"):
        out.line("cause_head = kind.encode() + b'/'")
        inner = Source()
        with inner.block(f"def encode({', '.join(VARYING)})"):
            with inner.block("try"):
                inner.line("run_hex = hexlify(run_id)")
                prepared = _Prepared(inner)
                joins = [
                    join(list(_hoisted(out, [_Constant(repr(header)), *prepared.record(shape)], f"constant_{at}")))
                    for at, (shape, header) in enumerate(records.items())
                ]
                inner.line(f"return {', '.join(joins)}, run_hex")
            with inner.block("except (AttributeError, TypeError, ValueError) as error"):
                inner.line("raise InvalidMessage(f'a firing cannot be written: {error}') from error")
        out.include(inner)
        out.line("return encode")
    names = {"hexlify": hexlify, "constant": _constant, "InvalidMessage": InvalidMessage}
    return out.compile(name, {**NAMES, **names})


def _constant(value: str | int) -> bytes:
    """The bytes of a text or a number."""
    if isinstance(value, int):
        return write_long(value)
    return write_text(value)


def _size(expression: str) -> str:
    return f"(SIZE[n] if (n := {expression}) < {len(SIZE)} else write_64(n))"


def _hoisted(out: Source, parts: Sequence[Part | _Constant], name: str) -> Iterator[Part]:
    """``parts`` with each run of constants under one name, which a line in ``out`` gives it."""
    named = [_Constant(repr(part)) if isinstance(part, bytes) else part for part in parts]
    for at, (is_constant, run) in enumerate(groupby(named, key=lambda part: isinstance(part, _Constant))):
        if is_constant:
            expressions = [part.expression for part in run if isinstance(part, _Constant)]
            out.line(f"{name}_{at} = {' + '.join(expressions)}")
            yield f"{name}_{at}"
        else:
            yield from (part for part in run if not isinstance(part, _Constant))


class _Prepared:
    """The parts of what varies, each prepared by lines in ``out`` when it is first asked for."""

    def __init__(self, out: Source) -> None:
        self._out = out
        self._parts: dict[str, list[Part]] = {}

    def record(self, shape: Record) -> Iterator[Part | _Constant]:
        """The parts of one of the records."""
        for field, of in shape.fields:
            if field in RUN_IDS:
                yield from (SIZE[2 * RUN_ID_BYTES], "run_hex")
            elif isinstance(of, Many):
                yield ONE
                yield from self._item(of.of)
                yield NULL
            else:
                yield from self._field(field, of)

    def _item(self, of: Shape) -> Iterator[Part | _Constant]:
        """The one participant, or the one cause."""
        if not isinstance(of, Record):
            yield from (_size("len(cause_head) + len(message_id)"), "cause_head", "message_id")
            return
        for field, each in of.fields:
            if field == "id":
                yield from write_sized("message_id")
            else:
                yield from self._field(field, each)

    def _field(self, field: str, of: Shape) -> Iterator[Part | _Constant]:
        if field in CONSTANTS:
            yield _Constant(f"constant({field})")
        elif field == "time_ms":
            yield "time"
        elif field == "arguments":
            yield from write_sized(field)
        elif field == "root":
            yield from (ONE, *self._once(field, Raw()))
        elif field == "expires_ms":
            yield NULL  # a trigger that says when its runs expire fires in the keyed stage
        else:
            yield from self._once(field, of)

    def _once(self, field: str, of: Shape) -> list[Part]:
        if field not in self._parts:
            parts = write(self._out, of, field, f"{field}_")
            self._parts[field] = [self._out.name(str(part), f"{field}_{at}") for at, part in enumerate(parts)]
        return self._parts[field]
