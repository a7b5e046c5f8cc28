"""Nodes that watch a value: each fact of their leaf changes what they remember, and some facts become occurrences.

``changed``:
1. A fact whose value is another than that of the fact before it, in the order of ``(time_ms, at)``, is an occurrence,
   if the values are what ``from`` and ``to`` accept. Values are equal by JSON type.
2. The first value is remembered. It is an occurrence only with ``initial``, and then ``from`` is not asked.
3. A fact that lies before the one that is remembered changes nothing and is refused as ``late``.

``aggregate``:
4. What is remembered are the values of the window that ends with the latest fact, both ends included.
5. The fact with which the aggregate comes to be what ``is`` accepts is an occurrence. The next can only be one after a
   fact with which it was what ``clear`` accepts, by default what ``is`` does not. Only facts are looked at: that values
   leave the window is seen with the next fact.
6. With ``for``, the occurrence waits that long, and a fact within that time with which the aggregate is not what ``is``
   accepts makes an end of it: ``vetoed``. Then it can be one again.
7. A fact that is older than the window is refused as ``late``.
8. Without a window the values are those of the trigger's ``ttl``. More than ``OCCURRENCES_MAX`` are not kept: the
   oldest is lost, which is refused as ``hot_key``.

A value that is missing, or no number where one is needed, is refused as ``filter_failed``.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from stream_triggers.core.condition import Aggregate, Changed
from stream_triggers.core.fields import found
from stream_triggers.core.filter import MISSING, Functions, compile_filter, get_path, json_equal, parse_path
from stream_triggers.core.invocation import Reason
from stream_triggers.core.keyed.pool import value_key
from stream_triggers.core.keyed.state import OCCURRENCES_MAX, Moment
from stream_triggers.core.message import JsonValue
from stream_triggers.errors import EvaluationFailed

Verdict: TypeAlias = Literal["occurs", "ends", "nothing"]
"""What a fact is to a node: an occurrence, the end of one that still waits, or only remembered."""


class Watched(NamedTuple):
    """What a node makes of a fact: what it remembers now, and what the fact is."""

    memory: Any
    verdict: Verdict
    reason: Reason | None = None
    detail: str = ""


class ChangedWatch:
    """Watches for changes of a value."""

    def __init__(self, node: Changed, functions: Functions) -> None:
        self.hold_ms = 0
        self._path = parse_path(node.value, "changed")
        self._before = None if node.before is None else compile_filter(node.before, functions)
        self._after = None if node.after is None else compile_filter(node.after, functions)
        self._initial = node.initial

    def last_ms(self, memory: Any) -> int:
        """The instant of the latest fact that is remembered."""
        time_ms: int = memory[1]
        return time_ms

    def look(self, memory: Any, document: JsonValue, moment: Moment) -> Watched:
        """Take one fact; raises ``EvaluationFailed``."""
        value = get_path(document, self._path)
        if value is MISSING:
            raise EvaluationFailed("changed: there is no value in the message")
        if memory is None:
            occurs = self._initial and (self._after is None or self._after(value))
            return Watched([value, *moment], "occurs" if occurs else "nothing")
        last, time_ms, at = memory
        if moment < (time_ms, at):
            return Watched(memory, "nothing", "late", "a later value is known")
        occurs = (
            not json_equal(last, value)
            and (self._before is None or self._before(last))
            and (self._after is None or self._after(value))
        )
        return Watched([value, *moment], "occurs" if occurs else "nothing")


class AggregateWatch:
    """Watches what is made of several values."""

    def __init__(self, node: Aggregate, functions: Functions, ttl_ms: int) -> None:
        self.hold_ms = node.hold_ms or 0
        self._path = parse_path(node.value, "value")
        self._function = _FUNCTIONS[node.function]
        self._needs_number = node.function != "distinct"
        self._within_ms = ttl_ms if node.within_ms is None else node.within_ms
        self._test = compile_filter(node.test, functions)
        self._clear = None if node.clear is None else compile_filter(node.clear, functions)

    def last_ms(self, memory: Any) -> int:
        """The instant of the latest fact that is remembered."""
        time_ms: int = memory[2][-1][0]
        return time_ms

    def look(self, memory: Any, document: JsonValue, moment: Moment) -> Watched:
        """Take one fact; raises ``EvaluationFailed``."""
        value = get_path(document, self._path)
        if value is MISSING or (self._needs_number and not _is_number(value)):
            what = "nothing" if value is MISSING else found(value)
            raise EvaluationFailed(f"aggregate: expected a {'number' * self._needs_number or 'value'}, found {what}")
        is_raised, since_ms, samples = memory if memory is not None else (False, None, [])
        newest_ms = max(moment[0], samples[-1][0]) if samples else moment[0]
        if moment[0] < newest_ms - self._within_ms:
            return Watched(memory, "nothing", "late", "it is older than the window")
        samples = [sample for sample in samples if sample[0] >= newest_ms - self._within_ms]
        insort(samples, [*moment, value], key=_moment)
        lost = len(samples) > OCCURRENCES_MAX
        samples = samples[1:] if lost else samples
        holds = self._test(self._function([sample[2] for sample in samples]))
        verdict, is_raised, since_ms = self._judge(holds, is_raised, since_ms, samples, moment)
        remembered = [is_raised, since_ms, samples]
        if lost:
            return Watched(remembered, verdict, "hot_key", f"more than {OCCURRENCES_MAX} values in the window")
        return Watched(remembered, verdict)

    def _judge(
        self, holds: bool, is_raised: bool, since_ms: int | None, samples: list[Any], moment: Moment
    ) -> tuple[Verdict, bool, int | None]:
        if not is_raised:
            return ("occurs", True, moment[0]) if holds else ("nothing", False, None)
        is_waiting = since_ms is not None and moment[0] <= since_ms + self.hold_ms
        if not holds and is_waiting and self.hold_ms:
            return "ends", False, None
        cleared = not holds if self._clear is None else self._clear(self._function([each[2] for each in samples]))
        return "nothing", not cleared, since_ms


def _moment(sample: list[Any]) -> Moment:
    return sample[0], sample[1]


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _average(values: list[Any]) -> float:
    total: float = sum(values)
    return total / len(values)


def _distinct(values: list[Any]) -> int:
    return len({value_key(value) for value in values})


_FUNCTIONS: Mapping[str, Callable[[list[Any]], Any]] = {
    "sum": sum,
    "avg": _average,
    "min": min,
    "max": max,
    "distinct": _distinct,
}
