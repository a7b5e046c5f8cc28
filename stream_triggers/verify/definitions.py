"""The definitions that authors have stored, and which of them are missing: every state that was in force.

A state is named by an offset of the definitions topic: it has the newest version of each trigger before it.

Rules:
1. A definition that workers quarantine does not fire here either. One that is refused here only, because it calls
   functions of a module that is not allowed, must not look as if workers had made it up: ``require_allowed``.
2. Compaction removes the older versions of a trigger, and at last the record of its deletion. A state is complete
   unless a version that was in force in it may be among what was removed; of a trigger that may be the one,
   ``is_missing`` says so, and all the others can be judged.

What was removed
================

Records are missing where offsets are: but each transaction ends with a marker, which takes an offset, too. So a gap is
something else than a marker if it is longer than one, or begins the topic, or stands between two definitions that were
applied together. The end of the topic is never compacted.

What was in force in a state is missing if something before the state's end was removed *because of something behind
it*: of a newer version, then that one is the oldest one left of its trigger, or of a deletion that was removed as well.
Both must have been older than the ``min.compaction.lag.ms`` of the topic, which is taken to have been in force always.

All of the topic is kept in memory: it grows with what authors do.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from stream_triggers.core.filter import Functions
from stream_triggers.core.record import Definition, Start
from stream_triggers.core.route import Plan
from stream_triggers.errors import InvalidMessage, Misconfigured
from stream_triggers.runtime.codec import decode
from stream_triggers.runtime.definitions import UNUSABLE, read_definition
from stream_triggers.runtime.log import Log, Record, TopicPartition
from stream_triggers.runtime.reading import read_between

CLOCKS_DIFFER_MAX_MS = 600_000
"""What the clocks of senders, workers and brokers may differ by where the age of what was deleted is reckoned."""


class Version(NamedTuple):
    """A record of the definitions topic.

    ``definition`` is None where it is a deletion or cannot be read, ``plan`` also where workers have quarantined it.
    """

    offset: int
    time_ms: int
    definition: Definition | None
    plan: Plan | None

    @property
    def start(self) -> Start | None:
        """Where the trigger starts, if in the past."""
        return None if self.definition is None else self.definition.start


class _Gap(NamedTuple):
    """Offsets of the definitions topic where something has been removed; ``time_ms`` is that of the record before."""

    start: int
    end: int
    time_ms: int


class Definitions:
    """The definitions topic."""

    def __init__(self, cluster: Log, topic: str, functions: Functions) -> None:
        self._cluster = cluster
        self._partition = TopicPartition(topic, 0)
        self._functions = functions
        self._last: Version | None = None
        self._gaps: list[_Gap] = []
        self._removable_before_ms = 0
        self._refused: dict[tuple[str, str], Misconfigured] = {}
        self._read_to = 0
        self.versions: dict[str, list[Version]] = defaultdict(list)
        """What is there of each trigger, in order."""
        self.keyed: set[str] = set()
        """Ids of triggers of which any version needs the keyed stage: what they make is not judged by messages."""
        self.keyed_versions: dict[tuple[str, str], Plan] = {}
        """The plans of those versions, and of those of ``paused``."""
        self.paused: set[tuple[str, str]] = set()
        """Versions that need the keyed stage only because of a pause: what they make is judged by both."""
        self.plain: set[str] = set()
        """Ids of triggers of which any version fires directly."""
        self.started: set[str] = set()
        """Ids of triggers of which any version starts in the past."""

    def load(self, now_ms: int) -> None:
        """Read the topic to its present end; ``now_ms`` is what ages are reckoned from."""
        topic = self._partition.topic
        lag_ms = int(self._cluster.topics([topic])[topic].settings.get("min.compaction.lag.ms", "0"))
        self._removable_before_ms = now_ms - lag_ms + CLOCKS_DIFFER_MAX_MS
        self._read_to = self._cluster.start_offsets([self._partition])[self._partition]
        self.read_on()
        for trigger_id, versions in self.versions.items():
            for version in versions:
                if version.plan is not None:
                    self._classify(trigger_id, version.plan)

    def read_on(self) -> None:
        """Read what has come since; in which way a trigger is judged stays as it was."""
        end = self.end()
        for batch in read_between(self._cluster, {self._partition: self._read_to}, {self._partition: end}):
            for record in batch:
                self._take(record)
        self._read_to = end

    def end(self) -> int:
        """Where the topic ends now."""
        return self._cluster.end_offsets([self._partition])[self._partition]

    @property
    def is_whole(self) -> bool:
        """Whether nothing was ever removed."""
        return not self._gaps

    def in_force(self, state: int) -> dict[str, Plan]:
        """The triggers of a state that can be used, by id."""
        newest = {trigger_id: self.newest(trigger_id, state) for trigger_id in self.versions}
        return {each: version.plan for each, version in newest.items() if version and version.plan}

    def start(self, trigger_id: str, state: int) -> Start | None:
        """Where a trigger starts in a state."""
        version = self.newest(trigger_id, state)
        return None if version is None else version.start

    def newest(self, trigger_id: str, state: int) -> Version | None:
        """The last there is of a trigger before the end of a state."""
        before = [each for each in self.versions.get(trigger_id, ()) if each.offset < state]
        return before[-1] if before else None

    def is_missing(self, trigger_id: str, state: int) -> bool:
        """Whether the version of a trigger that was in force in a state may have been compacted away."""
        return self.newest(trigger_id, state) is None and not self.is_complete(state)

    def is_complete(self, state: int) -> bool:
        """Whether everything that was in force in a state is there; its last record is followed by a marker."""
        if not any(gap.start < state for gap in self._gaps):
            return True
        behind = [each[0].time_ms for each in self.versions.values() if each[0].offset >= state]
        behind += [gap.time_ms for gap in self._gaps if gap.end > state + 1]
        return all(time_ms > self._removable_before_ms for time_ms in behind)

    def require_allowed(self, trigger_id: str, trigger_version: str) -> None:
        """Raise ``Misconfigured`` if workers could use a definition that is refused here."""
        refused = self._refused.get((trigger_id, trigger_version))
        if refused is not None:
            raise Misconfigured(f"trigger {trigger_id} cannot be judged: {refused.message}", hint=refused.hint)

    def _take(self, record: Record) -> None:
        trigger_id, value = (record.key() or b"").decode(errors="replace"), record.value()
        definition = None if value is None else _definition(value)
        plan = None if value is None else self._compile(trigger_id, value, definition)
        version = Version(record.offset(), record.timestamp()[1], definition, plan)
        if version.start is not None:
            self.started.add(trigger_id)
        self._look_for_gap(version)
        self._last = version
        self.versions[trigger_id].append(version)

    def _look_for_gap(self, version: Version) -> None:
        """Whether something has been removed between the last version that was read and this one."""
        last = self._last
        start = 0 if last is None else last.offset + 1
        missing = version.offset - start
        if missing > 1 or (missing == 1 and (last is None or _applied_ms(last) == _applied_ms(version) is not None)):
            self._gaps.append(_Gap(start, version.offset, 0 if last is None else last.time_ms))

    def _compile(self, trigger_id: str, value: bytes, definition: Definition | None) -> Plan | None:
        """The plan of a version; None where workers have quarantined it, too."""
        try:
            return read_definition(trigger_id, value, self._functions)
        except Misconfigured as error:
            self._refused[trigger_id, "" if definition is None else definition.version] = error
            return None
        except UNUSABLE:
            return None

    def _classify(self, trigger_id: str, plan: Plan) -> None:
        if plan.keyed is not None:
            self.keyed_versions[trigger_id, plan.version] = plan
            if plan.direct is None:
                self.keyed.add(trigger_id)
            else:
                self.paused.add((trigger_id, plan.version))
        if plan.keyed is None or plan.direct is not None:
            self.plain.add(trigger_id)


def _applied_ms(version: Version) -> int | None:
    """When a version was applied, which is one instant for all that were applied together."""
    return None if version.definition is None else version.definition.time_ms


def _definition(value: bytes) -> Definition | None:
    try:
        return decode(value, (Definition,))
    except InvalidMessage:
        return None
