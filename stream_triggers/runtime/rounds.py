"""Rounds of work until somebody asks to stop, with growing pauses while what they need is away."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from stream_triggers.errors import StateInUse, Unavailable
from stream_triggers.telemetry import LogEvent, log

logger = logging.getLogger(__name__)

PAUSE_MIN_S, PAUSE_MAX_S = 0.5, 15.0
"""Growing pauses between attempts."""


def work_until(stop: threading.Event, first: Callable[[], object], then: Callable[[], object]) -> None:
    """Do ``first`` until it succeeds, and from then on ``then``, until ``stop`` is set.

    What raises ``Unavailable`` is done again after a pause; every other error goes through.
    """
    pause_s, step = PAUSE_MIN_S, first
    while not stop.is_set():
        try:
            step()
            pause_s, step = PAUSE_MIN_S, then
        except Unavailable as error:
            event: LogEvent = "state in use" if isinstance(error, StateInUse) else "kafka unavailable"
            log(logger, event, error=error.message, pause_s=pause_s)
            stop.wait(pause_s)
            pause_s = min(PAUSE_MAX_S, pause_s * 2)
