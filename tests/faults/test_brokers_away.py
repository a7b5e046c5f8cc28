"""Brokers that go away and come back, while workers and senders live on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import psutil
import pytest

from stream_triggers.broker import Broker
from stream_triggers.client import Client
from stream_triggers.errors import Unavailable, Unsettled
from stream_triggers.runtime.kafka import KafkaLog, KafkaSettings
from stream_triggers.runtime.kafka.holder import holder_of
from stream_triggers.runtime.log import TopicPartition, TopicSpec
from tests.faults.crew import until
from tests.faults.scene import Scene

pytestmark = pytest.mark.kafka

Make = Callable[..., Scene]
MIB = 1024 * 1024


def test_offsets_are_told_by_brokers_that_have_come_back(own_broker: Broker) -> None:
    log = KafkaLog(KafkaSettings(own_broker.bootstrap_servers))
    partition = TopicPartition("t", 0)
    log.create_topics([TopicSpec("t", 1, {})])
    assert log.end_offsets([partition]) == {partition: 0}
    own_broker.kill()
    own_broker.restart()

    def are_told() -> bool:
        try:
            return log.end_offsets([partition]) == {partition: 0}
        except Unavailable:  # for a moment, partitions have no leader
            return False

    until(are_told, "offsets are told")


class Parts:
    """Hears which partitions a member has."""

    def __init__(self) -> None:
        self.owned: set[TopicPartition] = set()
        self.times_lost = 0

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        self.owned.update(partitions)

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        self.owned.difference_update(partitions)

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        self.revoked(partitions)
        self.times_lost += 1


def _holder(settings: KafkaSettings) -> str | None:
    try:
        return holder_of(settings)
    except Unavailable:
        return "not known yet"


def test_a_member_that_the_library_takes_for_fenced_after_an_absence_of_the_brokers_joins_again(
    own_broker: Broker,
) -> None:
    settings = KafkaSettings(own_broker.bootstrap_servers, group="g", instance="g-0", session_timeout_ms=1000)
    log = KafkaLog(settings)
    log.create_topics([TopicSpec("t", 1, {})])
    member, parts = log.member(), Parts()

    def joined() -> bool:
        member.poll(1, 0.1)
        return parts.owned == {TopicPartition("t", 0)}

    member.subscribe(["t"], parts)
    until(joined, "the member owns the partition")
    own_broker.kill()
    own_broker.restart()
    # Not polled, it does not hear that its session has ended, and the library goes on without its member id.
    until(lambda: _holder(settings) is None, "the group has done without it for a session")
    until(lambda: (joined(), parts.times_lost)[1] == 1, "the loss is heard")
    until(joined, "the member owns the partition again")
    member.close()


def test_positions_that_are_sent_while_the_coordinator_is_away_come_to_an_end(own_broker: Broker) -> None:
    settings = KafkaSettings(
        own_broker.bootstrap_servers, group="g", transactional_id="g-0", transaction_timeout_ms=1000
    )
    log = KafkaLog(settings)
    log.create_topics([TopicSpec("t", 1, {})])
    member, parts, producer = log.member(), Parts(), log.producer()
    member.subscribe(["t"], parts)
    until(lambda: (member.poll(1, 0.1), parts.owned)[1] == {TopicPartition("t", 0)}, "the member owns the partition")
    producer.open()
    producer.begin()
    own_broker.kill()
    with pytest.raises(Unsettled, match="sending positions did not end"):
        producer.send_offsets({TopicPartition("t", 0): 0}, member.membership())
    own_broker.restart()
    producer.close()
    member.close()


def test_while_brokers_are_away_buffers_fill_to_their_bound_and_senders_wait(
    make_scene: Make, own_broker: Broker
) -> None:
    scene = make_scene(own_broker.bootstrap_servers)
    life = scene.crew.start("0")
    scene.feeder.send(300)
    scene.judge.until_quiet()
    worker = psutil.Process(life.pid)
    before = worker.memory_info().rss
    own_broker.kill()
    bound, many = 500, 5000
    client = Client(scene.config, kafka={"queue.buffering.max.messages": str(bound)})
    sent: list[int] = []

    def send() -> None:
        for n in range(many):
            client.emit_event("ignored", n, event_id=f"away-{n}")
            sent.append(n)

    sender = threading.Thread(target=send, name="sender")
    sender.start()
    until(lambda: len(sent) >= bound, "the buffer is full")
    while_away = worker.memory_info().rss
    assert len(sent) <= bound
    own_broker.restart()
    sender.join()
    client.close()
    scene.feeder.send(300)
    scene.settle()
    assert len(sent) == many
    assert while_away - before < 32 * MIB


def test_workers_that_live_through_the_end_of_a_broker_lose_and_double_nothing(
    make_scene: Make, own_broker: Broker
) -> None:
    scene = make_scene(own_broker.bootstrap_servers)
    lives = [scene.crew.start(slot) for slot in ("0", "1")]
    scene.feeder.start()
    for life in lives:
        life.until("applied")
    for _ in range(2):
        own_broker.kill()
        own_broker.restart()
        after = scene.feeder.sent + 300
        until(lambda after=after: scene.feeder.sent >= after, "messages after the restart")
    scene.feeder.stop()
    scene.settle()
    assert [life.status for life in lives] == [0, 0]
