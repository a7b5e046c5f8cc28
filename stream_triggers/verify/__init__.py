"""Verify: compare what fired with what had to fire, from the topics alone.

The promise: whatever became of workers, brokers and disks, if for a message that the group has committed not exactly
that is in the topics which the definitions in force ask for, there is a finding; and if there is a finding, something
is not as it must be. Everything is judged by id and content, nothing by counting.

    messages up to the committed positions ──core──▶ what must be there ─┐
                                                                         ├─ side by side, by run id ──▶ findings
    invocations, run records, decisions, dead letters ─ what is there ───┘

``scope`` says which messages are judged, ``history`` which triggers took each, from the ``definitions`` and from the
``lanes`` of those that started in the past, ``inputs`` what they ask for, ``outputs`` what is there; ``ledger`` brings
both together on disk, ``runs`` and ``notices`` judge. For triggers with memory or time ``facts`` compares the facts
with the messages, and ``keyed`` what is there with the facts. ``difference`` looks at what is wrong once more,
``decoding`` reads bytes, ``report`` is what comes out.

What a finding says
===================

* *lost*: a message had to fire, and there is no invocation.
* *duplicated*: something is there more often than it had to be. *unexpected*: nothing asks for it.
* *wrong*: an invocation has other content than the definition gives it, a dead letter other bytes than the message had.
* *unrecorded*: it fired, and no run record says so.
* *unreported*: a message that could not be handled, or a repeat, and the decision or the dead letter is missing.

Beside live workers
===================

Workers may go on while this runs, and nothing they do in the meantime is a finding. In this order:

1. The committed positions are taken; asking for them waits for transactions that hold some. What belongs to messages
   before them was therefore written before this moment, and is committed.
2. ``progress`` is read. How far a lane has come stands there in the transaction of what it made, so all of that before
   this position is committed. What it makes from here on is not judged, though it may be of messages before the
   committed positions. A trigger that joins from here on does so behind those.
3. The end of ``invocations`` is taken, and what is before it is read, which waits for the transactions that are open
   there. Of each invocation that has been read the transaction has ended now.
4. Only then the end of ``trigger-runs`` is taken, and of ``dead-letters``. A run record is in the transaction of its
   invocation, so the run record of each invocation that has been read is before that end.
5. An invocation of a message behind the committed positions is thus known by its run record, which has the position,
   and left out. One without a run record belongs to no message, or the record is missing: both are findings.
6. The definitions are read after the first two steps, too: what was in force for a message before the committed
   positions, and for a lane before its own, had been written by then. What has been applied since is read when the
   outputs have been, and the end of the facts is known: a trigger may have begun in the past meanwhile, and what its
   lanes have made is no fault.
7. After the end of each output topic those of the inputs and of the definitions are taken: no worker can have written
   anything there about a position behind them.
8. The messages are read last, from positions that were fixed at the start.

What cannot be judged
=====================

* ``unjudged`` counts messages before the first note about definitions, or so old that outputs of theirs may have been
  deleted, and those for which a definition was in force that may have been compacted away. There are no findings of
  them, but for what other definitions ask of the last. The same holds of a message that came to a trigger by a lane of
  which the note or the definition is gone, and of a lane whose messages the trigger may have had before under the same
  claims: it was deleted and applied again under the same epoch, or follows its runs.
* A claim is kept for ``claim_retention_ms`` and up to a third longer. A repeat that comes later may fire again or not;
  if it does, and its run record is younger than the one before by the retention, it counts as ``refired``.
* Of triggers with memory or time the facts are compared with the messages, and what is made of the facts is made once
  more. For the latter all facts must be there, from the first on: else their invocations count as ``unjudged`` and
  ``unevaluated``, and are looked through for repeats.
* Where not everything was read (``since_ms``, or old outputs are gone), a decision that something is a repeat is
  believed if nothing is known of what it repeats.
* A run record outside of the range accounts for one invocation of its run id, of any content: an invocation of the same
  id that is lost in another partition at the same time is not seen before the next verification.
* Outputs that were deleted by hand or by size look as if they had been lost. Of a run record, its run id and position
  are compared, and nothing else.

Bounds
======

Memory does not depend on how many messages there are: it holds a batch of records, a batch of rows, RocksDB's buffers
(``BLOCK_CACHE_BYTES`` and ``WRITE_BUFFER_BYTES``), what ``history`` keeps, and ``FINDINGS_KEPT_MAX`` findings a fault.
The ledger needs about 200 bytes of disk for a run, in the directory for temporary files, and is gone afterwards.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from stream_triggers.config import Config
from stream_triggers.core.filter import Functions
from stream_triggers.errors import Misconfigured
from stream_triggers.runtime.clock import Clock, SystemClock
from stream_triggers.runtime.lag import partitions_of
from stream_triggers.runtime.log import Log, Record, TopicPartition
from stream_triggers.runtime.reading import read_between
from stream_triggers.runtime.rocksdb import RocksStore
from stream_triggers.runtime.store import Store
from stream_triggers.runtime.topics import Topics
from stream_triggers.verify.definitions import Definitions
from stream_triggers.verify.difference import explain
from stream_triggers.verify.facts import Facts
from stream_triggers.verify.history import History
from stream_triggers.verify.inputs import Inputs
from stream_triggers.verify.keyed import Keyed
from stream_triggers.verify.lanes import Lanes
from stream_triggers.verify.ledger import NOTICES, RUNS, Ledger
from stream_triggers.verify.notices import judge_notices
from stream_triggers.verify.outputs import Outputs
from stream_triggers.verify.report import FINDINGS_KEPT_MAX, Fault, Finding, Report
from stream_triggers.verify.runs import Court, judge_runs
from stream_triggers.verify.scope import Scope

__all__ = ["FINDINGS_KEPT_MAX", "PHASES", "Fault", "Finding", "Progress", "Report", "verify"]

PHASES = ("invocations", "run records", "dead letters", "messages", "facts", "evaluation", "runs", "notices")
"""What is worked through, in order: five kinds of records are read, the last evaluated again, and two kinds of rows
judged."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told at the start of a phase, after each batch and at the end: its name, how much is done, how much there is.

Of records there are fewer than positions, so what is done jumps to all of it at the end.
"""

BLOCK_CACHE_BYTES = 8 * 1024 * 1024
WRITE_BUFFER_BYTES = 16 * 1024 * 1024

JUDGED_BETWEEN = 10_000
"""Rows that are judged between two calls of ``progress``."""


def verify(
    cluster: Log,
    config: Config,
    functions: Functions,
    *,
    since_ms: int | None = None,
    until_ms: int | None = None,
    clock: Clock | None = None,
    open_store: Callable[[Path], Store] | None = None,
    progress: Progress = lambda _phase, _done, _total: None,
    waits_for: Callable[[Sequence[TopicPartition]], None] = lambda _partitions: None,
) -> Report:
    """Judge what ``config.application`` has committed so far; may run beside live workers.

    ``cluster`` is a connection in the name of the application's group, which it does not join. Judged are messages
    whose record has a time from ``since_ms`` on and before ``until_ms``, and what was fired because of them.
    ``functions`` and ``config`` must be those of the workers. ``waits_for`` is told each time that nothing comes of
    partitions that are not read to their ends, some times a second.

    Raises ``Misconfigured`` when a topic is missing, or when workers have used a function that is not allowed here.
    """
    topics = Topics.of(config)
    now_ms = (clock or SystemClock()).now_ms()
    scope = Scope(
        cluster,
        topics,
        claim_retention_ms=config.claim_retention_ms,
        since_ms=since_ms,
        until_ms=until_ms,
        now_ms=now_ms,
    )
    with _directory() as directory:
        store = (open_store or _open_store)(Path(directory))
        try:
            return _Verification(
                cluster, config, topics, functions, scope, Ledger(store), progress, waits_for, now_ms
            ).run()
        finally:
            store.close()


class _Verification:
    def __init__(
        self,
        cluster: Log,
        config: Config,
        topics: Topics,
        functions: Functions,
        scope: Scope,
        ledger: Ledger,
        progress: Progress,
        waits_for: Callable[[Sequence[TopicPartition]], None],
        now_ms: int,
    ) -> None:
        self._cluster = cluster
        self._topics = topics
        self._scope = scope
        self._ledger = ledger
        self._progress = progress
        self._waits_for = waits_for
        self._now_ms = now_ms
        self._report = Report()
        self._definitions = definitions = Definitions(cluster, topics.trigger_definitions, functions)
        self._history = History(definitions, Lanes(topics, scope, definitions))
        history, report, store = self._history, self._report, ledger.store
        self._keyed = Keyed(cluster, topics, functions, config, scope, definitions, store, report)
        self._facts = Facts(topics.trigger_facts, scope, history, store, report, config.claim_retention_ms)
        self._outputs = Outputs(scope, history, ledger, report, self._keyed, self._facts, topics)
        self._inputs = Inputs(topics, scope, history, ledger, self._facts, report, config.payload_bytes_max)
        self._court = Court(scope, self._history, ledger, self._report, topics, config.claim_retention_ms)

    def run(self) -> Report:
        """In the order that the package gives reasons for."""
        self._history.lanes.load(self._cluster)
        self._definitions.load(self._now_ms)
        self._keyed.load()
        self._read_output("invocations", self._topics.invocations, self._outputs.take_invocations)
        starts = self._read_output("run records", self._topics.trigger_runs, self._outputs.take_runs)
        self._read_output("dead letters", self._topics.dead_letters, self._outputs.take_dead_letters)
        self._look_for_older_notes(starts)
        self._begin_where_definitions_are_known()
        self._settle()
        self._read("messages", self._scope.starts, self._scope.ends, self._inputs.take)
        self._read_facts()
        self._replay()
        self._judge("runs", RUNS, judge_runs(self._court))
        self._judge("notices", NOTICES, judge_notices(self._court))
        explain(self._cluster, self._inputs, self._report)
        return self._report

    def _read_output(
        self, phase: str, topic: str, take: Callable[[Sequence[Record]], None]
    ) -> Mapping[TopicPartition, int]:
        """Read a topic to where it ends now; returns where that began."""
        partitions = partitions_of(self._cluster, [topic])
        starts = self._scope.output_starts(partitions)
        ends = self._cluster.end_offsets(partitions)
        self._outputs.allow(self._cluster.end_offsets(self._scope.inputs), self._definitions.end())
        self._read(phase, starts, ends, take)
        return starts

    def _read(
        self,
        phase: str,
        starts: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
        take: Callable[[Sequence[Record]], None],
    ) -> None:
        done, total = 0, sum(max(0, ends[each] - start) for each, start in starts.items())
        self._progress(phase, 0, total)
        for batch in read_between(self._cluster, starts, ends, waits_for=self._waits_for):
            take(batch)
            done += len(batch)
            self._progress(phase, done, total)
        if total:
            self._progress(phase, total, total)

    def _look_for_older_notes(self, read_from: Mapping[TopicPartition, int]) -> None:
        """Where the definitions in force at the start were noted before what has been read, find that note."""
        scope, history = self._scope, self._history
        known = {place: history.known_from(place) for place in scope.places.values()}
        if all(at is not None and at <= scope.starts[scope.inputs[place]] for place, at in known.items()):
            return
        kept = self._cluster.start_offsets(read_from)
        older = {each: offset for each, offset in kept.items() if offset < read_from[each]}
        for batch in read_between(self._cluster, older, read_from):
            self._outputs.take_notes(batch)

    def _begin_where_definitions_are_known(self) -> None:
        for place in self._scope.places.values():
            known_from = self._history.known_from(place)
            self._scope.begin_at(place, self._scope.end(place) if known_from is None else known_from)

    def _settle(self) -> None:
        """Know who may have written what has been read, and what is before ends that have been taken."""
        self._history.settle(self._cluster, {place: self._scope.end(place) for place in self._scope.places.values()})

    def _read_facts(self) -> None:
        """Read the facts there are, and compare them with what the messages ask for."""
        partitions = list(self._scope.facts_ends)
        starts, ends = self._scope.output_starts(partitions), self._cluster.end_offsets(partitions)
        self._settle()
        self._facts.begin(self._cluster.start_offsets(partitions), self._cluster.end_offsets(self._scope.inputs))
        self._read("facts", starts, ends, self._facts.take)
        self._facts.judge()

    def _replay(self) -> None:
        done, total = 0, sum(self._scope.facts_ends.values())
        self._progress("evaluation", 0, total)
        for count in self._keyed.replay():
            done = min(total, done + count)
            self._progress("evaluation", done, total)
        self._keyed.judge()
        if total:
            self._progress("evaluation", total, total)

    def _judge(self, phase: str, column: str, judged: Iterator[int]) -> None:
        done, told, total = 0, 0, self._ledger.rows[column]
        self._progress(phase, 0, total)
        for rows in judged:
            done += rows
            if done - told >= JUDGED_BETWEEN:
                told = done
                self._progress(phase, done, total)
        self._progress(phase, total, total)


def _directory() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="stream-triggers-verify-")
    except OSError as error:
        raise Misconfigured(
            f"no directory for temporary files can be made: {error.strerror or error}",
            hint="free some space, or name another place: TMPDIR=/var/tmp stream-triggers verify",
        ) from error


def _open_store(path: Path) -> Store:
    return RocksStore(path, block_cache_bytes=BLOCK_CACHE_BYTES, write_buffer_bytes=WRITE_BUFFER_BYTES)
