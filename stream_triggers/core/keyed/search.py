"""Searches: what of the kept occurrences satisfies a condition now, and which of several it takes.

A search is a pure function of the kept occurrences and the watermark. It is asked for what lies after one moment and
until one instant, and gives the occurrences that take part, or nothing.

Rules:
1. Windows are inclusive: the first and the last participant are at most ``within`` apart. Of several possibilities the
   one with the earliest first participant is taken, and one with something new in it before one without.
2. Of the occurrences of a leaf ``latest`` takes the last in the window, ``first`` and ``each`` the first, ``all`` all
   of them, at least one.
3. ``any``: the member that came to hold first, by order of members where that was at the same moment.
4. ``all``: every member. One occurrence may satisfy several members. Of the choices in a window that comparisons accept
   the first is taken, see ``fitting``.
5. ``not`` in a group with a window: nothing of it from the first participant to the end of the window, both included.
   The group comes to hold at the end of the window, when the watermark with the grace has come there.
6. ``not`` in a group without a window: nothing of it is kept; decided at once.
7. ``not`` with ``last``: nothing of it from that long before the last participant to that participant, both included;
   decided at once.
8. What is vetoed is struck: all participants of the group, those that are reused only where there are no others.
   The veto itself stays.
9. A schedule in ``all``: the others lie between the instant before, excluded, and the instant, included; the group
   comes to hold at the instant, when the watermark with the grace has come there. A ``not`` beside it looks at the
   whole span between the two instants.
10. ``at_least``: so many different members, and as many more as there are.
11. What is repeated takes the earliest as often as it must, and as many more as it may of those that come before the
    step after it, or before the group that it is a member of has come to hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Protocol

from msgspec.structs import replace

from stream_triggers.core.keyed.clause import Clause
from stream_triggers.core.keyed.fitting import Fitting, give_up
from stream_triggers.core.keyed.pool import ALWAYS, Chosen, Found, Pool, Strike, found_one, joined
from stream_triggers.core.keyed.state import NO_POSITION, Moment, nominal_occurrence
from stream_triggers.core.schedule import Schedule, after, before


class Search(Protocol):
    """What looks for one node."""

    @property
    def can_grow(self) -> bool:
        """Whether it may take more than it needs."""

    def find(self, pool: Pool, low: Moment, high_ms: int) -> Found | None:
        """What satisfies the node after ``low`` and until ``high_ms``."""

    def candidates(self, pool: Pool, low: Moment, high_ms: int, compared: frozenset[str]) -> Iterator[Found]:
        """The same and, for leaves that are ``compared``, what else would, in the order in which it would be taken."""

    def grow(self, pool: Pool, found: Found, limit: Moment) -> Found:
        """``found``, in which its own choice is, with what more it may take of what comes before ``limit``."""

    def lacks(self, pool: Pool, low: Moment, high_ms: int) -> tuple[str, ...]:
        """What the node still needs, as paths; for an open match. Nothing when it is satisfied."""


class Fixed:
    """For nodes that take what they need and no more."""

    can_grow = False

    def grow(self, pool: Pool, found: Found, limit: Moment) -> Found:
        return found


class LeafSearch(Fixed):
    """Looks for occurrences of a leaf."""

    def __init__(self, leaf: str, path: str, select: str, *, is_reused: bool) -> None:
        self.leaf = leaf
        self.path = path
        self.select = select
        self.is_reused = is_reused

    def find(self, pool: Pool, low: Moment, high_ms: int) -> Found | None:
        listed = pool.between(self.leaf, low, high_ms)
        if not listed:
            return None
        if self.select == "all":
            return joined([found_one(self.leaf, each) for each in listed])
        return found_one(self.leaf, listed[-1 if self.select == "latest" else 0])

    def candidates(self, pool: Pool, low: Moment, high_ms: int, compared: frozenset[str]) -> Iterator[Found]:
        if self.select == "all" or self.leaf not in compared:
            return _only(self.find(pool, low, high_ms))
        listed = pool.between(self.leaf, low, high_ms)
        return (found_one(self.leaf, each) for each in (reversed(listed) if self.select == "latest" else listed))

    def lacks(self, pool: Pool, low: Moment, high_ms: int) -> tuple[str, ...]:
        return () if pool.between(self.leaf, low, high_ms) else (self.path,)


class Single(Fixed):
    """For nodes that are satisfied in one way at a time."""

    def find(self, pool: Pool, low: Moment, high_ms: int) -> Found | None:
        raise NotImplementedError

    def candidates(self, pool: Pool, low: Moment, high_ms: int, compared: frozenset[str]) -> Iterator[Found]:
        return _only(self.find(pool, low, high_ms))


class AnySearch(Single):
    """Looks for the member that came to hold first."""

    def __init__(self, members: tuple[Search, ...]) -> None:
        self.members = members
        self.can_grow = any(member.can_grow for member in members)

    def find(self, pool: Pool, low: Moment, high_ms: int) -> Found | None:
        best: Found | None = None
        for member in self.members:
            found = member.find(pool, low, high_ms)
            if found is not None and (best is None or _rank(found) < _rank(best)):
                best = found
        return best

    def candidates(self, pool: Pool, low: Moment, high_ms: int, compared: frozenset[str]) -> Iterator[Found]:
        found = [(first, each) for each in self.members if (first := each.find(pool, low, high_ms)) is not None]
        found.sort(key=lambda pair: _rank(pair[0]))
        return chain.from_iterable(each.candidates(pool, low, high_ms, compared) for _, each in found)

    def grow(self, pool: Pool, found: Found, limit: Moment) -> Found:
        return grown(self.members, pool, found, limit)

    def lacks(self, pool: Pool, low: Moment, high_ms: int) -> tuple[str, ...]:
        lacking = [member.lacks(pool, low, high_ms) for member in self.members]
        return () if not all(lacking) else (" or ".join(" and ".join(each) for each in lacking),)


class Veto:
    """What must not happen in a group; ``last_ms`` is how far back from the last participant it looks, if it does."""

    def __init__(self, search: Search, path: str, last_ms: int | None) -> None:
        self.search = search
        self.path = path
        self.last_ms = last_ms

    def in_span(self, pool: Pool, low: Moment, high_ms: int) -> Strike | None:
        """The veto on what would otherwise hold, if there is one; whom it strikes is for the caller to say."""
        found = self.search.find(pool, low, high_ms)
        return None if found is None else Strike("vetoed", f"{self.path} happened", (), found.chosen)


class Group(Single):
    """Members that must hold together, in a window or none."""

    def __init__(
        self,
        members: tuple[Search, ...],
        leaves: tuple[str, ...],
        reused: frozenset[str],
        *,
        within_ms: int | None,
        grace_ms: int,
    ) -> None:
        self.members = members
        self.growing = tuple([member for member in members if member.can_grow])
        self.leaves = leaves
        self.reused = reused
        self.within_ms = within_ms
        self.grace_ms = grace_ms

    def gather(self, pool: Pool, low: Moment, high_ms: int) -> Found | None:
        """The choice of participants in one span, as if nothing else were asked."""
        raise NotImplementedError

    def settle(self, pool: Pool, found: Found, low: Moment, high_ms: int) -> Found | None:
        """What becomes of a choice: it holds, it waits, or it is struck."""
        return found

    def find(self, pool: Pool, low: Moment, high_ms: int) -> Found | None:
        whole = self.gather(pool, low, high_ms)
        if whole is None or pool.struck:
            return None
        within_ms = self.within_ms
        if within_ms is None:
            return self.settle(pool, whole, low, high_ms)
        kept = sum([len(pool.by_leaf.get(leaf, ())) for leaf in self.leaves])
        if whole.is_fresh and len(whole.chosen) == kept and _span(whole) <= within_ms:
            return self.settle(pool, whole, low, high_ms)  # nothing was left out: there is no other choice
        return self._sweep(pool, low, high_ms, within_ms)

    def _sweep(self, pool: Pool, low: Moment, high_ms: int, within_ms: int) -> Found | None:
        stale: Found | None = None
        for start_ms in pool.starts(self.leaves, low, high_ms):
            found = self.gather(pool, max(low, (start_ms, -1)), min(high_ms, start_ms + within_ms))
            if pool.struck:
                return None
            if found is None or _span(found) > within_ms:
                continue
            if not found.is_fresh:
                stale = stale or found
                continue
            return self.settle(pool, found, low, high_ms)
        return stale and self.settle(pool, stale, low, high_ms)

    def hold(self, pool: Pool, parts: list[Found]) -> Found:
        """The members' choices as one, which holds with the last of them."""
        found = joined(parts)
        return grown(self.growing, pool, found, (found.last[0], found.last[1] + 1)) if self.growing else found

    def strike(self, pool: Pool, veto: Strike, found: Found) -> None:
        """Let a veto strike a choice."""
        pool.strike(veto._replace(chosen=struck_of(found, self.reused)))

    def lacks(self, pool: Pool, low: Moment, high_ms: int) -> tuple[str, ...]:
        return tuple([path for member in self.members for path in member.lacks(pool, low, high_ms)])


class AllSearch(Group):
    """Looks for all members together."""

    vetoes: tuple[Veto, ...] = ()
    clauses: tuple[Clause, ...] = ()
    compared: frozenset[str] = frozenset()
    needed: frozenset[str] = frozenset()
    """The leaves among the members, without which there is nothing to look for."""

    def find(self, pool: Pool, low: Moment, high_ms: int) -> Found | None:
        return super().find(pool, low, high_ms) if self.needed <= pool.by_leaf.keys() else None

    def gather(self, pool: Pool, low: Moment, high_ms: int) -> Found | None:
        if self.clauses:
            fit = Fitting(pool, self.members, self.clauses, self.compared, high_ms).first([], low)
            found = None if fit is None else self.hold(pool, fit)
            if found is None or not found.is_fresh:
                give_up(pool, self.leaves)
            return found
        parts: list[Found] = []
        for member in self.members:
            part = member.find(pool, low, high_ms)
            if part is None:
                return None
            parts.append(part)
        return self.hold(pool, parts)

    def settle(self, pool: Pool, found: Found, low: Moment, high_ms: int) -> Found | None:
        if not self.vetoes:
            return found
        end_ms = None if self.within_ms is None else found.first_ms + self.within_ms
        if end_ms is not None and any(veto.last_ms is None for veto in self.vetoes):
            found = grown(self.growing, pool, found, (end_ms, ALWAYS))
        is_pending = False
        for veto in self.vetoes:
            if veto.last_ms is not None:
                strike = veto.in_span(pool, (found.last[0] - veto.last_ms, -1), found.last[0])
            elif end_ms is None:
                strike = veto.in_span(pool, low, high_ms)
            else:
                strike = veto.in_span(pool, (found.first_ms, -1), end_ms)
                is_pending = True
            if strike is not None:
                self.strike(pool, strike, found)
                return None
        if not is_pending or end_ms is None:
            return found
        if pool.watermark_ms < end_ms + self.grace_ms:
            pool.wait(end_ms + self.grace_ms)
            return None
        return replace(found, last=(end_ms, ALWAYS))


class AtInstant(Single):
    """Looks for all members of a group between two instants of a schedule."""

    def __init__(self, group: AllSearch, vetoes: tuple[Veto, ...], leaf: str, schedule: Schedule) -> None:
        """``group`` has none of the group's vetoes; ``leaf`` is the schedule's."""
        self.group = group
        self.vetoes = vetoes
        self.leaf = leaf
        self.schedule = schedule

    def find(self, pool: Pool, low: Moment, high_ms: int) -> Found | None:
        covered_ms: int | None = None
        for start_ms in pool.starts(self.group.leaves, low, high_ms):
            if covered_ms is not None and start_ms <= covered_ms:
                continue
            nominal_ms = after(self.schedule, start_ms - 1)
            if nominal_ms is None:
                return None
            covered_ms = nominal_ms
            found = self.group.find(pool, max(low, (start_ms, -1)), min(high_ms, nominal_ms))
            if pool.struck:
                return None
            if found is not None and found.is_fresh:
                return self._settle(pool, found, nominal_ms)
        return None

    def _settle(self, pool: Pool, found: Found, nominal_ms: int) -> Found | None:
        due_ms = nominal_ms + self.group.grace_ms
        if pool.watermark_ms < due_ms:
            pool.wait(due_ms)
            return None
        found = grown(self.group.growing, pool, found, (nominal_ms, ALWAYS))
        strike = veto_between(pool, self.vetoes, self.schedule, nominal_ms)
        if strike is not None:
            self.group.strike(pool, strike, found)
            return None
        chosen: Chosen = (self.leaf, nominal_occurrence(self.leaf, nominal_ms))
        return replace(found, chosen=(*found.chosen, chosen), last=(nominal_ms, NO_POSITION), nominal_ms=nominal_ms)

    def lacks(self, pool: Pool, low: Moment, high_ms: int) -> tuple[str, ...]:
        return self.group.lacks(pool, low, high_ms)


class AtLeastSearch(Group):
    """Looks for a number of members."""

    count: int = 1

    def gather(self, pool: Pool, low: Moment, high_ms: int) -> Found | None:
        parts = [found for member in self.members if (found := member.find(pool, low, high_ms)) is not None]
        return self.hold(pool, parts) if len(parts) >= self.count else None

    def lacks(self, pool: Pool, low: Moment, high_ms: int) -> tuple[str, ...]:
        lacking = [lack for member in self.members if (lack := member.lacks(pool, low, high_ms))]
        more = self.count - (len(self.members) - len(lacking))
        return () if more <= 0 else (f"{more} of " + ", ".join(" and ".join(each) for each in lacking),)


def grown(members: tuple[Search, ...], pool: Pool, found: Found, limit: Moment) -> Found:
    """``found`` with what more ``members`` may take of what comes before ``limit``."""
    for member in members:
        found = member.grow(pool, found, limit)
    return found


def struck_of(found: Found, reused: frozenset[str]) -> tuple[Chosen, ...]:
    """Whom of a choice a veto strikes: what is reused only where there is nothing else."""
    return tuple([chosen for chosen in found.chosen if chosen[0] not in reused]) or found.chosen


def veto_between(pool: Pool, vetoes: tuple[Veto, ...], schedule: Schedule, nominal_ms: int) -> Strike | None:
    """The first veto between an instant and the one before it, or as far back as the veto looks."""
    before_ms = before(schedule, nominal_ms)
    start_ms = -(2**63) if before_ms is None else before_ms + 1
    for veto in vetoes:
        low_ms = start_ms if veto.last_ms is None else nominal_ms - veto.last_ms
        strike = veto.in_span(pool, (low_ms, -1), nominal_ms)
        if strike is not None:
            return strike
    return None


def _only(found: Found | None) -> Iterator[Found]:
    return iter(() if found is None else (found,))


def _rank(found: Found) -> tuple[bool, Moment]:
    """The least is taken: what has something new in it, and then what came to hold first."""
    return not found.is_fresh, found.last


def _span(found: Found) -> int:
    return found.last[0] - found.first_ms
