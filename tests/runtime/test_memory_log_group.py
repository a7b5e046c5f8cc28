"""The in-memory log's consumer groups: the assignor, and the fencing of offsets in the broker's own words."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stream_triggers.errors import Aborted, Fenced
from stream_triggers.runtime.log import Membership, TopicPartition, TopicSpec
from stream_triggers.runtime.memory_log import MemoryCluster, MemoryLog
from stream_triggers.runtime.memory_log.group import assign_range
from tests.runtime.log_bundle import Participant, all_of
from tests.runtime.memory_log_bundle import IN_0, begun, join, make_cluster, open_producer, values


@pytest.fixture
def cluster() -> MemoryCluster:
    return make_cluster()


def settle(*participants: Participant) -> None:
    """Let them poll until a rebalance is over."""
    for _ in range(2):
        for participant in participants:
            participant.step()


def test_a_dynamic_member_that_closes_leaves_at_once(cluster: MemoryCluster) -> None:
    first = join(cluster, "a", static=False)
    second = join(cluster, "b", static=False)
    first.step()
    second.step()
    first.member.close()
    assert second.step().owned == all_of("in", 0, 1)


def test_a_topic_that_is_created_later_is_shared_out(cluster: MemoryCluster) -> None:
    member = MemoryLog(cluster).member()
    participant = Participant(member)
    member.subscribe(["in", "later"], participant)
    participant.step()
    cluster.create_topics([TopicSpec("later", 1, {})])
    assert participant.step().owned == {*all_of("in", 0, 1), TopicPartition("later", 0)}


def test_a_rebalance_waits_for_every_member(cluster: MemoryCluster) -> None:
    first = join(cluster, "a")
    second = join(cluster, "b")
    assert (first.owned, second.owned) == (all_of("in", 0, 1), set())
    first.step()
    assert (first.owned, second.owned) == (all_of("in", 0), set())
    assert second.step().owned == all_of("in", 1)


def test_who_waits_for_the_others_keeps_its_seat_when_one_of_them_is_removed(cluster: MemoryCluster) -> None:
    waiting = join(cluster, "b")
    silent = join(cluster, "a")
    settle(waiting, silent)
    join(cluster, "c")
    waiting.step()
    for _ in range(3):
        cluster.clock.advance(5_000)
        silent.member.heartbeat()  # type: ignore[attr-defined]
    cluster.clock.advance(10_000)
    assert waiting.step().heard[-2:] == [("revoked", all_of("in", 1)), ("assigned", all_of("in", 0))]


def test_a_member_whose_name_is_taken_while_it_gives_back_does_not_join_again(cluster: MemoryCluster) -> None:
    old = join(cluster, "a")
    join(cluster, "b")
    successors: list[Participant] = []
    old.when_revoked = lambda: successors.append(join(cluster, "a"))
    with pytest.raises(Fenced):
        old.step()
    cluster.clock.advance(10_000)
    assert successors[0].step().owned == all_of("in", 0, 1)


def test_a_member_whose_session_ends_while_it_gives_back_joins_as_a_new_one(cluster: MemoryCluster) -> None:
    slow = join(cluster, "a")
    other = join(cluster, "b")
    slow.when_revoked = lambda: cluster.clock.advance(10_000)
    before = slow.member.membership()
    settle(slow, other)
    assert (slow.owned, other.owned) == (all_of("in", 0), all_of("in", 1))
    assert slow.member.membership().member_id != before.member_id


def test_a_fenced_member_is_told_on_every_poll_and_loses_its_partitions_when_closed(cluster: MemoryCluster) -> None:
    old = join(cluster, "a")
    join(cluster, "a")
    for _ in range(2):
        with pytest.raises(Fenced):
            old.step()
    old.member.close()
    assert old.heard == [("assigned", all_of("in", 0, 1)), ("lost", all_of("in", 0, 1))]


def test_a_static_member_that_restarts_with_other_topics_gets_the_old_ones_until_a_rebalance(
    cluster: MemoryCluster,
) -> None:
    join(cluster, "a").member.close()
    member = MemoryLog(cluster, "a").member()
    restarted = Participant(member)
    member.subscribe(["in", "out"], restarted)
    assert restarted.step().owned == all_of("in", 0, 1)
    cluster.group("triggers").rebalance()
    assert restarted.step().owned == all_of("in", 0, 1) | all_of("out", 0, 1)


@pytest.mark.parametrize(
    ("members", "counts", "shares"),
    [
        ({"m1": None}, {"t": 3}, {"m1": "t0 t1 t2"}),
        ({"m1": None, "m2": None}, {"t": 3, "u": 1}, {"m1": "t0 t1 u0", "m2": "t2"}),
        ({"m1": None, "m2": None, "m3": None}, {"t": 2}, {"m1": "t0", "m2": "t1", "m3": ""}),
        # Static members go by instance id, whatever their member ids.
        ({"m1": "z", "m2": "a"}, {"t": 2}, {"m1": "t1", "m2": "t0"}),
        # With a dynamic one, member ids decide.
        ({"m1": "z", "m2": None}, {"t": 2}, {"m1": "t0", "m2": "t1"}),
        ({"m1": None, "m2": None}, {"t": 0}, {"m1": "", "m2": ""}),
    ],
)
def test_range_shares_out_each_topic_in_order(
    members: dict[str, str | None], counts: dict[str, int], shares: dict[str, str]
) -> None:
    got = assign_range({member: (instance, frozenset(counts)) for member, instance in members.items()}, counts)
    assert {member: " ".join(f"{t}{n}" for t, n in share) for member, share in got.items()} == shares


def test_range_gives_a_topic_to_those_who_subscribe_to_it() -> None:
    subscriptions = {"m1": (None, frozenset({"t"})), "m2": (None, frozenset({"t", "u"}))}
    assert assign_range(subscriptions, {"t": 2, "u": 2}) == {
        "m1": [TopicPartition("t", 0)],
        "m2": [TopicPartition("t", 1), TopicPartition("u", 0), TopicPartition("u", 1)],
    }


# Fencing of offsets, by the broker's own words


def sends(cluster: MemoryCluster, membership: Membership) -> None:
    producer = open_producer(cluster, "sender")
    producer.begin()
    producer.send_offsets({IN_0: 7}, membership)
    producer.commit()


def of_a_lost_dynamic_member(cluster: MemoryCluster) -> Membership:
    old = join(cluster, "a", static=False).member.membership()
    cluster.clock.advance(10_000)
    join(cluster, "b")
    return old


def of_a_lost_static_member(cluster: MemoryCluster) -> Membership:
    old = join(cluster, "a").member.membership()
    cluster.clock.advance(10_000)
    join(cluster, "b")
    return old


def of_an_older_generation(cluster: MemoryCluster) -> Membership:
    member = join(cluster, "a")
    old = member.member.membership()
    join(cluster, "b")
    member.step()
    return old


def of_a_replaced_static_member(cluster: MemoryCluster) -> Membership:
    old = join(cluster, "a").member.membership()
    join(cluster, "a")
    return old


def of_a_static_member_that_never_joined(cluster: MemoryCluster) -> Membership:
    join(cluster, "a")
    return MemoryLog(cluster, "b").member().membership()


@pytest.mark.parametrize(
    ("membership_of", "words"),
    [
        (of_a_lost_dynamic_member, "UNKNOWN_MEMBER_ID"),
        (of_a_lost_static_member, "UNKNOWN_MEMBER_ID"),
        (of_an_older_generation, "ILLEGAL_GENERATION"),
        (of_a_replaced_static_member, "FENCED_INSTANCE_ID"),
        (of_a_static_member_that_never_joined, "UNKNOWN_MEMBER_ID"),
    ],
)
def test_offsets_are_refused(
    cluster: MemoryCluster, membership_of: Callable[[MemoryCluster], Membership], words: str
) -> None:
    membership = membership_of(cluster)
    with pytest.raises(Aborted, match=words):
        sends(cluster, membership)
    assert cluster.offsets("triggers") == {}


def of_a_dynamic_member_that_never_joined(cluster: MemoryCluster) -> Membership:
    join(cluster, "a")
    return MemoryLog(cluster, "b", static=False).member().membership()


def of_anyone_in_an_empty_group(cluster: MemoryCluster) -> Membership:
    return MemoryLog(cluster, "b").member().membership()


def of_a_member_in_a_rebalance_it_has_not_joined(cluster: MemoryCluster) -> Membership:
    member = join(cluster, "a").member
    join(cluster, "b")
    return member.membership()


@pytest.mark.parametrize(
    "membership_of",
    [
        of_a_dynamic_member_that_never_joined,
        of_anyone_in_an_empty_group,
        of_a_member_in_a_rebalance_it_has_not_joined,
    ],
)
def test_offsets_are_accepted(cluster: MemoryCluster, membership_of: Callable[[MemoryCluster], Membership]) -> None:
    sends(cluster, membership_of(cluster))
    assert cluster.offsets("triggers") == {IN_0: 7}


def test_no_offsets_are_not_sent_and_fence_nothing(cluster: MemoryCluster) -> None:
    old = of_a_lost_static_member(cluster)
    producer = begun(cluster, "a")
    producer.send_offsets({}, old)
    producer.commit()
    assert values(cluster) == [b"1"]


def test_a_member_fenced_after_its_offsets_were_accepted_does_not_stop_the_commit(cluster: MemoryCluster) -> None:
    participant = join(cluster, "a")
    producer = open_producer(cluster)
    producer.begin()
    producer.send_offsets({IN_0: 7}, participant.member.membership())
    join(cluster, "a")
    producer.commit()
    assert cluster.offsets("triggers") == {IN_0: 7}
