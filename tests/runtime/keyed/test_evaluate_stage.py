"""The evaluate stage: what each kind of record does, and that nothing but the records decides."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_triggers.core.invocation import Decision, Invocation, TriggerRun
from stream_triggers.core.message import TEXT_BYTES_MAX, Participant
from stream_triggers.core.record import Activation, Behind, DeadLetter, Fact, Start, Tick
from stream_triggers.errors import Corrupt
from stream_triggers.runtime.codec import decode
from stream_triggers.runtime.keyed import evaluate_stage
from stream_triggers.runtime.keyed.facts import home_of
from stream_triggers.runtime.keyed.replay import replay
from stream_triggers.runtime.keyed.states import AT_BYTES, STATES
from stream_triggers.runtime.log import Outgoing
from stream_triggers.runtime.outputs import Outputs
from stream_triggers.runtime.store import Changes
from tests.runtime.keyed.material import (
    FACTS,
    PAIR,
    START_MS,
    Bench,
    active,
    compiled,
    contents,
    fact,
    form,
    form_version,
    plain,
    tick,
)

HEADER_BYTES = 17
"""Format and both timers of a written state."""


def test_two_facts_of_a_key_fire_once() -> None:
    bench = Bench()
    bench.process(active(), fact("a", "e1"), fact("a", "e2", key="other"))
    bench.commit()
    bench.process(fact("b", "s1", kind="status"))
    assert bench.fired() == ["both k: event/e1 status/s1"]


def test_a_firing_is_written_with_its_run_record() -> None:
    bench = Bench()
    outputs = bench.process(active(), fact("a", "e1"), fact("b", "s1", kind="status", time_ms=200))
    [invocation], [run] = outputs.invocations, outputs.runs
    sent, recorded = decode(invocation["value"], (Invocation,)), decode(run["value"], (TriggerRun,))
    assert invocation["key"] == b"k"
    assert run == {"value": run["value"], "key": sent.run_id.encode(), "partition": 0}
    assert sent.arguments == {"ids": ["e1", "s1"]}
    assert (sent.run_id, sent.time_ms, sent.root, sent.depth) == (recorded.run_id, 200, "e1", 1)
    assert recorded.participants == (
        Participant("a", "event", "e1", "events", 0, 0, 100),
        Participant("b", "status", "s1", "events", 0, 0, 200),
    )


def test_a_state_waits_for_the_watermark_and_for_a_tick() -> None:
    bench = Bench()
    bench.process(active(), fact("a", "e1", time_ms=100))
    bench.commit()
    bench.process(tick(wall_ms=START_MS, watermark_ms=1099))
    assert bench.fired() == []
    bench.process(tick(watermark_ms=1100))
    assert bench.fired() == ["alone k: event/e1"]


def test_a_late_tick_moves_no_clock_back() -> None:
    bench = Bench()
    bench.process(active(), tick(wall_ms=START_MS + 500, watermark_ms=900), tick(wall_ms=5, watermark_ms=5))
    assert bench.states.partition(0).clocks == (START_MS + 500, 900)


def test_a_repeated_tick_fires_nothing_again() -> None:
    bench = Bench()
    bench.process(active(), fact("a", "e1"), tick(watermark_ms=1100), tick(watermark_ms=1100))
    bench.process(tick(watermark_ms=1100))
    assert bench.fired() == ["alone k: event/e1"]


def test_the_wall_clock_of_a_fact_is_the_time_of_its_record() -> None:
    bench = Bench()
    bench.clock.advance(700)
    bench.process(active(), fact("a", "e1"))
    assert bench.states.partition(0).clocks == (START_MS + 700, 0)


def test_what_is_due_is_looked_at_in_order_of_instant_and_key_and_not_all_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluate_stage, "TIMERS_PER_TICK", 2)
    bench = Bench()
    for number, (key, time_ms) in enumerate([("x", 300), ("b", 100), ("c", 200), ("a", 200)]):
        bench.process(*([active()] if number == 0 else []), fact("a", f"e-{key}", key=key, time_ms=time_ms))
    bench.commit()
    bench.process(tick(watermark_ms=5000))
    assert bench.fired() == ["alone b: event/e-b", "alone a: event/e-a"]
    bench.process(tick(watermark_ms=5000))
    assert bench.fired()[2:] == ["alone c: event/e-c", "alone x: event/e-x"]


# Decisions


@pytest.mark.parametrize(
    "records",
    [
        [fact("a", "e1", "o1")],
        [active(form("broken")), fact("a", "e1", "o1")],
        [active(start=Start(0, 1)), msgspec.structs.replace(fact("a", "e1", "o1"), trigger_version="older")],
        [active(), fact("none of its leaves", "e1", "o1")],
        [active(), fact("a", "e1", "o1"), fact("b", "e2", "o1")],
        [active(form("raising", at="fact", error="ValueError")), fact("a", "e1", "o1")],
        [active(form("raising", at="time", error="ValueError")), fact("a", "e1", "o1"), tick(watermark_ms=5000)],
    ],
    ids=["deleted", "unusable", "started again", "refused", "too large", "failed", "failed as time passes"],
)
def test_a_decision_names_the_key_of_the_state_that_it_is_about(
    monkeypatch: pytest.MonkeyPatch, records: list[Fact | Activation | Tick]
) -> None:
    monkeypatch.setattr(evaluate_stage, "RUN_BYTES_MAX", 10)
    bench = Bench()
    bench.process(*records)
    assert [each.key for each in bench.decisions()] == ["o1"]


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("", None),
        ("o\0n", "o\0n"),
        ("ö" * (TEXT_BYTES_MAX // 2), "ö" * (TEXT_BYTES_MAX // 2)),
        ("ö" * (TEXT_BYTES_MAX // 2) + "x", None),
    ],
    ids=["none", "with the separator", "longest", "too long"],
)
def test_a_decision_names_no_key_that_is_empty_or_too_long(key: str, told: str | None) -> None:
    bench = Bench()
    bench.process(fact("a", "e1", key))
    assert [each.key for each in bench.decisions()] == [told]


# Definitions


def test_a_fact_of_a_trigger_that_is_not_active_is_a_decision() -> None:
    bench = Bench()
    outputs = bench.process(fact("a", "e1"))
    [decision] = [decode(each["value"], (Decision,)) for each in outputs.runs]
    assert (decision.reason, decision.topic, decision.partition, decision.offset, decision.id) == (
        "trigger_deleted", "events", 0, 0, "e1",
    )  # fmt: skip


def test_a_repeated_or_older_activation_changes_nothing() -> None:
    bench = Bench()
    bench.process(active(form(within=50), offset=3), active(PAIR, offset=2), active(PAIR, offset=3))
    assert bench.states.partition(0).active["t"].form == form(within=50)


def test_a_newer_definition_is_in_force_from_its_position_on() -> None:
    bench = Bench()
    bench.process(active(), fact("a", "e1"), active(form(leaves=["a"]), offset=1), fact("b", "e2"), fact("a", "e3"))
    assert bench.decided() == ["filter_failed t e2"]
    assert bench.fired() == ["both k: event/e1 event/e3"]


def test_a_definition_that_cannot_be_used_leaves_its_states_alone() -> None:
    bench = Bench()
    bench.process(active(), fact("a", "e1"))
    bench.process(active(form("broken"), offset=1), fact("b", "e2"), tick(watermark_ms=9000))
    assert bench.decided() == ["trigger_unusable t e2"]
    bench.process(active(PAIR, offset=2), fact("b", "e3"))
    assert bench.fired() == ["both k: event/e1 event/e3"]


@pytest.mark.parametrize("committed", [True, False])
def test_the_states_of_a_deleted_trigger_are_void_at_once(committed: bool) -> None:
    bench = Bench()
    bench.process(active(), fact("a", "e1"))
    if committed:
        bench.commit()
    bench.process(active(b"", offset=1), fact("b", "e2"), active(PAIR, offset=2), fact("b", "e3"))
    assert bench.fired() == []
    assert bench.decided() == ["trigger_deleted t e2"]


def test_the_states_of_a_deleted_trigger_are_deleted_a_few_at_a_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate_stage, "SWEPT_PER_TICK", 2)
    bench = Bench()
    bench.process(active(), *(fact("a", f"e{number}", key=f"k{number}") for number in range(5)))
    bench.process(active(PAIR, trigger_id="u"), fact("a", "e9", trigger_id="u"))
    bench.commit()
    bench.process(active(b"", offset=1))
    left = []
    while bench.states.partition(0).unswept:
        bench.process(tick())
        bench.commit()
        left.append(len(contents(bench.store)["states"]))
    assert left == [4, 2, 1]
    assert len(contents(bench.store)["timers"]) == 1
    assert bench.fired() == []


def test_what_the_open_transaction_has_changed_of_a_deleted_trigger_is_not_left_behind() -> None:
    bench = Bench()
    bench.process(active(), fact("a", "e1"), active(b"", offset=1), tick())
    bench.commit()
    assert contents(bench.store)["states"] == {}


# Schedules


def test_a_schedule_lives_in_one_partition() -> None:
    bench = Bench(partitions=4)
    for partition in range(4):
        bench.process(active(form("every", every=1000), wall_ms=START_MS + 1), partition=partition)
    bench.commit()
    home = home_of("t", 4)
    assert [key[:4] for key in contents(bench.store)["states"]] == [home.to_bytes(4, "big")]
    bench.process(tick(wall_ms=START_MS + 1000), partition=home)
    assert bench.fired() == ["every None: schedule/2023-11-14T22:13:21Z"]


def test_a_schedule_does_not_fire_when_it_is_first_looked_at() -> None:
    bench = Bench()
    bench.process(active(form("every", every=1000), wall_ms=START_MS), tick(wall_ms=START_MS))
    assert bench.fired() == []


def test_a_schedule_that_is_repeated_starts_nothing_anew() -> None:
    bench = Bench()
    bench.process(active(form("every", every=1000), wall_ms=START_MS))
    bench.process(active(form("every", every=1000), wall_ms=START_MS + 5000), tick(wall_ms=START_MS + 1000))
    assert bench.fired() == ["every None: schedule/2023-11-14T22:13:21Z"]


# What is no fact


def test_a_record_that_is_none_of_ours_is_a_dead_letter() -> None:
    bench = Bench()
    bench.cluster.write(FACTS, [Outgoing(key=b"x", value=b"garbage", partition=0)])
    outputs = bench.process(active(), fact("a", "e1"), fact("b", "e2"))
    [letter] = [decode(each["value"], (DeadLetter,)) for each in outputs.dead_letters]
    assert (letter.topic, letter.offset, letter.value, letter.stage) == (FACTS, 0, b"garbage", "decode")
    assert bench.fired() == ["both k: event/e1 event/e2"]


@pytest.mark.parametrize("committed", [True, False])
def test_a_state_that_outgrows_the_changelog_is_dropped_with_a_decision(
    monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    monkeypatch.setattr(evaluate_stage, "STATE_BYTES_MAX", 500)
    monkeypatch.setattr(evaluate_stage, "SIZE_CHECKED_BYTES", 125)
    bench = Bench()
    bench.process(active())
    for number in range(30):
        bench.process(fact("a", f"e{number}"))
        if committed:
            bench.commit()
        if bench.decided():
            break
    assert bench.decided() == ["hot_key t "]
    assert bench.decisions()[0].key == "k"
    assert 5 < number < 29
    bench.process(fact("b", "x"), fact("a", "y"))
    assert bench.fired() == ["both k: event/x event/y"]


# Replay

_values = st.one_of(
    st.builds(fact, st.sampled_from("ab"), st.sampled_from(["e1", "e2", "e3"]), st.sampled_from("xyz"),
              st.sampled_from("tu"), st.integers(0, 3000)),
    st.builds(active, st.sampled_from([PAIR, form(within=5), form("broken"), form("every", every=700), b""]),
              st.integers(0, 9), st.sampled_from("tuv"), st.integers(START_MS, START_MS + 5000)),
    st.builds(tick, st.integers(START_MS, START_MS + 9000), st.integers(0, 5000)),
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(_values, st.integers(0, 3)), max_size=40))
def test_however_it_is_cut_and_whatever_is_forgotten_the_same_comes_out(steps: list[tuple[object, int]]) -> None:
    bench = Bench()
    for value, what in steps:
        if value.__class__.__name__ == "Fact" and compiled_kind(bench, value.trigger_id) == "every":  # type: ignore[attr-defined]
            continue
        bench.process(value)  # type: ignore[arg-type]
        if what > 0:
            bench.commit()
        if what > 1:
            bench.states.close(0)
    worked = [record for outputs in bench.outputs for record in (outputs.invocations + outputs.runs)]
    [again] = replay([bench.cluster.records(FACTS)], compiled, partitions=1)
    assert sorted(map(repr, again.invocations + again.runs)) == sorted(map(repr, worked))
    assert plain(again) == plain(_joined(bench))


def compiled_kind(bench: Bench, trigger_id: str) -> str:
    found = bench.states.partition(0).active.get(trigger_id)
    return "" if found is None or not found.form else ("every" if b"every" in found.form else "")


def _joined(bench: Bench) -> Outputs:
    joined = Outputs()
    for each in bench.outputs:
        joined.invocations += each.invocations
        joined.runs += each.runs
        joined.dead_letters += each.dead_letters
    return joined


# One trigger's trouble


def letters(outputs: Outputs) -> list[str]:
    found = [decode(each["value"], (DeadLetter,)) for each in outputs.dead_letters]
    return [f"{each.stage} {each.trigger_id} {each.topic}@{each.offset}: {each.error}" for each in found]


@pytest.mark.parametrize("error", ["ValueError", "AssertionError", "RecursionError", "MemoryError"])
def test_a_step_that_fails_is_a_decision_and_a_dead_letter_and_the_others_go_on(error: str) -> None:
    bench = Bench()
    broken = form("raising", at="fact", error=error)
    bench.process(active(broken, trigger_id="b"), active(trigger_id="t"))
    facts = [fact(leaf, f"e-{leaf}", trigger_id=name) for leaf in "ab" for name in "bt"]
    outputs = bench.process(*facts)
    assert bench.fired() == ["both k: event/e-a event/e-b"]
    assert bench.decided() == ["step_failed b e-a", "step_failed b e-b"]
    assert letters(outputs) == [f"step b {FACTS}@{offset}: {error}: out of order" for offset in (2, 4)]
    kept = decode(outputs.dead_letters[0]["value"], (DeadLetter,))
    assert decode(kept.value) == facts[0]
    assert bench.counters.dead_letters == {"step": 2}


def test_what_is_remembered_stays_as_it_was_when_a_step_fails() -> None:
    bench = Bench()
    bench.process(active(), fact("a", "e1"))
    bench.commit()
    bench.process(active(form("raising", at="fact", error="ValueError"), offset=1), fact("b", "e2"))
    bench.commit()
    bench.process(active(form(within=999), offset=2), fact("b", "e3"))
    assert bench.decided() == ["step_failed t e2"]
    assert bench.fired() == ["both k: event/e1 event/e3"]


def test_a_step_that_fails_as_time_passes_is_a_decision_once_and_the_others_are_looked_at() -> None:
    bench = Bench()
    bench.process(active(form("raising", at="time", error="ValueError"), trigger_id="b"), active(trigger_id="t"))
    bench.process(fact("a", "e1", trigger_id="b"), fact("a", "e2", trigger_id="t"))
    bench.commit()
    outputs = bench.process(tick(watermark_ms=2000))
    bench.commit()
    bench.process(tick(watermark_ms=3000))
    assert bench.fired() == ["alone k: event/e2"]
    assert bench.decided() == ["step_failed b "]
    assert outputs.dead_letters == []
    assert contents(bench.store)["timers"] == {}


def damage(bench: Bench, value: bytes) -> None:
    """Put ``value`` in the place of what the one state's body is, header and position being right."""
    [(key, stored)] = bench.store.scan(STATES, b"", b"\xff" * 8)
    written = stored[:HEADER_BYTES] + value + stored[-AT_BYTES:]
    bench.store.apply(Changes(puts=[(STATES, key, written)]))
    bench.states.close(0)


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x95\x01"], ids=["empty", "garbage", "short"])
def test_a_state_that_cannot_be_read_is_dropped_with_a_decision_and_the_key_begins_anew(body: bytes) -> None:
    bench = Bench()
    bench.process(active(), fact("a", "e1"))
    bench.commit()
    damage(bench, body)
    outputs = bench.process(fact("b", "e2"), fact("a", "e3"), fact("a", "e4", key="other"), fact("b", "e5"))
    bench.commit()
    assert bench.decided() == ["step_failed t e2"]
    assert [each[: each.index(": ") + 2] for each in letters(outputs)] == [f"step t {FACTS}@2: "]
    assert bench.fired() == ["both k: event/e3 event/e5"]


def test_a_state_that_cannot_be_read_when_it_is_due_is_dropped_with_a_decision() -> None:
    bench = Bench()
    bench.process(active(), fact("a", "e1"))
    bench.commit()
    damage(bench, b"")
    bench.process(tick(watermark_ms=5000))
    bench.commit()
    assert bench.decided() == ["step_failed t "]
    assert (contents(bench.store)["states"], contents(bench.store)["timers"]) == ({}, {})


def test_a_state_of_a_newer_release_stops_the_partition() -> None:
    bench = Bench()
    bench.process(active(), fact("a", "e1"))
    bench.commit()
    [(key, stored)] = bench.store.scan(STATES, b"", b"\xff" * 8)
    bench.store.apply(Changes(puts=[(STATES, key, b"\xff" + stored[1:])]))
    bench.states.close(0)
    with pytest.raises(Corrupt, match="format 255"):
        bench.process(fact("b", "e2"))


# Triggers that catch up

FIRST, AGAIN = Start(0, 0), Start(0, 1)


def behind(watermark_ms: int | None, epoch: int = 0) -> Behind:
    return Behind("t", epoch, watermark_ms)


def test_the_watermark_of_all_others_concludes_nothing_for_a_trigger_that_is_behind() -> None:
    bench = Bench()
    bench.process(active(start=FIRST), fact("a", "e1"), tick(9000, 9000), tick(9999, 9999, behind(1099)))
    assert bench.fired() == []
    bench.process(fact("b", "s1", kind="status"))
    assert bench.fired() == ["both k: event/e1 status/s1"]


def test_when_it_has_caught_up_all_that_it_keeps_is_looked_at_a_few_states_with_each_tick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluate_stage, "SWEPT_PER_TICK", 2)
    bench = Bench()
    bench.process(active(start=FIRST), *[fact("a", f"e{n}", key=f"k{n}") for n in range(3)], tick(9000, 9000))
    bench.commit()
    bench.process(tick(9001, 9000, behind(None)))
    assert bench.fired() == ["alone k0: event/e0", "alone k1: event/e1"]
    bench.process(tick(9002, 9000))
    assert bench.fired() == ["alone k0: event/e0", "alone k1: event/e1", "alone k2: event/e2"]


def test_then_it_has_the_watermark_of_all_others_for_good() -> None:
    bench = Bench()
    bench.process(active(start=FIRST), tick(1, 0, behind(None)), tick(2, 0, behind(50)), fact("a", "e1"))
    bench.process(tick(9000, 9000))
    assert bench.fired() == ["alone k: event/e1"]


def test_what_is_told_of_another_epoch_or_of_a_trigger_that_is_not_behind_changes_nothing() -> None:
    bench = Bench()
    bench.process(active(start=AGAIN), fact("a", "e1"), tick(9000, 9000, behind(None, epoch=0)))
    bench.process(active(trigger_id="other"), tick(9001, 9000, Behind("other", 0, 1), Behind("unknown", 0, None)))
    assert bench.fired() == []


def matched(version: bytes, leaf: str, id_: str) -> Fact:
    """A fact that was matched with a version of the trigger."""
    return msgspec.structs.replace(fact(leaf, id_), trigger_version=form_version(version))


def test_a_trigger_that_starts_again_forgets_what_it_has_kept_and_takes_nothing_more_that_was_matched_before() -> None:
    before, after = form(), form(more=1)
    bench = Bench()
    bench.process(active(before, 1, start=FIRST), tick(1, 1, behind(None)), matched(before, "a", "e1"))
    bench.process(active(after, 2, start=AGAIN))
    outputs = bench.process(matched(before, "a", "e2"), matched(after, "b", "e3"))
    assert bench.fired() == []
    [decision] = [decode(each["value"], (Decision,)) for each in outputs.runs]
    assert (decision.reason, decision.id, decision.detail) == ("reset", "e2", evaluate_stage.ENDED)


@pytest.mark.parametrize("before", [[], [active(form(more=1), 2, start=FIRST)]])
def test_a_router_that_knows_no_better_has_nothing_counted_twice(before: list[Activation]) -> None:
    """It writes the version that it knows of into a partition where the trigger has started again, or was not yet."""
    known, now = form(), form(more=9)
    bench = Bench()
    bench.process(*before, active(now, 5, start=AGAIN))
    bench.process(active(known, 1, start=FIRST), matched(known, "a", "e1"), matched(now, "b", "e2"))
    assert bench.fired() == []
    assert bench.decided() == ["reset t e1"]


def test_of_one_start_facts_of_every_version_count_also_of_one_that_is_known_only_later() -> None:
    first, then, now = form(), form(more=1), form(more=2)
    bench = Bench()
    bench.process(active(first, 1, start=FIRST), matched(first, "a", "e1"), active(now, 3, start=FIRST))
    bench.process(active(then, 2, start=FIRST), matched(then, "b", "e2"))
    bench.process(matched(first, "a", "e3"), matched(now, "b", "e4"))
    assert bench.fired() == ["both k: event/e1 event/e2", "both k: event/e3 event/e4"]


def test_without_a_start_facts_of_every_version_count() -> None:
    """Also of one that was in force before the trigger started, and is again."""
    bench = Bench()
    bench.process(active(form(), 1), active(form(more=1), 2, start=FIRST), active(form(), 3))
    bench.process(matched(form(), "a", "e1"), matched(form(more=1), "b", "e2"))
    assert bench.fired() == ["both k: event/e1 event/e2"]


def test_another_version_of_the_same_epoch_goes_on_where_the_one_before_was() -> None:
    bench = Bench()
    bench.process(active(form(), 1, start=FIRST), fact("a", "e1"), tick(9000, 9000, behind(900)))
    bench.process(active(form(more=1), 2, start=FIRST), tick(9000, 9000))
    assert bench.fired() == []
    bench.process(tick(9001, 9000, behind(None)))
    assert bench.fired() == ["alone k: event/e1"]


def test_a_trigger_that_has_no_start_any_more_is_behind_no_more() -> None:
    bench = Bench()
    bench.process(active(form(), 1, start=FIRST), fact("a", "e1"), tick(9000, 9000))
    bench.process(active(form(more=1), 2), tick(9001, 9000))
    assert bench.fired() == ["alone k: event/e1"]
