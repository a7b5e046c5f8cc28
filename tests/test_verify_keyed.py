"""The judge of keyed triggers: what the facts make is there, nothing else is, and live workers are no fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from stream_triggers.client import Client
from stream_triggers.core.invocation import Decision, Invocation, TriggerRun
from stream_triggers.core.keyed.manual import reset_fact
from stream_triggers.core.message import Event, Participant
from stream_triggers.core.record import SETTLED_MS, Fact, Pause
from stream_triggers.core.report import status_of
from stream_triggers.core.trigger import parse_trigger, version
from stream_triggers.runtime.codec import decode, encode
from stream_triggers.runtime.functions import AllowedFunctions
from stream_triggers.runtime.keyed.facts import partition_of
from stream_triggers.runtime.log import Outgoing, TopicPartition
from stream_triggers.runtime.memory_log import MemoryLog
from stream_triggers.runtime.memory_log.topic import Entry, Fate
from stream_triggers.runtime.store import MemoryStore
from stream_triggers.runtime.worker import Worker
from stream_triggers.verify import Report, verify
from tests.engine_bundle import SHIP, START_MS, EngineBundle

KEY = "${event.payload.order}"


class SendingLog(MemoryLog):
    """A log for a client that sends nothing."""

    def sender(self, _identify: object) -> Any:
        return self

    def close(self, _timeout_s: float = 0) -> None:
        super().close()


BOTH = {
    "id": "both", "task": "ship", "key": KEY, "args": {"order": KEY},
    "when": {"all": [{"event": "paid"}, {"event": "packed"}], "within": "1h"},
}  # fmt: skip
MISSING = {
    "id": "missing", "task": "warn", "key": KEY, "args": {"order": KEY},
    "when": {"missing": {"event": "packed"}, "after": {"event": "paid"}, "within": "10s"},
}  # fmt: skip


def event(code: str, order: str) -> Event:
    return Event(code, f"{code}-{order}", START_MS, None, {"order": order})


def work(bundle: EngineBundle, for_ms: int, *workers: Worker) -> None:
    for _ in range(for_ms // 20):
        for worker in workers:
            worker.run_once(0.2)
        bundle.clock.advance(20)


def busy() -> EngineBundle:
    """One both and one missing have fired, and one of each is vetoed or waits; a plain trigger has fired, too."""
    bundle = EngineBundle(partitions=2)
    for trigger in (BOTH, MISSING, {**SHIP, "when": {"event": "plain"}}):
        bundle.define(trigger)
    worker = bundle.ready()
    bundle.send(event("paid", "o1"), event("paid", "o2"), event("packed", "o1"), event("plain", "o1"))
    work(bundle, 20_000, worker)
    worker.close()
    assert sorted(each.task for each in bundle.invocations()) == ["orders.ship", "ship", "warn"]
    return bundle


def judge(bundle: EngineBundle, **arguments: Any) -> Report:
    return verify(
        bundle.log("verify"), bundle.config, AllowedFunctions(), clock=bundle.clock,
        open_store=lambda _path: MemoryStore(), **arguments,
    )  # fmt: skip


def faults(report: Report) -> list[str]:
    return sorted(f"{each.fault} {each.trigger_id}" for each in report.findings)


def made(bundle: EngineBundle, topic: str, kind: type, trigger_id: str = "both") -> Entry:
    found = [each for each in bundle.cluster.records(topic) if isinstance(decode(each.value()), kind)]
    return next(each for each in found if decode(each.value()).trigger_id == trigger_id)  # type: ignore[union-attr]


def test_what_keyed_triggers_make_is_expected() -> None:
    report = judge(busy())
    assert (report.findings, report.expected, report.invocations, report.unjudged) == ([], 3, 3, 0)


def test_what_triggers_make_that_follow_their_runs_is_expected() -> None:
    bundle = EngineBundle(partitions=2)
    one = {"id": "one", "task": "ship", "key": KEY, "when": {"event": "paid"}, "overlap": "buffer_one"}
    bundle.define(one | {"expires": "5s"})
    worker = bundle.ready()
    for name in ("e1", "e2", "e3"):
        bundle.send(Event("paid", name, START_MS, None, {"order": "o1"}))
    work(bundle, 1000, worker)
    [first] = bundle.invocations()
    bundle.send(status_of(first, "success", START_MS), status_of(first, "success", START_MS))
    work(bundle, 1000, worker)
    assert [each.causes for each in bundle.invocations()] == [("event/e1",), ("event/e2",)]
    bundle.send(Event("paid", "e4", START_MS, None, {"order": "o1"}))
    work(bundle, 5000, worker)
    worker.close()
    report = judge(bundle)
    assert (report.findings, report.expected, report.invocations) == ([], 2, 2)


def test_a_reset_by_hand_is_judged() -> None:
    bundle = EngineBundle(partitions=2)
    bundle.define(BOTH)
    worker = bundle.ready()
    bundle.send(event("paid", "o1"), event("paid", "o2"))
    work(bundle, 1000, worker)
    with Client(bundle.config, clock=bundle.clock, cluster=SendingLog(bundle.cluster, "client")) as client:
        client.reset_trigger("both", "o1", author="ada")
    work(bundle, 1000, worker)
    bundle.send(event("packed", "o1"), event("packed", "o2"))
    work(bundle, 1000, worker)
    worker.close()
    report = judge(bundle)
    assert (report.findings, report.expected, report.invocations) == ([], 1, 1)
    lose(bundle, bundle.topics.trigger_runs, Decision)
    assert faults(judge(bundle)) == ["unreported both"]


def test_a_reset_elsewhere_than_its_key_is_found() -> None:
    bundle = busy()
    fact = reset_fact("both", version(parse_trigger(BOTH)), "o1", "r", (bundle.topics.trigger_facts, 0), START_MS, "")
    elsewhere = 1 - partition_of(b"both\0o1", 2)
    bundle.cluster.write(
        bundle.topics.trigger_facts, [Outgoing(key=b"both\0o1", value=encode(fact), partition=elsewhere)]
    )
    assert "unexpected both" in faults(judge(bundle))


def lose(bundle: EngineBundle, topic: str, kind: type, trigger_id: str = "both") -> None:
    made(bundle, topic, kind, trigger_id)._fate = Fate("aborted")


def repeat(bundle: EngineBundle, topic: str, kind: type) -> None:
    entry = made(bundle, topic, kind)
    bundle.write(topic, entry.value(), entry.key() or b"", entry.partition())


def change_arguments(bundle: EngineBundle) -> None:
    entry = made(bundle, "invocations", Invocation)
    value = decode(entry.value(), (Invocation,))
    fields = {name: getattr(value, name) for name in value.__struct_fields__}
    entry._value = encode(Invocation(**{**fields, "arguments": {"order": "o9"}}))


def change_key(bundle: EngineBundle) -> None:
    entry = made(bundle, "trigger-runs", Decision, "missing")
    entry._value = encode(msgspec.structs.replace(decode(entry.value(), (Decision,)), key="o9"))


def forge(bundle: EngineBundle) -> None:
    value = decode(made(bundle, "invocations", Invocation).value(), (Invocation,))
    fields = {name: getattr(value, name) for name in value.__struct_fields__}
    bundle.write("invocations", encode(Invocation(**{**fields, "id": "ab" * 16, "run_id": "ab" * 16})))


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (lambda bundle: lose(bundle, "invocations", Invocation), ["lost both"]),
        (lambda bundle: lose(bundle, "trigger-runs", TriggerRun), ["unrecorded both"]),
        (lambda bundle: lose(bundle, "trigger-runs", Decision, "missing"), ["unreported missing"]),
        (lambda bundle: repeat(bundle, "invocations", Invocation), ["duplicated both"]),
        (lambda bundle: repeat(bundle, "trigger-runs", TriggerRun), ["duplicated both"]),
        (change_arguments, ["wrong both"]),
        (change_key, ["unreported missing"]),
        (forge, ["unexpected both"]),
    ],
    ids=["lost", "unrecorded", "unreported", "twice", "recorded twice", "wrong", "wrong key", "forged"],
)
def test_a_planted_fault_is_found(plant: Callable[[EngineBundle], None], found: list[str]) -> None:
    bundle = busy()
    plant(bundle)
    assert faults(judge(bundle)) == found


# Facts


def fact(bundle: EngineBundle, order: str, trigger_id: str = "both") -> Entry:
    found = [each for each in bundle.cluster.records("trigger-facts") if isinstance(decode(each.value()), Fact)]
    return next(each for each in found if each.key() == f"{trigger_id}\0{order}".encode())


def write_fact(bundle: EngineBundle, entry: Entry, **changed: Any) -> None:
    """Behind everything that has been evaluated, so that it makes nothing."""
    value = msgspec.structs.replace(decode(entry.value(), (Fact,)), **changed)
    key = f"{value.trigger_id}\0{value.key}".encode()
    bundle.write("trigger-facts", encode(value), key, partition_of(key, 2))


def move(bundle: EngineBundle) -> None:
    entry = fact(bundle, "late")
    entry._fate = Fate("aborted")
    bundle.write("trigger-facts", entry.value(), entry.key() or b"", 1 - entry.partition())


def of_another_message(bundle: EngineBundle) -> None:
    entry = fact(bundle, "late")
    who = decode(entry.value(), (Fact,)).participant
    write_fact(bundle, entry, participant=msgspec.structs.replace(who, offset=who.offset + 9))


def changed(bundle: EngineBundle) -> None:
    entry = fact(bundle, "late")
    entry._fate = Fate("aborted")
    write_fact(bundle, entry, fields={"payload": {"order": "forged"}})


def repeat_fact_of_a_repeat(bundle: EngineBundle) -> None:
    entry, where = fact(bundle, "late"), decode(repeated(bundle).value(), (Decision,))
    who = decode(entry.value(), (Fact,)).participant
    write_fact(bundle, entry, participant=msgspec.structs.replace(who, offset=where.offset))


def repeated(bundle: EngineBundle) -> Entry:
    found = [each for each in bundle.cluster.records("trigger-runs") if isinstance(decode(each.value()), Decision)]
    return next(each for each in found if decode(each.value()).reason == "duplicate")  # type: ignore[union-attr]


def routed() -> EngineBundle:
    """As ``busy``, and then messages that were routed, of which the facts have not been evaluated; one is a repeat."""
    bundle = busy()
    worker = bundle.ready()
    bundle.send(event("paid", "late"), event("paid", "late"))
    bundle.until(lambda: any(each.key() == b"both\0late" for each in bundle.cluster.records("trigger-facts")), worker)
    worker.close()
    return bundle


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (lambda _bundle: None, []),
        (lambda bundle: setattr(fact(bundle, "late"), "_fate", Fate("aborted")), ["lost both"]),
        (lambda bundle: write_fact(bundle, fact(bundle, "late")), ["duplicated both"]),
        (lambda bundle: write_fact(bundle, fact(bundle, "late"), key="o9"), ["unexpected both"]),
        (lambda bundle: write_fact(bundle, fact(bundle, "late"), trigger_version="none"), ["unexpected both"]),
        (of_another_message, ["unexpected both"]),
        (changed, ["wrong both"]),
        (move, ["wrong both"]),
        (repeat_fact_of_a_repeat, ["duplicated both"]),
    ],
    ids=["nothing", "lost", "twice", "another key", "version", "no message", "changed", "moved", "of a repeat"],
)
def test_a_fault_planted_in_the_facts_is_found(plant: Callable[[EngineBundle], None], found: list[str]) -> None:
    bundle = routed()
    plant(bundle)
    assert faults(judge(bundle)) == found


def test_what_workers_do_meanwhile_is_no_finding() -> None:
    bundle = EngineBundle()
    bundle.define(BOTH)
    worker = bundle.ready()
    numbers = iter(range(100))

    def go_on(_phase: str, done: int, _total: int) -> None:
        if done == 0:
            number = next(numbers)
            bundle.send(event("paid", f"x{number}"), event("packed", f"x{number}"))
            work(bundle, 400, worker)

    go_on("", 0, 0)
    report = judge(bundle, progress=go_on)
    assert report.findings == []
    assert len(bundle.invocations()) > report.expected > 0


def trim_facts(bundle: EngineBundle) -> None:
    """Delete the first fact of each partition, or what stands there."""
    for number in (0, 1):
        facts = bundle.cluster.partition(TopicPartition("trigger-facts", number))
        facts.trim(min(1, facts.end))


@pytest.mark.parametrize("missing", ["facts", "range"])
def test_what_cannot_be_evaluated_from_the_beginning_is_not_judged(missing: str) -> None:
    bundle = busy()
    lose(bundle, "invocations", Invocation)
    if missing == "facts":
        trim_facts(bundle)
    report = judge(bundle, **({"since_ms": START_MS} if missing == "range" else {}))
    assert (report.findings, report.unjudged, report.unevaluated, report.facts) == ([], 1, 1, 6)


@pytest.mark.parametrize("missing", ["facts", "range"])
def test_what_is_there_twice_is_found_all_the_same(missing: str) -> None:
    bundle = busy()
    repeat(bundle, "invocations", Invocation)
    if missing == "facts":
        trim_facts(bundle)
    report = judge(bundle, **({"since_ms": START_MS} if missing == "range" else {}))
    assert (faults(report), report.unevaluated) == (["duplicated both"], 3)


def test_facts_that_are_deleted_are_not_lost() -> None:
    bundle = routed()
    for number in (0, 1):
        facts = bundle.cluster.partition(TopicPartition("trigger-facts", number))
        facts.trim(facts.end)
    report = judge(bundle)
    assert (report.findings, report.facts, report.unevaluated) == ([], 8, 2)


def test_an_id_that_reaches_two_partitions_makes_two_facts() -> None:
    bundle = EngineBundle(partitions=2)
    bundle.define(BOTH)
    worker = bundle.ready()
    for number in (0, 1):
        bundle.write("events", encode(event("paid", "o1")), partition=number)
    work(bundle, 400, worker)
    report = judge(bundle)
    assert (report.findings, report.facts, report.repeated) == ([], 2, 0)


def test_a_message_that_comes_again_makes_no_fact_and_a_decision() -> None:
    bundle = routed()
    assert (judge(bundle).facts, judge(bundle).repeated) == (8, 2)
    repeated(bundle)._fate = Fate("aborted")
    assert faults(judge(bundle)) == ["unreported both"]


def test_plain_versions_of_a_trigger_that_was_keyed_are_left_out() -> None:
    bundle = EngineBundle()
    bundle.define({"id": "both", "task": "plain", "when": {"event": "paid"}, "args": {}})
    worker = bundle.ready()
    bundle.send(event("paid", "o0"))
    work(bundle, 200, worker)
    bundle.define(BOTH)
    bundle.send(event("paid", "o1"), event("packed", "o1"))
    work(bundle, 2000, worker)
    assert [each.task for each in bundle.invocations()] == ["plain", "ship"]
    report = judge(bundle)
    assert (report.findings, report.expected, report.invocations) == ([], 1, 1)


def paused() -> EngineBundle:
    """A plain trigger that has fired directly, was paused, has fired what was held, and fires directly again."""
    bundle = EngineBundle(partitions=2)
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.send(event("paid", "before"))
    work(bundle, 1000, worker)
    bundle.define(SHIP, Pause("hold"))
    bundle.send(event("paid", "held"), event("paid", "before"), event("paid", "held"))
    work(bundle, 1000, worker)
    assert orders(bundle) == ["before"]
    bundle.define(SHIP, Pause("hold", bundle.clock.now_ms()))
    work(bundle, 2000, worker)
    bundle.clock.advance(SETTLED_MS)
    bundle.send(event("paid", "held"), event("paid", "after"))
    work(bundle, 1000, worker)
    worker.close()
    assert orders(bundle) == ["after", "before", "held"]
    return bundle


def orders(bundle: EngineBundle) -> list[str]:
    return sorted(each.arguments["order"] for each in bundle.invocations())


def of_order(bundle: EngineBundle, topic: str, order: str) -> Entry:
    cause = f"paid-{order}".encode()
    kind = Invocation if topic == "invocations" else TriggerRun
    return next(
        each
        for each in bundle.cluster.records(topic)
        if cause in (each.value() or b"") and isinstance(decode(each.value()), kind)
    )


def test_a_trigger_that_was_paused_is_judged_by_its_messages_and_by_its_facts() -> None:
    report = judge(paused())
    assert (report.findings, report.expected, report.invocations, report.unjudged) == ([], 3, 3, 0)
    assert report.repeated == 3


@pytest.mark.parametrize(
    ("order", "topic", "fault"),
    [
        ("before", "invocations", "lost"),
        ("held", "invocations", "lost"),
        ("after", "invocations", "lost"),
        ("before", "trigger-runs", "unrecorded"),
        ("held", "trigger-runs", "unrecorded"),
        ("after", "trigger-runs", "unrecorded"),
    ],
)
def test_what_is_missing_of_a_trigger_that_was_paused_is_found(order: str, topic: str, fault: str) -> None:
    bundle = paused()
    of_order(bundle, topic, order)._fate = Fate("aborted")
    assert f"{fault} ship" in faults(judge(bundle))


@pytest.mark.parametrize("topic", ["invocations", "trigger-runs"])
@pytest.mark.parametrize("order", ["before", "held", "after"])
def test_what_is_too_much_of_a_trigger_that_was_paused_is_found(order: str, topic: str) -> None:
    bundle = paused()
    entry = of_order(bundle, topic, order)
    bundle.write(topic, entry.value(), entry.key() or b"", entry.partition())
    found = faults(judge(bundle))
    assert len(found) == 1
    assert found[0] in ("duplicated ship", "unexpected ship")


def test_what_was_held_and_has_fired_with_other_arguments_is_found() -> None:
    bundle = paused()
    entry = of_order(bundle, "invocations", "held")
    value = decode(entry.value(), (Invocation,))
    fields = {name: getattr(value, name) for name in value.__struct_fields__}
    entry._value = encode(Invocation(**{**fields, "arguments": {"order": "o9"}}))
    assert faults(judge(bundle)) == ["wrong ship"]


def test_a_repeat_of_what_was_held_that_has_fired_directly_is_found() -> None:
    bundle = paused()
    held = of_order(bundle, "trigger-runs", "held")
    run = decode(held.value(), (TriggerRun,))
    fields = {name: getattr(run, name) for name in run.__struct_fields__}
    [one] = run.participants
    places = [each for each in bundle.cluster.records("events") if b"paid-held" in (each.value() or b"")]
    again = Participant(one.leaf, one.kind, one.id, one.topic, one.partition, places[-1].offset(), one.time_ms)
    bundle.write("trigger-runs", encode(TriggerRun(**{**fields, "participants": (again,)})), b"", held.partition())
    bundle.write("invocations", of_order(bundle, "invocations", "held").value())
    assert "duplicated ship" in faults(judge(bundle))


def test_a_decision_of_the_keyed_stage_about_a_paused_trigger_is_none_too_many() -> None:
    bundle = EngineBundle()
    bundle.define({**SHIP, "args": {"order": "${event.payload.nothing}"}}, Pause("drop", START_MS))
    worker = bundle.ready()
    bundle.send(event("paid", "o1"))
    work(bundle, 1000, worker)
    worker.close()
    assert [each.reason for each in bundle.decisions()] == ["arguments_failed"]
    assert judge(bundle).findings == []


def test_a_dead_letter_of_the_keyed_stage_that_is_missing_is_found() -> None:
    bundle = EngineBundle()
    failing = {**SHIP, "args": {"order": "${event.payload.nothing}"}, "cooldown": {"for": "1m"}}
    bundle.define(failing)
    worker = bundle.ready()
    bundle.send(event("paid", "o1"))
    work(bundle, 1000, worker)
    worker.close()
    assert judge(bundle).findings == []
    [letter] = bundle.cluster.records("dead-letters")
    letter._fate = Fate("aborted")
    assert faults(judge(bundle)) == ["unreported ship"]
