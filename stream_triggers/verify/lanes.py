"""What triggers do beside the others that start in the past: their lanes, from what workers have noted and committed.

Workers note it: a decision ``catching_up`` says that from a position of an input partition on the lane of a trigger
uses its definition before an offset of the definitions topic. In ``progress`` stands how far a lane has come and, in
the end, from where on the trigger is *live*, with all the others.

Rules:
1. A lane is of an input partition, a trigger and the epoch of a start. It takes all messages from the first one that
   is not older than the start to where it joins, each with the definition last noted.
2. Nothing is asked of a lane behind where it had come when progress was read, and what it has done there is right. So
   is what a lane does that may have begun since; not what one does that is over, since its partition has been read on
   with a later definition of the trigger, without that start.
3. Where the note is missing, or the definition that it speaks of, nothing of the trigger is judged.
4. Nor is in a lane whose messages the trigger may have had before, under the same claims: when it was deleted and
   applied again under the same epoch; and in statuses, when it follows its runs, which are the same in every epoch.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from stream_triggers.core.route import Plan
from stream_triggers.runtime.keyed.progress import Lane as Progress
from stream_triggers.runtime.keyed.progress import read_lane
from stream_triggers.runtime.lag import partitions_of
from stream_triggers.runtime.log import Log
from stream_triggers.runtime.reading import read_all
from stream_triggers.runtime.topics import Topics
from stream_triggers.verify.definitions import Definitions, Version
from stream_triggers.verify.scope import Scope

NEVER = 2**63 - 1
"""Behind every position."""


class Piece(NamedTuple):
    """What a lane does from a position on; nothing where it has no ``plan``."""

    first: int
    plan: Plan | None = None
    is_missing: bool = False
    """Whether it did something, and what would be needed to judge that is not there."""
    is_ahead: bool = False
    """Whether it may have come here since progress was read."""


class Lane(NamedTuple):
    """A trigger's own way through an input partition; its ``pieces`` are in order."""

    trigger_id: str
    pieces: Sequence[Piece]

    def at(self, offset: int) -> Piece:
        """What it does at a position."""
        found = bisect_right(self.pieces, offset, key=lambda piece: piece.first) - 1
        return self.pieces[found] if found >= 0 else Piece(0)


class Lanes:
    """All lanes: takes in progress and notes, and then tells what each did where."""

    def __init__(self, topics: Topics, scope: Scope, definitions: Definitions) -> None:
        self._topics = topics
        self._scope = scope
        self._definitions = definitions
        self._progress: dict[tuple[int, str, int], Progress] = {}
        self._notes: dict[tuple[int, str], list[tuple[int, int]]] = defaultdict(list)
        self._kinds = topics.kinds
        self._firsts: dict[int, Sequence[int]] = {}
        self._lanes: dict[int, list[Lane]] = {}
        self._bounds: dict[int, list[int]] = {}

    def load(self, cluster: Log) -> None:
        """Read how far all lanes have come."""
        for batch in read_all(cluster, partitions_of(cluster, [self._topics.progress])):
            for record in batch:
                progress = read_lane(record)
                if progress is not None and progress.partition in self._scope.places:
                    place = self._scope.places[progress.partition]
                    self._progress[place, progress.trigger_id, progress.epoch] = progress

    def note(self, place: int, trigger_id: str, offset: int, state: int) -> None:
        """From a position of an input partition on, the lane of a trigger uses its definition in a state."""
        insort(self._notes[place, trigger_id], (offset, state))

    def lay(self, cluster: Log, states: Mapping[int, int]) -> None:
        """Put together what is known; ``states`` are those that each place was last known to be read with."""
        started = {each: self._definitions.versions[each] for each in self._definitions.started}
        found = [(each, version.start) for each, versions in started.items() for version in versions]
        starts = [(each, start) for each, start in found if start is not None]
        for since_ms in {start.since_ms for _, start in starts}:
            offsets = cluster.offsets_at(self._scope.inputs, since_ms)
            self._firsts[since_ms] = [offsets[partition] for partition in self._scope.inputs]
        for place in self._scope.places.values():
            known = {(each, epoch) for at, each, epoch in self._progress if at == place}
            known |= {(each, start.epoch) for each, start in starts}
            lanes = [self._lane(place, *each, states.get(place, 0)) for each in sorted(known)]
            self._lanes[place] = lanes
            self._bounds[place] = sorted({piece.first for lane in lanes for piece in lane.pieces})

    def at(self, place: int, offset: int) -> list[tuple[str, Piece]]:
        """What the lanes of an input partition do at a position, with the ids of their triggers."""
        return [(lane.trigger_id, lane.at(offset)) for lane in self._lanes[place]]

    def bounds(self, place: int, offset: int) -> tuple[int, int]:
        """Between which positions that stays the same."""
        bounds = self._bounds[place]
        at = bisect_right(bounds, offset)
        return bounds[at - 1] if at else 0, bounds[at] if at < len(bounds) else NEVER

    def has_joined(self, place: int, offset: int, trigger_id: str, epoch: int) -> bool:
        """Whether a trigger that starts in the past takes a message with all the others."""
        progress = self._progress.get((place, trigger_id, epoch))
        return progress is not None and progress.joined and progress.next_offset <= offset

    def _lane(self, place: int, trigger_id: str, epoch: int, state: int) -> Lane:
        versions = self._definitions.versions.get(trigger_id, [])
        own = [each for each in versions if each.start is not None and each.start.epoch == epoch]
        progress = self._progress.get((place, trigger_id, epoch))
        first = min((self._first_of(place, each) for each in own), default=0)
        is_joined = progress is not None and progress.joined
        is_over = not own or any(own[-1].offset < each.offset < state for each in versions)
        end = Piece(first if progress is None else progress.next_offset, is_ahead=not is_joined and not is_over)
        pieces: list[Piece] = []
        if not own:  # all that defined it has been removed, or nothing ever did
            pieces = [] if self._definitions.is_whole else [Piece(0, is_missing=True)]
        elif not any(self._listens(place, each) for each in own):
            pass
        elif self._may_be_repeated(place, versions, own):
            pieces, end = [Piece(first, is_missing=True)], end._replace(is_missing=end.is_ahead)
        else:
            pieces = self._pieces(place, trigger_id, own, first)
        return Lane(trigger_id, (*(piece for piece in pieces if piece.first < end.first), end))

    def _pieces(self, place: int, trigger_id: str, own: Sequence[Version], first: int) -> list[Piece]:
        """What a lane does, by the notes; it begins where it had to, if none can be missing."""
        definitions, is_whole = self._definitions, self._scope.is_whole
        pieces: list[Piece] = []
        for offset, state in self._notes[place, trigger_id]:
            version = definitions.newest(trigger_id, state)
            if definitions.is_missing(trigger_id, state):
                pieces.append(Piece(offset, is_missing=True))
            elif version is not None and version in own:
                is_first = is_whole and not pieces
                pieces.append(Piece(min(offset, self._first_of(place, version)) if is_first else offset, version.plan))
        if not pieces and is_whole:  # it has come by no message at all
            return [Piece(max(self._first_of(place, each) for each in own), own[0].plan)]
        if not is_whole and (not pieces or pieces[0].first > first):
            pieces.insert(0, Piece(first, is_missing=True))
        return pieces

    def _listens(self, place: int, version: Version) -> bool:
        """Whether any message of a place can be one for a version."""
        kinds = self._kinds[self._scope.inputs[place].topic]
        return version.plan is not None and not kinds.isdisjoint(version.plan.kinds)

    def _first_of(self, place: int, version: Version) -> int:
        assert version.start is not None, "asked of starts"
        return self._firsts[version.start.since_ms][place]

    def _may_be_repeated(self, place: int, versions: Sequence[Version], own: Sequence[Version]) -> bool:
        """Whether claims of a lane may have been taken before it began."""
        if not self._definitions.is_complete(versions[0].offset):
            return True
        ours = [each.plan for each in own if each.plan is not None]
        before = [each for each in versions if each not in own and each.offset < own[-1].offset]
        others = [each.plan for each in before if each.plan is not None]
        follows = self._scope.inputs[place].topic == self._topics.task_status
        return bool(_claims(ours, follows=follows) & _claims(others, follows=follows))


def _claims(plans: Sequence[Plan], *, follows: bool) -> set[int | None]:
    """What tells the claims of versions of one trigger apart: the epoch, None for those of the runs it follows."""
    epochs: set[int | None] = {plan.trigger.epoch for plan in plans}
    return epochs | ({None} if follows and any(plan.follower for plan in plans) else set())
