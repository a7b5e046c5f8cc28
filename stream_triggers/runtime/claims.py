"""Claims: which run ids have been taken, so that one occurrence makes one run however often it arrives.

Rules:
1. A claim belongs to one input partition: a repeat of a message is looked for where its key leads it, and nowhere else.
2. Claims of an open transaction live in an overlay; they reach the store only after the log has committed them.
3. A claim is a fact: once committed it never changes. Applying one twice, or late, does no harm.
4. Claims are kept in segments of time, one store column each, so that forgetting the old ones drops whole columns.
   A segment is chosen by the clock of the worker that claims, never by a sender's: a wrong clock in one message
   must not make others be forgotten. A claim is kept for at least ``retention_ms``, at most a segment longer.

A column holds ``partition prefix + run id -> b""``; the prefix is a hash of topic and partition, 8 bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from hashlib import blake2b

from stream_triggers.core.invocation import RUN_ID_BYTES
from stream_triggers.runtime.log import TopicPartition
from stream_triggers.runtime.store import Changes, Store

SEGMENTS_PER_RETENTION = 3
"""More segments forget more exactly, and cost one lookup each for every new claim."""

CLAIM_BYTES = 250
"""What one claim of an open transaction costs in memory, measured: 90 to 120 in the overlay, 220 to 255 for a moment in
its commit, which lists it for the changelog and for the store."""

_COLUMN = "claims-"
_PREFIX_BYTES = 8


def claim_prefix(partition: TopicPartition) -> bytes:
    """What the claims of one input partition start with in the store."""
    return blake2b(str(partition).encode(), digest_size=_PREFIX_BYTES, person=b"claims-v1").digest()


class Claims:
    """The claims of all partitions of one worker."""

    def __init__(self, store: Store, retention_ms: int) -> None:
        self._store = store
        self._retention_ms = retention_ms
        self._segment_ms = max(1, retention_ms // SEGMENTS_PER_RETENTION)
        self._overlay: dict[bytes, TopicPartition] = {}
        self._columns = sorted((c for c in store.columns() if c.startswith(_COLUMN)), reverse=True)

    def taken(self, keys: Sequence[bytes]) -> list[bool]:
        """For each ``claim_prefix + run id``: whether it is taken already, in the store or by the open transaction."""
        overlay = self._overlay
        answers = [key in overlay for key in keys]
        for column in self._columns:
            stored = self._store.get_many(column, keys)
            if stored.count(None) < len(stored):  # seldom: nearly all are new
                answers = [answer or value is not None for answer, value in zip(answers, stored, strict=True)]
        return answers

    def is_pending(self, key: bytes) -> bool:
        """Whether the open transaction has claimed ``key``."""
        return key in self._overlay

    def take(self, key: bytes, partition: TopicPartition) -> None:
        """Claim ``key``, which nobody has, in the open transaction."""
        self._overlay[key] = partition

    @property
    def overlay_bytes(self) -> int:
        """Memory that the open transaction's claims take, roughly."""
        return len(self._overlay) * CLAIM_BYTES

    def pending(self) -> dict[TopicPartition, list[bytes]]:
        """The run ids that the open transaction has claimed, by input partition, in the order of claiming."""
        claimed: dict[TopicPartition, list[bytes]] = defaultdict(list)
        for key, partition in self._overlay.items():
            claimed[partition].append(key[_PREFIX_BYTES:])
        return dict(claimed)

    def settle(self, segment: int) -> Changes:
        """What the committed transaction changes in the store; its claims are no longer pending."""
        column = self._column(segment)
        # In order of the keys, which takes the store a little more than half the time.
        changes = Changes(puts=[(column, key, b"") for key in sorted(self._overlay)])
        self._overlay.clear()
        return changes

    def drop_pending(self) -> None:
        """Forget what the open transaction has claimed: it is aborted."""
        self._overlay.clear()

    def restored(self, partition: TopicPartition, segment: int, run_ids: bytes) -> Changes:
        """What one changelog record, ``run_ids`` side by side, changes in the store."""
        prefix, column = claim_prefix(partition), self._column(segment)
        starts = range(0, len(run_ids), RUN_ID_BYTES)
        return Changes(puts=[(column, prefix + run_ids[start : start + RUN_ID_BYTES], b"") for start in starts])

    def segment_at(self, now_ms: int) -> int:
        """The segment that claims made at ``now_ms`` belong to."""
        return now_ms // self._segment_ms

    def is_expired(self, segment: int, now_ms: int) -> bool:
        """Whether every claim of ``segment`` is older than the retention."""
        return (segment + 1) * self._segment_ms + self._retention_ms <= now_ms

    def expire(self, now_ms: int) -> None:
        """Drop the segments whose claims are all older than the retention."""
        for column in [c for c in self._columns if self.is_expired(int(c.removeprefix(_COLUMN)), now_ms)]:
            self._store.drop(column)
            self._columns.remove(column)

    def _column(self, segment: int) -> str:
        column = f"{_COLUMN}{segment:012d}"
        if column not in self._columns:
            self._columns = sorted([*self._columns, column], reverse=True)
        return column
