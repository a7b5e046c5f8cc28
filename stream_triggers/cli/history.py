"""``history``: what a trigger has done and why it has not, in order of time.

Rules:
1. Everything comes from the topics, as committed: definitions and pauses, run records, decisions and dead letters.
   What was deleted there because of its age is not told, nor what compaction has taken of older definitions.
2. The time is Kafka's, of the record that says it: when it was decided, not when the message was sent.
3. Of however many entries those are kept that are shown, the latest: memory does not grow with what there is, but with
   the messages and runs of a key that is asked for.
4. With a key, a decision is told that names it. So is one that names none, if the facts say that its message came to
   that key, or if it is about a run of the key; and a dead letter, if they or a decision say so of its message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappush, heappushpop
from typing import Annotated, Any, NamedTuple

import msgspec
import typer

from stream_triggers.cli import cluster, terminal
from stream_triggers.cli.reading import Lines, Progress, records, tell_skipped
from stream_triggers.cli.settings import AsJson, Settings, configured
from stream_triggers.cli.triggers import pause_text, start_text
from stream_triggers.cli.when import AGO, range_ms
from stream_triggers.client.definitions import no_trigger
from stream_triggers.core.invocation import NOTES, Decision, TriggerRun
from stream_triggers.core.record import DeadLetter, Definition, Fact
from stream_triggers.errors import InvalidMessage, Misconfigured
from stream_triggers.runtime.clock import SystemClock
from stream_triggers.runtime.codec import decode
from stream_triggers.runtime.keyed.facts import partition_of, state_key
from stream_triggers.runtime.lag import partitions_of
from stream_triggers.runtime.log import Log, Record, TopicPartition
from stream_triggers.runtime.topics import CREATE_COMMAND, Topics

SHOWN = 50
"""Entries that are shown unless another number is asked for."""

CAUSES_SHOWN_MAX = 5
"""Participants of a run that are listed for people; --json has all."""


class Entry(NamedTuple):
    """Something that has become of a trigger, and where that stands; ``value`` is None for its deletion."""

    time_ms: int
    topic: str
    partition: int
    offset: int
    what: str
    value: Definition | TriggerRun | Decision | DeadLetter | None


class Range(NamedTuple):
    """Instants from the first on and before the second, None being all of them."""

    since_ms: int | None = None
    until_ms: int | None = None

    def has(self, time_ms: int) -> bool:
        """Whether an instant is in it."""
        return (self.since_ms or 0) <= time_ms and (self.until_ms is None or time_ms < self.until_ms)


@configured("cluster")
def history(
    settings: Settings,
    trigger_id: Annotated[str, typer.Argument(metavar="TRIGGER", help="The trigger, also one that is deleted.")],
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="Only what concerns this key.")] = None,
    *,
    since: Annotated[str | None, typer.Option("--since", metavar="WHEN", help=f"From then on. {AGO}")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Before then. Likewise.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="The latest N entries.")] = SHOWN,
    as_json: AsJson = False,
) -> None:
    """Show what a trigger has done: its versions and pauses, its runs, what it did not fire and why, its dead letters.

    It reads what workers have written since the oldest record that is kept, or in the given time.

    For example:
      stream-triggers history ship-paid-order
      stream-triggers history ship-paid-order order-17 --since 2h
      stream-triggers history ship-paid-order --limit 1000 --json
    """
    wanted = Range(*range_ms(since, until, SystemClock().now_ms()))
    with cluster.connected(cluster.onlooker(settings.config)) as log:
        count, entries = look(log, Topics.of(settings.config), trigger_id, key, wanted, limit, Lines())
    if as_json:
        document = [_document(each) for each in entries]
        terminal.json_document({"trigger": trigger_id, "count": count, "entries": document})
        return
    if not entries:
        terminal.line(f"nothing is known of {trigger_id}" + ("" if key is None else f" and the key {key}") + " then")
        return
    terminal.table(["time", "what", "key", "message", "detail"], [_row(each) for each in entries])
    if count > len(entries):
        terminal.progress(f"the latest {len(entries):,} of {count:,} entries; --limit shows more")


def look(
    log: Log, topics: Topics, trigger_id: str, key: str | None, wanted: Range, limit: int, progress: Progress
) -> tuple[int, list[Entry]]:
    """How many entries a trigger has, and the latest ``limit`` of them in their order.

    Raises ``Rejected`` for an id of which nothing is known at all, though others are.
    """
    known = set[str]()
    latest: list[Entry] = []
    count = 0
    for entry in _entries(log, topics, trigger_id, key, wanted, known, progress):
        count += 1
        if len(latest) < limit:
            heappush(latest, entry)
        else:
            heappushpop(latest, entry)
    if not count and trigger_id not in known:
        raise no_trigger(trigger_id, known)
    return count, sorted(latest)


def _entries(
    log: Log,
    topics: Topics,
    trigger_id: str,
    key: str | None,
    wanted: Range,
    known: set[str],
    progress: Progress,
) -> Iterator[Entry]:
    everything, partitions = Range(), partitions_of(log, [topics.trigger_definitions])
    yield from _versions(_read(log, partitions, everything, "definitions", progress), trigger_id, wanted, known)
    concerns = _Concerns(trigger_id, key)
    if key is not None:
        facts = partitions_of(log, [topics.trigger_facts])
        home = TopicPartition(topics.trigger_facts, partition_of(state_key(trigger_id, key), len(facts)))
        concerns.note(_read(log, [home], everything, "facts", progress))
    name = trigger_id.encode()
    for topic, what in ((topics.trigger_runs, "records"), (topics.dead_letters, "dead letters")):
        for record in _read(log, partitions_of(log, [topic]), wanted, what, progress):
            if name in (record.value() or b""):
                value = _value(record)
                if isinstance(value, TriggerRun | Decision | DeadLetter) and concerns.has(value):
                    yield _entry(record, _what(value), value)


def _read(
    log: Log, partitions: Iterable[TopicPartition], wanted: Range, what: str, progress: Progress
) -> Iterator[Record]:
    """The records of a time; where none is asked for, all of them."""
    listed = list(partitions)
    if not listed:
        raise Misconfigured(f"the topic of {what} does not exist", hint=f"make the topics: {CREATE_COMMAND}")
    starts, ends = log.start_offsets(listed), log.end_offsets(listed)
    if wanted.since_ms is not None:
        starts = log.offsets_at(listed, wanted.since_ms)
    for record in records(log, starts, ends, what, progress):
        if wanted.has(record.timestamp()[1]):
            yield record


def _versions(found: Iterable[Record], trigger_id: str, wanted: Range, known: set[str]) -> Iterator[Entry]:
    """What became of the definition of a trigger; notes the ids of all."""
    before: Definition | None = None
    for record in found:
        owner = (record.key() or b"").decode(errors="replace")
        known.add(owner)
        if owner != trigger_id:
            continue
        value = _value(record)
        after = value if isinstance(value, Definition) else None
        what = "deleted" if record.value() is None else _change(before, after)
        if wanted.has(record.timestamp()[1]):
            yield _entry(record, what, after)
        before = after


def _change(before: Definition | None, after: Definition | None) -> str:
    if after is None:
        return "unreadable"
    if before is None or before.version != after.version:
        return "applied"
    return after.change_of_pause(before.pause) or "applied"


class _Concerns:
    """Which records are about a trigger, and one key of it if one is asked for."""

    def __init__(self, trigger_id: str, key: str | None) -> None:
        self._trigger_id = trigger_id
        self._key = key
        self._name = state_key(trigger_id, key or "")
        self._messages: set[tuple[str, str]] = set()
        self._positions: set[tuple[str, int, int]] = set()
        self._runs: set[str] = set()

    def note(self, facts: Iterable[Record]) -> None:
        """Remember which messages have come to the key."""
        for record in facts:
            fact = _value(record) if record.key() == self._name else None
            if isinstance(fact, Fact):
                one = fact.participant
                self._messages.add((one.kind, one.id))
                self._positions.add((one.topic, one.partition, one.offset))

    def has(self, value: TriggerRun | Decision | DeadLetter) -> bool:
        """Whether a record is asked for; runs come before what is decided about them, dead letters after all."""
        if value.trigger_id != self._trigger_id:
            return False
        if self._key is None:
            return True
        match value:
            case TriggerRun():
                if value.key == self._key:
                    self._runs.add(value.run_id)
                return value.key == self._key
            case Decision(key=None):
                return value.run_id in self._runs or (value.kind, value.id) in self._messages
            case Decision():
                if value.key == self._key:
                    self._positions.add((value.topic, value.partition, value.offset))
                return value.key == self._key
            case DeadLetter():
                position = value.topic, value.partition, value.offset
                return value.key == self._name or position in self._positions


def _value(record: Record) -> Any:
    """What a record says; None where it cannot be read, which is told."""
    try:
        return decode(record.value())
    except InvalidMessage as error:
        if record.value() is not None:
            tell_skipped(record, error)
        return None


def _what(value: TriggerRun | Decision | DeadLetter) -> str:
    match value:
        case TriggerRun():
            return "ran"
        case Decision():
            return value.reason
        case DeadLetter():
            return "dead letter"


def _entry(record: Record, what: str, value: Definition | TriggerRun | Decision | DeadLetter | None) -> Entry:
    return Entry(record.timestamp()[1], record.topic(), record.partition(), record.offset(), what, value)


def _row(entry: Entry) -> list[str]:
    key, message, detail = _told(entry.value)
    return [terminal.instant(entry.time_ms), entry.what, key, message, detail]


def _told(value: Definition | TriggerRun | Decision | DeadLetter | None) -> tuple[str, str, str]:
    """Key, message and detail of an entry."""
    match value:
        case Definition():
            by = f" by {value.author}" if value.author else ""
            paused = f", {pause_text(value.pause)}" if value.pause and value.pause.is_in_force(value.time_ms) else ""
            start = f", start {start_text(value.start)}" if value.start is not None else ""
            return "", "", f"version {value.version}{by}{start}{paused}"
        case TriggerRun():
            causes = [f"{each.kind}/{each.id}" for each in value.participants]
            more = f" and {len(causes) - CAUSES_SHOWN_MAX} more" if len(causes) > CAUSES_SHOWN_MAX else ""
            return value.key or "", ", ".join(causes[:CAUSES_SHOWN_MAX]) + more, f"{value.task} run={value.run_id}"
        case Decision() if value.reason in NOTES:
            return "", f"{value.topic}/{value.partition}@{value.offset}", ""
        case Decision():
            run = f"run={value.run_id}" if value.run_id else ""
            return value.key or "", f"{value.kind}/{value.id}" if value.id else "", value.detail or run
        case DeadLetter():
            return "", f"{value.topic}/{value.partition}@{value.offset}", f"{value.stage}: {value.error}"
        case None:
            return "", "", ""


def _document(entry: Entry) -> dict[str, Any]:
    """An entry for programs, without the bytes that a definition or a dead letter keeps."""
    said = {} if entry.value is None else msgspec.to_builtins(entry.value, builtin_types=(bytes,))
    value = {name: each for name, each in said.items() if not isinstance(each, bytes) and name != "headers"}
    return {**entry._asdict(), "value": value}
