"""What the keyed stage remembers: in the overlay, in the store, in the changelog, and restored from that."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_triggers.core.keyed.state import decode_state
from stream_triggers.errors import Corrupt
from stream_triggers.runtime.keyed import states
from stream_triggers.runtime.keyed.state_log import StateLog, forget, restored
from stream_triggers.runtime.keyed.states import States
from stream_triggers.runtime.log import Outgoing, TopicPartition
from stream_triggers.runtime.memory_log import MemoryLog
from stream_triggers.runtime.store import Changes, MemoryStore
from stream_triggers.runtime.topics import TOMBSTONES_KEPT_MS
from tests.runtime.keyed.material import CHANGELOG, PAIR, Bench, active, contents, fact, form, tick

KEY = b"t\0k"


def keys(records: list[Outgoing]) -> list[tuple[bytes | None, bool]]:
    return [(record["key"], record["value"] is not None) for record in records]


def read_back(bench: Bench, first: int = 0) -> MemoryStore:
    """A store restored from the changelog, in batches of three."""
    store, entries = MemoryStore(), bench.cluster.records(CHANGELOG)[first:]
    for start in range(0, len(entries), 3):
        store.apply(restored(store, entries[start : start + 3]))
    return store


def test_nothing_reaches_the_store_before_it_is_settled() -> None:
    bench = Bench()
    bench.process(active(), fact("a", "e1"))
    bench.states.records()
    assert contents(bench.store) == {"states": {}, "timers": {}, "active": {}, "clocks": {}}


def test_a_transaction_writes_one_record_for_each_thing_that_changed() -> None:
    bench = Bench()
    bench.process(active(), fact("a", "e1"), fact("a", "e2"), fact("a", "e3", key="z"))
    assert keys(bench.commit()) == [(b"st\0k", True), (b"st\0z", True), (b"at", True), (b"c", True)]


def test_a_state_that_came_and_went_in_it_is_not_written() -> None:
    bench = Bench()
    bench.process(active(), fact("a", "e1"), fact("b", "e2"))
    assert keys(bench.commit()) == [(b"at", True), (b"c", True)]


def test_a_state_that_is_deleted_is_written_as_a_deletion() -> None:
    bench = Bench()
    bench.process(active(), fact("a", "e1"))
    bench.commit()
    bench.process(fact("b", "e2"))
    assert keys(bench.commit()) == [(b"st\0k", False)]
    assert contents(bench.store)["states"] == contents(bench.store)["timers"] == {}


def test_a_record_is_the_written_state_and_where_it_was_written() -> None:
    bench = Bench()
    bench.process(active(), fact("a", "e1"))
    [value] = [record["value"] or b"" for record in bench.commit() if record["key"] == b"s" + KEY]
    state, wake = decode_state(value[:-8])
    assert [each.id for each in state.occurrences] == ["e1"]
    assert (wake, value[-8:]) == ((None, 1100), b"\0" * 7 + b"\1")


def test_a_timer_moves_with_its_state() -> None:
    bench = Bench()
    bench.process(active(), fact("a", "e1", time_ms=100))
    bench.commit()
    assert list(contents(bench.store)["timers"]) == [b"\0\0\0\0\1" + (1100).to_bytes(8, "big") + KEY]
    bench.process(active(form(within=50), offset=1), fact("a", "e2", time_ms=200))
    bench.commit()
    assert list(contents(bench.store)["timers"]) == [b"\0\0\0\0\1" + (150).to_bytes(8, "big") + KEY]


def test_what_an_aborted_transaction_had_changed_is_gone() -> None:
    bench = Bench()
    bench.process(active(), fact("a", "e1"))
    bench.commit()
    bench.process(fact("b", "e2"), active(b"", offset=1), tick(watermark_ms=5000))
    bench.states.drop_pending()
    partition = bench.states.partition(0)
    assert (partition.active["t"].form, partition.clocks.watermark_ms) == (PAIR, 0)
    bench.process(fact("b", "e3"))
    assert bench.fired() == ["both k: event/e1 event/e2", "both k: event/e1 event/e3"]


def test_states_are_found_again_by_another_worker_on_the_same_store() -> None:
    bench = Bench()
    bench.process(active(), fact("a", "e1"))
    bench.commit()
    again = Bench(store=bench.store)
    again.process(fact("b", "e2"))
    assert again.fired() == ["both k: event/e1 event/e2"]


def test_the_memory_of_decoded_states_is_bounded() -> None:
    bench = Bench()
    bench.states = bench.stage._states = States(bench.store, cache_bytes_max=20 * states.STATE_BYTES)
    bench.process(active(), *(fact("a", f"e{number}", key=f"k{number}") for number in range(100)))
    bench.commit()
    partition = bench.states.partition(0)
    assert len(partition._cache) < 20
    assert partition._cache_bytes <= 20 * states.STATE_BYTES
    bench.process(fact("b", "x", key="k0"), fact("b", "y", key="k99"))
    assert bench.fired() == ["both k0: event/e0 event/x", "both k99: event/e99 event/y"]


def test_the_overlay_knows_its_size() -> None:
    bench = Bench()
    bench.process(active(), *(fact("a", f"e{number}", key=f"k{number}") for number in range(10)))
    assert 10 * states.STATE_BYTES < bench.states.overlay_bytes < 15 * states.STATE_BYTES
    bench.commit()
    assert bench.states.overlay_bytes == 0


# Restoring


def test_everything_is_restored_from_the_changelog() -> None:
    bench = Bench(partitions=2)
    for partition in (0, 1):
        bench.process(active(), tick(watermark_ms=50), partition=partition)
    for number in range(9):
        bench.process(fact("a", f"e{number}", key=f"k{number % 5}", time_ms=number))
        bench.process(fact("b", f"f{number}", key=f"k{number % 3}", time_ms=number))
        bench.commit()
    assert contents(read_back(bench)) == contents(bench.store)


_steps = st.lists(
    st.one_of(
        st.builds(
            fact, st.sampled_from("ab"), st.sampled_from("123"), st.sampled_from("xy"), time_ms=st.integers(0, 9)
        ),
        st.builds(active, st.sampled_from([PAIR, form(within=3), b""]), st.integers(0, 5)),
        st.builds(tick, watermark_ms=st.integers(0, 20)),
        st.none(),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=200)
@given(steps=_steps, reread=st.integers(0, 30))
def test_a_store_restored_from_any_position_it_had_is_the_same(steps: list[object], reread: int) -> None:
    """``reread`` records that the store has already are read again, as after a crash."""
    bench = Bench()
    for step in steps:
        if step is None:
            bench.commit()
        else:
            bench.process(step)  # type: ignore[arg-type]
    bench.commit()
    entries = bench.cluster.records(CHANGELOG)
    wanted = contents(bench.store)
    bench.store.apply(restored(bench.store, entries[max(0, len(entries) - reread) :]))
    assert contents(bench.store) == wanted
    assert contents(read_back(bench)) == wanted


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        (b"st\0k", b"\xff" + bytes(40), "format 255"),
        (b"st\0k", b"\1", "too few"),
        (b"at", b"\xff", "format 255"),
        (b"at", b"\1nonsense", "not an active definition"),
        (b"x", b"", "no known kind"),
    ],
)
def test_a_record_that_this_release_would_misread_stops_the_partition(key: bytes, value: bytes, problem: str) -> None:
    bench = Bench()
    bench.cluster.write(CHANGELOG, [Outgoing(key=key, value=value, partition=0)])
    with pytest.raises(Corrupt, match=problem):
        read_back(bench)


def test_a_partition_is_forgotten_whole_and_no_other() -> None:
    bench = Bench(partitions=2)
    for partition in (0, 1):
        bench.process(active(), tick(watermark_ms=5), partition=partition)
    bench.process(*(fact("a", f"e{number}", key=f"k{number}") for number in range(8)))
    bench.commit()
    before = contents(bench.store)
    forget(bench.store, 1)
    assert contents(bench.store) == {
        column: {key: value for key, value in rows.items() if key[:4] == b"\0" * 4} for column, rows in before.items()
    }
    assert all(contents(bench.store).values())


def test_changes_put_and_delete_no_key_at_once() -> None:
    bench = Bench()
    bench.process(active(), fact("a", "e1", time_ms=5))
    bench.commit()
    bench.process(active(b"", offset=1), active(PAIR, offset=2), fact("a", "e2", time_ms=5))
    bench.states.records()
    changes = Changes()
    bench.states.settle(changes)
    assert {each[:2] for each in changes.puts} & set(changes.deletes) == set()


# How long a store is trusted


def trusted(bench: Bench, position: int | None, *, age_ms: int) -> int:
    """Where reading begins for a store that has the changelog to ``position``, after so long."""
    bench.clock.advance(age_ms)
    log = MemoryLog(bench.cluster, "0", group_id="g")
    partition = TopicPartition(CHANGELOG, 0)
    end = bench.cluster.partition(partition).end
    return StateLog(log, bench.store, bench.clock).begin(partition, position, end)


def committed() -> Bench:
    bench = Bench()
    bench.process(active(), fact("a", "e1"))
    bench.commit()
    return bench


def test_a_store_that_has_all_is_trusted_however_old_that_is() -> None:
    bench = committed()
    assert trusted(bench, 3, age_ms=10 * TOMBSTONES_KEPT_MS) == 3
    assert contents(bench.store)["states"]


def test_a_store_that_lags_a_little_goes_on_from_where_it_is() -> None:
    bench = committed()
    assert trusted(bench, 1, age_ms=TOMBSTONES_KEPT_MS // 2) == 1
    assert contents(bench.store)["states"]


def test_a_store_that_may_have_missed_a_deletion_is_filled_anew() -> None:
    bench = committed()
    assert trusted(bench, 1, age_ms=TOMBSTONES_KEPT_MS // 2 + 1) == 0
    assert not any(contents(bench.store).values())


def test_what_is_left_of_a_store_that_was_being_filled_is_not_trusted() -> None:
    bench = committed()
    assert trusted(bench, None, age_ms=0) == 0
    assert not any(contents(bench.store).values())
