"""The engine between two programs that know nothing of it but its schemas, with a worker killed in the middle."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from stream_triggers.broker import Broker
from stream_triggers.runtime.lag import partitions_of
from tests.faults.crew import until
from tests.faults.scene import Scene

pytestmark = pytest.mark.kafka

PROGRAM = Path(__file__).parent / "outsider.py"
ORDERS = 400
LARGE = 100
TRIGGERS = [
    {
        "id": "check-large-order",
        "when": {"event": "order.placed", "filter": {"total": {"gte": LARGE}}},
        "task": "fraud.check",
        "key": "${event.payload.order}",
        "args": {"order": "${event.payload.order}", "total": "${event.payload.total}"},
    }
]


def run(*arguments: str) -> str:
    """Run one of the two programs to its end, with nothing of this project on its path."""
    done = subprocess.run(
        [sys.executable, "-I", str(PROGRAM), *arguments], capture_output=True, text=True, timeout=120, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_run_that_foreign_events_ask_for_is_there_once_though_a_worker_was_killed(
    make_scene: Callable[..., Scene], kafka_broker: Broker
) -> None:
    scene = make_scene(kafka_broker.bootstrap_servers, triggers=TRIGGERS)
    topics = scene.judge.topics
    lives = [scene.crew.start(slot) for slot in ("0", "1")]
    shares = f"partitions ready count={len(partitions_of(scene.judge.log, topics.consumed)) // len(lives)} "
    until(lambda: all(shares in life.log_tail() for life in lives), "each worker has half of the partitions")
    run("send", kafka_broker.bootstrap_servers, topics.events, "--count", str(ORDERS // 2))
    for life in lives:
        life.until("applied")
    lives[1].kill()
    run("send", kafka_broker.bootstrap_servers, topics.events, "--first", str(ORDERS // 2), "--count", str(ORDERS // 2))
    lives[1].until("ended")
    scene.crew.start("1")
    scene.judge.until_quiet()
    scene.crew.stop()
    invocations = [
        json.loads(line) for line in run("read", kafka_broker.bootstrap_servers, topics.invocations).split("\n") if line
    ]
    expected = [
        ("check-large-order", "fraud.check", f"order-{n}", {"order": f"order-{n}", "total": n})
        for n in range(LARGE, ORDERS)
    ]
    found = [(each["trigger_id"], each["task"], each["key"], each["arguments"]) for each in invocations]
    assert sorted(found, key=lambda each: each[3]["total"]) == expected
    assert Counter(each["id"] for each in invocations).most_common(1)[0][1] == 1


def test_the_foreign_programs_import_nothing_of_the_engine() -> None:
    assert "import stream_triggers" not in PROGRAM.read_text()
    assert "from stream_triggers" not in PROGRAM.read_text()
