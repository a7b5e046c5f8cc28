"""The in-memory log: all that every log does, what it holds, and its time."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from confluent_kafka import murmur2 as librdkafka_place
from hypothesis import given
from hypothesis import strategies as st

from stream_triggers.errors import Fenced, Misconfigured, Unavailable
from stream_triggers.runtime.clock import ManualClock
from stream_triggers.runtime.log import Outgoing, TopicSpec
from stream_triggers.runtime.memory_log import MemoryCluster, MemoryLog, murmur2
from tests.runtime.log_bundle import Participant, all_of, values_of
from tests.runtime.log_suite import LogSuite
from tests.runtime.memory_log_bundle import (
    IN_0,
    OUT_0,
    START_MS,
    MemoryBundle,
    begun,
    join,
    make_cluster,
    open_producer,
    outcomes,
    values,
)


@pytest.fixture
def log_bundle() -> Iterator[MemoryBundle]:
    bundle = MemoryBundle()
    yield bundle
    bundle.close()


class TestMemoryLog(LogSuite):
    """The suite over this implementation."""


@pytest.fixture
def cluster() -> MemoryCluster:
    return make_cluster()


# Placing records


@pytest.mark.parametrize(
    ("key", "signed_hash"),
    [
        # The vectors of the Java client's own test.
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_the_java_clients(key: bytes, signed_hash: int) -> None:
    assert murmur2(key) == signed_hash % 2**32


@given(key=st.binary(max_size=40), partitions=st.integers(1, 100))
def test_keys_go_where_librdkafka_puts_them(key: bytes, partitions: int) -> None:
    cluster = MemoryCluster(ManualClock())
    cluster.create_topics([TopicSpec("t", partitions, {})])
    cluster.write("t", [Outgoing(key=key, value=None)])
    assert [record.partition() for record in cluster.records("t")] == [librdkafka_place(key, partitions)]


def test_records_without_a_key_take_turns(cluster: MemoryCluster) -> None:
    cluster.write("in", [Outgoing(key=None, value=b"%d" % n) for n in range(4)])
    assert [(r.partition(), r.value()) for r in cluster.records("in")] == [(0, b"0"), (0, b"2"), (1, b"1"), (1, b"3")]


def test_records_are_stamped_with_the_clock(cluster: MemoryCluster) -> None:
    cluster.clock.advance(5)
    cluster.write("in", values_of(b"1"))
    assert cluster.records("in")[0].timestamp() == (1, START_MS + 5)


def test_a_topic_that_does_not_exist_is_not_made_by_writing(cluster: MemoryCluster) -> None:
    producer = open_producer(cluster)
    producer.begin()
    with pytest.raises(Misconfigured, match="topic nowhere does not exist"):
        producer.produce("nowhere", values_of(b"1"))


def test_reading_what_was_deleted_is_an_error(cluster: MemoryCluster) -> None:
    cluster.write("in", values_of(b"0", b"1", b"2"))
    cluster.trim(IN_0, 2)
    reader = MemoryLog(cluster).reader()
    reader.assign({IN_0: 1})
    with pytest.raises(Misconfigured, match="in/0 is read from offset 1, it holds 2 to 3"):
        reader.poll(10, 0)


def test_no_partition_starves_another(cluster: MemoryCluster) -> None:
    cluster.write("in", [Outgoing(key=None, value=b"%d" % n, partition=n % 2) for n in range(6)])
    reader = MemoryLog(cluster).reader()
    reader.assign(dict.fromkeys(all_of("in", 0, 1), 0))
    assert {record.partition() for _ in range(2) for record in reader.poll(1, 0)} == {0, 1}
    participant = join(cluster, "a").start()
    assert {record.partition() for _ in range(2) for record in participant.member.poll(1, 0)} == {0, 1}


# What the log holds


def test_markers_take_an_offset_on_every_partition_of_the_transaction(cluster: MemoryCluster) -> None:
    producer = open_producer(cluster)
    producer.begin()
    producer.produce("out", [Outgoing(key=None, value=b"%d" % n, partition=n) for n in (0, 1)])
    producer.commit()
    producer.begin()
    producer.produce("out", values_of(b"2"))
    producer.abort()
    assert [[(e.offset(), e.outcome, e.value()) for e in entries] for entries in cluster.entries("out")] == [
        [(0, "committed", b"0"), (1, "marker", b"commit"), (2, "aborted", b"2"), (3, "marker", b"abort")],
        [(0, "committed", b"1"), (1, "marker", b"commit")],
    ]


def test_committed_records_are_seen_behind_an_open_transaction_by_the_test_only(cluster: MemoryCluster) -> None:
    begun(cluster, "slow", b"slow")
    begun(cluster, "quick", b"quick").commit()
    assert values(cluster) == [b"quick"]


@given(seed=st.integers(0, 2**32), steps=st.integers(1, 60))
def test_readers_see_committed_records_up_to_the_oldest_open_transaction(seed: int, steps: int) -> None:
    random = Random(seed)
    cluster = MemoryCluster(ManualClock())
    cluster.create_topics([TopicSpec("out", 1, {})])
    producers = {slot: open_producer(cluster, slot) for slot in "abc"}
    history: list[tuple[str, int]] = []  # (slot, number of its transaction), or ("", 0) for a marker
    fates: dict[tuple[str, int], str] = {}
    numbers = dict.fromkeys(producers, 0)
    for _ in range(steps):
        slot = random.choice("abc")
        mine = (slot, numbers[slot])
        action = random.choice(["write", "write", "commit", "abort", "successor"])
        if action == "write":
            if mine not in fates:
                producers[slot].begin()
                fates[mine] = "open"
            producers[slot].produce("out", values_of(f"{slot}{numbers[slot]}".encode()))
            history.append(mine)
        elif action == "successor" or mine in fates:
            if action == "successor":
                producers[slot] = open_producer(cluster, slot)
            else:
                producers[slot].commit() if action == "commit" else producers[slot].abort()
            if mine in fates:
                history.append(("", 0))
                fates[mine] = "committed" if action == "commit" else "aborted"
            numbers[slot] += 1
    stable = next((n for n, entry in enumerate(history) if fates.get(entry) == "open"), len(history))
    expected = [f"{s}{n}".encode() for s, n in history[:stable] if fates.get((s, n)) == "committed"]
    reader = MemoryLog(cluster).reader()
    reader.assign({OUT_0: 0})
    read = [record.value() for _ in range(3) for record in reader.poll(1000, 0)]
    assert (read, reader.positions()) == (expected, {OUT_0: stable})


# Time


def test_a_transaction_is_aborted_when_its_timeout_is_over_and_not_before(cluster: MemoryCluster) -> None:
    begun(cluster)
    cluster.clock.advance(9_999)
    assert outcomes(cluster) == [("open", b"1")]
    cluster.clock.advance(1)
    assert outcomes(cluster) == [("aborted", b"1"), ("marker", b"abort")]


def test_the_timeout_runs_from_the_first_record_not_from_begin(cluster: MemoryCluster) -> None:
    producer = open_producer(cluster)
    producer.begin()
    cluster.clock.advance(20_000)
    producer.produce("out", values_of(b"1"))
    producer.commit()
    assert values(cluster) == [b"1"]


def test_a_timed_out_transaction_is_aborted_even_if_the_process_goes_on(cluster: MemoryCluster) -> None:
    producer = begun(cluster)
    cluster.clock.advance(10_000)
    with pytest.raises(Fenced):
        producer.commit()
    with pytest.raises(Fenced):
        producer.begin()
    assert values(cluster) == []


def test_a_fenced_producer_does_not_hear_of_it_by_an_empty_transaction(cluster: MemoryCluster) -> None:
    first = open_producer(cluster)
    open_producer(cluster)
    first.begin()
    first.commit()
    first.begin()
    first.produce("out", values_of(b"1"))
    with pytest.raises(Fenced):
        first.commit()


def test_a_session_ends_when_its_timeout_is_over_and_not_before(cluster: MemoryCluster) -> None:
    join(cluster, "a")
    cluster.clock.advance(9_999)
    other = join(cluster, "b")
    assert other.owned == set()
    cluster.clock.advance(1)
    assert other.step().owned == all_of("in", 0, 1)


def test_deadlines_are_settled_in_order_however_far_the_clock_moves(cluster: MemoryCluster) -> None:
    """The second member waits for the first, whose session ends; then its own session runs out too."""
    join(cluster, "a")
    waiting = join(cluster, "b")
    cluster.clock.advance(3_600_000)
    assert waiting.step().heard == [("assigned", all_of("in", 0, 1))]
    assert cluster.group("triggers").generation == 4


def test_heartbeats_keep_a_session_without_polls(cluster: MemoryCluster) -> None:
    busy, other = join(cluster, "a"), join(cluster, "b")
    for _ in range(6):
        cluster.clock.advance(5_000)
        busy.member.heartbeat()  # type: ignore[attr-defined]
        other.step()
    assert other.owned == set()
    busy.step()
    assert [what for what, _ in busy.heard] == ["assigned", "revoked", "assigned"]


def test_who_waits_for_the_others_keeps_its_seat(cluster: MemoryCluster) -> None:
    busy, waiting = join(cluster, "a"), join(cluster, "b")
    for _ in range(6):
        cluster.clock.advance(5_000)
        busy.member.heartbeat()  # type: ignore[attr-defined]
    busy.step()
    cluster.clock.advance(9_999)
    assert waiting.step().heard == [("assigned", all_of("in", 1))]


@pytest.mark.parametrize(("static", "others_after_ms"), [(False, 0), (True, 10_000)])
def test_heartbeats_do_not_outlast_the_longest_pause_between_polls(
    cluster: MemoryCluster, static: bool, others_after_ms: int
) -> None:
    """A dynamic member leaves; a static one falls silent, and its session has to end."""
    log = MemoryLog(cluster, "a", static=static, poll_pause_max_ms=15_000)
    busy = Participant(log.member())
    busy.member.subscribe(["in"], busy)
    busy.step()
    for _ in range(3):
        cluster.clock.advance(5_000)
        busy.member.heartbeat()  # type: ignore[attr-defined]
    other = join(cluster, "b")
    cluster.clock.advance(1)
    busy.member.heartbeat()  # type: ignore[attr-defined]
    assert busy.member.membership().member_id == ""
    cluster.clock.advance(max(others_after_ms - 2, 0))
    assert (other.step().owned == set()) == static
    cluster.clock.advance(others_after_ms and 1)
    assert other.step().owned == all_of("in", 0, 1)
    busy.step()
    assert busy.heard == [("assigned", all_of("in", 0, 1)), ("lost", all_of("in", 0, 1))]


def test_a_poll_takes_no_time(cluster: MemoryCluster) -> None:
    begun(cluster)
    join(cluster, "a").member.poll(10, 5.0)
    assert cluster.clock.now_ms() == START_MS


def test_committed_waits_as_long_as_the_transaction_and_no_longer(cluster: MemoryCluster) -> None:
    member = join(cluster, "a").member
    producer = open_producer(cluster, "b")
    producer.begin()
    producer.send_offsets({IN_0: 7}, member.membership())
    cluster.clock.advance(4_000)
    assert member.committed([IN_0], 30.0) == {IN_0: None}
    assert cluster.clock.now_ms() == START_MS + 10_000


def test_committed_takes_its_timeout_when_it_fails_and_no_time_when_nothing_is_pending(cluster: MemoryCluster) -> None:
    member = join(cluster, "a").member
    assert member.committed([IN_0], 30.0) == {IN_0: None}
    assert cluster.clock.now_ms() == START_MS
    producer = open_producer(cluster, "b")
    producer.begin()
    producer.send_offsets({IN_0: 7}, member.membership())
    with pytest.raises(Unavailable):
        member.committed([IN_0], 2.0)
    assert cluster.clock.now_ms() == START_MS + 2_000


def test_a_reader_behind_an_open_transaction_waits_for_it(cluster: MemoryCluster) -> None:
    begun(cluster, "slow", b"slow")
    begun(cluster, "quick", b"quick").commit()
    reader = MemoryLog(cluster).reader()
    reader.assign({OUT_0: 0})
    assert reader.poll(10, 4.0) == []
    assert [record.value() for record in reader.poll(10, 30.0)] == [b"quick"]
    assert cluster.clock.now_ms() == START_MS + 10_000


def test_a_reader_at_the_end_does_not_wait(cluster: MemoryCluster) -> None:
    begun(cluster).commit()
    reader = MemoryLog(cluster).reader()
    reader.assign({OUT_0: 2})
    assert reader.poll(10, 30.0) == []
    assert cluster.clock.now_ms() == START_MS


def test_a_process_that_waits_stays_in_its_group(cluster: MemoryCluster) -> None:
    participant = join(cluster, "a", timeout_ms=3_000)
    producer = open_producer(cluster, "b")
    producer.begin()
    producer.send_offsets({IN_0: 7}, participant.member.membership())
    participant.member.committed([IN_0], 30.0)
    cluster.clock.advance(2_999)
    assert participant.step().heard == [("assigned", all_of("in", 0, 1))]
