"""Filters: every operator on every kind of value, the logic of errors, the notation and its errors, the index."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_triggers.core.filter import (
    DEPTH_MAX,
    EVERYTHING,
    MISSING,
    TESTS_MAX,
    compile_filter,
    equalities,
    filter_json,
    format_path,
    get_path,
    index_key,
    parse_filter,
    parse_path,
)
from stream_triggers.errors import EvaluationFailed, InvalidTrigger, Misconfigured

FAILS = "fails"
"""The outcome of a filter that has no answer."""

NOTHING = object()
"""In a table: the field is not there."""


def no_functions(name: str) -> Any:
    raise Misconfigured(f"function {name} is not allowed here")


def broken(value: Any) -> bool:
    raise KeyError("total")


FUNCTIONS = {"rules:yes": lambda value: True, "rules:no": lambda value: False, "rules:broken": broken}


def outcome(written: Any, value: Any) -> Any:
    try:
        return compile_filter(parse_filter(written, "filter"), FUNCTIONS.__getitem__)(value)
    except EvaluationFailed:
        return FAILS


def canonical(written: Any) -> Any:
    return filter_json(parse_filter(written, "filter"))


def failure(written: Any, value: Any, functions: Any = no_functions) -> str:
    with pytest.raises(EvaluationFailed) as failed:
        compile_filter(parse_filter(written, "filter"), functions)(value)
    return failed.value.message


def nested(wrap: Any, times: int, inner: Any) -> Any:
    for _ in range(times):
        inner = wrap(inner)
    return inner


# --- One test on one value ---------------------------------------------------------------------------------------

OPERATOR_TABLE = [
    # test, then the outcome for: missing, null, true, 1, 5, 5.0, 9, "5", "gold", [5], {"n": 5}
    ({"eq": None}, "false true  false false false false false false false false false"),
    ({"eq": True}, "false false true  false false false false false false false false"),
    ({"eq": 1}, "false false false true  false false false false false false false"),
    ({"eq": 5}, "false false false false true  true  false false false false false"),
    ({"eq": 5.0}, "false false false false true  true  false false false false false"),
    ({"eq": "gold"}, "false false false false false false false false true  false false"),
    ({"eq": [5]}, "false false false false false false false false false true  false"),
    ({"eq": {"n": 5}}, "false false false false false false false false false false true"),
    ({"ne": None}, "true  false true  true  true  true  true  true  true  true  true"),
    ({"ne": 1}, "true  true  true  false true  true  true  true  true  true  true"),
    ({"ne": "gold"}, "true  true  true  true  true  true  true  true  false true  true"),
    ({"ne": [5]}, "true  true  true  true  true  true  true  true  true  false true"),
    ({"lt": 5}, "false fails fails true  false false false fails fails fails fails"),
    ({"lte": 5}, "false fails fails true  true  true  false fails fails fails fails"),
    ({"gt": 5}, "false fails fails false false false true  fails fails fails fails"),
    ({"gte": 5}, "false fails fails false true  true  true  fails fails fails fails"),
    ({"lt": "5"}, "false fails fails fails fails fails fails false false fails fails"),
    ({"lte": "5"}, "false fails fails fails fails fails fails true  false fails fails"),
    ({"gt": "5"}, "false fails fails fails fails fails fails false true  fails fails"),
    ({"gte": "5"}, "false fails fails fails fails fails fails true  true  fails fails"),
    ({"in": [None, "gold"]}, "false true  false false false false false false true  false false"),
    ({"in": [1, 5]}, "false false false true  true  true  false false false false false"),
    ({"in": [True, "5"]}, "false false true  false false false false true  false false false"),
    ({"in": [[5], "5"]}, "false false false false false false false true  false true  false"),
    ({"in": [{"n": 5}, [1]]}, "false false false false false false false false false false true"),
    ({"prefix": "go"}, "false fails fails fails fails fails fails false true  fails fails"),
    ({"suffix": "ld"}, "false fails fails fails fails fails fails false true  fails fails"),
    ({"exists": True}, "false true  true  true  true  true  true  true  true  true  true"),
    ({"exists": False}, "true  false false false false false false false false false false"),
    ({"not": "gold"}, "true  true  true  true  true  true  true  true  false true  true"),
    ({"not": {"in": [1, 5]}}, "true  true  true  false false false true  true  true  true  true"),
    ({"not": {"gt": 5}}, "true  fails fails true  true  true  false fails fails fails fails"),
    ({"not": {"prefix": "go"}}, "true  fails fails fails fails fails fails true  false fails fails"),
    ({"not": {"exists": True}}, "true  false false false false false false false false false false"),
    ({"not": {"ne": 5}}, "false false false false true  true  false false false false false"),
    ({"not": {"gt": 4, "lt": 6}}, "true  fails fails true  false false true  fails fails fails fails"),
]
OPERATOR_VALUES = [NOTHING, None, True, 1, 5, 5.0, 9, "5", "gold", [5], {"n": 5}]
OUTCOMES = {"true": True, "false": False, "fails": FAILS}


@pytest.mark.parametrize(
    ("test", "value", "expected"),
    [
        pytest.param(test, value, OUTCOMES[word], id=f"{test} of {'nothing' if value is NOTHING else value!r}")
        for test, row in OPERATOR_TABLE
        for value, word in zip(OPERATOR_VALUES, row.split(), strict=True)
    ],
)
@pytest.mark.parametrize("path", ["field", "0", "deep.field", "$"])
def test_an_operator_gives_the_answer_of_the_table_at_every_kind_of_path(test, value, expected, path):
    if path == "$" and value is NOTHING:
        return
    payload = {} if value is NOTHING else {"field": value, "0": value, "deep": {"field": value}}
    assert outcome({path: test}, value if path == "$" else payload) == expected


@pytest.mark.parametrize(
    ("literal", "value", "expected"),
    [
        ([1, 2], [1, 2.0], True),
        ([1, 2], [2, 1], False),
        ([1], [1, 2], False),
        ([1], [True], False),
        ([0], [False], False),
        ([True], [1], False),
        ({"a": 1}, {"a": True}, False),
        ({"a": {"b": [None]}}, {"a": {"b": [None]}}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ([], {}, False),
        ({}, {}, True),
        (0, False, False),
        (1, True, False),
        (True, 1, False),
        (False, 0, False),
        (0, -0.0, True),
        (2**53 + 1, float(2**53), False),
        (0.1, 0.1, True),
        ("", "", True),
        ("é", "e\u0301", False),
    ],
)
def test_equality_is_by_json_type_at_every_depth(literal, value, expected):
    assert outcome({"field": {"eq": literal}}, {"field": value}) is expected
    assert outcome({"field": {"ne": literal}}, {"field": value}) is not expected
    assert outcome({"field": {"in": [literal, "something else"]}}, {"field": value}) is expected


# --- Paths -------------------------------------------------------------------------------------------------------

PATH_VALUE = {
    "a": {"b": 1, "any": 2},
    "a.b": 3,
    "any": 4,
    "$": {"x": 5},
    "list": [6, {"b": 7}, [8]],
    "0": 9,
    "back\\slash": 10,
    "end\\": {"b": 11},
    "null": None,
}


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("$", (), PATH_VALUE),
        ("a.b", ("a", "b"), 1),
        ("a.any", ("a", "any"), 2),
        (r"a\.b", ("a.b",), 3),
        ("$.any", ("any",), 4),
        ("$.$.x", ("$", "x"), 5),
        ("list.0", ("list", "0"), 6),
        ("list.1.b", ("list", "1", "b"), 7),
        ("list.2.0", ("list", "2", "0"), 8),
        ("0", ("0",), 9),
        (r"back\\slash", ("back\\slash",), 10),
        (r"end\\.b", ("end\\", "b"), 11),
        ("null", ("null",), None),
        ("null.x", ("null", "x"), MISSING),
        ("nothing", ("nothing",), MISSING),
        ("nothing.b", ("nothing", "b"), MISSING),
        ("a.b.c", ("a", "b", "c"), MISSING),
        ("list.3", ("list", "3"), MISSING),
        ("list.-1", ("list", "-1"), MISSING),
        ("list.00", ("list", "00"), MISSING),
        ("list.²", ("list", "²"), MISSING),
        ("list.\N{ARABIC-INDIC DIGIT ZERO}", ("list", "\N{ARABIC-INDIC DIGIT ZERO}"), MISSING),
        ("list.b", ("list", "b"), MISSING),
        ("list." + "9" * 5000, ("list", "9" * 5000), MISSING),
    ],
)
def test_a_path_is_read_written_and_followed(text, path, expected):
    assert parse_path(text, "here") == path
    assert format_path(path) == text
    assert get_path(PATH_VALUE, path) == expected


def test_a_backslash_before_any_other_character_is_itself():
    assert parse_path(r"a\b", "here") == ("a\\b",)


@given(st.lists(st.text(st.sampled_from("a0.$\\"), min_size=1), max_size=4).map(tuple))
def test_every_path_is_written_as_text_that_reads_back(path):
    assert parse_path(format_path(path), "here") == path


def test_a_position_at_the_top_of_a_list_is_a_path():
    assert outcome({"1": "b"}, ["a", "b"]) is True


@pytest.mark.parametrize("value", [None, 5, "text", [1], True])
def test_a_field_of_something_else_than_an_object_is_missing(value):
    assert outcome({"field": {"exists": True}}, value) is False
    assert outcome({"field": 5}, value) is False
    assert outcome({"field": None}, value) is False


# --- Logic -------------------------------------------------------------------------------------------------------

LOGIC_VALUE = {"one": 1, "text": "x"}
BRANCHES = {
    "T": [{"one": 1}, {"one": {"lt": 2}}, {"call": "rules:yes"}],
    "F": [{"one": 2}, {"one": {"gt": 2}}, {"call": "rules:no"}],
    "E": [{"text": {"gt": 1}}, {"text": {"lt": 1}}, {"call": "rules:broken"}],
}
TRUTH_TABLE = [
    # branches, all, any
    ("TT", True, True),
    ("TF", False, True),
    ("TE", FAILS, True),
    ("FF", False, False),
    ("FE", False, FAILS),
    ("EE", FAILS, FAILS),
    ("TTT", True, True),
    ("TTF", False, True),
    ("TTE", FAILS, True),
    ("TFF", False, True),
    ("TFE", False, True),
    ("TEE", FAILS, True),
    ("FFF", False, False),
    ("FFE", False, FAILS),
    ("FEE", False, FAILS),
    ("EEE", FAILS, FAILS),
]


@pytest.mark.parametrize(("letters", "all_of", "any_of"), TRUTH_TABLE)
def test_an_error_is_absorbed_by_a_branch_that_decides_and_stands_otherwise(letters, all_of, any_of):
    for branches in product(*(BRANCHES[letter] for letter in letters)):
        for order in (list(branches), list(reversed(branches))):
            assert outcome({"all": order}, LOGIC_VALUE) == all_of
            assert outcome({"any": order}, LOGIC_VALUE) == any_of


@pytest.mark.parametrize(("letter", "negated"), [("T", False), ("F", True), ("E", FAILS)])
def test_not_turns_an_answer_round_and_leaves_an_error(letter, negated):
    assert [outcome({"not": branch}, LOGIC_VALUE) for branch in BRANCHES[letter]] == [negated] * 3


def test_the_fields_of_a_filter_are_a_conjunction_of_all_kinds_of_tests():
    written = {
        "a": 1,
        "b": {"gt": 1, "lt": 3},
        "any": [{"c": 1}, {"c": 2}],
        "not": {"d": 1},
        "call": "rules:yes",
        "all": [{"e": 1}],
    }
    accepted = {"a": 1, "b": 2, "c": 2, "d": 0, "e": 1}
    assert outcome(written, accepted) is True
    refused = [accepted | change for change in ({"a": 2}, {"b": 3}, {"c": 3}, {"d": 1}, {"e": 2})]
    assert [outcome(written, value) for value in refused] == [False] * 5


@pytest.mark.parametrize("value", [None, True, 0, "text", [], {}, {"a": 1}])
def test_the_empty_filter_accepts_everything(value):
    assert parse_filter({}, "filter") == EVERYTHING
    assert outcome({}, value) is True


def test_user_code_runs_only_when_the_tests_beside_it_leave_the_answer_open():
    calls = []
    functions = {"a:called": lambda value: calls.append(value) or True}
    both = {"call": "a:called", "total": {"gt": 1}, "kind": "x"}
    accepts = compile_filter(parse_filter(both, "filter"), functions.__getitem__)
    assert not accepts({"kind": "y", "total": 5})
    assert not accepts({"kind": "x", "total": 0})
    assert calls == []
    assert accepts({"kind": "x", "total": 5})
    assert calls == [{"kind": "x", "total": 5}]


# --- What cannot be answered -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "value", "message"),
    [
        ({"total": {"gt": 5}}, {"total": "12"}, 'filter test gt of total: expected a number, found "12"'),
        ({"total": {"lte": 5}}, {"total": True}, "filter test lte of total: expected a number, found true"),
        ({"a.any": {"lt": "b"}}, {"a": {"any": 3}}, "filter test lt of a.any: expected a string, found 3"),
        ({"$.any": {"gte": "b"}}, {"any": None}, "filter test gte of $.any: expected a string, found null"),
        ({"$": {"prefix": "x"}}, {"big": 1}, "filter test prefix of $: expected a string, found an object"),
        ({"a": {"suffix": "x"}}, {"a": [1]}, "filter test suffix of a: expected a string, found a list"),
        ({"a": {"gt": 1}}, {"a": "x" * 61}, f'filter test gt of a: expected a number, found "{"x" * 60}…"'),
    ],
)
def test_a_failure_names_the_test_what_it_takes_and_what_it_found(written, value, message):
    assert failure(written, value) == message


class Unprintable(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no text")


def raising(error: BaseException) -> Any:
    def function(value: Any) -> bool:
        raise error

    return function


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (broken, "filter function rules:f raised KeyError('total')"),
        (raising(EvaluationFailed("inner")), "filter function rules:f raised EvaluationFailed('inner')"),
        (raising(SystemExit(9)), "filter function rules:f raised SystemExit(9)"),
        (raising(GeneratorExit()), "filter function rules:f raised GeneratorExit()"),
        (lambda value: 1, "filter function rules:f: expected true or false, found 1"),
        (lambda value: None, "filter function rules:f: expected true or false, found null"),
        (lambda value: "x" * 100, f'filter function rules:f: expected true or false, found "{"x" * 60}…"'),
        (lambda value: object(), "filter function rules:f: expected true or false, found a Python object"),
    ],
)
def test_a_function_that_raises_or_gives_no_bool_fails_by_its_name(function, message):
    assert failure({"call": "rules:f"}, {}, {"rules:f": function}.__getitem__) == message


@pytest.mark.parametrize("error", [ValueError("x" * 1000), Unprintable()])
def test_what_a_function_raised_is_cut_short_and_cannot_break_the_failure(error):
    message = failure({"call": "rules:f"}, {}, {"rules:f": raising(error)}.__getitem__)
    assert message.startswith("filter function rules:f raised ")
    assert len(message) <= len("filter function rules:f raised ") + 60


def test_a_function_that_may_not_be_used_is_refused_before_any_message_comes():
    with pytest.raises(Misconfigured, match="function rules:f is not allowed here"):
        compile_filter(parse_filter({"call": "rules:f"}, "filter"), no_functions)


# --- The notation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "shortest"),
    [
        ({"a": {"eq": 1}}, {"a": 1}),
        ({"a": 1.0}, {"a": 1}),
        ({"a": {"in": [1]}}, {"a": 1}),
        ({"a": {"in": [1, 1.0]}}, {"a": 1}),
        ({"a": {"in": ["b", "a", "b"]}}, {"a": {"in": ["a", "b"]}}),
        ({"a": {"in": [1, True]}}, {"a": {"in": [1, True]}}),
        ({"$.a": 1}, {"a": 1}),
        ({"$.any": 1}, {"$.any": 1}),
        ({"all": [{"a": 1}]}, {"a": 1}),
        ({"any": [{"a": 1}]}, {"a": 1}),
        ({"any": [{"a": 1}, {"a": 1}]}, {"a": 1}),
        ({"all": [{"a": 1}, {"b": 2, "all": [{"c": 3}]}]}, {"a": 1, "b": 2, "c": 3}),
        ({"any": [{"a": 1}, {"any": [{"b": 2}, {"c": 3}]}]}, {"any": [{"a": 1}, {"b": 2}, {"c": 3}]}),
        ({"all": [{"a": {"gt": 1}}, {"a": {"lt": 3}}]}, {"a": {"gt": 1, "lt": 3}}),
        ({"all": [{"a": {"gt": 1}}, {"a": {"gt": 3}}]}, {"a": {"gt": 1}, "all": [{"a": {"gt": 3}}]}),
        ({"a": {"eq": 1, "ne": 2}}, {"a": {"eq": 1, "ne": 2}}),
        ({"a": {"not": 1}}, {"a": {"ne": 1}}),
        ({"a": {"not": {"eq": 1}}}, {"a": {"ne": 1}}),
        ({"a": {"not": {"ne": 1}}}, {"a": 1}),
        ({"a": {"not": {"in": [1]}}}, {"a": {"ne": 1}}),
        ({"a": {"not": {"exists": True}}}, {"a": {"exists": False}}),
        ({"not": {"a": 1}}, {"a": {"ne": 1}}),
        ({"not": {"not": {"a": {"gt": 1}}}}, {"a": {"gt": 1}}),
        ({"not": {"a": {"gt": 1}}}, {"a": {"not": {"gt": 1}}}),
        ({"a": {"not": {"gt": 1, "lt": 3}}}, {"not": {"a": {"gt": 1, "lt": 3}}}),
        ({"a": {"eq": {"b": 1}}}, {"a": {"eq": {"b": 1}}}),
        ({"a": {"in": [{"b": 1}]}}, {"a": {"eq": {"b": 1}}}),
        ({"a": {"not": {"ne": {"b": 1}}}}, {"a": {"eq": {"b": 1}}}),
        ({"a": {"eq": {}}}, {"a": {"eq": {}}}),
        ({"a": {"eq": {"gt": 1}}}, {"a": {"eq": {"gt": 1}}}),
        ({"a": {"eq": {"b": 1, "in": 1}}}, {"a": {"eq": {"b": 1, "in": 1}}}),
        ({"a": {"eq": {"b": 2.0, "a": [3.0, True]}}}, {"a": {"eq": {"b": 2, "a": [3, True]}}}),
        ({"a": 1e300}, {"a": 1e300}),
        ({"call": "m:f"}, {"call": "m:f"}),
        ({"all": [{"call": "m:f"}, {"call": "m:g"}]}, {"call": "m:f", "all": [{"call": "m:g"}]}),
        ({}, {}),
    ],
)
def test_spellings_of_one_meaning_have_one_canonical_form(written, shortest):
    assert orjson.dumps(canonical(written), option=orjson.OPT_SORT_KEYS) == orjson.dumps(
        shortest, option=orjson.OPT_SORT_KEYS
    )
    assert parse_filter(shortest, "filter") == parse_filter(written, "filter")


@pytest.mark.parametrize(("one", "other"), [(1, True), (0, False), ([1], [True]), ({"b": 1}, {"b": True}), (None, "")])
def test_filters_that_differ_in_type_are_different_values(one, other):
    assert parse_filter({"a": {"eq": one}}, "filter") != parse_filter({"a": {"eq": other}}, "filter")


def test_an_object_is_compared_when_eq_says_so():
    assert outcome({"a": {"eq": {"in": [1]}}}, {"a": {"in": [1]}}) is True
    assert outcome({"a": {"eq": {"in": [1]}}}, {"a": 1}) is False


USE_EQ = 'to compare with the object as it is, write {"eq": {...}}'
KNOWN = "expected one of eq, ne, lt, lte, gt, gte, in, prefix, suffix, exists, not"
LEAVE_OUT = "leave it out: an empty filter accepts everything"


@pytest.mark.parametrize(
    ("written", "problem", "hint"),
    [
        (None, "when.filter: expected an object of tests, found null", ""),
        ([{"a": 1}], "when.filter: expected an object of tests, found a list", ""),
        (broken, "when.filter: expected an object of tests, found a Python function", ""),
        ({True: 1}, "when.filter: expected text as the name of a field, found true", "quote it"),
        ({"total": {"gt": [1]}}, "when.filter.total.gt: expected a number or a string, found a list", ""),
        ({"total": {"lt": None}}, "when.filter.total.lt: expected a number or a string, found null", ""),
        ({"total": {"gte": True}}, "when.filter.total.gte: expected a number or a string, found true", ""),
        ({"total": {"lte": {}}}, "when.filter.total.lte: expected a number or a string, found an empty object", ""),
        ({"total": {"gt": float("nan")}}, "when.filter.total.gt: expected a finite number, found nan", ""),
        ({"total": {"in": "EUR"}}, 'when.filter.total.in: expected a list of values, found "EUR"', ""),
        ({"total": {"in": []}}, "when.filter.total.in: expected a list of values, found an empty list", ""),
        ({"a": {"prefix": 5}}, "when.filter.a.prefix: expected a string that is not empty, found 5", ""),
        ({"a": {"suffix": ""}}, 'when.filter.a.suffix: expected a string that is not empty, found ""', ""),
        ({"a": {"exists": 1}}, "when.filter.a.exists: expected true or false, found 1", ""),
        ({"a": {"not": {"gt": []}}}, "when.filter.a.not.gt: expected a number or a string, found an empty list", ""),
        (
            {"a": {"gt": 1, "prefx": "a"}},
            f'when.filter.a: unknown operator "prefx", {KNOWN}',
            f"did you mean prefix? {USE_EQ}",
        ),
        ({"a": {"city": "Rome", "in": 1}}, f'when.filter.a: unknown operator "city", {KNOWN}', USE_EQ),
        ({"a": {1: 2, "in": [1]}}, f"when.filter.a: unknown operator 1, {KNOWN}", USE_EQ),
        (
            {"total": {"gtee": 100}},
            f'when.filter.total: unknown operator "gtee", {KNOWN}',
            f"did you mean gte? {USE_EQ}",
        ),
        ({"total": {"GT": 3}}, f'when.filter.total: unknown operator "GT", {KNOWN}', f"did you mean gt? {USE_EQ}"),
        ({"total": {">": 3}}, f'when.filter.total: unknown operator ">", {KNOWN}', USE_EQ),
        ({"total": {"equals": 3}}, f'when.filter.total: unknown operator "equals", {KNOWN}', USE_EQ),
        ({"a": {"exist": True}}, f'when.filter.a: unknown operator "exist", {KNOWN}', f"did you mean exists? {USE_EQ}"),
        ({"a": {"not": {"b": 1}}}, f'when.filter.a.not: unknown operator "b", {KNOWN}', USE_EQ),
        (
            {"a": {}},
            "when.filter.a: expected a literal or an object of operators, found an empty object",
            USE_EQ,
        ),
        ({"a": float("inf")}, "when.filter.a: expected a finite number, found inf", ""),
        ({"a": 2**64}, "when.filter.a: expected an integer of at most 64 bits", ""),
        ({"a": [1, {2, 3}]}, "when.filter.a[1]: expected a JSON value, found a Python set", ""),
        ({"a": ("x",)}, "when.filter.a: expected a JSON value, found a Python tuple", ""),
        ({"a": {"eq": {"b": {1: 1}}}}, "when.filter.a.eq.b: expected text as the name of a field, found 1", ""),
        ({"a": "\ud800"}, 'when.filter.a: expected Unicode text, found "\\ud800"', ""),
        ({"a..b": 1}, "when.filter.a..b: expected names joined by single dots, found an empty name", ""),
        ({"": 1}, "when.filter.: expected names joined by single dots, found an empty name", ""),
        ({"$.": 1}, "when.filter.$.: expected names joined by single dots, found an empty name", ""),
        ({"any": {"a": 1}}, "when.filter.any: expected a list of filters, found an object", ""),
        ({"all": []}, "when.filter.all: expected a list of filters, found an empty list", ""),
        ({"any": [{"a": 1}, 5]}, "when.filter.any[1]: expected an object of tests, found 5", ""),
        (
            {"any": [{"a": {"gt": []}}]},
            "when.filter.any[0].a.gt: expected a number or a string, found an empty list",
            "",
        ),
        ({"any": [{}]}, "when.filter.any[0]: expected a filter with a test in it, found an empty object", LEAVE_OUT),
        ({"not": {}}, "when.filter.not: expected a filter with a test in it, found an empty object", LEAVE_OUT),
        ({"not": 5}, "when.filter.not: expected an object of tests, found 5", ""),
        ({"call": "rules.big"}, 'when.filter.call: expected a function as module:function, found "rules.big"', ""),
        ({"call": "a:b\n"}, 'when.filter.call: expected a function as module:function, found "a:b\n"', ""),
        ({"call": broken}, "when.filter.call: expected a function as module:function, found a Python function", ""),
    ],
)
def test_an_error_names_the_place_what_was_expected_and_what_was_found(written, problem, hint):
    with pytest.raises(InvalidTrigger) as refused:
        parse_filter(written, "when.filter")
    assert (refused.value.message, refused.value.hint) == (problem, hint)


@pytest.mark.parametrize(
    ("wrap", "times"),
    [
        (lambda inner: {"not": {"b": 1, **inner}}, 32),
        (lambda inner: {"any": [{"b": 1}, inner]}, 64),
        (lambda inner: {"all": [inner]}, 64),
        (lambda inner: {"a": {"not": inner["a"]}}, 64),
        (lambda inner: {"b": 1, "any": [{"c": 1}, inner]}, 32),
    ],
)
def test_a_filter_that_is_nested_too_deep_is_refused(wrap, times):
    assert DEPTH_MAX == 64
    with pytest.raises(InvalidTrigger, match="expected at most 64 levels of nesting, found"):
        parse_filter(nested(wrap, times, {"a": {"gt": 1}}), "filter")
    parse_filter(nested(wrap, times - 1, {"a": {"gt": 1}}), "filter")


def test_the_deepest_filter_is_accepted_and_still_accepted_in_its_canonical_form():
    written = nested(
        lambda inner: {"b": {"not": {"gt": 1}}, "$.b": {"not": {"gt": 2}}, "not": inner}, 31, {"a": 1, "b": 2}
    )
    tree = parse_filter(written, "filter")
    assert parse_filter(filter_json(tree), "filter") == tree


def test_a_literal_that_is_nested_too_deep_is_refused():
    with pytest.raises(InvalidTrigger, match="expected at most 64 levels of nesting, found more"):
        parse_filter({"a": nested(lambda inner: [inner], 65, 1)}, "filter")


def test_a_filter_holds_a_thousand_tests_and_no_more():
    assert outcome({f"f{index}": index for index in range(TESTS_MAX)}, {}) is False
    with pytest.raises(InvalidTrigger) as refused:
        parse_filter({"any": [{f"f{index}": index} for index in range(TESTS_MAX + 1)]}, "filter")
    assert refused.value.message == "filter: expected at most 1000 tests, found 1001"


# --- The index ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({}, ()),
        ({"a": 1}, ((("a",), (1,)),)),
        ({"a.b": "x"}, ((("a", "b"), ("x",)),)),
        ({"a": {"in": [2, 1]}}, ((("a",), (1, 2)),)),
        ({"a": 1, "b": {"gt": 1}, "c": None}, ((("a",), (1,)), (("c",), (None,)))),
        ({"all": [{"a": 1}, {"all": [{"b": True}]}]}, ((("a",), (1,)), (("b",), (True,)))),
        ({"a": {"not": {"ne": 1}}}, ((("a",), (1,)),)),
        ({"a": [1]}, ()),
        ({"a": {"in": [1, [1]]}}, ()),
        ({"a": {"ne": 1}}, ()),
        ({"any": [{"a": 1}, {"a": 2}]}, ()),
        ({"not": {"a": 1, "b": 1}}, ()),
        ({"call": "m:f"}, ()),
    ],
)
def test_the_equalities_of_a_filter_are_its_scalar_conjuncts(written, expected):
    assert equalities(parse_filter(written, "filter")) == expected


SCALARS = [None, True, False, 0, 1, 1.5, "", "1", "true", "null", 2**63]


def test_scalars_have_one_index_key_exactly_when_they_are_equal():
    assert [(a, b) for a, b in product(SCALARS, SCALARS) if index_key(a) == index_key(b)] == [(a, a) for a in SCALARS]
    assert index_key(1) == index_key(1.0)
    assert hash(index_key(0)) == hash(index_key(-0.0))


@pytest.mark.parametrize("value", [[], {}, [1], {"a": 1}, MISSING])
def test_what_is_no_scalar_has_the_key_that_nothing_is_filed_under(value):
    assert index_key(value) is MISSING


# --- The static filters of pynenc --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("static", "arguments", "accepted"),
    [
        ({}, {"anything": 1}, True),
        ({"currency": "EUR"}, {"currency": "EUR"}, True),
        ({"currency": "EUR"}, {"currency": "EUR", "order": 7}, True),
        ({"currency": "EUR"}, {"currency": "USD"}, False),
        ({"currency": "EUR"}, {"order": 7}, False),
        ({"currency": "EUR", "order": 7}, {"currency": "EUR", "order": 7}, True),
        ({"currency": "EUR", "order": 7}, {"currency": "EUR", "order": 8}, False),
        ({"order": 7}, {"order": 7.0}, True),
        ({"order": 7}, {"order": "7"}, False),
        ({"note": None}, {"note": None}, True),
        ({"note": None}, {}, False),
        ({"tags": ["a", "b"]}, {"tags": ["a", "b"]}, True),
        ({"tags": ["a", "b"]}, {"tags": ["b", "a"]}, False),
    ],
)
def test_a_static_filter_of_pynenc_means_the_same_here(static, arguments, accepted):
    assert all(key in arguments and arguments[key] == wanted for key, wanted in static.items()) is accepted
    assert outcome(static, arguments) is accepted


@pytest.mark.parametrize(("static", "arguments"), [({"flag": 1}, {"flag": True}), ({"a.b": 1}, {"a.b": 1})])
def test_a_static_filter_of_pynenc_differs_here_in_booleans_and_dotted_names(static, arguments):
    assert outcome(static, arguments) is False


def test_an_expected_result_of_pynenc_is_an_equality_of_the_whole_value():
    assert outcome({"$": {"eq": {"in": 5}}}, {"in": 5}) is True
    assert outcome({"$": 5}, 5) is True


@pytest.mark.parametrize(
    ("address", "accepted"), [({"city": "Rome"}, True), ({"city": "Rome", "zip": "1"}, False), ({}, False)]
)
def test_an_object_in_a_static_filter_of_pynenc_needs_an_eq_here(address, accepted):
    assert outcome({"address": {"eq": {"city": "Rome"}}}, {"address": address}) is accepted


# --- Properties, against an evaluator that shares no code ----------------------------------------------------------

NAMES = ["a", "b", "0", "any"]
PATHS = ["a", "b", "0", "$", "$.any", "a.b", "a.0", "a.any", "b.a.0"]
more = settings(max_examples=200, deadline=None)


SHAPES = st.sampled_from(["scalar", "scalar", "scalar", "list", "object"])
SCALAR = st.sampled_from([None, True, False, 0, 1, 1.0, 2, 2.5, -1, "", "x", "xy", "y"])
FIELD_NAMES = st.lists(st.sampled_from(NAMES), max_size=3, unique=True)
ORDERED = st.sampled_from([0, 1, 2.0, 1.5, "x", "xy", ""])
TEXTS = st.sampled_from(["x", "y", "xy"])
OPERANDS = {"lt": ORDERED, "lte": ORDERED, "gt": ORDERED, "gte": ORDERED, "prefix": TEXTS, "suffix": TEXTS}
WORDS = st.lists(st.sampled_from(["eq", "ne", "in", "exists", "not", *OPERANDS]), min_size=1, max_size=2, unique=True)
FIELDS = st.lists(st.sampled_from(PATHS), min_size=1, max_size=2, unique=True)
BRANCH_WORDS = st.sampled_from([["any"], ["any"], ["all"], ["not"], ["call"], ["any", "not"], ["any", "all"]])
CALLS = st.sampled_from([*FUNCTIONS])
ONE_TO_THREE = st.integers(1, 3)
COIN = st.booleans()


def some_value(draw: Any, depth: int = 2) -> Any:
    shape = draw(SHAPES) if depth else "scalar"
    if shape == "scalar":
        return draw(SCALAR)
    if shape == "list":
        return [some_value(draw, depth - 1) for _ in range(draw(ONE_TO_THREE) - 1)]
    return {name: some_value(draw, depth - 1) for name in draw(FIELD_NAMES)}


def some_literal(draw: Any, there: Any) -> Any:
    """A literal that half of the time is what is there, so that tests are also true."""
    return some_value(draw) if there is NOTHING or draw(COIN) else there


def some_test(draw: Any, there: Any, depth: int = 2) -> Any:
    if not depth or draw(COIN):
        literal = some_literal(draw, there)
        return {"eq": literal} if isinstance(literal, dict) else literal
    return {word: some_operand(draw, there, word, depth - 1) for word in draw(WORDS)}


def some_operand(draw: Any, there: Any, word: str, depth: int) -> Any:
    match word:
        case "not":
            return some_test(draw, there, depth)
        case "exists":
            return draw(COIN)
        case "in":
            return [some_literal(draw, there) for _ in range(draw(ONE_TO_THREE))]
        case "eq" | "ne":
            return some_literal(draw, there)
        case _:
            return draw(OPERANDS[word])


def some_filter(draw: Any, value: Any, depth: int = 2) -> Any:
    if not depth or draw(COIN):
        return {path: some_test(draw, looked_up(value, path)) for path in draw(FIELDS)}
    written: dict[str, Any] = some_filter(draw, value, 0) if draw(COIN) else {}
    for word in draw(BRANCH_WORDS):
        if word == "call":
            written[word] = draw(CALLS)
        elif word == "not":
            written[word] = some_filter(draw, value, depth - 1)
        else:
            written[word] = [some_filter(draw, value, depth - 1) for _ in range(draw(ONE_TO_THREE))]
    return dict(draw(st.permutations(list(written.items()))))


@st.composite
def cases(draw: Any) -> Any:
    """A filter and a value that it has something to say about."""
    value = {name: some_value(draw) for name in NAMES} if draw(COIN) else some_value(draw)
    return some_filter(draw, value), value


def tagged(value: Any) -> Any:
    """A value of Python that is equal exactly where the JSON values are."""
    match value:
        case bool() | None | str():
            return (type(value).__name__, value)
        case int() | float():
            return ("number", Fraction(value))
        case list():
            return ("list", [tagged(item) for item in value])
        case _:
            return ("object", {name: tagged(item) for name, item in value.items()})


def looked_up(value: Any, path: str) -> Any:
    for name in [name for name in path.split(".") if name != "$"]:
        try:
            value = value[int(name)] if isinstance(value, list) else value[name]
        except (LookupError, TypeError, ValueError):
            return NOTHING
    return value


def kleene(answers: list[Any], decisive: bool) -> Any:
    if decisive in answers:
        return decisive
    return FAILS if FAILS in answers else not decisive


def turned(answer: Any) -> Any:
    return FAILS if answer == FAILS else not answer


def naive_operator(word: str, operand: Any, value: Any) -> Any:
    if word == "not":
        return turned(naive_test(operand, value))
    if word == "exists":
        return (value is not NOTHING) is operand
    if value is NOTHING:
        return word == "ne"
    if word in ("eq", "ne"):
        return (tagged(value) == tagged(operand)) is (word == "eq")
    if word == "in":
        return any(tagged(value) == tagged(item) for item in operand)
    kinds = (tagged(value)[0], tagged(operand)[0])
    if kinds == ("str", "str") and word in ("prefix", "suffix"):
        return value[: len(operand)] == operand if word == "prefix" else value[-len(operand) :] == operand
    if kinds not in (("str", "str"), ("number", "number")) or word in ("prefix", "suffix"):
        return FAILS
    return {"lt": value < operand, "lte": value <= operand, "gt": value > operand, "gte": value >= operand}[word]


def naive_test(test: Any, value: Any) -> Any:
    if not isinstance(test, dict):
        return naive_operator("eq", test, value)
    return kleene([naive_operator(word, operand, value) for word, operand in test.items()], False)


def naive(written: Any, value: Any) -> Any:
    answers = []
    for name, item in written.items():
        if name in ("any", "all"):
            answers.append(kleene([naive(branch, value) for branch in item], name == "any"))
        elif name == "not":
            answers.append(turned(naive(item, value)))
        elif name == "call":
            answers.append({"rules:yes": True, "rules:no": False, "rules:broken": FAILS}[item])
        else:
            answers.append(naive_test(item, looked_up(value, name)))
    return kleene(answers, False)


@more
@given(cases())
def test_a_compiled_filter_agrees_with_the_naive_evaluator(case):
    written, value = case
    assert outcome(written, value) == naive(written, value)


@more
@given(cases())
def test_the_canonical_form_reads_back_as_an_equal_value(case):
    tree = parse_filter(case[0], "filter")
    assert parse_filter(filter_json(tree), "filter") == tree


@more
@given(cases())
def test_the_canonical_form_means_the_same(case):
    written, value = case
    assert naive(canonical(written), value) == naive(written, value)


@more
@given(cases())
def test_not_not_a_filter_is_the_filter(case):
    written, value = case
    assert parse_filter({"not": {"not": written}}, "filter") == parse_filter(written, "filter")
    assert outcome({"not": written}, value) == turned(outcome(written, value))


@more
@given(st.lists(cases(), min_size=2, max_size=3), st.randoms(use_true_random=False))
def test_the_order_of_branches_means_nothing(several, random):
    one = [written for written, _ in several]
    other = random.sample(one, len(one))
    assert parse_filter({"all": one}, "filter") == parse_filter({"all": other}, "filter")
    assert parse_filter({"any": one}, "filter") == parse_filter({"any": other}, "filter")


@more
@given(cases())
def test_a_value_that_misses_an_indexed_equality_is_refused_without_an_error(case):
    written, value = case
    for path, accepted in equalities(parse_filter(written, "filter")):
        if index_key(get_path(value, path)) not in {index_key(item) for item in accepted}:
            assert outcome(written, value) is False
