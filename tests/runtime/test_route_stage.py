"""The route stage: every outcome of a message, in one batch or in several, whatever the triggers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_triggers.core.invocation import Decision, Invocation, TriggerRun
from stream_triggers.core.message import (
    TEXT_BYTES_MAX,
    Event,
    Failure,
    Message,
    Participant,
    Success,
    TaskResult,
    TaskStatus,
)
from stream_triggers.core.record import DeadLetter
from stream_triggers.core.route import RouteIndex, plan
from stream_triggers.core.trigger import parse_trigger, version
from stream_triggers.runtime.claims import Claims
from stream_triggers.runtime.clock import ManualClock
from stream_triggers.runtime.codec import decode, encode
from stream_triggers.runtime.functions import AllowedFunctions
from stream_triggers.runtime.keyed.facts import Defined, FactWriter
from stream_triggers.runtime.log import Outgoing, TopicPartition, slices
from stream_triggers.runtime.memory_log import Entry
from stream_triggers.runtime.memory_log.topic import COMMITTED
from stream_triggers.runtime.route_stage import Outputs, RouteStage
from stream_triggers.runtime.store import MemoryStore
from stream_triggers.runtime.topics import LETTER_BYTES_MAX as LETTER_BYTES
from stream_triggers.runtime.topics import MESSAGE_BYTES_MAX as MESSAGE_BYTES
from stream_triggers.runtime.topics import Topics
from stream_triggers.telemetry import Counters
from tests.engine_bundle import SHIP, paid

TOPICS = Topics("triggers")
MESSAGE_BYTES_MAX = 1024
LARGEST = 3 * 1024 * 1024  # that payload_bytes_max can be
TIME_MS = 1_700_000_000_000

NEEDS_COUPON = {"id": "coupon", "task": "orders.coupon", "when": {"event": "paid"}, "args": {"c": "${event.payload.c}"}}
NEEDS_NUMBER = {"id": "large", "task": "orders.check", "when": {"event": "paid", "filter": {"amount": {"gt": 5}}}}


class Stage:
    """A stage with its triggers, and what came out of it."""

    def __init__(
        self,
        *triggers: Mapping[str, Any],
        allow_modules: Sequence[str] = (),
        runs_partition: int = 3,
        bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> None:
        self.counters = Counters()
        self.store = MemoryStore()
        self.claims = Claims(self.store, 60_000)
        self.functions = AllowedFunctions(allow_modules)
        self.stage = RouteStage(
            TOPICS, runs_partition, self.claims, FactWriter(1, ManualClock()), self.counters, bytes_max
        )
        self.use(*triggers)
        self.offset = 0
        self.outputs = Outputs()

    def use(self, *triggers: Mapping[str, Any]) -> None:
        plans = [plan(parse_trigger(each), self.functions) for each in triggers]
        keyed = {each.trigger.id: Defined(each.trigger.id, each.version, 0, b"{}") for each in plans if each.keyed}
        self.stage.use(RouteIndex(plans), keyed, {})

    def process(self, *values: Message | bytes | None, topic: str = "", partition: int = 0) -> Stage:
        """One batch."""
        records = []
        for value in values:
            data = value if value is None or isinstance(value, bytes) else encode(value)
            where = topic or topic_of(value)
            records.append(Entry(where, partition, self.offset, b"k", data, TIME_MS, COMMITTED))
            self.offset += 1
        outputs = self.stage.process(slices(records))
        self.outputs.invocations += outputs.invocations
        self.outputs.runs += outputs.runs
        self.outputs.dead_letters += outputs.dead_letters
        self.outputs.facts += outputs.facts
        return self

    def commit(self) -> None:
        self.store.apply(self.claims.settle(0))

    def fired(self) -> list[str]:
        return [f"{each.trigger_id} {each.causes[0]}" for each in decoded(self.outputs.invocations, Invocation)]

    def decisions(self) -> list[str]:
        found = decoded(self.outputs.runs, Decision)
        return [f"{each.reason} {each.trigger_id} {each.kind}/{each.id} @{each.offset}" for each in found]

    def keys(self) -> list[str | None]:
        """Those that decisions name."""
        return [each.key for each in decoded(self.outputs.runs, Decision)]

    def letters(self) -> list[str]:
        found = decoded(self.outputs.dead_letters, DeadLetter)
        return [f"{each.stage} {each.trigger_id} @{each.offset}" for each in found]


def decoded(records: list[Outgoing], kind: type[Any]) -> list[Any]:
    values = (decode(record["value"]) for record in records)
    return [value for value in values if isinstance(value, kind)]


def topic_of(value: Message | bytes | None) -> str:
    match value:
        case TaskStatus():
            return TOPICS.task_status
        case TaskResult():
            return TOPICS.task_results
        case _:
            return TOPICS.events


def status(status_id: str, task: str = "orders.ship", name: str = "success") -> TaskStatus:
    return TaskStatus(task, name, status_id, "i1", 7, arguments={"order": "o1"})


def result(result_id: str, outcome: Success | Failure, task: str = "orders.ship") -> TaskResult:
    return TaskResult(task, outcome, result_id, "i1", 7, arguments={"order": "o1"})


LATE = Failure("TimeoutError", ("OSError",), "too late")


# A run


def test_a_match_makes_an_invocation_with_everything_it_derives_from_its_cause() -> None:
    trigger = {**SHIP, "key": "${event.payload.order}", "args": {"order": "${event.payload.order}", "run": "${run.id}"}}
    event = Event("paid", "e1", 7, None, {"order": "o1"}, traceparent="00-a-b-01", root="r0", depth=2)
    stage = Stage(trigger).process(event)
    (record,) = stage.outputs.invocations
    run_id = "520133fe9e9b840e99370be3572ff54c"
    assert decode(record["value"]) == Invocation(
        task="orders.ship",
        trigger_id="ship",
        trigger_version=version(parse_trigger(trigger)),
        id=run_id,
        run_id=run_id,
        time_ms=7,
        key="o1",
        arguments={"order": "o1", "run": run_id},
        causes=("event/e1",),
        traceparent="00-a-b-01",
        root="r0",
        depth=3,
    )
    assert record["key"] == b"o1"


def test_a_run_without_a_key_is_placed_by_its_run_id_and_is_its_own_root() -> None:
    (record,) = Stage(SHIP).process(paid("e1")).outputs.invocations
    invocation = decode(record["value"], (Invocation,))
    assert record["key"] == invocation.run_id.encode()
    assert (invocation.key, invocation.root, invocation.depth) == (None, "e1", 1)


def test_a_match_makes_a_run_record_that_names_its_participant() -> None:
    stage = Stage(SHIP, runs_partition=1).process(paid("e0"), paid("e1"), partition=3)
    second = stage.outputs.runs[1]
    run = decode(second["value"], (TriggerRun,))
    assert run.participants == (Participant("when", "event", "e1", "events", 3, 1, 7),)
    assert (run.trigger_id, run.task, run.epoch, run.root, run.depth) == ("ship", "orders.ship", 0, "e1", 1)
    assert second["key"] == run.run_id.encode()
    assert second["partition"] == 1


@pytest.mark.parametrize(
    ("when", "message", "fires"),
    [
        ({"event": "paid"}, paid("m"), True),
        ({"event": "paid"}, Event("sent", "m", 7, None, {}), False),
        ({"event": "paid", "filter": {"order": "o1"}}, paid("m"), True),
        ({"event": "paid", "filter": {"order": "o2"}}, paid("m"), False),
        ({"status": "orders.ship", "is": ["success"]}, status("m"), True),
        ({"status": "orders.ship", "is": ["failed"]}, status("m"), False),
        ({"status": "*", "is": ["success"]}, status("m", task="any"), True),
        ({"status": "*", "is": ["success"], "arguments": {"order": "o2"}}, status("m"), False),
        ({"result": "orders.ship"}, result("m", Success(1)), True),
        ({"result": "orders.ship"}, result("m", LATE), False),
        ({"result": "orders.ship", "filter": {"$": {"gt": 5}}}, result("m", Success(6)), True),
        ({"exception": "orders.ship"}, result("m", LATE), True),
        ({"exception": "orders.ship"}, result("m", Success(1)), False),
        ({"exception": "*", "types": ["OSError"]}, result("m", LATE), True),
        ({"exception": "*", "types": ["ValueError"]}, result("m", LATE), False),
        ({"exception": "*"}, result("m", Failure("E", (), "", final=False)), False),
        ({"exception": "*", "attempts": "every"}, result("m", Failure("E", (), "", final=False)), True),
    ],
)
def test_a_leaf_of_each_kind(when: Mapping[str, Any], message: Message, fires: bool) -> None:
    stage = Stage({"id": "t", "task": "t", "when": when}).process(message)
    assert len(stage.outputs.invocations) == fires
    assert (stage.counters.matched, stage.counters.unmatched) == (int(fires), int(not fires))
    assert stage.letters() == []


def test_one_message_that_two_leaves_of_an_or_accept_makes_one_run() -> None:
    either = {"any": [{"event": "paid", "filter": {"order": "o1"}}, {"event": "paid"}]}
    stage = Stage({"id": "t", "task": "t", "when": either}).process(paid("e1"))
    assert stage.fired() == ["t event/e1"]
    assert decoded(stage.outputs.runs, TriggerRun)[0].participants[0].leaf == "when.any[0]"


def test_an_or_over_kinds_fires_for_each_message() -> None:
    either = {"any": [{"event": "paid"}, {"status": "*", "is": ["success"]}]}
    stage = Stage({"id": "t", "task": "t", "when": either}).process(paid("m"), status("m"))
    assert stage.fired() == ["t event/m", "t status/m"]


def test_two_failures_of_one_task_make_two_runs() -> None:
    alarm = {"id": "alarm", "task": "t", "when": {"exception": "orders.ship", "attempts": "every"}}
    stage = Stage(alarm).process(result("attempt-1", LATE), result("attempt-2", LATE))
    assert stage.fired() == ["alarm exception/attempt-1", "alarm exception/attempt-2"]


def test_several_triggers_fire_in_the_order_of_their_ids() -> None:
    stage = Stage({**SHIP, "id": "b"}, {**SHIP, "id": "a"}).process(paid("e1"), paid("e2"))
    assert stage.fired() == ["a event/e1", "b event/e1", "a event/e2", "b event/e2"]


# No run


def test_a_message_nobody_listens_to_is_counted() -> None:
    stage = Stage(SHIP).process(Event("sent", "e1", 7, None, {}), Event("sent", "e2", 7, None, {}), paid("e3"))
    assert (stage.counters.messages, stage.counters.unmatched, stage.counters.matched) == (3, 2, 1)
    assert stage.outputs.dead_letters == []


@pytest.mark.parametrize("is_committed", [False, True])
def test_a_repeat_makes_a_decision_instead_of_a_run(is_committed: bool) -> None:
    stage = Stage(SHIP).process(paid("e1"))
    if is_committed:
        stage.commit()
    stage.process(paid("e1"))
    assert stage.fired() == ["ship event/e1"]
    assert stage.decisions() == ["duplicate ship event/e1 @1"]
    assert stage.counters.decisions == {"duplicate": 1}


def test_a_repeat_in_the_same_batch_makes_a_decision_instead_of_a_run() -> None:
    stage = Stage(SHIP).process(paid("e1"), paid("e1"))
    assert stage.fired() == ["ship event/e1"]
    assert stage.decisions() == ["duplicate ship event/e1 @1"]


def test_a_repeat_is_a_repeat_also_where_its_arguments_fail() -> None:
    in_one_batch = Stage(NEEDS_COUPON).process(paid("e1", c=1), paid("e1"))
    in_two = Stage(NEEDS_COUPON).process(paid("e1", c=1)).process(paid("e1"))
    assert in_one_batch.decisions() == in_two.decisions() == ["duplicate coupon event/e1 @1"]
    assert in_one_batch.letters() == in_two.letters() == []


def test_a_repeat_in_another_partition_is_none() -> None:
    stage = Stage(SHIP).process(paid("e1")).process(paid("e1"), partition=1)
    assert stage.fired() == ["ship event/e1", "ship event/e1"]


def test_a_decision_names_what_it_is_about() -> None:
    stage = Stage(SHIP, runs_partition=1).process(paid("e1"), paid("e1"), partition=3)
    record = stage.outputs.runs[-1]
    run_id = decode(stage.outputs.invocations[0]["value"], (Invocation,)).run_id
    assert decode(record["value"]) == Decision(
        reason="duplicate",
        topic="events",
        partition=3,
        offset=1,
        time_ms=7,
        trigger_id="ship",
        trigger_version=version(parse_trigger(SHIP)),
        run_id=run_id,
        kind="event",
        id="e1",
    )
    assert (record["key"], record["partition"]) == (run_id.encode(), 1)


def test_a_filter_that_fails_makes_a_decision_and_a_dead_letter() -> None:
    stage = Stage(NEEDS_NUMBER).process(paid("e1", amount="much"))
    assert stage.decisions() == ["filter_failed large event/e1 @0"]
    assert stage.letters() == ["filter large @0"]
    assert stage.counters.unmatched == 0


def test_arguments_that_fail_make_a_decision_and_a_dead_letter_and_claim_nothing() -> None:
    stage = Stage(NEEDS_COUPON).process(paid("e1"))
    assert stage.decisions() == ["arguments_failed coupon event/e1 @0"]
    assert stage.letters() == ["arguments coupon @0"]
    assert stage.claims.pending() == {}
    (decision,) = decoded(stage.outputs.runs, Decision)
    assert decision.detail == "when: args.c: event.payload.c is missing"


BY_KEY = {"key": "${event.key}"}
COUNTED = {"id": "twice", "task": "t", "when": {"count": {"event": "paid"}, "at_least": 2, "within": "1h"}}
OF_CUSTOMERS = {"event": "paid", "filter": {"amount": {"gt": 5}}, "key": "${event.payload.customer}"}


@pytest.mark.parametrize(
    ("trigger", "decided"),
    [
        (NEEDS_COUPON | BY_KEY, ("arguments_failed", "k")),
        (NEEDS_NUMBER | BY_KEY, ("filter_failed", "k")),
        (NEEDS_NUMBER | BY_KEY | {"when": {"count": NEEDS_NUMBER["when"], "at_least": 2}}, ("filter_failed", "k")),
        (NEEDS_NUMBER | BY_KEY | {"when": {"count": OF_CUSTOMERS, "at_least": 2}}, ("filter_failed", "c1")),
        (NEEDS_COUPON, ("arguments_failed", None)),
        (NEEDS_COUPON | {"key": "${event.payload.nothing}"}, ("arguments_failed", None)),
        (NEEDS_COUPON | {"key": "${event.payload.empty}"}, ("arguments_failed", None)),
        (COUNTED | {"key": "${event.payload.nothing}"}, ("no_key", None)),
    ],
    ids=["arguments", "filter", "keyed", "a leaf's own", "no key", "missing", "empty", "missing, keyed"],
)
def test_a_decision_about_what_failed_names_the_key_that_there_would_have_been(
    trigger: Mapping[str, Any], decided: tuple[str, str | None]
) -> None:
    stage = Stage(trigger).process(Event("paid", "e1", 7, "k", {"amount": "much", "customer": "c1", "empty": ""}))
    (decision,) = decoded(stage.outputs.runs, Decision)
    assert (decision.reason, decision.key) == decided


def test_a_run_that_would_be_too_deep_is_told_with_its_key() -> None:
    stage = Stage(SHIP | BY_KEY).process(Event("paid", "e1", 7, "k", {"order": 1}, depth=99))
    assert (stage.decisions(), stage.keys()) == (["too_deep ship event/e1 @0"], ["k"])


@pytest.mark.parametrize(
    ("trigger", "key"),
    [
        (SHIP | BY_KEY, None),
        (COUNTED | BY_KEY, "k"),
        (COUNTED, None),
        (COUNTED | {"when": {"all": [{"event": "paid", "key": "${event.key}"}, OF_CUSTOMERS]}}, None),
    ],
    ids=["direct", "keyed", "without a key", "of several keys"],
)
def test_a_repeat_names_the_one_key_of_what_is_remembered(trigger: Mapping[str, Any], key: str | None) -> None:
    event = Event("paid", "e1", 7, "k", {"order": 1, "amount": 9, "customer": "c1"})
    stage = Stage(trigger).process(event).process(event)
    assert stage.keys() == [key]


def test_a_key_that_fails_makes_a_decision_and_a_dead_letter() -> None:
    stage = Stage({**SHIP, "key": "${event.payload.customer}"}).process(paid("e1"))
    assert stage.decisions() == ["arguments_failed ship event/e1 @0"]
    assert stage.letters() == ["arguments ship @0"]


def test_arguments_that_outgrow_the_limit_fail_their_trigger_only() -> None:
    doubling = {**SHIP, "id": "doubling", "args": {"a": "${event.payload.note}", "b": "${event.payload.note}"}}
    stage = Stage(SHIP, doubling).process(paid("e1", note="x" * 600))
    assert stage.fired() == ["ship event/e1"]
    assert stage.letters() == ["arguments doubling @0"]
    (decision,) = decoded(stage.outputs.runs, Decision)
    assert decision.detail == "when: arguments and key have 1215 bytes, the limit is 1024"


def test_what_is_nested_too_deeply_to_be_written_fails_its_trigger_only() -> None:
    deep: Any = 1
    for _ in range(252):
        deep = [deep]
    nesting = {**SHIP, "id": "nesting", "args": {"a": {"b": {"c": {"d": "${event.payload.note}"}}}}}
    stage = Stage(SHIP, nesting).process(paid("e1", note=deep))
    assert stage.fired() == ["ship event/e1"]
    assert stage.letters() == ["arguments nesting @0"]


def test_a_chain_of_causes_ends_where_it_is_as_long_as_one_may_be() -> None:
    stage = Stage(SHIP).process(*[msgspec.structs.replace(paid(f"e{n}"), depth=n) for n in (31, 32, 2**31 - 1)])
    (invocation,) = decoded(stage.outputs.invocations, Invocation)
    assert (invocation.causes, invocation.depth) == (("event/e31",), 32)
    assert stage.decisions() == ["too_deep ship event/e32 @1", f"too_deep ship event/e{2**31 - 1} @2"]
    assert stage.letters() == []


def test_a_dead_letter_holds_no_more_than_a_record_may() -> None:
    stage = Stage(SHIP).process(b"x" * (MESSAGE_BYTES + 5))
    (letter,) = decoded(stage.outputs.dead_letters, DeadLetter)
    assert letter.value == b"x" * MESSAGE_BYTES
    assert letter.error == "message has 4194309 bytes, the limit is 1024"


def test_a_message_that_failed_may_fire_when_it_comes_again() -> None:
    stage = Stage(NEEDS_COUPON).process(paid("e1"), paid("e1", c=1))
    assert stage.fired() == ["coupon event/e1"]
    assert stage.decisions() == ["arguments_failed coupon event/e1 @0"]


def test_the_others_fire_when_one_trigger_fails() -> None:
    stage = Stage(SHIP, NEEDS_COUPON, NEEDS_NUMBER).process(paid("e1", amount="much"))
    assert stage.fired() == ["ship event/e1"]
    assert sorted(stage.letters()) == ["arguments coupon @0", "filter large @0"]


def test_a_dead_letter_holds_the_message_as_it_came() -> None:
    event = paid("e1")
    (record,) = Stage(NEEDS_COUPON).process(event, partition=2).outputs.dead_letters
    assert decode(record["value"]) == DeadLetter(
        topic="events",
        partition=2,
        offset=0,
        timestamp_ms=TIME_MS,
        key=b"k",
        value=encode(event),
        stage="arguments",
        error="when: args.c: event.payload.c is missing",
        trigger_id="coupon",
    )
    assert record["key"] == b"k"


# What cannot be read


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        ("events", None),
        ("events", b""),
        ("events", b"garbage"),
        ("events", encode(paid("e1"))[:11]),
        ("events", encode(paid("e1"))[:-1]),
        ("events", encode(status("s1"))),
        ("task-status", encode(paid("e1"))),
        ("task-results", encode(status("s1"))),
    ],
    ids=["nothing", "empty", "garbage", "cut in the code", "cut at the end", "status", "event", "status as a result"],
)
def test_what_is_no_message_of_its_topic_is_dead_lettered_and_the_rest_goes_on(topic: str, value: bytes | None) -> None:
    everything = {"any": [{"event": "paid"}, {"status": "*", "is": ["success"]}, {"result": "*"}]}
    good: Any = {"events": paid("g"), "task-status": status("g"), "task-results": result("g", Success(1))}[topic]
    stage = Stage({"id": "t", "task": "t", "when": everything}).process(good, value, topic=topic).process(good)
    assert stage.letters() == ["decode None @1"]
    assert len(stage.fired()) == 1
    (letter,) = decoded(stage.outputs.dead_letters, DeadLetter)
    assert letter.value == value


@pytest.mark.parametrize("is_known", [False, True])
def test_a_message_larger_than_the_limit_is_dead_lettered(is_known: bool) -> None:
    stage = Stage(SHIP)
    if is_known:
        stage.process(paid("e0"))
    stage.process(paid("e1", note="x" * MESSAGE_BYTES_MAX), paid("e2"))
    assert stage.fired()[-1] == "ship event/e2"
    (letter,) = decoded(stage.outputs.dead_letters, DeadLetter)
    assert (letter.stage, letter.error) == ("decode", "message has 1074 bytes, the limit is 1024")


def test_a_message_as_large_as_the_limit_is_processed() -> None:
    room = MESSAGE_BYTES_MAX - len(encode(paid("e1", note="x" * 100))) + 100
    event = paid("e1", note="x" * room)
    assert len(encode(event)) == MESSAGE_BYTES_MAX
    assert Stage(SHIP).process(event).fired() == ["ship event/e1"]


TEXT = "x" * TEXT_BYTES_MAX


@pytest.mark.parametrize("field", ["id", "root", "traceparent", "key"])
@pytest.mark.parametrize(("text", "size_bytes"), [(TEXT + "x", 65537), ("ä" * 32769, 65538)])
def test_no_run_is_made_of_a_message_with_a_long_text_that_it_would_repeat(
    field: str, text: str, size_bytes: int
) -> None:
    keyed = {**SHIP, "key": "${event.key}"}
    stage = Stage(keyed, bytes_max=LARGEST)
    event = Event("paid", "e1", 7, "k", {"order": 1})
    stage.process(msgspec.structs.replace(event, **{field: text}), msgspec.structs.replace(event, id="e2"))
    assert stage.fired() == ["ship event/e2"]
    (letter,) = decoded(stage.outputs.dead_letters, DeadLetter)
    assert (letter.stage, letter.error) == ("arguments", f"when: {field} has {size_bytes} bytes, the limit is 65536")
    assert stage.keys() == [None if field == "key" else "k"]


@pytest.mark.parametrize("field", ["id", "root", "traceparent", "key"])
def test_no_fact_is_made_of_a_message_with_a_long_text_that_a_run_would_repeat(field: str) -> None:
    counted = {**SHIP, "key": "${event.key}", "when": {"count": {"event": "paid"}, "at_least": 2, "within": "1h"}}
    stage = Stage(counted, bytes_max=LARGEST)
    event = Event("paid", "e1", 7, "k", {"order": 1})
    stage.process(msgspec.structs.replace(event, **{field: TEXT + "x"}))
    assert stage.outputs.facts == []
    (letter,) = decoded(stage.outputs.dead_letters, DeadLetter)
    assert (letter.stage, letter.trigger_id) == ("arguments", "ship")
    assert letter.error.endswith(f": {field} has 65537 bytes, the limit is 65536")
    assert [each.split(" event/")[0] for each in stage.decisions()] == ["arguments_failed ship"]
    assert stage.keys() == [None if field == "key" else "k"]


def test_whatever_a_message_within_the_limits_makes_can_be_written() -> None:
    everything = {**SHIP, "key": "${event.key}", "args": {"all": "${event.payload}"}}
    event = Event("paid", TEXT, 7, TEXT, "x" * (LARGEST - 5 * TEXT_BYTES_MAX - 1024), TEXT, TEXT, TEXT)
    failing = {**everything, "id": "failing", "args": {"all": "${event.payload}${event.payload}"}}
    stage = Stage(everything, failing, bytes_max=LARGEST).process(event, event)
    outputs = stage.outputs
    assert (len(outputs.invocations), len(outputs.runs), len(outputs.dead_letters)) == (1, 4, 2)
    sizes = [len(each["value"] or b"") + len(each["key"] or b"") for each in outputs.invocations + outputs.runs]
    assert max(sizes) < MESSAGE_BYTES
    assert max(len(each["value"] or b"") for each in outputs.dead_letters) < LETTER_BYTES


# Functions


def test_a_function_of_an_allowed_module_decides() -> None:
    trigger = {"id": "t", "task": "t", "when": {"event": "paid", "filter": {"call": "tests.runtime.rules:is_large"}}}
    stage = Stage(trigger, allow_modules=["tests.runtime.rules"])
    stage.process(paid("e1", amount=9), paid("e2", amount=1))
    assert stage.fired() == ["t event/e1"]


def test_a_function_that_raises_is_a_failure_of_its_trigger() -> None:
    trigger = {"id": "t", "task": "t", "when": {"event": "paid", "filter": {"call": "tests.runtime.rules:is_large"}}}
    stage = Stage(trigger, SHIP, allow_modules=["tests.runtime.rules"]).process(paid("e1"))
    assert stage.fired() == ["ship event/e1"]
    assert stage.decisions() == ["filter_failed t event/e1 @0"]


def test_a_function_makes_the_arguments() -> None:
    trigger = {
        "id": "t",
        "task": "t",
        "when": {"event": "paid"},
        "args_from": {"event": "tests.runtime.rules:arguments"},
    }
    stage = Stage(trigger, allow_modules=["tests.runtime.rules"]).process(paid("e1"))
    assert decode(stage.outputs.invocations[0]["value"], (Invocation,)).arguments == {"id": "e1"}


# Definitions


def test_other_triggers_are_in_force_from_the_next_batch_on() -> None:
    stage = Stage(SHIP).process(paid("e1"), Event("sent", "s1", 7, None, {}))
    stage.use({**SHIP, "id": "note", "when": {"event": "sent"}, "args": {}})
    stage.process(paid("e2"), Event("sent", "s2", 7, None, {}))
    assert stage.fired() == ["ship event/e1", "note event/s2"]


def test_an_edited_trigger_does_not_fire_again_for_what_has_fired() -> None:
    stage = Stage(SHIP).process(paid("e1"))
    stage.use({**SHIP, "task": "orders.send"})
    stage.process(paid("e1"))
    assert stage.decisions() == ["duplicate ship event/e1 @1"]


def test_a_higher_epoch_fires_again_for_what_has_fired() -> None:
    stage = Stage(SHIP).process(paid("e1"))
    stage.use({**SHIP, "epoch": 1})
    stage.process(paid("e1"))
    assert stage.fired() == ["ship event/e1", "ship event/e1"]


def test_a_decision_about_a_position_goes_where_the_runs_go() -> None:
    record = Stage(SHIP, runs_partition=1).stage.decide("definitions_changed", TopicPartition("events", 3), 5, 8, "12")
    assert decode(record["value"]) == Decision("definitions_changed", "events", 3, 5, 8, detail="12")
    assert (record["key"], record["partition"]) == (None, 1)


# Batches

MESSAGES: Sequence[Callable[[int], Message | bytes | None]] = (
    lambda number: paid(f"e{number}", amount=number),
    lambda number: paid(f"e{number}", amount="much", c=1),
    lambda number: Event("sent", f"e{number}", 7, None, {}),
    lambda number: b"garbage",
)


@given(
    st.lists(st.tuples(st.sampled_from(MESSAGES), st.integers(0, 3)), max_size=12),
    st.sets(st.integers(1, 11)),
)
def test_how_messages_are_batched_changes_nothing(
    made: list[tuple[Callable[[int], Message | bytes | None], int]], cuts: set[int]
) -> None:
    messages = [make(number) for make, number in made]
    one, several = Stage(SHIP, NEEDS_COUPON, NEEDS_NUMBER), Stage(SHIP, NEEDS_COUPON, NEEDS_NUMBER)
    one.process(*messages)
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 12], strict=True):
        several.process(*messages[start:end])
    assert one.outputs.invocations == several.outputs.invocations
    assert sorted(one.decisions()) == sorted(several.decisions())
    assert sorted(one.letters()) == sorted(several.letters())
    assert one.claims.pending() == several.claims.pending()
