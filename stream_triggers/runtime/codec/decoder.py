"""Writes a decoder from the shape of a record.

Rules:
1. A decoder only moves forward and compares its end with the end of the bytes. Slices that were cut short make the two
   differ, so nothing else looks whether the bytes suffice; and a length of 2^60 takes no memory.
2. What may not be negative is gathered bit by bit in ``odd``, zigzag's sign, and looked at once, at the end.
3. It accepts nothing that the general codec refuses, and makes the same value of what it accepts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, assert_never

import orjson

from stream_triggers.runtime.codec.instant import INSTANT_BYTES, LOW_BYTES, READ_LOW, READ_REST
from stream_triggers.runtime.codec.schemas import HEADER_BYTES
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
from stream_triggers.runtime.codec.wire import read_unsigned, read_unsigned_int

NAMES: Mapping[str, Any] = {
    "read_32": read_unsigned_int,
    "read_64": read_unsigned,
    "loads": orjson.loads,
    "READ_LOW": READ_LOW,
    "READ_REST": READ_REST,
}
"""What generated decoders name."""


def decoder(name: str, shape: Record, header: bytes, otherwise: Callable[[bytes | None], Any]) -> Any:
    """A function from the bytes of a message to its value; ``otherwise`` does the same for every message."""
    out = Source("return otherwise(data)")
    with out.block(f"def {name}(data)"), _guarded(out):
        out.need(f"data[:{HEADER_BYTES}] == {header!r}")
        _read_message(out, shape, str(HEADER_BYTES), (), ())
    return out.compile(name, {**NAMES, "otherwise": otherwise})


def rest_decoder(
    name: str, shape: Record, texts: Sequence[str], kept: Sequence[str], otherwise: Callable[[bytes], Any]
) -> Any:
    """A function from ``texts``, the first fields of ``shape``, and where they end, to a decoder of what is behind.

    The decoder takes whole messages, and relies on their beginning with the header and these texts. It returns the
    value and, of the fields in ``kept``, texts and instants, also the bytes.
    """
    out = Source("return otherwise(data)")
    with out.block(f"def {name}({', '.join(f'value_{text}' for text in texts)}, start)"):
        with out.block("def decode(data)"), _guarded(out):
            _read_message(out, shape, "start", texts, kept)
        out.line("return decode")
    return out.compile(name, {**NAMES, "otherwise": otherwise})


@contextmanager
def _guarded(out: Source) -> Iterator[None]:
    with out.block("try"):
        yield
    with out.block("except (LookupError, TypeError, ValueError)"):
        out.line(out.otherwise)


def _read_message(out: Source, shape: Record, start: str, known: Sequence[str], kept: Sequence[str]) -> None:
    """Lines that return the value, of whose fields the ``known`` ones are before ``start``, and the ``kept`` bytes."""
    out.line(f"p = {start}; odd = 0")
    fields = shape.fields[len(known) :]
    tail = _tail(fields)
    for name, of in fields[: len(fields) - len(tail)]:
        _read(out, of, f"value_{name}")
        if name in kept:
            out.line(f"{name}_bytes = b")
    if tail:
        with out.block(f"if data[p:] == {bytes(len(tail))!r} and not odd & 1"):
            nothing = {name: "None" if isinstance(of, Maybe) else "0" for name, of in tail}
            out.line(_return(shape, nothing, kept))
    for name, of in tail:
        _read(out, of, f"value_{name}")
    out.need("p == len(data) and not odd & 1")
    out.line(_return(shape, {}, kept))


def _return(shape: Record, constants: Mapping[str, str], kept: Sequence[str]) -> str:
    return f"return {', '.join([_construct(shape, 'value', constants), *(f'{name}_bytes' for name in kept)])}"


def _read(out: Source, shape: Shape, target: str) -> None:
    """Lines that read the value at ``p`` into ``target`` and move ``p`` behind it.

    The bytes of an instant, and of a text without their size, are in ``b`` afterwards.
    """
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
    for name, of in shape.fields:
        _read(out, of, f"{target}_{name}")
    out.line(f"{target} = {_construct(shape, target, {})}")


def _construct(shape: Record, target: str, constants: Mapping[str, str]) -> str:
    """The expression of a struct whose fields have been read, or are ``constants``."""
    values = (constants.get(name, f"{target}_{name}") for name in shape.struct.__struct_fields__)
    return f"{shape.struct.__name__}({', '.join(values)})"


def _tail(fields: Sequence[tuple[str, Shape]]) -> Sequence[tuple[str, Shape]]:
    """The last fields, those that nearly always say nothing, in one byte each: null, or no distance from a root."""
    at = len(fields)
    while at and (isinstance(fields[at - 1][1], Maybe) or fields[at - 1][0] == "depth"):
        at -= 1
    return fields[at:]


def _read_number(out: Source, bits: int) -> None:
    """Numbers of one byte and of two are read in place."""
    out.line("n = data[p]; p += 1")
    with out.block("if n > 127"):
        out.line("n += (data[p] << 7) - 128; p += 1")
        out.line(f"if n > {(1 << 14) - 1}: n, p = read_{bits}(data, p - 2)")


def _read_sized(out: Source, shape: Text | Raw | Json, target: str) -> None:
    _read_number(out, 64)
    out.line("odd |= n; q = p + (n >> 1)")
    match shape:
        case Text(filled, words):
            out.line(f"b = data[p:q]; {target} = b.decode(); p = q")
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
    """An instant of the years 1971 to 2039, which takes six bytes; none of six bytes is out of bounds."""
    out.line(f"q = p + {INSTANT_BYTES}; b = data[p:q]; p = q")
    out.line(f"{target} = READ_LOW[b[:{LOW_BYTES}]] + READ_REST[b[{LOW_BYTES}:]]")


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
