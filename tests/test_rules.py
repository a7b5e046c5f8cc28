"""The twelve rules of ``stream_triggers.runtime``: a test of each, and that each test fails when its rule is off.

The negative control runs the tests of a rule again under each mutant of that rule (``tests/mutants.py``): at least one
has to fail, in a check of its own. The simulation, too, has to find every mutant that changes what comes out, but for
the rarest.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from stream_triggers.core.invocation import RUN_ID_BYTES
from stream_triggers.runtime import changelog
from stream_triggers.runtime.codec import encode
from stream_triggers.runtime.log import Membership, TopicPartition
from stream_triggers.runtime.memory_log import Crashed, Entry, Fault, MemoryLog, MemoryMember
from stream_triggers.runtime.memory_log.group import Credentials, Seat
from stream_triggers.runtime.store import Changes, MemoryStore
from stream_triggers.runtime.worker import Worker
from tests import keyed_mutants, lane_mutants  # noqa: F401 - which add to the table
from tests.engine_bundle import SHIP, EngineBundle, paid
from tests.mutants import MUTANTS, Mutant
from tests.simulation.world import fails

EVENTS_0 = TopicPartition("events", 0)
EVENTS_1 = TopicPartition("events", 1)
CHANGELOG_0 = TopicPartition("triggers-claims-events-changelog", 0)
INVOCATIONS_0 = TopicPartition("invocations", 0)

SESSION_MS = 10_000
"""After which a session ends, and a transaction."""

NOTHING = "0 positions, 0 invocations, 0 run records, 0 changelog records"
EVERYTHING = "1 positions, 1 invocations, 1 run records, 1 changelog records"


def what_is_committed(bundle: EngineBundle) -> str:
    counts = {
        "positions": len(bundle.committed()),
        "invocations": len(bundle.invocations()),
        "run records": len(bundle.runs()),
        "changelog records": len(bundle.cluster.records(CHANGELOG_0.topic)),
    }
    return ", ".join(f"{number} {name}" for name, number in counts.items())


def claims_in(store: MemoryStore) -> int:
    columns = [column for column in store.columns() if column.startswith("claims-")]
    return sum(1 for column in columns for _ in store.scan(column, b"", b"\xff" * 32))


def crash_at(point: str) -> Callable[[str], None]:
    """A fault for a worker: its process dies when it first comes to ``point``."""

    def fault(reached: str) -> None:
        if reached == point:
            raise Crashed(point)

    return fault


def run_until_crashed(bundle: EngineBundle, worker: Worker, log: MemoryLog) -> None:
    with pytest.raises(Crashed):
        bundle.until(lambda: False, worker)
    log.crash()


def end_session(bundle: EngineBundle, worker: Worker) -> None:
    """The group does without ``worker``, which does not know yet."""
    assert worker._membership is not None
    bundle.cluster.group("triggers").leave(worker._membership.member_id, bundle.clock.now_ms())


# Rule 1


def test_rule_01_a_successor_under_the_slots_name_ends_what_was_left_open_at_once() -> None:
    bundle = EngineBundle(commit_interval_ms=5000)
    bundle.define(SHIP)
    log = bundle.log()
    worker = bundle.ready(log=log, fault=crash_at("processed"))
    bundle.send(paid("e1"))
    run_until_crashed(bundle, worker, log)
    invocations, died_ms = bundle.cluster.partition(INVOCATIONS_0), bundle.clock.now_ms()
    assert (invocations.last_stable, invocations.end) == (0, 1)

    bundle.start()

    assert (invocations.last_stable, invocations.end) == (2, 2)
    assert bundle.clock.now_ms() == died_ms


# Rule 2


class WatchedStore(MemoryStore):
    """A store that tells of every change before it is made."""

    def __init__(self, watch: Callable[[], None]) -> None:
        super().__init__()
        self._watch = watch

    def apply(self, changes: Changes) -> None:
        self._watch()
        super().apply(changes)


def test_rule_02_the_store_is_written_after_the_commit() -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    seen: list[str] = []
    store = WatchedStore(lambda: seen.append(f"store: {what_is_committed(bundle)}"))
    worker = bundle.ready(store=store, fault=lambda point: seen.append(f"{point}: {what_is_committed(bundle)}"))
    seen.clear()

    bundle.send(paid("e1"))
    bundle.work_off(worker)

    assert seen == [
        f"processed: {NOTHING}",
        f"produced: {NOTHING}",
        f"committed: {EVERYTHING}",
        f"store: {EVERYTHING}",
        f"applied: {EVERYTHING}",
    ]


def crash_in_the_commit(fault: Fault, committed: str) -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    log = bundle.log()
    worker = bundle.ready(log=log)
    bundle.cluster.faults.plan("commit", fault)
    bundle.send(paid("e1"))

    run_until_crashed(bundle, worker, log)
    bundle.log().producer().open()  # as a successor does

    assert what_is_committed(bundle) == committed


def test_rule_02_before_the_commit_nothing_is_there() -> None:
    crash_in_the_commit(Fault.CRASH_BEFORE, NOTHING)


def test_rule_02_after_the_commit_everything_is_there() -> None:
    crash_in_the_commit(Fault.CRASH_AFTER, EVERYTHING)


# Rule 3


def test_rule_03_a_store_that_lags_is_repaired_from_the_changelog() -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    store, log = MemoryStore(), bundle.log()
    worker = bundle.ready(store=store, log=log, fault=crash_at("committed"))
    bundle.send(paid("e1"))
    run_until_crashed(bundle, worker, log)
    assert claims_in(store) == 0

    successor = bundle.ready(store=store)
    bundle.send(paid("e1"))
    bundle.work_off(successor)

    assert bundle.fired() == ["ship event/e1"]
    assert claims_in(store) == 1


class StoppedLog(MemoryLog):
    """The log of a process that the system stops between two polls: ``meanwhile`` is what others do then."""

    def __init__(self, bundle: EngineBundle) -> None:
        super().__init__(bundle.cluster, group_id=bundle.config.application)
        self.meanwhile: Callable[[], object] = lambda: None

    def member(self) -> MemoryMember:
        member = super().member()
        poll = member.poll

        def stopped(records_max: int, timeout_s: float) -> list[Entry]:
            records = poll(records_max, timeout_s)
            self.meanwhile()
            return records

        member.poll = stopped  # type: ignore[method-assign]
        return member


def test_rule_03_a_store_does_not_claim_to_know_what_another_worker_has_written_meanwhile() -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    store, log = MemoryStore(), StoppedLog(bundle)
    worker = bundle.ready(store=store, log=log)
    bundle.send(paid("e1"))
    bundle.work_off(worker)

    def takeover() -> None:
        bundle.send(paid("e2"))
        bundle.clock.advance(SESSION_MS + 1)
        bundle.work_off(bundle.start("1"))

    log.meanwhile = takeover
    worker.run_once(0)

    unknown = bundle.cluster.records(CHANGELOG_0.topic)[-1].offset()
    assert changelog.read_positions(store, [CHANGELOG_0])[CHANGELOG_0] <= unknown


# Rule 4


def test_rule_04_what_is_revoked_is_committed_first() -> None:
    bundle = EngineBundle(partitions=2, commit_interval_ms=5000)
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.write("events", encode(paid("e1")), partition=1)
    worker.run_once(0)
    assert bundle.committed() == {}

    another = bundle.start("1")
    another.run_once(0)
    worker.run_once(0)  # is asked to join again

    assert bundle.committed() == {EVENTS_1: 1}
    bundle.work_off(another, worker)
    assert bundle.fired() == ["ship event/e1"]


def test_rule_04_what_is_lost_is_dropped_without_a_commit() -> None:
    bundle = EngineBundle(commit_interval_ms=5000)
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.send(paid("e1"))
    worker.run_once(0)
    tried = bundle.cluster.faults.calls["send_offsets", "0"]

    worker.lost(bundle.inputs())
    worker.close()

    assert bundle.cluster.faults.calls["send_offsets", "0"] == tried


def test_rule_04_nothing_that_was_open_when_partitions_were_lost_is_committed_later() -> None:
    bundle = EngineBundle(commit_interval_ms=5000)
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.send(paid("e1"))
    worker.run_once(0)

    end_session(bundle, worker)
    another = bundle.start("1")
    bundle.until(lambda: bundle.fired() != [], another)
    another.close()
    end_session(bundle, another)
    bundle.send(paid("e2"))
    bundle.work_off(worker)

    assert bundle.fired() == ["ship event/e1", "ship event/e2"]


# Rule 5


class RejoinedLog(MemoryLog):
    """The log of a process whose member joins again in the background, before the process hears that it was out."""

    def __init__(self, bundle: EngineBundle) -> None:
        super().__init__(bundle.cluster, group_id=bundle.config.application)
        self._group = bundle.cluster.group(bundle.config.application)

    def member(self) -> MemoryMember:
        member = super().member()
        membership = member.membership

        def current() -> Membership:
            seat = next((each for each in self._group.seats.values() if each.instance_id == "triggers-0"), None)
            if seat is None:
                return membership()
            token = Credentials("triggers", seat.member_id, seat.instance_id, self._group.generation)
            return Membership(self._group.generation, seat.member_id, token)

        member.membership = current  # type: ignore[method-assign]
        return member

    def join_again(self) -> None:
        self._group.join(Seat("", "triggers-0", SESSION_MS, frozenset({"events"})), self.cluster.tick())


def test_rule_05_positions_are_fenced_by_the_membership_of_the_generation_that_read_them() -> None:
    bundle = EngineBundle(commit_interval_ms=9000)
    bundle.define(SHIP)
    log = RejoinedLog(bundle)
    worker = bundle.ready(log=log)
    bundle.send(paid("e1"))
    worker.run_once(0)
    end_session(bundle, worker)
    another = bundle.start("1")
    bundle.until(lambda: bundle.fired() != [], another)
    log.join_again()
    another.run_once(0)

    worker.commit()

    assert bundle.fired() == ["ship event/e1"]


def test_rule_05_a_process_that_is_no_member_commits_nothing() -> None:
    bundle = EngineBundle(commit_interval_ms=5000)
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.send(paid("e1"))
    worker.run_once(0)

    worker._membership = Membership(-1, "", Credentials("triggers", "", None, -1))  # which a broker does not check
    worker.commit()

    assert what_is_committed(bundle) == NOTHING


# Rule 6


def test_rule_06_records_that_were_fetched_before_going_back_are_not_taken_for_the_next() -> None:
    bundle = EngineBundle(batch_records_max=1, commit_interval_ms=5000)
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.send(paid("e1"), paid("e2"))
    worker.run_once(0)
    bundle.cluster.faults.plan("commit", Fault.ABORTABLE)
    worker.commit()  # e1 has to be read again

    worker._accept(worker._member.poll(1, 0))  # e2, which the member was about to deliver

    assert worker._read == {}
    bundle.work_off(worker)
    assert bundle.fired() == ["ship event/e1", "ship event/e2"]


def test_rule_06_nothing_comes_of_a_partition_that_went_away() -> None:
    bundle = EngineBundle(partitions=2)
    worker = bundle.ready()
    another = bundle.start("1")
    bundle.until(lambda: len(another._owned) == 4, another, worker)

    assert {source.partition for source in worker._next_offsets} <= {0}


# Rule 7


def test_rule_07_outputs_are_committed_with_positions() -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.send(paid("e1"))
    bundle.until(lambda: bundle.fired() != [], worker)

    assert bundle.committed() == {EVENTS_0: 1}


# Rule 8


def unknown_outcome(fault: Fault) -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.send(paid("e1"))
    bundle.work_off(worker)

    bundle.cluster.faults.plan("commit", fault)
    bundle.send(paid("e2"))
    bundle.until(lambda: worker.counters.aborts > 0, worker)
    bundle.send(paid("e3"))
    bundle.work_off(worker)

    assert bundle.fired() == ["ship event/e1", "ship event/e2", "ship event/e3"]


def test_rule_08_a_commit_whose_request_was_lost_is_made_again() -> None:
    unknown_outcome(Fault.REQUEST_LOST)


def test_rule_08_a_commit_whose_response_was_lost_is_not_made_again() -> None:
    unknown_outcome(Fault.RESPONSE_LOST)


def test_rule_08_a_commit_that_comes_late_hits_nothing() -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.cluster.faults.plan("commit", Fault.REQUEST_LATE)
    bundle.send(paid("e1"))
    bundle.until(lambda: worker.counters.aborts > 0, worker)
    bundle.send(paid("e2"))
    bundle.until(lambda: worker._transaction.begun, worker)

    bundle.cluster.deliver_late()

    bundle.work_off(worker)
    assert bundle.fired() == ["ship event/e1", "ship event/e2"]


# Rule 9


@pytest.mark.parametrize("point", ["send_offsets", "commit"])
def test_rule_09_a_producer_that_fails_for_good_is_replaced(point: str) -> None:
    failed_for_good(point)


def failed_for_good(point: str) -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.cluster.faults.plan(point, Fault.FATAL)  # type: ignore[arg-type]
    bundle.send(paid("e1"))

    bundle.work_off(worker)

    assert bundle.fired() == ["ship event/e1"]


@pytest.mark.parametrize(
    "fault", [Fault.REQUEST_LOST, Fault.RESPONSE_LOST, Fault.REQUEST_LATE, Fault.RETRIABLE, Fault.FATAL]
)
def test_rule_09_a_producer_that_cannot_abort_is_replaced(fault: Fault) -> None:
    failed_abort(fault)


def failed_abort(fault: Fault) -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.cluster.faults.plan("send_offsets", Fault.ABORTABLE)
    bundle.cluster.faults.plan("abort", fault)
    bundle.send(paid("e1"))

    bundle.work_off(worker)

    assert bundle.fired() == ["ship event/e1"]


# Rule 10


def test_rule_10_a_restore_reads_to_the_high_watermark_and_waits_for_what_is_open_below_it() -> None:
    bundle = EngineBundle()
    bundle.define(SHIP)
    worker = bundle.ready()
    zombie = bundle.log("zombie").producer()
    zombie.open()
    zombie.begin()
    zombie.produce(CHANGELOG_0.topic, list(changelog.records(9, 0, [bytes(RUN_ID_BYTES)], 0)))
    bundle.send(paid("e1"))  # its claim is written behind what the zombie has open
    bundle.work_off(worker)
    worker.close()

    successor = bundle.start()
    bundle.send(paid("e1"))
    bundle.work_off(successor)

    assert bundle.fired() == ["ship event/e1"]


# Rule 11


def test_rule_11_a_full_overlay_commits_before_its_time() -> None:
    bundle = EngineBundle(commit_interval_ms=9000, overlay_bytes_max=1024 * 1024, batch_records_max=1000)
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.send(*(paid(f"e{number}") for number in range(7000)))

    for _ in range(7):  # all at one instant
        worker.run_once(0)

    assert bundle.committed() == {EVENTS_0: 5000}


# Rule 12


def test_rule_12_ids_are_derived_from_their_cause() -> None:
    first, second = invocations_from_the_start(), invocations_from_the_start()
    assert first == second
    assert len(set(first)) == 2


def invocations_from_the_start() -> list[bytes | None]:
    bundle = EngineBundle()
    bundle.define(SHIP)
    bundle.send(paid("e1"), paid("e2"))
    bundle.work_off(bundle.start())
    return [record.value() for record in bundle.cluster.records(bundle.topics.invocations)]


# The negative control

RULES: dict[int, Sequence[Callable[[], None]]] = {
    1: [test_rule_01_a_successor_under_the_slots_name_ends_what_was_left_open_at_once],
    2: [
        test_rule_02_the_store_is_written_after_the_commit,
        test_rule_02_before_the_commit_nothing_is_there,
        test_rule_02_after_the_commit_everything_is_there,
    ],
    3: [
        test_rule_03_a_store_that_lags_is_repaired_from_the_changelog,
        test_rule_03_a_store_does_not_claim_to_know_what_another_worker_has_written_meanwhile,
    ],
    4: [
        test_rule_04_what_is_revoked_is_committed_first,
        test_rule_04_what_is_lost_is_dropped_without_a_commit,
        test_rule_04_nothing_that_was_open_when_partitions_were_lost_is_committed_later,
    ],
    5: [
        test_rule_05_positions_are_fenced_by_the_membership_of_the_generation_that_read_them,
        test_rule_05_a_process_that_is_no_member_commits_nothing,
    ],
    6: [
        test_rule_06_records_that_were_fetched_before_going_back_are_not_taken_for_the_next,
        test_rule_06_nothing_comes_of_a_partition_that_went_away,
    ],
    7: [test_rule_07_outputs_are_committed_with_positions],
    8: [
        test_rule_08_a_commit_whose_request_was_lost_is_made_again,
        test_rule_08_a_commit_whose_response_was_lost_is_not_made_again,
        test_rule_08_a_commit_that_comes_late_hits_nothing,
    ],
    9: [lambda: failed_for_good("commit"), lambda: failed_abort(Fault.FATAL)],
    10: [test_rule_10_a_restore_reads_to_the_high_watermark_and_waits_for_what_is_open_below_it],
    11: [test_rule_11_a_full_overlay_commits_before_its_time],
    12: [test_rule_12_ids_are_derived_from_their_cause],
}


def test_every_rule_has_a_test_and_a_mutant() -> None:
    assert sorted(RULES) == list(range(1, 13))
    assert {mutant.rule for mutant in MUTANTS} >= set(RULES)


@pytest.mark.parametrize("mutant", [each for each in MUTANTS if each.rule], ids=lambda mutant: mutant.name)
def test_every_rule_test_fails_when_its_rule_is_switched_off(mutant: Mutant) -> None:
    with mutant.switched_off():
        failures = [where for where in map(failed_check, RULES[mutant.rule]) if where is not None]
    assert failures != [], f"no test of rule {mutant.rule} notices that {mutant.name}"


def failed_check(test: Callable[[], None]) -> str | None:
    """The check that failed in ``test``, None if it passed. An error of the engine is none of a check, and raised."""
    try:
        test()
    except AssertionError as error:
        check = traceback.extract_tb(error.__traceback__)[-1]
        if Path(check.filename).parent != Path(__file__).parent:
            raise
        return check.line
    return None


SEEDS_MAX = 1000
"""Most mutants are found within a hundred schedules, the rarest within some hundred."""


@pytest.mark.parametrize("mutant", [each for each in MUTANTS if each.simulation_finds], ids=lambda mutant: mutant.name)
def test_the_simulation_finds_what_goes_wrong(mutant: Mutant) -> None:
    with mutant.switched_off():
        assert any(map(fails, range(SEEDS_MAX))), f"{SEEDS_MAX} schedules do not show that {mutant.name}"
