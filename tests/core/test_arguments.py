"""Arguments and keys: what templates give, what they refuse, what functions may return."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_triggers.core.arguments import (
    compile_arguments,
    compile_key,
    compile_template,
    escape,
    parse_args_from,
    references,
)
from stream_triggers.core.message import Event, Failure, Message, Success, TaskResult, TaskStatus, kind_of
from stream_triggers.errors import EvaluationFailed, InvalidTrigger

EVENT = Event(
    code="order.paid",
    id="e1",
    time_ms=1_700_000_000_000,
    key=None,
    payload={
        "order_id": "A-7",
        "total": 12.5,
        "paid": True,
        "note": None,
        "lines": [{"sku": "x"}, {"sku": "ü"}],
        "a.b": "dotted",
        "0": "zero",
    },
    source="shop",
)
STATUS = TaskStatus(
    task="orders.ship",
    status="retry",
    id="s1",
    invocation_id="i1",
    time_ms=5,
    previous="running",
    attempt=2,
    arguments={"order_id": 7},
)
RESULT = TaskResult(
    task="orders.ship",
    outcome=Success({"parcel": [1, 2]}),
    id="r1",
    invocation_id="i1",
    time_ms=5,
    attempt=3,
    arguments={"order_id": 7},
)
EXCEPTION = TaskResult(
    task="orders.ship",
    outcome=Failure(type="TimeoutError", bases=("OSError", "Exception"), message="too slow", final=False),
    id="r2",
    invocation_id="i1",
    time_ms=5,
    attempt=1,
    arguments={"order_id": 7},
)


def no_functions(name: str) -> Any:
    raise KeyError(name)


def value_of(template: Any, message: Message = EVENT) -> Any:
    return compile_template(template, "args.x")(message, kind_of(message), "trigger-1", "run-1")


def failure_of(template: Any, message: Message = EVENT) -> str:
    with pytest.raises(EvaluationFailed) as failed:
        value_of(template, message)
    return str(failed.value)


@pytest.mark.parametrize(
    ("message", "values"),
    [
        (
            EVENT,
            {
                "event.code": "order.paid",
                "event.id": "e1",
                "event.time_ms": 1_700_000_000_000,
                "event.key": None,
                "event.source": "shop",
                "event.payload.total": 12.5,
                "message.code": "order.paid",
                "message.payload.paid": True,
            },
        ),
        (
            STATUS,
            {
                "status.task": "orders.ship",
                "status.status": "retry",
                "status.id": "s1",
                "status.invocation_id": "i1",
                "status.time_ms": 5,
                "status.attempt": 2,
                "status.previous": "running",
                "status.arguments": {"order_id": 7},
                "message.arguments.order_id": 7,
            },
        ),
        (
            RESULT,
            {
                "result.task": "orders.ship",
                "result.value": {"parcel": [1, 2]},
                "result.value.parcel.1": 2,
                "result.id": "r1",
                "result.invocation_id": "i1",
                "result.time_ms": 5,
                "result.attempt": 3,
                "result.arguments.order_id": 7,
                "message.task": "orders.ship",
            },
        ),
        (
            EXCEPTION,
            {
                "exception.task": "orders.ship",
                "exception.type": "TimeoutError",
                "exception.bases": ["OSError", "Exception"],
                "exception.bases.0": "OSError",
                "exception.message": "too slow",
                "exception.final": False,
                "exception.attempt": 1,
                "exception.id": "r2",
                "exception.invocation_id": "i1",
                "exception.time_ms": 5,
                "exception.arguments.order_id": 7,
                "message.type": "TimeoutError",
            },
        ),
        (EVENT, {"trigger.id": "trigger-1", "run.id": "run-1"}),
    ],
    ids=["event", "status", "result", "exception", "cause"],
)
def test_a_reference_gives_the_value_with_its_type(message, values):
    assert {name: value_of(f"${{{name}}}", message) for name in values} == values


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("plain", "plain"),
        ("", ""),
        (5, 5),
        (None, None),
        ("order ${event.payload.order_id}", "order A-7"),
        ("${event.payload.order_id}/${event.payload.total}", "A-7/12.5"),
        ("paid: ${event.payload.paid}", "paid: true"),
        ("note: ${event.payload.note}", "note: null"),
        ("lines: ${event.payload.lines}", 'lines: [{"sku":"x"},{"sku":"ü"}]'),
        ("second: ${event.payload.lines.1.sku}", "second: ü"),
        (r"${event.payload.a\.b}", "dotted"),
        ("${event.payload.0}", "zero"),
        ("${event.payload.absent?}", None),
        ("${event.payload.lines.2.sku?}", None),
        ("${event.payload.order_id?}", "A-7"),
        ("${status.task?}", None),
        ("absent: ${event.payload.absent?}", "absent: null"),
        ("$${event.code}", "${event.code}"),
        ("$$${event.code}", "$order.paid"),
        ("$$$${event.code}", "$${event.code}"),
        ("5$ ${event.code} $5 $$", "5$ order.paid $5 $$"),
        ("{} } {x}", "{} } {x}"),
        ({"a": ["${event.code}", {"b": "${run.id}"}], "c": 1}, {"a": ["order.paid", {"b": "run-1"}], "c": 1}),
        ({"${event.code}": 1}, {"${event.code}": 1}),
        ([], []),
        ({}, {}),
        (["$${x}"], ["${x}"]),
    ],
)
def test_a_template_gives_this_value(template, value):
    assert value_of(template) == value


@pytest.mark.parametrize(
    ("template", "message", "problem"),
    [
        ("${event.payload.absent}", EVENT, "args.x: event.payload.absent is missing"),
        ("a ${event.payload.absent}", EVENT, "args.x: event.payload.absent is missing"),
        ({"a": ["${event.payload.lines.9}"]}, EVENT, "args.x.a[0]: event.payload.lines.9 is missing"),
        ("${event.payload.order_id.0}", EVENT, "args.x: event.payload.order_id.0 is missing"),
        ("${event.payload.lines.sku}", EVENT, "args.x: event.payload.lines.sku is missing"),
        ("${event.code}", STATUS, "args.x: event.code is missing from a message of kind status"),
        ("${result.value}", EXCEPTION, "args.x: result.value is missing from a message of kind exception"),
        ("${exception.type}", RESULT, "args.x: exception.type is missing from a message of kind result"),
        ("${message.payload}", RESULT, "args.x: message.payload is missing from a message of kind result"),
    ],
)
def test_what_is_missing_fails_and_is_named(template, message, problem):
    assert failure_of(template, message) == problem


def test_objects_are_written_in_order_of_their_names():
    assert list(value_of({"b": "${event.code}", "a": 1, "c": "${run.id}"})) == ["a", "b", "c"]


def test_a_template_gives_a_new_object_for_every_run():
    template = compile_template({"a": "${run.id}", "b": 1}, "args")
    first = template(EVENT, "event", "t", "run-1")
    second = template(EVENT, "event", "t", "run-2")
    assert (first, second) == ({"a": "run-1", "b": 1}, {"a": "run-2", "b": 1})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(alphabet="${}ab.é", max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet="${}ab", max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON)
def test_any_value_escaped_is_a_template_of_itself(value):
    assert value_of(escape(value)) == value


def test_escaping_leaves_text_without_references_as_it_is():
    assert escape("5$ {x} $$") == "5$ {x} $$"


def test_a_long_row_of_dollar_signs_is_read_at_once():
    assert value_of("$" * 500_000) == "$" * 500_000


def test_references_are_listed_with_the_place_and_the_kinds_that_have_them():
    template = {"a": ["x ${event.code} ${run.id?}"], "b": "${message.task}"}
    listed = [(path, one.text, one.kinds, one.optional) for path, one in references(template, "args")]
    assert listed == [
        ("args.a[0]", "event.code", {"event"}, False),
        ("args.a[0]", "run.id", None, True),
        ("args.b", "message.task", {"status", "result", "exception"}, False),
    ]


# Functions


class Loud(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def failing(message: Any) -> Any:
    raise ValueError("no order")


def exiting(message: Any) -> Any:
    raise SystemExit(9)


def loud(message: Any) -> Any:
    raise Loud


def endless(message: Any) -> Any:
    raise ValueError("\ud800" + "x" * 5000)


FUNCTIONS = {
    "m:endless": endless,
    "m:of_event": lambda message: {"order": message.payload["order_id"], "from": "event"},
    "m:of_any": lambda message: {"order": message.id, "from": "any"},
    "m:failing": failing,
    "m:exiting": exiting,
    "m:loud": loud,
    "m:list": lambda message: [1],
    "m:none": lambda message: None,
    "m:set": lambda message: {"a": {"b": {1}}},
    "m:number": lambda message: {1: 2},
    "m:nan": lambda message: {"a": [float("nan")]},
}


def arguments_of(args: Any, args_from: Any, message: Message = EVENT) -> Any:
    arguments = compile_arguments(args, args_from, FUNCTIONS.__getitem__)
    return arguments(message, kind_of(message), "trigger-1", "run-1")


def test_without_templates_and_functions_there_are_no_arguments():
    assert arguments_of({}, {}) == {}


def test_a_function_makes_the_arguments_from_the_message():
    assert arguments_of({}, {"event": "m:of_event"}) == {"order": "A-7", "from": "event"}


def test_the_function_of_the_kind_goes_before_the_function_of_any_kind():
    assert arguments_of({}, {"event": "m:of_event", "any": "m:of_any"})["from"] == "event"


def test_the_function_of_any_kind_stands_in_for_a_kind_without_one():
    assert arguments_of({}, {"event": "m:of_event", "any": "m:of_any"}, STATUS) == {"order": "s1", "from": "any"}


def test_templates_override_what_a_function_returned():
    assert arguments_of({"from": "${run.id}", "more": 1}, {"event": "m:of_event"}) == {
        "order": "A-7",
        "from": "run-1",
        "more": 1,
    }


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        ("m:failing", "args_from.event: m:failing raised ValueError: no order"),
        ("m:exiting", "args_from.event: m:exiting raised SystemExit: 9"),
        ("m:list", "args_from.event: expected an object from m:list, found a list"),
        ("m:none", "args_from.event: expected an object from m:none, found null"),
        ("m:set", "args_from.event: m:set returned a.b: expected a JSON value, found a Python set"),
        ("m:number", "args_from.event: m:number returned an object: expected text as the name of a field, found 1"),
        ("m:nan", "args_from.event: m:nan returned a[0]: expected a finite number, found nan"),
    ],
)
def test_a_function_that_breaks_its_promise_is_named(function, problem):
    with pytest.raises(EvaluationFailed) as failed:
        arguments_of({}, {"event": function})
    assert str(failed.value) == problem


def test_an_exception_whose_text_cannot_be_made_is_still_told():
    with pytest.raises(EvaluationFailed, match=r"args_from\.event: m:loud raised .*Loud: <exception str\(\) failed>"):
        arguments_of({}, {"event": "m:loud"})


def test_the_text_of_an_exception_is_cut_and_can_be_encoded():
    with pytest.raises(EvaluationFailed) as failed:
        arguments_of({}, {"event": "m:endless"})
    text = failed.value.message.encode().decode()
    assert text == "args_from.event: m:endless raised ValueError: \\ud800" + "x" * 987 + "…"


def test_what_a_function_raised_is_the_cause_of_the_failure():
    with pytest.raises(EvaluationFailed) as failed:
        arguments_of({}, {"event": "m:failing"})
    assert isinstance(failed.value.__cause__, ValueError)


def test_a_message_of_a_kind_without_a_function_fails():
    with pytest.raises(EvaluationFailed, match="args_from: no function for a message of kind status"):
        arguments_of({}, {"event": "m:of_event"}, STATUS)


def test_functions_are_found_once_when_the_trigger_is_compiled():
    found: list[str] = []

    def functions(name: str) -> Any:
        found.append(name)
        return FUNCTIONS[name]

    arguments = compile_arguments({}, {"event": "m:of_event"}, functions)
    for _ in range(3):
        arguments(EVENT, "event", "t", "r")
    assert found == ["m:of_event"]


@pytest.mark.parametrize("name", ["m", "m:", ":f", "m:f.g", "m.:f", "m:f ", "1m:f", "m:f\n", "", None, ["m:f"]])
def test_a_function_is_named_as_module_and_function(name):
    with pytest.raises(InvalidTrigger, match=r"args_from\.any: expected a function as module:function, found"):
        parse_args_from({"any": name}, "args_from")


# Key


def key_of(template: str, message: Message = EVENT) -> str:
    return compile_key(template)(message, kind_of(message), "trigger-1")


@pytest.mark.parametrize(
    ("template", "key"),
    [
        ("${event.payload.order_id}", "A-7"),
        ("${event.time_ms}", "1700000000000"),
        ("${event.payload.total}", "12.5"),
        ("${event.payload.paid}", "true"),
        ("${trigger.id}/${event.payload.order_id}", "trigger-1/A-7"),
        ("constant", "constant"),
    ],
)
def test_a_key_is_text(template, key):
    assert key_of(template) == key


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("${event.payload.note}", "key: expected text, a number or a boolean, found null"),
        ("${event.payload.absent?}", "key: expected text, a number or a boolean, found null"),
        ("${event.payload.absent}", "key: event.payload.absent is missing"),
        ("${event.payload.lines}", "key: expected text, a number or a boolean, found a list"),
        ("${event.payload}", "key: expected text, a number or a boolean, found an object"),
    ],
)
def test_a_key_that_is_no_text_fails(template, problem):
    with pytest.raises(EvaluationFailed) as failed:
        key_of(template)
    assert str(failed.value) == problem
