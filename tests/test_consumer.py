"""The task worker and the iterator, over the in-memory log and on Kafka: what is run, reported, left by failures."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from stream_triggers.config import Config
from stream_triggers.consumer import (
    Invocation,
    TaskApp,
    TaskWorker,
    Unknown,
    invocations,
    iterate,
    load_app,
    task_worker,
)
from stream_triggers.core.message import Failure, Success, TaskResult, TaskStatus
from stream_triggers.core.record import DeadLetter
from stream_triggers.errors import Fenced, Misconfigured, Unavailable, UnknownTask
from stream_triggers.runtime.clock import ManualClock
from stream_triggers.runtime.codec import decode, encode
from stream_triggers.runtime.kafka import KafkaLog, KafkaSettings
from stream_triggers.runtime.log import Outgoing, TopicPartition
from stream_triggers.runtime.memory_log import Crashed, Fault, Faults, MemoryCluster, MemoryLog, MemoryProducer
from stream_triggers.runtime.reading import read_all
from stream_triggers.runtime.topics import Topics, specs

CONFIG = Config()
TOPICS = Topics(CONFIG.application)
GROUP = "triggers-tasks"
NOW_MS = 1_764_000_000_000


def invocation(number: int = 1, task: str = "billing.invoice", **changes) -> Invocation:
    fields = {
        "task": task,
        "trigger_id": "bill-order",
        "trigger_version": "0123456789abcdef",
        "id": f"inv-{number}",
        "run_id": f"run-{number}",
        "time_ms": NOW_MS,
        "key": None,
        "arguments": {"order": number},
        "causes": (f"event/e{number}",),
        "root": f"e{number}",
        "depth": 1,
    }
    return Invocation(**{**fields, **changes})


class Bed:
    """A cluster with its topics, and workers on it."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.clock = ManualClock(NOW_MS)
        self.cluster = MemoryCluster(self.clock, faults)
        self.cluster.create_topics(specs(TOPICS, {}, claim_retention_ms=CONFIG.claim_retention_ms))

    def send(self, *invocations: Invocation, partition: int = 0) -> None:
        records = [Outgoing(value=encode(each), key=b"k", partition=partition) for each in invocations]
        self.cluster.write(TOPICS.invocations, records)

    def log(self, slot: str = "0") -> MemoryLog:
        return MemoryLog(self.cluster, slot, group_id=GROUP)

    def worker(
        self, app: TaskApp, slot: str = "0", unknown: Unknown = "stop", log: MemoryLog | None = None, **settings
    ) -> TaskWorker:
        config = replace(CONFIG, **settings)
        worker = TaskWorker(app, log or self.log(slot), self.clock, config, unknown=unknown)
        worker.start()
        return worker

    def drain(self, worker: TaskWorker) -> None:
        """Let ``worker`` join the group and work until nothing is left."""
        idle = 0
        while idle < 3:
            idle = 0 if worker.run_once(0.0) else idle + 1

    def statuses(self) -> list[TaskStatus]:
        return [decode(record.value(), (TaskStatus,)) for record in self.cluster.records(TOPICS.task_status)]

    def results(self) -> list[TaskResult]:
        return [decode(record.value(), (TaskResult,)) for record in self.cluster.records(TOPICS.task_results)]

    def reported(self) -> list[str]:
        """The invocations that have a result, once for each."""
        return sorted(result.invocation_id for result in self.results())

    def committed(self, partition: int = 0) -> int | None:
        return self.cluster.offsets(GROUP).get(TopicPartition(TOPICS.invocations, partition))


@pytest.fixture
def bed() -> Bed:
    return Bed()


def app_of(function: Callable, name: str = "billing.invoice", **options) -> TaskApp:
    app = TaskApp()
    app.task(name, **options)(function)
    return app


def recording(calls: list[int]) -> TaskApp:
    """An app whose task notes the orders it was called with."""

    def bill(order):
        calls.append(order)

    return app_of(bill)


def stopping_after(bed: Bed, polls: int) -> threading.Event:
    """A request to stop that is made after so many polls."""

    class Stop(threading.Event):
        def is_set(self) -> bool:
            return bed.cluster.faults.calls["poll", "0"] >= polls

    return Stop()


def outcome_of(bed: Bed, function: Callable, **changes):
    """What is reported when ``function`` is run with the arguments of an invocation."""
    bed.send(invocation(**changes))
    bed.drain(bed.worker(app_of(function)))
    (result,) = bed.results()
    return result.outcome


def test_a_function_gets_the_arguments_by_name(bed):
    assert outcome_of(bed, lambda order, amount: [order, amount], arguments={"amount": 5, "order": 7}) == Success(
        [7, 5]
    )


def test_an_async_function_is_awaited(bed):
    async def bill(order):
        return order + 1

    assert outcome_of(bed, bill) == Success(2)


@pytest.mark.parametrize("annotation", [Invocation, "Invocation"])
def test_a_parameter_annotated_as_invocation_gets_it(bed, annotation):
    def bill(order, call):
        return call.id

    bill.__annotations__["call"] = annotation
    assert outcome_of(bed, bill) == Success("inv-1")


def test_a_bare_parameter_named_invocation_gets_it(bed):
    assert outcome_of(bed, lambda order, invocation: invocation.run_id) == Success("run-1")


def test_an_annotated_parameter_named_invocation_is_an_argument_like_others(bed):
    def audit(invocation: str) -> str:
        return invocation

    assert outcome_of(bed, audit, arguments={"invocation": "text"}) == Success("text")


def test_what_a_function_does_to_its_arguments_is_not_reported(bed):
    outcome_of(bed, lambda order: order.clear(), arguments={"order": {"id": 1}})
    assert bed.results()[0].arguments == {"order": {"id": 1}}


def test_an_exception_is_reported_with_its_classes_and_text(bed):
    class Declined(TimeoutError):
        pass

    def bill(order):
        raise Declined("card 4242")

    assert outcome_of(bed, bill) == Failure(
        type="Declined",
        bases=("TimeoutError", "OSError", "Exception", "BaseException"),
        message="card 4242",
        final=True,
    )


def test_missing_arguments_are_a_failure(bed):
    outcome = outcome_of(bed, lambda customer: None)
    assert isinstance(outcome, Failure)
    assert outcome.type == "TypeError"


def test_a_function_that_cancels_itself_has_failed(bed):
    async def bill(order):
        import asyncio

        raise asyncio.CancelledError

    assert outcome_of(bed, bill).type == "CancelledError"


class Ended(BaseException):
    """An end that is no ``Exception``, as some libraries have."""


@pytest.mark.usefixtures("_as_in_a_worker")
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, Ended])
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_a_function_that_would_end_the_worker_has_failed_and_the_next_one_runs(bed, error, is_async):
    def bill(order):
        if order == 1:
            raise error
        return order

    async def bill_async(order):
        return bill(order)

    bed.send(invocation(1), invocation(2))
    bed.drain(bed.worker(app_of(bill_async if is_async else bill)))
    failed, succeeded = [result.outcome for result in bed.results()]
    assert (failed.type, failed.final) == (error.__name__, True)
    assert succeeded == Success(2)
    assert bed.committed() == 2


def test_text_that_is_not_unicode_does_not_stop_the_report(bed):
    def bill(order):
        raise ValueError("half a pair \ud800")

    assert outcome_of(bed, bill).message == "half a pair \\ud800"


def test_an_exception_without_a_readable_text_is_reported(bed):
    class Broken(Exception):
        def __str__(self):
            raise KeyError("x")

    def bill(order):
        raise Broken

    assert outcome_of(bed, bill).message == "its text cannot be made: KeyError"


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", float, "\ud800"])
def test_a_value_that_is_not_json_is_a_failure(bed, value):
    outcome = outcome_of(bed, lambda order: value)
    assert isinstance(outcome, Failure)
    assert outcome.type == "InvalidMessage"
    assert "JSON" in outcome.message


def test_a_number_that_json_does_not_have_is_a_failure_with_its_place(bed):
    outcome = outcome_of(bed, lambda order: {"note": None, "scores": [0.5, float("nan")]})
    assert isinstance(outcome, Failure)
    assert outcome.type == "InvalidMessage"
    assert outcome.final
    assert "result.scores[1] is not a finite number" in outcome.message


def test_a_value_that_is_too_large_is_a_failure(bed):
    outcome = outcome_of(bed, lambda order: "x" * CONFIG.payload_bytes_max)
    assert isinstance(outcome, Failure)
    assert "the limit is 1048576" in outcome.message


def test_a_value_that_cannot_be_reported_is_not_tried_again(bed):
    calls = []
    bed.send(invocation())
    bed.drain(bed.worker(app_of(lambda order: calls.append(order) or object(), attempts_max=3)))
    assert calls == [1]
    assert [result.outcome.final for result in bed.results()] == [True]


def test_statuses_tell_the_course_of_a_success(bed):
    outcome_of(bed, lambda order: None)
    assert [(s.status, s.previous, s.attempt) for s in bed.statuses()] == [
        ("running", None, 1),
        ("success", "running", 1),
    ]


def test_every_attempt_is_reported_and_only_the_last_is_final(bed):
    def bill(order):
        raise ValueError("no")

    bed.send(invocation())
    bed.drain(bed.worker(app_of(bill, attempts_max=2)))
    assert [(s.status, s.previous, s.attempt) for s in bed.statuses()] == [
        ("running", None, 1),
        ("retry", "running", 1),
        ("running", "retry", 2),
        ("failed", "running", 2),
    ]
    assert [(r.attempt, r.outcome.final) for r in bed.results()] == [(1, False), (2, True)]


def test_a_second_attempt_may_succeed(bed):
    calls = []

    def bill(order):
        calls.append(order)
        if len(calls) == 1:
            raise ValueError("no")
        return "ok"

    bed.send(invocation())
    bed.drain(bed.worker(app_of(bill, attempts_max=5)))
    assert [type(r.outcome) for r in bed.results()] == [Failure, Success]


def test_what_has_expired_when_it_is_its_turn_is_not_run_and_has_that_status(bed):
    calls = []
    bed.send(
        invocation(1, expires_ms=NOW_MS), invocation(2, expires_ms=NOW_MS + 1), invocation(3, expires_ms=NOW_MS + 1)
    )

    def bill(order):
        calls.append(order)
        bed.clock.advance(1)

    bed.drain(bed.worker(app_of(bill)))
    assert calls == [2]
    statuses = [(s.invocation_id, s.status, s.previous) for s in bed.statuses()]
    assert sorted(statuses, key=lambda each: each[0]) == [
        ("inv-1", "expired", None),
        ("inv-2", "running", None),
        ("inv-2", "success", "running"),
        ("inv-3", "expired", None),
    ]
    assert (bed.reported(), bed.committed()) == (["inv-2"], 3)


def test_statuses_name_the_trigger_and_the_key_of_the_invocation(bed):
    outcome_of(bed, lambda order: None, key="order-1")
    assert {(s.trigger_id, s.trigger_key) for s in bed.statuses()} == {("bill-order", "order-1")}


def test_a_status_says_when_it_came_about(bed):
    outcome_of(bed, lambda order: bed.clock.advance(1500))
    assert [s.time_ms - NOW_MS for s in bed.statuses()] == [0, 1500]


def test_reports_carry_on_the_causal_chain(bed):
    outcome_of(bed, lambda order: None, root="e9", depth=3, traceparent="00-aa-bb-01")
    chains = {(r.root, r.depth, r.traceparent) for r in [*bed.statuses(), *bed.results()]}
    assert chains == {("e9", 3, "00-aa-bb-01")}


def test_an_invocation_without_a_root_is_the_root_of_its_reports(bed):
    outcome_of(bed, lambda order: None, root=None)
    assert {r.root for r in [*bed.statuses(), *bed.results()]} == {"inv-1"}


def test_reports_are_keyed_by_their_invocation(bed):
    outcome_of(bed, lambda order: None)
    records = bed.cluster.records(TOPICS.task_status) + bed.cluster.records(TOPICS.task_results)
    assert {record.key() for record in records} == {b"inv-1"}


def test_ids_of_reports_are_the_same_when_the_work_is_done_again():
    first, second = Bed(), Bed()
    for bed in (first, second):
        bed.clock.advance(len(bed.results()))
        outcome_of(bed, lambda order: None)
    assert [r.id for r in [*first.statuses(), *first.results()]] == [
        r.id for r in [*second.statuses(), *second.results()]
    ]
    assert len({r.id for r in [*first.statuses(), *first.results()]}) == 3


def test_bytes_that_are_no_invocation_go_to_the_dead_letters_and_the_rest_goes_on(bed):
    bed.cluster.write(TOPICS.invocations, [Outgoing(value=b"junk", key=b"k", partition=0)])
    bed.send(invocation())
    bed.drain(bed.worker(app_of(lambda order: None)))
    (letter,) = [decode(record.value(), (DeadLetter,)) for record in bed.cluster.records(TOPICS.dead_letters)]
    assert (letter.topic, letter.partition, letter.offset, letter.key, letter.value, letter.stage) == (
        "invocations",
        0,
        0,
        b"k",
        b"junk",
        "decode",
    )
    assert len(bed.results()) == 1
    assert bed.committed() == 2


def test_an_unknown_task_stops_the_worker_in_front_of_it(bed):
    bed.send(invocation(1), invocation(2, task="mail.send"), invocation(3))
    worker = bed.worker(app_of(lambda order: order))
    with pytest.raises(UnknownTask, match=r"'mail.send'; known are billing.invoice"):
        bed.drain(worker)
    assert bed.reported() == ["inv-1"]
    assert bed.committed() == 1


def test_an_unknown_task_is_skipped_where_that_is_wanted(bed):
    bed.send(invocation(1), invocation(2, task="mail.send"), invocation(3))
    bed.drain(bed.worker(app_of(lambda order: order), unknown="skip"))
    assert bed.reported() == ["inv-1", "inv-3"]
    assert bed.committed() == 3


def test_a_task_that_was_skipped_is_not_read_again(bed):
    bed.send(invocation(task="mail.send"))
    bed.drain(bed.worker(recording([]), unknown="skip"))
    assert bed.committed() == 1


@pytest.mark.usefixtures("_as_in_a_program")
def test_a_ctrl_c_while_a_function_runs_is_not_its_failure(bed):
    def bill(order):
        raise KeyboardInterrupt

    bed.send(invocation())
    with pytest.raises(KeyboardInterrupt):
        bed.drain(bed.worker(app_of(bill)))
    assert bed.statuses() == []
    assert bed.committed() in (None, 0)


def test_what_is_done_is_committed_before_a_function_that_is_known_to_be_slow(bed):
    seen = []
    app = app_of(lambda order: None, "quick")
    app.task("slow")(lambda order: seen.append(len(bed.results())) or bed.clock.advance(500))
    bed.send(invocation(1, "slow"), invocation(2, "quick"), invocation(3, "quick"), invocation(4, "slow"))
    bed.drain(bed.worker(app))
    assert seen == [0, 3]


def test_quick_functions_share_a_transaction(bed):
    bed.send(*[invocation(number) for number in range(1, 51)])
    bed.drain(bed.worker(app_of(lambda order: None)))
    assert len(bed.results()) == 50
    assert bed.cluster.faults.calls["commit", "0"] <= 3


def test_what_is_done_is_committed_at_the_interval_though_there_is_more(bed):
    bed.send(*[invocation(number) for number in range(1, 21)])
    bed.drain(bed.worker(app_of(lambda order: bed.clock.advance(50))))
    assert 6 <= bed.cluster.faults.calls["commit", "0"] <= 9


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
def test_a_crash_around_the_commit_reports_every_result_once(bed, fault):
    runs = []
    bed.send(*[invocation(number) for number in range(1, 6)])
    bed.cluster.faults.plan("commit", fault, nth=2)
    with pytest.raises(Crashed):
        bed.drain(bed.worker(recording(runs)))
    bed.drain(bed.worker(recording(runs)))
    assert bed.reported() == ["inv-1", "inv-2", "inv-3", "inv-4", "inv-5"]
    assert len({s.id for s in bed.statuses()}) == len(bed.statuses()) == 10
    assert set(runs) == {1, 2, 3, 4, 5}
    assert (len(runs) > 5) == (fault is Fault.CRASH_BEFORE)


@pytest.mark.parametrize("point", ["produce", "send_offsets", "commit"])
@pytest.mark.parametrize(
    "fault", [Fault.REQUEST_LOST, Fault.RESPONSE_LOST, Fault.REQUEST_LATE, Fault.ABORTABLE, Fault.FATAL]
)
def test_a_commit_that_goes_wrong_runs_no_function_again(bed, point, fault):
    runs = []
    bed.send(invocation(1), invocation(2))
    bed.cluster.faults.plan(point, fault, nth=2)
    worker = bed.worker(recording(runs))
    for _ in range(3):
        bed.drain(worker)
        bed.cluster.deliver_late()
        bed.clock.advance(6_000)
    assert runs == [1, 2]
    assert bed.reported() == ["inv-1", "inv-2"]
    assert bed.committed() == 2


def test_a_commit_that_is_refused_for_good_reads_the_input_again(bed):
    runs = []
    bed.send(invocation(1))
    for _ in range(3):
        bed.cluster.faults.plan("commit", Fault.ABORTABLE, nth=2)
    worker = bed.worker(recording(runs))
    bed.drain(worker)
    assert runs == [1, 1]
    assert bed.reported() == ["inv-1"]


def test_records_read_before_going_back_are_dropped_not_taken_out_of_turn(bed):
    runs = []
    bed.send(invocation(1))
    worker = bed.worker(recording(runs))
    bed.drain(worker)
    bed.send(invocation(2), invocation(3))
    for _ in range(3):
        bed.cluster.faults.plan("commit", Fault.ABORTABLE)
    bed.cluster.faults.plan("committed", Fault.RETRIABLE)
    assert worker.run_once(0.0)
    bed.clock.advance(100)
    bed.drain(worker)
    assert runs == [1, 2, 2, 3]
    assert bed.reported() == ["inv-1", "inv-2", "inv-3"]


def test_an_invocation_that_was_read_when_kafka_went_away_is_not_lost(bed):
    runs = []
    bed.send(invocation(1), invocation(2))
    bed.cluster.faults.plan("commit", Fault.RETRIABLE)
    worker = bed.worker(recording(runs))
    with pytest.raises(Unavailable):
        bed.drain(worker)
    bed.drain(worker)
    assert runs == [1, 2]


def test_what_is_offered_again_is_what_was_made(bed):
    class Consuming(MemoryProducer):
        """A producer that uses up what it is given, as it may."""

        def produce(self, topic, records):
            super().produce(topic, records)
            for record in records:
                record.clear()

    class Log(MemoryLog):
        def producer(self):
            made = super().producer()
            made.__class__ = Consuming
            return made

    bed.send(invocation(1))
    bed.cluster.faults.plan("commit", Fault.ABORTABLE, nth=2)
    bed.drain(bed.worker(recording([]), log=Log(bed.cluster, group_id=GROUP)))
    assert bed.reported() == ["inv-1"]


def test_a_fenced_producer_is_not_replaced_at_once(bed):
    bed.send(invocation(1))
    bed.cluster.faults.plan("commit", Fault.FATAL, nth=2)
    worker = bed.worker(recording([]))
    bed.drain(worker)
    opened = bed.cluster.faults.calls["open", "0"]
    bed.clock.advance(4_900)
    bed.drain(worker)
    assert (bed.cluster.faults.calls["open", "0"], bed.reported()) == (opened, [])
    bed.clock.advance(200)
    bed.drain(worker)
    assert (bed.cluster.faults.calls["open", "0"], bed.reported()) == (opened + 1, ["inv-1"])


@pytest.mark.parametrize(
    ("limit", "value"), [({"batch_records_max": 2}, None), ({"overlay_bytes_max": 1024 * 1024}, "x" * 600_000)]
)
def test_what_is_done_is_committed_when_it_is_much(bed, limit, value):
    seen = []
    bed.send(*[invocation(number) for number in range(1, 7)])
    bed.drain(bed.worker(app_of(lambda order: seen.append(len(bed.results())) or value), **limit))
    assert seen == [0, 0, 2, 2, 4, 4]


def test_records_that_were_deleted_before_they_were_read_are_told(bed, caplog):
    runs = []
    bed.send(invocation(1))
    bed.drain(bed.worker(recording(runs)))
    bed.send(invocation(2), invocation(3))
    bed.cluster.trim(TopicPartition(TOPICS.invocations, 0), 2)
    bed.drain(bed.worker(recording(runs)))
    assert runs == [1, 3]
    assert "records deleted unread" in caplog.messages


def test_a_second_worker_takes_over_partitions_without_repeating(bed):
    runs = []
    app = recording(runs)
    for partition in range(4):
        bed.send(invocation(partition + 1), partition=partition)
    first = bed.worker(app)
    bed.drain(first)
    second = bed.worker(app, slot="1")
    for partition in range(4):
        bed.send(invocation(partition + 11), partition=partition)
    for _ in range(10):
        first.run_once(0.0)
        second.run_once(0.0)
    assert sorted(runs) == [1, 2, 3, 4, 11, 12, 13, 14]
    assert bed.reported() == sorted(f"inv-{number}" for number in runs)


def test_a_worker_that_was_paused_beyond_its_session_reports_nothing_of_what_it_lost(bed):
    def bill(order):
        if order == 1 and not paused:
            paused.append(True)
            bed.clock.advance(11_000)
            bed.drain(bed.worker(app, slot="1"))
        return order

    paused = []
    app = app_of(bill)
    bed.send(invocation(1), invocation(2))
    bed.drain(bed.worker(app))
    assert bed.reported() == ["inv-1", "inv-2"]


class Chance(Faults):
    """Faults drawn from a seed, until they are used up."""

    def __init__(self, seed: int, left: int) -> None:
        super().__init__()
        self.random = Random(seed)
        self.left = left

    def take(self, point, slot):
        self.calls[point, slot] += 1
        if self.left and self.random.random() < 0.1:
            self.left -= 1
            return self.random.choice(list(Fault))
        return None


@pytest.mark.parametrize("seed", range(150))
def test_whatever_goes_wrong_every_invocation_is_reported_once(seed):
    faults = Chance(seed, left=12)
    bed = Bed(faults)
    runs: list[int] = []
    for number in range(1, 41):
        bed.send(invocation(number), partition=number % 4)
    workers: dict[str, TaskWorker] = {}
    for _ in range(1_000):
        slot = faults.random.choice("01")
        try:
            if slot not in workers:
                workers[slot] = bed.worker(recording(runs), slot)
            workers[slot].run_once(0.0)
        except Unavailable:
            bed.clock.advance(500)
        except (Crashed, Fenced):
            workers.pop(slot, None)
        if faults.random.random() < 0.02:
            bed.clock.advance(faults.random.choice([150, 5_100, 11_000]))
            bed.cluster.deliver_late()
        if len(bed.results()) == 40 and not faults.left:
            break
    assert bed.reported() == sorted(f"inv-{number}" for number in range(1, 41))
    assert set(runs) == set(range(1, 41))


def test_a_second_process_with_the_same_slot_fences_the_first(bed):
    first = bed.worker(app_of(lambda order: None))
    bed.drain(first)
    bed.drain(bed.worker(app_of(lambda order: None)))
    with pytest.raises(Fenced):
        bed.drain(first)


def test_run_works_until_it_is_told_to_stop(bed):
    stop = threading.Event()
    runs = []

    def bill(order):
        runs.append(order)
        if order == 2:
            stop.set()

    bed.send(invocation(1), invocation(2), invocation(3))
    TaskWorker(app_of(bill), bed.log(), bed.clock, CONFIG).run(stop)
    assert runs == [1, 2]
    assert bed.committed() == 2


def test_an_iterator_gives_every_invocation_and_commits_what_was_dealt_with(bed):
    stop = threading.Event()
    bed.send(invocation(1), invocation(2))
    seen = []
    for each in iterate(bed.log(), bed.clock, CONFIG, stop):
        seen.append(each.id)
        if len(seen) == 2:
            stop.set()
    assert seen == ["inv-1", "inv-2"]
    assert bed.committed() == 2


def test_an_iterator_gives_what_has_expired_and_whoever_runs_it_can_tell(bed):
    bed.send(invocation(1, expires_ms=NOW_MS), invocation(2, expires_ms=NOW_MS + 1), invocation(3))
    given = iterate(bed.log(), bed.clock, CONFIG, stopping_after(bed, 9))
    assert [each.is_expired(bed.clock.now_ms()) for each in given] == [True, False, False]


def test_the_invocation_an_iterator_was_left_at_comes_again(bed):
    bed.send(invocation(1), invocation(2), invocation(3))
    invocations = iterate(bed.log(), bed.clock, CONFIG, threading.Event())
    assert [next(invocations).id, next(invocations).id] == ["inv-1", "inv-2"]
    invocations.close()
    again = iterate(bed.log(), bed.clock, CONFIG, threading.Event())
    assert [next(again).id, next(again).id] == ["inv-2", "inv-3"]


def test_an_iterator_may_begin_after_what_is_there_and_then_misses_nothing(bed):
    bed.send(invocation(1))
    first = iterate(bed.log(), bed.clock, CONFIG, stopping_after(bed, polls=4), from_start=False)
    assert list(first) == []
    bed.send(invocation(2))
    second = iterate(bed.log(), bed.clock, CONFIG, threading.Event(), from_start=False)
    assert next(second).id == "inv-2"


def test_load_app_finds_the_app_of_a_module(tmp_path, monkeypatch):
    (tmp_path / "tasks_of_mine.py").write_text(
        "from stream_triggers.consumer import TaskApp\napp = TaskApp()\nother = 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(load_app("tasks_of_mine:app"), TaskApp)
    sys.modules.pop("tasks_of_mine")


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("json", "'json' does not name a task app"),
        ("no_such_module_here:app", "there is no module 'no_such_module_here'"),
        ("json:no_such_thing", "'json:no_such_thing' is NoneType, not a TaskApp"),
        ("json:dumps", "'json:dumps' is function, not a TaskApp"),
    ],
)
def test_load_app_says_what_is_wrong(reference, problem):
    with pytest.raises(Misconfigured) as caught:
        load_app(reference)
    assert caught.value.message == problem


@pytest.mark.parametrize("problem", ["import no_such_dependency", "def f(:", "1 / 0", "raise SystemExit(7)"])
def test_load_app_says_which_module_fails_at_its_import(tmp_path, monkeypatch, problem):
    (tmp_path / "broken_tasks.py").write_text(f"{problem}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Misconfigured, match=r"module broken_tasks cannot be imported: .*line 1\)"):
        load_app("broken_tasks:app")


def test_two_functions_cannot_be_one_task():
    app = app_of(lambda: None)
    with pytest.raises(Misconfigured, match=r"two functions are registered as task 'billing\.invoice'"):
        app.task("billing.invoice")


def test_a_task_needs_at_least_one_attempt():
    with pytest.raises(Misconfigured, match="attempts_max 0"):
        TaskApp().task("billing.invoice", attempts_max=0)


CRASHING_WORKER = """
import os, sys, threading
from pathlib import Path
from stream_triggers.config import Config
from stream_triggers.consumer import TaskApp, task_worker

servers, name, folder, dies_at, stops_at = sys.argv[1:]
app, stop, ran = TaskApp(), threading.Event(), Path(folder) / "ran"

@app.task("billing.invoice")
def bill(order):
    with ran.open("a") as file:
        file.write(f"{order}\\n")
    if str(order) == dies_at:
        os._exit(7)  # with reports of earlier functions made and not committed
    if str(order) == stops_at:
        stop.set()

task_worker(app, Config(bootstrap_servers=servers, application=name, topic_prefix=f"{name}-")).run(stop)
"""


def send(config: Config, *sent: Invocation) -> None:
    sender = KafkaLog(KafkaSettings(config.bootstrap_servers)).sender(lambda topic, key, value: "")
    sender.send(f"{config.topic_prefix}invocations", [Outgoing(value=encode(each), key=b"k") for each in sent])
    sender.close()


def kafka_results(config: Config) -> list[TaskResult]:
    log = KafkaLog(KafkaSettings(config.bootstrap_servers))
    partitions = [TopicPartition(f"{config.topic_prefix}task-results", number) for number in range(4)]
    return [decode(record.value(), (TaskResult,)) for batch in read_all(log, partitions) for record in batch]


@pytest.mark.kafka
def test_on_kafka_a_killed_worker_leaves_every_result_once(kafka_config, tmp_path):
    send(kafka_config, *[invocation(number) for number in range(1, 101)])
    command = [sys.executable, "-c", CRASHING_WORKER, kafka_config.bootstrap_servers, kafka_config.application]
    crashed = subprocess.run([*command, str(tmp_path), "50", "100"], check=False, timeout=120)
    assert crashed.returncode == 7
    subprocess.run([*command, str(tmp_path), "none", "100"], check=True, timeout=120)
    ran = Counter(int(line) for line in (tmp_path / "ran").read_text().split())
    assert set(ran) == set(range(1, 101))
    assert ran[50] == 2
    assert sorted(r.arguments["order"] for r in kafka_results(kafka_config)) == list(range(1, 101))


@pytest.mark.kafka
def test_on_kafka_two_workers_share_the_work_and_report_it_once(kafka_config):
    ran, stop = Counter[int](), threading.Event()
    app = TaskApp()

    @app.task("billing.invoice")
    def bill(order):
        ran[order] += 1
        if len(ran) == 400:
            stop.set()

    sent = [invocation(number) for number in range(1, 401)]
    records = [Outgoing(value=encode(each), key=each.id.encode()) for each in sent]
    workers = [
        threading.Thread(target=task_worker(app, Config(**settings)).run, args=[stop])
        for settings in (
            {
                "bootstrap_servers": kafka_config.bootstrap_servers,
                "application": kafka_config.application,
                "topic_prefix": kafka_config.topic_prefix,
                "slot": slot,
            }
            for slot in ("0", "1")
        )
    ]
    for worker in workers:
        worker.start()
    sender = KafkaLog(KafkaSettings(kafka_config.bootstrap_servers)).sender(lambda topic, key, value: "")
    sender.send(f"{kafka_config.topic_prefix}invocations", records)
    sender.close()
    for worker in workers:
        worker.join(60)
    assert Counter(r.arguments["order"] for r in kafka_results(kafka_config)) == Counter(range(1, 401))


@pytest.mark.kafka
def test_on_kafka_an_iterator_goes_on_where_its_group_left(kafka_config):
    send(kafka_config, *[invocation(number) for number in range(1, 11)])
    first = invocations(kafka_config, group="audit")
    assert [next(first).id for _ in range(4)] == ["inv-1", "inv-2", "inv-3", "inv-4"]
    first.close()
    again = invocations(kafka_config, group="audit")
    assert next(again).id == "inv-4"
    again.close()
