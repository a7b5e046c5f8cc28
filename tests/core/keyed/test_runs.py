"""What runs are made of: keys, documents, references, functions, identity, time-outs, bounds, versions, fan-out."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from stream_triggers.core.condition import leaves
from stream_triggers.core.invocation import RunIds
from stream_triggers.core.keyed.pending import pending
from stream_triggers.core.keyed.state import (
    OCCURRENCES_MAX,
    Clocks,
    KeyState,
    Match,
    Occurrence,
    Wake,
    decode_state,
    decode_wake,
    encode_state,
    nominal_id,
)
from stream_triggers.core.message import Event, Failure, Position, Success, TaskResult, TaskStatus
from stream_triggers.core.trigger import needs_state, parse_trigger
from stream_triggers.errors import Corrupt
from tests.core.keyed.machine import START_MS, Machine, plan_of, play, told

AND = "when: {all: [{event: a, as: x}, {event: b, as: y}], within: 10s}\n"


def arguments(trigger, script):
    return play(trigger, script).arguments


# References


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("${x.payload.n}", 1),
        ("${y.payload.n}", 2),
        ("${event.payload.n}", 2),
        ("${message.id}", "b1"),
        ("${x.id} then ${y.id}", "a0 then b1"),
        ("${x.payload.none?}", None),
        ("${all.x.payload.n}", [1]),
        ("${trigger.id}", "t"),
    ],
)
def test_arguments_read_every_participant(template, value):
    assert arguments(AND + f"args: {{v: '{template}'}}", "a@0{n:1} b@1{n:2}") == [{"v": value}]


def test_a_name_alone_is_the_whole_message():
    (made,) = arguments(AND + "args: {v: '${x}'}", "a@0{n:1} b@1")
    assert made["v"]["payload"] == {"n": 1}


def test_all_of_a_name_are_all_that_were_selected():
    trigger = (
        "when: {count: {event: a, as: x}, at_least: 3, within: 10s}\nargs: {ns: '${all.x.payload.n}', last: '${x.id}'}"
    )
    assert arguments(trigger, "a@0{n:1} a@2{n:3} a@1{n:2}") == [{"ns": [1, 2, 3], "last": "a2"}]


def test_the_instant_of_a_schedule_can_be_referred_to():
    trigger = "when: {all: [{cron: '* * * * *'}, {event: a}]}\nargs: {due: '${schedule.id}', a: '${event.id}'}"
    assert arguments(trigger, "a@0 =40") == [{"due": "2023-11-14T22:14:00Z", "a": "a0"}]


def test_a_missing_reference_is_a_refusal_and_the_others_go_on():
    machine = play(AND + "args: {v: '${x.payload.n}'}", "a@0 b@1 a@2{n:1} b@3")
    assert told(machine) == ("3:a2+b3", "arguments_failed:a0+b1")


def test_a_failing_function_is_a_refusal():
    machine = play(AND + "args_from: {event: 'm:bad'}", "a@0 b@1")
    assert [refusal.reason for refusal in machine.refusals] == ["arguments_failed"]
    assert "ZeroDivisionError" in machine.refusals[0].detail


def test_a_function_gets_the_latest_message_of_its_kind():
    assert arguments(AND + "args_from: {any: 'm:one'}", "a@0 b@1") == [{"one": "b1"}]


# Keys and documents


def test_a_key_for_each_leaf():
    trigger = """
    key: ${event.payload.order}
    when: {all: [{event: a}, {event: b, key: "${event.payload.ref}"}], within: 10s}
    """
    machine = play(trigger, "a@0{order:7} b@1{ref:8} b@2{ref:7}")
    assert told(machine).runs == "2:a0+b2"
    assert [firing.key for firing in machine.firings] == ["7"]


def test_without_its_key_a_message_is_a_decision_and_never_shares_a_state():
    machine = play("key: '${event.payload.k}'\n" + AND, "a@0{x:1} b@1{x:1}")
    assert told(machine) == ("", "no_key:a0 no_key:b1")
    assert machine.states == {}


def test_without_keys_a_run_has_none():
    assert [firing.key for firing in play(AND, "a@0 b@1").firings] == [None]


def test_a_fact_has_only_what_the_trigger_needs():
    plan = plan_of(AND + "args: {a: '${x.payload.deep.n}', b: '${x.payload.list.0}', c: '${x.time_ms}'}")
    payload = {"deep": {"n": 1, "m": 2}, "list": [1, 2], "more": 3}
    message = Event("a", "a1", START_MS, None, payload)
    (fact,) = plan.routing.facts(message, [plan.places[0].id], Position("events", 0, 1)).facts
    assert fact.fields == {"payload": {"deep": {"n": 1}, "list": [1, 2]}, "time_ms": START_MS}


def test_what_is_needed_whole_is_kept_whole():
    for args in ("{a: '${x.payload}', b: '${x.payload.n}'}", "{a: '${x.payload.n}', b: '${x.payload}'}"):
        plan = plan_of(AND + f"args: {args}")
        message = Event("a", "a1", START_MS, None, {"n": 1, "m": 2})
        (fact,) = plan.routing.facts(message, [plan.places[0].id], Position("events", 0, 1)).facts
        assert fact.fields == {"payload": {"n": 1, "m": 2}}


def test_a_function_needs_the_whole_message():
    plan = plan_of("when: {all: [{event: a}, {status: s, is: failed}], within: 1m}\nargs_from: {event: 'm:one'}")
    message = Event("a", "a1", START_MS, "k", {"n": 1})
    (fact,) = plan.routing.facts(message, [plan.places[0].id], Position("events", 0, 1)).facts
    assert fact.fields == {
        "code": "a",
        "id": "a1",
        "time_ms": START_MS,
        "key": "k",
        "payload": {"n": 1},
        "source": None,
    }


def test_results_exceptions_and_statuses_take_part():
    machine = Machine("""
    when: {sequence: [{status: t, is: running}, {exception: t}, {result: t}], within: 1m}
    args: {s: "${status.status}", e: "${exception.message}", r: "${result.value.n}", b: "${exception.bases}"}
    """)
    machine.take(TaskStatus("t", "running", "1", "i", START_MS))
    machine.take(TaskResult("t", Failure("E", ("A", "B"), "no"), "2", "i", START_MS + 1))
    machine.take(TaskResult("t", Success({"n": 5, "m": 6}), "3", "i", START_MS + 2))
    assert machine.arguments == [{"s": "running", "e": "no", "r": 5, "b": ["A", "B"]}]


# Runs


def test_a_run_is_named_by_its_participants():
    (firing,) = play(AND, "b@0 a@1").firings
    assert firing.run_id == RunIds("t", 0).of([("event", "a1"), ("event", "b0")])


def test_a_run_has_the_root_and_the_trace_of_the_latest_and_is_one_deeper_than_the_deepest():
    machine = Machine(AND)
    machine.take(Event("a", "a1", START_MS, None, {}, traceparent="ta", root="ra", depth=4))
    machine.take(Event("b", "b1", START_MS + 1, None, {}, traceparent="tb", root="rb", depth=1))
    (firing,) = machine.firings
    assert (firing.root, firing.traceparent, firing.depth) == ("rb", "tb", 5)


def test_a_run_names_the_leaf_of_each_participant():
    (firing,) = play(AND, "b@0 a@1").firings
    assert [each.leaf for each in firing.participants] == ["when.all[1]", "when.all[0]"]


def test_what_did_not_come_in_time_is_named_and_makes_its_own_run():
    trigger = AND + "on_timeout: {task: orders.remind, args: {got: '${x.id?}', late: '${y.id?}'}}"
    machine = play(trigger, "a@0 =10.001")
    (firing,) = machine.firings
    assert (firing.task, machine.arguments, firing.time_ms) == (
        "orders.remind",
        [{"got": "a0", "late": None}],
        START_MS + 10_000,
    )
    assert firing.run_id != RunIds("t", 0).of([("event", "a0")])
    assert [(refusal.reason, refusal.detail) for refusal in machine.refusals] == [
        ("partial_expired", "missing when.all[1]")
    ]


def test_a_partial_match_is_told_once():
    trigger = "when: {all: [{event: a}, {event: b}, {event: c}], within: 10s}\non_timeout: {task: r}"
    machine = play(trigger, "a@0 b@5 =11 =30")
    assert told(machine) == ("10:a0+b5", "partial_expired:a0+b5")


def test_a_list_makes_a_run_for_each_element():
    trigger = "when: {event: a}\nfor_each: '${event.payload.l}'\nargs: {v: '${each.value}', i: '${each.index}'}"
    machine = play(trigger, "a@0{l:[x,y]}")
    assert machine.arguments == [{"v": "x", "i": 0}, {"v": "y", "i": 1}]
    assert len({firing.run_id for firing in machine.firings}) == 2


def test_matches_pass_flow_control():
    assert told(play("when: {event: a}\nrate_limit: {max: 1, per: 1m}", "a@0 a@1")) == ("0:a0", "rate_limited:a1")
    assert told(play("when: {event: a}\ndelay: 5s", "a@0 =4 =5")).runs == "0:a0"


def test_a_run_that_cannot_be_made_keeps_no_other_waiting():
    machine = play("when: {event: a}\noverlap: skip\nargs: {n: '${event.payload.n}'}", "a@0{m:1} a@1{n:1}")
    assert told(machine) == ("1:a1", "arguments_failed:a0")


def test_a_run_expires_so_long_after_its_own_instant():
    machine = play("when: {event: a}\nexpires: 10s\nthrottle: {max: 1, per: 8s}", "a@0 a@1 a@2 =8 =12")
    assert told(machine) == ("0:a0 1:a1", "expired:a2")
    assert [firing.expires_ms - firing.time_ms for firing in machine.firings] == [10_000, 10_000]


def test_a_run_that_comes_too_late_is_refused_and_keeps_no_other_waiting():
    machine = play("when: {event: a}\nexpires: 10s\noverlap: skip", "")
    machine.tick(15)
    machine.send("a", 5)
    machine.send("a", 6)
    assert told(machine) == ("6:a6", "expired:a5")


def test_a_list_whose_time_is_over_makes_no_run():
    machine = play("when: {event: a}\nexpires: 10s\nfor_each: '${event.payload.lines}'\nargs: {}", "")
    machine.tick(10)
    machine.send("a", 0, lines=[1, 2])
    assert told(machine) == ("", "expired:a0")


# Bounds and versions


THREE_THAT_DIFFER = (
    "when: {all: [{event: a, as: x, select: each}, {event: b, as: y, select: each}, {event: c, as: z, select: each}],"
    " where: [{left: '${x.payload.n}', eq: '${z.payload.n}'}, {left: '${y.payload.n}', eq: '${z.payload.n}'}]}"
)


def test_of_too_many_combinations_that_do_not_fit_the_oldest_goes_and_says_so():
    machine = Machine(THREE_THAT_DIFFER)
    for number in range(22):
        machine.send("a", number, n=1)
        machine.send("b", 100 + number, n=1)
    for number in range(19):
        machine.send("c", 200 + number, n=0)
    assert told(machine) == ("", "")  # 22 + 22 * 22 + 22 * 22 * 19 = 9702 looks
    machine.send("c", 219, n=0)
    machine.tick(220)
    machine.tick(221)
    assert told(machine) == ("", "hot_key:a0")
    machine.send("c", 222, n=1)
    assert told(machine).runs == "222:a1+b100+c222"


def test_of_far_too_many_combinations_twice_as_many_go_each_time():
    machine = Machine(THREE_THAT_DIFFER.replace("{event: c, as: z, select: each}", "{event: c, as: z}"))
    machine.send("a", 0, n=1)
    state = machine.state()
    assert state is not None
    one, places = state.occurrences[0], machine.plan.places
    crowd = [
        replace(one, leaves=(places[which].id,), at=1000 * which + number, time_ms=START_MS + 1000 * which + number)
        for which in range(2)
        for number in range(150)
    ]
    last = replace(one, leaves=(places[2].id,), at=9000, time_ms=START_MS + 9000, document={"payload": {"n": 0}})
    outcome = machine.plan.on_time(replace(state, occurrences=(*crowd, last)), "", machine.clocks)
    assert [len(each.participants) for each in outcome.refusals] == [1, 2, 4, 8, 16, 32, 64]


def test_a_hot_key_loses_its_oldest_and_says_so():
    machine = Machine("when: {all: [{event: a, select: each}, {event: b}], within: 1d}")
    for number in range(OCCURRENCES_MAX + 2):
        machine.send("a", number)
    assert told(machine).refusals == "hot_key:a0 hot_key:a1"
    assert len(machine.state().occurrences) == OCCURRENCES_MAX


def test_many_vetoes_are_kept_as_few():
    machine = Machine("when: {missing: {event: b}, after: {event: a}, within: 10s}")
    for number in range(1000):
        machine.send("b", number / 10)
    assert len(machine.state().occurrences) <= 22


def test_a_new_version_keeps_what_it_has_a_leaf_for():
    old, new = Machine(AND), Machine("when: {all: [{event: a}, {event: c}], within: 10s}")
    old.send("a", 0)
    old.send("b", 0)
    old.send("a", 1)
    new.states, new.at = {"": old.states.get("", b"")}, 10
    new.send("c", 2)
    assert told(new).runs == "2:a1+c2"


def test_what_a_new_version_has_no_leaf_for_is_told():
    old, new = Machine(AND), Machine("when: {all: [{event: c}, {event: d}], within: 10s}")
    old.send("a", 0)
    new.states, new.at = dict(old.states), 10
    new.send("c", 2)
    assert told(new).refusals == "leaf_gone:a0"


def test_a_new_version_can_forget():
    old, new = Machine(AND), Machine(AND + "state: reset")
    old.send("a", 0)
    new.states, new.at = dict(old.states), 10
    new.send("b", 2)
    assert told(new) == ("", "leaf_gone:a0")


REPEATED = "when: {sequence: [{times: %s, of: {event: a}}, {event: b}], within: 10s}"
ONE_AND_OTHER = "{all: [{event: a, as: x, select: each}, {event: b, as: y, select: each}], within: 10s%s}"
CARRIED_OVER = {
    "fewer repetitions": (REPEATED % "3", REPEATED % "2", "a0+a1+b5", ""),
    "more repetitions": (REPEATED % "2", REPEATED % "3", "a0+a1+a4+b5", ""),
    "as many as there are": (REPEATED % "3", REPEATED % "[1, 9]", "a0+a1+a4+b5", ""),
    "a step that was not repeated": ("when: {sequence: [{event: a}, {event: b}]}", REPEATED % "2", "a0+a1+b5", ""),
    "a step that is not repeated any more": (
        REPEATED % "3",
        "when: {sequence: [{event: a}, {event: b}]}",
        "a0+b5",
        "superseded:a1 superseded:a4",
    ),
    "the same event as two steps": (
        "when: {sequence: [{event: a}, {event: a}, {event: b}]}",
        REPEATED % "2",
        "a0+a1+b5",
        "superseded:a4",
    ),
    "a count": ("when: {count: {event: a}, at_least: 5}", REPEATED % "2", "a0+a1+b5", "superseded:a4"),
    "a strict sequence": (REPEATED % "3", (REPEATED % "[1, 2]").replace("10s", "10s, strict: true"), "a1+a4+b5", ""),
    "what is in an all": ("when: {all: [{times: 9, of: {event: a}}, {event: b}]}", REPEATED % "3", "a0+a1+a4+b5", ""),
    "a comparison": (
        "when: " + ONE_AND_OTHER % "" + "\nargs: {x: '${x.id}'}",
        "when: " + ONE_AND_OTHER % ", where: [{left: '${x.id}', eq: a1}]",
        "a1+b5",
        "",
    ),
    "a comparison with what the version before did not need": (
        "when: " + ONE_AND_OTHER % "",
        "when: " + ONE_AND_OTHER % ", where: [{left: '${x.id}', eq: a1}]",
        "",
        "filter_failed:a0 filter_failed:a1",
    ),
    "what is forgotten": (REPEATED % "3", REPEATED % "2" + "\nstate: reset", "", "leaf_gone:a0 leaf_gone:a1"),
}


@pytest.mark.parametrize(("before", "after", "runs", "refusals"), CARRIED_OVER.values(), ids=CARRIED_OVER.keys())
def test_row_h3_what_is_kept_for_a_leaf_goes_over_to_other_nodes_around_it(before, after, runs, refusals):
    old, new = Machine(before), Machine(after)
    old.send("a", 0)
    old.send("a", 1)
    new.states, new.at = dict(old.states), old.at
    new.send("a", 4)
    new.send("b", 5)
    assert [ids.replace(" ", "+") for _, ids in new.ran] == runs.split()
    assert set(refusals.split()) <= set(told(new).refusals.split())


def test_row_h3_a_changed_calendar_is_another_schedule_which_begins_anew():
    old, new = (
        Machine("when: {cron: '* * * * *', exclude: [sun]}"),
        Machine("when: {cron: '* * * * *', exclude: [sat]}"),
    )
    old.tick(40)
    new.states, new.clocks = dict(old.states), Clocks(START_MS + 170_000, START_MS + 170_000)
    new._take("", new.plan.on_time(new.state(), "", new.clocks))
    assert new.ran == []
    new.tick(220)
    assert told(new).runs == "220:2023-11-14T22:17:00Z"


def test_a_fact_of_a_leaf_that_is_gone_is_a_decision():
    old, new = plan_of(AND), plan_of("when: {all: [{event: c}, {event: d}], within: 10s}")
    (fact,) = old.routing.facts(Event("a", "a1", START_MS, None, {}), [old.places[0].id], Position("e", 0, 1)).facts
    outcome = new.on_fact(None, "", fact, 1, Clocks(START_MS, START_MS))
    assert [refusal.reason for refusal in outcome.refusals] == ["leaf_gone"]


def test_a_changed_schedule_begins_anew():
    old, new = Machine("when: {cron: '* * * * *'}"), Machine("when: {cron: '*/2 * * * *'}")
    old.tick(40)
    new.states, new.clocks = dict(old.states), Clocks(START_MS + 90_000, START_MS + 90_000)
    new._take("", new.plan.on_time(new.state(), "", new.clocks))
    new.tick(99)
    assert new.ran == []
    new.tick(160)
    assert told(new).runs == "160:2023-11-14T22:16:00Z"


# Which triggers need it


@pytest.mark.parametrize(
    ("change", "needs"),
    [
        ({"when": {"event": "a"}}, False),
        ({"when": {"any": [{"event": "a"}, {"event": "b"}]}, "key": "${event.key}"}, False),
        ({"when": {"event": "a"}, "ttl": "1d", "grace": "1s", "state": "reset"}, False),
        ({"when": {"event": "a", "as": "x"}}, True),
        ({"when": {"cron": "@daily"}}, True),
        ({"when": {"all": [{"event": "a"}, {"event": "b"}]}}, True),
        ({"when": {"any": [{"event": "a"}, {"after": {"event": "b"}, "wait": "1s"}]}}, True),
        ({"when": {"event": "a"}, "cooldown": {"for": "1d"}}, True),
        ({"when": {"event": "a"}, "max_depth": 3}, True),
        ({"when": {"event": "a"}, "reset": {"event": "b"}}, True),
        ({"when": {"event": "a"}, "on_timeout": {"task": "b"}}, True),
    ],
)
def test_memory_time_and_flow_control_need_the_keyed_stage(change, needs):
    assert needs_state(parse_trigger({"id": "t", "task": "b", **change})) is needs


def test_equal_leaves_have_ids_of_their_own():
    plan = plan_of("when: {sequence: [{event: a}, {event: a, as: y}, {event: b}], within: 10s}")
    first, second, third = (place.id for place in plan.places)
    assert second == f"{first}.1"
    assert third not in (first, second)
    assert len(leaves(plan.trigger.when)) == 3


# What waits


def test_pending_says_what_is_there_and_what_is_missing():
    machine = play("when: {all: [{event: a}, {event: b}, {event: c}], within: 10s}", "a@0 b@1")
    (open_,) = pending(machine.state(), machine.plan, machine.clocks).open
    assert [each.id for each in open_.present] == ["a0", "b1"]
    assert (open_.missing, open_.until_ms) == (("when.all[2]",), START_MS + 10_000)


@pytest.mark.parametrize(
    ("when", "script", "missing"),
    [
        ("{count: {event: a}, at_least: 3, within: 10s}", "a@0", ("2 more of when.count",)),
        ("{at_least: 2, of: [{event: a}, {event: b}, {event: c}]}", "a@0", ("1 of when.of[1], when.of[2]",)),
        ("{sequence: [{event: a}, {event: b}, {event: c}], within: 10s}", "a@0 c@1", ("when.sequence[1]",)),
        ("{all: [{event: a}, {any: [{event: b}, {event: c}]}]}", "a@0", ("when.all[1].any[0] or when.all[1].any[1]",)),
    ],
)
def test_what_is_missing_is_named_by_its_path(when, script, missing):
    machine = play(f"when: {when}", script)
    assert pending(machine.state(), machine.plan, machine.clocks).open[0].missing == missing


def test_nothing_is_pending_without_a_state():
    machine = Machine(AND)
    assert pending(None, machine.plan, machine.clocks) == ((), {}, (), 0)


# The written state

OCCURRENCE = Occurrence(("l",), "event", "e", "events", 1, 2, 3, 4, {"payload": {"n": [1, None, "é"]}}, "t", "r", 5, 1)


@pytest.mark.parametrize(
    ("state", "wake"),
    [
        (KeyState("v"), Wake()),
        (KeyState("v", (OCCURRENCE,), {"w": [1.5, None]}, {}, -5), Wake(0, None)),
        (KeyState("v", (), {}, {"g": [[["x"], 7]]}), Wake(None, 2**62)),
    ],
)
def test_a_state_is_read_as_it_was_written(state, wake):
    assert decode_state(encode_state(state, wake)) == (state, wake)
    assert decode_wake(encode_state(state, wake)) == wake


def test_a_match_inside_a_gate_survives_writing():
    written = encode_state(KeyState("v", gates={"g": [Match((OCCURRENCE,), 3)]}), Wake())
    assert decode_state(written)[0].gates["g"][0][1:] == [3, None]


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x02" + bytes(16) + b"\x90", b"\x01" + bytes(16) + b"\xff"])
def test_a_state_that_cannot_be_read_is_corrupt(data):
    with pytest.raises(Corrupt):
        decode_state(data)


@pytest.mark.parametrize(
    ("instant", "name"), [(0, "1970-01-01T00:00:00Z"), (1_700_000_000_001, "2023-11-14T22:13:20.001Z")]
)
def test_an_instant_has_one_name(instant, name):
    assert nominal_id(instant) == name
