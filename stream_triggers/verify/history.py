"""Which triggers were in force at each position of the inputs.

Workers note it: a decision ``definitions_changed`` says that from a position of an input partition on the definitions
before an offset of the definitions topic were in force.

Rules:
1. Before the first note of a partition nothing is known, and nothing is judged.
2. A definition that workers quarantine does not fire here either. One that is refused here only, because it calls
   functions of a module that is not allowed, must not look as if workers had made it up: ``require_allowed``.
3. Compaction removes the older versions of a trigger. Of a trigger whose newest version before an offset may have been
   removed, ``is_gone`` says so; all the others can be judged.

What is kept in memory are the definitions topic and the notes: they grow with what authors do and with how often
partitions change hands, not with messages.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict, defaultdict
from typing import NamedTuple

from stream_triggers.core.filter import Functions
from stream_triggers.core.invocation import Decision
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


class _Version(NamedTuple):
    offset: int
    trigger_id: str
    value: bytes | None


class History:
    """The definitions and the notes about them."""

    def __init__(self, cluster: Log, topic: str, functions: Functions) -> None:
        self._cluster = cluster
        self._partition = TopicPartition(topic, 0)
        self._functions = functions
        self._versions: list[_Version] = []
        self._first: dict[str, int] = {}
        self._plans: dict[int, Plan | None] = {}
        self._refused: dict[tuple[str, str], Misconfigured] = {}
        self._notes: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self._states: OrderedDict[int, Listeners] = OrderedDict()
        self.keyed: set[str] = set()
        """Ids of triggers of which any version needs the keyed stage: what they make is not judged by messages."""
        self.keyed_versions: set[tuple[str, str]] = set()
        """Those versions."""

    def load(self) -> None:
        """Read the definitions topic to its present end."""
        start = self._cluster.start_offsets([self._partition])
        end = self._cluster.end_offsets([self._partition])
        for batch in read_between(self._cluster, start, end):
            for record in batch:
                trigger_id = (record.key() or b"").decode(errors="replace")
                self._versions.append(_Version(record.offset(), trigger_id, record.value()))
                self._first.setdefault(trigger_id, record.offset())
                self._compile(self._versions[-1])

    def note(self, place: int, decision: Decision) -> None:
        """Take in what a worker has noted about an input partition."""
        if decision.detail.isdecimal():
            insort(self._notes[place], (decision.offset, int(decision.detail)))

    def known_from(self, place: int) -> int | None:
        """The first position of an input partition about which something is known."""
        notes = self._notes[place]
        return notes[0][0] if notes else None

    def stretch(self, place: int, offset: int) -> Stretch:
        """What is in force at a position that is known, and how far."""
        notes, at = self._notes[place], self._note_at(place, offset)
        first, definitions = notes[at]
        return Stretch(first, notes[at + 1][0] if at + 1 < len(notes) else _LATEST, self._listeners(definitions))

    def is_gone(self, place: int, offset: int, trigger_id: str) -> bool:
        """Whether the version of a trigger that was in force at a known position may have been compacted away.

        It may where the oldest version there is is newer, and something older than that state is missing.
        """
        _, definitions = self._notes[place][self._note_at(place, offset)]
        present = bisect_left(self._versions, definitions, key=lambda version: version.offset)
        return present < definitions and self._first.get(trigger_id, _LATEST) >= definitions

    def require_allowed(self, trigger_id: str, trigger_version: str) -> None:
        """Raise ``Misconfigured`` if workers could use a definition that is refused here."""
        refused = self._refused.get((trigger_id, trigger_version))
        if refused is not None:
            raise Misconfigured(f"trigger {trigger_id} cannot be judged: {refused.message}", hint=refused.hint)

    def _note_at(self, place: int, offset: int) -> int:
        return bisect_right(self._notes[place], (offset, _LATEST)) - 1

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
                self.keyed.add(version.trigger_id)
                self.keyed_versions.add((version.trigger_id, plan.version))
        except Misconfigured as error:
            self._refused[version.trigger_id, _name(version.value)] = error
        except UNUSABLE:
            return


def _name(value: bytes) -> str:
    """What a definition that can be read calls its version."""
    try:
        return decode(value, (Definition,)).version
    except InvalidMessage:
        return ""
