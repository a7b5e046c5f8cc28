"""Workers of this release and of a next one, on the same topics."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stream_triggers.broker import Broker
from tests.faults.crew import until
from tests.faults.scene import Scene

pytestmark = pytest.mark.kafka

Make = Callable[..., Scene]


def test_workers_of_two_releases_side_by_side_and_an_upgrade_of_all_lose_and_double_nothing(
    make_scene: Make, kafka_broker: Broker
) -> None:
    scene = make_scene(kafka_broker.bootstrap_servers)
    scene.feeder.start()
    for slot in ("0", "1"):
        scene.crew.start(slot).until("applied")
    for release in ("next", "next alone"):
        for slot in ("0", "1"):
            scene.crew.lives[slot].ask_to_stop()
            scene.crew.lives[slot].until("ended")
            scene.crew.forget(slot)  # what it knows, it then has from the changelogs
            scene.crew.start(slot, release=release).until("applied")
            scene.feeder.repeat_all(100)
    scene.feeder.stop()
    report = scene.settle()
    assert report.repeated >= 100


def test_this_release_leaves_alone_what_a_newer_one_has_written_and_a_newer_one_goes_on_with_it(
    make_scene: Make, kafka_broker: Broker
) -> None:
    scene = make_scene(kafka_broker.bootstrap_servers)
    newer = scene.crew.start("0", release="next alone")
    scene.feeder.send(300)
    scene.judge.until_quiet()
    newer.ask_to_stop()
    newer.until("ended")
    older = scene.crew.start("1")
    scene.feeder.send(300)
    until(lambda: "partition refused" in older.log_tail(), "partitions are refused")
    assert "this release reads up to 1" in older.log_tail()
    assert not older.is_over
    older.ask_to_stop()
    older.until("ended")
    scene.crew.start("0", release="next alone")
    scene.settle()
