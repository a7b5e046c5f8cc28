"""What the keyed stage had to make, from the facts alone, side by side with what is there.

A facts partition is a function of its records, so they are evaluated once more: what comes out must be in the topics,
byte for byte. That the facts are those that the messages ask for is judged by ``facts``.

    facts up to the committed positions        ──replay──▶ must be there
    facts behind them, up to those committed
    when all outputs had been read             ──replay──▶ may be there

Rules:
1. Of triggers with a keyed version nothing is judged by messages; what their plain versions have fired is left out.
   A plain trigger that was paused is judged by messages where it fires directly, and here by what it has held: how
   often it has fired is for the former to say, that it has and with which content is said here.
2. Only a partition that is there from its first record on can be evaluated. Where any is not, or only a range of time
   is asked for, the invocations of keyed triggers are counted as ``unjudged`` and ``unevaluated``. All that is known of
   them then is that none may be there once more within the claim retention.
3. Invocations and run records must be there exactly as often as they are made, decisions and dead letters at least as
   often: routers write decisions about keyed triggers, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import groupby, islice
from struct import Struct
from typing import Literal, NamedTuple, TypeAlias

from stream_triggers.config import Config
from stream_triggers.core.filter import Functions
from stream_triggers.core.invocation import RUN_ID_BYTES, Decision, Invocation, TriggerRun
from stream_triggers.core.message import Position
from stream_triggers.core.record import DeadLetter
from stream_triggers.runtime.codec import decode
from stream_triggers.runtime.keyed.compiler import compiler
from stream_triggers.runtime.keyed.plans import Plan
from stream_triggers.runtime.keyed.replay import replay
from stream_triggers.runtime.lag import committed_offsets, partitions_of
from stream_triggers.runtime.log import Log, Record
from stream_triggers.runtime.outputs import Outputs
from stream_triggers.runtime.reading import read_between
from stream_triggers.runtime.store import Store
from stream_triggers.runtime.topics import Topics
from stream_triggers.verify.buffer import Buffer
from stream_triggers.verify.definitions import Definitions
from stream_triggers.verify.ledger import run_key
from stream_triggers.verify.report import FINDINGS_KEPT_MAX, Fault, Finding, Report
from stream_triggers.verify.scope import Scope

KEYED = "keyed"
"""The column: run id, kind, digest, side, a number -> trigger id and version, and where it was found."""

DIGEST_BYTES = 16
_KEY = Struct(f">{RUN_ID_BYTES}sB{DIGEST_BYTES}sBQ")
_FOUND = Struct(">IQQ")

Made: TypeAlias = Invocation | TriggerRun | Decision | DeadLetter
"""What the keyed stage makes."""

Kind: TypeAlias = Literal[0, 1, 2, 3]
INVOCATION: Kind = 0
RUN: Kind = 1
DECISION: Kind = 2
LETTER: Kind = 3
NOTICES = (DECISION, LETTER)
"""What is told of a fact and is no run."""

DUE, ALLOWED, FOUND = 0, 1, 2
"""The sides: it must be there, it may be there, it is there."""

_LOST: dict[Kind, Fault] = {INVOCATION: "lost", RUN: "unrecorded", DECISION: "unreported", LETTER: "unreported"}
_NAMES: dict[Kind, str] = {
    INVOCATION: "an invocation",
    RUN: "a run record",
    DECISION: "a decision",
    LETTER: "a dead letter",
}


class _Row(NamedTuple):
    """A row of the column."""

    run: bytes
    kind: Kind
    digest: bytes
    side: int
    trigger_id: str
    version: str
    place: tuple[int, int]
    time_ms: int


class Keyed:
    """Takes in what is there of keyed triggers, makes once more what must be there, and compares."""

    def __init__(
        self,
        cluster: Log,
        topics: Topics,
        functions: Functions,
        config: Config,
        scope: Scope,
        definitions: Definitions,
        store: Store,
        report: Report,
    ) -> None:
        self._cluster = cluster
        self._topics = topics
        self._scope = scope
        self._definitions = definitions
        self._store = store
        self._report = report
        self._compile = compiler(functions, config.payload_bytes_max)
        self._claim_retention_ms = config.claim_retention_ms
        self._versions: set[tuple[str, str]] = set()
        self._buffer = Buffer(store)
        self._count = 0
        self._side, self._read = DUE, 0
        self._partitions = partitions_of(cluster, [topics.trigger_facts])
        starts = cluster.start_offsets(self._partitions)
        self._is_whole = scope.is_everything and not any(starts.values())

    def load(self) -> None:
        """Note which versions are keyed, when the definitions have been read."""
        self._versions.update(self._definitions.keyed_versions)

    def take(self, value: Made, record: Record) -> None:
        """A record of a keyed trigger in one of the output topics."""
        place = record.partition(), record.offset()
        self._put(value, record.value() or b"", FOUND, place, max(0, record.timestamp()[1]))

    def replay(self) -> Iterator[int]:
        """Evaluate the facts; yields how many there were at a time."""
        if self._is_whole:
            made = replay(self._batches(), self._compile_noted, partitions=len(self._partitions), store=self._store)
            for outputs in made:
                self._expect(outputs)
                yield self._read

    def judge(self) -> None:
        """Compare."""
        self._buffer.flush()
        for (run, kind), rows in groupby(self._rows(), key=lambda row: (row.run, row.kind)):
            if self._is_whole:
                self._judge(run, kind, rows)
            elif kind == INVOCATION:
                self._judge_alone(run, (row for row in rows if row.side == FOUND and not self._is_both(row)))

    def _judge_alone(self, run: bytes, rows: Iterator[_Row]) -> None:
        """One run id, of which nothing is known but its invocations."""
        last: _Row | None = None
        for row in sorted(islice(rows, FINDINGS_KEPT_MAX), key=lambda row: row.time_ms):
            if last is not None and row.time_ms - last.time_ms < self._claim_retention_ms:
                self._find("duplicated", run, INVOCATION, 1, {FOUND: row}, "is there once more")
            self._report.unjudged += 1
            self._report.unevaluated += 1
            last = row

    def _batches(self) -> Iterator[Sequence[Record]]:
        """The facts up to the positions that were committed first, then up to those that are committed now."""
        early, late = self._scope.facts_ends, committed_offsets(self._cluster, self._partitions)
        for self._side, first, end in ((DUE, dict.fromkeys(early, 0), early), (ALLOWED, early, late)):
            for batch in read_between(self._cluster, first, end):
                self._read = len(batch)
                yield batch

    def _compile_noted(self, trigger_id: str, form: bytes) -> Plan | None:
        plan = self._compile(trigger_id, form)
        if plan is not None:
            self._versions.add((trigger_id, plan.version))
        return plan

    def _expect(self, outputs: Outputs) -> None:
        for made in (*outputs.invocations, *outputs.runs, *outputs.dead_letters):
            value = made["value"] or b""
            record = decode(value, (Invocation, TriggerRun, Decision, DeadLetter))
            assert isinstance(record, Invocation | TriggerRun | Decision | DeadLetter), "nothing else is made"
            self._put(record, value, self._side)

    def _put(
        self,
        value: Made,
        data: bytes,
        side: int,
        place: tuple[int, int] = (0, 0),
        time_ms: int = 0,
    ) -> None:
        digest = blake2b(data, digest_size=DIGEST_BYTES).digest()
        kind, run, version = LETTER, digest, ""
        match value:
            case Invocation() | TriggerRun():
                kind = INVOCATION if isinstance(value, Invocation) else RUN
                run, version = run_key(value.run_id)[0], value.trigger_version
            case Decision():
                kind, version = DECISION, value.trigger_version or ""
        self._count += 1
        key = _KEY.pack(run, kind, digest, side, self._count)
        name = f"{value.trigger_id or ''}\0{version}".encode()
        self._buffer.put(KEYED, key, _FOUND.pack(*place, time_ms) + name)

    def _rows(self) -> Iterator[_Row]:
        for key, value in self._store.scan(KEYED, b"", b"\xff" * (_KEY.size + 1)):
            run, kind, digest, side, _ = _KEY.unpack(key)
            trigger_id, _, version = value[_FOUND.size :].decode().partition("\0")
            *place, time_ms = _FOUND.unpack_from(value)
            row = _Row(run, kind, digest, side, trigger_id, version, (place[0], place[1]), time_ms)
            # A decision that a version cannot be used names one that has never been compiled.
            if side != FOUND or kind in NOTICES or (trigger_id, version) in self._versions:
                yield row

    def _judge(self, run: bytes, kind: Kind, rows: Iterator[_Row]) -> None:
        """One run id: its invocations, or its run records; or one notice."""
        sides = tuple(Counter[bytes]() for _ in (DUE, ALLOWED, FOUND))
        first: dict[int, _Row] = {}
        for row in rows:
            sides[row.side][row.digest] += 1
            first.setdefault(row.side, row)
        due, allowed, found = sides
        missing, extra = (due - found).total(), (found - due - allowed).total()
        if kind in NOTICES:
            extra = 0
        wrong = min(missing, extra)
        if self._is_both(next(iter(first.values()))):
            extra, found = wrong, found & (due | allowed)
        if kind == INVOCATION:
            self._report.expected += due.total()
            self._report.invocations += found.total()
        self._find("wrong", run, kind, wrong, first, "differs from what the facts make")
        self._find(_LOST[kind], run, kind, missing - wrong, first, "is made of the facts, and not there")
        fault: Fault = "duplicated" if due or allowed else "unexpected"
        self._find(fault, run, kind, extra - wrong, first, "is there, and not made of the facts so often")

    def _is_both(self, row: _Row) -> bool:
        """Whether a version fires directly, too, so that messages account for what the facts do not."""
        return (row.trigger_id, row.version) in self._definitions.paused

    def _find(self, fault: Fault, run: bytes, kind: Kind, count: int, first: dict[int, _Row], detail: str) -> None:
        if not count:
            return
        row = first.get(FOUND)
        topics = self._topics
        topic = {INVOCATION: topics.invocations, LETTER: topics.dead_letters}.get(kind, topics.trigger_runs)
        found = None if row is None else Position(topic, *row.place)
        trigger_id = next(iter(first.values())).trigger_id
        run_id = "" if kind in NOTICES else run.hex()
        self._report.add(Finding(fault, run_id, trigger_id, None, found, f"{_NAMES[kind]} {detail}"))
        self._report.add_unnamed(fault, count - 1)
