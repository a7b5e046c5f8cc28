"""Leaves: predicates over one kind of message, or over time, and what they ask of a message.

Rules:
1. Codes, tasks and statuses match exactly, ``*`` as a task matches every task. Finding the leaves by them is the route
   index's work; ``compile_leaf`` decides the rest.
2. As in a filter, a part of a leaf that is false outweighs one that fails.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Literal, TypeAlias

import msgspec

from stream_triggers.core.filter import EVERYTHING, Filter, Functions, compile_filter
from stream_triggers.core.message import Failure, JsonValue, Kind, Message
from stream_triggers.core.schedule import Schedule
from stream_triggers.errors import EvaluationFailed

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


Leaf: TypeAlias = EventLeaf | StatusLeaf | ResultLeaf | ExceptionLeaf | ScheduleLeaf
"""One predicate over one kind of message, or over time."""


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
