"""Replay: what the records of a facts partition make, once more, from the records alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from stream_triggers.runtime.keyed.active import Compile
from stream_triggers.runtime.keyed.evaluate_stage import EvaluateStage
from stream_triggers.runtime.keyed.states import States
from stream_triggers.runtime.log import Record
from stream_triggers.runtime.outputs import Outputs
from stream_triggers.runtime.store import Changes, MemoryStore, Store
from stream_triggers.telemetry import Counters


def replay(
    batches: Iterable[Sequence[Record]],
    compile_: Compile,
    *,
    partitions: int,
    store: Store | None = None,
) -> Iterator[Outputs]:
    """For each batch what it makes: the invocations, run records and decisions that workers wrote, byte for byte.

    ``batches`` are all records of facts partitions from their first on, each in order; how they are cut is the
    caller's. ``partitions`` is the number of those of the facts. What has to be remembered is kept in ``store``, which
    must be empty; in memory without one. Which partition of ``trigger-runs`` a worker wrote to is its own.
    """
    kept = store or MemoryStore()
    states = States(kept)
    stage = EvaluateStage(partitions, 0, states, compile_, Counters())
    for batch in batches:
        yield stage.process(batch)
        states.records()
        changes = Changes()
        states.settle(changes)
        kept.apply(changes)
