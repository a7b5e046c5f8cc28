"""Conditions that join others, in Python: one function for each word of a trigger file.

>>> paid = on_event("order.paid", name="paid")
>>> trigger = missing(on_event("order.shipped"), after=paid, within="2h").with_key("${event.payload.order}")
>>> trigger.with_args({"order": "${paid.payload.order}"}).build("remind", task="orders.remind").key
'${event.payload.order}'

Rules:
1. A part is a builder; of it only the conditions count. A builder with several conditions joins them as it does itself.
2. Each function gives a builder with one condition, which is a part or becomes a trigger.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

from stream_triggers.core.builder import TriggerBuilder, on_event
from stream_triggers.core.condition import FOREVER
from stream_triggers.core.message import JsonValue

Part = TriggerBuilder
"""What is joined."""


def calendar(*days: str | date) -> list[str]:
    """Days for ``exclude`` and ``only`` of schedules: dates, as texts or not, and weekdays such as "sat"."""
    return [day if isinstance(day, str) else day.isoformat()[:10] for day in days]


def all_of(*parts: Part, within: str = FOREVER, where: list[JsonValue] | None = None) -> TriggerBuilder:
    """Every one of the parts; ``where`` compares what their leaves, by name, have."""
    return _with(all=_listed(parts), within=within, where=where or [])


def any_of(*parts: Part) -> TriggerBuilder:
    """One of the parts."""
    return _with(any=_listed(parts))


def not_(part: Part, *, last: str = FOREVER) -> TriggerBuilder:
    """The part does not happen: in the window of the group it stands in, or ``last`` back from the rest of it."""
    return _with(**{"not": part.condition}, last=last)


def at_least(count: int, *parts: Part, within: str = FOREVER) -> TriggerBuilder:
    """So many of the parts."""
    return _with(at_least=count, of=_listed(parts), within=within)


def sequence(
    *parts: Part, within: str = FOREVER, strict: bool = False, where: list[JsonValue] | None = None
) -> TriggerBuilder:
    """The parts one after the other; ``strict`` allows nothing between that any of them accepts."""
    return _with(sequence=_listed(parts), within=within, strict=strict, where=where or [])


def count(
    part: Part,
    at_least: int,
    *,
    within: str = FOREVER,
    distinct: str | None = None,
    consume: Literal["all", "none"] = "all",
) -> TriggerBuilder:
    """So many occurrences of a leaf, or different values at the path ``distinct``."""
    more = {} if distinct is None else {"distinct": distinct}
    return _with(count=part.condition, at_least=at_least, within=within, consume=consume, **more)


def times(number: int | tuple[int, int], part: Part) -> TriggerBuilder:
    """So many occurrences of a leaf, one after the other; of two numbers at least the first, at most the second."""
    return _with(times=number if isinstance(number, int) else list(number), of=part.condition)


def one_or_more(part: Part, *, until: Part | None = None) -> TriggerBuilder:
    """One occurrence of a leaf and as many more as there are, until another part, where it is given, follows."""
    more = {} if until is None else {"until": until.condition}
    return _with(one_or_more=part.condition, **more)


def aggregate(
    function: Literal["sum", "avg", "min", "max", "distinct"],
    value: str,
    part: Part,
    test: JsonValue,
    *,
    within: str = FOREVER,
    hold: str = FOREVER,
    clear: JsonValue = None,
) -> TriggerBuilder:
    """What ``function`` makes of the values comes to be what ``test`` accepts, and is so for ``hold``."""
    more = {} if clear is None else {"clear": clear}
    fields = {"is": test, "for": hold, **more}
    return _with(aggregate=function, value=value, of=part.condition, within=within, **fields)


def changed(value: str, part: Part, *, initial: bool = False, **edge: JsonValue) -> TriggerBuilder:
    """The value at a path is another than the last one; ``before`` and ``to`` say from what to what."""
    fields = {"from" if name == "before" else name: test for name, test in edge.items()}
    return _with(changed=value, of=part.condition, initial=initial, **fields)


def after(part: Part, wait: str, *, unless: Part | None = None) -> TriggerBuilder:
    """A while after the part came to hold, unless another did meanwhile."""
    more = {} if unless is None else {"unless": unless.condition}
    return _with(after=part.condition, wait=wait, **more)


def missing(part: Part, *, after: Part, within: str) -> TriggerBuilder:
    """The part did not happen within a while after another."""
    return _with(missing=part.condition, after=after.condition, within=within)


def _listed(parts: tuple[Part, ...]) -> list[JsonValue]:
    return [part.condition for part in parts]


def _with(**fields: JsonValue) -> TriggerBuilder:
    return TriggerBuilder().add_condition(fields)


__all__ = [
    "Part",
    "after",
    "aggregate",
    "all_of",
    "any_of",
    "at_least",
    "calendar",
    "changed",
    "count",
    "missing",
    "not_",
    "on_event",
    "one_or_more",
    "sequence",
    "times",
]
