"""Verify: it finds each kind of planted fault with the cause behind it, and nothing where all is well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from stream_triggers.core.invocation import Invocation, TriggerRun
from stream_triggers.core.message import Position, TaskStatus
from stream_triggers.core.record import Definition
from stream_triggers.runtime.codec import decode, encode
from stream_triggers.runtime.functions import AllowedFunctions
from stream_triggers.runtime.log import Outgoing, TopicPartition
from stream_triggers.runtime.memory_log import MemoryLog
from stream_triggers.runtime.store import MemoryStore
from stream_triggers.verify import Report, verify
from tests.engine_bundle import SHIP, EngineBundle, paid

HOUR_MS = 3_600_000
NEEDS_COUPON = {"id": "coupon", "task": "orders.coupon", "when": {"event": "paid"}, "args": {"c": "${event.payload.c}"}}


def check(bundle: EngineBundle, log: MemoryLog | None = None) -> Report:
    return verify(log or bundle.log("verify"), bundle.config, AllowedFunctions())


def worked(*messages: Any, triggers: Sequence[Any] = (SHIP,), **arguments: Any) -> EngineBundle:
    """A bundle whose worker has worked off these messages and stopped."""
    bundle = EngineBundle(**arguments)
    for trigger in triggers:
        bundle.define(trigger)
    bundle.send(*messages)
    worker = bundle.start()
    bundle.work_off(worker)
    worker.close()
    return bundle


def findings(report: Report) -> list[str]:
    """Each finding as fault, trigger and cause."""
    return [f"{each.fault} {each.trigger_id} {where(each.cause)}" for each in report.findings]


def where(cause: Position | None) -> str:
    return "nowhere" if cause is None else f"{cause.topic}/{cause.partition}@{cause.offset}"


class TamperedLog(MemoryLog):
    """A cluster of which one topic reads otherwise than it was written."""

    def __init__(self, bundle: EngineBundle, topic: str, tamper: Callable[[list[bytes]], list[bytes]]) -> None:
        copy = EngineBundle(partitions=bundle.cluster.topics(["events"])["events"].partitions)
        for spec in [*copy.topics.all, *map(copy.topics.changelog, copy.topics.inputs)]:
            records = bundle.cluster.records(spec)
            if spec == topic:
                values = tamper([record.value() or b"" for record in records])
                copy.cluster.write(topic, [Outgoing(key=b"k", value=value, partition=0) for value in values])
                continue
            copy.cluster.write(
                spec, [Outgoing(key=each.key(), value=each.value(), partition=each.partition()) for each in records]
            )
        copy.cluster.group("triggers").offsets.update(bundle.committed())
        super().__init__(copy.cluster, "verify")


def tampered(bundle: EngineBundle, tamper: Callable[[list[bytes]], list[bytes]], topic: str = "invocations") -> Report:
    return check(bundle, TamperedLog(bundle, topic, tamper))


def changed(value: bytes, **fields: Any) -> bytes:
    return encode(msgspec.structs.replace(decode(value, (Invocation,)), **fields))


# All is well


def test_where_all_is_well_there_is_nothing_to_find() -> None:
    bundle = worked(paid("e1"), paid("e2"), paid("e1"), paid("e3", c=1), triggers=[SHIP, NEEDS_COUPON])
    report = check(bundle)
    assert report.findings == []
    assert (report.messages, report.expected, report.invocations) == (4, 4, 4)
    assert (report.repeated, report.failed, report.rejected) == (1, 3, 0)


def test_a_copy_that_nobody_has_tampered_with_is_well() -> None:
    assert tampered(worked(paid("e1"), paid("e2")), lambda values: values).findings == []


def test_an_application_that_has_done_nothing_is_well() -> None:
    report = check(EngineBundle())
    assert (report.findings, report.messages) == ([], 0)


def test_what_is_not_committed_is_not_judged() -> None:
    bundle = worked(paid("e1"))
    bundle.send(paid("e2"))
    report = check(bundle)
    assert (report.findings, report.messages) == ([], 1)


def test_definitions_are_judged_by_what_was_in_force_at_each_message() -> None:
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
    assert [each.task for each in bundle.invocations()] == ["orders.ship", "orders.send"]
    assert check(bundle).findings == []


def test_a_repeat_under_another_key_may_fire_once_for_each_partition() -> None:
    bundle = EngineBundle(partitions=2)
    bundle.define(SHIP)
    worker = bundle.start()
    for partition in (0, 1, 1, 0):
        bundle.write("events", encode(paid("e1")), partition=partition)
        bundle.work_off(worker)
        bundle.define({**SHIP, "task": f"orders.after_{partition}"})  # so that they differ
    report = check(bundle)
    assert report.findings == []
    assert (report.expected, report.invocations, report.repeated) == (2, 2, 2)


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
    report = check(bundle)
    assert (report.findings, report.rejected) == ([], 1)


def test_what_workers_find_too_large_need_not_fire() -> None:
    report = check(worked(paid("e1", note="x" * 1024), payload_bytes_max=1024))
    assert (report.findings, report.rejected) == ([], 1)


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
def test_what_workers_have_quarantined_need_not_fire(definition: bytes) -> None:
    bundle = EngineBundle()
    bundle.define({**SHIP, "id": "good"})
    bundle.write(bundle.topics.trigger_definitions, definition, b"ship")
    bundle.send(paid("e1"))
    bundle.work_off(bundle.start())
    report = check(bundle)
    assert (report.findings, report.invocations) == ([], 1)


def test_what_fires_while_it_is_judged_is_left_out() -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.send(paid("e1"))
    bundle.work_off(worker)

    def meanwhile() -> None:
        bundle.send(paid("e2"))
        bundle.work_off(worker)

    report = check(bundle, LiveLog(bundle, meanwhile))
    assert bundle.fired() == ["ship event/e1", "ship event/e2"]
    assert (report.findings, report.invocations) == ([], 1)


def test_a_repeat_that_fires_in_another_partition_while_it_is_judged_is_left_out() -> None:
    bundle = EngineBundle(partitions=2)
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.write("events", encode(paid("e1")), partition=0)
    bundle.work_off(worker)

    def meanwhile() -> None:
        bundle.write("events", encode(paid("e1")), partition=1)
        bundle.work_off(worker)

    report = check(bundle, LiveLog(bundle, meanwhile))
    assert bundle.fired() == ["ship event/e1", "ship event/e1"]
    assert (report.findings, report.invocations) == ([], 1)


class LiveLog(MemoryLog):
    """A cluster on which workers go on after the committed positions have been asked for."""

    def __init__(self, bundle: EngineBundle, meanwhile: Callable[[], None]) -> None:
        super().__init__(bundle.cluster, "verify")
        self._meanwhile = meanwhile
        self._asked = 0

    def end_offsets(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        partitions = list(partitions)
        if partitions and partitions[0].topic == "invocations":
            self._meanwhile()
        return super().end_offsets(partitions)


# Faults


def test_a_lost_invocation_is_found_with_its_cause() -> None:
    report = tampered(worked(paid("e1"), paid("e2")), lambda values: values[:1])
    assert findings(report) == ["lost ship events/0@1"]
    assert report.findings[0].detail == "there is no invocation"


def test_a_doubled_invocation_is_found_with_its_cause() -> None:
    report = tampered(worked(paid("e1"), paid("e2")), lambda values: [*values, values[1], values[1]])
    assert findings(report) == ["duplicated ship events/0@1"] * 2
    assert [each.detail for each in report.findings] == ["fired 2 times", "fired 3 times"]


def test_an_invocation_with_another_argument_is_found_with_its_cause() -> None:
    report = tampered(
        worked(paid("e1"), paid("e2")), lambda values: [values[0], changed(values[1], arguments={"order": "o2"})]
    )
    assert findings(report) == ["wrong ship events/0@1"]
    assert report.findings[0].detail == "differs in arguments"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task", "x"),
        ("trigger_version", "x"),
        ("time_ms", 8),
        ("key", "x"),
        ("causes", ()),
        ("root", "x"),
        ("depth", 9),
    ],
)
def test_whatever_an_invocation_derives_from_its_cause_is_compared(name: str, value: object) -> None:
    report = tampered(worked(paid("e1")), lambda values: [changed(values[0], **{name: value})])
    assert findings(report) == ["wrong ship events/0@0"]
    assert report.findings[0].detail == f"differs in {name}"


def test_an_invocation_nobody_has_asked_for_is_found() -> None:
    report = tampered(worked(paid("e1")), lambda values: [*values, changed(values[0], run_id="f" * 32, id="f" * 32)])
    assert findings(report) == ["unexpected ship nowhere"]
    assert report.findings[0].run_id == "f" * 32


def test_an_invocation_of_a_trigger_that_was_not_in_force_is_found() -> None:
    bundle = worked(paid("e1"), triggers=[])
    bundle.define(SHIP)
    fired = worked(paid("e1")).cluster.records("invocations")[0].value()
    bundle.write("invocations", fired)
    assert findings(check(bundle)) == ["unexpected ship nowhere"]


def test_an_invocation_without_a_run_record_is_found_with_its_cause() -> None:
    def without_the_second_run(values: list[bytes]) -> list[bytes]:
        runs = [value for value in values if isinstance(decode(value), TriggerRun)]
        return [value for value in values if value != runs[1]]

    report = tampered(worked(paid("e1"), paid("e2")), without_the_second_run, topic="trigger-runs")
    assert findings(report) == ["unrecorded ship events/0@1"]


def test_an_invocation_of_a_message_that_failed_is_found() -> None:
    bundle = worked(paid("e1"), triggers=[NEEDS_COUPON])
    fired = worked(paid("e1", c=1), triggers=[NEEDS_COUPON]).cluster.records("invocations")[0].value()
    bundle.write("invocations", fired)
    assert findings(check(bundle)) == ["unexpected coupon nowhere"]


def test_of_a_repeat_under_another_key_the_missing_one_is_named() -> None:
    bundle = EngineBundle(partitions=2)
    bundle.define(SHIP)
    for partition in (0, 1):
        bundle.write("events", encode(paid("e1", order=f"o{partition}")), partition=partition)
    bundle.work_off(bundle.start())
    report = tampered(
        bundle, lambda values: [each for each in values if decode(each, (Invocation,)).arguments == {"order": "o0"}]
    )
    assert findings(report) == ["lost ship events/1@0"]


def test_findings_are_counted_by_kind() -> None:
    report = tampered(worked(paid("e1"), paid("e2")), lambda values: [values[0], values[0]])
    assert (report.count("lost"), report.count("duplicated"), report.count("wrong")) == (1, 1, 0)


def test_progress_is_told_by_topic() -> None:
    told: list[tuple[str, int]] = []
    bundle = worked(paid("e1"), paid("e2"))
    verify(bundle.log("verify"), bundle.config, AllowedFunctions(), lambda topic, number: told.append((topic, number)))
    assert told == [("trigger-runs", 3), ("inputs", 2), ("invocations", 2)]


def test_a_store_is_not_needed() -> None:
    """It judges by the topics alone, also when every disk is lost."""
    bundle = worked(paid("e1"))
    bundle.start(store=MemoryStore())
    assert check(bundle).findings == []


# Repeats after the retention


def test_a_repeat_after_the_retention_may_fire_again() -> None:
    bundle = EngineBundle(claim_retention_ms=HOUR_MS)
    bundle.define(SHIP)
    worker = bundle.start()
    for _ in range(3):
        bundle.send(paid("e1"), paid("e1"))
        bundle.work_off(worker)
        bundle.clock.advance(2 * HOUR_MS)
    report = check(bundle)
    assert len(bundle.fired()) == 3
    assert report.findings == []
    assert (report.expected, report.repeated) == (3, 3)


def test_a_repeat_within_the_retention_may_not() -> None:
    bundle = EngineBundle(claim_retention_ms=HOUR_MS)
    bundle.define(SHIP)
    worker = bundle.start()
    for _ in range(2):
        bundle.send(paid("e1"))
        bundle.work_off(worker)
        for column in worker._ready_local().store.columns():  # the claims are lost
            worker._ready_local().store.drop(column)
    assert len(bundle.fired()) == 2
    assert findings(check(bundle)) == ["duplicated ship events/0@0"]


def test_a_transaction_that_is_half_written_while_it_is_judged_is_left_out() -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.send(paid("e1"))
    bundle.work_off(worker)
    log = HalfWrittenLog(bundle)
    report = check(bundle, log)
    assert bundle.fired() == ["ship event/e1", "ship event/e2"]
    assert (report.findings, report.invocations) == ([], 1)


class HalfWrittenLog(MemoryLog):
    """A cluster on which a transaction has written its invocation, and only later its run record."""

    def __init__(self, bundle: EngineBundle) -> None:
        super().__init__(bundle.cluster, "verify")
        other = worked(paid("e1"), paid("e2")).cluster  # which has the records that will be written
        self._records = {
            "invocations": other.records("invocations")[1],
            "trigger-runs": other.records("trigger-runs")[1],
        }
        self._producer = bundle.log("other").producer()
        self._producer.open()
        self._producer.begin()

    def end_offsets(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        partitions = list(partitions)
        topic = partitions[0].topic if partitions else ""
        if topic == "invocations":
            self._write(topic)
            return super().end_offsets(partitions)
        ends = super().end_offsets(partitions)
        if topic in self._records:
            self._write(topic)
            self._producer.commit()
        return ends

    def _write(self, topic: str) -> None:
        record = self._records.pop(topic)
        self._producer.produce(topic, [Outgoing(key=record.key(), value=record.value())])
