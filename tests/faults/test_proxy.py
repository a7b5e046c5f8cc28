"""Answers of the broker that come late or never, and commits that arrive when nobody expects them any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from stream_triggers.broker import Broker
from stream_triggers.errors import Unsettled
from stream_triggers.runtime.kafka import KafkaLog, KafkaSettings
from stream_triggers.runtime.log import Outgoing, TopicSpec
from tests.faults.proxy import LATE, TROUBLES, Call, Cut, Proxy, Silenced
from tests.faults.scene import Scene

pytestmark = pytest.mark.kafka

_numbers = count(1)
Make = Callable[..., Scene]
SHORT = {"session_timeout_ms": 4000, "transaction_timeout_ms": 2000}


@pytest.fixture
def proxy(kafka_broker: Broker) -> Iterator[Proxy]:
    with Proxy(kafka_broker.port) as running:
        yield running


@pytest.fixture
def scene(make_scene: Make, kafka_broker: Broker, proxy: Proxy) -> Scene:
    """An application under load, whose worker talks to the broker through the proxy."""
    scene = make_scene(kafka_broker.bootstrap_servers, through=proxy.bootstrap_servers, **SHORT)
    scene.feeder.start()
    return scene


@pytest.mark.parametrize("call", TROUBLES, ids=lambda call: call.name.lower())
def test_an_answer_that_is_late_or_never_comes_loses_and_doubles_nothing(
    scene: Scene, proxy: Proxy, call: Call
) -> None:
    scene.crew.start("0").until("applied")
    for trouble in TROUBLES[call]:
        proxy.prepare(call, trouble)()
    scene.feeder.stop()
    scene.settle()


def test_a_worker_that_is_not_told_its_producer_id_asks_again(scene: Scene, proxy: Proxy) -> None:
    for trouble in (Cut(), Silenced()):
        is_met = proxy.prepare(Call.INIT_PRODUCER_ID, trouble)
        life = scene.crew.start("0")
        is_met()
        assert life.until("applied")
        life.kill()
        life.until("ended")
    scene.feeder.stop()
    scene.crew.start("0")
    scene.settle()


@pytest.mark.parametrize("call", LATE, ids=lambda call: call.name.lower())
def test_a_request_that_arrives_when_its_transaction_is_over_changes_nothing(
    scene: Scene, proxy: Proxy, call: Call
) -> None:
    scene.crew.start("0").until("applied")
    for _ in range(3):
        proxy.prepare(call, LATE[call])()
    scene.feeder.stop()
    scene.settle()


def test_the_judge_notices_a_producer_that_goes_on_after_a_commit_in_doubt(scene: Scene, proxy: Proxy) -> None:
    scene.crew.start("0", sabotage="reused").until("applied")
    for _ in range(20):  # not each of them hits a moment at which it does harm
        proxy.prepare(Call.END_TXN, LATE[Call.END_TXN])()
    scene.feeder.stop()
    with pytest.raises(AssertionError, match=r"'lost': [1-9]|'duplicated': [1-9]"):
        scene.settle()


# The producer alone


@pytest.fixture
def log(kafka_broker: Broker, proxy: Proxy) -> KafkaLog:
    """Connected through the proxy, with a topic ``written``."""
    name = f"proxied-{next(_numbers)}"
    log = KafkaLog(KafkaSettings(proxy.bootstrap_servers, transactional_id=name, transaction_timeout_ms=5000))
    log.create_topics([TopicSpec("written", 1, {})])
    return log


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_no_transaction_begins_on_a_producer_whose_last_one_was_ended_without_an_answer(
    log: KafkaLog, proxy: Proxy, end: str
) -> None:
    producer = log.producer()
    producer.open()
    producer.begin()
    producer.produce("written", [Outgoing(key=None, value=b"1")])
    is_cut = proxy.prepare(Call.END_TXN, Cut())
    getattr(producer, end)()
    is_cut()
    with pytest.raises(Unsettled, match="may have been sent twice"):
        producer.begin()
    producer.close()


def test_a_producer_whose_transactions_were_ended_with_an_answer_goes_on(log: KafkaLog) -> None:
    producer = log.producer()
    producer.open()
    for _ in range(3):
        producer.begin()
        producer.produce("written", [Outgoing(key=None, value=b"1")])
        producer.commit()
        producer.begin()
        producer.produce("written", [Outgoing(key=None, value=b"2")])
        producer.abort()
    producer.close()


def test_a_producer_that_aborts_before_it_heard_which_partitions_take_part_is_given_up(
    log: KafkaLog, proxy: Proxy
) -> None:
    producer = log.producer()
    producer.open()
    producer.begin()
    is_silenced = proxy.prepare(Call.ADD_PARTITIONS_TO_TXN, Silenced())
    producer.produce("written", [Outgoing(key=None, value=b"1")])
    is_silenced()
    producer.abort()
    with pytest.raises(Unsettled, match="may have been sent twice"):
        producer.begin()
    producer.close()
    del producer  # only now the client ends, which aborted the process when a single answer was missing
    second = log.producer()
    second.open()
    second.begin()
    second.produce("written", [Outgoing(key=None, value=b"2")])
    second.commit()
    second.close()
