"""What an owner writes of its own accord, and when it does not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stream_triggers.core.record import Activation, Tick
from stream_triggers.runtime.codec import decode
from stream_triggers.runtime.keyed.facts import Defined, KeyedTriggers, home_of
from stream_triggers.runtime.keyed.progress import ProgressTable, progress_record
from stream_triggers.runtime.keyed.upkeep import ASK_AGAIN_S, ASK_EVERY_S, Upkeep
from stream_triggers.runtime.log import Outgoing, TopicPartition
from stream_triggers.runtime.memory_log import MemoryLog
from stream_triggers.runtime.outputs import Outputs
from stream_triggers.runtime.topics import Topics, specs
from tests.runtime.keyed.material import PAIR, START_MS, Bench, active, fact, form, form_version, tick

EVENTS_0 = TopicPartition("events", 0)
INPUTS = [TopicPartition(topic, 0) for topic in ("events", "task-status", "task-results")]


class Definitions:
    """The keyed triggers in force."""

    def __init__(self) -> None:
        self.next_offset = 0
        self.defined: dict[str, Defined] = {}
        self.quarantined: set[str] = set()

    @property
    def keyed(self) -> KeyedTriggers:
        return KeyedTriggers(self.next_offset, self.defined, frozenset(self.quarantined))

    def define(self, trigger_id: str, definition: bytes) -> None:
        self.defined.pop(trigger_id, None)
        if definition:
            scheduled = b"every" in definition
            self.defined[trigger_id] = Defined(
                trigger_id, form_version(definition), self.next_offset, definition, scheduled
            )
        self.next_offset += 1


class Asked(MemoryLog):
    """A cluster that counts how often it is asked where partitions end."""

    questions = 0

    def end_offsets(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        self.questions += 1
        return super().end_offsets(partitions)


class Scene:
    """A bench, definitions, and the one who looks after it."""

    def __init__(self, partitions: int = 1) -> None:
        self.bench = Bench(partitions)
        topics = Topics("triggers")
        self.bench.cluster.create_topics(specs(topics, {}, claim_retention_ms=1000, partitions=1))
        self.definitions = Definitions()
        self.log = Asked(self.bench.cluster, "0", group_id="g")
        self.upkeep = Upkeep(
            self.log,
            topics,
            self.bench.clock,
            self.bench.states,
            self.definitions,
            ProgressTable(self.log, topics),
            partitions,
        )
        self.upkeep._table.look_for_partitions()
        for number in range(partitions):
            self.bench.states.partition(number)

    def progress(self, **routed_ms: int) -> None:
        self.bench.cluster.write("progress", [progress_record(each, routed_ms["all"]) for each in INPUTS])
        self.upkeep._table.catch_up()

    def written(self) -> list[str]:
        """What is written for the facts partitions now."""
        return [_said(record) for record in self.upkeep.facts()]

    def take_back(self) -> None:
        """Write what there is to be written, and read it."""
        self.bench.cluster.write("trigger-facts", self.upkeep.facts())
        self.bench.process()
        self.bench.commit()


def _said(record: Outgoing) -> str:
    match decode(record["value"], (Tick, Activation)):
        case Tick(wall_ms, watermark_ms):
            return f"tick {wall_ms - START_MS} {watermark_ms} to {record['partition']}"
        case Activation() as each:
            version = each.trigger_version or "deleted"
            return f"{each.trigger_id} {version}@{each.definition_offset} to {record['partition']}"
    raise AssertionError


# Ticks


def test_while_nothing_is_due_no_tick_is_written() -> None:
    scene = Scene()
    scene.bench.process(active(), fact("a", "e1", time_ms=100))
    scene.progress(all=1099)
    assert scene.written() == []


def test_what_is_due_is_written_once() -> None:
    scene = Scene()
    scene.bench.process(active(), fact("a", "e1", time_ms=100))
    scene.progress(all=1100)
    scene.definitions.next_offset = 0
    assert scene.written() == ["tick 0 1100 to 0"]
    assert scene.written() == []


def test_when_a_tick_has_come_back_and_more_is_due_there_is_another() -> None:
    scene = Scene()
    scene.definitions.define("t", PAIR)
    scene.bench.process(active(), fact("a", "e1", time_ms=100), fact("a", "e2", "z", time_ms=900))
    scene.progress(all=1100)
    scene.take_back()
    assert scene.bench.fired() == ["alone k: event/e1"]
    assert scene.written() == []
    scene.progress(all=1900)
    assert scene.written() == ["tick 0 1900 to 0"]


def test_a_tick_that_came_to_nothing_is_written_again() -> None:
    scene = Scene()
    scene.bench.process(active(), fact("a", "e1", time_ms=100))
    scene.bench.commit()
    scene.progress(all=1100)
    scene.written()
    scene.bench.states.drop_pending()
    scene.bench.states.partition(0)
    assert scene.written() == ["tick 0 1100 to 0"]


def test_the_clocks_of_a_tick_never_go_back() -> None:
    scene = Scene()
    scene.bench.process(active(), tick(START_MS + 9000, 5000), fact("a", "e1", time_ms=100))
    scene.progress(all=70)
    assert scene.written() == ["tick 9000 5000 to 0"]


def test_how_long_nothing_is_due() -> None:
    scene = Scene()
    scene.bench.process(active(form("every", every=1000), wall_ms=START_MS))
    scene.written()
    assert scene.upkeep.next_due_in_s() <= 1.0
    scene.bench.clock.advance(400)
    scene.written()
    assert scene.upkeep.next_due_in_s() == 0.6


# Activations


def test_a_change_goes_to_the_partitions_where_the_trigger_is_active() -> None:
    scene = Scene(partitions=2)
    scene.definitions.define("t", PAIR)
    scene.definitions.define("u", PAIR)
    scene.bench.process(active(), partition=1)
    scene.definitions.define("t", form(within=5))
    scene.definitions.define("u", form(within=5))
    assert scene.written() == [f"t {form_version(form(within=5))}@2 to 1"]
    assert scene.written() == []


def test_a_deletion_goes_there_too() -> None:
    scene = Scene()
    scene.definitions.define("t", PAIR)
    scene.bench.process(active())
    scene.definitions.define("t", b"")
    assert scene.written() == ["t deleted@1 to 0"]


def test_a_deletion_is_written_once() -> None:
    scene = Scene()
    scene.definitions.define("t", PAIR)
    scene.bench.process(active())
    scene.definitions.define("t", b"")
    scene.take_back()
    scene.take_back()
    scene.definitions.define("u", PAIR)
    assert scene.written() == []


def test_a_scheduled_trigger_goes_to_its_home() -> None:
    scene = Scene(partitions=4)
    scene.definitions.define("cron", form("every", every=1000))
    assert scene.written() == [f"cron v29@0 to {home_of('cron', 4)}"]
    scene.bench.states.drop_pending()
    for number in range(4):
        scene.bench.states.partition(number)
    assert scene.written() == [f"cron v29@0 to {home_of('cron', 4)}"]


def test_what_is_active_already_is_not_written_again() -> None:
    scene = Scene()
    scene.definitions.define("cron", form("every", every=1000))
    scene.take_back()
    scene.definitions.define("u", PAIR)
    assert scene.written() == []


def test_a_definition_that_cannot_be_used_here_changes_nothing() -> None:
    scene = Scene()
    scene.definitions.define("t", PAIR)
    scene.bench.process(active())
    scene.definitions.define("t", b"")
    scene.definitions.quarantined.add("t")
    assert scene.written() == []


def test_who_has_read_less_than_is_active_deletes_nothing() -> None:
    scene = Scene()
    scene.definitions.next_offset = 3
    scene.bench.process(active(offset=3))
    assert scene.written() == []


# Progress


def measured(scene: Scene, next_offsets: Mapping[TopicPartition, int]) -> dict[Any, int]:
    scene.bench.clock.advance(int(ASK_EVERY_S * 1000))
    records = scene.upkeep.write(next_offsets)[0].progress
    return {record["key"]: int.from_bytes((record["value"] or b"")[1:], "big") - START_MS for record in records}


ASKED_MS = int(ASK_EVERY_S * 1000)


def test_progress_is_that_of_inputs_and_no_other_topic() -> None:
    scene = Scene()
    scene.definitions.define("t", PAIR)
    assert measured(scene, {EVENTS_0: 0, TopicPartition("trigger-facts", 0): 0}) == {b"events/0": ASKED_MS}


def test_progress_that_is_known_is_not_written_again() -> None:
    scene = Scene()
    scene.definitions.define("t", PAIR)
    scene.bench.cluster.write("progress", [progress_record(EVENTS_0, START_MS + 2 * ASKED_MS)])
    assert measured(scene, {EVENTS_0: 0}) == {}
    assert measured(scene, {EVENTS_0: 0}) == {}
    assert measured(scene, {EVENTS_0: 0}) == {b"events/0": 3 * ASKED_MS}


def test_what_an_aborted_transaction_said_is_said_again() -> None:
    scene = Scene()
    scene.definitions.define("t", PAIR)
    scene.bench.cluster.write("events", [Outgoing(key=None, value=b"", partition=0)] * 2)
    scene.upkeep.note({EVENTS_0: scene.bench.cluster.records("events")[0]})
    assert measured(scene, {EVENTS_0: 1}) == {b"events/0": 0}
    assert measured(scene, {EVENTS_0: 1}) == {}
    scene.upkeep.forget([EVENTS_0])
    scene.upkeep.note({EVENTS_0: scene.bench.cluster.records("events")[0]})
    assert measured(scene, {EVENTS_0: 1}) == {b"events/0": 0}


def test_progress_is_measured_at_once_when_a_timer_waits_for_it() -> None:
    scene = Scene()
    scene.definitions.define("t", PAIR)
    next_offsets = dict.fromkeys(INPUTS, 0)
    scene.upkeep.write(next_offsets)
    scene.bench.process(active(), fact("a", "e1", time_ms=START_MS - 960))
    assert scene.upkeep.next_due_in_s() == 0.04
    scene.bench.clock.advance(39)
    assert scene.upkeep.write(next_offsets)[0].is_empty
    scene.bench.clock.advance(1)
    outputs, _ = scene.upkeep.write(next_offsets)
    assert [_said(record) for record in outputs.facts] == [f"tick 40 {START_MS + 40} to 0"]
    assert outputs.progress == []  # nobody else waits for it


def said(outputs: Outputs) -> list[str]:
    return [f"{(each['key'] or b'').decode()} {at_ms(each)}" for each in outputs.progress]


def at_ms(record: Outgoing) -> int:
    return int.from_bytes((record["value"] or b"")[1:], "big") - START_MS


def test_others_are_told_which_instant_a_timer_waits_for() -> None:
    scene = Scene()
    scene.definitions.define("t", PAIR)
    scene.upkeep.write({EVENTS_0: 0})
    scene.bench.process(active(), fact("a", "e1", time_ms=START_MS))
    assert said(scene.upkeep.write({EVENTS_0: 0})[0]) == ["trigger-facts/0 1000"]
    assert scene.upkeep.write({EVENTS_0: 0})[0].is_empty


def test_progress_is_measured_at_the_instant_that_another_worker_waits_for() -> None:
    scene = Scene(partitions=0)
    scene.definitions.define("t", PAIR)
    scene.upkeep.write({EVENTS_0: 0})
    scene.bench.cluster.write("progress", [progress_record(TopicPartition("trigger-facts", 0), START_MS + 140)])
    scene.bench.clock.advance(139)
    assert scene.upkeep.write({EVENTS_0: 0})[0].is_empty
    assert scene.upkeep.next_due_in_s() == 0.001
    scene.bench.clock.advance(1)
    assert said(scene.upkeep.write({EVENTS_0: 0})[0]) == ["events/0 140"]
    assert scene.upkeep.write({EVENTS_0: 0})[0].is_empty


def test_a_timer_that_waits_for_another_worker_does_not_keep_this_one_busy() -> None:
    scene = Scene()
    scene.definitions.define("t", PAIR)
    scene.upkeep.write({EVENTS_0: 0})
    scene.bench.process(active(), fact("a", "e1", time_ms=START_MS - 999))
    scene.bench.clock.advance(1)
    assert said(scene.upkeep.write({EVENTS_0: 0})[0]) == ["events/0 1", "trigger-facts/0 1"]
    assert scene.upkeep.next_due_in_s() == ASK_AGAIN_S
    scene.bench.clock.advance(int(ASK_AGAIN_S * 1000))
    assert scene.upkeep.write({EVENTS_0: 0})[0].is_empty
    scene.bench.clock.advance(1000)
    scene.upkeep.write({EVENTS_0: 0})
    assert scene.upkeep.next_due_in_s() == ASK_EVERY_S


def test_where_partitions_end_is_asked_seldom_when_nobody_waits_for_it() -> None:
    scene = Scene()
    asked: list[int] = []
    for _ in range(110):
        before = scene.log.questions
        scene.upkeep.write({EVENTS_0: 0})
        if scene.log.questions > before:
            asked.append(scene.bench.clock.now_ms() - START_MS)
        scene.bench.clock.advance(100)
    assert asked == [0, 5000, 10_000]


def test_it_is_asked_soon_again_while_a_partition_is_behind_its_end() -> None:
    scene = Scene()
    scene.bench.cluster.write("events", [Outgoing(key=None, value=b"", partition=0)])
    scene.upkeep.write({EVENTS_0: 0})
    scene.bench.clock.advance(ASKED_MS)
    before = scene.log.questions
    scene.upkeep.write({EVENTS_0: 1})
    assert scene.log.questions == before + 1


def test_without_keyed_triggers_there_is_no_progress() -> None:
    scene = Scene()
    assert measured(scene, {EVENTS_0: 0}) == {}
