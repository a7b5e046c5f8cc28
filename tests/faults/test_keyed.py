"""Triggers with memory and time on a real broker, while workers end: each timer and each instant fires once."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
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

KEYS = 100_000
WAIT_MS = 10_000
ORDER = "${event.payload.order}"
ABSENCE: dict[str, Any] = {
    "id": "unpacked", "task": "warn", "key": ORDER,
    "args": {"order": ORDER, "paid_ms": "${event.payload.paid_ms}"},
    "when": {"missing": {"event": "packed"}, "after": {"event": "paid"}, "within": f"{WAIT_MS}ms"},
}  # fmt: skip

SCHEDULES = 6
EVERY_MS = 1000


def every_second(number: int) -> dict[str, Any]:
    return {"id": f"every-{number}", "task": "report", "when": {"every": "1s", "catchup": {"all": 1000}}}


def send_orders(bootstrap_servers: str, topic: str) -> None:
    """One event for each key, and wait until the broker has them."""
    producer = Producer({"bootstrap.servers": bootstrap_servers, "linger.ms": 20, "enable.idempotence": True})
    for n in range(KEYS):
        order, paid_ms = f"order-{n}", time.time_ns() // 1_000_000
        event = Event("paid", f"paid-{order}", paid_ms, None, {"order": order, "paid_ms": paid_ms})
        producer.produce(topic, encode(event), order)
        if n % 1000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0


def test_a_timer_of_each_of_a_hundred_thousand_keys_fires_once_and_not_early_whichever_worker_ends(
    make_scene: Make, kafka_broker: Broker
) -> None:
    scene = make_scene(kafka_broker.bootstrap_servers, triggers=[ABSENCE])
    invocations = scene.judge.topics.invocations
    first = scene.crew.start("0")
    send_orders(kafka_broker.bootstrap_servers, scene.judge.topics.events)
    until(lambda: scene.judge.written(invocations) >= KEYS // 2, "half of the timers fired")
    first.kill()
    scene.crew.start("1")
    until(lambda: scene.judge.written(invocations) >= KEYS, "nearly all of the timers fired")
    until(lambda: sum(1 for _ in scene.judge.fired()) >= KEYS, "all of the timers fired")
    scene.crew.stop()
    fired = list(scene.judge.fired())
    assert Counter(each.arguments["order"] for each, _ in fired) == Counter(f"order-{n}" for n in range(KEYS))
    assert min(at_ms - each.arguments["paid_ms"] for each, at_ms in fired) >= WAIT_MS
    scene.judge.assert_nothing_found()


def test_every_instant_of_a_schedule_fires_once_whichever_worker_ends(make_scene: Make, kafka_broker: Broker) -> None:
    triggers = [every_second(number) for number in range(SCHEDULES)]
    scene = make_scene(kafka_broker.bootstrap_servers, triggers=triggers)
    invocations = scene.judge.topics.invocations
    for slot in ("0", "1"):
        scene.crew.start(slot)
    until(lambda: scene.judge.written(invocations) >= 3 * SCHEDULES, "some instants fired")
    scene.crew.lives["0"].kill()
    scene.crew.lives["0"].until("ended")
    for slot in ("0", "1"):
        if not scene.crew.lives[slot].is_over:
            scene.crew.lives[slot].ask_to_stop()
            scene.crew.lives[slot].until("ended")
        before = instants(scene)
        scene.crew.start(slot)
        until(lambda before=before: all_later(instants(scene), before), "instants after another start")
    scene.crew.stop()
    for trigger_id, nominal_ms in instants(scene).items():
        steps = {later - sooner for sooner, later in pairwise(nominal_ms)}
        assert steps == {EVERY_MS}, f"{trigger_id}: {nominal_ms}"
    scene.judge.assert_nothing_found()


def instants(scene: Scene) -> dict[str, list[int]]:
    """The instants that each schedule has fired, in order, as often as it has."""
    found = defaultdict[str, list[int]](list)
    for each, _ in scene.judge.fired():
        found[each.trigger_id].append(each.time_ms)
    return {trigger_id: sorted(nominal_ms) for trigger_id, nominal_ms in found.items()}


def all_later(now: dict[str, list[int]], before: dict[str, list[int]]) -> bool:
    return len(now) == SCHEDULES and all(
        times[-1] > before.get(each, [0])[-1] + EVERY_MS for each, times in now.items()
    )
