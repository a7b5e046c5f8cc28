"""Searches for what happens in an order: sequences, counts, and what happens after a while.

Rules:
1. ``sequence``: each step lies after the last participant of the step before it, in the order of ``(time_ms, at)``;
   what lies between is passed over. From the earliest start that leads to the end within the window, each step takes
   the earliest that comes after. A step that selects ``latest`` then takes the last that lies before the next step,
   unless there are comparisons.
2. A ``strict`` sequence takes occurrences that follow each other, with nothing between that any of its steps accepts.
   A step that is repeated takes as many as it may and the steps after it leave.
3. ``count``: the earliest window with so many occurrences; all that lie in it take part. With ``distinct`` so many
   different values at the path; an occurrence of several leaves counts once.
4. ``times`` and ``one_or_more``: the earliest, with something new among them if there is; see rule 11 of ``search``.
5. ``after``: from the last participant the wait begins. It comes to hold at the end of the wait, when the watermark
   with the grace has come there. ``unless`` looks at what lies after that participant until the end, included. Several
   waits for one condition go on at once, the earliest first.
6. A wait that would end after the instant until which one is asked does not come to hold.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from operator import attrgetter
from typing import NamedTuple

from msgspec.structs import replace

from stream_triggers.core.filter import MISSING, Path, get_path
from stream_triggers.core.keyed.clause import Clause, compared_by
from stream_triggers.core.keyed.fitting import Fitting, fitting, give_up
from stream_triggers.core.keyed.pool import ALWAYS, Chosen, Found, Pool, found_one, joined, value_key
from stream_triggers.core.keyed.search import LeafSearch, Search, Single, Veto, struck_of
from stream_triggers.core.keyed.state import USED, Moment, Occurrence


class SequenceSearch(Single):
    """Looks for steps one after the other."""

    def __init__(
        self,
        steps: tuple[Search, ...],
        latest: tuple[str | None, ...],
        leaves: tuple[str, ...],
        *,
        within_ms: int | None,
        clauses: tuple[Clause, ...],
    ) -> None:
        """``latest`` has, for each step that selects the latest, its leaf."""
        self.steps = steps
        self.latest = latest
        self.leaves = leaves
        self.within_ms = within_ms
        self.clauses = clauses
        self.compared = compared_by(clauses)

    def find(self, pool: Pool, low: Moment, high_ms: int) -> Found | None:
        position = low
        while (start := self._start(pool, position, high_ms)) is not None:
            end_ms = high_ms if self.within_ms is None else min(high_ms, start.first_ms + self.within_ms)
            parts = self._chain(pool, start, end_ms)
            if pool.struck:
                return None
            if len(parts) == len(self.steps):
                self._tighten(pool, parts, low)
                return joined(parts)
            if not self.clauses and self.steps[len(parts)].find(pool, parts[-1].last, high_ms) is None:
                return None  # nor is there a way on from any later start
            position = start.last if len(start.chosen) == 1 else (start.first_ms, ALWAYS)
        give_up(pool, self.leaves)
        return None

    def _chain(self, pool: Pool, start: Found, end_ms: int) -> list[Found]:
        """As many steps as can be taken from ``start``; with comparisons either all of them or no more."""
        parts = [start]
        if self.clauses:
            fit = Fitting(pool, self.steps, self.clauses, self.compared, end_ms, is_ordered=True)
            return fit.first(parts, start.last) or parts
        for index in range(1, len(self.steps)):
            part = self.steps[index].find(pool, parts[-1].last, end_ms)
            if part is None or part.last[0] > end_ms:
                break
            parts.append(part)
        return parts

    def _start(self, pool: Pool, low: Moment, high_ms: int) -> Found | None:
        if self.clauses:
            return next(fitting(pool, self.steps[0], self.clauses, self.compared, [], low, high_ms), None)
        return self.steps[0].find(pool, low, high_ms)

    def _tighten(self, pool: Pool, parts: list[Found], low: Moment) -> None:
        """Let steps take more, or the latest, of what lies before the step after them."""
        for index in range(len(parts) - 2, -1, -1):
            after, before = (parts[index - 1].last if index else low), parts[index + 1]
            limit = min([occurrence.moment for _, occurrence in before.chosen])
            if self.steps[index].can_grow:
                parts[index] = self.steps[index].grow(pool, parts[index], limit)
            leaf = self.latest[index]
            if leaf is None or self.clauses:
                continue
            listed = [each for each in pool.between(leaf, after, limit[0]) if each.moment < limit]
            if listed:
                parts[index] = found_one(leaf, listed[-1])

    def lacks(self, pool: Pool, low: Moment, high_ms: int) -> tuple[str, ...]:
        lacking: tuple[str, ...] = ()
        for step in self.steps:
            found = step.find(pool, low, high_ms)
            if found is None:
                lacking += step.lacks(pool, low, high_ms)
            else:
                low = found.last
        return lacking


class Stride(NamedTuple):
    """A step of a strict sequence: its leaves, where it stands, and how often it is taken."""

    leaves: tuple[str, ...]
    path: str
    least: int
    most: int | None


class StrictSearch(Single):
    """Looks for occurrences that follow each other."""

    def __init__(self, steps: tuple[Stride, ...], *, within_ms: int | None, clauses: tuple[Clause, ...]) -> None:
        self.steps = steps
        self.within_ms = within_ms
        self.clauses = clauses
        self.compared = compared_by(clauses)
        self.leaves = tuple(dict.fromkeys(leaf for step in steps for leaf in step.leaves))

    def find(self, pool: Pool, low: Moment, high_ms: int) -> Found | None:
        row = [each for _, each in _in_order(pool, self.leaves, low, high_ms)]
        needed = sum(step.least for step in self.steps)
        for start in range(len(row) - needed + 1):
            end = len(row) if self.within_ms is None else _index_after(row, row[start].time_ms + self.within_ms)
            parts = self._match(pool, row[start:end], 0, [], set())
            if parts is not None:
                return joined(parts)
        give_up(pool, self.leaves)
        return None

    def _match(
        self, pool: Pool, row: list[Occurrence], at: int, parts: list[Found], failed: set[tuple[int, int]]
    ) -> list[Found] | None:
        """What the steps after ``parts`` take of ``row`` from ``at`` on; ``failed`` are steps and places without."""
        index = len(parts)
        if index == len(self.steps):
            return parts
        if (index, at) in failed:
            return None
        step = self.steps[index]
        run = _run(row[at:], step)
        for number in range(len(run), step.least - 1, -1):
            if self._fits(pool, run[:number], parts):
                part = joined([found_one(*chosen) for chosen in run[:number]])
                found = self._match(pool, row, at + number, [*parts, part], failed)
                if found is not None:
                    return found
        if not self.clauses:  # with comparisons it depends on what has been chosen before
            failed.add((index, at))
        return None

    def _fits(self, pool: Pool, run: list[Chosen], parts: list[Found]) -> bool:
        """Whether the comparisons accept one more occurrence; what is repeated is not compared."""
        if not self.clauses or len(run) > 1:
            return True
        ((leaf, occurrence),) = run
        only = LeafSearch(leaf, leaf, "first", is_reused=False)
        low = (occurrence.time_ms, occurrence.at - 1)
        part = next(fitting(pool, only, self.clauses, self.compared, parts, low, occurrence.time_ms), None)
        return part is not None and part.chosen[0][1] is occurrence

    def lacks(self, pool: Pool, low: Moment, high_ms: int) -> tuple[str, ...]:
        steps = [step for step in self.steps if len(_in_order(pool, step.leaves, low, high_ms)) < step.least]
        return tuple([step.path for step in steps]) or ("the order of the steps",)


class TimesSearch(Single):
    """Looks for what is repeated."""

    def __init__(self, leaves: tuple[str, ...], path: str, least: int, most: int | None) -> None:
        self.leaves = leaves
        self.path = path
        self.least = least
        self.most = most
        self.can_grow = most != least

    def find(self, pool: Pool, low: Moment, high_ms: int) -> Found | None:
        row = _in_order(pool, self.leaves, low, high_ms)
        starts = range(len(row) - self.least + 1)
        runs = (joined([found_one(*chosen) for chosen in row[start : start + self.least]]) for start in starts)
        first = next(runs, None)
        if first is None or first.is_fresh:
            return first
        return next((run for run in runs if run.is_fresh), first)

    def grow(self, pool: Pool, found: Found, limit: Moment) -> Found:
        own = [occurrence.moment for leaf, occurrence in found.chosen if leaf in self.leaves]
        if not own:
            return found  # another member of an any was taken
        row = [chosen for chosen in _in_order(pool, self.leaves, max(own), limit[0]) if chosen[1].moment < limit]
        left = len(row) if self.most is None else self.most - len(own)
        return joined([found, *[found_one(*chosen) for chosen in row[:left]]])

    def lacks(self, pool: Pool, low: Moment, high_ms: int) -> tuple[str, ...]:
        more = self.least - len(_in_order(pool, self.leaves, low, high_ms))
        return () if more <= 0 else (f"{more} more of {self.path}",)


class CountSearch(Single):
    """Looks for a number of occurrences."""

    def __init__(
        self, leaves: tuple[str, ...], path: str, at_least: int, *, within_ms: int | None, distinct: Path | None
    ) -> None:
        self.leaves = leaves
        self.path = path
        self.at_least = at_least
        self.within_ms = within_ms
        self.distinct = distinct

    def find(self, pool: Pool, low: Moment, high_ms: int) -> Found | None:
        if sum([len(pool.by_leaf.get(leaf, ())) for leaf in self.leaves]) < self.at_least:
            return None
        row = _in_order(pool, self.leaves, low, high_ms)
        fresh = [0, *accumulate(each.fate != USED for _, each in row)]
        stale: tuple[int, int] | None = None
        for start, end in self._windows(row):
            if fresh[end] > fresh[start]:
                return joined([found_one(leaf, each) for leaf, each in row[start:end]])
            stale = stale or (start, end)
        return stale and joined([found_one(leaf, each) for leaf, each in row[stale[0] : stale[1]]])

    def _windows(self, row: list[Chosen]) -> Iterator[tuple[int, int]]:
        """The windows with enough in them, as slices of ``row``, the earliest first; one for each start."""
        span_ms = ALWAYS if self.within_ms is None else self.within_ms
        counted: dict[object, int] = {}
        start, end = 0, 0
        values = [self._value(chosen) for chosen in row]
        for start in range(len(row)):
            while end < len(row) and row[end][1].time_ms - row[start][1].time_ms <= span_ms:
                counted[values[end]] = counted.get(values[end], 0) + 1
                end += 1
            if len(counted) >= self.at_least:
                yield start, end
            counted[values[start]] -= 1
            if not counted[values[start]]:
                del counted[values[start]]

    def _value(self, chosen: Chosen) -> object:
        """What tells an occurrence from others."""
        occurrence = chosen[1]
        if self.distinct is None:
            return occurrence.moment
        value = get_path(occurrence.document, self.distinct)
        return MISSING if value is MISSING else value_key(value)

    def lacks(self, pool: Pool, low: Moment, high_ms: int) -> tuple[str, ...]:
        counted = len({self._value(chosen) for chosen in _in_order(pool, self.leaves, low, high_ms)})
        return () if counted >= self.at_least else (f"{self.at_least - counted} more of {self.path}",)


class AfterSearch(Single):
    """Looks for what happened a while ago."""

    def __init__(
        self, search: Search, wait_ms: int, unless: Veto | None, reused: frozenset[str], grace_ms: int
    ) -> None:
        self.search = search
        self.wait_ms = wait_ms
        self.unless = unless
        self.reused = reused
        self.grace_ms = grace_ms

    def find(self, pool: Pool, low: Moment, high_ms: int) -> Found | None:
        found = self.search.find(pool, low, high_ms)
        if found is None:
            return None
        end_ms = found.last[0] + self.wait_ms
        strike = self.unless and self.unless.in_span(pool, found.last, end_ms)
        if strike:
            pool.strike(strike._replace(chosen=struck_of(found, self.reused)))
            return None
        if end_ms > high_ms:
            return None
        if pool.watermark_ms < end_ms + self.grace_ms:
            pool.wait(end_ms + self.grace_ms)
            return None
        return replace(found, last=(end_ms, ALWAYS))

    def lacks(self, pool: Pool, low: Moment, high_ms: int) -> tuple[str, ...]:
        return self.search.lacks(pool, low, high_ms)


def _in_order(pool: Pool, leaves: tuple[str, ...], low: Moment, high_ms: int) -> list[Chosen]:
    """The occurrences of several leaves in their order, each once, for the first of its leaves."""
    if len(leaves) == 1:
        return [(leaves[0], each) for each in pool.between(leaves[0], low, high_ms)]
    merged: dict[Moment, Chosen] = {}
    for leaf in leaves:
        for each in pool.between(leaf, low, high_ms):
            merged.setdefault(each.moment, (leaf, each))
    return [merged[moment] for moment in sorted(merged)]


def _run(row: list[Occurrence], step: Stride) -> list[Chosen]:
    """What a step accepts from the start of ``row`` on, without a gap, and no more than it may take."""
    run: list[Chosen] = []
    for occurrence in row[: step.most]:
        leaf = next((leaf for leaf in step.leaves if leaf in occurrence.leaves), None)
        if leaf is None:
            break
        run.append((leaf, occurrence))
    return run


def _index_after(row: list[Occurrence], time_ms: int) -> int:
    """Where in ``row`` begins what is later than an instant."""
    return bisect_right(row, time_ms, key=attrgetter("time_ms"))
