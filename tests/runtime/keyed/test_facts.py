"""Facts on their way: where they go, and what goes before them."""

from __future__ import annotations

import pytest

from stream_triggers.core.record import Activation, Fact
from stream_triggers.runtime.clock import ManualClock
from stream_triggers.runtime.codec import decode
from stream_triggers.runtime.keyed.facts import Defined, FactWriter, home_of, partition_of, state_key
from stream_triggers.runtime.log import Outgoing
from tests.runtime.keyed.material import PAIR, fact

V1 = Defined("t", "v1", 3, PAIR, False)


def write(writer: FactWriter, *facts: Fact, defined: Defined = V1) -> list[str]:
    """What is written: ``v1`` for an activation, the message's id for a fact, each with its partition."""
    records: list[Outgoing] = []
    writer.write(defined, facts, records)
    values: list[Activation | Fact] = [decode(record["value"], (Activation, Fact)) for record in records]  # type: ignore[misc]
    assert all(
        record["key"] == state_key("t", value.key if isinstance(value, Fact) else "")
        for record, value in zip(records, values, strict=True)
    )
    names = [value.trigger_version if isinstance(value, Activation) else value.participant.id for value in values]
    return [f"{name}/{record['partition']}" for name, record in zip(names, records, strict=True)]


@pytest.mark.parametrize(("key", "partition"), [("", 1), ("o1", 1), ("o2", 3), ("ключ", 3), ("a\0b", 1)])
def test_a_key_goes_to_the_same_partition_for_ever(key: str, partition: int) -> None:
    assert partition_of(state_key("t", key), 4) == partition


def test_a_schedule_lives_where_the_empty_key_goes() -> None:
    assert home_of("t", 4) == partition_of(state_key("t", ""), 4)


def test_an_activation_goes_before_the_first_fact_of_a_version_in_each_partition() -> None:
    writer = FactWriter(4, ManualClock())
    written = write(writer, fact("a", "e1", "o1"), fact("a", "e2", "o2"), fact("a", "e3", "o1"))
    assert written == ["v1/1", "e1/1", "v1/3", "e2/3", "e3/1"]
    assert write(writer, fact("a", "e4", "o1")) == ["e4/1"]
    assert write(writer, fact("a", "e5", "o1"), defined=Defined("t", "v2", 5, PAIR, False)) == ["v2/1", "e5/1"]


def test_it_has_the_definition_and_the_time() -> None:
    records: list[Outgoing] = []
    FactWriter(1, ManualClock(77)).write(V1, [fact("a", "e1")], records)
    assert decode(records[0]["value"]) == Activation("t", "v1", 3, PAIR, 77)


def test_what_an_aborted_transaction_had_activated_is_activated_again() -> None:
    writer = FactWriter(1, ManualClock())
    write(writer, fact("a", "e1"))
    writer.drop_pending()
    assert write(writer, fact("a", "e1")) == ["v1/0", "e1/0"]
    writer.settle()
    writer.drop_pending()
    assert write(writer, fact("a", "e2")) == ["e2/0"]
