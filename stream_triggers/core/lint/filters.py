"""Filters that no value passes.

Rules:
1. Sound, not complete: what is called contradictory is, and some contradictions are not found.
2. A filter passes when it is true. Where a test has no answer, its conjunction is false or has none, so does not pass.
3. Of several ``any`` in one conjunction each is looked at with the other tests, not with the other ``any``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any, NoReturn, TypeAlias

import orjson

from stream_triggers.core.filter import Filter, Path, compile_filter, filter_json, parse_filter
from stream_triggers.core.filter.tree import Call, Conjunction, Disjunction, Negation, PathTest, conjuncts
from stream_triggers.core.message import JsonValue
from stream_triggers.errors import EvaluationFailed

_Part: TypeAlias = PathTest | Call | Negation
"""What has no parts of its own; a negation here is one of a test or a call."""

_LOWER, _UPPER, _ENDS = ("gt", "gte"), ("lt", "lte"), ("prefix", "suffix")
_ORDERED = (*_LOWER, *_UPPER, *_ENDS)


def contradiction(tree: Filter, known: Iterable[PathTest] = ()) -> str:
    """Why no value passes ``tree`` and what is ``known`` of the values beside it; empty when one may."""
    return _contradiction([*known, *conjuncts(_pushed(tree))])


def _contradiction(parts: list[Any]) -> str:
    flat: list[_Part] = [part for part in parts if not isinstance(part, Disjunction)]
    clash = _clash([part for part in flat if _test_of(part) is not None])
    if clash:
        return f"no value passes {' and '.join(_said(part) for part in clash)}"
    for choice in parts:
        if isinstance(choice, Disjunction):
            reasons = [_contradiction([*flat, *conjuncts(branch)]) for branch in choice.parts]
            if all(reasons):
                return "; ".join(dict.fromkeys(reasons))
    return ""


def _pushed(tree: Filter) -> Filter:
    """The same filter with every ``not`` at a test or a call."""
    match tree:
        case Conjunction(parts):
            return Conjunction(_flat(map(_pushed, parts)))
        case Disjunction(parts):
            return Disjunction(tuple(map(_pushed, parts)))  # type: ignore[arg-type]  # one may be in another here
        case Negation(Conjunction(parts)):
            return Disjunction(tuple(map(_negated, parts)))  # type: ignore[arg-type]  # likewise
        case Negation(Disjunction(parts)):
            return Conjunction(_flat(map(_negated, parts)))
        case _:
            return tree


def _negated(tree: Filter) -> Filter:
    return _pushed(tree.part if isinstance(tree, Negation) else Negation(tree))


def _flat(parts: Iterable[Filter]) -> tuple[Any, ...]:
    return tuple([inner for part in parts for inner in conjuncts(part)])


def _clash(parts: list[_Part]) -> tuple[_Part, ...]:
    """Tests that no value passes together; none when there may be one."""
    for one, other in combinations(parts, 2):
        if _exclude(one, other) or _exclude(other, one):
            return one, other
    for part in parts:
        if isinstance(part, PathTest) and part.operator in ("eq", "in"):
            below = [each for each in parts if each is not part and _path(each)[: len(part.path)] == part.path]
            values = part.operand if part.operator == "in" else [part.operand]
            if not any(all(_passes(each, len(part.path), value) for each in below) for value in values):
                return part, *below
    return ()


def _exclude(one: _Part, other: _Part) -> bool:
    """Whether the first, by what it says of the second's path or of one that leads there, rules the second out."""
    if not isinstance(one, PathTest) or not isinstance(other, PathTest):
        return False
    if not _is_below(other.path, one.path):
        return False
    is_same = one.path == other.path
    if one.operator == "exists" and one.operand is False:
        return needs_presence(other)
    if one.operator in _ORDERED and not is_same:
        return needs_presence(other)  # there is nothing below a number or a text
    if not is_same or one.operator not in _ORDERED or other.operator not in _ORDERED:
        return False
    low, high = one.operand, other.operand
    if isinstance(low, str) is not isinstance(high, str):
        return True
    if one.operator in _ENDS:
        return other.operator == one.operator and not _starts(one.operator, low, high)
    if one.operator in _LOWER and other.operator in _UPPER:
        return bool(low > high) or (low == high and (one.operator, other.operator) != ("gte", "lte"))
    return False


def _starts(operator: str, one: str, other: str) -> bool:
    """Whether one of two beginnings, or ends, of texts goes with the other."""
    shorter, longer = sorted((one, other), key=len)
    return longer.startswith(shorter) if operator == "prefix" else longer.endswith(shorter)


def _is_below(path: Path, top: Path) -> bool:
    return path[: len(top)] == top


def _passes(part: _Part, skipped: int, value: JsonValue) -> bool:
    """Whether a value can be what stands at the first ``skipped`` names of a test's path."""
    test = _test_of(part)
    assert test is not None, "asked for tests only"
    moved = replace(test, path=test.path[skipped:])
    try:
        return compile_filter(Negation(moved) if isinstance(part, Negation) else moved, _no_function)(value)
    except EvaluationFailed:
        return False


def _no_function(name: str) -> Callable[..., NoReturn]:
    raise AssertionError(f"a test calls no function: {name}")


def _test_of(part: _Part) -> PathTest | None:
    inner = part.part if isinstance(part, Negation) else part
    return inner if isinstance(inner, PathTest) else None


def _path(part: _Part) -> Path:
    test = _test_of(part)
    assert test is not None, "asked for tests only"
    return test.path


def _said(part: _Part) -> str:
    canonical = parse_filter(filter_json(part), "filter")  # not of eq is ne
    return orjson.dumps(filter_json(canonical)).decode()


def needs_presence(test: PathTest) -> bool:
    """Whether a test is false where its path leads nowhere."""
    return test.operator != "ne" and (test.operator != "exists" or test.operand is True)


def values_at(tree: Filter, path: Path) -> Iterator[tuple[JsonValue, ...]]:
    """The sets of values of which ``tree`` demands one at ``path``."""
    for part in conjuncts(tree):
        if isinstance(part, PathTest) and part.path == path and part.operator in ("eq", "in"):
            yield tuple(part.operand) if part.operator == "in" else (part.operand,)
