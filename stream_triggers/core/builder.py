"""Triggers in Python: a chain of calls that ends in the same ``Trigger`` as the text of a trigger file.

>>> builder = on_event("order.paid", {"total": {"gte": 100}}).with_args({"order": "${event.payload.id}"})
>>> builder.build("ship-order", task="orders.ship").args
{'order': '${event.payload.id}'}

Rules:
1. The chain writes the JSON form, and ``parse_trigger`` reads it: what a file cannot say, a chain cannot say either.
2. Methods change the builder and return it. ``build`` does not: one builder can make triggers for several tasks.
3. Several conditions are joined by "and" unless ``with_logic("or")`` was called. With one condition it does not matter.
4. A mapping is a filter wherever a filter is taken; so is a function, called with what the filter would look at. As
   ``filter_result``, any other value is what the result must equal; an object is written ``{"$": {"eq": {...}}}``.
5. Arguments add up: each of their names is given once, each kind of message has at most one function, and a named
   argument replaces one of the same name that a function returned.
6. A function is named, not carried: it is at the top level of a module that the workers can import.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Self, TypeAlias, TypedDict, Unpack

from stream_triggers.core.arguments import ANY_KIND, escape
from stream_triggers.core.condition import Attempts, Condition, Select, condition_json
from stream_triggers.core.fields import at, expected
from stream_triggers.core.filter import FUNCTION_NAME
from stream_triggers.core.message import JsonValue, Kind
from stream_triggers.core.trigger import Trigger, parse_trigger
from stream_triggers.errors import InvalidTrigger

Function: TypeAlias = Callable[..., Any] | str
"""A function at the top level of a module, or its name as ``module:function``."""

FilterSpec: TypeAlias = Mapping[str, JsonValue] | Function
"""A filter, or the function that decides."""

Task: TypeAlias = str | Callable[..., Any]
"""A task's name, or a function with a ``task_name``."""


class ScheduleOptions(TypedDict, total=False):
    """What else a schedule may say: the fields of its JSON form, see ``core.schedule.notation``."""

    gap: str
    fold: str
    catchup: str | Mapping[str, int | str]
    jitter: str
    start: str
    end: str
    max_runs: int
    exclude: list[str]
    only: list[str]
    on_excluded: str


class Pick(TypedDict, total=False):
    """What else a leaf may say: a ``name`` for references, its own ``key``, and which occurrences take part."""

    name: str
    key: str
    select: Select
    reuse: bool


_LOGIC = {"and": "all", "or": "any"}


class TriggerBuilder:
    """Collects the conditions and arguments of a trigger; ``build`` makes it."""

    def __init__(self) -> None:
        self._conditions: list[JsonValue] = []
        self._word = "all"
        self._window: dict[str, JsonValue] = {}
        self._args: dict[str, JsonValue] = {}
        self._args_from: dict[str, str] = {}
        self._rest: dict[str, JsonValue] = {}

    def on_cron(self, expression: str, zone: str = "UTC", **options: Unpack[ScheduleOptions]) -> Self:
        """Fire at the instants that the cron ``expression`` names in the time ``zone``."""
        return self._on({"cron": expression, "zone": zone, **options})

    def on_every(
        self, period: str, anchor: str | None = None, zone: str | None = None, **options: Unpack[ScheduleOptions]
    ) -> Self:
        """Fire once in every ``period``, such as "15m", counted from ``anchor``; ``zone`` is that of its dates."""
        return self._on({"every": period, **_given(anchor=anchor, zone=zone), **options})

    def on_at(self, instant: str, zone: str | None = None, **options: Unpack[ScheduleOptions]) -> Self:
        """Fire once, at an ``instant`` such as "2026-03-01T08:00Z", or at such a local time of ``zone``."""
        return self._on({"at": instant, **_given(zone=zone), **options})

    def on_event(self, code: str, payload_filter: FilterSpec | None = None, **pick: Unpack[Pick]) -> Self:
        """Fire on events with this ``code`` whose payload the filter accepts."""
        return self._on({"event": code, **_filters(filter=payload_filter), **_picked(pick)})

    def on_status(
        self,
        task: Task,
        statuses: str | Iterable[str] = "success",
        call_arguments: FilterSpec | None = None,
        **pick: Unpack[Pick],
    ) -> Self:
        """Fire when an invocation of ``task`` comes to one of ``statuses``; ``call_arguments`` are a filter."""
        listed = statuses if isinstance(statuses, str) else list(statuses)
        return self._on({"status": _task(task), "is": listed, **_filters(arguments=call_arguments), **_picked(pick)})

    def on_any_result(self, task: Task, call_arguments: FilterSpec | None = None, **pick: Unpack[Pick]) -> Self:
        """Fire when ``task`` returned, whatever it returned; not when it raised."""
        return self._on({"result": _task(task), **_filters(arguments=call_arguments), **_picked(pick)})

    def on_result(
        self, task: Task, filter_result: JsonValue, call_arguments: FilterSpec | None = None, **pick: Unpack[Pick]
    ) -> Self:
        """Fire when ``task`` returned what ``filter_result`` accepts, or what equals it when it is no filter."""
        is_filter = isinstance(filter_result, Mapping) or callable(filter_result)
        spec = filter_result if is_filter else {"$": filter_result}
        filters = _filters(filter=spec, arguments=call_arguments)
        return self._on({"result": _task(task), **filters, **_picked(pick)})

    def on_exception(
        self,
        task: Task,
        exception_types: str | Iterable[str] | None = None,
        call_arguments: FilterSpec | None = None,
        *,
        exception_filter: FilterSpec | None = None,
        attempts: Attempts = "final",
        **pick: Unpack[Pick],
    ) -> Self:
        """Fire when ``task`` raised one of ``exception_types``, or a class derived from one; None means any.

        Only the exception that ended the invocation counts, unless ``attempts`` is "every".
        """
        types = exception_types if isinstance(exception_types, str) else list(exception_types or ())
        filters = _filters(filter=exception_filter, arguments=call_arguments)
        return self._on({"exception": _task(task), "types": types, "attempts": attempts, **filters, **_picked(pick)})

    def add_condition(self, condition: Condition | Mapping[str, JsonValue]) -> Self:
        """Fire on ``condition``, in its JSON form or read from it."""
        return self._on(dict(condition) if isinstance(condition, Mapping) else condition_json(condition))

    @property
    def condition(self) -> JsonValue:
        """What has been collected, joined, in its JSON form; raises ``InvalidTrigger`` where there is nothing."""
        if not self._conditions:
            hint = "call on_event or another on_…"
            raise InvalidTrigger("when", "expected at least one condition, found none", hint=hint)
        return {self._word: self._conditions, **self._window}

    def with_logic(self, logic: str) -> Self:
        """Join the conditions by "and" or by "or"."""
        word = _LOGIC.get(logic.lower())
        if word is None:
            raise expected('"and" or "or"', logic, "logic")
        self._word = word
        return self

    def with_within(self, window: str) -> Self:
        """Join the conditions only where all of it happens within ``window``, such as "2h"."""
        self._window = {"within": window}
        return self

    def with_args(self, template: Mapping[str, JsonValue]) -> Self:
        """Call the task with these arguments, which may hold references such as ``${event.payload.id}``."""
        for name, value in template.items():
            if name in self._args:
                hint = (
                    "for one argument from several kinds of message use a function of each, or a ${message…} reference"
                )
                raise InvalidTrigger(at("args", name), "this argument is given twice", hint=hint)
            self._args[name] = value
        return self

    def with_args_static(self, arguments: Mapping[str, JsonValue]) -> Self:
        """Call the task with these arguments, taken literally: ``${`` means nothing in them."""
        return self.with_args({name: escape(value) for name, value in arguments.items()})

    with_arguments = with_args_static

    def with_args_from_event(self, source: Mapping[str, str] | Function) -> Self:
        """Take arguments from the event: by name the path in it (``payload.id``), or what a function returns for it."""
        return self._from("event", source)

    def with_args_from_status(self, source: Mapping[str, str] | Function) -> Self:
        """Take arguments from the task status: by name the path in it (``arguments.id``), or a function of it."""
        return self._from("status", source)

    def with_args_from_result(self, source: Mapping[str, str] | Function) -> Self:
        """Take arguments from the successful result: by name the path in it (``value.id``), or a function of it."""
        return self._from("result", source)

    def with_args_from_exception(self, source: Mapping[str, str] | Function) -> Self:
        """Take arguments from the failed result: by name the path in it (``message``), or a function of it."""
        return self._from("exception", source)

    def with_args_from_trigger_context(self, source: Function) -> Self:
        """Take what a function returns for the message, for every kind that has no function of its own."""
        return self._from_function(ANY_KIND, source)

    def with_key(self, template: str) -> Self:
        """Give each run this key: invocations of one key keep their order, and what a trigger remembers is by key."""
        return self._with("key", template)

    def with_ttl(self, duration: str) -> Self:
        """Keep what no window bounds no longer than this."""
        return self._with("ttl", duration)

    def with_grace(self, duration: str) -> Self:
        """Wait so much longer for what comes late."""
        return self._with("grace", duration)

    def with_reset(self, *resets: TriggerBuilder | Literal["fire"]) -> Self:
        """Forget everything of a key when one of these happens; "fire" is a run of the trigger."""
        return self._with("reset", [reset if isinstance(reset, str) else _only(reset) for reset in resets])

    def with_on_timeout(self, task: Task, args: Mapping[str, JsonValue] | None = None) -> Self:
        """Run ``task`` when a match that has begun was not completed in its window."""
        return self._with("on_timeout", {"task": _task(task), "args": dict(args or {})})

    def with_state(self, policy: Literal["keep", "reset"]) -> Self:
        """Say what a new version does with what the one before has kept."""
        return self._with("state", policy)

    def with_flow(self, **settings: JsonValue) -> Self:
        """Set flow control, in the words of a trigger file: ``with_flow(cooldown={"for": "1d"})``."""
        self._rest.update(settings)
        return self

    def with_epoch(self, epoch: int) -> Self:
        """Let what has fired under a smaller epoch fire again."""
        return self._with("epoch", epoch)

    def with_start(self, start: str | Mapping[str, JsonValue]) -> Self:
        """Say where a new trigger starts: "earliest", an instant, or ``{"lookback": "2h"}``; else it starts now.

        A schedule has a ``start`` of its own, an option of ``on_cron`` and the like.
        """
        return self._with("start", dict(start) if isinstance(start, Mapping) else start)

    def with_description(self, description: str) -> Self:
        """Say what the trigger is for."""
        return self._with("description", description)

    def build(self, id: str, task: Task) -> Trigger:  # noqa: A002 - the word of the trigger file
        """Make the trigger; raises ``InvalidTrigger`` when any part of it is wrong."""
        trigger = {
            "id": id,
            "task": _task(task),
            **self._rest,
            "when": self.condition,
            "args": self._args,
            "args_from": self._args_from,
        }
        return parse_trigger(trigger)

    def _on(self, condition: JsonValue) -> Self:
        self._conditions.append(condition)
        return self

    def _with(self, field: str, value: JsonValue) -> Self:
        self._rest[field] = value
        return self

    def _from(self, kind: Kind, source: Mapping[str, str] | Function) -> Self:
        if isinstance(source, Mapping):
            return self.with_args({name: _reference(kind, path, at("args", name)) for name, path in source.items()})
        return self._from_function(kind, source)

    def _from_function(self, kind: str, source: Function) -> Self:
        path = at("args_from", kind)
        if kind in self._args_from:
            raise InvalidTrigger(
                path, "this kind of message is given a function twice", hint="call both from one function"
            )
        self._args_from[kind] = _function_name(source, path)
        return self


def on_cron(expression: str, zone: str = "UTC", **options: Unpack[ScheduleOptions]) -> TriggerBuilder:
    """Start a builder with a cron expression."""
    return TriggerBuilder().on_cron(expression, zone, **options)


def on_every(
    period: str, anchor: str | None = None, zone: str | None = None, **options: Unpack[ScheduleOptions]
) -> TriggerBuilder:
    """Start a builder with a period."""
    return TriggerBuilder().on_every(period, anchor, zone, **options)


def on_at(instant: str, zone: str | None = None, **options: Unpack[ScheduleOptions]) -> TriggerBuilder:
    """Start a builder with a single instant."""
    return TriggerBuilder().on_at(instant, zone, **options)


def on_event(code: str, payload_filter: FilterSpec | None = None, **pick: Unpack[Pick]) -> TriggerBuilder:
    """Start a builder with an event."""
    return TriggerBuilder().on_event(code, payload_filter, **pick)


def on_status(
    task: Task,
    statuses: str | Iterable[str] = "success",
    call_arguments: FilterSpec | None = None,
    **pick: Unpack[Pick],
) -> TriggerBuilder:
    """Start a builder with a task status."""
    return TriggerBuilder().on_status(task, statuses, call_arguments, **pick)


def on_any_result(task: Task, call_arguments: FilterSpec | None = None, **pick: Unpack[Pick]) -> TriggerBuilder:
    """Start a builder with a successful result, whatever it is."""
    return TriggerBuilder().on_any_result(task, call_arguments, **pick)


def on_result(
    task: Task, filter_result: JsonValue, call_arguments: FilterSpec | None = None, **pick: Unpack[Pick]
) -> TriggerBuilder:
    """Start a builder with a successful result that a filter accepts."""
    return TriggerBuilder().on_result(task, filter_result, call_arguments, **pick)


def on_exception(
    task: Task,
    exception_types: str | Iterable[str] | None = None,
    call_arguments: FilterSpec | None = None,
    *,
    exception_filter: FilterSpec | None = None,
    attempts: Attempts = "final",
    **pick: Unpack[Pick],
) -> TriggerBuilder:
    """Start a builder with an exception."""
    return TriggerBuilder().on_exception(
        task, exception_types, call_arguments, exception_filter=exception_filter, attempts=attempts, **pick
    )


def _given(**values: str | None) -> dict[str, JsonValue]:
    """The fields that were given."""
    return {name: value for name, value in values.items() if value is not None}


def _picked(pick: Pick) -> dict[str, JsonValue]:
    """The fields of a leaf that say how it is picked."""
    return {"as" if name == "name" else name: value for name, value in pick.items()}


def _only(reset: TriggerBuilder) -> JsonValue:
    """The one condition of a builder; the JSON form of several is left for the reader to refuse."""
    joined = reset.condition
    (listed,) = joined.values()
    return listed[0] if len(listed) == 1 else joined


def _filters(**specs: FilterSpec | None) -> dict[str, JsonValue]:
    """The fields of a leaf that hold filters, without those that were not given."""
    return {name: _filter(spec, name) for name, spec in specs.items() if spec is not None}


def _filter(spec: FilterSpec, path: str) -> JsonValue:
    return dict(spec) if isinstance(spec, Mapping) else {"call": _function_name(spec, path)}


def _reference(kind: Kind, path: str, where: str) -> str:
    if "}" in path:  # it would end the reference early
        raise expected("the path of a value in the message", path, where)
    return f"${{{kind}.{path}}}"


def _task(task: Task) -> str:
    name = task if isinstance(task, str) else getattr(task, "task_name", None)
    if not isinstance(name, str):
        raise expected("the name of a task, or a function with a task_name", task, "task")
    return name


def _function_name(function: Function, path: str) -> str:
    """``module:function``; refuses what another process could not find by that name."""
    if isinstance(function, str):
        if not FUNCTION_NAME.fullmatch(function):
            raise expected("a function as module:function", function, path)
        return function
    move = "write it with def at the top level of a module that the workers can import"
    if not inspect.isroutine(function):
        raise InvalidTrigger(path, f"expected a function, found a Python {type(function).__name__}", hint=move)
    name = function.__name__
    if name == "<lambda>":
        raise InvalidTrigger(path, "expected a function that has a name, found a lambda", hint=move)
    if function.__qualname__ != name:
        raise InvalidTrigger(path, f"expected a function of a module, found {function.__qualname__}", hint=move)
    if function.__module__ == "__main__":
        raise InvalidTrigger(path, f"expected a function of a module, found {name} of the started program", hint=move)
    return f"{function.__module__}:{name}"
