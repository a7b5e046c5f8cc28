"""Conditions: which messages each leaf accepts, the tree, its normal form and limits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_triggers.core.condition import (
    AllOf,
    AnyOf,
    EventLeaf,
    ExceptionLeaf,
    ResultLeaf,
    ScheduleLeaf,
    StatusLeaf,
    compile_leaf,
    condition_json,
    leaf_kind,
    leaves,
    nodes,
    parse_condition,
)
from stream_triggers.core.filter import EVERYTHING, parse_filter
from stream_triggers.core.message import Event, Failure, Message, Success, TaskResult, TaskStatus
from stream_triggers.core.schedule import Cron, Schedule
from stream_triggers.errors import EvaluationFailed, InvalidTrigger

FAILS = "fails"


def event(payload: Any) -> Event:
    return Event(code="order.paid", id="e1", time_ms=5, key=None, payload=payload)


def status(arguments: Any) -> TaskStatus:
    return TaskStatus(task="orders.ship", status="failed", id="s1", invocation_id="i1", time_ms=5, arguments=arguments)


def result(value: Any, arguments: Any = None) -> TaskResult:
    return TaskResult(
        task="orders.ship", outcome=Success(value), id="r1", invocation_id="i1", time_ms=5, arguments=arguments or {}
    )


def raised(*names: str, message: str = "", final: bool = True, attempt: int = 1, arguments: Any = None) -> TaskResult:
    return TaskResult(
        task="orders.ship",
        outcome=Failure(type=names[0], bases=names[1:], message=message, final=final),
        id="r1",
        invocation_id="i1",
        time_ms=5,
        attempt=attempt,
        arguments=arguments or {},
    )


def functions(name: str) -> Any:
    return {"m:yes": lambda value: True, "m:error": lambda value: 1 / 0}[name]


def answer(written: Any, message: Message) -> Any:
    accepts = compile_leaf(parse_condition(written, "when"), functions)
    try:
        return True if accepts is None else accepts(message)
    except EvaluationFailed:
        return FAILS


def test_a_leaf_is_read_into_its_values():
    written = {
        "any": [
            {"event": "a", "filter": {"x": 1}},
            {"status": "*", "is": ["Success", "failed"], "arguments": {"x": 1}},
            {"result": "b", "filter": {"x": 1}, "arguments": {"y": 1}},
            {"exception": "b", "types": ["E"], "attempts": "every", "filter": {"x": 1}, "arguments": {"y": 1}},
            {"cron": "@daily", "zone": "Europe/Berlin"},
        ]
    }
    x, y = parse_filter({"x": 1}, "x"), parse_filter({"y": 1}, "y")
    assert parse_condition(written, "when") == AnyOf(
        (
            EventLeaf("a", x),
            StatusLeaf("*", ("failed", "success"), x),
            ResultLeaf("b", x, y),
            ExceptionLeaf("b", ("E",), "every", x, y),
            ScheduleLeaf(Schedule(Cron("@daily"), zone="Europe/Berlin")),
        )
    )


@pytest.mark.parametrize(
    ("written", "leaf"),
    [
        ({"event": "a"}, EventLeaf("a", EVERYTHING)),
        ({"result": "a"}, ResultLeaf("a", EVERYTHING, EVERYTHING)),
        ({"exception": "a"}, ExceptionLeaf("a", (), "final", EVERYTHING, EVERYTHING)),
        ({"status": "a", "is": "failed"}, StatusLeaf("a", ("failed",), EVERYTHING)),
        (
            {"cron": "@daily"},
            ScheduleLeaf(Schedule(Cron("@daily"), zone="UTC", gap="shift", fold="first", catchup="latest")),
        ),
    ],
)
def test_a_leaf_has_these_defaults(written, leaf):
    assert parse_condition(written, "when") == leaf


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ({"event": "a"}, "event"),
        ({"status": "a", "is": "failed"}, "status"),
        ({"result": "a"}, "result"),
        ({"exception": "a"}, "exception"),
        ({"cron": "@daily"}, "schedule"),
        ({"every": "15m"}, "schedule"),
        ({"at": "2026-03-01T08:00Z"}, "schedule"),
    ],
)
def test_a_leaf_accepts_one_kind(written, kind):
    assert leaf_kind(parse_condition(written, "when")) == kind


@pytest.mark.parametrize(
    ("written", "message", "expected"),
    [
        ({"event": "a", "filter": {"x": 1}}, event({"x": 1}), True),
        ({"event": "a", "filter": {"x": 1}}, event({"x": 2}), False),
        ({"event": "a", "filter": {"x": {"lt": 1}}}, event({"x": "text"}), FAILS),
        ({"event": "a", "filter": {"call": "m:yes"}}, event(None), True),
        ({"event": "a", "filter": {"call": "m:error"}}, event(None), FAILS),
        ({"status": "a", "is": "failed", "arguments": {"x": 1}}, status({"x": 1}), True),
        ({"status": "a", "is": "failed", "arguments": {"x": 1}}, status({}), False),
        ({"result": "a", "filter": {"$": 7}}, result(7), True),
        ({"result": "a", "filter": {"$": 7}}, result(8), False),
        ({"result": "a", "filter": {"x": 1}, "arguments": {"y": 1}}, result({"x": 1}, {"y": 1}), True),
        ({"result": "a", "filter": {"x": 1}, "arguments": {"y": 1}}, result({"x": 2}, {"y": 1}), False),
        ({"result": "a", "filter": {"x": 1}, "arguments": {"y": 1}}, result({"x": 1}, {"y": 2}), False),
    ],
)
def test_a_leaf_asks_the_part_of_the_message_that_its_filter_is_for(written, message, expected):
    assert answer(written, message) == expected


@pytest.mark.parametrize(
    ("types", "recorded", "expected"),
    [
        ([], ("TimeoutError", "OSError"), True),
        (["TimeoutError"], ("TimeoutError", "OSError"), True),
        (["OSError"], ("TimeoutError", "OSError"), True),
        (["KeyError", "OSError"], ("TimeoutError", "OSError"), True),
        (["KeyError"], ("TimeoutError", "OSError"), False),
        (["timeouterror"], ("TimeoutError",), False),
        (["Error"], ("TimeoutError",), False),
        (["TimeoutError"], ("asyncio.TimeoutError",), True),
        (["OSError"], ("asyncio.TimeoutError", "builtins.OSError"), True),
        (["asyncio.TimeoutError"], ("asyncio.TimeoutError",), True),
        (["asyncio.TimeoutError"], ("TimeoutError",), False),
        (["asyncio.TimeoutError"], ("other.asyncio.TimeoutError",), False),
    ],
)
def test_an_exception_matches_by_its_class_and_the_classes_it_derives_from(types, recorded, expected):
    assert answer({"exception": "a", "types": types}, raised(*recorded)) is expected


@pytest.mark.parametrize(
    ("attempts", "final", "expected"),
    [("final", True, True), ("final", False, False), ("every", True, True), ("every", False, True)],
)
def test_only_the_exception_that_ended_the_invocation_counts_unless_every_one_does(attempts, final, expected):
    assert answer({"exception": "a", "attempts": attempts}, raised("KeyError", final=final)) is expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"type": "KeyError"}, True),
        ({"message": {"prefix": "no "}}, True),
        ({"attempt": {"gte": 3}}, True),
        ({"attempt": {"gte": 4}}, False),
        ({"final": True}, True),
        ({"bases": {"exists": True}}, False),
    ],
)
def test_the_filter_of_an_exception_looks_at_type_message_attempt_and_final(written, expected):
    message = raised("KeyError", "LookupError", message="no total", attempt=3)
    assert answer({"exception": "a", "filter": written}, message) is expected


FAILING, TRUE, FALSE = {"x": {"lt": 1}}, {"y": 1}, {"y": 2}


@pytest.mark.parametrize(
    ("arguments", "filter_", "expected"),
    [
        (FAILING, TRUE, FAILS),
        (TRUE, FAILING, FAILS),
        (FAILING, FAILING, FAILS),
        (FAILING, FALSE, False),
        (FALSE, FAILING, False),
        (TRUE, TRUE, True),
    ],
)
def test_a_false_part_of_a_leaf_outweighs_one_that_fails(arguments, filter_, expected):
    value = {"x": "text", "y": 1}
    assert answer({"result": "a", "filter": filter_, "arguments": arguments}, result(value, value)) == expected


def test_a_failing_filter_does_not_matter_for_an_exception_of_another_class():
    written = {"exception": "a", "types": ["OSError"], "filter": {"message": {"lt": 1}}}
    assert answer(written, raised("KeyError")) is False


@pytest.mark.parametrize(
    "written",
    [
        {"event": "a", "filter": {}},
        {"status": "a", "is": "failed"},
        {"result": "a"},
        {"exception": "a", "attempts": "every"},
    ],
)
def test_a_leaf_that_asks_nothing_more_needs_no_function(written):
    assert compile_leaf(parse_condition(written, "when"), functions) is None


def test_no_message_is_an_instant_of_a_schedule():
    assert answer({"cron": "@daily"}, event({})) is False


def test_leaves_come_in_order_with_their_canonical_paths():
    written = {"any": [{"event": "a"}, {"any": [{"event": "b"}]}, {"all": [{"event": "c"}, {"event": "d"}]}]}
    paths = [(path, leaf.code) for path, leaf in leaves(parse_condition(written, "triggers[3].when"))]
    assert paths == [
        ("when.any[0]", "a"),
        ("when.any[1]", "b"),
        ("when.any[2].all[0]", "c"),
        ("when.any[2].all[1]", "d"),
    ]


def test_the_path_of_a_lone_leaf_is_when():
    assert leaves(parse_condition({"any": [{"event": "a"}]}, "when")) == (("when", EventLeaf("a")),)


def test_nodes_are_the_leaves_and_the_groups_around_them():
    condition = parse_condition({"all": [{"event": "a"}, {"event": "b"}]}, "when")
    assert list(nodes(condition)) == [
        ("when", AllOf((EventLeaf("a"), EventLeaf("b")))),
        ("when.all[0]", EventLeaf("a")),
        ("when.all[1]", EventLeaf("b")),
    ]


def tower(height: int) -> Any:
    written: Any = {"event": "a"}
    for level in range(height - 1):
        written = {"any" if level % 2 else "all": [written, {"event": "b"}]}
    return written


def test_a_tree_of_16_levels_is_accepted():
    assert len(leaves(parse_condition(tower(16), "when"))) == 16


def test_a_tree_of_17_levels_is_refused():
    with pytest.raises(InvalidTrigger, match=r"\.all\[0\]: expected conditions at most 16 deep, found more"):
        parse_condition(tower(17), "when")


def test_64_leaves_are_accepted():
    assert len(leaves(parse_condition({"any": [{"event": "a"}] * 64}, "when"))) == 64


def test_65_leaves_are_refused():
    with pytest.raises(
        InvalidTrigger, match="when: expected at most 64 leaves, found 65\n  hint: make several triggers"
    ):
        parse_condition({"any": [{"event": "a"}] * 65}, "when")


NAMES = st.sampled_from(["a", "b.c", "d-1"])
FILTERS = st.sampled_from([{}, {"x": 1}, {"any": [{"x": {"gte": 1}}, {"y": "z"}]}])
LEAVES = st.one_of(
    st.fixed_dictionaries({"event": NAMES}, optional={"filter": FILTERS}),
    st.fixed_dictionaries(
        {"status": NAMES | st.just("*"), "is": st.lists(st.sampled_from(["success", "FAILED"]), min_size=1)},
        optional={"arguments": FILTERS},
    ),
    st.fixed_dictionaries({"result": NAMES}, optional={"filter": FILTERS, "arguments": FILTERS}),
    st.fixed_dictionaries(
        {"exception": NAMES},
        optional={
            "types": st.lists(st.sampled_from(["A", "m.B"])),
            "attempts": st.sampled_from(["final", "every"]),
            "filter": FILTERS,
        },
    ),
    st.fixed_dictionaries({"cron": st.just("0 2 * * *")}, optional={"zone": st.sampled_from(["UTC", "Asia/Tokyo"])}),
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, min_size=1, max_size=3).flatmap(
        lambda members: st.sampled_from([{"any": members}, {"all": members}])
    ),
    max_leaves=8,
)


@given(CONDITIONS)
def test_the_canonical_form_of_any_condition_reads_back_equal_and_is_its_own_canonical_form(written):
    condition = parse_condition(written, "when")
    again = parse_condition(condition_json(condition), "when")
    assert (again, condition_json(again)) == (condition, condition_json(condition))


@given(CONDITIONS)
def test_in_a_normal_form_no_group_has_one_member_or_a_group_of_its_own_word(written):
    for _, node in nodes(parse_condition(written, "when")):
        if isinstance(node, AnyOf | AllOf):
            assert len(node.conditions) > 1
            assert not any(type(member) is type(node) for member in node.conditions)


@given(CONDITIONS)
def test_reading_keeps_every_leaf_in_order(written):
    def words(value: Any) -> list[str]:
        for group in ("any", "all"):
            if group in value:
                return [word for member in value[group] for word in words(member)]
        return [word for word in kinds if word in value]

    kinds = {"event": "event", "status": "status", "result": "result", "exception": "exception", "cron": "schedule"}
    read = [leaf_kind(leaf) for _, leaf in leaves(parse_condition(written, "when"))]
    assert read == [kinds[word] for word in words(written)]
