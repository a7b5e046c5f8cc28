"""Triggers: what is refused and how, the canonical form, the version, what the engine supports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stream_triggers.core.trigger import Trigger, canonical, parse_trigger, trigger_json, version
from stream_triggers.errors import InvalidTrigger

DATA = Path(__file__).parents[1] / "data"
VALID = yaml.safe_load((DATA / "valid-triggers.yaml").read_text())
INVALID = yaml.safe_load((DATA / "invalid-triggers.yaml").read_text())
PLAIN = {"id": "t", "task": "orders.ship", "when": {"event": "order.paid"}}


def refusal(written: Any, path: str = "") -> str:
    with pytest.raises(InvalidTrigger) as refused:
        parse_trigger(written, path)
    return str(refused.value)


@pytest.mark.parametrize("sample", INVALID, ids=lambda sample: sample["error"].partition("\n")[0])
def test_a_wrong_trigger_is_refused_with_this_message(sample):
    written = sample["trigger"] if "trigger" in sample else PLAIN | sample["change"]
    assert refusal(written) == sample["error"]


@pytest.mark.parametrize("sample", VALID, ids=lambda sample: sample["canonical"])
def test_a_trigger_has_this_canonical_form(sample):
    assert canonical(parse_trigger(sample["trigger"])).decode() == sample["canonical"]


@pytest.mark.parametrize("sample", VALID, ids=lambda sample: sample["canonical"])
def test_the_canonical_form_reads_back_as_an_equal_trigger(sample):
    trigger = parse_trigger(sample["trigger"])
    assert parse_trigger(orjson.loads(canonical(trigger))) == trigger


@pytest.mark.parametrize("sample", [sample for sample in VALID if "version" in sample], ids=lambda one: one["version"])
def test_the_version_of_a_trigger_never_changes(sample):
    assert version(parse_trigger(sample["trigger"])) == sample["version"]


@pytest.mark.parametrize(
    "change",
    [
        {"id": "u"},
        {"task": "orders.bill"},
        {"when": {"event": "order.due"}},
        {"epoch": 1},
        {"key": "x"},
        {"args": {"a": 1}},
        {"args_from": {"any": "m:f"}},
        {"description": "d"},
        {"start": "earliest"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_is_part_of_the_version(change):
    assert version(parse_trigger(PLAIN | change)) != version(parse_trigger(PLAIN))


@given(st.permutations(list(VALID[1]["trigger"])))
def test_the_order_of_fields_means_nothing(names):
    written = VALID[1]["trigger"]
    assert canonical(parse_trigger({name: written[name] for name in names})).decode() == VALID[1]["canonical"]


def test_the_json_form_has_its_fields_in_the_order_in_which_people_write_them():
    written = {"args_from": {"any": "m:f"}, "args": {"a": 1}, "key": "k", "epoch": 1, "description": "d", **PLAIN}
    names = list(trigger_json(parse_trigger(written)))
    assert names == ["id", "description", "task", "epoch", "key", "when", "args", "args_from"]


def test_a_trigger_does_not_change_with_what_it_was_read_from():
    args = {"list": [1]}
    trigger = parse_trigger(PLAIN | {"args": args})
    args["list"].append(2)
    assert trigger.args == {"list": [1]}


def test_an_error_starts_with_the_path_of_the_trigger():
    assert refusal(PLAIN | {"when": {"event": ""}}, "triggers[2]") == (
        'triggers[2].when.event: expected an event code, such as "order.paid", found ""'
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"a": float("nan")}, "args.a: expected a finite number, found nan"),
        ({"a": [1, float("inf")]}, "args.a[1]: expected a finite number, found inf"),
        ({"a": 2**64}, "args.a: expected an integer of at most 64 bits"),
        ({"a": (1,)}, "args.a: expected a JSON value, found a Python tuple"),
        ({"a": "\ud800"}, r'args.a: expected Unicode text, found "\ud800"'),
        ({"a": {1: 2}}, "args.a: expected text as the name of a field, found 1"),
    ],
)
def test_a_value_that_json_cannot_hold_is_refused(args, message):
    assert refusal(PLAIN | {"args": args}) == message


def test_nesting_without_end_is_refused():
    deep: list[Any] = []
    deep.append(deep)
    assert refusal(PLAIN | {"args": {"a": deep}}).endswith("expected at most 64 levels of nesting, found more")


@pytest.mark.parametrize(
    ("name", "longest"), [("id", "i" * 200), ("task", "t" * 200), ("when", {"event": "e" * 200}), ("epoch", 2**31 - 1)]
)
def test_the_largest_values_are_accepted(name, longest):
    parse_trigger(PLAIN | {name: longest})


@pytest.mark.parametrize(
    ("name", "longer"), [("id", "i" * 201), ("task", "t" * 201), ("when", {"event": "e" * 201}), ("epoch", 2**31)]
)
def test_larger_values_are_refused(name, longer):
    refusal(PLAIN | {name: longer})


def test_defaults_of_a_trigger():
    assert parse_trigger(PLAIN) == Trigger(
        id="t",
        task="orders.ship",
        when=parse_trigger(PLAIN).when,
        epoch=0,
        key=None,
        args={},
        args_from={},
        description="",
    )
