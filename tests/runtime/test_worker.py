"""The worker: when it commits, what a crash leaves, what a change of ownership does, how it starts and stops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import count

import pytest

from stream_triggers.core.message import Event, TaskStatus
from stream_triggers.errors import Fenced, Misconfigured, StateInUse, Unavailable
from stream_triggers.runtime import changelog
from stream_triggers.runtime.codec import encode
from stream_triggers.runtime.log import TopicPartition, TopicSpec
from stream_triggers.runtime.memory_log import Crashed, Entry, Fault, MemoryLog, MemoryMember, Point
from stream_triggers.runtime.rounds import PAUSE_MAX_S
from stream_triggers.runtime.store import MemoryStore, Store
from stream_triggers.runtime.transaction import FENCED_PAUSE_S
from stream_triggers.runtime.worker import UNREADY_WAIT_S, Worker
from tests.engine_bundle import SHIP, EngineBundle, paid

EVENTS_0 = TopicPartition("events", 0)
CHANGELOG_0 = TopicPartition("triggers-claims-events-changelog", 0)
SESSION_MS = 10_000
HOUR_MS = 3_600_000
UNHEARD = Event("unheard", "u", 7, None, {})


class Stop:
    """Asks a worker to stop when something is so; its waits let time pass, and are remembered."""

    def __init__(self, bundle: EngineBundle, reached: Callable[[], bool]) -> None:
        self.waits_s: list[float] = []
        self._clock = bundle.clock
        self._reached = reached
        self._rounds = count()

    def is_set(self) -> bool:
        assert next(self._rounds) < 1000, "does not come to an end"
        self._clock.advance(20)
        return self._reached()

    def wait(self, timeout_s: float) -> bool:
        self.waits_s.append(timeout_s)
        self._clock.advance(int(timeout_s * 1000))
        return False


def run(bundle: EngineBundle, worker: Worker, reached: Callable[[], bool]) -> Stop:
    """``Worker.run`` until ``reached``; what is waited for in it moves the clock."""
    stop = Stop(bundle, reached)
    worker.run(stop)  # type: ignore[arg-type]
    return stop


def fail_at(point: str, error: BaseException) -> Callable[[str], None]:
    """A fault for a worker: ``error`` when it first comes to ``point``."""
    numbers = count()

    def fault(reached: str) -> None:
        if reached == point and next(numbers) == 0:
            raise error

    return fault


# Committing


def test_what_has_fired_is_committed_when_the_input_is_drained() -> None:
    bundle = EngineBundle(commit_interval_ms=5000)
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.send(paid("e1"), paid("e2"))
    assert worker.run_once(0) == 2
    assert bundle.committed() == {}
    assert worker.run_once(0) == 0
    assert bundle.committed() == {EVENTS_0: 2}
    assert bundle.fired() == ["ship event/e1", "ship event/e2"]


def test_positions_alone_are_committed_at_the_interval() -> None:
    bundle = EngineBundle(commit_interval_ms=5000)
    worker = bundle.ready()
    bundle.send(UNHEARD)
    bundle.work_off(worker)  # which also notes the definitions in force
    bundle.send(UNHEARD)
    worker.run_once(0)
    bundle.clock.advance(4999)
    worker.run_once(0)
    assert bundle.committed() == {EVENTS_0: 1}
    bundle.clock.advance(1)
    worker.run_once(0)
    assert bundle.committed() == {EVENTS_0: 2}


def test_while_input_keeps_coming_a_commit_is_made_at_the_interval() -> None:
    bundle = EngineBundle(commit_interval_ms=100, batch_records_max=1)
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.send(*(paid(f"e{number}") for number in range(20)))
    for _ in range(5):
        worker.run_once(0)
        bundle.clock.advance(30)
    assert bundle.committed() == {EVENTS_0: 5}
    assert worker.counters.transactions == 1


def test_messages_of_all_inputs_are_worked_on() -> None:
    bundle = EngineBundle()
    bundle.define({**SHIP, "when": {"any": [{"event": "paid"}, {"status": "*", "is": ["success"]}]}, "args": {}})
    bundle.send(paid("e1"), TaskStatus("t", "success", "s1", "i1", 7))
    bundle.work_off(bundle.start())
    assert sorted(bundle.fired()) == ["ship event/e1", "ship status/s1"]


def test_what_is_counted() -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.send(paid("e1"), paid("e1"), UNHEARD)
    bundle.work_off(worker)
    counters = worker.counters
    assert (counters.messages, counters.matched, counters.unmatched, counters.fired) == (3, 2, 1, 1)
    assert (counters.transactions, counters.aborts, counters.restores) == (1, 0, 4)


# Going on after a crash


@pytest.mark.parametrize("disk", ["kept", "lost"])
@pytest.mark.parametrize("point", ["processed", "produced", "committed", "applied"])
def test_wherever_a_process_dies_everything_fires_once(point: str, disk: str) -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    store, log = MemoryStore(), bundle.log()
    worker = bundle.ready(store=store, log=log, fault=fail_at(point, Crashed(point)))
    bundle.send(paid("e1"), paid("e2"))
    with pytest.raises(Crashed):
        bundle.work_off(worker)
    log.crash()
    bundle.send(paid("e2"), paid("e3"))
    bundle.work_off(bundle.start(store=store if disk == "kept" else MemoryStore()))
    assert bundle.fired() == ["ship event/e1", "ship event/e2", "ship event/e3"]
    assert [f"{each.reason} @{each.offset}" for each in bundle.decisions()] == ["duplicate @2"]


POINTS: tuple[Point, ...] = ("open", "produce", "send_offsets", "commit", "abort", "committed", "poll", "read")
FAULTS = [fault for fault in Fault if not fault.crashes and fault is not Fault.FATAL]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("nth", [1, 2])
def test_whatever_request_fails_everything_fires_once(point: Point, nth: int, fault: Fault) -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    bundle.send(paid("e1"))
    bundle.cluster.faults.plan("send_offsets", Fault.ABORTABLE, nth=2)  # so that there is something to abort, too
    bundle.cluster.faults.plan(point, fault, nth=nth)
    worker = bundle.worker()

    def more() -> bool:
        if bundle.backlog() == 0 and len(bundle.fired()) < 3:
            bundle.send(paid(f"e{len(bundle.fired()) + 1}"))
        return bundle.backlog() == 0

    run(bundle, worker, more)
    assert bundle.fired() == ["ship event/e1", "ship event/e2", "ship event/e3"]


def test_an_error_nobody_expects_commits_nothing_of_a_batch_that_is_half_processed() -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    worker = bundle.worker(fault=fail_at("processed", AssertionError("a mistake")))
    bundle.send(paid("e1"), paid("e2"))
    with pytest.raises(AssertionError, match="a mistake"):
        run(bundle, worker, lambda: False)
    assert (bundle.committed(), bundle.fired()) == ({}, [])
    bundle.work_off(bundle.start())
    assert bundle.fired() == ["ship event/e1", "ship event/e2"]


@pytest.mark.parametrize("point", ["produced", "committed", "applied"])
def test_an_error_nobody_expects_in_a_commit_does_no_harm(point: str) -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    bundle.send(paid("e1"))
    with pytest.raises(AssertionError, match="a mistake"):
        run(bundle, bundle.worker(fault=fail_at(point, AssertionError("a mistake"))), lambda: False)
    bundle.send(paid("e1"), paid("e2"))
    bundle.work_off(bundle.start())
    assert bundle.fired() == ["ship event/e1", "ship event/e2"]


def test_brokers_that_go_away_in_the_middle_of_a_batch_lose_nothing() -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.send(paid("e1"))
    bundle.define({**SHIP, "id": "note"})
    bundle.cluster.faults.plan("read", Fault.RETRIABLE)  # the definitions cannot be read now
    with pytest.raises(Unavailable):
        worker.run_once(0)
    bundle.send(paid("e2"))
    bundle.work_off(worker)
    assert bundle.fired() == [f"{trigger} event/{event}" for event in ("e1", "e2") for trigger in ("note", "ship")]


def test_what_an_aborted_transaction_had_claimed_fires_when_it_is_read_again() -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.cluster.faults.plan("commit", Fault.ABORTABLE)
    bundle.send(paid("e1"))
    bundle.work_off(worker)
    assert bundle.fired() == ["ship event/e1"]
    assert bundle.decisions() == []
    assert worker.counters.aborts == 1


# Repeats


@pytest.mark.parametrize("disk", ["kept", "lost"])
def test_a_repeat_within_the_retention_fires_nothing_after_a_restart(disk: str) -> None:
    bundle = EngineBundle(claim_retention_ms=HOUR_MS)
    bundle.define(SHIP)
    store = MemoryStore()
    worker = bundle.ready(store=store)
    bundle.send(paid("e1"))
    bundle.work_off(worker)
    worker.close()
    bundle.clock.advance(HOUR_MS - 60_000)
    bundle.send(paid("e1"))
    bundle.work_off(bundle.start(store=store if disk == "kept" else MemoryStore()))
    assert bundle.fired() == ["ship event/e1"]


@pytest.mark.parametrize("worker_is", ["the same", "another on this disk", "another on a new disk"])
def test_a_repeat_after_the_retention_fires_again(worker_is: str) -> None:
    bundle = EngineBundle(claim_retention_ms=HOUR_MS)
    bundle.define(SHIP)
    store = MemoryStore()
    worker = bundle.ready(store=store)
    bundle.send(paid("e1"))
    bundle.work_off(worker)
    if worker_is == "the same":
        for _ in range(2 * HOUR_MS // 60_000):
            bundle.clock.advance(60_000)
            worker.run_once(0)
    else:
        worker.close()
        bundle.clock.advance(2 * HOUR_MS)
        worker = bundle.start(store=store if "this disk" in worker_is else MemoryStore())
    bundle.send(paid("e1"))
    bundle.work_off(worker)
    assert bundle.fired() == ["ship event/e1", "ship event/e1"]


def test_a_worker_forgets_expired_claims_also_while_nothing_comes_in() -> None:
    bundle = EngineBundle(claim_retention_ms=HOUR_MS)
    bundle.define(SHIP)
    store = MemoryStore()
    worker = bundle.ready(store=store)
    bundle.send(paid("e1"))
    bundle.work_off(worker)
    bundle.clock.advance(2 * HOUR_MS)
    bundle.until(lambda: not any(column.startswith("claims-") for column in store.columns()), worker)


# Definitions


def test_a_trigger_applied_before_a_message_was_sent_fires_for_it() -> None:
    bundle = EngineBundle()
    worker = bundle.ready()
    bundle.send(paid("e1"))
    bundle.work_off(worker)
    bundle.define(SHIP)
    bundle.send(paid("e2"))
    bundle.work_off(worker)
    assert bundle.fired() == ["ship event/e2"]


def test_it_does_also_while_a_transaction_is_open() -> None:
    bundle = EngineBundle(commit_interval_ms=5000)
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.send(paid("e1"))
    worker.run_once(0)
    bundle.define({**SHIP, "id": "note"})
    bundle.send(paid("e2"))
    worker.run_once(0)
    bundle.work_off(worker)
    assert bundle.fired() == ["ship event/e1", "note event/e2", "ship event/e2"]


def test_a_deleted_trigger_does_not_fire() -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.delete("ship")
    bundle.send(paid("e1"))
    bundle.work_off(worker)
    assert bundle.fired() == []


def test_a_trigger_that_cannot_be_used_leaves_the_others_alone() -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    bundle.write(bundle.topics.trigger_definitions, b"garbage", b"broken")
    bundle.send(paid("e1"))
    bundle.work_off(bundle.start())
    assert bundle.fired() == ["ship event/e1"]


def test_which_definitions_are_in_force_is_noted_once_for_each_partition_and_change() -> None:
    bundle = EngineBundle(partitions=2)
    bundle.define(SHIP)
    worker = bundle.ready()
    for partition in (0, 0, 1):
        bundle.write("events", encode(UNHEARD), partition=partition)
    bundle.work_off(worker)
    bundle.define({**SHIP, "id": "note"})
    bundle.write("events", encode(UNHEARD), partition=0)
    bundle.work_off(worker)
    noted = [f"{each.topic}/{each.partition}@{each.offset}: {each.detail}" for each in bundle.decisions(noted=True)]
    assert sorted(noted) == ["events/0@0: 1", "events/0@2: 2", "events/1@0: 1"]


def test_which_definitions_are_in_force_is_noted_again_every_hour_with_the_next_message() -> None:
    bundle = EngineBundle(partitions=2)
    worker = bundle.ready()
    for minutes in (0, 50, 20, 20, 60):
        for _ in range(minutes * 12):  # a member that is away for longer loses its partitions
            bundle.clock.advance(5_000)
            worker.run_once(0)
        bundle.write("events", encode(UNHEARD), partition=0)
        bundle.work_off(worker)
    assert [each.offset for each in bundle.decisions(noted=True)] == [0, 2, 4]


def test_an_owner_notes_them_again_for_its_first_message() -> None:
    bundle = EngineBundle()
    worker = bundle.ready()
    bundle.send(UNHEARD)
    bundle.work_off(worker)
    worker.close()
    bundle.send(UNHEARD, UNHEARD)
    bundle.work_off(bundle.start())
    assert [each.offset for each in bundle.decisions(noted=True)] == [0, 1]


def test_run_records_of_a_worker_go_to_one_partition_whatever_was_read() -> None:
    bundle = EngineBundle(partitions=4)
    bundle.define(SHIP)
    bundle.define({**SHIP, "id": "rarely", "key": "${event.id}", "cooldown": {"for": "1h"}})
    worker = bundle.ready()
    bundle.send(*[paid(f"e{number}") for number in range(8)])
    bundle.until(lambda: len(bundle.invocations()) == 16, worker)
    invocations, runs = bundle.cluster.records("invocations"), bundle.cluster.records("trigger-runs")
    assert len({each.partition() for each in invocations}) > 1
    assert {each.partition() for each in runs} == {1}  # that of slot "0"


# Ownership


def test_two_workers_share_the_partitions_and_nothing_fires_twice() -> None:
    bundle = EngineBundle(partitions=2)
    bundle.define(SHIP)
    workers = [bundle.start("0"), bundle.start("1")]
    for number in range(40):
        bundle.send(paid(f"e{number}"), key=b"k%d" % number)
        workers[number % 2].run_once(0)
    bundle.work_off(*workers)
    assert sorted(bundle.fired()) == sorted(f"ship event/e{number}" for number in range(40))
    assert [len(worker._owned) for worker in workers] == [4, 4]


def test_a_worker_that_was_away_too_long_drops_what_it_had_open_and_joins_again() -> None:
    bundle = EngineBundle(commit_interval_ms=5000)
    bundle.define(SHIP)
    away = bundle.ready()
    bundle.send(paid("e1"))
    away.run_once(0)
    bundle.clock.advance(SESSION_MS + 1)
    another = bundle.start("1")
    bundle.work_off(another)
    bundle.send(paid("e2"))
    bundle.work_off(away, another)
    assert bundle.fired() == ["ship event/e1", "ship event/e2"]


def test_a_transaction_open_beyond_its_timeout_is_made_again_after_a_pause() -> None:
    bundle = EngineBundle(commit_interval_ms=5000)
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.send(paid("e1"))
    worker.run_once(0)
    for _ in range(11):
        bundle.clock.advance(1000)
        worker._member.heartbeat()  # type: ignore[attr-defined]
    worker.run_once(0)
    fenced_ms = bundle.clock.now_ms()
    bundle.work_off(worker)
    assert bundle.clock.now_ms() >= fenced_ms + FENCED_PAUSE_S * 1000
    assert bundle.fired() == ["ship event/e1"]


def test_a_partition_added_before_its_changelog_is_taken_up_once_that_has_it_and_the_others_go_on() -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.cluster.grow("events", 2)
    bundle.write("events", encode(paid("old")), partition=0)
    bundle.write("events", encode(paid("new")), partition=1)
    bundle.until(lambda: bundle.fired() == ["ship event/old"], worker)
    assert worker.counters.refused == 1
    bundle.cluster.grow(CHANGELOG_0.topic, 2)
    bundle.work_off(worker)
    assert sorted(bundle.fired()) == ["ship event/new", "ship event/old"]


def test_a_restart_under_the_same_slot_moves_no_partitions() -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    log = bundle.log()
    bundle.ready(log=log)
    log.crash()
    generation = bundle.cluster.group("triggers").generation
    bundle.send(paid("e1"))
    bundle.work_off(bundle.start())
    assert bundle.cluster.group("triggers").generation == generation


def test_a_second_worker_under_the_slot_ends_the_first() -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    first = bundle.ready()
    second = bundle.start()
    second.run_once(0)
    bundle.send(paid("e1"))
    with pytest.raises(Fenced):
        first.run_once(0)
    first.close()
    bundle.work_off(second)
    assert bundle.fired() == ["ship event/e1"]


# Starting and stopping


def test_a_stop_commits_what_has_been_read() -> None:
    bundle = EngineBundle(commit_interval_ms=9000, batch_records_max=1)
    bundle.define(SHIP)
    bundle.send(paid("e1"), paid("e2"))
    worker = bundle.worker()
    run(bundle, worker, lambda: worker.counters.messages == 1)
    assert bundle.committed() == {EVENTS_0: 1}
    assert bundle.fired() == ["ship event/e1"]


def test_a_stop_spares_the_next_start_what_was_committed_before() -> None:
    bundle = EngineBundle(commit_interval_ms=1, batch_records_max=1)
    bundle.define(SHIP)
    store = MemoryStore()
    bundle.send(paid("e1"), paid("e2"), paid("e3"))
    worker = bundle.worker(store=store)
    run(bundle, worker, lambda: worker.counters.messages == 3)
    last = bundle.cluster.records(CHANGELOG_0.topic)[-1].offset()
    assert changelog.read_positions(store, [CHANGELOG_0])[CHANGELOG_0] >= last


def test_a_stop_while_the_brokers_are_away_stops() -> None:
    bundle = EngineBundle(commit_interval_ms=9000, batch_records_max=1)
    bundle.define(SHIP)
    bundle.send(paid("e1"))
    worker = bundle.worker()

    def reached() -> bool:
        if worker.counters.messages == 1:
            bundle.cluster.faults.plan("send_offsets", Fault.RETRIABLE)
        return worker.counters.messages == 1

    run(bundle, worker, reached)
    assert bundle.committed() == {}


def test_while_the_brokers_are_away_it_tries_again_with_growing_pauses() -> None:
    bundle = EngineBundle()
    for nth in range(1, 9):
        bundle.cluster.faults.plan("open", Fault.RETRIABLE, nth=nth)
    worker = bundle.worker()
    stop = run(bundle, worker, lambda: worker.counters.restores == 4)
    assert stop.waits_s == [0.5, 1.0, 2.0, 4.0, 8.0, PAUSE_MAX_S, PAUSE_MAX_S, PAUSE_MAX_S]


def test_a_success_makes_the_pauses_short_again() -> None:
    bundle = EngineBundle()
    bundle.cluster.faults.plan("open", Fault.RETRIABLE)
    bundle.cluster.faults.plan("poll", Fault.RETRIABLE)
    worker = bundle.worker()
    assert run(bundle, worker, lambda: worker.counters.restores == 4).waits_s == [0.5, 0.5]


def test_a_store_that_a_predecessor_still_holds_is_waited_for_and_told_as_what_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    bundle = EngineBundle()
    bundle.define(SHIP)
    bundle.send(paid("e1"))
    attempts = count()

    def held() -> Store:
        if next(attempts) < 2:
            raise StateInUse("the store is in use")
        return MemoryStore()

    stop = run(bundle, bundle.worker(open_store=held), lambda: bundle.backlog() == 0)
    assert stop.waits_s == [0.5, 1.0]
    assert bundle.fired() == ["ship event/e1"]
    told = [record.message for record in caplog.records if "pause_s" in getattr(record, "values", ())]
    assert told == ["state in use", "state in use"]


class UnansweredLog(MemoryLog):
    """A cluster that does not say which topics it has, the first time that it is asked."""

    def __init__(self, bundle: EngineBundle) -> None:
        super().__init__(bundle.cluster)
        self._asked = count()

    def topics(self, names: Iterable[str]) -> Mapping[str, TopicSpec]:
        if next(self._asked) == 0:
            raise Unavailable("no answer")
        return super().topics(names)


def test_a_store_is_opened_once_also_when_the_brokers_do_not_answer() -> None:
    bundle = EngineBundle()
    opened: list[Store] = []

    def open_store() -> Store:
        opened.append(MemoryStore())
        return opened[-1]

    worker = bundle.worker(log=UnansweredLog(bundle), open_store=open_store)
    run(bundle, worker, lambda: worker.counters.restores == 4)
    assert len(opened) == 1


def test_input_that_was_deleted_unread_ends_the_worker() -> None:
    bundle = EngineBundle()
    worker = bundle.ready()
    bundle.send(UNHEARD)
    bundle.work_off(worker)
    worker.close()
    bundle.send(UNHEARD, UNHEARD)
    bundle.cluster.trim(EVENTS_0, 2)
    with pytest.raises(Misconfigured, match="messages 1 to 1 of events/0 were deleted"):
        run(bundle, bundle.worker(), lambda: False)


# Waiting


class PatientLog(MemoryLog):
    """Remembers how long its member was to wait for input."""

    def __init__(self, bundle: EngineBundle) -> None:
        super().__init__(bundle.cluster)
        self.timeouts_s: list[float] = []

    def member(self) -> MemoryMember:
        member = super().member()
        poll = member.poll

        def remembered(records_max: int, timeout_s: float) -> list[Entry]:
            self.timeouts_s.append(timeout_s)
            return poll(records_max, timeout_s)

        member.poll = remembered  # type: ignore[method-assign]
        return member


def test_it_waits_for_input_only_when_nothing_else_is_to_be_done() -> None:
    bundle = EngineBundle(commit_interval_ms=100)
    bundle.define(SHIP)
    log = PatientLog(bundle)
    worker = bundle.ready(log=log)
    log.timeouts_s.clear()
    worker.run_once(0.2)
    bundle.send(paid("e1"))
    worker.run_once(0.2)  # which leaves a transaction open
    worker.run_once(0.2)
    bundle.send(UNHEARD)
    worker.run_once(0.2)  # which leaves positions to be committed
    worker.run_once(0.2)
    assert log.timeouts_s == [0.2, 0.2, 0.0, 0.2, 0.1]


def test_it_does_not_wait_for_input_while_it_restores() -> None:
    bundle = EngineBundle()
    log = PatientLog(bundle)
    worker = bundle.start(log=log)
    bundle.cluster.faults.plan("committed", Fault.RETRIABLE)
    worker.run_once(0.2)
    worker.run_once(0.2)
    assert log.timeouts_s == [UNREADY_WAIT_S, 0.0]


def test_it_waits_while_it_may_not_open_a_producer() -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    log = PatientLog(bundle)
    worker = bundle.ready(log=log)
    bundle.cluster.faults.plan("commit", Fault.FATAL)
    bundle.send(paid("e1"))
    bundle.until(lambda: worker.counters.aborts == 1, worker)
    log.timeouts_s.clear()
    worker.run_once(0.2)
    assert log.timeouts_s == [UNREADY_WAIT_S]


def test_a_store_that_was_filled_from_another_cluster_is_emptied_first() -> None:
    store = MemoryStore()
    for cluster_id in ("the old one", "the new one"):
        bundle = EngineBundle(cluster_id=cluster_id)
        bundle.define(SHIP)
        bundle.send(Event("paid", "e1", 7, None, {"order": 7}))
        worker = bundle.ready(store=store)
        bundle.work_off(worker)
        worker.close()
        assert len(bundle.cluster.records(bundle.topics.invocations)) == 1, cluster_id
