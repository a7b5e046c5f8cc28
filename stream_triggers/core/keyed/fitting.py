"""What comparisons accept: a choice for each member of a group or step of a sequence, tried one after the other.

Rules:
1. Members are chosen in their order. A leaf that a comparison names is tried with each of its occurrences, in the order
   in which they would be taken; of everything else, but an ``any`` of leaves, there is only the first choice.
2. The first choice for all members that has something new in it is taken, else the first at all.
3. A comparison is judged when the last leaf that it names has been chosen. An occurrence for which it cannot be judged
   is struck as ``filter_failed``.
4. At most ``LOOKS_MAX`` candidates are looked at in one search. When that is not enough, the oldest occurrence is
   struck as ``hot_key`` and the search begins again; if it still is not, twice as many are, and so on. So what stays
   can always be looked through, and a look that brings nothing new strikes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from stream_triggers.core.keyed.clause import Clause
from stream_triggers.core.keyed.pool import Found, Pool, Strike
from stream_triggers.core.keyed.state import Moment
from stream_triggers.errors import EvaluationFailed

if TYPE_CHECKING:
    from stream_triggers.core.keyed.search import Search

LOOKS_MAX: Final = 10_000
"""Most candidates that comparisons look at in one search, some 50 ms of work."""


@dataclass(slots=True)
class Fitting:
    """One search through the choices for ``members`` that ``clauses`` accept."""

    pool: Pool
    members: tuple[Search, ...]
    clauses: tuple[Clause, ...]
    compared: frozenset[str]
    """The leaves that they name."""
    high_ms: int
    is_ordered: bool = False
    """Whether each member lies after the one before it."""
    stale: list[Found] | None = None
    """The first choice that has nothing new in it."""

    def first(self, parts: list[Found], low: Moment) -> list[Found] | None:
        """The choice to take that begins with ``parts``, the rest of it after ``low``."""
        for choice in self._choices(parts, low):
            if any(part.is_fresh for part in choice):
                return choice
            self.stale = self.stale or choice
        return self.stale

    def _choices(self, parts: list[Found], low: Moment) -> Iterator[list[Found]]:
        if len(parts) == len(self.members):
            yield parts
            return
        member = self.members[len(parts)]
        is_last = len(parts) == len(self.members) - 1
        is_new_needed = is_last and self.stale is not None and not any(part.is_fresh for part in parts)
        fit = fitting(self.pool, member, self.clauses, self.compared, parts, low, self.high_ms, is_new_needed)
        for part in fit:
            if self.is_ordered and part.last[0] > self.high_ms:
                continue
            yield from self._choices([*parts, part], part.last if self.is_ordered else low)
            if self.pool.struck:
                return


def fitting(
    pool: Pool,
    member: Search,
    clauses: tuple[Clause, ...],
    compared: frozenset[str],
    parts: list[Found],
    low: Moment,
    high_ms: int,
    is_new_needed: bool = False,
) -> Iterator[Found]:
    """The candidates of a member for which every comparison is true that can be judged with it; not after a strike."""
    before_it = [chosen for part in parts for chosen in part.chosen]
    for candidate in member.candidates(pool, low, high_ms, compared):
        if is_new_needed and not candidate.is_fresh:
            continue
        if not pool.look(LOOKS_MAX):
            return
        chosen = [*before_it, *candidate.chosen]
        try:
            is_accepted = all(each.accepts(chosen) for each in clauses if each.is_judged_by(chosen, candidate.chosen))
        except EvaluationFailed as failure:
            pool.strike(Strike("filter_failed", failure.message, candidate.chosen))
            continue
        if is_accepted and not pool.struck:
            yield candidate


def give_up(pool: Pool, leaves: tuple[str, ...]) -> None:
    """Strike the oldest of ``leaves`` if there were too many to look through."""
    if not pool.is_spent or pool.struck:
        return
    listed = [(leaf, occurrence) for leaf in leaves for occurrence in pool.by_leaf.get(leaf, ())]
    listed.sort(key=lambda chosen: chosen[1].moment)
    detail = f"it is the oldest of more than {LOOKS_MAX} combinations that do not fit"
    pool.strike(Strike("hot_key", detail, tuple(listed[: pool.losses])))
    pool.losses *= 2
