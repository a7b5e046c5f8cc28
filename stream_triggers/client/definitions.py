"""The stored triggers: read as they are, and changed as a whole.

Rules:
1. Everything is validated before anything is written; what changes is written in one transaction, so workers see all of
   it or nothing.
2. A change is told by comparing versions with what is stored: applying the same triggers again writes nothing.
3. Two programs that change triggers at once do so one after the other: the transactional id is the same, and the one
   that was overtaken compares again, after a pause that chance draws, with what the other has written.
4. A pause belongs to the trigger, not to a version: applying another one leaves it as it is.
5. A trigger starts once for each epoch: when it is new, and when its epoch is raised. Whatever else is applied leaves
   where it started as it is, and under the same epoch may not say otherwise. What workers cannot use has not started.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from random import uniform
from typing import Literal, NamedTuple, TypeAlias, TypedDict, TypeVar

import orjson
from msgspec.structs import replace

from stream_triggers.core.fields import at, suggestion
from stream_triggers.core.message import JsonValue
from stream_triggers.core.record import CaughtUp, Definition, Pause, PauseMode, Start
from stream_triggers.core.start import NOW, since_ms, start_json
from stream_triggers.core.trigger import Trigger, canonical, parse_trigger, trigger_json, version
from stream_triggers.errors import Aborted, Fenced, InvalidMessage, InvalidTrigger, Rejected, Unavailable, Unsettled
from stream_triggers.runtime.clock import Clock
from stream_triggers.runtime.codec import decode, encode
from stream_triggers.runtime.keyed.facts import Defined
from stream_triggers.runtime.log import Log, Outgoing, Producer, Record, TopicPartition
from stream_triggers.runtime.reading import read_all
from stream_triggers.telemetry import log

logger = logging.getLogger(__name__)

T = TypeVar("T")

TriggerSpec: TypeAlias = Trigger | Mapping[str, JsonValue]
"""A trigger, or its JSON form."""

Edit: TypeAlias = Callable[[Definition | None], Definition | None]
"""What becomes of what is stored of a trigger; None stands for nothing."""

PAUSE_CHARS_MAX = 500
"""Longest reason for a pause, and name: every match that it drops repeats them."""

WRITE_WITHIN_S = 30.0
"""How long a change is compared and written again before it is given up: each other program that writes may cost one
attempt."""

PAUSE_FIRST_S, PAUSE_MAX_S = 0.2, 5.0
"""Longest pauses after the first attempt, twice as long after each, and after any: an attempt takes about 0.1 s, and of
programs that begin at once each is to find a moment of its own."""

_READ_OTHERWISE = "apply the trigger anew, or use the release that has stored it"


class PauseFields(TypedDict, total=False):
    """What can be said of a pause.

    ``mode`` is what becomes of matches meanwhile: ``hold`` keeps them, as many as one key may hold, ``hold_latest`` the
    latest of a key, ``drop`` none. ``catchup`` is what fires afterwards of what was kept: ``none``, ``latest`` or
    ``all``; without it everything does, and of the instants of a schedule those that its own ``catchup`` says.
    """

    mode: PauseMode
    until_ms: int | None
    catchup: CaughtUp
    why: str
    author: str | None


class Change(NamedTuple):
    """What became of one trigger; the version is empty where none is stored any more."""

    id: str
    what: Literal["created", "updated", "unchanged", "paused", "resumed", "deleted", "absent"]
    version: str


class StoredTrigger(NamedTuple):
    """A trigger as it is stored; ``definition`` is its canonical JSON form, ``pause`` its last pause if it had one.

    ``start`` is from where on it takes messages that were there already, None if from when it was applied. Bytes that
    are no definition have an id only: their version is empty, the rest is None.
    """

    id: str
    version: str
    time_ms: int | None
    author: str | None
    definition: JsonValue
    pause: Pause | None = None
    start: Start | None = None

    def trigger(self) -> Trigger:
        """The trigger; raises ``InvalidTrigger`` for bytes that are none, or that a newer release wrote."""
        if not self.version:
            raise InvalidTrigger(self.id, "what is stored cannot be read", hint=_READ_OTHERWISE)
        return parse_trigger(self.definition, self.id)


class Definitions:
    """The definitions topic."""

    def __init__(self, cluster: Log, topic: str, clock: Clock, bytes_max: int) -> None:
        """``bytes_max`` bounds a definition, see ``validated``."""
        self._cluster = cluster
        self._partition = TopicPartition(topic, 0)
        self.clock = clock
        self._bytes_max = bytes_max

    def stored(self) -> dict[str, StoredTrigger]:
        """Every stored trigger by id; waits for a change that is being written."""
        return {trigger_id: _stored(definition) for trigger_id, definition in self._definitions().items()}

    def apply(self, specs: Iterable[TriggerSpec], author: str | None = None) -> tuple[Change, ...]:
        """Store these triggers beside those that are there, and tell what became of each.

        Raises ``InvalidTrigger`` before anything is written. When the answer to a commit was lost, what it wrote is
        told as unchanged.
        """
        now_ms = self.clock.now_ms()
        return self._change(
            {trigger.id: _edit(trigger, now_ms, author) for trigger in validated(specs, self._bytes_max)}
        )

    def delete(self, trigger_id: str) -> Change:
        """Remove a trigger: it fires no more once workers have read that."""
        return self._change({trigger_id: lambda _: None})[0]

    def pause(self, trigger_id: str, pause: Pause) -> Change:
        """Have a trigger paused from now on, or paused otherwise; the instant since when is kept.

        Raises ``Rejected`` for a pause that would be over already, or says more than ``PAUSE_CHARS_MAX``.
        """
        now_ms = self.clock.now_ms()
        _require_sensible(pause, now_ms)

        def paused(stored: Definition | None) -> Definition | None:
            before = None if stored is None else _readable(stored).pause
            is_paused = before is not None and before.is_in_force(now_ms)
            since_ms = before.since_ms if before is not None and is_paused else now_ms
            return stored and replace(stored, time_ms=now_ms, pause=replace(pause, since_ms=since_ms))

        return self._change({trigger_id: paused})[0]

    def resume(self, trigger_id: str, catchup: CaughtUp | None) -> Change:
        """End the pause of a trigger now; it is told as unchanged when it is not paused.

        ``catchup`` takes the place of what the pause says.
        """
        now_ms = self.clock.now_ms()

        def resumed(stored: Definition | None) -> Definition | None:
            pause = None if stored is None else stored.pause
            if stored is None or pause is None or not pause.is_in_force(now_ms):
                return stored
            ended = replace(pause, until_ms=now_ms, catchup=pause.catchup if catchup is None else catchup)
            return replace(stored, time_ms=now_ms, pause=ended)

        return self._change({trigger_id: resumed})[0]

    def _definitions(self) -> dict[str, Definition]:
        """What is stored, by id; bytes that are no definition have no version."""
        stored: dict[str, Definition] = {}
        for records in read_all(self._cluster, [self._partition]):
            for record in records:
                trigger_id = (record.key() or b"").decode(errors="replace")
                stored.pop(trigger_id, None)
                value = record.value()
                if value is not None:
                    stored[trigger_id] = _read(trigger_id, value)
        return stored

    def defined(self, trigger_id: str) -> tuple[Trigger, Defined] | None:
        """A stored trigger, and its definition at its place; raises ``InvalidTrigger`` or ``InvalidMessage``."""
        found: Record | None = None
        for records in read_all(self._cluster, [self._partition]):
            found = next((each for each in reversed(records) if each.key() == trigger_id.encode()), found)
        if found is None or found.value() is None:
            return None
        stored = decode(found.value(), (Definition,))
        trigger = parse_trigger(orjson.loads(stored.definition), trigger_id)
        form, offset = canonical(trigger), found.offset()
        return trigger, Defined(trigger_id, version(trigger), offset, form, pause=stored.pause, start=stored.start)

    def transact(self, write: Callable[[Producer], T]) -> T:
        """What ``write`` gives, which makes at most one transaction; done again when that came to nothing."""
        give_up_s, pause_max_s = self.clock.monotonic_s() + WRITE_WITHIN_S, PAUSE_FIRST_S
        while self.clock.monotonic_s() < give_up_s:
            producer = self._cluster.producer()
            try:
                producer.open()
                return write(producer)
            except (Aborted, Fenced, Unsettled) as error:
                log(logger, "transaction unsettled", error=error.message)
            finally:
                producer.close()
            self.clock.sleep(uniform(0, pause_max_s))
            pause_max_s = min(2 * pause_max_s, PAUSE_MAX_S)
        raise Unavailable(
            f"nothing could be written within {WRITE_WITHIN_S:g} s",
            hint="other programs change triggers at the same time, or the brokers are busy; do it again",
        )

    def _change(self, edits: Mapping[str, Edit]) -> tuple[Change, ...]:
        return self.transact(lambda producer: self._changed(producer, edits))

    def _changed(self, producer: Producer, edits: Mapping[str, Edit]) -> tuple[Change, ...]:
        stored = self._definitions()
        wanted = {name: edit(stored.get(name)) for name, edit in edits.items()}
        changes = tuple(compared(name, definition, stored.get(name)) for name, definition in wanted.items())
        records = [
            _record(change.id, wanted[change.id], self._partition.partition)
            for change in changes
            if change.what not in ("unchanged", "absent")
        ]
        if records:
            producer.begin()
            producer.produce(self._partition.topic, records)
            producer.commit()
        return changes


def validated(specs: Iterable[TriggerSpec], bytes_max: int) -> tuple[Trigger, ...]:
    """The triggers in ``specs``, each with an id of its own and not too large; else ``InvalidTrigger``."""
    triggers: dict[str, Trigger] = {}
    for index, spec in enumerate(specs):
        path = f"triggers[{index}]"
        # A trigger goes through its JSON form, too: it may have been made without the parser.
        trigger = parse_trigger(trigger_json(spec) if isinstance(spec, Trigger) else spec, path)
        require_size(trigger, path, bytes_max)
        if trigger.id in triggers:
            raise InvalidTrigger(at(path, "id"), f'expected an id of its own, found "{trigger.id}" again')
        triggers[trigger.id] = trigger
    return tuple(triggers.values())


def require_size(trigger: Trigger, path: str, bytes_max: int) -> None:
    """Refuse a trigger whose definition has more than ``bytes_max`` bytes, ``payload_bytes_max`` of the configuration.

    That bounds the arguments of a run, which the largest part of a large definition always is.
    """
    size_bytes = len(canonical(trigger))
    if size_bytes > bytes_max:
        raise InvalidTrigger(
            path,
            f"trigger {trigger.id} has {size_bytes} bytes, the limit is {bytes_max}: payload_bytes_max",
            hint="have it pass a reference to the data, or raise payload_bytes_max here and for the workers",
        )


def applied(trigger: Trigger, stored: StoredTrigger | None, now_ms: int, author: str | None = None) -> Definition:
    """What is stored of ``trigger`` when it takes the place of ``stored``, whose pause it takes over.

    Raises ``InvalidTrigger`` for a start that is yet to come, and for another one than that of its epoch.
    """
    pause, start = None if stored is None else stored.pause, _start_of(trigger, stored, now_ms)
    return Definition(trigger.id, version(trigger), canonical(trigger), now_ms, author, pause, start)


def _start_of(trigger: Trigger, stored: StoredTrigger | None, now_ms: int) -> Start | None:
    try:
        before = None if stored is None else stored.trigger()
    except InvalidTrigger:
        before = None
    if before is None or stored is None or trigger.epoch > before.epoch:
        return _new_start(trigger, now_ms)
    if trigger.epoch == before.epoch and trigger.start != before.start:
        raise InvalidTrigger(
            at(trigger.id, "start"),
            f"expected {_start_text(before)}, as it is stored under this epoch, found {_start_text(trigger)}",
            hint="raise its epoch to have it start again",
        )
    return stored.start


def _new_start(trigger: Trigger, now_ms: int) -> Start | None:
    instant_ms = since_ms(trigger.start, now_ms)
    if instant_ms is not None and instant_ms > now_ms:
        problem = f"expected an instant that has been, found {_start_text(trigger)}"
        raise InvalidTrigger(at(trigger.id, "start"), problem, hint="apply it then, or leave its start out")
    return None if instant_ms is None else Start(instant_ms, trigger.epoch)


def _start_text(trigger: Trigger) -> str:
    return orjson.dumps(start_json(trigger.start) or NOW).decode()


def _edit(trigger: Trigger, now_ms: int, author: str | None) -> Edit:
    """The edit by which ``trigger`` takes the place of what is stored."""
    return lambda stored: applied(trigger, None if stored is None else _stored(stored), now_ms, author)


def _require_sensible(pause: Pause, now_ms: int) -> None:
    if not pause.is_in_force(now_ms):
        raise Rejected(f"a pause until {pause.until_ms} would be over already", hint="name a time to come")
    for name, text in (("why", pause.why), ("author", pause.author or "")):
        if len(text) > PAUSE_CHARS_MAX:
            raise Rejected(
                f"{name} of a pause has {len(text)} characters, the limit is {PAUSE_CHARS_MAX}", hint="say it shorter"
            )


def no_trigger(trigger_id: str, known: Collection[str]) -> Rejected:
    """The error that nothing is stored under an id, with what was probably meant of those that are ``known``."""
    hint = suggestion(trigger_id, known) or "stream-triggers list shows those there are"
    return Rejected(f"there is no trigger {trigger_id}", hint=hint)


def _readable(stored: Definition) -> Definition:
    """``stored``, unless it is bytes that are no definition."""
    if not stored.version:
        raise Rejected(
            f"what is stored as {stored.id} cannot be read: it can be changed by a later release only",
            hint=_READ_OTHERWISE,
        )
    return stored


def compared(trigger_id: str, wanted: Definition | None, stored: Definition | StoredTrigger | None) -> Change:
    """What becomes of a trigger of which ``wanted`` takes the place of what is stored."""
    if wanted is None:
        return Change(trigger_id, "absent" if stored is None else "deleted", "")
    if stored is None:
        return Change(trigger_id, "created", wanted.version)
    if stored.version != wanted.version:
        return Change(trigger_id, "updated", wanted.version)
    return Change(trigger_id, wanted.change_of_pause(stored.pause) or "unchanged", wanted.version)


def _record(trigger_id: str, definition: Definition | None, partition: int) -> Outgoing:
    value = None if definition is None else encode(definition)
    return Outgoing(value=value, key=trigger_id.encode(), partition=partition)


def _read(trigger_id: str, value: bytes) -> Definition:
    """The definition in ``value``; bytes that are none have no version, so that they are replaced."""
    try:
        found = decode(value, (Definition,))
        orjson.loads(found.definition)
    except (InvalidMessage, orjson.JSONDecodeError):  # told by what lists it; a later record may have replaced it
        return Definition(trigger_id, "", b"", 0)
    return replace(found, id=trigger_id)


def _stored(found: Definition) -> StoredTrigger:
    if not found.version:
        return StoredTrigger(found.id, "", None, None, None)
    definition = orjson.loads(found.definition)
    return StoredTrigger(found.id, found.version, found.time_ms, found.author, definition, found.pause, found.start)
