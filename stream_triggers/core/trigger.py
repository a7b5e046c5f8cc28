"""A trigger: when its condition holds, run this task with these arguments.

Rules:
1. A ``Trigger`` is made by ``parse_trigger`` only, so every one that exists is well formed and in its normal form.
2. The canonical form is JSON with sorted names and without defaults; equal triggers have equal bytes, and the version
   is a hash of them. Reading the canonical form gives an equal trigger.
3. Templates are kept as they were written and compiled when the trigger is made ready to run.
4. What can never work is refused here: a reference or a function for a kind of message that no leaf accepts, a key
   that needs the run, which the key comes before.
"""

from __future__ import annotations

import re
from hashlib import blake2b

import msgspec
import orjson

from stream_triggers.core.arguments import ANY_KIND, Reference, parse_args_from, references
from stream_triggers.core.condition import (
    AllOf,
    AnyOf,
    Condition,
    ScheduleLeaf,
    condition_json,
    leaf_kind,
    leaves,
    nodes,
    parse_condition,
    parse_task,
)
from stream_triggers.core.fields import at, expected, json_problem, object_at, only, required
from stream_triggers.core.message import JsonValue, Kind
from stream_triggers.errors import InvalidTrigger

VERSION_BYTES = 8
"""Size of a version before hexadecimal: it tells the versions of one trigger apart, which are few."""

EPOCH_MAX = 2**31 - 1
"""Largest epoch: what the schemas hold."""

FIELDS = ("id", "description", "task", "epoch", "key", "when", "args", "args_from")
"""The fields of a trigger's JSON form, in the order in which people write them."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,200}")


class Trigger(msgspec.Struct, frozen=True):
    """A rule; ``key`` and ``args`` are templates, ``args_from`` names functions by kind of message.

    Raising ``epoch`` gives every run a new identity: what has fired may fire again.
    """

    id: str
    task: str
    when: Condition
    epoch: int = 0
    key: str | None = None
    args: dict[str, JsonValue] = {}
    args_from: dict[str, str] = {}
    description: str = ""


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
    )
    _check_references(trigger, path)
    _check_functions(trigger, path)
    return trigger


def trigger_json(trigger: Trigger) -> dict[str, JsonValue]:
    """The JSON form of ``trigger`` without defaults, its fields in the order in which people write them."""
    everything: dict[str, JsonValue] = {
        "id": trigger.id,
        "description": trigger.description or None,
        "task": trigger.task,
        "epoch": trigger.epoch or None,
        "key": trigger.key,
        "when": condition_json(trigger.when),
        "args": trigger.args or None,
        "args_from": trigger.args_from or None,
    }
    return {name: value for name, value in everything.items() if value is not None}


def canonical(trigger: Trigger) -> bytes:
    """The canonical form of ``trigger``: its JSON form with sorted names, UTF-8."""
    return orjson.dumps(trigger_json(trigger), option=orjson.OPT_SORT_KEYS)


def version(trigger: Trigger) -> str:
    """The hash of the canonical form, in hexadecimal."""
    return blake2b(canonical(trigger), digest_size=VERSION_BYTES, person=b"trigger-form-v1").hexdigest()


def require_supported(trigger: Trigger) -> None:
    """Refuse what is well formed but needs a keyed stage with memory and timers, which this engine does not have."""
    source = f"trigger {trigger.id}"
    for path, node in nodes(trigger.when):
        if isinstance(node, AllOf):
            hint = 'join the conditions with any (in the builder: with_logic("or")), or make a trigger of each'
            raise InvalidTrigger(
                path, "conditions joined by all are not supported by this engine", hint=hint, source=source
            )
        if isinstance(node, ScheduleLeaf):
            hint = "have a scheduler emit an event, and fire on that"
            raise InvalidTrigger(path, "schedules are not supported by this engine", hint=hint, source=source)


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


def _check_references(trigger: Trigger, path: str) -> None:
    kinds = {leaf_kind(leaf) for _, leaf in leaves(trigger.when)}
    for where, reference in references(trigger.args, at(path, "args")):
        _check_reference(reference, kinds, where)
    for where, reference in references(trigger.key, at(path, "key")):
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


def _check_functions(trigger: Trigger, path: str) -> None:
    """Every function has a kind that can fire the trigger, and everything that can fire it has a function."""
    if not trigger.args_from:
        return
    ways = _ways(trigger.when)
    kinds = frozenset[str]().union(*ways)
    for kind in trigger.args_from:
        if kind not in kinds and kind != ANY_KIND:
            hint = f"its conditions accept messages of kind {', '.join(sorted(kinds))}"
            raise InvalidTrigger(at(at(path, "args_from"), kind), "no condition accepts such a message", hint=hint)
    for way in ways:
        if ANY_KIND not in trigger.args_from and way.isdisjoint(trigger.args_from):
            lacking = " or ".join(sorted(way))
            problem = f"expected a function for {lacking} or any, found only {', '.join(trigger.args_from)}"
            raise InvalidTrigger(at(path, "args_from"), problem)


def _ways(condition: Condition) -> list[frozenset[str]]:
    """The ways in which ``condition`` can come to hold, each as the kinds of message that take part in it."""
    if isinstance(condition, AnyOf):
        return [way for member in condition.conditions for way in _ways(member)]
    return [frozenset(leaf_kind(leaf) for _, leaf in leaves(condition))]
