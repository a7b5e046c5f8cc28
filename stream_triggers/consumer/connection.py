"""Consuming invocations on Kafka, from Python; ``stream-triggers work`` does it from a shell.

Every program of a group needs a slot of its own, ``Config.slot``, which stays the same when the program starts again:
then nothing moves, and what it left open is settled at once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from stream_triggers.config import Config
from stream_triggers.consumer.app import TaskApp
from stream_triggers.consumer.iterator import iterate
from stream_triggers.consumer.worker import TaskWorker, Unknown
from stream_triggers.core.invocation import Invocation
from stream_triggers.runtime.clock import SystemClock
from stream_triggers.runtime.kafka import KafkaLog, KafkaSettings


def task_worker(app: TaskApp, config: Config, *, group: str | None = None, unknown: Unknown = "stop") -> TaskWorker:
    """A worker for the tasks of ``app``; ``group`` is by default the application's name and ``-tasks``."""
    log = _member_log(config, group or f"{config.application}-tasks")
    return TaskWorker(app, log, SystemClock(), config, unknown=unknown)


def invocations(
    config: Config, *, group: str, from_start: bool = True, stop: threading.Event | None = None
) -> Iterator[Invocation]:
    """Invocations as they come, of all tasks, to the programs of ``group``; see ``iterate`` for what is committed when.

    >>> for invocation in invocations(Config(), group="audit"):  # doctest: +SKIP
    ...     print(invocation.id, invocation.task, invocation.arguments)
    """
    log = _member_log(config, group)
    return iterate(log, SystemClock(), config, stop or threading.Event(), from_start=from_start)


def _member_log(config: Config, group: str) -> KafkaLog:
    name = f"{group}-{config.slot}"
    return KafkaLog(
        KafkaSettings(
            bootstrap_servers=config.bootstrap_servers,
            group=group,
            instance=name,
            transactional_id=name,
            session_timeout_ms=config.session_timeout_ms,
            transaction_timeout_ms=config.transaction_timeout_ms,
            extra=config.kafka,
        )
    )
