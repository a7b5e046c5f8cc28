"""The judge: it finds every fault that is planted, none that is not there, and says where."""

from __future__ import annotations

import json
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from stream_triggers.cli import app
from stream_triggers.cli import cluster as cli_cluster
from stream_triggers.cli.reading import Lines
from stream_triggers.cli.verify import Waiting, conclude, print_report
from stream_triggers.cli.when import coming_ms, instant_ms
from stream_triggers.client import Client
from stream_triggers.client.definitions import Definitions
from stream_triggers.config import Config
from stream_triggers.core.invocation import Decision, Invocation, Reason, TriggerRun
from stream_triggers.core.message import Event, Participant, Position, TaskStatus
from stream_triggers.core.record import DeadLetter, Definition
from stream_triggers.core.route import plan
from stream_triggers.core.trigger import parse_trigger
from stream_triggers.errors import Misconfigured
from stream_triggers.runtime.clock import ManualClock, SystemClock
from stream_triggers.runtime.codec import decode, encode
from stream_triggers.runtime.dead_letters import dead_letter
from stream_triggers.runtime.functions import AllowedFunctions
from stream_triggers.runtime.kafka import KafkaLog, KafkaSender, KafkaSettings
from stream_triggers.runtime.kafka.producer import KafkaProducer
from stream_triggers.runtime.lag import partitions_of, unread
from stream_triggers.runtime.log import Outgoing, TopicPartition
from stream_triggers.runtime.memory_log.topic import Entry, Fate
from stream_triggers.runtime.rocksdb import RocksStore
from stream_triggers.runtime.store import MemoryStore
from stream_triggers.runtime.topics import MESSAGE_BYTES_MAX, Topics, specs
from stream_triggers.runtime.worker import Worker
from stream_triggers.verify import FINDINGS_KEPT_MAX, PHASES, Finding, Report, decoding, verify
from stream_triggers.verify.difference import EXPLAINED_MAX
from tests.engine_bundle import SHIP, EngineBundle, paid
from tests.engine_bundle import START_MS as NOW_MS

RETENTION_MS = 60_000
HOUR_MS = 3_600_000

NOTE = {
    "id": "note",
    "task": "orders.note",
    "when": {"event": "paid", "filter": {"amount": {"gt": 5}}},
    "args": {"coupon": "${event.payload.coupon}"},
}
"""Its filter fails where the amount is no number, its arguments where there is no coupon."""


def judge(bundle: EngineBundle, *, on_disk: bool = False, **arguments: Any) -> Report:
    """The report on everything that is committed."""
    if not on_disk:
        arguments["open_store"] = lambda _path: MemoryStore()
    functions = AllowedFunctions(bundle.config.allow_modules)
    return verify(bundle.log("verify"), bundle.config, functions, clock=bundle.clock, **arguments)


def found(report: Report) -> list[tuple[str, int]]:
    """Each finding's fault, and the offset of its cause; -1 where it has none."""
    return sorted((each.fault, -1 if each.cause is None else each.cause.offset) for each in report.findings)


def counts(report: Report) -> dict[str, int]:
    """The numbers of a report that are not 0."""
    return {name: count for name, count in report.counts().items() if count}


def entries(bundle: EngineBundle, topic: str) -> list[Entry]:
    """What was committed to a topic."""
    return bundle.cluster.records(topic)


def hide(entry: Entry) -> None:
    """Take a record away, so that its offset is passed over as compaction leaves it."""
    entry._fate = Fate("aborted")


def change(entry: Entry, **fields: Any) -> None:
    """Write other values into a record that is there."""
    value = decode(entry.value())
    entry._value = encode(type(value)(**{name: getattr(value, name) for name in value.__struct_fields__} | fields))


def repeat(bundle: EngineBundle, entry: Entry) -> None:
    """Write the same record once more."""
    bundle.write(entry.topic(), entry.value(), entry.key() or b"", entry.partition())


def made_records(bundle: EngineBundle, topic: str, kind: type) -> list[Entry]:
    """The records of a kind."""
    return [each for each in entries(bundle, topic) if isinstance(decode(each.value()), kind)]


def made(bundle: EngineBundle, topic: str, kind: type, at: int = 0) -> Entry:
    """The record of a kind that was made as the ``at``-th of them."""
    return made_records(bundle, topic, kind)[at]


def fired_bundle(**arguments: Any) -> EngineBundle:
    """Three events have fired one trigger, and everything is committed."""
    bundle = EngineBundle(**arguments)
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.send(paid("e0"), paid("e1"), paid("e2"))
    bundle.work_off(worker)
    worker.close()
    return bundle


def busy_bundle(partitions: int = 1) -> EngineBundle:
    """Everything that can become of a message has become of some."""
    bundle = EngineBundle(partitions=partitions, payload_bytes_max=1024)
    bundle.define(SHIP)
    bundle.define(NOTE)
    worker = bundle.ready()
    bundle.send(
        paid("e0", amount=9, coupon="c"),  # fires both
        paid("e1", amount=1),  # fires one
        paid("e0", amount=9, coupon="c"),  # repeats both
        paid("e3", amount="much"),  # a filter fails
        paid("e4", amount=9),  # arguments fail
        Event("other", "e5", 7, None, {}),  # nobody listens
    )
    bundle.write(bundle.topics.events, b"rubbish")
    bundle.write(bundle.topics.events, encode(paid("e7"))[:-1])
    bundle.write(bundle.topics.events, encode(Event("other", "e8", 7, None, {}))[:-1])  # nobody listens, nor looks
    bundle.send(paid("e9", text="x" * 1024))
    bundle.work_off(worker)
    worker.close()
    return bundle


# What is right


def test_everything_that_can_become_of_a_message_is_accounted_for() -> None:
    assert counts(judge(busy_bundle(), on_disk=True)) == {
        "messages": 10,
        "expected": 5,
        "invocations": 5,
        "rejected": 3,
        "failed": 2,
        "repeated": 2,
    }


@pytest.mark.parametrize(
    "value",
    [None, b"garbage", encode(paid("e1"))[:-1], encode(TaskStatus("t", "s", "s1", "i", 7))],
    ids=["nothing", "garbage", "cut", "another kind"],
)
def test_what_workers_reject_need_not_fire(value: bytes | None) -> None:
    bundle = EngineBundle()
    bundle.define({**SHIP, "when": {"any": [{"event": "paid"}, {"status": "*", "is": ["s"]}]}, "args": {}})
    bundle.write("events", value)
    bundle.work_off(bundle.start())
    assert counts(judge(bundle)) == {"messages": 1, "rejected": 1}


def test_a_dead_letter_keeps_as_much_of_a_message_as_a_topic_takes() -> None:
    bundle = EngineBundle()
    bundle.write("events", bytes(MESSAGE_BYTES_MAX + 1))
    bundle.work_off(bundle.start())
    assert len(bundle.dead_letters()[0].value or b"") == MESSAGE_BYTES_MAX
    assert counts(judge(bundle)) == {"messages": 1, "rejected": 1}


def test_arguments_that_grow_too_large_are_a_failure() -> None:
    bundle = EngineBundle(payload_bytes_max=1024)
    bundle.define({**SHIP, "args": {"twice": "${event.payload.text}${event.payload.text}"}})
    bundle.send(paid("e0", text="x" * 600))
    bundle.work_off(bundle.start())
    assert counts(judge(bundle)) == {"messages": 1, "failed": 1}


def test_a_group_that_has_never_committed_is_an_error() -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    bundle.send(paid("e0"))
    with pytest.raises(Misconfigured, match="application triggers has not committed any position"):
        judge(bundle)


def test_a_position_behind_the_end_of_its_input_is_an_error() -> None:
    bundle = fired_bundle()
    del bundle.cluster.topic("events").partitions[0].entries[1:]
    with pytest.raises(Misconfigured, match="has committed events/0 up to 3, which ends at 1"):
        judge(bundle)


def test_progress_tells_every_phase_from_nothing_to_all() -> None:
    told: list[tuple[str, int, int]] = []
    judge(busy_bundle(), progress=lambda *each: told.append(each))
    assert [phase for phase, done, _ in told if done == 0] == list(PHASES)
    ends = {phase: (done, total) for phase, done, total in told}
    assert all(done == total for done, total in ends.values())
    assert ends["messages"] == (10, 10)


# Planted faults, each in a world where all else is right


def lose_invocation(bundle: EngineBundle) -> None:
    hide(made(bundle, "invocations", Invocation, 1))


def double_invocation(bundle: EngineBundle) -> None:
    repeat(bundle, made(bundle, "invocations", Invocation, 1))


def change_argument(bundle: EngineBundle) -> None:
    change(made(bundle, "invocations", Invocation, 1), arguments={"order": "o2"})


def forge_invocation(bundle: EngineBundle) -> None:
    foreign = Invocation("orders.ship", "ship", "v", "x", "no run id", 7, None, {}, ("event/x",))
    bundle.write("invocations", encode(foreign))


def forge_run(bundle: EngineBundle) -> None:
    cause = Participant("event", "event", "x", "events", 0, 1, 7)
    foreign = TriggerRun("ship", "v", 0, "orders.ship", "ab" * 16, "ab" * 16, 7, None, (cause,))
    bundle.write("trigger-runs", encode(foreign))


def suppress_fired(bundle: EngineBundle) -> None:
    run_id = bundle.invocations()[1].run_id
    bundle.write("trigger-runs", encode(Decision("duplicate", "events", 0, 1, 7, "ship", run_id=run_id)))


def lose_run_record(bundle: EngineBundle) -> None:
    hide(made(bundle, "trigger-runs", TriggerRun, 1))


def lose_both(bundle: EngineBundle) -> None:
    lose_invocation(bundle)
    lose_run_record(bundle)


def double_run_record(bundle: EngineBundle) -> None:
    repeat(bundle, made(bundle, "trigger-runs", TriggerRun, 1))


def double_both(bundle: EngineBundle) -> None:
    double_invocation(bundle)
    double_run_record(bundle)


def write_rubbish(bundle: EngineBundle) -> None:
    bundle.write("invocations", b"rubbish")


def point_nowhere(bundle: EngineBundle) -> None:
    bundle.write("dead-letters", encode(DeadLetter("events", 9, 0, 0, None, None, "decode", "")))


FAR = 2**40


def forge_letter(bundle: EngineBundle, offset: int) -> None:
    bundle.write("dead-letters", encode(DeadLetter("events", 0, offset, 0, None, None, "decode", "")))


def forge_decision(bundle: EngineBundle, offset: int, reason: Reason = "duplicate", detail: str = "") -> None:
    bundle.write("trigger-runs", encode(Decision(reason, "events", 0, offset, 7, "ship", detail=detail, run_id="r")))


def forge_run_at(bundle: EngineBundle, offset: int) -> None:
    cause = Participant("event", "event", "x", "events", 0, offset, 7)
    foreign = TriggerRun("ship", "v", 0, "orders.ship", "ab" * 16, "ab" * 16, 7, None, (cause,))
    bundle.write("trigger-runs", encode(foreign))


@pytest.mark.parametrize("offset", [-1, -(2**63), 3, FAR, 2**63 - 1])
@pytest.mark.parametrize(
    ("plant", "detail"),
    [
        (forge_run_at, "run record of a position that is no input's"),
        (forge_decision, "decision about a position that is no input's"),
        (forge_letter, "dead letter of a position that is no input's"),
    ],
)
def test_a_record_about_a_position_that_cannot_be_is_unexpected(
    plant: Callable[[EngineBundle, int], None], detail: str, offset: int
) -> None:
    bundle = fired_bundle()
    plant(bundle, offset)
    report = judge(bundle)
    assert [(found(report), each.detail) for each in report.findings] == [([("unexpected", -1)], detail)]
    assert report.expected == 3


@pytest.mark.parametrize("detail", ["9" * 5000, "-1", "", "x", "\u0663", "2", "9223372036854775807", "1.0", " 1"])
def test_a_note_about_definitions_that_cannot_be_is_unexpected(detail: str) -> None:
    bundle = fired_bundle()
    forge_decision(bundle, 1, "definitions_changed", detail)
    report = judge(bundle)
    assert [(each.fault, each.detail) for each in report.findings] == [
        ("unexpected", "note about definitions that there are not")
    ]
    assert report.expected == 3


@pytest.mark.parametrize(
    ("plant", "finding", "detail"),
    [
        (lose_invocation, ("lost", 1), "it has a run record, and no invocation"),
        (lose_both, ("lost", 1), "it has no invocation"),
        (double_invocation, ("duplicated", 1), "fired once more"),
        (double_run_record, ("duplicated", 1), "a run record, and no invocation"),
        (double_both, ("duplicated", 1), "fired once more"),
        (change_argument, ("wrong", 1), "differs in arguments"),
        (forge_invocation, ("unexpected", -1), "no message asks for it"),
        (forge_run, ("unexpected", 1), "a run record, and no invocation"),
        (suppress_fired, ("unexpected", 1), "the decision that it is a repeat"),
        (lose_run_record, ("unrecorded", 1), "it has no run record"),
        (
            write_rubbish,
            ("unexpected", -1),
            "message begins with 72 75, not with c3 01 as Avro's single-object encoding does",
        ),
        (point_nowhere, ("unexpected", -1), "dead letter of a position that is no input's"),
    ],
)
def test_a_planted_fault_is_found(plant: Callable[[EngineBundle], None], finding: tuple[str, int], detail: str) -> None:
    bundle = fired_bundle()
    assert found(judge(bundle)) == []
    plant(bundle)
    report = judge(bundle)
    assert [(found(report), each.detail) for each in report.findings] == [([finding], detail)]


def reject_last_invocation(bundle: EngineBundle) -> None:
    """What a task worker does with what it cannot read."""
    letter = dead_letter(entries(bundle, "invocations")[-1], "decode", "it is none")
    assert letter["value"] is not None
    bundle.write("dead-letters", letter["value"])


def test_a_task_worker_that_has_rejected_rubbish_has_done_right() -> None:
    bundle = fired_bundle()
    write_rubbish(bundle)
    reject_last_invocation(bundle)
    [finding] = judge(bundle).findings
    assert (finding.fault, finding.found) == ("unexpected", Position("invocations", 0, 4))


def test_a_task_worker_that_has_rejected_an_invocation_has_done_wrong() -> None:
    bundle = fired_bundle()
    reject_last_invocation(bundle)
    [finding] = judge(bundle).findings
    assert (finding.fault, finding.detail) == ("unexpected", "dead letter of an invocation, which can be read")


def test_a_finding_names_run_cause_and_record() -> None:
    bundle = fired_bundle()
    double_invocation(bundle)
    [finding] = judge(bundle).findings
    run_id = bundle.invocations()[1].run_id
    assert (finding.run_id, finding.trigger_id) == (run_id, "ship")
    assert finding.cause == Position("events", 0, 1)
    last = entries(bundle, "invocations")[-1]
    assert finding.found == Position("invocations", 0, last.offset())


@pytest.mark.parametrize("run_id", ["no run id", "AB" * 16, "ab" * 15])
def test_a_run_id_of_another_form_is_named_as_it_is(run_id: str) -> None:
    bundle = fired_bundle()
    forge_invocation(bundle)
    change(entries(bundle, "invocations")[-1], run_id=run_id)
    [finding] = judge(bundle).findings
    assert finding.run_id == run_id


def test_the_first_invocations_that_are_wrong_are_explained() -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.send(*(paid(f"e{number}") for number in range(EXPLAINED_MAX + 5)))
    bundle.work_off(worker)
    for entry in entries(bundle, "invocations"):
        change(entry, depth=9)
    details = Counter(each.detail for each in judge(bundle).findings)
    assert details == {"differs in depth": EXPLAINED_MAX, "its content differs": 5}


calls = count(1)


def changing(_payload: object) -> dict[str, Any]:
    return {"n": next(calls)}


def call_arguments_bundle(**trigger: Any) -> EngineBundle:
    """An event that has fired a trigger whose functions may answer differently each time."""
    bundle = EngineBundle(allow_modules=(__name__,))
    bundle.define({"id": "ship", "task": "t", "when": {"event": "paid"}, **trigger})
    bundle.send(paid("e0"))
    bundle.work_off(bundle.start())
    return bundle


def test_a_function_that_answers_differently_each_time_is_named_as_the_reason() -> None:
    bundle = call_arguments_bundle(args_from={"event": f"{__name__}:changing"})
    [finding] = judge(bundle).findings
    assert (finding.fault, finding.detail) == ("wrong", "a function of its trigger answers differently each time")


def test_what_differs_besides_is_named_first() -> None:
    bundle = call_arguments_bundle(args_from={"event": f"{__name__}:changing"})
    change(made(bundle, "invocations", Invocation), depth=9)
    [finding] = judge(bundle).findings
    assert (finding.fault, finding.detail) == ("wrong", "differs in depth")


def test_a_text_of_a_finding_is_kept_in_part() -> None:
    bundle = fired_bundle()
    forge_invocation(bundle)
    change(entries(bundle, "invocations")[-1], run_id="r" * 1_000_000)
    [finding] = judge(bundle).findings
    assert finding.run_id == "r" * 1000


def test_a_decoder_that_errs_is_found_by_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = fired_bundle()
    later = msgspec.structs.replace
    monkeypatch.setattr(decoding, "decode", lambda data, kinds: later(decode(data, kinds), time_ms=8))
    with pytest.raises(AssertionError, match="the decoders differ on invocations/0@0"):
        judge(bundle)


def test_a_run_record_of_another_position_records_nothing() -> None:
    bundle = fired_bundle()
    record = made(bundle, "trigger-runs", TriggerRun, 1)
    run = decode(record.value())
    assert isinstance(run, TriggerRun)
    change(record, participants=(msgspec.structs.replace(run.participants[0], offset=0),))
    assert found(judge(bundle)) == [("duplicated", 0), ("unrecorded", 1)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task", "x"),
        ("trigger_id", "x"),
        ("trigger_version", "x"),
        ("id", "x"),
        ("time_ms", 8),
        ("key", "x"),
        ("causes", ()),
        ("traceparent", "x"),
        ("root", "x"),
        ("depth", 9),
    ],
)
def test_whatever_an_invocation_derives_from_its_cause_is_compared(name: str, value: object) -> None:
    bundle = fired_bundle()
    change(made(bundle, "invocations", Invocation), **{name: value})
    [finding] = judge(bundle).findings
    assert (finding.fault, finding.detail) == ("wrong", f"differs in {name}")


def test_what_is_too_deep_in_its_chain_need_not_fire() -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.send(msgspec.structs.replace(paid("e1"), depth=31), msgspec.structs.replace(paid("e2"), depth=32))
    bundle.work_off(worker)
    assert found(judge(bundle)) == []
    assert bundle.fired() == ["ship event/e1"]


def test_an_invocation_of_a_message_that_failed_is_found() -> None:
    bundle = fired_bundle()
    bundle.define({**SHIP, "args": {"missing": "${event.payload.missing}"}})
    bundle.send(paid("e3"))
    bundle.work_off(bundle.ready())
    run_id = plan(parse_trigger(SHIP), AllowedFunctions()).run_ids.of_one("event", "e3").hex()
    bundle.write("invocations", made(bundle, "invocations", Invocation).value())
    change(entries(bundle, "invocations")[-1], run_id=run_id, id=run_id)
    assert found(judge(bundle)) == [("unexpected", -1)]


def test_what_differs_in_its_type_only_is_wrong() -> None:
    bundle = EngineBundle()
    bundle.define({**SHIP, "args": {"n": "${event.payload.n}"}})
    worker = bundle.ready()
    bundle.send(paid("e0", n=1))
    bundle.work_off(worker)
    change(made(bundle, "invocations", Invocation), arguments={"n": True})
    assert [each.detail for each in judge(bundle).findings] == ["differs in arguments"]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_single_output_is_lost_or_doubled_is_found(data: st.DataObject) -> None:
    bundle = busy_bundle(partitions=2)
    outputs = [
        entry
        for topic in ("invocations", "trigger-runs", "dead-letters")
        for entry in entries(bundle, topic)
        if getattr(decode(entry.value()), "reason", "") != "definitions_changed"
    ]
    entry = data.draw(st.sampled_from(outputs))
    data.draw(st.sampled_from([lambda: hide(entry), lambda: repeat(bundle, entry)]))()
    assert len(judge(bundle).findings) == 1


# Decisions and dead letters


def reported(bundle: EngineBundle, topic: str, **fields: str) -> Entry:
    """The record of a topic whose value has these fields."""
    [entry] = [
        entry
        for entry in entries(bundle, topic)
        if all(getattr(decode(entry.value()), name, None) == value for name, value in fields.items())
    ]
    return entry


@pytest.mark.parametrize(
    ("topic", "fields", "finding"),
    [
        ("trigger-runs", {"reason": "filter_failed"}, (("unreported", 3), "decision of stage filter is missing")),
        ("trigger-runs", {"reason": "arguments_failed"}, (("unreported", 4), "decision of stage arguments is missing")),
        ("dead-letters", {"stage": "filter"}, (("unreported", 3), "dead letter of stage filter is missing")),
        ("dead-letters", {"stage": "arguments"}, (("unreported", 4), "dead letter of stage arguments is missing")),
        ("dead-letters", {"value": b"rubbish"}, (("unreported", 6), "dead letter of stage decode is missing")),
        (
            "trigger-runs",
            {"reason": "duplicate", "trigger_id": "ship"},
            (("unreported", 2), "a repeat without a decision"),
        ),
    ],
)
def test_a_decision_or_a_dead_letter_that_is_missing_is_found(
    topic: str, fields: dict[str, Any], finding: tuple[tuple[str, int], str]
) -> None:
    bundle = busy_bundle()
    hide(reported(bundle, topic, **fields))
    report = judge(bundle)
    assert [(*found(report), each.detail) for each in report.findings] == [finding]


@pytest.mark.parametrize(
    ("fields", "finding"),
    [
        ({"value": b"other"}, (("wrong", 6), "dead letter of stage decode has other bytes than the message")),
        ({"key": None}, (("wrong", 6), "dead letter of stage decode has other bytes than the message")),
        (
            {"key": b"kr", "value": b"ubbish"},
            (("wrong", 6), "dead letter of stage decode has other bytes than the message"),
        ),
        ({"offset": 1}, (("unexpected", 1), "dead letter of stage decode, and nothing asks for it")),
    ],
)
def test_a_dead_letter_that_is_not_of_its_message_is_found(
    fields: dict[str, Any], finding: tuple[tuple[str, int], str]
) -> None:
    bundle = busy_bundle()
    change(reported(bundle, "dead-letters", value=b"rubbish"), **fields)
    report = judge(bundle)
    assert finding in zip(found(report), [each.detail for each in report.findings], strict=True)


def test_a_repeat_whose_arguments_fail_is_a_repeat() -> None:
    bundle = EngineBundle()
    bundle.define(NOTE)
    worker = bundle.ready()
    bundle.send(paid("e0", amount=9, coupon="c"), paid("e0", amount=9))
    bundle.work_off(worker)
    assert counts(judge(bundle)) == {"messages": 2, "expected": 1, "invocations": 1, "repeated": 1}


def test_arguments_that_fail_are_no_repeat_whatever_decision_there_is() -> None:
    bundle = busy_bundle()
    run_id = plan(parse_trigger(NOTE), AllowedFunctions()).run_ids.of_one("event", "e4").hex()
    bundle.write("trigger-runs", encode(Decision("duplicate", "events", 0, 4, 7, "note", run_id=run_id)))
    assert found(judge(bundle)) == [("unexpected", 4)]


# Repeats: claims belong to an input partition


def test_a_repeat_under_another_key_may_fire_once_for_each_partition() -> None:
    bundle = EngineBundle(partitions=2)
    bundle.define(SHIP)
    worker = bundle.start()
    for partition in (0, 1, 1, 0):
        bundle.write("events", encode(paid("e1")), partition=partition)
        bundle.work_off(worker)
        bundle.define({**SHIP, "task": f"orders.after_{partition}"})  # so that they differ
    assert counts(judge(bundle)) == {"messages": 4, "expected": 2, "invocations": 2, "repeated": 2}


def test_one_id_with_other_content_in_each_partition_fires_in_each() -> None:
    bundle = two_partitions()
    assert counts(judge(bundle)) == {"messages": 4, "expected": 2, "invocations": 2, "repeated": 2}


def two_partitions() -> EngineBundle:
    """The same id twice in each of two partitions, with other content in each."""
    bundle = EngineBundle(partitions=2)
    bundle.define(SHIP)
    worker = bundle.ready()
    for partition in (0, 1):
        for order in (f"first-{partition}", f"second-{partition}"):
            bundle.write("events", encode(Event("paid", "e0", 7, None, {"order": order})), partition=partition)
    bundle.work_off(worker)
    worker.close()
    return bundle


@pytest.mark.parametrize("partition", [0, 1])
def test_an_invocation_that_is_lost_in_one_partition_is_found_there(partition: int) -> None:
    bundle = two_partitions()
    [lost] = [e for e in entries(bundle, "invocations") if f"first-{partition}".encode() in (e.value() or b"")]
    hide(lost)
    [finding] = judge(bundle).findings
    assert (finding.fault, finding.cause) == ("lost", Position("events", partition, 0))


@pytest.mark.parametrize("partition", [0, 1])
def test_an_invocation_that_is_wrong_in_one_partition_is_found_there(partition: int) -> None:
    bundle = two_partitions()
    [wrong] = [e for e in entries(bundle, "invocations") if f"first-{partition}".encode() in (e.value() or b"")]
    change(wrong, arguments={"order": f"second-{partition}"})
    [finding] = judge(bundle).findings
    assert (finding.fault, finding.cause) == ("wrong", Position("events", partition, 0))


@pytest.mark.parametrize("partition", [0, 1])
@pytest.mark.parametrize("fault", ["unrecorded", "lost"])
def test_of_equal_content_it_is_the_partition_without_a_run_record(partition: int, fault: str) -> None:
    bundle = EngineBundle(partitions=2)
    bundle.define(SHIP)
    worker = bundle.ready()
    for number in (0, 1):
        bundle.write("events", encode(paid("e0")), partition=number)
    bundle.work_off(worker)
    records = made_records(bundle, "trigger-runs", TriggerRun)
    [record] = [each for each in records if decode(each.value()).participants[0].partition == partition]
    hide(record)
    if fault == "lost":
        hide(made(bundle, "invocations", Invocation))
    [finding] = judge(bundle).findings
    assert (finding.fault, finding.cause) == (fault, Position("events", partition, 0))


def repeated_after(pause_ms: int) -> EngineBundle:
    """A message that came again after a pause, to a worker that had forgotten it."""
    bundle = EngineBundle(claim_retention_ms=RETENTION_MS)
    bundle.define(SHIP)
    for order in ("o1", "o2"):
        worker = bundle.ready()
        bundle.send(Event("paid", "e0", 7, None, {"order": order}))
        bundle.work_off(worker)
        worker.close()
        bundle.clock.advance(pause_ms)
        changelog = bundle.cluster.topic(bundle.topics.changelog("events")).partitions[0]
        changelog.trim(changelog.end)
    return bundle


def test_a_repeat_may_fire_again_when_its_claim_is_forgotten() -> None:
    bundle = repeated_after(RETENTION_MS)
    assert counts(judge(bundle)) == {"messages": 2, "expected": 2, "invocations": 2, "refired": 1}


def test_a_repeat_that_fires_again_while_the_claim_must_be_kept_is_duplicated() -> None:
    bundle = repeated_after(RETENTION_MS // 2)
    assert found(judge(bundle)) == [("duplicated", 1)]


def test_a_repeat_may_fire_again_more_than_once() -> None:
    bundle = EngineBundle(claim_retention_ms=RETENTION_MS)
    bundle.define(SHIP)
    worker = bundle.start()
    for _ in range(3):
        bundle.send(paid("e1"), paid("e1"))
        bundle.work_off(worker)
        bundle.clock.advance(2 * RETENTION_MS)
    assert counts(judge(bundle)) == {"messages": 6, "expected": 3, "invocations": 3, "repeated": 3, "refired": 2}


def test_where_the_first_did_not_fire_its_repeat_did_not_fire_again() -> None:
    bundle = repeated_after(RETENTION_MS // 2)
    hide(made(bundle, "invocations", Invocation))
    hide(made(bundle, "trigger-runs", TriggerRun))
    assert counts(judge(bundle)) == {"messages": 2, "expected": 2, "invocations": 1, "lost": 1}


def test_what_fired_again_must_have_its_own_content() -> None:
    bundle = repeated_after(RETENTION_MS)
    change(made(bundle, "invocations", Invocation, 1), arguments={"order": "o1"})
    assert found(judge(bundle)) == [("wrong", 1)]


# Ranges


def three_hours() -> tuple[EngineBundle, int]:
    """One event in each of three hours, the first again in the last; and the instant between the first two."""
    bundle = EngineBundle(claim_retention_ms=24 * HOUR_MS)
    bundle.define(SHIP)
    worker = bundle.ready()
    start_ms = bundle.clock.now_ms()
    for event in (paid("e0"), paid("e1"), paid("e2"), paid("e0")):
        bundle.send(event)
        bundle.work_off(worker)
        bundle.clock.advance(HOUR_MS)
    worker.close()
    return bundle, start_ms + HOUR_MS // 2


def test_only_messages_of_the_range_are_judged() -> None:
    bundle, between_ms = three_hours()
    report = judge(bundle, since_ms=between_ms, until_ms=between_ms + HOUR_MS)
    assert counts(report) == {"messages": 1, "expected": 1, "invocations": 1}


def test_a_repeat_of_a_message_before_the_range_is_not_lost() -> None:
    bundle, between_ms = three_hours()
    report = judge(bundle, since_ms=between_ms)
    assert counts(report) == {"messages": 3, "expected": 2, "invocations": 2, "repeated": 1}


@pytest.mark.parametrize(("event", "is_found"), [(0, False), (1, True), (2, False)])
def test_only_what_is_lost_in_the_range_is_found(event: int, is_found: bool) -> None:
    bundle, between_ms = three_hours()
    hide(entries(bundle, "invocations")[event])
    hide(made(bundle, "trigger-runs", TriggerRun, event))
    report = judge(bundle, since_ms=between_ms, until_ms=between_ms + HOUR_MS)
    assert found(report) == ([("lost", event)] if is_found else [])


@pytest.mark.parametrize("plant", [forge_invocation, write_rubbish])
@pytest.mark.parametrize(("hours", "is_found"), [(-1, False), (0, True), (1, False)])
def test_an_output_of_nothing_is_judged_by_its_own_time(
    hours: int, is_found: bool, plant: Callable[[EngineBundle], None]
) -> None:
    bundle, _ = three_hours()
    now_ms = bundle.clock.now_ms()
    plant(bundle)
    report = judge(bundle, since_ms=now_ms + hours * HOUR_MS, until_ms=now_ms + (hours + 1) * HOUR_MS)
    assert found(report) == ([("unexpected", -1)] if is_found else [])


def test_decisions_and_dead_letters_before_the_range_are_not_judged() -> None:
    bundle = busy_bundle()
    bundle.clock.advance(HOUR_MS)
    assert counts(judge(bundle, since_ms=bundle.clock.now_ms() - 1000)) == {}


def test_what_is_not_committed_is_not_judged_whenever_the_range_ends() -> None:
    bundle = fired_bundle()
    bundle.send(paid("e3"))
    assert counts(judge(bundle, until_ms=bundle.clock.now_ms() + HOUR_MS))["messages"] == 3


def test_definitions_that_were_noted_long_before_the_range_are_known() -> None:
    bundle = EngineBundle(claim_retention_ms=RETENTION_MS)
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.send(paid("e0"))
    for _ in range(RETENTION_MS // 1000):
        bundle.clock.advance(3000)
        worker.run_once(0)
    bundle.send(paid("e1"))
    bundle.work_off(worker)
    [_] = bundle.decisions(noted=True)
    report = judge(bundle, since_ms=bundle.clock.now_ms() - 1000)
    assert counts(report) == {"messages": 1, "expected": 1, "invocations": 1}


def test_a_decision_is_believed_where_what_it_repeats_cannot_be_known() -> None:
    bundle = fired_bundle()
    bundle.clock.advance(HOUR_MS)
    worker = bundle.ready()
    bundle.send(paid("e1"))
    bundle.work_off(worker)
    lose_both(bundle)
    assert found(judge(bundle)) == [("lost", 1)]
    assert counts(judge(bundle, since_ms=bundle.clock.now_ms() - HOUR_MS // 2)) == {"messages": 1, "unjudged": 1}


def test_a_message_that_was_never_fired_is_lost_whatever_decision_there_is() -> None:
    bundle = fired_bundle()
    lose_both(bundle)
    run_id = bundle.invocations()[0].run_id
    decision = Decision("duplicate", "events", 0, 0, 7, "ship", run_id=run_id)
    hide(entries(bundle, "invocations")[0])
    hide(made(bundle, "trigger-runs", TriggerRun))
    bundle.write("trigger-runs", encode(decision))
    assert found(judge(bundle)) == [("lost", 0), ("lost", 1)]


# Beside live workers


def test_what_workers_do_meanwhile_is_no_finding() -> None:
    bundle = EngineBundle(partitions=2)
    bundle.define(SHIP)
    workers = [bundle.start("0"), bundle.start("1")]
    for number in range(20):
        bundle.send(paid(f"e{number}"), key=b"%d" % number)
    bundle.work_off(*workers)
    steps = 0

    def work(_phase: str, _done: int, _total: int) -> None:
        nonlocal steps
        steps += 1
        bundle.define({**SHIP, "args": {"step": steps}})
        for number in (steps, 20 + steps):  # a repeat, and a new one
            bundle.send(paid(f"e{number}"), key=b"%d" % number)
        bundle.send(paid(f"e{steps}"), key=b"elsewhere-%d" % steps)
        bundle.work_off(*workers)

    report = judge(bundle, progress=work)
    assert steps > 10
    assert counts(report) == {"messages": 20, "expected": 20, "invocations": 20}


def test_a_transaction_that_is_open_when_the_ends_are_taken_is_read_whole() -> None:
    """Its invocation is before the end of its topic, and its run record is written after that was taken."""
    bundle = fired_bundle()
    bundle.send(paid("e3"))
    producer = bundle.log("other").producer()
    producer.open()
    producer.begin()
    invocation = Invocation("orders.ship", "ship", "v", "ab" * 16, "ab" * 16, 7, None, {}, ("event/e3",))
    producer.produce("invocations", [Outgoing(key=b"k", value=encode(invocation))])
    cause = Participant("event", "event", "e3", "events", 0, 3, 7)
    run = TriggerRun("ship", "v", 0, "orders.ship", "ab" * 16, "ab" * 16, 7, None, (cause,))

    def go_on(phase: str, done: int, _total: int) -> None:
        if phase == "invocations" and done == 0:
            producer.produce("trigger-runs", [Outgoing(key=b"k", value=encode(run))])
            producer.commit()

    assert counts(judge(bundle, progress=go_on)) == {"messages": 3, "expected": 3, "invocations": 3}


def test_a_fault_is_found_beside_live_workers() -> None:
    bundle = fired_bundle()
    double_invocation(bundle)
    worker = bundle.start()

    def work(_phase: str, _done: int, _total: int) -> None:
        bundle.send(paid("e1"), paid("e7"))
        bundle.work_off(worker)

    assert found(judge(bundle, progress=work)) == [("duplicated", 1)]


# Definitions


def compact_at_once(bundle: EngineBundle, lag_ms: int = 0) -> None:
    """Let the definitions be compacted that are older than a lag."""
    topic = bundle.cluster.topic(bundle.topics.trigger_definitions)
    topic.spec = replace(topic.spec, settings={**topic.spec.settings, "min.compaction.lag.ms": str(lag_ms)})


def redefined() -> EngineBundle:
    """A trigger that was changed between its first event and its second, on a topic that may be compacted at once."""
    bundle = EngineBundle()
    compact_at_once(bundle)
    bundle.define(SHIP)
    bundle.define(NOTE)
    worker = bundle.ready()
    for event_id, task in (("e0", "orders.ship"), ("e1", "orders.send")):
        bundle.define({**SHIP, "task": task})
        bundle.send(paid(event_id, amount=9, coupon="c"))
        bundle.work_off(worker)
    worker.close()
    return bundle


def test_each_message_is_judged_by_the_definition_that_was_in_force() -> None:
    bundle = redefined()
    assert counts(judge(bundle)) == {"messages": 2, "expected": 4, "invocations": 4}
    [first, second] = [e for e in entries(bundle, "invocations") if b"ship" in (e.value() or b"")]
    first._value, second._value = second._value, first._value
    assert found(judge(bundle)) == []
    change(first, task="orders.ship")
    assert found(judge(bundle)) == [("wrong", 1)]


def test_a_trigger_fires_from_its_definition_to_its_deletion() -> None:
    bundle = EngineBundle()
    worker = bundle.ready()
    for step in range(4):
        if step == 1:
            bundle.define(SHIP)
        if step == 2:
            bundle.define({**SHIP, "task": "orders.send"})
        if step == 3:
            bundle.delete("ship")
        bundle.send(paid(f"e{step}"))
        bundle.work_off(worker)
    assert counts(judge(bundle)) == {"messages": 4, "expected": 2, "invocations": 2}
    hide(made(bundle, "invocations", Invocation, 1))
    repeat(bundle, made(bundle, "trigger-runs", TriggerRun))
    change(entries(bundle, "trigger-runs")[-1], participants=(Participant("event", "event", "e3", "events", 0, 3, 7),))
    assert found(judge(bundle)) == [("duplicated", 3), ("lost", 2)]


def test_a_definition_that_was_compacted_away_makes_no_findings_and_the_others_are_judged() -> None:
    bundle = redefined()
    for entry in entries(bundle, "trigger-definitions")[:3]:
        if entry.key() == b"ship":
            hide(entry)
    assert counts(judge(bundle)) == {"messages": 1, "expected": 3, "invocations": 3, "unjudged": 1}
    hide(next(e for e in entries(bundle, "invocations") if b"note" in (e.value() or b"")))
    assert found(judge(bundle)) == [("lost", 0)]


def test_what_no_definition_ever_asked_for_is_not_excused_by_one_that_is_there() -> None:
    bundle = redefined()
    for entry in entries(bundle, "trigger-definitions")[:3]:
        if entry.key() == b"ship":
            hide(entry)
    cause = Participant("event", "event", "x", "events", 0, 1, 7)
    foreign = TriggerRun("note", "v", 0, "orders.note", "ab" * 16, "ab" * 16, 7, None, (cause,))
    bundle.write("trigger-runs", encode(foreign))
    bundle.define({**NOTE, "epoch": 1})
    assert found(judge(bundle)) == [("unexpected", 1)]


def test_what_a_definition_could_not_handle_that_was_compacted_away_makes_no_findings() -> None:
    bundle = busy_bundle()
    compact_at_once(bundle)
    bundle.define({**NOTE, "epoch": 1})
    hide(entries(bundle, "trigger-definitions")[0])
    hide(entries(bundle, "trigger-definitions")[0])
    report = judge(bundle)
    assert (report.findings, report.failed, report.messages, report.unjudged) == ([], 0, 0, 10)


def changed_by(*changes: Mapping[str, Any] | str | tuple[Mapping[str, Any], ...]) -> EngineBundle:
    """One event after each change of the definitions by a client: of one, of several together, or a deletion."""
    bundle = EngineBundle()
    compact_at_once(bundle)
    worker = bundle.ready()
    definitions = Definitions(bundle.log("author"), bundle.topics.trigger_definitions, bundle.clock, 100_000)
    for number, each in enumerate(changes):
        bundle.clock.advance(1000)
        if isinstance(each, str):
            definitions.delete(each)
        else:
            definitions.apply(each if isinstance(each, tuple) else (each,))
        bundle.send(paid(f"e{number}", amount=1))
        bundle.work_off(worker)
    worker.close()
    return bundle


OTHERS = tuple({**SHIP, "id": name, "when": {"event": name}} for name in ("a", "c", "d"))
"""Triggers for which no message comes."""


@pytest.mark.parametrize(
    ("changes", "removed", "unjudged"),
    [
        ((SHIP, {**SHIP, "task": "x"}), 1, 1),
        ((OTHERS[0], SHIP, OTHERS[1], {**SHIP, "task": "x"}), 1, 2),
        (((OTHERS[0], SHIP, OTHERS[1]), {**SHIP, "task": "x"}), 1, 1),
        (((OTHERS[0], SHIP), {**SHIP, "task": "x"}), 1, 1),
        ((OTHERS[0], SHIP, "ship"), 1, 1),
        ((OTHERS[0], SHIP, "ship", OTHERS[1]), 2, 2),  # nothing says that it was not the last one's, after the deletion
        ((SHIP, "ship", OTHERS[1]), 2, 2),
    ],
)
def test_what_was_lost_of_a_definition_that_was_compacted_away_never_passes_as_judged(
    changes: tuple[Any, ...], removed: int, unjudged: int
) -> None:
    bundle = changed_by(*changes)
    for topic, kind in (("invocations", Invocation), ("trigger-runs", TriggerRun)):
        for entry in made_records(bundle, topic, kind):
            if decode(entry.value()).task == "orders.ship":
                hide(entry)
    assert judge(bundle).count("lost") > 0
    for entry in [each for each in entries(bundle, "trigger-definitions") if each.key() == b"ship"][:removed]:
        hide(entry)
    report = judge(bundle)
    assert (report.findings, report.messages, report.unjudged) == ([], len(changes) - unjudged, unjudged)


@pytest.mark.parametrize(
    "changes",
    [
        (SHIP, OTHERS[0], OTHERS[1]),
        (OTHERS, SHIP, {**SHIP, "task": "x"}, "ship", OTHERS[0]),
        (SHIP, {**OTHERS[0], "task": "x"}, OTHERS[0]),
    ],
)
def test_where_nothing_was_compacted_away_everything_is_judged(changes: tuple[Any, ...]) -> None:
    report = judge(changed_by(*changes))
    assert (report.messages, report.unjudged, report.findings) == (len(changes), 0, [])


def test_what_was_superseded_before_any_message_is_not_missed() -> None:
    bundle = changed_by(SHIP, {**SHIP, "task": "x"}, OTHERS[0])
    hide(entries(bundle, "trigger-definitions")[0])
    bundle.cluster.trim(TopicPartition("events", 0), 2)
    report = judge(bundle)
    assert (report.messages, report.unjudged, report.findings) == (1, 0, [])


def test_what_is_younger_than_the_compaction_lag_has_superseded_nothing() -> None:
    bundle = changed_by(SHIP, {**SHIP, "task": "x"}, OTHERS[0])
    hide(entries(bundle, "trigger-definitions")[0])
    assert judge(bundle).unjudged == 2
    topic = bundle.cluster.topic(bundle.topics.trigger_definitions)
    topic.spec = replace(topic.spec, settings={**topic.spec.settings, "min.compaction.lag.ms": str(24 * HOUR_MS)})
    assert judge(bundle).unjudged == 0


def test_messages_before_the_first_note_about_definitions_are_not_judged() -> None:
    bundle = fired_bundle()
    hide(made(bundle, "trigger-runs", Decision))
    assert counts(judge(bundle)) == {"unjudged": 3}


def always(_payload: object) -> bool:
    return True


def failing(_payload: object) -> bool:
    raise ValueError("no")


def call_bundle(function: str, *allowed: str) -> EngineBundle:
    """A trigger that calls a function, and workers that allow some modules."""
    bundle = EngineBundle(allow_modules=allowed)
    bundle.define({**SHIP, "when": {"event": "paid", "filter": {"call": f"{__name__}:{function}"}}})
    worker = bundle.ready()
    bundle.send(paid("e0"))
    bundle.work_off(worker)
    worker.close()
    return bundle


@pytest.mark.parametrize(("function", "count"), [("always", "expected"), ("failing", "failed")])
def test_a_function_that_workers_used_and_that_is_not_allowed_here_is_an_error(function: str, count: str) -> None:
    bundle = call_bundle(function, __name__)
    assert counts(judge(bundle))[count] == 1
    bundle.config = Config()
    with pytest.raises(Misconfigured, match=r"trigger ship cannot be judged: function .* does not allow") as raised:
        judge(bundle)
    assert raised.value.hint == f"add it if you trust it: --allow-module {__name__}"


@pytest.mark.parametrize(
    "definition",
    [
        b"garbage",
        encode(paid("e1")),
        encode(Definition("ship", "v", b"{", 0)),
        encode(Definition("ship", "v", b'{"id": "ship", "task": "t", "when": {"cron": "* * * * *"}}', 0)),
        encode(
            Definition(
                "ship", "v", b'{"id": "ship", "task": "t", "when": {"event": "paid", "filter": {"call": "os:x"}}}', 0
            )
        ),
        encode(Definition("ship", "v", b'{"id": "other", "task": "t", "when": {"event": "paid"}}', 0)),
    ],
    ids=["bytes", "another record", "no JSON", "cron", "function", "another id"],
)
def test_a_definition_that_workers_have_quarantined_is_none(definition: bytes) -> None:
    bundle = EngineBundle()
    bundle.define({**SHIP, "id": "good"})
    bundle.write(bundle.topics.trigger_definitions, definition, b"ship")
    bundle.send(paid("e1"))
    bundle.work_off(bundle.start())
    assert counts(judge(bundle)) == {"messages": 1, "expected": 1, "invocations": 1}


# What cannot be judged


def test_messages_whose_outputs_may_have_been_deleted_are_not_judged() -> None:
    bundle = fired_bundle()
    bundle.clock.advance(8 * 24 * HOUR_MS)
    worker = bundle.ready()
    bundle.send(paid("e3"))
    bundle.work_off(worker)
    bundle.cluster.trim(TopicPartition("invocations", 0), 3)
    assert counts(judge(bundle)) == {"messages": 1, "expected": 1, "invocations": 1, "unjudged": 3}
    hide(entries(bundle, "invocations")[-1])
    assert found(judge(bundle)) == [("lost", 3)]


def test_a_decision_is_believed_where_what_it_repeats_was_deleted() -> None:
    bundle = fired_bundle(claim_retention_ms=30 * 24 * HOUR_MS)
    bundle.clock.advance(8 * 24 * HOUR_MS)
    worker = bundle.ready()
    bundle.send(paid("e1"))
    bundle.work_off(worker)
    for topic in ("events", "trigger-runs", "invocations"):
        bundle.cluster.trim(TopicPartition(topic, 0), 3)
    assert counts(judge(bundle)) == {"messages": 1, "unjudged": 1}


def test_a_topic_that_does_not_exist_is_an_error() -> None:
    bundle = EngineBundle()
    bundle.config = Config(topic_prefix="other.")
    with pytest.raises(Misconfigured, match=r"there is nothing to verify: topic other\.events does not exist"):
        judge(bundle)


# Bounds


def test_a_bounded_number_of_findings_is_kept_and_all_are_counted() -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.send(*(paid(f"e{number}") for number in range(2 * FINDINGS_KEPT_MAX)))
    bundle.work_off(worker)
    for entry in entries(bundle, "invocations"):
        hide(entry)
    report = judge(bundle)
    assert (report.count("lost"), len(report.findings)) == (2 * FINDINGS_KEPT_MAX, FINDINGS_KEPT_MAX)


@pytest.mark.parametrize(("kind", "topic"), [(Invocation, "invocations"), (TriggerRun, "trigger-runs")])
def test_one_run_id_that_was_fired_very_often_is_counted_in_bounded_memory(kind: type, topic: str) -> None:
    bundle = fired_bundle()
    once = made(bundle, topic, kind, 1)
    peaks = []
    for _ in range(2):
        for _ in range(10 * FINDINGS_KEPT_MAX):
            repeat(bundle, once)
        tracemalloc.start()
        report = judge(bundle, on_disk=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (report.count("duplicated"), len(report.findings)) == (20 * FINDINGS_KEPT_MAX, FINDINGS_KEPT_MAX)
    assert peaks[1] < 1.2 * peaks[0]


def peak_of_judging(events: int) -> int:
    """The most memory, in bytes, that Python objects of a verification took at once."""
    bundle = EngineBundle(partitions=2)
    bundle.define(SHIP)
    worker = bundle.ready()
    values = [Outgoing(key=b"%d" % n, value=encode(paid(f"e{n}"))) for n in range(events)]
    bundle.cluster.write("events", values)
    bundle.work_off(worker)
    tracemalloc.start()
    try:
        report = judge(bundle, on_disk=True)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        assert (report.expected, report.findings) == (events, [])


def test_memory_does_not_grow_with_the_number_of_messages() -> None:
    assert peak_of_judging(20_000) < 1.2 * peak_of_judging(10_000) < 15_000_000


# On a real Kafka, and from the command line


def tampered(record: Outgoing) -> list[Outgoing]:
    """What a worker writes that loses, doubles and changes some of its outputs."""
    value = decode(record["value"])
    if isinstance(value, Invocation) and value.causes == ("event/e1",):
        return []
    if isinstance(value, Invocation) and value.causes == ("event/e2",):
        return [record, Outgoing(**record)]
    if isinstance(value, Invocation) and value.causes == ("event/e3",):
        return [Outgoing(key=record["key"], value=encode(msgspec.structs.replace(value, arguments={"order": 0})))]
    if isinstance(value, TriggerRun) and value.participants[0].id == "e4":
        return []
    if isinstance(value, DeadLetter):
        return []
    return [record]


class TamperingProducer(KafkaProducer):
    def produce(self, topic: str, records: list[Outgoing]) -> None:
        is_output = not topic.endswith("-changelog")
        super().produce(topic, [each for record in records for each in tampered(record)] if is_output else records)


class TamperingLog(KafkaLog):
    def producer(self) -> KafkaProducer:
        return TamperingProducer(self._settings, self._clock)


def work_off(config: Config, path: Path, *, tampering: bool) -> None:
    """Let a worker process what there is."""
    name = config.application
    settings = KafkaSettings(config.bootstrap_servers, group=name, instance=name, transactional_id=name)
    log = TamperingLog(settings) if tampering else KafkaLog(settings)
    worker = Worker(log, lambda: RocksStore(path), SystemClock(), config, AllowedFunctions())
    worker.start()
    inputs = partitions_of(log, Topics(name, config.topic_prefix).inputs)
    for _ in range(600):
        worker.run_once(0.1)
        if worker.counters.restores >= len(inputs) and unread(log, inputs) == 0:
            break
    worker.close()
    assert unread(log, inputs) == 0


def emit(config: Config, *events: Event) -> None:
    with Client(config) as client:
        for event in events:
            client.emit_event(event.code, event.payload, key="k", event_id=event.id)
        client.flush()


@pytest.mark.kafka
def test_planted_faults_are_found_on_a_real_kafka(kafka_config: Config, tmp_path: Path) -> None:
    config, topics = kafka_config, Topics(kafka_config.application, kafka_config.topic_prefix)
    with Client(config) as client:
        client.apply([SHIP])
    emit(config, *(paid(f"e{number}") for number in range(5)), Event("paid", "e5", 7, None, {}), paid("e0"))
    work_off(config, tmp_path / "store", tampering=True)
    sender = KafkaSender(KafkaSettings(config.bootstrap_servers), lambda *_: "")
    foreign = Invocation("orders.ship", "ship", "v", "x", "ab" * 16, 7, None, {}, ("event/x",))
    sender.send(topics.invocations, [Outgoing(key=b"k", value=encode(foreign))])
    sender.close(30.0)

    log = KafkaLog(KafkaSettings(config.bootstrap_servers, group=config.application))
    report = verify(log, config, AllowedFunctions())
    assert found(report) == [
        ("duplicated", 2),
        ("lost", 1),
        ("unexpected", -1),
        ("unrecorded", 4),
        ("unreported", 5),
        ("wrong", 3),
    ]
    assert {each.fault: each.detail for each in report.findings}["wrong"] == "differs in arguments"
    assert (report.messages, report.expected, report.repeated, report.failed) == (7, 5, 1, 1)

    options = [
        *("--bootstrap-servers", config.bootstrap_servers),
        *("--application", config.application),
        *("--topic-prefix", config.topic_prefix),
    ]
    shown = CliRunner().invoke(app, ["verify", *options])
    assert (shown.exit_code, f"{topics.events}/" in shown.stdout) == (1, True)
    typo = CliRunner().invoke(app, ["verify", *options, "--application", "typo"])
    assert (typo.exit_code, "application typo has not committed any position" in typo.stderr) == (3, True)
    before = CliRunner().invoke(app, ["verify", "--until", "1h", "--json", *options])
    assert (before.exit_code, json.loads(before.stdout)["messages"]) == (0, 0)
    after = CliRunner().invoke(app, ["verify", "--since", "1h", "--json", *options])
    assert (after.exit_code, json.loads(after.stdout)["lost"]) == (1, 1)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("90s", NOW_MS - 90_000),
        ("30m", NOW_MS - 1_800_000),
        ("2h", NOW_MS - 7_200_000),
        ("7d", NOW_MS - 604_800_000),
        ("1d12h", NOW_MS - 129_600_000),
        ("2023-11-14", NOW_MS - 80_000_000),
        ("2023-11-14T22:13:20", NOW_MS),
        ("2023-11-14T22:13:20.250Z", NOW_MS + 250),
        ("2023-11-15T00:13:20+02:00", NOW_MS),
    ],
)
def test_an_instant_is_iso_8601_or_a_time_ago(text: str, meaning: int) -> None:
    assert instant_ms(text, NOW_MS, -1, "--since") == meaning


@pytest.mark.parametrize(("text", "meaning"), [("1d12h", NOW_MS + 129_600_000), ("2023-11-15", NOW_MS + 6_400_000)])
def test_a_time_to_come_is_told_in_the_same_forms(text: str, meaning: int) -> None:
    assert coming_ms(text, NOW_MS, "--until") == meaning


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--since", text] for text in ("soon", "2w", "-2h", "h", "2023-13-01", "1969-12-31")),
        ["--until", "soon"],
        ["--until", "99999999999999999999d"],
        ["--until", "999999999d"],
        ["--until", "1960-01-01"],
        ["--until", "9" * 4400 + "d"],
        ["--until", "\u0663d"],
        ["--since", "1h", "--until", "2h"],
    ],
    ids=lambda arguments: " ".join(arguments)[:40],
)
def test_what_is_no_range_is_a_wrong_call(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["verify", *arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr) < 1000


def test_progress_without_a_terminal_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    for done in range(0, 600_001, 100_000):
        lines("messages", done, 600_000)
    for phase in ("runs", "notices"):
        lines(phase, 0, 0)
    lines("notices", 3, 3)
    assert capsys.readouterr().err.splitlines() == [
        "messages: 300,000 of 600,000",
        "messages: 600,000 of 600,000",
        "notices: 3 of 3",
    ]


def test_where_no_message_could_be_judged_the_report_is_blind() -> None:
    bundle = fired_bundle()
    assert not judge(bundle).is_blind
    hide(made(bundle, "trigger-runs", Decision))
    assert judge(bundle).is_blind


def test_everything_twice_is_told_from_something_twice() -> None:
    bundle = fired_bundle()
    double_both(bundle)
    assert not judge(bundle).is_doubled
    other = EngineBundle(application="other")
    other.cluster.create_topics(specs(bundle.topics, {}, claim_retention_ms=HOUR_MS, partitions=1))
    other.define(SHIP)
    workers = [other.ready()]
    other.config = replace(other.config, application="triggers")
    workers.append(other.ready())
    other.send(paid("e0"), paid("e1"))
    other.work_off(*workers)
    assert judge(other).is_doubled


def test_a_place_without_room_for_temporary_files_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/does/not/exist")
    with pytest.raises(Misconfigured, match="no directory for temporary files can be made: No such file or directory"):
        judge(fired_bundle())


# Exit statuses


def concluded(report: Report) -> int:
    """The exit status for a report."""
    try:
        conclude(report)
    except typer.Exit as end:
        return end.exit_code
    return 0


LOST = Finding("lost", "ab" * 16, "ship", Position("events", 0, 1), None, "it has no invocation")


@pytest.mark.parametrize(
    ("messages", "unjudged", "findings", "status", "text"),
    [
        (0, 0, (), 0, ""),
        (2, 0, (), 0, ""),
        (2, 3, (), 0, "3 not judged"),
        (2, 0, (LOST,), 1, ""),
        (0, 3, (LOST,), 1, "3 not judged"),
    ],
)
def test_the_status_says_whether_everything_is_as_it_must_be(
    messages: int,
    unjudged: int,
    findings: tuple[Finding, ...],
    status: int,
    text: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = Report(messages=messages, unjudged=unjudged)
    for finding in findings:
        report.add(finding)
    assert concluded(report) == status
    assert capsys.readouterr().err.startswith(text)


def test_that_nothing_could_be_judged_is_no_success() -> None:
    with pytest.raises(Misconfigured, match="of 1,234 messages none could be judged"):
        conclude(Report(unjudged=1234))


def test_that_everything_fired_twice_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(messages=1, expected=1)
    report.add(LOST._replace(fault="duplicated"))
    assert concluded(report) == 1
    assert "do workers of two applications use the same topic_prefix?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "status"),
    [(["--claim-retention-ms", "1"], 3), (["--bootstrap-servers", "x"], 3), (["--application", "."], 3), (["--x"], 2)],
)
def test_that_it_could_not_run_is_not_the_status_of_a_finding(options: list[str], status: int) -> None:
    assert CliRunner().invoke(app, ["verify", *options]).exit_code == status


def test_an_error_of_the_program_is_not_the_status_of_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_cluster, "require_broker", lambda _servers: 1 / 0)
    result = CliRunner().invoke(app, ["verify"])
    assert (result.exit_code, "ZeroDivisionError" in result.stderr) == (3, True)


def test_it_takes_the_settings_that_its_judgement_depends_on() -> None:
    shown = CliRunner().invoke(app, ["verify", "--help"], env={"COLUMNS": "160"}).stdout
    assert all(option in shown for option in ("--claim-retention-ms", "--allow-module", "--payload-bytes-max"))


def test_what_foreign_records_name_is_printed_short_and_plain(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    report.add(LOST._replace(run_id="r" * 3_000_000, trigger_id="\x1b[2J\n", detail="d" * 3_000_000))
    print_report(report)
    shown = capsys.readouterr().out
    assert len(shown) < 1000
    assert "r" * 64 + "..." in shown
    assert r"\x1b[2J\n" in shown


def test_where_a_wrong_record_stands_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    report.add(Finding("unexpected", "", "", None, Position("trigger-runs", 2, 17), "no message"))
    print_report(report)
    assert capsys.readouterr().out.splitlines()[-1].split() == ["unexpected", "trigger-runs/2@17", "no", "message"]


def test_what_is_waited_for_is_told_after_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    clock = ManualClock()
    waiting = Waiting(clock)
    for partitions in ([TopicPartition("events", 1)],) * 2 + ([TopicPartition("events", 0)],) * 6:
        waiting(partitions)
        clock.advance(2_000)
    assert capsys.readouterr().err.splitlines() == [
        "waiting for events/0: a transaction is open there, or the brokers are away"
    ]


def test_a_transaction_that_is_open_is_named_while_it_is_waited_for() -> None:
    bundle = fired_bundle()
    producer = bundle.log("other").producer()
    producer.open()
    producer.begin()
    producer.produce("dead-letters", [Outgoing(key=b"k", value=b"rubbish")])
    told: list[TopicPartition] = []

    def end(partitions: Sequence[TopicPartition]) -> None:
        told.extend(partitions)
        producer.abort()

    assert judge(bundle, waits_for=end).findings == []
    assert set(told) == {TopicPartition("dead-letters", 0)}
