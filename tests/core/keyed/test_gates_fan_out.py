"""The fan-out of a match over a list."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_triggers.core.flow import parse_flow
from stream_triggers.core.flow.settings import HELD_MAX
from stream_triggers.core.keyed.gates import FanOut, compile_fan_out
from stream_triggers.errors import EvaluationFailed

MATCH = bytes(16)


def fan_out(key: str | None = None) -> FanOut:
    fields = {"for_each": "${event.payload.lines}", **({"for_each_key": key} if key else {})}
    compiled = compile_fan_out(parse_flow(fields, ""))
    assert compiled is not None
    return compiled


def test_without_for_each_a_match_is_not_taken_apart():
    assert compile_fan_out(parse_flow({}, "")) is None


@pytest.mark.parametrize(
    ("key", "listed", "elements"),
    [
        (None, ["x", "y"], [(0, "index/0", "x"), (1, "index/1", "y")]),
        (None, ["x", "x"], [(0, "index/0", "x"), (1, "index/1", "x")]),
        (None, [], []),
        ("sku", [{"sku": "a"}, {"sku": "b"}], [(0, 'key/"a"', {"sku": "a"}), (1, 'key/"b"', {"sku": "b"})]),
        ("sku", [{"sku": 1}, {"sku": "1"}], [(0, "key/1", {"sku": 1}), (1, 'key/"1"', {"sku": "1"})]),
        ("sku", [{"sku": "a", "n": 1}, {"sku": "a", "n": 2}], [(0, 'key/"a"', {"sku": "a", "n": 1})]),
        ("$", ["a", "b", "a"], [(0, 'key/"a"', "a"), (1, 'key/"b"', "b")]),
    ],
)
def test_a_list_is_taken_apart(key: str | None, listed: list[Any], elements: list[Any]):
    assert [(each.index, each.name, each.value) for each in fan_out(key).elements(listed)] == elements


@pytest.mark.parametrize(
    ("key", "listed", "problem"),
    [
        (None, {"a": 1}, "for_each: expected a list, found an object"),
        (None, None, "for_each: expected a list, found null"),
        (None, [0] * (HELD_MAX + 1), "for_each: expected at most 1000 elements, found 1001"),
        ("sku", [{"sku": 1}, {}], "for_each_key: element 1: expected text, a number or a boolean, found nothing"),
        ("sku", [{"sku": None}], "for_each_key: element 0: expected text, a number or a boolean, found null"),
        ("sku", [{"sku": [1]}], "for_each_key: element 0: expected text, a number or a boolean, found a list"),
    ],
)
def test_what_cannot_be_taken_apart_makes_no_run(key: str | None, listed: Any, problem: str):
    with pytest.raises(EvaluationFailed) as raised:
        fan_out(key).elements(listed)
    assert raised.value.message == problem


def test_a_list_may_have_as_many_elements_as_one_match_may_make_runs():
    assert len(fan_out().elements([0] * HELD_MAX)) == 1000


def test_the_id_of_an_element_is_the_same_in_every_release():
    (first, second) = fan_out().elements(["x", "y"])
    assert [first.run_id(MATCH).hex(), second.run_id(MATCH).hex()] == [
        "b54ac0dd28b1c075fbe1e0d03ab447c8",
        "f56449ad9922411bdfb78e9dd1da371a",
    ]


def test_an_index_and_a_key_of_the_same_text_are_two_runs():
    (by_index,), (by_key,) = fan_out().elements([0]), fan_out("$").elements([0])
    assert by_index.run_id(MATCH) != by_key.run_id(MATCH)


@given(st.permutations(["a", "b", 1, True, 1.5]))
def test_with_a_key_the_ids_do_not_depend_on_the_order(listed: list[Any]):
    ids = {each.run_id(MATCH) for each in fan_out("$").elements(listed)}
    assert ids == {each.run_id(MATCH) for each in fan_out("$").elements(["a", "b", 1, True, 1.5])}


@given(st.lists(st.integers(-(2**63), 2**63) | st.text(), unique_by=repr, max_size=20), st.booleans())
def test_elements_of_one_match_have_ids_of_their_own(listed: list[Any], by_key: bool):
    elements = fan_out("$" if by_key else None).elements(listed)
    assert len({each.run_id(MATCH) for each in elements}) == len(listed)
