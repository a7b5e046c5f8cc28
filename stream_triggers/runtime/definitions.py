"""Definitions as a table every worker keeps: the newest version of each trigger, current while running.

Rules:
1. Nothing is processed before the table has been read to where the topic ended at the start.
2. A definition that cannot be used (bytes, form, a function not allowed) is quarantined: it does not fire, the
   others do, and the operator is told once.
3. ``next_offset`` names a state of the table: the same offset, the same triggers.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import orjson

from stream_triggers.core.filter import Functions
from stream_triggers.core.record import Definition
from stream_triggers.core.route import Plan, RouteIndex, plan
from stream_triggers.core.trigger import canonical, parse_trigger
from stream_triggers.errors import InvalidMessage, InvalidTrigger, Misconfigured, StreamTriggersError
from stream_triggers.runtime.codec import decode
from stream_triggers.runtime.keyed.facts import Defined, KeyedTriggers
from stream_triggers.runtime.log import Log, Record, TopicPartition
from stream_triggers.telemetry import log

logger = logging.getLogger(__name__)

READ_MAX = 1000

UNUSABLE: tuple[type[StreamTriggersError], ...] = (InvalidMessage, InvalidTrigger, Misconfigured)
"""What ``read_definition`` raises for a definition that is to be quarantined."""


def read_definition(trigger_id: str, value: bytes, functions: Functions) -> Plan:
    """The trigger in a record of the definitions topic, which is filed there under ``trigger_id``."""
    definition = decode(value, (Definition,))
    try:
        form = orjson.loads(definition.definition)
    except orjson.JSONDecodeError as error:
        raise InvalidTrigger(trigger_id, f"the definition is not JSON: {error}") from error
    trigger = parse_trigger(form, trigger_id)
    if trigger.id != trigger_id:
        raise InvalidTrigger(trigger_id, f"the definition is of trigger {trigger.id}")
    return plan(trigger, functions, definition.pause, definition.start)


class DefinitionTable:
    """The triggers that are in force, read from the definitions topic."""

    def __init__(self, cluster: Log, topic: str, functions: Functions) -> None:
        self._cluster = cluster
        self._partition = TopicPartition(topic, 0)
        self._functions = functions
        self._reader = cluster.reader()
        self._plans: dict[str, Plan] = {}
        self._defined: dict[str, Defined] = {}
        self._quarantined: set[str] = set()
        self._is_changed = False  # since the index was made
        self.next_offset = 0
        self.index = RouteIndex(())
        self.keyed = KeyedTriggers(0, {}, frozenset())
        self.started: Mapping[str, Plan] = {}
        """The triggers that have a start, by id."""

    def load(self) -> None:
        """Read the topic to its present end."""
        self._reader.assign(self._cluster.start_offsets([self._partition]))
        self._read_to_end()
        self._rebuild()

    def catch_up(self) -> bool:
        """Take in what has been written up to now; True when the triggers in force have changed.

        Whatever was applied before a message was sent is in force when the message is processed, if this is called
        between reading the message and processing it. Costs one request to the broker when nothing is new.
        """
        self._read_to_end()
        return self._rebuild_if_changed()

    def take_arrived(self) -> bool:
        """Take in what has come by itself, asking nobody; True when the triggers in force have changed."""
        self._apply(self._reader.poll(READ_MAX, timeout_s=0))
        return self._rebuild_if_changed()

    def close(self) -> None:
        """Stop reading."""
        self._reader.close()

    def _read_to_end(self) -> None:
        end = self._cluster.end_offsets([self._partition])[self._partition]
        while self._reader.positions()[self._partition] < end:
            self._apply(self._reader.poll(READ_MAX, timeout_s=0.1))

    def _apply(self, records: Sequence[Record]) -> None:
        for record in records:
            self._is_changed = True
            trigger_id = (record.key() or b"").decode(errors="replace")
            self._plans.pop(trigger_id, None)
            self._defined.pop(trigger_id, None)
            self._quarantined.discard(trigger_id)
            value = record.value()
            if value is not None:
                self._define(trigger_id, value, record.offset())
            self.next_offset = record.offset() + 1

    def _define(self, trigger_id: str, value: bytes, offset: int) -> None:
        try:
            made = self._plans[trigger_id] = read_definition(trigger_id, value, self._functions)
            if made.keyed is not None:
                form = canonical(made.trigger)
                is_scheduled = made.keyed.is_scheduled
                self._defined[trigger_id] = Defined(
                    trigger_id, made.version, offset, form, is_scheduled, made.pause, made.start
                )
        except UNUSABLE as error:
            self._quarantined.add(trigger_id)
            log(logger, "trigger quarantined", trigger=trigger_id, error=error)

    def _rebuild_if_changed(self) -> bool:
        is_changed = self._is_changed
        if is_changed:
            self._rebuild()
        return is_changed

    def _rebuild(self) -> None:
        self.index = RouteIndex(self._plans.values())
        self.keyed = KeyedTriggers(self.next_offset, dict(self._defined), frozenset(self._quarantined))
        self.started = {name: plan for name, plan in self._plans.items() if plan.start is not None}
        self._is_changed = False
        log(logger, "triggers in force", count=len(self._plans), definitions_offset=self.next_offset)
