"""The table of triggers in force: what is in it, what is quarantined, and how it stays current."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_triggers.core.record import Definition
from stream_triggers.errors import Unavailable
from stream_triggers.runtime.codec import encode
from stream_triggers.runtime.definitions import READ_MAX, DefinitionTable
from stream_triggers.runtime.functions import AllowedFunctions
from stream_triggers.runtime.log import Outgoing
from stream_triggers.runtime.memory_log import Fault
from tests.engine_bundle import SHIP, EngineBundle, paid

CALLS = {"id": "calls", "task": "t", "when": {"event": "paid", "filter": {"call": "math:isfinite"}}}


@pytest.fixture
def bundle() -> EngineBundle:
    return EngineBundle()


@pytest.fixture
def table(bundle: EngineBundle) -> Iterator[DefinitionTable]:
    table = DefinitionTable(bundle.log(), bundle.topics.trigger_definitions, AllowedFunctions(["math"]))
    yield table
    table.close()


def in_force(table: DefinitionTable) -> list[str]:
    """Id and task of every trigger that fires."""
    return [f"{plan.trigger.id}: {plan.trigger.task}" for plan in table._plans.values()]


def write(bundle: EngineBundle, key: bytes, value: bytes | None) -> None:
    bundle.write(bundle.topics.trigger_definitions, value, key)


def definition_of(form: bytes) -> bytes:
    return encode(Definition("ship", "v", form, 0))


def test_before_anything_is_read_nothing_is_in_force(table: DefinitionTable) -> None:
    assert in_force(table) == []
    assert table.index.group(("event", "paid")) is None
    assert table.next_offset == 0


def test_loading_reads_to_the_end(bundle: EngineBundle, table: DefinitionTable) -> None:
    bundle.define(SHIP)
    bundle.define({**SHIP, "id": "note", "task": "orders.note"})
    table.load()
    assert in_force(table) == ["ship: orders.ship", "note: orders.note"]
    assert table.index.group(("event", "paid")) is not None
    assert table.next_offset == 2


def test_the_newest_version_is_in_force(bundle: EngineBundle, table: DefinitionTable) -> None:
    bundle.define(SHIP)
    bundle.define({**SHIP, "task": "orders.send"})
    table.load()
    assert in_force(table) == ["ship: orders.send"]


def test_a_deleted_trigger_is_not_in_force(bundle: EngineBundle, table: DefinitionTable) -> None:
    bundle.define(SHIP)
    bundle.delete("ship")
    table.load()
    assert in_force(table) == []


def test_catching_up_takes_in_what_is_new(bundle: EngineBundle, table: DefinitionTable) -> None:
    table.load()
    bundle.define(SHIP)
    assert table.catch_up()
    assert in_force(table) == ["ship: orders.ship"]
    assert table.index.group(("event", "paid")) is not None


def test_catching_up_with_nothing_new_says_so(bundle: EngineBundle, table: DefinitionTable) -> None:
    bundle.define(SHIP)
    table.load()
    assert not table.catch_up()


def test_what_has_come_by_itself_is_taken_in_without_asking(bundle: EngineBundle, table: DefinitionTable) -> None:
    table.load()
    assert not table.take_arrived()
    bundle.define(SHIP)
    assert table.take_arrived()
    assert in_force(table) == ["ship: orders.ship"]


def test_an_index_is_made_anew_only_when_something_has_changed(bundle: EngineBundle, table: DefinitionTable) -> None:
    bundle.define(SHIP)
    table.load()
    before = table.index
    table.catch_up()
    assert table.index is before


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (b"garbage", "TriggerDefinition"),
        (encode(paid("e1")), "Event found where TriggerDefinition is expected"),
        (definition_of(b"{"), "the definition is not JSON"),
        (definition_of(b"[]"), "expected a trigger"),
        (definition_of(b'{"id": "ship", "task": "t"}'), "a condition"),
        (definition_of(b'{"id": "ship", "task": "t", "when": {"cron": "* * *"}}'), "a cron expression"),
        (
            definition_of(b'{"id": "ship", "task": "t", "when": {"event": "e", "filter": {"call": "os:system"}}}'),
            "module os, which this worker does not allow",
        ),
        (
            definition_of(b'{"id": "ship", "task": "t", "when": {"event": "e", "filter": {"call": "math:nothing"}}}'),
            "cannot be loaded",
        ),
        (definition_of(b'{"id": "other", "task": "t", "when": {"event": "e"}}'), "is of trigger other"),
    ],
    ids=["bytes", "another record", "no JSON", "no object", "no condition", "cron", "module", "function", "another id"],
)
def test_what_cannot_be_used_is_quarantined_and_the_others_fire(
    bundle: EngineBundle, table: DefinitionTable, caplog: pytest.LogCaptureFixture, value: bytes, problem: str
) -> None:
    bundle.define({**SHIP, "id": "good"})
    write(bundle, b"ship", value)
    table.load()
    assert in_force(table) == ["good: orders.ship"]
    (told,) = [record.values for record in caplog.records if record.message == "trigger quarantined"]
    assert told["trigger"] == "ship"
    assert problem in str(told["error"])


@pytest.mark.parametrize("source", ["def f(:", "1 / 0", "raise SystemExit(7)"])
def test_a_trigger_whose_module_fails_at_import_is_quarantined_and_the_others_fire(
    bundle: EngineBundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    source: str,
) -> None:
    (tmp_path / "failing_rules.py").write_text(f"{source}\n")
    monkeypatch.syspath_prepend(tmp_path)
    bundle.define({**CALLS, "when": {"event": "paid", "filter": {"call": "failing_rules:f"}}})
    bundle.define(SHIP)
    table = DefinitionTable(bundle.log(), bundle.topics.trigger_definitions, AllowedFunctions(["failing_rules"]))
    table.load()
    table.close()
    assert in_force(table) == ["ship: orders.ship"]
    (told,) = [record.values for record in caplog.records if record.message == "trigger quarantined"]
    assert "module failing_rules cannot be imported" in str(told["error"])


def test_an_edit_that_cannot_be_used_ends_the_version_before(bundle: EngineBundle, table: DefinitionTable) -> None:
    bundle.define(SHIP)
    table.load()
    write(bundle, b"ship", b"garbage")
    table.catch_up()
    assert in_force(table) == []


@pytest.mark.parametrize("repair", ["edit", "delete"])
def test_a_quarantine_ends_with_the_next_version(bundle: EngineBundle, table: DefinitionTable, repair: str) -> None:
    write(bundle, b"ship", b"garbage")
    table.load()
    bundle.define(SHIP) if repair == "edit" else bundle.delete("ship")
    table.catch_up()
    assert in_force(table) == (["ship: orders.ship"] if repair == "edit" else [])


def test_a_function_of_an_allowed_module_may_be_called(bundle: EngineBundle, table: DefinitionTable) -> None:
    bundle.define(CALLS)
    table.load()
    assert in_force(table) == ["calls: t"]


def test_what_was_read_before_the_brokers_went_away_is_in_force_when_they_are_back(
    bundle: EngineBundle, table: DefinitionTable
) -> None:
    table.load()
    author = bundle.log("author").producer()
    author.open()
    author.begin()
    author.produce(bundle.topics.trigger_definitions, [definition(b"t%d" % number) for number in range(READ_MAX)])
    author.commit()  # whose marker is all that the second read has to pass over
    bundle.cluster.faults.plan("read", Fault.RETRIABLE, nth=2)
    with pytest.raises(Unavailable):
        table.catch_up()

    assert table.catch_up()
    assert table.index.group(("event", "paid")) is not None


def definition(trigger_id: bytes) -> Outgoing:
    form = b'{"id": "%s", "task": "t", "when": {"event": "paid"}}' % trigger_id
    return Outgoing(key=trigger_id, value=definition_of(form))
