"""Invocations as a plain iterator, for programs that bring their own way of running them.

Rules:
1. At least once: an invocation counts as dealt with when the next one is asked for. What was taken last when the
   iterator is left, and what a crash leaves uncommitted, comes again.
2. Positions are committed when nothing waits to be read, or after ``commit_interval_ms``; nothing is reported. So what
   has expired comes as well, for whoever only looks on; a program that runs it asks ``Invocation.is_expired`` first.
3. An invocation whose bytes cannot be read goes to the dead letters.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from stream_triggers.config import Config
from stream_triggers.consumer.intake import Intake
from stream_triggers.core.invocation import Invocation
from stream_triggers.runtime.clock import Clock
from stream_triggers.runtime.log import Log
from stream_triggers.runtime.topics import Topics

IDLE_WAIT_S = 0.2
"""How long an idle iterator waits for an invocation before it looks at the request to stop."""


def iterate(
    log: Log, clock: Clock, config: Config, stop: threading.Event, *, from_start: bool = True
) -> Iterator[Invocation]:
    """Invocations as they come, read by the member of a group that ``log`` makes; ends when ``stop`` is set.

    ``from_start`` says where a group begins that never committed: at the first record kept, or after the last one.
    Raises ``Fenced`` when another process has taken this one's slot, ``Unavailable`` when Kafka is away; after either
    a new iterator goes on where the last one committed.
    """
    intake = Intake(log, Topics.of(config), clock, config, from_start=from_start)
    try:
        intake.open()
        while not stop.is_set():
            taken = intake.read(IDLE_WAIT_S)
            if taken is not None:
                yield taken.invocation
                intake.done(taken.record)
        intake.commit()
    finally:
        intake.close()
