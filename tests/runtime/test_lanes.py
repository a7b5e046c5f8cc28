"""Triggers that start in the past: what was there before them, beside what is new, each message once and in order."""

import tracemalloc
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest

from stream_triggers.core.invocation import TriggerRun
from stream_triggers.core.message import Event, Message, TaskStatus
from stream_triggers.core.record import Start, Tick
from stream_triggers.errors import Unavailable
from stream_triggers.runtime.codec import decode, encode
from stream_triggers.runtime.keyed.progress import Lane, lane_record, progress_record, read_lane
from stream_triggers.runtime.log import Slice, TopicPartition
from stream_triggers.runtime.memory_log import Crashed, MemoryLog
from stream_triggers.runtime.outputs import Outputs
from stream_triggers.runtime.route_stage import RouteStage
from stream_triggers.runtime.store import MemoryStore
from stream_triggers.runtime.worker import Worker
from tests.engine_bundle import ROUND_MS, SHIP, START_MS, EngineBundle, paid

EVENTS_0 = TopicPartition("events", 0)
EARLIEST = Start(0, 0)
LATE = {**SHIP, "id": "late"}
BOTH = {
    "id": "both",
    "task": "orders.both",
    "key": "${event.payload.order}",
    "when": {"all": [{"event": "paid"}, {"event": "sent"}], "within": "10s"},
}
ABSENT = {
    "id": "absent",
    "task": "orders.chase",
    "key": "${event.payload.order}",
    "when": {"missing": {"event": "sent"}, "after": {"event": "paid"}, "within": "10s"},
}


def catch_up(bundle: EngineBundle, *workers: Worker, trigger_id: str = "late", epoch: int = 0) -> None:
    """Let workers go on until a trigger has joined everywhere, and everything is worked off."""
    bundle.until(lambda: bundle.backlog() == 0 and bundle.has_joined(trigger_id, epoch), *workers)


def some_time(bundle: EngineBundle, *workers: Worker) -> None:
    """Let workers go on for three seconds."""
    end_ms = bundle.clock.now_ms() + 3000
    bundle.until(lambda: bundle.clock.now_ms() > end_ms, *workers)


def event(code: str, event_id: str, time_ms: int, order: str = "o1") -> Event:
    return Event(code, event_id, time_ms, None, {"order": order})


@pytest.fixture
def bundle() -> EngineBundle:
    return EngineBundle(batch_records_max=2, commit_interval_ms=1)


def history(bundle: EngineBundle, count: int, *messages: Message) -> Worker:
    """A worker that has worked off so many events, and ``messages``, before the trigger was applied."""
    worker = bundle.ready()
    bundle.send(*[paid(f"e{number}") for number in range(count)], *messages)
    bundle.work_off(worker)
    return worker


def test_a_trigger_takes_what_was_there_before_it_and_what_comes_then_each_message_once_and_in_order(
    bundle: EngineBundle,
) -> None:
    worker = history(bundle, 7)
    bundle.define(LATE, start=EARLIEST)
    bundle.send(paid("new"))
    catch_up(bundle, worker)
    bundle.send(paid("last"))
    bundle.work_off(worker)
    assert bundle.fired() == [f"late event/{each}" for each in (*[f"e{n}" for n in range(7)], "new", "last")]
    assert bundle.decisions() == []


def test_a_trigger_without_a_start_takes_nothing_that_was_there_before_it(bundle: EngineBundle) -> None:
    worker = history(bundle, 3)
    bundle.define(LATE)
    bundle.send(paid("new"))
    bundle.work_off(worker)
    assert bundle.fired() == ["late event/new"]
    assert bundle.lanes("late") == {}


def test_it_starts_with_the_first_message_that_is_not_older(bundle: EngineBundle) -> None:
    worker = history(bundle, 2)
    bundle.clock.advance(60_000)
    since_ms = bundle.clock.now_ms()
    bundle.send(paid("young"), paid("younger"))
    bundle.work_off(worker)
    bundle.define(LATE, start=Start(since_ms, 0))
    catch_up(bundle, worker)
    assert bundle.fired() == ["late event/young", "late event/younger"]


def test_a_lane_does_not_get_ahead_of_what_is_read_live(bundle: EngineBundle) -> None:
    worker = history(bundle, 30)
    bundle.define(LATE, start=EARLIEST)
    bundle.until(lambda: len(bundle.fired()) >= 10, worker)
    bundle.send(paid("new"))
    assert worker._local is not None
    done = len(bundle.fired())
    outputs, moved = worker._local.lanes.read(worker._next_offsets, 1000, 0)  # what is there to read goes on to the end
    assert (len(outputs.invocations), moved) == (30 - done, [EVENTS_0])
    assert decode(outputs.runs[-1]["value"], (TriggerRun,)).participants[0].offset == 29
    [told] = outputs.progress
    assert told["value"] is not None
    assert (int.from_bytes(told["value"][1:9], "big"), told["value"][-1]) == (30, 1)


def test_a_trigger_that_is_there_from_the_beginning_has_nothing_to_catch_up_with(bundle: EngineBundle) -> None:
    bundle.define(LATE, start=EARLIEST)
    bundle.send(*[paid(f"e{number}") for number in range(20)])
    worker = bundle.ready()
    catch_up(bundle, worker)
    assert bundle.fired() == [f"late event/e{number}" for number in range(20)]
    assert {each.next_offset for each in bundle.lanes("late").values()} == {0}


def test_a_lane_alone_commits_at_the_interval_and_what_is_new_does_not_wait_for_that() -> None:
    bundle = EngineBundle(batch_records_max=2, commit_interval_ms=400)
    bundle.define(SHIP)
    worker = history(bundle, 100)
    bundle.define(LATE, start=EARLIEST)
    before, since_ms = worker.counters.transactions, bundle.clock.now_ms()
    bundle.until(lambda: len(bundle.fired()) > 140, worker)
    taken = worker.counters.transactions - before
    assert taken <= (bundle.clock.now_ms() - since_ms) // 400 + 2
    bundle.send(paid("new"))
    worker.run_once(0)
    worker.run_once(0)
    assert "ship event/new" in bundle.fired()


class SlowStage:
    """Routes messages, each of which takes some time."""

    def __init__(self, bundle: EngineBundle, stage: RouteStage, each_ms: float) -> None:
        self._bundle, self._inner, self._each_ms = bundle, stage, each_ms

    def process_lanes(self, slice_: Slice, *arguments: Any) -> Outputs:
        self._bundle.clock.advance(round(self._each_ms * len(slice_.records)))
        return self._inner.process_lanes(slice_, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def test_the_lanes_are_given_more_messages_until_these_take_too_long() -> None:
    bundle = EngineBundle(batch_records_max=4000, commit_interval_ms=1)
    worker = history(bundle, 8000)
    bundle.define(LATE, start=EARLIEST)
    taken = [0]
    for each_ms in (0, 0, 0.1, 0.1, 0):
        assert worker._local is not None
        worker._local.lanes._stage = SlowStage(bundle, worker._local.stage, each_ms)  # type: ignore[assignment]
        bundle.until(lambda: worker.counters.caught_up > taken[-1], worker)
        taken.append(worker.counters.caught_up)
    assert [later - sooner for sooner, later in pairwise(taken)] == [500, 1000, 2000, 1000, 500]


def test_every_transaction_has_its_own_claims_record_though_the_live_place_stays(bundle: EngineBundle) -> None:
    worker = history(bundle, 10)
    bundle.define(LATE, start=EARLIEST)
    catch_up(bundle, worker)
    records = bundle.cluster.records("triggers-claims-events-changelog")
    assert len({each.key() for each in records}) == len(records) > 2


def test_a_new_owner_does_not_go_on_before_it_knows_how_far_the_lanes_have_come(bundle: EngineBundle) -> None:
    worker = history(bundle, 4)
    outsider = bundle.log("outsider").producer()
    outsider.open()
    outsider.begin()
    outsider.produce(bundle.topics.progress, [progress_record(TopicPartition("events", 7), 1)])
    bundle.define(LATE, start=EARLIEST)
    catch_up(bundle, worker)
    other = bundle.start("0", MemoryStore())
    bundle.send(paid("new"))
    some_time(bundle, other)
    assert (other.counters.restores, len(bundle.fired())) == (1, 4)  # only the facts
    outsider.commit()
    bundle.work_off(other)
    assert bundle.fired() == [f"late event/{each}" for each in ("e0", "e1", "e2", "e3", "new")]
    assert bundle.decisions() == []


def test_a_transaction_that_is_open_in_progress_holds_nobody_up_where_no_trigger_has_a_start(
    bundle: EngineBundle,
) -> None:
    bundle.define(SHIP)
    history(bundle, 4)
    outsider = bundle.log("outsider").producer()
    outsider.open()
    outsider.begin()
    outsider.produce(bundle.topics.progress, [progress_record(TopicPartition("events", 7), 1)])
    other = bundle.start("0", MemoryStore())
    bundle.until(lambda: other.counters.restores == 4, other)
    bundle.send(paid("new"))
    bundle.until(lambda: "ship event/new" in bundle.fired(), other)
    joined = Lane(EVENTS_0, "late", 0, 4, START_MS, joined=True)
    outsider.produce(bundle.topics.progress, [lane_record(joined)])  # as if an owner before had
    bundle.define(LATE, start=EARLIEST)
    with pytest.raises(Unavailable):
        some_time(bundle, other)
    outsider.commit()
    bundle.send(paid("last"))
    bundle.work_off(other)
    some_time(bundle, other)
    assert [each for each in bundle.fired() if each.startswith("late")] == ["late event/last"]


def test_a_message_of_another_time_among_others_does_not_hurry_the_trigger_on(bundle: EngineBundle) -> None:
    worker = bundle.ready()
    for number in range(4):
        bundle.send(event("paid", f"p{number}", bundle.clock.now_ms(), f"o{number}"))
    odd = bundle.cluster.partition(EVENTS_0).entries[2]
    odd._time_ms = START_MS + 3_000_000
    bundle.work_off(worker)
    bundle.clock.advance(3_600_000)
    bundle.define({**ABSENT, "id": "late"}, start=EARLIEST)
    catch_up(bundle, worker)
    written = map(read_lane, bundle.cluster.records(bundle.topics.progress))
    routed_ms = [each.routed_ms for each in written if each is not None and each.partition == EVENTS_0]
    assert max(routed_ms) < START_MS + 10_000


def test_other_triggers_go_on_meanwhile_and_take_nothing_twice(bundle: EngineBundle) -> None:
    bundle.define(SHIP)
    worker = history(bundle, 40)
    bundle.define(LATE, start=EARLIEST)
    bundle.send(paid("new"))
    bundle.until(lambda: "ship event/new" in bundle.fired(), worker)
    assert len([each for each in bundle.fired() if each.startswith("late ")]) < 20
    catch_up(bundle, worker)
    fired = bundle.fired()
    assert sorted(fired) == sorted(set(fired))
    assert len(fired) == 2 * 41


def test_a_crash_and_a_new_owner_go_on_where_the_lane_was_committed(bundle: EngineBundle) -> None:
    worker = history(bundle, 30)
    bundle.define(LATE, start=EARLIEST)
    bundle.until(lambda: len(bundle.fired()) >= 10, worker)
    other = bundle.ready("0", MemoryStore())  # takes over the slot, with nothing in its store
    bundle.send(paid("new"))
    catch_up(bundle, other)
    assert bundle.fired() == [f"late event/{each}" for each in (*[f"e{n}" for n in range(30)], "new")]
    assert bundle.decisions() == []


def test_what_was_not_committed_is_read_again(bundle: EngineBundle) -> None:
    worker = history(bundle, 6)

    def fault(point: str) -> None:
        if point == "produced" and len(bundle.fired()) >= 2:
            raise Crashed("before the commit")

    worker.close()
    worker = bundle.ready("1", fault=fault)
    bundle.define(LATE, start=EARLIEST)
    with pytest.raises(Crashed):
        catch_up(bundle, worker)
    other = bundle.ready("2")
    catch_up(bundle, other)
    assert bundle.fired() == [f"late event/e{number}" for number in range(6)]
    assert bundle.decisions() == []


def test_a_lane_that_has_joined_is_never_opened_again(bundle: EngineBundle) -> None:
    worker = history(bundle, 4)
    bundle.define(LATE, start=EARLIEST)
    catch_up(bundle, worker)
    bundle.define({**LATE, "args": {}}, start=EARLIEST)
    bundle.delete("late")
    bundle.define(LATE, start=EARLIEST)
    some_time(bundle, worker)
    other = bundle.ready("0", MemoryStore())
    some_time(bundle, other)
    assert bundle.fired() == [f"late event/e{number}" for number in range(4)]
    assert bundle.decisions() == []  # not even taken for repeats


def test_a_raised_epoch_starts_again(bundle: EngineBundle) -> None:
    worker = history(bundle, 3)
    bundle.define(LATE, start=EARLIEST)
    catch_up(bundle, worker)
    bundle.define({**LATE, "epoch": 1}, start=Start(0, 1))
    catch_up(bundle, worker, epoch=1)
    assert bundle.fired() == 2 * [f"late event/e{number}" for number in range(3)]
    assert len({each.run_id for each in bundle.invocations()}) == 6


def test_triggers_at_different_places_are_read_for_together_where_they_meet(bundle: EngineBundle) -> None:
    worker = history(bundle, 20)
    bundle.clock.advance(1000)
    since_ms = bundle.clock.now_ms()
    bundle.send(*[paid(f"f{number}") for number in range(10)])
    bundle.work_off(worker)
    bundle.define({**LATE, "id": "half"}, start=Start(since_ms, 0))
    bundle.define(LATE, start=EARLIEST)
    catch_up(bundle, worker)
    fired = bundle.fired()
    assert [each for each in fired if each.startswith("half")] == [f"half event/f{number}" for number in range(10)]
    assert len([each for each in fired if each.startswith("late")]) == 30
    assert bundle.lanes("half")[EVENTS_0].joined


def test_triggers_at_many_places_take_no_more_memory_than_at_one() -> None:
    bundle, count = EngineBundle(), 200
    worker = bundle.ready()
    since_ms = bundle.clock.now_ms()
    for number in range(count):
        bundle.send(Event("other", f"e{number}", 7, None, {}))
        bundle.clock.advance(1)
    bundle.work_off(worker)
    for number in range(count):
        bundle.define({**LATE, "id": f"late-{number}"}, start=Start(since_ms + number, 0))
    tracemalloc.start()
    try:
        for _ in range(20):
            worker.run_once(0)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    lanes = [bundle.lanes(f"late-{number}").get(EVENTS_0) for number in range(count)]
    assert {each.next_offset for each in lanes if each is not None} == {count}
    assert size < 2_500_000


def test_an_edit_is_in_force_from_where_the_lane_is(bundle: EngineBundle) -> None:
    worker = history(bundle, 30)
    bundle.define(LATE, start=EARLIEST)
    bundle.until(lambda: len(bundle.fired()) >= 10, worker)
    bundle.define({**LATE, "task": "orders.other"}, start=EARLIEST)
    catch_up(bundle, worker)
    tasks = [each.task for each in bundle.invocations()]
    assert len(tasks) == 30
    assert tasks == sorted(tasks, reverse=True) != tasks[:1] * 30
    notes = [each for each in bundle.decisions(noted=True) if each.reason == "catching_up"]
    assert [(each.trigger_id, each.offset, each.detail) for each in notes] == [
        ("late", 0, "1"),
        ("late", tasks.index("orders.other"), "2"),
    ]


def test_where_an_edit_lets_a_lane_pass_what_is_left_a_note_says_so(bundle: EngineBundle) -> None:
    worker = history(bundle, 30)
    bundle.define(LATE, start=EARLIEST)
    bundle.until(lambda: len(bundle.fired()) >= 10, worker)
    bundle.define({**LATE, "when": {"status": "*", "is": ["failed"]}, "args": {}}, start=EARLIEST)
    catch_up(bundle, worker)
    come_to = len(bundle.fired())
    assert come_to < 30
    notes = [each for each in bundle.decisions(noted=True) if each.reason == "catching_up"]
    assert [(each.topic, each.offset, each.detail) for each in notes] == [("events", 0, "1"), ("events", come_to, "2")]


def test_a_new_owner_does_not_go_on_with_older_definitions_than_the_one_before(bundle: EngineBundle) -> None:
    worker = history(bundle, 30)
    bundle.define(LATE, start=EARLIEST)
    bundle.until(lambda: len(bundle.fired()) >= 10, worker)
    other = bundle.start("1")  # has read the definitions there are
    bundle.define({**LATE, "task": "orders.other"}, start=EARLIEST)
    worker.close()
    come_to = len(bundle.fired())
    catch_up(bundle, other)
    assert [each.task for each in bundle.invocations()[come_to:]] == (30 - come_to) * ["orders.other"]


def test_the_lane_of_a_deleted_trigger_rests(bundle: EngineBundle) -> None:
    worker = history(bundle, 30)
    bundle.define(LATE, start=EARLIEST)
    bundle.until(lambda: len(bundle.fired()) >= 10, worker)
    bundle.delete("late")
    some_time(bundle, worker)
    rested = len(bundle.fired())
    assert rested < 30
    bundle.define(LATE, start=EARLIEST)
    catch_up(bundle, worker)
    assert bundle.fired() == [f"late event/e{number}" for number in range(30)]


def test_what_cannot_be_decoded_is_a_dead_letter_once(bundle: EngineBundle) -> None:
    bundle.write(bundle.topics.events, b"junk")
    worker = history(bundle, 2)
    bundle.define(LATE, start=EARLIEST)
    catch_up(bundle, worker)
    assert [each.offset for each in bundle.dead_letters()] == [0]
    assert (worker.counters.messages, worker.counters.fired) == (3, 2)


def test_what_cannot_be_decoded_behind_its_routing_part_is_a_dead_letter_of_each_trigger_that_comes_to_it(
    bundle: EngineBundle,
) -> None:
    bundle.write(bundle.topics.events, encode(paid("cut"))[:-1])
    worker = history(bundle, 3)
    bundle.clock.advance(1000)
    since_ms = bundle.clock.now_ms()
    bundle.send(paid("young"))
    bundle.work_off(worker)
    bundle.define({**LATE, "id": "after"}, start=Start(since_ms, 0))
    bundle.define({**LATE, "id": "other", "when": {"event": "sent"}}, start=EARLIEST)
    bundle.define(LATE, start=EARLIEST)
    catch_up(bundle, worker)
    some_time(bundle, worker)
    assert [(each.trigger_id, each.stage, each.offset) for each in bundle.dead_letters()] == [("late", "decode", 0)]


def test_a_failure_of_the_trigger_is_a_decision_and_a_dead_letter_of_it(bundle: EngineBundle) -> None:
    worker = history(bundle, 1)
    bundle.define({**LATE, "args": {"coupon": "${event.payload.coupon}"}}, start=EARLIEST)
    catch_up(bundle, worker)
    assert [(each.reason, each.trigger_id) for each in bundle.decisions()] == [("arguments_failed", "late")]
    assert [each.trigger_id for each in bundle.dead_letters()] == ["late"]


def test_a_repeat_is_known_whether_lane_or_live_has_taken_the_first(bundle: EngineBundle) -> None:
    worker = history(bundle, 2, paid("e0"))
    bundle.define(LATE, start=EARLIEST)
    catch_up(bundle, worker)
    bundle.send(paid("e1"))
    bundle.work_off(worker)
    assert bundle.fired() == ["late event/e0", "late event/e1"]
    assert [(each.reason, each.offset) for each in bundle.decisions()] == [("duplicate", 2), ("duplicate", 3)]


def test_every_input_partition_has_a_lane_and_the_topics_nobody_asks_for_join_at_once() -> None:
    bundle = EngineBundle(partitions=3)
    worker = bundle.ready()
    for number in range(9):
        bundle.send(paid(f"e{number}"), key=b"k%d" % number)
    bundle.send(TaskStatus("orders.ship", "failed", "s1", "i1", 7))
    bundle.work_off(worker)
    bundle.define(LATE, start=EARLIEST)
    catch_up(bundle, worker)
    assert sorted(bundle.fired()) == [f"late event/e{number}" for number in range(9)]
    known = bundle.lanes("late")
    assert len(known) == 9
    assert all(lane.next_offset == bundle.committed().get(place, 0) for place, lane in known.items())


def test_messages_that_are_deleted_before_the_lane_has_come_to_them_are_passed_over(
    bundle: EngineBundle, caplog: pytest.LogCaptureFixture
) -> None:
    worker = history(bundle, 30)
    bundle.define(LATE, start=EARLIEST)
    bundle.until(lambda: len(bundle.fired()) >= 4, worker)
    bundle.cluster.partition(EVENTS_0).trim(20)
    catch_up(bundle, worker)
    fired = bundle.fired()
    assert fired[-10:] == [f"late event/e{number}" for number in range(20, 30)]
    assert len(fired) < 20
    [line] = [each for each in caplog.records if each.message == "records deleted unread"]
    told = line.values  # type: ignore[attr-defined]
    assert (told["topic"], told["offset"], told["next_offset"]) == ("events", len(fired) - 10, 20)


class UnansweredLog(MemoryLog):
    """A cluster that gives no answer the first time that it is asked a ``question`` about a topic."""

    def __init__(self, bundle: EngineBundle, question: str, topic: str) -> None:
        super().__init__(bundle.cluster)
        self._question = question, topic
        self.was_asked = False

    def start_offsets(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        return super().start_offsets(self._answered("start", partitions))

    def end_offsets(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        return super().end_offsets(self._answered("end", partitions))

    def offsets_at(self, partitions: Iterable[TopicPartition], time_ms: int) -> Mapping[TopicPartition, int]:
        return super().offsets_at(self._answered("at", partitions), time_ms)

    def _answered(self, question: str, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        asked = list(partitions)
        if self._question in {(question, each.topic) for each in asked} and not self.was_asked:
            self.was_asked = True
            raise Unavailable("no answer")
        return asked


@pytest.mark.parametrize(("question", "topic"), [("end", "progress"), ("start", "progress"), ("at", "events")])
def test_a_question_that_goes_unanswered_loses_no_partition(question: str, topic: str) -> None:
    bundle = EngineBundle()
    bundle.send(paid("e1"))
    bundle.define({**SHIP, "id": "note"}, start=Start(0, 0))
    predecessor = bundle.ready()
    bundle.until(lambda: bundle.fired() != [], predecessor)
    predecessor.close()
    bundle.define(SHIP, start=Start(0, 0))
    log = UnansweredLog(bundle, question, topic)
    worker = bundle.start(log=log)

    def go_on() -> bool:
        with suppress(Unavailable):
            worker.run_once(0.2)
        return worker.counters.restores == 4 and len(bundle.fired()) == 2

    bundle.until(go_on)
    bundle.send(paid("e2"))
    bundle.work_off(worker)

    assert log.was_asked
    assert bundle.fired() == ["note event/e1", "ship event/e1", "note event/e2", "ship event/e2"]


def test_without_an_answer_where_a_new_lane_begins_none_is_open_of_its_partition(bundle: EngineBundle) -> None:
    worker = history(bundle, 30)
    bundle.define(LATE, start=EARLIEST)
    bundle.until(lambda: len(bundle.fired()) >= 10, worker)
    worker.close()
    bundle.define({**LATE, "id": "later"}, start=EARLIEST)
    log = UnansweredLog(bundle, "at", "events")
    other = bundle.start(log=log)

    def go_on() -> bool:
        with suppress(Unavailable):
            other.run_once(0.2)
        return log.was_asked

    bundle.until(go_on)
    assert other._local is not None
    assert not other._local.lanes.has_any
    catch_up(bundle, other, trigger_id="later")
    assert sorted(bundle.fired()) == sorted(f"{each} event/e{n}" for each in ("late", "later") for n in range(30))


# Triggers with memory


def keyed(bundle: EngineBundle, trigger: dict[str, Any], *messages: Message) -> Worker:
    """A worker that has caught up with a keyed trigger over ``messages``, an hour after these."""
    worker = bundle.ready()
    bundle.send(*messages)
    bundle.work_off(worker)
    bundle.clock.advance(3_600_000)
    bundle.define(trigger, start=EARLIEST)
    catch_up(bundle, worker, trigger_id=trigger["id"])
    some_time(bundle, worker)
    return worker


def values(bundle: EngineBundle, topic: str) -> list[bytes | None]:
    return [each.value() for each in bundle.cluster.records(topic)]


def causes(bundle: EngineBundle) -> list[tuple[str, ...]]:
    return [each.causes for each in bundle.invocations()]


IN_TIME_AND_LATE = (
    event("paid", "p1", START_MS),
    event("paid", "p2", START_MS, "o2"),
    event("sent", "s2", START_MS + 9000, "o2"),
    event("sent", "s1", START_MS + 11_000),
)
"""One order is sent within ten seconds, and one is not."""


def test_what_belongs_together_in_the_past_is_found(bundle: EngineBundle) -> None:
    keyed(bundle, BOTH, *IN_TIME_AND_LATE)
    assert causes(bundle) == [("event/p2", "event/s2")]
    assert sorted(each.reason for each in bundle.decisions()) == ["partial_expired", "partial_expired"]


def test_what_did_not_come_in_the_past_is_missed_and_what_did_is_not(bundle: EngineBundle) -> None:
    keyed(bundle, ABSENT, *IN_TIME_AND_LATE)
    assert causes(bundle) == [("event/p1",)]


def test_nothing_is_missed_while_what_would_tell_is_still_to_be_read() -> None:
    bundle = EngineBundle(partitions=2, batch_records_max=2)
    worker = bundle.ready()
    now = START_MS
    for number in range(20):
        bundle.send(event("paid", f"p{number}", now + number, f"o{number}"), key=b"d")
    for number in range(20):
        bundle.send(event("sent", f"s{number}", now + 5000 + number, f"o{number}"), key=b"a")
    ends = bundle.log().end_offsets(bundle.inputs())
    assert sum(end > 0 for end in ends.values()) == 2, "the two kinds are in two partitions"
    bundle.work_off(worker)
    bundle.clock.advance(3_600_000)
    bundle.define(ABSENT, start=EARLIEST)
    catch_up(bundle, worker, trigger_id="absent")
    some_time(bundle, worker)
    assert causes(bundle) == []


def test_what_is_due_by_the_time_of_all_others_does_not_keep_the_log_busy_meanwhile(bundle: EngineBundle) -> None:
    worker = bundle.ready()
    bundle.send(*[event("paid", f"p{number}", START_MS, f"o{number}") for number in range(100)])
    bundle.work_off(worker)
    bundle.clock.advance(3_600_000)
    since_ms = bundle.clock.now_ms()
    bundle.define(ABSENT, start=EARLIEST)
    catch_up(bundle, worker, trigger_id="absent")
    rounds = (bundle.clock.now_ms() - since_ms) // ROUND_MS
    ticks = [each for each in map(decode, values(bundle, bundle.topics.trigger_facts)) if isinstance(each, Tick)]
    assert rounds > 40
    assert len(ticks) < rounds // 4


def test_a_hot_key_is_forgotten_as_its_history_is_read(bundle: EngineBundle) -> None:
    """Else all of it would be kept until the end, and most would be lost for the bound of a key."""
    worker = bundle.ready()
    for number in range(300):
        bundle.clock.advance(4000)
        bundle.send(event("paid", f"p{number}", bundle.clock.now_ms()))
        bundle.work_off(worker)
    every = {"all": [{"event": "paid", "select": "each"}, {"event": "sent"}], "within": "10s"}
    bundle.define({**BOTH, "when": every}, start=EARLIEST)
    bundle.until(lambda: len(bundle.decisions()) > 60, worker)
    assert {each.reason for each in bundle.decisions()} == {"partial_expired"}
    assert not bundle.lanes("both")[EVENTS_0].joined


def test_a_raised_epoch_forgets_what_the_one_before_has_kept(bundle: EngineBundle) -> None:
    now = START_MS
    worker = keyed(bundle, BOTH, event("paid", "p1", now + 3_600_000))
    bundle.define({**BOTH, "epoch": 1}, start=Start(0, 1))
    catch_up(bundle, worker, trigger_id="both", epoch=1)
    bundle.send(event("sent", "s1", now + 3_601_000))
    some_time(bundle, worker)
    assert causes(bundle) == [("event/p1", "event/s1")]
    assert bundle.decisions() == []


def test_a_trigger_that_has_caught_up_has_the_time_of_all_others(bundle: EngineBundle) -> None:
    worker = keyed(bundle, ABSENT, event("paid", "p1", START_MS))
    bundle.send(event("paid", "p9", bundle.clock.now_ms(), "o9"))
    bundle.work_off(worker)
    bundle.clock.advance(10_500)
    some_time(bundle, worker)
    assert causes(bundle) == [("event/p1",), ("event/p9",)]
