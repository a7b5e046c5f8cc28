"""The condition of a trigger: a tree whose leaves each accept one kind of message, or an instant.

Rules:
1. A condition is read into its normal form: a group of one is that one, a group inside a group of the same word is
   part of it, statuses are lower-cased, sorted and unique, defaults are left out. So equal conditions are equal bytes.
2. The order of a group's members is kept: the first leaf that accepts a message is the one that a run names.
3. A node of the tree is recognised by one word (``event``, ``any``) and has exactly one; ``_NODES`` lists them.
4. Codes, tasks and statuses match exactly, ``*`` as a task matches every task. Finding the leaves by them is the route
   index's work; ``compile_leaf`` decides the rest.
5. The tree is at most ``DEPTH_MAX`` deep and has at most ``LEAVES_MAX`` leaves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from operator import attrgetter
from typing import Any, Literal, TypeAlias

import msgspec

from stream_triggers.core.fields import at, expected, object_at, only, required, suggestion
from stream_triggers.core.filter import EVERYTHING, Filter, Functions, compile_filter, filter_json, parse_filter
from stream_triggers.core.message import Failure, JsonValue, Kind, Message
from stream_triggers.core.schedule import WORDS as SCHEDULE_WORDS
from stream_triggers.core.schedule import Schedule, parse_schedule, schedule_json
from stream_triggers.errors import EvaluationFailed, InvalidTrigger

DEPTH_MAX = 16
"""Deepest tree of conditions, a lone leaf being 1 deep."""

LEAVES_MAX = 64
"""Most leaves of one trigger."""

NAME_CHARS_MAX = 200
"""Longest event code, task name, status or exception type."""

EVERY_TASK = "*"
"""In place of a task's name: whatever the task."""

Attempts: TypeAlias = Literal["final", "every"]
"""Which exceptions count: the one that ended the invocation, or that of every attempt."""


class EventLeaf(msgspec.Struct, frozen=True):
    """An event with this code, whose payload ``filter`` accepts."""

    code: str
    filter: Filter = EVERYTHING


class StatusLeaf(msgspec.Struct, frozen=True):
    """An invocation of the task came to one of ``statuses``; ``arguments`` looks at the call's arguments."""

    task: str
    statuses: tuple[str, ...]
    arguments: Filter = EVERYTHING


class ResultLeaf(msgspec.Struct, frozen=True):
    """The task returned a value that ``filter`` accepts."""

    task: str
    filter: Filter = EVERYTHING
    arguments: Filter = EVERYTHING


class ExceptionLeaf(msgspec.Struct, frozen=True):
    """The task raised one of ``types`` or a class derived from one; no types means any exception.

    A type without a dot also matches the last part of a dotted name that was recorded. ``filter`` looks at an object
    of ``type``, ``message``, ``attempt`` and ``final``.
    """

    task: str
    types: tuple[str, ...] = ()
    attempts: Attempts = "final"
    filter: Filter = EVERYTHING
    arguments: Filter = EVERYTHING


class ScheduleLeaf(msgspec.Struct, frozen=True):
    """An instant of the schedule."""

    schedule: Schedule


class AnyOf(msgspec.Struct, frozen=True):
    """One of the conditions holds."""

    conditions: tuple[Condition, ...]


class AllOf(msgspec.Struct, frozen=True):
    """Every one of the conditions holds."""

    conditions: tuple[Condition, ...]


Leaf: TypeAlias = EventLeaf | StatusLeaf | ResultLeaf | ExceptionLeaf | ScheduleLeaf
"""One predicate over one kind of message, or over time."""

Condition: TypeAlias = Leaf | AnyOf | AllOf
"""A leaf, or a group of conditions."""


_TASK = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_STATUS = re.compile(r"[a-z0-9_-]+")
_TYPE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def parse_condition(value: JsonValue, path: str) -> Condition:
    """Read a condition from its JSON form; raises ``InvalidTrigger`` at the first thing that is wrong."""
    condition = _parse(value, path, 1)
    count = len(leaves(condition))
    if count > LEAVES_MAX:
        raise InvalidTrigger(path, f"expected at most {LEAVES_MAX} leaves, found {count}", hint="make several triggers")
    return condition


def parse_task(value: JsonValue, path: str) -> str:
    """Check the name of a task."""
    return _named(_TASK, value, path, 'the name of a task, such as "shipping.create"')


def condition_json(condition: Condition) -> JsonValue:
    """The canonical JSON form of a condition that ``parse_condition`` made."""
    match condition:
        case EventLeaf():
            return {"event": condition.code, **_filters(filter=condition.filter)}
        case StatusLeaf():
            statuses = list(condition.statuses)
            return {"status": condition.task, "is": statuses, **_filters(arguments=condition.arguments)}
        case ResultLeaf():
            return {"result": condition.task, **_filters(filter=condition.filter, arguments=condition.arguments)}
        case ExceptionLeaf():
            return {
                "exception": condition.task,
                **({"types": list(condition.types)} if condition.types else {}),
                **({"attempts": condition.attempts} if condition.attempts != "final" else {}),
                **_filters(filter=condition.filter, arguments=condition.arguments),
            }
        case ScheduleLeaf():
            return schedule_json(condition.schedule)
        case AnyOf():
            return {"any": [condition_json(member) for member in condition.conditions]}
        case AllOf():
            return {"all": [condition_json(member) for member in condition.conditions]}


def leaves(condition: Condition) -> tuple[tuple[str, Leaf], ...]:
    """The leaves in order, each with its path in the canonical form: ``when``, ``when.any[1]``."""
    return tuple((path, node) for path, node in nodes(condition) if not isinstance(node, AnyOf | AllOf))


def nodes(condition: Condition, path: str = "when") -> Iterator[tuple[str, Condition]]:
    """The condition itself and everything in it, in order, each with its path in the canonical form."""
    yield path, condition
    if isinstance(condition, AnyOf | AllOf):
        word = "any" if isinstance(condition, AnyOf) else "all"
        for index, member in enumerate(condition.conditions):
            yield from nodes(member, f"{path}.{word}[{index}]")


def leaf_kind(leaf: Leaf) -> Kind:
    """The kind of message that ``leaf`` can accept."""
    match leaf:
        case EventLeaf():
            return "event"
        case StatusLeaf():
            return "status"
        case ResultLeaf():
            return "result"
        case ExceptionLeaf():
            return "exception"
        case ScheduleLeaf():
            return "schedule"


def compile_leaf(leaf: Leaf, functions: Functions) -> Callable[[Message], bool] | None:
    """What ``leaf`` asks of a message of its kind, code, task and status; None when it asks nothing more.

    The function raises ``EvaluationFailed`` when a filter cannot be evaluated and no other part of the leaf is false.
    """
    match leaf:
        case EventLeaf():
            return _every(_look(leaf.filter, attrgetter("payload"), functions))
        case StatusLeaf():
            return _every(_look(leaf.arguments, attrgetter("arguments"), functions))
        case ResultLeaf():
            return _every(
                _look(leaf.arguments, attrgetter("arguments"), functions),
                _look(leaf.filter, attrgetter("outcome.value"), functions),
            )
        case ExceptionLeaf():
            return _every(
                attrgetter("outcome.final") if leaf.attempts == "final" else None,
                _is_one_of(leaf.types),
                _look(leaf.arguments, attrgetter("arguments"), functions),
                _look(leaf.filter, _exception, functions),
            )
        case ScheduleLeaf():
            return lambda message: False  # its instants come from timers, never from a message


_Test: TypeAlias = Callable[[Any], bool]


def _look(filter_: Filter, part: Callable[[Any], JsonValue], functions: Functions) -> _Test | None:
    if filter_ == EVERYTHING:
        return None
    accepts = compile_filter(filter_, functions)
    return lambda message: accepts(part(message))


def _exception(message: Any) -> JsonValue:
    failure: Failure = message.outcome
    return {"type": failure.type, "message": failure.message, "attempt": message.attempt, "final": failure.final}


def _is_one_of(types: tuple[str, ...]) -> _Test | None:
    if not types:
        return None
    wanted = frozenset(types)

    def is_one_of(message: Any) -> bool:
        failure: Failure = message.outcome
        # A wanted name with a dot never equals a last part, which has none.
        return any(name in wanted or name.rpartition(".")[2] in wanted for name in (failure.type, *failure.bases))

    return is_one_of


def _every(*tests: _Test | None) -> _Test | None:
    """All of the tests that are there; as in a filter, a false one outweighs one that fails."""
    asked = [test for test in tests if test is not None]
    if not asked:
        return None
    *first, accepts = asked
    for test in reversed(first):
        accepts = _both(test, accepts)
    return accepts


def _both(first: _Test, second: _Test) -> _Test:
    def accepts(message: Any) -> bool:
        try:
            if not first(message):
                return False
        except EvaluationFailed:
            if not second(message):
                return False
            raise
        return second(message)

    return accepts


def _filters(**filters: Filter) -> dict[str, JsonValue]:
    return {name: filter_json(filter_) for name, filter_ in filters.items() if filter_ != EVERYTHING}


def _parse(value: JsonValue, path: str, depth: int) -> Condition:
    if depth > DEPTH_MAX:
        raise InvalidTrigger(path, f"expected conditions at most {DEPTH_MAX} deep, found more")
    words = ", ".join(_NODES)
    fields = object_at(value, path, f"a condition, an object with one of {words}")
    present = [word for word in _NODES if word in fields]
    if not present:
        names = ", ".join(fields) or "an empty object"
        hint = next(filter(None, (suggestion(name, _NODES) for name in fields)), "")
        raise InvalidTrigger(path, f"expected a condition with one of {words}, found {names}", hint=hint)
    if len(present) > 1:
        raise InvalidTrigger(
            path,
            f"expected a condition with only one of {words}, found {' and '.join(present)}",
            hint="make each a condition of its own, in a list under any",
        )
    return _NODES[present[0]](fields, path, depth)


def _event(fields: dict[str, JsonValue], path: str, depth: int) -> EventLeaf:
    only(fields, ("event", "filter"), path)
    return EventLeaf(code=_code(fields["event"], at(path, "event")), filter=_filter(fields, "filter", path))


def _status(fields: dict[str, JsonValue], path: str, depth: int) -> StatusLeaf:
    only(fields, ("status", "is", "arguments"), path)
    return StatusLeaf(
        task=_leaf_task(fields["status"], at(path, "status")),
        statuses=_statuses(required(fields, "is", 'a list of statuses such as "success"', path), at(path, "is")),
        arguments=_filter(fields, "arguments", path),
    )


def _result(fields: dict[str, JsonValue], path: str, depth: int) -> ResultLeaf:
    only(fields, ("result", "filter", "arguments"), path)
    return ResultLeaf(
        task=_leaf_task(fields["result"], at(path, "result")),
        filter=_filter(fields, "filter", path),
        arguments=_filter(fields, "arguments", path),
    )


def _raised(fields: dict[str, JsonValue], path: str, depth: int) -> ExceptionLeaf:
    only(fields, ("exception", "types", "attempts", "filter", "arguments"), path)
    attempts = fields.get("attempts", "final")
    if attempts not in ("final", "every"):
        raise expected("final or every", attempts, at(path, "attempts"))
    return ExceptionLeaf(
        task=_leaf_task(fields["exception"], at(path, "exception")),
        types=_types(fields.get("types", []), at(path, "types")),
        attempts=attempts,
        filter=_filter(fields, "filter", path),
        arguments=_filter(fields, "arguments", path),
    )


def _schedule(fields: dict[str, JsonValue], path: str, depth: int) -> ScheduleLeaf:
    return ScheduleLeaf(parse_schedule(fields, path))


def _group(make: type[AnyOf | AllOf], word: str, fields: dict[str, JsonValue], path: str, depth: int) -> Condition:
    only(fields, (word,), path)
    listed = fields[word]
    if not isinstance(listed, list) or not listed:
        raise expected("a list of at least one condition", listed, at(path, word))
    members: list[Condition] = []
    for index, item in enumerate(listed):
        member = _parse(item, f"{at(path, word)}[{index}]", depth + 1)
        members += member.conditions if isinstance(member, make) else (member,)
    return members[0] if len(members) == 1 else make(tuple(members))


_NODES: Mapping[str, Callable[[dict[str, JsonValue], str, int], Condition]] = {
    "event": _event,
    "status": _status,
    "result": _result,
    "exception": _raised,
    **dict.fromkeys(SCHEDULE_WORDS, _schedule),
    "any": partial(_group, AnyOf, "any"),
    "all": partial(_group, AllOf, "all"),
}


def _filter(fields: dict[str, JsonValue], name: str, path: str) -> Filter:
    return parse_filter(fields[name], at(path, name)) if name in fields else EVERYTHING


def _named(pattern: re.Pattern[str], value: JsonValue, path: str, what: str) -> str:
    if not isinstance(value, str) or len(value) > NAME_CHARS_MAX or not pattern.fullmatch(value):
        raise expected(what, value, path)
    return value


def _leaf_task(value: JsonValue, path: str) -> str:
    return EVERY_TASK if value == EVERY_TASK else parse_task(value, path)


def _code(value: JsonValue, path: str) -> str:
    if isinstance(value, str) and "*" in value:
        raise expected("an exact event code", value, path, hint="list the codes under any")
    if (
        not isinstance(value, str)
        or not 0 < len(value) <= NAME_CHARS_MAX
        or not value.isprintable()
        or value != value.strip()
    ):
        raise expected('an event code, such as "order.paid"', value, path)
    return value


def _statuses(value: JsonValue, path: str) -> tuple[str, ...]:
    if value == []:
        raise expected("at least one status", value, path)
    return _names(_STATUS, _lower(value), path, 'a status, such as "success"')


def _lower(value: JsonValue) -> JsonValue:
    if isinstance(value, list):
        return [_lower(item) for item in value]
    return value.lower() if isinstance(value, str) else value


def _types(value: JsonValue, path: str) -> tuple[str, ...]:
    return _names(_TYPE, value, path, 'the name of an exception class, such as "TimeoutError"')


def _names(pattern: re.Pattern[str], value: JsonValue, path: str, what: str) -> tuple[str, ...]:
    """Read one name or a list of names; sorted and unique, since their order means nothing."""
    if not isinstance(value, list):
        return (_named(pattern, value, path, what),)
    return tuple(sorted({_named(pattern, item, f"{path}[{index}]", what) for index, item in enumerate(value)}))
