"""Firings on the wire: the bytes that the general codec makes of the whole records."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from stream_triggers.core.invocation import Invocation, TriggerRun
from stream_triggers.core.keyed.state import Firing
from stream_triggers.core.message import Participant
from stream_triggers.core.trigger import parse_trigger
from stream_triggers.runtime.codec.general import CODEC
from stream_triggers.runtime.keyed.firing import write_firing

texts = st.text(max_size=20)
names = st.text(min_size=1, max_size=20)
instants = st.integers(0, 253_402_300_799_999)
participants = st.builds(
    Participant, texts, st.sampled_from(["event", "status", "schedule"]), texts, texts, st.integers(-1, 2**31 - 1),
    st.integers(-1, 2**62), instants,
)  # fmt: skip
arguments = st.dictionaries(texts, st.none() | st.integers(-(2**53), 2**53) | texts, max_size=3).map(orjson.dumps)
firings = st.builds(
    Firing, st.binary(min_size=16, max_size=16), names, instants, st.none() | texts, arguments,
    st.lists(participants, max_size=4).map(tuple), st.none() | texts, st.none() | texts, st.integers(0, 2**31 - 1),
    st.none() | instants,
)  # fmt: skip


@given(firing=firings, epoch=st.integers(0, 2**31 - 1), version=texts)
def test_the_bytes_are_those_of_the_general_codec(firing: Firing, epoch: int, version: str) -> None:
    trigger = parse_trigger({"id": "t.1", "task": "other", "epoch": epoch, "when": {"event": "x"}})
    run_id = firing.run_id.hex()
    causes = tuple(f"{each.kind}/{each.id}" for each in firing.participants)
    invocation = Invocation(
        firing.task, "t.1", version, run_id, run_id, firing.time_ms, firing.key, orjson.loads(firing.arguments),
        causes, firing.traceparent, firing.root, firing.depth, firing.expires_ms,
    )  # fmt: skip
    run = TriggerRun(
        "t.1", version, epoch, firing.task, run_id, run_id, firing.time_ms, firing.key, firing.participants,
        firing.root, firing.depth,
    )  # fmt: skip
    assert write_firing(firing, trigger, version) == (CODEC.encode(invocation), CODEC.encode(run), run_id.encode())
