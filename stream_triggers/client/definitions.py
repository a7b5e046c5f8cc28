"""The stored triggers: read as they are, and changed as a whole.

Rules:
1. Everything is validated before anything is written; what changes is written in one transaction, so workers see all of
   it or nothing.
2. A change is told by comparing versions with what is stored: applying the same triggers again writes nothing.
3. Two programs that change triggers at once do so one after the other: the transactional id is the same, and the one
   that was overtaken compares again with what the other has written.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, TypeAlias

import orjson

from stream_triggers.core.fields import at
from stream_triggers.core.message import JsonValue
from stream_triggers.core.record import Definition
from stream_triggers.core.trigger import Trigger, canonical, parse_trigger, trigger_json, version
from stream_triggers.errors import Aborted, Fenced, InvalidMessage, InvalidTrigger, Unavailable, Unsettled
from stream_triggers.runtime.clock import Clock
from stream_triggers.runtime.codec import decode, encode
from stream_triggers.runtime.log import Log, Outgoing, Producer, TopicPartition
from stream_triggers.runtime.reading import read_all
from stream_triggers.telemetry import log

logger = logging.getLogger(__name__)

TriggerSpec: TypeAlias = Trigger | Mapping[str, JsonValue]
"""A trigger, or its JSON form."""

WRITE_ATTEMPTS_MAX = 5
"""Times that a change is compared and written before it is given up: each other program that writes may cost one."""


class Change(NamedTuple):
    """What became of one trigger; the version is empty where none is stored any more."""

    id: str
    what: Literal["created", "updated", "unchanged", "deleted", "absent"]
    version: str


class StoredTrigger(NamedTuple):
    """A trigger as it is stored; ``definition`` is its canonical JSON form.

    Bytes that are no definition have an id only: their version is empty, the rest is None.
    """

    id: str
    version: str
    time_ms: int | None
    author: str | None
    definition: JsonValue

    def trigger(self) -> Trigger:
        """The trigger; raises ``InvalidTrigger`` where a newer release wrote what this one does not know."""
        return parse_trigger(self.definition, self.id)


class Definitions:
    """The definitions topic."""

    def __init__(self, cluster: Log, topic: str, clock: Clock, bytes_max: int) -> None:
        """``bytes_max`` bounds a definition, see ``validated``."""
        self._cluster = cluster
        self._partition = TopicPartition(topic, 0)
        self._clock = clock
        self._bytes_max = bytes_max

    def stored(self) -> dict[str, StoredTrigger]:
        """Every stored trigger by id; waits for a change that is being written."""
        stored: dict[str, StoredTrigger] = {}
        for records in read_all(self._cluster, [self._partition]):
            for record in records:
                trigger_id = (record.key() or b"").decode(errors="replace")
                stored.pop(trigger_id, None)
                value = record.value()
                if value is not None:
                    stored.update(_read(trigger_id, value))
        return stored

    def apply(self, specs: Iterable[TriggerSpec], author: str | None = None) -> tuple[Change, ...]:
        """Store these triggers beside those that are there, and tell what became of each.

        Raises ``InvalidTrigger`` before anything is written. When the answer to a commit was lost, what it wrote is
        told as unchanged.
        """
        now_ms = self._clock.now_ms()
        return self._change(
            {
                trigger.id: Definition(trigger.id, version(trigger), canonical(trigger), now_ms, author)
                for trigger in validated(specs, self._bytes_max)
            }
        )

    def delete(self, trigger_id: str) -> Change:
        """Remove a trigger: it fires no more once workers have read that."""
        return self._change({trigger_id: None})[0]

    def _change(self, wanted: Mapping[str, Definition | None]) -> tuple[Change, ...]:
        for _ in range(WRITE_ATTEMPTS_MAX):
            producer = self._cluster.producer()
            try:
                producer.open()
                return self._changed(producer, wanted)
            except (Aborted, Fenced, Unsettled) as error:
                log(logger, "transaction unsettled", error=error.message)
            finally:
                producer.close()
        raise Unavailable(
            f"the triggers could not be written in {WRITE_ATTEMPTS_MAX} attempts",
            hint="other programs change triggers at the same time, or the brokers are busy; apply again",
        )

    def _changed(self, producer: Producer, wanted: Mapping[str, Definition | None]) -> tuple[Change, ...]:
        stored = self.stored()
        changes = tuple(_compared(name, definition, stored.get(name)) for name, definition in wanted.items())
        records = [
            _record(change.id, wanted[change.id], self._partition.partition)
            for change in changes
            if change.what in ("created", "updated", "deleted")
        ]
        if records:
            producer.begin()
            producer.produce(self._partition.topic, records)
            producer.commit()
        return changes


def validated(specs: Iterable[TriggerSpec], bytes_max: int) -> tuple[Trigger, ...]:
    """The triggers in ``specs``, each with an id of its own; else ``InvalidTrigger``.

    A definition has at most ``bytes_max`` bytes, ``payload_bytes_max`` of the configuration: that bounds the arguments
    of a run, which the largest part of a large definition always is.
    """
    triggers: dict[str, Trigger] = {}
    for index, spec in enumerate(specs):
        path = f"triggers[{index}]"
        # A trigger goes through its JSON form, too: it may have been made without the parser.
        trigger = parse_trigger(trigger_json(spec) if isinstance(spec, Trigger) else spec, path)
        size_bytes = len(canonical(trigger))
        if size_bytes > bytes_max:
            raise InvalidTrigger(
                path,
                f"trigger {trigger.id} has {size_bytes} bytes, the limit is {bytes_max}: payload_bytes_max",
                hint="have it pass a reference to the data, or raise payload_bytes_max here and for the workers",
            )
        if trigger.id in triggers:
            raise InvalidTrigger(at(path, "id"), f'expected an id of its own, found "{trigger.id}" again')
        triggers[trigger.id] = trigger
    return tuple(triggers.values())


def _compared(trigger_id: str, wanted: Definition | None, stored: StoredTrigger | None) -> Change:
    if wanted is None:
        return Change(trigger_id, "absent" if stored is None else "deleted", "")
    if stored is None:
        return Change(trigger_id, "created", wanted.version)
    return Change(trigger_id, "unchanged" if stored.version == wanted.version else "updated", wanted.version)


def _record(trigger_id: str, definition: Definition | None, partition: int) -> Outgoing:
    value = None if definition is None else encode(definition)
    return Outgoing(value=value, key=trigger_id.encode(), partition=partition)


def _read(trigger_id: str, value: bytes) -> dict[str, StoredTrigger]:
    """The definition in ``value``; bytes that are none count as stored under no version, so that they are replaced."""
    try:
        found = decode(value, (Definition,))
        definition = orjson.loads(found.definition)
    except (InvalidMessage, orjson.JSONDecodeError) as error:
        log(logger, "trigger quarantined", trigger=trigger_id, error=str(error))
        return {trigger_id: StoredTrigger(trigger_id, "", None, None, None)}
    return {trigger_id: StoredTrigger(trigger_id, found.version, found.time_ms, found.author, definition)}
