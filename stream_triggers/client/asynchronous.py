"""The client for programs that run on asyncio: what waits, waits in a thread.

Rules:
1. Sending returns at once, as in ``Client``. While the send buffer is full it blocks the event loop: there is nothing
   useful to do but to send less. ``flush`` from time to time keeps it from filling.
2. Everything that asks Kafka something is awaited. Cancelling the await does not take back what is being done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from stream_triggers.client.definitions import Change, PauseFields, StoredTrigger, TriggerSpec
from stream_triggers.client.messages import FLUSH_TIMEOUT_S, Client, EventFields, ReportFields, StatusFields
from stream_triggers.client.unusable import Unusable
from stream_triggers.config import Config
from stream_triggers.core.builder import Task, TriggerBuilder
from stream_triggers.core.message import Event, JsonValue
from stream_triggers.core.record import CaughtUp


class AsyncClient:
    """A ``Client`` on asyncio; takes what ``Client`` takes, and connects on entering ``async with``."""

    def __init__(self, config: Config | None = None, **options: Any) -> None:
        self._config = config
        self._options = options
        self._client: Client | Unusable = Unusable(
            "the client is not connected", "use it within its block: async with AsyncClient(...) as client"
        )

    async def __aenter__(self) -> Self:
        self._client = await asyncio.to_thread(Client, self._config, **self._options)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._client.__exit__, kind, error, trace)

    def event(self, code: str, payload: JsonValue = None, **fields: Unpack[EventFields]) -> Event:
        """An event for ``emit_events``, as ``Client.event`` makes it."""
        return self._client.event(code, payload, **fields)

    def emit_event(self, code: str, payload: JsonValue = None, **fields: Unpack[EventFields]) -> str:
        """Send an event and return its id; does not wait."""
        return self._client.emit_event(code, payload, **fields)

    def emit_events(self, events: Iterable[Event]) -> int:
        """Send many events and return how many; does not wait."""
        return self._client.emit_events(events)

    def report_task_status(
        self, task: str, invocation_id: str, status: str, previous: str | None = None, **fields: Unpack[StatusFields]
    ) -> str:
        """Report that an invocation came to ``status``; does not wait."""
        return self._client.report_task_status(task, invocation_id, status, previous, **fields)

    def report_invocation_result(
        self, task: str, invocation_id: str, result: JsonValue, **fields: Unpack[ReportFields]
    ) -> str:
        """Report what an invocation returned; does not wait."""
        return self._client.report_invocation_result(task, invocation_id, result, **fields)

    def report_invocation_failure(
        self,
        task: str,
        invocation_id: str,
        exception: BaseException | str,
        message: str = "",
        *,
        bases: Iterable[str] = (),
        final: bool = True,
        **fields: Unpack[ReportFields],
    ) -> str:
        """Report the exception that ended an attempt; does not wait."""
        return self._client.report_invocation_failure(
            task, invocation_id, exception, message, bases=bases, final=final, **fields
        )

    async def flush(self, timeout_s: float = FLUSH_TIMEOUT_S) -> None:
        """Wait until Kafka has taken everything sent; raises what ``Client.flush`` raises."""
        await asyncio.to_thread(self._client.flush, timeout_s)

    async def apply(
        self, triggers: str | Path | Iterable[TriggerSpec], *, author: str | None = None
    ) -> tuple[Change, ...]:
        """Store triggers, all or none, as ``Client.apply`` does."""
        return await asyncio.to_thread(self._client.apply, triggers, author=author)

    async def register_trigger(
        self, trigger: TriggerSpec | TriggerBuilder, trigger_id: str = "", task: Task = "", *, author: str | None = None
    ) -> Change:
        """Store one trigger, as ``Client.register_trigger`` does."""
        return await asyncio.to_thread(self._client.register_trigger, trigger, trigger_id, task, author=author)

    async def delete_trigger(self, trigger_id: str) -> Change:
        """Remove a trigger."""
        return await asyncio.to_thread(self._client.delete_trigger, trigger_id)

    async def pause_trigger(self, trigger_id: str, **pause: Unpack[PauseFields]) -> Change:
        """Keep a trigger from firing, as ``Client.pause_trigger`` does."""
        return await asyncio.to_thread(lambda: self._client.pause_trigger(trigger_id, **pause))

    async def resume_trigger(self, trigger_id: str, *, catchup: CaughtUp | None = None) -> Change:
        """Let a paused trigger fire again, as ``Client.resume_trigger`` does."""
        return await asyncio.to_thread(self._client.resume_trigger, trigger_id, catchup=catchup)

    async def reset_trigger(self, trigger_id: str, key: str | None = None, *, author: str = "", why: str = "") -> str:
        """Have a trigger forget everything of ``key``, as ``Client.reset_trigger`` does."""
        return await asyncio.to_thread(self._client.reset_trigger, trigger_id, key, author=author, why=why)

    async def list_triggers(self) -> tuple[StoredTrigger, ...]:
        """Every stored trigger, by id."""
        return await asyncio.to_thread(self._client.list_triggers)
