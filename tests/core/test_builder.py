"""The builder: every chain makes the same trigger as the text beside it; what it refuses."""

from __future__ import annotations

import doctest
import functools
from collections.abc import Callable
from typing import Any

import pytest

from stream_triggers.core import builder
from stream_triggers.core.builder import (
    TriggerBuilder,
    on_any_result,
    on_at,
    on_cron,
    on_event,
    on_every,
    on_exception,
    on_result,
    on_status,
)
from stream_triggers.core.condition import parse_condition
from stream_triggers.core.trigger import Trigger, canonical, version
from stream_triggers.errors import InvalidTrigger
from stream_triggers.trigger_file import read_triggers


def make(message: Any) -> Any:
    return {"id": message.id}


def is_large(value: Any) -> bool:
    return bool(value > 100)


def ship(order: str) -> None: ...


ship.task_name = "orders.ship"  # type: ignore[attr-defined]

MODULE = __name__

CHAINS: list[tuple[Callable[[], TriggerBuilder], str]] = [
    (
        lambda: on_event("order.paid"),
        "when: {event: order.paid}",
    ),
    (
        lambda: on_event("order.paid", {"total": {"gte": 100}, "customer.tier": "gold"}),
        "when: {event: order.paid, filter: {total: {gte: 100}, customer.tier: gold}}",
    ),
    (
        lambda: on_event("order.paid", is_large),
        f"when: {{event: order.paid, filter: {{call: '{MODULE}:is_large'}}}}",
    ),
    (
        lambda: on_event("order.paid", "orders.rules:is_large"),
        "when: {event: order.paid, filter: {call: 'orders.rules:is_large'}}",
    ),
    (
        lambda: on_status("orders.ship"),
        "when: {status: orders.ship, is: [success]}",
    ),
    (
        lambda: on_status(ship, "FAILED"),
        "when: {status: orders.ship, is: [failed]}",
    ),
    (
        lambda: on_status("*", ("failed", "Killed"), call_arguments={"kind": "news"}),
        "when: {status: '*', is: [failed, killed], arguments: {kind: news}}",
    ),
    (
        lambda: on_any_result(ship),
        "when: {result: orders.ship}",
    ),
    (
        lambda: on_any_result("orders.ship", {"kind": "news"}),
        "when: {result: orders.ship, arguments: {kind: news}}",
    ),
    (
        lambda: on_result("orders.ship", {"parcels": {"gt": 1}}, {"kind": "news"}),
        "when: {result: orders.ship, filter: {parcels: {gt: 1}}, arguments: {kind: news}}",
    ),
    (
        lambda: on_result("orders.ship", is_large, is_large),
        f"when: {{result: orders.ship, filter: {{call: '{MODULE}:is_large'}},"
        f" arguments: {{call: '{MODULE}:is_large'}}}}",
    ),
    (
        lambda: on_result("orders.ship", 7),
        "when: {result: orders.ship, filter: {$: 7}}",
    ),
    (
        lambda: on_result("orders.ship", "done"),
        "when: {result: orders.ship, filter: {$: done}}",
    ),
    (
        lambda: on_result("orders.ship", None),
        "when: {result: orders.ship, filter: {$: null}}",
    ),
    (
        lambda: on_result("orders.ship", [{"gt": 1}]),
        "when: {result: orders.ship, filter: {$: [{gt: 1}]}}",
    ),
    (
        lambda: on_exception("orders.ship"),
        "when: {exception: orders.ship}",
    ),
    (
        lambda: on_exception("orders.ship", "TimeoutError"),
        "when: {exception: orders.ship, types: [TimeoutError]}",
    ),
    (
        lambda: on_exception(
            ship,
            ["TimeoutError", "OSError"],
            {"kind": "news"},
            exception_filter={"message": {"prefix": "no "}},
            attempts="every",
        ),
        "when: {exception: orders.ship, types: [OSError, TimeoutError], attempts: every,"
        " filter: {message: {prefix: 'no '}}, arguments: {kind: news}}",
    ),
    (
        lambda: on_cron("*/5 * * * *"),
        "when: {cron: '*/5 * * * *'}",
    ),
    (
        lambda: on_cron("@daily", "Europe/Berlin"),
        "when: {cron: '@daily', zone: Europe/Berlin}",
    ),
    (
        lambda: on_cron("@daily", gap="skip", catchup={"all": 5}, max_runs=3),
        "when: {cron: '@daily', gap: skip, catchup: {all: 5}, max_runs: 3}",
    ),
    (
        lambda: on_every("15m", "2026-01-01T00:05Z", only=["2026-12-24"], zone="Europe/Berlin"),
        "when: {every: 15m, anchor: '2026-01-01T00:05Z', only: ['2026-12-24'], zone: Europe/Berlin}",
    ),
    (
        lambda: on_at("2026-03-01T08:00", "Europe/Berlin", fold="last"),
        "when: {at: '2026-03-01T08:00', zone: Europe/Berlin, fold: last}",
    ),
    (
        lambda: TriggerBuilder().add_condition(parse_condition({"any": [{"event": "a"}, {"event": "b"}]}, "when")),
        "when: {any: [{event: a}, {event: b}]}",
    ),
    (
        lambda: on_event("a").on_status("b").on_result("c", 1),
        "when: {all: [{event: a}, {status: b, is: success}, {result: c, filter: {$: 1}}]}",
    ),
    (
        lambda: on_event("a").on_any_result("b").on_exception("c").on_cron("@daily").with_logic("or"),
        "when: {any: [{event: a}, {result: b}, {exception: c}, {cron: '@daily'}]}",
    ),
    (
        lambda: on_event("a").with_logic("or").on_event("b").with_logic("AND"),
        "when: {all: [{event: a}, {event: b}]}",
    ),
    (
        lambda: on_event("a").with_logic("or"),
        "when: {event: a}",
    ),
    (
        lambda: on_event("a").with_args({"order": "${event.payload.id}", "n": 1}),
        "{when: {event: a}, args: {order: '${event.payload.id}', n: 1}}",
    ),
    (
        lambda: on_event("a").with_args_static({"text": "${event.payload.id}", "n": [1, {"x": "$${y}"}]}),
        "{when: {event: a}, args: {text: '$${event.payload.id}', n: [1, {x: '$$$${y}'}]}}",
    ),
    (
        lambda: on_event("a").with_arguments({"text": "${literal}"}),
        "{when: {event: a}, args: {text: '$${literal}'}}",
    ),
    (
        lambda: on_event("a").with_args_from_event({"order": "payload.id", "note": "payload.note?", "code": "code"}),
        "{when: {event: a}, args:"
        " {order: '${event.payload.id}', note: '${event.payload.note?}', code: '${event.code}'}}",
    ),
    (
        lambda: on_status("a").with_args_from_status({"order": "arguments.id"}).with_args_static({"n": 1}),
        "{when: {status: a, is: success}, args: {order: '${status.arguments.id}', n: 1}}",
    ),
    (
        lambda: on_any_result("a").with_args_from_result({"parcel": "value.parcel"}),
        "{when: {result: a}, args: {parcel: '${result.value.parcel}'}}",
    ),
    (
        lambda: on_exception("a").with_args_from_exception({"why": "message"}),
        "{when: {exception: a}, args: {why: '${exception.message}'}}",
    ),
    (
        lambda: on_event("a").with_args_from_event(make).with_args({"n": 1}),
        f"{{when: {{event: a}}, args: {{n: 1}}, args_from: {{event: '{MODULE}:make'}}}}",
    ),
    (
        lambda: (
            on_status("a")
            .on_any_result("b")
            .on_exception("c")
            .with_logic("or")
            .with_args_from_status("m:status")
            .with_args_from_result("m:result")
            .with_args_from_exception("m:exception")
        ),
        "{when: {any: [{status: a, is: success}, {result: b}, {exception: c}]},"
        " args_from: {status: 'm:status', result: 'm:result', exception: 'm:exception'}}",
    ),
    (
        lambda: on_event("a").with_args_from_trigger_context(make),
        f"{{when: {{event: a}}, args_from: {{any: '{MODULE}:make'}}}}",
    ),
    (
        lambda: on_event("a").with_key("${event.payload.id}").with_epoch(2).with_description("Ships."),
        "{when: {event: a}, key: '${event.payload.id}', epoch: 2, description: Ships.}",
    ),
    (
        lambda: on_event("a").with_start("earliest"),
        "{when: {event: a}, start: earliest}",
    ),
    (
        lambda: on_event("a").with_start({"lookback": "2h"}),
        "{when: {event: a}, start: {lookback: 2h}}",
    ),
]


def written(text: str) -> Trigger:
    inner = text[1:-1] if text.startswith("{") else text
    (trigger,) = read_triggers(f"triggers: [{{id: t, task: orders.ship, {inner}}}]", "shown.yaml")
    return trigger


@pytest.mark.parametrize(("chain", "text"), CHAINS, ids=[text for _, text in CHAINS])
def test_a_chain_makes_the_trigger_of_the_text_beside_it(chain, text):
    assert chain().build("t", "orders.ship") == written(text)


@pytest.mark.parametrize(("chain", "text"), CHAINS, ids=[text for _, text in CHAINS])
def test_a_chain_and_its_text_have_the_same_canonical_form_and_version(chain, text):
    built, read = chain().build("t", ship), written(text)
    assert (canonical(built), version(built)) == (canonical(read), version(read))


def test_a_builder_makes_triggers_for_several_tasks():
    shared = on_event("order.paid")
    assert [shared.build(f"t-{task}", task).task for task in ("a", "b")] == ["a", "b"]


def test_a_trigger_does_not_change_when_its_builder_goes_on():
    started = on_event("a").with_args({"list": [1]})
    trigger = started.build("t", "b")
    started.on_event("c").with_args({"more": 1})
    assert trigger == on_event("a").with_args({"list": [1]}).build("t", "b")


def refusal(chain: Callable[[], Any]) -> str:
    with pytest.raises(InvalidTrigger) as refused:
        chain()
    return str(refused.value)


TWICE = (
    "this argument is given twice\n"
    "  hint: for one argument from several kinds of message use a function of each, or a ${message…} reference"
)
MOVE = "\n  hint: write it with def at the top level of a module that the workers can import"


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        (
            lambda: TriggerBuilder().build("t", "a"),
            "when: expected at least one condition, found none\n  hint: call on_event or another on_…",
        ),
        (lambda: on_event("a").with_logic("xor"), 'logic: expected "and" or "or", found "xor"'),
        (
            lambda: on_event("a").build("t", make),
            "task: expected the name of a task, or a function with a task_name, found a Python function",
        ),
        (
            lambda: on_status(make),
            "task: expected the name of a task, or a function with a task_name, found a Python function",
        ),
        (lambda: on_event("a").with_args({"x": 1}).with_args_static({"x": 1}), f"args.x: {TWICE}"),
        (
            lambda: on_event("a").with_args_from_event({"x": "code"}).with_args_from_status({"x": "task"}),
            f"args.x: {TWICE}",
        ),
        (
            lambda: on_event("a").with_args_from_event("m:f").with_args_from_event("m:g"),
            "args_from.event: this kind of message is given a function twice\n  hint: call both from one function",
        ),
        (
            lambda: on_event("a").with_args_from_event({"x": "payload.a}b"}),
            'args.x: expected the path of a value in the message, found "payload.a}b"',
        ),
        (
            lambda: on_event("a").with_args_from_status({"x": "task"}).build("t", "b"),
            "args.x: expected a reference to what can fire this trigger, found ${status.task}"
            "\n  hint: its conditions accept messages of kind event",
        ),
        (
            lambda: on_event("a", {"total": {"gte": "x", "foo": 1}}).build("t", "b"),
            'when.all[0].filter.total: unknown operator "foo", '
            "expected one of eq, ne, lt, lte, gt, gte, in, prefix, suffix, exists, not"
            '\n  hint: to compare with the object as it is, write {"eq": {...}}',
        ),
        (
            lambda: on_event("a").with_args({"x": (1, 2)}).build("t", "b"),
            "args.x: expected a JSON value, found a Python tuple",
        ),
        (
            lambda: on_event("a").build("a b", "b"),
            'id: expected 1 to 200 letters, digits, dots, underscores and hyphens, found "a b"',
        ),
    ],
)
def test_a_wrong_chain_is_refused_with_this_message(chain, message):
    assert refusal(chain) == message


def nested() -> Any:
    def inner(message: Any) -> Any:
        return {}

    return inner


class Maker:
    def method(self, message: Any) -> Any:
        return {}

    def __call__(self, message: Any) -> Any:
        return {}


def started(message: Any) -> Any:
    return {}


started.__module__ = "__main__"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda message: {}, f"args_from.event: expected a function that has a name, found a lambda{MOVE}"),
        (nested(), f"args_from.event: expected a function of a module, found nested.<locals>.inner{MOVE}"),
        (Maker().method, f"args_from.event: expected a function of a module, found Maker.method{MOVE}"),
        (Maker(), f"args_from.event: expected a function, found a Python Maker{MOVE}"),
        (Maker, f"args_from.event: expected a function, found a Python type{MOVE}"),
        (functools.partial(make, 1), f"args_from.event: expected a function, found a Python partial{MOVE}"),
        (started, f"args_from.event: expected a function of a module, found started of the started program{MOVE}"),
        ("make", 'args_from.event: expected a function as module:function, found "make"'),
    ],
)
def test_a_function_that_another_process_cannot_find_is_refused(function, message):
    assert refusal(lambda: on_event("a").with_args_from_event(function)) == message


def test_a_class_is_no_result_filter():
    assert refusal(lambda: on_result("a", int)) == f"filter: expected a function, found a Python type{MOVE}"


def test_the_example_of_the_module_runs():
    assert doctest.testmod(builder).failed == 0
