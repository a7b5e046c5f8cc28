"""Which triggers were in force at each position of the inputs.

Workers note it: a decision ``definitions_changed`` says that from a position of an input partition on the definitions
before an offset of the definitions topic were in force.

Rules:
1. Before the first note of a partition nothing is known, and nothing is judged.
2. A definition that workers quarantine does not fire here either. One that is refused here only, because it calls
   functions of a module that is not allowed, must not look as if workers had made it up: ``require_allowed``.
3. Compaction removes the older versions of a trigger, and at last the record of its deletion. A state of the
   definitions is complete unless a version that was in force in it may be among what was removed; of a trigger that may
   be the one, ``is_gone`` says so, and all the others can be judged.

What was removed
================

Records are missing where offsets are: but each transaction ends with a marker, which takes an offset, too. So a gap is
something else than a marker if it is longer than one, or begins the topic, or stands between two definitions that were
applied together. The end of the topic is never compacted.

What was in force in a state is missing if something before the state's end was removed *because of something behind
it*: of a newer version, then that one is the oldest one left of its trigger, or of a deletion that was removed as well.
Both must have been older than the ``min.compaction.lag.ms`` of the topic, which is taken to have been in force always.

What is kept in memory are the definitions topic and the notes: they grow with what authors do, with how often
partitions change hands and with hours, not with messages.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import OrderedDict, defaultdict
from typing import NamedTuple

from stream_triggers.core.filter import Functions
from stream_triggers.core.record import Definition
from stream_triggers.core.route import LeafGroup, Plan, Route, RouteIndex
from stream_triggers.errors import InvalidMessage, Misconfigured
from stream_triggers.runtime.codec import decode
from stream_triggers.runtime.definitions import UNUSABLE, read_definition
from stream_triggers.runtime.log import Log, TopicPartition
from stream_triggers.runtime.reading import read_between

STATES_KEPT_MAX = 16
"""States of the definitions that are kept ready: partitions that are read side by side have few at a time."""

ROUTES_KEPT_MAX = 10_000
"""Routing parts remembered for one state; a sender that makes up event codes must not fill the memory."""

CLOCKS_DIFFER_MAX_MS = 600_000
"""What the clocks of senders, workers and brokers may differ by where the age of what was deleted is reckoned."""

_LATEST = 2**63


class Listeners(dict[Route, LeafGroup | None]):
    """Who listens to what while one state of the definitions is in force."""

    def __init__(self, index: RouteIndex) -> None:
        super().__init__()
        self._index = index

    def __missing__(self, route: Route) -> LeafGroup | None:
        if len(self) >= ROUTES_KEPT_MAX:
            self.clear()
        group = self[route] = self._index.group(route)
        return group


class Stretch(NamedTuple):
    """Positions ``first`` to ``end`` of a partition, through which the same listeners are in force."""

    first: int
    end: int
    listeners: Listeners
    is_complete: bool
    """Whether no listener can be missing."""


class _Version(NamedTuple):
    offset: int
    trigger_id: str
    value: bytes | None
    time_ms: int


class _Gap(NamedTuple):
    """Offsets of the definitions topic where something has been removed; ``time_ms`` is that of the record before."""

    start: int
    end: int
    time_ms: int


class History:
    """The definitions and the notes about them."""

    def __init__(self, cluster: Log, topic: str, functions: Functions) -> None:
        self._cluster = cluster
        self._partition = TopicPartition(topic, 0)
        self._functions = functions
        self._versions: list[_Version] = []
        self._first: dict[str, _Version] = {}
        self._gaps: list[_Gap] = []
        self._removable_before_ms = 0
        self._plans: dict[int, Plan | None] = {}
        self._refused: dict[tuple[str, str], Misconfigured] = {}
        self._notes: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self._states: OrderedDict[int, Listeners] = OrderedDict()
        self.keyed: set[str] = set()
        """Ids of triggers of which any version needs the keyed stage: what they make is not judged by messages."""
        self.keyed_versions: dict[tuple[str, str], Plan] = {}
        """The plans of those versions, and of those of ``paused``."""
        self.paused: set[tuple[str, str]] = set()
        """Versions that need the keyed stage only because of a pause: what they make is judged by both."""
        self.plain: set[str] = set()
        """Ids of triggers of which any version fires directly."""

    def load(self, now_ms: int) -> None:
        """Read the definitions topic to its present end; ``now_ms`` is what ages are reckoned from."""
        topic = self._partition.topic
        lag_ms = int(self._cluster.topics([topic])[topic].settings.get("min.compaction.lag.ms", "0"))
        self._removable_before_ms = now_ms - lag_ms + CLOCKS_DIFFER_MAX_MS
        start = self._cluster.start_offsets([self._partition])
        for batch in read_between(self._cluster, start, {self._partition: self.end()}):
            for record in batch:
                trigger_id = (record.key() or b"").decode(errors="replace")
                version = _Version(record.offset(), trigger_id, record.value(), record.timestamp()[1])
                self._look_for_gap(version)
                self._versions.append(version)
                self._first.setdefault(trigger_id, version)
                self._compile(version)

    def end(self) -> int:
        """Where the definitions topic ends now."""
        return self._cluster.end_offsets([self._partition])[self._partition]

    def note(self, place: int, offset: int, definitions: int) -> None:
        """From a position of an input partition on, what is before an offset of the definitions topic is in force."""
        insort(self._notes[place], (offset, definitions))

    def known_from(self, place: int) -> int | None:
        """The first position of an input partition about which something is known."""
        notes = self._notes[place]
        return notes[0][0] if notes else None

    def stretch(self, place: int, offset: int) -> Stretch:
        """What is in force at a position that is known, and how far."""
        notes, at = self._notes[place], self._note_at(place, offset)
        first, definitions = notes[at]
        end = notes[at + 1][0] if at + 1 < len(notes) else _LATEST
        return Stretch(first, end, self._listeners(definitions), self._is_complete(definitions))

    def is_gone(self, place: int, offset: int, trigger_id: str) -> bool:
        """Whether the version of a trigger that was in force at a known position may have been compacted away."""
        _, definitions = self._notes[place][self._note_at(place, offset)]
        first = self._first.get(trigger_id)
        return (first is None or first.offset >= definitions) and not self._is_complete(definitions)

    def is_held(self, place: int, offset: int, trigger_id: str) -> bool:
        """Whether a trigger meets the keyed stage at a known position because it is or was paused."""
        _, definitions = self._notes[place][self._note_at(place, offset)]
        of_trigger = [each for each in self._versions if each.trigger_id == trigger_id and each.offset < definitions]
        plan = self._plans[of_trigger[-1].offset] if of_trigger else None
        return plan is not None and plan.direct is not None

    def require_allowed(self, trigger_id: str, trigger_version: str) -> None:
        """Raise ``Misconfigured`` if workers could use a definition that is refused here."""
        refused = self._refused.get((trigger_id, trigger_version))
        if refused is not None:
            raise Misconfigured(f"trigger {trigger_id} cannot be judged: {refused.message}", hint=refused.hint)

    def _note_at(self, place: int, offset: int) -> int:
        return bisect_right(self._notes[place], (offset, _LATEST)) - 1

    def _look_for_gap(self, version: _Version) -> None:
        """Whether something has been removed between the last version that was read and this one."""
        last = self._versions[-1] if self._versions else None
        start = 0 if last is None else last.offset + 1
        missing = version.offset - start
        if missing > 1 or (missing == 1 and (last is None or _applied_ms(last) == _applied_ms(version) is not None)):
            self._gaps.append(_Gap(start, version.offset, 0 if last is None else last.time_ms))

    def _is_complete(self, definitions: int) -> bool:
        """Whether everything that was in force in a state is there; its last record is followed by a marker."""
        if not any(gap.start < definitions for gap in self._gaps):
            return True
        behind = [each.time_ms for each in self._first.values() if each.offset >= definitions]
        behind += [gap.time_ms for gap in self._gaps if gap.end > definitions + 1]
        return all(time_ms > self._removable_before_ms for time_ms in behind)

    def _listeners(self, definitions: int) -> Listeners:
        listeners = self._states.get(definitions)
        if listeners is None:
            newest = {each.trigger_id: self._plans[each.offset] for each in self._versions if each.offset < definitions}
            listeners = Listeners(RouteIndex(plan for plan in newest.values() if plan is not None))
            self._states[definitions] = listeners
            if len(self._states) > STATES_KEPT_MAX:
                self._states.popitem(last=False)
        self._states.move_to_end(definitions)
        return listeners

    def _compile(self, version: _Version) -> None:
        """The plan of a version; None where it is a deletion, or workers have quarantined it, too."""
        self._plans[version.offset] = None
        if version.value is None:
            return
        try:
            plan = read_definition(version.trigger_id, version.value, self._functions)
            self._plans[version.offset] = plan
            if plan.keyed is not None:
                self.keyed_versions[version.trigger_id, plan.version] = plan
                if plan.direct is None:
                    self.keyed.add(version.trigger_id)
                else:
                    self.paused.add((version.trigger_id, plan.version))
            if plan.keyed is None or plan.direct is not None:
                self.plain.add(version.trigger_id)
        except Misconfigured as error:
            self._refused[version.trigger_id, _name(version.value)] = error
        except UNUSABLE:
            return


def _name(value: bytes) -> str:
    """What a definition that can be read calls its version."""
    definition = _definition(value)
    return "" if definition is None else definition.version


def _applied_ms(version: _Version) -> int | None:
    """When a version was applied, which is one instant for all that were applied together."""
    definition = None if version.value is None else _definition(version.value)
    return None if definition is None else definition.time_ms


def _definition(value: bytes) -> Definition | None:
    try:
        return decode(value, (Definition,))
    except InvalidMessage:
        return None
