"""The notation of leaves: JSON to a leaf in its normal form, and back.

Rules:
1. Statuses are lower-cased, sorted and unique, and so are types but for their case; defaults are left out.
2. A leaf is recognised by one word (``event``, ``cron``); ``LEAF_WORDS`` lists them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from stream_triggers.core.condition.leaf import (
    EVERY_TASK,
    EventLeaf,
    ExceptionLeaf,
    Leaf,
    ResultLeaf,
    ScheduleLeaf,
    StatusLeaf,
)
from stream_triggers.core.fields import at, expected, only, required
from stream_triggers.core.filter import EVERYTHING, Filter, filter_json, parse_filter
from stream_triggers.core.message import JsonValue
from stream_triggers.core.schedule import WORDS as SCHEDULE_WORDS
from stream_triggers.core.schedule import parse_schedule, schedule_json

NAME_CHARS_MAX = 200
"""Longest event code, task name, status or exception type."""

_TASK = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_STATUS = re.compile(r"[a-z0-9_-]+")
_TYPE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def parse_leaf(fields: dict[str, JsonValue], word: str, path: str) -> Leaf:
    """Read the leaf that ``word`` says it is; raises ``InvalidTrigger`` at the first thing that is wrong."""
    return _READERS[word](fields, path)


def parse_task(value: JsonValue, path: str) -> str:
    """Check the name of a task."""
    return _named(_TASK, value, path, 'the name of a task, such as "shipping.create"')


def leaf_json(leaf: Leaf) -> dict[str, JsonValue]:
    """The canonical JSON form of a leaf that ``parse_leaf`` made."""
    match leaf:
        case EventLeaf():
            return {"event": leaf.code, **_filters(filter=leaf.filter)}
        case StatusLeaf():
            return {"status": leaf.task, "is": list(leaf.statuses), **_filters(arguments=leaf.arguments)}
        case ResultLeaf():
            return {"result": leaf.task, **_filters(filter=leaf.filter, arguments=leaf.arguments)}
        case ExceptionLeaf():
            return {
                "exception": leaf.task,
                **({"types": list(leaf.types)} if leaf.types else {}),
                **({"attempts": leaf.attempts} if leaf.attempts != "final" else {}),
                **_filters(filter=leaf.filter, arguments=leaf.arguments),
            }
        case ScheduleLeaf():
            return schedule_json(leaf.schedule)


def _filters(**filters: Filter) -> dict[str, JsonValue]:
    return {name: filter_json(filter_) for name, filter_ in filters.items() if filter_ != EVERYTHING}


def _event(fields: dict[str, JsonValue], path: str) -> EventLeaf:
    only(fields, ("event", "filter"), path)
    return EventLeaf(code=_code(fields["event"], at(path, "event")), filter=_filter(fields, "filter", path))


def _status(fields: dict[str, JsonValue], path: str) -> StatusLeaf:
    only(fields, ("status", "is", "arguments"), path)
    return StatusLeaf(
        task=_leaf_task(fields["status"], at(path, "status")),
        statuses=_statuses(required(fields, "is", 'a list of statuses such as "success"', path), at(path, "is")),
        arguments=_filter(fields, "arguments", path),
    )


def _result(fields: dict[str, JsonValue], path: str) -> ResultLeaf:
    only(fields, ("result", "filter", "arguments"), path)
    return ResultLeaf(
        task=_leaf_task(fields["result"], at(path, "result")),
        filter=_filter(fields, "filter", path),
        arguments=_filter(fields, "arguments", path),
    )


def _raised(fields: dict[str, JsonValue], path: str) -> ExceptionLeaf:
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


def _schedule(fields: dict[str, JsonValue], path: str) -> ScheduleLeaf:
    return ScheduleLeaf(parse_schedule(fields, path))


_READERS: Mapping[str, Callable[[dict[str, JsonValue], str], Leaf]] = {
    "event": _event,
    "status": _status,
    "result": _result,
    "exception": _raised,
    **dict.fromkeys(SCHEDULE_WORDS, _schedule),
}

LEAF_WORDS = tuple(_READERS)
"""The words by which a leaf is recognised."""


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
