"""``pending``: what keyed triggers wait for, read from the changelog of workers in memory."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from typer.testing import CliRunner

from stream_triggers.cli import app, cluster, reading
from stream_triggers.cli.pending import SHOWN, look
from stream_triggers.core.keyed.state import KeyState, Wake, encode_state
from stream_triggers.core.message import Event
from stream_triggers.core.record import Pause
from stream_triggers.core.trigger import canonical, parse_trigger, version
from stream_triggers.errors import Misconfigured
from stream_triggers.runtime.clock import ManualClock
from stream_triggers.runtime.keyed.active import Active
from stream_triggers.runtime.keyed.facts import state_key
from stream_triggers.runtime.keyed.states import AT_BYTES, OF_ACTIVE, OF_STATE
from stream_triggers.runtime.memory_log import MemoryCluster, MemoryLog
from stream_triggers.runtime.topics import Topics
from tests.engine_bundle import START_MS, EngineBundle

KEY = "${event.payload.order}"
BOTH = {
    "id": "both",
    "task": "ship",
    "key": KEY,
    "when": {"all": [{"event": "paid"}, {"event": "packed"}], "within": "1h"},
}
QUIET = {"id": "quiet", "task": "mail", "key": KEY, "when": {"event": "paid"}, "debounce": {"wait": "1h"}}
HOUR_MS = 3_600_000


def event(code: str, order: str, time_ms: int = START_MS) -> Event:
    return Event(code, f"{code}-{order}", time_ms, None, {"order": order})


class Scene:
    """A worker that has taken in some events, with the changelog it has written."""

    def __init__(self, definition: dict[str, Any], *events: Event, partitions: int = 3) -> None:
        self.bundle = EngineBundle(partitions=partitions)
        self.trigger = parse_trigger(definition)
        self.bundle.define(definition)
        self.worker = self.bundle.ready()
        self.send(*events)

    def send(self, *events: Event) -> None:
        for each in events:
            self.bundle.send(each, key=each.id.encode())
        self.work()

    def work(self) -> None:
        for _ in range(20):
            self.worker.run_once(0.2)
            self.bundle.clock.advance(20)

    def look(self, key: str | None = None, limit: int = SHOWN) -> tuple[int, list[Any]]:
        self.read: list[tuple[str, int, int]] = []
        log = self.bundle.log("onlooker")
        count, waiting = look(log, self.bundle.topics, self.trigger, key, limit, lambda *told: self.read.append(told))
        return count, list(waiting)


def keys(waiting: list[Any]) -> list[str]:
    return [each.key for each in waiting]


def test_what_has_come_and_what_is_missing_is_shown_by_key():
    scene = Scene(BOTH, event("paid", "o1"), event("packed", "o2"), event("paid", "o3"), event("packed", "o3"))
    count, (first, second) = scene.look()
    assert (count, first.key, second.key) == (2, "o1", "o2")
    [begun] = first.pending.open
    assert [(each.leaf, each.kind, each.id) for each in begun.present] == [("when.all[0]", "event", "paid-o1")]
    assert (begun.missing, begun.until_ms) == (("when.all[1]",), START_MS + HOUR_MS)
    assert first.wake == Wake(None, START_MS + HOUR_MS + 1)
    assert second.pending.open[0].missing == ("when.all[0]",)


def test_what_has_been_completed_waits_no_more():
    scene = Scene(BOTH, event("paid", "o1"))
    scene.send(event("packed", "o1"))
    assert scene.look() == (0, [])


def test_only_the_newest_state_of_a_key_counts():
    scene = Scene(BOTH, event("paid", "o1"))
    scene.send(Event("paid", "again", START_MS + 1000, None, {"order": "o1"}))
    count, [waiting] = scene.look()
    assert (count, [each.id for each in waiting.pending.open[0].present]) == (1, ["again"])


def test_one_key_is_looked_for_in_its_partition_alone(monkeypatch):
    scene = Scene(BOTH, *(event("paid", f"o{number}") for number in range(20)))
    monkeypatch.setattr(reading, "PROGRESS_EVERY", 0)
    count, [waiting] = scene.look("o7")
    assert (count, waiting.key) == (1, "o7")
    one = scene.read[0][2]
    scene.look()
    assert one < scene.read[0][2]


def test_a_key_that_begins_like_another_is_another():
    scene = Scene(BOTH, event("paid", "o1"), event("paid", "o11"), partitions=1)
    assert keys(scene.look("o1")[1]) == ["o1"]
    assert scene.look("o") == (0, [])


def test_a_trigger_whose_id_begins_like_another_is_another():
    scene = Scene(BOTH, event("paid", "o1"), partitions=1)
    scene.bundle.define(BOTH | {"id": "both2"})
    scene.work()
    scene.send(event("packed", "o2"))
    assert keys(scene.look()[1]) == ["o1", "o2"]


def test_no_more_keys_are_shown_than_the_limit_and_all_are_counted():
    scene = Scene(BOTH, *(event("paid", f"o{number}") for number in range(9)))
    count, waiting = scene.look(limit=3)
    assert (count, keys(waiting)) == (9, ["o0", "o1", "o2"])


def test_what_flow_control_holds_is_counted_by_gate():
    scene = Scene(QUIET, event("paid", "o1"))
    _, [waiting] = scene.look()
    assert waiting.pending.open == ()
    assert waiting.pending.held == {"debounce": 1}
    assert waiting.wake.wall_ms is not None


def test_after_a_deletion_only_what_came_later_counts():
    scene = Scene(BOTH, event("paid", "o1"), partitions=1)
    scene.bundle.delete("both")
    scene.work()
    scene.bundle.define(BOTH)
    scene.send(event("paid", "o2"))
    assert keys(scene.look()[1]) == ["o2"]


def test_a_state_that_is_void_and_not_deleted_yet_does_not_count():
    scene = Scene(BOTH, partitions=1)
    changelog = scene.bundle.topics.changelog(scene.bundle.topics.trigger_facts)
    active = Active("both", version(scene.trigger), 9, canonical(scene.trigger), void_before=7)
    scene.bundle.write(changelog, active.encode(), OF_ACTIVE + b"both")
    for order, at in (("void", 6), ("valid", 7)):
        value = encode_state(KeyState(version(scene.trigger)), Wake()) + at.to_bytes(AT_BYTES, "big")
        scene.bundle.write(changelog, value, OF_STATE + state_key("both", order))
    count, waiting = scene.look()
    assert (count, keys(waiting)) == (1, ["valid"])


def test_the_definition_is_the_one_in_force():
    scene = Scene(BOTH, event("paid", "o1"))
    scene.bundle.define(BOTH | {"when": {"all": [{"event": "paid"}, {"event": "sealed"}], "within": "2h"}})
    scene.work()
    [begun] = scene.look()[1][0].pending.open
    assert begun.until_ms == START_MS + 2 * HOUR_MS


def test_without_topics_it_says_so():
    log = MemoryLog(MemoryCluster(ManualClock(START_MS)))
    with pytest.raises(Misconfigured, match=r"^topic trigger-facts does not exist"):
        look(log, Topics("triggers"), parse_trigger(BOTH), None, 1, lambda *_: None)


# As a command


def call(*arguments: str):
    return CliRunner(env={"COLUMNS": "400"}).invoke(app, ["pending", *arguments], prog_name="stream-triggers")


@pytest.fixture
def scene(monkeypatch) -> Scene:
    """The command on a log in memory."""
    made = Scene(BOTH, *(event("paid", f"o{number}") for number in range(3)), partitions=1)
    monkeypatch.setattr(cluster, "require_broker", lambda _servers: None)
    monkeypatch.setattr(cluster, "KafkaLog", lambda _settings: made.bundle.log("onlooker"))
    return made


def test_people_get_a_table(scene):
    result = call("both", "o1")
    assert (result.exit_code, result.stderr) == (0, "")
    head, row = [re.split(r"  +", line) for line in result.stdout.splitlines()]
    assert head == ["key", "present", "missing", "expires", "next", "held", "running", "bytes"]
    assert row[:5] == [
        "o1",
        "when.all[0] event/paid-o1",
        "when.all[1]",
        "2023-11-14T23:13:20.000Z",
        "2023-11-14T23:13:20.001Z",
    ]


def test_people_are_told_of_keys_that_are_not_shown(scene):
    result = call("both", "--limit", "2")
    assert len(result.stdout.splitlines()) == 3
    assert result.stderr == "2 of 3 keys; --limit shows more\n"


def test_programs_get_json(scene):
    shown = json.loads(call("both", "o1", "--json").stdout)
    [key] = shown.pop("keys")
    assert shown == {"trigger": "both", "count": 1}
    assert key.pop("state_bytes") > 50
    participant = {"leaf": "when.all[0]", "kind": "event", "id": "paid-o1", "time_ms": START_MS}
    assert key == {
        "key": "o1",
        "partition": 0,
        "open": [{"present": [participant], "missing": ["when.all[1]"], "expires_ms": START_MS + HOUR_MS}],
        "held": {},
        "running": [],
        "wake_wall_ms": None,
        "wake_watermark_ms": START_MS + HOUR_MS + 1,
    }


def test_where_nothing_waits_that_is_said(scene):
    result = call("both", "o9")
    assert (result.exit_code, result.stdout) == (0, "nothing waits for both under the key o9\n")
    assert json.loads(call("both", "o9", "--json").stdout) == {"trigger": "both", "count": 0, "keys": []}


def test_a_trigger_that_waits_for_nothing_is_told_from_one_that_is_not_there(scene):
    scene.bundle.define({"id": "plain", "task": "ship", "when": {"event": "paid"}})
    result = call("plain")
    assert (result.exit_code, result.stderr) == (
        1,
        "error: trigger plain waits for nothing: each message fires it by itself\n"
        "hint: it says nothing of memory, time or flow control; watch shows its invocations\n",
    )
    assert call("none").stderr.splitlines()[0] == "error: there is no trigger none"


def test_of_many_messages_people_see_the_first(scene):
    many = {"id": "both", "task": "t", "key": KEY, "when": {"count": {"event": "paid"}, "at_least": 9, "within": "1h"}}
    scene.bundle.define(many)
    scene.work()
    scene.send(*(Event("paid", f"p{number}", START_MS + number, None, {"order": "o7"}) for number in range(7)))
    row = re.split(r"  +", call("both", "o7").stdout.splitlines()[1])
    assert row[1] == ", ".join([*(f"when.count event/p{number}" for number in range(5)), "2 more"])


def test_what_a_pause_holds_of_a_plain_trigger_is_shown(scene):
    scene.bundle.define({"id": "plain", "task": "ship", "when": {"event": "paid"}}, Pause("hold"))
    scene.send(event("paid", "o7"), event("paid", "o8"))
    [key] = json.loads(call("plain", "--json").stdout)["keys"]
    assert (key["key"], key["held"]) == ("", {"pause": 2})
