"""Resets by hand, written to the log of the key.

Rules:
1. Only what can be reset is: the trigger is stored and remembers something, if only because it is paused, and a key is
   given exactly where it remembers by key.
2. Before the fact stands the activation of the stored version, so that it is never evaluated without a definition.
3. Both are in one transaction; one that came to nothing is made again. Should it have been committed after all, the key
   is reset twice, which is no more than once.
"""

from __future__ import annotations

from stream_triggers.client.definitions import Definitions, no_trigger
from stream_triggers.core.condition import picks
from stream_triggers.core.keyed.manual import reset_fact
from stream_triggers.core.message import TEXT_BYTES_MAX
from stream_triggers.core.trigger import Trigger, needs_state
from stream_triggers.errors import Rejected
from stream_triggers.runtime.codec import encode
from stream_triggers.runtime.keyed.facts import activation, partition_of, state_key
from stream_triggers.runtime.log import Log, Outgoing, Producer

REASON_BYTES_MAX = 4096
"""Longest text of who resets a key and why."""


class Resets:
    """Writes resets; ``topic`` is that of the facts."""

    def __init__(self, cluster: Log, topic: str, definitions: Definitions) -> None:
        self._cluster = cluster
        self._topic = topic
        self._definitions = definitions

    def write(self, trigger_id: str, given_key: str | None, reset_id: str, reason: str) -> str:
        """Let a trigger forget everything of a key; gives the reset's id, raises ``Rejected``."""
        stored = self._definitions.defined(trigger_id)
        if stored is None:
            raise no_trigger(trigger_id, self._definitions.stored())
        trigger, defined = stored
        if not needs_state(trigger) and defined.pause is None:
            raise Rejected(f"trigger {trigger_id} remembers nothing", hint="there is nothing to reset")
        key = _key_of(trigger, given_key)
        if len(reason.encode()) > REASON_BYTES_MAX:
            raise Rejected(f"the reason has more than {REASON_BYTES_MAX} bytes", hint="say it shorter")
        record_key, topic = state_key(trigger_id, key), self._topic
        partition = partition_of(record_key, self._cluster.topics([topic])[topic].partitions)
        now_ms = self._definitions.clock.now_ms()
        fact = reset_fact(trigger_id, defined.version, key, reset_id, (topic, partition), now_ms, reason)
        records = [
            activation(defined, partition, now_ms),
            Outgoing(value=encode(fact), key=record_key, partition=partition),
        ]
        self._definitions.transact(lambda producer: _write(producer, topic, records))
        return reset_id


def _write(producer: Producer, topic: str, records: list[Outgoing]) -> None:
    producer.begin()
    producer.produce(topic, records)
    producer.commit()


def _key_of(trigger: Trigger, key: str | None) -> str:
    """The key, which may be an empty text where there are keys, and is one where there are none."""
    has_key = trigger.key is not None or any(pick.key is not None for _, pick in picks(trigger.when))
    if has_key and key is None:
        hint = f"stream-triggers pending {trigger.id} shows those that wait for something"
        raise Rejected(f"trigger {trigger.id} remembers by key: say which", hint=hint)
    if key is not None and not has_key:
        raise Rejected(f"trigger {trigger.id} has no keys", hint="leave the key out")
    if key is not None and len(key.encode()) > TEXT_BYTES_MAX:
        raise Rejected(f"the key has more than {TEXT_BYTES_MAX} bytes", hint="no message has such a key")
    return key or ""
