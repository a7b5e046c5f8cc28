"""Answers of the broker that come late or never, and commits that arrive when nobody expects them any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from stream_triggers.broker import Broker
from tests.faults.proxy import Call, Cut, Delayed, Dropped, Late, Proxy
from tests.faults.scene import Scene

pytestmark = pytest.mark.kafka

Make = Callable[..., Scene]
SHORT = {"session_timeout_ms": 4000, "transaction_timeout_ms": 2000}
BEYOND_S = 3.0
"""Longer than a transaction may be open, and than a client waits for an answer in one."""

CALLS = (
    Call.END_TXN,
    Call.TXN_OFFSET_COMMIT,
    Call.ADD_OFFSETS_TO_TXN,
    Call.ADD_PARTITIONS_TO_TXN,
    Call.PRODUCE,
)
LATE_COMMIT = Late(after=Call.PRODUCE)
"""A commit that reaches the broker when the next transaction has begun to write."""


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


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name.lower())
def test_an_answer_that_is_late_or_never_comes_loses_and_doubles_nothing(
    scene: Scene, proxy: Proxy, call: Call
) -> None:
    scene.crew.start("0").until("applied")
    for trouble in (Cut(), Delayed(0.5), Dropped(), Delayed(BEYOND_S)):
        proxy.prepare(call, trouble)()
    scene.feeder.stop()
    scene.settle()


def test_a_worker_that_is_not_told_its_producer_id_asks_again(scene: Scene, proxy: Proxy) -> None:
    for trouble in (Cut(), Dropped()):
        is_met = proxy.prepare(Call.INIT_PRODUCER_ID, trouble)
        life = scene.crew.start("0")
        is_met()
        assert life.until("applied")
        life.kill()
        life.until("ended")
    scene.feeder.stop()
    scene.crew.start("0")
    scene.settle()


def test_a_commit_that_arrives_during_the_next_transaction_commits_nothing_of_it(scene: Scene, proxy: Proxy) -> None:
    scene.crew.start("0").until("applied")
    for _ in range(3):
        proxy.prepare(Call.END_TXN, LATE_COMMIT)()
    scene.feeder.stop()
    scene.settle()


def test_the_judge_notices_a_producer_that_goes_on_after_a_commit_in_doubt(scene: Scene, proxy: Proxy) -> None:
    scene.crew.start("0", sabotage="reused").until("applied")
    for _ in range(3):
        proxy.prepare(Call.END_TXN, LATE_COMMIT)()
    scene.feeder.stop()
    with pytest.raises(AssertionError, match=r"'lost': [1-9]|'duplicated': [1-9]"):
        scene.settle()
