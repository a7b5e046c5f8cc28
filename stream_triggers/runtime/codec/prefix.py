"""The routing part of a message: sliced out as bytes for a whole batch, parsed once for each that is new.

A message begins with its header and the fields that decide who listens to it. These bytes are the same for all messages
of one event code (one task and status, one task and outcome), so they are a key: what is known about a prefix holds for
every message that begins with it, and nothing has to be decoded to find it.

Rules:
1. A prefix is the header and the routing fields, and nothing else. Every released version begins with these fields.
2. A message that can be decoded has a prefix, and the prefix says what the message says.
3. Where the routing part is cut off, empty, or another record's, there is no prefix (b""). That is the one value under
   which nothing may be kept: decode such a message, the error says what is wrong with it.
4. Slicing looks at lengths only: that a text is not UTF-8 is seen when the prefix is parsed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec

from stream_triggers.core.message import Event, Failure, Success, TaskResult, TaskStatus
from stream_triggers.errors import InvalidMessage
from stream_triggers.runtime.codec.general import CODEC
from stream_triggers.runtime.codec.schemas import HEADER_BYTES, SCHEMAS, Schema
from stream_triggers.runtime.codec.shape import STRUCTS
from stream_triggers.runtime.codec.source import Source
from stream_triggers.runtime.codec.wire import read_branch, read_text

Prefixes: TypeAlias = Callable[[Sequence[bytes | None]], list[bytes]]
"""From the messages of a batch to their prefixes, in the same order."""

Struct: TypeAlias = type[msgspec.Struct]

ROUTING: Mapping[Struct, Sequence[str]] = {
    Event: ("code",),
    TaskStatus: ("task", "status"),
    TaskResult: ("task", "outcome"),
}
"""The fields that decide who listens, first in every version; of an outcome it is only which one it is."""

KINDS: Mapping[Struct, str] = {Event: "event", TaskStatus: "status", Success: "result", Failure: "exception"}
"""The kind of leaf that can accept a message, by its struct or that of its outcome."""


class _Field(NamedTuple):
    """A routing field: a text, or (``kinds`` are given) a union whose branch is the kind of the message."""

    path: str
    kinds: Sequence[str]


def _layout(schema: Schema) -> Sequence[_Field]:
    names = ROUTING[STRUCTS[schema.name]]
    fields = schema.parsed["fields"][: len(names)]
    assert [field["name"] for field in fields] == list(names), f"{schema.name} does not begin with {names}"
    return [_Field(f"{schema.name}.{field['name']}", _kinds(field["type"])) for field in fields]


def _kinds(schema: Any) -> Sequence[str]:
    if schema == "string":
        return ()
    return [KINDS[STRUCTS[branch["name"].rpartition(".")[2]]] for branch in schema]


_LAYOUTS: Mapping[bytes, Sequence[_Field]] = {
    header: _layout(schema) for header, schema in SCHEMAS.released.items() if STRUCTS[schema.name] in ROUTING
}


def parse_prefix(prefix: bytes) -> tuple[str, ...]:
    """What a prefix says: ("event", code), ("status", task, status), ("result", task) or ("exception", task).

    Raises ``InvalidMessage`` for anything else, a whole message included.
    """
    route, end = _parse(prefix, tuple(ROUTING))
    if end != len(prefix):
        raise InvalidMessage(f"a prefix ends after {end} bytes, these are {len(prefix)}")
    return route


def _parse(data: bytes, expect: Sequence[Struct]) -> tuple[tuple[str, ...], int]:
    """The route that ``data`` begins with, and where the routing fields end."""
    version = CODEC.version(data, expect)
    kind, texts, position = KINDS.get(version.shape.struct, ""), [], HEADER_BYTES
    for path, kinds in _LAYOUTS[version.schema.header]:
        if kinds:
            branch, position = read_branch(data, position, len(kinds), path)
            kind = kinds[branch]
            continue
        text, position = read_text(data, position, path)
        if not text:
            raise InvalidMessage(f"{path} is empty")
        texts.append(text)
    return (kind, *texts), position


def _slow(struct: Struct) -> Callable[[bytes | None], bytes]:
    """Makes the prefix of any message: long texts, older versions, and those that have none."""

    def prefix(value: bytes | None) -> bytes:
        try:
            return b"" if value is None else value[: _parse(value, (struct,))[1]]
        except InvalidMessage:
            return b""

    return prefix


def _prefixes(name: str, struct: Struct) -> Prefixes:
    """Generated: steps over lengths of one byte, and leaves every other message to ``slow``."""
    header = next(schema.header for schema in SCHEMAS.present.values() if STRUCTS[schema.name] is struct)
    steps = ["BRANCH" if field.kinds else "TEXT" for field in _LAYOUTS[header]]
    out = Source()
    with out.block(f"def {name}(values)"):
        out.line("prefixes = []; append = prefixes.append")
        with out.block("for value in values"):
            with out.block("try"):
                out.line(f"p = {HEADER_BYTES}")
                for step in steps:
                    out.line(f"p += {step}[value[p]]")
                fits = f"p <= len(value) and value[:{HEADER_BYTES}] == {header!r}"
                out.line(f"append(value[:p] if {fits} else slow(value))")
            out.line("except (LookupError, TypeError): append(slow(value))")
        out.line("return prefixes")
    branches = max(len(field.kinds) for field in _LAYOUTS[header])
    tables = {"TEXT": {2 * n: 1 + n for n in range(1, 64)}, "BRANCH": {2 * n: 1 for n in range(branches)}}
    prefixes: Prefixes = out.compile(name, {**tables, "slow": _slow(struct)})
    return prefixes


event_prefixes = _prefixes("event_prefixes", Event)
"""The prefixes of values of the events topic, b"" for those that are no ``Event`` up to their code."""

status_prefixes = _prefixes("status_prefixes", TaskStatus)
"""The prefixes of values of the task status topic, b"" for those that are no ``TaskStatus`` up to their status."""

result_prefixes = _prefixes("result_prefixes", TaskResult)
"""The prefixes of values of the task results topic, b"" for those that are no ``TaskResult`` up to their outcome."""
