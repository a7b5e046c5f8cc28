"""What every log must do: ``LogSuite`` runs over each implementation, on a ``LogBundle`` that the test module gives.

A test module makes a subclass of ``LogBundle``, a fixture ``log_bundle`` that yields a new one per test and closes it,
and a class ``Test...(LogSuite)``.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stream_triggers.errors import Aborted, Fenced, Misconfigured, Unavailable
from stream_triggers.runtime.log import Outgoing, Producer, TopicPartition, TopicSpec
from tests.runtime.log_bundle import POLL_S, LogBundle, all_of, commit_records, values_of
from tests.runtime.log_group_suite import MemberSuite, OffsetSuite


def write_aborted_between_committed(log_bundle: LogBundle, topic: str) -> None:
    """Commit ``1``, abort ``2``, commit ``3``: three records and three markers in partition 0."""
    producer = log_bundle.producer("a")
    commit_records(producer, topic, values_of(b"1"))
    producer.begin()
    producer.produce(topic, values_of(b"2"))
    log_bundle.until_written(TopicPartition(topic, 0), 3)
    producer.abort()
    commit_records(producer, topic, values_of(b"3"))


class RecordSuite:
    """What is read of what was written."""

    def test_a_record_is_read_as_it_was_written(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(2)
        log_bundle.write(
            topic, [Outgoing(key=b"k", value=b"v", partition=1), Outgoing(key=b"k", value=None, partition=1)]
        )
        reading = log_bundle.reading({TopicPartition(topic, 1): 0})
        log_bundle.until(lambda: len(reading.step().records) == 2)
        assert [(r.topic(), r.partition(), r.offset(), r.key(), r.value()) for r in reading.records] == [
            (topic, 1, 0, b"k", b"v"),
            (topic, 1, 1, b"k", None),
        ]
        kind, time_ms = reading.records[0].timestamp()
        assert kind == 1
        assert time_ms > 0

    def test_a_reader_gets_committed_records_and_no_aborted_ones(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        write_aborted_between_committed(log_bundle, topic)
        assert log_bundle.read(TopicPartition(topic, 0)) == [b"1", b"3"]

    def test_a_member_gets_committed_records_and_no_aborted_ones(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        write_aborted_between_committed(log_bundle, topic)
        member = log_bundle.joined("b", topic).start()
        log_bundle.until(lambda: len(member.step().records) >= 2)
        assert member.values() == [b"1", b"3"]

    def test_an_open_transaction_holds_back_what_was_committed_after_it(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        slow = log_bundle.producer("slow")
        slow.begin()
        slow.produce(topic, values_of(b"slow"))
        log_bundle.until_written(TopicPartition(topic, 0), 1)
        log_bundle.write(topic, values_of(b"quick"))
        reading = log_bundle.reading({TopicPartition(topic, 0): 0})
        assert [reading.step().values() for _ in range(5)] == [[], [], [], [], []]
        slow.commit()
        assert log_bundle.read(TopicPartition(topic, 0)) == [b"slow", b"quick"]

    def test_positions_pass_markers_and_aborted_records(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        write_aborted_between_committed(log_bundle, topic)
        reading = log_bundle.reading({TopicPartition(topic, 0): 0})
        log_bundle.until(lambda: reading.step().reader.positions() == {TopicPartition(topic, 0): 6})
        assert reading.values() == [b"1", b"3"]

    def test_a_reader_starts_where_it_is_told_and_reads_nothing_else(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(2)
        log_bundle.write(topic, values_of(b"0", b"1", b"2"))
        log_bundle.write(topic, [Outgoing(key=None, value=b"other", partition=1)])
        reading = log_bundle.reading({TopicPartition(topic, 1): 0})
        reading.reader.assign({TopicPartition(topic, 0): 1})
        log_bundle.until(lambda: reading.step().reader.positions() == {TopicPartition(topic, 0): 4})
        assert reading.values() == [b"1", b"2"]

    def test_a_poll_returns_no_more_than_was_asked_for(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        log_bundle.write(topic, values_of(*(b"%d" % n for n in range(10))))
        reader = log_bundle.reading({TopicPartition(topic, 0): 0}).reader
        sizes: list[int] = []

        def all_read() -> bool:
            sizes.append(len(reader.poll(4, POLL_S)))
            return sum(sizes) == 10

        log_bundle.until(all_read)
        assert max(sizes) == 4

    def test_many_records_keep_their_order_in_each_partition(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(4)
        producer = log_bundle.producer("a")
        producer.begin()
        for batch in range(20):
            numbers = range(batch * 100, batch * 100 + 100)
            producer.produce(topic, [Outgoing(key=None, value=b"%d" % n, partition=n % 4) for n in numbers])
        producer.commit()
        for partition in range(4):
            expected = [b"%d" % n for n in range(partition, 2000, 4)]
            assert log_bundle.read(TopicPartition(topic, partition)) == expected

    def test_keys_land_where_murmur2_says(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(5)  # with a power of two the sign of the hash would not matter
        placed = {b"21": 0, b"foobar": 1, b"abc": 2, b"user-1002": 2, b"a-little-bit-longer-string": 4}
        log_bundle.write(topic, [Outgoing(key=key, value=key) for key in placed])
        for partition in range(5):
            expected = {key for key, place in placed.items() if place == partition}
            assert set(log_bundle.read(TopicPartition(topic, partition))) == expected

    def test_records_without_a_key_are_all_written(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(4)
        log_bundle.write(topic, [Outgoing(key=None, value=b"%d" % n) for n in range(8)])
        assert sorted(filter(None, log_bundle.read(*all_of(topic, 0, 1, 2, 3)))) == [b"%d" % n for n in range(8)]


class ProducerSuite:
    """Transactional ids, and transactions that end well or not."""

    def test_opening_a_producer_aborts_its_predecessors_open_transaction(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        first = log_bundle.producer("a")
        first.begin()
        first.produce(topic, values_of(b"first"))
        log_bundle.until_written(TopicPartition(topic, 0), 1)
        second = log_bundle.producer("a")
        commit_records(second, topic, values_of(b"second"))
        assert log_bundle.read(TopicPartition(topic, 0)) == [b"second"]

    def test_the_predecessor_is_fenced(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        first = log_bundle.producer("a")
        first.begin()
        first.produce(topic, values_of(b"first"))
        log_bundle.producer("a")
        with pytest.raises(Fenced):
            first.commit()

    def test_the_predecessor_can_begin_nothing_new(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        first = log_bundle.producer("a")
        log_bundle.producer("a")
        with pytest.raises(Fenced):
            commit_records(first, topic, values_of(b"first"))
        assert log_bundle.read(TopicPartition(topic, 0)) == []

    def test_a_producer_of_another_slot_is_left_alone(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        first = log_bundle.producer("a")
        first.begin()
        first.produce(topic, values_of(b"first"))
        log_bundle.producer("b")
        first.commit()
        assert log_bundle.read(TopicPartition(topic, 0)) == [b"first"]

    def test_a_transaction_that_is_open_too_long_is_aborted_and_its_producer_fenced(
        self, log_bundle: LogBundle
    ) -> None:
        topic = log_bundle.topic(1)
        late = log_bundle.producer("late")
        late.begin()
        late.produce(topic, values_of(b"late"))
        log_bundle.until_written(TopicPartition(topic, 0), 1)
        assert log_bundle.read(TopicPartition(topic, 0)) == []
        with pytest.raises(Fenced):
            late.commit()

    def test_a_closed_producers_transaction_is_left_to_its_successor(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        first = log_bundle.producer("a")
        first.begin()
        first.produce(topic, values_of(b"first"))
        log_bundle.until_written(TopicPartition(topic, 0), 1)
        first.close()
        assert log_bundle.observer.end_offsets(all_of(topic, 0)) == {TopicPartition(topic, 0): 1}
        log_bundle.producer("a")
        assert log_bundle.read(TopicPartition(topic, 0)) == []

    def test_a_producer_begins_again_after_an_abort(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        producer = log_bundle.producer("a")
        producer.begin()
        producer.produce(topic, values_of(b"dropped"))
        producer.abort()
        commit_records(producer, topic, values_of(b"kept"))
        assert log_bundle.read(TopicPartition(topic, 0)) == [b"kept"]

    def test_aborting_when_nothing_is_open_does_nothing(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        producer = log_bundle.producer("a")
        producer.abort()
        commit_records(producer, topic, values_of(b"1"))
        producer.abort()
        assert log_bundle.read(TopicPartition(topic, 0)) == [b"1"]

    def test_a_transaction_with_nothing_in_it_commits(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        producer = log_bundle.producer("a")
        producer.begin()
        producer.commit()
        commit_records(producer, topic, values_of(b"1"))
        assert log_bundle.read(TopicPartition(topic, 0)) == [b"1"]


class TopicSuite:
    """Topics and their bounds."""

    def test_end_offsets_count_what_is_open_and_every_marker(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        log = log_bundle.observer
        assert log.end_offsets(all_of(topic, 0)) == {TopicPartition(topic, 0): 0}
        producer = log_bundle.producer("a")
        producer.begin()
        producer.produce(topic, values_of(b"1", b"2"))
        log_bundle.until_written(TopicPartition(topic, 0), 2)
        producer.commit()
        log_bundle.until_written(TopicPartition(topic, 0), 3)

    def test_start_offsets_say_what_is_still_kept(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(2)
        log_bundle.write(topic, values_of(b"1", b"2", b"3"))
        log_bundle.trim(TopicPartition(topic, 0), 2)
        assert log_bundle.observer.start_offsets(all_of(topic, 0, 1)) == {
            TopicPartition(topic, 0): 2,
            TopicPartition(topic, 1): 0,
        }

    def test_offsets_by_time_lead_to_the_first_record_that_is_not_older(self, log_bundle: LogBundle) -> None:
        """They may be those of the marker before it, which has a time, too."""
        topic = log_bundle.topic(2)
        zero, one = TopicPartition(topic, 0), TopicPartition(topic, 1)
        reading, log = log_bundle.reading({zero: 0}), log_bundle.observer

        def of_two_instants() -> bool:
            log_bundle.write(topic, values_of(b"v"))
            return len({record.timestamp()[1] for record in reading.step().records}) > 1

        log_bundle.until(of_two_instants)
        times = [record.timestamp()[1] for record in reading.records]
        later = next(at for at, time_ms in enumerate(times) if time_ms > times[0])
        before, first = (record.offset() for record in reading.records[later - 1 : later + 1])
        assert log.offsets_at([zero, one], 0) == {zero: 0, one: 0}
        assert before < log.offsets_at([zero], times[0] + 1)[zero] <= first
        assert before < log.offsets_at([zero], times[later])[zero] <= first
        assert log.offsets_at([zero, one], times[-1] + 3_600_000) == log.end_offsets([zero, one])
        assert log.offsets_at([], 0) == {}

    @pytest.mark.parametrize("question", ["start_offsets", "end_offsets"])
    def test_offsets_of_a_topic_that_does_not_exist_are_the_operators_to_mend(
        self, log_bundle: LogBundle, question: str
    ) -> None:
        with pytest.raises(Misconfigured, match="topic no-such-topic does not exist"):
            getattr(log_bundle.observer, question)([TopicPartition("no-such-topic", 0)])

    def test_creating_a_topic_that_exists_leaves_it_as_it_is(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(2)
        log_bundle.write(topic, values_of(b"1"))
        log = log_bundle.observer
        log.create_topics([TopicSpec(topic, 5, {})])
        assert log.topics([topic])[topic].partitions == 2
        assert log_bundle.read(TopicPartition(topic, 0)) == [b"1"]

    def test_a_partition_that_was_added_is_asked_for_written_and_read(self, log_bundle: LogBundle) -> None:
        topic = log_bundle.topic(1)
        old, new = TopicPartition(topic, 0), TopicPartition(topic, 1)
        producer = log_bundle.producer("a")
        commit_records(producer, topic, values_of(b"1"))
        reading = log_bundle.reading({old: 0})
        log_bundle.until(lambda: reading.step().values() == [b"1"])
        log_bundle.observer.end_offsets([old])
        log_bundle.grow(topic, 2)
        log_bundle.until(lambda: _answered(lambda: log_bundle.observer.start_offsets([new]) == {new: 0}))
        log_bundle.until(lambda: _answered(lambda: _written(producer, topic, new.partition)))
        reading.reader.assign({new: 0})
        log_bundle.until(lambda: _answered(lambda: reading.step().values() == [b"1", b"2"]))

    @pytest.mark.parametrize("missing", [1, 7])
    def test_offsets_of_a_partition_that_does_not_exist_are_the_operators_to_mend(
        self, log_bundle: LogBundle, missing: int
    ) -> None:
        topic = log_bundle.topic(1)
        with pytest.raises(Misconfigured, match=f"topic {topic} has no partition {missing}: it has 1"):
            log_bundle.observer.end_offsets(all_of(topic, 0, missing))

    def test_topics_are_described_if_they_exist(self, log_bundle: LogBundle) -> None:
        log = log_bundle.observer
        name = log_bundle.topic(1) + "-compacted"
        assert log.topics([name]) == {}
        log.create_topics([TopicSpec(name, 3, {"cleanup.policy": "compact"})])
        log_bundle.until(lambda: name in log.topics([name]))
        spec = log.topics([name])[name]
        assert (spec.name, spec.partitions, spec.settings["cleanup.policy"]) == (name, 3, "compact")


class LogSuite(RecordSuite, ProducerSuite, OffsetSuite, MemberSuite, TopicSuite):
    """Everything above."""


def _answered(step: Callable[[], bool]) -> bool:
    """What ``step`` says; false while brokers have still to hear of something."""
    try:
        return step()
    except (Aborted, Unavailable):
        return False


def _written(producer: Producer, topic: str, partition: int) -> bool:
    """Write into a partition, in a transaction of its own; true when it is committed."""
    producer.begin()
    try:
        producer.produce(topic, [Outgoing(key=None, value=b"2", partition=partition)])
        producer.commit()
    except Aborted:
        producer.abort()
        raise
    return True
