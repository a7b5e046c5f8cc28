"""The log over a real Kafka: all that every log does, and what only Kafka and its client library do."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator
from random import Random

import pytest

from stream_triggers.errors import Misconfigured, Unavailable
from stream_triggers.runtime.kafka import KafkaLog, KafkaSettings
from stream_triggers.runtime.log import Outgoing, TopicPartition, TopicSpec
from tests.runtime.kafka_bundle import KafkaBundle
from tests.runtime.log_bundle import all_of, values_of
from tests.runtime.log_suite import LogSuite

pytestmark = pytest.mark.kafka

HEARTBEATS_POLLS = 20
"""A second of polls: longer than a heartbeat, after which a member knows that it has to give partitions back."""

LONG_S = 10.0
"""A wait that shows, should a poll wait for more than the first record."""


@pytest.fixture
def bundle(bootstrap_servers: str) -> Iterator[KafkaBundle]:
    bundle = KafkaBundle(bootstrap_servers)
    yield bundle
    bundle.close()


@pytest.fixture
def log_bundle(bundle: KafkaBundle) -> KafkaBundle:
    return bundle


class TestKafkaLog(LogSuite):
    """The suite over this implementation."""


# Fetching

LARGE = b"x" * 900_000
"""More than a fetch asks for of a partition, and less than a topic takes by itself."""


def test_records_larger_than_a_fetch_are_read(bundle: KafkaBundle) -> None:
    topic = bundle.topic(1)
    bundle.write(topic, values_of(b"a", LARGE, LARGE, b"b"))
    assert bundle.read(TopicPartition(topic, 0)) == [b"a", LARGE, LARGE, b"b"]


# Members


def test_a_loss_is_told_as_a_loss_although_partitions_were_started_after_it(bundle: KafkaBundle) -> None:
    topic = bundle.topic(2)
    away = bundle.joined("a", topic).start()
    other = bundle.participant("b", topic)
    bundle.until_owned({other: 2})
    away.member.start({TopicPartition(topic, 0): 0})
    bundle.until(lambda: len(away.step().heard) > 1)
    assert away.heard == [("assigned", all_of(topic, 0, 1)), ("lost", all_of(topic, 0, 1))]


def test_records_fetched_before_a_revocation_are_not_handed_out_with_it(bundle: KafkaBundle) -> None:
    topic = bundle.topic(2)
    first = bundle.joined("a", topic).start()
    bundle.write(topic, [Outgoing(key=None, value=b"x", partition=n % 2) for n in range(20)])
    second = bundle.participant("b", topic)
    for _ in range(HEARTBEATS_POLLS):
        second.step()
    first.when_revoked = first.records.clear
    bundle.until(lambda: len(first.step().heard) > 1)
    assert first.values() == []


def test_closing_with_a_loss_not_heard_of_tells_it_and_ends(bundle: KafkaBundle) -> None:
    topic = bundle.topic(2)
    away = bundle.joined("a", topic).start()
    bundle.until_owned({bundle.participant("b", topic): 2})
    away.member.close()
    assert away.heard == [("assigned", all_of(topic, 0, 1)), ("lost", all_of(topic, 0, 1))]


def test_a_member_that_joined_no_group_can_ask_what_it_has_committed(bundle: KafkaBundle) -> None:
    topic = bundle.topic(1)
    member = bundle.log("onlooker").member()
    assert member.committed(all_of(topic, 0), LONG_S) == {TopicPartition(topic, 0): None}
    member.close()


def test_a_poll_waits_for_the_first_record_and_not_for_more(bundle: KafkaBundle) -> None:
    topic = bundle.topic(1)
    bundle.write(topic, values_of(b"1"))
    member = bundle.joined("a", topic).start().member
    began_s = time.monotonic()
    assert [record.value() for record in member.poll(1000, LONG_S)] == [b"1"]
    assert time.monotonic() - began_s < LONG_S


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_after_any_starts_what_is_read_goes_on_from_the_last_of_them(bundle: KafkaBundle, seed: int) -> None:
    """Partitions go forth and back while the others are read; aborted records and markers lie in between."""
    random = Random(seed)
    topic = bundle.topic(4)
    written = _write_transactions(bundle, topic, random)
    member = bundle.joined("a", topic).member
    expected = dict.fromkeys(written, 0)
    member.start(expected)
    for _ in range(300):
        if random.random() < 0.2:
            moved = {each: random.randrange(80) for each in random.sample(sorted(written), random.randrange(1, 5))}
            expected.update(moved)
            member.start(moved)
        for record in member.poll(random.choice([1, 10, 100]), random.choice([0.0, 0.01])):
            partition = TopicPartition(record.topic(), record.partition())
            assert record.offset() == _next(written[partition], expected[partition])
            expected[partition] = record.offset() + 1


def test_a_partition_goes_back_although_another_is_started_right_after(bundle: KafkaBundle) -> None:
    topic = bundle.topic(2)
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    bundle.write(topic, values_of(b"0", b"1", b"2"))
    member = bundle.joined("a", topic).start()
    for _ in range(20):
        bundle.until(lambda: len(member.step().records) == 3)
        assert member.values() == [b"0", b"1", b"2"]
        member.records.clear()
        member.member.start({first: 0})
        member.member.start({second: 0})


def _write_transactions(bundle: KafkaBundle, topic: str, random: Random) -> dict[TopicPartition, list[int]]:
    """Write some that are committed and some that are not; returns the offsets of the committed records."""
    producer = bundle.producer("a")
    for end in random.choices([producer.commit, producer.abort], k=30):
        producer.begin()
        rows = [Outgoing(key=None, value=b"x", partition=partition) for partition in (0, 1, 2, 3)]
        producer.produce(topic, [row for row in rows for _ in range(random.randrange(1, 10))])
        end()
    written: dict[TopicPartition, list[int]] = {each: [] for each in all_of(topic, 0, 1, 2, 3)}
    reading = bundle.reading(dict.fromkeys(written, 0))
    ends = bundle.observer.end_offsets(written)
    bundle.until(lambda: all(offset >= ends[each] for each, offset in reading.step().reader.positions().items()))
    for record in reading.records:
        written[TopicPartition(record.topic(), record.partition())].append(record.offset())
    return written


def _next(offsets: list[int], position: int) -> int | None:
    at = bisect_left(offsets, position)
    return offsets[at] if at < len(offsets) else None


def test_a_start_below_what_is_kept_is_the_operators_to_mend(bundle: KafkaBundle) -> None:
    topic = bundle.topic(1)
    bundle.write(topic, values_of(b"1", b"2", b"3"))
    bundle.trim(TopicPartition(topic, 0), 2)
    member = bundle.joined("a", topic).start()

    with pytest.raises(Misconfigured, match=f"{topic}/0 does not have the position where reading continues"):
        bundle.until(lambda: member.step().records != [])


def test_an_error_that_comes_with_records_loses_none_of_them(bundle: KafkaBundle) -> None:
    topic = bundle.topic(2)
    bundle.write(topic, [Outgoing(key=None, value=b"%d" % n, partition=n % 2) for n in range(4)])
    bundle.trim(TopicPartition(topic, 0), 1)
    member = bundle.joined("a", topic).start()
    raised: list[Misconfigured] = []

    def both_came() -> bool:
        try:
            member.step()
        except Misconfigured as error:
            raised.append(error)
        return bool(raised) and len(member.records) == 2

    bundle.until(both_came)
    assert member.values() == [b"1", b"3"]


def test_subscribing_to_a_topic_that_does_not_exist_is_the_operators_to_mend(bundle: KafkaBundle) -> None:
    participant = bundle.participant("a", "no-such-topic")
    with pytest.raises(Misconfigured, match="no-such-topic") as raised:
        bundle.until(lambda: participant.step().owned != set())
    assert raised.value.hint.endswith(": stream-triggers topics create")


# Readers


def test_a_reader_at_the_end_does_not_wait_for_more(bundle: KafkaBundle) -> None:
    topic = bundle.topic(1)
    reader = bundle.reading({TopicPartition(topic, 0): 0}).reader
    began_s = time.monotonic()
    assert list(reader.poll(10, LONG_S)) == []
    assert time.monotonic() - began_s < LONG_S


def test_a_reader_that_goes_back_is_there_at_once(bundle: KafkaBundle) -> None:
    topic = bundle.topic(1)
    bundle.write(topic, values_of(b"0", b"1", b"2"))
    reading = bundle.reading({TopicPartition(topic, 0): 0})
    for _ in range(20):
        bundle.until(lambda: len(reading.step().records) == 3)
        reading.records.clear()
        reading.reader.assign({TopicPartition(topic, 0): 0})
        assert reading.reader.positions() == {TopicPartition(topic, 0): 0}


def test_a_reader_of_nothing_has_no_positions(bundle: KafkaBundle) -> None:
    reader = bundle.reading({}).reader
    assert list(reader.poll(10, 0.0)) == []
    assert reader.positions() == {}


def test_reading_below_what_is_kept_is_the_operators_to_mend(bundle: KafkaBundle) -> None:
    topic = bundle.topic(1)
    bundle.write(topic, values_of(b"1", b"2"))
    bundle.trim(TopicPartition(topic, 0), 1)
    reading = bundle.reading({TopicPartition(topic, 0): 0})
    with pytest.raises(Misconfigured, match="does not have the position where reading continues"):
        bundle.until(lambda: reading.step().records != [])


# Topics


def test_a_topic_with_a_setting_kafka_does_not_know_is_not_created(bundle: KafkaBundle) -> None:
    with pytest.raises(Misconfigured, match="creating topic refused"):
        bundle.observer.create_topics([TopicSpec("refused", 1, {"no.such.setting": "1"})])
    assert bundle.observer.topics(["refused"]) == {}


def test_a_topic_that_was_created_can_be_used_at_once(bundle: KafkaBundle) -> None:
    topic = bundle.topic(20)
    assert set(bundle.observer.end_offsets(all_of(topic, *range(20))).values()) == {0}
    bundle.write(topic, [Outgoing(key=None, value=b"x", partition=n) for n in range(20)])


def test_brokers_that_do_not_answer_are_unavailable() -> None:
    member = KafkaLog(KafkaSettings("127.0.0.1:1", group="g")).member()
    with pytest.raises(Unavailable):
        member.committed([TopicPartition("t", 0)], 0.2)
    member.close()
