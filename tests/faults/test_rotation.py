"""Workers in rotation under a running sender, and the broker killed in between: nothing lost, doubled, out of order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stream_triggers.broker import Broker
from tests.faults.life import Fault
from tests.faults.scene import Scene
from tests.faults.storm import ACTS, Storm, make_a_zombie, rotation

pytestmark = pytest.mark.kafka

Make = Callable[..., Scene]
SLOTS = ("0", "1", "2")
FAULTS = 200
SHORT_SESSION = {"session_timeout_ms": 2000, "transaction_timeout_ms": 8000}
"""A zombie's transaction is still open when the others have its partitions."""


def test_nothing_is_lost_or_doubled_by_two_hundred_ends_of_workers_and_one_of_the_broker(
    make_scene: Make, own_broker: Broker
) -> None:
    scene = make_scene(own_broker.bootstrap_servers)
    storm = Storm(scene, SLOTS, seed=11)
    scene.feeder.start()
    storm.run(FAULTS // 2)
    own_broker.kill()
    own_broker.restart()
    storm.run(FAULTS)
    scene.feeder.stop()
    scene.heal(SLOTS)
    scene.settle()
    assert scene.crew.account.total >= FAULTS


def test_nothing_is_lost_or_doubled_by_workers_that_end_stop_or_wake_up_as_zombies_in_turn(
    make_scene: Make, kafka_broker: Broker
) -> None:
    scene = make_scene(kafka_broker.bootstrap_servers, **SHORT_SESSION)
    scene.feeder.start()
    rotation(scene, SLOTS, cycles=len(ACTS))
    scene.feeder.stop()
    report = scene.settle()
    assert report.repeated > 0


def test_the_judge_notices_a_zombie_whose_positions_are_not_fenced(make_scene: Make, kafka_broker: Broker) -> None:
    scene = make_scene(kafka_broker.bootstrap_servers, **SHORT_SESSION)
    scene.feeder.start()
    scene.crew.start("1").until("applied")
    zombie = scene.crew.start("0", Fault("processed", occurrence=3, action="stop"), sabotage="unfenced")
    make_a_zombie(scene, zombie)
    zombie.until("applied")
    scene.feeder.stop()
    with pytest.raises(AssertionError, match=r"'duplicated': [1-9]"):
        scene.settle()
