"""The occurrences of a key as a search sees them: by leaf, in order, with a place for what the search finds out.

Rules:
1. The occurrences of a leaf are in the order of ``(time_ms, at)``: by their own instants, those of one instant in the
   order of their arrival. How they came to be kept does not matter to a search.
2. A search changes nothing in a pool but what it found out: ``struck`` is of no use any more, with the reason, and
   ``wake_ms`` is the least watermark at which it would find something else. Besides it counts what it has looked at.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Hashable, Iterable
from operator import attrgetter
from typing import Final, NamedTuple, TypeAlias

import msgspec
import orjson

from stream_triggers.core.filter import index_key
from stream_triggers.core.invocation import Reason
from stream_triggers.core.keyed.state import USED, Moment, Occurrence
from stream_triggers.core.message import JsonValue

Chosen: TypeAlias = tuple[str, Occurrence]
"""A leaf and the occurrence of it that takes part."""

ALWAYS: Final = 2**63 - 1
"""Beyond every instant and every position."""

START: Final[Moment] = (-(2**63), -1)
"""Before every occurrence."""

_TIME = attrgetter("time_ms")
_MOMENT = attrgetter("time_ms", "at")  # in one call, which the property is not


class Found(msgspec.Struct, frozen=True, gc=False):
    """Occurrences that satisfy a node: who takes part for which leaf, from when to when, in the order of choice.

    ``last`` is the moment at which it came to hold. ``is_fresh``: one of them has not been in a run before.
    """

    chosen: tuple[Chosen, ...]
    first_ms: int
    last: Moment
    is_fresh: bool
    nominal_ms: int | None = None


class Strike(NamedTuple):
    """Occurrences that their leaves have no use for any more, and why; ``others`` had a part in it."""

    reason: Reason
    detail: str
    chosen: tuple[Chosen, ...]
    others: tuple[Chosen, ...] = ()


class Pool:
    """The kept occurrences of one key at one watermark."""

    __slots__ = ("by_leaf", "is_spent", "looks", "losses", "struck", "wake_ms", "watermark_ms")

    def __init__(self, occurrences: Iterable[Occurrence], watermark_ms: int) -> None:
        self.watermark_ms = watermark_ms
        self.by_leaf: dict[str, list[Occurrence]] = {}
        self.struck: list[Strike] = []
        self.losses = 1
        """How many occurrences the next search goes without that has too many to look through."""
        self.begin()
        self.add(occurrences)

    def begin(self) -> None:
        """Begin a search."""
        self.wake_ms: int | None = None
        self.looks = 0
        self.is_spent = False

    def look(self, most: int) -> bool:
        """Note that comparisons look at one more candidate; gives whether they may."""
        self.looks += 1
        self.is_spent = self.looks > most
        return not self.is_spent

    def add(self, occurrences: Iterable[Occurrence]) -> None:
        """Add occurrences to their leaves."""
        by_leaf = self.by_leaf
        for occurrence in occurrences:
            for leaf in occurrence.leaves:
                listed = by_leaf.get(leaf)
                if listed is None:
                    by_leaf[leaf] = [occurrence]
                elif listed[-1].time_ms < occurrence.time_ms or listed[-1].moment < occurrence.moment:
                    listed.append(occurrence)
                else:
                    insort(listed, occurrence, key=_MOMENT)

    def between(self, leaf: str, low: Moment, high_ms: int) -> list[Occurrence]:
        """The occurrences of a leaf after ``low`` and until ``high_ms``; not to be changed."""
        listed = self.by_leaf.get(leaf)
        if listed is None:
            return []
        if listed[0].moment > low and listed[-1].time_ms <= high_ms:
            return listed
        start = bisect_right(listed, low, key=_MOMENT)
        return listed[start : bisect_right(listed, high_ms, lo=start, key=_TIME)]

    def starts(self, leaves: Iterable[str], low: Moment, high_ms: int) -> list[int]:
        """The instants at which something of ``leaves`` happened after ``low`` and until ``high_ms``, in order."""
        return sorted({each.time_ms for leaf in leaves for each in self.between(leaf, low, high_ms)})

    def drop(self, leaf: str, occurrence: Occurrence) -> None:
        """Take an occurrence from a leaf, if it is there."""
        listed = self.by_leaf.get(leaf, [])
        index = bisect_left(listed, occurrence.moment, key=_MOMENT) if len(listed) > 1 else 0
        if index < len(listed) and listed[index].at == occurrence.at:
            if len(listed) == 1:
                del self.by_leaf[leaf]
            else:
                del listed[index]

    def replace(self, old: Occurrence, new: Occurrence) -> None:
        """Put ``new`` in the place of ``old``, which has the same moment and leaves."""
        for leaf in old.leaves:
            listed = self.by_leaf.get(leaf, [])
            index = bisect_left(listed, old.moment, key=_MOMENT)
            if index < len(listed) and listed[index].at == old.at:
                listed[index] = new

    def wait(self, until_ms: int) -> None:
        """Note that something will be decided when the watermark comes to ``until_ms``."""
        if self.wake_ms is None or until_ms < self.wake_ms:
            self.wake_ms = until_ms

    def strike(self, strike: Strike) -> None:
        """Note that occurrences are of no use any more."""
        self.struck.append(strike)


def in_order(occurrences: Iterable[Occurrence]) -> tuple[Occurrence, ...]:
    """Occurrences in their own order."""
    return tuple(sorted(occurrences, key=_MOMENT))


def value_key(value: JsonValue) -> Hashable:
    """What two values have in common exactly when they are equal by JSON type."""
    if isinstance(value, dict | list):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return index_key(value)


def found_one(leaf: str, occurrence: Occurrence) -> Found:
    """One occurrence as what satisfies its leaf."""
    time_ms = occurrence.time_ms
    return Found(((leaf, occurrence),), time_ms, (time_ms, occurrence.at), occurrence.fate != USED)


def _both(one: Found, other: Found) -> Found:
    """The most frequent of all, written out."""
    return Found(
        one.chosen + other.chosen,
        one.first_ms if one.first_ms < other.first_ms else other.first_ms,
        one.last if one.last > other.last else other.last,
        one.is_fresh or other.is_fresh,
        other.nominal_ms if one.nominal_ms is None else one.nominal_ms,
    )


def joined(parts: list[Found]) -> Found:
    """What satisfies a node of several members, all of which must hold."""
    if len(parts) == 1:
        return parts[0]
    if len(parts) == 2:
        return _both(*parts)
    return Found(
        chosen=tuple([chosen for part in parts for chosen in part.chosen]),
        first_ms=min([part.first_ms for part in parts]),
        last=max([part.last for part in parts]),
        is_fresh=any(part.is_fresh for part in parts),
        nominal_ms=next((part.nominal_ms for part in parts if part.nominal_ms is not None), None),
    )
