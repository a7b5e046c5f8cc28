"""Comparisons between participants: later leaves that read earlier ones.

Rules:
1. ``eq`` and ``ne`` compare by JSON type. The others compare two numbers or two texts; with anything else, or where a
   value is missing, the comparison cannot be judged: ``EvaluationFailed``.
2. A comparison is judged as soon as an occurrence has been chosen for every leaf that it names, and only then.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stream_triggers.core.arguments import Fields, references
from stream_triggers.core.condition import Comparison
from stream_triggers.core.fields import at, found
from stream_triggers.core.filter import json_equal
from stream_triggers.core.keyed.cast import Cast, compile_cast
from stream_triggers.core.keyed.pool import Chosen
from stream_triggers.core.message import JsonValue
from stream_triggers.errors import EvaluationFailed

_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}


class Clause:
    """A compiled comparison."""

    def __init__(
        self, comparison: Comparison, path: str, roots: Mapping[str, Fields], leaves: Mapping[str, str]
    ) -> None:
        self._operator = comparison.operator
        self._path = path
        right = at(path, comparison.operator)
        sides = ((comparison.left, at(path, "left")), (comparison.right, right))
        self._left, self._right = (compile_cast(template, where, roots, leaves) for template, where in sides)
        named = [each.root for template, where in sides for _, each in references(template, where, roots)]
        self.leaves = frozenset(leaves[root.removeprefix("all.")] for root in named)

    def is_judged_by(self, chosen: Sequence[Chosen], newly: Sequence[Chosen]) -> bool:
        """Whether the comparison can be judged now that the last, ``newly``, have been chosen, and not before."""
        missing = self.leaves.difference([leaf for leaf, _ in chosen])
        return not missing and not self.leaves.isdisjoint([leaf for leaf, _ in newly])

    def accepts(self, chosen: Sequence[Chosen]) -> bool:
        """Whether the comparison is true; raises ``EvaluationFailed``."""
        who = Cast(sorted(chosen, key=lambda each: each[1].moment))
        return _compare(self._operator, self._left(who, "", ""), self._right(who, "", ""), self._path)


def compared_by(clauses: Sequence[Clause]) -> frozenset[str]:
    """The leaves that comparisons name."""
    return frozenset[str]().union(*(clause.leaves for clause in clauses))


def _compare(word: str, left: JsonValue, right: JsonValue, path: str) -> bool:
    if word in ("eq", "ne"):
        return json_equal(left, right) is (word == "eq")
    if (_is_number(left) and _is_number(right)) or (isinstance(left, str) and isinstance(right, str)):
        return _ORDERS[word](left, right)
    raise EvaluationFailed(f"{path}: expected two numbers or two texts, found {found(left)} and {found(right)}")


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
