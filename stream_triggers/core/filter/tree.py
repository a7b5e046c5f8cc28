"""Filters as values: a closed union, and what follows from its members alone.

Rules:
1. Members are immutable and hashable. An operand is kept as canonical JSON text, because to Python True equals 1.
2. The types say what cannot nest: a conjunction has no conjunction among its parts. Only ``notation`` makes trees.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import orjson

from stream_triggers.core.filter.path import MISSING, Path
from stream_triggers.core.message import JsonValue

Operator: TypeAlias = Literal["eq", "ne", "lt", "lte", "gt", "gte", "in", "prefix", "suffix", "exists"]
"""What a test does with the value at its path."""


@dataclass(frozen=True, slots=True)
class PathTest:
    """A test of the value at ``path``; ``operand_json`` is the operand in canonical JSON."""

    path: Path
    operator: Operator
    operand_json: str

    @property
    def operand(self) -> JsonValue:
        """The operand, a new value at each call."""
        return orjson.loads(self.operand_json)


@dataclass(frozen=True, slots=True)
class Call:
    """A user function of the whole value, as ``module:function``."""

    function: str


@dataclass(frozen=True, slots=True)
class Negation:
    """True where ``part`` is false and the other way round; without an answer where ``part`` has none."""

    part: PathTest | Call | Conjunction | Disjunction


@dataclass(frozen=True, slots=True)
class Conjunction:
    """Every one of ``parts``: none or at least two."""

    parts: tuple[PathTest | Call | Negation | Disjunction, ...]


@dataclass(frozen=True, slots=True)
class Disjunction:
    """At least one of ``parts``, which are at least two."""

    parts: tuple[PathTest | Call | Negation | Conjunction, ...]


Filter: TypeAlias = PathTest | Call | Negation | Conjunction | Disjunction
"""A parsed filter."""

EVERYTHING: Final = Conjunction(())
"""The filter that accepts every value."""


def json_equal(left: JsonValue, right: JsonValue) -> bool:
    """Whether two JSON values are equal by JSON type; recurses no deeper than ``left``."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and left.keys() == right.keys()
            and all(json_equal(item, right[name]) for name, item in left.items())
        )
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(json_equal, left, right))
    equal: bool = left == right
    return equal


def index_key(value: JsonValue) -> Hashable:
    """The key under which a scalar is looked up: keys are equal exactly where the JSON values are.

    ``MISSING`` for lists, objects and ``MISSING``: a value that no indexed equality can accept.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return (value,)
    return MISSING if isinstance(value, (dict, list)) else value


def equalities(tree: Filter) -> tuple[tuple[Path, tuple[JsonValue, ...]], ...]:
    """The scalars that ``tree`` demands at paths, where it is, or is a conjunction with, ``eq`` or ``in`` of scalars.

    Where the value at such a path is none of the scalars, ``tree`` is false, not an error, whatever its other parts
    make of the value. A list or an object there is never one of them: no indexed equality can match it. An ``eq`` or
    ``in`` that itself names a list or an object is left out.
    """
    demands = []
    for part in conjuncts(tree):
        if isinstance(part, PathTest) and part.operator in ("eq", "in"):
            values = part.operand if part.operator == "in" else [part.operand]
            if all(index_key(value) is not MISSING for value in values):
                demands.append((part.path, tuple(values)))
    return tuple(demands)


def conjuncts(tree: Filter) -> tuple[PathTest | Call | Negation | Disjunction, ...]:
    """The filters that must all accept a value for ``tree`` to accept it."""
    return tree.parts if isinstance(tree, Conjunction) else (tree,)
