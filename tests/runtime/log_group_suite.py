"""What every log must do for a consumer group: offsets in transactions, ownership, delivery. Part of ``LogSuite``."""

from __future__ import annotations

import pytest

from stream_triggers.errors import Aborted, Fenced, Unavailable
from stream_triggers.runtime.log import Outgoing, TopicPartition
from tests.runtime.log_bundle import IN_TIME_S, POLL_S, LogBundle, all_of, commit_offsets, committed, values_of


class OffsetSuite:
    """Offsets in transactions, and who may send them."""

    def test_a_group_that_has_committed_nothing_has_no_offsets(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(2)
        member = log_bundle.joined("a", topic).member
        assert member.committed(all_of(topic, 0, 1), IN_TIME_S) == dict.fromkeys(all_of(topic, 0, 1))

    def test_offsets_appear_with_the_commit_of_their_transaction(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        member = log_bundle.joined("a", topic).member
        producer = log_bundle.producer("a")
        producer.begin()
        producer.produce(topic, values_of(b"1"))
        producer.send_offsets({TopicPartition(topic, 0): 7}, member.membership())
        producer.commit()
        assert committed(member, TopicPartition(topic, 0)) == 7

    def test_a_transaction_may_hold_nothing_but_offsets(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        member = log_bundle.joined("a", topic).member
        commit_offsets(log_bundle.producer("a"), {TopicPartition(topic, 0): 7}, member.membership())
        assert committed(member, TopicPartition(topic, 0)) == 7

    def test_offsets_of_an_aborted_transaction_do_not_appear(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        member = log_bundle.joined("a", topic).member
        producer = log_bundle.producer("a")
        commit_offsets(producer, {TopicPartition(topic, 0): 7}, member.membership())
        producer.begin()
        producer.send_offsets({TopicPartition(topic, 0): 9}, member.membership())
        producer.abort()
        assert committed(member, TopicPartition(topic, 0)) == 7

    def test_committed_does_not_answer_while_an_open_transaction_holds_offsets(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(2)
        member = log_bundle.joined("a", topic).member
        producer = log_bundle.producer("a")
        producer.begin()
        producer.send_offsets({TopicPartition(topic, 0): 7}, member.membership())
        with pytest.raises(Unavailable):
            member.committed([TopicPartition(topic, 0)], 0.5)
        assert member.committed([TopicPartition(topic, 1)], 0.5) == {TopicPartition(topic, 1): None}
        producer.commit()
        assert committed(member, TopicPartition(topic, 0)) == 7

    def test_offsets_held_by_an_abandoned_transaction_are_settled_by_its_successor(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        member = log_bundle.joined("a", topic).member
        abandoned = log_bundle.producer("a")
        abandoned.begin()
        abandoned.send_offsets({TopicPartition(topic, 0): 7}, member.membership())
        log_bundle.producer("a")
        assert committed(member, TopicPartition(topic, 0)) is None

    def test_offsets_held_by_an_abandoned_transaction_are_settled_by_its_timeout(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        participant = log_bundle.joined("a", topic)
        abandoned = log_bundle.producer("a")
        abandoned.begin()
        abandoned.send_offsets({TopicPartition(topic, 0): 7}, participant.member.membership())
        abandoned.close()
        answers: list[int | None] = []

        def answered() -> bool:
            participant.step()
            try:
                answers.extend(participant.member.committed([TopicPartition(topic, 0)], POLL_S).values())
            except Unavailable:
                return False
            return True

        log_bundle.until(answered)
        assert answers == [None]

    def test_a_member_that_has_not_joined_has_a_membership_that_says_so(self, log_bundle: LogBundle) -> None:
        member = log_bundle.participant("a", log_bundle.topic(1)).member
        membership = member.membership()
        assert membership.generation < 0 or membership.member_id == ""

    def test_a_member_that_has_joined_has_a_generation_and_a_member_id(self, log_bundle: LogBundle) -> None:
        membership = log_bundle.joined("a", log_bundle.topic(1)).member.membership()
        assert membership.generation > 0
        assert membership.member_id != ""

    def test_offsets_of_an_older_generation_are_refused(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(2)
        first = log_bundle.joined("a", topic)
        old = first.member.membership()
        second = log_bundle.participant("b", topic)
        log_bundle.until_owned({first: 1, second: 1})
        producer = log_bundle.producer("a")
        producer.begin()
        with pytest.raises(Aborted):
            producer.send_offsets({TopicPartition(topic, 0): 7}, old)

    def test_offsets_of_a_static_member_whose_name_was_taken_are_refused(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        old = log_bundle.joined("a", topic).member.membership()
        log_bundle.joined("a", topic)
        producer = log_bundle.producer("a")
        producer.begin()
        with pytest.raises(Aborted):
            producer.send_offsets({TopicPartition(topic, 0): 7}, old)

    def test_offsets_of_a_member_that_was_away_are_refused(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(2)
        old = log_bundle.joined("a", topic).member.membership()
        other = log_bundle.participant("b", topic)
        log_bundle.until_owned({other: 2})
        producer = log_bundle.producer("a")
        producer.begin()
        with pytest.raises(Aborted):
            producer.send_offsets({TopicPartition(topic, 0): 7}, old)

    def test_after_refused_offsets_the_producer_aborts_and_begins_again(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        old = log_bundle.joined("a", topic).member.membership()
        new = log_bundle.joined("a", topic).member
        producer = log_bundle.producer("a")
        producer.begin()
        producer.produce(topic, values_of(b"dropped"))
        with pytest.raises(Aborted):
            producer.send_offsets({TopicPartition(topic, 0): 7}, old)
        producer.abort()
        commit_offsets(producer, {TopicPartition(topic, 0): 8}, new.membership())
        assert committed(new, TopicPartition(topic, 0)) == 8
        assert log_bundle.read(TopicPartition(topic, 0)) == []

    def test_a_current_membership_may_commit_what_another_member_owns(self, log_bundle: LogBundle) -> None:
        """The log does not protect partitions, only generations: the worker has to."""
        topic = log_bundle.topic(2)
        first = log_bundle.joined("a", topic)
        second = log_bundle.participant("b", topic)
        log_bundle.until_owned({first: 1, second: 1})
        (not_its_own,) = first.owned
        commit_offsets(log_bundle.producer("b"), {not_its_own: 7}, second.member.membership())
        assert committed(first.member, not_its_own) == 7


class MemberSuite:
    """Who owns what, and what is delivered."""

    def test_a_single_member_owns_everything(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(3)
        member = log_bundle.joined("a", topic)
        assert member.heard == [("assigned", all_of(topic, 0, 1, 2))]

    def test_two_members_share_each_topic_by_range(self, log_bundle: LogBundle) -> None:
        topics = [log_bundle.topic(4), log_bundle.topic(4)]
        first = log_bundle.joined("a", *topics)
        second = log_bundle.participant("b", *topics)
        log_bundle.until_owned({first: 4, second: 4})
        assert first.owned == all_of(topics[0], 0, 1) | all_of(topics[1], 0, 1)
        assert second.owned == all_of(topics[0], 2, 3) | all_of(topics[1], 2, 3)

    def test_a_new_member_makes_the_others_give_back_everything_first(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(2)
        first = log_bundle.joined("a", topic)
        second = log_bundle.participant("b", topic)
        log_bundle.until_owned({first: 1, second: 1})
        assert first.heard == [
            ("assigned", all_of(topic, 0, 1)),
            ("revoked", all_of(topic, 0, 1)),
            ("assigned", all_of(topic, 0)),
        ]

    def test_what_is_revoked_can_still_be_committed_for(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(2)
        first = log_bundle.joined("a", topic)
        producer = log_bundle.producer("a")
        offsets = {TopicPartition(topic, 0): 5, TopicPartition(topic, 1): 6}

        def commit_once() -> None:
            first.when_revoked = lambda: None
            commit_offsets(producer, offsets, first.member.membership())

        first.when_revoked = commit_once
        second = log_bundle.participant("b", topic)
        log_bundle.until_owned({first: 1, second: 1})
        assert second.member.committed(offsets, IN_TIME_S) == offsets

    def test_a_member_that_was_away_loses_its_partitions(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(2)
        away = log_bundle.joined("a", topic)
        other = log_bundle.participant("b", topic)
        log_bundle.until_owned({other: 2})
        assert away.heard == [("assigned", all_of(topic, 0, 1))]
        log_bundle.until_owned({away: 1, other: 1})
        assert away.heard[1:] == [("lost", all_of(topic, 0, 1)), ("assigned", all_of(topic, 0))]

    def test_a_static_member_that_restarts_keeps_its_partitions_and_disturbs_nobody(
        self, log_bundle: LogBundle
    ) -> None:
        topic = log_bundle.topic(4)
        first = log_bundle.joined("a", topic)
        second = log_bundle.participant("b", topic)
        log_bundle.until_owned({first: 2, second: 2})
        heard = list(second.heard)
        first.member.close()
        restarted = log_bundle.participant("a", topic)
        log_bundle.until_owned({restarted: 2, second: 2})
        assert restarted.owned == all_of(topic, 0, 1)
        assert [second.step().heard for _ in range(3)] == [heard, heard, heard]

    def test_closing_a_member_revokes_what_it_owns(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(2)
        member = log_bundle.joined("a", topic)
        member.member.close()
        assert member.heard == [("assigned", all_of(topic, 0, 1)), ("revoked", all_of(topic, 0, 1))]

    def test_a_static_member_that_does_not_come_back_loses_its_seat(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(2)
        first = log_bundle.joined("a", topic)
        second = log_bundle.participant("b", topic)
        log_bundle.until_owned({first: 1, second: 1})
        first.member.close()
        log_bundle.until_owned({second: 2})

    def test_a_member_whose_name_was_taken_is_fenced(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        old = log_bundle.joined("a", topic)
        log_bundle.joined("a", topic)

        def fenced() -> bool:
            try:
                old.step()
            except Fenced:
                return True
            return False

        log_bundle.until(fenced)

    def test_nothing_is_delivered_of_a_partition_that_was_not_started(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(2)
        log_bundle.write(topic, [Outgoing(key=None, value=b"%d" % n, partition=n) for n in (0, 1)])
        member = log_bundle.joined("a", topic)
        assert [member.step().values() for _ in range(3)] == [[], [], []]
        member.member.start({TopicPartition(topic, 1): 0})
        log_bundle.until(lambda: member.step().records != [])
        assert [member.step().values() for _ in range(3)] == [[b"1"], [b"1"], [b"1"]]

    def test_a_partition_may_be_started_while_it_is_assigned(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        log_bundle.write(topic, values_of(b"0", b"1"))
        member = log_bundle.participant("a", topic)
        member.when_assigned = lambda: member.member.start({TopicPartition(topic, 0): 1})
        log_bundle.until(lambda: member.step().records != [])
        assert member.values() == [b"1"]

    def test_starting_again_goes_back(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        log_bundle.write(topic, values_of(b"0", b"1", b"2"))
        member = log_bundle.joined("a", topic).start()
        log_bundle.until(lambda: len(member.step().records) == 3)
        member.start(1)
        log_bundle.until(lambda: len(member.step().records) == 5)
        assert member.values() == [b"0", b"1", b"2", b"1", b"2"]

    def test_nothing_is_delivered_after_a_loss_until_it_is_started_again(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(2)
        away = log_bundle.joined("a", topic).start()
        other = log_bundle.participant("b", topic)
        log_bundle.until_owned({other: 2})
        log_bundle.write(topic, [Outgoing(key=None, value=b"x", partition=n) for n in (0, 1)])
        log_bundle.until_owned({away: 1, other: 1})
        assert [away.step().values() for _ in range(3)] == [[], [], []]
