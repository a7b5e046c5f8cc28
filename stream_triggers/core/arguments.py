"""The arguments and the key of a run, from templates and functions that are compiled once per trigger.

Rules:
1. A text that is one reference, ``"${event.payload.id}"``, gives the value it names with its JSON type. A reference
   inside other text is written into it: text as it is, every other value as JSON.
2. What is missing raises ``EvaluationFailed``, and so does a reference to another kind of message than the one that
   fired. With a question mark, ``"${event.payload.note?}"``, both give null.
3. In a row of dollar signs before a brace, two stand for one: ``$${`` is a literal ``${``, ``$$${event.code}`` a dollar
   sign before a code. Dollar signs elsewhere, and the names of fields, are taken as they are.
4. A reference that can never resolve, whatever the message, is refused when the template is read.
5. Values are handed on, not copied: nobody may change arguments, nor what a function was given.

A reference starts with a root: ``event``, ``status``, ``result`` or ``exception`` is the message if it is of that kind,
``message`` the message whatever it is, ``schedule`` a nominal instant; ``trigger.id`` and ``run.id`` name the cause.
Next comes a field of the message, then, in fields that hold JSON, a path as in a filter. Where a run has several
participants there are more roots: see ``keyed.cast``.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

import msgspec
import orjson

from stream_triggers.core.fields import at, excerpt, expected, json_problem, object_at, only, suggestion
from stream_triggers.core.filter import FUNCTION_NAME, MISSING, Functions, get_path, parse_path
from stream_triggers.core.message import JsonValue, Kind, Message
from stream_triggers.errors import EvaluationFailed, InvalidTrigger

Template: TypeAlias = Callable[[Message, Kind, str, str], JsonValue]
"""A compiled template: from the message that fired, its kind, the trigger's id and the run's id."""

ArgumentsFunction: TypeAlias = Callable[[Message, Kind, str, str], dict[str, JsonValue]]
"""Makes the arguments of a run, from the same as a template."""

KeyFunction: TypeAlias = Callable[[Message, Kind, str], str]
"""Makes the key of a trigger's state, from the message, its kind and the trigger's id."""

MESSAGE_FIELDS: Mapping[Kind, Mapping[str, str]] = {
    "event": {name: name for name in ("code", "id", "time_ms", "key", "payload", "source")},
    "status": {
        name: name for name in ("task", "status", "id", "invocation_id", "time_ms", "attempt", "arguments", "previous")
    },
    "result": {name: name for name in ("task", "id", "invocation_id", "time_ms", "attempt", "arguments")}
    | {"value": "outcome.value"},
    "exception": {name: name for name in ("task", "id", "invocation_id", "time_ms", "attempt", "arguments")}
    | {name: f"outcome.{name}" for name in ("type", "bases", "message", "final")},
    "schedule": {name: name for name in ("id", "time_ms")},
}
"""By kind, the fields of a message that templates can name, each with the attribute that holds it."""

ROOTS = (*MESSAGE_FIELDS, "message", "trigger", "run")
"""What a reference can start with."""

ANY_KIND = "any"
"""In ``args_from``: the function for every kind that has none of its own."""

RAISED_CHARS_MAX = 1000
"""Longest text of an exception of a function that a failure repeats."""

_JSON_FIELDS = frozenset({"payload", "arguments", "value", "bases"})
_DOLLARS = re.compile(r"(?<!\$)(\$+)\{")


class Reference(msgspec.Struct, frozen=True):
    """One ``${…}`` of a template; ``kinds`` are the kinds of message on which it can resolve, None means always."""

    text: str
    root: str
    field: str
    path: tuple[str, ...]
    kinds: frozenset[Kind] | None
    optional: bool


Fields: TypeAlias = Mapping[str, frozenset[Kind] | None]
"""What can come after a root, each with the kinds of message that have it; "" is nothing at all, the whole message."""

NO_ROOTS: Mapping[str, Fields] = {}
"""No roots but ``ROOTS``."""


class _Constant(NamedTuple):
    value: JsonValue


Reader: TypeAlias = Callable[[Reference, str], Template]
"""Makes the template of one reference; the text is the path of the template it is in."""


def escape(value: JsonValue) -> JsonValue:
    """The template that gives ``value`` literally."""
    match value:
        case str():
            return _DOLLARS.sub(lambda dollars: dollars[1] * 2 + "{", value)
        case list():
            return [escape(item) for item in value]
        case dict():
            return {name: escape(item) for name, item in value.items()}
        case _:
            return value


def references(
    template: JsonValue, path: str, roots: Mapping[str, Fields] = NO_ROOTS
) -> Iterator[tuple[str, Reference]]:
    """Every reference in ``template`` with the path of the text it is in; raises ``InvalidTrigger`` on a bad one.

    ``roots`` are what a reference can start with beside ``ROOTS``.
    """
    match template:
        case str():
            yield from ((path, piece) for piece in _pieces(template, path, roots) if isinstance(piece, Reference))
        case list():
            for index, item in enumerate(template):
                yield from references(item, f"{path}[{index}]", roots)
        case dict():
            for name, item in template.items():
                yield from references(item, at(path, name), roots)


def parse_args_from(value: JsonValue, path: str) -> dict[str, str]:
    """Check ``args_from``: by kind of message, or ``any``, the function that makes the arguments."""
    kinds = (*MESSAGE_FIELDS, ANY_KIND)
    fields = object_at(value, path, f"an object with one of {', '.join(kinds)}")
    only(fields, kinds, path)
    for kind, name in fields.items():
        if not isinstance(name, str) or not FUNCTION_NAME.fullmatch(name):
            raise expected("a function as module:function", name, at(path, kind))
    return fields


def compile_template(
    template: JsonValue, path: str, roots: Mapping[str, Fields] = NO_ROOTS, reader: Reader | None = None
) -> Template:
    """Compile the ``template`` that is at ``path``, with which its errors start.

    ``reader`` makes what reads a reference from something else than one message.
    """
    compiled = _compile(template, path, roots, reader or _reader)
    if isinstance(compiled, _Constant):
        value = compiled.value
        return lambda message, kind, trigger_id, run_id: value
    return compiled


def compile_arguments(
    args: Mapping[str, JsonValue], args_from: Mapping[str, str], functions: Functions
) -> ArgumentsFunction:
    """Compile the arguments of a trigger: what a function of ``args_from`` returns, overridden by ``args``."""
    template = compile_template(dict(args), "args")
    if not args_from:
        return template
    sources = {kind: compile_source(name, f"args_from.{kind}", functions) for kind, name in args_from.items()}
    fallback = sources.get(ANY_KIND)

    def arguments(message: Message, kind: Kind, trigger_id: str, run_id: str) -> dict[str, JsonValue]:
        source = sources.get(kind, fallback)
        if source is None:
            raise EvaluationFailed(f"args_from: no function for a message of kind {kind}")
        return {**source(message), **template(message, kind, trigger_id, run_id)}

    return arguments


def compile_source(name: str, path: str, functions: Functions) -> Callable[[Any], dict[str, JsonValue]]:
    """The function ``name`` of the trigger's author, held to what it promises; it raises ``EvaluationFailed``."""
    function = functions(name)

    def source(message: Any) -> dict[str, JsonValue]:
        try:
            result = function(message)
        except KeyboardInterrupt:  # the user's Ctrl-C, which cannot be told from one that the function raised
            raise
        except BaseException as error:
            # Formatted by the interpreter, which stands an exception whose own text cannot be made.
            text = "".join(traceback.format_exception_only(error)).strip()
            raise EvaluationFailed(f"{path}: {name} raised {excerpt(text, RAISED_CHARS_MAX)}") from error
        if not isinstance(result, dict):
            raise EvaluationFailed(str(expected(f"an object from {name}", result, path)))
        problem = json_problem(result, "")
        if problem is not None:
            place, reason = problem
            raise EvaluationFailed(f"{path}: {name} returned {place or 'an object'}: {reason}")
        return result

    return source


def compile_key(template: str) -> KeyFunction:
    """Compile the key of a trigger: text, or a number or boolean as JSON; all else raises ``EvaluationFailed``."""
    compiled = compile_template(template, "key")

    def key(message: Message, kind: Kind, trigger_id: str) -> str:
        value = compiled(message, kind, trigger_id, "")
        if type(value) is str:
            return value
        if isinstance(value, (bool, int, float)):
            return orjson.dumps(value).decode()
        raise EvaluationFailed(str(expected("text, a number or a boolean", value, "key")))

    return key


def _pieces(text: str, path: str, roots: Mapping[str, Fields] = NO_ROOTS) -> tuple[str | Reference, ...]:
    """Cut ``text`` into literal text, unescaped, and references."""
    pieces: list[str | Reference] = []
    literal, position = "", 0
    while (dollars := _DOLLARS.search(text, position)) is not None:
        literal += text[position : dollars.start()] + "$" * (len(dollars[1]) // 2)
        position = dollars.end()
        if len(dollars[1]) % 2 == 0:
            literal += "{"
            continue
        end = text.find("}", position)
        if end < 0:
            raise InvalidTrigger(
                path, 'expected "}" after "${", found the end of the text', hint="write $${ for a literal ${"
            )
        if literal:
            pieces.append(literal)
        pieces.append(_reference(text[position:end], path, roots))
        literal, position = "", end + 1
    literal += text[position:]
    if literal or not pieces:
        pieces.append(literal)
    return tuple(pieces)


def _reference(written: str, path: str, roots: Mapping[str, Fields]) -> Reference:
    """Read what stands between the braces; refuses what no message of any kind has."""
    text = written.removesuffix("?")
    known_roots = (*ROOTS, *roots)
    root, *names = parse_path(text, path) if _starts_known(text, known_roots) else (text,)
    if names and f"{root}.{names[0]}" in roots:
        root = f"{root}.{names.pop(0)}"
    if root not in known_roots:
        hint = suggestion(root.partition(".")[0], known_roots)
        problem = f"expected a reference to one of {', '.join(known_roots)}, found ${{{written}}}"
        raise InvalidTrigger(path, problem, hint=hint)
    known = roots[root] if root in roots else _fields_of(root)
    field, steps = names[0] if names else "", tuple(names[1:])
    if field not in known:
        problem = f"expected a field of {root}, one of {', '.join(filter(None, known))}, found ${{{written}}}"
        raise InvalidTrigger(path, problem, hint=suggestion(field, known))
    if steps and field not in _JSON_FIELDS:
        raise InvalidTrigger(path, f"expected nothing below {root}.{field}, found ${{{written}}}")
    return Reference(text, root, field, steps, known[field], optional=written.endswith("?"))


def _starts_known(text: str, roots: tuple[str, ...]) -> bool:
    first, _, rest = text.partition(".")
    return first in roots or f"{first}.{rest.partition('.')[0]}" in roots


def _fields_of(root: str) -> Mapping[str, frozenset[Kind] | None]:
    """The fields that a reference can name after ``root``, each with the kinds of message that have it."""
    if root in ("trigger", "run"):
        return {"id": None}
    kinds: dict[str, set[Kind]] = {}
    for kind, fields in MESSAGE_FIELDS.items():
        for field in fields if root in (kind, "message") else ():
            kinds.setdefault(field, set()).add(kind)
    return {field: frozenset(members) for field, members in kinds.items()}


def _compile(template: JsonValue, path: str, roots: Mapping[str, Fields], reader: Reader) -> _Constant | Template:
    match template:
        case str():
            return _compile_text(template, path, roots, reader)
        case list():
            items = enumerate(template)
            return _compile_list([_compile(item, f"{path}[{index}]", roots, reader) for index, item in items])
        case dict():
            # In order of names, so that equal triggers write equal bytes however their files were ordered.
            names = sorted(template)
            return _compile_object({name: _compile(template[name], at(path, name), roots, reader) for name in names})
        case _:
            return _Constant(template)


def _compile_text(text: str, path: str, roots: Mapping[str, Fields], reader: Reader) -> _Constant | Template:
    pieces = _pieces(text, path, roots)
    if len(pieces) == 1:
        return _Constant(pieces[0]) if isinstance(pieces[0], str) else reader(pieces[0], path)
    parts = tuple(piece if isinstance(piece, str) else reader(piece, path) for piece in pieces)

    def text_of(message: Message, kind: Kind, trigger_id: str, run_id: str) -> str:
        return "".join(
            [part if isinstance(part, str) else _text(part(message, kind, trigger_id, run_id)) for part in parts]
        )

    return text_of


def _text(value: JsonValue) -> str:
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except TypeError as error:  # nested more deeply than can be written, though it could be read
        raise EvaluationFailed(f"a value cannot be written as JSON: {error}") from error


def _compile_list(items: list[_Constant | Template]) -> _Constant | Template:
    start = [item.value if isinstance(item, _Constant) else None for item in items]
    moving = tuple((index, item) for index, item in enumerate(items) if not isinstance(item, _Constant))
    if not moving:
        return _Constant(start)

    def list_of(message: Message, kind: Kind, trigger_id: str, run_id: str) -> list[JsonValue]:
        values = start.copy()
        for index, item in moving:
            values[index] = item(message, kind, trigger_id, run_id)
        return values

    return list_of


def _compile_object(fields: dict[str, _Constant | Template]) -> _Constant | Template:
    start = {name: field.value if isinstance(field, _Constant) else None for name, field in fields.items()}
    moving = tuple((name, field) for name, field in fields.items() if not isinstance(field, _Constant))
    if not moving:
        return _Constant(start)

    def object_of(message: Message, kind: Kind, trigger_id: str, run_id: str) -> dict[str, JsonValue]:
        values = start.copy()
        for name, field in moving:
            values[name] = field(message, kind, trigger_id, run_id)
        return values

    return object_of


def _reader(reference: Reference, path: str) -> Template:
    if reference.kinds is None:
        of_trigger = reference.text == "trigger.id"
        return lambda message, kind, trigger_id, run_id: trigger_id if of_trigger else run_id
    getters = {kind: _getter(MESSAGE_FIELDS[kind][reference.field]) for kind in reference.kinds}
    steps, optional = reference.path, reference.optional
    missing = f"{path}: {reference.text} is missing"

    def read(message: Message, kind: Kind, trigger_id: str, run_id: str) -> JsonValue:
        getter = getters.get(kind)
        if getter is not None:
            value = getter(message)
            if steps:
                value = get_path(value, steps)
            if value is not MISSING:
                return value
        if optional:
            return None
        raise EvaluationFailed(missing if getter is not None else f"{missing} from a message of kind {kind}")

    return read


def _getter(attribute: str) -> Callable[[Message], JsonValue]:
    get: Callable[[Any], Any] = attrgetter(attribute)
    return (lambda message: list(get(message))) if attribute == "outcome.bases" else get
