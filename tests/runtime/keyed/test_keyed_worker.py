"""Workers with keyed triggers: crashes, changes of ownership, backlogs, definitions that change, and replay."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from stream_triggers.core.invocation import Decision, TriggerRun
from stream_triggers.core.message import Event
from stream_triggers.core.record import Activation, Fact, Tick
from stream_triggers.runtime.codec import decode, encode
from stream_triggers.runtime.functions import AllowedFunctions
from stream_triggers.runtime.keyed import evaluate_stage
from stream_triggers.runtime.keyed.compiler import compiler
from stream_triggers.runtime.keyed.replay import replay
from stream_triggers.runtime.log import TopicPartition
from stream_triggers.runtime.memory_log import Crashed, Entry, Fault, MemoryLog
from stream_triggers.runtime.store import MemoryStore
from stream_triggers.runtime.worker import Worker
from stream_triggers.verify import verify
from tests.engine_bundle import START_MS, EngineBundle
from tests.runtime.keyed.material import contents

KEY = "${event.payload.order}"
BOTH = {
    "id": "both", "task": "ship", "key": KEY, "args": {"order": KEY},
    "when": {"all": [{"event": "paid"}, {"event": "packed"}], "within": "1h"},
}  # fmt: skip
MISSING = {
    "id": "missing", "task": "warn", "key": KEY, "args": {"order": KEY},
    "when": {"missing": {"event": "packed"}, "after": {"event": "paid"}, "within": "10s"},
}  # fmt: skip
EVERY = {"id": "every", "task": "report", "when": {"every": "5s"}, "args": {}}
FACTS = "trigger-facts"


def event(code: str, order: str, time_ms: int = START_MS) -> Event:
    return Event(code, f"{code}-{order}", time_ms, None, {"order": order})


def fail_at(point: str, nth: int = 0) -> Callable[[str], None]:
    numbers = count()

    def fault(reached: str) -> None:
        if reached == point and next(numbers) == nth:
            raise Crashed(point)

    return fault


def fired(bundle: EngineBundle) -> list[str]:
    return sorted(f"{each.task} {each.key or each.causes[0]}" for each in bundle.invocations())


def work(bundle: EngineBundle, for_ms: int, *workers: Worker) -> None:
    """Let these workers take turns for so long."""
    for _ in range(for_ms // 20):
        for worker in workers:
            worker.run_once(0.2)
        bundle.clock.advance(20)


def facts_of(bundle: EngineBundle) -> list[Any]:
    return [decode(each.value()) for each in bundle.cluster.records(FACTS)]


def ticks_of(bundle: EngineBundle) -> list[Tick]:
    return [each for each in facts_of(bundle) if isinstance(each, Tick)]


# Facts


def test_what_comes_on_two_partitions_fires_once() -> None:
    bundle = EngineBundle(partitions=3)
    bundle.define(BOTH)
    worker = bundle.ready()
    bundle.send(event("paid", "o1"), event("paid", "o2"), key=b"a")
    bundle.send(event("packed", "o1"), key=b"b")
    work(bundle, 200, worker)
    assert fired(bundle) == ["ship o1"]


def test_a_repeated_message_makes_one_fact_and_a_decision() -> None:
    bundle = EngineBundle()
    bundle.define(BOTH)
    worker = bundle.ready()
    bundle.send(event("paid", "o1"), event("paid", "o1"), event("packed", "o1"), event("packed", "o1"))
    work(bundle, 200, worker)
    assert fired(bundle) == ["ship o1"]
    assert [each.reason for each in bundle.decisions()] == ["duplicate", "duplicate"]
    assert [each.participant.id for each in facts_of(bundle) if isinstance(each, Fact)] == ["paid-o1", "packed-o1"]


def test_a_message_without_a_key_is_a_decision() -> None:
    bundle = EngineBundle()
    bundle.define(BOTH)
    worker = bundle.ready()
    bundle.send(Event("paid", "e1", START_MS, None, {}))
    work(bundle, 100, worker)
    assert [f"{each.reason} {each.id} {each.topic}@{each.offset}" for each in bundle.decisions()] == [
        "no_key e1 events@0"
    ]
    assert facts_of(bundle) == []


def test_an_activation_with_the_definition_stands_before_the_first_fact() -> None:
    bundle = EngineBundle()
    bundle.define({**EVERY, "id": "another"})
    bundle.define(BOTH)
    worker = bundle.ready()
    bundle.send(event("paid", "o1"), event("paid", "o2"))
    work(bundle, 100, worker)
    of_both = [each for each in facts_of(bundle) if getattr(each, "trigger_id", "") == "both"]
    assert [type(each).__name__ for each in of_both] == ["Activation", "Fact", "Fact"]
    assert of_both[0].definition_offset == 1


# Bounds

LISTED = {
    "id": "listed", "task": "ship", "key": KEY, "args": {"each": "${all.x.payload}"},
    "when": {"count": {"event": "paid", "as": "x"}, "at_least": 3, "within": "1h"},
}  # fmt: skip
THOUSANDS = [{"count": {"event": f"e{number}"}, "at_least": 1000} for number in range(2)]
MANY = {"id": "many", "task": "ship", "key": KEY, "args": {}, "when": {"all": THOUSANDS, "within": "1h"}}
LONG_IDS = {
    **LISTED, "when": {**LISTED["when"], "at_least": 20}, "args": dict.fromkeys("abcde", "${all.x.payload.note}"),
}  # fmt: skip


def order(code: str, name: str, **payload: Any) -> Event:
    return Event(code, name, START_MS, None, {"order": "o1", **payload})


def test_a_key_that_no_run_could_repeat_is_a_decision_and_a_dead_letter() -> None:
    bundle = EngineBundle(payload_bytes_max=3 * 1024 * 1024)
    bundle.define(BOTH)
    worker = bundle.ready()
    huge = "o" * 1024 * 1024
    bundle.send(event("paid", huge), event("packed", huge), event("paid", "o1"), event("packed", "o1"))
    work(bundle, 200, worker)
    assert fired(bundle) == ["ship o1"]
    assert [each.reason for each in bundle.decisions()] == ["arguments_failed"] * 2
    assert [each.stage for each in bundle.dead_letters()] == ["arguments"] * 2


def test_lists_that_outgrow_the_arguments_of_a_run_are_a_decision() -> None:
    bundle = EngineBundle(payload_bytes_max=100_000)
    bundle.define(LISTED)
    worker = bundle.ready()
    bundle.send(*(order("paid", f"large-{n}", note="x" * 40_000) for n in range(3)))
    bundle.send(*(order("paid", f"small-{n}") for n in range(3)))
    work(bundle, 200, worker)
    assert [each.causes for each in bundle.invocations()] == [("event/small-0", "event/small-1", "event/small-2")]
    assert [(each.reason, each.id) for each in bundle.decisions()] == [("arguments_failed", "large-2")]


def test_thousands_of_participants_are_one_run_or_a_decision_that_their_state_is_too_large() -> None:
    bundle = EngineBundle()
    bundle.define(MANY)
    worker = bundle.ready()
    bundle.send(*(order(f"e{n % 2}", f"{n}") for n in range(2000)))
    work(bundle, 500, worker)
    assert [len(each.causes) for each in bundle.invocations()] == [2000]
    bundle.send(*(order(f"e{n % 2}", f"{n}{'x' * 1500}") for n in range(2000)))
    work(bundle, 500, worker)
    assert len(bundle.invocations()) == 1
    assert {each.reason for each in bundle.decisions()} == {"hot_key"}


def test_a_run_that_its_topics_do_not_take_is_a_decision() -> None:
    bundle = EngineBundle(payload_bytes_max=3 * 1024 * 1024)
    bundle.define(LONG_IDS)
    worker = bundle.ready()
    bundle.send(*(order("paid", f"{n:02}{'x' * 65_000}", note="x" * 30_000) for n in range(20)))
    bundle.send(*(order("paid", f"small-{n}", note="") for n in range(20)))
    work(bundle, 500, worker)
    assert [len(each.causes) for each in bundle.invocations()] == [20]
    (decision,) = bundle.decisions()
    assert (decision.reason, decision.id[:2]) == ("arguments_failed", "19")
    assert decision.detail.startswith("a run with 20 participants has 43")


@pytest.mark.parametrize("levels", [200, 252, 253, 254, 1000])
def test_a_payload_nested_deeper_than_can_be_written_again_fails_its_trigger_only(levels: int) -> None:
    bundle = EngineBundle()
    bundle.define(
        {
            **BOTH,
            "when": {"all": [{"event": "paid", "as": "a"}, {"event": "packed"}]},
            "args": {"a": "${a.payload.note}"},
        }
    )
    bundle.define({"id": "plain", "task": "note", "when": {"event": "paid"}, "key": KEY, "args": {}})
    worker = bundle.ready()
    shallow = encode(order("paid", "deep", note="x" * (2 * levels - 2)))
    nested = shallow.replace(b'"%s"' % (b"x" * (2 * levels - 2)), b"[" * levels + b"]" * levels)
    bundle.write("events", nested, b"o1")
    bundle.send(event("packed", "o1"), order("paid", "fine", order="o2", note=1), event("packed", "o2"))
    work(bundle, 500, worker)
    deep = ["note o1", "ship o1"] if levels < 253 else ["note o1"]
    assert fired(bundle) == sorted([*deep, "note o2", "ship o2"])
    assert len(bundle.dead_letters()) == (0 if levels < 253 else 1)
    assert verify(bundle.log("observer"), bundle.config, AllowedFunctions()).findings == []


# Crashes


@pytest.mark.parametrize("disk", ["kept", "lost"])
@pytest.mark.parametrize("point", ["processed", "produced", "committed", "applied"])
@pytest.mark.parametrize("nth", [0, 1, 2, 3])
def test_wherever_a_process_dies_everything_fires_once(point: str, nth: int, disk: str) -> None:
    """At the first fact, between two, at the tick, when it is read: whatever is the ``nth`` to come to ``point``."""
    bundle = EngineBundle()
    for trigger in (BOTH, MISSING):
        bundle.define(trigger)
    stores = iter([MemoryStore()] * 2 if disk == "kept" else [MemoryStore(), MemoryStore()])
    log = bundle.log()
    worker = bundle.start(store=next(stores), log=log, fault=fail_at(point, nth))
    crashes = 0
    for now_ms in range(0, 25_000, 20):
        if now_ms in (0, 1000):
            bundle.send(*[event("packed", "o1")] if now_ms else [event("paid", "o1"), event("paid", "o2")])
        try:
            worker.run_once(0.2)
        except Crashed:
            log.crash()
            worker = bundle.start(store=next(stores))
            crashes += 1
        bundle.clock.advance(20)
    assert (fired(bundle), crashes) == (["ship o1", "warn o2"], 1)


@pytest.mark.parametrize("fault", [Fault.ABORTABLE, Fault.RESPONSE_LOST, Fault.REQUEST_LOST], ids=lambda f: f.name)
@pytest.mark.parametrize("nth", range(1, 9))
def test_whatever_becomes_of_a_commit_everything_fires_once(nth: int, fault: Fault) -> None:
    bundle = EngineBundle()
    for trigger in (BOTH, MISSING, EVERY):
        bundle.define(trigger)
    bundle.cluster.faults.plan("commit", fault, nth=nth)
    worker = bundle.ready()
    bundle.send(event("paid", "o1"), event("paid", "o2"))
    work(bundle, 2_000, worker)
    bundle.send(event("packed", "o1", START_MS + 1000))
    work(bundle, 20_000, worker)
    instants = [each for each in fired(bundle) if each.startswith("report")]
    assert len(instants) == len(set(instants)) >= 3
    assert [each for each in fired(bundle) if each not in instants] == ["ship o1", "warn o2"]


def test_a_worker_with_an_empty_disk_knows_what_the_one_before_knew() -> None:
    bundle = EngineBundle()
    for trigger in (BOTH, MISSING, EVERY):
        bundle.define(trigger)
    log, store = bundle.log(), MemoryStore()
    worker = bundle.ready(store=store, log=log)
    bundle.send(event("paid", "o1"), event("paid", "o2"))
    work(bundle, 3_000, worker)
    log.crash()
    another = MemoryStore()
    bundle.ready("0", another)
    assert contents(another) == contents(store)
    assert all(contents(another).values())


# Time


def test_what_has_not_come_is_told_once_its_time_is_over() -> None:
    bundle = EngineBundle()
    bundle.define(MISSING)
    worker = bundle.ready()
    bundle.send(event("paid", "o1"))
    work(bundle, 10_000, worker)
    assert fired(bundle) == []
    work(bundle, 100, worker)
    assert fired(bundle) == ["warn o1"]


def test_what_has_not_come_is_told_in_time_where_another_worker_has_to_make_progress_for_it() -> None:
    bundle = EngineBundle(partitions=2)
    bundle.define(MISSING)
    workers = [bundle.start(slot) for slot in "01"]
    work(bundle, 1000, *workers)
    paid_ms = bundle.clock.now_ms()
    bundle.send(event("paid", "o1", paid_ms))
    work(bundle, 10_000, *workers)
    assert fired(bundle) == []
    work(bundle, 100, *workers)
    assert fired(bundle) == ["warn o1"]


def test_timers_that_are_all_due_at_once_keep_no_fact_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate_stage, "TIMERS_PER_TICK", 50)
    bundle = EngineBundle()
    for trigger in (BOTH, MISSING):
        bundle.define(trigger)
    worker = bundle.ready()
    bundle.send(*(event("paid", f"o{number}") for number in range(2000)))
    work(bundle, 9_900, worker)
    bundle.until(lambda: len(fired(bundle)) > 100, worker)
    bundle.send(event("paid", "late", bundle.clock.now_ms()), event("packed", "late", bundle.clock.now_ms()))
    bundle.until(lambda: "ship late" in fired(bundle), worker)
    assert len(fired(bundle)) < 1000
    work(bundle, 5_000, worker)
    assert len(fired(bundle)) == 2001


def test_a_partition_that_nobody_works_on_holds_back_what_has_not_come() -> None:
    bundle = EngineBundle(partitions=2)
    bundle.define(MISSING)
    workers = [bundle.start(slot, log=bundle_log(bundle, slot)) for slot in ("0", "1")]
    work(bundle, 1000, *workers)
    paused = next(each for each in workers if TopicPartition("events", 1) in each._owned)
    bundle.write("events", encode(event("paid", "o1")), partition=0)
    bundle.write("events", encode(event("packed", "o1", START_MS + 2000)), partition=1)
    others = [each for each in workers if each is not paused]
    for _ in range(30_000 // 20):
        for worker in others:
            worker.run_once(0.2)
        paused._member.heartbeat()  # type: ignore[attr-defined]
        bundle.clock.advance(20)
    assert fired(bundle) == []
    work(bundle, 3_000, *workers)
    assert fired(bundle) == []
    assert [each.reason for each in bundle.decisions()] == ["vetoed"]


def test_a_backlog_holds_back_what_has_not_come() -> None:
    bundle = EngineBundle(partitions=2, batch_records_max=1)
    bundle.define(MISSING)
    bundle.write("events", encode(event("paid", "o1")), partition=0)
    for number in range(40):
        bundle.write("events", encode(event("other", f"x{number}")), partition=1)
    bundle.write("events", encode(event("packed", "o1", START_MS + 2000)), partition=1)
    bundle.clock.advance(60_000)
    work(bundle, 10_000, bundle.ready())
    assert fired(bundle) == []


def test_a_schedule_fires_once_whoever_works() -> None:
    bundle = EngineBundle(partitions=2)
    bundle.define(EVERY)
    logs = {slot: bundle.log(slot) for slot in "012"}
    workers = {slot: bundle.start(slot, log=logs[slot]) for slot in "012"}
    for slot in "012":
        work(bundle, 14_000, *workers.values())
        logs[slot].crash()
        del workers[slot]
        logs[slot] = bundle.log(slot)
        workers[slot] = bundle.start(slot, log=logs[slot])
    work(bundle, 20_000, *workers.values())
    instants = [each.causes[0] for each in bundle.invocations()]
    assert len(instants) == len(set(instants))
    assert len(instants) >= 8


def test_a_schedule_that_is_applied_while_nothing_comes_in_fires() -> None:
    bundle = EngineBundle()
    worker = bundle.ready()
    work(bundle, 1_000, worker)
    bundle.define(EVERY)
    work(bundle, 12_000, worker)
    assert len(fired(bundle)) == 2


def test_a_tick_is_written_only_when_something_is_due() -> None:
    bundle = EngineBundle()
    for trigger in (EVERY, MISSING):
        bundle.define(trigger)
    worker = bundle.ready()
    bundle.send(event("paid", "o1"))
    work(bundle, 20_500, worker)
    assert len(fired(bundle)) == 5
    assert len(ticks_of(bundle)) <= 6


# Ownership


def test_a_transaction_with_nothing_but_progress_is_fenced_by_its_positions() -> None:
    bundle = EngineBundle()
    bundle.define(MISSING)
    worker = bundle.ready()
    work(bundle, 200, worker)
    assert bundle.cluster.records("progress")
    assert bundle.committed().keys() >= {TopicPartition("events", 0), TopicPartition(FACTS, 0)}


def test_a_worker_that_is_no_member_any_more_writes_no_tick() -> None:
    bundle = EngineBundle()
    bundle.define(EVERY)
    away = bundle.ready()
    work(bundle, 1_000, away)
    bundle.clock.advance(10_001)
    another = bundle.start("1")
    work(bundle, 7_000, another)
    before = len(ticks_of(bundle))
    away.run_once(0)
    away.run_once(0)
    assert len(ticks_of(bundle)) == before


def test_without_keyed_triggers_nothing_is_written() -> None:
    bundle = EngineBundle()
    worker = bundle.ready()
    work(bundle, 3_000, worker)
    assert bundle.cluster.records("progress") == facts_of(bundle) == []
    assert bundle.committed() == {}


def test_markers_at_the_end_of_a_partition_are_passed() -> None:
    bundle = EngineBundle()
    bundle.define(BOTH)
    worker = bundle.ready()
    bundle.send(event("paid", "o1"))
    work(bundle, 3_000, worker)
    facts_0 = bundle.cluster.partition(TopicPartition(FACTS, 0))
    assert bundle.committed()[facts_0.name] == facts_0.end
    facts_0.trim(facts_0.end)
    worker.close()
    bundle.ready()


def test_a_full_overlay_of_states_commits_before_its_time() -> None:
    bundle = EngineBundle(commit_interval_ms=9000, overlay_bytes_max=1024 * 1024)
    bundle.define(BOTH)
    worker = bundle.ready()
    bundle.send(*(event("paid", f"o{number}") for number in range(4000)))
    seen: list[int] = []
    while worker.counters.facts < 4000:
        worker.run_once(0)
        assert worker._local is not None
        seen.append(worker._local.keyed.overlay_bytes)
    assert 500_000 < max(seen) < 1_100_000


# Definitions


def test_a_trigger_that_is_deleted_fires_no_more() -> None:
    bundle = EngineBundle()
    for trigger in (MISSING, EVERY):
        bundle.define(trigger)
    store = MemoryStore()
    worker = bundle.ready(store=store)
    bundle.send(event("paid", "o1"))
    work(bundle, 1_000, worker)
    bundle.delete("missing")
    bundle.delete("every")
    work(bundle, 30_000, worker)
    assert fired(bundle) == []
    assert contents(store)["states"] == contents(store)["timers"] == {}


def test_a_new_version_takes_effect_at_a_position() -> None:
    bundle = EngineBundle()
    bundle.define(BOTH)
    worker = bundle.ready()
    bundle.send(event("paid", "o1"))
    work(bundle, 200, worker)
    bundle.define({**BOTH, "task": "ship2"})
    bundle.send(event("packed", "o1"))
    work(bundle, 200, worker)
    assert fired(bundle) == ["ship2 o1"]
    offsets = [each.definition_offset for each in facts_of(bundle) if isinstance(each, Activation)]
    assert sorted(set(offsets)) == [0, 1]


def test_a_plain_trigger_of_the_same_id_takes_the_place_of_a_keyed_one() -> None:
    bundle = EngineBundle()
    bundle.define(BOTH)
    worker = bundle.ready()
    bundle.send(event("paid", "o1"))
    work(bundle, 200, worker)
    bundle.define({"id": "both", "task": "plain", "when": {"event": "packed"}, "key": KEY})
    bundle.send(event("packed", "o1"))
    work(bundle, 2_000, worker)
    assert fired(bundle) == ["plain o1"]


# Replay


def test_a_replay_of_the_facts_makes_the_same_outputs() -> None:
    bundle = EngineBundle(partitions=2)
    for trigger in (BOTH, MISSING, EVERY):
        bundle.define(trigger)
    workers = [bundle.start(slot) for slot in "01"]
    for number in range(12):
        bundle.send(event("paid", f"o{number}", bundle.clock.now_ms()), key=b"%d" % number)
        work(bundle, 500, *workers)
        if number % 2:
            bundle.send(event("packed", f"o{number}", bundle.clock.now_ms()), key=b"x%d" % number)
    bundle.define({**BOTH, "args": {"changed": KEY}})
    work(bundle, 30_000, *workers)
    assert len(bundle.invocations()) >= 18
    assert replayed(bundle) == written(bundle)


def replayed(bundle: EngineBundle) -> tuple[list[bytes | None], list[bytes | None]]:
    """The invocations, and the run records and decisions, that the facts make."""
    partitions = len(bundle.cluster.entries(FACTS))
    batches: list[list[Entry]] = [[], []]
    for record in bundle.cluster.records(FACTS):
        batches[record.partition()].append(record)
    compile_ = compiler(AllowedFunctions(), bundle.config.payload_bytes_max)
    made = list(replay(batches, compile_, partitions=partitions))
    invocations = [each["value"] for outputs in made for each in outputs.invocations]
    runs = [each["value"] for outputs in made for each in outputs.runs]
    return sorted(map(bytes, filter(None, invocations))), sorted(map(bytes, filter(None, runs)))


def written(bundle: EngineBundle) -> tuple[list[bytes | None], list[bytes | None]]:
    invocations = [each.value() for each in bundle.cluster.records("invocations")]
    runs = []
    for each in bundle.cluster.records("trigger-runs"):
        value = decode(each.value(), (TriggerRun, Decision))
        if not isinstance(value, Decision) or value.reason != "definitions_changed":
            runs.append(each.value())
    return sorted(map(bytes, filter(None, invocations))), sorted(map(bytes, filter(None, runs)))


def bundle_log(bundle: EngineBundle, slot: str) -> MemoryLog:
    """The cluster as a process has it whose session is long."""
    return MemoryLog(bundle.cluster, slot, group_id=bundle.config.application, session_timeout_ms=45_000)
