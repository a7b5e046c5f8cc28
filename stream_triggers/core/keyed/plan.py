"""A trigger of the keyed stage made ready to run, and the steps over the state of a key.

Rules:
1. A step is a pure function of the state, what comes, and the clocks of the partition. It never raises for what a
   filter, a template or a function does: that becomes a refusal, and everything else goes on.
2. ``key`` is "" in a trigger without keys. Runs have a key only where the trigger has one.
3. A fact of another version counts for the leaves that this version has too, by their ids; one without such a leaf is
   refused as ``leaf_gone``. So is what was kept for a leaf that is gone, when the state is first looked at. What nodes
   are around a leaf does not matter to that; but what is kept of a message is what the version before needed of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stream_triggers.core.condition import Aggregate, Changed, Condition, Leaf, Pick, ScheduleLeaf, nodes
from stream_triggers.core.filter import Functions
from stream_triggers.core.keyed.build import Builder, Lone, Term
from stream_triggers.core.keyed.evaluate import Step
from stream_triggers.core.keyed.facts import Routing
from stream_triggers.core.keyed.fire import ARGUMENTS_BYTES_MAX, Firer
from stream_triggers.core.keyed.follow import news_in
from stream_triggers.core.keyed.gates import Chain, compile_flow
from stream_triggers.core.keyed.manual import reset_in
from stream_triggers.core.keyed.places import Place, leaf_places, watcher_ids
from stream_triggers.core.keyed.search import Search
from stream_triggers.core.keyed.state import Clocks, KeyState, Match, Outcome
from stream_triggers.core.keyed.watch import AggregateWatch, ChangedWatch
from stream_triggers.core.record import Fact, Pause
from stream_triggers.core.reference import roots_in
from stream_triggers.core.report import News
from stream_triggers.core.schedule import Schedule
from stream_triggers.core.trigger import FIRE, Trigger, version
from stream_triggers.errors import EvaluationFailed


class KeyedPlan:
    """One version of a trigger, compiled; raises ``InvalidTrigger`` when ``functions`` does not know one it names."""

    def __init__(self, trigger: Trigger, functions: Functions, bytes_max: int = ARGUMENTS_BYTES_MAX) -> None:
        """``bytes_max`` bounds the arguments and the key of a run."""
        self.trigger = trigger
        self.version = version(trigger)
        resets = tuple([(f"reset[{at}]", each) for at, each in enumerate(trigger.reset) if not isinstance(each, str)])
        self.places = leaf_places(trigger.when, resets)
        self.resets_on_fire = FIRE in trigger.reset
        self.reset_leaves = frozenset([place.id for place in self.places if place.role == "reset"])
        self.reset_schedules = _schedules(resets)
        self._build(functions)
        self.routing = Routing(trigger, self.version, self.places, self.watched)
        roots = roots_in(trigger.when, has_elements=trigger.flow.for_each is not None)
        self.firer = Firer(trigger, functions, roots, self.names, self.paths, bytes_max)
        self.chain = Chain(compile_flow(trigger.flow, self._invocation_ids))
        self._has_gates = len(self.chain.gates) > 1
        self.has_key = trigger.key is not None or any(place.pick.key is not None for place in self.places)

    @property
    def is_scheduled(self) -> bool:
        """Whether it has a state under the key "" from its activation on, in one partition."""
        return bool(self.lone)

    def is_free(self, matches: Sequence[Match]) -> bool:
        """Whether flow control, which remembers nothing, lets all of ``matches`` pass; asked before it is."""
        if self._has_gates:
            return False
        deepest = max([each.depth for match in matches for each in match.occurrences], default=0)
        return deepest < self.trigger.flow.max_depth

    def on_fact(
        self, state: KeyState | None, key: str, fact: Fact, at: int, clocks: Clocks, pause: Pause | None = None
    ) -> Outcome:
        """What a fact at position ``at``, a match, news of a run or a reset, makes of the state of its key."""
        news = news_in(fact)
        if news is not None:
            return self.on_report(state, key, *news, clocks, pause)
        step = Step(self, state, key, clocks, pause)
        reason = reset_in(fact)
        if reason is None:
            step.take(fact, at)
        else:
            step.reset(fact.participant, reason)
        return step.outcome()

    def on_time(self, state: KeyState | None, key: str, clocks: Clocks, pause: Pause | None = None) -> Outcome:
        """What the clocks make of a state; also the first look at that of a scheduled trigger."""
        if state is None and (key or not self.lone):
            return Outcome(None)
        step = Step(self, state, key, clocks, pause)
        if not key:
            step.schedule()
        return step.outcome()

    def on_report(
        self,
        state: KeyState | None,
        key: str,
        invocation_id: str,
        news: News,
        clocks: Clocks,
        pause: Pause | None = None,
    ) -> Outcome:
        """What news of an invocation of this trigger and key makes of the state."""
        step = Step(self, state, key, clocks, pause)
        return step.outcome((invocation_id, news))

    def _build(self, functions: Functions) -> None:
        trigger = self.trigger
        watching = [(path, node) for path, node in nodes(trigger.when) if isinstance(node, Aggregate | Changed)]
        ids = watcher_ids([node for _, node in watching])
        self.watched: dict[str, tuple[tuple[str, str], ...]] = {}
        """By leaf, the watchers of it: each the id and the path of the value."""
        self.watches: dict[str, AggregateWatch | ChangedWatch] = {}
        by_path = {place.path: place for place in self.places}
        for (path, node), name in zip(watching, ids, strict=True):
            leaf = by_path[path + ".of"].id
            self.watched[leaf] = (*self.watched.get(leaf, ()), (name, node.value))
            self.watches[name] = (
                AggregateWatch(node, functions, trigger.ttl_ms)
                if isinstance(node, Aggregate)
                else ChangedWatch(node, functions)
            )
        self.names = _names(self.places, self.watched)
        builder = Builder(
            places=by_path,
            watchers={path: name for (path, _), name in zip(watching, ids, strict=True)},
            roots=roots_in(trigger.when),
            names=self.names,
            ttl_ms=trigger.ttl_ms,
            grace_ms=trigger.grace_ms,
            resets=self.reset_schedules,
            is_plain=_is_plain(trigger, self.places),
        )
        self.search = builder.build(trigger.when)
        self.groups: tuple[Search, ...] = builder.groups
        self.terms: Mapping[str, Term] = builder.terms
        self.lone: tuple[Lone, ...] = tuple(builder.lone)
        self.paths = {place.id: place.path for place in self.places}
        self.paths.update({term.id: term.path for term in builder.terms.values()})
        self.lines = _lines(builder.terms)
        self.has_first_to_fit = any(term.is_first_to_fit for term in builder.terms.values())

    def _invocation_ids(self, match: Match) -> tuple[str, ...]:
        try:
            return tuple([run_id.hex() for run_id in self.firer.run_ids(match)])
        except EvaluationFailed:
            return ()


def _names(places: tuple[Place, ...], watched: Mapping[str, tuple[tuple[str, str], ...]]) -> dict[str, str]:
    """The ids under which occurrences of named leaves take part: a watched one does under that of its watcher."""
    named = [place for place in places if place.pick.name]
    return {place.pick.name: watched[place.id][0][0] if place.id in watched else place.id for place in named}


def _schedules(resets: tuple[tuple[str, Condition], ...]) -> tuple[Schedule, ...]:
    return tuple([each.schedule for _, each in resets if isinstance(each, ScheduleLeaf)])


def _is_plain(trigger: Trigger, places: tuple[Place, ...]) -> bool:
    """Whether a trigger says nothing of keys, windows and schedules, so that what it joins pairs one to one."""
    if trigger.key is not None or any(place.pick.key is not None for place in places):
        return False
    return not any(isinstance(node, ScheduleLeaf) or _window(node) is not None for _, node in nodes(trigger.when))


def _window(node: Condition) -> int | None:
    return None if isinstance(node, Leaf | Pick) else getattr(node, "within_ms", None)


def _lines(terms: Mapping[str, Term]) -> dict[int, tuple[str, ...]]:
    """The leaves of each sequence that passes over what it does not take."""
    lines: dict[int, tuple[str, ...]] = {}
    for term in terms.values():
        if term.line is not None:
            lines[term.line] = (*lines.get(term.line, ()), term.id)
    return lines
