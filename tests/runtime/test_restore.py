"""Restore: where processing starts, what the store holds by then, and what is waited for."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from stream_triggers.errors import Corrupt, Misconfigured
from stream_triggers.runtime import changelog
from stream_triggers.runtime.changelog import ClaimsLog
from stream_triggers.runtime.claims import Claims, claim_prefix
from stream_triggers.runtime.log import Outgoing, TopicPartition
from stream_triggers.runtime.memory_log import Fault, MemoryProducer
from stream_triggers.runtime.restore import Restore
from stream_triggers.runtime.store import MemoryStore
from stream_triggers.telemetry import Counters
from tests.engine_bundle import EngineBundle
from tests.runtime.log_bundle import Participant

EVENTS_0, EVENTS_1, EVENTS_2, EVENTS_3 = (TopicPartition("events", number) for number in range(4))
CHANGELOG = "triggers-claims-events-changelog"
CHANGELOG_0, CHANGELOG_1 = TopicPartition(CHANGELOG, 0), TopicPartition(CHANGELOG, 1)
LOOK_AGAIN_MS = 10_000
RUN, OTHER_RUN = b"r" * 16, b"s" * 16


class Setting:
    """A group with one member, the changelogs of two partitions of events, and what restores them."""

    def __init__(self) -> None:
        self.bundle = EngineBundle(partitions=2)
        self.participant = Participant(self.bundle.log().member())
        self.participant.member.subscribe(["events"], self.participant)
        self.participant.step()
        self.store = MemoryStore()
        self.counters = Counters()
        self.restore = self.another_restore(self.store)

    def another_restore(self, store: MemoryStore) -> Restore:
        bundle = self.bundle
        claims = Claims(store, bundle.config.claim_retention_ms)
        tables = {CHANGELOG: ClaimsLog(claims, "events", bundle.clock)}
        return Restore(bundle.log(), self.participant.member, store, tables, bundle.clock, bundle.topics, self.counters)

    def write(self, *events: str, partition: int = 0) -> None:
        for event in events:
            self.bundle.write("events", event.encode(), partition=partition)

    def commit(self, next_offset: int, *run_ids: bytes, partition: int = 0) -> None:
        """What a worker commits that has read to ``next_offset``, where there are messages now."""
        producer = self.begin(next_offset, *run_ids, partition=partition)
        producer.commit()

    def begin(self, next_offset: int, *run_ids: bytes, partition: int = 0) -> MemoryProducer:
        end = self.bundle.cluster.partition(TopicPartition("events", partition)).end
        self.write(*["x"] * (next_offset - end), partition=partition)
        producer = self.bundle.log("predecessor").producer()
        producer.open()
        producer.begin()
        producer.produce(CHANGELOG, self.records(next_offset, *run_ids, partition=partition))
        offsets = {TopicPartition("events", partition): next_offset}
        producer.send_offsets(offsets, self.participant.member.membership())
        return producer

    def records(self, next_offset: int, *run_ids: bytes, partition: int = 0) -> list[Outgoing]:
        segment = Claims(MemoryStore(), self.bundle.config.claim_retention_ms).segment_at(self.bundle.clock.now_ms())
        return list(changelog.records(next_offset, segment, run_ids, partition))

    def restored(self, *partitions: TopicPartition) -> dict[TopicPartition, int]:
        """Restore to the end; where each partition starts."""
        self.restore.add(partitions)
        return self.go_on()

    def go_on(self) -> dict[TopicPartition, int]:
        """Restore what was added to the end."""
        starts: dict[TopicPartition, int] = {}
        for _ in range(200):
            starts.update(self.restore.step())
            if not self.restore.active:
                return starts
        raise AssertionError("does not end")

    def stored(self, partition: TopicPartition = EVENTS_0) -> list[bytes]:
        """The claims that the store holds of ``partition``."""
        prefix = claim_prefix(partition)
        columns = sorted(column for column in self.store.columns() if column.startswith("claims-"))
        return [key[8:] for column in columns for key, _ in self.store.scan(column, prefix, prefix + b"\xff" * 17)]


@pytest.fixture
def setting() -> Setting:
    return Setting()


# Where processing starts


def test_a_partition_that_nobody_has_worked_on_starts_at_its_beginning(setting: Setting) -> None:
    setting.write("a", "b")
    assert setting.restored(EVENTS_0) == {EVENTS_0: 0}


def test_the_beginning_is_the_first_message_that_is_still_there(setting: Setting) -> None:
    setting.write("a", "b")
    setting.bundle.cluster.trim(EVENTS_0, 1)
    assert setting.restored(EVENTS_0) == {EVENTS_0: 1}


def test_a_partition_goes_on_where_the_group_has_committed(setting: Setting) -> None:
    setting.write("a", "b", "c")
    setting.commit(2, RUN)
    assert setting.restored(EVENTS_0, EVENTS_1) == {EVENTS_0: 2, EVENTS_1: 0}


def test_committed_at_the_first_message_that_is_still_there_nothing_is_lost(setting: Setting) -> None:
    setting.write("a", "b")
    setting.commit(1, RUN)
    setting.bundle.cluster.trim(EVENTS_0, 1)
    assert setting.restored(EVENTS_0) == {EVENTS_0: 1}


def test_messages_that_were_deleted_unread_are_the_operators_business(setting: Setting) -> None:
    setting.write("a", "b", "c")
    setting.commit(1, RUN)
    setting.bundle.cluster.trim(EVENTS_0, 3)
    with pytest.raises(Misconfigured) as caught:
        setting.restored(EVENTS_0)
    assert caught.value.message == "messages 1 to 2 of events/0 were deleted before they were processed"


def test_a_position_beyond_the_end_is_the_operators_business(setting: Setting) -> None:
    setting.write("a", "b")
    setting.bundle.cluster.group(setting.bundle.config.application).offsets[EVENTS_0] = 1000
    with pytest.raises(Misconfigured) as caught:
        setting.restored(EVENTS_0)
    assert caught.value.message == "the group has committed position 1000 of events/0, which ends at 2"


# What the store holds


def test_the_store_holds_every_claim_when_processing_starts(setting: Setting) -> None:
    setting.commit(1, RUN)
    setting.commit(2, OTHER_RUN)
    setting.commit(1, RUN, partition=1)
    setting.restored(EVENTS_0, EVENTS_1)
    assert (setting.stored(EVENTS_0), setting.stored(EVENTS_1)) == ([RUN, OTHER_RUN], [RUN])


def test_claims_of_an_aborted_transaction_are_not_restored(setting: Setting) -> None:
    setting.begin(1, RUN).abort()
    setting.restored(EVENTS_0)
    assert setting.stored() == []


def test_a_restore_on_another_store_gives_the_same(setting: Setting) -> None:
    setting.commit(1, RUN, OTHER_RUN)
    setting.restored(EVENTS_0)
    first = setting.stored()
    setting.store = MemoryStore()
    setting.restore = setting.another_restore(setting.store)
    setting.restored(EVENTS_0)
    assert setting.stored() == first == [RUN, OTHER_RUN]


def test_reading_goes_on_where_the_store_has_come_to(setting: Setting) -> None:
    setting.commit(1, RUN)
    setting.restored(EVENTS_0)
    for column in setting.store.columns() - {changelog.POSITIONS}:
        setting.store.drop(column)
    setting.commit(2, OTHER_RUN)
    setting.restored(EVENTS_0)
    assert setting.stored() == [OTHER_RUN]  # and not again what was read before


def test_the_store_notes_how_far_it_has_read(setting: Setting) -> None:
    setting.commit(1, RUN)
    setting.restored(EVENTS_0)
    end = setting.bundle.cluster.partition(CHANGELOG_0).end
    assert changelog.read_positions(setting.store, [CHANGELOG_0]) == {CHANGELOG_0: end}


def test_what_the_changelog_has_deleted_is_passed_over(setting: Setting) -> None:
    setting.commit(1, RUN)
    setting.commit(2, OTHER_RUN)
    setting.bundle.cluster.trim(CHANGELOG_0, 2)
    setting.restored(EVENTS_0)
    assert setting.stored() == [OTHER_RUN]


def test_claims_that_have_expired_are_not_restored(setting: Setting) -> None:
    setting.commit(1, RUN)
    setting.bundle.clock.advance(2 * setting.bundle.config.claim_retention_ms)
    setting.restored(EVENTS_0)
    assert setting.stored() == []


def write_as_a_newer_release(setting: Setting) -> None:
    setting.bundle.write(CHANGELOG, b"\2" + bytes(8) + RUN, partition=0)


def test_a_partition_whose_changelog_is_of_a_newer_release_is_refused_with_a_reason(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    write_as_a_newer_release(setting)
    assert setting.restored(EVENTS_0) == {}
    assert setting.counters.refused == 1
    (line,) = [each for each in caplog.records if each.getMessage() == "partition refused"]
    assert line.__dict__["values"] == {
        "partition": "events/0",
        "error": f"{CHANGELOG}/0 at offset 0 has claims format 2, this release reads up to 1",
        "hint": "a newer release has written here: run that release, or a later one",
    }


def test_the_other_partitions_go_on_when_one_is_refused(setting: Setting) -> None:
    write_as_a_newer_release(setting)
    setting.commit(1, OTHER_RUN, partition=1)
    assert setting.restored(EVENTS_0, EVENTS_1) == {EVENTS_1: 1}
    assert setting.stored(EVENTS_1) == [OTHER_RUN]


def test_what_was_refused_is_not_noted_as_read(setting: Setting) -> None:
    setting.commit(1, OTHER_RUN)
    write_as_a_newer_release(setting)
    setting.restored(EVENTS_0)
    assert changelog.read_positions(setting.store, [CHANGELOG_0]) == {}
    setting.restored(EVENTS_0)
    assert setting.counters.refused == 2


LACKING = {
    "partition": "events/2",
    "error": f"topic {CHANGELOG} has no partition 2: it has 2",
    "hint": f"kafka-topics.sh --bootstrap-server 127.0.0.1:9092 --topic {CHANGELOG} --alter --partitions 4;"
    " it is looked for every 10 s",
}


def test_partitions_that_the_changelog_lacks_are_refused_with_the_repair_and_the_others_go_on(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    setting.commit(1, RUN)
    setting.bundle.cluster.grow("events", 4)
    assert setting.restored(EVENTS_0, EVENTS_2, EVENTS_3) == {EVENTS_0: 1}
    lines = [each for each in caplog.records if each.getMessage() == "partition refused"]
    assert [line.__dict__["values"]["partition"] for line in lines] == ["events/2", "events/3"]
    assert lines[0].__dict__["values"] == LACKING
    assert setting.counters.refused == 2


def test_partitions_added_to_the_facts_are_refused_and_their_changelog_is_not_to_get_more(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    setting.bundle.cluster.grow("trigger-facts", 3)
    setting.restored(TopicPartition("trigger-facts", 2))
    (line,) = [each for each in caplog.records if each.getMessage() == "partition refused"]
    assert line.__dict__["values"]["hint"] == (
        "nothing is lost while workers go on; before they start again, see stream-triggers topics check"
    )


def test_a_partition_that_the_changelog_lacked_is_taken_up_once_it_has_it(setting: Setting) -> None:
    setting.bundle.cluster.grow("events", 3)
    setting.restored(EVENTS_2)
    setting.bundle.clock.advance(LOOK_AGAIN_MS)
    setting.bundle.cluster.grow(CHANGELOG, 3)
    assert setting.go_on() == {EVENTS_2: 0}
    assert setting.counters.refused == 1


def test_what_the_changelog_lacks_is_looked_for_now_and_then_and_told_once(setting: Setting) -> None:
    setting.bundle.cluster.grow("events", 3)
    setting.restored(EVENTS_2)
    setting.bundle.clock.advance(LOOK_AGAIN_MS - 1)
    assert not setting.restore.active
    setting.bundle.clock.advance(1)
    assert setting.restore.active
    assert setting.go_on() == {}
    assert setting.counters.refused == 1


def test_a_refused_partition_that_was_given_up_is_not_looked_for(setting: Setting) -> None:
    setting.bundle.cluster.grow("events", 3)
    setting.restored(EVENTS_2)
    setting.restore.drop([EVENTS_2])
    setting.bundle.clock.advance(LOOK_AGAIN_MS)
    assert not setting.restore.active


def test_a_changelog_that_ends_before_what_the_store_has_read_was_replaced(setting: Setting) -> None:
    setting.commit(1, RUN)
    setting.restored(EVENTS_0)
    replaced = Setting()
    replaced.restore = replaced.another_restore(setting.store)
    with pytest.raises(Corrupt) as caught:
        replaced.restored(EVENTS_0)
    assert caught.value.message == f"the store has read {CHANGELOG}/0 to offset 2, the topic ends at 0"


# What is waited for


def test_a_predecessors_open_transaction_is_waited_for(setting: Setting) -> None:
    producer = setting.begin(1, RUN)
    setting.restore.add([EVENTS_0])
    assert setting.restore.step() == {}
    producer.commit()
    assert setting.restored(EVENTS_0) == {EVENTS_0: 1}
    assert setting.stored() == [RUN]


def test_a_transaction_that_is_open_below_the_high_watermark_is_waited_for(setting: Setting) -> None:
    zombie = setting.bundle.log("zombie").producer()
    zombie.open()
    zombie.begin()
    zombie.produce(CHANGELOG, setting.records(9, OTHER_RUN))
    setting.commit(1, RUN)
    setting.restore.add([EVENTS_0])
    assert [setting.restore.step() for _ in range(3)] == [{}, {}, {}]
    zombie.abort()
    assert setting.restored(EVENTS_0) == {EVENTS_0: 1}
    assert setting.stored() == [RUN]


def test_partitions_that_are_ready_do_not_wait_for_the_others(setting: Setting) -> None:
    zombie = setting.bundle.log("zombie").producer()
    zombie.open()
    zombie.begin()
    zombie.produce(CHANGELOG, setting.records(9, RUN, partition=1))
    setting.restore.add([EVENTS_0, EVENTS_1])
    assert setting.restore.step() == {EVENTS_0: 0}
    assert setting.restore.active
    zombie.abort()
    assert until_ready(setting) == {EVENTS_1: 0}


def test_an_unanswered_question_is_asked_again(setting: Setting) -> None:
    setting.bundle.cluster.faults.plan("committed", Fault.RETRIABLE)
    setting.restore.add([EVENTS_0])
    assert setting.restore.step() == {}
    assert setting.restore.active
    assert until_ready(setting) == {EVENTS_0: 0}


def test_with_nothing_to_do_a_step_does_nothing(setting: Setting) -> None:
    assert not setting.restore.active
    assert setting.restore.step() == {}


# Partitions that come and go


def test_a_partition_that_was_given_up_does_not_become_ready(setting: Setting) -> None:
    setting.restore.add([EVENTS_0, EVENTS_1])
    setting.restore.drop([EVENTS_0])
    assert until_ready(setting) == {EVENTS_1: 0}


def test_a_partition_given_up_while_it_is_read_does_not_become_ready(setting: Setting) -> None:
    zombie = setting.bundle.log("zombie").producer()
    zombie.open()
    zombie.begin()
    zombie.produce(CHANGELOG, setting.records(9, OTHER_RUN) + setting.records(9, OTHER_RUN, partition=1))
    setting.commit(1, RUN)
    setting.restore.add([EVENTS_0, EVENTS_1])
    setting.restore.step()
    setting.restore.drop([EVENTS_0])
    zombie.abort()
    assert until_ready(setting) == {EVENTS_1: 0}
    assert setting.stored(EVENTS_0) == []


def test_a_partition_that_is_added_again_begins_again(setting: Setting) -> None:
    setting.write("a")
    setting.restore.add([EVENTS_0])
    setting.restore.step()
    setting.commit(1, RUN)
    assert setting.restored(EVENTS_0) == {EVENTS_0: 1}
    assert setting.stored() == [RUN]


def until_ready(setting: Setting) -> Mapping[TopicPartition, int]:
    for _ in range(200):
        ready = setting.restore.step()
        if ready:
            return ready
    raise AssertionError("nothing becomes ready")
