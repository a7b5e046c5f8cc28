"""Which triggers took a message: those in force where it was read, and those that came to it by a lane of their own.

Workers note it: a decision ``definitions_changed`` says that from a position of an input partition on the definitions
before an offset of the definitions topic were in force. What lanes did, ``lanes`` says.

Rules:
1. Before the first note of a partition nothing is known, and nothing is judged.
2. A trigger whose definition may be missing is not judged, ``is_gone`` says so, nor one of which a lane cannot be
   judged; all the others are.

The notes are kept in memory: they grow with how often partitions change hands and with hours, not with messages.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from stream_triggers.core.route import LeafGroup, Plan, Route, RouteIndex
from stream_triggers.runtime.log import Log
from stream_triggers.verify.definitions import Definitions
from stream_triggers.verify.lanes import Lanes

STATES_KEPT_MAX = 16
"""States of the definitions, and who of them takes a message, that are kept ready: partitions that are read side by
side have few at a time."""

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
    """Positions ``first`` to ``end`` of a partition, through which the same listeners take what is there."""

    first: int
    end: int
    in_force: Listeners
    """All those in force where it was read, for which it was decoded."""
    takers: tuple[Listeners, ...]
    """Those of them that took it there, and those that came to it by a lane, each by itself."""
    is_complete: bool
    """Whether no listener can be missing."""


_Present: TypeAlias = tuple[int, frozenset[str], tuple[Plan, ...]]
"""What listeners are made of: a state of the definitions, the triggers that are not live, and the plans in lanes."""


class History:
    """The notes about definitions, and what follows of them and of lanes."""

    def __init__(self, definitions: Definitions, lanes: Lanes) -> None:
        self.definitions = definitions
        self.lanes = lanes
        self._notes: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self._states: OrderedDict[_Present, tuple[Listeners, ...]] = OrderedDict()

    def note(self, place: int, offset: int, state: int) -> None:
        """From a position of an input partition on, what is before an offset of the definitions topic is in force."""
        insort(self._notes[place], (offset, state))

    def settle(self, cluster: Log, ends: Mapping[int, int]) -> None:
        """Everything can be asked, from all notes and what has been applied up to now; ``ends`` are those of places."""
        self.definitions.read_on()
        before = {place: [note for note in self._notes[place] if note[0] < end] for place, end in ends.items()}
        self.lanes.lay(cluster, {place: notes[-1][1] for place, notes in before.items() if notes})

    def known_from(self, place: int) -> int | None:
        """The first position of an input partition about which something is known."""
        notes = self._notes[place]
        return notes[0][0] if notes else None

    def stretch(self, place: int, offset: int) -> Stretch:
        """What is in force at a position that is known, and how far."""
        notes, at = self._notes[place], self._note_at(place, offset)
        first, state = notes[at]
        end = notes[at + 1][0] if at + 1 < len(notes) else _LATEST
        lanes_first, lanes_end = self.lanes.bounds(place, offset)
        present = self._present(place, offset, state)
        is_complete = self.definitions.is_complete(state) and not self._unclear(place, offset)
        [in_force] = self._listeners((state, frozenset(), ()))
        return Stretch(max(first, lanes_first), min(end, lanes_end), in_force, self._listeners(present), is_complete)

    def is_gone(self, place: int, offset: int, trigger_id: str) -> bool:
        """Whether it cannot be told what a trigger did at a known position.

        What it did by a lane is not there, or came later than what is judged; or the version that was in force may have
        been compacted away.
        """
        is_ahead = any(piece.is_ahead for each, piece in self.lanes.at(place, offset) if each == trigger_id)
        is_unclear = self.is_unclear(place, offset, trigger_id)
        return is_ahead or is_unclear or self.definitions.is_missing(trigger_id, self._state(place, offset))

    def is_unclear(self, place: int, offset: int, trigger_id: str) -> bool:
        """Whether a trigger is not judged at a position, known or not, because a lane of it cannot be judged there."""
        return trigger_id in self._unclear(place, offset)

    def is_held(self, place: int, offset: int, trigger_id: str) -> bool:
        """Whether a trigger meets the keyed stage at a known position because it is or was paused."""
        live = self.definitions.newest(trigger_id, self._state(place, offset))
        plans = [piece.plan for each, piece in self.lanes.at(place, offset) if each == trigger_id]
        plans.append(None if live is None else live.plan)
        return any(plan is not None and plan.direct is not None for plan in plans)

    def _state(self, place: int, offset: int) -> int:
        return self._notes[place][self._note_at(place, offset)][1]

    def _note_at(self, place: int, offset: int) -> int:
        return bisect_right(self._notes[place], (offset, _LATEST)) - 1

    def _unclear(self, place: int, offset: int) -> frozenset[str]:
        return frozenset(each for each, piece in self.lanes.at(place, offset) if piece.is_missing)

    def _present(self, place: int, offset: int, state: int) -> _Present:
        """Who takes a message, but for triggers of which a lane cannot be judged there."""
        unclear = self._unclear(place, offset)
        lanes = [(each, piece.plan) for each, piece in self.lanes.at(place, offset) if piece.plan is not None]
        away = [each for each in self.definitions.started if not self._is_live(place, offset, each, state)]
        return state, unclear.union(away), tuple(plan for each, plan in lanes if each not in unclear)

    def _is_live(self, place: int, offset: int, trigger_id: str, state: int) -> bool:
        start = self.definitions.start(trigger_id, state)
        return start is None or self.lanes.has_joined(place, offset, trigger_id, start.epoch)

    def _listeners(self, present: _Present) -> tuple[Listeners, ...]:
        """Those that take what is read there, and those of each lane."""
        made = self._states.get(present)
        if made is None:
            state, away, lanes = present
            live = [plan for each, plan in self.definitions.in_force(state).items() if each not in away]
            made = tuple(Listeners(RouteIndex(plans)) for plans in (live, *([plan] for plan in lanes)))
            self._states[present] = made
            if len(self._states) > STATES_KEPT_MAX:
                self._states.popitem(last=False)
        self._states.move_to_end(present)
        return made
