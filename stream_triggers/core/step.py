"""What a match makes: the key and the arguments of its run, and the invocation spelled out.

The route stage and ``verify`` share what can fail (``key_and_arguments``); the rest of an invocation is spelled out
here for ``verify``, and the route stage must write the same, byte for byte.
"""

from __future__ import annotations

import orjson

from stream_triggers.core.flow import DEPTH_DEFAULT
from stream_triggers.core.invocation import Invocation
from stream_triggers.core.message import TEXT_BYTES_MAX, Kind, Message, kind_of, require_short
from stream_triggers.core.route import Plan
from stream_triggers.errors import EvaluationFailed


def key_and_arguments(
    owner: Plan, message: Message, kind: Kind, run_id: str, bytes_max: int
) -> tuple[str | None, bytes]:
    """The key and the arguments, as JSON, of the run that ``owner`` makes of a message it has matched.

    Raises ``EvaluationFailed`` when they cannot be made, cannot be written, or outgrow ``bytes_max`` together; and when
    the key, or a text that the run takes over from ``message``, is longer than ``TEXT_BYTES_MAX``.
    """
    trigger_id = owner.trigger.id
    key = owner.key(message, kind, trigger_id) if owner.key else None
    require_short(message, key)
    try:
        arguments = orjson.dumps(owner.arguments(message, kind, trigger_id, run_id))
    except TypeError as error:  # nested more deeply than can be written, though it could be read
        raise EvaluationFailed(f"arguments cannot be written as JSON: {error}") from error
    if len(arguments) + len(key or "") > bytes_max:
        size = len(arguments) + len(key or "")
        raise EvaluationFailed(f"arguments and key have {size} bytes, the limit is {bytes_max}")
    return key, arguments


def told_key(owner: Plan, leaf: str, message: Message, kind: Kind) -> str | None:
    """The key that a decision about a match of ``owner`` names, which made no run or fact; it never fails.

    None where there is none, where it cannot be made, and where it is longer than ``TEXT_BYTES_MAX``.
    """
    key_of = owner.key if owner.keyed is None else owner.keyed.routing.key_of(leaf)
    if key_of is None:
        return None
    try:
        key = key_of(message, kind, owner.trigger.id)
    except EvaluationFailed:
        return None
    return (key or None) if len(key.encode()) <= TEXT_BYTES_MAX else None


def too_deep(message: Message) -> str | None:
    """Why ``message`` triggers nothing directly: its chain of causes is as long as one may be; None if it is not.

    A trigger with another ``max_depth`` fires in the keyed stage.
    """
    if message.depth < DEPTH_DEFAULT:
        return None
    return f"this run would be {message.depth + 1} deep in its chain of causes, max_depth is {DEPTH_DEFAULT}"


def invoke(owner: Plan, message: Message, bytes_max: int) -> Invocation:
    """The invocation that ``owner`` makes of a message it has matched; raises ``EvaluationFailed``."""
    trigger, kind = owner.trigger, kind_of(message)
    run_id = owner.run_ids.of_one(kind, message.id).hex()
    key, arguments = key_and_arguments(owner, message, kind, run_id, bytes_max)
    return Invocation(
        task=trigger.task,
        trigger_id=trigger.id,
        trigger_version=owner.version,
        id=run_id,
        run_id=run_id,
        time_ms=message.time_ms,
        key=key,
        arguments=orjson.loads(arguments),
        causes=(f"{kind}/{message.id}",),
        traceparent=message.traceparent,
        root=message.root or message.id,
        depth=message.depth + 1,
    )
