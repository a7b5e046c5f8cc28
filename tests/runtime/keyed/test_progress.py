"""Progress and the watermark: what is known to have been routed, and what is not."""

from __future__ import annotations

import pytest

from stream_triggers.core.record import Start
from stream_triggers.runtime.clock import ManualClock
from stream_triggers.runtime.keyed.progress import (
    Lane,
    ProgressTable,
    Routing,
    lane_record,
    progress_record,
    read_lane,
)
from stream_triggers.runtime.log import Outgoing, TopicPartition
from stream_triggers.runtime.memory_log import MemoryCluster, MemoryLog
from stream_triggers.runtime.topics import Topics, specs

EVENTS_0, EVENTS_1 = TopicPartition("events", 0), TopicPartition("events", 1)
START_MS = 1_700_000_000_000
INPUTS = [TopicPartition(topic, at) for topic in ("events", "task-status", "task-results") for at in (0, 1)]


class Scene:
    """A cluster, its topics, and one who measures and reads progress."""

    def __init__(self) -> None:
        self.clock = ManualClock(START_MS)
        self.cluster = MemoryCluster(self.clock)
        self.topics = Topics("triggers")
        self.cluster.create_topics(specs(self.topics, {}, claim_retention_ms=1000, partitions=2))
        self.log = MemoryLog(self.cluster, "0", group_id="triggers")
        self.table = ProgressTable(self.log, self.topics)
        self.table.look_for_partitions()
        self.routing = Routing(self.log)

    def send(self, messages: int = 1) -> None:
        self.cluster.write("events", [Outgoing(key=None, value=b"", partition=0)] * messages)

    def route(self, count: int) -> None:
        """Note the last of the first ``count`` messages as routed."""
        self.routing.note({EVENTS_0: self.cluster.records("events")[count - 1]})

    def write(self, **routed_ms: int) -> None:
        self.cluster.write("progress", [progress_record(TopicPartition("events", 0), ms) for ms in routed_ms.values()])

    def measure(self, offset: int) -> int | None:
        ends, passed = self.routing.look({EVENTS_0: offset})
        return self.routing.measure({EVENTS_0: offset, **passed}, ends, self.clock.now_ms()).get(EVENTS_0)


def test_a_partition_that_is_read_to_its_end_is_routed_up_to_now() -> None:
    scene = Scene()
    scene.send()
    scene.route(1)
    scene.clock.advance(5000)
    assert scene.measure(1) == START_MS + 5000


def test_one_with_a_backlog_is_routed_up_to_its_last_message() -> None:
    scene = Scene()
    scene.send(2)
    scene.clock.advance(1000)
    scene.send()
    scene.route(2)
    scene.clock.advance(5000)
    assert scene.measure(2) == START_MS
    assert scene.measure(2) == START_MS


def test_of_a_backlog_of_which_nothing_has_been_routed_nothing_is_known() -> None:
    scene = Scene()
    scene.send()
    assert scene.measure(0) is None


def test_a_message_from_the_future_proves_nothing_about_it() -> None:
    scene = Scene()
    scene.clock.advance(9000)
    scene.send(2)
    scene.route(1)
    assert scene.routing.measure({EVENTS_0: 1}, {EVENTS_0: 2}, START_MS) == {EVENTS_0: START_MS}


def test_markers_at_the_end_of_a_partition_are_no_backlog() -> None:
    scene = Scene()
    producer = scene.log.producer()
    producer.open()
    producer.begin()
    producer.produce("events", [Outgoing(key=None, value=b"", partition=0)])
    producer.commit()
    scene.route(1)
    scene.clock.advance(5000)
    assert scene.measure(1) == START_MS
    assert scene.measure(1) == START_MS + 5000  # nothing has come since the last time, so it has been looked at


def test_a_transaction_that_is_open_there_is_a_backlog() -> None:
    scene = Scene()
    scene.send()
    scene.route(1)
    producer = scene.log.producer()
    producer.open()
    producer.begin()
    producer.produce("events", [Outgoing(key=None, value=b"", partition=0)])
    assert [scene.measure(1), scene.measure(1)] == [START_MS, START_MS]


def test_what_is_forgotten_is_measured_anew() -> None:
    scene = Scene()
    scene.send(2)
    scene.route(1)
    scene.routing.forget([EVENTS_0])
    assert scene.measure(1) is None


# The table


def test_the_watermark_is_the_least_progress_of_all_partitions() -> None:
    scene = Scene()
    scene.cluster.write("progress", [progress_record(each, 100 + at) for at, each in enumerate(INPUTS)])
    scene.table.catch_up()
    assert scene.table.watermark_ms == 100


def test_there_is_none_while_that_of_any_is_unknown() -> None:
    scene = Scene()
    scene.cluster.write("progress", [progress_record(each, 100) for each in INPUTS[1:]])
    scene.table.catch_up()
    assert scene.table.watermark_ms == 0


def test_progress_never_goes_back() -> None:
    scene = Scene()
    scene.cluster.write("progress", [progress_record(each, 100) for each in INPUTS])
    scene.cluster.write("progress", [progress_record(EVENTS_1, 50)])
    scene.table.catch_up()
    assert scene.table.watermark_ms == 100


def test_partitions_that_are_added_count_when_they_have_been_looked_for() -> None:
    scene = Scene()
    scene.cluster.write("progress", [progress_record(each, 100) for each in INPUTS])
    scene.table.catch_up()
    scene.cluster.topic("events").spec = specs(scene.topics, {}, claim_retention_ms=1000, partitions=3)[0]
    scene.table.look_for_partitions()
    assert scene.table.watermark_ms == 0


def test_what_is_not_committed_is_not_known() -> None:
    scene = Scene()
    scene.cluster.write("progress", [progress_record(each, 100) for each in INPUTS])
    producer = scene.log.producer()
    producer.open()
    producer.begin()
    producer.produce("progress", [progress_record(each, 900) for each in INPUTS])
    scene.table.catch_up()
    assert scene.table.watermark_ms == 100
    producer.commit()
    scene.table.catch_up()
    assert scene.table.watermark_ms == 900


# Triggers that catch up


def lanes(scene: Scene, *lanes: Lane) -> int | None:
    """The watermark of a trigger when everything is routed up to 9, and its lanes have come so far."""
    for partition in INPUTS:
        scene.cluster.write("progress", [progress_record(partition, 9)])
    scene.cluster.write("progress", [lane_record(each) for each in lanes])
    scene.table.catch_up()
    return scene.table.watermark_of("late", Start(0, 1))


JOINED = [Lane(partition, "late", 1, 5, 3, joined=True) for partition in INPUTS]


def test_a_trigger_that_has_joined_everywhere_has_no_watermark_of_its_own() -> None:
    assert lanes(Scene(), *JOINED) is None


def test_where_a_lane_is_not_open_yet_nothing_is_known() -> None:
    assert lanes(Scene(), *JOINED[1:]) == 0


def test_the_lane_of_another_epoch_or_trigger_is_none_of_its() -> None:
    others = [JOINED[0]._replace(epoch=0), JOINED[0]._replace(trigger_id="lat")]
    assert lanes(Scene(), *JOINED[1:], *others) == 0


def test_its_watermark_is_that_of_the_hindmost_lane_and_none_beyond_the_one_of_all() -> None:
    first, second, *others = JOINED
    behind = [first._replace(joined=False, routed_ms=4), second._replace(joined=False, routed_ms=6)]
    assert lanes(Scene(), *behind, *others) == 4
    assert lanes(Scene(), first._replace(joined=False, routed_ms=20), *JOINED[1:]) == 9


def test_what_this_worker_has_measured_of_a_lane_counts_until_it_is_forgotten() -> None:
    scene = Scene()
    behind = JOINED[0]._replace(joined=False, routed_ms=4)
    assert lanes(scene, behind, *JOINED[1:]) == 4
    scene.table.measured_lane(behind._replace(routed_ms=7))
    assert scene.table.watermark_of("late", Start(0, 1)) == 7
    scene.table.forget(EVENTS_0)
    assert scene.table.watermark_of("late", Start(0, 1)) == 4


@pytest.mark.parametrize("value", [b"", b"\1" + bytes(16), b"\2" + bytes(17), b"\1" + bytes(18)])
def test_a_record_of_another_form_is_no_lane(value: bytes) -> None:
    scene = Scene()
    scene.cluster.write("progress", [Outgoing(key=lane_record(JOINED[0])["key"], value=value)])
    assert [read_lane(each) for each in scene.cluster.records("progress")] == [None]
