"""The canonical form of conditions, which ``notation`` reads."""

from __future__ import annotations

from stream_triggers.core.condition.leaf import EventLeaf, ExceptionLeaf, ResultLeaf, ScheduleLeaf, StatusLeaf
from stream_triggers.core.condition.leaf_notation import leaf_json
from stream_triggers.core.condition.tree import (
    After,
    Aggregate,
    AllOf,
    AnyOf,
    AtLeast,
    Changed,
    Comparison,
    Condition,
    Count,
    Not,
    Pick,
    Sequence,
    Times,
)
from stream_triggers.core.duration import duration_text
from stream_triggers.core.filter import Filter, filter_json
from stream_triggers.core.message import JsonValue

_Fields = dict[str, JsonValue]


def condition_json(condition: Condition) -> dict[str, JsonValue]:  # noqa: C901 - one arm for each kind of node
    """The canonical JSON form of a condition that ``parse_condition`` made."""
    match condition:
        case EventLeaf() | StatusLeaf() | ResultLeaf() | ExceptionLeaf() | ScheduleLeaf():
            return leaf_json(condition)
        case Pick():
            return _pick_json(condition)
        case AnyOf():
            return {"any": _listed_json(condition.conditions)}
        case AllOf():
            return {
                "all": _listed_json(condition.conditions),
                **_given(within=_text(condition.within_ms), where=[_comparison_json(each) for each in condition.where]),
            }
        case Not():
            return {"not": condition_json(condition.condition), **_given(last=_text(condition.last_ms))}
        case AtLeast():
            of = _listed_json(condition.conditions)
            return {"at_least": condition.count, "of": of, **_given(within=_text(condition.within_ms))}
        case Sequence():
            return _sequence_json(condition)
        case Count():
            return _count_json(condition)
        case Times():
            return _times_json(condition)
        case Aggregate():
            return _aggregate_json(condition)
        case Changed():
            return _changed_json(condition)
        case After():
            return {
                "after": condition_json(condition.condition),
                "wait": duration_text(condition.wait_ms),
                **({"unless": condition_json(condition.unless)} if condition.unless is not None else {}),
            }


def _pick_json(pick: Pick) -> _Fields:
    return {
        **leaf_json(pick.leaf),
        **({"as": pick.name} if pick.name else {}),
        **({"key": pick.key} if pick.key is not None else {}),
        **_given(select=pick.select, reuse=pick.reuse),
    }


def _sequence_json(sequence: Sequence) -> _Fields:
    where = [_comparison_json(each) for each in sequence.where]
    steps = _listed_json(sequence.steps)
    return {"sequence": steps, **_given(within=_text(sequence.within_ms), strict=sequence.strict, where=where)}


def _count_json(count: Count) -> _Fields:
    consume = count.consume if count.consume != "all" else None
    return {
        "count": condition_json(count.condition),
        "at_least": count.at_least,
        **_given(within=_text(count.within_ms), distinct=count.distinct, consume=consume),
    }


def _times_json(times: Times) -> _Fields:
    if times.most is None:
        return {"one_or_more": condition_json(times.condition)}
    number: JsonValue = times.least if times.least == times.most else [times.least, times.most]
    return {"times": number, "of": condition_json(times.condition)}


def _aggregate_json(aggregate: Aggregate) -> _Fields:
    return {
        "aggregate": aggregate.function,
        "value": aggregate.value,
        "of": condition_json(aggregate.leaf),
        "is": _test_json(aggregate.test),
        **({"clear": _test_json(aggregate.clear)} if aggregate.clear is not None else {}),
        **_given(within=_text(aggregate.within_ms), **{"for": _text(aggregate.hold_ms)}),
    }


def _changed_json(changed: Changed) -> _Fields:
    return {
        "changed": changed.value,
        "of": condition_json(changed.leaf),
        **({"from": _test_json(changed.before)} if changed.before is not None else {}),
        **({"to": _test_json(changed.after)} if changed.after is not None else {}),
        **_given(initial=changed.initial),
    }


def _comparison_json(comparison: Comparison) -> _Fields:
    return {"left": comparison.left, comparison.operator: comparison.right}


def _listed_json(conditions: tuple[Condition, ...]) -> list[JsonValue]:
    return [condition_json(condition) for condition in conditions]


def _given(**fields: JsonValue) -> _Fields:
    """The fields that say anything."""
    return {name: value for name, value in fields.items() if value}


def _text(duration_ms: int | None) -> str | None:
    return None if duration_ms is None else duration_text(duration_ms)


def _test_json(test: Filter) -> JsonValue:
    """The test of one value, which ``_test`` made of the same."""
    written = filter_json(test)
    assert isinstance(written, dict), "a filter is an object"
    return {"not": written["not"]["$"]} if "not" in written else written["$"]
