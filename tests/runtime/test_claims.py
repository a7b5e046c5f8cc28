"""Claims: taken once, for one input partition, from the overlay to the store, and forgotten by whole segments."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_triggers.runtime.claims import SEGMENTS_PER_RETENTION, Claims, claim_prefix
from stream_triggers.runtime.log import TopicPartition
from stream_triggers.runtime.store import MemoryStore

RETENTION_MS = 300
SEGMENT_MS = 100
EVENTS_0, EVENTS_1 = TopicPartition("events", 0), TopicPartition("events", 1)
RUN, OTHER_RUN = b"r" * 16, b"s" * 16


def claim(run_id: bytes, partition: TopicPartition = EVENTS_0) -> bytes:
    return claim_prefix(partition) + run_id


def commit(claims: Claims, store: MemoryStore, now_ms: int) -> None:
    store.apply(claims.settle(claims.segment_at(now_ms)))


def claimed(now_ms: int) -> tuple[Claims, MemoryStore]:
    """Claims of which ``RUN`` was committed at ``now_ms``."""
    store = MemoryStore()
    claims = Claims(store, RETENTION_MS)
    claims.take(claim(RUN), EVENTS_0)
    commit(claims, store, now_ms)
    return claims, store


def test_a_run_id_is_free_until_it_is_claimed() -> None:
    claims = Claims(MemoryStore(), RETENTION_MS)
    assert claims.taken([claim(RUN)]) == [False]
    assert not claims.is_pending(claim(RUN))


def test_what_the_open_transaction_has_claimed_is_taken() -> None:
    claims = Claims(MemoryStore(), RETENTION_MS)
    claims.take(claim(RUN), EVENTS_0)
    assert claims.taken([claim(OTHER_RUN), claim(RUN)]) == [False, True]
    assert claims.is_pending(claim(RUN))


def test_what_an_aborted_transaction_has_claimed_is_free_again() -> None:
    claims = Claims(MemoryStore(), RETENTION_MS)
    claims.take(claim(RUN), EVENTS_0)
    claims.drop_pending()
    assert claims.taken([claim(RUN)]) == [False]
    assert claims.pending() == {}


def test_nothing_is_in_the_store_before_it_is_settled() -> None:
    store = MemoryStore()
    claims = Claims(store, RETENTION_MS)
    claims.take(claim(RUN), EVENTS_0)
    assert store.columns() == frozenset()


def test_a_committed_claim_is_taken_and_no_longer_pending() -> None:
    claims, _ = claimed(now_ms=0)
    assert claims.taken([claim(RUN), claim(OTHER_RUN)]) == [True, False]
    assert claims.pending() == {}


def test_a_claim_of_one_partition_is_free_in_another() -> None:
    claims, _ = claimed(now_ms=0)
    assert claims.taken([claim(RUN, EVENTS_1)]) == [False]


def test_a_restart_knows_the_claims_of_the_store() -> None:
    _, store = claimed(now_ms=0)
    assert Claims(store, RETENTION_MS).taken([claim(RUN)]) == [True]


def test_claims_of_several_segments_are_found() -> None:
    claims, store = claimed(now_ms=0)
    claims.take(claim(OTHER_RUN), EVENTS_0)
    commit(claims, store, now_ms=SEGMENT_MS)
    assert claims.taken([claim(RUN), claim(OTHER_RUN)]) == [True, True]
    assert store.columns() == {"claims-000000000000", "claims-000000000001"}


def test_pending_claims_are_told_by_partition_in_the_order_of_claiming() -> None:
    claims = Claims(MemoryStore(), RETENTION_MS)
    claims.take(claim(OTHER_RUN), EVENTS_0)
    claims.take(claim(RUN, EVENTS_1), EVENTS_1)
    claims.take(claim(RUN), EVENTS_0)
    assert claims.pending() == {EVENTS_0: [OTHER_RUN, RUN], EVENTS_1: [RUN]}


def test_the_overlay_is_counted_in_bytes() -> None:
    claims = Claims(MemoryStore(), RETENTION_MS)
    claims.take(claim(RUN), EVENTS_0)
    claims.take(claim(OTHER_RUN), EVENTS_0)
    assert claims.overlay_bytes == 500
    claims.drop_pending()
    assert claims.overlay_bytes == 0


def test_what_a_changelog_record_restores_is_what_was_settled() -> None:
    claims = Claims(MemoryStore(), RETENTION_MS)
    claims.take(claim(RUN), EVENTS_0)
    claims.take(claim(OTHER_RUN), EVENTS_0)
    settled = claims.settle(4)
    assert claims.restored(EVENTS_0, 4, RUN + OTHER_RUN).puts == settled.puts


def test_a_segment_is_dropped_as_a_whole_when_all_its_claims_are_older_than_the_retention() -> None:
    claims, store = claimed(now_ms=SEGMENT_MS - 1)
    claims.expire(SEGMENT_MS + RETENTION_MS - 1)
    assert claims.taken([claim(RUN)]) == [True]
    claims.expire(SEGMENT_MS + RETENTION_MS)
    assert claims.taken([claim(RUN)]) == [False]
    assert store.columns() == frozenset()


def test_younger_segments_stay() -> None:
    claims, store = claimed(now_ms=0)
    claims.take(claim(OTHER_RUN), EVENTS_0)
    commit(claims, store, now_ms=SEGMENT_MS)
    claims.expire(SEGMENT_MS + RETENTION_MS)
    assert claims.taken([claim(RUN), claim(OTHER_RUN)]) == [False, True]


@given(
    retention_ms=st.integers(60_000, 10**10),
    claimed_ms=st.integers(0, 2 * 10**12),
    age_ms=st.integers(0, 2 * 10**10),
)
def test_a_claim_is_kept_for_its_retention_and_at_most_a_segment_longer(
    retention_ms: int, claimed_ms: int, age_ms: int
) -> None:
    claims = Claims(MemoryStore(), retention_ms)
    is_forgotten = claims.is_expired(claims.segment_at(claimed_ms), claimed_ms + age_ms)
    if age_ms < retention_ms:
        assert not is_forgotten
    if age_ms >= retention_ms + retention_ms // SEGMENTS_PER_RETENTION:
        assert is_forgotten


def test_the_prefix_of_a_partition_never_changes() -> None:
    """Stores of earlier releases are written with it."""
    assert claim_prefix(EVENTS_0).hex() == "d4ae1c422de0e4d7"
    assert claim_prefix(EVENTS_1).hex() == "58eb3fbd4543cdcb"
