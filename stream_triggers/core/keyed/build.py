"""Makes searches of a condition, and says of each leaf how long what is kept for it can be of use.

Rules:
1. An occurrence is of use as long as something may still come that makes a match with it: until its instant and the
   window of its group, or the span of the trigger's ``ttl`` where there is none, and a wait that follows it; but not
   beyond the next instant of a schedule in its group, or of one that resets. All of it on the watermark, with the
   grace; what comes exactly then is still in time.
2. A leaf that is the condition, or a member of an ``any`` that is, is never kept: it fires or it does not.
3. Where nothing is said, a leaf selects ``latest`` in an ``all`` or ``at_least`` of several members that happen,
   ``first`` in a sequence, and ``each`` everywhere else. A plain ``all`` in a trigger without any key, window or
   schedule is the exception: there it is ``each``, and occurrences pair one to one.
4. In a group, of the occurrences of a leaf that selects ``latest`` or ``first`` and lie within the window of each
   other, and between the same instants of a schedule, only that one is kept. But which is the first to fit is known
   only then: of a leaf that selects ``first`` and that a comparison names, those after it go when it takes part.
5. Of a leaf that is only a veto, one between two others that lie within its window of each other makes no difference
   and is not kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from stream_triggers.core.arguments import Fields
from stream_triggers.core.condition import (
    After,
    Aggregate,
    AllOf,
    AnyOf,
    AtLeast,
    Changed,
    Comparison,
    Condition,
    Count,
    Not,
    Pick,
    ScheduleLeaf,
    Sequence,
    Times,
    members,
    nodes,
)
from stream_triggers.core.filter import parse_path
from stream_triggers.core.keyed.clause import Clause, compared_by
from stream_triggers.core.keyed.places import Place
from stream_triggers.core.keyed.search import AllSearch, AnySearch, AtInstant, AtLeastSearch, LeafSearch, Search, Veto
from stream_triggers.core.keyed.steps import AfterSearch, CountSearch, SequenceSearch, StrictSearch, Stride, TimesSearch
from stream_triggers.core.schedule import Schedule

Watcher: TypeAlias = Aggregate | Changed
"""A node that watches a value."""


@dataclass(slots=True)
class Term:
    """What is kept for a leaf, and how long: ``retain_ms`` after its instant, and to the next of ``until``."""

    id: str
    path: str
    pick: Pick
    is_veto: bool = False
    retain_ms: int = 0
    until: tuple[Schedule, ...] = ()
    only: str = ""
    """"latest" or "first" where one takes the place of others that are at most ``near_ms`` away."""
    is_first_to_fit: bool = False
    """Whether it does so only when it takes part, because it is compared before."""
    near_ms: int | None = None
    thin_ms: int | None = None
    """The window in which, of three, the one in the middle makes no difference."""
    line: int | None = None
    """The sequence by which it is passed over when that matches."""
    is_kept_for_more: bool = False
    """Whether taking part in a run leaves it."""
    counted_by: tuple[str, ...] | None = None
    """The path of a value without which it does not count."""
    group: int = 0
    """Which of ``Builder.groups`` it belongs to."""
    is_guarded: bool = False
    """Whether a schedule or what must not happen decides: then it is too late as soon as it is of no use any more."""


class Lone(NamedTuple):
    """A schedule whose instants fire without anything else, unless there is a veto since the instant before."""

    leaf: str
    schedule: Schedule
    vetoes: tuple[Veto, ...]


_APART = (Not, ScheduleLeaf)
"""What a group takes into account by itself."""


@dataclass(frozen=True, slots=True)
class _Context:
    """What the nodes around a node mean for it."""

    span_ms: int = 0
    wait_ms: int = 0
    until: tuple[Schedule, ...] = ()
    select: str = "each"
    only: bool = False
    near_ms: int | None = None
    line: int | None = None
    is_veto: bool = False
    thin_ms: int | None = None
    is_kept_for_more: bool = False
    counted_by: tuple[str, ...] | None = None
    group: int = 0
    is_guarded: bool = False
    compared: frozenset[str] = frozenset()

    @property
    def retain_ms(self) -> int:
        return max(self.span_ms, self.wait_ms)


@dataclass(slots=True)
class Builder:
    """Builds the search of one condition; afterwards ``terms`` and ``lone`` say the rest.

    ``terms`` has every leaf and watcher by id, ``lone`` the schedules that fire alone.
    """

    places: Mapping[str, Place]
    """By path."""
    watchers: Mapping[str, str]
    """The ids of watchers by path."""
    roots: Mapping[str, Fields]
    names: Mapping[str, str]
    ttl_ms: int
    grace_ms: int
    resets: tuple[Schedule, ...]
    is_plain: bool
    terms: dict[str, Term] = field(default_factory=dict)
    lone: list[Lone] = field(default_factory=list)
    groups: tuple[Search, ...] = ()
    """The searches of the members of the outermost ``any``; without one, that of the whole."""
    lines: int = 0

    def build(self, condition: Condition) -> Search | None:
        """The search of the whole condition; None when it is nothing but schedules, which need none."""
        tops = members(condition) if isinstance(condition, AnyOf) else (("", condition),)
        found: list[Search] = []
        for end, member in tops:
            search = self._build(member, "when" + end, _Context(until=self.resets, group=len(found)))
            if search is not None:
                found.append(search)
        self.groups = tuple(found)
        return AnySearch(self.groups) if len(found) > 1 else found[0] if found else None

    def _build(  # noqa: C901 - one arm for each kind of node
        self, node: Condition, path: str, around: _Context
    ) -> Search | None:
        match node:
            case ScheduleLeaf():
                self.lone.append(Lone(self.places[path].id, node.schedule, ()))
                return None
            case AnyOf():
                searches = [self._build(member, path + end, around) for end, member in members(node)]
                found = tuple([search for search in searches if search is not None])
                return AnySearch(found) if found else None
            case AllOf():
                return self._all(node, path, around)
            case AtLeast():
                return self._at_least(node, path, around)
            case Sequence(strict=True):
                return self._strict(node, path, around)
            case Sequence():
                return self._sequence(node, path, around)
            case Count():
                return self._count(node, path, around)
            case Times():
                return self._times(node, path, around)
            case After():
                return self._after(node, path, around)
            case Aggregate() | Changed():
                return self._watcher(node, path, around)
            case _:
                return self._leaf(path, around)

    def _leaf(self, path: str, around: _Context) -> LeafSearch:
        place = self.places[path]
        select = place.pick.select or around.select
        only = select if around.only and select in ("latest", "first") and not around.is_veto else ""
        self.terms[place.id] = Term(
            id=place.id,
            path=path,
            pick=place.pick,
            is_veto=around.is_veto,
            retain_ms=around.retain_ms,
            until=around.until,
            only=only,
            is_first_to_fit=only == "first" and place.id in around.compared,
            near_ms=around.near_ms,
            thin_ms=around.thin_ms,
            line=None if select == "each" else around.line,
            is_kept_for_more=around.is_kept_for_more or place.pick.reuse,
            counted_by=around.counted_by,
            group=around.group,
            is_guarded=around.is_guarded,
        )
        return LeafSearch(place.id, path, "first" if around.line is not None else select, is_reused=place.pick.reuse)

    def _watcher(self, node: Watcher, path: str, around: _Context) -> Search:
        name, place = self.watchers[path], self.places[path + ".of"]
        hold_ms = (node.hold_ms or 0) if isinstance(node, Aggregate) else 0
        self.terms[name] = Term(
            id=name,
            path=path + ".of",
            pick=place.pick,
            retain_ms=max(around.span_ms, around.wait_ms + hold_ms),
            until=around.until,
            only=around.select if around.only and not hold_ms and around.select == "latest" else "",
            near_ms=around.near_ms,
            group=around.group,
            is_guarded=around.is_guarded,
        )
        search = LeafSearch(name, path, "each" if hold_ms else around.select, is_reused=False)
        return AfterSearch(search, hold_ms, None, frozenset(), self.grace_ms) if hold_ms else search

    def _inner(self, around: _Context, within_ms: int | None) -> _Context:
        """What a node with a window means for its members."""
        own_ms = (self.ttl_ms if within_ms is None else within_ms) + around.wait_ms
        return _Context(
            span_ms=max(around.span_ms, own_ms),
            until=around.until,
            near_ms=within_ms,
            is_veto=around.is_veto,
            group=around.group,
            is_guarded=around.is_guarded,
        )

    def _all(self, node: AllOf, path: str, around: _Context) -> Search | None:
        listed = [(path + end, member) for end, member in members(node)]
        schedule = next(((where, each.schedule) for where, each in listed if isinstance(each, ScheduleLeaf)), None)
        inner = self._inner(around, node.within_ms)
        if schedule is not None:
            inner = replace(inner, until=(*inner.until, schedule[1]))
        happening = sum(not isinstance(member, Not) for _, member in listed)
        select = "latest" if happening > 1 and not self.is_plain else "each"
        negative = [(where, each) for where, each in listed if isinstance(each, Not)]
        is_guarded = inner.is_guarded or bool(negative) or schedule is not None
        clauses = self._clauses(node.where, path)
        compared = compared_by(clauses)
        group = replace(inner, select=select, only=True, is_guarded=is_guarded, compared=compared)
        searches = [self._build(each, where, group) for where, each in listed if not isinstance(each, _APART)]
        vetoes = tuple([self._veto(each, where, inner, node.within_ms) for where, each in negative])
        found = tuple([search for search in searches if search is not None])
        leaves, reused = self._leaves_of([each for each in listed if not isinstance(each[1], Not)], around)
        search = AllSearch(found, leaves, reused, within_ms=node.within_ms, grace_ms=self.grace_ms)
        search.clauses, search.compared = clauses, compared
        search.needed = frozenset([each.leaf for each in found if isinstance(each, LeafSearch)])
        if schedule is None:
            search.vetoes = vetoes
            return search
        leaf = self.places[schedule[0]].id
        if found:
            return AtInstant(search, vetoes, leaf, schedule[1])
        self.lone.append(Lone(leaf, schedule[1], vetoes))
        return None

    def _veto(self, node: Not, path: str, around: _Context, within_ms: int | None) -> Veto:
        group_ms = self.ttl_ms if within_ms is None else within_ms
        # What looks back must still be there for the last that is not too late itself.
        keep_ms = group_ms if node.last_ms is None else group_ms + 2 * node.last_ms
        thin_ms = group_ms if node.last_ms is None else node.last_ms
        search = self._negative(node.condition, path + ".not", around, keep_ms, thin_ms)
        return Veto(search, path + ".not", node.last_ms)

    def _negative(self, node: Condition, path: str, around: _Context, keep_ms: int, thin_ms: int) -> Search:
        listed = node.conditions if isinstance(node, AnyOf) else (node,)
        is_simple = not any(isinstance(each, AllOf | AtLeast | Sequence | Count | Times) for each in listed)
        inner = _Context(
            span_ms=keep_ms + around.wait_ms,
            until=around.until,
            select="latest",
            is_veto=True,
            thin_ms=thin_ms if is_simple else None,
            group=around.group,
        )
        search = self._build(node, path, inner)
        assert search is not None, "a schedule is no veto"
        return search

    def _at_least(self, node: AtLeast, path: str, around: _Context) -> Search:
        listed = [(path + end, member) for end, member in members(node)]
        select = "latest" if len(listed) > 1 and not self.is_plain else "each"
        inner = replace(self._inner(around, node.within_ms), select=select, only=True)
        found = tuple([search for where, each in listed if (search := self._build(each, where, inner)) is not None])
        leaves, reused = self._leaves_of(listed, around)
        search = AtLeastSearch(found, leaves, reused, within_ms=node.within_ms, grace_ms=self.grace_ms)
        search.count = node.count
        return search

    def _sequence(self, node: Sequence, path: str, around: _Context) -> Search:
        self.lines += 1
        inner = replace(self._inner(around, node.within_ms), select="first")
        step = replace(inner, line=self.lines)
        latest: list[str | None] = []
        found: list[Search] = []
        for end, member in members(node):
            is_leaf = not members(member)
            search = self._build(member, path + end, step if is_leaf or isinstance(member, AnyOf | Times) else inner)
            assert search is not None, "a schedule is no step"
            found.append(search)
            is_latest = isinstance(member, Pick) and member.select == "latest" and isinstance(search, LeafSearch)
            latest.append(self.places[path + end].id if is_latest else None)
        clauses = self._clauses(node.where, path)
        leaves, _ = self._leaves_of([(path + end, member) for end, member in members(node)], around)
        return SequenceSearch(tuple(found), tuple(latest), leaves, within_ms=node.within_ms, clauses=clauses)

    def _strict(self, node: Sequence, path: str, around: _Context) -> Search:
        self.lines += 1
        inner = replace(self._inner(around, node.within_ms), select="first", line=self.lines)
        steps: list[Stride] = []
        for end, member in members(node):
            self._build(member, path + end, inner)
            least, most = (member.least, member.most) if isinstance(member, Times) else (1, 1)
            steps.append(Stride(self._leaves_of([(path + end, member)], around)[0], path + end, least, most))
        clauses = self._clauses(node.where, path)
        return StrictSearch(tuple(steps), within_ms=node.within_ms, clauses=clauses)

    def _count(self, node: Count, path: str, around: _Context) -> Search:
        distinct = None if node.distinct is None else parse_path(node.distinct, path)
        inner = replace(
            self._inner(around, node.within_ms), is_kept_for_more=node.consume == "none", counted_by=distinct
        )
        self._build(node.condition, path + ".count", inner)
        leaves, _ = self._leaves_of([(path + ".count", node.condition)], around)
        return CountSearch(leaves, path + ".count", node.at_least, within_ms=node.within_ms, distinct=distinct)

    def _times(self, node: Times, path: str, around: _Context) -> Search:
        ((end, member),) = members(node)
        select = "each" if around.line is None else around.select
        span_ms = around.span_ms or self.ttl_ms + around.wait_ms  # what stands alone has no window but the ttl
        self._build(member, path + end, replace(around, select=select, only=False, span_ms=span_ms))
        leaves, _ = self._leaves_of([(path + end, member)], around)
        return TimesSearch(leaves, path, node.least, node.most)

    def _after(self, node: After, path: str, around: _Context) -> Search:
        waiting = replace(
            around,
            wait_ms=around.wait_ms + node.wait_ms,
            select="each",
            only=False,
            near_ms=None,
            is_guarded=around.is_guarded or node.unless is not None,
        )
        search = self._build(node.condition, path + ".after", waiting)
        assert search is not None, "a schedule is not waited for"
        unless = None
        if node.unless is not None:
            where = path + ".unless"
            unless = Veto(self._negative(node.unless, where, around, node.wait_ms, node.wait_ms), where, None)
        _, reused = self._leaves_of([(path + ".after", node.condition)], around)
        return AfterSearch(search, node.wait_ms, unless, reused, self.grace_ms)

    def _clauses(self, where: tuple[Comparison, ...], path: str) -> tuple[Clause, ...]:
        listed = enumerate(where)
        return tuple([Clause(each, f"{path}.where[{index}]", self.roots, self.names) for index, each in listed])

    def _leaves_of(
        self, listed: list[tuple[str, Condition]], around: _Context
    ) -> tuple[tuple[str, ...], frozenset[str]]:
        """The ids of what takes part below some nodes, in a veto of what makes it, and of what of it is reused."""
        found = [
            self.terms[name]
            for where, node in listed
            for name in self._ids_in(node, where)
            if name in self.terms and self.terms[name].is_veto is around.is_veto
        ]
        return tuple([term.id for term in found]), frozenset([term.id for term in found if term.pick.reuse])

    def _ids_in(self, condition: Condition, path: str) -> Iterator[str]:
        for where, _ in nodes(condition, path):
            if where in self.watchers:
                yield self.watchers[where]
            elif where in self.places:
                yield self.places[where].id
