"""The invocation of a match, spelled out: what ``verify`` expects, and the route stage must write byte for byte."""

from __future__ import annotations

from stream_triggers.core.invocation import Invocation
from stream_triggers.core.message import Message, kind_of
from stream_triggers.core.route import Plan


def invoke(owner: Plan, message: Message) -> Invocation:
    """The invocation that ``owner`` makes of a message it has matched; raises ``EvaluationFailed``."""
    trigger, kind = owner.trigger, kind_of(message)
    run_id = owner.run_ids.of_one(kind, message.id).hex()
    return Invocation(
        task=trigger.task,
        trigger_id=trigger.id,
        trigger_version=owner.version,
        id=run_id,
        run_id=run_id,
        time_ms=message.time_ms,
        key=owner.key(message, kind, trigger.id) if owner.key else None,
        arguments=owner.arguments(message, kind, trigger.id, run_id),
        causes=(f"{kind}/{message.id}",),
        traceparent=message.traceparent,
        root=message.root or message.id,
        depth=message.depth + 1,
    )
