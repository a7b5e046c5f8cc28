"""Where a worker's time goes: `python -m bench.stages` prints microseconds per event for every stage of the hot path.

Rules:
1. A stage is a function that is called once a batch or once a transaction, so that timing it costs next to nothing.
2. Two clocks: what the worker's thread computed, and how long it took with waiting. The difference is the broker, and
   on a busy machine other programs.
3. A stage's time includes that of the stages it calls, which are indented below it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, NamedTuple

import typer

from bench.engine import WAIT_S, worker
from bench.load import Work
from stream_triggers.broker import broker_or
from stream_triggers.runtime import changelog, route_stage
from stream_triggers.runtime.claims import Claims
from stream_triggers.runtime.kafka.member import KafkaMember
from stream_triggers.runtime.kafka.producer import KafkaProducer
from stream_triggers.runtime.rocksdb import RocksStore
from stream_triggers.runtime.worker import Worker
