"""Functions that triggers of the tests call."""

from __future__ import annotations

from stream_triggers.core.message import JsonValue, Message


def is_large(payload: JsonValue) -> bool:
    """Fails where there is no amount."""
    return bool(payload["amount"] > 5)


def arguments(message: Message) -> dict[str, JsonValue]:
    """Arguments made by hand."""
    return {"id": message.id}
