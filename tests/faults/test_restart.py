"""Workers that end in the middle of their work, and those that go on: with their state, without it, in their place."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from confluent_kafka import Producer

from stream_triggers.broker import Broker
from stream_triggers.core.record import DeadLetter, Header
from stream_triggers.runtime.log import TopicPartition
from tests.faults.crew import FENCED, until
from tests.faults.life import POINTS, Fault, Point
from tests.faults.scene import Scene

logger = logging.getLogger(__name__)

pytestmark = pytest.mark.kafka

Make = Callable[..., Scene]
HEADERS = [("who", b"me"), ("no", None)]


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_at_a_point_of_its_protocol_is_followed_by_one_that_loses_and_doubles_nothing(
    make_scene: Make, kafka_broker: Broker, point: Point
) -> None:
    scene = make_scene(kafka_broker.bootstrap_servers)
    if point == "restored":
        scene.crew.start("0")
        scene.feeder.send(300)
        scene.judge.until_quiet()
        scene.crew.stop()
        scene.crew.forget("0")
    life = scene.crew.start("0", Fault(point))
    scene.feeder.send(300)
    life.until("ended")
    scene.feeder.repeat_all(100)
    scene.crew.start("0")
    scene.settle()
    assert scene.crew.account.faults == {point: 1}


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "lost"])
def test_a_message_repeated_after_a_restart_fires_nothing_with_the_local_state_kept_or_lost(
    make_scene: Make, kafka_broker: Broker, kept: bool
) -> None:
    scene = make_scene(kafka_broker.bootstrap_servers)
    life = scene.crew.start("0")
    scene.feeder.send(300)
    scene.judge.until_quiet()
    life.kill()
    life.until("ended")
    if not kept:
        scene.crew.forget("0")
    scene.feeder.repeat_all(300)
    scene.crew.start("0")
    scene.feeder.send(100)
    report = scene.settle()
    assert report.repeated >= 250


def test_a_restart_with_its_state_needs_nothing_of_the_changelog_that_it_had_read(
    make_scene: Make, kafka_broker: Broker
) -> None:
    scene = make_scene(kafka_broker.bootstrap_servers)
    scene.crew.start("0")
    scene.feeder.send(300)
    scene.judge.until_quiet()
    scene.crew.stop()
    scene.judge.empty_changelogs()
    scene.feeder.repeat_all(300)
    scene.crew.start("0")
    report = scene.settle()
    assert report.repeated >= 250


def test_another_slot_takes_over_with_what_the_changelog_says(make_scene: Make, kafka_broker: Broker) -> None:
    scene = make_scene(kafka_broker.bootstrap_servers)
    first, second = scene.crew.start("0"), scene.crew.start("1")
    for life in (first, second):
        until(lambda life=life: _sent_until_applied(scene, life), "both take part")
    scene.feeder.send(300)
    scene.judge.until_quiet()
    first.kill()
    first.until("ended")
    scene.feeder.repeat_all(300)
    scene.feeder.send(100)
    report = scene.settle()
    assert report.repeated >= 250


def _sent_until_applied(scene: Scene, life) -> bool:
    scene.feeder.send(50)
    return "applied" in life.told


def test_the_older_of_two_workers_of_one_slot_stops_as_fenced_and_nothing_is_lost(
    make_scene: Make, kafka_broker: Broker
) -> None:
    scene = make_scene(kafka_broker.bootstrap_servers)
    older = scene.crew.start("0")
    scene.feeder.start()
    older.until("applied")
    newer = scene.crew.start("0")
    older.until("ended")
    assert older.status == FENCED, older.log_tail()
    newer.until("applied")
    scene.feeder.stop()
    scene.settle()


def test_dead_letters_hold_the_original_bytes_once_although_the_worker_was_killed(
    make_scene: Make, kafka_broker: Broker
) -> None:
    scene = make_scene(kafka_broker.bootstrap_servers)
    poison = [(b"key-%d" % n, b"\xc3\x01 not a message %d" % n) for n in range(40)]
    events = TopicPartition(scene.judge.topics.events, 3)
    producer = Producer({"bootstrap.servers": kafka_broker.bootstrap_servers})
    for key, value in poison:
        scene.feeder.send(5)
        producer.produce(events.topic, value, key, events.partition, timestamp=77, headers=HEADERS)
    producer.flush()
    scene.crew.start("0", Fault("produced")).until("ended")
    scene.crew.start("0")
    report = scene.settle()
    letters = sorted(scene.judge.dead_letters(), key=lambda letter: letter.offset)
    assert [(each.key, each.value) for each in letters] == poison
    assert {(each.topic, each.partition, each.timestamp_ms, each.stage, each.headers) for each in letters} == {
        (*events, 77, "decode", tuple(Header(*each) for each in HEADERS))
    }
    assert all(type(each) is DeadLetter and each.error for each in letters)
    assert report.rejected == len(poison)


def test_definitions_applied_under_load_are_in_force_from_one_position_of_each_partition_on(
    make_scene: Make, kafka_broker: Broker
) -> None:
    scene = make_scene(kafka_broker.bootstrap_servers)
    lives = [scene.crew.start(slot) for slot in ("0", "1")]
    scene.feeder.start()
    for life in lives:
        life.until("applied")
    extra = {
        "id": "extra",
        "when": {"event": "order.placed"},
        "task": "tell",
        "args": {"v": 0, "n": "${event.payload.n}"},
    }
    for version in range(1, 6):
        scene.client.register_trigger({**extra, "args": {**extra["args"], "v": version}})
        after = scene.feeder.sent + 200
        until(lambda after=after: scene.feeder.sent >= after, "messages between two definitions")
        if version == 3:
            lives[0].kill()
            lives[0].until("ended")
            scene.crew.start("0")
    scene.client.delete_trigger("extra")
    after = scene.feeder.sent + 200
    until(lambda: scene.feeder.sent >= after, "messages after the last definition")
    scene.feeder.stop()
    scene.judge.until_quiet()
    scene.crew.stop()
    fired = [each for each in scene.judge.invocations() if each.trigger_id == "extra"]
    assert {each.arguments["v"] for each in fired} == {1, 2, 3, 4, 5}
    scene.judge.assert_exactly_once(scene.feeder.expected(), besides={"extra"})


def test_a_rolling_restart_under_load_makes_readers_wait_less_than_five_seconds(
    make_scene: Make, kafka_broker: Broker
) -> None:
    scene = make_scene(kafka_broker.bootstrap_servers)
    slots = ("0", "1", "2")
    lives = [scene.crew.start(slot) for slot in slots]
    scene.feeder.start()
    for life in lives:
        life.until("applied")
    with scene.judge.watch_stalls() as stalls:
        for slot in slots:
            life = scene.crew.lives[slot]
            life.ask_to_stop()
            life.until("ended")
            scene.crew.start(slot).until("applied")
    scene.feeder.stop()
    scene.settle()
    logger.info("longest stall: %.2f s", stalls.longest_s)
    assert stalls.records > 0
    assert stalls.longest_s < 5.0
