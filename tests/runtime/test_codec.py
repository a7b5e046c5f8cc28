"""The codec, judged by the ``avro`` package over generated values of every record, and over broken bytes."""

import io
import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any, get_args

import avro.io
import avro.schema
import msgspec
import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stream_triggers.core.invocation import Decision, Invocation, Reason, TriggerRun
from stream_triggers.core.message import Event, Failure, Participant, Success, TaskResult, TaskStatus
from stream_triggers.core.record import Activation, DeadLetter, Definition, Fact, Header, Tick
from stream_triggers.errors import InvalidMessage
from stream_triggers.runtime.codec import (
    arrival_decoder,
    decode,
    decode_event,
    decode_result,
    decode_status,
    encode,
    encode_event,
    encode_result,
    encode_status,
    event_prefixes,
    firing_encoder,
    parse_prefix,
    result_prefixes,
    status_prefixes,
)
from stream_triggers.runtime.codec.general import CODEC, Codec
from stream_triggers.runtime.codec.schemas import SCHEMAS, directory, load
from stream_triggers.runtime.codec.wire import read_long, write_int, write_long


def examples(count: int) -> settings:
    """So many generated examples, however long they take: the machine may be busy."""
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# Values

LAST_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z
NOW_MS = 1_764_000_000_123

texts = st.text(max_size=80)
filled = st.one_of(st.text(min_size=1, max_size=80), st.sampled_from(["order.paid", "x" * 63, "x" * 64, "x" * 9000]))
instants = st.one_of(st.integers(0, LAST_MS), st.integers(NOW_MS - 10**9, NOW_MS + 10**9))
ints = st.one_of(st.integers(0, 100), st.integers(-(2**31), 2**31 - 1))
longs = st.one_of(st.integers(0, 10**7), st.integers(-(2**63), 2**63 - 1))
maybe = st.none() | texts
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
json_values = st.recursive(
    scalars | texts, lambda of: st.lists(of, max_size=3) | st.dictionaries(texts, of, max_size=3), max_leaves=6
)
objects = st.dictionaries(texts, json_values, max_size=4)
kinds = st.sampled_from(["event", "status", "result", "exception", "schedule"])
reasons = st.sampled_from(get_args(Reason))
chain = {"traceparent": maybe, "root": maybe, "depth": ints}


def tuples_of(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(of, max_size=3).map(tuple)


events = st.builds(Event, filled, filled, instants, maybe, json_values, source=maybe, **chain)
owner = {"trigger_id": maybe, "trigger_key": maybe}
statuses = st.builds(
    TaskStatus, *[filled] * 4, instants, previous=maybe, attempt=ints, arguments=objects, **chain, **owner
)
failures = st.builds(Failure, texts, tuples_of(texts), texts, st.booleans())
outcomes = st.builds(Success, json_values) | failures
results = st.builds(TaskResult, filled, outcomes, filled, filled, instants, attempt=ints, arguments=objects, **chain)
participants = st.builds(Participant, texts, kinds, texts, texts, ints, longs, instants)
invocations = st.builds(
    Invocation,
    *(filled, filled, texts, filled, filled, instants, maybe, objects, tuples_of(texts)),
    **chain,
    expires_ms=st.none() | instants,
)
runs = st.builds(
    TriggerRun, filled, texts, ints, filled, filled, filled, instants, maybe, tuples_of(participants), maybe, ints
)
decisions = st.builds(
    Decision, reasons, texts, ints, longs, instants, maybe, maybe, texts, maybe, kinds | st.just(""), texts, maybe
)
dead_letters = st.builds(
    DeadLetter,
    *(texts, ints, longs, longs, st.none() | st.binary(max_size=99), st.none() | st.binary(max_size=99), texts, texts),
    headers=tuples_of(st.builds(Header, texts, st.none() | st.binary(max_size=9))),
    trigger_id=maybe,
)
RECORDS = {
    Event: events,
    TaskStatus: statuses,
    TaskResult: results,
    Invocation: invocations,
    TriggerRun: runs,
    Decision: decisions,
    DeadLetter: dead_letters,
    Definition: st.builds(Definition, filled, filled, st.binary(max_size=99), instants, maybe),
    Fact: st.builds(Fact, filled, texts, texts, participants, objects, **chain),
    Tick: st.builds(Tick, instants, instants),
    Activation: st.builds(Activation, filled, texts, longs),
}
values = st.one_of(*RECORDS.values())
messages = st.one_of(events, statuses, results)

EVENT = Event("order.paid", "e-1", NOW_MS, "o-1", {"order_id": "o-1"}, None, None, None, 0)
STATUS = TaskStatus("billing.invoice", "success", "s-1", "i-1", NOW_MS, "running", 1, {"order": 7})
RESULT = TaskResult("billing.invoice", Success({"total": 12.5}), "r-1", "i-1", NOW_MS, 1, {"order": 7})
ERROR = TaskResult("billing.invoice", Failure("KeyError", ("LookupError",), "'x'"), "r-2", "i-1", NOW_MS)
FACT = Fact("t", "1", "k", Participant("when", "event", "e-1", "events", 0, 7, NOW_MS), {})

# The judge

SCHEMA_NAMES = {Definition: "TriggerDefinition"}
JSON_FIELDS = {(Event, "payload"), (TaskStatus, "arguments"), (TaskResult, "arguments"), (Success, "value")}
JSON_FIELDS |= {(Invocation, "arguments"), (Fact, "fields")}


def without_logical_types(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {name: without_logical_types(value) for name, value in schema.items() if name != "logicalType"}
    return [without_logical_types(value) for value in schema] if isinstance(schema, list) else schema


def avro_schema(definition: Any) -> Any:
    return avro.schema.parse(json.dumps(without_logical_types(definition)))


FILES = directory(Path(__file__).parents[2] / "stream_triggers")
AVRO = {schema["name"]: avro_schema(schema) for schema in map(json.loads, map(Path.read_text, FILES.glob("*.avsc")))}


def schema_of(value: Any) -> Any:
    return AVRO[SCHEMA_NAMES.get(type(value), type(value).__name__)]


def datum(value: Any) -> Any:
    """``value`` as the ``avro`` package wants it."""
    if isinstance(value, tuple):
        return [datum(item) for item in value]
    if not isinstance(value, msgspec.Struct):
        return value
    fields = {name: getattr(value, name) for name in value.__struct_fields__}
    return {n: orjson.dumps(v) if (type(value), n) in JSON_FIELDS else datum(v) for n, v in fields.items()}


def avro_write(schema: Any, record: Any) -> bytes:
    buffer = io.BytesIO()
    avro.io.DatumWriter(schema).write(record, avro.io.BinaryEncoder(buffer))
    return b"\xc3\x01" + schema.fingerprint("CRC-64-AVRO") + buffer.getvalue()


def avro_read(schema: Any, data: bytes) -> Any:
    return avro.io.DatumReader(schema).read(avro.io.BinaryDecoder(io.BytesIO(data[10:])))


def outcome(function: Any, data: bytes) -> Any:
    """What ``function`` makes of ``data``: its value, or the sentence it refuses it with."""
    try:
        return function(data)
    except InvalidMessage as error:
        return error.message


every_record = pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)


@every_record
@examples(50)
@given(st.data())
def test_both_codecs_write_the_bytes_that_avro_writes(record: type, data: st.DataObject) -> None:
    value = data.draw(RECORDS[record])
    expected = avro_write(schema_of(value), datum(value))

    assert (encode(value), CODEC.encode(value)) == (expected, expected)


@every_record
@examples(50)
@given(st.data())
def test_both_codecs_read_what_avro_writes(record: type, data: st.DataObject) -> None:
    value = data.draw(RECORDS[record])
    written = avro_write(schema_of(value), datum(value))

    assert (decode(written), CODEC.decode(written)) == (value, value)


@every_record
@examples(50)
@given(st.data())
def test_avro_reads_what_is_written(record: type, data: st.DataObject) -> None:
    value = data.draw(RECORDS[record])

    assert avro_read(schema_of(value), encode(value)) == datum(value)


@examples(100)
@given(messages)
def test_the_functions_for_one_record_are_the_general_ones(value: Any) -> None:
    encoders = {Event: encode_event, TaskStatus: encode_status, TaskResult: encode_result}
    decoders = {Event: decode_event, TaskStatus: decode_status, TaskResult: decode_result}
    data = encoders[type(value)](value)

    assert (data, decoders[type(value)](data)) == (CODEC.encode(value), value)


@pytest.mark.parametrize("length", [1, 63, 64, 8191, 8192, 8193, 100_000])
def test_a_text_of_any_length_is_written_and_read(length: int) -> None:
    value = msgspec.structs.replace(EVENT, code="x" * length, key="y" * length, payload="z" * length)
    data = encode(value)

    assert (data, decode(data)) == (avro_write(schema_of(value), datum(value)), value)


@pytest.mark.parametrize("attempt", [-(2**31), -8192, -1, 0, 63, 64, 8191, 8192, 2**15, 2**26, 2**31 - 1])
@pytest.mark.parametrize("time_ms", [0, 1, 100, 2**13, 2**20, 2**27, 2**41 - 1, 2**41, LAST_MS])
def test_a_number_of_any_size_is_written_and_read(attempt: int, time_ms: int) -> None:
    value = msgspec.structs.replace(RESULT, time_ms=time_ms, attempt=attempt)
    data = encode(value)

    assert (data, decode(data)) == (avro_write(schema_of(value), datum(value)), value)


# Numbers


@examples(100)
@given(longs)
@example(2**63 - 1)
@example(-(2**63))
@example(2**41 - 1)
@example(2**41)
@example(2**27)
@example(2**13)
def test_a_number_is_written_as_avro_writes_it_and_read_back(number: int) -> None:
    buffer = io.BytesIO()
    avro.io.BinaryEncoder(buffer).write_long(number)
    written = write_long(number)

    assert (written, read_long(written, 0, "it")) == (buffer.getvalue(), (number, len(written)))


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**100])
def test_a_number_that_does_not_fit_64_bits_is_not_written(number: int) -> None:
    with pytest.raises(ValueError, match="does not fit 64 bits"):
        write_long(number)


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1])
def test_a_number_that_does_not_fit_32_bits_is_not_written_as_an_int(number: int) -> None:
    with pytest.raises(ValueError, match="does not fit 32 bits"):
        write_int(number)


# Broken and unusual bytes

HEADER = encode(EVENT)[:10]
MARK = "not with c3 01 as Avro's single-object encoding does"
HUGE = write_long(2**60)


def event(**changed: bytes) -> bytes:
    """A small event in which the bytes of some fields are others."""
    fields = {"code": b"\x02a", "id": b"\x02b", "time_ms": b"\x0a", "key": b"\0", "payload": b"\x04{}"}
    fields |= {"source": b"\0", "traceparent": b"\0", "root": b"\0", "depth": b"\0", "end": b""}
    return HEADER + b"".join((fields | changed).values())


def failure(bases: bytes, final: bytes = b"\x01") -> bytes:
    """A small failure in which the bytes of ``bases`` and ``final`` are these."""
    return encode(ERROR)[:10] + b"\x02t\x02\x02T" + bases + b"\x02m" + final + b"\x02i\x02j\x0a\x02\x04{}\0\0\0"


def written(value: Any, **changed: Any) -> bytes:
    """``value`` as another library would write it, in which some fields are others."""
    return avro_write(schema_of(value), datum(value) | changed)


REFUSED = [
    (b"", f"message begins with nothing, {MARK}"),
    (b'{"code": "a"}', f"message begins with 7b 22, {MARK}"),
    (HEADER[:9], "message of 9 bytes is shorter than its header of 10"),
    (HEADER, "Event.code is cut off"),
    (event(code=b"\x40a"), "Event.code is cut off: 32 bytes are announced, 12 are left"),
    (event(code=b"\x01"), "Event.code has a negative length, -1"),
    (event(code=b"\0"), "Event.code is empty"),
    (event(code=b"\x02\xff"), "Event.code is not UTF-8"),
    (event(code=b"\xff" * 9 + b"\x02"), "Event.code is no number: it does not fit 64 bits"),
    (event(code=b"\xff" * 10), "Event.code is no number: it does not fit 64 bits"),
    (event(code=HUGE), "Event.code is cut off: 1152921504606846976 bytes are announced, 11 are left"),
    (event(id=b"\0"), "Event.id is empty"),
    (event(time_ms=b"\x01"), "Event.time_ms is -1, outside the years 1970 to 9999"),
    (event(time_ms=write_long(LAST_MS + 1)), "Event.time_ms is 253402300800000, outside the years 1970 to 9999"),
    (event(key=b"\x04"), "Event.key is branch 2 of a union of 2"),
    (event(key=b"\x01"), "Event.key is branch -1 of a union of 2"),
    (event(depth=write_long(2**31)), "Event.depth is 2147483648, which does not fit 32 bits"),
    (event(depth=b""), "Event.depth is cut off"),
    (event(end=b"\0\0"), "Event ends before its bytes do: 2 are left"),
    (failure(b"\0", final=b"\x02"), "TaskResult.outcome.final is neither true nor false"),
    (failure(HUGE), "TaskResult.outcome.bases is cut off: 1152921504606846976 items are announced, 15 bytes are left"),
    (failure(b"\x01\x08\x02B\0"), "TaskResult.outcome.bases has a block of 2 bytes that says 4"),
    (written(STATUS, status=""), "TaskStatus.status is empty"),
    (written(STATUS, arguments=b"[]"), "TaskStatus.arguments is not a JSON object: list"),
    (written(RESULT, arguments=b"1"), "TaskResult.arguments is not a JSON object: int"),
    (written(FACT, fields=b"null"), "Fact.fields is not a JSON object: NoneType"),
    (
        written(Decision("duplicate", "events", 0, 7, 0), reason="because"),
        "Decision.reason is 'because', not one of " + ", ".join(sorted(get_args(Reason))),
    ),
]


@pytest.mark.parametrize(("data", "sentence"), REFUSED, ids=[sentence for _, sentence in REFUSED])
def test_broken_bytes_are_refused_with_the_place_and_the_reason(data: bytes, sentence: str) -> None:
    assert (outcome(decode, data), outcome(CODEC.decode, data)) == (sentence, sentence)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"\xc3\x01abcdefgh", "unknown schema fingerprint 6162636465666768 where Event or TaskStatus is expected"),
        (encode(RESULT), "TaskResult found where Event or TaskStatus is expected"),
    ],
)
def test_what_is_not_expected_is_refused_with_what_is(data: bytes, sentence: str) -> None:
    assert outcome(lambda given: decode(given, {TaskStatus, Event}), data) == sentence


@pytest.mark.parametrize("payload", [b"\0", b"\x06NaN", b"\x02{", b'\x06"\xff"', write_long(99_999) + b"[" * 99_999])
def test_a_payload_that_is_not_json_is_refused(payload: bytes) -> None:
    data = event(payload=payload)

    assert outcome(decode, data) == outcome(CODEC.decode, data)
    with pytest.raises(InvalidMessage, match=r"^Event\.payload is not JSON: "):
        decode(data)


@pytest.mark.parametrize("function", [decode, decode_event, decode_status, decode_result, CODEC.decode])
def test_a_record_without_a_value_is_refused(function: Any) -> None:
    with pytest.raises(InvalidMessage, match="a record without a value is no message"):
        function(None)


def test_a_function_for_one_record_refuses_another() -> None:
    with pytest.raises(InvalidMessage, match="TaskStatus found where Event is expected"):
        decode_event(encode(STATUS))


@pytest.mark.parametrize("data", [event(payload=HUGE), failure(HUGE), failure(b"\x01" + HUGE)])
def test_an_announced_length_takes_no_memory(data: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(InvalidMessage):
        decode(data)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < 100_000


@pytest.mark.parametrize(
    "bases",
    [
        pytest.param(b"\x04\x02A\x02B\0", id="one block"),
        pytest.param(b"\x02\x02A\x02\x02B\0", id="two blocks"),
        pytest.param(b"\x03\x08\x02A\x02B\0", id="a block with its size"),
        pytest.param(b"\x84\0\x82\0A\x82\x80\0B\x80\0", id="numbers longer than need be"),
    ],
)
def test_an_array_is_read_in_every_form_that_avro_allows(bases: bytes) -> None:
    result = decode_result(failure(bases))

    assert result.outcome == Failure("T", ("A", "B"), "m", final=True)


mutations = st.one_of(
    st.tuples(st.just("cut"), st.integers(0, 400), st.just(b"")),
    st.tuples(st.just("replace"), st.integers(10, 400), st.binary(min_size=1, max_size=4)),
    st.tuples(st.just("replace"), st.integers(10, 400), st.sampled_from([b"\0", b"\x01", b"\x80", b"\xff", HUGE])),
    st.tuples(st.just("insert"), st.integers(0, 400), st.binary(min_size=1, max_size=4)),
)


def mutate(data: bytes, mutation: tuple[str, int, bytes]) -> bytes:
    how, at, piece = mutation
    at %= len(data)
    match how:
        case "cut":
            return data[:at]
        case "insert":
            return data[:at] + piece + data[at:]
        case _:
            return data[:at] + piece + data[at + len(piece) :]


@examples(500)
@given(values, st.lists(mutations, min_size=1, max_size=3))
def test_both_codecs_make_the_same_of_mutated_bytes(value: Any, changes: list[tuple[str, int, bytes]]) -> None:
    data = encode(value)
    for change in changes:
        data = mutate(data, change) if data else data

    assert outcome(decode, data) == outcome(CODEC.decode, data)


@examples(300)
@given(st.sampled_from(sorted(schema.header for schema in SCHEMAS.present.values())), st.binary(max_size=60))
def test_both_codecs_make_the_same_of_random_bytes(header: bytes, rest: bytes) -> None:
    assert outcome(decode, header + rest) == outcome(CODEC.decode, header + rest)


@examples(100)
@given(st.binary(max_size=40))
def test_bytes_that_are_no_message_raise_nothing_but_invalid_message(data: bytes) -> None:
    assert isinstance(outcome(decode, data), str)


@examples(100)
@given(values, st.integers(0, 400))
def test_what_can_be_read_can_be_written_again(value: Any, at: int) -> None:
    read = outcome(decode, mutate(encode(value), ("replace", at, b"a")))

    assert isinstance(read, str) or decode(encode(read)) == read


# Older versions


def test_an_older_version_is_read_as_the_present_one(tmp_path: Path) -> None:
    shutil.copytree(FILES, tmp_path / "schemas")
    older = json.loads((FILES / "event.avsc").read_text())
    older["fields"] = [field for field in older["fields"] if field["name"] not in ("source", "depth")]
    older["fields"].append({"name": "region", "type": "string", "default": ""})
    (tmp_path / "schemas" / "history" / "Event" / "0.avsc").write_text(json.dumps(older))
    record = {"code": "order.paid", "id": "e-1", "time_ms": 5, "key": None, "payload": b"[1]", "region": "north"}
    data = avro_write(avro_schema(older), record | {"traceparent": None, "root": "r-1"})

    event = Codec(load(tmp_path / "schemas")).decode(data, {Event})

    assert event == Event("order.paid", "e-1", 5, None, [1], root="r-1")


# What is not written

UNWRITABLE = [
    (msgspec.structs.replace(EVENT, code=""), "Event.code is empty"),
    (msgspec.structs.replace(EVENT, code=None), "Event.code cannot be a NoneType"),
    (msgspec.structs.replace(EVENT, key="\ud800"), "Event.key has half of a surrogate pair, which UTF-8 cannot say"),
    (msgspec.structs.replace(EVENT, time_ms=-1), "Event.time_ms is -1, outside the years 1970 to 9999"),
    (msgspec.structs.replace(EVENT, time_ms=1.5), "Event.time_ms cannot be a float"),
    (msgspec.structs.replace(EVENT, depth=2**31), "Event.depth is 2147483648, outside 32 bits"),
    (msgspec.structs.replace(STATUS, arguments=[]), "TaskStatus.arguments is not a JSON object: list"),
    (msgspec.structs.replace(RESULT, outcome=None), "TaskResult.outcome cannot be a NoneType"),
    (msgspec.structs.replace(ERROR, outcome=Failure("T", "AB", "m")), "TaskResult.outcome.bases cannot be a str"),
    (Activation("t", "v", 2**63), "Activation.definition_offset is 9223372036854775808, outside 64 bits"),
]


@pytest.mark.parametrize(("value", "sentence"), UNWRITABLE, ids=[sentence for _, sentence in UNWRITABLE])
def test_what_could_not_be_read_is_not_written(value: Any, sentence: str) -> None:
    assert (outcome(encode, value), outcome(CODEC.encode, value)) == (sentence, sentence)


@pytest.mark.parametrize("payload", [{1, 2}, 2**64, {1: 2}, "\ud800", object()])
def test_a_payload_that_json_cannot_say_is_not_written(payload: Any) -> None:
    with pytest.raises(InvalidMessage, match=r"^Event\.payload cannot be written as JSON: "):
        encode(msgspec.structs.replace(EVENT, payload=payload))


# Prefixes

LONG = "x" * 64

ROUTED = [
    (event_prefixes, EVENT, ("event", "order.paid")),
    (event_prefixes, msgspec.structs.replace(EVENT, code=LONG), ("event", LONG)),
    (status_prefixes, STATUS, ("status", "billing.invoice", "success")),
    (status_prefixes, msgspec.structs.replace(STATUS, task=LONG), ("status", LONG, "success")),
    (result_prefixes, RESULT, ("result", "billing.invoice")),
    (result_prefixes, ERROR, ("exception", "billing.invoice")),
    (result_prefixes, msgspec.structs.replace(ERROR, task=LONG), ("exception", LONG)),
]
CUTTERS = {Event: event_prefixes, TaskStatus: status_prefixes, TaskResult: result_prefixes}
DECODERS = {Event: decode_event, TaskStatus: decode_status, TaskResult: decode_result}


@pytest.mark.parametrize(("cut", "value", "route"), ROUTED, ids=[repr(route)[:40] for _, _, route in ROUTED])
def test_a_prefix_says_who_can_listen(cut: Any, value: Any, route: tuple[str, ...]) -> None:
    assert [parse_prefix(prefix) for prefix in cut([encode(value)])] == [route]


def test_messages_that_differ_behind_the_routing_part_have_one_prefix() -> None:
    others = [msgspec.structs.replace(EVENT, id=f"e-{n}", payload=[n]) for n in range(3)]

    assert len(set(event_prefixes([encode(event) for event in others]))) == 1


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="no value"),
        pytest.param(b"", id="no bytes"),
        pytest.param(HEADER, id="a header only"),
        pytest.param(b"\xc3\x02" + encode(EVENT)[2:], id="another marker"),
        pytest.param(encode(STATUS), id="another record"),
        pytest.param(event(code=b"\0"), id="an empty code"),
        pytest.param(event(code=b"\x01"), id="a negative length"),
        pytest.param(event()[:11], id="cut off in the code"),
        pytest.param(event(code=HUGE), id="a huge length"),
    ],
)
def test_a_broken_routing_part_has_no_prefix_and_spoils_no_other(value: bytes | None) -> None:
    assert event_prefixes([encode(EVENT), value, encode(EVENT)]) == [encode(EVENT)[:21], b"", encode(EVENT)[:21]]


def test_an_outcome_that_does_not_exist_has_no_prefix() -> None:
    data = encode(RESULT)
    branch = len(result_prefixes([data])[0]) - 1

    assert result_prefixes([data[:branch] + b"\x04" + data[branch + 1 :]]) == [b""]


@pytest.mark.parametrize(
    ("prefix", "sentence"),
    [
        (b"", f"message begins with nothing, {MARK}"),
        (encode(EVENT)[:20], "Event.code is cut off: 10 bytes are announced, 9 are left"),
        (encode(EVENT)[:22], "a prefix ends after 21 bytes, these are 22"),
        (HEADER + b"\x02\xff", "Event.code is not UTF-8"),
        (
            encode(Tick(0, 0)),
            "Tick found where Event or TaskResult or TaskStatus is expected",
        ),
    ],
)
def test_bytes_that_are_not_a_prefix_are_not_parsed(prefix: bytes, sentence: str) -> None:
    assert outcome(parse_prefix, prefix) == sentence


@examples(200)
@given(messages, st.lists(mutations, max_size=2))
def test_a_message_that_can_be_read_has_the_prefix_of_its_routing_part(
    value: Any, changes: list[tuple[str, int, bytes]]
) -> None:
    data = encode(value)
    for change in changes:
        data = mutate(data, change) if data else data
    [prefix] = CUTTERS[type(value)]([data])
    message = outcome(DECODERS[type(value)], data)

    if not isinstance(message, str):
        assert (data.startswith(prefix), parse_prefix(prefix)) == (True, route_of(message))


def route_of(message: Event | TaskStatus | TaskResult) -> tuple[str, ...]:
    match message:
        case Event():
            return ("event", message.code)
        case TaskStatus():
            return ("status", message.task, message.status)
        case TaskResult():
            return ("result" if isinstance(message.outcome, Success) else "exception", message.task)


# Arrivals


def arrival(value: Any, data: bytes) -> Any:
    """What becomes of the bytes of a message that begins as that of ``value`` does, or the error."""
    [prefix] = CUTTERS[type(value)]([encode(value)])
    return outcome(arrival_decoder(prefix), data)


@examples(300)
@given(messages, st.lists(mutations, max_size=2))
def test_a_message_arrives_as_it_is_decoded(value: Any, changes: list[tuple[str, int, bytes]]) -> None:
    [prefix] = CUTTERS[type(value)]([encode(value)])
    rest = encode(value)[len(prefix) :]
    for change in changes:
        rest = mutate(rest, change) if rest else rest

    made, decoded = arrival(value, prefix + rest), outcome(DECODERS[type(value)], prefix + rest)

    if isinstance(made, str):
        assert made == decoded
    else:
        assert made == (decoded, decoded.id.encode(), write_long(decoded.time_ms))


@pytest.mark.parametrize("time_ms", [0, 2**13 - 1, 2**13, 2**34 - 1, 2**34, NOW_MS, 2**41 - 1, 2**41, LAST_MS])
def test_an_instant_arrives_as_it_is_written(time_ms: int) -> None:
    value = msgspec.structs.replace(EVENT, time_ms=time_ms)

    assert arrival(value, encode(value)) == (value, b"e-1", write_long(time_ms))


def test_an_instant_written_longer_than_need_be_arrives_as_it_is_written_here() -> None:
    shortest = write_long(2**34 - 1)
    data = event(time_ms=shortest[:-1] + bytes((shortest[-1] | 0x80, 0)))
    [prefix] = event_prefixes([data])

    assert arrival_decoder(prefix)(data) == (Event("a", "b", 2**34 - 1, None, {}), b"b", shortest)


def test_a_prefix_written_longer_than_need_be_is_read_as_any_other() -> None:
    data = event(code=b"\x84\0a\x04", time_ms=write_long(NOW_MS))  # one byte earlier begins an id of two bytes
    [prefix] = event_prefixes([data])

    assert arrival_decoder(prefix)(data) == (Event("a\x04", "b", NOW_MS, None, {}), b"b", write_long(NOW_MS))


# Firings


@examples(200)
@given(invocations, st.binary(min_size=16, max_size=16), participants, st.integers(0, 2**31 - 1))
def test_a_firing_is_written_as_avro_writes_its_two_records(
    value: Invocation, run_id: bytes, of: Participant, epoch: int
) -> None:
    run_hex = run_id.hex()
    one = msgspec.structs.replace(of, time_ms=value.time_ms)
    cause, root = f"{one.kind}/{one.id}", value.root or one.id
    invocation = msgspec.structs.replace(value, id=run_hex, run_id=run_hex, causes=(cause,), root=root, expires_ms=None)
    run = TriggerRun(
        *(value.trigger_id, value.trigger_version, epoch, value.task, run_hex, run_hex, value.time_ms, value.key),
        participants=(one,),
        root=root,
        depth=value.depth,
    )
    encode_firing = firing_encoder(
        *(value.task, value.trigger_id, value.trigger_version, epoch, one.leaf, one.kind, one.topic, one.partition)
    )

    written = encode_firing(
        *(run_id, value.key, orjson.dumps(value.arguments), one.id.encode(), write_long(value.time_ms)),
        *(value.traceparent, root.encode(), value.depth, one.offset),
    )

    assert written == (
        avro_write(schema_of(invocation), datum(invocation)),
        avro_write(schema_of(run), datum(run)),
        run_hex.encode(),
    )


def test_a_firing_that_cannot_be_written_is_refused() -> None:
    encode_firing = firing_encoder("ship", "ship-order", "1", 0, "when", "event", "events", 0)

    with pytest.raises(InvalidMessage, match=r"a firing cannot be written: .* surrogates not allowed"):
        encode_firing(bytes(16), "\ud800", b"{}", b"e-1", write_long(NOW_MS), None, b"e-1", 1, 7)
