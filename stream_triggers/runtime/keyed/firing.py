"""What a firing of the keyed stage looks like on the wire: its invocation and its run record."""

from __future__ import annotations

from stream_triggers.core.keyed.state import Firing
from stream_triggers.core.trigger import Trigger
from stream_triggers.runtime.codec.hot import encode_keyed_firing


def write_firing(firing: Firing, trigger: Trigger, version: str) -> tuple[bytes, bytes, bytes]:
    """An invocation, its run record, and the run id as hexadecimal text, of one firing of a version of ``trigger``."""
    participants = firing.participants
    return encode_keyed_firing(
        firing.run_id,
        firing.task,
        trigger.id,
        version,
        trigger.epoch,
        firing.time_ms,
        firing.key,
        firing.arguments,
        tuple([f"{each.kind}/{each.id}" for each in participants]),
        participants,
        firing.traceparent,
        firing.root,
        firing.depth,
        firing.expires_ms,
    )
