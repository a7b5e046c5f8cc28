"""Triggers that follow their runs: a task worker reports on Kafka, while the workers of the engine are killed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from stream_triggers.broker import Broker
from stream_triggers.config import Config
from stream_triggers.consumer import TaskApp, task_worker
from stream_triggers.core.invocation import Decision, TriggerRun
from stream_triggers.runtime.codec import decode
from stream_triggers.runtime.functions import AllowedFunctions
from stream_triggers.runtime.kafka import KafkaLog, KafkaSettings
from stream_triggers.runtime.lag import partitions_of
from stream_triggers.runtime.reading import read_all
from stream_triggers.runtime.topics import Topics
from stream_triggers.verify import verify
from tests.faults.crew import BOUND_S, until
from tests.faults.scene import Scene

pytestmark = pytest.mark.kafka

ONE = {
    "id": "one",
    "task": "orders.pack",
    "key": "${event.payload.order}",
    "when": {"event": "paid"},
    "args": {"number": "${event.payload.number}"},
    "overlap": "buffer_one",
}


class Tasks:
    """A task that ends when the test lets it."""

    def __init__(self) -> None:
        self.app = TaskApp()
        self.begun: list[int] = []
        self.may_end = threading.Event()
        self.app.task("orders.pack")(self._pack)

    def _pack(self, number: int) -> None:
        self.begun.append(number)
        assert self.may_end.wait(BOUND_S)

    @contextmanager
    def working(self, config: Config) -> Iterator[None]:
        """Run a task worker meanwhile."""
        stop, worker = threading.Event(), task_worker(self.app, config)
        thread = threading.Thread(target=worker.run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            self.may_end.set()
            stop.set()
            thread.join()


def decided(config: Config) -> list[tuple[str, str]]:
    """What was not fired, and why."""
    log = KafkaLog(KafkaSettings(config.bootstrap_servers))
    partitions = partitions_of(log, [Topics.of(config).trigger_runs])
    records = [decode(each.value(), (TriggerRun, Decision)) for batch in read_all(log, partitions) for each in batch]
    found = [each for each in records if isinstance(each, Decision) and each.reason != "definitions_changed"]
    return [(each.reason, each.id) for each in found]


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "lost"])
def test_one_run_of_a_key_goes_on_at_a_time_though_workers_are_killed_with_the_local_state_kept_or_lost(
    make_scene: Callable[..., Scene], kafka_broker: Broker, kept: bool
) -> None:
    scene = make_scene(kafka_broker.bootstrap_servers, triggers=[ONE])
    tasks = Tasks()

    def pay(number: int, order: int = 7) -> None:
        payload = {"order": order, "number": number}
        scene.client.emit_event("paid", payload, key=str(order), event_id=f"e{number}")
        scene.client.flush()

    def kill() -> None:
        life = scene.crew.lives["0"]
        life.kill()
        life.until("ended")
        if not kept:
            scene.crew.forget("0")

    scene.crew.start("0")
    with tasks.working(scene.config):
        pay(1)
        until(lambda: tasks.begun == [1], "the first run has begun")
        kill()
        pay(2)
        scene.crew.start("0")
        pay(3)
        until(lambda: decided(scene.config) == [("overlapping", "e3")], "one waits, and the next one is refused")
        kill()
        tasks.may_end.set()
        scene.crew.start("0")
        until(lambda: tasks.begun == [1, 2], "the one that waited has begun")
        scene.judge.until_quiet()
    scene.crew.stop()
    log = KafkaLog(KafkaSettings(scene.config.bootstrap_servers, group=scene.config.application))
    report = verify(log, scene.config, AllowedFunctions())
    assert (report.findings, report.expected, report.invocations) == ([], 2, 2)
