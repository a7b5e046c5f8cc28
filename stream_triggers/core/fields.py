"""Reading JSON objects that a person wrote, with errors that name the place, what was expected and what was found.

Rules:
1. A path is written as its reader would say it: ``when.any[1].filter``.
2. A field that nobody reads is an error, never ignored: it is almost always a misspelling.
3. What is accepted as a JSON value here can be written as JSON and read back equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from difflib import get_close_matches

import msgspec
import orjson

from stream_triggers.core.message import TEXT_BYTES_MAX, JsonValue
from stream_triggers.errors import InvalidMessage, InvalidTrigger

JSON_DEPTH_MAX = 64
"""Deepest nesting of lists and objects in a definition; keeps every recursive reader far from Python's own limit."""

LEVELS_MAX = 254
"""Deepest nesting that can be written as JSON here."""

FOUND_CHARS_MAX = 60
"""Longest text that an error repeats as found."""

NULL = b"null"
"""What JSON has in place of a number that is not finite; where that is not written, there is nothing to look for."""

_NEVER_WRONG = frozenset({str, bool, type(None)})

_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**64 - 1  # what orjson writes


def at(path: str, name: str) -> str:
    """The path of field ``name`` of the object at ``path``."""
    return f"{path}.{name}" if path else name


def found(value: object) -> str:
    """``value`` in the words of an error."""
    match value:
        case None | bool():
            return orjson.dumps(value).decode()
        case int():
            return str(value) if _INTEGER_MIN <= value <= _INTEGER_MAX else "an integer beyond 64 bits"
        case float():
            return repr(value)
        case str():
            return f'"{excerpt(value, FOUND_CHARS_MAX)}"'
        case list():
            return "a list" if value else "an empty list"
        case dict():
            return "an object" if value else "an empty object"
        case _:
            return f"a Python {type(value).__name__}"


def excerpt(text: str, chars_max: int) -> str:
    """The start of ``text``, in a form that any encoding of Unicode can hold."""
    start = text if len(text) <= chars_max else text[:chars_max] + "…"
    return start.encode(errors="backslashreplace").decode()


def expected(what: str, value: object, path: str, *, hint: str = "") -> InvalidTrigger:
    """The error that ``what`` was expected at ``path`` where ``value`` was found."""
    return InvalidTrigger(path, f"expected {what}, found {found(value)}", hint=hint)


def object_at(value: JsonValue, path: str, what: str) -> dict[str, JsonValue]:
    """``value``, which must be an object with text keys."""
    if not isinstance(value, dict):
        raise expected(what, value, path)
    for name in value:
        if not isinstance(name, str):
            raise InvalidTrigger(path, f"expected text as the name of a field, found {found(name)}", hint="quote it")
    return value


def only(fields: dict[str, JsonValue], known: Collection[str], path: str) -> None:
    """Refuse the first field that is not ``known``."""
    for name in fields:
        if name not in known:
            raise InvalidTrigger(
                at(path, name), f"unknown field, expected one of {', '.join(known)}", hint=suggestion(name, known)
            )


def suggestion(name: str, known: Collection[str]) -> str:
    """The hint that names what ``name`` was probably meant to be; empty when nothing is near."""
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else ""


def required(fields: dict[str, JsonValue], name: str, what: str, path: str) -> JsonValue:
    """Field ``name``, which must be there."""
    if name not in fields:
        raise InvalidTrigger(at(path, name), f"expected {what}, found nothing")
    return fields[name]


def json_problem(value: object, path: str, depth: int = 0) -> tuple[str, str] | None:
    """The place and the reason why ``value`` cannot be written as JSON and read back equal; None when it can."""
    match value:
        case None | bool():
            return None
        case str():
            return None if value.isascii() else _text_problem(value, path)
        case int():
            return None if _INTEGER_MIN <= value <= _INTEGER_MAX else (path, "expected an integer of at most 64 bits")
        case float() if type(value) is float:
            return None if math.isfinite(value) else (path, f"expected a finite number, found {found(value)}")
        case list() | dict() if depth == JSON_DEPTH_MAX:
            return path, f"expected at most {JSON_DEPTH_MAX} levels of nesting, found more"
        case list():
            problems = (json_problem(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value))
        case dict():
            problems = (_member_problem(name, item, path, depth + 1) for name, item in value.items())
        case _:
            return path, f"expected a JSON value, found {found(value)}"
    return next((problem for problem in problems if problem is not None), None)


def require_short(message: msgspec.Struct) -> None:
    """Raise ``InvalidMessage`` for a text of ``message``, outside of its JSON parts, above ``TEXT_BYTES_MAX``."""
    for name in message.__struct_fields__:
        text = getattr(message, name)
        if name != "payload" and isinstance(text, str) and (size_bytes := len(text.encode())) > TEXT_BYTES_MAX:
            raise InvalidMessage(
                f"{name} has {size_bytes} bytes, the limit is {TEXT_BYTES_MAX}",
                hint="put what is long into the payload",
            )


def require_finite(value: object, path: str) -> None:
    """Raise ``InvalidMessage`` for a number in ``value`` that is not finite: JSON would have null in its place.

    ``value`` is what was written as JSON already.
    """
    end = _way_to(value, lambda part: isinstance(part, float) and not math.isfinite(part))
    if end is not None:
        raise InvalidMessage(
            f"{path}{end} is not a finite number, and JSON has no other", hint="use null or a text in its place"
        )


def require_64_bits(value: object, path: str) -> None:
    """Raise ``InvalidMessage`` for an integer in ``value`` that whoever reads it from JSON may round."""
    end = _way_to(value, lambda part: isinstance(part, int) and not _INTEGER_MIN <= part <= _INTEGER_MAX)
    if end is not None:
        raise InvalidMessage(f"{path}{end} is an integer beyond 64 bits", hint="send it as a text")


def _way_to(value: object, is_wrong: Callable[[object], bool], levels: int = LEVELS_MAX) -> str | None:
    """The way from ``value`` to the first part of it that is wrong, as the end of a path."""
    if is_wrong(value):
        return ""
    parts: Iterable[tuple[object, object]]
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list | tuple):
        parts = enumerate(value)
    elif is_dataclass(value):
        parts = ((each.name, getattr(value, each.name)) for each in fields_of(value))
    else:
        return None
    for name, item in parts if levels else ():
        if type(item) not in _NEVER_WRONG and (end := _way_to(item, is_wrong, levels - 1)) is not None:
            return f"[{name}]{end}" if isinstance(name, int) else f".{name}{end}"
    return None


def _member_problem(name: object, item: object, path: str, depth: int) -> tuple[str, str] | None:
    if type(name) is not str:
        return path, f"expected text as the name of a field, found {found(name)}"
    return _text_problem(name, path) or json_problem(item, at(path, name), depth)


def _text_problem(text: str, path: str) -> tuple[str, str] | None:
    """A lone surrogate is a str in Python, but not text in any encoding of Unicode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return path, f"expected Unicode text, found {found(text)}"
    return None
