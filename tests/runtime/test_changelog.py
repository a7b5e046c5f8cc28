"""Claims as changelog records: their bytes, back to claims, and how far a store has come with them."""

from __future__ import annotations

from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_triggers.errors import Corrupt
from stream_triggers.runtime import changelog
from stream_triggers.runtime.changelog import RUN_IDS_PER_RECORD_MAX, ClaimsRecord
from stream_triggers.runtime.claims import Claims, claim_prefix
from stream_triggers.runtime.clock import ManualClock
from stream_triggers.runtime.log import Outgoing, TopicPartition, TopicSpec
from stream_triggers.runtime.memory_log import Entry, MemoryCluster
from stream_triggers.runtime.store import Changes, MemoryStore

RUN, OTHER_RUN = b"r" * 16, b"s" * 16
EVENTS_0, EVENTS_1 = TopicPartition("events", 0), TopicPartition("events", 1)
CHANGELOG_0, CHANGELOG_1 = TopicPartition("changelog", 0), TopicPartition("changelog", 1)
RETENTION_MS = 300


def written(*records: Outgoing) -> list[Entry]:
    """``records`` as they are read back."""
    cluster = MemoryCluster(ManualClock())
    cluster.create_topics([TopicSpec("changelog", 2, {})])
    cluster.write("changelog", records)
    return cluster.records("changelog")


def read_back(value: bytes | None) -> ClaimsRecord:
    return changelog.parse(written(Outgoing(key=b"k", value=value, partition=0))[0])


def test_a_transaction_writes_one_record_for_each_input_partition() -> None:
    records = list(changelog.records(258, 7, [RUN, OTHER_RUN], partition=1))
    value = bytes.fromhex("01 0000000000000007") + RUN + OTHER_RUN
    assert records == [
        {
            "key": bytes.fromhex("0000000000000102 0000") + blake2b(value, digest_size=8).digest(),
            "value": value,
            "partition": 1,
        }
    ]


def test_no_claims_make_no_record() -> None:
    assert list(changelog.records(1, 7, [], partition=0)) == []


def test_other_claims_at_the_same_position_have_another_key_so_that_compaction_keeps_both() -> None:
    (one,), (other,) = (changelog.records(1, 7, [run], partition=0) for run in (RUN, OTHER_RUN))
    assert one["key"] != other["key"]


def test_so_have_the_same_claims_once_they_were_forgotten_and_taken_again() -> None:
    (one,), (again,) = (changelog.records(1, segment, [RUN], partition=0) for segment in (7, 8))
    assert one["key"] != again["key"]


def test_very_many_claims_make_several_records_under_different_keys() -> None:
    run_ids = [number.to_bytes(16, "big") for number in range(RUN_IDS_PER_RECORD_MAX + 1)]
    first, second = changelog.records(1, 7, run_ids, partition=0)
    assert [(each["key"] or b"")[:10] for each in (first, second)] == [b"\0" * 7 + b"\1\0\0", b"\0" * 7 + b"\1\0\1"]
    assert len(first["value"] or b"") == 9 + 512 * 1024
    assert second["value"] == b"\1" + (7).to_bytes(8, "big") + run_ids[-1]


@given(segment=st.integers(0, 2**63), run_ids=st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=5))
def test_a_record_is_read_back_as_it_was_written(segment: int, run_ids: list[bytes]) -> None:
    (record,) = changelog.records(1, segment, run_ids, partition=0)
    assert read_back(record["value"]) == ClaimsRecord(segment, b"".join(run_ids))


def test_a_record_of_a_newer_release_is_refused() -> None:
    with pytest.raises(Corrupt) as caught:
        read_back(b"\2" + bytes(8) + RUN)
    assert caught.value.message == "changelog/0 at offset 0 has claims format 2, this release reads up to 1"
    assert caught.value.hint == "a newer release has written here: run that release, or a later one"


@pytest.mark.parametrize(
    "value",
    [None, b"", b"\0" + bytes(8) + RUN, b"\1" + bytes(7), b"\1" + bytes(8) + RUN[:-1], b"\1" + bytes(8) + RUN + b"x"],
    ids=["no value", "empty", "format 0", "cut in the segment", "cut in a run id", "too long"],
)
def test_what_is_no_claims_record_is_refused(value: bytes | None) -> None:
    with pytest.raises(Corrupt) as caught:
        read_back(value)
    assert caught.value.message == "changelog/0 at offset 0 is not a claims record"


def test_records_of_several_partitions_restore_the_claims_of_each() -> None:
    claims = Claims(MemoryStore(), RETENTION_MS)
    batch = written(
        *changelog.records(1, 7, [RUN], partition=0), *changelog.records(1, 8, [RUN, OTHER_RUN], partition=1)
    )
    changes = changelog.restored(claims, {CHANGELOG_0: EVENTS_0, CHANGELOG_1: EVENTS_1}, batch, now_ms=800)
    assert changes.puts == [
        ("claims-000000000007", claim_prefix(EVENTS_0) + RUN, b""),
        ("claims-000000000008", claim_prefix(EVENTS_1) + RUN, b""),
        ("claims-000000000008", claim_prefix(EVENTS_1) + OTHER_RUN, b""),
    ]


def test_claims_older_than_the_retention_are_not_restored() -> None:
    claims = Claims(MemoryStore(), RETENTION_MS)
    batch = written(*changelog.records(1, 7, [RUN], partition=0), *changelog.records(2, 8, [OTHER_RUN], partition=0))
    changes = changelog.restored(claims, {CHANGELOG_0: EVENTS_0}, batch, now_ms=800 + RETENTION_MS)
    assert changes.puts == [("claims-000000000008", claim_prefix(EVENTS_0) + OTHER_RUN, b"")]


def test_positions_are_kept_in_the_store() -> None:
    store = MemoryStore()
    changes = Changes()
    changelog.write_positions(changes, {CHANGELOG_0: 258})
    store.apply(changes)
    assert list(store.scan(changelog.POSITIONS, b"", b"~")) == [(b"changelog/0", bytes.fromhex("0000000000000102"))]
    assert changelog.read_positions(store, [CHANGELOG_0, CHANGELOG_1]) == {CHANGELOG_0: 258}


# A store, and the changelogs it was filled from


def filled(topic_ids: dict[str, str]) -> MemoryStore:
    """A store that holds a claim and a position of these topics."""
    store = MemoryStore()
    changelog.forget_other_changelogs(store, topic_ids)
    changes = Changes(puts=[("claims-000000000007", claim_prefix(EVENTS_0) + RUN, b"")])
    changelog.write_positions(changes, {CHANGELOG_0: 1})
    store.apply(changes)
    return store


def test_a_store_keeps_what_came_from_the_same_changelogs() -> None:
    store = filled({"a": "1", "b": "2"})
    changelog.forget_other_changelogs(store, {"b": "2", "a": "1"})
    assert store.columns() == {"claims-000000000007", changelog.POSITIONS, changelog.SOURCE}


@pytest.mark.parametrize("topic_ids", [{"a": "1", "b": "3"}, {"a": "1"}, {"a": "2", "b": "1"}])
def test_a_store_forgets_what_came_from_others(topic_ids: dict[str, str]) -> None:
    store = filled({"a": "1", "b": "2"})
    changelog.forget_other_changelogs(store, topic_ids)
    assert store.columns() == {changelog.SOURCE}
    assert changelog.read_positions(store, [CHANGELOG_0]) == {}


def test_a_store_of_another_layout_is_filled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled({"a": "1"})
    monkeypatch.setattr(changelog, "LAYOUT", changelog.LAYOUT + 1)
    changelog.forget_other_changelogs(store, {"a": "1"})
    assert store.columns() == {changelog.SOURCE}
