"""Makes plans of definitions as they stand in activations."""

from __future__ import annotations

import logging
from functools import lru_cache

import orjson

from stream_triggers.core.filter import Functions
from stream_triggers.core.keyed.plan import KeyedPlan
from stream_triggers.core.trigger import parse_trigger
from stream_triggers.errors import InvalidTrigger, Misconfigured
from stream_triggers.runtime.keyed.active import Compile
from stream_triggers.runtime.keyed.plans import Plan
from stream_triggers.telemetry import log

logger = logging.getLogger(__name__)

PLANS_KEPT_MAX = 20_000
"""Plans remembered at most; those of a trigger are the same in all partitions."""


def compiler(functions: Functions, bytes_max: int) -> Compile:
    """What makes plans, each once; None for a definition that cannot be used with these ``functions``, told once.

    ``bytes_max`` bounds the arguments and the key of a run.
    """

    @lru_cache(maxsize=PLANS_KEPT_MAX)
    def compile_(trigger_id: str, form: bytes) -> Plan | None:
        try:
            return KeyedPlan(parse_trigger(orjson.loads(form), trigger_id), functions, bytes_max)
        except (InvalidTrigger, Misconfigured, orjson.JSONDecodeError) as error:
            log(logger, "trigger quarantined", trigger=trigger_id, error=error)
            return None

    return compile_
