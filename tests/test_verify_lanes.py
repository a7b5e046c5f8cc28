"""The judge of triggers that start in the past: what their lanes did, and what they did live."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_triggers.core.invocation import NOTES, Decision, Invocation, TriggerRun
from stream_triggers.core.message import Participant, Position, TaskStatus
from stream_triggers.core.record import Fact, Pause, Start
from stream_triggers.core.report import status_of
from stream_triggers.core.route import plan
from stream_triggers.core.trigger import parse_trigger
from stream_triggers.runtime.codec import decode, encode
from stream_triggers.runtime.functions import AllowedFunctions
from stream_triggers.runtime.keyed.progress import Lane, lane_record, read_lane
from stream_triggers.runtime.log import TopicPartition
from stream_triggers.runtime.memory_log.topic import Entry
from stream_triggers.runtime.worker import Worker
from stream_triggers.verify import PHASES, Report
from tests.engine_bundle import SHIP, START_MS, EngineBundle, paid
from tests.test_verify import HOUR_MS, NOTE, change, compact_at_once, counts, entries, found, hide, judge, repeat

EARLIEST = Start(0, 0)
LATE = {**SHIP, "id": "late", "task": "orders.late"}
AGAIN = {**LATE, "epoch": 1}
KEYED = {
    "id": "late", "task": "orders.late", "key": "${event.payload.order}",
    "when": {"event": "paid"}, "cooldown": {"for": "1s"},
}  # fmt: skip


def settle(bundle: EngineBundle, *workers: Worker, trigger_id: str = "late", epoch: int = 0) -> None:
    """Work until the trigger has joined, and everything new is committed."""
    bundle.until(lambda: bundle.has_joined(trigger_id, epoch), *workers)
    bundle.work_off(*workers)


def past_bundle(**config: Any) -> tuple[EngineBundle, Worker]:
    """Five events in one partition, which have fired one trigger; and a worker that goes on."""
    bundle = EngineBundle(**config)
    bundle.define(SHIP)
    worker = bundle.ready()
    bundle.send(*(paid(f"e{number}") for number in range(5)))
    bundle.work_off(worker)
    return bundle, worker


def late_bundle(trigger: Mapping[str, Any] = LATE, **config: Any) -> EngineBundle:
    """Five events, and then a trigger that starts with the first of them; and one event more."""
    bundle, worker = past_bundle(**config)
    bundle.define(trigger, start=EARLIEST)
    settle(bundle, worker)
    bundle.send(paid("e5"))
    bundle.work_off(worker)
    worker.close()
    return bundle


def event_of(value: Any) -> str:
    """The event that an invocation, a run record or a fact is about."""
    match value:
        case Invocation():
            return value.causes[0].removeprefix("event/")
        case TriggerRun():
            return value.participants[0].id
        case _:
            return value.participant.id


def of_late(bundle: EngineBundle, topic: str, kind: type, offset: int) -> Entry:
    """The record about an event that the late trigger wrote last."""
    values = {entry: decode(entry.value()) for entry in entries(bundle, topic)}
    ours = [entry for entry, value in values.items() if isinstance(value, kind) and value.trigger_id == "late"]  # type: ignore[attr-defined]
    return [entry for entry in ours if event_of(values[entry]) == f"e{offset}"][-1]


def test_a_trigger_that_has_caught_up_is_judged_from_its_start_on() -> None:
    assert counts(judge(late_bundle())) == {"messages": 6, "expected": 12, "invocations": 12}


# What is right


def test_messages_older_than_the_start_are_not_for_the_trigger() -> None:
    bundle, worker = past_bundle()
    bundle.clock.advance(1000)
    since_ms = bundle.clock.now_ms()
    bundle.send(paid("e5"), paid("e6"))
    bundle.work_off(worker)
    bundle.define(LATE, start=Start(since_ms, 0))
    settle(bundle, worker)
    assert counts(judge(bundle)) == {"messages": 7, "expected": 9, "invocations": 9}


@pytest.mark.parametrize("since_ms", [None, START_MS])
def test_a_topic_that_the_trigger_has_no_use_for_is_judged_as_ever(since_ms: int | None) -> None:
    bundle, worker = past_bundle()
    bundle.send(*(TaskStatus("t", "s", f"s{number}", "i", 7) for number in range(3)))
    bundle.work_off(worker)
    bundle.define(LATE, start=EARLIEST)
    settle(bundle, worker)
    report = judge(bundle, since_ms=since_ms)
    assert counts(report) == {"messages": 8, "expected": 10, "invocations": 10}


def test_a_version_that_was_never_in_force_asks_for_nothing() -> None:
    bundle, worker = past_bundle()
    bundle.define(LATE, start=EARLIEST)
    bundle.define({**LATE, "when": {"status": "t", "is": ["s"]}, "args": {}}, start=EARLIEST)
    settle(bundle, worker)
    assert counts(judge(bundle)) == {"messages": 5, "expected": 5, "invocations": 5}


def test_a_start_that_was_never_in_force_asks_for_nothing() -> None:
    bundle, worker = past_bundle()
    bundle.clock.advance(1000)
    bundle.define(LATE, start=EARLIEST)
    bundle.delete("late")
    bundle.define(LATE, start=Start(bundle.clock.now_ms(), 0))
    settle(bundle, worker)
    assert counts(judge(bundle)) == {"messages": 5, "expected": 5, "invocations": 5}


def middle_bundle(trigger: Mapping[str, Any] = LATE, start: Start = EARLIEST) -> tuple[EngineBundle, Worker]:
    """A trigger that has caught up with two or more of five events, and not with all of them."""
    bundle, worker = past_bundle(batch_records_max=2, commit_interval_ms=10)
    bundle.define(trigger, start=start)
    bundle.until(lambda: 2 <= place(bundle, start.epoch) < 5, worker)
    return bundle, worker


def place(bundle: EngineBundle, epoch: int = 0) -> int:
    """How far the trigger has come with the events."""
    lane = bundle.lanes("late", epoch).get(TopicPartition("events", 0))
    return 0 if lane is None else lane.next_offset


def test_in_the_middle_of_a_lane_what_it_has_yet_to_do_is_not_missed() -> None:
    bundle, worker = middle_bundle()
    made = 5 + place(bundle)
    assert counts(judge(bundle)) == {"messages": 5, "expected": made, "invocations": made}
    settle(bundle, worker)
    assert counts(judge(bundle)) == {"messages": 5, "expected": 10, "invocations": 10}


def test_before_a_lane_has_begun_nothing_is_missed() -> None:
    bundle, _ = past_bundle()
    bundle.define(LATE, start=EARLIEST)
    assert counts(judge(bundle)) == {"messages": 5, "expected": 5, "invocations": 5}


Act: TypeAlias = Callable[[EngineBundle], None]


def judge_while(bundle: EngineBundle, *acts: Act) -> Report:
    """The report of one that works while these things happen, one before each phase; all is well afterwards, too."""
    left = dict(zip(PHASES, acts, strict=False))

    def work(phase: str, _done: int, _total: int) -> None:
        left.pop(phase, nothing)(bundle)

    report = judge(bundle, progress=work)
    assert judge(bundle).findings == []
    return report


def go_on(*workers: Worker, epoch: int = 0) -> Act:
    """Let the trigger catch up, with one event more."""

    def act(bundle: EngineBundle) -> None:
        bundle.send(paid(f"while-{place(bundle, epoch)}"))
        settle(bundle, *workers, epoch=epoch)

    return act


def go_on_live(worker: Worker) -> Act:
    """Work off one event more."""

    def act(bundle: EngineBundle) -> None:
        bundle.send(paid("live"))
        bundle.work_off(worker)

    return act


@pytest.mark.parametrize("trigger", [LATE, KEYED])
@pytest.mark.parametrize("phases", range(len(PHASES)))
def test_what_a_lane_does_while_it_is_judged_is_no_fault(trigger: Mapping[str, Any], phases: int) -> None:
    bundle, worker = middle_bundle(trigger)
    report = judge_while(bundle, *[nothing] * phases, go_on(worker), go_on(worker))
    assert (report.findings, report.messages) == ([], 5)


@pytest.mark.parametrize("trigger", [LATE, KEYED])
@pytest.mark.parametrize("phases", range(len(PHASES)))
def test_a_lane_that_begins_while_it_is_judged_is_no_fault(trigger: Mapping[str, Any], phases: int) -> None:
    bundle, worker = past_bundle(batch_records_max=2, commit_interval_ms=10)
    bundle.define(trigger, start=EARLIEST)
    report = judge_while(bundle, *[nothing] * phases, go_on(worker), go_on(worker))
    assert (report.findings, report.messages) == ([], 5)


@pytest.mark.parametrize("trigger", [LATE, KEYED])
@pytest.mark.parametrize("phases", range(len(PHASES)))
def test_a_trigger_that_is_applied_while_it_is_judged_is_no_fault(trigger: Mapping[str, Any], phases: int) -> None:
    bundle, worker = past_bundle()

    def act(bundle: EngineBundle) -> None:
        bundle.define(trigger, start=EARLIEST)
        go_on(worker)(bundle)

    report = judge_while(bundle, *[nothing] * phases, act)
    assert (report.findings, report.messages) == ([], 5)


def test_an_epoch_that_is_raised_while_it_is_judged_does_not_change_the_lane_before() -> None:
    bundle, worker = middle_bundle()
    bundle.define({**LATE, "task": "orders.later"}, start=EARLIEST)
    settle(bundle, worker)

    def act(bundle: EngineBundle) -> None:
        bundle.define({**AGAIN, "task": "orders.again"}, start=Start(0, 1))
        go_on(worker, epoch=1)(bundle)

    report = judge_while(bundle, act)
    assert (report.findings, report.expected) == ([], 10)


@pytest.mark.parametrize("is_noted", [False, True])
def test_what_a_lane_does_before_a_raised_epoch_ends_it_is_no_fault(is_noted: bool) -> None:
    bundle, worker = middle_bundle()
    last = bundle.lanes("late")[TopicPartition("events", 0)]
    assert last.next_offset > 1
    bundle.cluster.write("progress", [lane_record(last._replace(next_offset=1))])  # as if it was read before
    bundle.define(AGAIN)
    acts = {"invocations": go_on_live(worker)} if is_noted else {}
    report = judge(bundle, progress=lambda phase, *_: acts.pop(phase, nothing)(bundle))
    assert (report.findings, report.expected) == ([], 6)


def nothing(_bundle: EngineBundle) -> None:
    """Nothing happens."""


def test_a_lane_that_changes_hands_while_it_is_judged_is_no_fault() -> None:
    bundle, worker = past_bundle(batch_records_max=1, commit_interval_ms=10)
    bundle.define(LATE, start=EARLIEST)
    bundle.until(lambda: place(bundle) >= 1, worker)

    def act(bundle: EngineBundle) -> None:
        bundle.until(lambda: place(bundle) >= 3, worker)
        worker.close()
        settle(bundle, bundle.ready("1"))

    made = 5 + place(bundle)
    report = judge_while(bundle, act)
    assert (report.findings, report.messages, report.expected) == ([], 5, made)


def test_a_trigger_that_is_changed_in_its_lane_is_judged_by_each_version() -> None:
    bundle, worker = middle_bundle()
    changed_at = place(bundle)
    bundle.define({**LATE, "task": "orders.later"}, start=EARLIEST)
    settle(bundle, worker)
    worker.close()
    assert counts(judge(bundle)) == {"messages": 5, "expected": 10, "invocations": 10}
    tasks = [each.task for each in bundle.invocations() if each.trigger_id == "late"]
    assert tasks == ["orders.late"] * changed_at + ["orders.later"] * (5 - changed_at)
    change(of_late(bundle, "invocations", Invocation, 4), task="orders.late")
    assert found(judge(bundle)) == [("wrong", 4)]


def test_a_lane_that_rested_while_its_trigger_was_deleted_is_judged() -> None:
    bundle, worker = middle_bundle()
    bundle.delete("late")
    bundle.send(paid("e5"))
    bundle.work_off(worker)
    assert judge(bundle).findings == []
    bundle.define(LATE, start=EARLIEST)
    settle(bundle, worker)
    assert counts(judge(bundle)) == {"messages": 6, "expected": 12, "invocations": 12}


def raised_bundle(first: Mapping[str, Any] = LATE, again: Mapping[str, Any] = AGAIN) -> EngineBundle:
    """A trigger that has taken six events, and all of them once more under another epoch; and one event more."""
    bundle = late_bundle(first)
    worker = bundle.ready("1")
    bundle.define(again, start=Start(0, 1))
    settle(bundle, worker, epoch=1)
    bundle.send(paid("e6"))
    bundle.work_off(worker)
    worker.close()
    return bundle


def test_a_raised_epoch_asks_for_everything_once_more() -> None:
    assert counts(judge(raised_bundle())) == {"messages": 7, "expected": 20, "invocations": 20}


def test_an_epoch_that_is_raised_in_a_lane_ends_it() -> None:
    bundle, worker = middle_bundle()
    came_to = place(bundle)
    bundle.define(AGAIN, start=Start(0, 1))
    settle(bundle, worker, epoch=1)
    bundle.send(paid("e5"))
    bundle.work_off(worker)
    worker.close()
    made = 6 + came_to + 6
    assert counts(judge(bundle)) == {"messages": 6, "expected": made, "invocations": made}
    run_id = plan(parse_trigger(LATE), AllowedFunctions()).run_ids.of_one("event", "e4").hex()
    change(of_late(bundle, "trigger-runs", TriggerRun, 4), run_id=run_id)
    change(of_late(bundle, "invocations", Invocation, 4), run_id=run_id)
    assert found(judge(bundle)) == [("lost", 4), ("unexpected", 4)]


def test_a_trigger_that_does_not_start_again_is_live_under_its_raised_epoch() -> None:
    bundle = late_bundle()
    worker = bundle.ready("1")
    bundle.define(AGAIN)
    bundle.send(paid("e6"))
    bundle.work_off(worker)
    assert counts(judge(bundle)) == {"messages": 7, "expected": 14, "invocations": 14}


# Planted faults


def lose(topic: str, kind: type, offset: int) -> Callable[[EngineBundle], None]:
    return lambda bundle: hide(of_late(bundle, topic, kind, offset))


def lose_all(offset: int) -> Callable[[EngineBundle], None]:
    def plant(bundle: EngineBundle) -> None:
        hide(of_late(bundle, "invocations", Invocation, offset))
        hide(of_late(bundle, "trigger-runs", TriggerRun, offset))

    return plant


def double(topic: str, kind: type, offset: int) -> Callable[[EngineBundle], None]:
    return lambda bundle: repeat(bundle, of_late(bundle, topic, kind, offset))


def fire_live_before_the_join(bundle: EngineBundle) -> None:
    double("invocations", Invocation, 2)(bundle)
    double("trigger-runs", TriggerRun, 2)(bundle)


def suppress_by_the_lane(bundle: EngineBundle) -> None:
    """What the lane says of a message that the trigger was given live before."""
    run = decode(of_late(bundle, "trigger-runs", TriggerRun, 2).value(), (TriggerRun,))
    bundle.write("trigger-runs", encode(Decision("duplicate", "events", 0, 2, 7, "late", run_id=run.run_id)))


def begin_late(bundle: EngineBundle) -> None:
    lose_all(0)(bundle)
    change(note(bundle), offset=1)


def note(bundle: EngineBundle, at: int = 0) -> Entry:
    """The note of a lane that was made as the ``at``-th."""
    found = [e for e in entries(bundle, "trigger-runs") if getattr(decode(e.value()), "reason", "") == "catching_up"]
    return found[at]


def pass_over_everything(bundle: EngineBundle) -> None:
    for offset in range(5):
        lose_all(offset)(bundle)
    hide(note(bundle))


@pytest.mark.parametrize(
    ("plant", "findings"),
    [
        (lose("invocations", Invocation, 1), [("lost", 1)]),
        (lose_all(1), [("lost", 1)]),
        (lose_all(5), [("lost", 5)]),
        (lose("trigger-runs", TriggerRun, 1), [("unrecorded", 1)]),
        (double("invocations", Invocation, 1), [("duplicated", 1)]),
        (fire_live_before_the_join, [("duplicated", 2)]),
        (suppress_by_the_lane, [("unexpected", 2)]),
        (begin_late, [("lost", 0)]),
        (pass_over_everything, [("lost", offset) for offset in range(5)]),
        (lambda bundle: change(of_late(bundle, "invocations", Invocation, 1), depth=9), [("wrong", 1)]),
    ],
    ids=["lost", "both lost", "lost after", "unrecorded", "twice", "live", "repeat", "late", "nothing", "wrong"],
)
def test_a_fault_in_a_lane_is_found(plant: Callable[[EngineBundle], None], findings: list[tuple[str, int]]) -> None:
    bundle = late_bundle()
    assert found(judge(bundle)) == []
    plant(bundle)
    assert found(judge(bundle)) == findings


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_single_output_of_lanes_is_lost_or_doubled_is_found(data: st.DataObject) -> None:
    bundle = EngineBundle(partitions=2)
    worker = bundle.ready()
    bundle.send(
        paid("e0", amount=9, coupon="c"),  # fires
        paid("e0", amount=9, coupon="c"),  # repeats
        paid("e1", amount=1),  # does not match
        paid("e2", amount="much"),  # the filter fails
        paid("e3", amount=9),  # arguments fail
    )
    bundle.work_off(worker)
    for epoch in (0, 1):
        bundle.define({**NOTE, "epoch": epoch}, start=Start(0, epoch))
        settle(bundle, worker, trigger_id=NOTE["id"], epoch=epoch)
    topics = ("invocations", "trigger-runs", "dead-letters")
    outputs = [entry for topic in topics for entry in entries(bundle, topic)]
    outputs = [entry for entry in outputs if getattr(decode(entry.value()), "reason", "") not in NOTES]
    assert len(outputs) == 2 * (1 + 1 + 1 + 2 + 2)
    entry = data.draw(st.sampled_from(outputs))
    data.draw(st.sampled_from([lambda: hide(entry), lambda: repeat(bundle, entry)]))()
    assert len(judge(bundle).findings) == 1


def test_a_run_of_a_message_before_the_start_is_unexpected() -> None:
    bundle, worker = past_bundle()
    bundle.clock.advance(1000)
    since_ms = bundle.clock.now_ms()
    bundle.send(paid("e5"))
    bundle.work_off(worker)
    bundle.define(LATE, start=Start(since_ms, 0))
    settle(bundle, worker)
    cause = Participant("event", "event", "e1", "events", 0, 1, 7)
    bundle.write("trigger-runs", encode(TriggerRun("late", "v", 0, "t", "ab" * 16, "ab" * 16, 7, None, (cause,))))
    assert found(judge(bundle)) == [("unexpected", 1)]


def test_what_is_lost_of_one_epoch_is_found_where_the_other_has_it() -> None:
    bundle = raised_bundle()
    ours = [e for e in entries(bundle, "invocations") if decode(e.value(), (Invocation,)).trigger_id == "late"]
    of_second = [e for e in ours if decode(e.value(), (Invocation,)).causes == ("event/e2",)]
    assert len(of_second) == 2
    hide(of_second[1])
    [finding] = judge(bundle).findings
    run_id = plan(parse_trigger(AGAIN), AllowedFunctions()).run_ids.of_one("event", "e2").hex()
    assert (finding.fault, finding.run_id, finding.cause) == ("lost", run_id, Position("events", 0, 2))


@pytest.mark.parametrize("offset", [1, 5])
def test_an_invocation_of_either_epoch_is_explained_by_its_own_version(offset: int) -> None:
    bundle = raised_bundle(again={**AGAIN, "task": "orders.again"})
    for entry in entries(bundle, "invocations"):
        if decode(entry.value(), (Invocation,)).causes == (f"event/e{offset}",):
            change(entry, depth=9)
    assert [each.detail for each in judge(bundle).findings] == ["differs in depth"] * 3


@pytest.mark.parametrize(
    ("plant", "findings"),
    [
        (lambda entry, _bundle: hide(entry), ["lost"]),
        (lambda entry, bundle: repeat(bundle, entry), ["duplicated"]),
    ],
)
@pytest.mark.parametrize("at", [1, 5])
def test_a_fact_that_is_missing_or_there_twice_is_found(
    at: int, plant: Callable[[Entry, EngineBundle], None], findings: list[str]
) -> None:
    bundle = late_bundle(KEYED)
    assert judge(bundle).findings == []
    plant(of_late(bundle, "trigger-facts", Fact, at), bundle)
    assert [each.fault for each in judge(bundle).findings if each.cause is not None] == findings


# Messages that could not be handled


FAILING = {**LATE, "when": {"event": "paid", "filter": {"amount": {"gt": 5}}}}
LACKING = {**LATE, "args": {"missing": "${event.payload.missing}"}}


def failing_bundle(trigger: Mapping[str, Any]) -> EngineBundle:
    """One event, live and in the lane of a raised epoch, that the trigger can do nothing with."""
    bundle = EngineBundle()
    bundle.define(trigger)
    worker = bundle.ready()
    bundle.send(paid("e0", amount="much"))
    bundle.work_off(worker)
    bundle.define({**trigger, "epoch": 1}, start=Start(0, 1))
    settle(bundle, worker, epoch=1)
    worker.close()
    return bundle


@pytest.mark.parametrize(("trigger", "reason"), [(FAILING, "filter_failed"), (LACKING, "arguments_failed")])
def test_a_message_may_fail_once_under_each_epoch(trigger: Mapping[str, Any], reason: str) -> None:
    bundle = failing_bundle(trigger)
    assert counts(judge(bundle)) == {"messages": 1, "failed": 2}
    decisions = [e for e in entries(bundle, "trigger-runs") if getattr(decode(e.value()), "reason", "") == reason]
    letters = entries(bundle, "dead-letters")
    assert (len(decisions), len(letters)) == (2, 2)
    hide(decisions[1])
    assert found(judge(bundle)) == [("unreported", 0)]
    hide(letters[1])
    assert found(judge(bundle)) == [("unreported", 0)] * 2
    for entry in (decisions[0], letters[0]) * 2:
        repeat(bundle, entry)
    assert found(judge(bundle)) == [("duplicated", 0)] * 2


def test_a_failure_of_what_was_held_for_a_trigger_in_its_lane_is_none_too_many() -> None:
    bundle, worker = past_bundle()
    bundle.define(LACKING, Pause("drop", START_MS), start=EARLIEST)
    settle(bundle, worker)
    bundle.define(LACKING, start=EARLIEST)
    bundle.send(paid("e5"))
    bundle.work_off(worker)
    assert {each.reason for each in bundle.decisions()} == {"arguments_failed"}
    assert judge(bundle).findings == []


def test_a_failure_in_a_lane_that_goes_on_is_no_fault_of_the_epoch_before() -> None:
    bundle = failing_bundle(FAILING)
    for entry in entries(bundle, "progress"):
        lane = read_lane(entry)
        if lane is not None and lane.epoch == 1:
            entry._value = lane_record(lane._replace(next_offset=0, joined=False))["value"]
    assert counts(judge(bundle)) == {"messages": 1, "failed": 1}


@pytest.mark.parametrize(("is_before", "told"), [(True, ["late"]), (False, ["late", None])])
def test_who_reads_for_all_reports_what_cannot_be_read_if_anybody_listens_and_so_does_a_lane(
    is_before: bool, told: list[str | None]
) -> None:
    bundle = EngineBundle(batch_records_max=2, commit_interval_ms=10)
    worker = bundle.ready()
    cut = encode(paid("cut"))[:-1]
    bundle.send(*(paid(f"e{number}") for number in range(5)))
    if is_before:
        bundle.write("events", cut)
    bundle.work_off(worker)
    bundle.define(LATE, start=EARLIEST)
    bundle.until(lambda: 2 <= place(bundle) < 5, worker)
    if not is_before:
        bundle.write("events", cut)
    settle(bundle, worker)
    assert [each.trigger_id for each in bundle.dead_letters()] in (told, told[::-1])
    report = judge(bundle)
    assert (report.findings, report.messages, report.expected, report.rejected) == ([], 6, 5, len(told))
    for entry in entries(bundle, "dead-letters"):
        hide(entry)
    assert {each.fault for each in judge(bundle).findings} == {"unreported"}


# What cannot be judged


def test_a_lane_whose_note_is_not_read_is_not_judged() -> None:
    bundle = late_bundle()
    hide(note(bundle))
    report = judge(bundle, since_ms=START_MS)
    assert counts(report) == {"messages": 1, "expected": 7, "invocations": 7, "unjudged": 5}
    assert judge(bundle).findings == []  # where all is read, a note is not needed for what was never changed


def compact(bundle: EngineBundle, versions: int) -> None:
    """Remove the first versions of the late trigger, and the definition before them, as compaction may."""
    compact_at_once(bundle)
    bundle.define(SHIP)
    for entry in entries(bundle, "trigger-definitions")[: 1 + versions]:
        hide(entry)


def test_what_a_lane_did_with_a_version_that_was_compacted_away_is_not_judged() -> None:
    bundle, worker = middle_bundle()
    came_to = place(bundle)
    bundle.delete("late")
    bundle.delete("late")
    bundle.clock.advance(2 * HOUR_MS)
    bundle.define({**LATE, "task": "orders.later"}, start=EARLIEST)
    settle(bundle, worker)
    compact_at_once(bundle, lag_ms=HOUR_MS)
    for entry in entries(bundle, "trigger-definitions")[1:4]:
        hide(entry)
    report = judge(bundle)
    assert (report.findings, report.messages, report.unjudged) == ([], 5 - came_to, came_to)


def test_a_lane_whose_version_was_compacted_away_is_not_judged() -> None:
    bundle, worker = middle_bundle()
    bundle.define({**LATE, "task": "orders.later"}, start=EARLIEST)
    settle(bundle, worker)
    worker.close()
    assert counts(judge(bundle)) == {"messages": 5, "expected": 10, "invocations": 10}
    compact(bundle, versions=1)
    report = judge(bundle)
    assert (report.findings, report.unjudged) == ([], 5)


@pytest.mark.parametrize("again", [None, AGAIN])
def test_the_lane_of_an_epoch_that_was_compacted_away_is_not_judged(again: Mapping[str, Any] | None) -> None:
    bundle, worker = past_bundle()
    bundle.define(LATE, start=EARLIEST)
    settle(bundle, worker)
    bundle.delete("late")
    if again is not None:
        bundle.define(again, start=Start(0, 1))
        settle(bundle, worker, epoch=1)
    compact_at_once(bundle)
    bundle.define(SHIP)
    for entry in entries(bundle, "trigger-definitions")[1:3]:
        hide(entry)
    report = judge(bundle)
    assert (report.findings, report.unjudged) == ([], 5)


def test_progress_of_an_epoch_that_never_was_excuses_nothing() -> None:
    bundle, _ = past_bundle()
    lane = Lane(TopicPartition("events", 0), "late", 0, 5, 7, True)
    bundle.cluster.write("progress", [lane_record(lane)])
    cause = Participant("event", "event", "e1", "events", 0, 1, 7)
    bundle.write("trigger-runs", encode(TriggerRun("late", "v", 0, "t", "ab" * 16, "ab" * 16, 7, None, (cause,))))
    assert found(judge(bundle)) == [("unexpected", 1)]


def again_bundle(trigger: Mapping[str, Any], pause_ms: int = 0) -> tuple[EngineBundle, Worker]:
    """A trigger that has taken three of four messages, was deleted, and is applied again under the same epoch."""
    bundle = EngineBundle(claim_retention_ms=60_000, batch_records_max=1, commit_interval_ms=10)
    bundle.define(trigger)
    worker = bundle.ready()
    bundle.send(paid("e0"), paid("e1"), paid("e1"), TaskStatus("t", "s", "s0", "i", 7))
    bundle.work_off(worker)
    bundle.delete("late")
    bundle.send(paid("e0"))
    bundle.work_off(worker)
    bundle.clock.advance(pause_ms)
    bundle.define(trigger, start=EARLIEST)
    return bundle, worker


@pytest.mark.parametrize("trigger", [LATE, KEYED])
@pytest.mark.parametrize("pause_ms", [0, 200_000])
@pytest.mark.parametrize("is_compacted", [False, True])
def test_what_a_trigger_reads_again_under_the_same_epoch_is_not_judged(
    trigger: Mapping[str, Any], pause_ms: int, is_compacted: bool
) -> None:
    bundle, worker = again_bundle(trigger, pause_ms)
    settle(bundle, worker)
    bundle.send(paid("e5"))
    bundle.work_off(worker)
    if is_compacted:
        compact_at_once(bundle)
        for entry in entries(bundle, "trigger-definitions")[:2]:
            hide(entry)
    report = judge(bundle)
    judged = 1 if is_compacted else 2  # then it is not known, either, who listened to the status
    assert (report.findings, report.messages, report.unjudged) == ([], judged, 6 - judged)


@pytest.mark.parametrize("trigger", [LATE, KEYED])
def test_nor_is_what_it_is_about_to_read_again(trigger: Mapping[str, Any]) -> None:
    bundle, worker = again_bundle(trigger)
    bundle.until(lambda: place(bundle) >= 1, worker)
    assert judge_while(bundle, go_on(worker)).findings == []


def test_nor_is_what_it_reads_again_under_an_epoch_that_was_lowered() -> None:
    bundle, worker = past_bundle(batch_records_max=2, commit_interval_ms=10)
    bundle.define(LATE, start=EARLIEST)
    settle(bundle, worker)
    bundle.define(AGAIN, start=Start(0, 1))
    bundle.until(lambda: 2 <= place(bundle, 1) < 5, worker)
    bundle.define(LATE, start=Start(0, 1))
    settle(bundle, worker, epoch=1)
    report = judge(bundle)
    assert (report.findings, report.messages, report.unjudged) == ([], 0, 5)


def test_what_became_of_runs_is_the_same_in_every_epoch_and_not_judged_in_a_lane() -> None:
    shipped = {"status": "orders.late", "is": ["shipped"], "key": "${status.invocation_id}"}
    follows = {**KEYED, "when": {"any": [{"event": "paid"}, shipped]}, "overlap": "skip"}
    bundle = EngineBundle()
    bundle.define(follows)
    worker = bundle.ready()
    bundle.send(paid("e0"))
    bundle.until(lambda: len(bundle.invocations()) == 1, worker)
    bundle.send(status_of(bundle.invocations()[0], "success", START_MS))
    bundle.work_off(worker)
    bundle.define({**follows, "epoch": 1}, start=Start(0, 1))
    settle(bundle, worker, epoch=1)
    report = judge(bundle)
    assert (report.findings, report.messages, report.unjudged) == ([], 1, 1)


# Notes


@pytest.mark.parametrize("detail", ["-1", "", "x", "9223372036854775807"])
def test_a_note_of_a_lane_about_definitions_that_cannot_be_is_unexpected(detail: str) -> None:
    bundle = late_bundle()
    bundle.write("trigger-runs", encode(Decision("catching_up", "events", 0, 1, 7, "late", detail=detail)))
    assert [each.detail for each in judge(bundle).findings] == ["note about definitions that there are not"]


def test_a_note_of_a_lane_at_a_position_that_cannot_be_is_unexpected() -> None:
    bundle = late_bundle()
    bundle.write("trigger-runs", encode(Decision("catching_up", "events", 0, 99, 7, "late", detail="1")))
    assert [each.detail for each in judge(bundle).findings] == ["note about a position that is no input's"]


def test_notes_of_lanes_that_come_again_are_harmless() -> None:
    bundle = late_bundle()
    repeat(bundle, note(bundle))
    assert judge(bundle).findings == []
