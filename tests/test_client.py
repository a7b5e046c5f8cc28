"""The client, over the in-memory log and on Kafka: what is sent, what is refused, what is told about triggers."""

from __future__ import annotations

import asyncio
import os

import pytest

from stream_triggers.client import AsyncClient, Change, Client
from stream_triggers.client.definitions import Definitions
from stream_triggers.config import Config
from stream_triggers.core.builder import on_event
from stream_triggers.core.message import Event, Failure, Participant, Success, TaskResult, TaskStatus
from stream_triggers.core.record import Activation, Definition, Fact, Pause, Start
from stream_triggers.errors import (
    DeliveryFailed,
    InvalidMessage,
    InvalidTrigger,
    Rejected,
    StreamTriggersError,
    Unavailable,
)
from stream_triggers.runtime.clock import ManualClock
from stream_triggers.runtime.codec import decode, encode
from stream_triggers.runtime.kafka import Identify, KafkaLog, KafkaSettings
from stream_triggers.runtime.log import Outgoing, TopicPartition, TopicSpec
from stream_triggers.runtime.memory_log import Fault, MemoryCluster, MemoryLog
from stream_triggers.runtime.reading import read_all
from stream_triggers.runtime.topics import Topics, specs

CONFIG = Config()
TOPICS = Topics(CONFIG.application)
NOW_MS = 1_764_000_000_000
TRIGGER = {"id": "ship", "task": "orders.ship", "when": {"event": "order.paid"}}


class MemorySender:
    """A sender to the in-memory log that keeps what it is given until a flush; what is in ``refused`` fails there."""

    def __init__(self, cluster: MemoryCluster, identify: Identify) -> None:
        self.cluster = cluster
        self.identify = identify
        self.buffer: list[tuple[str, Outgoing]] = []
        self.refused: set[bytes] = set()

    def send(self, topic: str, records: list[Outgoing]) -> None:
        self.buffer += [(topic, record) for record in records]

    def flush(self, timeout_s: float) -> None:
        failures = []
        for topic, record in self.buffer:
            if record["key"] in self.refused:
                failures.append((self.identify(topic, record["key"], record["value"]), "no leader"))
            else:
                self.cluster.write(topic, [record])
        self.buffer = []
        if failures:
            raise DeliveryFailed("some failed", tuple(failures), hint="send them again")

    def close(self, timeout_s: float) -> None:
        self.flush(timeout_s)


class SendingLog(MemoryLog):
    def sender(self, identify: Identify) -> MemorySender:
        self.made = MemorySender(self.cluster, identify)
        return self.made


class Bed:
    def __init__(self) -> None:
        self.clock = ManualClock(NOW_MS)
        self.cluster = MemoryCluster(self.clock)
        self.cluster.create_topics(specs(TOPICS, {}, claim_retention_ms=CONFIG.claim_retention_ms))
        self.log = SendingLog(self.cluster, group_id="definitions")
        self.client = Client(clock=self.clock, cluster=self.log)

    def sent(self, topic: str) -> list:
        self.client.flush()
        return [decode(record.value()) for record in self.cluster.records(topic)]


@pytest.fixture
def bed() -> Bed:
    return Bed()


def test_an_event_is_sent_with_what_is_known_of_it(bed):
    bed.client.emit_event(
        "order.paid",
        {"order": 7},
        key="7",
        event_id="p-1",
        time_ms=5,
        source="shop",
        traceparent="t",
        root="r",
        depth=2,
    )
    assert bed.sent(TOPICS.events) == [Event("order.paid", "p-1", 5, "7", {"order": 7}, "shop", "t", "r", 2)]


def test_what_is_not_given_is_filled_in(bed):
    client = Client(clock=bed.clock, cluster=bed.log, source="shop")
    event_id = client.emit_event("order.paid")
    client.flush()
    assert bed.sent(TOPICS.events) == [Event("order.paid", event_id, NOW_MS, None, None, "shop")]


@pytest.mark.parametrize(("key", "expected"), [("7", b"7"), (None, b"p-1")])
def test_a_record_is_keyed_by_the_events_key_else_by_its_id(bed, key, expected):
    bed.client.emit_event("order.paid", key=key, event_id="p-1")
    bed.client.flush()
    assert [record.key() for record in bed.cluster.records(TOPICS.events)] == [expected]


def test_made_ids_are_unique_within_and_across_clients(bed):
    other = Client(clock=bed.clock, cluster=bed.log)
    ids = {client.emit_event("order.paid") for client in (bed.client, other) for _ in range(1000)}
    assert len(ids) == 2000


def test_many_events_are_sent_in_their_order(bed):
    events = [bed.client.event("order.paid", number, key="k") for number in range(1201)]
    assert bed.client.emit_events(events) == 1201
    assert [event.payload for event in bed.sent(TOPICS.events)] == list(range(1201))


@pytest.mark.parametrize("payload", [object(), {1, 2}, {"x": b"bytes"}, "\ud800"])
def test_a_payload_that_is_not_json_is_refused_at_once(bed, payload):
    with pytest.raises(InvalidMessage, match="payload"):
        bed.client.emit_event("order.paid", payload)
    assert bed.sent(TOPICS.events) == []


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_does_not_have_is_refused_with_its_place(bed, number):
    with pytest.raises(InvalidMessage, match=r"^payload\.lines\[1\]\.price is not a finite number"):
        bed.client.emit_event("order.paid", {"note": None, "lines": [{"price": 1.5}, {"price": number}]})
    with pytest.raises(InvalidMessage, match=r"^payload\.lines\[0\] is not a finite number"):
        bed.client.emit_events([bed.client.event("order.paid", {"lines": (number,)})])
    assert bed.sent(TOPICS.events) == []


def test_a_payload_may_hold_null(bed):
    bed.client.emit_event("order.paid", {"note": None, "text": "null", "total": 1.5})
    assert [event.payload for event in bed.sent(TOPICS.events)] == [{"note": None, "text": "null", "total": 1.5}]


def test_a_report_with_a_number_that_json_does_not_have_is_refused(bed):
    nan = float("nan")
    with pytest.raises(InvalidMessage, match=r"^result\.score is not a finite number"):
        bed.client.report_invocation_result("score", "inv-1", {"score": nan})
    with pytest.raises(InvalidMessage, match=r"^arguments\.limit is not a finite number"):
        bed.client.report_task_status("score", "inv-1", "running", arguments={"limit": nan})
    with pytest.raises(InvalidMessage, match=r"^arguments\.limit is not a finite number"):
        bed.client.report_invocation_failure("score", "inv-1", "ValueError", arguments={"limit": nan})
    assert bed.sent(TOPICS.task_status) == bed.sent(TOPICS.task_results) == []


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("order.*", 'code: expected an exact event code, found "order.*"'),
        (" order.paid", 'code: expected an event code, such as "order.paid", found " order.paid"'),
        ("order\npaid", 'code: expected an event code, such as "order.paid", found "order\npaid"'),
        ("x" * 201, 'code: expected an event code, such as "order.paid", found "xxx'),
    ],
)
def test_a_code_that_no_trigger_can_name_is_refused_at_once(bed, code, problem):
    with pytest.raises(InvalidMessage) as refused:
        bed.client.emit_event(code)
    assert refused.value.message.startswith(problem)
    with pytest.raises(InvalidMessage):
        bed.client.emit_events([Event(code, "e-1", NOW_MS, None, None)])
    assert bed.sent(TOPICS.events) == []


def test_a_message_that_is_too_large_is_refused_at_once(bed):
    with pytest.raises(InvalidMessage, match=r"message p-1 has \d+ bytes, the limit is 1048576"):
        bed.client.emit_event("order.paid", "x" * CONFIG.payload_bytes_max, event_id="p-1")
    assert bed.sent(TOPICS.events) == []


def test_the_limit_is_a_setting(bed):
    client = Client(clock=bed.clock, cluster=bed.log, payload_bytes_max=2048)
    client.emit_event("order.paid", "x" * 1900)
    with pytest.raises(InvalidMessage, match="the limit is 2048"):
        client.emit_event("order.paid", "x" * 2048)


def test_settings_win_over_a_config(bed):
    client = Client(Config(topic_prefix="a-"), clock=bed.clock, cluster=bed.log, topic_prefix="")
    client.emit_event("order.paid")
    client.flush()
    assert len(bed.sent(TOPICS.events)) == 1


def test_a_status_is_reported_in_lower_case(bed):
    bed.client.report_task_status("bill", "inv-1", "SUCCESS", "Running", attempt=2, arguments={"order": 7}, root="e1")
    (status,) = bed.sent(TOPICS.task_status)
    expected = ("bill", "success", "inv-1", NOW_MS, "running", 2, {"order": 7}, "e1")
    assert isinstance(status, TaskStatus)
    assert (
        status.task,
        status.status,
        status.invocation_id,
        status.time_ms,
        status.previous,
        status.attempt,
        status.arguments,
        status.root,
    ) == expected


def test_a_result_is_reported(bed):
    bed.client.report_invocation_result("bill", "inv-1", [1], depth=1, time_ms=9)
    (result,) = bed.sent(TOPICS.task_results)
    assert isinstance(result, TaskResult)
    assert (result.outcome, result.invocation_id, result.time_ms, result.depth) == (Success([1]), "inv-1", 9, 1)


def test_an_exception_is_reported_with_its_classes(bed):
    bed.client.report_invocation_failure("bill", "inv-1", TimeoutError("late"), final=False)
    (result,) = bed.sent(TOPICS.task_results)
    assert result.outcome == Failure("TimeoutError", ("OSError", "Exception", "BaseException"), "late", final=False)


def test_a_failure_can_be_told_by_name(bed):
    bed.client.report_invocation_failure("bill", "inv-1", "Timeout", "late", bases=["Error"])
    (result,) = bed.sent(TOPICS.task_results)
    assert result.outcome == Failure("Timeout", ("Error",), "late", final=True)


def test_reports_are_keyed_by_their_invocation(bed):
    bed.client.report_task_status("bill", "inv-1", "running")
    bed.client.report_invocation_result("bill", "inv-1", None)
    bed.client.flush()
    records = bed.cluster.records(TOPICS.task_status) + bed.cluster.records(TOPICS.task_results)
    assert [record.key() for record in records] == [b"inv-1", b"inv-1"]


def test_a_report_that_is_repeated_has_the_same_id(bed):
    again = Bed().client
    for client in (bed.client, again):
        assert client.report_task_status("bill", "inv-1", "running") == "e25610e2291d99ccd9df7e511cd41812"


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**40])
def test_an_integer_beyond_64_bits_is_refused_with_its_path(bed, number):
    with pytest.raises(InvalidMessage, match=r"^payload\.order\[1\] is an integer beyond 64 bits") as caught:
        bed.client.emit_event("order.paid", {"order": [7, number]})
    assert caught.value.hint == "send it as a text"
    with pytest.raises(InvalidMessage, match=r"^arguments\.n is an integer beyond 64 bits"):
        bed.client.report_task_status("t", "i-1", "running", arguments={"n": number})
    with pytest.raises(InvalidMessage, match=r"^result is an integer beyond 64 bits"):
        bed.client.report_invocation_result("t", "i-1", number)


def test_the_largest_integers_are_sent_as_they_are(bed):
    bed.client.emit_event("order.paid", [2**64 - 1, -(2**63)])
    assert bed.sent(TOPICS.events)[0].payload == [2**64 - 1, -(2**63)]


def test_a_payload_that_holds_itself_is_refused(bed):
    endless = {}
    endless["endless"] = endless
    with pytest.raises(InvalidMessage, match="cannot be written as JSON"):
        bed.client.emit_event("order.paid", endless)


@pytest.mark.parametrize("field", ["key", "event_id", "source", "traceparent", "root"])
def test_a_long_text_beside_the_payload_is_refused(bed, field):
    name = "id" if field == "event_id" else field
    bed.client.emit_event("order.paid", **{field: "ä" * 32768})
    with pytest.raises(InvalidMessage, match=f"{name} has 65538 bytes, the limit is 65536"):
        bed.client.emit_event("order.paid", **{field: "ä" * 32769})
    assert len(bed.sent(TOPICS.events)) == 1


def test_a_long_text_in_the_payload_is_sent(bed):
    bed.client.emit_event("order.paid", "x" * 100_000)
    bed.client.report_task_status("t", "i-1", "running", arguments={"a": "x" * 100_000})
    assert len(bed.sent(TOPICS.events) + bed.sent(TOPICS.task_status)) == 2


def test_a_report_on_a_long_invocation_id_is_refused(bed):
    with pytest.raises(InvalidMessage, match="invocation_id has 70000 bytes, the limit is 65536"):
        bed.client.report_task_status("t", "i" * 70_000, "running")


@pytest.mark.parametrize(
    "other",
    [
        ("inv-2", "running", 1),
        ("inv-1", "success", 1),
        ("inv-1", "running", 2),
    ],
)
def test_reports_of_different_transitions_have_different_ids(bed, other):
    invocation_id, status, attempt = other
    first = bed.client.report_task_status("bill", "inv-1", "running", attempt=1)
    assert bed.client.report_task_status("bill", invocation_id, status, attempt=attempt) != first


def test_a_success_and_a_failure_of_one_attempt_are_two_messages(bed):
    success = bed.client.report_invocation_result("bill", "inv-1", None)
    assert bed.client.report_invocation_failure("bill", "inv-1", "Timeout") != success


def test_flush_names_the_messages_that_failed(bed):
    bed.log.made.refused = {b"7"}
    bed.client.emit_event("order.paid", key="7", event_id="p-1")
    bed.client.emit_event("order.paid", key="8", event_id="p-2")
    with pytest.raises(DeliveryFailed) as caught:
        bed.client.flush()
    assert caught.value.message == "not accepted: 1 message: events/p-1 (no leader)"
    assert caught.value.failures == (("events/p-1", "no leader"),)


def test_flush_names_the_first_twenty_of_many(bed):
    bed.log.made.refused = {b"7"}
    bed.client.emit_events(bed.client.event("order.paid", key="7", event_id=f"p-{number}") for number in range(25))
    with pytest.raises(DeliveryFailed) as caught:
        bed.client.flush()
    assert "events/p-19 (no leader), and 5 more" in caught.value.message
    assert "p-20 " not in caught.value.message
    assert len(caught.value.failures) == 25


def test_the_end_of_the_block_flushes(bed):
    with Client(clock=bed.clock, cluster=bed.log) as client:
        client.emit_event("order.paid")
    assert len(bed.cluster.records(TOPICS.events)) == 1


def test_the_end_of_the_block_tells_what_failed():
    bed = Bed()
    bed.log.made.refused = {b"7"}
    with pytest.raises(DeliveryFailed), bed.client as client:
        client.emit_event("order.paid", key="7")


def test_a_client_may_be_closed_twice(bed):
    with bed.client as client:
        client.emit_event("order.paid")
        client.close()
    client.close()
    assert len(bed.cluster.records(TOPICS.events)) == 1


@pytest.mark.parametrize(
    "use",
    [
        lambda client: client.emit_event("order.paid"),
        lambda client: client.emit_events([client.event("order.paid")]),
        lambda client: client.report_task_status("bill", "inv-1", "running"),
        lambda client: client.flush(),
        lambda client: client.apply([TRIGGER]),
        lambda client: client.list_triggers(),
    ],
)
def test_a_closed_client_says_that_it_is(bed, use):
    bed.client.close()
    with pytest.raises(StreamTriggersError, match="the client is closed") as refused:
        use(bed.client)
    assert refused.value.hint == "make another one, or use it within its with block"


def test_an_asynchronous_client_that_is_not_connected_says_so(bed):
    client = AsyncClient(clock=bed.clock, cluster=bed.log)
    with pytest.raises(StreamTriggersError, match="the client is not connected"):
        client.emit_event("order.paid")
    with pytest.raises(StreamTriggersError, match="the client is not connected"):
        asyncio.run(client.list_triggers())


def test_an_error_in_the_block_is_kept_and_what_failed_is_added(bed):
    bed.log.made.refused = {b"7"}
    bed.client.emit_event("order.paid", key="7", event_id="p-1")
    with pytest.raises(KeyError) as caught, bed.client:
        raise KeyError("x")
    assert "p-1" in caught.value.__notes__[0]


def test_apply_tells_what_became_of_each_trigger(bed):
    assert [change.what for change in bed.client.apply([TRIGGER])] == ["created"]
    changed = {**TRIGGER, "task": "orders.send"}
    other = {**TRIGGER, "id": "pack"}
    changes = bed.client.apply([changed, other])
    assert [(change.id, change.what) for change in changes] == [("ship", "updated"), ("pack", "created")]
    assert [change.what for change in bed.client.apply([changed, other])] == ["unchanged", "unchanged"]


def test_applying_the_same_again_writes_nothing(bed):
    bed.client.apply([TRIGGER])
    bed.client.apply([TRIGGER])
    assert len(bed.cluster.records(TOPICS.trigger_definitions)) == 1


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"id": "pack", "task": "t"}, r"triggers\[1\]"),
        ({**TRIGGER, "id": "pack", "overlap": "jump"}, "overlap"),
        (TRIGGER, r"triggers\[1\].id"),
    ],
)
def test_nothing_is_written_when_one_trigger_is_wrong(bed, wrong, path):
    with pytest.raises(InvalidTrigger, match=path):
        bed.client.apply([TRIGGER, wrong])
    assert bed.cluster.records(TOPICS.trigger_definitions) == []


def test_a_definition_is_bounded_by_the_largest_payload(bed):
    large = {**TRIGGER, "args": {"text": "x" * CONFIG.payload_bytes_max}}
    with pytest.raises(InvalidTrigger, match=r"triggers\[1\]: trigger ship has \d+ bytes, the limit is 1048576"):
        bed.client.apply([{**TRIGGER, "id": "small"}, large])
    assert bed.client.list_triggers() == ()


def test_a_file_of_triggers_is_applied(bed, tmp_path):
    file = tmp_path / "triggers.yaml"
    file.write_text("triggers:\n  - id: ship\n    task: orders.ship\n    when: {event: order.paid}\n")
    assert [change.id for change in bed.client.apply(file)] == ["ship"]


def test_a_builder_is_registered(bed):
    change = bed.client.register_trigger(on_event("order.paid"), "ship", "orders.ship")
    assert (change.id, change.what) == ("ship", "created")
    assert bed.client.register_trigger(TRIGGER).what == "unchanged"


def test_stored_triggers_are_listed_by_id(bed):
    bed.client.apply([{**TRIGGER, "id": "b"}, {**TRIGGER, "id": "a"}], author="ann")
    listed = bed.client.list_triggers()
    assert [(stored.id, stored.author, stored.time_ms) for stored in listed] == [
        ("a", "ann", NOW_MS),
        ("b", "ann", NOW_MS),
    ]
    assert listed[0].trigger().task == "orders.ship"
    assert listed[0].definition == {**TRIGGER, "id": "a"}


def test_a_deleted_trigger_is_gone(bed):
    bed.client.apply([TRIGGER])
    assert bed.client.delete_trigger("ship") == Change("ship", "deleted", "")
    assert bed.client.delete_trigger("ship") == Change("ship", "absent", "")
    assert bed.client.list_triggers() == ()


def test_a_trigger_is_paused_paused_otherwise_and_resumed(bed):
    version = bed.client.apply([TRIGGER])[0].version
    assert bed.client.pause_trigger("ship", why="no stock", author="ann") == Change("ship", "paused", version)
    assert bed.client.list_triggers()[0].pause == Pause("hold", None, "", NOW_MS, "no stock", "ann")
    bed.clock.advance(5)
    assert bed.client.pause_trigger("ship", mode="drop", until_ms=NOW_MS + 9).what == "paused"
    assert bed.client.list_triggers()[0].pause == Pause("drop", NOW_MS + 9, "", NOW_MS)
    assert bed.client.resume_trigger("ship", catchup="latest") == Change("ship", "resumed", version)
    assert bed.client.list_triggers()[0].pause == Pause("drop", NOW_MS + 5, "latest", NOW_MS)
    assert bed.client.resume_trigger("ship") == Change("ship", "unchanged", version)


def test_a_trigger_whose_pause_is_over_is_not_resumed_and_is_paused_anew(bed):
    bed.client.apply([TRIGGER])
    bed.client.pause_trigger("ship", until_ms=NOW_MS + 9)
    bed.clock.advance(9)
    assert bed.client.resume_trigger("ship").what == "unchanged"
    bed.client.pause_trigger("ship")
    assert bed.client.list_triggers()[0].pause == Pause("hold", None, "", NOW_MS + 9)


def test_a_pause_outlives_what_is_applied_and_goes_with_the_trigger(bed):
    bed.client.apply([TRIGGER])
    bed.client.pause_trigger("ship")
    assert [change.what for change in bed.client.apply([TRIGGER])] == ["unchanged"]
    assert [change.what for change in bed.client.apply([{**TRIGGER, "epoch": 1}])] == ["updated"]
    assert bed.client.list_triggers()[0].pause == Pause("hold", None, "", NOW_MS)
    bed.client.delete_trigger("ship")
    bed.client.apply([TRIGGER])
    assert bed.client.list_triggers()[0].pause is None


EARLY = {**TRIGGER, "start": "earliest"}
LOOKBACK = {**TRIGGER, "start": {"lookback": "2h"}}
HOUR_MS = 3_600_000


def start_of_the_only(bed) -> Start | None:
    (stored,) = bed.client.list_triggers()
    last = bed.cluster.records(TOPICS.trigger_definitions)[-1]
    assert decode(last.value()).start == stored.start
    return stored.start


@pytest.mark.parametrize(
    ("start", "since_ms"),
    [
        ("earliest", 0),
        ("2025-11-24T15:59:59.999Z", NOW_MS - 1),
        ("2025-11-24T16:00Z", NOW_MS),
        ({"lookback": "2h"}, NOW_MS - 2 * HOUR_MS),
    ],
)
def test_a_new_trigger_starts_where_it_says(bed, start, since_ms):
    assert [change.what for change in bed.client.apply([{**TRIGGER, "start": start, "epoch": 3}])] == ["created"]
    assert start_of_the_only(bed) == Start(since_ms, epoch=3)


@pytest.mark.parametrize("trigger", [TRIGGER, {**TRIGGER, "start": "now"}])
def test_a_new_trigger_that_says_nothing_else_starts_now(bed, trigger):
    bed.client.apply([trigger])
    assert start_of_the_only(bed) is None


def test_the_same_trigger_applied_later_is_unchanged_and_has_started_where_it_had(bed):
    bed.client.apply([LOOKBACK])
    bed.clock.advance(HOUR_MS)
    assert [change.what for change in bed.client.apply([LOOKBACK])] == ["unchanged"]
    assert start_of_the_only(bed) == Start(NOW_MS - 2 * HOUR_MS, epoch=0)


def test_an_edit_leaves_where_a_trigger_started(bed):
    bed.client.apply([LOOKBACK])
    bed.clock.advance(HOUR_MS)
    edited = {**LOOKBACK, "task": "orders.send", "start": {"lookback": "120m"}}
    assert [change.what for change in bed.client.apply([edited])] == ["updated"]
    assert start_of_the_only(bed) == Start(NOW_MS - 2 * HOUR_MS, epoch=0)


def test_pausing_and_resuming_leave_where_a_trigger_started(bed):
    bed.client.apply([EARLY])
    for change in (bed.client.pause_trigger, bed.client.resume_trigger):
        bed.clock.advance(1)
        change("ship")
        assert start_of_the_only(bed) == Start(0, epoch=0)
    assert bed.client.apply([{**EARLY, "task": "orders.send"}])[0].what == "updated"
    assert start_of_the_only(bed) == Start(0, epoch=0)
    assert bed.client.list_triggers()[0].pause is not None


def test_a_trigger_whose_epoch_is_raised_starts_again(bed):
    bed.client.apply([LOOKBACK])
    bed.clock.advance(HOUR_MS)
    bed.client.apply([{**LOOKBACK, "epoch": 1}])
    assert start_of_the_only(bed) == Start(NOW_MS - HOUR_MS, epoch=1)


@pytest.mark.parametrize(
    ("start", "started"),
    [("earliest", Start(0, epoch=2)), ("now", None), ("2025-11-24T00:00Z", Start(1763942400000, 2))],
)
def test_a_trigger_whose_epoch_is_raised_may_start_elsewhere(bed, start, started):
    bed.client.apply([{**LOOKBACK, "epoch": 1}])
    bed.client.apply([{**LOOKBACK, "epoch": 2, "start": start}])
    assert start_of_the_only(bed) == started


def test_a_trigger_without_a_start_gets_one_with_its_next_epoch(bed):
    bed.client.apply([TRIGGER])
    bed.client.apply([{**EARLY, "epoch": 1}])
    assert start_of_the_only(bed) == Start(0, epoch=1)


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("now", "earliest", 'expected "now", as it is stored under this epoch, found "earliest"'),
        ("earliest", "now", 'expected "earliest", as it is stored under this epoch, found "now"'),
        (
            {"lookback": "2h"},
            {"lookback": "3h"},
            'expected {"lookback":"2h"}, as it is stored under this epoch, found {"lookback":"3h"}',
        ),
        # The instant that a look back came to is not what the trigger says.
        (
            {"lookback": "2h"},
            "2025-11-24T14:00Z",
            'expected {"lookback":"2h"}, as it is stored under this epoch, found "2025-11-24T14:00Z"',
        ),
    ],
)
def test_another_start_under_the_same_epoch_is_refused_and_nothing_is_written(bed, before, after, problem):
    bed.client.apply([{**TRIGGER, "start": before}])
    with pytest.raises(InvalidTrigger) as refused:
        bed.client.apply([{**TRIGGER, "id": "pack"}, {**TRIGGER, "start": after}])
    assert refused.value.message == f"ship.start: {problem}"
    assert refused.value.hint == "raise its epoch to have it start again"
    assert len(bed.cluster.records(TOPICS.trigger_definitions)) == 1


def test_going_back_to_a_lower_epoch_starts_nothing(bed):
    bed.client.apply([{**EARLY, "epoch": 1}])
    bed.client.apply([LOOKBACK])
    assert start_of_the_only(bed) == Start(0, epoch=1)
    assert [change.what for change in bed.client.apply([LOOKBACK])] == ["unchanged"]


def test_a_trigger_that_was_deleted_is_new(bed):
    bed.client.apply([LOOKBACK])
    bed.client.delete_trigger("ship")
    bed.clock.advance(HOUR_MS)
    bed.client.apply([EARLY])
    assert start_of_the_only(bed) == Start(0, epoch=0)


@pytest.mark.parametrize(
    "stored",
    [
        b"junk",
        encode(Definition("ship", "v", b"no JSON", 0, start=Start(5, 0))),
        encode(Definition("ship", "v", b'{"id": "ship", "task": "t", "when": {"smell": 1}}', 0, start=Start(5, 0))),
    ],
)
def test_a_trigger_in_the_place_of_what_no_worker_can_use_is_new(bed, stored):
    bed.cluster.write(TOPICS.trigger_definitions, [Outgoing(value=stored, key=b"ship")])
    assert [change.what for change in bed.client.apply([LOOKBACK])] == ["updated"]
    assert start_of_the_only(bed) == Start(NOW_MS - 2 * HOUR_MS, epoch=0)


def test_a_start_that_is_yet_to_come_is_refused_only_where_it_counts(bed):
    later = {**TRIGGER, "start": "2025-11-24T16:00:00.001Z"}
    with pytest.raises(InvalidTrigger) as refused:
        bed.client.apply([later])
    assert refused.value.message == ('ship.start: expected an instant that has been, found "2025-11-24T16:00:00.001Z"')
    bed.clock.advance(1)
    bed.client.apply([later])
    slow = Client(clock=ManualClock(NOW_MS), cluster=bed.log)
    assert [change.what for change in slow.apply([later])] == ["unchanged"]


def test_a_look_back_is_from_when_it_was_applied_however_often_it_is_written(bed):
    refuse_commits(bed, 3)
    bed.client.apply([LOOKBACK])
    assert bed.clock.now_ms() > NOW_MS
    assert start_of_the_only(bed) == Start(NOW_MS - 2 * HOUR_MS, epoch=0)


def test_a_writer_that_was_overtaken_leaves_where_the_other_has_started(bed):
    other = Definitions(MemoryLog(bed.cluster, group_id="definitions"), TOPICS.trigger_definitions, bed.clock, 10_000)

    class Overtaken(MemoryLog):
        """A log on which another program applies the trigger, later, right after ours has compared."""

        def reader(self):
            reader = super().reader()
            if bed.cluster.records(TOPICS.trigger_definitions) == []:
                bed.clock.advance(1)
                other.apply([LOOKBACK])
            return reader

    ours = Definitions(Overtaken(bed.cluster, group_id="definitions"), TOPICS.trigger_definitions, bed.clock, 10_000)
    assert [change.what for change in ours.apply([LOOKBACK])] == ["unchanged"]
    assert start_of_the_only(bed) == Start(NOW_MS + 1 - 2 * HOUR_MS, epoch=0)


@pytest.mark.parametrize(
    ("pause", "says"),
    [
        ({"until_ms": NOW_MS}, "would be over already"),
        ({"why": "x" * 501}, "why of a pause has 501 characters, the limit is 500"),
        ({"author": "x" * 501}, "author of a pause has 501 characters"),
    ],
)
def test_a_pause_that_makes_no_sense_is_refused(bed, pause, says):
    bed.client.apply([TRIGGER])
    with pytest.raises(Rejected, match=says):
        bed.client.pause_trigger("ship", **pause)
    assert bed.client.list_triggers()[0].pause is None


def test_what_is_not_stored_is_not_paused(bed):
    assert bed.client.pause_trigger("ship") == Change("ship", "absent", "")
    assert bed.client.resume_trigger("ship") == Change("ship", "absent", "")
    assert bed.client.list_triggers() == ()


def test_bytes_that_are_no_definition_are_not_paused_but_kept(bed):
    bed.cluster.write(TOPICS.trigger_definitions, [Outgoing(value=b"junk", key=b"ship")])
    with pytest.raises(Rejected, match="ship cannot be read"):
        bed.client.pause_trigger("ship")
    assert [stored.version for stored in bed.client.list_triggers()] == [""]


def test_a_pause_of_a_mode_that_there_is_not_is_refused(bed):
    bed.client.apply([TRIGGER])
    with pytest.raises(InvalidMessage, match="mode is 'stop', not one of drop, hold, hold_latest"):
        bed.client.pause_trigger("ship", mode="stop")


BOTH = {"id": "both", "task": "t", "key": "${event.key}", "when": {"all": [{"event": "a"}, {"event": "b"}]}}
ALARM = {"id": "alarm", "task": "t", "when": {"count": {"event": "a"}, "at_least": 3}}


def test_a_reset_stands_behind_the_stored_definition_in_the_partition_of_the_key(bed):
    bed.client.apply([BOTH])
    bed.client.apply([{**BOTH, "description": "another"}])
    reset_id = bed.client.reset_trigger("both", "o1", author="ada", why="a test")
    (activation, fact) = [
        (record.partition(), record.key(), decode(record.value()))
        for record in bed.cluster.records(TOPICS.trigger_facts)
    ]
    assert activation[:2] == (fact[0], b"both\0")
    assert (activation[2].definition_offset, activation[2].trigger_version) == (2, fact[2].trigger_version)
    assert fact[1] == b"both\0o1"
    assert (fact[2].key, fact[2].leaves, fact[2].fields) == ("o1", ("reset",), {"reason": "ada: a test"})
    assert fact[2].participant == Participant("reset", "event", reset_id, TOPICS.trigger_facts, fact[0], -1, NOW_MS)


def test_the_activation_before_a_reset_has_the_pause_and_the_start_of_the_trigger(bed):
    bed.client.apply([{**BOTH, "start": "earliest"}])
    bed.client.pause_trigger("both")
    bed.client.reset_trigger("both", "o1")
    (activation, _) = [decode(record.value()) for record in bed.cluster.records(TOPICS.trigger_facts)]
    assert (activation.pause, activation.start) == (Pause("hold", None, "", NOW_MS), Start(0, epoch=0))


def test_a_key_that_is_an_empty_text_is_reset_as_any_other(bed):
    bed.client.apply([BOTH])
    bed.client.reset_trigger("both", "")
    assert [record.key() for record in bed.cluster.records(TOPICS.trigger_facts)] == [b"both\0", b"both\0"]


def test_a_reset_whose_transaction_comes_to_nothing_is_written_again(bed):
    bed.client.apply([ALARM])
    bed.cluster.faults.plan("commit", Fault.ABORTABLE)
    bed.client.reset_trigger("alarm")
    assert [type(decode(record.value())) for record in bed.cluster.records(TOPICS.trigger_facts)] == [Activation, Fact]


@pytest.mark.parametrize(
    ("trigger", "key", "why", "message"),
    [
        ("nothing", None, "", "there is no trigger nothing"),
        ("ship", None, "", "trigger ship remembers nothing"),
        ("both", None, "", "trigger both remembers by key: say which"),
        ("alarm", "o1", "", "trigger alarm has no keys"),
        ("alarm", "", "", "trigger alarm has no keys"),
        ("both", "o1", "x" * 4097, "the reason has more than 4096 bytes"),
        ("both", "x" * 65537, "", "the key has more than 65536 bytes"),
    ],
)
def test_what_cannot_be_reset_is_refused(bed, trigger, key, why, message):
    bed.client.apply([TRIGGER, BOTH, ALARM])
    with pytest.raises(Rejected) as refused:
        bed.client.reset_trigger(trigger, key, why=why)
    assert refused.value.message == message
    assert bed.cluster.records(TOPICS.trigger_facts) == []


def test_bytes_that_are_no_definition_are_called_so_and_not_logged(bed, caplog):
    bed.cluster.write(TOPICS.trigger_definitions, [Outgoing(value=b"junk", key=b"ship")])
    (stored,) = bed.client.list_triggers()
    with pytest.raises(InvalidTrigger, match="ship: what is stored cannot be read"):
        stored.trigger()
    assert caplog.messages == []


def test_bytes_that_are_no_definition_are_replaced(bed):
    bed.cluster.write(TOPICS.trigger_definitions, [Outgoing(value=b"junk", key=b"ship")])
    assert [change.what for change in bed.client.apply([TRIGGER])] == ["updated"]


def test_all_of_an_application_is_seen_or_nothing(bed):
    bed.cluster.faults.plan("commit", Fault.ABORTABLE)
    bed.client.apply([TRIGGER, {**TRIGGER, "id": "pack"}])
    outcomes = [entry.outcome for entry in bed.cluster.entries(TOPICS.trigger_definitions)[0]]
    assert outcomes == ["aborted", "aborted", "marker", "committed", "committed", "marker"]


@pytest.mark.parametrize("fault", [Fault.REQUEST_LOST, Fault.RESPONSE_LOST, Fault.ABORTABLE, Fault.FATAL])
def test_a_commit_that_goes_wrong_is_settled_and_made_again(bed, fault):
    bed.cluster.faults.plan("commit", fault)
    bed.client.apply([TRIGGER])
    assert len(bed.cluster.records(TOPICS.trigger_definitions)) == 1


def test_a_writer_that_was_overtaken_compares_again(bed):
    other = Definitions(MemoryLog(bed.cluster, group_id="definitions"), TOPICS.trigger_definitions, bed.clock, 10_000)

    class Overtaken(MemoryLog):
        """A log on which another program changes triggers right after ours has compared."""

        def reader(self):
            reader = super().reader()
            if bed.cluster.records(TOPICS.trigger_definitions) == []:
                other.apply([{**TRIGGER, "task": "orders.send"}])
            return reader

    ours = Definitions(Overtaken(bed.cluster, group_id="definitions"), TOPICS.trigger_definitions, bed.clock, 10_000)
    assert [change.what for change in ours.apply([TRIGGER])] == ["updated"]


def refuse_commits(bed, number):
    for _ in range(number):
        bed.cluster.faults.plan("commit", Fault.ABORTABLE)


def test_a_change_that_others_overtake_again_and_again_is_made(bed):
    refuse_commits(bed, 8)
    assert [change.what for change in bed.client.apply([TRIGGER])] == ["created"]


def test_programs_that_overtake_each_other_do_not_wait_alike():
    def waited_s() -> float:
        bed = Bed()
        refuse_commits(bed, 4)
        bed.client.apply([TRIGGER])
        return bed.clock.monotonic_s()

    waits = {waited_s() for _ in range(20)}
    assert len(waits) > 10
    assert max(waits) < 3  # 0.2 + 0.4 + 0.8 + 1.6


def test_a_change_that_never_commits_is_given_up(bed):
    refuse_commits(bed, 1000)
    with pytest.raises(Unavailable, match="within 30 s"):
        bed.client.apply([TRIGGER])
    assert 30 <= bed.clock.monotonic_s() < 35


def test_the_asynchronous_client_sends_and_stores_the_same(bed):
    async def program() -> None:
        async with AsyncClient(clock=bed.clock, cluster=bed.log) as client:
            client.emit_event("order.paid", event_id="p-1")
            client.emit_events([client.event("order.paid", event_id="p-2")])
            client.report_task_status("bill", "inv-1", "running")
            client.report_invocation_result("bill", "inv-1", None)
            client.report_invocation_failure("bill", "inv-2", "Timeout")
            await client.flush()
            assert [change.what for change in await client.apply([TRIGGER])] == ["created"]
            assert (await client.register_trigger(on_event("order.paid"), "ship", "orders.ship")).what == "unchanged"
            assert [stored.id for stored in await client.list_triggers()] == ["ship"]
            assert (await client.pause_trigger("ship", mode="drop")).what == "paused"
            assert (await client.resume_trigger("ship", catchup="none")).what == "resumed"
            assert (await client.delete_trigger("ship")).what == "deleted"

    asyncio.run(program())
    assert {event.id for event in bed.sent(TOPICS.events)} == {"p-1", "p-2"}
    assert len(bed.sent(TOPICS.task_status)) == 1
    assert len(bed.sent(TOPICS.task_results)) == 2


def read(config: Config, topic: str, partitions: int) -> list:
    """Everything committed to ``topic``, decoded."""
    log = KafkaLog(KafkaSettings(config.bootstrap_servers))
    batches = read_all(log, [TopicPartition(topic, number) for number in range(partitions)])
    return [decode(record.value()) for batch in batches for record in batch]


@pytest.mark.kafka
def test_on_kafka_everything_sent_is_there_after_the_block(kafka_config):
    with Client(kafka_config) as client:
        ids = {client.emit_event("order.paid", number) for number in range(100)}
        client.emit_events(client.event("order.paid", number, event_id=f"p-{number}") for number in range(5000))
        client.report_task_status("bill", "inv-1", "running")
        client.report_invocation_result("bill", "inv-1", None)
    topics = Topics(kafka_config.application, kafka_config.topic_prefix)
    events = [event.id for event in read(kafka_config, topics.events, 4)]
    assert sorted(events) == sorted(ids | {f"p-{number}" for number in range(5000)})
    assert len(read(kafka_config, topics.task_status, 4)) == 1
    assert len(read(kafka_config, topics.task_results, 4)) == 1


@pytest.mark.kafka
def test_on_kafka_a_flush_names_what_the_broker_refused(bootstrap_servers):
    config = Config(bootstrap_servers=bootstrap_servers, topic_prefix="small-")
    log = KafkaLog(KafkaSettings(bootstrap_servers))
    log.create_topics([TopicSpec("small-events", 1, {"max.message.bytes": "2000"})])
    with Client(config) as client:
        client.emit_event("order.paid", os.urandom(3000).hex(), event_id="p-large")
        with pytest.raises(DeliveryFailed, match="events/p-large"):
            client.flush()
        client.emit_event("order.paid", "small", event_id="p-small")
    assert [event.id for event in read(config, "small-events", 1)] == ["p-small"]


@pytest.mark.kafka
def test_on_kafka_triggers_are_stored_listed_and_deleted(kafka_config):
    with Client(kafka_config) as client:
        assert [change.what for change in client.apply([TRIGGER, {**TRIGGER, "id": "pack"}])] == ["created", "created"]
        assert [change.what for change in client.apply([TRIGGER])] == ["unchanged"]
        assert client.delete_trigger("ship").what == "deleted"
        assert [stored.id for stored in client.list_triggers()] == ["pack"]
