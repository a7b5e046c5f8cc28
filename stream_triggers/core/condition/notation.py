"""The notation of conditions: JSON to a tree in its normal form, and back.

Rules:
1. A group of one is that one, a group inside a group of the same word is part of it unless it has a window or a
   comparison of its own, ``missing`` is written as ``after`` with ``unless``, ``until`` as the next step of a sequence,
   a window that is ``forever`` is left out, and so are defaults. So equal conditions are equal bytes.
2. The order of a group's members is kept: the first leaf that accepts a message is the one that a run names.
3. A node is recognised by one word and has exactly one; only ``count`` has an ``at_least`` beside it and ``missing``
   an ``after``, which then are fields of it.
4. The tree is at most ``DEPTH_MAX`` deep and has at most ``LEAVES_MAX`` leaves.

    {event: order.paid, as: paid, key: "${event.payload.id}", select: latest, reuse: true}       # any leaf
    {all: [A, B, {not: C}, {not: D, last: 1h}], within: 2h, where: [{left: "${b.time_ms}", gt: "${a.time_ms}"}]}
    {any: [A, B]}
    {at_least: 2, of: [A, B, C], within: 1h}
    {sequence: [A, B, C], within: 1h, strict: true}
    {count: A, at_least: 3, within: 10m, distinct: payload.user, consume: none}
    {times: 3, of: A}
    {times: [3, 5], of: A}
    {one_or_more: A}
    {one_or_more: A, until: B}                                                                   # a sequence of the two
    {aggregate: sum, value: payload.total, of: A, is: {gt: 1000}, within: 1h, for: 5m, clear: {lt: 500}}
    {changed: payload.state, of: A, from: green, to: red, initial: true}
    {after: A, wait: 2h, unless: B}
    {missing: B, after: A, within: 2h}                                                           # the same
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, get_args

from stream_triggers.core.condition.leaf import EventLeaf, ExceptionLeaf, ResultLeaf, ScheduleLeaf, StatusLeaf
from stream_triggers.core.condition.leaf_notation import LEAF_WORDS, parse_leaf
from stream_triggers.core.condition.tree import (
    After,
    Aggregate,
    AllOf,
    AnyOf,
    AtLeast,
    Changed,
    Comparison,
    Condition,
    Consume,
    Count,
    Function,
    Not,
    Operator,
    Pick,
    Select,
    Sequence,
    Times,
    leaves,
)
from stream_triggers.core.duration import parse_duration
from stream_triggers.core.fields import at, expected, object_at, only, required, suggestion
from stream_triggers.core.filter import Filter, filter_json, format_path, parse_filter, parse_path
from stream_triggers.core.message import JsonValue
from stream_triggers.errors import InvalidTrigger

DEPTH_MAX = 16
"""Deepest tree of conditions, a lone leaf being 1 deep."""

LEAVES_MAX = 64
"""Most leaves of one trigger."""

COUNT_MAX = 1000
"""Most occurrences that one node can ask for: what is kept of a leaf."""

FOREVER = "forever"
"""In place of a window: no bound but the trigger's ``ttl``."""

_PICK_FIELDS = ("as", "key", "select", "reuse")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COMPANIONS = {"count": "at_least", "missing": "after"}

_Fields = dict[str, JsonValue]


def parse_condition(value: JsonValue, path: str) -> Condition:
    """Read a condition from its JSON form; raises ``InvalidTrigger`` at the first thing that is wrong."""
    condition = _parse(value, path, 1)
    count = len(leaves(condition))
    if count > LEAVES_MAX:
        raise InvalidTrigger(path, f"expected at most {LEAVES_MAX} leaves, found {count}", hint="make several triggers")
    return condition


def _parse(value: JsonValue, path: str, depth: int) -> Condition:
    if depth > DEPTH_MAX:
        raise InvalidTrigger(path, f"expected conditions at most {DEPTH_MAX} deep, found more")
    words = ", ".join(WORDS)
    fields = object_at(value, path, f"a condition, an object with one of {words}")
    present = [word for word in WORDS if word in fields]
    if len(present) > 1:
        present = [word for word in present if not any(_COMPANIONS.get(other) == word for other in present)]
    if not present:
        names = ", ".join(fields) or "an empty object"
        hint = next(filter(None, (suggestion(name, WORDS) for name in fields)), "")
        raise InvalidTrigger(path, f"expected a condition with one of {words}, found {names}", hint=hint)
    if len(present) > 1:
        raise InvalidTrigger(
            path,
            f"expected a condition with only one of {words}, found {' and '.join(present)}",
            hint="make each a condition of its own, in a list under any",
        )
    if present[0] in LEAF_WORDS:
        return _picked(fields, present[0], path)
    return _NODES[present[0]](fields, path, depth)


def _picked(fields: _Fields, word: str, path: str) -> Condition:
    leaf = parse_leaf({name: value for name, value in fields.items() if name not in _PICK_FIELDS}, word, path)
    given = next((name for name in _PICK_FIELDS if name in fields), "")
    if isinstance(leaf, ScheduleLeaf) and given:
        raise InvalidTrigger(at(path, given), "a schedule has none", hint="its instant is ${schedule.time_ms}")
    pick = Pick(
        leaf,
        name=_name(fields["as"], at(path, "as")) if "as" in fields else "",
        key=_key(fields["key"], at(path, "key")) if "key" in fields else None,
        select=_word(fields["select"], at(path, "select"), get_args(Select)) if "select" in fields else None,
        reuse=_flag(fields, "reuse", path),
    )
    return leaf if pick == Pick(leaf) else pick


def _group(make: type[AnyOf | AllOf], word: str, fields: _Fields, path: str, depth: int) -> Condition:
    is_all = make is AllOf
    only(fields, (word, "within", "where") if is_all else (word,), path)
    members: list[Condition] = []
    for member in _listed(fields, word, path, depth):
        is_part = isinstance(member, make) and member == make(member.conditions)
        members += member.conditions if is_part else (member,)  # type: ignore[union-attr]
    if not is_all:
        return members[0] if len(members) == 1 else AnyOf(tuple(members))
    where = _where(fields, path)
    if len(members) == 1 and not where:
        return members[0]
    return AllOf(tuple(members), _window(fields, "within", path), where)


def _not(fields: _Fields, path: str, depth: int) -> Condition:
    only(fields, ("not", "last"), path)
    return Not(_parse(fields["not"], at(path, "not"), depth + 1), _window(fields, "last", path))


def _at_least(fields: _Fields, path: str, depth: int) -> Condition:
    only(fields, ("at_least", "of", "within"), path)
    required(fields, "of", "a list of conditions", path)
    conditions = _listed(fields, "of", path, depth)
    count = _count_of(fields["at_least"], at(path, "at_least"), len(conditions))
    return AtLeast(count, conditions, _window(fields, "within", path))


def _sequence(fields: _Fields, path: str, depth: int) -> Condition:
    only(fields, ("sequence", "within", "strict", "where"), path)
    steps = _listed(fields, "sequence", path, depth)
    where = _where(fields, path)
    if len(steps) == 1 and not where:
        return steps[0]
    return Sequence(steps, _window(fields, "within", path), _flag(fields, "strict", path), where)


def _counted(fields: _Fields, path: str, depth: int) -> Condition:
    only(fields, ("count", "at_least", "within", "distinct", "consume"), path)
    number = required(fields, "at_least", "how many", path)
    return Count(
        _parse(fields["count"], at(path, "count"), depth + 1),
        _count_of(number, at(path, "at_least"), COUNT_MAX),
        _window(fields, "within", path),
        _path(fields["distinct"], at(path, "distinct")) if "distinct" in fields else None,
        _word(fields.get("consume", "all"), at(path, "consume"), get_args(Consume)),
    )


def _times(fields: _Fields, path: str, depth: int) -> Condition:
    only(fields, ("times", "of"), path)
    number, where = fields["times"], at(path, "times")
    condition = _parse(required(fields, "of", "what is repeated", path), at(path, "of"), depth + 1)
    if not isinstance(number, list):
        least = most = _count_of(number, where, COUNT_MAX)
    elif len(number) == 2:
        least, most = (_count_of(each, f"{where}[{index}]", COUNT_MAX) for index, each in enumerate(number))
    else:
        raise expected("an integer, or a list of the least and the most", number, where)
    if most < least:
        raise InvalidTrigger(where, f"expected the least before the most, found {least} and {most}")
    return Times(condition, least, most)


def _one_or_more(fields: _Fields, path: str, depth: int) -> Condition:
    only(fields, ("one_or_more", "until"), path)
    repeated = Times(_parse(fields["one_or_more"], at(path, "one_or_more"), depth + 1), 1, None)
    if "until" not in fields:
        return repeated
    return Sequence((repeated, _parse(fields["until"], at(path, "until"), depth + 1)))


def _aggregate(fields: _Fields, path: str, depth: int) -> Condition:
    only(fields, ("aggregate", "value", "of", "is", "within", "for", "clear"), path)
    test = required(fields, "is", 'a test such as {"gt": 100}', path)
    return Aggregate(
        _word(fields["aggregate"], at(path, "aggregate"), get_args(Function)),
        _path(required(fields, "value", "the path of a value in the message", path), at(path, "value")),
        _leaf(fields, path, depth),
        _test(test, at(path, "is")),
        _window(fields, "within", path),
        _window(fields, "for", path),
        _test(fields["clear"], at(path, "clear")) if "clear" in fields else None,
    )


def _changed(fields: _Fields, path: str, depth: int) -> Condition:
    only(fields, ("changed", "of", "from", "to", "initial"), path)
    return Changed(
        _path(fields["changed"], at(path, "changed")),
        _leaf(fields, path, depth),
        _test(fields["from"], at(path, "from")) if "from" in fields else None,
        _test(fields["to"], at(path, "to")) if "to" in fields else None,
        _flag(fields, "initial", path),
    )


def _after(fields: _Fields, path: str, depth: int) -> Condition:
    only(fields, ("after", "wait", "unless"), path)
    wait = required(fields, "wait", 'a duration such as "2h"', path)
    unless = _parse(fields["unless"], at(path, "unless"), depth + 1) if "unless" in fields else None
    condition = _parse(fields["after"], at(path, "after"), depth + 1)
    return After(condition, parse_duration(wait, at(path, "wait")), unless)


def _missing(fields: _Fields, path: str, depth: int) -> Condition:
    only(fields, ("missing", "after", "within"), path)
    within = required(fields, "within", 'a duration such as "2h"', path)
    condition = _parse(required(fields, "after", "a condition", path), at(path, "after"), depth + 1)
    missing = _parse(fields["missing"], at(path, "missing"), depth + 1)
    return After(condition, parse_duration(within, at(path, "within")), missing)


_NODES: Mapping[str, Callable[[_Fields, str, int], Condition]] = {
    "any": partial(_group, AnyOf, "any"),
    "all": partial(_group, AllOf, "all"),
    "not": _not,
    "at_least": _at_least,
    "sequence": _sequence,
    "count": _counted,
    "times": _times,
    "one_or_more": _one_or_more,
    "aggregate": _aggregate,
    "changed": _changed,
    "after": _after,
    "missing": _missing,
}

WORDS = (*LEAF_WORDS, *_NODES)
"""The words by which a condition is recognised."""


def _listed(fields: _Fields, word: str, path: str, depth: int) -> tuple[Condition, ...]:
    listed = fields[word]
    if not isinstance(listed, list) or not listed:
        raise expected("a list of at least one condition", listed, at(path, word))
    return tuple(_parse(item, f"{at(path, word)}[{index}]", depth + 1) for index, item in enumerate(listed))


def _leaf(fields: _Fields, path: str, depth: int) -> Any:
    of = _parse(required(fields, "of", "a leaf, such as an event", path), at(path, "of"), depth + 1)
    if not isinstance(of, Pick | EventLeaf | StatusLeaf | ResultLeaf | ExceptionLeaf):
        raise InvalidTrigger(at(path, "of"), "expected an event, a status, a result or an exception")
    return of


def _where(fields: _Fields, path: str) -> tuple[Comparison, ...]:
    listed = fields.get("where", [])
    where = at(path, "where")
    if not isinstance(listed, list):
        raise expected("a list of comparisons", listed, where)
    return tuple(_comparison(item, f"{where}[{index}]") for index, item in enumerate(listed))


def _comparison(value: JsonValue, path: str) -> Comparison:
    operators: tuple[Operator, ...] = get_args(Operator)
    fields = object_at(value, path, "a comparison, an object with left and an operator")
    only(fields, ("left", *operators), path)
    given = [operator for operator in operators if operator in fields]
    if len(given) != 1:
        raise InvalidTrigger(path, f"expected one of {', '.join(operators)}, found {' and '.join(given) or 'none'}")
    left = required(fields, "left", "a reference", path)
    return Comparison(_template(left, at(path, "left")), given[0], _template(fields[given[0]], at(path, given[0])))


def _template(value: JsonValue, path: str) -> JsonValue:
    if isinstance(value, list | dict):
        raise expected('a reference such as "${paid.payload.total}", or a literal', value, path)
    return value


def _window(fields: _Fields, name: str, path: str) -> int | None:
    value = fields.get(name, FOREVER)
    return None if value == FOREVER else parse_duration(value, at(path, name))


def _count_of(value: JsonValue, path: str, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise expected(f"an integer from 1 to {most}", value, path)
    return value


def _flag(fields: _Fields, name: str, path: str) -> bool:
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise expected("true or false", value, at(path, name))
    return value


def _word(value: JsonValue, path: str, words: tuple[str, ...]) -> Any:
    if value not in words:
        raise expected(f"one of {', '.join(words)}", value, path)
    return value


def _name(value: JsonValue, path: str) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise expected("a name of letters, digits and underscores", value, path)
    return value


def _key(value: JsonValue, path: str) -> str:
    if not isinstance(value, str) or not value:
        raise expected('a template such as "${event.payload.order_id}"', value, path)
    return value


def _path(value: JsonValue, path: str) -> str:
    if not isinstance(value, str):
        raise expected("the path of a value in the message, such as payload.total", value, path)
    return format_path(parse_path(value, path))


def _test(value: JsonValue, path: str) -> Filter:
    """A test of one value: a literal that it equals, or operators."""
    test = parse_filter({"$": value}, path)
    written = filter_json(test)
    if not isinstance(written, dict) or list(written) not in (["$"], ["not"]):
        raise InvalidTrigger(path, "expected a literal, operators, or a not of them", hint="say it in one object")
    return test
