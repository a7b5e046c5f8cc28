"""Flow control in the words of a trigger file: read, checked, and written back in its normal form.

Rules:
1. The words are fields of the trigger, beside ``when``; ``FLOW_FIELDS`` lists them in the order in which gates act.
2. The normal form leaves out what is the default, and writes an overlap policy or a collection as one word where that
   says all.
3. What contradicts itself is refused: a ``max_wait`` below ``wait``, a ``collect`` where nothing is collected, a
   ``for_each_key`` without ``for_each``.

    max_depth: 8                                          # a run is at most the eighth of its chain
    root_budget: {max: 100, per: 1h}                      # for each first cause
    rate_limit: {max: 5, per: 1m}
    debounce: {wait: 10s, max_wait: 1m, collect: all}     # or latest, or {first: 3}
    batch: {max_size: 100, max_wait: 30s}
    delay: 15m
    cooldown: {for: 1d, mode: trailing, collect: latest}
    throttle: {max: 10, per: 1s, burst: 20, max_queue: 500, max_age: 10m}
    circuit_breaker: {fires: {max: 1000, per: 1m}, failures: {max: 5, per: 10m}, for: 1h}
    overlap: skip                                         # or {policy: buffer_all, max: 10, ttl: 2h}
    for_each: ${event.payload.lines}
    for_each_key: sku
    expires: 1h
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias, get_args

from stream_triggers.core.duration import duration_text, parse_duration
from stream_triggers.core.fields import at, expected, object_at, only, required
from stream_triggers.core.filter import format_path, parse_path
from stream_triggers.core.flow.settings import (
    COUNT_MAX,
    DEPTH_DEFAULT,
    DEPTH_MAX,
    HELD_MAX,
    OVERLAP_TTL_MS,
    Batch,
    CircuitBreaker,
    Collect,
    CollectWord,
    Cooldown,
    CooldownMode,
    Debounce,
    Flow,
    Overlap,
    OverlapPolicy,
    Rate,
    Throttle,
)
from stream_triggers.core.message import JsonValue
from stream_triggers.errors import InvalidTrigger

FLOW_FIELDS = (
    "max_depth",
    "root_budget",
    "rate_limit",
    "debounce",
    "batch",
    "delay",
    "cooldown",
    "throttle",
    "circuit_breaker",
    "overlap",
    "for_each",
    "for_each_key",
    "expires",
)
"""The fields of a trigger that are about flow control, in the order in which they act."""

_Fields: TypeAlias = dict[str, JsonValue]

_REFERENCE = re.compile(r"\$\{[^{}]+\}")


def parse_flow(fields: _Fields, path: str) -> Flow:
    """Read the flow control among the ``fields`` of the trigger at ``path``; raises ``InvalidTrigger``.

    Fields that are not about flow control are left to the caller.
    """
    flow = Flow(
        max_depth=_count(fields.get("max_depth", DEPTH_DEFAULT), at(path, "max_depth"), DEPTH_MAX),
        root_budget=_optional(_rate, fields, "root_budget", path),
        rate_limit=_optional(_rate, fields, "rate_limit", path),
        debounce=_optional(_debounce, fields, "debounce", path),
        batch=_optional(_batch, fields, "batch", path),
        delay_ms=_optional(parse_duration, fields, "delay", path),
        cooldown=_optional(_cooldown, fields, "cooldown", path),
        throttle=_optional(_throttle, fields, "throttle", path),
        circuit_breaker=_optional(_circuit_breaker, fields, "circuit_breaker", path),
        overlap=_overlap(fields.get("overlap", "allow"), at(path, "overlap")),
        for_each=_optional(_list_reference, fields, "for_each", path),
        for_each_key=_optional(_element_path, fields, "for_each_key", path),
        expires_ms=_optional(parse_duration, fields, "expires", path),
    )
    if flow.for_each is None and flow.for_each_key is not None:
        raise InvalidTrigger(at(path, "for_each_key"), "expected for_each beside it, found nothing")
    return flow


def flow_json(flow: Flow) -> dict[str, JsonValue]:
    """The fields of ``flow`` in their normal form, without defaults, in the order of ``FLOW_FIELDS``."""
    everything: dict[str, JsonValue] = {
        "max_depth": flow.max_depth if flow.max_depth != DEPTH_DEFAULT else None,
        "root_budget": _written(_rate_json, flow.root_budget),
        "rate_limit": _written(_rate_json, flow.rate_limit),
        "debounce": _written(_debounce_json, flow.debounce),
        "batch": _written(_batch_json, flow.batch),
        "delay": _written(duration_text, flow.delay_ms),
        "cooldown": _written(_cooldown_json, flow.cooldown),
        "throttle": _written(_throttle_json, flow.throttle),
        "circuit_breaker": _written(_circuit_breaker_json, flow.circuit_breaker),
        "overlap": _overlap_json(flow.overlap),
        "for_each": flow.for_each,
        "for_each_key": flow.for_each_key,
        "expires": _written(duration_text, flow.expires_ms),
    }
    return _present(everything)


def _rate(value: JsonValue, path: str) -> Rate:
    return _rate_of(_object(value, path, ("max", "per")), path, COUNT_MAX)


def _rate_of(fields: _Fields, path: str, most: int) -> Rate:
    per = required(fields, "per", 'a duration such as "1m"', path)
    return Rate(max=_required_count(fields, "max", path, most), per_ms=parse_duration(per, at(path, "per")))


def _debounce(value: JsonValue, path: str) -> Debounce:
    fields = _object(value, path, ("wait", "max_wait", "collect"))
    wait = required(fields, "wait", 'a duration such as "10s"', path)
    debounce = Debounce(
        wait_ms=parse_duration(wait, at(path, "wait")),
        max_wait_ms=_optional(parse_duration, fields, "max_wait", path),
        collect=_collect(fields.get("collect", "latest"), at(path, "collect")),
    )
    if debounce.max_wait_ms is not None and debounce.max_wait_ms < debounce.wait_ms:
        problem = f"expected at least wait, which is {wait}, found {fields['max_wait']}"
        raise InvalidTrigger(at(path, "max_wait"), problem)
    return debounce


def _batch(value: JsonValue, path: str) -> Batch:
    fields = _object(value, path, ("max_size", "max_wait"))
    wait = required(fields, "max_wait", 'a duration such as "30s"', path)
    return Batch(
        max_size=_required_count(fields, "max_size", path, HELD_MAX),
        max_wait_ms=parse_duration(wait, at(path, "max_wait")),
    )


def _cooldown(value: JsonValue, path: str) -> Cooldown:
    fields = _object(value, path, ("for", "mode", "collect"))
    mode = _word(fields.get("mode", "drop"), at(path, "mode"), get_args(CooldownMode))
    if mode == "drop" and "collect" in fields:
        hint = "write mode: trailing to fire for them when the cooldown ends"
        raise InvalidTrigger(at(path, "collect"), "nothing is collected in the mode drop", hint=hint)
    return Cooldown(
        for_ms=parse_duration(required(fields, "for", 'a duration such as "1d"', path), at(path, "for")),
        mode=mode,
        collect=_collect(fields.get("collect", "latest"), at(path, "collect")),
    )


def _throttle(value: JsonValue, path: str) -> Throttle:
    fields = _object(value, path, ("max", "per", "burst", "max_queue", "max_age"))
    rate = _rate_of(fields, path, COUNT_MAX)
    return Throttle(
        rate=rate,
        burst=_count(fields.get("burst", rate.max), at(path, "burst"), COUNT_MAX),
        max_queue=_count(fields.get("max_queue", HELD_MAX), at(path, "max_queue"), HELD_MAX),
        max_age_ms=_optional(parse_duration, fields, "max_age", path),
    )


def _circuit_breaker(value: JsonValue, path: str) -> CircuitBreaker:
    fields = _object(value, path, ("fires", "failures", "for"))
    breaker = CircuitBreaker(
        fires=_optional(_rate, fields, "fires", path),
        failures=_optional(_held_rate, fields, "failures", path),
        for_ms=_optional(parse_duration, fields, "for", path),
    )
    if breaker.fires is None and breaker.failures is None:
        raise expected("fires or failures, each with max and per", value, path)
    return breaker


def _held_rate(value: JsonValue, path: str) -> Rate:
    """A rate whose instants are all kept."""
    return _rate_of(_object(value, path, ("max", "per")), path, HELD_MAX)


def _overlap(value: JsonValue, path: str) -> Overlap:
    policies = get_args(OverlapPolicy)
    if not isinstance(value, dict):
        value = {"policy": _word(value, path, policies)}
    fields = _object(value, path, ("policy", "max", "ttl"))
    named = required(fields, "policy", f"one of {', '.join(policies)}", path)
    policy: OverlapPolicy = _word(named, at(path, "policy"), policies)
    if policy != "buffer_all" and "max" in fields:
        raise InvalidTrigger(at(path, "max"), f"{policy} has no max", hint="buffer_all has")
    if policy == "allow" and "ttl" in fields:
        raise InvalidTrigger(at(path, "ttl"), "allow waits for no run")
    waiting = fields.get("max", HELD_MAX if policy == "buffer_all" else 1)
    ttl_ms = _optional(parse_duration, fields, "ttl", path)
    return Overlap(
        policy=policy,
        max=_count(waiting, at(path, "max"), HELD_MAX),
        ttl_ms=OVERLAP_TTL_MS if ttl_ms is None else ttl_ms,
    )


def _collect(value: JsonValue, path: str) -> Collect:
    if isinstance(value, dict):
        fields = _object(value, path, ("first",))
        return Collect("first", _required_count(fields, "first", path, HELD_MAX))
    word: CollectWord = _word(value, path, ("latest", "all"), "latest, all or {first: 3}")
    return Collect(word, HELD_MAX if word == "all" else 1)


def _list_reference(value: JsonValue, path: str) -> str:
    if not isinstance(value, str) or not _REFERENCE.fullmatch(value):
        raise expected('a reference to a list such as "${event.payload.lines}"', value, path)
    return value


def _element_path(value: JsonValue, path: str) -> str:
    if not isinstance(value, str):
        raise expected('the path of a value in an element, such as "sku"', value, path)
    return format_path(parse_path(value, path))


def _rate_json(rate: Rate) -> JsonValue:
    return {"max": rate.max, "per": duration_text(rate.per_ms)}


def _debounce_json(debounce: Debounce) -> JsonValue:
    return _present(
        {
            "wait": duration_text(debounce.wait_ms),
            "max_wait": _written(duration_text, debounce.max_wait_ms),
            "collect": _collect_json(debounce.collect),
        }
    )


def _batch_json(batch: Batch) -> JsonValue:
    return {"max_size": batch.max_size, "max_wait": duration_text(batch.max_wait_ms)}


def _cooldown_json(cooldown: Cooldown) -> JsonValue:
    mode = cooldown.mode if cooldown.mode != "drop" else None
    return _present({"for": duration_text(cooldown.for_ms), "mode": mode, "collect": _collect_json(cooldown.collect)})


def _throttle_json(throttle: Throttle) -> JsonValue:
    return _present(
        {
            "max": throttle.rate.max,
            "per": duration_text(throttle.rate.per_ms),
            "burst": throttle.burst if throttle.burst != throttle.rate.max else None,
            "max_queue": throttle.max_queue if throttle.max_queue != HELD_MAX else None,
            "max_age": _written(duration_text, throttle.max_age_ms),
        }
    )


def _circuit_breaker_json(breaker: CircuitBreaker) -> JsonValue:
    return _present(
        {
            "fires": _written(_rate_json, breaker.fires),
            "failures": _written(_rate_json, breaker.failures),
            "for": _written(duration_text, breaker.for_ms),
        }
    )


def _overlap_json(overlap: Overlap) -> JsonValue:
    if overlap.policy == "allow":
        return None
    details = _present(
        {
            "max": overlap.max if overlap.policy == "buffer_all" and overlap.max != HELD_MAX else None,
            "ttl": duration_text(overlap.ttl_ms) if overlap.ttl_ms != OVERLAP_TTL_MS else None,
        }
    )
    return {"policy": overlap.policy, **details} if details else overlap.policy


def _collect_json(collect: Collect) -> JsonValue:
    if collect.which == "first":
        return {"first": collect.max}
    return collect.which if collect.which != "latest" else None


def _object(value: JsonValue, path: str, known: tuple[str, ...]) -> _Fields:
    fields = object_at(value, path, f"an object with {', '.join(known)}")
    only(fields, known, path)
    return fields


def _optional(read: Callable[[JsonValue, str], Any], fields: _Fields, name: str, path: str) -> Any:
    return read(fields[name], at(path, name)) if name in fields else None


def _written(write: Callable[[Any], JsonValue], setting: Any) -> JsonValue:
    return None if setting is None else write(setting)


def _present(fields: _Fields) -> _Fields:
    return {name: value for name, value in fields.items() if value is not None}


def _required_count(fields: _Fields, name: str, path: str, most: int) -> int:
    return _count(required(fields, name, f"an integer from 1 to {most}", path), at(path, name), most)


def _count(value: JsonValue, path: str, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise expected(f"an integer from 1 to {most}", value, path)
    return value


def _word(value: JsonValue, path: str, words: tuple[str, ...], what: str = "") -> Any:
    if value not in words:
        raise expected(what or f"one of {', '.join(words)}", value, path)
    return value
