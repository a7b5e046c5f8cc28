"""How each record of the schemas corresponds to a value of ``core``, and what a valid value keeps to.

A shape is derived from a present schema and the type hints of the struct it becomes: a ``bytes`` field that the struct
types as a JSON value is JSON, a ``string`` field that it types as a ``Literal`` takes those words only. Both codecs,
the general and the generated one, are made from shapes.

Rules:
1. A record's fields in the schema are the fields of its struct, by name; anything else stops the import.
2. What the schemas cannot say is said once, in the tables at the top: what may not be empty, which JSON is an object.
3. Shapes are a closed set: code that tells them apart ends in ``assert_never``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args, get_type_hints

import msgspec

from stream_triggers.core.invocation import Decision, Invocation, TriggerRun
from stream_triggers.core.message import Event, Failure, Participant, Success, TaskResult, TaskStatus
from stream_triggers.core.record import Activation, Behind, DeadLetter, Definition, Fact, Header, Pause, Start, Tick
from stream_triggers.runtime.codec.schemas import SCHEMAS

Value: TypeAlias = (
    Event
    | TaskStatus
    | TaskResult
    | Invocation
    | TriggerRun
    | Decision
    | Definition
    | Fact
    | Tick
    | Activation
    | DeadLetter
)
"""Everything that is a message on the wire."""

NEVER_EMPTY = frozenset(
    {
        *("Event.code", "Event.id"),
        *("TaskStatus.task", "TaskStatus.status", "TaskStatus.id", "TaskStatus.invocation_id"),
        *("TaskResult.task", "TaskResult.id", "TaskResult.invocation_id"),
        *("Invocation.task", "Invocation.trigger_id", "Invocation.id", "Invocation.run_id"),
        *("TriggerRun.task", "TriggerRun.trigger_id", "TriggerRun.run_id", "TriggerRun.invocation_id"),
        *("TriggerDefinition.id", "TriggerDefinition.version"),
        *("Fact.trigger_id", "Activation.trigger_id"),
    }
)
"""Texts without which a record means nothing."""

OBJECTS = frozenset({"TaskStatus.arguments", "TaskResult.arguments", "Invocation.arguments", "Fact.fields"})
"""JSON that is an object; any other may be any JSON value."""

AS_THEY_WERE = frozenset({"DeadLetter.timestamp_ms"})
"""Instants that are kept whatever they are: Kafka says -1 for a record without one."""

STRUCTS: Mapping[str, type[msgspec.Struct]] = {
    "TriggerDefinition": Definition,
    **{struct.__name__: struct for struct in (Event, TaskStatus, TaskResult, Success, Failure, Invocation, TriggerRun)},
    **{
        struct.__name__: struct
        for struct in (Participant, Decision, Fact, Tick, Activation, DeadLetter, Header, Pause, Start, Behind)
    },
}
"""The struct that each record of the schemas becomes."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text; ``words`` are the only ones it may be, if there are any."""

    filled: bool
    words: frozenset[str]


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number of 32 or 64 bits."""

    bits: int


@dataclass(frozen=True, slots=True)
class Instant:
    """Milliseconds since the epoch, from the year 1970 to the year 9999."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A boolean."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes as they are."""


@dataclass(frozen=True, slots=True)
class Json:
    """Bytes that are a JSON value, parsed on the side of ``core``."""

    is_object: bool


@dataclass(frozen=True, slots=True)
class Maybe:
    """None, the union's first branch, or a value."""

    of: Shape


@dataclass(frozen=True, slots=True)
class Many:
    """Any number of values: a tuple on the side of ``core``."""

    of: Shape


@dataclass(frozen=True, slots=True)
class Record:
    """A struct; ``fields`` in the order of the schema."""

    name: str
    full_name: str
    struct: type[msgspec.Struct]
    fields: tuple[tuple[str, Shape], ...]


@dataclass(frozen=True, slots=True)
class Either:
    """One of several records, in the order of the union."""

    records: tuple[Record, ...]


Shape: TypeAlias = Text | Number | Instant | Flag | Raw | Json | Maybe | Many | Record | Either


def _record(schema: Mapping[str, Any], namespace: str) -> Record:
    name: str = schema["name"]
    namespace = schema.get("namespace", namespace)
    struct = STRUCTS[name]
    hints = get_type_hints(struct)
    names = {field["name"] for field in schema["fields"]}
    assert names == set(struct.__struct_fields__), f"schema and struct {name} differ in {names ^ set(hints)}"
    types = [(field["name"], field["type"]) for field in schema["fields"]]
    fields = tuple((field, _shape(of, hints[field], f"{name}.{field}", namespace)) for field, of in types)
    return Record(name, f"{namespace}.{name}", struct, fields)


def _shape(schema: Any, hint: Any, path: str, namespace: str) -> Shape:
    match schema:
        case "string":
            return Text(path in NEVER_EMPTY, frozenset(_words(hint)))
        case "bytes":
            return Json(path in OBJECTS) if hint is Any else Raw()
        case "int" | "long":
            return Number(32 if schema == "int" else 64)
        case "boolean":
            return Flag()
        case ["null", of]:
            inner = [arg for arg in get_args(hint) if arg is not type(None)]
            return Maybe(_shape(of, inner[0], path, namespace))
        case {"type": "long", "logicalType": "timestamp-millis"}:
            return Number(64) if path in AS_THEY_WERE else Instant()
        case {"type": "array", "items": items}:
            return Many(_shape(items, get_args(hint)[0], path, namespace))
        case {"type": "record"}:
            return _record(schema, namespace)
        case [*branches]:
            return Either(tuple(_record(branch, namespace) for branch in branches))
    raise AssertionError(f"{path}: no shape for {schema}")


def _words(hint: Any) -> Iterator[str]:
    """The words of a ``Literal``, or of a union of them."""
    if isinstance(hint, str):
        yield hint
    for arg in get_args(hint):
        yield from _words(arg)


SHAPES: Mapping[type[msgspec.Struct], Record] = {
    STRUCTS[name]: _record(schema.definition, "") for name, schema in SCHEMAS.present.items()
}
"""The shape of every record that is a message, by its struct."""
