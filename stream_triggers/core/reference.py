"""Which references and functions of a trigger can ever resolve, and what of a message they name.

Rules:
1. A reference by kind names a kind of message that takes part in runs; one by name a leaf that takes part. What must
   not happen, and what resets, takes no part. ``message`` has what any of the kinds has.
2. A comparison names leaves inside its own node that are not repeated. A key is known before the run, from one message
   alone.
3. Every function is for a kind of message that takes part, and whatever can fire the trigger has a function.
4. A path that is counted, watched or compared starts with a field of its leaf's messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from stream_triggers.core.arguments import ANY_KIND, MESSAGE_FIELDS, Fields, Reference, references
from stream_triggers.core.condition import (
    After,
    Aggregate,
    AllOf,
    AnyOf,
    Changed,
    Condition,
    Count,
    Leaf,
    Not,
    Pick,
    Sequence,
    Times,
    leaf_kind,
    members,
    nodes,
    picks,
)
from stream_triggers.core.fields import at
from stream_triggers.core.filter import parse_path
from stream_triggers.core.message import JsonValue, Kind
from stream_triggers.errors import InvalidTrigger

if TYPE_CHECKING:
    from stream_triggers.core.trigger import Trigger

ALL = "all"
"""The root of what every selected occurrence of a leaf has."""

EACH = "each"
"""The root of the element of a fan-out."""


def participants(condition: Condition, path: str = "when") -> Iterator[tuple[str, Pick]]:
    """The leaves that take part in runs, in order, with their paths."""
    if isinstance(condition, Pick):
        yield path, condition
    elif isinstance(condition, Leaf):
        yield path, Pick(condition)
    elif not isinstance(condition, Not):
        for end, member in members(condition):
            if not (isinstance(condition, After) and end == ".unless"):
                yield from participants(member, path + end)


def roots_in(condition: Condition, *, has_elements: bool = False) -> dict[str, Fields]:
    """What references can start with beside the usual roots, in a trigger or a node with these leaves."""
    roots: dict[str, Fields] = {}
    for _, pick in participants(condition):
        if pick.name:
            fields: Fields = {"": None, **dict.fromkeys(MESSAGE_FIELDS[leaf_kind(pick.leaf)])}
            roots[pick.name] = roots[f"{ALL}.{pick.name}"] = fields
    if has_elements:
        roots[EACH] = {"value": None, "index": None}
    return roots


def check_references(trigger: Trigger, path: str) -> None:
    """Refuse a reference that can never resolve; raises ``InvalidTrigger``."""
    kinds = {leaf_kind(pick.leaf) for _, pick in participants(trigger.when)}
    roots = roots_in(trigger.when)
    elements = roots_in(trigger.when, has_elements=trigger.flow.for_each is not None)
    _check(trigger.args, at(path, "args"), kinds, elements)
    _check(trigger.flow.for_each, at(path, "for_each"), kinds, roots)
    if trigger.on_timeout is not None:
        _check(trigger.on_timeout.args, at(at(path, "on_timeout"), "args"), kinds, roots)
    _check_key(trigger.key, at(path, "key"), kinds)
    for where, pick in picks_of(trigger, path):
        _check_key(pick.key, at(where, "key"), {leaf_kind(pick.leaf)})
    for where, node in nodes(trigger.when, at(path, "when")):
        _check_node(node, where)


def picks_of(trigger: Trigger, path: str = "") -> Iterator[tuple[str, Pick]]:
    """Every leaf of a trigger, of what resets it, too, with its path."""
    yield from picks(trigger.when, at(path, "when"))
    for index, reset in enumerate(trigger.reset):
        if not isinstance(reset, str):
            yield from picks(reset, f"{at(path, 'reset')}[{index}]")


def check_functions(args_from: Mapping[str, str], when: Condition, path: str) -> None:
    """Refuse a function that nothing calls, and a way to fire for which there is none; raises ``InvalidTrigger``."""
    if not args_from:
        return
    ways = _ways(when)
    kinds = frozenset[str]().union(*ways)
    for kind in args_from:
        if kind not in kinds and kind != ANY_KIND:
            hint = f"its conditions accept messages of kind {', '.join(sorted(kinds))}"
            raise InvalidTrigger(at(path, kind), "no condition accepts such a message", hint=hint)
    for way in ways:
        if ANY_KIND not in args_from and way.isdisjoint(args_from):
            lacking = " or ".join(sorted(way))
            problem = f"expected a function for {lacking} or any, found only {', '.join(args_from)}"
            raise InvalidTrigger(path, problem)


def _check(template: JsonValue, path: str, kinds: set[Kind], roots: Mapping[str, Fields]) -> None:
    for where, reference in references(template, path, roots):
        _check_reference(reference, kinds, where)


def _check_key(template: str | None, path: str, kinds: set[Kind]) -> None:
    for where, reference in references(template, path):
        _check_reference(reference, kinds, where)
        if reference.text == "run.id":
            raise InvalidTrigger(where, "expected a key that is known before the run, found ${run.id}")


def _check_reference(reference: Reference, kinds: set[Kind], path: str) -> None:
    if reference.kinds is not None and reference.kinds.isdisjoint(kinds):
        raise InvalidTrigger(
            path,
            f"expected a reference to what can fire this trigger, found ${{{reference.text}}}",
            hint=f"its conditions accept messages of kind {', '.join(sorted(kinds))}",
        )


def _check_node(node: Condition, path: str) -> None:
    match node:
        case AllOf() | Sequence():
            _check_where(node, path)
        case Count(distinct=str(written)):
            for where, pick in picks(node.condition, path + ".count"):
                _check_path(written, pick.leaf, f"{path}.distinct", where)
        case Aggregate():
            _check_path(node.value, _leaf_of(node.leaf), f"{path}.value", f"{path}.of")
        case Changed():
            _check_path(node.value, _leaf_of(node.leaf), f"{path}.changed", f"{path}.of")


def _check_where(node: AllOf | Sequence, path: str) -> None:
    roots = roots_in(node)
    kinds = {leaf_kind(pick.leaf) for _, pick in participants(node)}
    repeated = {pick.name for _, each in nodes(node) if isinstance(each, Times) for _, pick in picks(each)}
    for index, comparison in enumerate(node.where):
        where = f"{path}.where[{index}]"
        named: set[str] = set()
        for side, template in (("left", comparison.left), (comparison.operator, comparison.right)):
            for place, reference in references(template, at(where, side), roots):
                _check_reference(reference, kinds, place)
                if reference.root not in roots:
                    hint = "give the leaf a name with as, and refer to that"
                    raise InvalidTrigger(place, f"expected a named leaf, found ${{{reference.text}}}", hint=hint)
                if reference.root.removeprefix(f"{ALL}.") in repeated:
                    hint = "compare what comes once; a key says what belongs together"
                    raise InvalidTrigger(place, f"${{{reference.text}}} is repeated", hint=hint)
                named.add(reference.root)
        if not named:
            raise InvalidTrigger(where, "expected a comparison that names a leaf, found only literals")


def _check_path(written: str, leaf: Leaf, path: str, leaf_path: str) -> None:
    first, *_ = (*parse_path(written, path), "")
    known = MESSAGE_FIELDS[leaf_kind(leaf)]
    if first not in known:
        hint = f"what {leaf_path} accepts has {', '.join(known)}"
        raise InvalidTrigger(path, f'expected the path of a value in the message, found "{written}"', hint=hint)


def _leaf_of(leaf: Leaf | Pick) -> Leaf:
    return leaf.leaf if isinstance(leaf, Pick) else leaf


def _ways(condition: Condition) -> list[frozenset[str]]:
    """The ways in which ``condition`` can come to hold, each as the kinds of message that take part in it."""
    if isinstance(condition, AnyOf):
        return [way for member in condition.conditions for way in _ways(member)]
    return [frozenset(leaf_kind(pick.leaf) for _, pick in participants(condition))]
