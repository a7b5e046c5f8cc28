"""What is kept of a key while a step is at work on it, and the bounds of that.

Rules:
1. An occurrence is kept as long as one of its leaves has a use for it. Its end is to be told when no leaf that takes
   part in runs has one any more, nothing has become of it and it is not only a veto.
2. The order of what is kept is the order of arrival, whatever happens to parts of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from stream_triggers.core.keyed.build import Term
from stream_triggers.core.keyed.pool import Pool
from stream_triggers.core.keyed.state import FRESH, OCCURRENCES_MAX, Occurrence
from stream_triggers.core.schedule import after


class Kept:
    """The kept occurrences, by arrival and by leaf."""

    __slots__ = ("_grace_ms", "_terms", "_watermark_ms", "by_at", "pool")

    def __init__(
        self, occurrences: Iterable[Occurrence], terms: Mapping[str, Term], watermark_ms: int, grace_ms: int
    ) -> None:
        self.by_at = {occurrence.at: occurrence for occurrence in occurrences}
        self.pool = Pool(self.by_at.values(), watermark_ms)
        self._terms = terms
        self._watermark_ms = watermark_ms
        self._grace_ms = grace_ms

    def occurrences(self) -> tuple[Occurrence, ...]:
        """All of them, in order of arrival."""
        return tuple(self.by_at.values())

    def add(self, occurrence: Occurrence) -> tuple[list[Occurrence], list[Occurrence]]:
        """Keep an occurrence; gives those whose end is to be told because of it, superseded and lost to a bound."""
        self.by_at[occurrence.at] = occurrence
        self.pool.add((occurrence,))
        superseded: list[Occurrence] = []
        lost: list[Occurrence] = []
        for leaf in occurrence.leaves:
            term = self._terms[leaf]
            listed = self.pool.by_leaf[leaf]
            if len(listed) == 1:
                continue
            if term.only and not term.is_first_to_fit:
                superseded += self._only_one(term, occurrence)
            elif term.thin_ms is not None:
                self._thin(term, occurrence)
            if len(listed) > OCCURRENCES_MAX:
                lost += self.lose(leaf, listed[0])
        return superseded, lost

    def lose(self, leaf: str, occurrence: Occurrence) -> list[Occurrence]:
        """A leaf has no use for an occurrence any more; gives it if its end is to be told."""
        now = self.by_at.get(occurrence.at)
        if now is None or leaf not in now.leaves:
            return []
        self.pool.drop(leaf, now)
        left = tuple([each for each in now.leaves if each != leaf])
        if left:
            self.by_at[now.at] = less = replace(now, leaves=left)
            self.pool.replace(less, less)
        else:
            del self.by_at[now.at]
        is_told = self._terms[leaf].is_veto or now.fate != FRESH or any(self.is_part(each) for each in left)
        return [] if is_told else [now]

    def pass_later(self, leaf: str, first: Occurrence) -> list[Occurrence]:
        """Let go of what came later than the first of a leaf and near it; gives those whose end is to be told."""
        term = self._terms[leaf]
        later = [each for each in self.pool.by_leaf.get(leaf, ()) if each.moment > first.moment]
        return [gone for each in later if self._are_near(term, first, each) for gone in self.lose(leaf, each)]

    def forget(self, occurrence: Occurrence, left: tuple[str, ...], fate: int) -> None:
        """Keep an occurrence only for the leaves that are left, with what has become of it."""
        for leaf in occurrence.leaves:
            if leaf not in left:
                self.pool.drop(leaf, occurrence)
        if left:
            self.by_at[occurrence.at] = less = replace(occurrence, leaves=left, fate=fate)
            self.pool.replace(less, less)
        else:
            del self.by_at[occurrence.at]

    def is_part(self, leaf: str) -> bool:
        """Whether a leaf takes part in runs."""
        return not self._terms[leaf].is_veto

    def is_late(self, term: Term, occurrence: Occurrence) -> bool:
        """Whether an occurrence comes too late for a leaf whose match is decided at a certain instant."""
        if not term.is_guarded:
            return False
        decided_ms = self.end_ms(term, occurrence) + self._grace_ms
        return decided_ms < self._watermark_ms or (bool(term.until) and decided_ms == self._watermark_ms)

    def end_ms(self, term: Term, occurrence: Occurrence) -> int:
        """The last instant of the watermark, the grace aside, at which an occurrence is of use to a leaf."""
        end_ms = occurrence.time_ms + term.retain_ms
        for schedule in term.until:
            nominal_ms = after(schedule, occurrence.time_ms - 1)
            end_ms = end_ms if nominal_ms is None else min(end_ms, nominal_ms)
        return end_ms

    def expired(self) -> tuple[list[tuple[str, Occurrence, int]], int | None]:
        """What has outlived its use: leaf, occurrence and its last instant; and when the next will have."""
        over: list[tuple[str, Occurrence, int]] = []
        next_ms: int | None = None
        for occurrence in self.by_at.values():
            for leaf in occurrence.leaves:
                term = self._terms[leaf]
                end_ms = self.end_ms(term, occurrence) if term.until else occurrence.time_ms + term.retain_ms
                gone_ms = end_ms + self._grace_ms + 1
                if gone_ms <= self._watermark_ms:
                    over.append((leaf, occurrence, end_ms))
                elif next_ms is None or gone_ms < next_ms:
                    next_ms = gone_ms
        return over, next_ms

    def _only_one(self, term: Term, new: Occurrence) -> list[Occurrence]:
        """Let one of several occurrences that are near each other stay."""
        told: list[Occurrence] = []
        for old in tuple(self.pool.by_leaf[term.id]):
            if old.at == new.at or not self._are_near(term, old, new):
                continue
            is_old_gone = (old.moment < new.moment) == (term.only == "latest")
            told += self.lose(term.id, old if is_old_gone else new)
        return told

    def _are_near(self, term: Term, one: Occurrence, other: Occurrence) -> bool:
        if term.near_ms is not None and abs(one.time_ms - other.time_ms) > term.near_ms:
            return False
        return self._is_same_span(term, one, other)

    def _thin(self, term: Term, new: Occurrence) -> None:
        """Drop what makes no difference as a veto: what lies between two others of one window."""
        listed = self.pool.by_leaf[term.id]
        place = next(index for index, each in enumerate(listed) if each.at == new.at)
        for middle in (place + 1, place, place - 1):
            if 0 < middle < len(listed) - 1:
                before, behind = listed[middle - 1], listed[middle + 1]
                is_near = behind.time_ms - before.time_ms <= (term.thin_ms or 0)
                if is_near and self._is_same_span(term, before, behind):
                    self.lose(term.id, listed[middle])

    def _is_same_span(self, term: Term, one: Occurrence, other: Occurrence) -> bool:
        """Whether no instant of a schedule lies between two occurrences."""
        return all(after(each, one.time_ms - 1) == after(each, other.time_ms - 1) for each in term.until)
