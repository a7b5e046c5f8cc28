"""The Faust adapter: bytes both ways, what is refused, and a program on Kafka that is killed and started again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from stream_triggers.client.definitions import validated
from stream_triggers.config import Config
from stream_triggers.core.invocation import Invocation
from stream_triggers.core.message import Event, Failure, Success, TaskResult, TaskStatus
from stream_triggers.core.record import DeadLetter
from stream_triggers.runtime.codec import decode, encode
from stream_triggers.runtime.kafka import KafkaLog, KafkaSettings
from stream_triggers.runtime.log import Outgoing, TopicPartition, TopicSpec
from stream_triggers.runtime.reading import read_all
from stream_triggers.trigger_file import load_triggers

EXAMPLES = Path(__file__).parent.parent / "examples"
WAIT_S = 90.0

WITHOUT_COMMITS = """
from faust_app import app

app.conf.broker_commit_interval = 3600.0
app.conf.broker_heartbeat_interval = 1.0
app.conf.broker_session_timeout = 6.0
"""
"""The example so that whatever it did is done again, soon, after it was killed."""

INVOCATION = Invocation(
    task="shop.ship",
    trigger_id="ship-large-order",
    trigger_version="0123456789abcdef",
    id="inv-1",
    run_id="run-1",
    time_ms=5,
    key=None,
    arguments={"order": "7"},
    causes=("event/e7",),
    traceparent="00-aa-bb-01",
    root="e7",
    depth=1,
)


@pytest.mark.parametrize(
    ("model", "value"),
    [
        ("Invocation", INVOCATION),
        ("Invocation", replace(INVOCATION, expires_ms=7)),
        ("Event", Event("order.paid", "e1", 5, None, {"a": [1, None]}, "shop", "t", "r", 2)),
        ("TaskStatus", TaskStatus("bill", "failed", "s1", "inv-1", 5, "running", 2, {}, "t", "r", 1, "bill-it", "k")),
        ("TaskResult", TaskResult("bill", Success([1, 2]), "r1", "inv-1", 5, 1, {"order": 7}, root="r")),
        ("TaskResult", TaskResult("bill", Failure("E", ("B",), "no", final=False), "r1", "inv-1", 5)),
    ],
)
def test_a_model_reads_and_writes_the_same_bytes_as_everybody(model, value):
    program = f"""
import sys, stream_triggers.faust as adapter
data = sys.stdin.buffer.read()
sys.stdout.buffer.write(adapter.{model}.loads(data).dumps())
"""
    written = subprocess.run(
        [sys.executable, "-c", program], input=encode(value), capture_output=True, check=True
    ).stdout
    assert decode(written) == value


def said(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False).stderr


def test_without_faust_the_package_works_and_the_adapter_says_what_to_install():
    program = "import sys; sys.modules['faust'] = None; import stream_triggers.client, stream_triggers.consumer"
    assert said(program) == ""
    assert "pip install 'stream-triggers[faust]'" in said(f"{program}; import stream_triggers.faust")


def test_an_application_that_asks_faust_for_exactly_once_is_refused():
    program = """
import faust
from stream_triggers.faust import invocations_agent
invocations_agent(faust.App("x", broker="kafka://localhost:1", processing_guarantee="exactly_once"))
"""
    assert "Faust's exactly_once writes outputs outside of its transactions" in said(program)


def test_an_event_outside_of_an_agent_needs_an_id():
    program = """
import asyncio, faust
from stream_triggers.faust import emit_event
asyncio.run(emit_event(faust.App("x", broker="kafka://localhost:1"), "order.paid"))
"""
    assert "hint: pass event_id" in said(program)


def test_an_event_with_a_number_that_json_does_not_have_is_refused():
    program = """
import asyncio, faust
from stream_triggers.faust import emit_event
asyncio.run(emit_event(faust.App("x", broker="kafka://localhost:1"), "a", {"x": float("nan")}, event_id="a-1"))
"""
    assert "payload.x is not a finite number" in said(program)


def test_the_triggers_of_the_example_are_fit_to_run():
    triggers = validated(load_triggers(EXAMPLES / "faust_triggers.yaml"), Config().payload_bytes_max)
    assert [trigger.id for trigger in triggers] == ["ship-large-order"]


class Shop:
    """The example application on a real Kafka, with its topics."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.config = config
        self.folder = folder
        self.log = KafkaLog(KafkaSettings(config.bootstrap_servers, transactional_id=f"{config.application}-writer"))
        self.sender = self.log.sender(lambda topic, key, value: "")
        (folder / "shop_without_commits.py").write_text(WITHOUT_COMMITS)
        self.log.create_topics([TopicSpec(self.name("orders"), 4, {})])

    def name(self, topic: str) -> str:
        return f"{self.config.topic_prefix}{topic}"

    def place(self, *orders: tuple[str, int]) -> None:
        values = [b'{"id": "%s", "total": %d}' % (name.encode(), total) for name, total in orders]
        self.sender.send(self.name("orders"), [Outgoing(value=value, key=b"k") for value in values])
        self.sender.flush(30)

    def invoke(self, *values: bytes, commit: bool = True) -> None:
        """Write to one partition of the invocations, in a transaction that commits or not."""
        producer = self.log.producer()
        producer.open()
        producer.begin()
        producer.produce(self.name("invocations"), [Outgoing(value=value, key=None, partition=0) for value in values])
        # Only what has reached the broker tells whether a reader sees what was aborted.
        if commit:
            producer.commit()
        else:
            producer.abort()
        producer.close()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the application, and kill it in the end."""
        environment = {
            **os.environ,
            "STREAM_TRIGGERS_BOOTSTRAP_SERVERS": self.config.bootstrap_servers,
            "STREAM_TRIGGERS_TOPIC_PREFIX": self.config.topic_prefix,
            "PYTHONPATH": os.pathsep.join([str(EXAMPLES), str(self.folder)]),
        }
        command = [sys.executable, "-m", "faust", "-A", "shop_without_commits", "worker", "--without-web", "-l", "warn"]
        with (self.folder / "output").open("ab") as output:
            process = subprocess.Popen(command, env=environment, cwd=self.folder, stdout=output, stderr=output)
        try:
            yield
        finally:
            process.kill()
            process.wait()

    def events(self, code: str) -> list[Event]:
        return [event for event in self.read("events", Event) if event.code == code]

    def read(self, topic: str, kind: type) -> list:
        partitions = [TopicPartition(self.name(topic), number) for number in range(4)]
        return [decode(record.value(), (kind,)) for batch in read_all(self.log, partitions) for record in batch]

    def wait(self, reached: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while not reached():
            assert time.monotonic() < deadline_s, (self.folder / "output").read_text()


@pytest.mark.kafka
def test_on_kafka_a_faust_application_emits_events_and_runs_invocations(kafka_config, tmp_path):
    shop = Shop(kafka_config, tmp_path)
    shop.place(("7", 120), ("8", 30), ("7", 120))
    shop.invoke(encode(replace(INVOCATION, id="aborted")), commit=False)
    late = [replace(INVOCATION, id="late", key="k", expires_ms=6), replace(INVOCATION, task="other", expires_ms=6)]
    shop.invoke(b"junk", *map(encode, late), encode(INVOCATION))
    for times in (1, 2):
        with shop.running():
            shop.wait(lambda times=times: len(shop.events("order.placed")) == 3 * times)
            shop.wait(lambda times=times: len(shop.events("order.shipped")) == times)
    placed = Counter(event.id for event in shop.events("order.placed"))
    assert sorted(placed.values()) == [2, 2, 2]
    assert [event.payload for event in shop.events("order.placed")][:1] == [{"id": "7", "total": 120}]
    first, again = shop.events("order.shipped")
    assert first == again
    assert (first.root, first.depth, first.traceparent, first.key) == ("e7", 1, "00-aa-bb-01", "7")
    told = shop.read("task-status", TaskStatus)
    assert {(each.invocation_id, each.status, each.trigger_id, each.trigger_key) for each in told} == {
        ("late", "expired", "ship-large-order", "k"),
        ("inv-1", "success", "ship-large-order", None),
    }
    assert {(each.root, each.depth) for each in told} == {("e7", 1)}
    assert len({each.id for each in told}) == 2
    letters = shop.read("dead-letters", DeadLetter)
    assert {(letter.value, letter.partition, letter.stage) for letter in letters} == {(b"junk", 0, "decode")}
    assert "for aborted" not in (tmp_path / "output").read_text()
