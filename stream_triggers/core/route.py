"""The route index: which leaves of which triggers can accept a message, found without looking at the others.

Rules:
1. Three steps, each cheaper than the next is selective: the routing part of a leaf (event code; task and status;
   task), then one literal equality of its filter, then the rest of the filter.
2. One message makes at most one match per trigger: the first of its leaves that accepts, in the trigger's own order.
   Of a keyed trigger it has the ids of all that accept. A status of a run of a trigger that follows its runs is a
   match for that beside, whatever its leaves make of it.
3. A leaf that cannot be evaluated is a failure of its trigger, unless another leaf of it accepts the message.
4. Order is by trigger id, so the same definitions give the same output whatever order they were applied in.

Theory: leaves with the same routing part form a ``LeafGroup``. A leaf whose filter demands ``path == value`` is filed
under that value in the table of that path; the group asks each of its tables once per message, whatever the number of
leaves in them. Of several such equalities a leaf is filed under the path with the most distinct values in the group,
the one that leaves the fewest candidates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias, cast

from stream_triggers.core.arguments import ArgumentsFunction, KeyFunction, compile_arguments, compile_key
from stream_triggers.core.condition import (
    EVERY_TASK,
    EventLeaf,
    ExceptionLeaf,
    Leaf,
    ResultLeaf,
    ScheduleLeaf,
    StatusLeaf,
    compile_leaf,
    leaves,
)
from stream_triggers.core.filter import MISSING, Filter, Functions, Path, equalities, get_path, index_key
from stream_triggers.core.invocation import RunIds
from stream_triggers.core.keyed.follow import RUN, wanted_news
from stream_triggers.core.keyed.plan import KeyedPlan
from stream_triggers.core.message import Event, JsonValue, Kind, Message, TaskResult, TaskStatus, kind_of
from stream_triggers.core.record import Pause, Start
from stream_triggers.core.report import News, news_of
from stream_triggers.core.trigger import Trigger, needs_state, version
from stream_triggers.errors import EvaluationFailed

Route: TypeAlias = tuple[str, ...]
"""The routing part of a message: ("event", code), ("status", task, status), ("result", task), ("exception", task)."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A trigger made ready to run: everything derived from its definition, once per version."""

    trigger: Trigger
    version: str
    run_ids: RunIds
    key: KeyFunction | None
    arguments: ArgumentsFunction
    leaves: tuple[tuple[str, Leaf, Callable[[Message], bool] | None], ...]
    keyed: KeyedPlan | None = None
    """What the keyed stage does with it, if it needs memory or time; then nothing fires directly."""
    follower: Plan | None = None
    """What takes the statuses of its runs, if it follows them; its only leaf is named ``RUN``."""
    pause: Pause | None = None
    direct: Plan | None = None
    """Of a trigger that meets the keyed stage because of its pause only: what fires when that is settled."""
    start: Start | None = None
    """Where the trigger starts, if not with what comes after it was applied."""

    @property
    def kinds(self) -> frozenset[Kind]:
        """The kinds of messages that it may take."""
        happening = frozenset([cast(Kind, route[0]) for _, leaf, _ in self.leaves for route in _routes(leaf)])
        return happening if self.follower is None else happening | {"status"}


def plan(trigger: Trigger, functions: Functions, pause: Pause | None = None, start: Start | None = None) -> Plan:
    """Compile ``trigger``; raises ``InvalidTrigger`` when ``functions`` does not know a callable it names."""
    if needs_state(trigger):
        return _keyed_plan(trigger, functions, pause, start)
    direct = Plan(
        trigger=trigger,
        version=version(trigger),
        run_ids=RunIds(trigger.id, trigger.epoch),
        key=compile_key(trigger.key) if trigger.key is not None else None,
        arguments=compile_arguments(trigger.args, trigger.args_from, functions),
        leaves=tuple((path, leaf, compile_leaf(leaf, functions)) for path, leaf in leaves(trigger.when)),
        start=start,
    )
    return direct if pause is None else replace(_keyed_plan(trigger, functions, pause, start), direct=direct)


def _keyed_plan(trigger: Trigger, functions: Functions, pause: Pause | None, start: Start | None) -> Plan:
    keyed = KeyedPlan(trigger, functions)
    happening = [place for place in keyed.places if not isinstance(place.pick.leaf, ScheduleLeaf)]
    return Plan(
        trigger=trigger,
        version=keyed.version,
        run_ids=RunIds(trigger.id, trigger.epoch),
        key=None,
        arguments=_no_arguments,
        leaves=tuple((place.id, place.pick.leaf, compile_leaf(place.pick.leaf, functions)) for place in happening),
        keyed=keyed,
        pause=pause,
        follower=_follower(keyed),
        start=start,
    )


def _follower(keyed: KeyedPlan) -> Plan | None:
    """What takes the statuses of a trigger's runs, if it follows them; a raised epoch makes no news of old ones."""
    trigger, wanted = keyed.trigger, wanted_news(keyed.trigger.flow)
    if not wanted:
        return None
    return Plan(
        trigger=trigger,
        version=keyed.version,
        run_ids=RunIds(trigger.id, 0, RUN),
        key=None,
        arguments=_no_arguments,
        leaves=((RUN, StatusLeaf(trigger.task, ()), _comes_to(wanted)),),
        keyed=keyed,
    )


def _comes_to(wanted: frozenset[News]) -> Callable[[Message], bool]:
    return lambda message: isinstance(message, TaskStatus) and news_of(message.status) in wanted


def _no_arguments(_message: Message, _kind: Kind, trigger_id: str, _run_id: str) -> dict[str, JsonValue]:
    raise AssertionError(f"{trigger_id} fires in the keyed stage")


class Match(NamedTuple):
    """A leaf of a trigger accepted the message; of a keyed trigger ``more`` did, too, and all have ids for names."""

    plan: Plan
    leaf: str
    more: tuple[str, ...] = ()

    def settled(self, time_ms: int) -> Match:
        """The direct match in the place of this one where a message of this instant meets no pause any more."""
        plan = self.plan
        if plan.direct is None or plan.keyed is None or plan.pause is None or not plan.pause.is_settled(time_ms):
            return self
        return Match(plan.direct, plan.keyed.paths[self.leaf])


class MatchFailure(NamedTuple):
    """A trigger could not decide about the message."""

    plan: Plan
    leaf: str
    error: str


class _Entry(NamedTuple):
    order: int
    plan: Plan
    leaf: str
    accepts: Callable[[Message], bool] | None


class _Member(NamedTuple):
    """One leaf of one trigger; ``position`` is its place among the trigger's leaves."""

    plan: Plan
    position: int
    path: str
    leaf: Leaf
    accepts: Callable[[Message], bool] | None


class LeafGroup:
    """The leaves that share one routing part."""

    def __init__(self, members: Sequence[_Member]) -> None:
        entries = [_Entry(order, member.plan, member.path, member.accepts) for order, member in enumerate(members)]
        self._unfiled: list[_Entry] = []
        self._tables: list[tuple[Path, dict[Hashable, list[_Entry]]]] = []
        self._followers = {entry.plan.trigger.id: entry for entry in entries if entry.leaf == RUN}
        self._file(
            [entry for entry in entries if entry.leaf != RUN],
            [equalities(subject_filter(member.leaf)) for member in members if member.path != RUN],
        )
        self.owners: Sequence[str] = sorted({member.plan.trigger.id for member in members})
        """The triggers that the leaves belong to."""
        self._one_leaf_each = len({id(member.plan) for member in members}) == len(members)
        self._constant = self._constant_answer()

    def match(self, message: Message) -> tuple[Sequence[Match], Sequence[MatchFailure]]:
        """The matches of ``message``, whose routing part is this group's, and what could not be decided."""
        if self._constant is not None:
            return self._constant, ()
        candidates = self._candidates(message)
        if not candidates:
            return (), ()
        if self._one_leaf_each and len(candidates) == 1:
            return _judge_one(candidates[0], message)
        return _judge(candidates, message)

    def _candidates(self, message: Message) -> Sequence[_Entry]:
        if not self._tables and not self._followers:
            return self._unfiled
        value = subject(message)
        found: list[_Entry] = []
        if self._followers and isinstance(message, TaskStatus) and message.trigger_id in self._followers:
            found.append(self._followers[message.trigger_id])
        for path, table in self._tables:
            at_path = get_path(value, path)
            if at_path is not MISSING:
                found += table.get(index_key(at_path), ())
        if self._unfiled or self._followers or len(self._tables) > 1:
            found += self._unfiled
            found.sort()
        return found

    def _file(self, entries: list[_Entry], demands: list[tuple[tuple[Path, tuple[JsonValue, ...]], ...]]) -> None:
        distinct: dict[Path, set[Hashable]] = defaultdict(set)
        for demand in demands:
            for path, values in demand:
                distinct[path].update(map(index_key, values))
        tables: dict[Path, dict[Hashable, list[_Entry]]] = {}
        for entry, demand in zip(entries, demands, strict=True):
            if not demand:
                self._unfiled.append(entry)
                continue
            path, values = max(demand, key=lambda pair: len(distinct[pair[0]]))
            table = tables.setdefault(path, {})
            for key in dict.fromkeys(map(index_key, values)):
                table.setdefault(key, []).append(entry)
        self._tables = list(tables.items())

    def _constant_answer(self) -> tuple[Match, ...] | None:
        """The answer for every message, where no leaf of the group asks anything of one."""
        if (
            self._tables
            or self._followers
            or not self._one_leaf_each
            or any(entry.accepts is not None for entry in self._unfiled)
        ):
            return None
        return tuple(Match(entry.plan, entry.leaf) for entry in self._unfiled)


class RouteIndex:
    """All leaves of a set of triggers, by routing part, and who follows the runs of which task."""

    def __init__(self, plans: Iterable[Plan]) -> None:
        self._members: dict[Route, list[_Member]] = defaultdict(list)
        self._followers: dict[str, list[_Member]] = defaultdict(list)
        for owner in sorted(plans, key=lambda one: one.trigger.id):
            for position, (path, leaf, accepts) in enumerate(owner.leaves):
                for route in _routes(leaf):
                    self._members[route].append(_Member(owner, position, path, leaf, accepts))
            if owner.follower is not None:
                [(path, leaf, accepts)] = owner.follower.leaves
                member = _Member(owner.follower, len(owner.leaves), path, leaf, accepts)
                self._followers[owner.trigger.task].append(member)

    def group(self, route: Route) -> LeafGroup | None:
        """The leaves that can accept a message with this routing part, None when there are none.

        Made anew at each call: keep it for as long as the definitions stay the same.
        """
        members = list(self._members.get(route, ()))
        if route[0] != "event":
            members += self._members.get((route[0], EVERY_TASK, *route[2:]), ())
            members += self._followers.get(route[1], ()) if route[0] == "status" else ()
            members.sort(key=lambda member: (member.plan.trigger.id, member.position))
        return LeafGroup(members) if members else None


def subject(message: Message) -> JsonValue:
    """The part of a message that literal equalities are looked up in: an event's payload, a task's arguments."""
    return message.payload if isinstance(message, Event) else message.arguments


def subject_filter(leaf: Leaf) -> Filter:
    """The filter of ``leaf`` over ``subject``."""
    if isinstance(leaf, EventLeaf):
        return leaf.filter
    assert not isinstance(leaf, ScheduleLeaf), "a schedule is not routed"
    return leaf.arguments


def route_of(message: Message) -> Route:
    """The routing part of a message."""
    match message:
        case Event():
            return ("event", message.code)
        case TaskStatus():
            return ("status", message.task, message.status)
        case TaskResult():
            return (kind_of(message), message.task)


def _routes(leaf: Leaf) -> tuple[Route, ...]:
    match leaf:
        case EventLeaf():
            return (("event", leaf.code),)
        case StatusLeaf():
            return tuple(("status", leaf.task, status) for status in leaf.statuses)
        case ResultLeaf():
            return (("result", leaf.task),)
        case ExceptionLeaf():
            return (("exception", leaf.task),)
        case ScheduleLeaf():
            return ()


def _judge_one(entry: _Entry, message: Message) -> tuple[Sequence[Match], Sequence[MatchFailure]]:
    try:
        if entry.accepts is None or entry.accepts(message):
            return (Match(entry.plan, entry.leaf),), ()
    except EvaluationFailed as failure:
        return (), (MatchFailure(entry.plan, entry.leaf, failure.message),)
    return (), ()


def _judge(candidates: Sequence[_Entry], message: Message) -> tuple[Sequence[Match], Sequence[MatchFailure]]:
    """Every trigger's first accepting leaf; a failure only where none of its leaves accepts."""
    matches: list[Match] = []
    failures: dict[int, MatchFailure] = {}
    decided: Plan | None = None
    for entry in candidates:
        if entry.plan is decided:
            if entry.plan.keyed is not None and _judge_one(entry, message)[0]:
                matches[-1] = matches[-1]._replace(more=(*matches[-1].more, entry.leaf))
            continue
        found, failed = _judge_one(entry, message)
        if found:
            matches += found
            decided = entry.plan
            failures.pop(id(entry.plan), None)
        elif failed:
            failures.setdefault(id(entry.plan), failed[0])
    return matches, tuple(failures.values())
