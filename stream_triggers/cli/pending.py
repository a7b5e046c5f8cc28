"""``pending``: what a trigger with memory waits for, key by key.

Rules:
1. Everything comes from the changelog of the states, as it is committed: nothing is asked of a worker, and none is
   disturbed. The definition is the one in force in the partition, the clocks are those of the partition.
2. A partition is read twice: first for which keys there are, then for those that are shown. So memory does not grow
   with what is kept for the keys, only with their number.
3. User code is not called: what is kept has passed its filters already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple, NoReturn

import orjson
import typer

from stream_triggers.cli import cluster, terminal
from stream_triggers.cli.reading import Lines, Progress, records
from stream_triggers.cli.settings import AsJson, Settings, configured
from stream_triggers.client.definitions import Definitions, no_trigger
from stream_triggers.config import Config
from stream_triggers.core.keyed.pending import Open, Pending, pending
from stream_triggers.core.keyed.plan import KeyedPlan
from stream_triggers.core.keyed.state import Clocks, Wake, decode_state
from stream_triggers.core.message import Participant
from stream_triggers.core.trigger import Trigger, needs_state, parse_trigger
from stream_triggers.errors import EvaluationFailed, Misconfigured, Rejected
from stream_triggers.runtime.clock import SystemClock
from stream_triggers.runtime.keyed.active import NOTHING, Active, decode_active
from stream_triggers.runtime.keyed.facts import partition_of, state_key
from stream_triggers.runtime.keyed.states import (
    AT_BYTES,
    CLOCKS_UNKNOWN,
    OF_ACTIVE,
    OF_CLOCKS,
    OF_STATE,
    read_clocks,
    written_at,
)
from stream_triggers.runtime.lag import partitions_of
from stream_triggers.runtime.log import Log, Record, TopicPartition
from stream_triggers.runtime.topics import Topics

SHOWN = 50
"""Keys that are shown unless another number is asked for."""

LISTED_MAX = 5
"""Messages of one key that are listed for people; --json has all."""


class Waiting(NamedTuple):
    """What waits under one key."""

    key: str
    partition: int
    pending: Pending
    wake: Wake


@dataclass
class _Place:
    """What is known of one partition: what is in force, the time, and where the states of the trigger stand."""

    active: Active = NOTHING
    clocks: Clocks = CLOCKS_UNKNOWN
    states: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    """By key the offset in the changelog, and the position of the fact that wrote it."""

    def valid(self, wanted: bytes | None) -> Iterator[bytes]:
        """The keys of states that count: all of them, or the one that is wanted."""
        if self.active.form:
            for name, (_, at) in self.states.items():
                if at >= self.active.void_before and wanted in (None, name):
                    yield name


@configured("cluster")
def show_pending(
    settings: Settings,
    trigger_id: Annotated[str, typer.Argument(metavar="TRIGGER", help="The trigger.")],
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="Only this key; reads one partition only.")] = None,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="Keys that are shown.")] = SHOWN,
    as_json: AsJson = False,
) -> None:
    """Show what a trigger with memory waits for: by key what has come, what is missing, and until when.

    A match that has begun expires when the time of the messages has come to the instant that is shown. Next is when
    the trigger looks at the key again, if nothing comes before. Held are matches that flow control keeps back. Running
    are invocations whose end a trigger waits for that lets one run go on at a time.

    For example:
      stream-triggers pending ship-paid-order
      stream-triggers pending ship-paid-order order-17
      stream-triggers pending ship-paid-order --limit 1000 --json
    """
    with cluster.connected(cluster.onlooker(settings.config)) as log:
        trigger = _stored(log, settings.config, trigger_id)
        count, waiting = look(log, Topics.of(settings.config), trigger, key, limit, Lines())
    if as_json:
        terminal.json_document({"trigger": trigger_id, "count": count, "keys": [_document(each) for each in waiting]})
        return
    _print(trigger_id, key, count, waiting)


def _stored(log: Log, config: Config, trigger_id: str) -> Trigger:
    """The trigger as it is defined now, if it is one that waits for anything."""
    topic = Topics.of(config).trigger_definitions
    known = Definitions(log, topic, SystemClock(), config.payload_bytes_max).stored()
    stored = known.get(trigger_id)
    if stored is None:
        raise no_trigger(trigger_id, known)
    trigger = stored.trigger()
    if not needs_state(trigger) and stored.pause is None:
        hint = "it says nothing of memory, time or flow control; watch shows its invocations"
        raise Rejected(f"trigger {trigger_id} waits for nothing: each message fires it by itself", hint=hint)
    return trigger


def look(
    log: Log, topics: Topics, trigger: Trigger, key: str | None, limit: int, progress: Progress
) -> tuple[int, tuple[Waiting, ...]]:
    """How many keys of a trigger have a state, and what waits under the first ``limit`` of them, in their order."""
    changelog = topics.changelog(topics.trigger_facts)
    partitions = len(partitions_of(log, [topics.trigger_facts]))
    if not partitions:
        raise Misconfigured(f"topic {topics.trigger_facts} does not exist", hint="stream-triggers topics create")
    wanted = None if key is None else state_key(trigger.id, key)
    numbers = range(partitions) if wanted is None else [partition_of(wanted, partitions)]
    sources = [TopicPartition(changelog, number) for number in numbers]
    ends = log.end_offsets(sources)
    places = _index(records(log, log.start_offsets(sources), ends, "states", progress), trigger.id)
    found = sorted((name, number) for number, place in places.items() for name in place.valid(wanted))
    shown = dict(found[:limit])
    values = _values(log, changelog, shown, places, ends, progress)
    return len(found), tuple(_waiting(trigger.id, shown, values, places))


def _values(
    log: Log,
    changelog: str,
    shown: Mapping[bytes, int],
    places: Mapping[int, _Place],
    ends: Mapping[TopicPartition, int],
    progress: Progress,
) -> dict[bytes, bytes]:
    """The states of the keys that are shown; without those that compaction has taken away meanwhile."""
    starts: dict[TopicPartition, int] = {}
    for name, number in shown.items():
        source, (offset, _) = TopicPartition(changelog, number), places[number].states[name]
        starts[source] = min(offset, starts.get(source, offset))
    values: dict[bytes, bytes] = {}
    for record in records(log, starts, ends, "shown", progress):
        key, value = record.key() or b"", record.value()
        if key[:1] == OF_STATE and key[1:] in shown and value is not None:
            values[key[1:]] = value
    return values


def _index(records: Iterable[Record], trigger_id: str) -> dict[int, _Place]:
    places: dict[int, _Place] = {}
    head = state_key(trigger_id, "")
    for record in records:
        place = places.setdefault(record.partition(), _Place())
        key, value = record.key() or b"", record.value()
        if key == OF_CLOCKS:
            place.clocks = read_clocks(value or b"")
        elif key == OF_ACTIVE + trigger_id.encode():
            place.active = decode_active(value or b"", f"{record.topic()}/{record.partition()}@{record.offset()}")
        elif key[:1] == OF_STATE and key[1:].startswith(head):
            if value is None:
                place.states.pop(key[1:], None)
            else:
                place.states[key[1:]] = (record.offset(), written_at(value))
    return places


def _waiting(
    trigger_id: str, shown: Mapping[bytes, int], values: Mapping[bytes, bytes], places: Mapping[int, _Place]
) -> Iterator[Waiting]:
    plans: dict[bytes, KeyedPlan] = {}
    for name, number in shown.items():
        if name not in values:
            continue
        form, clocks = places[number].active.form, places[number].clocks
        if form not in plans:
            plans[form] = KeyedPlan(parse_trigger(orjson.loads(form), trigger_id), _unused)
        state, wake = decode_state(values[name][:-AT_BYTES])
        key = name.partition(b"\0")[2].decode()
        yield Waiting(key, number, pending(state, plans[form], clocks), wake)


def _unused(name: str) -> Callable[..., NoReturn]:
    def call(*_: object) -> NoReturn:
        raise EvaluationFailed(f"{name} is not called here")

    return call


def _print(trigger_id: str, key: str | None, count: int, waiting: tuple[Waiting, ...]) -> None:
    if not count:
        terminal.line(f"nothing waits for {trigger_id}" + (f" under the key {key}" if key is not None else ""))
        return
    columns = ["key", "present", "missing", "expires", "next", "held", "running", "bytes"]
    terminal.table(columns, [row for each in waiting for row in _rows(each)])
    if count > len(waiting):
        terminal.progress(f"{len(waiting):,} of {count:,} keys; --limit shows more")


def _rows(waiting: Waiting) -> Iterator[list[str]]:
    """A row for each match that has begun, and one where none has."""
    next_ms = min([ms for ms in waiting.wake if ms is not None], default=None)
    held = ", ".join(f"{gate} {number}" for gate, number in waiting.pending.held.items())
    next_at = "" if next_ms is None else terminal.instant(next_ms)
    end = [next_at, held, ", ".join(waiting.pending.running), f"{waiting.pending.state_bytes:,}"]
    for each in waiting.pending.open or [None]:
        yield [waiting.key, *_begun(each), *end]


def _begun(begun: Open | None) -> list[str]:
    if begun is None:
        return ["", "", ""]
    listed = [f"{each.leaf} {each.kind}/{each.id}" for each in begun.present[:LISTED_MAX]]
    if len(begun.present) > LISTED_MAX:
        listed.append(f"{len(begun.present) - LISTED_MAX} more")
    return [", ".join(listed), ", ".join(begun.missing), terminal.instant(begun.until_ms)]


def _document(waiting: Waiting) -> dict[str, Any]:
    return {
        "key": waiting.key,
        "partition": waiting.partition,
        "open": [
            {
                "present": [_participant(one) for one in each.present],
                "missing": list(each.missing),
                "expires_ms": each.until_ms,
            }
            for each in waiting.pending.open
        ],
        "held": waiting.pending.held,
        "running": list(waiting.pending.running),
        "wake_wall_ms": waiting.wake.wall_ms,
        "wake_watermark_ms": waiting.wake.watermark_ms,
        "state_bytes": waiting.pending.state_bytes,
    }


def _participant(participant: Participant) -> dict[str, Any]:
    return {
        "leaf": participant.leaf,
        "kind": participant.kind,
        "id": participant.id,
        "time_ms": participant.time_ms,
    }
