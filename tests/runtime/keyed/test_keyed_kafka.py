"""The keyed stage on a real Kafka: a worker that dies in the middle, time, and a replay of what was recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from stream_triggers.client import Client
from stream_triggers.config import Config
from stream_triggers.core.invocation import Decision, Invocation, TriggerRun
from stream_triggers.core.message import Event, Message
from stream_triggers.core.record import Definition
from stream_triggers.core.trigger import canonical, parse_trigger, version
from stream_triggers.runtime.clock import SystemClock
from stream_triggers.runtime.codec import decode, encode
from stream_triggers.runtime.functions import AllowedFunctions
from stream_triggers.runtime.kafka import KafkaLog, KafkaSender, KafkaSettings
from stream_triggers.runtime.keyed.compiler import compiler
from stream_triggers.runtime.keyed.replay import replay
from stream_triggers.runtime.lag import partitions_of
from stream_triggers.runtime.log import Outgoing
from stream_triggers.runtime.reading import read_all
from stream_triggers.runtime.rocksdb import RocksStore
from stream_triggers.runtime.topics import Topics
from stream_triggers.runtime.worker import Worker
from stream_triggers.verify import verify

pytestmark = pytest.mark.kafka

KEY = "${event.payload.order}"
TRIGGERS: Sequence[Mapping[str, Any]] = (
    {
        "id": "both", "task": "ship", "key": KEY, "args": {"order": KEY},
        "when": {"all": [{"event": "paid"}, {"event": "packed"}], "within": "1h"},
    },
    {
        "id": "missing", "task": "warn", "key": KEY, "args": {"order": KEY},
        "when": {"missing": {"event": "packed"}, "after": {"event": "paid"}, "within": "8s"},
    },
    {"id": "every", "task": "report", "when": {"every": "1s"}, "args": {}},
)  # fmt: skip
WAIT_S = 60.0
CLOCK = SystemClock()


class Scene:
    """One application with keyed triggers, and workers under slots of it in this process."""

    def __init__(self, config: Config, path: Path, triggers: Sequence[Mapping[str, Any]] = TRIGGERS) -> None:
        self.config = config
        self.topics = Topics.of(config)
        self.path = path
        self.observer = KafkaLog(KafkaSettings(config.bootstrap_servers, group=config.application))
        self.sender = KafkaSender(KafkaSettings(config.bootstrap_servers), lambda *_: "")
        for source in triggers:
            trigger = parse_trigger(source)
            value = encode(Definition(trigger.id, version(trigger), canonical(trigger), CLOCK.now_ms()))
            self.sender.send(self.topics.trigger_definitions, [Outgoing(key=trigger.id.encode(), value=value)])
        self.sender.flush(WAIT_S)

    def worker(self, slot: str) -> Worker:
        name = self.config.application
        settings = KafkaSettings(
            self.config.bootstrap_servers, group=name, instance=f"{name}-{slot}", transactional_id=f"{name}-{slot}"
        )
        path = self.path / slot
        worker = Worker(KafkaLog(settings), lambda: RocksStore(path), CLOCK, self.config, AllowedFunctions())
        worker.start()
        return worker

    def send(self, *messages: Message) -> None:
        for message in messages:
            self.sender.send(self.topics.events, [Outgoing(key=message.id.encode(), value=encode(message))])
        self.sender.flush(WAIT_S)

    def read(self, topic: str) -> list[bytes]:
        """All that is committed to a topic, partition by partition."""
        found: list[bytes] = []
        for partition in partitions_of(self.observer, [topic]):
            found += [each.value() or b"" for batch in read_all(self.observer, [partition]) for each in batch]
        return found

    def fired(self) -> list[str]:
        found = [decode(value, (Invocation,)) for value in self.read(self.topics.invocations)]
        return sorted(f"{each.task} {each.key or each.causes[0]}" for each in found)

    def work(self, reached: Callable[[], bool], *workers: Worker) -> None:
        """Let these workers take turns until ``reached``."""
        looked_s, end_s = 0.0, CLOCK.monotonic_s() + WAIT_S
        while CLOCK.monotonic_s() < end_s:
            for worker in workers:
                worker.run_once(0.05)
            if CLOCK.monotonic_s() > looked_s + 0.5:
                looked_s = CLOCK.monotonic_s()
                if reached():
                    return
        raise AssertionError("not reached in time")


def event(code: str, order: str) -> Event:
    return Event(code, f"{code}-{order}", CLOCK.now_ms(), None, {"order": order})


def test_what_is_recorded_is_replayed_byte_for_byte(kafka_config: Config, tmp_path: Path) -> None:
    scene = Scene(kafka_config, tmp_path)
    first = scene.worker("0")
    scene.send(event("paid", "o1"), event("paid", "o2"))
    scene.work(lambda: len(scene.read(scene.topics.trigger_facts)) >= 4, first)
    first.close()  # commits nothing that is open
    scene.send(event("packed", "o1"))
    workers = [scene.worker("0"), scene.worker("1")]
    scene.work(lambda: {"ship o1", "warn o2"} <= set(scene.fired()) and len(scene.fired()) > 4, *workers)
    for worker in workers:
        worker.commit()
        worker.close()

    fired = scene.fired()
    assert [each for each in fired if not each.startswith("report")] == ["ship o1", "warn o2"]
    assert len(fired) == len(set(fired)) > 4
    assert replayed(scene) == (sorted(scene.read(scene.topics.invocations)), sorted(decided(scene)))
    report = verify(scene.observer, kafka_config, AllowedFunctions())
    assert (report.findings, report.expected) == ([], len(fired))


def decided(scene: Scene) -> list[bytes]:
    """Run records and decisions, those of the keyed stage."""
    found = []
    for value in scene.read(scene.topics.trigger_runs):
        record = decode(value, (TriggerRun, Decision))
        if not isinstance(record, Decision) or record.reason != "definitions_changed":
            found.append(value)
    return found


def replayed(scene: Scene) -> tuple[list[bytes], list[bytes]]:
    log, topics = scene.observer, scene.topics
    facts = partitions_of(log, [topics.trigger_facts])
    batches = (batch for each in facts for batch in read_all(log, [each]))
    compile_ = compiler(AllowedFunctions(), scene.config.payload_bytes_max)
    made = list(replay(batches, compile_, partitions=len(facts)))
    invocations = [each["value"] or b"" for outputs in made for each in outputs.invocations]
    return sorted(invocations), sorted(each["value"] or b"" for outputs in made for each in outputs.runs)


def test_what_a_pause_holds_fires_once_after_workers_have_died_and_moved(kafka_config: Config, tmp_path: Path) -> None:
    plain = {"id": "plain", "task": "ship", "when": {"event": "paid"}, "args": {"order": KEY}}
    scene = Scene(kafka_config, tmp_path, triggers=())
    with Client(kafka_config) as client:
        client.apply([plain])
        first = scene.worker("0")
        scene.send(event("paid", "before"))
        scene.work(lambda: len(scene.fired()) == 1, first)
        client.pause_trigger("plain", why="moving")
        orders = [f"o{number}" for number in range(8)]
        scene.send(*[event("paid", order) for order in (*orders, *orders, "before")])
        scene.work(lambda: len(scene.read(scene.topics.trigger_facts)) >= 9, first)
        first.close()  # commits nothing that is open
        second = scene.worker("1")
        scene.work(lambda: second.counters.restores > 0, second)
        assert len(scene.fired()) == 1
        client.resume_trigger("plain")
        scene.work(lambda: len(scene.fired()) >= 9, second)
        scene.send(event("paid", "o1"), event("paid", "after"))
        scene.work(lambda: len(scene.fired()) >= 10, second)
        second.commit()
        second.close()
    invoked = [decode(value, (Invocation,)).arguments for value in scene.read(scene.topics.invocations)]
    assert sorted(each["order"] for each in invoked) == sorted(["before", "after", *orders])
    report = verify(scene.observer, kafka_config, AllowedFunctions())
    assert (report.findings, report.invocations) == ([], 10)
