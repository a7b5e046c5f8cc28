"""A trigger: when its condition holds, run this task with these arguments.

Rules:
1. A ``Trigger`` is made by ``parse_trigger`` only, so every one that exists is well formed and in its normal form.
2. The canonical form is JSON with sorted names and without defaults; equal triggers have equal bytes, and the version
   is a hash of them. Reading the canonical form gives an equal trigger.
3. Templates are kept as they were written and compiled when the trigger is made ready to run.
4. What can never work is refused here: a reference or a function for a kind of message that no leaf accepts, a key
   that needs the run, which the key comes before, a start in the past with a schedule, which is no message.
5. A trigger of plain leaves, or an ``any`` of them, that says nothing of memory, time or flow control fires with the
   message; every other needs the keyed stage.

    start: {lookback: 2h}                           # a new trigger takes what is there already, see core.start
    key: ${event.payload.order_id}                  # one memory for each value; a leaf can have a key of its own
    ttl: 7d                                         # how long anything is kept that no window bounds
    grace: 5s                                       # how much longer to wait for what comes late
    reset: [fire, {event: day.closed}, {cron: "@daily"}]
    on_timeout: {task: orders.remind, args: {order: "${paid.payload.id}"}}
    state: reset                                    # a new version forgets; keep keeps what it can
    rate_limit, debounce, ...                       # see core.keyed.gates
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any, Literal, TypeAlias

import msgspec
import orjson

from stream_triggers.core.arguments import ROOTS, parse_args_from
from stream_triggers.core.condition import (
    AnyOf,
    Condition,
    Leaf,
    Pick,
    ScheduleLeaf,
    check_placement,
    condition_json,
    nodes,
    parse_condition,
    parse_task,
)
from stream_triggers.core.duration import duration_text, parse_duration
from stream_triggers.core.fields import at, expected, json_problem, object_at, only, required
from stream_triggers.core.flow import FLOW_FIELDS, FREE, Flow, flow_json, parse_flow
from stream_triggers.core.message import JsonValue
from stream_triggers.core.reference import check_functions, check_references, picks_of
from stream_triggers.core.start import NOW, StartRule, parse_start, start_json
from stream_triggers.errors import InvalidTrigger

VERSION_BYTES = 8
"""Size of a version before hexadecimal: it tells the versions of one trigger apart, which are few."""

EPOCH_MAX = 2**31 - 1
"""Largest epoch: what the schemas hold."""

TTL_MS = 7 * 86_400_000
"""How long anything is kept that no window bounds, unless the trigger says otherwise: a week."""

FIRE = "fire"
"""Among what resets a trigger: its own firing."""

FIELDS = (
    *("id", "description", "task", "epoch", "start", "key", "when", "args", "args_from"),
    *("ttl", "grace", "reset", "on_timeout", "state", *FLOW_FIELDS),
)
"""The fields of a trigger's JSON form, in the order in which people write them."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,200}")


StatePolicy: TypeAlias = Literal["keep", "reset"]
"""What a new version of a trigger does with what the one before has kept."""


class Timeout(msgspec.Struct, frozen=True):
    """The task to run, with arguments of a template, when a match that has begun was not completed in its window."""

    task: str
    args: dict[str, JsonValue] = {}


class Trigger(msgspec.Struct, frozen=True):
    """A rule; ``key`` and ``args`` are templates, ``args_from`` names functions by kind of message.

    Raising ``epoch`` gives every run a new identity: what has fired may fire again. ``reset`` has leaves and schedules
    that make a key forget everything, and ``FIRE``. ``start`` is None for a trigger that takes what comes from now on.
    """

    id: str
    task: str
    when: Condition
    epoch: int = 0
    key: str | None = None
    args: dict[str, JsonValue] = {}
    args_from: dict[str, str] = {}
    description: str = ""
    ttl_ms: int = TTL_MS
    grace_ms: int = 0
    reset: tuple[Condition | Literal["fire"], ...] = ()
    on_timeout: Timeout | None = None
    state: StatePolicy = "keep"
    flow: Flow = FREE
    start: StartRule | None = None


def parse_trigger(value: JsonValue, path: str = "") -> Trigger:
    """Read a trigger from its JSON form, canonical or not; raises ``InvalidTrigger`` at the first wrong thing."""
    object_at(value, path or "trigger", "a trigger, an object with id, task and when")
    problem = json_problem(value, path)
    if problem is not None:
        raise InvalidTrigger(*problem)
    # A copy of plain values: the trigger does not change with what the caller does to its own.
    fields: dict[str, JsonValue] = orjson.loads(orjson.dumps(value))
    only(fields, FIELDS, path)
    trigger = Trigger(
        id=_id(required(fields, "id", "the id of the trigger", path), at(path, "id")),
        task=parse_task(required(fields, "task", "the name of a task", path), at(path, "task")),
        when=parse_condition(required(fields, "when", "a condition", path), at(path, "when")),
        epoch=_epoch(fields.get("epoch", 0), at(path, "epoch")),
        key=_key(fields["key"], at(path, "key")) if "key" in fields else None,
        args=object_at(fields.get("args", {}), at(path, "args"), "an object of arguments by name"),
        args_from=parse_args_from(fields.get("args_from", {}), at(path, "args_from")),
        description=_description(fields.get("description", ""), at(path, "description")),
        ttl_ms=parse_duration(fields["ttl"], at(path, "ttl")) if "ttl" in fields else TTL_MS,
        grace_ms=parse_duration(fields["grace"], at(path, "grace")) if fields.get("grace", "0s") != "0s" else 0,
        reset=_reset(fields.get("reset", []), at(path, "reset")),
        on_timeout=_on_timeout(fields["on_timeout"], at(path, "on_timeout")) if "on_timeout" in fields else None,
        state=_state(fields.get("state", "keep"), at(path, "state")),
        flow=parse_flow(fields, path),
        start=parse_start(fields.get("start", NOW), at(path, "start")),
    )
    check_placement(trigger.when, at(path, "when"), (*ROOTS, "all", "each"))
    check_references(trigger, path)
    check_functions(trigger.args_from, trigger.when, at(path, "args_from"))
    if trigger.start is not None:
        _require_no_schedule(trigger, path)
    return trigger


def trigger_json(trigger: Trigger) -> dict[str, JsonValue]:
    """The JSON form of ``trigger`` without defaults, its fields in the order in which people write them."""
    everything: dict[str, JsonValue] = {
        "id": trigger.id,
        "description": trigger.description or None,
        "task": trigger.task,
        "epoch": trigger.epoch or None,
        "start": start_json(trigger.start),
        "key": trigger.key,
        "when": condition_json(trigger.when),
        "args": trigger.args or None,
        "args_from": trigger.args_from or None,
        "ttl": duration_text(trigger.ttl_ms) if trigger.ttl_ms != TTL_MS else None,
        "grace": duration_text(trigger.grace_ms) if trigger.grace_ms else None,
        "reset": [each if isinstance(each, str) else condition_json(each) for each in trigger.reset] or None,
        "on_timeout": _timeout_json(trigger.on_timeout),
        "state": trigger.state if trigger.state != "keep" else None,
        **flow_json(trigger.flow),
    }
    return {name: value for name, value in everything.items() if value is not None}


def canonical(trigger: Trigger) -> bytes:
    """The canonical form of ``trigger``: its JSON form with sorted names, UTF-8."""
    return orjson.dumps(trigger_json(trigger), option=orjson.OPT_SORT_KEYS)


def version(trigger: Trigger) -> str:
    """The hash of the canonical form, in hexadecimal."""
    return blake2b(canonical(trigger), digest_size=VERSION_BYTES, person=b"trigger-form-v1").hexdigest()


def needs_state(trigger: Trigger) -> bool:
    """Whether a trigger needs the keyed stage: memory, time or flow control."""
    if trigger.reset or trigger.on_timeout is not None or trigger.flow != FREE:
        return True
    return any(isinstance(node, ScheduleLeaf) or not isinstance(node, AnyOf | Leaf) for _, node in nodes(trigger.when))


def _require_no_schedule(trigger: Trigger, path: str) -> None:
    for where, pick in picks_of(trigger, path):
        if isinstance(pick.leaf, ScheduleLeaf):
            raise InvalidTrigger(
                at(path, "start"),
                f"a trigger with a schedule, here {where}, cannot start in the past: an instant is no message",
                hint="leave this start out; a schedule has a start and a catchup of its own",
            )


def _id(value: JsonValue, path: str) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise expected("1 to 200 letters, digits, dots, underscores and hyphens", value, path)
    return value


def _epoch(value: JsonValue, path: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= EPOCH_MAX:
        raise expected(f"an integer from 0 to {EPOCH_MAX}", value, path)
    return value


def _key(value: JsonValue, path: str) -> str:
    if not isinstance(value, str) or not value:
        raise expected('a template such as "${event.key}"', value, path)
    return value


def _description(value: JsonValue, path: str) -> str:
    if not isinstance(value, str):
        raise expected("text", value, path)
    return value


def _reset(value: JsonValue, path: str) -> tuple[Any, ...]:
    listed = value if isinstance(value, list) else [value]
    found: list[Any] = []
    for index, item in enumerate(listed):
        where = f"{path}[{index}]"
        reset = FIRE if item == FIRE else parse_condition(item, where)
        if reset != FIRE and not isinstance(reset, Leaf | Pick):
            raise InvalidTrigger(where, f"expected {FIRE}, a leaf or a schedule", hint="list several under reset")
        if isinstance(reset, Pick) and (reset.name or reset.select or reset.reuse):
            raise InvalidTrigger(where, "what resets takes no part in a run: no as, select or reuse here")
        if reset not in found:
            found.append(reset)
    return tuple(found)


def _on_timeout(value: JsonValue, path: str) -> Timeout:
    fields = object_at(value, path, "an object with task and args")
    only(fields, ("task", "args"), path)
    task = parse_task(required(fields, "task", "the name of a task", path), at(path, "task"))
    return Timeout(task, object_at(fields.get("args", {}), at(path, "args"), "an object of arguments by name"))


def _timeout_json(timeout: Timeout | None) -> JsonValue:
    if timeout is None:
        return None
    return {"task": timeout.task, **({"args": timeout.args} if timeout.args else {})}


def _state(value: JsonValue, path: str) -> StatePolicy:
    if value not in ("keep", "reset"):
        raise expected("keep or reset", value, path)
    policy: StatePolicy = value
    return policy
