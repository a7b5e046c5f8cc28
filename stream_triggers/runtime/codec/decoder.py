"""Writes a decoder from the shape of a record.

Rules:
1. A decoder only moves forward and compares its end with the end of the bytes. Slices that were cut short make the two
   differ, so nothing else looks whether the bytes suffice; and a length of 2^60 takes no memory.
2. What may not be negative is gathered bit by bit in ``odd``, zigzag's sign, and looked at once, at the end.
3. It accepts nothing that the general codec refuses, and makes the same value of what it accepts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, assert_never

import orjson

from stream_triggers.runtime.codec.schemas import HEADER_BYTES
from stream_triggers.runtime.codec.shape import (
    TIME_MS_MAX,
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
from stream_triggers.runtime.codec.wire import read_unsigned, read_unsigned_int


def decoder(name: str, shape: Record, header: bytes, otherwise: Callable[[bytes | None], Any]) -> Any:
    """A function from the bytes of a message to its value; ``otherwise`` does the same for every message."""
    out = Source("return otherwise(data)")
    with out.block(f"def {name}(data)"):
        with out.block("try"):
            out.need(f"data[:{HEADER_BYTES}] == {header!r}")
            out.line(f"p = {HEADER_BYTES}")
            out.line("odd = 0")
            _read(out, shape, "value")
            out.need("p == len(data) and not odd & 1")
            out.line("return value")
        with out.block("except (IndexError, TypeError, ValueError)"):
            out.line(out.otherwise)
    names = {"read_32": read_unsigned_int, "read_64": read_unsigned, "loads": orjson.loads}
    return out.compile(name, {**names, "otherwise": otherwise})


def _read(out: Source, shape: Shape, target: str) -> None:
    """Lines that read the value at ``p`` into ``target`` and move ``p`` behind it."""
    match shape:
        case Text() | Raw() | Json():
            _read_sized(out, shape, target)
        case Number(bits):
            _read_number(out, bits)
            out.line(f"{target} = n >> 1 ^ -(n & 1)")
        case Instant():
            _read_instant(out, target)
        case Flag():
            out.line("n = data[p]; p += 1")
            out.need("n < 2")
            out.line(f"{target} = n == 1")
        case Maybe(of):
            _read_branches(out, {0: None, 1: of}, target)
        case Either(records):
            _read_branches(out, dict(enumerate(records)), target)
        case Many(of):
            _read_items(out, of, target)
        case Record():
            _read_record(out, shape, target)
        case _:
            assert_never(shape)


def _read_record(out: Source, shape: Record, target: str) -> None:
    last = _behind_the_tail(shape)
    for name, of in shape.fields[:last]:
        _read(out, of, f"{target}_{name}")
    if last < len(shape.fields):
        _read_tail(out, shape.fields[last:], target)
    arguments = ", ".join(f"{target}_{name}" for name in shape.struct.__struct_fields__)
    out.line(f"{target} = {shape.struct.__name__}({arguments})")


def _behind_the_tail(shape: Record) -> int:
    """Where the fields begin that end the record and nearly always say nothing: null, or no distance from a root."""
    at = len(shape.fields)
    while at and (isinstance(shape.fields[at - 1][1], Maybe) or shape.fields[at - 1][0] == "depth"):
        at -= 1
    return at


def _read_tail(out: Source, fields: Sequence[tuple[str, Shape]], target: str) -> None:
    """One comparison tells that all of the last fields say nothing."""
    with out.block(f"if data[p:] == {bytes(len(fields))!r}"):
        nothing = [f"{target}_{name} = {None if isinstance(of, Maybe) else 0}" for name, of in fields]
        out.line("; ".join([f"p += {len(fields)}", *nothing]))
    with out.block("else"):
        for name, of in fields:
            _read(out, of, f"{target}_{name}")


def _read_number(out: Source, bits: int) -> None:
    out.line("n = data[p]")
    out.line("if n < 128: p += 1")
    out.line(f"else: n, p = read_{bits}(data, p)")


def _read_sized(out: Source, shape: Text | Raw | Json, target: str) -> None:
    _read_number(out, 64)
    out.line("odd |= n; q = p + (n >> 1)")
    match shape:
        case Text(filled, words):
            out.line(f"{target} = data[p:q].decode(); p = q")
            if filled:
                out.need(target)
            if words:
                out.need(f"{target} in {sorted(words)!r}")
        case Raw():
            out.line(f"{target} = data[p:q]; p = q")
        case Json(is_object):
            out.line(f"{target} = loads(data[p:q]); p = q")
            if is_object:
                out.need(f"{target}.__class__ is dict")


def _read_instant(out: Source, target: str) -> None:
    """An instant of the years 1971 to 2039 takes six bytes, and none of six bytes is out of bounds."""
    out.line("a, b, c, d, e, f = data[p : p + 6]")
    with out.block("if f < 128 <= a and b > 127 and c > 127 and d > 127 and e > 127"):
        marks = sum(128 << shift for shift in range(0, 35, 7))
        out.line(f"n = a + (b << 7) + (c << 14) + (d << 21) + (e << 28) + (f << 35) - {marks}; p += 6")
    with out.block("else"):
        out.line("n, p = read_64(data, p)")
        out.need(f"n <= {2 * TIME_MS_MAX}")
    out.line(f"odd |= n; {target} = n >> 1")


def _read_branches(out: Source, branches: Mapping[int, Shape | None], target: str) -> None:
    out.line("n = data[p]; p += 1")
    for branch, of in branches.items():
        with out.block(f"{'elif' if branch else 'if'} n == {2 * branch}"):
            if of is None:
                out.line(f"{target} = None")
            else:
                _read(out, of, target)
    out.line(f"else: {out.otherwise}")


def _read_items(out: Source, of: Shape, target: str) -> None:
    """Arrays of less than 64 items in one block, the form in which nearly all are written."""
    out.line(f"n = data[p]; p += 1; {target} = []")
    with out.block("if n"):
        out.need("n < 128 and not n & 1")
        with out.block("for _ in range(n >> 1)"):
            _read(out, of, f"{target}_item")
            out.line(f"{target}.append({target}_item)")
        out.need("data[p] == 0")
        out.line("p += 1")
    out.line(f"{target} = tuple({target})")
