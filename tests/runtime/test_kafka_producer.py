"""Writing to a real Kafka: what a transaction does when records, connections or the membership fail; senders."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from stream_triggers.errors import Aborted, DeliveryFailed, Misconfigured, Unavailable, Unsettled
from stream_triggers.runtime.kafka import KafkaLog, KafkaSettings
from stream_triggers.runtime.log import Membership, Outgoing, TopicPartition
from tests.runtime.kafka_bundle import KafkaBundle
from tests.runtime.log_bundle import all_of, commit_records, committed, values_of

pytestmark = pytest.mark.kafka


@pytest.fixture
def bundle(bootstrap_servers: str) -> Iterator[KafkaBundle]:
    bundle = KafkaBundle(bootstrap_servers)
    yield bundle
    bundle.close()


# What a full buffer, a large record and a missing topic do


def test_a_send_buffer_smaller_than_the_batch_loses_doubles_and_reorders_nothing(bundle: KafkaBundle) -> None:
    topic = bundle.topic(2)
    producer = bundle.log("a", queue_buffering_max_messages="50").producer()
    producer.open()
    commit_records(producer, topic, [Outgoing(key=None, value=b"%d" % n, partition=n % 2) for n in range(2000)])
    producer.close()
    for partition in (0, 1):
        written = [b"%d" % n for n in range(partition, 2000, 2)]
        assert bundle.read(TopicPartition(topic, partition)) == written


def test_a_record_larger_than_the_client_takes_is_refused_at_once(bundle: KafkaBundle) -> None:
    topic = bundle.topic(1)
    producer = bundle.producer("a")
    producer.begin()
    with pytest.raises(Misconfigured, match=f"writing to {topic}.*MSG_SIZE_TOO_LARGE") as raised:
        producer.produce(topic, values_of(b"x" * 9_000_000))
    assert raised.value.hint == "raise the topic's max.message.bytes, or lower payload_bytes_max"


def test_a_record_the_broker_refuses_fails_the_commit(bundle: KafkaBundle) -> None:
    topic = bundle.topic(1, max_message_bytes="1000", compression_type="uncompressed")
    producer = bundle.log("a", compression_type="none").producer()
    producer.open()
    producer.begin()
    producer.produce(topic, values_of(b"small"))
    producer.produce(topic, values_of(b"x" * 5000))
    with pytest.raises(Misconfigured, match=f"{topic}.*Message size too large"):
        producer.commit()
    producer.abort()
    producer.close()
    assert bundle.read(TopicPartition(topic, 0)) == []


def test_writing_to_a_topic_that_does_not_exist_fails_the_commit(bundle: KafkaBundle) -> None:
    producer = bundle.log("a", topic_metadata_propagation_max_ms="100").producer()
    producer.open()
    producer.begin()
    producer.produce("no-such-topic", values_of(b"x"))
    with pytest.raises(Misconfigured, match="writing to no-such-topic"):
        producer.commit()
    producer.close()


def test_a_partition_that_does_not_exist_is_refused(bundle: KafkaBundle) -> None:
    topic = bundle.topic(1)
    producer = bundle.producer("a")
    commit_records(producer, topic, values_of(b"known by now"))
    producer.begin()
    with pytest.raises(Misconfigured, match="Unknown partition"):
        producer.produce(topic, [Outgoing(key=None, value=b"x", partition=7)])


# Fencing


@pytest.mark.parametrize(
    ("generation", "member_id"), [(-1, ""), (-1, "kafka-test"), (3, "")], ids=["neither", "no generation", "no member"]
)
def test_positions_that_would_not_be_fenced_are_refused(bundle: KafkaBundle, generation: int, member_id: str) -> None:
    topic = bundle.topic(1)
    member = bundle.joined("a", topic).member
    producer = bundle.producer("a")
    producer.begin()
    with pytest.raises(Aborted, match="would not be fenced"):
        producer.send_offsets({TopicPartition(topic, 0): 7}, Membership(generation, member_id, b"anything"))
    producer.abort()
    assert committed(member, TopicPartition(topic, 0)) is None


def test_a_transaction_without_positions_is_refused(bundle: KafkaBundle) -> None:
    member = bundle.joined("a", bundle.topic(1)).member
    producer = bundle.producer("a")
    producer.begin()
    with pytest.raises(Aborted, match="without positions"):
        producer.send_offsets({}, member.membership())


def test_a_producer_that_is_open_ends_nothing_of_a_closed_ones_successor(bundle: KafkaBundle) -> None:
    topic = bundle.topic(1)
    first = bundle.producer("a")
    first.begin()
    first.produce(topic, values_of(b"dropped"))
    second = bundle.producer("a")
    second.begin()
    second.produce(topic, values_of(b"kept"))
    first.close()
    second.commit()
    assert bundle.read(TopicPartition(topic, 0)) == [b"kept"]


# Connections


def test_after_a_commit_during_which_a_connection_broke_no_other_is_begun(bundle: KafkaBundle) -> None:
    topic = bundle.topic(1)
    before = _sockets(bundle)
    producer = bundle.producer("a")
    producer.begin()
    producer.produce(topic, values_of(b"1"))
    bundle.until_written(TopicPartition(topic, 0), 1)
    _cut(_sockets(bundle) - before)
    producer.commit()
    with pytest.raises(Unsettled, match="a connection broke at the end of the last transaction"):
        producer.begin()
    commit_records(bundle.producer("a"), topic, values_of(b"2"))
    assert bundle.read(TopicPartition(topic, 0)) == [b"1", b"2"]


def test_a_connection_that_broke_between_transactions_is_no_reason_for_doubt(bundle: KafkaBundle) -> None:
    topic = bundle.topic(1)
    before = _sockets(bundle)
    producer = bundle.producer("a")
    commit_records(producer, topic, values_of(b"1"))
    _cut(_sockets(bundle) - before)
    bundle.until(lambda: not _sockets(bundle) - before)
    commit_records(producer, topic, values_of(b"2"))
    commit_records(producer, topic, values_of(b"3"))
    assert bundle.read(TopicPartition(topic, 0)) == [b"1", b"2", b"3"]


def _sockets(bundle: KafkaBundle) -> set[int]:
    """File descriptors of this process's connections to the broker."""
    port = int(bundle.bootstrap_servers.rpartition(":")[2])
    connections = psutil.Process().net_connections("tcp")
    return {each.fd for each in connections if each.raddr and each.raddr.port == port and each.status == "ESTABLISHED"}


def _cut(descriptors: set[int]) -> None:
    for descriptor in descriptors:
        with (
            suppress(OSError),  # the library has closed it meanwhile
            socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM) as connection,
        ):
            connection.shutdown(socket.SHUT_RDWR)


def test_a_producer_of_brokers_that_do_not_answer_is_unavailable() -> None:
    settings = KafkaSettings("127.0.0.1:1", transactional_id="t", transaction_timeout_ms=1000)
    producer = KafkaLog(settings).producer()
    with pytest.raises(Unavailable, match="taking over the transactional id took longer than 1 s"):
        producer.open()
    producer.close()
    producer.close()


# Senders


def test_what_a_sender_flushed_has_arrived_in_order(bundle: KafkaBundle) -> None:
    topic = bundle.topic(2)
    sender = bundle.log("a", queue_buffering_max_messages="50").sender(_by_key)
    sender.send(topic, [Outgoing(key=None, value=b"%d" % n, partition=n % 2) for n in range(1000)])
    sender.flush(10)
    assert bundle.observer.end_offsets(all_of(topic, 0, 1)) == dict.fromkeys(all_of(topic, 0, 1), 500)
    sender.close()
    assert bundle.read(TopicPartition(topic, 1)) == [b"%d" % n for n in range(1, 1000, 2)]


def test_a_flush_names_the_messages_that_failed_and_only_once(bundle: KafkaBundle) -> None:
    topic = bundle.topic(1, max_message_bytes="1000")
    sender = bundle.log("a", compression_type="none").sender(_by_key)
    sender.send(topic, [Outgoing(key=b"good", value=b"x")])
    sender.flush(10)
    sender.send(topic, [Outgoing(key=b"too large for the topic", value=b"x" * 2000)])
    sender.send(topic, [Outgoing(key=b"too large for the client", value=b"x" * 9_000_000)])
    with pytest.raises(DeliveryFailed) as raised:
        sender.flush(10)
    too_large = "Broker: Message size too large (MSG_SIZE_TOO_LARGE)"
    assert sorted(raised.value.failures) == [
        ("too large for the client", too_large),
        ("too large for the topic", too_large),
    ]
    sender.send(topic, [Outgoing(key=b"good again", value=b"y")])
    sender.close()
    assert bundle.read(TopicPartition(topic, 0)) == [b"x", b"y"]


def test_a_flush_that_is_not_answered_is_unavailable() -> None:
    sender = KafkaLog(KafkaSettings("127.0.0.1:1")).sender(_by_key)
    sender.send("topic", [Outgoing(key=b"1", value=b"1")])
    with pytest.raises(Unavailable, match=r"not acknowledged within 0\.1 s: 1 message"):
        sender.flush(0.1)
    with pytest.raises(Unavailable):
        sender.close(0.1)


def _by_key(_topic: str, key: bytes | None, _value: bytes | None) -> str:
    return (key or b"").decode()
