"""Searches for what happens in an order: sequences, counts, and what happens after a while.

Rules:
1. ``sequence``: each step lies after the last participant of the step before it, in the order of ``(time_ms, at)``;
   what lies between is passed over. From the earliest start that leads to the end within the window, each step takes
   the earliest that comes after. A step that selects ``latest`` then takes the last that lies before the next step,
   unless there are comparisons.
2. A ``strict`` sequence takes occurrences that follow each other, with nothing between that any of its steps accepts.
3. ``count``: the earliest window with so many occurrences; all that lie in it take part. With ``distinct`` so many
   different values at the path; an occurrence of several leaves counts once.
4. ``after``: from the last participant the wait begins. It comes to hold at the end of the wait, when the watermark
   with the grace has come there. ``unless`` looks at what lies after that participant until the end, included. Several
   waits for one condition go on at once, the earliest first.
5. A wait that would end after the instant until which one is asked does not come to hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from stream_triggers.core.filter import MISSING, Path, get_path
from stream_triggers.core.keyed.clause import Clause
from stream_triggers.core.keyed.pool import ALWAYS, Chosen, Found, Pool, found_one, joined, value_key
from stream_triggers.core.keyed.search import LeafSearch, Search, Single, Veto, choose, struck_of
from stream_triggers.core.keyed.state import USED, Moment


class SequenceSearch(Single):
    """Looks for steps one after the other."""

    def __init__(
        self,
        steps: tuple[Search, ...],
        latest: tuple[str | None, ...],
        *,
        within_ms: int | None,
        clauses: tuple[Clause, ...],
    ) -> None:
        """``latest`` has, for each step that selects the latest, its leaf."""
        self.steps = steps
        self.latest = latest
        self.within_ms = within_ms
        self.clauses = clauses

    def find(self, pool: Pool, low: Moment, high_ms: int) -> Found | None:
        position = low
        while (start := self._step(pool, 0, [], position, high_ms)) is not None:
            end_ms = high_ms if self.within_ms is None else min(high_ms, start.first_ms + self.within_ms)
            parts = self._chain(pool, start, end_ms)
            if pool.struck:
                return None
            if len(parts) == len(self.steps):
                if not self.clauses:
                    self._tighten(pool, parts, low)
                return joined(parts)
            if not self.clauses and self._step(pool, len(parts), parts, parts[-1].last, high_ms) is None:
                return None  # nor is there a way on from any later start
            position = start.last if len(start.chosen) == 1 else (start.first_ms, ALWAYS)
        return None

    def _chain(self, pool: Pool, start: Found, end_ms: int) -> list[Found]:
        """As many steps as can be taken from ``start``."""
        parts = [start]
        for index in range(1, len(self.steps)):
            part = self._step(pool, index, parts, parts[-1].last, end_ms)
            if part is None or part.last[0] > end_ms:
                break
            parts.append(part)
        return parts

    def _step(self, pool: Pool, index: int, parts: list[Found], low: Moment, high_ms: int) -> Found | None:
        if self.clauses:
            return choose(pool, self.steps[index], self.clauses, parts, low, high_ms)
        return self.steps[index].find(pool, low, high_ms)

    def _tighten(self, pool: Pool, parts: list[Found], low: Moment) -> None:
        """Let steps that select the latest take the last occurrence before the step after them."""
        for index in range(len(parts) - 2, -1, -1):
            leaf = self.latest[index]
            if leaf is None:
                continue
            after, before = (parts[index - 1].last if index else low), parts[index + 1]
            limit = before.last if len(before.chosen) == 1 else (before.first_ms, -1)
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


class StrictSearch(Single):
    """Looks for occurrences that follow each other, one for each step."""

    def __init__(
        self,
        steps: tuple[tuple[str, ...], ...],
        paths: tuple[str, ...],
        *,
        within_ms: int | None,
        clauses: tuple[Clause, ...],
    ) -> None:
        """``steps`` are the leaves of each step, ``paths`` where the steps stand."""
        self.steps = steps
        self.paths = paths
        self.within_ms = within_ms
        self.clauses = clauses
        self.leaves = tuple(dict.fromkeys(leaf for step in steps for leaf in step))

    def find(self, pool: Pool, low: Moment, high_ms: int) -> Found | None:
        row = _in_order(pool, self.leaves, low, high_ms)
        for start in range(len(row) - len(self.steps) + 1):
            parts = self._match(pool, row[start : start + len(self.steps)])
            if parts is not None:
                return joined(parts)
        return None

    def _match(self, pool: Pool, row: list[Chosen]) -> list[Found] | None:
        if self.within_ms is not None and row[-1][1].time_ms - row[0][1].time_ms > self.within_ms:
            return None
        parts: list[Found] = []
        for step, (_, occurrence) in zip(self.steps, row, strict=True):
            leaf = next((leaf for leaf in step if leaf in occurrence.leaves), None)
            if leaf is None:
                return None
            only = LeafSearch(leaf, leaf, "first", is_reused=False)
            low = (occurrence.time_ms, occurrence.at - 1)
            part = choose(pool, only, self.clauses, parts, low, occurrence.time_ms) if self.clauses else None
            if self.clauses and (part is None or part.chosen[0][1] is not occurrence):
                return None
            parts.append(found_one(leaf, occurrence))
        return parts

    def lacks(self, pool: Pool, low: Moment, high_ms: int) -> tuple[str, ...]:
        there = {leaf for leaf in self.leaves if pool.between(leaf, low, high_ms)}
        missing = tuple(path for path, step in zip(self.paths, self.steps, strict=True) if there.isdisjoint(step))
        return missing or ("the order of the steps",)


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
        return found._replace(last=(end_ms, ALWAYS))

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
