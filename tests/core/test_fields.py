"""Reading objects: the words of errors, and what counts as a JSON value."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_triggers.core.fields import JSON_DEPTH_MAX, at, expected, found, json_problem, object_at, only, required
from stream_triggers.errors import InvalidTrigger


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "null"),
        (True, "true"),
        (5, "5"),
        (-1.5, "-1.5"),
        (float("inf"), "inf"),
        (2**64, "an integer beyond 64 bits"),
        ("a", '"a"'),
        ("x" * 61, f'"{"x" * 60}…"'),
        ("\ud800", r'"\ud800"'),
        ([], "an empty list"),
        ([1], "a list"),
        ({}, "an empty object"),
        ({"a": 1}, "an object"),
        ((1,), "a Python tuple"),
        (print, "a Python builtin_function_or_method"),
    ],
)
def test_a_value_is_found_in_these_words(value, words):
    assert found(value) == words


def test_a_path_has_no_dot_before_its_first_name():
    assert (at("", "when"), at("when", "filter")) == ("when", "when.filter")


def test_an_expectation_says_where_what_and_what_was_found():
    error = expected("a number", "x", "a.b", hint="unquote it")
    assert str(error) == 'a.b: expected a number, found "x"\n  hint: unquote it'


def test_an_unknown_field_is_refused_with_the_nearest_known_one():
    with pytest.raises(InvalidTrigger) as refused:
        only({"filter": 1, "evnet": 2}, ("event", "filter"), "when")
    assert str(refused.value) == "when.evnet: unknown field, expected one of event, filter\n  hint: did you mean event?"


def test_a_field_that_resembles_none_gets_no_hint():
    with pytest.raises(InvalidTrigger) as refused:
        only({"zzz": 1}, ("event",), "when")
    assert str(refused.value) == "when.zzz: unknown field, expected one of event"


def test_an_object_has_text_keys():
    with pytest.raises(InvalidTrigger) as refused:
        object_at({1: 2}, "when", "a condition")
    assert str(refused.value) == "when: expected text as the name of a field, found 1\n  hint: quote it"


def test_a_required_field_that_is_null_is_there():
    assert required({"a": None}, "a", "a value", "") is None


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (2**64 - 1, None),
        (-(2**63), None),
        (2**64, ("v", "expected an integer of at most 64 bits")),
        (-(2**63) - 1, ("v", "expected an integer of at most 64 bits")),
        (float("nan"), ("v", "expected a finite number, found nan")),
        ({"a": ["ü", {"b": object()}]}, ("v.a[1].b", "expected a JSON value, found a Python object")),
        ({"\udc00": 1}, ("v", r'expected Unicode text, found "\udc00"')),
        ({None: 1}, ("v", "expected text as the name of a field, found null")),
    ],
)
def test_what_is_no_json_value_is_named(value, problem):
    assert json_problem(value, "v") == problem


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_nesting_is_bounded():
    assert json_problem(nested(JSON_DEPTH_MAX), "") is None
    assert json_problem(nested(JSON_DEPTH_MAX + 1), "") == (
        "[0]" * JSON_DEPTH_MAX,
        "expected at most 64 levels of nesting, found more",
    )


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES)
def test_a_value_without_a_problem_is_written_and_read_back_equal(value):
    if json_problem(value, "") is None:
        assert orjson.loads(orjson.dumps(value)) == value
