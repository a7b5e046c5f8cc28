"""The notation of filters: JSON to a tree in canonical form, and back.

Rules:
1. A tree is canonical: parts are flattened, sorted and without repetition; ``not`` of ``not``, ``eq``, ``ne`` and
   ``exists``, and ``in`` of one value, are replaced by what they mean; 1.0 is 1. All of it holds with errors too.
2. What is written for a tree reads back as an equal tree. In particular it has no more levels than the tree, so what
   was within ``DEPTH_MAX`` stays there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal, TypeVar, assert_never

import orjson

from stream_triggers.core.fields import at, expected, found, json_problem, object_at, suggestion
from stream_triggers.core.filter.path import RESERVED, Path, format_path, parse_path
from stream_triggers.core.filter.tree import (
    EVERYTHING,
    Call,
    Conjunction,
    Disjunction,
    Filter,
    Negation,
    Operator,
    PathTest,
    conjuncts,
)
from stream_triggers.core.message import JsonValue
from stream_triggers.errors import InvalidTrigger

OPERATORS: Final[tuple[Operator | Literal["not"], ...]] = (
    "eq",
    "ne",
    "lt",
    "lte",
    "gt",
    "gte",
    "in",
    "prefix",
    "suffix",
    "exists",
    "not",
)
"""The words of an operator object: every ``Operator``, and ``not``."""

DEPTH_MAX = 64
"""Deepest filter, as written and as parsed: every any, all, not and object of several tests is a level."""

TESTS_MAX = 1000
"""Most tests and calls in one filter."""

USE_EQ = 'to compare with the object as it is, write {"eq": {...}}'
"""The hint at an object that is none of operators."""

FUNCTION_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
"""How user code is named: ``module:function``."""

_Part = TypeVar("_Part", bound=Filter)


def parse_filter(value: JsonValue, path: str) -> Filter:
    """Read a filter; raises ``InvalidTrigger`` with the path of what is wrong, below ``path``."""
    tree = _parse(value, path, 1)
    depth, tests = _size(tree)
    if depth > DEPTH_MAX:
        raise InvalidTrigger(path, f"expected at most {DEPTH_MAX} levels of nesting, found {depth}")
    if tests > TESTS_MAX:
        raise InvalidTrigger(path, f"expected at most {TESTS_MAX} tests, found {tests}")
    return tree


def _parse(value: JsonValue, path: str, depth: int) -> Filter:
    _check_depth(path, depth)
    parts: list[Filter] = []
    for name, item in object_at(value, path, "an object of tests").items():
        where = at(path, name)
        match name:
            case "any" | "all":
                if not isinstance(item, list) or not item:
                    raise expected("a list of filters", item, where)
                branches = [_branch(branch, f"{where}[{index}]", depth + 1) for index, branch in enumerate(item)]
                parts.append(_disjunction(branches) if name == "any" else _conjunction(branches))
            case "not":
                parts.append(_negation(_branch(item, where, depth + 1)))
            case "call":
                if not isinstance(item, str) or not FUNCTION_NAME.fullmatch(item):
                    raise expected("a function as module:function", item, where)
                parts.append(Call(item))
            case _:
                parts.append(_parse_test(parse_path(name, where), item, where, depth))
    return _conjunction(parts)


def _branch(value: JsonValue, path: str, depth: int) -> Filter:
    tree = _parse(value, path, depth)
    if tree == EVERYTHING:
        raise expected(
            "a filter with a test in it", value, path, hint="leave it out: an empty filter accepts everything"
        )
    return tree


def _parse_test(path: Path, value: JsonValue, where: str, depth: int) -> Filter:
    """Read what stands at a path: an operator object, or a literal that the value there must equal."""
    _check_depth(where, depth)
    if not isinstance(value, dict):
        return PathTest(path, "eq", _operand_json("eq", value, where))
    if not value:
        raise expected("a literal or an object of operators", value, where, hint=USE_EQ)
    for name in value:
        if name not in OPERATORS:
            raise _unknown(name, where)
    return _conjunction(
        [_parse_operator(path, word, value[word], at(where, word), depth) for word in OPERATORS if word in value]
    )


def _unknown(name: object, where: str) -> InvalidTrigger:
    near = suggestion(str(name).lower(), OPERATORS)
    problem = f"unknown operator {found(name)}, expected one of {', '.join(OPERATORS)}"
    return InvalidTrigger(where, problem, hint=f"{near} {USE_EQ}" if near else USE_EQ)


def _parse_operator(path: Path, word: Operator | Literal["not"], operand: JsonValue, where: str, depth: int) -> Filter:
    if word == "not":
        return _negation(_parse_test(path, operand, where, depth + 1))
    text = _operand_json(word, operand, where)
    if word == "in" and len(values := orjson.loads(text)) == 1:
        return PathTest(path, "eq", _json_text(values[0]))
    return PathTest(path, word, text)


def _is_text(value: JsonValue) -> bool:
    return isinstance(value, str) and value != ""


def _is_ordered(value: JsonValue) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


_OPERANDS: dict[Operator, tuple[str, Callable[[JsonValue], bool]]] = {
    "eq": ("a JSON value", lambda value: True),
    "ne": ("a JSON value", lambda value: True),
    "lt": ("a number or a string", _is_ordered),
    "lte": ("a number or a string", _is_ordered),
    "gt": ("a number or a string", _is_ordered),
    "gte": ("a number or a string", _is_ordered),
    "in": ("a list of values", lambda value: isinstance(value, list) and value != []),
    "prefix": ("a string that is not empty", _is_text),
    "suffix": ("a string that is not empty", _is_text),
    "exists": ("true or false", lambda value: isinstance(value, bool)),
}


def _operand_json(word: Operator, value: JsonValue, where: str) -> str:
    """Check the operand of ``word`` and give its canonical JSON; that of ``in`` is a set, so sorted."""
    what, fits = _OPERANDS[word]
    if not fits(value):
        raise expected(what, value, where)
    problem = json_problem(value, where)
    if problem is not None:
        raise InvalidTrigger(*problem)
    if word == "in":
        return f"[{','.join(sorted({_json_text(item) for item in value}))}]"
    return _json_text(value)


def _json_text(value: JsonValue) -> str:
    return orjson.dumps(_plain_numbers(value), option=orjson.OPT_SORT_KEYS).decode()


def _plain_numbers(value: JsonValue) -> JsonValue:
    """``value`` with 1.0 written as 1, for they are equal; as far as integers go on the wire, which is 64 bits."""
    match value:
        case float() if value.is_integer() and -(2**63) <= value < 2**64:
            return int(value)
        case list():
            return [_plain_numbers(item) for item in value]
        case dict():
            return {name: _plain_numbers(item) for name, item in value.items()}
        case _:
            return value


def _check_depth(path: str, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise InvalidTrigger(path, f"expected at most {DEPTH_MAX} levels of nesting, found more")


def _size(tree: Filter) -> tuple[int, int]:
    """The levels of ``tree`` and the tests and calls in it."""
    match tree:
        case PathTest() | Call():
            return 1, 1
        case Negation(part):
            sizes = [_size(part)]
        case Conjunction(parts) | Disjunction(parts):
            sizes = [_size(part) for part in parts]
        case _:
            assert_never(tree)
    return 1 + max((depth for depth, _ in sizes), default=0), sum(tests for _, tests in sizes)


def _negation(tree: Filter) -> Filter:
    match tree:
        case Negation(part):
            return part
        case PathTest(path, "eq", operand):
            return PathTest(path, "ne", operand)
        case PathTest(path, "ne", operand):
            return PathTest(path, "eq", operand)
        case PathTest(path, "exists", operand):
            return PathTest(path, "exists", "false" if operand == "true" else "true")
        case _:
            return Negation(tree)


def _conjunction(parts: Sequence[Filter]) -> Filter:
    flat = _canonical(inner for part in parts for inner in conjuncts(part))
    return flat[0] if len(flat) == 1 else Conjunction(flat)


def _disjunction(parts: Sequence[Filter]) -> Filter:
    flat = _canonical(inner for part in parts for inner in (part.parts if isinstance(part, Disjunction) else (part,)))
    return flat[0] if len(flat) == 1 else Disjunction(flat)


def _canonical(parts: Iterable[_Part]) -> tuple[_Part, ...]:
    return tuple(sorted(dict.fromkeys(parts), key=lambda part: _json_text(filter_json(part))))


def filter_json(tree: Filter) -> JsonValue:
    """The canonical spelling of ``tree``, a new value at each call: nothing is said that can be left out."""
    rows: list[dict[str, JsonValue]] = [{}]
    for part in conjuncts(tree):
        name, item = _entry(part)
        for row in rows:
            if name not in row:
                row[name] = item
                break
            if name not in RESERVED and row[name].keys().isdisjoint(item):
                row[name] |= item
                break
        else:
            rows.append({name: item})
    first, *others = [{name: _shortest(name, item) for name, item in row.items()} for row in rows]
    return first | {"all": others} if others else first


def _entry(part: PathTest | Call | Negation | Disjunction) -> tuple[str, JsonValue]:
    """The field of a filter that says ``part``; tests in full, as an operator object."""
    match part:
        case PathTest(path, word):
            return format_path(path), {word: part.operand}
        case Negation(PathTest(path, word) as test):
            return format_path(path), {"not": {word: test.operand}}
        case Negation(inner):
            return "not", filter_json(inner)
        case Disjunction(parts):
            return "any", [filter_json(branch) for branch in parts]
        case Call(function):
            return "call", function
        case _:
            assert_never(part)


def _shortest(name: str, item: JsonValue) -> JsonValue:
    """The operand of ``eq`` alone, where it is no object: that would be read as one of operators."""
    if name in RESERVED or item.keys() != {"eq"} or isinstance(item["eq"], dict):
        return item
    return item["eq"]
