"""Filters made fast: a tree becomes nested closures, each chosen for the shape it has.

Rules:
1. A closure returns True or False itself, never a value that counts as such: branches are compared by identity.
2. Branches run cheapest first, user code last; the answer is the same in any order.
3. A value came from a JSON reader: its objects are dicts, its lists are lists, its numbers are finite.
"""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, assert_never

from stream_triggers.core.fields import found
from stream_triggers.core.filter.path import MISSING, format_path, get_path, position_in_list
from stream_triggers.core.filter.tree import (
    Call,
    Conjunction,
    Disjunction,
    Filter,
    Negation,
    Operator,
    PathTest,
    index_key,
    json_equal,
)
from stream_triggers.core.message import JsonValue
from stream_triggers.errors import EvaluationFailed

Functions: TypeAlias = Callable[[str], Callable[..., Any]]
"""Finds the function that a definition names as ``module:function``; raises when it may not be used."""

Predicate: TypeAlias = Callable[[JsonValue], bool]
"""A compiled filter; raises ``EvaluationFailed`` where the filter has no answer."""


def compile_filter(tree: Filter, functions: Functions) -> Predicate:
    """Make ``tree`` ready to run; what ``functions`` raises for a function that may not be used passes through."""
    return _compile(tree, functions).accepts


class _Compiled(NamedTuple):
    """A predicate and what it takes: 0 when it always has an answer, 1 when it may fail, 2 when it calls user code."""

    cost: int
    accepts: Predicate


def _compile(tree: Filter, functions: Functions) -> _Compiled:
    match tree:
        case PathTest():
            return _Compiled(1 if tree.operator in _COMPARISONS else 0, _compile_test(tree))
        case Call(function):
            return _Compiled(2, _compile_call(function, functions))
        case Negation(part):
            cost, accepts = _compile(part, functions)
            return _Compiled(cost, lambda value: not accepts(value))
        case Conjunction(parts):
            return _combine([_compile(part, functions) for part in parts], decisive=False)
        case Disjunction(parts):
            return _combine([_compile(part, functions) for part in parts], decisive=True)
        case _:
            assert_never(tree)


def _combine(parts: list[_Compiled], *, decisive: bool) -> _Compiled:
    """All (decided by a branch that is false) or any (by one that is true) of ``parts``, cheap ones first."""
    parts.sort(key=lambda part: part.cost)
    branches = tuple(part.accepts for part in parts)
    cost = parts[-1].cost if parts else 0
    # An error in the last branch stands when it is reached: all before it have answered, and none has decided.
    if len(parts) < 2 or parts[-2].cost == 0:
        return _Compiled(cost, _chain(branches, decisive))

    def absorbing(value: JsonValue) -> bool:
        failure: EvaluationFailed | None = None
        for accepts in branches:
            try:
                if accepts(value) is decisive:
                    return decisive
            except EvaluationFailed as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return not decisive

    return _Compiled(cost, absorbing)


def _chain(branches: tuple[Predicate, ...], decisive: bool) -> Predicate:
    if len(branches) == 2:
        first, second = branches
        if decisive:
            return lambda value: first(value) or second(value)
        return lambda value: first(value) and second(value)

    def chain(value: JsonValue) -> bool:
        for accepts in branches:
            if accepts(value) is decisive:
                return decisive
        return not decisive

    return chain


def _compile_test(test: PathTest) -> Predicate:
    """The test with its way to the value; the one field at the top is the case that is made fast."""
    path, operand = test.path, test.operand
    check = _compile_check(test)
    missing = test.operator == "ne" or (test.operator == "exists" and not operand)
    if not path:
        return check
    if len(path) > 1 or position_in_list(path[0]) >= 0:

        def deep(value: JsonValue) -> bool:
            inner = get_path(value, path)
            return missing if inner is MISSING else check(inner)

        return deep
    name = path[0]
    if test.operator == "eq" and _plainly_comparable(operand):
        literal: object = operand
        return lambda value: isinstance(value, dict) and literal == value.get(name)

    def top(value: JsonValue) -> bool:
        inner = value.get(name, MISSING) if isinstance(value, dict) else MISSING
        return missing if inner is MISSING else check(inner)

    return top


def _plainly_comparable(literal: JsonValue) -> bool:
    """Whether Python's own equality with ``literal`` is equality by JSON type, and it is not None."""
    return isinstance(literal, str) or (isinstance(literal, (int, float)) and literal not in (0, 1))


def _compile_check(test: PathTest) -> Predicate:
    operand = test.operand
    match test.operator:
        case "eq":
            return _compile_equal(operand)
        case "ne":
            equal = _compile_equal(operand)
            return lambda value: not equal(value)
        case "in":
            return _compile_in(operand)
        case "exists":
            exists: bool = operand
            return lambda _: exists
        case _:
            return _compile_comparison(test)


def _compile_equal(operand: JsonValue) -> Predicate:
    literal: object = operand
    if _plainly_comparable(operand):
        return lambda value: literal == value
    if operand is None or isinstance(operand, bool):
        return lambda value: value is literal
    return lambda value: literal == value and json_equal(literal, value)


def _compile_in(operands: list[JsonValue]) -> Predicate:
    keys = frozenset(index_key(item) for item in operands) - {MISSING}
    structures = [item for item in operands if isinstance(item, (dict, list))]
    if not structures:
        return lambda value: index_key(value) in keys
    return lambda value: index_key(value) in keys or any(json_equal(item, value) for item in structures)


_COMPARISONS: dict[Operator, Callable[[Any, Any], bool]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
    "prefix": str.startswith,
    "suffix": str.endswith,
}


def _compile_comparison(test: PathTest) -> Predicate:
    compare, operand = _COMPARISONS[test.operator], test.operand
    if isinstance(operand, str):

        def check(value: JsonValue) -> bool:
            if isinstance(value, str):
                return compare(value, operand)
            raise _inapplicable(test, "a string", value)

    else:

        def check(value: JsonValue) -> bool:
            # Not isinstance: a bool is an int to it.
            if type(value) is int or type(value) is float:
                return compare(value, operand)
            raise _inapplicable(test, "a number", value)

    return check


def _inapplicable(test: PathTest, what: str, value: JsonValue) -> EvaluationFailed:
    problem = f"filter test {test.operator} of {format_path(test.path)}: expected {what}, found {found(value)}"
    return EvaluationFailed(problem)


_EXCERPT = reprlib.Repr()
_EXCERPT.maxother = 60


def _compile_call(name: str, functions: Functions) -> Predicate:
    function = functions(name)

    def accepts(value: JsonValue) -> bool:
        try:
            answer = function(value)
        except KeyboardInterrupt:  # the user's Ctrl-C, which cannot be told from one that the function raised
            raise
        except BaseException as error:
            raise EvaluationFailed(f"filter function {name} raised {_EXCERPT.repr(error)}") from error
        if isinstance(answer, bool):
            return answer
        raise EvaluationFailed(f"filter function {name}: expected true or false, found {found(answer)}")

    return accepts
