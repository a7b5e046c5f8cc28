"""Gates that only count: how long a chain is, how often one first cause fires, how many pass in a window.

``max_depth``:
1. A run that would be deeper in its chain of causes than ``max_depth`` is refused as ``too_deep``. A run is one deeper
   than the deepest of its occurrences; a message that nothing caused has depth 0.

``root_budget``:
2. Runs are counted for each first cause (``root``) of their occurrences, in a window that opens with the first of them
   and lasts ``per``. A match is refused as ``over_budget`` when one of its roots has had ``max``; then it counts for
   none of them. An occurrence that nothing caused has no root to count for.
3. ``ROOTS_MAX`` roots are counted; beyond, the one with the fewest runs is forgotten, the one that began first among
   those: a loop is what has many.

``rate_limit``:
4. A window opens with a match when none is open and lasts ``per``, its end excluded. Its first ``max`` matches pass,
   the rest are refused as ``rate_limited``. So more than ``max`` never pass in one window, nor more than twice that in
   any span of ``per``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stream_triggers.core.duration import duration_text
from stream_triggers.core.flow.settings import Rate
from stream_triggers.core.keyed.gates.gate import Memory, Passage, Refused, Window
from stream_triggers.core.keyed.state import Match

ROOTS_MAX = 100
"""Most first causes that are counted for one key."""


@dataclass(frozen=True, slots=True)
class DepthGate:
    """Refuses runs that are too deep in their chain; remembers nothing."""

    most: int

    name: ClassVar[str] = "max_depth"
    memory_type: ClassVar[type[Memory]] = Memory

    def on_time(self, memory: Memory, now_ms: int) -> Passage[Memory]:
        return Passage(None)

    def on_match(self, memory: Memory | None, match: Match, now_ms: int) -> Passage[Memory]:
        depth = depth_of(match) + 1
        if depth <= self.most:
            return Passage(None, (match,))
        detail = f"this run would be {depth} deep in its chain of causes, max_depth is {self.most}"
        return Passage(None, (), (Refused("too_deep", detail, match),))

    def wake_ms(self, memory: Memory) -> int | None:
        return None


class Roots(Memory, frozen=True):
    """The window of each root."""

    windows: dict[str, Window]


@dataclass(frozen=True, slots=True)
class RootBudgetGate:
    """Refuses runs of a first cause that had too many."""

    rate: Rate

    name: ClassVar[str] = "root_budget"
    memory_type: ClassVar[type[Roots]] = Roots

    def on_time(self, memory: Roots, now_ms: int) -> Passage[Roots]:
        windows = {
            root: window for root, window in memory.windows.items() if now_ms < window.start_ms + self.rate.per_ms
        }
        return Passage(Roots(windows) if windows else None)

    def on_match(self, memory: Roots | None, match: Match, now_ms: int) -> Passage[Roots]:
        windows = dict(memory.windows) if memory else {}
        for root in roots_of(match):
            window = windows.get(root, Window(now_ms, 0))
            if window.count >= self.rate.max:
                detail = f"root {root} had {_of(self.rate)}"
                return Passage(memory, (), (Refused("over_budget", detail, match),))
            windows[root] = Window(window.start_ms, window.count + 1)
        while len(windows) > ROOTS_MAX:
            del windows[min(windows, key=lambda root: (windows[root].count, windows[root].start_ms, root))]
        return Passage(Roots(windows) if windows else None, (match,))

    def wake_ms(self, memory: Roots) -> int | None:
        return min(window.start_ms for window in memory.windows.values()) + self.rate.per_ms


class Counted(Memory, frozen=True):
    """The window that is open."""

    window: Window


@dataclass(frozen=True, slots=True)
class RateLimitGate:
    """Refuses all but the first of a window."""

    rate: Rate

    name: ClassVar[str] = "rate_limit"
    memory_type: ClassVar[type[Counted]] = Counted

    def on_time(self, memory: Counted, now_ms: int) -> Passage[Counted]:
        return Passage(memory if now_ms < self.wake_ms(memory) else None)

    def on_match(self, memory: Counted | None, match: Match, now_ms: int) -> Passage[Counted]:
        window = memory.window if memory else Window(now_ms, 0)
        if window.count >= self.rate.max:
            return Passage(memory, (), (Refused("rate_limited", f"there were {_of(self.rate)}", match),))
        return Passage(Counted(Window(window.start_ms, window.count + 1)), (match,))

    def wake_ms(self, memory: Counted) -> int:
        return memory.window.start_ms + self.rate.per_ms


def depth_of(match: Match) -> int:
    """How deep the deepest occurrence of ``match`` is in its chain of causes."""
    return max((occurrence.depth for occurrence in match.occurrences), default=0)


def roots_of(match: Match) -> tuple[str, ...]:
    """The first causes of the occurrences of ``match`` that something caused, each once, sorted."""
    return tuple(sorted({each.root for each in match.occurrences if each.root is not None and each.root != each.id}))


def _of(rate: Rate) -> str:
    return f"{rate.max} in {duration_text(rate.per_ms)}"
