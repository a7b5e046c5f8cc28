"""Which conditions can hold: what each leaf can accept, and under which keys its occurrences can meet others.

Rules:
1. A leaf with a key and one without are never in the same state, so nothing that joins them holds. Whether two keys
   are ever equal is not asked.
2. A key that names what the leaf's messages never have is no key: every message of the leaf is refused.
3. A schedule goes with either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeAlias, assert_never

from stream_triggers.core.arguments import references
from stream_triggers.core.condition import (
    After,
    Aggregate,
    AllOf,
    AnyOf,
    AtLeast,
    Changed,
    Condition,
    Count,
    EventLeaf,
    ExceptionLeaf,
    Leaf,
    Not,
    Pick,
    ResultLeaf,
    ScheduleLeaf,
    Sequence,
    StatusLeaf,
    Times,
    leaf_kind,
    members,
)
from stream_triggers.core.filter import Path, parse_path
from stream_triggers.core.filter.tree import PathTest, conjuncts
from stream_triggers.core.keyed.places import Place
from stream_triggers.core.lint.filters import contradiction, needs_presence, values_at
from stream_triggers.core.schedule import after, in_words
from stream_triggers.core.words import counted

Keys: TypeAlias = frozenset[bool]
"""Whether what holds can hold under a key, and without one; nothing when it cannot hold."""

NEVER: Keys = frozenset()
EITHER: Keys = frozenset({False, True})


class Fault(NamedTuple):
    """What is wrong with one node: the end of its path, the problem and what to do about it."""

    end: str
    problem: str
    hint: str = ""


class Possible:
    """What can hold of one trigger, whose leaves are at ``places`` by path."""

    def __init__(self, places: Mapping[str, Place], key: str | None, now_ms: int) -> None:
        self._places = places
        self._key = key
        self._now_ms = now_ms

    def keys(self, node: Condition, path: str) -> Keys:
        """Under which keys a node can hold."""
        if self.fault(node, path) is not None:
            return NEVER
        inner = [self.keys(member, path + end) for end, member in members(node) if not isinstance(member, Not)]
        match node:
            case ScheduleLeaf():
                return EITHER
            case Pick() | EventLeaf() | StatusLeaf() | ResultLeaf() | ExceptionLeaf():
                return frozenset({self._template(path) is not None})
            case AnyOf():
                return NEVER.union(*inner)
            case AllOf() | Sequence():
                return EITHER.intersection(*inner)
            case AtLeast():
                return frozenset({key for key in EITHER if sum(key in each for each in inner) >= node.count})
            case After() | Count() | Times() | Aggregate() | Changed():
                return inner[0]
            case Not():
                return self.keys(node.condition, path + ".not")
            case _:
                assert_never(node)

    def fault(self, node: Condition, path: str) -> Fault | None:
        """Why a node can never hold, whatever happens to those around it; None when it can or it is about another."""
        match node:
            case Pick() | EventLeaf() | StatusLeaf() | ResultLeaf() | ExceptionLeaf() | ScheduleLeaf():
                leaf = node.leaf if isinstance(node, Pick) else node
                return next(_leaf_faults(leaf, self._now_ms), None) or self._key_fault(leaf, path)
            case Count():
                return _count_fault(node)
            case Aggregate():
                reason = contradiction(node.test)
                return Fault(".is", f"nothing can be so: {reason}") if reason else None
            case Changed():
                return _changed_fault(node)
            case _:
                return None

    def _template(self, path: str) -> str | None:
        pick = self._places[path].pick
        return pick.key if pick.key is not None else self._key

    def _key_fault(self, leaf: Leaf, path: str) -> Fault | None:
        template = self._template(path)
        if template is None or isinstance(leaf, ScheduleLeaf):
            return None
        kind = leaf_kind(leaf)
        for _, each in references(template, path):
            is_alone = template == f"${{{each.text}?}}"
            if each.kinds is not None and kind not in each.kinds and (is_alone or not each.optional):
                problem = f"it never has a key: there is no ${{{each.text}}} in a message of kind {kind}"
                return Fault("", problem, "give the leaf a key of its own, from its own messages")
        return None


def _leaf_faults(leaf: Leaf, now_ms: int) -> Iterator[Fault]:
    match leaf:
        case EventLeaf():
            filters = {"filter": contradiction(leaf.filter)}
        case StatusLeaf():
            filters = {"arguments": contradiction(leaf.arguments)}
        case ResultLeaf():
            filters = {"filter": contradiction(leaf.filter), "arguments": contradiction(leaf.arguments)}
        case ExceptionLeaf():
            filters = {"filter": _exception_reason(leaf), "arguments": contradiction(leaf.arguments)}
        case ScheduleLeaf():
            if after(leaf.schedule, now_ms) is None:
                yield Fault(
                    "", f"{in_words(leaf.schedule)} never comes due again", "give it a later end, or delete the trigger"
                )
            return
    for name, reason in filters.items():
        if reason:
            yield Fault(f".{name}", f"it accepts nothing: {reason}")


_EXCEPTION_FIELDS = ("type", "message", "attempt", "final")


def _exception_reason(leaf: ExceptionLeaf) -> str:
    """Why the filter of an exception accepts none; it sees four fields, and of final attempts only what is final."""
    for part in conjuncts(leaf.filter):
        if isinstance(part, PathTest) and part.path and needs_presence(part) and part.path[0] not in _EXCEPTION_FIELDS:
            return f'there is no "{part.path[0]}" in an exception, which has {", ".join(_EXCEPTION_FIELDS)}'
    return contradiction(leaf.filter, [PathTest(("final",), "eq", "true")] if leaf.attempts == "final" else [])


def _count_fault(count: Count) -> Fault | None:
    leaf = count.condition.leaf if isinstance(count.condition, Pick) else count.condition
    if count.distinct is None or not isinstance(leaf, Leaf):
        return None
    for values in _values_of(leaf, parse_path(count.distinct, "distinct")):
        if len(values) < count.at_least:
            problem = f"it never counts to {count.at_least}: its filter lets {counted(len(values), 'value')} pass"
            return Fault(".distinct", problem, "count by another value, or let more of them pass")
    return None


def _changed_fault(changed: Changed) -> Fault | None:
    for end, test in ((".from", changed.before), (".to", changed.after)):
        reason = contradiction(test) if test is not None else ""
        if reason:
            return Fault(end, f"nothing can be so: {reason}")
    if changed.initial:
        return None
    if isinstance(changed.before, PathTest) and changed.before.operator == "eq" and changed.before == changed.after:
        return Fault(".to", f"it never changes: from and to are both {changed.before.operand_json}")
    leaf = changed.leaf.leaf if isinstance(changed.leaf, Pick) else changed.leaf
    if any(len(values) == 1 for values in _values_of(leaf, parse_path(changed.value, "changed"))):
        return Fault(".of", f"{changed.value} never changes: its filter lets one value pass", "leave it out there")
    return None


def _values_of(leaf: Leaf, path: Path) -> Iterator[tuple[object, ...]]:
    """The sets of values of which a leaf demands one at a path in its messages."""
    field, *below = path or ("",)
    match leaf:
        case EventLeaf() if field == "payload":
            yield from values_at(leaf.filter, tuple(below))
        case ResultLeaf() if field == "value":
            yield from values_at(leaf.filter, tuple(below))
        case StatusLeaf() | ResultLeaf() | ExceptionLeaf() if field == "arguments":
            yield from values_at(leaf.arguments, tuple(below))
        case _:
            pass
