"""Gates that let matches through later: throttle and delay.

``throttle``:
1. A bucket holds up to ``burst`` tokens, at first all of them, and gains ``max`` in every ``per``, evenly. A match
   takes one token to pass. So in any span no more pass than ``burst`` and what the span gains, however late a tick is.
2. A match that finds no token waits, behind those that wait already. With ``max_queue`` waiting, or as many as may be
   held, the next is refused as ``queue_full``.
3. What has waited longer than ``max_age`` is refused as ``expired`` and never passes, though a token may have been
   there for it at an instant at which nobody looked.
4. What waits and has expired is refused as ``expired`` and takes no token.
5. Tokens are counted in shares of which one token has ``per`` (in milliseconds) and of which a millisecond brings
   ``max``: integers, so nothing is lost by looking often.

``delay``:
6. A match passes ``delay`` after it came. With as many waiting as may be held, the next is refused as ``queue_full``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stream_triggers.core.duration import duration_text
from stream_triggers.core.flow.settings import Throttle
from stream_triggers.core.keyed.gates.gate import (
    Memory,
    Passage,
    Queue,
    Waiting,
    first_expiry_ms,
    has_expired,
    is_full,
    queue_full,
    queued,
    refused,
    size_bytes,
    too_late,
)
from stream_triggers.core.keyed.state import Match


class Bucket(Memory, frozen=True):
    """The shares of tokens in the bucket at an instant, and what waits for more."""

    shares: int
    at_ms: int
    waiting: tuple[Waiting, ...] = ()

    def holding(self) -> tuple[Match, ...]:
        return tuple(each.match for each in self.waiting)


@dataclass(frozen=True, slots=True)
class ThrottleGate:
    """Spreads matches over time; ``expires_ms`` is what the trigger says of its runs."""

    setting: Throttle
    expires_ms: int | None = None

    name: ClassVar[str] = "throttle"
    memory_type: ClassVar[type[Bucket]] = Bucket

    def on_time(self, memory: Bucket, now_ms: int) -> Passage[Bucket]:
        now_ms = max(now_ms, memory.at_ms)
        token = self.setting.rate.per_ms
        shares = min(self._full(), memory.shares + (now_ms - memory.at_ms) * self.setting.rate.max)
        old, rest = self._split_old(memory.waiting, now_ms)
        late = too_late(tuple(each.match for each in rest), self.expires_ms, now_ms)
        waiting = tuple(each for each in rest if not has_expired(each.match, self.expires_ms, now_ms))
        passing = min(len(waiting), shares // token)
        released, rest = waiting[:passing], waiting[passing:]
        left = Bucket(shares - passing * token, now_ms, rest)
        return Passage(
            left if rest or left.shares < self._full() else None,
            tuple(each.match for each in released),
            refused("expired", self._too_old(), tuple(each.match for each in old)) + late,
        )

    def on_match(self, memory: Bucket | None, match: Match, now_ms: int) -> Passage[Bucket]:
        if late := too_late((match,), self.expires_ms, now_ms):
            return Passage(memory, (), late)
        bucket = memory or Bucket(self._full(), now_ms)
        token = self.setting.rate.per_ms
        if not bucket.waiting and bucket.shares >= token:
            return Passage(Bucket(bucket.shares - token, bucket.at_ms), (match,))
        held = bucket.holding()
        if is_full(held, self.setting.max_queue):
            return Passage(bucket, (), queue_full(self.name, held, match))
        return Passage(Bucket(bucket.shares, bucket.at_ms, (*bucket.waiting, Waiting(match, bucket.at_ms))))

    def wake_ms(self, memory: Bucket) -> int:
        wanted = self.setting.rate.per_ms if memory.waiting else self._full()
        gained_ms = memory.at_ms + _ceil(max(0, wanted - memory.shares), self.setting.rate.max)
        if memory.waiting and self.setting.max_age_ms is not None:
            gained_ms = min(gained_ms, memory.waiting[0].since_ms + self.setting.max_age_ms + 1)
        return first_expiry_ms(memory.holding(), self.expires_ms, gained_ms)

    def _full(self) -> int:
        return self.setting.burst * self.setting.rate.per_ms

    def _split_old(self, waiting: tuple[Waiting, ...], now_ms: int) -> tuple[tuple[Waiting, ...], tuple[Waiting, ...]]:
        if self.setting.max_age_ms is None:
            return (), waiting
        kept_from_ms = now_ms - self.setting.max_age_ms
        old = sum(each.since_ms < kept_from_ms for each in waiting)  # they are in order, the old ones first
        return waiting[:old], waiting[old:]

    def _too_old(self) -> str:
        return f"it waited longer than max_age, {duration_text(self.setting.max_age_ms or 0)}"


@dataclass(frozen=True, slots=True)
class DelayGate:
    """Lets every match pass the same time after it came."""

    delay_ms: int

    name: ClassVar[str] = "delay"
    memory_type: ClassVar[type[Queue]] = Queue

    def on_time(self, memory: Queue, now_ms: int) -> Passage[Queue]:
        due = sum(each.since_ms + self.delay_ms <= now_ms for each in memory.waiting)  # in order, the due ones first
        rest, released = memory.waiting[due:], tuple(each.match for each in memory.waiting[:due])
        left_bytes = max(0, memory.size_bytes - sum(map(size_bytes, released)))
        return Passage(Queue(rest, left_bytes) if rest else None, released)

    def on_match(self, memory: Queue | None, match: Match, now_ms: int) -> Passage[Queue]:
        return queued(self.name, memory, match, now_ms)

    def wake_ms(self, memory: Queue) -> int:
        return memory.waiting[0].since_ms + self.delay_ms


def _ceil(shares: int, gain: int) -> int:
    return -(-shares // gain)
