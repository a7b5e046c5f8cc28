"""Writes an encoder from the shape of a record: lines that prepare the parts of a message, and one join of them.

Rules:
1. What it writes is what the general codec would write, byte for byte.
2. It refuses nothing itself: what it cannot write, the general codec refuses with a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, assert_never

import orjson

from stream_triggers.core.message import TIME_MS_MAX
from stream_triggers.runtime.codec.instant import LOW_BITS, LOW_MAX, WRITE_LOW, WRITE_REST
from stream_triggers.runtime.codec.shape import (
    Either,
    Flag,
    Instant,
    Json,
    Many,
    Maybe,
    Number,
    Raw,
    Record,
    Shape,
    Text,
)
from stream_triggers.runtime.codec.source import Source
from stream_triggers.runtime.codec.wire import MORE, SIZE, UNSIGNED, write_int, write_long

Part: TypeAlias = str | bytes
"""A piece of a message: an expression of the generated code, or bytes that are always the same."""

NULL = SIZE[0]
"""The branch of None in a union, and the end of an array."""

ONE = SIZE[1]
"""The branch of a value in a union with None, and the count of an array of one item."""

NAMES: Mapping[str, Any] = {
    "dumps": orjson.dumps,
    "write_32": write_int,
    "write_64": write_long,
    "MORE": MORE,
    "UNSIGNED": UNSIGNED,
    "WRITE_LOW": WRITE_LOW,
    "WRITE_REST": WRITE_REST,
    "FLAGS": (b"\x00", b"\x01"),
}
"""What the lines of ``write`` name."""


def encoder(name: str, shape: Record, header: bytes, otherwise: Callable[[Any], bytes]) -> Any:
    """A function from a value to the bytes of its message; ``otherwise`` does the same for every value."""
    out = Source("return otherwise(value)")
    with out.block(f"def {name}(value)"):
        with out.block("try"):
            out.line(f"return {join([header, *write(out, shape, 'value', 'value')])}")
        with out.block("except (AttributeError, TypeError, ValueError)"):
            out.line(out.otherwise)
    return out.compile(name, {**NAMES, "otherwise": otherwise})


def join(parts: Sequence[Part]) -> str:
    """The expression that joins ``parts``; neighbours that are always the same are joined already."""
    joined: list[Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, bytes) and isinstance(last, bytes):
            joined[-1] = last + part
        else:
            joined.append(part)
    texts = [part if isinstance(part, str) else repr(part) for part in joined]
    return f"b''.join(({', '.join(texts)},))"


def write(out: Source, shape: Shape, given: str, target: str) -> list[Part]:
    """The parts of one value, the expression ``given``; lines that prepare them use names beginning with ``target``."""
    match shape:
        case Text() | Raw() | Json():
            return write_sized(_content(out, shape, given, target))
        case Number(bits):
            return [_write_number(out.name(given, target), bits)]
        case Instant():
            name = out.name(given, target)
            out.need(f"0 <= {name} <= {TIME_MS_MAX}")
            return [write_instant(name)]
        case Flag():
            return [f"FLAGS[{given}]"]
        case Maybe(of):
            return _write_maybe(out, of, out.name(given, target), target)
        case Either(records):
            return _write_branch(out, records, out.name(given, target), target)
        case Many(of):
            return _write_items(out, of, out.name(given, target), target)
        case Record():
            fields = [(of, f"{given}.{name}", f"{target}_{name}") for name, of in shape.fields]
            return [part for field in fields for part in write(out, *field)]
        case _:
            assert_never(shape)


def write_sized(content: str) -> list[Part]:
    """The parts of the bytes that the name ``content`` stands for: their size, and they."""
    return [_size(content), content]


def write_instant(name: str) -> str:
    """The part of an instant, the name ``name``: looked up where it takes more than two bytes."""
    looked_up = f"WRITE_LOW[{name} & {LOW_MAX}] + WRITE_REST[{name} >> {LOW_BITS}]"
    return f"({looked_up} if {name} > {LOW_MAX} else write_64({name}))"


def _write_number(name: str, bits: int) -> str:
    """The part of a number, the name ``name``: looked up where it takes up to four bytes."""
    four = f"MORE[{name} << 1 & {len(MORE) - 1}] + UNSIGNED[{name} >> {LOW_BITS}]"
    looked_up = f"(SIZE[{name}] if {name} < {len(SIZE)} else {four})"
    return f"({looked_up} if 0 <= {name} < {1 << 27} else write_{bits}({name}))"


def _size(content: str) -> str:
    return f"(SIZE[n] if (n := len({content})) < {len(SIZE)} else write_64(n))"


def _content(out: Source, shape: Text | Raw | Json, given: str, target: str) -> str:
    """The name of the bytes of a text, a JSON value, or bytes."""
    match shape:
        case Text(filled, words):
            if words:
                out.need(f"{given} in {sorted(words)!r}")
            out.line(f"{target} = {given}.encode()")
            if filled:
                out.need(target)
            return target
        case Raw():
            return out.name(given, target)
        case Json(is_object):
            if is_object:
                out.need(f"{given}.__class__ is dict")
            out.line(f"{target} = dumps({given})")
            return target


def _write_maybe(out: Source, of: Shape, given: str, target: str) -> list[Part]:
    with out.block(f"if {given} is None"):
        out.line(f"{target}_size = {NULL!r}; {target}_some = b''")
    with out.block("else"):
        if not isinstance(of, Text | Raw | Json):
            if isinstance(of, Record):
                out.need(f"{given}.__class__ is {of.struct.__name__}")
            out.line(f"{target}_some = {join(write(out, of, given, f'{target}_of'))}")
            out.line(f"{target}_size = {ONE!r}")
            return [f"{target}_size", f"{target}_some"]
        content = _content(out, of, given, f"{target}_some")
        out.line(f"{target}_size = {ONE!r} + {_size(content)}")
        if content != f"{target}_some":
            out.line(f"{target}_some = {content}")
    return [f"{target}_size", f"{target}_some"]


def _write_branch(out: Source, records: Sequence[Record], given: str, target: str) -> list[Part]:
    for branch, record in enumerate(records):
        with out.block(f"{'elif' if branch else 'if'} {given}.__class__ is {record.struct.__name__}"):
            out.line(f"{target}_bytes = {join([SIZE[branch], *write(out, record, given, f'{target}_of')])}")
    out.line(f"else: {out.otherwise}")
    return [f"{target}_bytes"]


def _write_items(out: Source, of: Shape, given: str, target: str) -> list[Part]:
    out.need(f"{given}.__class__ is tuple")
    out.line(f"{target}_bytes = {NULL!r}")
    with out.block(f"if {given}"):
        out.line(f"{target}_parts = [write_64(len({given}))]")
        with out.block(f"for {target}_item in {given}"):
            out.line(f"{target}_parts.append({join(write(out, of, f'{target}_item', f'{target}_each'))})")
        out.line(f"{target}_bytes = b''.join({target}_parts) + {NULL!r}")
    return [f"{target}_bytes"]
