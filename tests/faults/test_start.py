"""Triggers that start in the past, on a real broker, while workers end: history and what is new, each message once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer

from stream_triggers.broker import Broker
from stream_triggers.core.message import Event
from stream_triggers.runtime.codec import encode
from tests.faults.crew import until
from tests.faults.scene import Scene

pytestmark = pytest.mark.kafka

Make = Callable[..., Scene]

ORDERS = 20_000
PACKED_EVERY = 4
"""Of so many orders one is never packed."""

ORDER = "${event.payload.order}"
LIVE: dict[str, Any] = {"id": "live", "task": "note", "when": {"event": "paid"}, "args": {"order": ORDER}}
DIRECT: dict[str, Any] = {**LIVE, "id": "direct", "start": "earliest"}
ABSENCE: dict[str, Any] = {
    "id": "unpacked", "task": "warn", "key": ORDER, "args": {"order": ORDER}, "start": "earliest",
    "when": {"missing": {"event": "packed"}, "after": {"event": "paid"}, "within": "10m"},
}  # fmt: skip
PAIRED: dict[str, Any] = {
    "id": "packed", "task": "note", "key": ORDER, "args": {"order": "${paid.payload.order}"}, "start": "earliest",
    "when": {"sequence": [{"event": "paid", "as": "paid"}, {"event": "packed"}], "within": "10m"},
}  # fmt: skip


def send(scene: Scene, servers: str, numbers: range, paid_ms: int) -> None:
    """Orders, most of them packed a minute after they were paid; the two events have keys of their own."""
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 20, "enable.idempotence": True})
    for n in numbers:
        for code, after_ms in (("paid", 0), ("packed", 60_000)):
            if code == "packed" and n % PACKED_EVERY == 0:
                continue
            event = Event(code, f"{code}-{n}", paid_ms + after_ms, None, {"order": f"order-{n}"})
            producer.produce(
                scene.judge.topics.events, encode(event), f"{code}-{n}", timestamp=paid_ms + after_ms, on_delivery=None
            )
        if n % 1000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0


def test_history_and_what_is_new_fire_once_whichever_worker_ends(make_scene: Make, kafka_broker: Broker) -> None:
    servers = kafka_broker.bootstrap_servers
    scene = make_scene(servers, triggers=[LIVE])
    past_ms = time.time_ns() // 1_000_000 - 3_600_000
    send(scene, servers, range(ORDERS), past_ms)
    scene.crew.start("0")
    scene.judge.until_quiet()
    invocations = scene.judge.topics.invocations
    before = scene.judge.written(invocations)
    scene.client.apply([DIRECT, ABSENCE, PAIRED])
    until(lambda: scene.judge.written(invocations) >= before + ORDERS // 10, "some of the past fired")
    scene.crew.lives["0"].kill()
    scene.crew.start("1")
    send(scene, servers, range(ORDERS, ORDERS + 1000), past_ms)
    until(lambda: scene.judge.written(invocations) >= before + ORDERS // 2, "more of the past fired")
    scene.crew.lives["0"].until("ended")
    scene.crew.start("0")
    total = ORDERS + 1000
    wanted = {"live": total, "direct": total, "unpacked": total // PACKED_EVERY}
    wanted["packed"] = total - wanted["unpacked"]

    def fired() -> Counter[str]:
        return Counter(each.trigger_id for each in scene.judge.invocations())

    until(lambda: fired().total() >= sum(wanted.values()), "all of it fired", 120)
    scene.crew.stop()
    assert fired() == wanted
    assert max(Counter((each.trigger_id, each.arguments["order"]) for each in scene.judge.invocations()).values()) == 1
    scene.judge.assert_nothing_found()
