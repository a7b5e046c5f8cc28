"""``history``: what a trigger has done and why it has not, read from the topics of workers in memory."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from stream_triggers.cli import app, cluster, reading
from stream_triggers.cli.history import SHOWN, Entry, Range, look
from stream_triggers.core.invocation import Decision
from stream_triggers.core.message import Event
from stream_triggers.core.record import Definition, Pause, Start
from stream_triggers.errors import Rejected
from stream_triggers.runtime.codec import encode
from stream_triggers.runtime.log import TopicPartition
from stream_triggers.runtime.worker import Worker
from tests.engine_bundle import START_MS, EngineBundle

KEY = "${event.payload.order}"
SHIP = {
    "id": "ship",
    "task": "orders.ship",
    "key": KEY,
    "when": {"event": "paid"},
    "args": {"total": "${event.payload.total}"},
}
LATER = {
    "id": "later",
    "task": "orders.pack",
    "key": KEY,
    "when": {"event": "paid"},
    "rate_limit": {"max": 1, "per": "1h"},
}


ALWAYS = Range()


def paid(number: int, order: str, **payload: int) -> Event:
    return Event("paid", f"p{number}", START_MS, None, {"order": order, "total": number, **payload})


def work(bundle: EngineBundle, worker: Worker) -> None:
    for _ in range(25):
        worker.run_once(0.2)
        bundle.clock.advance(20)


@pytest.fixture
def bundle() -> EngineBundle:
    """A direct and a keyed trigger that have fired, been refused, failed and been paused; half a second for each."""
    made = EngineBundle(partitions=2)
    for trigger in (SHIP, LATER):
        made.define(trigger)
    worker = made.ready()
    made.send(paid(1, "o1"), paid(2, "o2"), paid(1, "o1"))
    work(made, worker)
    made.send(Event("paid", "p3", START_MS, None, {"order": "o1"}))
    work(made, worker)
    made.define(LATER, Pause("drop", None, "", START_MS, "too many", "ann"))
    made.send(paid(4, "o4"))
    work(made, worker)
    made.define(LATER, Pause("drop", made.clock.now_ms(), "", START_MS, "too many", "ann"))
    work(made, worker)
    made.define({**LATER, "description": "another version"})
    made.delete("ship")
    worker.close()
    return made


def seen(bundle: EngineBundle, trigger_id: str, key: str | None = None, wanted: Range = ALWAYS) -> list[str]:
    found = look(bundle.log("onlooker"), bundle.topics, trigger_id, key, wanted, SHOWN, lambda *_: None)[1]
    assert found == sorted(found, key=lambda entry: entry.time_ms)
    return [_short(entry) for entry in found]


def _short(entry: Entry) -> str:
    value = entry.value
    about = getattr(value, "id", "") if not isinstance(value, Definition) else ""
    causes = " ".join(each.id for each in getattr(value, "participants", ()))
    return f"{entry.what} {about or causes}".strip()


def test_versions_runs_decisions_and_dead_letters_are_told_in_order(bundle: EngineBundle) -> None:
    told = seen(bundle, "ship")
    assert (told[0], told[-1]) == ("applied", "deleted")
    assert sorted(told[1:-1]) == [
        *("arguments_failed p3", "dead letter", "duplicate p1"),
        *("ran p1", "ran p2", "ran p4"),
    ]


def test_pauses_are_told_between_versions(bundle: EngineBundle) -> None:
    told = seen(bundle, "later")
    assert [each for each in told if " " not in each] == ["applied", "paused", "resumed", "applied"]
    assert told.index("paused") < told.index("paused p4") < told.index("resumed")


def test_of_a_key_its_runs_and_what_was_decided_of_its_messages_is_told(bundle: EngineBundle) -> None:
    told = [each for each in seen(bundle, "later", "o1") if " " in each]
    assert sorted(told) == ["duplicate p1", "ran p1", "rate_limited p3"]
    assert [each for each in seen(bundle, "ship", "o1") if " " in each] == [
        *("ran p1", "duplicate p1", "dead letter", "arguments_failed p3")
    ]
    assert "dead letter" not in seen(bundle, "ship", "o2")


def test_why_a_key_was_refused_is_told_when_the_facts_that_led_to_it_are_gone(bundle: EngineBundle) -> None:
    facts = [TopicPartition("trigger-facts", number) for number in range(2)]
    for partition, end in bundle.log("onlooker").end_offsets(facts).items():
        bundle.cluster.trim(partition, end)
    told = [each for each in seen(bundle, "later", "o1") if " " in each]
    assert sorted(told) == ["duplicate p1", "ran p1", "rate_limited p3"]
    assert [each for each in seen(bundle, "later", "o4") if " " in each] == ["paused p4"]


def test_what_was_decided_of_a_message_for_another_key_is_not_told(bundle: EngineBundle) -> None:
    other = Decision("late", "events", 0, 0, START_MS, "later", kind="event", id="p1", key="o9")
    bundle.write("trigger-runs", encode(other))
    assert [each for each in seen(bundle, "later", "o9") if " " in each] == ["late p1"]
    assert "late p1" not in seen(bundle, "later", "o1")


def test_a_fact_that_failed_is_told_for_its_key(bundle: EngineBundle) -> None:
    bundle.define({**SHIP, "id": "bounded", "rate_limit": {"max": 9, "per": "1h"}})
    worker = bundle.ready()
    bundle.send(*(Event("paid", f"{order}-untold", START_MS, None, {"order": order}) for order in ("o1", "o2")))
    work(bundle, worker)
    worker.close()
    assert seen(bundle, "bounded", "o1") == ["applied", "dead letter", "arguments_failed o1-untold"]


def test_only_what_lies_in_the_time_is_told(bundle: EngineBundle) -> None:
    first, last = START_MS + 400, START_MS + 900
    assert seen(bundle, "ship", wanted=Range(None, START_MS + 450)) == ["applied", *seen(bundle, "ship")[1:4]]
    assert sorted(seen(bundle, "ship", wanted=Range(first, last))) == ["arguments_failed p3", "dead letter"]
    assert seen(bundle, "ship", wanted=Range(last + 10_000)) == []


def test_the_latest_are_kept_and_all_are_counted(bundle: EngineBundle) -> None:
    log = bundle.log("onlooker")
    count, entries = look(log, bundle.topics, "ship", None, Range(), 2, lambda *_: None)
    assert (count, [_short(each) for each in entries][-1], len(entries)) == (8, "deleted", 2)


def test_an_id_of_which_nothing_is_known_is_an_error_with_the_nearest(bundle: EngineBundle) -> None:
    with pytest.raises(Rejected, match="there is no trigger shipp") as caught:
        seen(bundle, "shipp")
    assert caught.value.hint == "did you mean ship?"


def test_a_trigger_whose_id_begins_like_another_is_another(bundle: EngineBundle) -> None:
    bundle.define({**SHIP, "id": "shi"})
    assert seen(bundle, "shi") == ["applied"]


def test_progress_is_told_where_it_takes_long(bundle: EngineBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PROGRESS_EVERY", 0)
    told: list[str] = []
    look(bundle.log("onlooker"), bundle.topics, "ship", "o1", Range(), 9, lambda what, *_: told.append(what))
    assert list(dict.fromkeys(told)) == ["definitions", "facts", "records", "dead letters"]


@pytest.fixture
def _connected(bundle: EngineBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "require_broker", lambda _servers: None)
    monkeypatch.setattr(cluster, "KafkaLog", lambda _settings: bundle.log("onlooker"))


@pytest.mark.usefixtures("_connected")
def test_the_command_prints_a_row_for_each_entry() -> None:
    result = CliRunner().invoke(app, ["history", "later"])
    assert result.exit_code == 0, result.output
    rows = [re.split(r"  +", line) for line in result.stdout.splitlines()]
    assert rows[0] == ["time", "what", "key", "message", "detail"]
    assert rows[1][1] == "applied"
    assert re.fullmatch(r"version [0-9a-f]{16}", rows[1][2])
    ran = [row[1:4] for row in rows if row[-1].startswith("orders.pack run=")]
    assert ["ran", "o1", "event/p1"] in ran
    assert any(row[1:] == ["rate_limited", "o1", "event/p3", "there were 1 in 1h"] for row in rows)
    assert any(row[1:] == ["paused", "o4", "event/p4", "the trigger is paused by ann: too many"] for row in rows)
    [paused] = [row for row in rows if row[1] == "paused" and row[2].startswith("version")]
    assert paused[2].endswith(", drop since 2023-11-14T22:13:20.000Z by ann: too many")


@pytest.mark.usefixtures("_connected")
def test_where_a_trigger_started_and_from_where_it_catches_up_is_told(bundle: EngineBundle) -> None:
    bundle.define({**SHIP, "id": "early", "start": "earliest"}, start=Start(0, 0))
    bundle.define({**SHIP, "id": "early", "start": {"lookback": "1s"}, "epoch": 1}, start=Start(START_MS - 1000, 1))
    worker = bundle.ready()
    bundle.until(lambda: sum(each.startswith("early") for each in bundle.fired()) == 3, worker)
    worker.close()
    rows = [re.split(r"  +", line) for line in CliRunner().invoke(app, ["history", "early"]).stdout.splitlines()]
    applied = [row[-1].partition(", ")[2] for row in rows if row[1] == "applied"]
    assert applied == ["start earliest", "start 2023-11-14T22:13:19.000Z"]
    assert {tuple(row[1:]) for row in rows if row[1] == "catching_up"} == {("catching_up", "events/0@0")}


@pytest.mark.usefixtures("_connected")
def test_the_command_gives_programs_all_of_it() -> None:
    result = CliRunner().invoke(app, ["history", "ship", "--limit", "7", "--json"])
    document = json.loads(result.stdout)
    assert (document["trigger"], document["count"], len(document["entries"])) == ("ship", 8, 7)
    assert document["entries"][-1]["what"] == "deleted"
    [letter] = [each["value"] for each in document["entries"] if each["what"] == "dead letter"]
    assert (letter["stage"], letter["topic"], letter["trigger_id"]) == ("arguments", "events", "ship")
    run = next(each for each in document["entries"] if each["what"] == "ran")
    assert (run["topic"], run["value"]["participants"][0]["kind"]) == ("trigger-runs", "event")


@pytest.mark.usefixtures("_connected")
def test_the_command_says_that_nothing_is_known() -> None:
    result = CliRunner().invoke(app, ["history", "ship", "o9"])
    assert "nothing" not in result.stdout  # its versions are
    result = CliRunner().invoke(app, ["history", "ship", "--since", "2100-01-01T00:00"])
    assert result.stdout == "nothing is known of ship then\n"
