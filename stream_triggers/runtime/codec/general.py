"""Every record, both ways, with fastavro: the codec that says what is valid, and the one for what is not hot.

Decoding goes in three steps: walk the bytes and refuse what is not well formed; let fastavro read them, by schema
resolution when an older version wrote them; make the value of ``core`` and check what the schema cannot say.

Rules:
1. Whatever the bytes, ``decode`` returns a valid value or raises ``InvalidMessage`` with one sentence naming the place.
2. ``encode`` refuses what ``decode`` would refuse: nothing is written that cannot be read.
3. Memory and time are bounded by the length of the message, not by what it announces.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from io import BytesIO
from typing import Any, NamedTuple, TypeAlias, TypeVar, assert_never, overload

import fastavro
import msgspec
import orjson

from stream_triggers.core.message import TIME_MS_MAX
from stream_triggers.errors import InvalidMessage
from stream_triggers.runtime.codec.schemas import HEADER_BYTES, MARKER, SCHEMAS, Schema, Schemas
from stream_triggers.runtime.codec.shape import (
    SHAPES,
    STRUCTS,
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
    Value,
)
from stream_triggers.runtime.codec.wire import Walk, walker

T = TypeVar("T", bound=msgspec.Struct)

Convert: TypeAlias = Callable[[Any], Any]
"""Turns one part of a value of ``core`` into fastavro's form of it, or back."""


class Version(NamedTuple):
    """How messages of one version of one record are read; ``resolve`` is the schema to resolve an older one to."""

    schema: Schema
    shape: Record
    walk: Walk
    resolve: Any
    lift: Convert


class Codec:
    """Encodes with the present schemas of ``schemas``, decodes what any of their versions wrote."""

    def __init__(self, schemas: Schemas) -> None:
        self._writers: dict[type, tuple[Schema, Convert]] = {}
        self._versions: dict[bytes, Version] = {}
        for struct, shape in SHAPES.items():
            self._writers[struct] = (schemas.present[shape.name], _lower(shape, shape.name))
        for header, schema in schemas.released.items():
            present = schemas.present[schema.name]
            shape = SHAPES[STRUCTS[schema.name]]
            resolve = None if header == present.header else present.parsed
            walk = walker(schema.parsed, schema.name)
            self._versions[header] = Version(schema, shape, walk, resolve, _lift(shape, shape.name))

    def encode(self, value: Value) -> bytes:
        """The bytes of ``value``; raises ``InvalidMessage`` for what ``decode`` would refuse, wrong types included."""
        schema, lower = self._writers[type(value)]
        buffer = BytesIO()
        fastavro.schemaless_writer(buffer, schema.parsed, lower(value))
        return schema.header + buffer.getvalue()

    @overload
    def decode(self, data: bytes | None) -> Value: ...
    @overload
    def decode(self, data: bytes | None, expect: Collection[type[T]]) -> T: ...
    @overload  # of several types there is no one T, and mypy takes this one
    def decode(self, data: bytes | None, expect: Collection[type[msgspec.Struct]]) -> Value: ...  # type: ignore[overload-cannot-match]
    def decode(self, data: bytes | None, expect: Collection[type[msgspec.Struct]] = ()) -> Any:
        """The value in ``data``, of one of the types in ``expect`` if there are any; raises ``InvalidMessage``."""
        if data is None:
            raise InvalidMessage("a record without a value is no message")
        version = self.version(data, expect)
        end = version.walk(data, HEADER_BYTES)
        if end != len(data):
            raise InvalidMessage(f"{version.shape.name} ends before its bytes do: {len(data) - end} are left")
        buffer = BytesIO(data)
        buffer.seek(HEADER_BYTES)
        datum = fastavro.schemaless_reader(buffer, version.schema.parsed, version.resolve, return_record_name=True)
        return version.lift(datum)

    def version(self, data: bytes, expect: Collection[type[msgspec.Struct]] = ()) -> Version:
        """What ``data`` says it is; raises ``InvalidMessage`` if that is nothing known, or not in ``expect``."""
        expected = " or ".join(sorted(SHAPES[struct].name for struct in expect or SHAPES))
        if not data.startswith(MARKER):
            found = data[: len(MARKER)].hex(" ") or "nothing"
            raise InvalidMessage(
                f"message begins with {found}, not with {MARKER.hex(' ')} as Avro's single-object encoding does",
                hint=f"send {expected} in that encoding",
            )
        if len(data) < HEADER_BYTES:
            raise InvalidMessage(f"message of {len(data)} bytes is shorter than its header of {HEADER_BYTES}")
        version = self._versions.get(data[:HEADER_BYTES])
        if version is None:
            raise InvalidMessage(
                f"unknown schema fingerprint {data[len(MARKER) : HEADER_BYTES].hex()} where {expected} is expected",
                hint="send it with a released schema, or upgrade the reader to the release that has this one",
            )
        if expect and version.shape.struct not in expect:
            raise InvalidMessage(f"{version.shape.name} found where {expected} is expected")
        return version


def _lower(shape: Shape, path: str) -> Convert:
    """From ``core`` to fastavro's form, checked; ``path`` names the place in errors."""
    match shape:
        case Record(struct=struct):
            fields = [(name, _lower(of, f"{path}.{name}")) for name, of in shape.fields]
            typed = _typed(struct, path)
            return lambda value: _lower_fields(fields, typed(value))
        case Either(records):
            branches = {record.struct: (record.full_name, _lower(record, path)) for record in records}
            return lambda value: _lower_branch(branches, value, path)
        case Many(of):
            item = _lower(of, f"{path}[]")
            typed = _typed((tuple, list), path)
            return lambda values: [item(value) for value in typed(values)]
        case Maybe(of):
            some = _lower(of, path)
            return lambda value: None if value is None else some(value)
        case Json():
            check = _check(shape, path)
            return lambda value: _dump(check(value), path)
        case Text() | Number() | Instant() | Flag() | Raw():
            typed, check = _typed(_PYTHON[type(shape)], path), _check(shape, path)
            return lambda value: check(typed(value))
        case _:
            assert_never(shape)


def _lift(shape: Shape, path: str) -> Convert:
    """From fastavro's form of well-formed bytes to ``core``, checked; ``path`` names the place in errors."""
    match shape:
        case Record(struct=struct):
            fields = [(name, _lift(of, f"{path}.{name}")) for name, of in shape.fields]
            return lambda datum: struct(**{name: lift(datum[name]) for name, lift in fields})
        case Either(records):
            branches = {record.full_name: _lift(record, path) for record in records}
            return lambda datum: branches[datum[0]](datum[1])
        case Many(of):
            item = _lift(of, f"{path}[]")
            return lambda data: tuple([item(datum) for datum in data])
        case Maybe(of):
            some = _lift(of, path)
            if isinstance(of, Record):
                return lambda datum: None if datum is None else some(datum[1])  # with its name before it
            return lambda datum: None if datum is None else some(datum)
        case Json():
            check = _check(shape, path)
            return lambda datum: check(_load(datum, path))
        case Text() | Number() | Instant() | Flag() | Raw():
            return _check(shape, path)
        case _:
            assert_never(shape)


_PYTHON: dict[type, type] = {Text: str, Number: int, Instant: int, Flag: bool, Raw: bytes}


def _typed(expected: type | tuple[type, ...], path: str) -> Convert:
    def typed(value: Any) -> Any:
        if not isinstance(value, expected):
            raise InvalidMessage(f"{path} cannot be a {type(value).__name__}")
        return value

    return typed


def _check(shape: Text | Number | Instant | Flag | Raw | Json, path: str) -> Convert:
    """Returns what it is given, or raises ``InvalidMessage``; on the side of ``core``, types being right."""
    match shape:
        case Text():
            return lambda text: _check_text(shape, text, path)
        case Number(bits):
            return lambda number: _check_range(number, -(1 << bits - 1), (1 << bits - 1) - 1, path, f"{bits} bits")
        case Instant():
            return lambda time_ms: _check_range(time_ms, 0, TIME_MS_MAX, path, "the years 1970 to 9999")
        case Json(is_object=True):
            return lambda value: _check_object(value, path)
        case _:
            return lambda value: value


def _check_text(shape: Text, text: str, path: str) -> str:
    if shape.filled and not text:
        raise InvalidMessage(f"{path} is empty")
    if shape.words and text not in shape.words:
        raise InvalidMessage(f"{path} is {text!r}, not one of {', '.join(sorted(filter(None, shape.words)))}")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidMessage(f"{path} has half of a surrogate pair, which UTF-8 cannot say") from None
    return text


def _check_range(number: int, least: int, most: int, path: str, bounds: str) -> int:
    if not least <= number <= most:
        raise InvalidMessage(f"{path} is {number}, outside {bounds}")
    return number


def _check_object(value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise InvalidMessage(f"{path} is not a JSON object: {type(value).__name__}")
    return value


def _dump(value: Any, path: str) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise InvalidMessage(f"{path} cannot be written as JSON: {error}") from error


def _load(data: bytes, path: str) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidMessage(f"{path} is not JSON: {error}") from error


def _lower_fields(fields: list[tuple[str, Convert]], value: Any) -> dict[str, Any]:
    return {name: lower(getattr(value, name)) for name, lower in fields}


def _lower_branch(branches: dict[type[msgspec.Struct], tuple[str, Convert]], value: Any, path: str) -> tuple[str, Any]:
    name, lower = branches.get(type(value), (None, None))
    if name is None or lower is None:
        raise InvalidMessage(f"{path} cannot be a {type(value).__name__}")
    return name, lower(value)


CODEC = Codec(SCHEMAS)
"""The codec of this installation's schemas."""
