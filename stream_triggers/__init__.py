"""Triggers on Kafka: when these things happen, run this task with these arguments, exactly once.

What a program needs is here by name, and imported when it is first used: a producer does not load the task worker, nor
a task worker the client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream_triggers.client import AsyncClient, Client
    from stream_triggers.config import Config
    from stream_triggers.consumer import TaskApp, invocations
    from stream_triggers.core.builder import (
        TriggerBuilder,
        on_any_result,
        on_at,
        on_cron,
        on_event,
        on_every,
        on_exception,
        on_result,
        on_status,
    )
    from stream_triggers.core.compose import (
        after,
        aggregate,
        all_of,
        any_of,
        at_least,
        calendar,
        changed,
        count,
        missing,
        not_,
        one_or_more,
        sequence,
        times,
    )
    from stream_triggers.core.invocation import Invocation
    from stream_triggers.core.trigger import Trigger
    from stream_triggers.trigger_file import load_triggers

__all__ = [
    "AsyncClient",
    "Client",
    "Config",
    "Invocation",
    "TaskApp",
    "Trigger",
    "TriggerBuilder",
    "after",
    "aggregate",
    "all_of",
    "any_of",
    "at_least",
    "calendar",
    "changed",
    "count",
    "invocations",
    "load_triggers",
    "missing",
    "not_",
    "on_any_result",
    "on_at",
    "on_cron",
    "on_event",
    "on_every",
    "on_exception",
    "on_result",
    "on_status",
    "one_or_more",
    "sequence",
    "times",
]

_HOMES = {
    "client": ("AsyncClient", "Client"),
    "config": ("Config",),
    "consumer": ("TaskApp", "invocations"),
    "core.builder": (
        "TriggerBuilder",
        *("on_any_result", "on_at", "on_cron", "on_event", "on_every", "on_exception", "on_result", "on_status"),
    ),
    "core.compose": (
        *("after", "aggregate", "all_of", "any_of", "at_least", "calendar"),
        *("changed", "count", "missing", "not_", "one_or_more", "sequence", "times"),
    ),
    "core.invocation": ("Invocation",),
    "core.trigger": ("Trigger",),
    "trigger_file": ("load_triggers",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
